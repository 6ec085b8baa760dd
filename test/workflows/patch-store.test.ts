import { ApplicationFailure } from '@temporalio/common';
import { tsToMs } from '@temporalio/common/lib/time.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { PatchStoreInput, StepAnswer, StoreActivities, StoreTask } from '#domain/messages/store.js';
import type { Reason } from '#domain/reasons.js';
import { storeWorkerSchema } from '#workers/config.js';
import { pauseUpdate, resumeUpdate, storeQuery } from '#workflows/messages.js';
import { aStore, OLD_KERNEL } from '../support/builders.js';
import { useWorld } from '../support/use-world.js';
import { aPreflight, aStoreInput, aWave, currentPreflight, simulated } from '../support/workflow-builders.js';
import { actionsOf, eventsOf, eventually, firedOf, sumOf, waveUntil } from '../support/workflow-harness.js';

const refused = (reason: Reason): Exclude<StepAnswer, { kind: 'done' }> => ({
  kind: 'refused',
  stop: { reason, summary: `refused: ${reason}` },
});
const failed = (reason: Reason): Exclude<StepAnswer, { kind: 'done' }> => ({
  kind: 'failed',
  stop: { reason, summary: `failed: ${reason}` },
});
const nodeSteps = (node: string): string[] =>
  ['drainNode', 'upgradeNode', 'rebootNode', 'rejoinNode'].map((step) => `${step} ${node}`);
const before = ['openOperation', 'readFacts', 'stagePackages'];
const after = ['applyConfig', 'verifyStore', 'closeOperation succeeded'];

describe('a calm store of three nodes', () => {
  it('is patched node by node, the one that leads the HA managers last, and given back', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      store: 's001',
      outcome: 'succeeded',
      nodesPatched: 3,
      operationId: '2026-w48/canary/s001/r0',
      release: '2026.48.0',
    });
    expect(store.calls).toEqual([
      'hello',
      ...before,
      ...nodeSteps('n1'),
      ...nodeSteps('n3'),
      ...nodeSteps('n2'),
      ...after,
    ]);
  });

  it('costs at most 24 Temporal actions as the child of a wave, heartbeats apart', async () => {
    const world = await useWorld();
    await world.store('s001');
    await (await world.startWave(aWave(['s001']))).result();
    const actions = actionsOf(await eventsOf(world.storeHandle('s001')));
    expect(actions).toMatchObject({ start: 2, activities: 19, signals: 0, updates: 0, upserts: 1 });
    expect(sumOf(actions), JSON.stringify(actions)).toBeLessThanOrEqual(24);
  });

  it('says where it is, step by step, and which node it has in hand', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const reboot = store.hold('rebootNode n1');
    const handle = await world.startStore(aStoreInput('s001'));
    await reboot.reached;
    await expect(handle.query(storeQuery)).resolves.toMatchObject({
      step: 'rebooting n1',
      nodes: [
        { node: 'n1', state: 'rebooting' },
        { node: 'n2', state: 'waiting' },
        { node: 'n3', state: 'waiting' },
      ],
    });
    reboot.release();
    await handle.result();
    await expect(handle.query(storeQuery)).resolves.toMatchObject({
      step: 'ended',
      result: { outcome: 'succeeded' },
      nodes: [{ state: 'done' }, { state: 'done' }, { state: 'done' }],
    });
  });

  it('gives every task the operation id, the release and a fence that rises with each operation', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    await (await world.startStore(aStoreInput('s001'))).result();
    await (await world.startStore(aStoreInput('s001', { round: 1 }))).result();
    const [first, second] = store.tasks;
    expect(first).toMatchObject({ operationId: '2026-w48/canary/s001/r0', release: { version: '2026.48.0' } });
    expect(second).toMatchObject({ operationId: '2026-w48/canary/s001/r1' });
    expect(second?.fence).toBeGreaterThan(first?.fence ?? Infinity);
  });

  it('leaves its outcome as a search attribute, so that stores that failed are one list', async () => {
    const world = await useWorld();
    await world.store('s001', { openOperation: async () => refused('SignatureInvalid') });
    const handle = await world.startStore(aStoreInput('s001'));
    await handle.result();
    const { typedSearchAttributes } = await handle.describe();
    expect(Object.fromEntries(typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value]))).toMatchObject(
      { EdgeOutcome: 'failed', EdgeReason: 'SignatureInvalid' },
    );
  });
});

