import type { GuestSim } from '../../world/guest-sim.js';
import type { StoreSim } from '../../world/store-sim.js';
import { login, privilegesOn } from '../access.js';
import type { Caller } from '../access.js';
import { parameterError } from '../errors.js';
import { param } from '../params.js';
import { flag, text } from '../route.js';
import type { Call, Route } from '../route.js';
import { resourceRow, sidOf } from './guests.js';
import { nodeResource } from './nodes.js';
import { storageResources } from './storage.js';

const AUDIT = { path: '/', anyOf: ['Sys.Audit'] };
/** Paths that a dump of permissions tells apart from the root. */
const ACL_PATHS = ['/', '/access', '/nodes', '/pool', '/sdn', '/storage', '/vms'];
const FIRST_VMID = 100;

export const clusterRoutes: Route[] = [
  { method: 'GET', path: '/access/ticket', world: true, run: () => null },
  {
    method: 'GET',
    path: '/access/domains',
    world: true,
    run: () => [
      { realm: 'pam', type: 'pam', comment: 'Linux PAM standard authentication' },
      { realm: 'pve', type: 'pve', comment: 'Proxmox VE authentication server' },
    ],
  },
  {
    method: 'POST',
    path: '/access/ticket',
    world: true,
    noToken: true,
    params: {
      username: { type: 'string' },
      password: { type: 'string' },
      realm: param.text,
      otp: param.text,
      path: param.text,
      privs: param.text,
      'tfa-challenge': param.text,
      'new-format': param.flag(true),
    },
    run: ({ store, node, params }) => {
      const name = text(params['username']);
      const user = name.includes('@') || params['realm'] === undefined ? name : `${name}@${text(params['realm'])}`;
      return login(store, user, text(params['password']), node.clock);
    },
  },
  {
    method: 'GET',
    path: '/access/permissions',
    params: { path: param.text, userid: param.text },
    run: permissions,
  },
  { method: 'GET', path: '/cluster/status', permission: AUDIT, run: clusterStatus },
  {
    method: 'GET',
    path: '/cluster/resources',
    params: { type: { type: 'string', optional: true, enum: ['vm', 'storage', 'node', 'sdn'] } },
    run: resources,
  },
  { method: 'GET', path: '/cluster/nextid', params: { vmid: { ...param.vmid, optional: true } }, run: nextId },
  {
    method: 'GET',
    path: '/cluster/ha/resources',
    params: { type: { type: 'string', optional: true, enum: ['ct', 'vm'] } },
    permission: AUDIT,
    run: ({ store, params }) =>
      store.ha.managed
        .filter((guest) => params['type'] === undefined || sidOf(guest).startsWith(`${text(params['type'])}:`))
        .map(haResource),
  },
  {
    method: 'GET',
    path: '/cluster/ha/resources/{sid}',
    params: { sid: { type: 'string' } },
    permission: AUDIT,
    run: ({ store, params }) => {
      const found = store.ha.managed.find((guest) => sidOf(guest) === text(params['sid']));
      if (!found) throw new Error(`no such resource '${text(params['sid'])}'`);
      return haResource(found);
    },
  },
  {
    method: 'GET',
    path: '/cluster/ha/groups',
    permission: AUDIT,
    run: () => {
      throw new Error('cannot index groups: ha groups have been migrated to rules');
    },
  },
  { method: 'GET', path: '/cluster/ha/status/current', permission: AUDIT, run: haCurrent },
  { method: 'GET', path: '/cluster/ha/status/manager_status', permission: AUDIT, run: haManager },
  { method: 'POST', path: '/cluster/config', rootOnly: true, run: () => null },
  { method: 'POST', path: '/cluster/config/join', rootOnly: true, run: () => null },
  { method: 'POST', path: '/nodes/{node}/execute', rootOnly: true, run: () => null },
];

const haResource = (guest: GuestSim) => ({
  sid: sidOf(guest),
  type: guest.kind === 'qemu' ? 'vm' : 'ct',
  state: guest.wanted,
  max_restart: 1,
  max_relocate: 1,
  failback: 1,
  digest: '0123456789abcdef0123456789abcdef01234567',
});

function permissions({ caller, params }: Call) {
  const asked = params['path'];
  const own = Object.keys(caller.privileges);
  const paths = asked === undefined ? [...new Set([...ACL_PATHS, ...own])].sort() : [text(asked)];
  const entries = paths.map((path) => [
    path,
    Object.fromEntries(privilegesOn(caller, path).map((privilege) => [privilege, 1])),
  ]);
  return Object.fromEntries(entries.filter(([, held]) => Object.keys(held as object).length > 0)) as object;
}

