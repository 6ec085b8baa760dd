import type { CephSim, HealthCheck } from '../world/ceph-sim.js';

/** Answers of the `ceph` program as it writes them, release 19; seen on real clusters in seven states. */
const RELEASE = 'squid';
const COMMIT = 'c92aebb279828e9c3c1f5d24613efca272649e62';
const MON_FEATURES = [
  'kraken',
  'luminous',
  'mimic',
  'osdmap-prune',
  'nautilus',
  'octopus',
  'pacific',
  'elector-pinging',
  'quincy',
  'reef',
  RELEASE,
];
const TIB_KB = 1024 ** 3;
const OSD_KB = 2 * TIB_KB;
const USED_SHARE = 0.31;

const instant = (ms: number): string => new Date(ms).toISOString().replace('Z', '000+0000');
const created = 1_767_225_600_000;

/** The health part of an answer: computed once, shown twice. */
function healthOf(
  ceph: CephSim,
  detailed: boolean,
): { status: string; checks: Record<string, unknown>; mutes: never[] } {
  const health = ceph.health();
  return { status: worst(health), checks: checks(health, detailed), mutes: [] };
}

function checks(health: Map<string, HealthCheck>, detailed: boolean): Record<string, unknown> {
  const entry = (check: HealthCheck): unknown => ({
    severity: check.severity,
    summary: { message: check.message, count: check.count },
    ...(detailed ? { detail: check.detail.map((message) => ({ message })) } : {}),
    muted: false,
  });
  return Object.fromEntries([...health].map(([code, check]) => [code, entry(check)]));
}

function worst(health: Map<string, HealthCheck>): string {
  const all = [...health.values()].map(({ severity }) => severity);
  if (all.includes('HEALTH_ERR')) return 'HEALTH_ERR';
  return all.length > 0 ? 'HEALTH_WARN' : 'HEALTH_OK';
}

const ranks = (ceph: CephSim): number[] => ceph.quorum.map((name) => ceph.hosts.indexOf(name));
const inQuorumSince = (ceph: CephSim): number => Math.max(0, Math.floor((Date.now() - ceph.quorumSince) / 1_000));

function pgmap(ceph: CephSim): Record<string, unknown> {
  const pgs = ceph.pgs();
  const counts = new Map<string, number>();
  for (const { state } of pgs) counts.set(state, (counts.get(state) ?? 0) + 1);
  const { lost, total } = ceph.degradedObjects(pgs);
  const inactive = pgs.filter(({ state }) => !state.startsWith('active')).length;
  const bytes = ceph.osds.length * OSD_KB * 1024;
  return {
    pgs_by_state: [...counts].map(([state_name, count]) => ({ state_name, count })),
    num_pgs: pgs.length,
    num_pools: ceph.pools.length,
    num_objects: ceph.objects,
    data_bytes: ceph.objects * 4_194_304,
    bytes_used: Math.floor(bytes * USED_SHARE),
    bytes_avail: bytes - Math.floor(bytes * USED_SHARE),
    bytes_total: bytes,
    // Absent when zero, as in the real one.
    ...(inactive > 0 ? { inactive_pgs_ratio: inactive / pgs.length } : {}),
    ...(lost > 0 ? { degraded_objects: lost, degraded_total: total, degraded_ratio: lost / total } : {}),
    ...(pgs.some(({ state }) => state.includes('recovering'))
      ? { recovering_objects_per_sec: 38, recovering_bytes_per_sec: 159_383_552, num_objects_recovered: 190 }
      : {}),
    read_bytes_sec: 81_920,
    write_bytes_sec: 245_760,
    read_op_per_sec: 12,
    write_op_per_sec: 31,
  };
}

