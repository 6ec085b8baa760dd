import { describe, expect, it } from 'vitest';
import { decideGate } from '#domain/gate.js';
import { PROTOCOL, type StepAnswer } from '#domain/messages/store.js';
import type { WaveInput, WaveReport } from '#domain/messages/train.js';
import { storeWorkflowId } from '#domain/naming.js';
import { emptyTally } from '#domain/outcomes.js';
import { answerUpdates, steerWaveSignal, storeQuery, trainQuery } from '#workflows/messages.js';
import {
  aHealthyProbe,
  aPlan,
  aStage,
  aStoreInput,
  aWave,
  currentPreflight,
  storeNames,
} from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { eventsOf, eventually, heldFor, trainUntil, waveUntil } from '../support/workflow-harness.js';

const failedStep: StepAnswer<never> = { kind: 'failed', stop: { reason: 'UpgradeFailed', summary: 'apt said no' } };
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const outcomesOf = ({ results }: WaveReport): Record<string, string> =>
  Object.fromEntries(results.map(({ store, outcome, reason }) => [store, reason ?? outcome]));

/** Every store of the input is in the report once, and nobody else. */
function expectWhole(report: WaveReport, input: WaveInput): void {
  const named = [...report.results.map(({ store }) => store), ...report.notStarted];
  expect(named.toSorted()).toEqual(input.stores.map(({ id }) => id).toSorted());
}

describe('how many stores are in work', () => {
  it.each([
    ['a number', 2, 6, 2],
    ['a percentage of the stage, rounded down', '40%', 6, 2],
    ['at least one', '10%', 4, 1],
  ])('is never more than the limit allows: %s', async (_, maxConcurrency, size, allowed) => {
    const world = await useWorld();
    let now = 0;
    let most = 0;
    await world.stores(storeNames(size), {
      openOperation: async () => {
        now += 1;
        most = Math.max(most, now);
        return { kind: 'done', adopted: [] };
      },
      readFacts: async () => currentPreflight(),
      closeOperation: async () => {
        now -= 1;
        return { undone: [], leftSet: [] };
      },
    });
    const input = aWave(storeNames(size), { limits: { maxConcurrency } });
    const report = await (await world.startWave(input)).result();
    expect(Object.values(outcomesOf(report))).toEqual(storeNames(size).map(() => 'succeeded'));
    expectWhole(report, input);
    expect(most).toBe(allowed);
  });
});

describe('a store that another operation holds', () => {
  it('is deferred, never failed, and patched when it is free', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    await world.store('s002');
    const held = store.hold('readFacts');
    const other = await world.startStore(aStoreInput('s001', { train: 'by-hand' }));
    await held.reached;
    const input = aWave(['s001', 's002'], { limits: { deferLimit: 100 } });
    const wave = await world.startWave(input);
    await waveUntil(wave, 's001 is deferred', ({ deferred }) => deferred === 1);
    held.release();
    const report = await wave.result();
    expect(outcomesOf(report)).toEqual({ s001: 'succeeded', s002: 'succeeded' });
    await expect(other.result()).resolves.toMatchObject({ operationId: 'by-hand/canary/s001/r0' });
    expect(store.tasks.map(({ operationId }) => operationId)).toEqual([
      'by-hand/canary/s001/r0',
      '2026-w48/canary/s001/r0',
    ]);
  });

  it('is skipped when it is still busy after the last try', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const held = store.hold('readFacts');
    await world.startStore(aStoreInput('s001', { train: 'by-hand' }));
    await held.reached;
    const input = aWave(['s001'], { limits: { deferFor: 10, deferLimit: 2 } });
    const report = await (await world.startWave(input)).result();
    expect(outcomesOf(report)).toEqual({ s001: 'StoreBusy' });
    expect(report.results[0]?.outcome).toBe('skipped');
    expect(report.breach).toBeUndefined();
    held.release();
  });
});

