import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FileEntry } from './guest-sim.js';
import type { StoreSim } from './store-sim.js';
import type { Unit } from './units-sim.js';
import type { World } from './world.js';

/**
 * What a practice fleet keeps over an orderly restart. Faults, tasks and links are not kept: after the restart nothing
 * is broken on purpose, every link is up and every node is switched on.
 */
interface SavedNode {
  off: boolean;
  bootId: string;
  bootedAt: number;
  kernel: string;
  installed: [string, string][];
  sources: [string, string][];
  lists: string[];
  downloaded: string[];
  halfConfigured: string[];
  holds: string[];
  units: Unit[];
  logs: [string, string[]][];
}

interface SavedGuest {
  node: string;
  homeNode: string;
  status: 'running' | 'stopped';
  wanted: 'started' | 'stopped';
  startedAt: number;
  files: [string, FileEntry][] | undefined;
  loaded: [string, string][];
}

interface SavedStore {
  nodes: Record<string, SavedNode>;
  guests: Record<string, SavedGuest>;
  maintenance: string[];
  movedFrom: [number, string][];
  flags: string[];
  hostFlags: [string, string[]][];
}

export interface SavedWorld {
  form: 1;
  stores: Record<string, SavedStore>;
  /** What the fleet looked like when its journal began; whatever the check compares with. */
  atStart: unknown;
}

const fileOf = (stateDir: string): string => join(stateDir, 'world.json');

function saveStore(store: StoreSim): SavedStore {
  const { ceph, ha } = store;
  return {
    nodes: Object.fromEntries(
      [...store.nodes.values()].map(({ name, up, bootId, bootedAt, kernel, packages, units }): [string, SavedNode] => [
        name,
        {
          off: !up,
          bootId,
          bootedAt,
          kernel,
          installed: [...packages.installed],
          sources: [...packages.sources],
          lists: packages.lists,
          downloaded: [...packages.downloaded],
          halfConfigured: packages.halfConfigured,
          holds: [...packages.holds],
          // One that still runs cannot be kept: its program ends with this process.
          units: [...units.all.values()].filter(({ state }) => state !== 'running'),
          logs: [...units.logs],
        },
      ]),
    ),
    guests: Object.fromEntries(
      [...store.guests.values()].map((guest): [string, SavedGuest] => [
        String(guest.vmid),
        {
          node: guest.node,
          homeNode: guest.homeNode,
          status: guest.status,
          wanted: guest.wanted,
          startedAt: guest.startedAt,
          ...guest.dump(),
        },
      ]),
    ),
    maintenance: [...ha.maintenance.keys()],
    movedFrom: ha.dumpMoves(),
    flags: [...ceph.flags],
    hostFlags: [...ceph.hostFlags].map(([host, flags]) => [host, [...flags]]),
  };
}

export function saveWorld(world: World, atStart: unknown): void {
  const saved: SavedWorld = {
    form: 1,
    stores: Object.fromEntries([...world.stores.values()].map((store) => [store.id, saveStore(store)])),
    atStart,
  };
  const file = fileOf(world.stateDir);
  writeFileSync(`${file}.new`, JSON.stringify(saved), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/**
 * What an orderly end left, once: a later end that was not orderly must not be followed by a state that the journal
 * has long left behind.
 */
export function takeSavedWorld(stateDir: string): SavedWorld | undefined {
  const file = fileOf(stateDir);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const saved = JSON.parse(text) as SavedWorld;
  rmSync(file);
  return saved.form === 1 ? saved : undefined;
}

/** Puts a new world into the state of an earlier one. Stores, nodes and guests that are new stay as they are. */
export function restoreWorld(world: World, saved: SavedWorld): void {
  for (const [id, each] of Object.entries(saved.stores)) {
    const store = world.stores.get(id);
    if (store) restoreStore(store, each);
  }
}

function restoreStore(store: StoreSim, saved: SavedStore): void {
  for (const [vmid, each] of Object.entries(saved.guests)) {
    const guest = store.guests.get(Number(vmid));
    if (!guest || !store.nodes.has(each.node)) continue;
    guest.node = each.node;
    guest.homeNode = each.homeNode;
    guest.status = each.status;
    guest.wanted = each.wanted;
    guest.startedAt = each.startedAt;
    guest.load(each);
  }
  for (const flag of saved.flags) store.ceph.flags.add(flag);
  for (const [host, flags] of saved.hostFlags) store.ceph.hostFlags.set(host, new Set(flags));
  store.ha.load(saved.maintenance, saved.movedFrom);
  for (const [name, each] of Object.entries(saved.nodes)) {
    const node = store.nodes.get(name);
    if (!node) continue;
    const { packages, units } = node;
    node.bootId = each.bootId;
    node.bootedAt = each.bootedAt;
    node.kernel = each.kernel;
    refill(packages.installed, each.installed);
    refill(packages.sources, each.sources);
    packages.lists = each.lists;
    for (const archive of each.downloaded) packages.downloaded.add(archive);
    packages.halfConfigured = each.halfConfigured;
    for (const hold of each.holds) packages.holds.add(hold);
    refill(
      units.all,
      each.units.map((unit): [string, Unit] => [unit.name, unit]),
    );
    refill(units.logs, each.logs);
    store.ceph.daemonVersion.set(name, packages.installed.get('ceph-osd') ?? '');
    if (each.off) node.bootAfterRestart();
  }
  store.timers.after(store.world.timing.of('guestStart'), () => {
    for (const guest of store.guests.values()) {
      if (guest.wanted === 'started')
        store.bootGuest(guest, guest.ha ? 'ha-manager' : 'node', { cause: 'lab restart' });
    }
    store.ha.pump();
  });
}

function refill<K, V>(map: Map<K, V>, entries: [K, V][]): void {
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}