describe('a store with less to do', () => {
  it('drains no node that already runs the release', async () => {
    const world = await useWorld();
    const store = await world.store('s001', { readFacts: async () => currentPreflight() });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 0 });
    expect(store.work()).toEqual(['openOperation', 'readFacts', ...after]);
  });

  it('only reboots a node that has the packages but another kernel', async () => {
    const world = await useWorld();
    const facts = aStore()
      .upgraded('n1')
      .patched('n2')
      .patched('n3')
      .withNode('n1', { runningKernel: OLD_KERNEL })
      .facts();
    const store = await world.store('s001', {
      readFacts: async () => aPreflight(facts),
      stagePackages: async () => ({
        kind: 'done',
        nodes: facts.nodes.filter(({ name }) => name === 'n1').map(simulated),
      }),
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 1 });
    expect(store.work()).toEqual([...before, 'drainNode n1', 'rebootNode n1', 'rejoinNode n1', ...after]);
  });

  it('only brings back a node that an earlier operation left out of service with the release on it', async () => {
    const world = await useWorld();
    const facts = aStore().patched('n1').patched('n2').patched('n3').drained('n1').facts();
    const store = await world.store('s001', {
      readFacts: async () => ({ ...aPreflight(facts), ours: { maintenance: ['n1'], noout: ['n1'] } }),
      stagePackages: async () => ({
        kind: 'done',
        nodes: facts.nodes.filter(({ name }) => name === 'n1').map(simulated),
      }),
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded' });
    expect(store.work()).toEqual([...before, 'rejoinNode n1', ...after]);
  });
});

describe('a store that is not there or not fit', () => {
  it('is offline when nobody answers, and nothing is asked of it afterwards', async () => {
    const world = await useWorld();
    const handle = await world.startStore(aStoreInput('s001', { offlineAfter: 200 }));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'offline', reason: 'StoreOffline' });
    const asked = (await eventsOf(handle)).flatMap(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? [],
    );
    expect(asked).toEqual(['hello']);
  });

  it.each([
    ['older', { min: 0, max: 0 }],
    ['newer', { min: 2, max: 3 }],
  ])('is skipped when its worker speaks only an %s protocol', async (_, protocol) => {
    const world = await useWorld();
    const store = await world.store('s001', { hello: async () => ({ store: 's001', protocol, clock: '' }) });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'skipped', reason: 'WorkerTooOld' });
    expect(store.calls).toEqual(['hello']);
  });

  it.each<Reason>([
    'SignatureInvalid',
    'KeyUnknown',
    'DigestMismatch',
    'SequenceRollback',
    'ReleaseExpired',
    'ReleaseIncompatible',
    'ScanDenied',
    'ReleaseMalformed',
    'NotPromoted',
    'StaleOperation',
  ])('fails with %s when its worker refuses the operation, and no step follows', async (reason) => {
    const world = await useWorld();
    const store = await world.store('s001', { openOperation: async () => refused(reason) });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'failed', reason, stop: { reason } });
    expect(store.work()).toEqual(['openOperation', 'closeOperation failed']);
  });

  it.each<[string, Reason, StoreActivities['readFacts']]>([
    ['a fact could not be read', 'FactsUnreadable', async () => aPreflight(aStore().withUnreadable('n2: df').facts())],
    ['the cluster is not quorate', 'NoQuorum', async () => aPreflight(aStore().withoutQuorum().facts())],
    [
      'a placement group is degraded',
      'CephUnclean',
      async () => aPreflight(aStore().withPgs({ 'active+undersized+degraded': 129 }).facts()),
    ],
  ])('fails before anything is changed when %s', async (_, reason, readFacts) => {
    const world = await useWorld();
    const store = await world.store('s001', { readFacts });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'failed',
      reason,
      nodesPatched: 0,
      stop: { step: 'preflight' },
    });
    expect(store.work()).toEqual(['openOperation', 'readFacts', 'closeOperation failed']);
  });

  it('fails before the first drain when apt would install what the release does not pin', async () => {
    const world = await useWorld();
    const surprise = { install: [{ name: 'nginx', version: '1.27' }], remove: [] };
    const store = await world.store('s001', {
      openOperation: async () => ({ kind: 'done', adopted: [], lastGood: '2026.47.0' }),
      stagePackages: async () => ({
        kind: 'done',
        nodes: aPreflight().facts.nodes.map((node) =>
          node.name === 'n1' ? { ...node, simulation: surprise } : simulated(node),
        ),
      }),
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'failed',
      reason: 'ManifestMismatch',
      lastGood: '2026.47.0',
    });
    expect(store.work()).toEqual([...before, 'closeOperation failed']);
  });
});

