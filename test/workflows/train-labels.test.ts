import { defaultPayloadConverter } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';
import { abortUpdate, answerUpdates, decideUpdate } from '#workflows/messages.js';
import { aReleaseRef } from '../support/builders.js';
import { useWorld } from '../support/use-world.js';
import { aPlan, aReopenedTrain, currentPreflight, OTHER_HASH, PLAN_HASH } from '../support/workflow-builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import { eventsOf, eventually, heldFor, type World } from '../support/workflow-harness.js';

/** By what a train is found in the Temporal UI while it runs, and afterwards. */
type Train = Awaited<ReturnType<World['startTrain'] | World['startRollback']>>;

const anna = { by: 'anna' };
const quick = { readFacts: async () => currentPreflight() };
const approve = (train: Train, stage: string, planHash = PLAN_HASH) =>
  train.executeUpdate(decideUpdate, { args: [{ stage, planHash, decision: 'approve', via: 'cli', ...anna }] });

/** What each upsert of the service's attributes said, in order: an action each. */
async function upsertsOf(train: Train): Promise<Record<string, unknown>[]> {
  const names = new Map<string, string>(Object.entries(SEARCH_ATTRIBUTES).map(([word, name]) => [name, word]));
  return (await eventsOf(train)).flatMap((event) => {
    const fields = event.upsertWorkflowSearchAttributesEventAttributes?.searchAttributes?.indexedFields ?? {};
    const ours = Object.entries(fields).flatMap(([name, payload]) => {
      const word = names.get(name);
      return word ? [[word, defaultPayloadConverter.fromPayload(payload) ?? null]] : [];
    });
    return ours.length > 0 ? [Object.fromEntries(ours) as Record<string, unknown>] : [];
  });
}

describe('a train', () => {
  it('is found by release, stage and the reason of its hold while it is held; each change is one action', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s001')?.on('applyConfig', async () => ({
      kind: 'failed',
      stop: { reason: 'ConfigRejected', summary: 'no' },
    }));
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
        .stage('wave-1', { stores: ['s002'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    const query = `EdgeReason = 'ErrorThresholdExceeded' AND EdgeStage = 'canary' AND EdgeRelease = '2026.48.0' AND WorkflowType = 'patchTrain' AND ExecutionStatus = 'Running'`;
    await eventually('the list of held trains', async () => (await world.client.workflow.count(query)).count === 1);

    stores.get('s001')?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
    await heldFor(train, 'ApprovalPending');
    await approve(train, 'wave-1');
    await train.result();
    expect(await upsertsOf(train)).toEqual([
      { train: '2026-w48' },
      { release: '2026.48.0' },
      { stage: 'canary' },
      { reason: 'ErrorThresholdExceeded' },
      { reason: null },
      { stage: 'wave-1', reason: 'ApprovalPending' },
      { reason: null },
      { outcome: 'done' },
    ]);
  });

  it('that is aborted keeps the stage it was at, and says why it ended', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(abortUpdate, { args: [anna] });
    await train.result();
    expect((await upsertsOf(train)).slice(2)).toEqual([
      { stage: 'canary', reason: 'ApprovalPending' },
      { reason: null },
      { outcome: 'aborted', reason: 'Aborted' },
    ]);
  });

  it('that has ended and is taken back is at the stage rollback', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    const plan = aPlan()
      .stage('canary', { stores: ['s001'] })
      .build();
    world.central.plans(plan);
    world.central.on('reopenTrain', async () => aReopenedTrain(plan, {}));
    world.central.on('planRollback', async () => ({
      kind: 'planned',
      plan: aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001'] }] }),
      planHash: OTHER_HASH,
    }));
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    await approve(train, 'rollback', OTHER_HASH);
    await train.result();
    expect(await upsertsOf(train)).toEqual([
      { train: '2026-w48', release: '2026.48.0' },
      { stage: 'rollback' },
      { reason: 'ApprovalPending' },
      { reason: null },
      { outcome: 'rolled back', reason: 'RolledBack' },
    ]);
  });
});
