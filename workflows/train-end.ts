import { patched } from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import type { StagePlan, StageState, TrainPlan, TrainReport } from '#domain/messages/train.js';
import { fellSilent, isUnended, tallyOf, totalOf, type Outcome, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import { notify } from './proxies.js';
import type { TrainDesk } from './train-desk.js';
import { recordRest, recordStage, recordTrain, recordUnended } from './train-records.js';
import type { Over } from './train-waves.js';

/** Gives every store of the plan its outcome, writes all of it down, and tells people. */
export async function end(desk: TrainDesk, plan?: TrainPlan, over?: Over): Promise<TrainReport> {
  const state = over?.state ?? 'done';
  for (const stage of plan?.stages ?? []) {
    const left = stage.stores.flatMap((store) => {
      const isGivenUp = desk.said.abortedStores.has(store);
      return endOfStore(store, desk.results.get(store), isGivenUp, over) ?? [];
    });
    desk.take(stage.name, left);
    await recordUnended(desk, left.filter(isUnended));
    await recordRest(desk, stage.name);
    const isDone = desk.isDone(stage.name);
    if (!isDone) desk.endStage(stage.name, endOfStage(desk, stage, over));
    if (!isDone || left.length > 0 || over) await recordStage(desk, stage.name);
  }
  const report = reportOf(desk, over);
  const { train, reason, summary } = report;
  desk.close(report);
  await recordTrain(desk, over);
  await notify({ event: state, fleet: desk.view.fleet, train, reason, summary, answers: [] }).catch(() => undefined);
  return report;
}

export function reportOf({ view, results }: TrainDesk, over?: Over): TrainReport {
  const { train, release, planHash } = view;
  const tally = tallyOf(results.values());
  const planned = totalOf(tally);
  const { state, reason, summary } = over ?? {
    state: 'done' as const,
    reason: undefined,
    summary: `${tally.succeeded} of ${plural(planned, 'store')} ${tally.succeeded === 1 ? 'runs' : 'run'} ${release?.version}.`,
  };
  return { train, state, release, planHash, tally, planned, reason, summary };
}

/** Nobody stopped it: its time was over, or people did not want to wait for stores that are offline. */
const isMissed = (over: Over | undefined): boolean => over === undefined || over.reason === 'DeadlineReached';

/** What becomes of a store that has no outcome, or waits for one that does not come any more. */
function endOfStore(
  store: string,
  result: StoreResult | undefined,
  isGivenUp: boolean,
  over: Over | undefined,
): StoreResult | undefined {
  const end = (outcome: Outcome, reason: Reason, summary: string): StoreResult => ({
    store,
    outcome,
    reason,
    stop: { reason, summary },
  });
  if (result?.outcome === 'offline' && isMissed(over))
    return isGivenUp
      ? end('aborted', 'Aborted', 'Aborted by an operator before it was caught up. Nothing was touched.')
      : end('missed', 'DeadlineReached', 'The store did not come back before the train ended. Nothing was touched.');
  if (isHeld(result) && patched('undo-pending-at-end')) return undoPending(result);
  if (result) return undefined;
  if (isMissed(over)) return end('missed', 'DeadlineReached', 'The train ended before this store was started.');
  return over?.state === 'rolled back'
    ? end('skipped', 'RolledBack', 'The train was taken back before this store was started. Nothing was touched.')
    : end('aborted', 'Aborted', 'The train ended before this store was started.');
}

/** Its operation has not ended by all that is known. Waves of earlier builds did not say which one that is. */
const isHeld = (result: StoreResult | undefined): result is StoreResult =>
  result?.reason === 'StoreCutOff' && isUnended(result) && result.operationId !== undefined;

/** Nobody asks it again in this train. */
function undoPending(result: StoreResult): StoreResult {
  const reason = 'UndoPending';
  return { ...result, reason, stop: { ...result.stop, ...fellSilent(reason, result.stop?.step) } };
}

/** Of a stage that is not through. */
function endOfStage({ view }: TrainDesk, { name }: StagePlan, over: Over | undefined): StageState {
  if (isMissed(over)) return 'missed';
  if (over?.state !== 'rolled back') return 'aborted';
  const hasBegun = view.stages.some((stage) => stage.name === name && stage.startedAt !== undefined);
  return hasBegun ? 'rolled back' : 'skipped';
}