describe('a step that does not succeed', () => {
  it('skips the store when its window closed before the first drain', async () => {
    const world = await useWorld();
    const store = await world.store('s001', { drainNode: async () => refused('OutsideWindow') });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'skipped',
      reason: 'OutsideWindow',
      nodesPatched: 0,
    });
    expect(store.work()).toEqual([...before, 'drainNode n1', 'closeOperation failed']);
  });

  it('never calls a store skipped of which a node is already patched', async () => {
    const world = await useWorld();
    const store = await world.store('s001', {
      drainNode: async ({ node }) => (node === 'n1' ? { kind: 'done', moved: 1 } : refused('OutsideWindow')),
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'failed',
      reason: 'OutsideWindow',
      nodesPatched: 1,
    });
    expect(store.work().at(-1)).toBe('closeOperation failed');
  });

  it('never calls a store skipped of which a node has new packages and an old kernel', async () => {
    const world = await useWorld();
    const store = await world.store('s001', { rebootNode: async () => refused('OutsideWindow') });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'failed', reason: 'OutsideWindow' });
    expect(store.work().slice(-2)).toEqual(['rebootNode n1', 'closeOperation failed']);
  });

  it.each<[keyof StoreActivities, Reason]>([
    ['drainNode', 'DrainTimeout'],
    ['upgradeNode', 'UpgradeFailed'],
    ['rebootNode', 'RebootTimeout'],
    ['rejoinNode', 'RejoinTimeout'],
  ])(
    'ends the store when %s fails: it is closed as failed and the next node is never drained',
    async (step, reason) => {
      const world = await useWorld();
      const store = await world.store('s001', { [step]: async () => failed(reason) });
      const handle = await world.startStore(aStoreInput('s001'));
      await expect(handle.result()).resolves.toMatchObject({ outcome: 'failed', reason, nodesPatched: 0 });
      const steps = nodeSteps('n1');
      const done = steps.slice(0, steps.indexOf(`${step} n1`) + 1);
      expect(store.work()).toEqual([...before, ...done, 'closeOperation failed']);
      await expect(handle.query(storeQuery)).resolves.toMatchObject({
        nodes: [{ state: 'stopped' }, { state: 'waiting' }, { state: 'waiting' }],
      });
    },
  );

  it('is tried again when its worker failed on the way, and goes on as if nothing had been', async () => {
    const world = await useWorld();
    let attempts = 0;
    const store = await world.store('s001', {
      readFacts: async () => aPreflight(aStore().patched('n2').patched('n3').facts()),
      upgradeNode: async () => {
        attempts += 1;
        if (attempts === 1) throw new Error('connection reset');
        return { kind: 'done', changed: 2 };
      },
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 1 });
    expect(store.work().filter((call) => call === 'upgradeNode n1')).toHaveLength(2);
  });

  it.each([
    ['by its reason', 'RegistryUnreachable', 'RegistryUnreachable'],
    ['as a failed step when it has no reason of its own', 'CertificateWrong', 'StepFailed'],
  ])(
    'is not tried again when that cannot help, and is named %s; the store is still given back',
    async (_, type, reason) => {
      const world = await useWorld();
      const store = await world.store('s001', {
        applyConfig: async () => {
          throw ApplicationFailure.nonRetryable('no use in trying', type);
        },
      });
      const handle = await world.startStore(aStoreInput('s001'));
      await expect(handle.result()).resolves.toMatchObject({
        outcome: 'failed',
        reason,
        stop: { step: 'apply config', summary: expect.stringContaining('no use in trying') as string },
      });
      expect(store.work().slice(-2)).toEqual(['applyConfig', 'closeOperation failed']);
    },
  );
});

