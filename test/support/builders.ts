import type { CephCheck, GuestFacts, NodeFacts, StoreFacts } from '#domain/facts.js';
import { storeSchema, type Store } from '#domain/fleet.js';
import { PROTOCOL, type NodeTask, type StoreTask } from '#domain/messages/store.js';
import type { ReleaseManifest, ReleaseRef, StoreArtifact } from '#domain/release.js';

export const GIB = 1024 ** 3;
export const NODES = ['n1', 'n2', 'n3'];

/** What the release of these tests pins, and what its stores run before it. */
export const PACKAGES: Record<string, string> = {
  'pve-manager': '9.1.2',
  'openssh-server': '1:10.0p1-7+deb13u1',
  'proxmox-kernel-6.14.11-4-pve-signed': '6.14.11-4',
};
export const KERNEL = '6.14.11-4-pve';
export const OLD_PACKAGES: Record<string, string> = { 'pve-manager': '9.0.11', 'openssh-server': '1:10.0p1-7' };
export const OLD_KERNEL = '6.14.8-2-pve';

const ALWAYS_SET = ['sortbitwise', 'recovery_deletes', 'purged_snapdirs', 'pglog_hardlimit'];

export interface StoreBuilder {
  facts(): StoreFacts;
  /** Any change that has no word of its own. */
  with(change: (facts: StoreFacts) => void): StoreBuilder;
  withUnreadable(what: string): StoreBuilder;
  withoutQuorum(): StoreBuilder;
  withNodeOffline(node: string): StoreBuilder;
  inMaintenance(node: string): StoreBuilder;
  withService(sid: string, state: string): StoreBuilder;
  withCheck(code: string, change?: Partial<CephCheck>): StoreBuilder;
  withOsdDown(host: string): StoreBuilder;
  withPgs(states: Record<string, number>): StoreBuilder;
  withFlag(flag: string, host?: string): StoreBuilder;
  withGuest(vmid: number, change: Partial<GuestFacts>): StoreBuilder;
  withNode(node: string, change: Partial<NodeFacts>): StoreBuilder;
  notOkToStop(node: string, what: 'osds' | 'mon'): StoreBuilder;
  /** Packages of the release, and its kernel ready to boot. */
  upgraded(node: string): StoreBuilder;
  /** Upgraded and running the kernel of the release. */
  patched(node: string): StoreBuilder;
  /** In maintenance, with noout, and its guests elsewhere. */
  drained(node: string): StoreBuilder;
}

/** A healthy store of three nodes that still runs the previous release. */
export function aStore(): StoreBuilder {
  const facts = healthyFacts();
  const node = (name: string): NodeFacts => {
    const found = facts.nodes.find((candidate) => candidate.name === name);
    if (!found) throw new Error(`The store has no node ${name}.`);
    return found;
  };
  const builder: StoreBuilder = {
    facts: () => structuredClone(facts),
    with: (change) => {
      change(facts);
      return builder;
    },
    withUnreadable: (what) => builder.with(({ unreadable }) => unreadable.push(what)),
    withoutQuorum: () => builder.with(({ cluster }) => (cluster.quorate = false)),
    withNodeOffline: (name) =>
      builder.with(({ cluster }) => cluster.nodes.forEach((each) => (each.online &&= each.name !== name))),
    inMaintenance: (name) =>
      builder.with(({ ha }) => {
        ha.nodeStatus[name] = 'maintenance';
        ha.managers = { ...ha.managers, [name]: `${name} (maintenance mode, Tue Nov 24 11:00:00 2026)` };
      }),
    withService: (sid, state) => builder.with(({ ha }) => ha.services.push({ sid, node: 'n1', state })),
    withCheck: (code, change = {}) =>
      builder.with(({ ceph }) =>
        ceph.checks.push({ code, severity: 'HEALTH_WARN', message: 'as seen', muted: false, ...change }),
      ),
    withOsdDown: (host) =>
      builder.with(({ ceph }) => ceph.osds.forEach((osd) => (osd.up = osd.up && osd.host !== host))),
    withPgs: (states) =>
      builder.with(({ ceph }) => {
        ceph.pgs.states = Object.entries(states).map(([state, count]) => ({ state, count }));
      }),
    withFlag: (flag, host) =>
      builder.with(({ ceph }) => {
        if (host === undefined) ceph.flags.push(flag);
        else ceph.hostFlags[host] = [...(ceph.hostFlags[host] ?? []), flag];
      }),
    withGuest: (vmid, change) =>
      builder.with(({ guests }) => {
        const guest = guests.find((each) => each.vmid === vmid);
        if (guest) Object.assign(guest, change);
        else guests.push({ ...aGuest(vmid), ...change });
      }),
    withNode: (name, change) => builder.with(() => Object.assign(node(name), change)),
    notOkToStop: (name, what) =>
      builder.with(({ okToStop }) => {
        const answer = okToStop[name];
        if (answer) Object.assign(answer, { [what]: false, detail: `${what}: no, unsafe` });
      }),
    upgraded: (name) => builder.withNode(name, { installed: { ...PACKAGES }, bootableKernels: [OLD_KERNEL, KERNEL] }),
    patched: (name) => builder.upgraded(name).withNode(name, { runningKernel: KERNEL }),
    drained: (name) =>
      builder
        .inMaintenance(name)
        .withFlag('noout', name)
        .with(({ guests }) => {
          for (const guest of guests) if (guest.node === name) guest.node = NODES.find((other) => other !== name) ?? '';
        }),
  };
  return builder;
}

