import { chunkBytes } from './content.js';

/** What garbage collection found and took away when it last ran. */
export interface GcStatus {
  upid?: string;
  'index-file-count': number;
  'index-data-bytes': number;
  'disk-bytes': number;
  'disk-chunks': number;
  'removed-bytes': number;
  'removed-chunks': number;
  'pending-bytes': number;
  'pending-chunks': number;
  'removed-bad': number;
  'still-bad': number;
}

export const NO_GC: Readonly<GcStatus> = {
  'index-file-count': 0,
  'index-data-bytes': 0,
  'disk-bytes': 0,
  'disk-chunks': 0,
  'removed-bytes': 0,
  'removed-chunks': 0,
  'pending-bytes': 0,
  'pending-chunks': 0,
  'removed-bad': 0,
  'still-bad': 0,
};

/** Chunks of one origin. Times are milliseconds since the epoch; names lack what all of them begin with. */
export interface SavedBucket {
  /** By the moment they were last touched. */
  touched: [number, string[]][];
  damaged: string[];
  bad: [string, number][];
  payloads: [string, string][];
}

interface Bucket {
  touched: Map<string, number>;
  /** Rotten on the disk, and nobody knows yet. */
  damaged: Set<string>;
  /** Renamed by a verification, `<name>.<n>.bad`. */
  bad: Map<string, number>;
  /** What stands in the chunks that hold text worth restoring. */
  payloads: Map<string, string>;
}

/** The chunks of one datastore: each is there once, whoever refers to it. Kept by origin, so that a change is small. */
export class ChunkStore {
  readonly #buckets = new Map<string, Bucket>();
  readonly #changed: (bucket: string) => void;
  #bytes = 0;

  constructor(changed: (bucket: string) => void = () => undefined) {
    this.#changed = changed;
  }