describe('a lost heartbeat', () => {
  const oneNode = { readFacts: async () => aPreflight(aStore().patched('n2').patched('n3').facts()) };

  it('takes none of the attempts of its step, which is asked for again', async () => {
    const world = await useWorld();
    const store = await world.store('s001', oneNode);
    let end: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (end = resolve));
    onTestFinished(() => end());
    store.on('drainNode', async () => {
      store.on('drainNode', async () => ({ kind: 'done', moved: 1 }));
      await gone;
      return refused('StaleOperation');
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 1 });
    expect(store.work()).toEqual([...before, 'drainNode n1', ...nodeSteps('n1'), ...after]);
    const events = await eventsOf(handle);
    expect(events.filter((event) => event.activityTaskTimedOutEventAttributes)).toHaveLength(1);
    expect(events.flatMap((event) => event.activityTaskStartedEventAttributes?.attempt ?? [])).not.toContain(2);
    const drains = events.flatMap(({ activityTaskScheduledEventAttributes: scheduled }) =>
      scheduled?.activityType?.name === 'drainNode' ? [scheduled] : [],
    );
    expect(drains).toHaveLength(2);
    expect(drains[1]?.retryPolicy).toMatchObject({ maximumAttempts: 8 });
  });
});

describe('a store that helped itself while it was silent', () => {
  it.each(['openOperation', 'drainNode', 'rebootNode', 'applyConfig'] as const)(
    'and refuses %s for that is cut off, not failed, and given back',
    async (step) => {
      const world = await useWorld();
      const store = await world.store('s001', { [step]: async () => refused('StoreCutOff') });
      const handle = await world.startStore(aStoreInput('s001'));
      await expect(handle.result()).resolves.toMatchObject({
        outcome: 'cutOff',
        reason: 'StoreCutOff',
        operationId: '2026-w48/canary/s001/r0',
      });
      expect(store.work().at(-1)).toBe('closeOperation failed');
    },
  );

  it('is told as cut off by its wave, and breaks no threshold of errors', async () => {
    const world = await useWorld();
    await world.store('s001', { drainNode: async () => refused('StoreCutOff') });
    await world.store('s002');
    const wave = await world.startWave(
      aWave(['s001', 's002'], {
        limits: { errorThreshold: { count: 0, minSample: 1 }, offlineThreshold: { count: 1, minSample: 1 } },
      }),
    );
    const report = await wave.result();
    expect(report.breach).toBeUndefined();
    expect(report.results.map(({ store, outcome }) => `${store} ${outcome}`).toSorted()).toEqual([
      's001 cutOff',
      's002 succeeded',
    ]);
  });
});

