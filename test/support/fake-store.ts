import type { GuestProber, StoreDeps, StoreTiming } from '#activities/store/deps.js';
import type { CephFacts } from '#domain/facts.js';
import type { Reason } from '#domain/reasons.js';
import type { DesiredRecord, ReleaseManifest, StoreArtifact } from '#domain/release.js';
import { CephUnreadable } from '#systems/ceph/errors.js';
import type { CephClient } from '#systems/ceph/types.js';
import { ProxmoxError } from '#systems/proxmox/errors.js';
import type { GuestKind, ProxmoxClient, TaskSummary } from '#systems/proxmox/types.js';
import type { ReleaseVerifier } from '#systems/release/types.js';
import { CommandError } from '#systems/ssh/errors.js';
import type { CommandResult, CommandRunner } from '#systems/ssh/types.js';
import type { StoreState } from '#systems/store-state/types.js';
import {
  aManifest,
  anArtifact,
  aReleaseRef,
  aStore,
  bootIdOf,
  GIB,
  NODES,
  OLD_KERNEL,
  OLD_PACKAGES,
  PACKAGES,
} from './builders.js';
import { memoryStoreState } from './memory-store-state.js';

/**
 * A store in memory, behind the same contracts as a real one. Nothing in it follows a clock: what takes time in a real
 * store takes a few looks here, so that a test waits for nothing but the code it tests.
 */
export interface FakeStore {
  deps: StoreDeps;
  state: StoreState;
  nodes: Record<string, FakeNode>;
  guests: FakeGuest[];
  maintenance: Set<string>;
  noout: Set<string>;
  tasks: FakeTask[];
  /** What really happened, in order: `migrate 102 n2 n1`, `reboot n1`, `upgrade n1`, … */
  effects: string[];
  /** Effects that begin with these words. */
  count(effect: string): number;
  /** Runs once, after the first effect that begins with these words; what it throws is what the caller sees. */
  after(effect: string, happens: () => void | Promise<void>): void;
  /** Runs each time, before an effect that begins with these words; when it throws there is no effect. */
  before(effect: string, happens: () => void | Promise<void>): void;
  /** The effect happens, once, and its answer is lost. */
  loseAnswer(effect: string): void;
  /** Last word on what Ceph shows; `look` counts from 1. */
  cephShows: (facts: CephFacts, look: number) => void;
  /** Last word on a line of the HA status. */
  managerShows: (node: string, line: string) => string | undefined;
  releases: Map<string, { manifest: ReleaseManifest; artifact: StoreArtifact } | { refused: Reason }>;
  verifications: number;
  desired?: DesiredRecord;
  /** Numbers of releases that it was told to go back from. */
  withdrawn: number[];
  /** Guests that do not answer their health check. */
  ill: (guest: FakeGuest) => boolean;
  /** `uptime` in milliseconds: goes forward whatever the clock does. */
  clock: { now: Date; uptime: number };
}

export interface FakeNode {
  name: string;
  up: boolean;
  boots: number;
  kernel: string;
  bootable: string[];
  pinned?: string | undefined;
  installed: Record<string, string>;
  audit: string[];
  /** What `dpkg --audit` ends with when it finds something: 0 up to dpkg 1.22, 1 in some later ones. */
  auditCode: number;
  held: string[];
  rootFree: number;
  sources?: string;
  /** What `dist-upgrade` would install, and does. */
  offers: Record<string, string>;
  /** Packages that apt would install besides the ones it is asked for. */
  alsoInstalls: Record<string, string>;
  wouldRemove: string[];
  unit?: { name: string; state: 'running' | 'succeeded' | 'failed' } | undefined;
  /** `name=version` words that the upgrade was given; undefined for a `dist-upgrade`. */
  asked?: Record<string, string> | undefined;
  log: string[];
  /** How an upgrade ends, and after how many looks. */
  upgradeEnds: 'succeeded' | 'failed' | 'never';
  upgradeLooks: number;
  /** Looks that a reboot takes; never = it stays away. */
  rebootLooks: number | 'never';
  /** Requests to reboot that are accepted and come to nothing. */
  rebootsIgnored: number;
  boots_into?: string;
  pending: number;
}

