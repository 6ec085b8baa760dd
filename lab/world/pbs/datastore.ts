import { ChunkStore, NO_GC, type GcStatus, type SavedBucket } from './chunk-store.js';
import { chunkBytes, chunksOf, DISK_BYTES, filesChunk, type DiskContent } from './content.js';
import { pruneMarks, type KeepOptions, type Mark } from './keep.js';

export type BackupType = 'vm' | 'ct' | 'host';

/** Options as the configuration file has them; the S3 backend is settings only. */
export interface DatastoreConfig extends KeepOptions {
  name: string;
  path: string;
  comment?: string | undefined;
  'gc-schedule'?: string | undefined;
  'prune-schedule'?: string | undefined;
  'verify-new'?: boolean | undefined;
  'maintenance-mode'?: string | undefined;
  'notification-mode'?: string | undefined;
  backend?: string | undefined;
  tuning?: string | undefined;
}

export interface SnapshotFile {
  filename: string;
  size: number;
  'crypt-mode': 'none' | 'encrypt' | 'sign-only';
}

export interface Verification {
  state: 'ok' | 'failed';
  upid: string;
}

export interface Snapshot {
  /** Seconds since the epoch. */
  readonly time: number;
  /** Without it the snapshot is not finished: it is under way, or broken. */
  finished: boolean;
  protected: boolean;
  notes?: string | undefined;
  verification?: Verification | undefined;
  /** Of the key that it is encrypted with. */
  fingerprint?: string | undefined;
  readonly content: DiskContent;
}

export interface Group {
  readonly ns: string;
  readonly type: BackupType;
  readonly id: string;
  owner: string;
  notes?: string | undefined;
  /** Oldest first. */
  readonly snapshots: Snapshot[];
}

/** A part of a datastore's state, for a log of states: see `parts`. */
export type DatastorePart =
  | {
      what: 'settings';
      config: DatastoreConfig;
      full: boolean;
      namespaces: [string, string | undefined][];
      gc: GcStatus;
    }
  | { what: 'group'; group: Group }
  | { what: 'chunks'; bucket: SavedBucket };

/** A refusal in the words of the real server. */
export class PbsError extends Error {
  readonly status: number;
  constructor(message: string, status = 400) {
    super(message);
    this.name = 'PbsError';
    this.status = status;
  }
}

export const permissionDenied = (): PbsError => new PbsError('permission check failed', 403);

const TOTAL_BYTES = 2 * 10 ** 12;
/** What a file system holds beside the chunks. */
const OVERHEAD_BYTES = 60_000_000;

export const groupName = ({ type, id }: { type: string; id: string }): string => `${type}/${id}`;
export const timeText = (time: number): string => `${new Date(time * 1_000).toISOString().slice(0, 19)}Z`;
export const snapshotName = (group: { type: string; id: string }, { time }: { time: number }): string =>
  `${groupName(group)}/${timeText(time)}`;

export const chunksOfSnapshot = ({ content, fingerprint }: Snapshot): string[] => chunksOf(content, fingerprint);

/** One datastore: namespaces, groups and snapshots, and the chunks that they refer to. Knows no clock and no tasks. */
export class Datastore {
  config: DatastoreConfig;
  /** Somebody else filled the disk. */
  full = false;
  readonly namespaces = new Map<string, string | undefined>([['', undefined]]);
  readonly chunks: ChunkStore;
  gc: GcStatus = { ...NO_GC };
  readonly #groups = new Map<string, Group>();
  /** Groups that somebody writes to now. */
  readonly #busy = new Map<Group, number>();
  readonly #changed: (part: string) => void;

  /** `changed` is told which part of the state is another now. */
  constructor(config: DatastoreConfig, changed: (part: string) => void = () => undefined) {
    this.config = config;
    this.#changed = changed;
    this.chunks = new ChunkStore((prefix) => changed(`chunks ${prefix}`));
  }

  get name(): string {
    return this.config.name;
  }

  get usage(): { total: number; used: number; avail: number } {
    const used = this.full ? TOTAL_BYTES : OVERHEAD_BYTES + this.chunks.bytes;
    return { total: TOTAL_BYTES, used, avail: TOTAL_BYTES - used };
  }

