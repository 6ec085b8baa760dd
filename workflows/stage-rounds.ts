import { patched } from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import { countsOf } from '#domain/limits.js';
import type { Answer, StagePlan, StageWindows, WaveReport } from '#domain/messages/train.js';
import { waveWorkflowId } from '#domain/naming.js';
import { hasFailed, isAway, roundNotes, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import { control, messageOf, promoteStage } from './proxies.js';
import { recoverable } from './recoverability.js';
import { afterThisRound, failuresStay, judgeStage, standingBreach } from './stage-verdict.js';
import type { TrainDesk } from './train-desk.js';
import { takeResults } from './train-records.js';
import { PART_SIZE, partsOf, runWave, startable, type Over, type Run, type StartableStore } from './train-waves.js';

/**
 * A stage in rounds: the first takes all its stores, each further one those that people choose after a breach. A retry
 * takes whom it names, and nobody else: those that were never started follow when the stage is well by then.
 * Every round begins in an open window, and none while another one of the train is under way.
 */
export async function runRounds(train: Run, stage: StagePlan): Promise<Over | undefined> {
  const { desk } = train;
  let wanted: Wanted = 'all';
  for (let isPromoted = false; ; isPromoted = true) {
    const windows = await inWindow(train, stage, wanted);
    if (isOver(windows)) return windows;
    if (desk.isEnding()) return undefined;
    excludeBy(windows, desk, stage);
    if (!isPromoted) {
      const over = await promote(train, stage, windows);
      if (over) return over;
    }
    const isRetry = desk.isRetried(stage.name);
    const round = await inOpenTurn(train, stage, windows, async (open) => ({
      open,
      ...(await runRound(train, stage, open, membersOf(desk, stage, open, wanted), isRetry)),
    }));
    if (desk.mustStop()) return desk.over();
    if (round === 'closed') continue;
    const { open, breach: stopped, late } = round;
    if (late) {
      wanted = new Set(late);
      continue;
    }
    if (!stopped) {
      desk.retry(stage.name, false);
      if (!isRetry || membersOf(desk, stage, open, 'never started').length === 0) return undefined;
      wanted = 'never started';
      continue;
    }
    const next = await answerTo(train, stage, open, stopped);
    if (isOver(next)) return next;
    wanted = next;
  }
}

/**
 * A breach in a round of stores that came back holds the train like one of the stage's own rounds, and takes the same
 * answers. Whoever calls it has the turn and keeps it, so that nobody else starts until the stage is well. Those that
 * were not started are still awaited, so nobody is left to follow.
 */
export async function answerLateBreach(
  train: Run,
  stage: StagePlan,
  windows: StageWindows,
  breach: Breach,
): Promise<void> {
  const { desk } = train;
  let end: RoundEnd = { breach };
  while (end.breach ?? end.late) {
    const wanted: Wanted | Over = end.breach ? await answerTo(train, stage, windows, end.breach) : new Set(end.late);
    if (wanted === 'never started' || isOver(wanted)) return;
    const open = await inWindow(train, stage, wanted);
    if (isOver(open)) return;
    if (desk.isEnding()) {
      end = { breach: standingBreach(desk, stage) };
      continue;
    }
    windows = open;
    end = await runRound(train, stage, open, membersOf(desk, stage, open, wanted), desk.isRetried(stage.name));
    if (desk.mustStop()) return;
  }
  desk.retry(stage.name, false);
}

type Breach = NonNullable<WaveReport['breach']>;

/** Why the stage may not go on, or else who is to begin in a further round, in a window that is yet to open. */
interface RoundEnd {
  breach?: Breach | undefined;
  late?: string[] | undefined;
}

const isOver = (what: Wanted | StageWindows | Over): what is Over => typeof what === 'object' && 'reason' in what;

/** Whom the next round takes after one that was stopped, by policy or by what people say. */
async function answerTo(
  train: Run,
  stage: StagePlan,
  windows: StageWindows,
  { reason, summary }: Breach,
): Promise<Choice | Over> {
  const { desk } = train;
  if (isTakenBackByPolicy(train, stage, reason, summary)) return desk.over();
  const answer = await desk.hold({
    reason,
    stage: stage.name,
    summary,
    detail: detailOf(desk, stage),
    answers: () => answersTo(desk, stage, windows),
  });
  switch (answer) {
    case 'retry-failed':
    case 'retry-offline':
      desk.retry(stage.name, failuresStay());
      return desk.isRetried(stage.name) ? answer : `${answer} and never started`;
    case 'skip':
      desk.retry(stage.name, false);
      desk.accept(stage.stores.filter((id) => mayRun(desk.results.get(id)) && desk.results.has(id)));
      return 'never started';
    default:
      return desk.over();
  }
}

type Retry = 'retry-failed' | 'retry-offline';
/** Retries of trains of earlier builds took those along that were never started. */
type Choice = 'all' | 'never started' | Retry | `${Retry} and never started`;
/** By how they ended, or by name. */
type Wanted = Choice | ReadonlySet<string>;

/** Who is away comes back by itself, so that it is not tried again with those that failed. */
const IS_WANTED: Record<Choice, (result: StoreResult | undefined) => boolean> = {
  all: () => true,
  'never started': (result) => result === undefined,
  'retry-failed': (result) => result !== undefined && !isAway(result),
  'retry-offline': (result) => result !== undefined && isAway(result),
  'retry-failed and never started': (result) => result === undefined || !isAway(result),
  'retry-offline and never started': (result) => result === undefined || isAway(result),
};

const membersOf = (desk: TrainDesk, stage: StagePlan, windows: StageWindows, wanted: Wanted): StartableStore[] =>
  startable(stage, windows).filter(({ id }) => {
    const result = desk.results.get(id);
    const isWanted = typeof wanted === 'string' ? IS_WANTED[wanted](result) : wanted.has(id);
    return isWanted && mayRun(result) && !isLeft(desk, id);
  });

/** An answer that would start nobody is none. A stage that is well by itself goes on by a retry, too. */
function answersTo(desk: TrainDesk, stage: StagePlan, windows: StageWindows): Answer[] {
  const starts = (wanted: Wanted) => membersOf(desk, stage, windows, wanted).length > 0;
  const isWell = judgeStage(desk, stage).kind === 'go';
  return [
    ...(starts('retry-failed') || (isWell && starts('never started')) ? (['retry-failed'] as const) : []),
    ...(starts('retry-offline') ? (['retry-offline'] as const) : []),
    'skip',
  ];
}

/**
 * Whether the fleet's own policy answers: a first stage that failed is taken back without asking anybody, as long as no
 * other one has begun.
 */
export function isTakenBackByPolicy({ desk, plan }: Run, stage: StagePlan, reason: Reason, why: string): boolean {
  const failed = reason === 'ErrorThresholdExceeded' || reason === 'HealthGateFailed';
  const [first, ...later] = plan.stages;
  if (!failed || plan.onCanaryFailure !== 'rollback' || stage !== first) return false;
  // Stages that are proven would go back with it, and nobody has said that.
  if (later.some(({ name }) => hasBegun(desk, name)) && patched('policy-ends-with-first-stage')) return false;
  desk.goBack({ by: 'policy onCanaryFailure', reason: why.slice(0, 300), policy: true });
  return true;
}

/** Who succeeded is done; who was excluded was not promoted either. */
const mayRun = (result: StoreResult | undefined): boolean =>
  result?.outcome !== 'succeeded' && result?.outcome !== 'excluded';

/** Who has ended otherwise, and people do not want to see it tried again. */
const isLeft = (desk: TrainDesk, id: string): boolean => desk.said.abortedStores.has(id) && desk.results.has(id);

const detailOf = (desk: TrainDesk, stage: StagePlan): string[] =>
  desk.view.notSucceeded
    .filter(({ store }) => stage.stores.includes(store))
    .slice(0, 10)
    .map((result) => {
      const { store, reason, stop } = result;
      const notes = roundNotes(result).map((note) => ` (${note})`);
      return `${store}: ${reason ?? 'no reason'} ${stop?.summary ?? ''}${notes.join('')}`;
    });

/**
 * Waits for the stage's window, again whenever it turns out that it has closed meanwhile; and for the first of their own
 * windows when it is those that all whom the round takes wait for.
 */
async function inWindow(train: Run, stage: StagePlan, wanted: Wanted): Promise<StageWindows | Over> {
  const { desk, plan } = train;
  await desk.unpaused(stage.name);
  for (;;) {
    const over = await standStillIfAborted(train, stage);
    if (over) return over;
    const windows = await windowsOf(plan, stage);
    if (desk.mustStop()) return desk.over();
    if (desk.isStageAborted(stage.name)) continue;
    const own = isAhead(windows.opens) ? undefined : firstOfTheirOwn(membersOf(desk, stage, windows, wanted));
    const opens = own ?? windows.opens;
    if (opens === undefined || !isAhead(opens) || desk.isEnding()) return windows;
    desk.stage(stage.name, { state: 'awaiting window' });
    desk.doing(
      `Stage ${stage.name} waits for ${own ? 'the first window of its stores' : 'its window'}, which opens at ${opens}.`,
    );
    await desk.wait(Date.parse(opens) - Date.now(), stage.name, () => !desk.isEnding());
  }
}

/** When the first of them may start, if all have to wait for that. */
function firstOfTheirOwn(members: StartableStore[]): string | undefined {
  const ahead = members.flatMap(({ opens }) => (isAhead(opens) && opens ? [opens] : []));
  if (ahead.length === 0 || ahead.length < members.length || !patched('own-window-waits')) return undefined;
  return ahead.reduce((first, opens) => (Date.parse(opens) < Date.parse(first) ? opens : first));
}

/**
 * Takes the turn for a round in an open window. When the turn had to be waited for, the windows are those of now; one
 * that has closed meanwhile is to be waited for again, by whoever does so without the turn.
 */
export function inOpenTurn<T>(
  train: Run,
  stage: StagePlan,
  windows: StageWindows,
  work: (open: StageWindows) => Promise<T>,
): Promise<T | 'closed'> {
  const { desk, plan } = train;
  const askedAt = Date.now();
  return desk.inTurn(async () => {
    const isOld = Date.now() > askedAt || hasClosed(windows);
    if (!isOld || !patched('windows-in-turn')) return work(windows);
    const now = await windowsOf(plan, stage);
    if (isAhead(now.opens)) return 'closed';
    excludeBy(now, desk, stage);
    return work(now);
  });
}

const isAhead = (opens: string | undefined): boolean => opens !== undefined && Date.parse(opens) > Date.now();
const hasClosed = ({ closes }: StageWindows): boolean => closes !== undefined && Date.parse(closes) <= Date.now();

export const windowsOf = (plan: Run['plan'], stage: StagePlan): Promise<StageWindows> =>
  control.stageWindows({
    plan: { fleet: plan.fleet, timeZone: plan.timeZone, commit: plan.commit },
    stage,
    after: new Date().toISOString(),
  });

async function promote(train: Run, stage: StagePlan, windows: StageWindows): Promise<Over | undefined> {
  const { desk, plan } = train;
  for (;;) {
    desk.stage(stage.name, { state: 'promoting', startedAt: new Date().toISOString() });
    desk.doing(`Promoting ${plan.release.version} for stage ${stage.name}.`);
    const why = await tryToPromote(train, stage, windows);
    if (why === undefined) return undefined;
    const answer = await desk.hold({
      reason: 'PromotionFailed',
      stage: stage.name,
      summary: `Stage ${stage.name} could not be promoted: ${why}`,
      detail: [],
      answers: ['retry-failed'],
    });
    if (answer !== 'retry-failed') return desk.over();
  }
}

async function tryToPromote(
  { desk, plan, planHash }: Run,
  stage: StagePlan,
  windows: StageWindows,
): Promise<string | undefined> {
  const { stages: _, ...head } = plan;
  try {
    await promoteStage({
      plan: head,
      stage: stage.name,
      stores: startable(stage, windows).map(({ id }) => id),
      planHash,
      approvedBy: desk.view.stages.find(({ name }) => name === stage.name)?.approvedBy ?? 'no approval required',
      expires: plan.deadline,
    });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** A stage that people ended stands still, wherever it is, until they let it go on from there. */
export async function standStillIfAborted({ desk }: Run, stage: StagePlan): Promise<Over | undefined> {
  const aborted = abortOf(desk, stage);
  if (!aborted) return undefined;
  const answer = await desk.hold({
    ...aborted,
    stage: stage.name,
    summary: `${aborted.summary}${hasBegun(desk, stage.name) ? '' : ' Nothing of it has started.'}`,
    detail: detailOf(desk, stage),
    answers: ['retry-failed'],
  });
  return answer === 'retry-failed' ? undefined : desk.over();
}

/** It was promoted, or is being so. */
const hasBegun = ({ view }: TrainDesk, name: string): boolean =>
  view.stages.some((stage) => stage.name === name && stage.startedAt !== undefined);

/** Why the stage does not go on, when people have ended it. */
export function abortOf({ said }: TrainDesk, { name }: StagePlan): WaveReport['breach'] {
  const aborted = said.abortedStages.get(name);
  return (
    aborted && {
      reason: 'StageAborted',
      summary: `Stage ${name} was aborted by ${aborted.by}${aborted.reason ? `: ${aborted.reason}` : ''}.`,
    }
  );
}

/** Stores that a freeze, a hold or their own window keeps out; what already ended keeps its outcome. */
function excludeBy(windows: StageWindows, desk: TrainDesk, stage: StagePlan): void {
  const never = windows.never.map((store) => ({
    store,
    reason: 'OutsideWindow' as const,
    detail: 'Its window never meets that of the stage.',
  }));
  desk.take(
    stage.name,
    [...windows.excluded, ...never]
      .filter(({ store }) => stage.stores.includes(store) && !desk.results.has(store))
      .map(({ store, reason, detail }) => ({
        store,
        outcome: 'excluded',
        reason,
        stop: { reason, summary: detail },
      })),
  );
}

/**
 * One round, in parts of at most 250 stores so that no wave outgrows its history. Says why the stage may not go on (a
 * threshold, the time for the stage, or people), or who is left for a later window. What stands against the stage stops
 * no retry, since people asked for it; it is judged with what came of that.
 */
export async function runRound(
  train: Run,
  stage: StagePlan,
  windows: StageWindows,
  wanted: StartableStore[],
  isRetry = false,
): Promise<RoundEnd> {
  const { desk, plan } = train;
  const round = desk.nextRound(stage.name);
  const late = wanted.filter((store) => opensAfter(store, windows)).map(({ id }) => id);
  const stores = await recoverable(
    train,
    stage,
    round,
    wanted.filter(({ id }) => !late.includes(id)),
  );
  const ofRound = new Set(stores.map(({ id }) => id));
  for (const [part, members] of partsOf(stores).entries()) {
    await desk.unpaused(stage.name);
    if (desk.mustStop()) return {};
    const aborted = abortOf(desk, stage);
    if (aborted) return { breach: aborted };
    const still = new Set(stores.slice(part * PART_SIZE).map(({ id }) => id));
    if (desk.isEnding() || (hasClosed(windows) && patched('pause-over-window'))) {
      late.push(...still);
      break;
    }
    const counted = stage.stores.filter(
      (id) => !still.has(id) && !desk.isAccepted(id) && (!isRetry || ofRound.has(id) || isWell(desk.results.get(id))),
    );
    const ended = counted.flatMap((id) => desk.results.get(id) ?? []);
    const workflowId = waveWorkflowId(plan.train, stage.name, round, part);
    desk.follow(
      stage.name,
      workflowId,
      members.map(({ id }) => id),
    );
    const which = `${part > 0 ? `, part ${part + 1}` : ''}${round > 0 ? `, round ${round + 1}` : ''}`;
    desk.doing(`Stage ${stage.name}: ${plural(members.length, 'store')}${which}.`);
    const report = await runWave(train, stage, workflowId, {
      operation: 'patch',
      release: plan.release,
      name: stage.name,
      round,
      stores: members,
      before: countsOf(ended),
      judged: counted.length + still.size,
      notAfter: windows.closes,
    });
    const told = report.results.map((result) => desk.withWhy(stage.name, result));
    const known = afterThisRound(desk, told, round);
    await takeResults(desk, { stage: stage.name, ranAs: stage.name, round }, told, known);
    const endedByPeople = desk.mustStop() ? undefined : abortOf(desk, stage);
    if (endedByPeople) return { breach: endedByPeople };
    // A wave of a retry has counted without what stood before it.
    if (report.breach) return { breach: (isRetry ? standingBreach(desk, stage) : undefined) ?? report.breach };
    late.push(...report.notStarted);
  }
  if (desk.mustStop()) return {};
  return late.length > 0 && !desk.isEnding() ? { late } : { breach: standingBreach(desk, stage) };
}

/** Its own window opens when that of the stage has closed; a wave that had it would wait for it with all its time. */
const opensAfter = ({ opens }: StartableStore, { closes }: StageWindows): boolean =>
  opens !== undefined &&
  closes !== undefined &&
  Date.parse(opens) >= Date.parse(closes) &&
  isAhead(opens) &&
  patched('own-window-waits');

const isWell = (result: StoreResult | undefined): boolean =>
  result !== undefined && !hasFailed(result) && !isAway(result);
