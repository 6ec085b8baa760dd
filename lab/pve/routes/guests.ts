import type { GuestSim } from '../../world/guest-sim.js';
import type { StoreSim } from '../../world/store-sim.js';
import { privilegesOn } from '../access.js';
import { parameterError, permissionError } from '../errors.js';
import { param } from '../params.js';
import type { ParamSpecs } from '../params.js';
import { flag, guestOf, seconds } from '../route.js';
import type { Call, Route } from '../route.js';

type Kind = 'qemu' | 'lxc';
const GIB = 1024 ** 3;

/** Guests: the same calls for VMs and containers, apart from how they move. */
export const guestRoutes: Route[] = (['qemu', 'lxc'] as const).flatMap(routesOf);

function routesOf(kind: Kind): Route[] {
  const base = `/nodes/{node}/${kind}`;
  const one = `${base}/{vmid}`;
  const ids: ParamSpecs = { node: param.node, vmid: param.vmid };
  const on = (privilege: string) => ({ path: '/vms/{vmid}', anyOf: [privilege] });
  const skiplock: ParamSpecs = { skiplock: param.flag(true) };
  const power: ParamSpecs =
    kind === 'qemu' ? { timeout: { type: 'integer', optional: true, minimum: 0 }, keepActive: param.flag(true) } : {};

  return [
    {
      method: 'GET',
      path: base,
      params: { node: param.node, ...(kind === 'qemu' ? { full: param.flag(true) } : {}) },
      run: ({ store, node, caller }) =>
        store
          .guestsOn(node.name)
          .filter((guest) => guest.kind === kind)
          .filter((guest) => privilegesOn(caller, `/vms/${guest.vmid}`).includes('VM.Audit'))
          .map(listRow),
    },
    {
      method: 'GET',
      path: `${one}/status/current`,
      params: ids,
      permission: on('VM.Audit'),
      run: (call) => currentOf(guestOf(call, kind), call.store),
    },
    {
      method: 'POST',
      path: `${one}/status/start`,
      params: {
        ...ids,
        ...skiplock,
        ...(kind === 'qemu'
          ? { timeout: { type: 'integer', optional: true, minimum: 0 }, targetstorage: param.text, machine: param.text }
          : { debug: param.flag(true) }),
      },
      permission: on('VM.PowerMgmt'),
      step: 'guest.start',
      run: (call) => {
        refuseSkiplock(call);
        return call.store.start(guestOf(call, kind).vmid, call.actor).upid;
      },
    },
    {
      method: 'POST',
      path: `${one}/status/shutdown`,
      params: {
        ...ids,
        ...power,
        timeout: { type: 'integer', optional: true, minimum: 0 },
        forceStop: param.flag(true),
        ...(kind === 'qemu' ? skiplock : {}),
      },
      permission: on('VM.PowerMgmt'),
      step: 'guest.stop',
      run: (call) => {
        refuseSkiplock(call);
        return call.store.shutdown(guestOf(call, kind).vmid, call.actor).upid;
      },
    },
    {
      method: 'POST',
      path: `${one}/status/stop`,
      params: { ...ids, ...power, ...skiplock, 'overrule-shutdown': param.flag(true) },
      permission: on('VM.PowerMgmt'),
      step: 'guest.stop',
      run: (call) => {
        refuseSkiplock(call);
        return call.store.shutdown(guestOf(call, kind).vmid, call.actor, 'stop').upid;
      },
    },
    {
      method: 'GET',
      path: `${one}/migrate`,
      params: { ...ids, target: { ...param.node, optional: true } },
      permission: on('VM.Migrate'),
      run: (call) => preconditions(guestOf(call, kind), call.store),
    },
    {
      method: 'POST',
      path: `${one}/migrate`,
      params: {
        ...ids,
        target: param.node,
        online: param.flag(true),
        ...(kind === 'qemu'
          ? {
              force: param.flag(true),
              'with-local-disks': param.flag(true),
              'with-conntrack-state': param.flag(true),
              targetstorage: param.text,
              migration_type: { type: 'string', optional: true, enum: ['secure', 'insecure'] },
              migration_network: param.text,
              bwlimit: { type: 'integer', optional: true, minimum: 0 },
            }
          : {
              restart: param.flag(true),
              timeout: param.integer,
              'target-storage': param.text,
              bwlimit: { type: 'number', optional: true, minimum: 0 },
            }),
      },
      permission: on('VM.Migrate'),
      step: 'guest.migrate',
      run: (call) => migrate(call, kind),
    },
  ];
}