describe('a breach', () => {
  it('of the error threshold starts no further store and lets those in work end by themselves', async () => {
    const world = await useWorld();
    const stores = await world.stores(storeNames(5));
    stores.get('s001')?.on('upgradeNode', async () => failedStep);
    const second = stores.get('s002');
    const held = second?.hold('rebootNode n1');
    const input = aWave(storeNames(5), { limits: { maxConcurrency: 2, errorThreshold: { count: 0, minSample: 1 } } });
    const wave = await world.startWave(input);
    await waveUntil(wave, 'the breach', ({ breach }) => breach !== undefined);
    await held?.reached;
    held?.release();
    const report = await wave.result();
    expect(report.breach?.reason).toBe('ErrorThresholdExceeded');
    expect(outcomesOf(report)).toEqual({ s001: 'UpgradeFailed', s002: 'succeeded' });
    expect(report.notStarted).toEqual(['s003', 's004', 's005']);
    expectWhole(report, input);
    expect(['s003', 's004', 's005'].flatMap((id) => stores.get(id)?.calls)).toEqual([]);
    expect(second?.work().at(-1)).toBe('closeOperation succeeded');
  });

  it('counts the failures of the parts before', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s003', 's004']);
    stores.get('s003')?.on('upgradeNode', async () => failedStep);
    const input = aWave(['s003', 's004'], {
      stageSize: 4,
      before: { tally: { succeeded: 1, failed: 1 }, started: 2 },
      limits: { errorThreshold: { count: 1, minSample: 1 } },
    });
    const report = await (await world.startWave(input)).result();
    expect(report).toMatchObject({ breach: { reason: 'ErrorThresholdExceeded' }, notStarted: ['s004'] });
  });

  it('does not come from stores that are offline as long as the stage allows those', async () => {
    const world = await useWorld();
    await world.store('s002');
    const input = aWave(['s001', 's002'], {
      limits: {
        offlineAfter: 500,
        errorThreshold: { count: 0, minSample: 1 },
        offlineThreshold: { count: 1, minSample: 1 },
      },
    });
    const wave = await world.startWave(input);
    await waveUntil(wave, 's001 is offline', ({ tally }) => tally.offline === 1);
    const report = await wave.result();
    expect(report.breach).toBeUndefined();
    expect(outcomesOf(report).s001).toBe('StoreOffline');
    expectWhole(report, input);
  });

  it('does not come from a store whose worker is too old: it is skipped, untouched, and the others go on', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003']);
    const protocol = { min: 0, max: PROTOCOL - 1 };
    stores.get('s001')?.on('hello', async () => ({ store: 's001', protocol, clock: '' }));
    const input = aWave(['s001', 's002', 's003'], { limits: { errorThreshold: { count: 0, minSample: 1 } } });
    const report = await (await world.startWave(input)).result();
    expect(report.breach).toBeUndefined();
    expect(outcomesOf(report)).toEqual({ s001: 'WorkerTooOld', s002: 'succeeded', s003: 'succeeded' });
    expect(stores.get('s001')?.calls).toEqual(['hello']);
    expectWhole(report, input);
  });

  it('of the offline threshold has its own name', async () => {
    const world = await useWorld();
    const input = aWave(storeNames(3), { limits: { offlineAfter: 100, offlineThreshold: { count: 1, minSample: 1 } } });
    const report = await (await world.startWave(input)).result();
    expect(report.breach?.reason).toBe('OfflineThresholdExceeded');
    expect(outcomesOf(report)).toEqual({ s001: 'StoreOffline', s002: 'StoreOffline' });
    expect(report.notStarted).toEqual(['s003']);
  });

  it('by the time of the stage starts no further store', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002']);
    const held = stores.get('s001')?.hold('drainNode n1');
    const input = aWave(['s001', 's002'], { limits: { stageTimeout: 1_000 } });
    const wave = await world.startWave(input);
    await held?.reached;
    await waveUntil(wave, 'the breach', ({ breach }) => breach?.reason === 'StageTimeout');
    held?.release();
    const report = await wave.result();
    expect(outcomesOf(report)).toEqual({ s001: 'succeeded' });
    expect(report.notStarted).toEqual(['s002']);
    expect(stores.get('s002')?.calls).toEqual([]);
  });
});

