import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decideDrain,
  decideManifest,
  decidePackages,
  decideReady,
  decideReboot,
  decideRejoined,
  decideVerified,
  MIN_ROOT_FREE,
  planNodes,
  type StoreContext,
  type StoreDecision,
} from '#domain/decide-store.js';
import type { NodeFacts, StagedNode } from '#domain/facts.js';
import type { Reason } from '#domain/reasons.js';
import {
  aStore,
  GIB,
  KERNEL,
  NODES,
  OLD_KERNEL,
  OLD_PACKAGES,
  PACKAGES,
  type StoreBuilder,
} from '../../support/builders.js';

const context = (change: Partial<StoreContext> = {}): StoreContext => ({
  expectedNodes: NODES,
  packages: PACKAGES,
  kernel: KERNEL,
  ours: { maintenance: [], noout: [] },
  work: NODES,
  ...change,
});
const n2IsOurs = context({ ours: { maintenance: ['n2'], noout: ['n2'] }, work: ['n2'] });

/** Each question, with a store about which the answer is yes. The node in work is n2. */
const questions = {
  ready: { store: () => aStore(), ask: (store: StoreBuilder) => decideReady(store.facts(), context()) },
  drain: { store: () => aStore(), ask: (store: StoreBuilder) => decideDrain(store.facts(), context(), 'n2') },
  packages: {
    store: () => aStore().drained('n2'),
    ask: (store: StoreBuilder) => decidePackages(store.facts(), n2IsOurs, 'n2'),
  },
  reboot: {
    store: () => aStore().drained('n2').upgraded('n2'),
    ask: (store: StoreBuilder) => decideReboot(store.facts(), n2IsOurs, 'n2'),
  },
  rejoined: {
    store: () => aStore().drained('n2').patched('n2'),
    ask: (store: StoreBuilder) => decideRejoined(store.facts(), n2IsOurs, 'n2'),
  },
  verified: {
    store: () => aStore().patched('n1').patched('n2').patched('n3'),
    ask: (store: StoreBuilder) => decideVerified(store.facts(), context()),
  },
} satisfies Record<string, { store: () => StoreBuilder; ask: (store: StoreBuilder) => StoreDecision }>;
type Question = keyof typeof questions;

const EVERY: Question[] = ['ready', 'drain', 'packages', 'reboot', 'rejoined', 'verified'];
const BEFORE_WORK: Question[] = ['ready', 'drain'];
const ON_THE_NODE: Question[] = ['packages', 'reboot'];

interface Fault {
  fault: (store: StoreBuilder) => StoreBuilder;
  reason: Reason;
  says: string;
  /** Every other question is still answered with yes. */
  stops: Question[];
}

