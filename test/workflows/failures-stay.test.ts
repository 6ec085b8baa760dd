import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import type { Limits } from '#domain/fleet.js';
import type { TrainView } from '#domain/messages/train.js';
import { abortUpdate, answerUpdates, pauseUpdate } from '#workflows/messages.js';
import { aPlan, aStoreInput, aWave, currentPreflight } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { eventually, heldFor, trainUntil, type FakeStore, type World } from '../support/workflow-harness.js';

/** A stage that breached, and what a retry may and may not change about that. */

type Train = Awaited<ReturnType<World['startTrain']>>;

const by = { by: 'anna' };
const quick = { readFacts: async () => currentPreflight() };
const refuses = async (): Promise<StepAnswer<never>> => ({
  kind: 'failed',
  stop: { reason: 'ConfigRejected', summary: 'nginx -t said no' },
});
const accepts = async () => ({ kind: 'done' as const, changed: [] });
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const say = (train: Train, answer: 'retry-failed' | 'retry-offline' | 'skip') =>
  train.executeUpdate(answerUpdates[answer], { args: [by] });
const tallyOf = (view: TrainView) => view.stages[0]?.tally;
const roundsOf = (store: FakeStore | undefined) => store?.tasks.map(({ operationId }) => operationId.split('/').at(-1));
const plan = (stores: string[], limits: Partial<Limits>) => aPlan().stage('canary', { stores, limits }).build();
const heldAgain = (train: Train, before: TrainView) =>
  trainUntil(train, 'it is held again', ({ hold }) => hold !== undefined && hold.since !== before.hold?.since);

describe('a failure that is tried again', () => {
  const breached = async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's003'], quick);
    // One slot, so that it does not answer while another step is under way.
    const failing = await world.store('s002', { ...quick, applyConfig: refuses }, { slots: 1 });
    world.central.plans(
      plan(['s001', 's002', 's003'], {
        offlineAfter: 2_000,
        cutOffAfter: 100,
        deferFor: 10,
        deferLimit: 2,
        errorThreshold: { count: 0, minSample: 1 },
      }),
    );
    const train = await world.startTrain();
    const view = await heldFor(train, 'ErrorThresholdExceeded');
    failing.on('applyConfig', accepts);
    return { world, train, view, failing, untouched: stores.get('s003') as FakeStore };
  };

  it.each<[string, string, (world: World, train: Train, failing: FakeStore) => Promise<() => Promise<unknown>>]>([
    [
      'its own window has closed',
      'skipped, The maintenance window closed before its turn.',
      async (world) => {
        const own = { opens: inSeconds(-600), closes: inSeconds(-1) };
        world.central.on('stageWindows', async () => ({ stores: { s002: own }, never: [], excluded: [] }));
        return async () => undefined;
      },
    ],
    [
      'another operation holds it',
      'skipped, Another operation held the store through 2 tries.',
      async (world, _, failing) => {
        const held = failing.hold('readFacts');
        await world.startStore(aStoreInput('s002', { train: 'by-hand' }));
        await held.reached;
        failing.tasks.length = 0;
        return async () => undefined;
      },
    ],
    [
      'it is offline',
      'offline, The store worker did not answer. Nothing was touched.',
      async (world, _, failing) => {
        const held = failing.hold('probeStore');
        await world.startWave(aWave(['s002'], { operation: 'probe', train: 'by-hand' }));
        await held.reached;
        return async () => undefined;
      },
    ],
    [
      'people take it out before its turn',
      'aborted, Aborted by an operator before its turn.',
      async (_, train) => {
        await train.executeUpdate(pauseUpdate, { args: [{ ...by, store: 's002' }] });
        return async () => {
          await trainUntil(train, 'the retry runs', ({ wave, hold }) => !hold && wave === '2026-w48/canary/r1');
          await train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's002' }] });
        };
      },
    ],
  ])('stays when %s, says so, and stops the stage as before', async (_, met, given) => {
    const { world, train, view, failing, untouched } = await breached();
    const then = await given(world, train, failing);
    failing.tasks.length = 0;
    await say(train, 'retry-failed');
    await then();
    const again = await heldAgain(train, view);
    expect(again.hold).toMatchObject({
      reason: 'ErrorThresholdExceeded',
      summary: '1 of 2 stores failed; the stage allows 0.',
      detail: [`s002: ConfigRejected nginx -t said no (tried again in round 2: ${met})`],
    });
    expect(tallyOf(again)).toMatchObject({ succeeded: 1, failed: 1, skipped: 0, offline: 0, aborted: 0 });
    expect(again.notSucceeded).toMatchObject([
      { store: 's002', outcome: 'failed', stop: { detail: [`tried again in round 2: ${met}`] } },
    ]);
    expect([failing.tasks, untouched.calls]).toEqual([[], []]);
    await say(train, 'skip');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, failed: 1 } });
    expect(roundsOf(untouched), 'people accepted the failure').toEqual(['r2']);
    const rows = world.central
      .ledgerOf('results')
      .map(({ round, results }) => [round, results.map(({ store, outcome }) => `${store} ${outcome}`)]);
    expect(rows.at(1), 'the ledger has each round as it was').toEqual([1, [`s002 ${met.split(',')[0] ?? ''}`]]);
    expect(rows).toHaveLength(3);
  });

  it('stays against the stage when the store is cut off meanwhile, until it succeeds', async () => {
    const { world, train, view, failing, untouched } = await breached();
    const silent = failing.hold('applyConfig');
    await say(train, 'retry-failed');
    await silent.reached;
    const again = await heldAgain(train, view);
    expect(again.hold).toMatchObject({
      reason: 'ErrorThresholdExceeded',
      summary: '1 of 2 stores failed; the stage allows 0.',
      answers: ['retry-offline', 'skip', 'rollback', 'abort'],
    });
    expect(again.hold?.detail).toEqual([
      expect.stringMatching(/^s002: StoreCutOff .* \(failed before: ConfigRejected, nginx -t said no\)$/),
    ]);
    expect(tallyOf(again)).toMatchObject({ succeeded: 1, failed: 0, cutOff: 1 });
    expect(untouched.calls).toEqual([]);
    silent.release();
    await world.storeHandle('s002').result();
    await say(train, 'retry-offline');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect(roundsOf(failing)?.slice(0, 2)).toEqual(['r0', 'r1']);
  });
});

