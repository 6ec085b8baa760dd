import { readdirSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { vi } from 'vitest';
import { openDaemons } from './daemons.js';
import { lacking, pathOf } from './programs.js';

/**
 * A real Ceph cluster on this machine: a monitor and an OSD on each of three CRUSH hosts, two managers, a pool with
 * three copies. It has addresses, keys and a configuration of its own and touches nothing outside its folder.
 */
export interface CephCluster {
  /** Environment with which the `ceph` program finds this cluster and no other. */
  env: Record<string, string>;
  /** One daemon: `mon.n1`, `osd.0`, `mgr.x`. */
  start(daemon: string): void;
  stop(daemon: string, signal?: NodeJS.Signals): Promise<void>;
  /** What an administrator does by hand, past the client under test. Gives what was printed. */
  admin(...args: string[]): Promise<string>;
  /** Writes some thousand small objects. */
  fill(): Promise<void>;
  /** Waits until the status, as Ceph prints it, satisfies the condition. */
  until(what: string, condition: (status: CephStatus) => boolean): Promise<void>;
  /** Waits until everything is up and clean. */
  whole(): Promise<void>;
  /** Starts what does not run, takes back every flag, and waits for the whole cluster. */
  heal(): Promise<void>;
  /** Holds recovery at a pace at which it can be watched, or lets it go. */
  throttleRecovery(held: boolean): Promise<void>;
  close(): Promise<void>;
}

export interface CephStatus {
  health: { status: string; checks: Record<string, unknown> };
  quorum_names: string[];
  osdmap: { num_osds: number; num_up_osds: number; num_in_osds: number };
  pgmap: { num_pgs: number; pgs_by_state: { state_name: string; count: number }[]; degraded_objects?: number };
  mgrmap: { available: boolean; num_standbys: number };
}

export const CEPH_HOSTS = ['n1', 'n2', 'n3'];
const OSDS = [0, 1, 2];
const MGRS = ['x', 'y'];
const DAEMONS = [
  ...CEPH_HOSTS.map((host) => `mon.${host}`),
  ...MGRS.map((id) => `mgr.${id}`),
  ...OSDS.map((id) => `osd.${id}`),
];
const POOL = 'vm';
const PATIENCE = 90_000;
/** A look costs a third of a second of CPU, which the daemons need themselves. */
const LOOK_EVERY = 1_000;
const PROGRAMS = ['ceph', 'ceph-authtool', 'ceph-mgr', 'ceph-mon', 'ceph-osd', 'monmaptool', 'rados', 'setpriv'];

/** Why there is no cluster to be had here. A machine that belongs to a cluster of its own is left alone. */
export function cephLacking(): string | undefined {
  const own = ['/etc/ceph', '/var/lib/ceph/mon', '/var/lib/ceph/osd', '/var/lib/ceph/mgr'].flatMap((folder) =>
    entries(folder)
      .filter((name) => name !== 'rbdmap')
      .map((name) => join(folder, name)),
  );
  if (own.length > 0) return `Not tested here: Ceph. This machine has a cluster of its own (${own[0]}).`;
  return lacking('Ceph', PROGRAMS, '--no-install-recommends ceph-mon ceph-mgr ceph-osd ceph-common');
}

export async function startCephCluster(): Promise<CephCluster> {
  const daemons = await openDaemons();
  const { folder } = daemons;
  const env = { CEPH_CONF: join(folder, 'ceph.conf') };
  const keyring = join(folder, 'keyring');
  const monmap = join(folder, 'monmap');
  const fsid = crypto.randomUUID();
  const run = (program: string, args: string[]) =>
    execa(pathOf(program), args, { env, timeout: PATIENCE, stdin: 'ignore' });
  const admin = async (...args: string[]) => (await run('ceph', args)).stdout;

  const start = (daemon: string) => {
    const [kind = '', id = ''] = daemon.split('.');
    const place = kind === 'osd' ? [`--crush-location=root=default host=${CEPH_HOSTS[Number(id)]}`] : [];
    daemons.start(daemon, [pathOf(`ceph-${kind}`), '-f', '-i', id, '-c', env.CEPH_CONF, ...place]);
  };

  const cluster: CephCluster = {
    env,
    start,
    stop: daemons.stop,
    admin,
    async fill() {
      const objects = ['-b', '4096', '-t', '16', '--max-objects', '2000', '--no-cleanup'];
      await run('rados', ['-p', POOL, 'bench', '10', 'write', ...objects]);
    },
    async until(what, condition) {
      let seen = 'no answer';
      const look = async () => {
        seen = await admin('status', '--connect-timeout', '10', '-f', 'json').catch((error: Error) => error.message);
        return seen.trimStart().startsWith('{') && condition(JSON.parse(seen) as CephStatus);
      };
      await vi.waitUntil(look, { timeout: PATIENCE, interval: LOOK_EVERY }).catch(async () => {
        throw new Error(`Waited in vain for: ${what}. Last seen: ${seen}\n${await lastWords(folder)}`);
      });
    },
    whole: () => cluster.until('a whole cluster', isWhole),
    async heal() {
      for (const daemon of DAEMONS) if (!daemons.runs(daemon)) start(daemon);
      await Promise.all([admin('osd', 'unset', 'noout'), admin('osd', 'unset-group', 'noout', ...CEPH_HOSTS)]);
      await cluster.throttleRecovery(false);
      await cluster.whole();
    },
    async throttleRecovery(held) {
      // Seconds between two objects, over whatever the configuration says for a kind of disk.
      await admin(
        'config',
        ...(held ? ['set', 'osd', 'osd_recovery_sleep', '1'] : ['rm', 'osd', 'osd_recovery_sleep']),
      );
    },
    close: daemons.close,
  };

  try {
    await writeFile(env.CEPH_CONF, configuration(folder, fsid));
    await Promise.all(['mon', 'mgr', 'osd'].map((kind) => mkdir(join(folder, kind))));
    await run('ceph-authtool', ['--create-keyring', keyring, '--gen-key', '-n', 'mon.', '--cap', 'mon', 'allow *']);
    for (const [name, caps] of identities()) {
      await run('ceph-authtool', [keyring, '--gen-key', '-n', name, ...caps.flatMap((cap) => ['--cap', ...cap])]);
    }
    await run('monmaptool', [
      ...['--create', '--fsid', fsid, '--enable-all-features'],
      ...CEPH_HOSTS.flatMap((host, at) => ['--addv', host, addresses(at)]),
      monmap,
    ]);
    await Promise.all(
      CEPH_HOSTS.map(async (host) => {
        await run('ceph-mon', ['--mkfs', '-i', host, '--monmap', monmap, '--keyring', keyring]);
        start(`mon.${host}`);
      }),
    );
    for (const id of MGRS) {
      await mkdir(join(folder, 'mgr', id));
      start(`mgr.${id}`);
    }
    await Promise.all(
      OSDS.map(async (id) => {
        const uuid = crypto.randomUUID();
        await mkdir(join(folder, 'osd', String(id)));
        await Promise.all([
          admin('osd', 'new', uuid, String(id)),
          run('ceph-osd', ['-i', String(id), '--mkfs', '--osd-uuid', uuid]),
        ]);
        start(`osd.${id}`);
      }),
    );
    await admin('osd', 'pool', 'create', POOL, '32', '32', 'replicated');
    await admin('osd', 'pool', 'application', 'enable', POOL, 'rbd');
    await cluster.whole();
    await cluster.fill();
    return cluster;
  } catch (error) {
    await daemons.close();
    throw error;
  }
}

/** `HEALTH_OK` alone is also printed without managers, and while no OSD is up. */
const isWhole = ({ health, quorum_names, osdmap, pgmap, mgrmap }: CephStatus): boolean =>
  health.status === 'HEALTH_OK' &&
  quorum_names.length === CEPH_HOSTS.length &&
  osdmap.num_up_osds === OSDS.length &&
  osdmap.num_in_osds === OSDS.length &&
  mgrmap.available &&
  mgrmap.num_standbys === MGRS.length - 1 &&
  pgmap.num_pgs > 0 &&
  pgmap.pgs_by_state.every(({ state_name }) => state_name === 'active+clean');

/** The process id keeps two clusters on one machine apart. */
const address = (at: number): string => `127.${64 + ((process.pid >> 8) & 127)}.${process.pid & 255}.${250 + at}`;
const addresses = (at: number): string => `[v2:${address(at)}:3300,v1:${address(at)}:6789]`;

function identities(): [name: string, caps: [string, string][]][] {
  const all: [string, string][] = ['mon', 'osd', 'mgr', 'mds'].map((kind) => [kind, 'allow *']);
  return [
    ['client.admin', all],
    ...MGRS.map((id): [string, [string, string][]] => [
      `mgr.${id}`,
      [
        ['mon', 'allow profile mgr'],
        ['osd', 'allow *'],
        ['mds', 'allow *'],
      ],
    ]),
    ...OSDS.map((id): [string, [string, string][]] => [
      `osd.${id}`,
      [
        ['mon', 'allow profile osd'],
        ['mgr', 'allow profile osd'],
        ['osd', 'allow *'],
      ],
    ]),
  ];
}

/** Small, quick to notice that a daemon is gone, and quick to recover; otherwise as Ceph comes. */
const configuration = (folder: string, fsid: string): string => `
[global]
fsid = ${fsid}
mon_initial_members = ${CEPH_HOSTS.join(',')}
mon_host = ${CEPH_HOSTS.map((_, at) => addresses(at)).join(',')}
public_network = 127.0.0.0/8
ms_bind_ipv6 = false
keyring = ${folder}/keyring
run_dir = ${folder}
admin_socket =
log_file = ${folder}/$name.log
log_to_stderr = false
crash_dir = ${folder}
osd_pool_default_pg_autoscale_mode = off
[mon]
mon_data = ${folder}/mon/$id
mon_cluster_log_file = ${folder}/cluster.log
mon_data_avail_warn = 1
mon_data_avail_crit = 1
auth_allow_insecure_global_id_reclaim = false
mon_osd_min_down_reporters = 1
[mgr]
mgr_data = ${folder}/mgr/$id
mgr_initial_modules =
[osd]
osd_data = ${folder}/osd/$id
osd_objectstore = bluestore
bluestore_block_size = 2147483648
osd_heartbeat_interval = 2
osd_heartbeat_grace = 6
osd_recovery_sleep_hdd = 0
`;

function entries(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** The ends of the daemons' own logs, for a failure that nobody can look into afterwards. */
async function lastWords(folder: string): Promise<string> {
  const logs = entries(folder).filter((name) => name.endsWith('.log'));
  const ends = await Promise.all(
    logs.map(
      async (name) =>
        `${name}: ${(await readFile(join(folder, name), 'utf8')).trim().split('\n').slice(-3).join('\n  ')}`,
    ),
  );
  return ends.join('\n');
}
