import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { describe, expect, it } from 'vitest';
import { createStoreActivities } from '#activities/store/index.js';
import { createOperation } from '#activities/store/operation.js';
import { decideManifest, decideReady, planNodes } from '#domain/decide-store.js';
import type { StoreActivities, StoreTask } from '#domain/messages/store.js';
import {
  aManifest,
  anArtifact,
  aReleaseRef,
  aTask,
  KERNEL,
  NODES,
  OLD_KERNEL,
  OLD_PACKAGES,
  PACKAGES,
} from '../../../support/builders.js';
import { aFakeStore, finishUpgrade, type FakeNode, type FakeStore } from '../../../support/fake-store.js';

/** 47 is the release that ran before, 48 the one that is left. Each has its own Ceph. */
const CEPH = { 'ceph-osd': '19.2.3-pve1' };
const NEWER_CEPH = { 'ceph-osd': '19.2.3-pve2' };
const pinned = (packages: Record<string, string>, kernel: string) => ({
  ...aManifest().packages,
  pinned: Object.entries(packages).map(([name, version]) => ({ name, version })),
  kernel,
});
const OLDER = aManifest({
  version: '2026.47.0',
  sequence: 47,
  packages: { ...pinned({ ...OLD_PACKAGES, ...CEPH }, OLD_KERNEL), snapshot: '20261109T000000Z' },
});
const PERMIT = { permit: `sha256:${'e'.repeat(64)}`, bundle: `sha256:${'f'.repeat(64)}` };
const FORWARD = aTask();
const BACK = aTask({
  stage: 'rollback',
  operationId: '2026-w48/rollback/store-001/r0',
  fence: 200,
  release: aReleaseRef(47),
  permit: PERMIT,
});
const NEXT = aTask({
  train: '2026-w49',
  operationId: '2026-w49/canary/store-001/r0',
  fence: 300,
  release: aReleaseRef(49),
});

/** A store on which release 48 is tried, with the older one still installed. */
function aStoreInTrial(): FakeStore {
  const store = aFakeStore();
  const artifact = anArtifact();
  store.releases.set(aReleaseRef(47).manifest, { manifest: OLDER, artifact });
  store.releases.set(aReleaseRef(48).manifest, {
    manifest: aManifest({ packages: pinned({ ...PACKAGES, ...NEWER_CEPH }, KERNEL) }),
    artifact,
  });
  store.releases.set(aReleaseRef(49).manifest, {
    manifest: aManifest({
      version: '2026.49.0',
      sequence: 49,
      packages: pinned({ ...PACKAGES, ...NEWER_CEPH }, KERNEL),
    }),
    artifact,
  });
  for (const node of Object.values(store.nodes)) {
    Object.assign(node.installed, CEPH);
    Object.assign(node.offers, NEWER_CEPH);
  }
  return store;
}

function upgrade(node: FakeNode): void {
  finishUpgrade(node);
  node.kernel = KERNEL;
}

/** Every node has release 48, and the store knows that 47 was good. */
async function aStoreWithTheNewRelease(): Promise<FakeStore> {
  const store = aStoreInTrial();
  Object.values(store.nodes).forEach(upgrade);
  await store.state.saveTrust({ highestSequence: 48, current: aReleaseRef(48), lastGood: aReleaseRef(47) });
  return store;
}

type Call = <Name extends keyof StoreActivities>(
  name: Name,
  task: Parameters<StoreActivities[Name]>[0],
) => Promise<Awaited<ReturnType<StoreActivities[Name]>>>;

/** One process of the store worker; a second one is what a restart makes of it. */
function worker(store: FakeStore): Call {
  const activities = createStoreActivities(store.deps, createOperation(store.deps));
  const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
  return (async (name: keyof StoreActivities, task: unknown) => {
    const activity = activities[name] as (task: unknown) => Promise<unknown>;
    return environment.run<[unknown], unknown, typeof activity>(activity, task);
  }) as Call;
}