describe('an answer to a breach', () => {
  it('takes whom it names, whatever else stands against the stage; who was never started follows when that is gone', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's003'], { ...quick, applyConfig: refuses });
    stores.get('s003')?.on('applyConfig', accepts);
    world.central.plans(
      plan(['s001', 's002', 's003'], {
        offlineAfter: 2_000,
        errorThreshold: { count: 1, minSample: 1 },
        offlineThreshold: { count: 0, minSample: 1 },
      }),
    );
    const train = await world.startTrain();
    const first = await heldFor(train, 'OfflineThresholdExceeded');
    expect(first.hold?.answers).toEqual(['retry-failed', 'retry-offline', 'skip', 'rollback', 'abort']);
    stores.get('s001')?.on('applyConfig', accepts);
    await say(train, 'retry-failed');
    const second = await heldAgain(train, first);
    expect(roundsOf(stores.get('s001'))).toEqual(['r0', 'r1']);
    expect(stores.get('s003')?.calls, 'never started').toEqual([]);
    expect(second.hold).toMatchObject({
      reason: 'OfflineThresholdExceeded',
      summary: '1 of 2 stores is offline or cut off (1 offline, 0 cut off); the stage allows 0.',
      answers: ['retry-offline', 'skip', 'rollback', 'abort'],
    });
    const late = await world.store('s002', quick);
    await say(train, 'retry-offline');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect([roundsOf(late), roundsOf(stores.get('s003'))]).toEqual([['r2'], ['r3']]);
  });

  it('that asks for those that are away takes them although others have failed, and starts nobody else', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s002', 's003'], { ...quick, applyConfig: refuses });
    world.central.plans(
      plan(['s001', 's002', 's003'], { offlineAfter: 2_000, offlineThreshold: { count: 1, minSample: 1 } }),
    );
    const train = await world.startTrain();
    const first = await heldFor(train, 'ErrorThresholdExceeded');
    expect(first.hold?.answers).toEqual(['retry-failed', 'retry-offline', 'skip', 'rollback', 'abort']);
    const late = await world.store('s001', quick);
    await say(train, 'retry-offline');
    const second = await heldAgain(train, first);
    expect(roundsOf(late)).toEqual(['r1']);
    expect(second.hold).toMatchObject({
      reason: 'ErrorThresholdExceeded',
      summary: '1 of 2 stores failed; the stage allows 0.',
      answers: ['retry-failed', 'skip', 'rollback', 'abort'],
    });
    expect(stores.get('s003')?.calls).toEqual([]);
    await expect(say(train, 'retry-offline')).rejects.toMatchObject({
      cause: { message: expect.stringMatching(/does not take "retry-offline" now/) as string },
    });
    for (const store of stores.values()) store.on('applyConfig', accepts);
    await say(train, 'retry-failed');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect([roundsOf(stores.get('s002')), roundsOf(stores.get('s003'))]).toEqual([['r0', 'r2'], ['r3']]);
  });

  it('that leaves some as they are has the others judged without those', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's002', 's003'], { ...quick, applyConfig: refuses });
    world.central.plans(plan(['s001', 's002', 's003'], { errorThreshold: { percent: 30, minSample: 2 } }));
    const train = await world.startTrain();
    const first = await heldFor(train, 'ErrorThresholdExceeded');
    expect(first.hold?.summary).toMatch(/^2 of 2 stores failed/);
    await say(train, 'skip');
    const second = await heldAgain(train, first);
    expect(second.hold).toMatchObject({
      reason: 'ErrorThresholdExceeded',
      summary: expect.stringMatching(/^1 of 1 store failed/) as string,
    });
  });
});

describe('a store that was awaited', () => {
  it('and failed when people had it tried is not tried again unasked', async () => {
    const world = await useWorld();
    world.central.plans(plan(['s001'], { offlineAfter: 2_000, offlineThreshold: { count: 1, minSample: 1 } }));
    const train = await world.startTrain();
    const first = await heldFor(train, 'NotEnoughFacts');
    expect(first.awaited).toEqual(['s001']);
    // The greeting is still under way when people do not wait for it.
    let goOn: () => void = () => undefined;
    const greeting = new Promise<void>((released) => (goOn = released));
    let greeted = 0;
    const hello = async () => {
      greeted += 1;
      if (greeted === 1) await greeting;
      return { store: 's001', protocol: { min: 1, max: 1 }, clock: '' };
    };
    const late = await world.store('s001', { ...quick, hello, applyConfig: refuses });
    await eventually('it is greeted', () => greeted === 1);
    await say(train, 'retry-failed');
    await heldFor(train, 'ErrorThresholdExceeded');
    await say(train, 'skip');
    await heldFor(train, 'NotEnoughFacts');
    await say(train, 'skip');
    await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
    goOn();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { failed: 1 } });
    expect(roundsOf(late)).toEqual(['r1']);
  });
});
