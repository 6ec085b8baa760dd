import { snapshotName } from '../world/pbs/datastore.js';
import type { PbsSim } from '../world/pbs/pbs-sim.js';
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
    /** Made by a restore. */
    restored?: true;
  }[];
  /** Storages that somebody added since the installer left; absent when there is none. */
  storages?: string[];
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
      ...(guest.restored === undefined ? {} : { restored: true as const }),
    })),
    ...(store.storages.added.length === 0 ? {} : { storages: [...store.storages.added] }),
  };
}

/** One backup server as plain data, with what only the practice fleet can know: which chunks are rotten. */
export interface PbsSnapshot {
  id: string;
  up: boolean;
  running: string[];
  datastores: {
    name: string;
    full: boolean;
    chunks: number;
    bytes: number;
    bad: number;
    snapshots: {
      ns: string;
      name: string;
      owner: string;
      finished: boolean;
      origin: string;
      revision: number;
      verified?: 'ok' | 'failed';
      verifiedBy?: string;
    }[];
  }[];
}

export function pbsSnapshotOf(pbs: PbsSim): PbsSnapshot {
  return {
    id: pbs.id,
    up: pbs.up,
    running: pbs.tasks.running.map(({ upid }) => upid),
    datastores: [...pbs.datastores.values()].map((datastore) => ({
      name: datastore.name,
      full: datastore.full,
      chunks: datastore.chunks.count,
      bytes: datastore.chunks.bytes,
      bad: datastore.chunks.bad.length,
      snapshots: datastore.allGroups().flatMap((group) =>
        group.snapshots.map((snapshot) => ({
          ns: group.ns,
          name: snapshotName(group, snapshot),
          owner: group.owner,
          finished: snapshot.finished,
          origin: snapshot.content.origin,
          revision: snapshot.content.revision,
          ...(snapshot.verification === undefined
            ? {}
            : { verified: snapshot.verification.state, verifiedBy: snapshot.verification.upid.split(':')[1] ?? '' }),
        })),
      ),
    })),
  };
}