describe('the end of the time for a stage', () => {
  it('counts a store that is silent then as failed, and one that is in work not', async () => {
    const world = await useWorld();
    const silent = await world.store('s001', {}, { slots: 1 });
    const busy = await world.store('s002');
    const held = [silent.hold('drainNode n1'), busy.hold('drainNode n1')];
    const wave = await world.startWave(
      aWave(['s001', 's002', 's003'], {
        limits: {
          maxConcurrency: 2,
          offlineAfter: 1_000,
          cutOffAfter: 100,
          stageTimeout: 6_000,
          errorThreshold: { count: 0, minSample: 1 },
          offlineThreshold: { count: 3, minSample: 1 },
        },
      }),
    );
    await Promise.all(held.map(({ reached }) => reached));
    await waveUntil(wave, 's001 to be silent', ({ cutOff }) => cutOff.includes('s001'));
    const { breach } = await waveUntil(wave, 'the breach', (progress) => progress.breach !== undefined);
    expect(breach).toEqual({
      reason: 'ErrorThresholdExceeded',
      summary: '1 of 2 stores failed (1 of them still silent at the deadline); the stage allows 0.',
    });
    for (const { release } of held) release();
    await wave.result();
  });
});

const free = { paused: false, pausedStores: [], abortedStores: [] };

describe('a pause', () => {
  it('starts nothing new, lets those in work end, and goes on where it was', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002']);
    const held = stores.get('s001')?.hold('drainNode n1');
    const wave = await world.startWave(aWave(['s001', 's002']));
    await held?.reached;
    await wave.signal(steerWaveSignal, { ...free, paused: true });
    held?.release();
    await waveUntil(wave, 's001 has ended', ({ inFlight, tally }) => inFlight === 0 && tally.succeeded === 1);
    expect(stores.get('s002')?.calls).toEqual([]);
    await wave.signal(steerWaveSignal, free);
    expect(outcomesOf(await wave.result())).toEqual({ s001: 'succeeded', s002: 'succeeded' });
  });

  it('that was there before the wave holds it from its first store on', async () => {
    const world = await useWorld();
    const store = await world.store('s001', { readFacts: async () => currentPreflight() });
    const wave = await world.startWave(aWave(['s001'], { steering: { ...free, paused: true } }));
    await waveUntil(wave, 'the wave runs', ({ started }) => started === 0);
    expect(store.calls).toEqual([]);
    await wave.signal(steerWaveSignal, free);
    expect(outcomesOf(await wave.result())).toEqual({ s001: 'succeeded' });
  });
});