  /** Of all files, bad ones too. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    let count = 0;
    for (const { touched } of this.#buckets.values()) count += touched.size;
    return count;
  }

  /** Names of those that a verification set aside. */
  get bad(): string[] {
    return [...this.#buckets].flatMap(([prefix, { bad }]) => [...bad.keys()].map((name) => `${prefix}:${name}`));
  }

  has(id: string): boolean {
    const { prefix, name } = split(id);
    return this.#buckets.get(prefix)?.touched.has(name) ?? false;
  }

  isDamaged(id: string): boolean {
    const { prefix, name } = split(id);
    return this.#buckets.get(prefix)?.damaged.has(name) ?? false;
  }

  /** Undefined when the chunk is gone or rotten: whoever restores from it gets nothing that makes sense. */
  payload(id: string): string | undefined {
    const { prefix, name } = split(id);
    return this.isDamaged(id) ? undefined : this.#buckets.get(prefix)?.payloads.get(name);
  }

  /** False when it is not there: then its renamed forms are touched, so that they stay for whoever repairs it. */
  touch(id: string, now: number): boolean {
    const { prefix, name } = split(id);
    const bucket = this.#buckets.get(prefix);
    if (!bucket) return false;
    this.#changed(prefix);
    if (bucket.touched.has(name)) {
      bucket.touched.set(name, now);
      return true;
    }
    for (const bad of bucket.bad.keys()) if (bad.startsWith(`${name}.`)) bucket.bad.set(bad, now);
    return false;
  }

  /** Returns whether it was new. What is there already is only touched, even when it is rotten. */
  insert(id: string, now: number, payload?: string): boolean {
    if (this.touch(id, now)) return false;
    const { prefix, name } = split(id);
    const bucket = this.#bucket(prefix);
    bucket.touched.set(name, now);
    if (payload !== undefined) bucket.payloads.set(name, payload);
    this.#bytes += chunkBytes(id);
    this.#changed(prefix);
    return true;
  }

  damage(id: string): void {
    const { prefix, name } = split(id);
    if (!this.has(id)) return;
    this.#bucket(prefix).damaged.add(name);
    this.#changed(prefix);
  }

  /** What a verification does with a chunk that it finds rotten. Returns the ending of its new name. */
  setAside(id: string): string {
    const { prefix, name } = split(id);
    const bucket = this.#bucket(prefix);
    let n = 0;
    while (bucket.bad.has(`${name}.${n}.bad`) && n < 9) n += 1;
    const ending = `${n}.bad`;
    // The eleventh takes the place of the tenth.
    if (bucket.bad.has(`${name}.${ending}`)) this.#bytes -= chunkBytes(id);
    bucket.bad.set(`${name}.${ending}`, bucket.touched.get(name) ?? 0);
    forget(bucket, name);
    this.#changed(prefix);
    return ending;
  }

  /**
   * The second phase of garbage collection: what was not touched since `cutoff` goes, what was not touched since
   * `started` waits for the next one.
   */
  sweep(started: number, cutoff: number, status: GcStatus): void {
    for (const [prefix, bucket] of this.#buckets) {
      for (const [name, at] of bucket.touched) {
        const bytes = chunkBytes(`${prefix}:${name}`);
        const fate = at < cutoff ? 'removed' : at < started ? 'pending' : 'disk';
        status[`${fate}-chunks`] += 1;
        status[`${fate}-bytes`] += bytes;
        if (fate === 'removed') this.#drop(bytes, () => forget(bucket, name));
      }
      for (const [name, at] of bucket.bad) {
        const bytes = chunkBytes(`${prefix}:${name.replace(/\.\d\.bad$/, '')}`);
        const fate = at < cutoff ? 'removed' : at < started ? 'pending' : 'disk';
        status[fate === 'removed' ? 'removed-bad' : 'still-bad'] += 1;
        status[`${fate}-bytes`] += bytes;
        if (fate === 'removed') this.#drop(bytes, () => bucket.bad.delete(name));
      }
      this.#changed(prefix);
      if (bucket.touched.size + bucket.bad.size === 0) this.#buckets.delete(prefix);
    }
  }

  get buckets(): string[] {
    return [...this.#buckets.keys()];
  }

  /** Undefined for one that is empty. */
  dump(prefix: string): SavedBucket | undefined {
    const bucket = this.#buckets.get(prefix);
    if (!bucket) return undefined;
    const touched = new Map<number, string[]>();
    for (const [name, at] of bucket.touched) {
      const together = touched.get(at);
      if (together) together.push(name);
      else touched.set(at, [name]);
    }
    const { damaged, bad, payloads } = bucket;
    return { touched: [...touched], damaged: [...damaged], bad: [...bad], payloads: [...payloads] };
  }

  load(prefix: string, saved: SavedBucket): void {
    const bucket = this.#bucket(prefix);
    for (const [at, names] of saved.touched) {
      for (const name of names) {
        bucket.touched.set(name, at);
        this.#bytes += chunkBytes(`${prefix}:${name}`);
      }
    }
    for (const name of saved.damaged) bucket.damaged.add(name);
    for (const [name, at] of saved.bad) {
      bucket.bad.set(name, at);
      this.#bytes += chunkBytes(`${prefix}:${name.replace(/\.\d\.bad$/, '')}`);
    }
    for (const [name, text] of saved.payloads) bucket.payloads.set(name, text);
  }

  #drop(bytes: number, remove: () => void): void {
    this.#bytes -= bytes;
    remove();
  }

  #bucket(prefix: string): Bucket {
    const known = this.#buckets.get(prefix);
    if (known) return known;
    const bucket: Bucket = { touched: new Map(), damaged: new Set(), bad: new Map(), payloads: new Map() };
    this.#buckets.set(prefix, bucket);
    return bucket;
  }
}

function forget(bucket: Bucket, name: string): void {
  bucket.touched.delete(name);
  bucket.damaged.delete(name);
  bucket.payloads.delete(name);
}

/** `<prefix>:<place>:<version>`; the prefix may have colons of its own. */
function split(id: string): { prefix: string; name: string } {
  const at = id.lastIndexOf(':', id.lastIndexOf(':') - 1);
  return { prefix: id.slice(0, at), name: id.slice(at + 1) };
}
