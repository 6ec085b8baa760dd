import { describe, expect, inject, it } from 'vitest';
import { createOperations } from '#client/operations.js';
import { ApplicationFailure } from '@temporalio/common';
import type { ResultRow, StageRow } from '#domain/messages/ledger.js';
import type { TrainView } from '#domain/messages/train.js';
import { reopenTrain } from '#domain/reopen.js';
import { stillOn } from '#domain/rollback.js';
import type { wave } from '#workflows/index.js';
import { abortUpdate, answerUpdates, decideUpdate, trainQuery } from '#workflows/messages.js';
import { fleet as aFleet } from '../unit/client/builders.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan, aTrainRow } from '../support/rollback-builders.js';
import { useWorld } from '../support/use-world.js';
import { aHealthyProbe, aPlan, currentPreflight, OTHER_HASH, PLAN_HASH } from '../support/workflow-builders.js';
import { eventsOf, eventually, heldFor, trainUntil, waveUntil, type World } from '../support/workflow-harness.js';

/** What becomes of a train when a part of it breaks off, or when something that it needs cannot be read. */

const by = { by: 'anna' };
const quick = { readFacts: async () => currentPreflight() };
const unreadable = async (): Promise<never> => {
  throw ApplicationFailure.nonRetryable('policies/revoked.yaml cannot be read: line 3', 'RevocationsUnreadable');
};
const away = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };
const backFor = (...stores: string[]) => ({
  kind: 'planned' as const,
  plan: aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores }] }),
  planHash: OTHER_HASH,
});
const approval = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve', via: 'cli', ...by } as const;

const terminated = async ({ client }: World, workflowId: string) => {
  const handle = client.workflow.getHandle(workflowId);
  await eventually(`${workflowId} to run`, () =>
    handle.describe().then(
      ({ status }) => status.name === 'RUNNING',
      () => false,
    ),
  );
  await handle.terminate('by a person in the UI');
};

describe('a wave that is terminated from outside', () => {
  it('holds its train, names the stores of which nothing is known, and a retry takes them', async () => {
    const world = await useWorld();
    const held = (await world.store('s001', quick)).hold('applyConfig');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits: { maxConcurrency: 1 } })
        .build(),
    );
    const train = await world.startTrain();
    await world.store('s002', quick);
    await held.reached;
    await terminated(world, '2026-w48/canary/r0');
    const { hold } = await heldFor(train, 'StepFailed', 'canary');
    expect(hold?.answers).toEqual(expect.arrayContaining(['retry-failed', 'skip', 'rollback']));
    expect(hold?.summary).toMatch(/^A wave of stage canary broke off: .*terminated/i);
    const { notSucceeded } = await train.query(trainQuery);
    expect(notSucceeded.map(({ store, reason }) => [store, reason])).toEqual([
      ['s001', 'StepFailed'],
      ['s002', 'StepFailed'],
    ]);
    held.release();
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });

  it('while it measures has measured nobody, and the gate asks', async () => {
    const world = await useWorld();
    const measuring = (await world.store('s001', quick)).hold('probeStore');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'], limits: away })
        .build(),
    );
    const train = await world.startTrain();
    await measuring.reached;
    await terminated(world, '2026-w48/canary/r0/gate');
    const { hold } = await heldFor(train, 'NotEnoughFacts', 'canary');
    expect(hold?.answers).toContain('retry-gate');
    measuring.release();
    await train.executeUpdate(answerUpdates['retry-gate'], { args: [by] });
    await world.store('s002', quick);
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });

  it('of stores that came back holds the train, which still hears people', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits: away })
        .build(),
    );
    const train = await world.startTrain();
    await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
    const held = (await world.store('s002', quick)).hold('applyConfig');
    await held.reached;
    await terminated(world, '2026-w48/canary/r1');
    await heldFor(train, 'StepFailed', 'canary');
    held.release();
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 1, failed: 1 } });
  });
});

const resultsIn = ({ central }: World) =>
  central
    .ledgerOf('results')
    .flatMap(({ train, stage, round, results }) =>
      results.map((result): ResultRow => ({ ...result, train, stage, round, summary: result.stop?.summary })),
    );

/** As the ledger has it: a stage is written down at its end only. */
const reopened = (world: World) => {
  const stages = world.central.ledgerOf('stage').map(({ row }): StageRow => row);
  const row = { ...aTrainRow({ ...world.central.ledgerOf('train').at(-1)?.row }), planHash: PLAN_HASH };
  return reopenTrain({ row, results: resultsIn(world) }, stages, { ...aFleet(), fleet: 'acme' });
};

describe('a train whose own run was terminated', () => {
  it('in an open stage has that stage taken back', async () => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002'], quick);
    for (const [id, store] of stores) store.on('probeStore', async () => aHealthyProbe(id, { quorate: false }));
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'] })
        .stage('wave-1', { stores: ['s003'] })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'HealthGateFailed');
    await train.terminate('by a person in the UI');
    const { trainView } = createOperations({
      client: world.client,
      address: inject('temporalAddress'),
      timeout: 10_000,
    });
    const shown = await eventually('it to be shown as ended', async () => {
      const view = await trainView('acme');
      return view.state === 'failed' ? view : undefined;
    });
    expect(shown).toMatchObject({
      answers: [],
      doing: expect.stringMatching(/terminated.*edge train rollback --train 2026-w48/) as string,
    });
    expect(shown.hold).toBeUndefined();
    for (const [id, store] of stores) store.on('probeStore', async () => aHealthyProbe(id));

    const past = reopened(world);
    expect(past).toMatchObject({ kind: 'reopened', stages: [{ name: 'canary', state: 'running' }] });
    central.on('reopenTrain', async () => past);
    central.on('planRollback', async () => backFor('s001', 's002'));
    const back = await world.startRollback();
    await heldFor(back, 'ApprovalPending');
    await back.executeUpdate(decideUpdate, { args: [approval] });
    await eventually('both to be on their way', () =>
      [...stores.values()].every(({ tasks }) => tasks.some(({ operationId }) => operationId.includes('/rollback/'))),
    );
    const report = await back.result();
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
    expect(report.summary).toBe('Rolled back from 2026.48.0: 2 of 2 stores are back on 2026.47.0.');
    expect(central.ledgerOf('stage').map(({ row }) => [row.stage, row.state])).toEqual([['canary', 'rolled back']]);
  });
});