describe('an abort', () => {
  it('reaches the stores in work, which stop at a safe point, and starts no other', async () => {
    const world = await useWorld();
    const stores = await world.stores(storeNames(3));
    const draining = stores.get('s001')?.hold('drainNode n1');
    const upgrading = stores.get('s002')?.hold('upgradeNode n1');
    const input = aWave(storeNames(3), { limits: { maxConcurrency: 2 } });
    const wave = await world.startWave(input);
    await Promise.all([draining?.reached, upgrading?.reached]);
    await wave.cancel();
    await eventually('both stores were told', async () => {
      const histories = await Promise.all(['s001', 's002'].map((id) => eventsOf(world.storeHandle(id))));
      return histories.every((events) => events.some((event) => event.workflowExecutionCancelRequestedEventAttributes));
    });
    draining?.release();
    upgrading?.release();
    const report = await wave.result();
    expect(outcomesOf(report)).toEqual({ s001: 'Aborted', s002: 'Aborted' });
    expect(report.results.find(({ store }) => store === 's002')?.nodesPatched).toBe(1);
    expect(report.notStarted).toEqual(['s003']);
    expectWhole(report, input);
    expect(stores.get('s003')?.calls).toEqual([]);
    expect(stores.get('s002')?.work().slice(-2)).toEqual(['rejoinNode n1', 'closeOperation aborted']);
  });

  it('does not wait for a store that is silent: it is reported as cut off and undone when it is back', async () => {
    const world = await useWorld();
    const store = await world.store('s001', {}, { slots: 1 });
    const other = await world.store('s002');
    const held = store.hold('drainNode n1');
    const inWork = other.hold('drainNode n1');
    const wave = await world.startWave(
      aWave(['s001', 's002'], {
        limits: { offlineAfter: 3_000, cutOffAfter: 100, offlineThreshold: { count: 9, minSample: 1 } },
      }),
    );
    await held.reached;
    await waveUntil(wave, 's001 is cut off', ({ cutOff }) => cutOff.includes('s001'));
    await inWork.reached;
    await wave.cancel();
    await eventually('s002 was told', async () =>
      (await eventsOf(world.storeHandle('s002'))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    inWork.release();
    const report = await wave.result();
    expect(outcomesOf(report)).toEqual({ s001: 'UndoPending', s002: 'Aborted' });
    expect(report.results.find(({ store }) => store === 's001')?.stop?.step).toBe('draining n1');
    await expect(world.storeHandle('s001').query(storeQuery)).resolves.toMatchObject({ step: 'draining n1' });
    held.release();
    await expect(world.storeHandle('s001').result()).resolves.toMatchObject({ outcome: 'aborted' });
    expect(store.work().at(-1)).toBe('closeOperation aborted');
  });
});

describe('a store that falls silent', () => {
  it('gives its slot to the next one, and its own end counts when it is back before the wave is over', async () => {
    const world = await useWorld();
    const silent = await world.store('s001', {}, { slots: 1 });
    const other = await world.store('s002', { readFacts: async () => currentPreflight() });
    const held = silent.hold('drainNode n1');
    const late = other.hold('closeOperation succeeded');
    const input = aWave(['s001', 's002'], {
      limits: { offlineAfter: 3_000, cutOffAfter: 100, offlineThreshold: { count: 1, minSample: 1 } },
    });
    const wave = await world.startWave(input);
    await held.reached;
    await waveUntil(
      wave,
      's002 works while s001 is silent',
      ({ cutOff, started }) => cutOff.includes('s001') && started === 2,
    );
    held.release();
    await waveUntil(wave, 's001 has ended', ({ tally }) => tally.succeeded === 1);
    late.release();
    const report = await wave.result();
    expect(outcomesOf(report)).toEqual({ s001: 'succeeded', s002: 'succeeded' });
    expectWhole(report, input);
  });

  it('is not waited for when all others have ended; its operation ends safely when it is back', async () => {
    const world = await useWorld();
    const opened = { kind: 'done' as const, adopted: [], lastGood: '2026.47.0' };
    const silent = await world.store('s001', { openOperation: async () => opened }, { slots: 1 });
    await world.store('s002', { readFacts: async () => currentPreflight() });
    const held = silent.hold('drainNode n3');
    const input = aWave(['s001', 's002'], {
      limits: { offlineAfter: 3_000, cutOffAfter: 100, offlineThreshold: { count: 1, minSample: 1 } },
    });
    const report = await (await world.startWave(input)).result();
    expect(outcomesOf(report)).toEqual({ s001: 'StoreCutOff', s002: 'succeeded' });
    expectWhole(report, input);
    const startedAt = expect.stringMatching(/^\d{4}-\d\d-\d\dT/) as string;
    const result = report.results.find(({ store }) => store === 's001');
    expect(result).toEqual({
      store: 's001',
      outcome: 'cutOff',
      reason: 'StoreCutOff',
      stop: {
        reason: 'StoreCutOff',
        step: 'draining n3',
        summary:
          'The store fell silent at the step draining n3. Its operation ends when it is back, and the store is tried again.',
      },
      operationId: '2026-w48/canary/s001/r0',
      startedAt,
      release: input.release?.version,
      nodesPatched: 1,
      lastGood: '2026.47.0',
    });
    held.release();
    await expect(world.storeHandle('s001').result()).resolves.toMatchObject({ outcome: 'aborted' });
    expect(silent.work().at(-1)).toBe('closeOperation aborted');
  });

  it.each([
    ['of an earlier build, which says no more than that', {}],
    ['of which the rest cannot be read', { seen: { step: 5 } }],
  ])('is known by a notice %s', async (_, rest) => {
    const world = await useWorld();
    const held = (await world.store('s001')).hold('drainNode n1');
    const other = (await world.store('s002', { readFacts: async () => currentPreflight() })).hold('readFacts');
    const wave = await world.startWave(
      aWave(['s001', 's002'], { limits: { maxConcurrency: 2, offlineThreshold: { count: 1, minSample: 1 } } }),
    );
    await Promise.all([held.reached, other.reached]);
    await wave.signal('cutOff', { store: 's001', cutOff: true, ...rest });
    await waveUntil(wave, 's001 is cut off', ({ cutOff }) => cutOff.includes('s001'));
    other.release();
    const report = await wave.result();
    expect(report.results.find(({ store }) => store === 's001')).toEqual({
      store: 's001',
      outcome: 'cutOff',
      reason: 'StoreCutOff',
      stop: { reason: 'StoreCutOff', summary: expect.stringMatching(/^The store fell silent in the middle of its/) },
      operationId: '2026-w48/canary/s001/r0',
      startedAt: expect.any(String),
      release: expect.any(String),
    });
    held.release();
  });

  it('counts in the offline threshold', async () => {
    const world = await useWorld();
    const silent = await world.store('s001', {}, { slots: 1 });
    const never = await world.store('s002');
    const held = silent.hold('drainNode n1');
    const input = aWave(['s001', 's002'], {
      limits: { offlineAfter: 3_000, cutOffAfter: 100, offlineThreshold: { count: 0, minSample: 1 } },
    });
    const wave = await world.startWave(input);
    await held.reached;
    const report = await wave.result();
    expect(report.breach?.reason).toBe('OfflineThresholdExceeded');
    expect(outcomesOf(report)).toEqual({ s001: 'StoreCutOff' });
    expect(report.notStarted).toEqual(['s002']);
    expect(never.calls).toEqual([]);
    held.release();
  });
});

describe('windows of stores', () => {
  it('are waited for, and one that has closed skips its store', async () => {
    const world = await useWorld();
    let openedAt = 0;
    await world.store('s001', {
      openOperation: async () => {
        openedAt = Date.now();
        return { kind: 'done', adopted: [] };
      },
      readFacts: async () => currentPreflight(),
    });
    const missed = await world.store('s002');
    const opens = inSeconds(2);
    const input = aWave([
      { id: 's001', opens, closes: inSeconds(600) },
      { id: 's002', opens: inSeconds(-600), closes: inSeconds(-1) },
    ]);
    const report = await (await world.startWave(input)).result();
    expect(outcomesOf(report)).toEqual({ s001: 'succeeded', s002: 'OutsideWindow' });
    expect(openedAt).toBeGreaterThanOrEqual(Date.parse(opens));
    expect(missed.calls).toEqual([]);
    expectWhole(report, input);
  });

  it('end where the store says, else where the stage does, and the store is told', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], { readFacts: async () => currentPreflight() });
    const notAfter = inSeconds(900);
    const closes = inSeconds(300);
    await (await world.startWave(aWave([{ id: 's001', opens: inSeconds(-9), closes }, 's002'], { notAfter }))).result();
    expect(stores.get('s001')?.tasks[0]?.notAfter).toBe(closes);
    expect(stores.get('s002')?.tasks[0]?.notAfter).toBe(notAfter);
  });
});

