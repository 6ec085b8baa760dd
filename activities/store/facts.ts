import type { CephFacts, ClusterFacts, GuestFacts, HaFacts, NodeFacts, StoreFacts, UnitState } from '#domain/facts.js';
import { UPGRADE_UNIT_PREFIX } from '#domain/naming.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { SUDO, type StoreDeps } from './deps.js';

/**
 * Reads what decisions rest on. A value that cannot be read is named in `unreadable` and replaced by the worst one, so
 * that no check can pass on it.
 */

/** Privileges of the role that the store worker's token needs; `/` means everywhere. */
export const REQUIRED_PRIVILEGES = ['Sys.Audit', 'Sys.PowerMgmt', 'VM.Audit', 'VM.Migrate', 'VM.PowerMgmt'] as const;

/** Tasks that say nothing about the cluster's fitness for work. */
const HARMLESS_TASKS = new Set(['vncproxy', 'vncshell', 'termproxy', 'spiceproxy', 'aptupdate']);

export interface Wanted {
  /** Nodes to look into: packages, kernels, units. */
  nodes: readonly string[];
  /** Nodes whose stop Ceph is asked about. */
  stoppable: readonly string[];
  packages: readonly string[];
  privileges?: boolean;
  /** What only tells whether a node may be emptied: memory of every node, room on the OSDs, running tasks. */
  load?: boolean;
  /** How the HA resource managers are; without it only what HA says of nodes and services. */
  managers?: boolean;
}

export async function gatherFacts(deps: StoreDeps, wanted: Wanted): Promise<StoreFacts> {
  const unreadable: string[] = [];
  const read = async <T>(what: string, reading: Promise<T>, worst: T): Promise<T> => {
    try {
      return await reading;
    } catch (error) {
      unreadable.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return worst;
    }
  };
  const { proxmox, ceph } = deps;
  const [version, missingPrivileges, cluster, ha, cephFacts, guests, tasks, nodes, memory] = await Promise.all([
    wanted.privileges ? read('version', proxmox.version(), { version: '', release: '' }) : { version: '', release: '' },
    wanted.privileges ? read('permissions', missingOf(deps), []) : [],
    read('cluster status', readCluster(deps), { quorate: false, nodes: [] }),
    read('HA status', wanted.managers ? readHa(deps) : readHaManager(deps), NO_HA),
    read('ceph', ceph.facts({ room: wanted.load === true }), NO_CEPH),
    read('guests', readGuests(deps), []),
    wanted.load ? read('running tasks', proxmox.runningTasks(), []) : undefined,
    Promise.all(wanted.nodes.map((name) => read(name, readNode(deps, name, wanted.packages), undefined))),
    wanted.load ? read('memory', proxmox.nodeMemory(), {}) : {},
  ]);
  const okToStop = Object.fromEntries(
    await Promise.all(wanted.stoppable.map(async (name) => [name, await askCeph(deps, cephFacts, name)] as const)),
  );
  return {
    at: deps.now().toISOString(),
    pveVersion: version.version,
    missingPrivileges,
    cluster,
    ha,
    ceph: cephFacts,
    guests,
    runningTasks: tasks
      ?.filter(({ type }) => !HARMLESS_TASKS.has(type))
      .map(({ type, node, upid }) => ({ type, node, upid })),
    nodes: nodes.filter((node): node is NodeFacts => node !== undefined),
    memory,
    okToStop,
    unreadable,
  };
}

/** Every fact that the pre-checks of an operation rest on. */
export const gatherPreflight = (deps: StoreDeps, nodes: string[], packages: string[]): Promise<StoreFacts> =>
  gatherFacts(deps, { nodes, stoppable: nodes, packages, privileges: true, load: true, managers: true });

export async function readCluster({ proxmox }: StoreDeps): Promise<ClusterFacts> {
  const { quorate, nodes } = await proxmox.clusterStatus();
  return { quorate, nodes: nodes.map(({ name, online }) => ({ name, online })) };
}