describe('a train whose own run was terminated while stores were in work', () => {
  it('has them in the ledger when they are at rest, and can be taken back', async () => {
    const world = await useWorld();
    const { central } = world;
    await world.store('s001', quick);
    const held = (await world.store('s002', quick)).hold('applyConfig');
    await world.store('s003', quick);
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003'], limits: { maxConcurrency: 2 } })
        .build(),
    );
    const train = await world.startTrain();
    await held.reached;
    await waveUntil(
      world.client.workflow.getHandle<typeof wave>('2026-w48/canary/r0'),
      'two are done',
      ({ tally }) => tally.succeeded === 2,
    );
    await train.terminate('by a person in the UI');
    await eventually('s002 to be told', async () =>
      (await eventsOf(world.storeHandle('s002'))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    held.release();
    await eventually('it to be written down', () => central.ledgerOf('results').length > 0);
    const past = reopened(world);
    expect(past.kind === 'reopened' && past.stages[0]?.results.map(({ store, outcome }) => [store, outcome])).toEqual([
      ['s001', 'succeeded'],
      ['s002', 'succeeded'],
      ['s003', 'succeeded'],
    ]);
    const rows = resultsIn(world);
    expect(stillOn(rows)).toEqual(['s001', 's002', 's003']);
  });
});

describe('a store that is silent when its train ends', () => {
  it('is known as one that takes back by itself what is set', async () => {
    const world = await useWorld();
    const held = (await world.store('s001', {}, { slots: 1 })).hold('drainNode n1');
    await world.store('s002', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits: { ...away, offlineAfter: 3_000, cutOffAfter: 100 } })
        .build(),
    );
    const train = await world.startTrain();
    await trainUntil(train, 'it waits for s001', ({ state }) => state === 'catching up');
    await train.executeUpdate(answerUpdates.finish, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1, cutOff: 1 } });
    // In the row of its operation, which no later round has.
    const told = resultsIn(world).filter(({ store }) => store === 's001');
    expect(told.map(({ stage, round, reason, summary }) => [stage, round, reason, summary])).toEqual([
      [
        'canary',
        0,
        'StoreCutOff',
        'The store fell silent at the step draining n1. Its operation ends when it is back, and the store is tried again.',
      ],
      [
        'canary',
        0,
        'UndoPending',
        'The store fell silent at the step draining n1. It takes back what is set by itself, or when it is back.',
      ],
    ]);
    held.release();
    await world.storeHandle('s001').result();
  });
});

describe('what cannot be read', () => {
  it('to plan a rollback holds the train, and it is planned when that is mended', async () => {
    const world = await useWorld();
    const { central } = world;
    const store = await world.store('s001', quick);
    store.on('applyConfig', async () => ({
      kind: 'failed' as const,
      stop: { reason: 'ConfigRejected' as const, summary: 'no' },
    }));
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
        .build(),
    );
    central.on('planRollback', unreadable);
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    const { hold } = await heldFor(train, 'RollbackRefused');
    expect(hold?.summary).toBe('The rollback could not be planned: policies/revoked.yaml cannot be read: line 3');
    store.on('applyConfig', async () => ({ kind: 'done' as const, changed: [] }));
    central.on('planRollback', async () => backFor('s001'));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(decideUpdate, { args: [approval] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 1 } });
  });

  it('of a train that has ended refuses its rollback, and changes nothing', async () => {
    const world = await useWorld();
    world.central.on('reopenTrain', unreadable);
    const train = await world.startRollback();
    await expect(train.result()).resolves.toMatchObject({
      state: 'failed',
      reason: 'RollbackRefused',
      summary: 'policies/revoked.yaml cannot be read: line 3',
    });
    expect(world.central.ledgerOf('train')).toEqual([]);
  });

  it('to begin a train calls people, who may have begun it by a schedule', async () => {
    const world = await useWorld();
    world.central.on('openTrain', unreadable);
    const train = await world.startTrain();
    await expect(train.result()).rejects.toMatchObject({ cause: { cause: { type: 'RevocationsUnreadable' } } });
    expect(world.central.notifications).toMatchObject([
      {
        event: 'attention',
        fleet: 'acme',
        summary: expect.stringMatching(
          /^No train of acme was begun: policies\/revoked.yaml cannot be read: line 3 \(train\/acme\)$/,
        ) as string,
      },
    ]);
    expect(await train.query<TrainView>(trainQuery)).toMatchObject({ state: 'failed' });
  });

  it('to plan a train ends it as failed, written down and told', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    world.central.on('planTrain', unreadable);
    const train = await world.startTrain();
    const why = { state: 'failed', reason: 'InvalidInput', summary: 'policies/revoked.yaml cannot be read: line 3' };
    await expect(train.result()).resolves.toMatchObject(why);
    expect(world.central.ledgerOf('train').at(-1)?.row).toMatchObject({
      ...why,
      endedAt: expect.any(String) as string,
    });
    expect(world.central.notifications).toMatchObject([{ event: 'failed', summary: why.summary }]);
  });
});
