import type { TrainView } from '#domain/messages/train.js';
import type { Operations } from '../operations.js';
import { OperationError } from '../operation-errors.js';
import { shortDigest } from '#domain/naming.js';
import type { Io } from './io.js';
import type { LabClient, LabEntry } from './lab-client.js';
import { linkNews, storesAtWork } from './render-demo.js';
import { newsLines, progressBlock } from './render-progress.js';
import { isOver } from './render-train.js';
import { Screen } from './screen.js';

/**
 * Follows the demo's train to its end. All that is shown is read from the train's view and the practice fleet's journal.
 * Only three things are done here: the operator's approvals, one cut link, and the death of the control worker.
 */
export interface DemoRun {
  io: Io;
  operations: Operations;
  lab: LabClient;
  fleet: string;
  /** Factor by which the practice fleet lives faster. */
  speed: number;
  /** No faults. */
  calm: boolean;
  /** The service's own process control; the worker is started again by its supervisor. */
  killControlWorker: () => boolean;
  /** Where lines go; the block is drawn on a terminal only. */
  say: (line: string) => void;
}

const OPERATOR = 'demo-operator';
const LOOK_EVERY = 300;
/** Milliseconds of this clock that the store stays cut off: longer than the SDK goes on reporting a completion (14 s). */
const WAN_CUT = 15_500;
const CUT_IN_STAGE = 2;
/** Milliseconds after the cut at which the control worker is killed: two things go wrong at once. */
const KILL_AFTER_CUT = 4_000;

export async function followTrain(run: DemoRun): Promise<{ view: TrainView; took: number }> {
  const { io, operations, fleet } = run;
  const screen = new Screen(io);
  const started = io.now().getTime();
  const elapsed = () => io.now().getTime() - started;
  const say = (lines: readonly string[]) => {
    screen.clear();
    for (const line of lines) run.say(`${String(Math.round(elapsed() / 1_000)).padStart(4)} s  ${line}`);
  };
  const journal = followJournal(run.lab);
  const faults = run.calm ? undefined : planFaults(run, journal);
  const interrupted = io.interrupted();
  let before: TrainView | undefined;

  while (!interrupted.aborted) {
    const view = await lookAt(operations, fleet);
    if (view !== undefined) {
      say(newsLines(before, view).filter((line) => !isApprovalNews(line, view)));
      before = view;
      say(await answerAsOperator(operations, fleet, view));
      screen.draw(progressBlock(view, io.now()));
    }
    say(linkNews(await journal.fresh()));
    if (faults !== undefined) say(await faults.next(before, view !== undefined));
    if (view !== undefined && isOver(view)) break;
    await io.pause(LOOK_EVERY);
  }
  screen.clear();
  if (before === undefined) throw new Error('The train never showed itself.');
  return { view: before, took: elapsed() };
}

/** Undefined while nobody answers: the control worker was just killed. */
async function lookAt(operations: Operations, fleet: string): Promise<TrainView | undefined> {
  try {
    return await operations.trainView(fleet);
  } catch (error) {
    if (error instanceof OperationError && (error.kind === 'no-worker' || error.kind === 'unexpected'))
      return undefined;
    throw error;
  }
}

/** The question is shown together with its answer. */
const isApprovalNews = (line: string, view: TrainView): boolean =>
  view.hold?.reason === 'ApprovalPending' && line.startsWith('waits: ');

async function answerAsOperator(operations: Operations, fleet: string, view: TrainView): Promise<string[]> {
  const { hold, planHash } = view;
  if (hold === undefined) return [];
  if (hold.reason !== 'ApprovalPending' || hold.stage === undefined || planHash === undefined) {
    // The demo shows a train that reaches its end; whatever holds this one needs a person.
    const reply = await operations.abort(fleet, { by: OPERATOR, reason: `held: ${hold.reason}` });
    return [`${OPERATOR} has no answer to ${hold.reason} and aborts: ${reply.sentence}`];
  }
  const reply = await tryTo(() =>
    operations.decide(fleet, {
      stage: hold.stage as string,
      planHash,
      decision: 'approve',
      by: OPERATOR,
      via: 'cli',
      id: `${view.train}/${hold.stage}/${hold.since}`,
    }),
  );
  if (reply?.kind !== 'accepted') return [];
  return [`${hold.stage}: approved by ${OPERATOR} for plan ${shortDigest(planHash).slice(0, 8)}`];
}

interface JournalFollower {
  fresh(): Promise<LabEntry[]>;
  all(): readonly LabEntry[];
}

function followJournal(lab: LabClient): JournalFollower {
  const entries: LabEntry[] = [];
  return {
    async fresh() {
      const fresh = await lab.journal(entries.at(-1)?.seq ?? 0);
      entries.push(...fresh);
      return fresh;
    },
    all: () => entries,
  };
}

/** The two faults, each once, when the train is where they are to strike. */
function planFaults(run: DemoRun, journal: JournalFollower) {
  let isCut = false;
  let killedAt: Date | undefined;
  let isBack = false;

  const cut = async (view: TrainView): Promise<string[]> => {
    if (isCut || view.stages[CUT_IN_STAGE]?.state !== 'running') return [];
    isCut = true;
    await run.lab.addFault({
      kind: 'wan-cut',
      store: '*',
      node: 'n2',
      step: 'guest.migrate',
      moment: 'during',
      durationMs: WAN_CUT * run.speed,
    });
    return [];
  };

  const kill = (view: TrainView): string[] => {
    const stage = view.stages[CUT_IN_STAGE];
    if (killedAt !== undefined || stage?.state !== 'running') return [];
    const cutAt = journal.all().find(({ effect }) => effect === 'fault.active')?.at;
    if (cutAt === undefined || run.io.now().getTime() - Date.parse(cutAt) < KILL_AFTER_CUT) return [];
    killedAt = run.io.now();
    run.killControlWorker();
    const inWork = storesAtWork(journal.all(), new Date(cutAt), killedAt);
    return [`the control worker is killed (SIGKILL) while ${inWork} stores are in work`];
  };

  const comeBack = (answers: boolean): string[] => {
    if (killedAt === undefined || isBack || !answers) return [];
    const now = run.io.now();
    // The answer of the worker that was just killed may still be under way.
    if (now.getTime() - killedAt.getTime() < 500) return [];
    isBack = true;
    const working = storesAtWork(journal.all(), killedAt, now);
    const seconds = ((now.getTime() - killedAt.getTime()) / 1_000).toFixed(1);
    return [
      `the control worker was started again and answers after ${seconds} s; ${working} stores kept working meanwhile`,
    ];
  };

  return {
    async next(view: TrainView | undefined, answers: boolean): Promise<string[]> {
      if (view === undefined) return [];
      return [...(await cut(view)), ...comeBack(answers), ...(answers ? kill(view) : [])];
    },
  };
}

async function tryTo<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof OperationError) return undefined;
    throw error;
  }
}