function migrate(call: Call, kind: Kind): string {
  const { store, node, params, actor } = call;
  const guest = guestOf(call, kind);
  const target = String(params['target']);
  if (target === node.name) throw parameterError({ target: 'target is local node.' });
  if (guest.status === 'running') {
    if (kind === 'qemu' && !params['online']) throw new Error("can't migrate running VM without --online");
    if (kind === 'lxc' && params['online']) throw new Error('lxc live migration is currently not implemented');
    if (kind === 'lxc' && !params['restart']) {
      throw new Error("can't migrate running container without --online or --restart");
    }
  }
  return store.migrate(guest.vmid, target, actor).upid;
}

function refuseSkiplock({ params, caller }: Call): void {
  if (!params['skiplock']) return;
  if (caller.isToken) throw permissionError('user != root@pam');
  throw parameterError({ skiplock: 'Only root may use this option.' });
}

const memoryOf = (guest: GuestSim): number => (guest.status === 'running' ? Math.floor(guest.maxMemory * 0.6) : 0);
const uptimeOf = (guest: GuestSim): number =>
  guest.status === 'running' ? Math.max(1, seconds(Date.now() - (guest.startedAt || Date.now() - 86_400_000))) : 0;

export const sidOf = (guest: GuestSim): string => `${guest.kind === 'qemu' ? 'vm' : 'ct'}:${guest.vmid}`;

const tagsOf = ({ options }: GuestSim) => (options?.['tags'] ? { tags: options['tags'] } : {});

function usage(guest: GuestSim) {
  return {
    vmid: guest.vmid,
    name: guest.name,
    status: guest.status,
    cpus: 2,
    cpu: guest.status === 'running' ? 0.031 : 0,
    maxmem: guest.maxMemory,
    mem: memoryOf(guest),
    maxdisk: 32 * GIB,
    disk: 0,
    diskread: 0,
    diskwrite: 0,
    netin: 0,
    netout: 0,
    uptime: uptimeOf(guest),
    ...(guest.lock === undefined ? {} : { lock: guest.lock }),
  };
}

/** Lists give a process id as a number or not at all, and say `template` only where it is one. */
const listRow = (guest: GuestSim) => ({
  ...usage(guest),
  ...(guest.kind === 'lxc' ? { type: 'lxc', maxswap: 512 * 1024 * 1024, swap: 0 } : {}),
  ...tagsOf(guest),
  ...(guest.status === 'running' ? { pid: 10_000 + guest.vmid } : {}),
});

const currentOf = (guest: GuestSim, store: StoreSim) => ({
  ...usage(guest),
  ...(guest.kind === 'qemu' ? { qmpstatus: guest.status, agent: 1 } : { type: 'lxc' }),
  pid: guest.status === 'running' ? 10_000 + guest.vmid : null,
  ha: guest.ha ? { managed: 1, state: guest.wanted, group: undefined, node: store.ha.master } : { managed: 0 },
});

function preconditions(guest: GuestSim, store: StoreSim) {
  const others = [...store.nodes.values()].filter((node) => node.name !== guest.node);
  const allowed = others.filter((node) => node.up).map((node) => node.name);
  const running = flag(guest.status === 'running');
  if (guest.kind === 'lxc') return { running, 'allowed-nodes': allowed, 'not-allowed-nodes': {} };
  return {
    running,
    local_disks: [],
    local_resources: [],
    'mapped-resources': [],
    'mapped-resource-info': {},
    'has-dbus-vmstate': 1,
    allowed_nodes: allowed,
    not_allowed_nodes: {},
  };
}

export function resourceRow(guest: GuestSim, store: StoreSim) {
  const { cpus, ...rest } = usage(guest);
  const up = store.nodes.get(guest.node)?.up ?? false;
  const late = guest.reported && Date.now() < guest.reported.until ? guest.reported.status : guest.status;
  return {
    ...rest,
    id: `${guest.kind}/${guest.vmid}`,
    type: guest.kind,
    node: guest.node,
    // Nobody reports for the guests of a dead node.
    status: up ? late : 'unknown',
    maxcpu: cpus,
    template: 0,
    ...tagsOf(guest),
    ...(guest.pool === undefined ? {} : { pool: guest.pool }),
    ...(guest.ha ? { hastate: store.ha.serviceState(guest) } : {}),
  };
}
