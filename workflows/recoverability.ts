import type { StagePlan } from '#domain/messages/train.js';
import type { StoreResult } from '#domain/outcomes.js';
import { control } from './proxies.js';
import { afterThisRound } from './stage-verdict.js';
import { recordResults } from './train-records.js';
import type { Run, StartableStore } from './train-waves.js';

/**
 * Leaves out of a round whoever could not be had back, when the fleet asks for that; who is taken all the same is taken
 * by an override of two people, which is recorded beside the approvals.
 */
export async function recoverable(
  { desk, plan, planHash }: Run,
  stage: StagePlan,
  round: number,
  stores: StartableStore[],
): Promise<StartableStore[]> {
  const { recoverability: limits, train, commit } = plan;
  if (!limits || stores.length === 0) return stores;
  const { skipped, overrides } = await control.judgeRecoverability({
    commit,
    limits,
    stores: stores.map(({ id }) => id),
  });
  for (const { override, stores: taken } of overrides) {
    const { reason, by, approvedBy, why, at, expires } = override;
    await control.record({
      kind: 'approval',
      row: {
        train,
        stage: stage.name,
        // A further round takes stores of its own: its row stands beside that of the first.
        id: `override/${reason}/${by}/${at}/r${round}`,
        planHash,
        decision: 'approve',
        by: approvedBy,
        via: 'policies/overrides.yaml',
        comment: `${reason}: ${why} (${by}, until ${expires}). Stores: ${taken.join(', ')}`,
        accepted: true,
        at: new Date().toISOString(),
      },
    });
  }
  if (skipped.length === 0) return stores;
  const results = skipped.map(({ store, stop }): StoreResult => ({
    store,
    outcome: 'skipped',
    reason: stop.reason,
    stop,
  }));
  const known = afterThisRound(desk, results, round);
  desk.take(stage.name, known);
  await recordResults(desk, stage.name, round, results);
  for (const result of known) desk.written.add(result);
  const out = new Set(skipped.map(({ store }) => store));
  return stores.filter(({ id }) => !out.has(id));
}