export interface FakeGuest {
  vmid: number;
  kind: GuestKind;
  name: string;
  node: string;
  status: string;
  ha: boolean;
  maxMemory: number;
  template: boolean;
  lock?: string;
  /** HA brings it back to here. */
  home?: string | undefined;
  /** Will not leave. */
  stuck: boolean;
  files: Map<string, { link: string } | { content: string }>;
  /** Content of the file at each link when the service was last reloaded. */
  loaded: Map<string, string | undefined>;
}

interface FakeTask extends TaskSummary {
  vmid: number;
  target: string;
  looksLeft: number;
  ends: 'OK' | 'migration aborted';
}

const TIMING: StoreTiming = {
  poll: 1,
  drain: 5_000,
  upgrade: 5_000,
  reboot: 5_000,
  rejoin: 5_000,
  recovery: 5_000,
  stable: 1,
  homecoming: 5_000,
  rebootGrace: 60_000,
  maxMaintenance: 90 * 60_000,
  learn: 600_000,
};

const MIGRATION_LOOKS = 2;
const HA_LOOKS = 2;

export interface FakeStoreOptions {
  timing?: Partial<StoreTiming>;
  state?: StoreState;
  artifact?: StoreArtifact;
}

/** Three healthy nodes with the previous release; one HA guest and one plain guest on n1, others elsewhere. */
export function aFakeStore({
  timing = {},
  state = memoryStoreState(),
  artifact = anArtifact(),
}: FakeStoreOptions = {}): FakeStore {
  const nodes = Object.fromEntries(NODES.map((name) => [name, aNode(name)]));
  const afters: { effect: string; happens: () => void | Promise<void> }[] = [];
  const befores: { effect: string; happens: () => void | Promise<void> }[] = [];
  const haLooks = new Map<number, number>();
  let cephLooks = 0;
  let tasks = 0;

  const fake: FakeStore = {
    state,
    nodes,
    guests: [
      aGuest(101, 'n1', { name: 'pos', kind: 'qemu', ha: true }),
      aGuest(102, 'n1', { name: 'inventory' }),
      aGuest(103, 'n3', { name: 'cache', ha: true }),
    ],
    maintenance: new Set(),
    noout: new Set(),
    tasks: [],
    effects: [],
    count: (effect) => fake.effects.filter((each) => each.startsWith(effect)).length,
    after: (effect, happens) => afters.push({ effect, happens }),
    before: (effect, happens) => befores.push({ effect, happens }),
    loseAnswer: (effect) =>
      fake.after(effect, () => {
        const text = `the answer to ${effect} was lost`;
        throw /^(migrate|reboot)/.test(effect)
          ? new ProxmoxError('OutcomeUnknown', text)
          : new CommandError('OutcomeUnknown', text);
      }),
    cephShows: () => undefined,
    managerShows: (_, line) => line,
    releases: new Map([[aReleaseRef().manifest, { manifest: aManifest(), artifact }]]),
    verifications: 0,
    withdrawn: [],
    ill: () => false,
    clock: { now: new Date('2026-11-24T11:00:00Z'), uptime: 0 },
    deps: undefined as unknown as StoreDeps,
  };

  const effect = async (what: string, happens: () => void): Promise<void> => {
    for (const hook of befores) if (what.startsWith(hook.effect)) await hook.happens();
    happens();
    fake.effects.push(what);
    const at = afters.findIndex((hook) => what.startsWith(hook.effect));
    if (at >= 0) await afters.splice(at, 1)[0]?.happens();
  };
  const node = (name: string): FakeNode => {
    const found = nodes[name];
    if (!found) throw new ProxmoxError('NotFound', `no such node ${name}`);
    return found;
  };
  const guest = (vmid: number): FakeGuest => {
    const found = fake.guests.find((each) => each.vmid === vmid);
    if (!found) throw new ProxmoxError('NotFound', `no such guest ${vmid}`);
    return found;
  };
  const haMoves = (): void => {
    for (const each of fake.guests) {
      const target = fake.maintenance.has(each.node) ? NODES.find((name) => !fake.maintenance.has(name)) : each.home;
      if (!each.ha || each.stuck || !target || target === each.node || fake.maintenance.has(target)) continue;
      const looks = (haLooks.get(each.vmid) ?? 0) + 1;
      haLooks.set(each.vmid, looks % HA_LOOKS);
      if (looks < HA_LOOKS) continue;
      each.home ??= each.node;
      each.node = target;
      fake.effects.push(`ha moves ${each.vmid} ${target}`);
    }
  };

  const proxmox: ProxmoxClient = {
    version: () => Promise.resolve({ version: '9.0.11', release: '9.0' }),
    permissions: () =>
      Promise.resolve({ '/': ['Sys.Audit', 'Sys.PowerMgmt', 'VM.Audit', 'VM.Migrate', 'VM.PowerMgmt'] }),
    clusterStatus: () => {
      const online = Object.values(nodes).filter(({ up }) => up).length;
      return Promise.resolve({
        quorate: online > NODES.length / 2,
        nodes: Object.values(nodes).map(({ name, up }) => ({ name, online: up, local: name === 'n1' })),
      });
    },
    guestConfig: () => Promise.resolve({}),
    guests: () => {
      haMoves();
      return Promise.resolve(
        fake.guests.map(({ vmid, kind, name, node: at, status, template, maxMemory, lock, ha }) => ({
          vmid,
          kind,
          name,
          node: at,
          status,
          template,
          maxMemory,
          ...(lock ? { lock } : {}),
          ...(ha ? { haState: 'started' } : {}),
        })),
      );
    },
    guestStatus: (_node, _kind, vmid) => Promise.resolve({ status: guest(vmid).status, ha: guest(vmid).ha }),
    haManagerStatus: () =>
      Promise.resolve({
        quorate: true,
        nodeStatus: Object.fromEntries(
          Object.values(nodes).map(({ name, up }) => [
            name,
            fake.maintenance.has(name) ? 'maintenance' : up ? 'online' : 'unknown',
          ]),
        ),
        serviceStatus: Object.fromEntries(
          fake.guests
            .filter(({ ha }) => ha)
            .map(({ vmid, kind, node: at }) => [
              `${kind === 'qemu' ? 'vm' : 'ct'}:${vmid}`,
              { node: at, state: 'started' },
            ]),
        ),
      }),
    haStatus: () =>
      Promise.resolve([
        { id: 'quorum', type: 'quorum', status: 'OK', quorate: true },
        { id: 'master', type: 'master', node: 'n3', status: 'n3 (active, Tue Nov 24 11:00:00 2026)' },
        ...Object.values(nodes).flatMap(({ name }) => {
          const busy = fake.guests.some((each) => each.ha && each.node === name);
          const word = fake.maintenance.has(name) ? 'maintenance mode' : busy ? 'active' : 'idle';
          const status = fake.managerShows(name, `${name} (${word}, Tue Nov 24 11:00:00 2026)`);
          return status === undefined ? [] : [{ id: `lrm:${name}`, type: 'lrm', node: name, status }];
        }),
      ]),
    nodeStatus: (name) => {
      const { up, kernel, rootFree } = node(name);
      if (!up) return Promise.reject(new ProxmoxError('NodeUnreachable', `${name} cannot be reached`));
      return Promise.resolve({ uptime: 1_000, kernel, rootFree });
    },
    nodeMemory: () =>
      Promise.resolve(
        Object.fromEntries(Object.values(nodes).flatMap(({ name, up }) => (up ? [[name, 32 * GIB]] : []))),
      ),
    runningTasks: () => Promise.resolve(fake.tasks.filter(({ status }) => status === undefined)),
    tasks: (at, { type, vmid, since = 0 }) =>
      Promise.resolve(
        fake.tasks
          .filter((each) => each.node === at && each.startTime >= since)
          .filter((each) => (type === undefined || each.type === type) && (vmid === undefined || each.vmid === vmid))
          .toReversed(),
      ),
    taskStatus: (upid) => {
      const task = fake.tasks.find((each) => each.upid === upid);
      if (!task) return Promise.reject(new ProxmoxError('NotFound', `no such task ${upid}`));
      if (task.status === undefined && (task.looksLeft -= 1) <= 0) {
        task.status = task.ends;
        if (task.ends === 'OK') guest(task.vmid).node = task.target;
      }
      if (task.status === undefined) return Promise.resolve({ state: 'running' });
      return Promise.resolve({ state: 'stopped', exit: task.status, ok: task.status === 'OK', warnings: false });
    },
    taskLog: () => Promise.resolve([]),
    migrate: async (at, kind, vmid, target) => {
      const type = kind === 'qemu' ? 'qmigrate' : 'vzmigrate';
      const startTime = Math.floor(fake.clock.now.getTime() / 1_000);
      const serial = (tasks += 1).toString(16).toUpperCase().padStart(8, '0');
      const upid = `UPID:${at}:${serial}:00000000:${startTime.toString(16).toUpperCase()}:${type}:${vmid}:edge@pve!governor:`;
      await effect(`migrate ${vmid} ${at} ${target}`, () => {
        const ends = guest(vmid).stuck ? 'migration aborted' : 'OK';
        fake.tasks.push({
          upid,
          node: at,
          type,
          id: String(vmid),
          user: 'edge@pve',
          startTime,
          vmid,
          target,
          looksLeft: MIGRATION_LOOKS,
          ends,
        });
      });
      return upid;
    },
    start: () => Promise.reject(new ProxmoxError('NotImplemented', 'nothing starts guests')),
    shutdown: () => Promise.reject(new ProxmoxError('NotImplemented', 'nothing stops guests')),
    backUp: () => Promise.reject(new ProxmoxError('NotImplemented', 'nothing backs up guests')),
    backups: () => Promise.resolve([]),
    notBackedUp: () => Promise.resolve([]),
    storageStatus: () => Promise.reject(new ProxmoxError('NotImplemented', 'there is no storage')),
    reboot: (name) =>
      effect(`reboot ${name}`, () => {
        const it = node(name);
        if (it.rebootsIgnored > 0) {
          it.rebootsIgnored -= 1;
          return;
        }
        goDown(it);
      }),
    close: () => Promise.resolve(),
  };

  const cephFacts = (): CephFacts => {
    const facts = aStore().facts().ceph;
    const up = (name: string): boolean => node(name).up;
    facts.osds = facts.osds.map((osd) => ({ ...osd, up: up(osd.host) }));
    facts.monsInQuorum = facts.monsInMap.filter(up);
    facts.hostFlags = Object.fromEntries([...fake.noout].map((host) => [host, ['noout']]));
    if (!Object.values(nodes).every((each) => each.up))
      facts.pgs.states = [{ state: 'active+undersized+degraded', count: facts.pgs.total }];
    cephLooks += 1;
    fake.cephShows(facts, cephLooks);
    return facts;
  };
  const ceph: CephClient = {
    facts: async () => Promise.resolve(cephFacts()),
    hostFlags: async () => Promise.resolve(Object.fromEntries([...fake.noout].map((host) => [host, ['noout']]))),
    looksSettled: () => Promise.resolve(Object.values(nodes).every(({ up }) => up)),
    osdOkToStop: (osds) =>
      osds.length === 0
        ? Promise.reject(new CephUnreadable('ceph osd ok-to-stop: no OSDs given'))
        : Promise.resolve({ answer: 'yes', detail: '' }),
    monOkToStop: () => Promise.resolve({ answer: 'yes', detail: '' }),
    setHostNoout: (host) => effect(`noout ${host}`, () => fake.noout.add(host)),
    unsetHostNoout: (host) => effect(`unset noout ${host}`, () => fake.noout.delete(host)),
  };

  const verifier: ReleaseVerifier = {
    desired: () => Promise.resolve(fake.desired),
    withdrawn: () => Promise.resolve(fake.withdrawn),
    verify: ({ ref, highestSequence, permit }) => {
      fake.verifications += 1;
      const release = fake.releases.get(ref.manifest);
      if (!release)
        return Promise.resolve({ kind: 'refused', reason: 'ReleaseMalformed', summary: 'There is no such release.' });
      if ('refused' in release)
        return Promise.resolve({ kind: 'refused', reason: release.refused, summary: `Refused: ${release.refused}.` });
      if (ref.sequence < highestSequence && !permit)
        return Promise.resolve({
          kind: 'refused',
          reason: 'SequenceRollback',
          summary: `The store has seen ${highestSequence}.`,
        });
      return Promise.resolve({ kind: 'accepted', ...release });
    },
  };

  const probe: GuestProber = async ({ vmid }) => {
    const it = guest(vmid);
    return Promise.resolve({ healthy: it.status === 'running' && !fake.ill(it), latencyMs: 40 });
  };

  fake.deps = {
    store: 'store-001',
    proxmox,
    nodes: new Map(NODES.map((name) => [name, aRunner(fake, node(name), effect)])),
    ceph,
    verifier,
    state,
    probe,
    timing: { ...TIMING, ...timing },
    now: () => fake.clock.now,
    uptime: () => fake.clock.uptime,
  };
  return fake;
}