/** Nodes and services as the manager of HA sees them. */
export async function readHaManager({ proxmox }: StoreDeps): Promise<HaFacts> {
  const { quorate, nodeStatus, serviceStatus } = await proxmox.haManagerStatus();
  return {
    quorumOk: quorate,
    nodeStatus,
    services: Object.entries(serviceStatus).map(([sid, { node, state }]) => ({ sid, node, state })),
  };
}

export async function readHa(deps: StoreDeps): Promise<HaFacts> {
  const [manager, rows] = await Promise.all([readHaManager(deps), deps.proxmox.haStatus()]);
  const master = rows.find(({ type }) => type === 'master')?.node;
  return {
    ...manager,
    managers: Object.fromEntries(
      rows.filter(({ type }) => type === 'lrm').map(({ node, id, status }) => [node ?? id, status ?? 'no status']),
    ),
    ...(master ? { master } : {}),
  };
}

/** Proxmox gives `hastate` to exactly those guests that the manager of HA has in its charge. */
export async function readGuests({ proxmox }: StoreDeps): Promise<GuestFacts[]> {
  const guests = await proxmox.guests();
  return guests.map(({ vmid, kind, name, node, status, lock, maxMemory, template, haState }) => ({
    vmid,
    kind,
    name,
    node,
    status,
    ...(lock ? { lock } : {}),
    maxMemory,
    ha: haState !== undefined,
    template,
  }));
}

export async function readNode(deps: StoreDeps, name: string, packages: readonly string[]): Promise<NodeFacts> {
  const runner = runnerOf(deps, name);
  const [status, installed, audit, held, kernelList, unit] = await Promise.all([
    deps.proxmox.nodeStatus(name),
    readInstalled(runner, packages),
    readAudit(runner),
    lines(runner, ['apt-mark', 'showhold']),
    lines(runner, [...SUDO, 'proxmox-boot-tool', 'kernel', 'list']),
    readUpgradeUnit(runner),
  ]);
  return {
    name,
    runningKernel: status.kernel,
    ...kernelsOf(kernelList),
    installed,
    dpkgAudit: audit,
    held,
    rootFreeBytes: status.rootFree,
    ...(unit ? { upgradeUnit: unit } : {}),
  };
}

/** Reads `proxmox-boot-tool kernel list`: kernels under headings that end with a colon, `None.` where there is none. */
function kernelsOf(list: readonly string[]): Pick<NodeFacts, 'bootableKernels' | 'pinnedKernel'> {
  let heading = '';
  const bootableKernels = new Set<string>();
  let pinnedKernel: string | undefined;
  for (const line of list) {
    if (line.endsWith(':')) heading = line;
    if (!/^\d\S+$/.test(line)) continue;
    if (heading === 'Pinned kernel:') pinnedKernel = line;
    else bootableKernels.add(line);
  }
  return { bootableKernels: [...bootableKernels], ...(pinnedKernel ? { pinnedKernel } : {}) };
}

/** Changes with every boot; the proof that a node was rebooted. */
export async function bootId(runner: CommandRunner): Promise<string> {
  const [id] = await lines(runner, ['cat', '/proc/sys/kernel/random/boot_id']);
  if (!id || !/^[0-9a-f-]{36}$/.test(id)) throw new Error('the boot id cannot be read');
  return id;
}

export async function readInstalled(
  runner: CommandRunner,
  packages: readonly string[],
): Promise<Record<string, string>> {
  // Exit code 1 only says that some of the names are not installed.
  const { code, stdout, stderr } = await runner.run([
    'dpkg-query',
    '-W',
    '-f=${db:Status-Abbrev} ${Package} ${Version}\\n',
    ...packages,
  ]);
  if (code > 1) throw new Error(`dpkg-query: ${stderr.trim().slice(0, 300)}`);
  const installed: Record<string, string> = {};
  for (const line of stdout.split('\n')) {
    const [status, name, version] = line.trim().split(/\s+/);
    if (status === 'ii' && name && version) installed[name] = version;
  }
  return installed;
}

/** What dpkg finds wrong with its own packages; empty = clean. Some versions end with 1 when they found something. */
export async function readAudit(runner: CommandRunner): Promise<string[]> {
  const { code, stdout, stderr } = await runner.run(['dpkg', '--audit']);
  const findings = nonEmpty(stdout);
  if (code !== 0 && !(code === 1 && findings.length > 0))
    throw new Error(`dpkg --audit: exit code ${code}: ${stderr.trim().slice(0, 300)}`);
  return findings;
}