describe('a store that stands paused', () => {
  async function paused(script: Partial<StoreActivities> = {}) {
    const world = await useWorld();
    const signs: StoreTask[] = [];
    const store = await world.store('s001', {
      openOperation: async () => ({ kind: 'done', adopted: [], maxMaintenance: 400 }),
      verifyStore: async (task) => {
        signs.push(task);
        return { kind: 'done' };
      },
      ...script,
    });
    const held = store.hold('rejoinNode n1');
    const handle = await world.startStore(aStoreInput('s001'));
    await held.reached;
    await handle.executeUpdate(pauseUpdate, { args: [{ by: 'anna' }] });
    return { store, signs, handle, held };
  }
  const nodesAfter = (store: { work(): string[] }) => store.work().filter((call) => call.endsWith(' n3'));

  it('hears of its operation again and again, by its name and fence, until it is resumed', async () => {
    const { store, signs, handle, held } = await paused();
    held.release();
    await eventually('three signs', () => signs.length >= 3);
    expect(nodesAfter(store)).toEqual([]);
    expect(new Set(signs.map(({ operationId, fence }) => `${operationId} ${fence}`))).toEqual(
      new Set([`2026-w48/canary/s001/r0 ${store.tasks[0]?.fence}`]),
    );
    await handle.executeUpdate(resumeUpdate, { args: [{ by: 'anna' }] });
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 3 });
  });

  it('goes on when it is resumed, whether a sign was answered, failed, or hangs', async () => {
    const { store, signs, handle, held } = await paused({
      verifyStore: async () => {
        throw ApplicationFailure.nonRetryable('no facts');
      },
    });
    held.release();
    await eventually('two signs that failed', () => store.calls.filter((call) => call === 'verifyStore').length >= 2);
    const hanging = store.hold('verifyStore');
    await hanging.reached;
    store.on('verifyStore', async () => ({ kind: 'done' }));
    await handle.executeUpdate(resumeUpdate, { args: [{ by: 'anna' }] });
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 3 });
    expect(signs).toEqual([]);
  });
});

describe('the time for a step', () => {
  it('is longer than the store worker waits in it by its own defaults, so that no wait is cut off', async () => {
    const world = await useWorld();
    await world.store('s001');
    const handle = await world.startStore(aStoreInput('s001'));
    await handle.result();
    const given = new Map(
      (await eventsOf(handle)).flatMap(({ activityTaskScheduledEventAttributes: scheduled }) =>
        scheduled ? [[scheduled.activityType?.name, tsToMs(scheduled.startToCloseTimeout)] as const] : [],
      ),
    );
    const { drain, upgrade, reboot, rejoin, recovery, homecoming } = storeWorkerSchema.shape.timing.parse({});
    const bringBack = rejoin + rejoin + homecoming;
    const waits = {
      openOperation: Math.max(upgrade, reboot) + Math.max(upgrade, bringBack),
      drainNode: drain,
      upgradeNode: upgrade,
      rebootNode: reboot + rejoin,
      rejoinNode: rejoin + recovery + rejoin + homecoming,
      closeOperation: bringBack,
    };
    for (const [step, longest] of Object.entries(waits)) expect(given.get(step), step).toBeGreaterThan(longest);
  });
});

describe('closing', () => {
  it('fails a store that was patched but could not be given back clean', async () => {
    const world = await useWorld();
    await world.store('s001', { closeOperation: async () => ({ undone: [], leftSet: ['noout on n2'] }) });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'failed',
      reason: 'UndoIncomplete',
      nodesPatched: 3,
      stop: { summary: 'Still set: noout on n2.', detail: ['left in place: noout on n2'] },
    });
  });

  it('keeps the reason of a failed store and adds what is left in place', async () => {
    const world = await useWorld();
    await world.store('s001', {
      upgradeNode: async () => failed('UpgradeFailed'),
      closeOperation: async () => ({ undone: ['noout on n1'], leftSet: ['maintenance of n1'] }),
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'failed',
      reason: 'UpgradeFailed',
      stop: { detail: ['left in place: maintenance of n1'] },
    });
    await expect(handle.query(storeQuery)).resolves.toMatchObject({
      notes: ['undone: noout on n1', 'left: maintenance of n1'],
    });
  });

  it('fails the store when closing itself does not work', async () => {
    const world = await useWorld();
    await world.store('s001', {
      closeOperation: async () => {
        throw ApplicationFailure.nonRetryable('the state file is read-only');
      },
    });
    const handle = await world.startStore(aStoreInput('s001'));
    await expect(handle.result()).resolves.toMatchObject({
      outcome: 'failed',
      reason: 'UndoIncomplete',
      stop: {
        step: 'close',
        summary: expect.stringContaining('read-only') as string,
        detail: expect.arrayContaining(['left in place: not known, giving the store back failed']) as string[],
      },
    });
  });
});

