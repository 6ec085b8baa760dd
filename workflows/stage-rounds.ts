import { plural } from '#domain/counted.js';
import { countsOf } from '#domain/limits.js';
import type { StagePlan, StageWindows, WaveReport } from '#domain/messages/train.js';
import { waveWorkflowId } from '#domain/naming.js';
import { isNews, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import { control, messageOf, promoteStage } from './proxies.js';
import { recoverable } from './recoverability.js';
import type { TrainDesk } from './train-desk.js';
import { recordResults } from './train-records.js';
import { PART_SIZE, partsOf, runWave, startable, type Over, type Run, type StartableStore } from './train-waves.js';

/**
 * A stage in rounds: the first takes all its stores, each further one those that people choose after a breach.
 * Every round begins in an open window, and none while another one of the train is under way.
 */
export async function runRounds(train: Run, stage: StagePlan): Promise<Over | undefined> {
  const { desk } = train;
  let wanted: (result: StoreResult | undefined) => boolean = () => true;
  for (let first = true; ; first = false) {
    const windows = await inWindow(train, stage);
    if ('reason' in windows) return windows;
    excludeBy(windows, desk, stage);
    if (first) {
      const over = await promote(train, stage, windows);
      if (over) return over;
    }
    const members = startable(stage, windows).filter(
      ({ id }) => wanted(desk.results.get(id)) && mayRun(desk.results.get(id)) && !isLeft(desk, id),
    );
    const stopped = await desk.inTurn(() => runRound(train, stage, windows, members));
    if (desk.mustStop()) return desk.over();
    if (!stopped) return undefined;
    if (isTakenBackByPolicy(train, stage, stopped.reason, stopped.summary)) return desk.over();
    const answer = await desk.hold({
      reason: stopped.reason,
      stage: stage.name,
      summary: stopped.summary,
      detail: detailOf(desk, stage),
      answers: ['retry-failed', 'retry-offline', 'skip'],
    });
    switch (answer) {
      case 'retry-failed':
        // Who is away comes back by itself.
        wanted = (result) => result?.outcome !== 'offline' && result?.outcome !== 'cutOff';
        break;
      case 'retry-offline':
        wanted = (result) => result === undefined || result.outcome === 'offline' || result.outcome === 'cutOff';
        break;
      case 'skip':
        desk.accept(stage.stores.filter((id) => mayRun(desk.results.get(id)) && desk.results.has(id)));
        wanted = (result) => result === undefined;
        break;
      default:
        return desk.over();
    }
  }
}

/** Whether the fleet's own policy answers: a first stage that failed is taken back without asking anybody. */
export function isTakenBackByPolicy({ desk, plan }: Run, stage: StagePlan, reason: Reason, why: string): boolean {
  const failed = reason === 'ErrorThresholdExceeded' || reason === 'HealthGateFailed';
  if (!failed || plan.onCanaryFailure !== 'rollback' || stage !== plan.stages[0]) return false;
  desk.said.rollback = { by: 'policy onCanaryFailure', reason: why.slice(0, 300), policy: true };
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
    .map(({ store, reason, stop }) => `${store}: ${reason ?? 'no reason'} ${stop?.summary ?? ''}`);

/** Waits for the stage's window, again whenever it turns out that it has closed meanwhile. */
async function inWindow(train: Run, stage: StagePlan): Promise<StageWindows | Over> {
  const { desk, plan } = train;
  await desk.unpaused(stage.name);
  for (;;) {
    const over = await standStillIfAborted(train, stage);
    if (over) return over;
    const windows = await windowsOf(plan, stage);
    if (desk.mustStop()) return desk.over();
    if (desk.isStageAborted(stage.name)) continue;
    const opens = windows.opens ? Date.parse(windows.opens) : 0;
    if (opens <= Date.now()) return windows;
    desk.stage(stage.name, { state: 'awaiting window' });
    desk.doing(`Stage ${stage.name} waits for its window, which opens at ${windows.opens}.`);
    await desk.wait(opens - Date.now(), stage.name);
  }
}

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
  const hasBegun = desk.view.stages.some(({ name, startedAt }) => name === stage.name && startedAt);
  const answer = await desk.hold({
    ...aborted,
    stage: stage.name,
    summary: `${aborted.summary}${hasBegun ? '' : ' Nothing of it has started.'}`,
    detail: detailOf(desk, stage),
    answers: ['retry-failed'],
  });
  return answer === 'retry-failed' ? undefined : desk.over();
}

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
 * One round, in parts of at most 250 stores so that no wave outgrows its history. Says why it stopped before its end:
 * a threshold, the time for the stage, or people.
 */
export async function runRound(
  train: Run,
  stage: StagePlan,
  windows: StageWindows,
  wanted: StartableStore[],
): Promise<WaveReport['breach']> {
  const { desk, plan } = train;
  const round = desk.nextRound(stage.name);
  const stores = await recoverable(train, stage, round, wanted);
  for (const [part, members] of partsOf(stores).entries()) {
    await desk.unpaused(stage.name);
    if (desk.mustStop()) return undefined;
    const aborted = abortOf(desk, stage);
    if (aborted) return aborted;
    const still = new Set(stores.slice(part * PART_SIZE).map(({ id }) => id));
    const before = stage.stores.filter((id) => !still.has(id) && !desk.isAccepted(id));
    const ended = before.flatMap((id) => desk.results.get(id) ?? []);
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
      notAfter: windows.closes,
    });
    const results = report.results.filter((result) => isNews(desk.results.get(result.store), result));
    desk.ended(stage.name, results);
    await recordResults(desk, stage.name, round, results);
    const stopped = (desk.mustStop() ? undefined : abortOf(desk, stage)) ?? report.breach;
    if (stopped) return stopped;
  }
  return undefined;
}