const aNode = (name: string): FakeNode => ({
  name,
  up: true,
  boots: 0,
  kernel: OLD_KERNEL,
  bootable: [OLD_KERNEL],
  installed: { ...OLD_PACKAGES },
  audit: [],
  auditCode: 0,
  held: [],
  rootFree: 20 * GIB,
  offers: { ...PACKAGES },
  alsoInstalls: {},
  wouldRemove: [],
  log: [],
  upgradeEnds: 'succeeded',
  upgradeLooks: 2,
  rebootLooks: 3,
  rebootsIgnored: 0,
  pending: 0,
});

export const aGuest = (vmid: number, node: string, change: Partial<FakeGuest> = {}): FakeGuest => ({
  vmid,
  kind: 'lxc',
  name: `guest-${vmid}`,
  node,
  status: 'running',
  ha: false,
  maxMemory: 4 * GIB,
  template: false,
  stuck: false,
  files: new Map(),
  loaded: new Map(),
  ...change,
});

/** The node goes away; it is back after a few looks, with what was installed meanwhile. */
export function goDown(node: FakeNode): void {
  node.up = false;
  node.pending = node.rebootLooks === 'never' ? Number.POSITIVE_INFINITY : node.rebootLooks;
}

function comeBack(node: FakeNode): void {
  node.up = true;
  node.boots += 1;
  node.unit = undefined;
  node.kernel = node.boots_into ?? node.pinned ?? node.bootable.at(-1) ?? node.kernel;
}

