import type { Task } from '../tasks.js';
import { chunkBytes, type DiskContent } from './content.js';
import {
  chunksOfSnapshot,
  groupName,
  PbsError,
  timeText,
  type BackupType,
  type Datastore,
  type Group,
  type Snapshot,
} from './datastore.js';
import type { PbsSim } from './pbs-sim.js';

export interface BackupOffer {
  store: string;
  ns: string;
  type: BackupType;
  id: string;
  /** Token of whoever sends it; owner of the group. */
  owner: string;
  content: DiskContent;
  /** Of the key that the client encrypts with. */
  fingerprint?: string | undefined;
}

/** A client that sends a backup. What it sent stays as chunks when it goes away; the snapshot does not. */
export class BackupSession {
  readonly datastore: Datastore;
  readonly group: Group;
  readonly snapshot: Snapshot;
  /** Ids of the chunks that have to be sent. */
  readonly missing: string[];
  readonly #pbs: PbsSim;
  readonly #task: { task: Task; log: (line: string) => void; end: (exit: string) => void };

  constructor(pbs: PbsSim, offer: BackupOffer) {
    const { store, ns, type, id, owner, content, fingerprint } = offer;
    this.#pbs = pbs;
    this.datastore = pbs.datastore(store);
    const { group, snapshot } = this.datastore.begin({ ns, type, id, owner }, content, {
      now: Date.now(),
      fingerprint,
    });
    this.group = group;
    this.snapshot = snapshot;
    this.missing = this.datastore.missing(group, snapshot);
    const where = ns === '' ? groupName(group) : `${ns}/${groupName(group)}`;
    this.#task = pbs.tasks.open({
      type: 'backup',
      id: `${store}:${where}`,
      user: owner,
      log: [`starting new backup on datastore '${store}' from ::ffff:127.0.0.1: "${this.name}"`],
      ended: () => pbs.touchTask(this.#task.task),
    });
    pbs.touchTask(this.#task.task);
  }

  get name(): string {
    return `${groupName(this.group)}/${timeText(this.snapshot.time)}`;
  }

  get bytes(): number {
    return bytesOf(this.missing);
  }

  /** How much of the data has to be sent, 0..1. */
  get share(): number {
    return this.bytes / bytesOf(chunksOfSnapshot(this.snapshot));
  }

  /** Whether the server is still there, and has not forgotten the session. */
  get alive(): boolean {
    return this.#pbs.up && this.#task.task.exitstatus === undefined;
  }

  /** Writes the first half of what is missing, or the second. */
  write(half: 'first' | 'second'): void {
    const middle = Math.ceil(this.missing.length / 2);
    const part = half === 'first' ? this.missing.slice(0, middle) : this.missing.slice(middle);
    if (!this.alive) throw new PbsError('connection error: connection reset');
    try {
      this.datastore.require('write');
      this.datastore.write(part, this.snapshot, Date.now());
    } catch (error) {
      this.abandon((error as Error).message);
      throw error;
    }
  }

  finish(notes: string | undefined, isProtected: boolean): void {
    const { datastore, group, snapshot } = this;
    if (!this.alive) throw new PbsError('connection error: not connected');
    if (notes !== undefined) snapshot.notes = notes;
    snapshot.protected = isProtected;
    datastore.finish(group, snapshot, Date.now());
    this.#task.log('backup finished successfully');
    this.#task.end('OK');
  }

  /** The client is gone: the server takes the unfinished snapshot away, if it is there to do so. */
  abandon(why = 'backup ended but finished flag is not set.'): void {
    this.datastore.release(this.group);
    if (!this.alive) return;
    this.#task.log(`backup failed: ${why}`);
    this.#task.log('removing failed backup');
    this.datastore.removeSnapshot(this.group, this.snapshot);
    this.#task.end(`backup failed: ${why}`);
  }
}

const bytesOf = (ids: readonly string[]): number => ids.reduce((sum, id) => sum + chunkBytes(id), 0);