describe('an abort', () => {
  it('before the store answered touches nothing', async () => {
    const world = await useWorld();
    const handle = await world.startStore(aStoreInput('s001'));
    await eventually('hello is scheduled', async () =>
      (await eventsOf(handle)).some((event) => event.activityTaskScheduledEventAttributes),
    );
    await handle.cancel();
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'aborted', reason: 'Aborted', nodesPatched: 0 });
  });

  it.each([
    ['while the store is taken', 'openOperation', ['openOperation', 'readFacts', 'closeOperation aborted'], 0],
    ['while packages are staged', 'stagePackages', [...before, 'closeOperation aborted'], 0],
    [
      'while a node is drained undoes the drain',
      'drainNode n1',
      [...before, 'drainNode n1', 'closeOperation aborted'],
      0,
    ],
    [
      'while packages change finishes the node first',
      'upgradeNode n1',
      [...before, ...nodeSteps('n1'), 'closeOperation aborted'],
      1,
    ],
    [
      'while a node reboots finishes the node first',
      'rebootNode n3',
      [...before, ...nodeSteps('n1'), ...nodeSteps('n3'), 'closeOperation aborted'],
      2,
    ],
  ])('%s and stops there', async (_, step, work, nodesPatched) => {
    const world = await useWorld();
    const store = await world.store('s001');
    const held = store.hold(step);
    const handle = await world.startStore(aStoreInput('s001'));
    await held.reached;
    await handle.cancel();
    await eventually('the cancel request is in the history', async () =>
      (await eventsOf(handle)).some((event) => event.workflowExecutionCancelRequestedEventAttributes),
    );
    held.release();
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'aborted', reason: 'Aborted', nodesPatched });
    expect(store.work()).toEqual(work);
  });

  it('that comes when all nodes are done does not configure the guests any more', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const held = store.hold('rejoinNode n2');
    const handle = await world.startStore(aStoreInput('s001'));
    await held.reached;
    await handle.cancel();
    await eventually('the cancel request is in the history', async () =>
      (await eventsOf(handle)).some((event) => event.workflowExecutionCancelRequestedEventAttributes),
    );
    held.release();
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'aborted', nodesPatched: 3 });
    expect(store.work().slice(-2)).toEqual(['rejoinNode n2', 'closeOperation aborted']);
  });
});

describe('a store that takes too long', () => {
  it('is timed out at the nearest safe point and given back', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const held = store.hold('upgradeNode n1');
    const handle = await world.startStore(aStoreInput('s001', { storeTimeout: 50 }));
    // The timer runs from the start; the store is only as quick as this machine, so the step is held until it fired.
    await Promise.race([held.reached, handle.result()]);
    await eventually('the timer fired', async () =>
      (await eventsOf(handle)).some((event) => event.timerFiredEventAttributes),
    );
    held.release();
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'timedOut', reason: 'OperationTimeout' });
    expect(store.work().at(-1)).toBe('closeOperation timedOut');
    expect(store.work()).not.toContain('drainNode n3');
  });
});