/** As the workflow does it. */
async function operate(call: Call, task: StoreTask): Promise<Awaited<ReturnType<StoreActivities['readFacts']>>> {
  expect(await call('openOperation', task)).toMatchObject({ kind: 'done' });
  const seen = await call('readFacts', task);
  const work = planNodes(seen.facts, seen).filter(({ packages, reboot, out }) => packages || reboot || out);
  const nodes = work.map(({ node }) => node);
  expect(decideReady(seen.facts, { ...seen, expectedNodes: seen.nodes, work: nodes })).toEqual({ kind: 'proceed' });
  if (nodes.length > 0) {
    const staged = await call('stagePackages', { ...task, nodes });
    for (const node of staged.kind === 'done' ? staged.nodes : [])
      expect(decideManifest(node, seen)).toEqual({ kind: 'proceed' });
  }
  for (const { node, packages, reboot } of work) {
    const nodeTask = { ...task, node };
    if (packages || reboot) expect(await call('drainNode', nodeTask)).toMatchObject({ kind: 'done' });
    if (packages) expect(await call('upgradeNode', nodeTask)).toMatchObject({ kind: 'done' });
    if (reboot) expect(await call('rebootNode', nodeTask)).toMatchObject({ kind: 'done' });
    expect(await call('rejoinNode', nodeTask)).toMatchObject({ kind: 'done' });
  }
  expect(await call('applyConfig', task)).toMatchObject({ kind: 'done' });
  expect(await call('verifyStore', task)).toEqual({ kind: 'done' });
  expect(await call('closeOperation', { ...task, outcome: 'succeeded' })).toMatchObject({ leftSet: [] });
  return seen;
}

describe('a store that goes back', () => {
  it('has the older packages and kernel on every node, and its Ceph as it was', async () => {
    const store = await aStoreWithTheNewRelease();
    const seen = await operate(worker(store), BACK);
    for (const node of Object.values(store.nodes)) {
      expect(node).toMatchObject({ kernel: OLD_KERNEL, pinned: OLD_KERNEL, boots: 1 });
      expect(node.installed).toMatchObject({ ...OLD_PACKAGES, ...NEWER_CEPH });
    }
    expect(seen.notes).toEqual(
      NODES.map((name) => `${name}: Ceph does not go back; these stay: ceph-osd 19.2.3-pve2.`),
    );
    expect([...store.maintenance, ...store.noout]).toEqual([]);
  });

  it('asks apt for each package by name, from the older snapshot, and for nothing else', async () => {
    const store = await aStoreWithTheNewRelease();
    await operate(worker(store), BACK);
    expect(store.nodes['n1']?.sources).toContain('/20261109T000000Z/');
    expect(store.effects.find((effect) => effect.startsWith('upgrade n1'))).toMatch(
      /^upgrade n1 apt-get -y .*--force-confold install --allow-downgrades pve-manager=9\.0\.11 openssh-server=1:10\.0p1-7$/,
    );
  });

  it('pins the kernel before the node goes down, and knows the pin as its own before it is there', async () => {
    const store = await aStoreWithTheNewRelease();
    store.before('boot-tool n1 kernel pin', () => expect(store.state.trust().pins).toMatchObject({ n1: OLD_KERNEL }));
    store.before('reboot n1', () => expect(store.nodes['n1']?.pinned).toBe(OLD_KERNEL));
    await operate(worker(store), BACK);
    expect(store.effects.filter((effect) => effect.startsWith('boot-tool n1'))).toEqual([
      `boot-tool n1 kernel pin ${OLD_KERNEL}`,
      'boot-tool n1 refresh',
    ]);
  });

  it('keeps its last good release, counts its sequence from there, and is judged by what it kept', async () => {
    const store = await aStoreWithTheNewRelease();
    const call = worker(store);
    await operate(call, BACK);
    expect(store.state.trust()).toMatchObject({
      highestSequence: 47,
      current: aReleaseRef(47),
      lastGood: aReleaseRef(47),
      wentBack: true,
    });
    const probe = await call('probeStore', { protocol: 1, store: 'store-001', fleet: 'edge' });
    expect(probe).toMatchObject({ unreadable: [], inventoryMatches: true });
  });

  it('keeps the health from before the release that is left as its baseline', async () => {
    const store = await aStoreWithTheNewRelease();
    const baseline = [{ vmid: 101, name: 'pos', running: true, healthy: true, latencyMs: 11 }];
    await store.state.saveTrust({ baseline });
    await operate(worker(store), BACK);
    expect(store.state.trust().baseline).toEqual(baseline);
  });

  it('has its health measured anew when the release that it left comes again', async () => {
    const store = aStoreInTrial();
    await operate(worker(store), FORWARD);
    await store.state.saveTrust({ lastGood: aReleaseRef(47) });
    await operate(worker(store), BACK);
    store.deps.probe = () => Promise.resolve({ healthy: true, latencyMs: 60 });
    await operate(worker(store), { ...FORWARD, operationId: '2026-w49/canary/store-001/r0', fence: 300 });
    expect(store.state.trust().baseline.map(({ latencyMs }) => latencyMs)).toEqual([60, 60, 60]);
  });

  it('keeps the health from before the release when it goes forward again half-way back', async () => {
    const store = aStoreInTrial();
    await operate(worker(store), FORWARD);
    await store.state.saveTrust({ lastGood: aReleaseRef(47) });
    const { baseline } = store.state.trust();
    const call = worker(store);
    await call('openOperation', BACK);
    await call('readFacts', BACK);
    await call('drainNode', { ...BACK, node: 'n1' });
    await call('closeOperation', { ...BACK, outcome: 'aborted' });
    store.deps.probe = () => Promise.resolve({ healthy: true, latencyMs: 400 });
    await operate(call, { ...FORWARD, operationId: '2026-w49/canary/store-001/r0', fence: 300 });
    expect(store.state.trust().baseline).toEqual(baseline);
  });

  it('does not reboot a node that never ran the newer kernel, and still makes sure which one it starts', async () => {
    const store = await aStoreWithTheNewRelease();
    store.nodes['n2']!.kernel = OLD_KERNEL;
    await operate(worker(store), BACK);
    expect(store.count('reboot n2')).toBe(0);
    expect(store.nodes['n2']?.pinned).toBe(OLD_KERNEL);
  });

  it('changes its configuration alone when the older release is of another Debian major, and says so', async () => {
    const store = await aStoreWithTheNewRelease();
    store.releases.set(aReleaseRef(47).manifest, {
      manifest: { ...OLDER, packages: pinned({ ...OLD_PACKAGES, 'pve-manager': '8.4.14' }, '6.8.12-1-pve') },
      artifact: anArtifact(),
    });
    const seen = await operate(worker(store), BACK);
    expect(seen.notes).toHaveLength(3);
    expect(seen.notes?.[0]).toMatch(/^n1: no package and no kernel goes back, only the configuration: pve-manager is/);
    expect(store.effects).toEqual([]);
    expect(store.state.trust().current).toEqual(aReleaseRef(47));
  });

  it('touches no package when apt would do more than was decided', async () => {
    const store = await aStoreWithTheNewRelease();
    store.nodes['n1']!.alsoInstalls = { 'qemu-server': '9.1.3' };
    const call = worker(store);
    await call('openOperation', BACK);
    const seen = await call('readFacts', BACK);
    const staged = await call('stagePackages', { ...BACK, nodes: ['n1'] });
    const [n1] = staged.kind === 'done' ? staged.nodes : [];
    expect(decideManifest(n1!, seen)).toMatchObject({ kind: 'stop', stop: { reason: 'ManifestMismatch' } });
    expect(n1?.installed['pve-manager']).toBe(PACKAGES['pve-manager']);
  });

  it('goes on after a kill in the middle of a node, and does nothing twice', async () => {
    const store = await aStoreWithTheNewRelease();
    store.loseAnswer('upgrade n1');
    const call = worker(store);
    await call('openOperation', BACK);
    await call('readFacts', BACK);
    await call('stagePackages', { ...BACK, nodes: NODES });
    await call('drainNode', { ...BACK, node: 'n1' });
    await expect(call('upgradeNode', { ...BACK, node: 'n1' })).rejects.toMatchObject({ type: 'OutcomeUnknown' });
    const restarted = worker(store);
    expect(await restarted('openOperation', BACK)).toMatchObject({ kind: 'done' });
    expect(await restarted('upgradeNode', { ...BACK, node: 'n1' })).toMatchObject({ kind: 'done' });
    expect(store.count('upgrade n1')).toBe(1);
    expect(await restarted('rebootNode', { ...BACK, node: 'n1' })).toEqual({ kind: 'done', kernel: OLD_KERNEL });
  });
});

