import type { StoreSim } from '../world/store-sim.js';

/** One practice store as plain data: what the control API shows and what the check compares with the start. */
export interface StoreSnapshot {
  id: string;
  wanUp: boolean;
  quorate: boolean;
  nodes: {
    name: string;
    state: string;
    bootId: string;
    kernel: string;
    maintenance: boolean;
    noout: boolean;
    dpkgLocked: boolean;
    halfConfigured: string[];
    units: { name: string; state: string }[];
    packages: Record<string, string>;
    snapshots: string[];
  }[];
  ceph: { flags: string[]; pgs: { state: string; count: number }[]; health: string[]; activeMgr?: string };
  guests: {
    vmid: number;
    name: string;
    kind: string;
    node: string;
    home: string;
    status: string;
    ha: boolean;
    lock?: string;
  }[];
}

export function snapshotOf(store: StoreSim): StoreSnapshot {
  const { ceph, ha } = store;
  return {
    id: store.id,
    wanUp: store.wanUp,
    quorate: store.quorate,
    nodes: [...store.nodes.values()].map((node) => ({
      name: node.name,
      state: node.state,
      bootId: node.bootId,
      kernel: node.kernel,
      maintenance: ha.inMaintenance(node.name),
      noout: ceph.hostFlags.get(node.name)?.has('noout') ?? false,
      dpkgLocked: node.packages.lockedBy !== undefined,
      halfConfigured: node.packages.halfConfigured,
      units: [...node.units.all.values()].map(({ name, state }) => ({ name, state })),
      packages: Object.fromEntries(node.packages.installed),
      snapshots: node.packages.configured,
    })),
    ceph: {
      flags: [...ceph.flags],
      pgs: ceph.pgStates(),
      health: [...ceph.health().keys()],
      ...(ceph.activeMgr === undefined ? {} : { activeMgr: ceph.activeMgr }),
    },
    guests: [...store.guests.values()].map((guest) => ({
      vmid: guest.vmid,
      name: guest.name,
      kind: guest.kind,
      node: guest.node,
      home: guest.homeNode,
      status: guest.status,
      ha: guest.ha,
      ...(guest.lock === undefined ? {} : { lock: guest.lock }),
    })),
  };
}