describe('the time for one store', () => {
  const STORE_TIMEOUT = 6_000;
  /** Paused in a step; it is told that it lives every two seconds. */
  async function paused() {
    const world = await useWorld();
    const store = await world.store('s001', {
      openOperation: async () => ({ kind: 'done', adopted: [], maxMaintenance: 8_000 }),
    });
    const held = store.hold('rejoinNode n1');
    const handle = await world.startStore(aStoreInput('s001', { storeTimeout: STORE_TIMEOUT }));
    await held.reached;
    await handle.executeUpdate(pauseUpdate, { args: [{ by: 'anna' }] });
    const next = store.hold('drainNode n3');
    held.release();
    return { store, handle, next };
  }
  const hasFired = async (handle: Parameters<typeof eventsOf>[0], times: number) =>
    firedOf(await eventsOf(handle), 'time for one store') >= times;
  const resume = (handle: Awaited<ReturnType<typeof paused>>['handle']) =>
    handle.executeUpdate(resumeUpdate, { args: [{ by: 'anna' }] });

  it('leaves out a pause that ended before it was over', async () => {
    const { store, handle, next } = await paused();
    await eventually('two signs of life', () => store.calls.filter((call) => call === 'verifyStore').length >= 2);
    await resume(handle);
    await next.reached;
    await eventually('its first time is over', () => hasFired(handle, 1));
    next.release();
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'succeeded', nodesPatched: 3 });
  });

  it('goes on from where it stood when a pause outlasts it, and ends', async () => {
    const { handle, next } = await paused();
    await eventually('its first time is over', () => hasFired(handle, 1));
    await resume(handle);
    await next.reached;
    await eventually('its time is over', () => hasFired(handle, 2));
    next.release();
    await expect(handle.result()).resolves.toMatchObject({ outcome: 'timedOut', reason: 'OperationTimeout' });
  });
});

describe('a store that falls silent', () => {
  it('is reported to its wave as cut off, and again when it is back; its operation just goes on', async () => {
    const world = await useWorld();
    const store = await world.store('s001', {}, { slots: 1 });
    // Nobody waits for a silent store alone: this one keeps the wave open.
    const other = await world.store('s002');
    const otherHeld = other.hold('drainNode n1');
    const held = store.hold('drainNode n1');
    const wave = await world.startWave(
      aWave(['s001', 's002'], {
        limits: { offlineAfter: 3_000, cutOffAfter: 200, offlineThreshold: { count: 5, minSample: 1 } },
      }),
    );
    await held.reached;
    await waveUntil(wave, 'the store is cut off', ({ cutOff }) => cutOff.includes('s001'));
    await expect(world.storeHandle('s001').query(storeQuery)).resolves.toMatchObject({
      step: 'draining n1',
      cutOff: true,
    });
    const next = store.hold('upgradeNode n1');
    held.release();
    await next.reached;
    next.release();
    await waveUntil(wave, 'the store is back', ({ tally }) => tally.succeeded === 1);
    otherHeld.release();
    await expect(wave.result()).resolves.toMatchObject({
      results: [
        { store: 's001', outcome: 'succeeded' },
        { store: 's002', outcome: 'succeeded' },
      ],
    });
    expect(store.work()).toEqual([...before, ...nodeSteps('n1'), ...nodeSteps('n3'), ...nodeSteps('n2'), ...after]);
    const reports = (await eventsOf(wave)).filter(
      (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'cutOff',
    );
    expect(reports.length).toBeGreaterThanOrEqual(2);
  });

  it('is not called silent while its steps go on', async () => {
    const world = await useWorld();
    await world.store('s001');
    const wave = await world.startWave(aWave(['s001'], { limits: { cutOffAfter: 100 } }));
    await wave.result();
    const reports = (await eventsOf(wave)).filter((event) => event.workflowExecutionSignaledEventAttributes);
    expect(reports).toEqual([]);
  });
});

describe('an input typed by hand', () => {
  it('fails at once, for good, and names every problem by its path', async () => {
    const world = await useWorld();
    const input = {
      ...aStoreInput('../etc'),
      round: -1,
      release: { version: '2026.48.0', sequence: 0, manifest: 'latest', bundle: 'latest' },
      speed: 'fast',
    } as PatchStoreInput;
    const handle = await world.startStore(input);
    await expect(handle.result()).rejects.toMatchObject({
      cause: {
        type: 'InvalidInput',
        nonRetryable: true,
        message: expect.stringMatching(/store: .*round: .*release\.sequence: .*release\.manifest: .*speed/s) as string,
      },
    });
    const events = await eventsOf(handle);
    expect(events.some((event) => event.activityTaskScheduledEventAttributes)).toBe(false);
  });
});