describe('after a release that failed half-way', () => {
  /** apt failed on n1, which stays out of service. */
  async function failed(): Promise<FakeStore> {
    const store = aStoreInTrial();
    await store.state.saveTrust({ highestSequence: 47, current: aReleaseRef(47), lastGood: aReleaseRef(47) });
    const call = worker(store);
    await call('openOperation', FORWARD);
    await call('readFacts', FORWARD);
    await call('stagePackages', { ...FORWARD, nodes: NODES });
    await call('drainNode', { ...FORWARD, node: 'n1' });
    const n1 = store.nodes['n1']!;
    n1.upgradeEnds = 'failed';
    expect(await call('upgradeNode', { ...FORWARD, node: 'n1' })).toMatchObject({ kind: 'failed' });
    n1.installed['pve-manager'] = PACKAGES['pve-manager']!;
    n1.audit = ['pve-manager half configured'];
    n1.upgradeEnds = 'succeeded';
    await call('closeOperation', { ...FORWARD, outcome: 'failed' });
    expect([...store.maintenance]).toEqual(['n1']);
    store.effects.length = 0;
    return store;
  }

  it('the node that was left out of service is taken over as it is, mended, and goes back first', async () => {
    const store = await failed();
    const call = worker(store);
    const opened = await call('openOperation', BACK);
    expect(opened).toMatchObject({
      adopted: [
        expect.stringMatching(/^n1: adopted the upgrade .* which failed$/),
        `took over maintenance of n1 from ${FORWARD.operationId}`,
        'n1: dpkg was not clean (pve-manager half configured); dpkg --configure ended what was half done',
      ],
    });
    await operate(call, BACK);
    expect(store.nodes['n1']?.installed).toMatchObject({ ...OLD_PACKAGES, ...CEPH });
    expect(store.count('upgrade n2') + store.count('reboot')).toBe(0);
    expect(store.count('maintenance disable n1')).toBe(1);
    expect([...store.maintenance, ...store.noout]).toEqual([]);
  });

  it('dpkg is not touched on a node that is not ours', async () => {
    const store = await failed();
    store.maintenance.delete('n1');
    await worker(store)('openOperation', BACK);
    expect(store.count('configure')).toBe(0);
  });

  it('dpkg is not touched for a release that goes forward: people decide', async () => {
    const store = await failed();
    await worker(store)('openOperation', { ...FORWARD, operationId: 'again', fence: 150 });
    expect(store.count('configure')).toBe(0);
  });

  it('a worker that was killed before it mended does so when it is asked again', async () => {
    const store = await failed();
    store.before('configure', () => {
      if (store.state.operation()?.operationId === BACK.operationId && killed) throw new Error('killed');
    });
    let killed = true;
    await expect(worker(store)('openOperation', BACK)).rejects.toThrow('killed');
    killed = false;
    expect(await worker(store)('openOperation', BACK)).toMatchObject({ kind: 'done' });
    expect(store.count('configure n1')).toBe(1);
  });
});

