import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { describe, expect, it } from 'vitest';
import { createStoreActivities } from '#activities/store/index.js';
import { createOperation } from '#activities/store/operation.js';
import { decideReady, planNodes } from '#domain/decide-store.js';
import type { StoreActivities } from '#domain/messages/store.js';
import {
  aManifest,
  anArtifact,
  aNodeTask,
  aReleaseRef,
  aStoreFile,
  aTask,
  KERNEL,
  NODES,
  OLD_PACKAGES,
  PACKAGES,
} from '../../../support/builders.js';
import { aFakeStore, type FakeStore } from '../../../support/fake-store.js';

/** Calls an activity as the worker would. */
async function call<Name extends keyof StoreActivities>(
  store: FakeStore,
  name: Name,
  task: Parameters<StoreActivities[Name]>[0],
): Promise<Awaited<ReturnType<StoreActivities[Name]>>> {
  const activity = createStoreActivities(store.deps, createOperation(store.deps))[name] as (
    task: unknown,
  ) => Promise<unknown>;
  const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
  const answer: unknown = await environment.run<[unknown], unknown, typeof activity>(activity, task);
  return answer as Awaited<ReturnType<StoreActivities[Name]>>;
}

async function patch(store: FakeStore): Promise<void> {
  expect(await call(store, 'openOperation', aTask())).toMatchObject({ kind: 'done' });
  const seen = await call(store, 'readFacts', aTask());
  const work = planNodes(seen.facts, seen);
  expect(decideReady(seen.facts, { ...seen, expectedNodes: seen.nodes, work: work.map(({ node }) => node) })).toEqual({
    kind: 'proceed',
  });
  expect(await call(store, 'stagePackages', { ...aTask(), nodes: NODES })).toMatchObject({ kind: 'done' });
  for (const { node } of work) {
    for (const step of ['drainNode', 'upgradeNode', 'rebootNode', 'rejoinNode'] as const)
      expect(await call(store, step, aNodeTask(node))).toMatchObject({ kind: 'done' });
  }
  expect(await call(store, 'applyConfig', aTask())).toEqual({ kind: 'done', changed: [] });
  expect(await call(store, 'verifyStore', aTask())).toEqual({ kind: 'done' });
}

const survey = {
  protocol: 1,
  store: 'store-001',
  fleet: 'edge',
  nodes: NODES,
  wanted: { packages: PACKAGES, kernel: KERNEL },
};
const probe = { protocol: 1, store: 'store-001', fleet: 'edge' };

