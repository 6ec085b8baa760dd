import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { Pins } from './boot-sim.js';
import type { SavedCeph } from './ceph-sim.js';
import type { SavedFault } from './faults.js';
import { GuestSim, type FileEntry, type Restored } from './guest-sim.js';
import type { SavedHa } from './ha-sim.js';
import { wholeLines, type JournalEntry } from './journal.js';
import type { NodePhase, NodeSim } from './node-sim.js';
import type { Installing } from './packages-sim.js';
import type { BackupOrder } from './backup-sim.js';
import type { PbsPart, PbsSim } from './pbs/pbs-sim.js';
import type { GuestOrder } from './restore-sim.js';
import type { GuestSpec } from './specs.js';
import { PbsStorage, type PbsStorageConfig } from './storage-sim.js';
import type { Actor, StoreSim } from './store-sim.js';
import type { Task } from './tasks.js';
import type { Unit } from './units-sim.js';
import type { World } from './world.js';

/**
 * The state of a practice fleet on disk, kept up to date while it runs: in one log of states, so that a lab that is killed
 * goes on where it was. What was under way (moves, installations, boots, recoveries) starts its remaining half anew.
 */
interface SavedNode {
  phase: NodePhase;
  bootId: string;
  bootedAt: number;
  kernel: string;
  diskFull: boolean;
  clockSkewMs: number;
  pins: Pins;
  writtenPins: Pins;
  installed: [string, string][];
  sources: [string, string][];
  lists: string[];
  downloaded: string[];
  halfConfigured: string[];
  holds: string[];
  installing?: Installing | undefined;
  units: Unit[];
  logs: [string, string[]][];
  tasks: Task[];
}

interface SavedGuest {
  node: string;
  homeNode: string;
  status: 'running' | 'stopped';
  wanted: 'started' | 'stopped';
  startedAt: number;
  lock?: string | undefined;
  unhealthyByFault: boolean;
  badCacheByFault: boolean;
  writes: { count: number; at: number; last?: number; stopped?: boolean };
  files: [string, FileEntry][] | undefined;
  loaded: [string, string][];
  options?: Record<string, string | null> | undefined;
  pool?: string | undefined;
  bootTrouble?: GuestSim['bootTrouble'];
  /** Of a guest that no file of the fleet knows. */
  restored?: { restored: Restored; spec: GuestSpec; origin: string } | undefined;
}

interface SavedStore {
  nodes: Record<string, SavedNode>;
  guests: Record<string, SavedGuest>;
  moves: [number, { target: string; actor: Actor; upid: string }][];
  backups: [string, BackupOrder][];
  backupJobs: [string, Record<string, unknown>][];
  /** Only of a site where guests or storages came or went. */
  changed?:
    | {
        gone: number[];
        orders: [string, GuestOrder][];
        storages: (PbsStorageConfig & { server: string })[];
        removed: string[];
        full: string[];
      }
    | undefined;
  ha: SavedHa;
  ceph: SavedCeph;
  wanUp: boolean;
  wanSilent: boolean;
}

export interface SavedWorld {
  stores: Record<string, SavedStore>;
  /** Backup servers, each in parts: a part is written when it changed, for one server may hold a whole fleet's backups. */
  pbs: Map<string, Map<string, PbsPart | null>>;
  faults: SavedFault[];
  /** What the fleet looked like when its journal began; whatever the check compares with. */
  atStart: unknown;
  /** The newest entries: the journal itself may lack the last ones of a lab that was killed. */
  entries: JournalEntry[];
}

const FORM = 3;
/** Of changes that no entry of the journal tells: they may be this late, in milliseconds. */
const LATE = 25;
const MAX_TASKS = 60;
/** Bytes; what is written again and again is written anew from then on. */
const MAX_LOG = 32 * 1024 * 1024;