/** The upgrade is over: what apt was to install is installed. */
export function finishUpgrade(node: FakeNode, packages: Record<string, string> = node.offers): void {
  node.installed = { ...node.installed, ...packages };
  for (const name of Object.keys(packages)) {
    const kernel = /^proxmox-kernel-(.+)-signed$/.exec(name)?.[1];
    if (kernel && !node.bootable.includes(kernel)) node.bootable.push(kernel);
  }
}

type Effect = (what: string, happens: () => void) => Promise<void>;

const ok = (stdout = ''): CommandResult => ({ code: 0, stdout, stderr: '' });
const fail = (code: number, stderr: string, stdout = ''): CommandResult => ({ code, stdout, stderr });

function aRunner(fake: FakeStore, node: FakeNode, effect: Effect): CommandRunner {
  const look = (): void => {
    if (node.up) return;
    node.pending -= 1;
    if (node.pending > 0) throw new CommandError('Unreachable', `${node.name} cannot be reached`);
    comeBack(node);
  };
  return {
    close: () => Promise.resolve(),
    async run(argv, options = {}) {
      look();
      const words = argv[0] === 'sudo' ? argv.slice(2) : argv;
      const line = words.join(' ');
      const [program = '', ...args] = words;
      if (line === 'cat /proc/sys/kernel/random/boot_id') return ok(`${bootIdOf(node.name, node.boots)}\n`);
      if (line === 'uname -r') return ok(`${node.kernel}\n`);
      if (line === 'dpkg --audit')
        return node.audit.length === 0 ? ok() : fail(node.auditCode, '', `${node.audit.join('\n')}\n\n`);
      if (line === 'apt-mark showhold') return ok(node.held.map((name) => `${name}\n`).join(''));
      if (line === 'proxmox-boot-tool kernel list') return ok(kernelList(node));
      if (program === 'proxmox-boot-tool') {
        const [, verb, kernel] = args;
        await effect(`boot-tool ${node.name} ${args.join(' ')}`, () => {
          if (verb === 'pin') node.pinned = kernel;
          if (verb === 'unpin') node.pinned = undefined;
        });
        return ok();
      }
      if (line === 'dpkg --configure -a') {
        await effect(`configure ${node.name}`, () => (node.audit = []));
        return ok();
      }
      if (program === 'dpkg-query') return dpkgQuery(node, args);
      if (program === 'ha-manager') {
        const [, , verb, name = ''] = args;
        await effect(`maintenance ${verb} ${name}`, () =>
          verb === 'enable' ? fake.maintenance.add(name) : fake.maintenance.delete(name),
        );
        return ok();
      }
      if (program === 'systemctl' || program === 'systemd-run' || program === 'journalctl')
        return systemd(node, program, args, effect);
      if (program === 'apt-get') return apt(node, args, effect);
      if (program === 'install') {
        await effect(`sources ${node.name}`, () => (node.sources = options.stdin ?? ''));
        return ok();
      }
      if (program === 'pct' || program === 'qm') return inGuest(fake, node, program, args, options.stdin, effect);
      throw new Error(`The fake store does not know the command: ${line}`);
    },
  };
}