describe('the activities of a store', () => {
  it('patch it, from hello to close', async () => {
    const store = aFakeStore();
    expect(await call(store, 'hello', { protocol: 1, store: 'store-001' })).toEqual({
      store: 'store-001',
      protocol: { min: 1, max: 1 },
      clock: '2026-11-24T11:00:00.000Z',
    });
    await patch(store);
    expect(await call(store, 'hello', { protocol: 1, store: 'store-001' })).toMatchObject({
      operation: aTask().operationId,
    });
    expect(await call(store, 'closeOperation', { ...aTask(), outcome: 'succeeded' })).toEqual({
      undone: [],
      leftSet: [],
    });
    const hello = await call(store, 'hello', { protocol: 1, store: 'store-001' });
    expect(hello.operation).toBeUndefined();
    expect(hello.release).toEqual({ version: '2026.48.0', sequence: 48, manifest: aReleaseRef().manifest });
    expect(NODES.map((node) => store.count(`reboot ${node}`))).toEqual([1, 1, 1]);
    expect(store.effects.filter((effect) => effect.startsWith('reboot'))).toEqual([
      'reboot n1',
      'reboot n2',
      'reboot n3',
    ]);
  });

  it('find a store that was not patched not verified', async () => {
    const store = aFakeStore();
    await call(store, 'openOperation', aTask());
    expect(await call(store, 'verifyStore', aTask())).toMatchObject({
      kind: 'failed',
      stop: { reason: 'InventoryMismatch' },
    });
  });

  it('tell what a release would do, without an operation and without touching anything', async () => {
    const store = aFakeStore();
    expect(await call(store, 'surveyStore', survey)).toEqual({
      packages: Object.keys(PACKAGES).filter((name) => PACKAGES[name] !== OLD_PACKAGES[name]).length,
      reboots: 3,
      guestsMoved: store.guests.length,
    });
    expect(store.effects).toEqual([]);
    expect(store.state.operation()).toBeUndefined();
  });

  it('tell that nothing is left to do once the release is there, and which operation holds the store', async () => {
    const store = aFakeStore();
    await patch(store);
    const nothing = { packages: 0, reboots: 0, guestsMoved: 0 };
    expect(await call(store, 'surveyStore', survey)).toEqual({ ...nothing, busy: aTask().operationId });
    await call(store, 'closeOperation', { ...aTask(), outcome: 'succeeded' });
    expect(await call(store, 'surveyStore', survey)).toEqual({ ...nothing, release: '2026.48.0' });
  });

  it('tell why the preflight would refuse the store, and that what cannot be read is such a reason', async () => {
    const store = aFakeStore();
    store.noout.add('n3');
    expect(await call(store, 'surveyStore', survey)).toMatchObject({ stop: { reason: 'ForeignFlags' } });
    store.noout.clear();
    store.nodes['n2']!.up = false;
    expect((await call(store, 'surveyStore', survey)).stop).toBeDefined();
  });

  const hostile: [name: keyof StoreActivities, task: unknown, says: RegExp][] = [
    ['hello', { protocol: 1, store: 'store-002' }, /this is the worker of store-001/],
    ['openOperation', aTask({ store: 'store-002' }), /this is the worker of store-001/],
    ['openOperation', undefined, /not valid/],
    ['readFacts', { ...aTask(), fence: 'latest' }, /fence: /],
    ['drainNode', { ...aTask(), node: 'n1; reboot' }, /node: /],
    ['rebootNode', aTask(), /node: /],
    ['closeOperation', { ...aTask({ store: '../x' }), outcome: 'failed' }, /store: /],
    ['probeStore', { ...probe, force: true }, /force/],
    ['openOperation', aTask({ permit: { permit: 'sha256:1', bundle: 'sha256:2' } }), /permit\.permit: /],
    ['surveyStore', { ...survey, nodes: ['n1; reboot'] }, /nodes\[0\]: /],
    ['surveyStore', { ...survey, wanted: { packages: { '--help': '1' }, kernel: KERNEL } }, /--help/],
    ['surveyStore', { ...survey, store: 'store-002' }, /this is the worker of store-001/],
    ['inspectStore', { ...probe, store: 'store-002' }, /this is the worker of store-001/],
    ['sweepStore', probe, /over: /],
    ['sweepStore', { ...probe, over: { operationId: '; reboot', fence: 1 } }, /over\.operationId: /],
    [
      'sweepStore',
      { ...probe, store: 'store-002', over: { operationId: 'other', fence: 1 } },
      /this is the worker of store-001/,
    ],
  ];
  it.each(hostile)('refuse for good a task that is not one: %s %j', async (name, task, says) => {
    const store = aFakeStore();
    await expect(call(store, name, task as never)).rejects.toMatchObject({
      type: 'InvalidInput',
      nonRetryable: true,
      message: expect.stringMatching(says),
    });
    expect(store.effects).toEqual([]);
    expect(store.state.operation()).toBeUndefined();
  });

  it('translate what went wrong for Temporal: a release that is refused is not tried again', async () => {
    const store = aFakeStore();
    await call(store, 'openOperation', aTask());
    store.releases.set(aReleaseRef().manifest, { refused: 'ReleaseExpired' });
    await expect(call(store, 'readFacts', aTask())).rejects.toMatchObject({
      type: 'ReleaseExpired',
      nonRetryable: true,
    });
  });

  it('translate what went wrong for Temporal: a link that was cut is tried again', async () => {
    const store = aFakeStore();
    await call(store, 'openOperation', aTask());
    store.loseAnswer('maintenance enable');
    await expect(call(store, 'drainNode', aNodeTask('n1'))).rejects.toMatchObject({
      type: 'OutcomeUnknown',
      nonRetryable: false,
    });
    expect(await call(store, 'drainNode', aNodeTask('n1'))).toMatchObject({ kind: 'done' });
  });

  it('tell in hello what the store took back while nobody went on', async () => {
    const store = aFakeStore();
    await call(store, 'openOperation', aTask());
    await call(store, 'drainNode', aNodeTask('n1'));
    const operation = createOperation(store.deps);
    store.clock.now = new Date(store.clock.now.getTime() + store.deps.timing.maxMaintenance);
    store.clock.uptime += store.deps.timing.maxMaintenance;
    await operation.lookAfter();
    expect(await call(store, 'hello', { protocol: 1, store: 'store-001' })).toMatchObject({
      operation: aTask().operationId,
      selfUndo: {
        at: '2026-11-24T12:30:00.000Z',
        undone: ['noout of n1', 'maintenance of n1', 'guests moved home to n1: 1'],
        leftSet: [],
      },
    });
  });

  it('sweep what is left, and name what is foreign', async () => {
    const store = aFakeStore();
    await call(store, 'openOperation', aTask());
    await call(store, 'drainNode', aNodeTask('n1'));
    store.maintenance.add('n3');
    const inspected = await call(store, 'inspectStore', probe);
    expect(inspected).toEqual({
      leftBy: {
        operationId: aTask().operationId,
        fence: aTask().fence,
        locked: true,
        marks: ['maintenance of n1', 'noout of n1'],
      },
      foreign: ['maintenance of n3'],
    });
    const over = { operationId: aTask().operationId, fence: aTask().fence };
    expect(await call(store, 'sweepStore', { ...probe, over })).toEqual({
      kind: 'swept',
      undone: ['noout of n1', 'maintenance of n1', 'guests moved home to n1: 1'],
      left: [],
    });
  });

  it('keep the health of the guests before the patch as the baseline', async () => {
    const store = aFakeStore();
    await call(store, 'openOperation', aTask());
    await call(store, 'readFacts', aTask());
    expect(store.state.trust().baseline).toEqual(
      [101, 102, 103].map((vmid) => expect.objectContaining({ vmid, running: true, healthy: true, latencyMs: 40 })),
    );
  });
});