describe('which release a store goes back to', () => {
  it('is none without a permit', async () => {
    const store = await aStoreWithTheNewRelease();
    const { permit: _, ...without } = BACK;
    expect(await worker(store)('openOperation', without)).toMatchObject({
      kind: 'refused',
      stop: { reason: 'SequenceRollback' },
    });
  });

  it('is the last good one and no other, whatever a permit says', async () => {
    const store = await aStoreWithTheNewRelease();
    await store.state.saveTrust({ lastGood: aReleaseRef(46) });
    expect(await worker(store)('openOperation', BACK)).toEqual({
      kind: 'refused',
      stop: {
        reason: 'RollbackNotPermitted',
        step: 'verify release',
        summary: 'The last good release of this store is 2026.46.0; it does not go back to 2026.47.0.',
      },
    });
    expect(store.state.operation()).toBeUndefined();
    expect(store.state.trust().highestSequence).toBe(48);
  });

  it('is the one before when the last good one itself has to go', async () => {
    const store = await aStoreWithTheNewRelease();
    await store.state.saveTrust({ lastGood: aReleaseRef(48), goodBefore: aReleaseRef(46) });
    expect(await worker(store)('openOperation', BACK)).toMatchObject({
      kind: 'refused',
      stop: { reason: 'RollbackNotPermitted' },
    });
    await store.state.saveTrust({ goodBefore: aReleaseRef(47) });
    expect(await worker(store)('openOperation', BACK)).toMatchObject({ kind: 'done' });
  });

  it('is what the permit says when the store knows of no good one', async () => {
    const store = aStoreInTrial();
    await store.state.saveTrust({ highestSequence: 48 });
    expect(await worker(store)('openOperation', BACK)).toMatchObject({ kind: 'done' });
  });

  it('is known to a worker that was killed before it wrote down what it accepts from now on', async () => {
    const store = await aStoreWithTheNewRelease();
    await worker(store)('openOperation', BACK);
    await store.state.saveTrust({ highestSequence: 48 });
    expect(await worker(store)('openOperation', BACK)).toMatchObject({ kind: 'done' });
    expect(store.state.trust().highestSequence).toBe(47);
  });
});