export function status(ceph: CephSim): unknown {
  const up = ceph.osds.filter((osd) => osd.up).length;
  return {
    fsid: ceph.fsid,
    health: healthOf(ceph, false),
    election_epoch: ceph.electionEpoch,
    quorum: ranks(ceph),
    quorum_names: ceph.quorum,
    quorum_age: inQuorumSince(ceph),
    monmap: { epoch: 3, min_mon_release_name: RELEASE, num_mons: ceph.hosts.length },
    osdmap: {
      epoch: ceph.epoch,
      num_osds: ceph.osds.length,
      num_up_osds: up,
      osd_up_since: Math.floor(ceph.quorumSince / 1_000),
      num_in_osds: ceph.osds.filter((osd) => osd.in).length,
      osd_in_since: Math.floor(created / 1_000),
      num_remapped_pgs: 0,
    },
    pgmap: pgmap(ceph),
    fsmap: { epoch: 1, by_rank: [], 'up:standby': 0 },
    mgrmap: {
      available: ceph.mgrAvailable,
      num_standbys: ceph.standbyMgrs.length,
      modules: ['iostat', 'nfs', 'restful'],
      services: {},
    },
    servicemap: { epoch: 3, modified: instant(created), services: {} },
    progress_events: {},
  };
}

export const healthDetail = (ceph: CephSim): unknown => healthOf(ceph, true);

function pool(ceph: CephSim, id: number, key: 'pool' | 'pool_id'): Record<string, unknown> {
  const it = ceph.pools.find((each) => each.id === id) as CephSim['pools'][number];
  return {
    [key]: it.id,
    pool_name: it.name,
    create_time: instant(created),
    flags: 1,
    flags_names: 'hashpspool',
    type: 1,
    size: it.size,
    min_size: it.minSize,
    crush_rule: 0,
    object_hash: 2,
    pg_autoscale_mode: 'on',
    pg_num: it.pgs,
    pg_placement_num: it.pgs,
    pg_placement_num_target: it.pgs,
    pg_num_target: it.pgs,
    pg_num_pending: it.pgs,
    last_change: String(ceph.epoch),
    quota_max_bytes: 0,
    quota_max_objects: 0,
    tier_of: -1,
    cache_mode: 'none',
    erasure_code_profile: '',
    options: {},
    application_metadata: it.name === '.mgr' ? { mgr: {} } : { rbd: {} },
  };
}

export const poolDetail = (ceph: CephSim): unknown => ceph.pools.map(({ id }) => pool(ceph, id, 'pool_id'));

export function osdDump(ceph: CephSim): unknown {
  return {
    epoch: ceph.epoch,
    fsid: ceph.fsid,
    created: instant(created),
    modified: instant(Date.now()),
    flags: ceph.flagList.join(','),
    flags_num: 5_799_936,
    flags_set: [...ceph.flagList].sort(),
    crush_version: 7,
    full_ratio: 0.95,
    backfillfull_ratio: 0.9,
    nearfull_ratio: 0.85,
    cluster_snapshot: '',
    pool_max: ceph.pools.length,
    max_osd: ceph.osds.length,
    require_min_compat_client: 'luminous',
    min_compat_client: 'jewel',
    require_osd_release: RELEASE,
    pools: ceph.pools.map(({ id }) => pool(ceph, id, 'pool')),
    osds: ceph.osds.map((osd) => ({
      osd: osd.id,
      uuid: `${ceph.fsid.slice(0, -2)}${String(osd.id).padStart(2, '0')}`,
      up: osd.up ? 1 : 0,
      in: osd.in ? 1 : 0,
      weight: osd.in ? 1 : 0,
      primary_affinity: 1,
      last_clean_begin: 0,
      last_clean_end: 0,
      up_from: 8,
      up_thru: ceph.epoch - 1,
      down_at: 0,
      lost_at: 0,
      state: osd.up ? ['exists', 'up'] : ['exists'],
    })),
    osd_xinfo: [],
    pg_upmap: [],
    pg_upmap_items: [],
    pg_temp: [],
    primary_temp: [],
    blocklist: {},
    erasure_code_profiles: {},
    removed_snaps_queue: [],
    new_removed_snaps: [],
    new_purged_snaps: [],
    crush_node_flags: Object.fromEntries([...ceph.hostFlags].map(([host, flags]) => [host, [...flags].sort()])),
    device_class_flags: {},
    stretch_mode: { stretch_mode_enabled: false, stretch_bucket_count: 0 },
  };
}

