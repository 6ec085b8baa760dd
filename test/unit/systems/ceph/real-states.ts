import type { CommandResult, CommandRunner } from '#systems/ssh/types.js';

/**
 * What the `ceph` program of a three-node cluster says in states that a rolling update goes through, cut down to what
 * matters. Empty lines before the JSON, counters that are absent when zero and texts are as the program prints them.
 */
export type Answers = Record<string, Partial<CommandResult>>;

const HOSTS = ['node1', 'node2', 'node3'];
const ALWAYS = 'sortbitwise,recovery_deletes,purged_snapdirs,pglog_hardlimit';

export const json = (value: unknown): Partial<CommandResult> => ({ stdout: `\n${JSON.stringify(value)}\n` });

interface State {
  checks?: Record<string, string>;
  quorum?: string[];
  osdsUp?: number[];
  noout?: string[];
  pgs?: [string, number][];
  pgmap?: object;
  flags?: string;
  standbys?: number;
}

function answersOf(state: State): Answers {
  const { checks = {}, quorum = HOSTS, osdsUp = [0, 1, 2], noout = [], pgs = [['active+clean', 33]] } = state;
  const health = Object.keys(checks).length > 0 ? 'HEALTH_WARN' : 'HEALTH_OK';
  const summary = (message: string) => ({ severity: 'HEALTH_WARN', summary: { message, count: 1 }, muted: false });
  const short = Object.fromEntries(Object.entries(checks).map(([code, message]) => [code, summary(message)]));
  const tree = HOSTS.flatMap((host, id) => [
    { id: -3 - 2 * id, name: host, type: 'host', type_id: 1, children: [id] },
    { id, name: `osd.${id}`, type: 'osd', type_id: 0, status: osdsUp.includes(id) ? 'up' : 'down', reweight: 1 },
  ]);
  return {
    'ceph status': json({
      fsid: '22c89aa3-0507-4bb4-b4af-35bda03dbf2d',
      health: { status: health, checks: short, mutes: [] },
      quorum: quorum.map((name) => HOSTS.indexOf(name)),
      quorum_names: quorum,
      monmap: { epoch: 1, min_mon_release_name: 'pacific', num_mons: 3 },
      osdmap: { epoch: 15, num_osds: 3, num_up_osds: osdsUp.length, num_in_osds: 3, num_remapped_pgs: 0 },
      pgmap: {
        pgs_by_state: pgs.map(([state_name, count]) => ({ state_name, count })),
        num_pgs: 33,
        num_pools: 2,
        num_objects: 3763,
        ...state.pgmap,
      },
      mgrmap: { available: true, num_standbys: state.standbys ?? 1, modules: ['iostat'], services: {} },
      progress_events: {},
    }),
    'ceph osd dump': json({
      epoch: 15,
      flags: state.flags ?? ALWAYS,
      flags_set: ALWAYS.split(','),
      pools: [
        { pool: 1, pool_name: 'vm', size: 3, min_size: 2, pg_num: 32 },
        { pool: 2, pool_name: 'device_health_metrics', size: 3, min_size: 2, pg_num: 1 },
      ],
      osds: HOSTS.map((_host, osd) => ({ osd, up: osdsUp.includes(osd) ? 1 : 0, in: 1, weight: 1 })),
      crush_node_flags: Object.fromEntries(noout.map((host) => [host, ['noout']])),
      device_class_flags: {},
    }),
    'ceph osd tree': json({
      nodes: [{ id: -1, name: 'default', type: 'root', type_id: 11, children: [-5, -7, -3] }, ...tree],
      stray: [],
    }),
    'ceph osd df': json({
      nodes: HOSTS.map((_host, id) => ({ id, name: `osd.${id}`, utilization: 19.85 + id, pgs: 33 })),
      summary: { average_utilization: 23.98 },
    }),
    'ceph quorum_status': {
      ...json({ quorum_names: quorum, monmap: { epoch: 1, mons: HOSTS.map((name, rank) => ({ rank, name })) } }),
    },
  };
}

const nooutCheck = {
  OSD_FLAGS: '1 OSDs or CRUSH {nodes, device-classes} have {NOUP,NODOWN,NOIN,NOOUT} flags set',
};

export const STATES = {
  healthy: answersOf({}),
  nooutOnNode1: answersOf({ noout: ['node1'], checks: nooutCheck }),
  osd0Down: answersOf({
    noout: ['node1'],
    osdsUp: [1, 2],
    checks: {
      OSD_DOWN: '1 osds down',
      ...nooutCheck,
      OSD_HOST_DOWN: '1 host (1 osds) down',
      PG_DEGRADED: 'Degraded data redundancy: 3763/11289 objects degraded (33.333%), 32 pgs degraded',
    },
    pgs: [
      ['active+undersized+degraded', 32],
      ['active+undersized', 1],
    ],
    pgmap: { degraded_objects: 3763, degraded_total: 11289, degraded_ratio: 0.33333333333333326 },
  }),
  recovering: answersOf({
    noout: ['node1'],
    checks: {
      ...nooutCheck,
      PG_DEGRADED: 'Degraded data redundancy: 488/11289 objects degraded (4.323%), 8 pgs degraded',
    },
    pgs: [
      ['peering', 25],
      ['active+undersized+degraded', 8],
    ],
    pgmap: { inactive_pgs_ratio: 0.7575, degraded_objects: 929, degraded_total: 11289 },
  }),
  monNode1Down: answersOf({
    quorum: ['node2', 'node3'],
    checks: {
      MON_DOWN: '1/3 mons down, quorum node2,node3',
    },
  }),
  afterMonRestart: answersOf({}),
  afterRestart: answersOf({ standbys: 1 }),
} as const;

/** A runner that answers from a table and keeps what it was asked. */
export function answering(answers: Answers): CommandRunner & { asked: string[][] } {
  const asked: string[][] = [];
  return {
    asked,
    run(argv) {
      asked.push(argv);
      const line = argv.join(' ').replace(/ -f json$/, '');
      const answer = answers[line];
      if (!answer) return Promise.reject(new Error(`no answer for: ${line}`));
      return Promise.resolve({ code: 0, stdout: '', stderr: '', ...answer });
    },
    close: () => Promise.resolve(),
  };
}