type Line =
  | { form: typeof FORM; what: 'at-start'; atStart: unknown }
  | { form: typeof FORM; what: 'faults'; faults: SavedFault[] }
  | { form: typeof FORM; what: 'store'; id: string; store: SavedStore; entries: JournalEntry[] }
  | { form: typeof FORM; what: 'pbs'; id: string; part: string; value: PbsPart | null }
  /** Of what belongs to no store. */
  | { form: typeof FORM; what: 'entries'; entries: JournalEntry[] };

/**
 * Writes what changed to a log of states, of which the last of each store counts: with each entry of the journal at
 * once, before anybody can have its answer; else a little later.
 */
export class StateKeeper {
  readonly #world: World;
  readonly #file: string;
  readonly #dirty = new Set<string>();
  readonly #dirtyPbs = new Set<PbsSim>();
  #fd: number;
  #size: number;
  #entries: JournalEntry[] = [];
  #atStart: unknown;
  #soon = false;
  #closed = false;
  #later: NodeJS.Timeout | undefined;
  #faultChanges = 0;

  constructor(world: World, saved: SavedWorld | undefined) {
    this.#world = world;
    this.#atStart = saved?.atStart;
    this.#file = fileOf(world.stateDir);
    this.#fd = openSync(this.#file, saved ? 'a' : 'w', 0o600);
    this.#size = fstatSync(this.#fd).size;
    world.journal.onEntry((entry) => this.#remember(entry));
  }

  touch(store: string): void {
    if (this.#closed) return;
    this.#dirty.add(store);
    this.#later ??= setTimeout(() => this.flush(), LATE).unref();
  }

  touchPbs(pbs: PbsSim): void {
    if (this.#closed) return;
    this.#dirtyPbs.add(pbs);
    this.#later ??= setTimeout(() => this.flush(), LATE).unref();
  }

  saveAtStart(atStart: unknown): void {
    this.#atStart = atStart;
    this.#append([{ form: FORM, what: 'at-start', atStart }]);
  }

  flush(): void {
    if (this.#closed) return;
    clearTimeout(this.#later);
    this.#later = undefined;
    this.#soon = false;
    // State first: what the journal then lacks stands in here as well.
    this.#append(this.#changes());
    this.#world.journal.flush();
    if (this.#size > MAX_LOG) this.#writeAnew();
  }

  /** What happens after this is not kept. */
  close(): void {
    if (this.#closed) return;
    this.flush();
    this.#closed = true;
    closeSync(this.#fd);
  }

  #remember(entry: JournalEntry): void {
    this.#entries.push(entry);
    this.#dirty.add(entry.store);
    if (this.#soon) return;
    this.#soon = true;
    // After the change that the entry tells of is complete, and before whoever asked for it is answered.
    queueMicrotask(() => {
      if (this.#soon) this.flush();
    });
  }

  #changes(): Line[] {
    const { faults } = this.#world;
    const lines: Line[] = [];
    if (faults.changes !== this.#faultChanges) {
      this.#faultChanges = faults.changes;
      lines.push({ form: FORM, what: 'faults', faults: faults.dump() });
    }
    const entries = this.#entries;
    this.#entries = [];
    for (const pbs of this.#dirtyPbs) lines.push(...linesOfPbs(pbs, pbs.takeChanges()));
    this.#dirtyPbs.clear();
    const ofStores = [...this.#dirty].flatMap((id) => this.#lineOf(id, entries));
    this.#dirty.clear();
    lines.push(...ofStores);
    if (ofStores.length === 0 && entries.length > 0) lines.push({ form: FORM, what: 'entries', entries });
    return lines;
  }

  #lineOf(id: string, entries: JournalEntry[]): Line[] {
    const store = this.#world.site(id);
    return store ? [{ form: FORM, what: 'store', id, store: saveStore(store), entries }] : [];
  }

  #append(lines: Line[]): void {
    if (lines.length === 0) return;
    this.#size += writeSync(this.#fd, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }

  #writeAnew(): void {
    const fd = openSync(`${this.#file}.new`, 'w', 0o600);
    closeSync(this.#fd);
    this.#fd = fd;
    this.#size = 0;
    this.#append([
      { form: FORM, what: 'at-start', atStart: this.#atStart },
      { form: FORM, what: 'faults', faults: this.#world.faults.dump() },
      ...this.#world.sites.flatMap(({ id }) => this.#lineOf(id, [])),
      ...[...this.#world.pbs.values()].flatMap((pbs) => linesOfPbs(pbs, pbs.parts())),
    ]);
    renameSync(`${this.#file}.new`, this.#file);
  }
}

const linesOfPbs = (pbs: PbsSim, parts: string[]): Line[] =>
  parts.map((part) => ({ form: FORM, what: 'pbs', id: pbs.id, part, value: pbs.dump(part) ?? null }));

const fileOf = (stateDir: string): string => join(stateDir, 'world.jsonl');

function saveStore(store: StoreSim): SavedStore {
  return {
    nodes: Object.fromEntries([...store.nodes.values()].map((node) => [node.name, saveNode(node)])),
    guests: Object.fromEntries(
      [...store.guests.values()].map((guest): [string, SavedGuest] => {
        const { node, homeNode, status, wanted, startedAt, lock, unhealthyByFault, badCacheByFault, writes } = guest;
        const plain = { node, homeNode, status, wanted, startedAt, lock, unhealthyByFault, badCacheByFault, writes };
        const { options, pool, bootTrouble, spec, origin, restored } = guest;
        const made = restored && { restored, spec, origin };
        return [String(guest.vmid), { ...plain, ...guest.dump(), options, pool, bootTrouble, restored: made }];
      }),
    ),
    moves: [...store.moves],
    backups: [...store.backups.orders],
    backupJobs: [...store.backupJobs],
    changed: changesOf(store),
    ha: store.ha.dump(),
    ceph: store.ceph.dump(),
    wanUp: store.wanUp,
    wanSilent: store.wanSilent,
  };
}

function changesOf({ gone, storages, restoring }: StoreSim): SavedStore['changed'] {
  const { added, removed, full } = storages;
  const orders = [...(restoring?.orders ?? [])];
  if (gone.size + orders.length + added.length + removed.length + full.length === 0) return undefined;
  const configs = added.flatMap((id) => {
    const storage = storages.all.get(id);
    return storage ? [{ ...storage.config, server: storage.pbs.id }] : [];
  });
  return { gone: [...gone], orders, storages: configs, removed, full };
}

function saveNode(node: NodeSim): SavedNode {
  const { packages, units, boot, tasks } = node;
  return {
    phase: node.phase,
    bootId: node.bootId,
    bootedAt: node.bootedAt,
    kernel: node.kernel,
    diskFull: node.diskFull,
    clockSkewMs: node.clockSkewMs,
    pins: boot.pins,
    writtenPins: boot.written,
    installed: [...packages.installed],
    sources: [...packages.sources],
    lists: packages.lists,
    downloaded: [...packages.downloaded],
    halfConfigured: packages.halfConfigured,
    holds: [...packages.holds],
    installing: packages.installing,
    units: [...units.all.values()],
    logs: [...units.logs],
    tasks: tasks.all.slice(-MAX_TASKS),
  };
}

/** What an earlier lab in this folder left, however it ended. Undefined when there was none. */
export function readSavedWorld(stateDir: string): SavedWorld | undefined {
  const saved: SavedWorld = { stores: {}, pbs: new Map(), faults: [], atStart: undefined, entries: [] };
  const entries = new Map<number, JournalEntry>();
  for (const text of wholeLines(fileOf(stateDir))) {
    const line = JSON.parse(text) as Line;
    if (line.form !== FORM) return undefined;
    if (line.what === 'at-start') saved.atStart = line.atStart;
    else if (line.what === 'faults') saved.faults = line.faults;
    else if (line.what === 'pbs') putPart(saved.pbs, line);
    else {
      if (line.what === 'store') saved.stores[line.id] = line.store;
      for (const entry of line.entries) entries.set(entry.seq, entry);
    }
  }
  if (saved.atStart === undefined) return undefined;
  return { ...saved, entries: [...entries.values()].sort((one, other) => one.seq - other.seq) };
}

function putPart(
  pbs: SavedWorld['pbs'],
  { id, part, value }: { id: string; part: string; value: PbsPart | null },
): void {
  const parts = pbs.get(id) ?? new Map<string, PbsPart | null>();
  pbs.set(id, parts);
  parts.set(part, value);
}

/** Puts a new world into the state of an earlier one. Stores, nodes and guests that are new stay as they are. */
export function restoreWorld(world: World, saved: SavedWorld): void {
  for (const [id, each] of Object.entries(saved.stores)) {
    const store = world.site(id);
    if (store) restoreStore(store, each);
  }
  for (const [id, parts] of saved.pbs) world.pbs.get(id)?.load(parts);
  world.faults.load(saved.faults);
}

function restoreStore(store: StoreSim, saved: SavedStore): void {
  if (saved.changed) restoreChanges(store, saved.changed);
  for (const [vmid, { files, loaded, restored, ...plain }] of Object.entries(saved.guests)) {
    if (!store.nodes.has(plain.node)) continue;
    if (restored) {
      store.guests.set(Number(vmid), new GuestSim(restored.spec, plain.node, restored.origin, restored.restored));
    }
    const guest = store.guests.get(Number(vmid));
    if (!guest) continue;
    Object.assign(guest, plain, { lock: plain.lock });
    guest.load({ files, loaded });
  }
  for (const [name, each] of Object.entries(saved.nodes)) {
    const node = store.nodes.get(name);
    if (node) restoreNode(node, each);
  }
  refill(store.moves, saved.moves);
  refill(store.backups.orders, saved.backups);
  refill(store.backupJobs, saved.backupJobs);
  store.ceph.load(saved.ceph);
  store.ha.load(saved.ha);
  store.wanUp = saved.wanUp;
  store.wanSilent = saved.wanSilent;
}

function restoreChanges(store: StoreSim, saved: NonNullable<SavedStore['changed']>): void {
  for (const vmid of saved.gone) {
    store.gone.add(vmid);
    store.guests.delete(vmid);
  }
  for (const id of saved.removed) store.storages.remove(id);
  for (const { server, ...config } of saved.storages) {
    const pbs = store.world.pbs.get(server);
    if (pbs) store.storages.add(new PbsStorage(store, pbs, config));
  }
  store.storages.full = saved.full;
  if (saved.orders.length > 0) refill(store.restores.orders, saved.orders);
}

function restoreNode(node: NodeSim, saved: SavedNode): void {
  const { packages, units, boot } = node;
  const { phase, bootId, bootedAt, kernel, diskFull, clockSkewMs } = saved;
  Object.assign(node, { phase, bootId, bootedAt, kernel, diskFull, clockSkewMs });
  boot.pins = saved.pins;
  boot.written = saved.writtenPins;
  refill(packages.installed, saved.installed);
  refill(packages.sources, saved.sources);
  packages.lists = saved.lists;
  for (const archive of saved.downloaded) packages.downloaded.add(archive);
  packages.halfConfigured = saved.halfConfigured;
  for (const hold of saved.holds) packages.holds.add(hold);
  packages.installing = saved.installing;
  refill(
    units.all,
    saved.units.map((unit): [string, Unit] => [unit.name, unit]),
  );
  refill(units.logs, saved.logs);
  node.tasks.load(saved.tasks);
}

function refill<K, V>(map: Map<K, V>, entries: readonly (readonly [K, V])[]): void {
  map.clear();
  for (const [key, value] of entries) map.set(key, value);
}