  /** `read-only`, `offline`, … and what people were told about it. */
  get maintenance(): { type: string; message: string } | undefined {
    const text = this.config['maintenance-mode'];
    if (text === undefined) return undefined;
    const [, type = '', message = ''] = /^(?:type=)?([a-z0-9-]+)(?:,message="?(.*?)"?)?$/.exec(text) ?? [];
    return { type, message };
  }

  /** Refuses what the maintenance mode does not allow. */
  require(operation: 'lookup' | 'read' | 'write'): void {
    const mode = this.maintenance;
    if (!mode || operation === 'lookup') return;
    if (mode.type === 'read-only' && operation === 'read') return;
    const names: Record<string, string> = { 'read-only': 'read-only', offline: 'offline', delete: 'delete' };
    throw new PbsError(`${names[mode.type] ?? mode.type} maintenance mode: ${mode.message}`);
  }

  // Namespaces and groups

  /** Throws for one that is not there. */
  namespace(ns: string): string {
    if (!this.namespaces.has(ns)) throw new PbsError('ENOENT: No such file or directory');
    return ns;
  }

  /** It and those below, to a depth of so many levels. */
  namespacesBelow(ns: string, maxDepth: number): string[] {
    const depth = (of: string): number => (of === '' ? 0 : of.split('/').length);
    return [...this.namespaces.keys()]
      .filter((each) => ns === '' || each === ns || each.startsWith(`${ns}/`))
      .filter((each) => depth(each) - depth(ns) <= maxDepth)
      .sort();
  }

  addNamespace(parent: string, name: string, comment?: string): string {
    this.namespace(parent);
    const ns = parent === '' ? name : `${parent}/${name}`;
    if (this.namespaces.has(ns)) throw new PbsError('namespace already exists');
    this.namespaces.set(ns, comment);
    this.touchSettings();
    return ns;
  }

  /** Groups in it and below go with it when `withGroups`; else it has to be empty. */
  removeNamespace(ns: string, withGroups: boolean): void {
    this.namespace(ns);
    if (ns === '') throw new PbsError('cannot remove root namespace!');
    const all = this.namespacesBelow(ns, Infinity);
    const groups = all.flatMap((each) => this.groups(each));
    if (groups.length > 0 && !withGroups) throw new PbsError(`only partially removed: namespace '${ns}' is not empty`);
    for (const group of groups) this.removeGroup(group);
    for (const each of all) this.namespaces.delete(each);
    this.touchSettings();
  }

