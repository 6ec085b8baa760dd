import {
  missingForDump,
  seesAllGuests,
  wantedOf,
  type DumpFacts,
  type DumpStorage,
  type Space,
  type Unread,
} from '#domain/dump.js';
import type { GuestFacts } from '#domain/facts.js';
import { leftOutIn, type LeftOut } from '#domain/left-out.js';
import type { DumpTask } from '#domain/messages/backup.js';
import type { StoreDeps } from '../store/deps.js';
import { readCluster, readGuests } from '../store/facts.js';
import type { StoreBackup } from './deps.js';
import { failureOf, isKind } from './answers.js';

/** Reads what `decideDump` rests on. What cannot be read is told as that. */
export async function gatherDumpFacts(deps: StoreDeps, backup: StoreBackup, task: DumpTask): Promise<DumpFacts> {
  const { proxmox } = deps;
  const { storage, fleecing, pbs } = backup;
  const unread: Unread[] = [];
  const read = async <T>(what: string, reading: Promise<T>): Promise<T | undefined> => {
    try {
      return await reading;
    } catch (error) {
      const { why, failure } = failureOf(error);
      unread.push({ what, why, failure });
      return undefined;
    }
  };
  const [cluster, guests, permissions, datastore] = await Promise.all([
    read('cluster status', readCluster(deps)),
    read('guests', readGuests(deps)),
    read('permissions', proxmox.permissions()),
    read('space of the datastore', pbs.verifier.space(pbs.datastore)),
  ]);
  const wanted = wantedOf(guests ?? [], task.vmids);
  const online = (cluster?.nodes ?? []).filter((node) => node.online).map(({ name }) => name);
  const nodes = online.filter((name) => wanted.some(({ node }) => node === name));

  const withoutStorage: string[] = [];
  const storageOn = async (node: string): Promise<DumpStorage | undefined> => {
    try {
      const { space, ...seen } = await proxmox.storageStatus(node, storage);
      // One that is not active is told with zeros, which is no size of anything.
      return { node, ...seen, ...(space && seen.active ? { space: spaceOf(space) } : {}) };
    } catch (error) {
      if (!isKind(error, 'NotFound')) throw error;
      withoutStorage.push(node);
      return undefined;
    }
  };
  const [storages, running, leftOut] = await Promise.all([
    Promise.all(nodes.map((node) => read(`storage ${storage} on ${node}`, storageOn(node)))),
    Promise.all(nodes.map((node) => read(`tasks of ${node}`, proxmox.tasks(node, { type: 'vzdump' })))),
    readLeftOut(deps, guests ?? [], online),
  ]);
  const busyNodes = nodes.filter((_, i) => running[i]?.some(({ status }) => status === undefined));
  const vmids = wanted.map(({ vmid }) => vmid);
  return {
    at: deps.now(),
    unread,
    cluster,
    guests,
    leftOut,
    listsAll: permissions !== undefined && seesAllGuests(permissions),
    missingPrivileges: permissions
      ? missingForDump(permissions, vmids, [storage, ...(fleecing === undefined ? [] : [fleecing])])
      : [],
    storages: storages.filter((seen) => seen !== undefined),
    withoutStorage,
    datastore,
    busyNodes,
  };
}

/** Of one that moves, or whose node is away, nobody can say: that is told of it alone, and it is dumped all the same. */
async function readLeftOut(
  { proxmox }: StoreDeps,
  guests: readonly GuestFacts[],
  online: readonly string[],
): Promise<Map<number, LeftOut>> {
  const read = new Map<number, LeftOut>();
  const readNode = async (name: string): Promise<void> => {
    for (const { kind, vmid } of guests.filter(({ node, template }) => node === name && !template)) {
      try {
        read.set(vmid, leftOutIn(kind, await proxmox.guestConfig(name, kind, vmid, { now: true })));
      } catch (error) {
        // What is not in the list was not read.
        if (isKind(error, 'NodeUnreachable')) return;
      }
    }
  };
  await Promise.all(online.map(readNode));
  return read;
}

const spaceOf = ({ total, avail }: { total: number; avail: number }): Space => ({ total, available: avail });
