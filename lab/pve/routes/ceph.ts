import { SETTABLE_FLAGS } from '../../world/ceph-sim.js';
import type { CephSim, Osd } from '../../world/ceph-sim.js';
import { healthDetail, status } from '../../ssh/ceph-json.js';
import { Hangs } from '../errors.js';
import { param } from '../params.js';
import type { ParamSpecs } from '../params.js';
import { flag, text } from '../route.js';
import type { Call, Route } from '../route.js';

const GIB = 1024 ** 3;
const OSD_BYTES = 960 * 10 ** 9;
const SEE = { path: '/', anyOf: ['Sys.Audit', 'Datastore.Audit'] };
const AUDIT = { path: '/', anyOf: ['Sys.Audit'] };
const CHANGE = { path: '/', anyOf: ['Sys.Modify'] };
const FLAG = { type: 'string', enum: SETTABLE_FLAGS } as const;

export const cephRoutes: Route[] = [
  { method: 'GET', path: '/cluster/ceph/status', permission: SEE, run: ({ store }) => statusOf(alive(store.ceph)) },
  {
    method: 'GET',
    path: '/nodes/{node}/ceph/status',
    params: { node: param.node },
    permission: SEE,
    run: ({ store }) => statusOf(alive(store.ceph)),
  },
  {
    method: 'GET',
    path: '/cluster/ceph/flags',
    permission: AUDIT,
    run: ({ store }) =>
      SETTABLE_FLAGS.map((name) => ({
        name,
        value: flag(alive(store.ceph).flags.has(name)),
        description: `Practice flag ${name}`,
      })),
  },
  {
    method: 'PUT',
    path: '/cluster/ceph/flags',
    params: Object.fromEntries(SETTABLE_FLAGS.map((name) => [name, param.flag(true)])) as ParamSpecs,
    permission: CHANGE,
    run: setFlags,
  },
  {
    method: 'GET',
    path: '/cluster/ceph/flags/{flag}',
    params: { flag: FLAG },
    permission: AUDIT,
    run: ({ store, params }) => flag(alive(store.ceph).flags.has(text(params['flag']))),
  },
  {
    method: 'PUT',
    path: '/cluster/ceph/flags/{flag}',
    params: { flag: FLAG, value: param.flag(false) },
    permission: CHANGE,
    run: ({ store, params, actor }) => {
      applyFlag(alive(store.ceph), text(params['flag']), params['value'] === true, actor.by);
      return null;
    },
  },
  {
    method: 'GET',
    path: '/nodes/{node}/ceph/osd',
    params: { node: param.node },
    permission: SEE,
    run: ({ store }) => osdTree(alive(store.ceph)),
  },
  {
    method: 'GET',
    path: '/nodes/{node}/ceph/cmd-safety',
    params: {
      node: param.node,
      service: { type: 'string', enum: ['osd', 'mon', 'mds'] },
      id: { type: 'string' },
      action: { type: 'string', enum: ['stop', 'destroy'] },
    },
    permission: AUDIT,
    run: cmdSafety,
  },
  // Making and removing OSDs is for root@pam alone; a token meets the refusal before anything else.
  { method: 'POST', path: '/nodes/{node}/ceph/osd', rootOnly: true, run: () => null },
  { method: 'DELETE', path: '/nodes/{node}/ceph/osd/{osdid}', rootOnly: true, run: () => null },
];

/** Without monitors in quorum no question is answered. */
function alive(ceph: CephSim): CephSim {
  if (!ceph.hasQuorum) throw new Hangs();
  return ceph;
}

function setFlags({ store, node, params, actor }: Call): string {
  const ceph = alive(store.ceph);
  const changes = Object.entries(params).filter(([, value]) => value !== undefined);
  return node.tasks.start({
    type: 'cephsetflags',
    id: '',
    user: actor.user,
    durationMs: 1,
    run: () => {
      for (const [name, value] of changes) applyFlag(ceph, name, value === true, actor.by);
    },
  }).upid;
}

function applyFlag(ceph: CephSim, name: string, value: boolean, by: string): void {
  if (value) ceph.setFlag(name, by);
  else ceph.unsetFlag(name, by);
}

function cmdSafety({ store, params }: Call) {
  const ceph = alive(store.ceph);
  const id = text(params['id']);
  if (params['service'] === 'osd') {
    const answer = ceph.osdOkToStop([Number(id)]);
    if (!answer) throw new Hangs();
    return { safe: flag(answer.ok), ...(answer.ok ? {} : { status: unsafe(answer.badPgs.length) }) };
  }
  if (params['service'] === 'mds') return { safe: 1 };
  const answer = ceph.monOkToStop([id]);
  if (!answer) throw new Hangs();
  const left = answer.left.join(',');
  const why = answer.ok
    ? `quorum should be preserved (${left}) after stopping [${id}]`
    : `not enough monitors would be available (${left}) after stopping mons [${id}]`;
  return { safe: flag(answer.ok), status: why };
}

const unsafe = (pgs: number): string => `unsafe to stop osd(s) at this time (${pgs} PGs are or would become offline)`;

/** What the program prints, with the details of its health and the full maps of monitors and managers added. */
function statusOf(ceph: CephSim) {
  return {
    ...(status(ceph) as object),
    health: healthDetail(ceph),
    monmap: {
      epoch: 3,
      fsid: ceph.fsid,
      min_mon_release_name: 'squid',
      mons: ceph.hosts.map((name, rank) => ({ rank, name, addr: `${ceph.addresses.get(name) ?? ''}:6789/0` })),
    },
    mgrmap: {
      available: ceph.mgrAvailable,
      active_name: ceph.activeMgr ?? '',
      num_standbys: ceph.standbyMgrs.length,
      standbys: ceph.standbyMgrs.map((name) => ({ name })),
      modules: ['iostat', 'nfs', 'restful'],
      services: {},
    },
  };
}

function osdTree(ceph: CephSim) {
  const weight = OSD_BYTES / 1024 / GIB;
  const leaf = (osd: Osd) => ({
    id: String(osd.id),
    name: `osd.${osd.id}`,
    type: 'osd',
    leaf: 1,
    host: osd.host,
    status: osd.up ? 'up' : 'down',
    in: flag(osd.in),
    device_class: 'ssd',
    crush_weight: weight,
    reweight: 1,
    osdtype: 'bluestore',
    ceph_version_short: ceph.daemonVersion.get(osd.host)?.split('-')[0],
    ...(osd.up
      ? {
          total_space: OSD_BYTES,
          bytes_used: Math.floor(OSD_BYTES * 0.31),
          percent_used: 31,
          pgs: Math.floor((3 * 129) / ceph.osds.length),
          commit_latency_ms: 1,
          apply_latency_ms: 1,
        }
      : {}),
  });
  return {
    flags: ceph.flagList.join(','),
    root: {
      leaf: 0,
      children: [
        {
          id: '-1',
          name: 'default',
          type: 'root',
          leaf: 0,
          children: ceph.hosts.map((host, index) => ({
            id: String(-3 - 2 * index),
            name: host,
            type: 'host',
            leaf: 0,
            version: ceph.daemonVersion.get(host)?.split('-')[0],
            children: ceph.osdsOf(host).map(leaf),
          })),
        },
      ],
    },
  };
}