  groups(ns: string): Group[] {
    return [...this.#groups.values()].filter((group) => group.ns === ns);
  }

  allGroups(): Group[] {
    return [...this.#groups.values()];
  }

  findGroup(ns: string, type: string, id: string): Group | undefined {
    return this.#groups.get(keyOf(ns, type, id));
  }

  group(ns: string, type: string, id: string): Group {
    this.namespace(ns);
    const group = this.findGroup(ns, type, id);
    if (!group) throw new PbsError(`no such backup group '${type}/${id}'`);
    return group;
  }

  snapshot(ns: string, type: string, id: string, time: number): { group: Group; snapshot: Snapshot } {
    const group = this.group(ns, type, id);
    const snapshot = group.snapshots.find((each) => each.time === time);
    if (!snapshot) throw new PbsError(`no such snapshot '${type}/${id}/${timeText(time)}'`);
    return { group, snapshot };
  }

  // Backup

  /**
   * Begins a snapshot: of a group that is owned by the same and that nobody writes to. A second that is taken already
   * moves it on, since seconds are long in a fleet whose days are short.
   */
  begin(
    where: { ns: string; type: BackupType; id: string; owner: string },
    content: DiskContent,
    options: { now: number; fingerprint?: string | undefined },
  ): { group: Group; snapshot: Snapshot } {
    this.require('write');
    this.namespace(where.ns);
    const group = this.groupFor(where);
    if (group.owner !== where.owner) throw new PbsError(`backup owner check failed (${where.owner} != ${group.owner})`);
    if (this.#busy.has(group)) throw new PbsError('another backup is already running');
    const last = group.snapshots.at(-1);
    const time = Math.max(Math.floor(options.now / 1_000), (last?.time ?? 0) + 1);
    const snapshot: Snapshot = {
      time,
      finished: false,
      protected: false,
      content,
      ...(options.fingerprint === undefined ? {} : { fingerprint: options.fingerprint }),
    };
    group.snapshots.push(snapshot);
    this.#busy.set(group, options.now);
    this.touch(group);
    return { group, snapshot };
  }

  /** The chunks that have to be sent: neither on this disk, nor in the last snapshot that is not known to be broken. */
  missing(group: Group, snapshot: Snapshot): string[] {
    const base = group.snapshots.findLast((each) => each.finished && each.time < snapshot.time);
    const usable = base && base.verification?.state !== 'failed' && base.fingerprint === snapshot.fingerprint;
    const known = new Set(usable ? chunksOfSnapshot(base) : []);
    return chunksOfSnapshot(snapshot).filter((id) => !known.has(id) && !this.chunks.has(id));
  }

  /** Throws `ENOSPC` in the client's words when there is no room. */
  write(ids: readonly string[], snapshot: Snapshot, now: number): void {
    const bytes = ids.reduce((sum, id) => sum + chunkBytes(id), 0);
    if (bytes > this.usage.avail) throw new PbsError('No space left on device (os error 28)');
    const { origin, files } = snapshot.content;
    const ofFiles = filesChunk(origin, files);
    for (const id of ids) this.chunks.insert(id, now, id.endsWith(ofFiles) ? files : undefined);
  }

  /** Every chunk that it refers to is touched; one that a base snapshot promised and that is gone stays missing. */
  finish(group: Group, snapshot: Snapshot, now: number): void {
    for (const id of chunksOfSnapshot(snapshot)) this.chunks.touch(id, now);
    snapshot.finished = true;
    this.release(group);
  }

  /** Nobody writes to it any more. */
  release(group: Group): void {
    this.#busy.delete(group);
    this.touch(group);
  }

  isBusy(group: Group): boolean {
    return this.#busy.has(group);
  }

  /** When the longest backup that runs now began, milliseconds since the epoch. */
  get oldestWriter(): number | undefined {
    return this.#busy.size === 0 ? undefined : Math.min(...this.#busy.values());
  }

  /** Something of a group or its snapshots is another now. */
  touch(group: Group): void {
    this.#changed(`group ${keyOf(group.ns, group.type, group.id)}`);
  }

  /** Something of the datastore itself. */
  touchSettings(): void {
    this.#changed('settings');
  }

  /** A snapshot as another server made it, with all that its manifest says. */
  adopt(group: Group, snapshot: Snapshot): void {
    group.snapshots.push(snapshot);
    group.snapshots.sort((a, b) => a.time - b.time);
    this.touch(group);
  }

  /** Made when it is not there; whether its owner is the right one is for the caller to judge. */
  groupFor({ ns, type, id, owner }: { ns: string; type: BackupType; id: string; owner: string }): Group {
    const known = this.findGroup(ns, type, id);
    if (known) return known;
    const group: Group = { ns, type, id, owner, snapshots: [] };
    this.#groups.set(keyOf(ns, type, id), group);
    return group;
  }

  // Removal: of what refers to chunks, never of chunks

  removeSnapshot(group: Group, snapshot: Snapshot): void {
    group.snapshots.splice(group.snapshots.indexOf(snapshot), 1);
    // The last one takes the group along, and its owner with it.
    if (group.snapshots.length === 0) this.#groups.delete(keyOf(group.ns, group.type, group.id));
    this.touch(group);
  }

  /** Returns how many protected ones stayed. */
  removeGroup(group: Group): number {
    for (const snapshot of group.snapshots.filter((each) => !each.protected)) this.removeSnapshot(group, snapshot);
    return group.snapshots.length;
  }

  /** What a prune would do with each snapshot of a group, oldest first. */
  prunePlan(group: Group, keep: KeepOptions, calendar: (ms: number) => number): { snapshot: Snapshot; mark: Mark }[] {
    const list = group.snapshots.map((snapshot) => ({
      snapshot,
      at: calendar(snapshot.time * 1_000),
      finished: snapshot.finished,
      protected: snapshot.protected,
    }));
    const marks = pruneMarks(list, keep);
    return list.map((each) => ({ snapshot: each.snapshot, mark: marks.get(each) ?? 'keep' }));
  }

  // Verification

  /** Reads every chunk of a snapshot. Those that are rotten are set aside. Returns what was wrong, as the log says it. */
  check(snapshot: Snapshot, known: { good: Set<string>; bad: Set<string> }): { id: string; what: 'rotten' | 'gone' }[] {
    return chunksOfSnapshot(snapshot).flatMap((id) => {
      if (known.good.has(id)) return [];
      if (known.bad.has(id)) return [{ id, what: 'gone' as const }];
      const rotten = this.chunks.isDamaged(id);
      if (this.chunks.has(id) && !rotten) {
        known.good.add(id);
        return [];
      }
      known.bad.add(id);
      if (rotten) this.chunks.setAside(id);
      return [{ id, what: rotten ? ('rotten' as const) : ('gone' as const) }];
    });
  }

  // Garbage collection

  /** The first phase: touches what snapshots refer to. Returns the chunks that are referred to and not there. */
  mark(now: number, status: GcStatus): { id: string; snapshot: string }[] {
    if (this.usage.avail === 0)
      throw new PbsError('update atime failed for chunk/file - ENOSPC: No space left on device');
    const missing: { id: string; snapshot: string }[] = [];
    for (const group of this.#groups.values()) {
      for (const snapshot of group.snapshots) {
        status['index-file-count'] += indexFilesOf(snapshot);
        status['index-data-bytes'] += DISK_BYTES[snapshot.content.kind];
        for (const id of chunksOfSnapshot(snapshot)) {
          if (!this.chunks.touch(id, now)) missing.push({ id, snapshot: snapshotName(group, snapshot) });
        }
      }
    }
    return missing;
  }

  /** Names of all parts of the state. */
  parts(): string[] {
    return [
      'settings',
      ...[...this.#groups.keys()].map((key) => `group ${key}`),
      ...this.chunks.buckets.map((prefix) => `chunks ${prefix}`),
    ];
  }

  /** Undefined for what is not there any more. */
  dump(part: string): DatastorePart | undefined {
    const rest = part.slice(part.indexOf(' ') + 1);
    if (part === 'settings') {
      const { config, full, gc } = this;
      return { what: 'settings', config, full, namespaces: [...this.namespaces], gc };
    }
    if (part.startsWith('group ')) {
      const group = this.#groups.get(rest);
      return group && { what: 'group', group };
    }
    const bucket = this.chunks.dump(rest);
    return bucket && { what: 'chunks', bucket };
  }

  load(part: string, saved: DatastorePart): void {
    switch (saved.what) {
      case 'settings':
        Object.assign(this, { config: saved.config, full: saved.full, gc: saved.gc });
        for (const [ns, comment] of saved.namespaces) this.namespaces.set(ns, comment);
        return;
      case 'group': {
        const { ns, type, id } = saved.group;
        this.#groups.set(keyOf(ns, type, id), saved.group);
        return;
      }
      case 'chunks':
        this.chunks.load(part.slice('chunks '.length), saved.bucket);
    }
  }
}

const keyOf = (ns: string, type: string, id: string): string => `${ns}|${type}/${id}`;

const indexFilesOf = ({ content }: Snapshot): number => (content.kind === 'qemu' ? 1 : 2);

/** The files of a snapshot as its manifest lists them; those of an unfinished one are names only. */
export function filesOf(snapshot: Snapshot): SnapshotFile[] {
  const { content, fingerprint } = snapshot;
  const mode = fingerprint === undefined ? 'none' : 'encrypt';
  const data = DISK_BYTES[content.kind];
  return content.kind === 'qemu'
    ? [
        { filename: 'qemu-server.conf.blob', size: 431, 'crypt-mode': mode },
        { filename: 'drive-scsi0.img.fidx', size: data, 'crypt-mode': mode },
        { filename: 'index.json.blob', size: 512, 'crypt-mode': fingerprint === undefined ? 'none' : 'sign-only' },
        { filename: 'client.log.blob', size: 1_204, 'crypt-mode': mode },
      ]
    : [
        { filename: 'pct.conf.blob', size: 297, 'crypt-mode': mode },
        { filename: 'root.pxar.didx', size: data, 'crypt-mode': mode },
        { filename: 'catalog.pcat1.didx', size: 214_116, 'crypt-mode': mode },
        { filename: 'index.json.blob', size: 466, 'crypt-mode': fingerprint === undefined ? 'none' : 'sign-only' },
        { filename: 'client.log.blob', size: 988, 'crypt-mode': mode },
      ];
}

export const sizeOf = (snapshot: Snapshot): number => filesOf(snapshot).reduce((sum, { size }) => sum + size, 0);