const hostId = (index: number): number => -3 - 2 * index;

export function osdTree(ceph: CephSim): unknown {
  return {
    nodes: [
      { id: -1, name: 'default', type: 'root', type_id: 11, children: ceph.hosts.map((_, i) => hostId(i)).reverse() },
      ...ceph.hosts.flatMap((host, i) => [
        {
          id: hostId(i),
          name: host,
          type: 'host',
          type_id: 1,
          pool_weights: {},
          children: ceph
            .osdsOf(host)
            .map(({ id }) => id)
            .reverse(),
        },
        ...ceph.osdsOf(host).map((osd) => ({
          id: osd.id,
          device_class: 'nvme',
          name: `osd.${osd.id}`,
          type: 'osd',
          type_id: 0,
          crush_weight: 1.8194,
          depth: 2,
          pool_weights: {},
          exists: 1,
          status: osd.up ? 'up' : 'down',
          reweight: osd.in ? 1 : 0,
          primary_affinity: 1,
        })),
      ]),
    ],
    stray: [],
  };
}

export function osdDf(ceph: CephSim): unknown {
  const used = Math.floor(OSD_KB * USED_SHARE);
  const total = ceph.osds.length;
  return {
    nodes: ceph.osds.map((osd) => ({
      id: osd.id,
      device_class: 'nvme',
      name: `osd.${osd.id}`,
      type: 'osd',
      type_id: 0,
      crush_weight: 1.8194,
      depth: 2,
      pool_weights: {},
      reweight: osd.in ? 1 : 0,
      kb: OSD_KB,
      kb_used: used,
      kb_used_data: used,
      kb_used_omap: 0,
      kb_used_meta: 0,
      kb_avail: OSD_KB - used,
      utilization: (used / OSD_KB) * 100,
      var: 1,
      pgs: osd.up ? Math.round((ceph.pools[0].pgs + ceph.pools[1].pgs) / (total / ceph.hosts.length)) : 0,
      status: osd.up ? 'up' : 'down',
    })),
    stray: [],
    summary: {
      total_kb: OSD_KB * total,
      total_kb_used: used * total,
      total_kb_used_data: used * total,
      total_kb_used_omap: 0,
      total_kb_used_meta: 0,
      total_kb_avail: (OSD_KB - used) * total,
      average_utilization: (used / OSD_KB) * 100,
      min_var: 1,
      max_var: 1,
      dev: 0,
    },
  };
}

function monmap(ceph: CephSim): Record<string, unknown> {
  return {
    epoch: 3,
    fsid: ceph.fsid,
    modified: instant(created),
    created: instant(created),
    min_mon_release: 19,
    min_mon_release_name: RELEASE,
    election_strategy: 1,
    'disallowed_leaders: ': '',
    stretch_mode: false,
    tiebreaker_mon: '',
    'removed_ranks: ': '',
    features: {
      persistent: MON_FEATURES,
      optional: [],
    },
    mons: ceph.hosts.map((name, rank) => {
      const address = ceph.addresses.get(name) ?? '';
      return {
        rank,
        name,
        public_addrs: {
          addrvec: [
            { type: 'v2', addr: `${address}:3300`, nonce: 0 },
            { type: 'v1', addr: `${address}:6789`, nonce: 0 },
          ],
        },
        addr: `${address}:6789/0`,
        public_addr: `${address}:6789/0`,
        priority: 0,
        weight: 0,
        crush_location: '{}',
      };
    }),
  };
}

export const monDump = (ceph: CephSim): unknown => ({ ...monmap(ceph), quorum: ranks(ceph) });