const aGuest = (vmid: number): GuestFacts => ({
  vmid,
  kind: 'qemu',
  name: `guest-${vmid}`,
  node: 'n1',
  status: 'running',
  maxMemory: 4 * GIB,
  ha: true,
  template: false,
});

function healthyFacts(): StoreFacts {
  return {
    at: '2026-11-24T10:00:00.000Z',
    pveVersion: '9.0.11',
    missingPrivileges: [],
    cluster: { quorate: true, nodes: NODES.map((name) => ({ name, online: true })) },
    ha: {
      quorumOk: true,
      nodeStatus: Object.fromEntries(NODES.map((name) => [name, 'online'])),
      managers: Object.fromEntries(NODES.map((name) => [name, `${name} (active, Tue Nov 24 10:59:58 2026)`])),
      services: [{ sid: 'vm:101', node: 'n1', state: 'started' }],
      master: 'n1',
    },
    ceph: {
      health: 'HEALTH_OK',
      checks: [],
      monsInQuorum: [...NODES],
      monsInMap: [...NODES],
      mgrAvailable: true,
      mgrStandbys: 2,
      osds: NODES.flatMap((host, at) =>
        [0, 1].map((disk) => ({ id: at * 2 + disk, host, up: true, in: true, utilization: 41.5 })),
      ),
      pgs: { total: 129, states: [{ state: 'active+clean', count: 129 }] },
      degradedObjects: 0,
      misplacedObjects: 0,
      unfoundObjects: 0,
      flags: [...ALWAYS_SET],
      hostFlags: {},
      pools: [{ name: 'vm', size: 3, minSize: 2 }],
    },
    guests: [
      { ...aGuest(101), name: 'pos', node: 'n1' },
      { ...aGuest(102), name: 'inventory', node: 'n2', kind: 'lxc', ha: false },
      { ...aGuest(103), name: 'cache', node: 'n3', kind: 'lxc' },
    ],
    runningTasks: [],
    nodes: NODES.map((name) => ({
      name,
      runningKernel: OLD_KERNEL,
      bootableKernels: [OLD_KERNEL],
      installed: { ...OLD_PACKAGES },
      dpkgAudit: [],
      held: [],
      rootFreeBytes: 20 * GIB,
    })),
    memory: Object.fromEntries(NODES.map((name) => [name, 32 * GIB])),
    okToStop: Object.fromEntries(NODES.map((name) => [name, { osds: true, mon: true, detail: 'yes' }])),
    unreadable: [],
  };
}

/** The id of a node's nth boot, in the form of the kernel's own. */
export const bootIdOf = (node: string, boot: number): string =>
  `${Buffer.from(node).toString('hex').padStart(8, '0')}-0000-4000-8000-${String(boot).padStart(12, '0')}`;

/** A release by number: 48 is the one of these tests. */
export const aReleaseRef = (sequence = 48): ReleaseRef => ({
  version: `2026.${sequence}.0`,
  sequence,
  manifest: `sha256:${sequence.toString(16).padStart(64, 'a')}`,
  bundle: `sha256:${sequence.toString(16).padStart(64, 'b')}`,
});

export function aManifest(change: Partial<ReleaseManifest> = {}): ReleaseManifest {
  const digest = `sha256:${'c'.repeat(64)}`;
  return {
    schema: 'edge.release/v1',
    fleet: 'edge',
    version: '2026.48.0',
    sequence: 48,
    created: '2026-11-23T01:00:00Z',
    expires: '2027-02-21T01:00:00Z',
    source: { commit: 'd'.repeat(40), builder: 'edge-governor' },
    compat: { pve: '>=8.2 <10', minSequence: 0 },
    packages: {
      snapshot: '20261116T000000Z',
      sources: [
        'deb http://mirror.example/{snapshot}/debian trixie main',
        'deb http://mirror.example/{snapshot}/pve trixie pve',
      ],
      pinned: Object.entries(PACKAGES).map(([name, version]) => ({ name, version })),
      kernel: KERNEL,
    },
    artifacts: [{ store: 'store-001', digest, size: 1_000 }],
    images: [],
    sbom: digest,
    scan: {
      tool: 'advisories',
      at: '2026-11-23T01:00:00Z',
      sbom: digest,
      report: digest,
      verdict: 'pass',
      counts: { critical: 0, high: 0, other: 0 },
    },
    ...change,
  };
}

export const aStoreFile = (change: Record<string, unknown> = {}): Store =>
  storeSchema.parse({
    id: 'store-001',
    nodes: NODES.map((name, at) => ({ name, address: `10.0.0.${at + 1}` })),
    guests: [
      { vmid: 101, name: 'pos', kind: 'qemu', role: 'pos' },
      { vmid: 102, name: 'inventory', kind: 'lxc', role: 'inventory' },
      { vmid: 103, name: 'cache', kind: 'lxc', role: 'cache' },
    ],
    ...change,
  });

export const anArtifact = (store: Store = aStoreFile(), files: Record<string, string> = {}): StoreArtifact => ({
  schema: 'edge.store-config/v1',
  store,
  files,
});

export const aTask = (change: Partial<StoreTask> = {}): StoreTask => ({
  protocol: PROTOCOL,
  store: 'store-001',
  fleet: 'edge',
  train: '2026-w48',
  stage: 'canary',
  operationId: '2026-w48/canary/store-001/r0',
  fence: 100,
  release: aReleaseRef(),
  ...change,
});

export const aNodeTask = (node: string, change: Partial<StoreTask> = {}): NodeTask => ({ ...aTask(change), node });
