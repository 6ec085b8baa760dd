import type { Bridge } from '../../world/layout.js';
import type { StoreSim } from '../../world/store-sim.js';
import { privilegesOn } from '../access.js';
import { PveError } from '../errors.js';
import { param } from '../params.js';
import { text, type Call, type Route } from '../route.js';
import { resourceRow } from './guests.js';

/** Pools, and the bridges of a node. Neither can be changed here. */
const POOL_TYPES = ['qemu', 'lxc', 'storage'];
const BRIDGE_TYPES = ['bridge', 'any_bridge', 'any_local_bridge', 'include_sdn'];
const TYPES = ['alias', 'bond', 'eth', 'fabric', 'OVSBond', 'OVSBridge', 'OVSIntPort', 'OVSPort', 'vlan', 'vnet'];

export const siteRoutes: Route[] = [
  {
    method: 'GET',
    path: '/pools',
    params: { poolid: param.text, type: { type: 'string', optional: true, enum: POOL_TYPES } },
    run: (call) => {
      const { store, caller, params } = call;
      const asked = params['poolid'];
      if (asked !== undefined) return [{ poolid: text(asked), members: membersOf(call, text(asked)) }];
      return store.layout.pools
        .filter((pool) => privilegesOn(caller, `/pool/${pool}`).includes('Pool.Audit'))
        .map((poolid) => ({ poolid }));
    },
  },
  {
    method: 'GET',
    path: '/pools/{poolid}',
    params: { poolid: { type: 'string' }, type: { type: 'string', optional: true, enum: POOL_TYPES } },
    permission: { path: '/pool/{poolid}', anyOf: ['Pool.Audit'] },
    run: (call) => ({ members: membersOf(call, text(call.params['poolid'])) }),
  },
  {
    method: 'GET',
    path: '/nodes/{node}/network',
    params: { node: param.node, type: { type: 'string', optional: true, enum: [...BRIDGE_TYPES, ...TYPES] } },
    run: ({ store, params }) =>
      params['type'] === undefined || BRIDGE_TYPES.includes(text(params['type']))
        ? store.layout.bridges.map((bridge) => ({ iface: bridge.iface, ...bridgeOf(bridge) }))
        : [],
  },
  {
    method: 'GET',
    path: '/nodes/{node}/network/{iface}',
    params: { node: param.node, iface: { type: 'string' } },
    permission: { path: '/nodes/{node}', anyOf: ['Sys.Audit'] },
    run: ({ store, params }) => {
      const found = store.layout.bridges.find(({ iface }) => iface === params['iface']);
      if (!found) throw new PveError(400, 'Parameter verification failed.', { iface: 'interface does not exist' });
      return bridgeOf(found);
    },
  },
];

const bridgeOf = ({ ports }: Bridge) => ({
  type: 'bridge',
  method: 'manual',
  active: 1,
  autostart: 1,
  bridge_ports: ports,
  bridge_stp: 'off',
  bridge_fd: '0',
  families: ['inet'],
  method6: 'manual',
  priority: 4,
});

export function requirePool(store: StoreSim, pool: string): void {
  if (!store.layout.pools.includes(pool)) throw new Error(`pool '${pool}' does not exist`);
}

function membersOf({ store, params }: Call, pool: string) {
  requirePool(store, pool);
  return [...store.guests.values()]
    .filter((guest) => guest.pool === pool && (params['type'] ?? guest.kind) === guest.kind)
    .map((guest) => resourceRow(guest, store));
}
