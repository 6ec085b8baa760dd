import { plural } from '#domain/counted.js';
import type { TrainView } from '#domain/messages/train.js';
import type { Operations } from '../operations.js';
import { OperationError } from '../operation-errors.js';
import { ROLLBACK_STAGE, shortDigest } from '#domain/naming.js';
import type { Io } from './io.js';
import type { LabClient, LabEntry } from './lab-client.js';
import { linkNews, storesAtWork } from './render-demo.js';
import { newsLines, progressBlock } from './render-progress.js';
import { isOver } from './render-train.js';
import { Screen } from './screen.js';

/** Where a demo looks, and where its lines go. */
export interface Following {
  io: Io;
  operations: Operations;
  lab: LabClient;
  fleet: string;
  /** Where lines go; the block is drawn on a terminal only. */
  say: (line: string) => void;
}

/** What a demo does by itself while its train runs. */
export interface Script {
  /** The operator's answers; the lines tell of them. */
  answer(view: TrainView): Promise<string[]>;
  /** What happens besides, in the practice fleet or to the service. `view` is undefined while nobody answers. */
  between?(news: { view: TrainView | undefined; last: TrainView | undefined; entries: LabEntry[] }): Promise<string[]>;
}

/**
 * Follows the demo's train to its end. All that is shown is read from the train's view and the practice fleet's journal.
 * Only three things are done here: the operator's approvals, one cut link, and the death of the control worker.
 */
export interface DemoRun extends Following {
  /** Factor by which the practice fleet lives faster. */
  speed: number;
  /** No faults. */
  calm: boolean;
  /** The service's own process control; the worker is started again by its supervisor. */
  killControlWorker: () => boolean;
}

export const OPERATOR = 'demo-operator';
const LOOK_EVERY = 300;
/** Milliseconds of this clock that the store stays cut off: longer than the SDK goes on reporting a completion (14 s). */
const WAN_CUT = 15_500;
const CUT_IN_STAGE = 2;
/** A small fleet has fewer stages. */
const stageToCut = ({ stages }: TrainView) => stages[CUT_IN_STAGE] ?? stages.at(-1);
/** Milliseconds after the cut at which the control worker is killed: two things go wrong at once. */
const KILL_AFTER_CUT = 4_000;

/** What was to go wrong, and whether it did. */
export interface Struck {
  cut: boolean;
  killed: boolean;
}

/** `struck` is absent when nothing was to go wrong. */
export async function followTrain(run: DemoRun): Promise<{ view: TrainView; took: number; struck?: Struck }> {
  const { operations, fleet } = run;
  const journal: LabEntry[] = [];
  const faults = run.calm ? undefined : planFaults(run, journal);
  const followed = await follow(run, {
    answer: (view) => answerAsOperator(operations, fleet, view),
    async between({ view, last, entries }) {
      journal.push(...entries);
      return [...linkNews(entries), ...((await faults?.next(last, view !== undefined)) ?? [])];
    },
  });
  return { ...followed, ...(faults ? { struck: faults.struck() } : {}) };
}

/** Shows a train until it ends or a person interrupts. `since` is the instant from which the seconds count. */
export async function follow(
  { io, operations, lab, fleet, say: tell }: Following,
  script: Script,
  since: Date = io.now(),
): Promise<{ view: TrainView; took: number }> {
  const screen = new Screen(io);
  const elapsed = () => io.now().getTime() - since.getTime();
  const say = (lines: readonly string[]) => {
    screen.clear();
    for (const line of lines) tell(`${String(Math.round(elapsed() / 1_000)).padStart(4)} s  ${line}`);
  };
  const fresh = followJournal(lab);
  const interrupted = io.interrupted();
  let last: TrainView | undefined;

  while (!interrupted.aborted) {
    const view = await lookAt(operations, fleet);
    if (view !== undefined) {
      say(newsLines(last, view).filter((line) => !isApprovalNews(line, view)));
      last = view;
      say(await script.answer(view));
      screen.draw(progressBlock(view, io.now()));
    }
    const entries = await fresh();
    say((await script.between?.({ view, last, entries })) ?? []);
    if (view !== undefined && isOver(view)) break;
    await io.pause(LOOK_EVERY);
  }
  screen.clear();
  if (last === undefined) throw new Error('The train never showed itself.');
  return { view: last, took: elapsed() };
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

/** The question is shown together with its answer; that of a rollback before it, as the head of its plan. */
const isApprovalNews = (line: string, { hold }: TrainView): boolean =>
  hold?.reason === 'ApprovalPending' && hold.stage !== ROLLBACK_STAGE && line.startsWith('waits: ');

export async function answerAsOperator(operations: Operations, fleet: string, view: TrainView): Promise<string[]> {
  const { hold } = view;
  if (hold === undefined) return [];
  const planHash = hold.planHash ?? view.planHash;
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

function followJournal(lab: LabClient): () => Promise<LabEntry[]> {
  let seq = 0;
  return async () => {
    const fresh = await lab.journal(seq);
    seq = fresh.at(-1)?.seq ?? seq;
    return fresh;
  };
}

/** The two faults, each once, when the train is where they are to strike. */
function planFaults(run: DemoRun, journal: readonly LabEntry[]) {
  let isCut = false;
  let killedAt: Date | undefined;
  let isBack = false;

  const instantOfCut = () => journal.find(({ effect }) => effect === 'fault.active')?.at;

  const cut = async (view: TrainView): Promise<string[]> => {
    if (isCut || stageToCut(view)?.state !== 'running') return [];
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
    const stage = stageToCut(view);
    if (killedAt !== undefined || stage?.state !== 'running') return [];
    const cutAt = instantOfCut();
    if (cutAt === undefined || run.io.now().getTime() - Date.parse(cutAt) < KILL_AFTER_CUT) return [];
    if (!run.killControlWorker()) return [];
    killedAt = run.io.now();
    const inWork = storesAtWork(journal, new Date(cutAt), killedAt);
    return [`the control worker is killed (SIGKILL) with ${plural(inWork, 'store')} in work`];
  };

  const comeBack = (answers: boolean): string[] => {
    if (killedAt === undefined || isBack || !answers) return [];
    const now = run.io.now();
    // The answer of the worker that was just killed may still be under way.
    if (now.getTime() - killedAt.getTime() < 500) return [];
    isBack = true;
    const working = storesAtWork(journal, killedAt, now);
    const seconds = ((now.getTime() - killedAt.getTime()) / 1_000).toFixed(1);
    return [
      `the control worker was started again and answers after ${seconds} s; ${plural(working, 'store')} kept working meanwhile`,
    ];
  };

  return {
    struck: (): Struck => ({
      cut: instantOfCut() !== undefined,
      killed: killedAt !== undefined,
    }),
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