describe('an operation that is terminated from outside', () => {
  it('has failed with that name, and the wave goes on', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], { readFacts: async () => currentPreflight() });
    const held = stores.get('s001')?.hold('openOperation');
    const input = aWave(['s001', 's002'], { limits: { errorThreshold: { count: 1, minSample: 1 } } });
    const wave = await world.startWave(input);
    await held?.reached;
    await world.client.workflow.getHandle(storeWorkflowId('s001')).terminate('by a person in the UI');
    const report = await wave.result();
    expect(outcomesOf(report)).toEqual({ s001: 'Terminated', s002: 'succeeded' });
    expect(report.results.find(({ store }) => store === 's001')).toMatchObject({
      outcome: 'failed',
      operationId: '2026-w48/canary/s001/r0',
      startedAt: expect.any(String) as string,
    });
    held?.release();
  });
});

describe('signals that are not what they must be', () => {
  const nonsense = [
    [],
    [undefined],
    ['stop'],
    [{}],
    [{ paused: 'yes' }],
    [{ store: '../x', cutOff: true }],
    [{ store: 5 }],
  ];

  it('change nothing for a wave and for the operation on a store, which end as if nothing had been said', async () => {
    const world = await useWorld();
    const held = (await world.store('s001', { readFacts: async () => currentPreflight() })).hold('readFacts');
    const wave = await world.startWave(aWave(['s001']));
    await held.reached;
    for (const args of nonsense) {
      await wave.signal('steerWave', ...args);
      await wave.signal('cutOff', ...args);
      await world.storeHandle('s001').signal('steerStore', ...args);
    }
    held.release();
    expect(outcomesOf(await wave.result())).toEqual({ s001: 'succeeded' });
  });

  it('change nothing for a train', async () => {
    const world = await useWorld();
    const plan = aPlan()
      .stage('canary', { stores: ['s001'] })
      .build();
    world.central.plans(plan);
    const held = (await world.store('s001', { readFacts: async () => currentPreflight() })).hold('readFacts');
    const train = await world.startTrain();
    await held.reached;
    for (const args of nonsense) await train.signal('waveProgress', ...args);
    await train.signal('waveProgress', { wave: 'w', started: 1, tally: {}, notSucceeded: [{}] });
    held.release();
    expect(await train.result()).toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });
});