/**
 * The unit of this service that upgrades, or upgraded, the node. Of several, which only a crash between two releases
 * leaves, the one that matters most: one that runs, else one that failed.
 */
export async function readUpgradeUnit(runner: CommandRunner): Promise<NodeFacts['upgradeUnit']> {
  const rows = await lines(runner, [
    'systemctl',
    'list-units',
    `${UPGRADE_UNIT_PREFIX}*`,
    '--all',
    '--no-legend',
    '--plain',
  ]);
  const units = rows.map((row) => {
    const [unit = '', , active = '', sub = ''] = row.replace(/^[●*]\s*/, '').split(/\s+/);
    return { name: unit.replace(/\.service$/, ''), state: unitState(active, sub) };
  });
  return units.find(({ state }) => state === 'running') ?? units.find(({ state }) => state === 'failed') ?? units[0];
}

export function unitState(active: string, sub: string): UnitState {
  if (active === 'failed') return 'failed';
  return active === 'active' && sub === 'exited' ? 'succeeded' : 'running';
}

export function runnerOf({ nodes }: StoreDeps, name: string): CommandRunner {
  const runner = nodes.get(name);
  if (!runner)
    throw new Error(`The store worker has no access to node ${name}. Add it to the worker's own configuration.`);
  return runner;
}

/** The last lines that an upgrade wrote, as far as they can be had. */
export async function unitLog(runner: CommandRunner, unit: string): Promise<string[]> {
  const log = await lines(runner, [
    ...SUDO,
    'journalctl',
    '-u',
    `${unit}.service`,
    '-n',
    '20',
    '--no-pager',
    '-o',
    'cat',
  ]).catch(() => []);
  return log.map((line) => line.slice(0, 300));
}

/** Runs a command that must succeed, and gives its non-empty lines. */
export async function lines(runner: CommandRunner, argv: string[], timeoutMs?: number): Promise<string[]> {
  const { code, stdout, stderr } = await runner.run(argv, timeoutMs === undefined ? {} : { timeoutMs });
  if (code !== 0)
    throw new Error(
      `${argv
        .filter((word) => !SUDO.includes(word as 'sudo'))
        .slice(0, 3)
        .join(' ')}: exit code ${code}: ${stderr.trim().slice(0, 300)}`,
    );
  return nonEmpty(stdout);
}

const nonEmpty = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');

async function missingOf({ proxmox }: StoreDeps): Promise<string[]> {
  const permissions = await proxmox.permissions();
  const everywhere = new Set(permissions['/'] ?? []);
  return REQUIRED_PRIVILEGES.filter((privilege) => !everywhere.has(privilege));
}

async function askCeph(
  { ceph }: StoreDeps,
  facts: CephFacts,
  node: string,
): Promise<{ osds: boolean; mon: boolean; detail: string }> {
  try {
    const osds = await ceph.osdOkToStop(facts.osds.filter(({ host }) => host === node).map(({ id }) => id));
    const mon = facts.monsInMap.includes(node)
      ? await ceph.monOkToStop(node)
      : { answer: 'yes', detail: 'no monitor here' };
    return {
      osds: osds.answer === 'yes',
      mon: mon.answer === 'yes',
      detail: `OSDs: ${osds.answer} ${osds.detail}; monitor: ${mon.answer} ${mon.detail}`,
    };
  } catch (error) {
    return {
      osds: false,
      mon: false,
      detail: `Ceph did not answer: ${error instanceof Error ? error.message : String(error)}`,
    };
  }
}

const NO_HA: HaFacts = { quorumOk: false, nodeStatus: {}, services: [] };
const NO_CEPH: CephFacts = {
  health: 'unreadable',
  checks: [],
  monsInQuorum: [],
  monsInMap: [],
  mgrAvailable: false,
  mgrStandbys: 0,
  osds: [],
  pgs: { total: 0, states: [] },
  degradedObjects: 0,
  misplacedObjects: 0,
  unfoundObjects: 0,
  flags: [],
  hostFlags: {},
  pools: [],
};
