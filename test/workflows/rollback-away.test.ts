import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import { renderTrain } from '#client/cli/render-train.js';
import type { TrainView } from '#domain/messages/train.js';
import type { Outcome } from '#domain/outcomes.js';
import {
  abortUpdate,
  answerUpdates,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  trainQuery,
} from '#workflows/messages.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import { useWorld } from '../support/use-world.js';
import { aPlan, aReopenedTrain, currentPreflight, OTHER_HASH } from '../support/workflow-builders.js';
import { eventsOf, eventually, heldFor, trainUntil } from '../support/workflow-harness.js';

/** Stores that are away when their train is taken back: nothing on a store acts without a task. */

const quick = { readFacts: async () => currentPreflight() };
const failedStep: StepAnswer<never> = { kind: 'failed', stop: { reason: 'ConfigRejected', summary: 'no' } };
const by = { by: 'anna' };
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const ENDED = '2026-11-23T03:00:00.000Z';

/** A train that has ended, over s001 and s002, at the end of its approval; s002 has no worker yet. */
async function takenBack({
  deadline = ENDED,
  limits = {},
  outcomes = {} as Record<string, Outcome>,
  noProgressAfter = 3_600_000,
} = {}) {
  const world = await useWorld();
  const { central } = world;
  const pointed: Record<string, unknown>[] = [];
  central.on('pointBack', async (input) => void pointed.push(input));
  const plan = aPlan({ deadline })
    .stage('canary', {
      stores: ['s001', 's002'],
      limits: { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 }, ...limits },
    })
    .stage('wave-1', { stores: ['s003'] })
    .build();
  central.plans(plan);
  central.on('reopenTrain', async () => ({
    ...aReopenedTrain(plan, { s003: 'missed', ...outcomes }),
    noProgressAfter,
  }));
  central.on('planRollback', async () => ({
    kind: 'planned',
    plan: aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001', 's002'] }] }),
    planHash: OTHER_HASH,
  }));
  const start = async () => {
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(decideUpdate, {
      args: [{ stage: 'rollback', planHash: OTHER_HASH, decision: 'approve', via: 'cli', ...by }],
    });
    return train;
  };
  return { world, central, pointed, start };
}

const measured = (calls: readonly string[]): number => calls.filter((call) => call === 'probeStore').length;

describe('a store that is away when its train is taken back', () => {
  it('is awaited, and taken back and measured in a further round when it is there', async () => {
    const { world, start } = await takenBack();
    const first = await world.store('s001', quick);
    const train = await start();
    const view = await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    expect(view).toMatchObject({ awaited: ['s002'], answers: ['finish', 'pause', 'abort'] });
    expect(view.doing).toMatch(/^1 store is away and awaited until .*: s002\.$/);
    expect(measured(first.calls)).toBe(1);

    const late = await world.store('s002', quick);
    const report = await train.result();
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 2, missed: 1 } });
    expect(report.summary).toBe('Rolled back from 2026.48.0: 2 of 2 stores are back on 2026.47.0.');
    expect(late.tasks.at(-1)).toMatchObject({
      operationId: '2026-w48/rollback/s002/r1',
      release: aReleaseRef(47),
      permit: { permit: OTHER_HASH },
    });
    expect([measured(first.calls), measured(late.calls)]).toEqual([1, 1]);
    expect((await train.query(trainQuery)).awaited).toEqual([]);
  });

  it('is named at the end, with what takes it back, when people do not want to wait', async () => {
    const { world, central, start } = await takenBack();
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await expect(train.executeUpdate(answerUpdates.finish, { args: [by] })).resolves.toBe(
      'anna ends the rollback; stores that are still away keep the release that was taken back.',
    );
    const report = await train.result();
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 1, offline: 1, missed: 1 } });
    expect(report.summary).toBe(
      'Rolled back from 2026.48.0: 1 of 2 stores is back on 2026.47.0. Away, and still on 2026.48.0: s002. ' +
        'To take them back later: edge train rollback --train 2026-w48',
    );
    expect(central.ledgerOf('train').at(-1)?.row).toMatchObject({ state: 'rolled back', summary: report.summary });
    expect((await train.query(trainQuery)).awaited).toEqual([]);
  });

  it('is awaited no longer than to the deadline of a train that has one ahead', async () => {
    const { world, start } = await takenBack({ deadline: inSeconds(15) });
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      summary: expect.stringMatching(/Away, and still on 2026\.48\.0: s002\./) as string,
    });
  });

  it('and fails when it is back is a question to people, as in any round', async () => {
    const { world, start } = await takenBack({ limits: { errorThreshold: { count: 0, minSample: 1 } } });
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await world.store('s002', { ...quick, applyConfig: async () => failedStep });
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(held.answers).toEqual(['retry-failed', 'skip', 'pause', 'abort']);
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      summary:
        'Rolled back from 2026.48.0: 1 of 2 stores is back on 2026.47.0. Did not come back: s002. ' +
        'To take them back later: edge train rollback --train 2026-w48',
    });
  });

  it('is not taken while people keep it paused', async () => {
    const { world, start } = await takenBack();
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, store: 's002' }] });
    const late = await world.store('s002', quick);
    await trainUntil(train, 'it is greeted', () => late.calls.includes('hello'));
    expect(late.tasks).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, store: 's002' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});