export function pgStat(ceph: CephSim): unknown {
  const bytes = ceph.osds.length * OSD_KB * 1024;
  const used = Math.floor(bytes * USED_SHARE);
  return {
    pg_ready: true,
    pg_summary: {
      num_pg_by_state: ceph.pgStates().map(({ state, count }) => ({ name: state, num: count })),
      num_pgs: ceph.pgs().length,
      num_bytes: ceph.objects * 4_194_304,
      total_bytes: bytes,
      total_avail_bytes: bytes - used,
      total_used_bytes: used,
      total_used_raw_bytes: used,
    },
  };
}

export function df(ceph: CephSim): unknown {
  const bytes = ceph.osds.length * OSD_KB * 1024;
  const used = Math.floor(bytes * USED_SHARE);
  const stats = {
    total_bytes: bytes,
    total_avail_bytes: bytes - used,
    total_used_bytes: used,
    total_used_raw_bytes: used,
    total_used_raw_ratio: USED_SHARE,
  };
  return {
    stats: { ...stats, num_osds: ceph.osds.length, num_per_pool_osds: ceph.osds.length, num_per_pool_omap_osds: 0 },
    stats_by_class: { nvme: stats },
    pools: ceph.pools.map(({ id, name }) => {
      const stored = name === '.mgr' ? 1_048_576 : ceph.objects * 4_194_304;
      return {
        name,
        id,
        stats: {
          stored,
          objects: name === '.mgr' ? 2 : ceph.objects,
          kb_used: Math.floor((stored * 3) / 1_024),
          bytes_used: stored * 3,
          percent_used: (stored * 3) / bytes,
          max_avail: Math.floor((bytes - used) / 3),
        },
      };
    }),
  };
}

export const quorumStatus = (ceph: CephSim): unknown => ({
  election_epoch: ceph.electionEpoch,
  quorum: ranks(ceph),
  quorum_names: ceph.quorum,
  quorum_leader_name: ceph.quorum[0] ?? '',
  quorum_age: inQuorumSince(ceph),
  features: { quorum_con: '4540138322906710015', quorum_mon: MON_FEATURES },
  monmap: monmap(ceph),
});

export const mgrDump = (ceph: CephSim): unknown => ({
  epoch: ceph.epoch,
  active_gid: ceph.activeMgr === undefined ? 0 : 24_101,
  active_name: ceph.activeMgr ?? '',
  available: ceph.mgrAvailable,
  standbys: ceph.standbyMgrs.map((name, i) => ({ gid: 24_102 + i, name })),
  modules: ['iostat', 'nfs', 'restful'],
  services: {},
});

export function versions(ceph: CephSim): unknown {
  const text = (host: string): string => {
    const version = (ceph.daemonVersion.get(host) ?? '19.2.3').replace(/-.*$/, '');
    return `ceph version ${version} (${COMMIT}) ${RELEASE} (stable)`;
  };
  const count = (hosts: string[]): Record<string, number> => {
    const counts: Record<string, number> = {};
    for (const host of hosts) counts[text(host)] = (counts[text(host)] ?? 0) + 1;
    return counts;
  };
  const mons = ceph.hosts.filter((host) => ceph.monsUp.has(host));
  const mgrs = ceph.hosts.filter((host) => ceph.mgrsUp.has(host));
  const osds = ceph.osds.filter(({ up }) => up).map(({ host }) => host);
  return { mon: count(mons), mgr: count(mgrs), osd: count(osds), overall: count([...mons, ...mgrs, ...osds]) };
}

/** Shared by the program and by the PVE API, which hands these through. */
export const osdOkToStop = (
  osds: number[],
  answer: { ok: boolean; okPgs: string[]; badPgs: string[] },
): Record<string, unknown> => ({
  ok_to_stop: answer.ok,
  osds,
  num_ok_pgs: answer.okPgs.length,
  num_not_ok_pgs: answer.badPgs.length,
  ...(answer.badPgs.length > 0 ? { bad_become_inactive: answer.badPgs } : {}),
  ...(answer.okPgs.length > 0 ? { ok_become_degraded: answer.okPgs } : {}),
});