describe('reports that arrive in another order than they were sent', () => {
  it('leave a train with the newest counts, and with every store that they name', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits: { maxConcurrency: 2 } })
        .build(),
    );
    const stores = await world.stores(['s001', 's002'], { readFacts: async () => currentPreflight() });
    const held = [...stores.values()].map((store) => store.hold('readFacts'));
    const train = await world.startTrain();
    await Promise.all(held.map(({ reached }) => reached));
    const { wave: id } = await train.query(trainQuery);
    const report = { wave: id, cutOff: [], deferred: 0 };
    const failed = { store: 's001', outcome: 'failed', reason: 'StepFailed' };
    const newest = {
      ...report,
      nth: 12,
      started: 2,
      inFlight: 0,
      tally: { ...emptyTally(), succeeded: 1, failed: 1 },
      notSucceeded: [],
    };
    await train.signal('waveProgress', newest);
    await train.signal('waveProgress', {
      ...report,
      nth: 11,
      started: 2,
      inFlight: 1,
      tally: { ...emptyTally(), failed: 1 },
      notSucceeded: [failed],
    });
    expect(await train.query(trainQuery)).toMatchObject({
      stages: [{ tally: { succeeded: 1, failed: 1 }, inFlight: 0 }],
      notSucceeded: [failed],
    });
    for (const { release } of held) release();
    expect(await train.result()).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });
});