const kernelList = (node: FakeNode): string =>
  `Manually selected kernels:\nNone.\n\nAutomatically selected kernels:\n${node.bootable.map((kernel) => `${kernel}\n`).join('')}\nPinned kernel:\n${node.pinned ?? 'None.'}\n`;

function dpkgQuery(node: FakeNode, args: string[]): CommandResult {
  const names = args.filter((word) => !word.startsWith('-'));
  const missing = names.filter((name) => node.installed[name] === undefined);
  const rows = names.filter((name) => node.installed[name] !== undefined);
  const stdout = rows.map(
    (name) => `${node.audit.some((text) => text.includes(name)) ? 'iF ' : 'ii '} ${name} ${node.installed[name]}\n`,
  );
  return {
    code: missing.length > 0 ? 1 : 0,
    stdout: stdout.join(''),
    stderr: missing.map((name) => `dpkg-query: no packages found matching ${name}\n`).join(''),
  };
}

async function systemd(node: FakeNode, program: string, args: string[], effect: Effect): Promise<CommandResult> {
  if (program === 'journalctl') return ok(node.log.map((text) => `${text}\n`).join(''));
  if (program === 'systemd-run') {
    const name = args.find((word) => word.startsWith('--unit='))?.slice('--unit='.length) ?? '';
    if (node.unit?.name === name)
      return fail(1, `Failed to start transient service unit: Unit ${name}.service was already loaded.`);
    await effect(`upgrade ${node.name} ${args.slice(args.indexOf('--') + 1).join(' ')}`, () => {
      node.unit = { name, state: 'running' };
      node.asked = namedPackages(args);
      node.pending = node.upgradeLooks;
    });
    return ok();
  }
  const [verb] = args;
  if (verb === 'list-units') {
    const { unit } = node;
    if (!unit) return ok();
    if (unit.state === 'running' && node.upgradeEnds !== 'never' && (node.pending -= 1) <= 0) {
      unit.state = node.upgradeEnds;
      if (unit.state === 'succeeded') finishUpgrade(node, node.asked ?? node.offers);
    }
    const words = {
      running: 'loaded active running',
      succeeded: 'loaded active exited',
      failed: 'loaded failed failed',
    };
    return ok(`${unit.name}.service ${words[unit.state]} /usr/bin/apt-get -y dist-upgrade\n`);
  }
  const there = node.unit && args.at(-1) === `${node.unit.name}.service`;
  if (!there || (verb === 'stop') !== (node.unit?.state === 'succeeded'))
    return fail(5, `Unit ${args.at(-1)} not loaded.`);
  await effect(`remove unit ${node.name}`, () => (node.unit = undefined));
  return ok();
}