const faults: Record<string, Fault> = {
  'a fact could not be read': {
    fault: (store) => store.withUnreadable('n3: boot id: connection refused'),
    reason: 'FactsUnreadable',
    says: 'n3: boot id: connection refused',
    stops: EVERY,
  },
  'the token lacks a privilege': {
    fault: (store) => store.with((facts) => facts.missingPrivileges.push('VM.Migrate')),
    reason: 'PermissionsMissing',
    says: 'VM.Migrate',
    stops: BEFORE_WORK,
  },
  'the cluster is not quorate': {
    fault: (store) => store.withoutQuorum(),
    reason: 'NoQuorum',
    says: 'not quorate',
    stops: EVERY,
  },
  'another node is offline': {
    fault: (store) => store.withNodeOffline('n3'),
    reason: 'NodeOffline',
    says: 'n3 is not online',
    stops: EVERY,
  },
  'a node of the store is not in the cluster at all': {
    fault: (store) => store.with(({ cluster }) => cluster.nodes.splice(2, 1)),
    reason: 'NodeOffline',
    says: 'n3 is not online',
    stops: EVERY,
  },
  'someone else has set maintenance on another node': {
    fault: (store) => store.inMaintenance('n3'),
    reason: 'NodeInMaintenance',
    says: 'n3 is in maintenance that this operation did not set',
    stops: [...BEFORE_WORK, ...ON_THE_NODE],
  },
  'the HA stack has no quorum': {
    fault: (store) => store.with(({ ha }) => (ha.quorumOk = false)),
    reason: 'HaUnhealthy',
    says: 'no quorum',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'an HA service is in error': {
    fault: (store) => store.withService('vm:105', 'error'),
    reason: 'HaUnhealthy',
    says: 'vm:105 on n1 is error',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'an HA service is on the move': {
    fault: (store) => store.withService('ct:106', 'migrate'),
    reason: 'HaUnhealthy',
    says: 'ct:106 on n1 is migrate',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'an HA service is in a state nobody has heard of': {
    fault: (store) => store.withService('ct:106', 'levitating'),
    reason: 'HaUnhealthy',
    says: 'ct:106 on n1 is levitating',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'a local resource manager is stale': {
    fault: (store) =>
      store.with(({ ha }) => (ha.managers = { n3: 'n3 (old timestamp - dead?, Tue Nov 24 09:00:00 2026)' })),
    reason: 'HaUnhealthy',
    says: 'resource manager of n3 is stale',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'HA is about to fence a node': {
    fault: (store) => store.with(({ ha }) => (ha.nodeStatus['n3'] = 'fence')),
    reason: 'HaUnhealthy',
    says: 'n3 is fence for HA',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'a Ceph check blocks': {
    fault: (store) => store.withCheck('OSD_NEARFULL', { message: '1 nearfull osd(s)' }),
    reason: 'CephBlocked',
    says: 'OSD_NEARFULL: 1 nearfull osd(s)',
    stops: EVERY,
  },
  'an OSD is down': {
    fault: (store) => store.withOsdDown('n3'),
    reason: 'CephUnclean',
    says: 'osd.4 on n3',
    stops: EVERY,
  },
  'an OSD is out': {
    fault: (store) => store.with(({ ceph }) => ceph.osds.forEach((osd) => (osd.in = osd.in && osd.id !== 5))),
    reason: 'CephUnclean',
    says: 'osd.5 on n3',
    stops: EVERY,
  },
  'no OSD is known': {
    fault: (store) => store.with(({ ceph }) => (ceph.osds = [])),
    reason: 'CephUnclean',
    says: 'no OSDs',
    stops: EVERY,
  },
  'a monitor is out of quorum': {
    fault: (store) => store.with(({ ceph }) => ceph.monsInQuorum.pop()),
    reason: 'CephUnclean',
    says: 'monitors out of quorum: n3',
    stops: EVERY,
  },
  'a monitor was taken out of the map': {
    fault: (store) =>
      store.with(({ ceph }) => {
        ceph.monsInMap.pop();
        ceph.monsInQuorum.pop();
      }),
    reason: 'CephUnclean',
    says: 'only 2 monitors in the map',
    stops: EVERY,
  },
  'no manager is active': {
    fault: (store) => store.with(({ ceph }) => (ceph.mgrAvailable = false)),
    reason: 'CephUnclean',
    says: 'no active manager',
    stops: EVERY,
  },
  'no manager stands by': {
    fault: (store) => store.with(({ ceph }) => (ceph.mgrStandbys = 0)),
    reason: 'CephUnclean',
    says: 'no standby manager',
    stops: EVERY,
  },
  'a placement group is degraded': {
    fault: (store) => store.withPgs({ 'active+clean': 128, 'active+undersized+degraded': 1 }),
    reason: 'CephUnclean',
    says: '1 active+undersized+degraded',
    stops: EVERY,
  },
  'fewer placement groups have a state than there are': {
    fault: (store) => store.withPgs({ 'active+clean': 128 }),
    reason: 'CephUnclean',
    says: '128 active+clean',
    stops: EVERY,
  },
  'no placement group is known': {
    fault: (store) => store.with(({ ceph }) => (ceph.pgs = { total: 0, states: [] })),
    reason: 'CephUnclean',
    says: 'none reported',
    stops: EVERY,
  },
  'an object is misplaced': {
    fault: (store) => store.with(({ ceph }) => (ceph.misplacedObjects = 1)),
    reason: 'CephUnclean',
    says: 'not all placement groups are active and clean',
    stops: EVERY,
  },
  'an object is degraded': {
    fault: (store) => store.with(({ ceph }) => (ceph.degradedObjects = 1)),
    reason: 'CephUnclean',
    says: 'not all placement groups are active and clean',
    stops: EVERY,
  },
  'an object is unfound': {
    fault: (store) => store.with(({ ceph }) => (ceph.unfoundObjects = 1)),
    reason: 'CephUnclean',
    says: 'not all placement groups are active and clean',
    stops: EVERY,
  },
  'an OSD is three quarters full': {
    fault: (store) => store.with(({ ceph }) => ceph.osds.forEach((osd) => (osd.utilization = osd.id === 3 ? 75 : 40))),
    reason: 'CephBlocked',
    says: 'osd.3 is 75 % full',
    stops: BEFORE_WORK,
  },
  'nobody looked how full the OSDs are': {
    fault: (store) => store.with(({ ceph }) => ceph.osds.forEach((osd) => delete osd.utilization)),
    reason: 'FactsUnreadable',
    says: 'nobody looked how full osd.0 is',
    stops: BEFORE_WORK,
  },
  'nobody looked at the HA resource managers': {
    fault: (store) => store.with(({ ha }) => delete ha.managers),
    reason: 'FactsUnreadable',
    says: 'the HA resource managers were not looked at',
    stops: [...BEFORE_WORK, 'verified'],
  },
  'nobody looked which tasks run': {
    fault: (store) => store.with((facts) => delete facts.runningTasks),
    reason: 'FactsUnreadable',
    says: 'nobody looked which tasks run',
    stops: BEFORE_WORK,
  },
  'a pool keeps two copies': {
    fault: (store) => store.with(({ ceph }) => ceph.pools.push({ name: 'scratch', size: 2, minSize: 2 })),
    reason: 'CephBlocked',
    says: 'pool scratch has size 2/2',
    stops: BEFORE_WORK,
  },
  'a pool serves writes with one copy': {
    fault: (store) => store.with(({ ceph }) => ceph.pools.push({ name: 'risky', size: 3, minSize: 1 })),
    reason: 'CephBlocked',
    says: 'pool risky has size 3/1',
    stops: BEFORE_WORK,
  },
  'noout is set on the whole cluster': {
    fault: (store) => store.withFlag('noout'),
    reason: 'ForeignFlags',
    says: 'Ceph flag noout is set by someone else',
    stops: [...BEFORE_WORK, ...ON_THE_NODE],
  },
  'noout is set on a host that is not ours': {
    fault: (store) => store.withFlag('noout', 'n3'),
    reason: 'ForeignFlags',
    says: 'noout on n3',
    stops: [...BEFORE_WORK, ...ON_THE_NODE, 'verified'],
  },
  'another flag than noout is set on a host': {
    fault: (store) => store.withFlag('norecover', 'n2'),
    reason: 'ForeignFlags',
    says: 'norecover on n2',
    stops: [...BEFORE_WORK, ...ON_THE_NODE, 'verified'],
  },
  'a guest is locked': {
    fault: (store) => store.withGuest(103, { lock: 'backup' }),
    reason: 'GuestLocked',
    says: 'guest 103 (cache) is locked: backup',
    stops: BEFORE_WORK,
  },
  'a backup runs': {
    fault: (store) => store.with((facts) => (facts.runningTasks = [{ type: 'vzdump', node: 'n3', upid: 'UPID:n3:…' }])),
    reason: 'TasksRunning',
    says: 'a vzdump task runs on n3',
    stops: BEFORE_WORK,
  },
  'dpkg is not clean on the node': {
    fault: (store) => store.withNode('n2', { dpkgAudit: ['pve-manager half configured'] }),
    reason: 'PackagesBroken',
    says: 'n2: dpkg --audit: pve-manager half configured',
    stops: [...BEFORE_WORK, ...ON_THE_NODE],
  },
  'a package is on hold on the node': {
    fault: (store) => store.withNode('n2', { held: ['pve-qemu-kvm'] }),
    reason: 'PackagesBroken',
    says: 'n2: pve-qemu-kvm is on hold',
    stops: [...BEFORE_WORK, ...ON_THE_NODE],
  },
  'a disk is a byte short of room': {
    fault: (store) => store.withNode('n2', { rootFreeBytes: MIN_ROOT_FREE - 1 }),
    reason: 'DiskFull',
    says: 'n2 has 5.0 GiB free on /',
    stops: BEFORE_WORK,
  },
  'the other nodes cannot hold the guests of the node': {
    fault: (store) => store.withGuest(104, { name: 'giant', node: 'n2', maxMemory: 60 * GIB }),
    reason: 'NotEnoughMemory',
    says: 'for the guests of n2',
    // A node that is drained and still has a guest is caught by its own check.
    stops: [...BEFORE_WORK, ...ON_THE_NODE],
  },
  'the memory of another node is unknown': {
    fault: (store) => store.with(({ memory }) => delete memory['n3']),
    reason: 'FactsUnreadable',
    says: 'n3: memory is unknown',
    stops: BEFORE_WORK,
  },
  'Ceph says that the OSDs of the host may not stop': {
    fault: (store) => store.notOkToStop('n2', 'osds'),
    reason: 'CephNotOkToStop',
    says: 'n2: osds: no',
    stops: [...BEFORE_WORK, 'reboot'],
  },
  'Ceph says that the monitor of the host may not stop': {
    fault: (store) => store.notOkToStop('n2', 'mon'),
    reason: 'CephNotOkToStop',
    says: 'n2: mon: no',
    stops: [...BEFORE_WORK, 'reboot'],
  },
  'Ceph was not asked whether the host may stop': {
    fault: (store) => store.with(({ okToStop }) => delete okToStop['n2']),
    reason: 'FactsUnreadable',
    says: 'Ceph was not asked whether n2 may stop',
    stops: [...BEFORE_WORK, 'reboot'],
  },
};

/** Some faults show as another reason where the node is in work, or when the work is done. */
const alsoSeenAs: Record<string, Partial<Record<Question, { reason: Reason; says: string }>>> = {
  'the other nodes cannot hold the guests of the node': {
    packages: { reason: 'FactsChanged', says: 'guest 104 (giant) runs on n2' },
    reboot: { reason: 'FactsChanged', says: 'guest 104 (giant) runs on n2' },
  },
  'noout is set on the whole cluster': {
    verified: { reason: 'VerifyFailed', says: 'noout is still set' },
  },
  'noout is set on a host that is not ours': {
    verified: { reason: 'VerifyFailed', says: 'noout on n3 is still set' },
  },
  'another flag than noout is set on a host': {
    verified: { reason: 'VerifyFailed', says: 'norecover on n2 is still set' },
  },
  'someone else has set maintenance on another node': {
    verified: { reason: 'VerifyFailed', says: 'n3 is still in maintenance' },
  },
};

function expectStop(decision: StoreDecision, reason: Reason, says: string): void {
  expect(decision.kind).toBe('stop');
  if (decision.kind !== 'stop') return;
  const lines = decision.stop.detail ?? [];
  expect(lines.some((line) => line.startsWith(`${reason}: `) && line.includes(says))).toBe(true);
}

describe.each(EVERY)('may we go on: %s?', (question) => {
  const { store, ask } = questions[question];

  it('proceeds with a healthy store', () => {
    expect(ask(store())).toEqual({ kind: 'proceed' });
  });

  describe.each(Object.entries(faults))('when %s', (sentence, { fault, reason, says, stops }) => {
    const other = alsoSeenAs[sentence]?.[question];
    if (stops.includes(question) || other) {
      it('stops', () => expectStop(ask(fault(store())), other?.reason ?? reason, other?.says ?? says));
    } else {
      it('proceeds all the same', () => expect(ask(fault(store()))).toEqual({ kind: 'proceed' }));
    }
  });
});

describe('what is ours does not stop us', () => {
  it('is ready when the maintenance and noout were set by this operation', () => {
    const decision = decideReady(
      aStore().drained('n2').facts(),
      context({ ours: { maintenance: ['n2'], noout: ['n2'] } }),
    );
    expect(decision).toEqual({ kind: 'proceed' });
  });

  it('asks Ceph and memory only about the nodes that are still to be worked on', () => {
    const store = aStore()
      .notOkToStop('n1', 'osds')
      .withGuest(104, { node: 'n1', maxMemory: 60 * GIB })
      .with(({ memory }) => (memory['n1'] = 128 * GIB));
    expectStop(decideReady(store.facts(), context()), 'NotEnoughMemory', 'for the guests of n1');
    expect(decideReady(store.facts(), context({ work: ['n2', 'n3'] }))).toEqual({ kind: 'proceed' });
  });

  it('does not count a guest that is stopped, or a template', () => {
    const store = aStore()
      .withGuest(104, { node: 'n2', maxMemory: 600 * GIB, status: 'stopped' })
      .withGuest(900, { node: 'n2', maxMemory: 600 * GIB, template: true });
    expect(decideDrain(store.facts(), context(), 'n2')).toEqual({ kind: 'proceed' });
  });

  it('drains no second node while this operation has another one out of service', () => {
    const ours = { maintenance: ['n1'], noout: ['n1'] };
    const decision = decideDrain(aStore().drained('n1').facts(), context({ ours }), 'n2');
    expectStop(decision, 'NodeInMaintenance', 'n1 is still in maintenance');
  });

  it('drains a node again that this operation has in maintenance already', () => {
    const ours = { maintenance: ['n2'], noout: ['n2'] };
    expect(decideDrain(aStore().drained('n2').facts(), context({ ours }), 'n2')).toEqual({ kind: 'proceed' });
  });
});

const ready = () => aStore().drained('n2').upgraded('n2');
const onTheNode: Record<
  string,
  { decide: typeof decideReboot; store: () => StoreBuilder; ours?: StoreContext['ours']; reason: Reason; says: string }
> = {
  'packages wait until the node is in maintenance': {
    decide: decidePackages,
    store: () => aStore(),
    reason: 'FactsChanged',
    says: 'n2 is not in the maintenance that this operation set',
  },
  'packages wait while a guest still runs on the node': {
    decide: decidePackages,
    store: () => aStore().drained('n2').withGuest(102, { node: 'n2' }),
    reason: 'FactsChanged',
    says: 'guest 102 (inventory) runs on n2',
  },
  'a maintenance of someone else is not taken for ours': {
    decide: decidePackages,
    store: () => aStore().drained('n2'),
    ours: { maintenance: [], noout: ['n2'] },
    reason: 'NodeInMaintenance',
    says: 'n2 is in maintenance that this operation did not set',
  },
  'nothing is decided about a node that was not looked into': {
    decide: decidePackages,
    store: () =>
      aStore()
        .drained('n2')
        .with((facts) => facts.nodes.splice(1, 1)),
    reason: 'FactsUnreadable',
    says: 'nothing is known of n2',
  },
  'a reboot waits until noout is set': {
    decide: decideReboot,
    store: () => ready().with(({ ceph }) => (ceph.hostFlags = {})),
    reason: 'FactsChanged',
    says: 'noout is not set on n2',
  },
  'a noout of someone else is not taken for ours': {
    decide: decideReboot,
    store: ready,
    ours: { maintenance: ['n2'], noout: [] },
    reason: 'FactsChanged',
    says: 'noout is not set on n2',
  },
  'no reboot into another version of a package': {
    decide: decideReboot,
    store: () => ready().withNode('n2', { installed: { ...PACKAGES, 'pve-manager': '9.0.11' } }),
    reason: 'InventoryMismatch',
    says: 'n2: pve-manager is 9.0.11, the release pins 9.1.2',
  },
  'no reboot without a package of the release': {
    decide: decideReboot,
    store: () => ready().withNode('n2', { installed: OLD_PACKAGES }),
    reason: 'InventoryMismatch',
    says: 'proxmox-kernel-6.14.11-4-pve-signed is not installed',
  },
  'no reboot when the boot loader does not know the kernel': {
    decide: decideReboot,
    store: () => ready().withNode('n2', { bootableKernels: [OLD_KERNEL] }),
    reason: 'WrongKernel',
    says: `n2: the boot loader does not know kernel ${KERNEL}`,
  },
};

describe('a node in work', () => {
  it.each(Object.entries(onTheNode))('%s', (_, { decide, store, ours, reason, says }) => {
    const given = { ...n2IsOurs, ours: ours ?? n2IsOurs.ours };
    expectStop(decide(store().facts(), given, 'n2'), reason, says);
  });
});

const allPatched = () => aStore().patched('n1').patched('n2').patched('n3');
const unverified: Record<string, { store: () => StoreBuilder; reason: Reason; says: string }> = {
  'fails while maintenance is left, though it is our own': {
    store: () => allPatched().inMaintenance('n2'),
    reason: 'VerifyFailed',
    says: 'n2 is still in maintenance',
  },
  'fails while noout is left on a host, though it was our own': {
    store: () => allPatched().withFlag('noout', 'n2'),
    reason: 'VerifyFailed',
    says: 'noout on n2 is still set',
  },
  'fails while the whole cluster may not recover': {
    store: () => allPatched().withFlag('norecover'),
    reason: 'VerifyFailed',
    says: 'Ceph flag norecover is still set',
  },
  'fails while all clients are stopped': {
    store: () => allPatched().withFlag('pauserd'),
    reason: 'VerifyFailed',
    says: 'Ceph flag pauserd is still set',
  },
  'fails while an upgrade unit is left': {
    store: () => allPatched().withNode('n1', { upgradeUnit: { name: 'edge-governor-upgrade-1', state: 'succeeded' } }),
    reason: 'VerifyFailed',
    says: 'unit edge-governor-upgrade-1 is left on n1',
  },
  'fails when a node has another version': {
    store: () => allPatched().withNode('n3', { installed: { ...PACKAGES, 'openssh-server': '1:10.0p1-7' } }),
    reason: 'InventoryMismatch',
    says: 'n3: openssh-server is 1:10.0p1-7',
  },
  'fails when a node runs another kernel': {
    store: () => allPatched().withNode('n3', { runningKernel: OLD_KERNEL }),
    reason: 'WrongKernel',
    says: `n3 runs ${OLD_KERNEL}`,
  },
  'fails when nothing is known of a node': {
    store: () => allPatched().with((facts) => facts.nodes.pop()),
    reason: 'FactsUnreadable',
    says: 'nothing is known of n3',
  },
};

describe('decideVerified', () => {
  it.each(Object.entries(unverified))('%s', (_, { store, reason, says }) => {
    const ours = { maintenance: ['n2'], noout: ['n2'] };
    expectStop(decideVerified(store().facts(), context({ ours })), reason, says);
  });
});

describe('a stop', () => {
  it('leads with the first finding and counts the others', () => {
    const decision = decideReady(aStore().withoutQuorum().withNodeOffline('n3').facts(), context());
    expect(decision).toMatchObject({
      kind: 'stop',
      stop: {
        reason: 'NoQuorum',
        step: 'preflight',
        summary: 'the cluster is not quorate (and 1 more)',
        detail: ['NoQuorum: the cluster is not quorate', 'NodeOffline: n3 is not online'],
      },
    });
  });

  it('names a node that is off before what could not be read of it, and once', () => {
    const store = aStore().withNodeOffline('n3').withUnreadable('n3: connect ECONNREFUSED');
    expect(decideReady(store.facts(), context())).toMatchObject({
      stop: {
        reason: 'NodeOffline',
        summary: 'n3 is not online (and 1 more)',
        detail: ['NodeOffline: n3 is not online', 'FactsUnreadable: n3: connect ECONNREFUSED'],
      },
    });
  });

  it('takes no node for off when the cluster itself could not be read', () => {
    const store = aStore()
      .withUnreadable('cluster status: timeout')
      .with(({ cluster }) => Object.assign(cluster, { quorate: false, nodes: [] }));
    expect(decideReady(store.facts(), context())).toMatchObject({ stop: { reason: 'FactsUnreadable' } });
  });

  it('shows at most twenty findings', () => {
    const store = aStore();
    for (let at = 0; at < 30; at += 1) store.withUnreadable(`thing ${at}`);
    const decision = decideReady(store.facts(), context());
    expect(decision.kind === 'stop' && decision.stop.detail).toHaveLength(20);
    expect(decision.kind === 'stop' && decision.stop.summary).toBe('thing 0 (and 29 more)');
  });

  it.each([
    ['drain n2', decideDrain],
    ['upgrade n2', decidePackages],
    ['reboot n2', decideReboot],
    ['rejoin n2', decideRejoined],
  ])('names its step: %s', (step, decide) => {
    expect(decide(aStore().withoutQuorum().facts(), context(), 'n2')).toMatchObject({ stop: { step } });
  });
});

describe('planNodes', () => {
  const plan = (store: StoreBuilder, ours: StoreContext['ours'] = { maintenance: [], noout: [] }) =>
    planNodes(store.facts(), { packages: PACKAGES, kernel: KERNEL, ours });

  it('leaves the node that leads the HA managers to the end', () => {
    expect(plan(aStore()).map(({ node }) => node)).toEqual(['n2', 'n3', 'n1']);
  });

  it('goes by name when no manager leads', () => {
    expect(plan(aStore().with(({ ha }) => delete ha.master)).map(({ node }) => node)).toEqual(NODES);
  });

  it('has nothing to do on a node that runs the release', () => {
    expect(plan(aStore().patched('n2'))[0]).toEqual({ node: 'n2', packages: false, reboot: false, out: false });
  });

  it('only reboots a node that has the packages and runs another kernel', () => {
    expect(plan(aStore().upgraded('n2'))[0]).toEqual({ node: 'n2', packages: false, reboot: true, out: false });
  });

  it('reboots after packages even when the kernel stays the same', () => {
    const store = aStore()
      .patched('n3')
      .withNode('n3', { installed: { ...PACKAGES, 'pve-manager': '9.0.11' } });
    expect(plan(store)[1]).toEqual({ node: 'n3', packages: true, reboot: true, out: false });
  });

  it('does not hold a node for out of service whose mark outlived the maintenance', () => {
    expect(plan(aStore(), { maintenance: ['n1'], noout: [] }).map(({ node, out }) => `${node} ${out}`)).toEqual([
      'n2 false',
      'n3 false',
      'n1 false',
    ]);
  });

  it('begins with a node that an earlier operation left out of service, although it runs the release', () => {
    const ours = { maintenance: ['n1'], noout: ['n1'] };
    expect(plan(aStore().drained('n1').patched('n1'), ours)).toEqual([
      { node: 'n1', packages: false, reboot: false, out: true },
      { node: 'n2', packages: true, reboot: true, out: false },
      { node: 'n3', packages: true, reboot: true, out: false },
    ]);
  });

  it('plans every node that was looked into exactly once, the leader last', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.stringMatching(/^[a-z0-9]{1,8}$/), { minLength: 1, maxLength: 16 }),
        fc.nat(),
        (names, at) => {
          const [node] = aStore().facts().nodes;
          const master = names[at % names.length] as string;
          const facts = aStore().facts();
          facts.nodes = names.map((name) => ({ ...(node as NodeFacts), name }));
          facts.ha.master = master;
          const planned = planNodes(facts, context()).map((work) => work.node);
          expect([...planned].sort()).toEqual([...names].sort());
          expect(planned.at(-1)).toBe(master);
        },
      ),
    );
  });
});

describe('decideManifest', () => {
  const install = Object.entries(PACKAGES).map(([name, version]) => ({ name, version }));
  const decide = (simulation: StagedNode['simulation']) => {
    const node = aStore().facts().nodes[1] as NodeFacts;
    return decideManifest({ ...node, simulation }, { packages: PACKAGES, kernel: KERNEL });
  };

  const cases: Record<string, { simulation: StagedNode['simulation']; says?: string; reason?: Reason }> = {
    'proceeds when apt would install exactly what is pinned': { simulation: { install, remove: [] } },
    'stops when apt would remove a package': {
      simulation: { install, remove: ['proxmox-ve'] },
      says: 'n2: apt would remove proxmox-ve',
    },
    'stops when apt would install a package that is not pinned': {
      simulation: { install: [...install, { name: 'curl', version: '8.14.1-2' }], remove: [] },
      says: 'n2: apt would install curl 8.14.1-2, the release pins nothing of that name',
    },
    'is not fooled by a package with the name of something every object has': {
      simulation: { install: [...install, { name: 'constructor', version: '1' }], remove: [] },
      says: 'apt would install constructor 1',
    },
    'stops when apt would install another version': {
      simulation: { install: install.map((each) => ({ ...each, version: `${each.version}+evil` })), remove: [] },
      says: 'n2: apt would install pve-manager 9.1.2+evil, the release pins 9.1.2',
    },
    'stops when apt would not install what is pinned': {
      simulation: { install: install.slice(1), remove: [] },
      says: 'n2: the release pins pve-manager 9.1.2, apt would not install it',
    },
    'stops when apt has nothing to do on a node that lacks the release': {
      simulation: { install: [], remove: [] },
      says: 'apt would not install it',
    },
    'stops when the upgrade was not simulated': {
      simulation: undefined,
      says: 'n2: the upgrade could not be simulated',
      reason: 'FactsUnreadable',
    },
  };

  it.each(Object.entries(cases))('%s', (_, { simulation, says, reason }) => {
    if (says === undefined) expect(decide(simulation)).toEqual({ kind: 'proceed' });
    else expectStop(decide(simulation), reason ?? 'ManifestMismatch', says);
  });

  it('proceeds when the node has everything and apt agrees', () => {
    const node = aStore().patched('n2').facts().nodes[1] as NodeFacts;
    expect(
      decideManifest({ ...node, simulation: { install: [], remove: [] } }, { packages: PACKAGES, kernel: KERNEL }),
    ).toEqual({ kind: 'proceed' });
  });
});