describe('a wave of probes', () => {
  it.each([
    ['nothing', undefined],
    ['half of it', { store: 's001', at: 'now', reachable: true }],
    ['another store', aHealthyProbe('s002')],
    ['words', 'all is well'],
  ])('takes an answer that is %s for a store that was reached and shows nothing', async (_, answer) => {
    const world = await useWorld();
    await world.store('s001', { probeStore: async () => answer as never });
    const report = await (await world.startWave(aWave(['s001'], { operation: 'probe' }))).result();
    expect(report.probes).toMatchObject([{ store: 's001', guests: [], quorate: false }]);
    const { gate, limits } = aStage('canary', { stores: ['s001'] }).settings;
    const { offlineThreshold } = limits;
    const verdict = decideGate({ probes: report.probes, expected: ['s001'], limits: gate, offlineThreshold });
    expect(verdict.kind).not.toBe('pass');
  });

  it('only looks: no operation is opened, and who does not answer is reported as unreachable', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const input = aWave(['s001', 's002'], { operation: 'probe', limits: { maxConcurrency: 2, offlineAfter: 500 } });
    const wave = await world.startWave(input);
    const report = await wave.result();
    expect(store.calls).toEqual(['probeStore']);
    expect(Object.fromEntries(report.probes.map(({ store: id, reachable }) => [id, reachable]))).toEqual({
      s001: true,
      s002: false,
    });
    expect(report.breach).toBeUndefined();
    expect((await eventsOf(wave)).some((event) => event.startChildWorkflowExecutionInitiatedEventAttributes)).toBe(
      false,
    );
  });
});

describe('an input typed by hand', () => {
  it('fails at once, for good, and names every problem by its path', async () => {
    const world = await useWorld();
    const input = { ...aWave(['s001', '../etc']), operation: 'reboot', round: -1 } as unknown as WaveInput;
    await expect((await world.startWave(input)).result()).rejects.toMatchObject({
      cause: {
        type: 'InvalidInput',
        nonRetryable: true,
        message: expect.stringMatching(/round: .*operation: .*stores\[1\]\.id: /s) as string,
      },
    });
  });
});

describe('the history of a wave', () => {
  it('stays under 4,096 events for 250 stores of which 50 are deferred five times', async () => {
    const world = await useWorld();
    const ids = storeNames(250);
    const busy = ids.filter((_, index) => index % 5 === 0);
    // Nobody polls for these stores: their holders wait for an answer until the world is closed, and the others turn out
    // to be offline, which is the quickest way for a child to end. A wave's own history knows no difference.
    for (const id of busy) await world.startStore(aStoreInput(id, { train: 'by-hand', offlineAfter: 3_600_000 }));
    world.central.plans(
      aPlan()
        .stage('wave-2', {
          stores: ids,
          limits: {
            maxConcurrency: 25,
            offlineAfter: 1,
            deferFor: 100,
            deferLimit: 5,
            offlineThreshold: { percent: 100, minSample: 5 },
          },
        })
        .build(),
    );
    const train = await world.startTrain();
    const running = world.client.workflow.getHandle('2026-w48/wave-2/r0');
    await eventually('the wave runs', () => running.describe());
    await running.result();
    // Nobody took the release, so the gate knows nothing.
    await heldFor(train, 'NotEnoughFacts');
    await train.executeUpdate(answerUpdates.skip, { args: [{ by: 'anna' }] });
    await trainUntil(train, 'the stage is through', ({ answers }) => answers.includes('finish'));
    await train.executeUpdate(answerUpdates.finish, { args: [{ by: 'anna' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { missed: 200, skipped: 50 } });
    const events = await eventsOf(world.client.workflow.getHandle('2026-w48/wave-2/r0'));
    const refusals = events.filter((event) => event.startChildWorkflowExecutionFailedEventAttributes);
    const reports = events.filter((event) => event.signalExternalWorkflowExecutionInitiatedEventAttributes);
    expect(refusals).toHaveLength(50 * 6);
    expect(reports.length).toBeGreaterThanOrEqual(9);
    expect(events.length).toBeLessThan(4_096);
  }, 240_000);
});