describe('the last good release', () => {
  const probe = { protocol: 1, store: 'store-001', fleet: 'edge' };
  const desired = (sequence: number, soaked?: number) => ({
    schema: 'edge.desired/v1' as const,
    store: 'store-001',
    release: aReleaseRef(sequence),
    train: '2026-w48',
    stage: 'canary',
    commit: 'a'.repeat(40),
    expires: '2026-12-01T00:00:00Z',
    ...(soaked ? { soaked: { release: aReleaseRef(soaked), at: '2026-11-25T11:00:00Z' } } : {}),
  });

  it.each([
    ['is the current one when its stage has soaked', desired(48, 48), 48],
    ['is the current one when the record of the next release says so', desired(49, 48), 48],
    ['stays what it was while the stage soaks', desired(48), 47],
    ['stays what it was when another release has soaked', desired(49, 49), 47],
    ['stays what it was when there is no record', undefined, 47],
  ])('%s', async (_, record, lastGood) => {
    const store = await aStoreWithTheNewRelease();
    if (record) store.desired = record;
    await worker(store)('probeStore', probe);
    expect(store.state.trust().lastGood).toEqual(aReleaseRef(lastGood));
  });

  it('is not asked for again once it is known, nor while nothing is current', async () => {
    const store = await aStoreWithTheNewRelease();
    let asked = 0;
    store.deps.verifier.desired = () => Promise.resolve(void (asked += 1)) as Promise<undefined>;
    await store.state.saveTrust({ lastGood: aReleaseRef(48) });
    await worker(store)('probeStore', probe);
    await worker(aFakeStore())('probeStore', probe);
    expect(asked).toBe(0);
  });

  it.each([
    ['is the one before when it was taken back while the store was away', [48], 47, 47, 48],
    ['stays what it was when an older one was taken back', [46], 47, 48, undefined],
    ['stays what it was when nothing that was good before it is known', [48], undefined, 48, 48],
    ['stays what it was when what was good before it was taken back too', [48, 47], 47, 48, 48],
    ['stays what it was when it is brought again', [49], 48, 48, undefined],
  ])('%s', async (_, withdrawn, before, lastGood, gone) => {
    const store = await aStoreWithTheNewRelease();
    const ref = (sequence: number | undefined) => (sequence === undefined ? undefined : aReleaseRef(sequence));
    await store.state.saveTrust({ current: aReleaseRef(48), lastGood: aReleaseRef(48), goodBefore: ref(before) });
    store.desired = desired(49, 48);
    store.withdrawn = withdrawn;
    expect(await worker(store)('openOperation', NEXT)).toMatchObject({ kind: 'done' });
    expect(store.state.trust()).toMatchObject({ lastGood: ref(lastGood) });
    expect(store.state.trust().withdrawn).toEqual(ref(gone));
  });

  it('is not the current one when that was taken back while it soaked, and the store was away', async () => {
    const store = await aStoreWithTheNewRelease();
    store.desired = desired(49, 48);
    store.withdrawn = [48];
    await worker(store)('probeStore', probe);
    expect(store.state.trust()).toMatchObject({ lastGood: aReleaseRef(47), withdrawn: aReleaseRef(48) });
  });

  it('waits when the registry does not answer; the probe is given all the same', async () => {
    const store = await aStoreWithTheNewRelease();
    store.deps.verifier.desired = () => Promise.reject(new Error('no route'));
    expect(await worker(store)('probeStore', probe)).toMatchObject({ reachable: true });
    expect(store.state.trust().lastGood).toEqual(aReleaseRef(47));
  });
});

describe('the next release after a store went back', () => {
  it('takes the pin away that the rollback left, after the new packages and before the reboot', async () => {
    const store = await aStoreWithTheNewRelease();
    await operate(worker(store), BACK);
    store.effects.length = 0;
    await operate(worker(store), NEXT);
    const of = (what: string) => store.effects.findIndex((effect) => effect.startsWith(what));
    expect(of('upgrade n1')).toBeLessThan(of('boot-tool n1 kernel unpin'));
    expect(of('boot-tool n1 kernel unpin')).toBeLessThan(of('reboot n1'));
    for (const node of Object.values(store.nodes)) expect(node).toMatchObject({ kernel: KERNEL, pinned: undefined });
    expect(store.state.trust()).toMatchObject({ wentBack: false, highestSequence: 49 });
    expect(store.state.trust().pins).toEqual({});
  });

  it('leaves the pin of someone else alone and is refused before it drains', async () => {
    const store = await aStoreWithTheNewRelease();
    await operate(worker(store), BACK);
    store.effects.length = 0;
    store.nodes['n3']!.pinned = '6.8.12-1-pve';
    const call = worker(store);
    await call('openOperation', NEXT);
    const seen = await call('readFacts', NEXT);
    expect(decideReady(seen.facts, { ...seen, expectedNodes: seen.nodes, work: NODES })).toMatchObject({
      stop: { reason: 'WrongKernel', summary: 'n3: someone else has pinned kernel 6.8.12-1-pve' },
    });
    expect(await call('drainNode', { ...NEXT, node: 'n3' })).toMatchObject({ kind: 'refused' });
    expect(store.effects).toEqual([]);
  });
});