describe('the baseline of a store', () => {
  const again = (round: number) => aTask({ operationId: `2026-w48/canary/store-001/r${round}`, fence: 100 + round });
  const latency = (store: FakeStore) => store.state.trust().baseline.map(({ latencyMs }) => latencyMs);
  const measures = (store: FakeStore, latencyMs: number) => {
    store.deps.probe = () => Promise.resolve({ healthy: true, latencyMs });
  };
  /** Up to the preflight, as every operation does it. */
  async function look(store: FakeStore, task = aTask()) {
    expect(await call(store, 'openOperation', task)).toMatchObject({ kind: 'done' });
    return call(store, 'readFacts', task);
  }
  /** 48 is the release that they all bring. */
  async function begun(step: 'drainNode' | 'applyConfig'): Promise<FakeStore> {
    const store = aFakeStore();
    await look(store);
    expect(await call(store, step, step === 'drainNode' ? aNodeTask('n1') : (aTask() as never))).toMatchObject({
      kind: 'done',
    });
    await call(store, 'closeOperation', { ...aTask(), outcome: 'failed' });
    measures(store, 400);
    return store;
  }

  it('stays as it was when an operation brings the release again that is here', async () => {
    const store = aFakeStore();
    await patch(store);
    await call(store, 'closeOperation', { ...aTask(), outcome: 'succeeded' });
    measures(store, 400);
    expect((await look(store, again(1))).notes).toBeUndefined();
    expect(latency(store)).toEqual([40, 40, 40]);
  });

  it.each(['drainNode', 'applyConfig'] as const)(
    'stays as it was when an operation goes on with a release of which only %s was begun',
    async (step) => {
      const store = await begun(step);
      await look(store, again(1));
      await call(store, 'closeOperation', { ...again(1), outcome: 'failed' });
      await look(store, again(2));
      expect(latency(store)).toEqual([40, 40, 40]);
    },
  );

  it('stays as it was when a build of the same number is brought, and is measured for the next number', async () => {
    const store = await begun('applyConfig');
    const anew = { ...aReleaseRef(48), manifest: aReleaseRef(50).manifest };
    const artifact = anArtifact();
    store.releases.set(anew.manifest, { manifest: aManifest(), artifact });
    await look(store, { ...again(1), release: anew });
    expect(latency(store)).toEqual([40, 40, 40]);

    store.releases.set(aReleaseRef(49).manifest, { manifest: aManifest({ sequence: 49 }), artifact });
    await look(store, { ...again(2), release: aReleaseRef(49) });
    expect(latency(store)).toEqual([400, 400, 400]);
  });

  it('is measured anew when the operation before ended without having begun anything', async () => {
    const store = aFakeStore();
    await look(store);
    await call(store, 'closeOperation', { ...aTask(), outcome: 'failed' });
    measures(store, 60);
    await look(store, again(1));
    expect(latency(store)).toEqual([60, 60, 60]);
  });

  it('is not measured by an operation that has lost the store', async () => {
    const store = await begun('applyConfig');
    await look(store, again(1));
    store.releases.set(aReleaseRef(49).manifest, { manifest: aManifest({ sequence: 49 }), artifact: anArtifact() });
    await call(store, 'readFacts', { ...again(0), release: aReleaseRef(49) });
    expect(latency(store)).toEqual([40, 40, 40]);
  });

  it('is none, and says so, when a worker of an earlier build kept it and the release may be here', async () => {
    const store = aFakeStore();
    const baseline = [{ vmid: 101, name: 'pos', running: true, healthy: true, latencyMs: 400 }];
    await store.state.saveTrust({ highestSequence: 48, baseline });
    expect((await look(store)).notes).toEqual([
      'How the guests were before 2026.48.0 is not known, and some of it may be here already: the gate cannot compare them.',
    ]);
    expect(store.state.trust().baseline).toEqual([]);
    await look(store, again(1));
    expect(store.state.trust().baseline).toEqual([]);
  });

  it('is measured when a worker of an earlier build has brought older releases only', async () => {
    const store = aFakeStore();
    await store.state.saveTrust({ highestSequence: 47 });
    await look(store);
    expect(latency(store)).toEqual([40, 40, 40]);
  });
});