describe('a store that falls silent on its way back', () => {
  it('holds nobody up: it is awaited, and its result is taken when it is there again', async () => {
    const { world, start } = await takenBack({ limits: { maxConcurrency: 2, offlineAfter: 3_000, cutOffAfter: 100 } });
    const silent = await world.store('s001', {}, { slots: 1 });
    await world.store('s002', quick);
    const held = silent.hold('drainNode n1');
    const train = await start();
    await held.reached;
    const view = await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    expect(view.awaited).toEqual(['s001']);
    silent.on('readFacts', async () => currentPreflight());
    held.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});

describe('the stores of a train that never took its release', () => {
  it('are pointed back too', async () => {
    const { world, pointed, start } = await takenBack();
    await world.stores(['s001', 's002'], quick);
    const train = await start();
    await train.result();
    expect(pointed).toMatchObject([{ groups: [{ stores: ['s001', 's002'] }], others: ['s003'] }]);
  });
});

const statesOf = ({ stages }: TrainView) => stages.map(({ name, state }) => [name, state]);

describe('a stage that was through before its train is taken back', () => {
  const heldBack = async () => {
    const { world, central, start } = await takenBack({ limits: { errorThreshold: { count: 0, minSample: 1 } } });
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s001')?.on('applyConfig', async () => failedStep);
    const train = await start();
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(statesOf(held)).toEqual([
      ['canary', 'held'],
      ['wave-1', 'done'],
    ]);
    return { central, train, store: stores.get('s001') };
  };
  const isThrough = async ({ central, train }: Awaited<ReturnType<typeof heldBack>>) => {
    expect(statesOf(await train.query(trainQuery))).toEqual([
      ['canary', 'done'],
      ['wave-1', 'done'],
    ]);
    // Where the ledger does not call it done, its release is nobody's last good one.
    expect(central.ledgerOf('stage').map(({ row }) => [row.stage, row.state])).toEqual([
      ['canary', 'done'],
      ['wave-1', 'done'],
    ]);
  };

  it('is through again when its way back was held and is tried again', async () => {
    const rollback = await heldBack();
    rollback.store?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await rollback.train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(rollback.train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
    await isThrough(rollback);
  });

  it('is through again when its way back was held and people give it up', async () => {
    const rollback = await heldBack();
    await rollback.train.executeUpdate(abortUpdate, { args: [by] });
    await expect(rollback.train.result()).resolves.toMatchObject({ state: 'aborted' });
    await isThrough(rollback);
  });
});

describe('a stage that is paused before its way back', () => {
  it('says so, by whom and how it goes on, and nobody is called for it', async () => {
    const { world, central } = await takenBack({ noProgressAfter: 1_000 });
    await world.stores(['s001', 's002'], quick);
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, stage: 'canary', reason: 'stocktaking' }] });
    await train.executeUpdate(decideUpdate, {
      args: [{ stage: 'rollback', planHash: OTHER_HASH, decision: 'approve', via: 'cli', ...by }],
    });
    const stands = await trainUntil(train, 'it stands', ({ standsAt }) => standsAt === 'canary');
    expect(stands).toMatchObject({
      state: 'rolling back',
      doing: 'Stage canary is paused by anna: stocktaking. Nothing goes on until it is resumed.',
    });
    const shown = renderTrain(stands, { clock: { zone: 'UTC', now: new Date() }, suffix: '', columns: 200 }).join('\n');
    expect(shown).toMatch(
      /Stage canary is paused by anna since .*: stocktaking\. It goes on by: edge train resume --stage canary/,
    );
    const called = () => central.notifications.filter(({ event }) => event === 'stalled').length;
    const timers = async () => (await eventsOf(train)).filter((event) => event.timerFiredEventAttributes).length;
    const before = { called: called(), timers: await timers() };
    await eventually('two looks after the limit', async () => (await timers()) >= before.timers + 2);
    expect(called()).toBe(before.called);
    expect((await train.query(trainQuery)).stalled).toBeUndefined();
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, stage: 'canary' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});