/** What `apt-get install name=version …` is asked for; undefined for anything else. */
function namedPackages(args: string[]): Record<string, string> | undefined {
  const at = args.indexOf('install');
  if (at < 0) return undefined;
  const words = args.slice(at + 1).filter((word) => !word.startsWith('-'));
  return Object.fromEntries(words.map((word) => word.split('=') as [string, string]));
}

async function apt(node: FakeNode, args: string[], effect: Effect): Promise<CommandResult> {
  if (args[0] === 'update') return ok();
  if (args.includes('--download-only')) {
    await effect(`download ${node.name}`, () => undefined);
    return ok();
  }
  const asked = namedPackages(args);
  if (asked && !args.includes('--allow-downgrades'))
    return fail(100, 'E: Packages were downgraded and -y was used without --allow-downgrades.');
  const inst = Object.entries(asked ? { ...asked, ...node.alsoInstalls } : node.offers)
    .filter(([name, version]) => node.installed[name] !== version)
    .map(([name, version]) => {
      const old = node.installed[name];
      return `Inst ${name}${old ? ` [${old}]` : ''} (${version} Proxmox:13/stable [amd64])`;
    });
  return ok(
    ['Reading package lists...', ...inst, ...node.wouldRemove.map((name) => `Remv ${name} [1.0]`), ''].join('\n'),
  );
}