describe('probeStore', () => {
  async function patched(): Promise<FakeStore> {
    const store = aFakeStore();
    await patch(store);
    await call(store, 'closeOperation', { ...aTask(), outcome: 'succeeded' });
    return store;
  }

  it('finds a store well after its patch', async () => {
    const facts = await call(await patched(), 'probeStore', { ...probe, manifest: aReleaseRef().manifest });
    expect(facts).toMatchObject({
      store: 'store-001',
      reachable: true,
      unreadable: [],
      quorate: true,
      nodesOnline: 3,
      nodesTotal: 3,
      cephBlocking: [],
      leftSet: [],
      inventoryMatches: true,
    });
    expect(facts.guests).toEqual(facts.baseline);
    expect(facts.guests).toHaveLength(3);
  });

  it('says what is wrong', async () => {
    const store = await patched();
    store.noout.add('n2');
    store.maintenance.add('n3');
    store.nodes['n1']!.kernel = 'another';
    store.ill = ({ vmid }) => vmid === 101;
    store.guests.pop();
    store.cephShows = (ceph) =>
      void ceph.checks.push({ code: 'OSD_DOWN', severity: 'HEALTH_WARN', message: '', muted: false });
    const facts = await call(store, 'probeStore', probe);
    expect(facts).toMatchObject({
      cephBlocking: ['OSD_DOWN'],
      leftSet: ['noout on n2', 'maintenance of n3'],
      inventoryMatches: false,
    });
    expect(facts.guests.map(({ vmid, running, healthy }) => ({ vmid, running, healthy }))).toEqual([
      { vmid: 101, running: true, healthy: false },
      { vmid: 102, running: true, healthy: true },
      { vmid: 103, running: false, healthy: false },
    ]);
  });

  it.each(['noout', 'norecover', 'pauserd'])('says that %s is left set on the whole cluster', async (flag) => {
    const store = await patched();
    store.cephShows = (ceph) => void ceph.flags.push(flag);
    expect((await call(store, 'probeStore', probe)).leftSet).toEqual([flag]);
  });

  it('does not take a flag for left that is always there, or harmless', async () => {
    const store = await patched();
    store.cephShows = (ceph) => void ceph.flags.push('sortbitwise', 'nodeep-scrub');
    expect((await call(store, 'probeStore', probe)).leftSet).toEqual([]);
  });

  it('does not call a store well of whose release it knows nothing', async () => {
    const facts = await call(aFakeStore(), 'probeStore', probe);
    expect(facts.unreadable).toEqual(['inventory: the release of this store is not known to its worker']);
    expect(facts.inventoryMatches).toBeUndefined();
  });

  it('does not judge a store by another release than it is asked about', async () => {
    const store = await patched();
    const facts = await call(store, 'probeStore', { ...probe, manifest: aReleaseRef(49).manifest });
    expect(facts.unreadable).toEqual([
      'inventory: the store was given release 2026.48.0, not the one that is asked about',
    ]);
    expect(facts.inventoryMatches).toBeUndefined();
  });

  it.each(['ReleaseExpired', 'NotPromoted', 'KeyUnknown'] as const)(
    'says why it cannot compare a store with a release that is refused by now: %s',
    async (reason) => {
      const store = await patched();
      store.releases.set(aReleaseRef().manifest, { refused: reason });
      const facts = await call(store, 'probeStore', { ...probe, manifest: aReleaseRef().manifest });
      expect(facts.unreadable).toEqual([
        `inventory: release 2026.48.0 is refused by now (${reason}): Refused: ${reason}.`,
      ]);
      expect(facts).toMatchObject({ quorate: true, nodesOnline: 3 });
      expect(facts.inventoryMatches).toBeUndefined();
    },
  );

  it('names what cannot be read', async () => {
    const store = await patched();
    store.deps.ceph.facts = () => Promise.reject(new Error('no answer'));
    store.deps.proxmox.clusterStatus = () => Promise.reject(new Error('no answer'));
    expect(await call(store, 'probeStore', probe)).toMatchObject({
      quorate: false,
      nodesOnline: 0,
      unreadable: expect.arrayContaining(['cluster status: no answer', 'ceph: no answer']),
    });
  });
});

it('a guest that its file names and the cluster does not have is ill, not absent', async () => {
  const artifact = anArtifact(aStoreFile({ guests: [{ vmid: 999, name: 'ghost', kind: 'lxc' }] }));
  const store = aFakeStore({ artifact });
  store.releases.set(aReleaseRef().manifest, { manifest: aManifest(), artifact });
  await call(store, 'openOperation', aTask());
  await call(store, 'readFacts', aTask());
  expect(store.state.trust().baseline).toEqual([{ vmid: 999, name: 'ghost', running: false, healthy: false }]);
});