/** Order is not promised; the entry node calls itself local. */
function clusterStatus({ store, node: local }: Call) {
  const nodes = [...store.nodes.values()].map((node) => ({
    type: 'node',
    id: `node/${node.name}`,
    name: node.name,
    nodeid: node.nodeId,
    ip: node.address,
    online: flag(node.up),
    local: flag(node === local),
    level: '',
  }));
  return [
    ...nodes,
    {
      type: 'cluster',
      id: 'cluster',
      name: store.id,
      nodes: nodes.length,
      version: nodes.length,
      quorate: flag(store.quorate),
    },
  ];
}

/** Lists are filtered, never refused: without rights they are empty. */
function resources({ store, caller, params }: Call) {
  const wants = (type: string): boolean => params['type'] === undefined || params['type'] === type;
  return [
    ...(wants('vm') ? visibleGuests(store, caller).map((guest) => resourceRow(guest, store)) : []),
    ...(wants('node') ? [...store.nodes.values()].map(nodeResource) : []),
    ...(wants('storage') ? storageResources(store, caller) : []),
  ];
}

const visibleGuests = (store: StoreSim, caller: Caller): GuestSim[] =>
  [...store.guests.values()].filter((guest) => privilegesOn(caller, `/vms/${guest.vmid}`).includes('VM.Audit'));

/** A number that comes as text. */
function nextId({ store, params }: Call): string {
  const wished = params['vmid'];
  if (wished !== undefined) {
    if (store.guests.has(Number(wished))) throw parameterError({ vmid: `VM ${text(wished)} already exists` });
    return text(wished);
  }
  let free = FIRST_VMID;
  while (store.guests.has(free)) free += 1;
  return String(free);
}

const clock = (at: number): string => new Date(at * 1_000).toUTCString();

function haCurrent({ store, node }: Call) {
  const { ha } = store;
  const { timestamp, master } = ha;
  const quorum = store.quorate
    ? { status: 'OK', quorate: 1 }
    : { status: `No quorum on node '${node.name}'!`, quorate: 0 };
  return [
    { id: 'quorum', type: 'quorum', node: node.name, ...quorum },
    ...(master === undefined
      ? []
      : [{ id: 'master', type: 'master', node: master, status: `${master} (active, ${clock(timestamp)})`, timestamp }]),
    { id: 'fencing', type: 'fencing', node: master ?? node.name, status: 'armed', 'armed-state': 'armed' },
    ...Object.entries(ha.managerStates()).map(([name, state]) => ({
      id: `lrm:${name}`,
      type: 'lrm',
      node: name,
      status: `${name} (${state}, ${clock(timestamp)})`,
      timestamp,
    })),
    ...ha.managed.map((guest) => {
      const state = ha.serviceState(guest);
      return {
        id: `service:${sidOf(guest)}`,
        type: 'service',
        sid: sidOf(guest),
        node: guest.node,
        status: `${sidOf(guest)} (${guest.node}, ${state})`,
        state,
        crm_state: state,
        request_state: guest.wanted,
        max_restart: 1,
        max_relocate: 1,
        failback: 1,
      };
    }),
  ];
}

function haManager({ store, node }: Call) {
  const { ha } = store;
  const { timestamp } = ha;
  return {
    manager_status: {
      master_node: ha.master,
      timestamp,
      node_status: ha.nodeStatus(),
      service_status: Object.fromEntries(
        ha.managed.map((guest) => [
          sidOf(guest),
          {
            node: guest.node,
            state: ha.serviceState(guest),
            running: flag(guest.status === 'running'),
            uid: 'practice',
          },
        ]),
      ),
    },
    lrm_status: Object.fromEntries(
      Object.entries(ha.managerStates()).map(([name, state]) => [
        name,
        {
          mode: state === 'maintenance mode' ? 'maintenance' : 'active',
          state: state === 'idle' || state === 'maintenance mode' ? 'wait_for_agent_lock' : 'active',
          timestamp: state.startsWith('old') ? timestamp - 600 : timestamp,
          results: {},
        },
      ]),
    ),
    quorum: { node: node.name, quorate: store.quorate ? 1 : '' },
  };
}