/** `pct exec 103 -- …` and `qm guest exec 101 [--pass-stdin 1] -- …`. */
async function inGuest(
  fake: FakeStore,
  node: FakeNode,
  program: string,
  args: string[],
  stdin: string | undefined,
  effect: Effect,
): Promise<CommandResult> {
  const vmid = Number(program === 'pct' ? args[1] : args[2]);
  const guest = fake.guests.find((each) => each.vmid === vmid);
  if (!guest || guest.node !== node.name || guest.status !== 'running')
    return fail(255, `guest ${vmid} does not run on ${node.name}`);
  const piped = program === 'pct' || args.includes('--pass-stdin') ? stdin : undefined;
  const result = await guestCommand(guest, args.slice(args.indexOf('--') + 1), piped, effect);
  if (program === 'pct') return result;
  return ok(JSON.stringify({ exited: 1, exitcode: result.code, 'out-data': result.stdout, 'err-data': result.stderr }));
}

async function guestCommand(
  guest: FakeGuest,
  argv: string[],
  stdin: string | undefined,
  effect: Effect,
): Promise<CommandResult> {
  const [program, ...args] = argv;
  const path = args.at(-1) ?? '';
  const content = (name: string): string | undefined => {
    const entry = guest.files.get(name);
    return entry === undefined ? undefined : 'link' in entry ? content(entry.link) : entry.content;
  };
  switch (program) {
    case 'readlink': {
      const entry = guest.files.get(path);
      return entry && 'link' in entry ? ok(`${entry.link}\n`) : fail(1, '');
    }
    case 'install':
      if (stdin === undefined) return fail(1, 'nothing on standard input');
      await effect(`write ${guest.name}`, () => guest.files.set(path, { content: stdin }));
      return ok();
    case 'ln':
      await effect(`switch ${guest.name} ${args.at(-2)}`, () => guest.files.set(path, { link: args.at(-2) ?? '' }));
      return ok();
    case 'cat': {
      const text = content(path);
      return text === undefined ? fail(1, `cat: ${path}: No such file or directory`) : ok(text);
    }
    case 'rm':
      await effect(`remove ${guest.name} ${path}`, () => guest.files.delete(path));
      return ok();
    case 'check':
      return content(path)?.includes('bad syntax') ? fail(2, 'line 1: bad syntax') : ok();
    case 'reload': {
      if (content(path)?.includes('will not load')) return fail(1, 'Job for service failed.');
      await effect(`reload ${guest.name}`, () => guest.loaded.set(path, content(path)));
      return ok();
    }
    default:
      return fail(127, `${program}: command not found`);
  }
}
