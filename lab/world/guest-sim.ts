import { createHash } from 'node:crypto';
import { savedDisks } from './disks.js';
import { CANARY_FILE, canaryPlace, canaryText, type DiskContent } from './pbs/content.js';
import type { GuestSpec } from './specs.js';
import type { Timing } from './timing.js';

export type FileEntry = { kind: 'file'; content: string } | { kind: 'link'; target: string };

const FACTORY: Record<string, string> = {
  cache:
    'vcl 4.1;\n\nbackend default {\n  .host = "127.0.0.1";\n  .port = "8080";\n}\n\nsub vcl_recv {\n  return (hash);\n}\n',
  inventory: 'listen: 0.0.0.0:8080\ndatabase: local\n',
};
/** Milliseconds, by role: what a practice guest answers in when nothing is wrong. */
const BASE_LATENCY: Record<string, number> = { pos: 35, inventory: 55, cache: 6, other: 20 };
const USUAL_HIT_PERCENT = 96.5;
const BAD_HIT_PERCENT = 41;
/** What makes a cache useless: entries that never live, or every request passed on. */
const CACHE_KILLERS = [/\bttl\s*[:=]\s*0+s?\b/i, /^\s*return\s*\(pass\)/im, /\bset\s+beresp\.ttl\s*=\s*0/i];
/** What makes a service fail its health check although its config passed the check: for releases that are bad on purpose. */
const HEALTH_KILLERS = [/^\s*#?\s*(?:chaos|practice)\s*:\s*unhealthy\b/im];
const LATENCY_KILLERS = [/^\s*#?\s*(?:chaos|practice)\s*:\s*slow\b/im, /\bdebug_delay_ms\s*:\s*[1-9]/i];

export const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

/** What a restore made: where from, and what came of it. Plain data, for a restart of the lab. */
export interface Restored {
  /** Volume id of the backup. */
  archive: string;
  /** That its disk lies on. */
  storage: string;
  /** Undefined when the restore failed half-way: then there is a guest with settings and no disk. */
  content: DiskContent | undefined;
  /** Parts of the disk that came back rotten: places of data chunks, or `files`. */
  damaged: string[];
}

const GARBAGE = '\u0000\ufffd\u0013\ufffd'.repeat(16);

export interface GuestMeasure {
  healthy: boolean;
  latencyMs: number;
  /** Caches only, 0..100. */
  cacheHitPercent?: number;
}

const rotten: FileEntry = { kind: 'file', content: GARBAGE };

/**
 * One VM or container. What it answers follows from where it runs, whether it is warm and what config it loaded:
 * a loaded file with `ttl: 0`, `beresp.ttl = 0` or a line `return (pass)` ruins a cache's hit rate; a line
 * `practice: unhealthy` fails its health check, `practice: slow` (or `debug_delay_ms: n`) triples its latency.
 */
export class GuestSim {
  readonly vmid: number;
  readonly kind: 'qemu' | 'lxc';
  readonly name: string;
  readonly spec: GuestSpec;
  /** HA manages it: starts, stops and moves go through the HA manager. */
  readonly ha: boolean;
  readonly maxMemory: number;
  /** Whose data its disk holds: `store/vmid`. */
  readonly origin: string;
  /** Only of a guest that a restore made. */
  readonly restored: Restored | undefined;
  /** The node it runs on, or its config lies on. */
  node: string;
  /** Where HA puts it back after a maintenance. */
  homeNode: string;
  status: 'running' | 'stopped';
  /** `migrate`, `backup`, …: Proxmox refuses other work on the guest meanwhile. */
  lock: string | undefined;
  /** HA restarts it after a node is back. */
  wanted: 'started' | 'stopped';
  startedAt: number;
  /** Its state before the last change, and until when the list of the whole cluster still says that. */
  reported: { status: 'running' | 'stopped'; until: number } | undefined;
  /** What somebody changed of its settings, by their names in its configuration; null for what was taken away. */
  options: Record<string, string | null> | undefined;
  pool: string | undefined;
  /** How its last start went wrong. */
  bootTrouble: 'agent-silent' | 'boot-fails' | undefined;
  unhealthyByFault = false;
  badCacheByFault = false;
  /**
   * How often another part of its disk was written, until it was last counted, and when that was. `stopped`: nothing in
   * it writes any more, though it runs.
   */
  writes: { count: number; at: number; last?: number; stopped?: boolean } = { count: 1, at: Date.now() };
  #files: Map<string, FileEntry> | undefined;
  /** target path → content that the running service has loaded. */
  readonly #loaded = new Map<string, string>();

  constructor(spec: GuestSpec, node: string, origin = `guest/${spec.vmid}`, restored?: Restored) {
    this.spec = spec;
    this.origin = origin;
    this.restored = restored;
    this.vmid = spec.vmid;
    this.kind = spec.kind;
    this.name = spec.name;
    this.node = node;
    this.homeNode = node;
    // A cache can be lost without loss; stores leave it out of HA, so both ways of moving guests are practised.
    this.ha = spec.ha ?? spec.role !== 'cache';
    this.maxMemory = spec.maxMemory ?? (spec.kind === 'qemu' ? 4 : 1) * 1024 ** 3;
    this.status = spec.running === false ? 'stopped' : 'running';
    this.wanted = this.status === 'running' ? 'started' : 'stopped';
    this.startedAt = 0;
  }

  /** The guest's files that matter here, made at first use: each config target is a link to the file that the image brought. */
  get files(): Map<string, FileEntry> {
    if (this.#files) return this.#files;
    const files = new Map<string, FileEntry>();
    for (const config of this.spec.config) {
      const file = `/etc/edge-governor/releases/factory/${config.file}`;
      files.set(file, { kind: 'file', content: FACTORY[this.spec.role] ?? '# as installed\n' });
      files.set(config.target, { kind: 'link', target: file });
    }
    this.#files = files;
    for (const config of this.spec.config) this.#load(config.target);
    return files;
  }

  /** The path a chain of links ends at. Throws `ELOOP` texts never: a chain longer than ten is treated as missing. */
  resolve(path: string): string | undefined {
    let at = path;
    for (let hops = 0; hops < 10; hops += 1) {
      const entry = this.files.get(at);
      if (!entry) return undefined;
      if (entry.kind === 'file') return at;
      at = entry.target.startsWith('/') ? entry.target : `${at.slice(0, at.lastIndexOf('/'))}/${entry.target}`;
    }
    return undefined;
  }

  read(path: string): string | undefined {
    const at = this.resolve(path);
    const entry = at === undefined ? undefined : this.files.get(at);
    return entry?.kind === 'file' ? entry.content : undefined;
  }

  /** Digest of the content that the target leads to, whether loaded or not. */
  activeDigest(target: string): string | undefined {
    const content = this.read(target);
    return content === undefined ? undefined : sha256(content);
  }

  loadedDigest(target: string): string | undefined {
    if (!this.#files) return this.activeDigest(target);
    const content = this.#loaded.get(target);
    return content === undefined ? undefined : sha256(content);
  }

  /** The service reads its config again. False when a target leads nowhere: the old config stays loaded. */
  reload(targets: string[]): boolean {
    return targets.map((target) => this.#load(target)).every(Boolean);
  }

  #load(target: string): boolean {
    const content = this.read(target);
    if (content === undefined) return false;
    this.#loaded.set(target, content);
    return true;
  }

  /** Its files and what is loaded, for a restart of the lab. */
  dump(): { files: [string, FileEntry][] | undefined; loaded: [string, string][] } {
    return { files: this.#files && [...this.#files], loaded: [...this.#loaded] };
  }

  load(saved: { files?: [string, FileEntry][] | undefined; loaded: [string, string][] }): void {
    this.#files = saved.files && new Map(saved.files);
    this.#loaded.clear();
    for (const [target, content] of saved.loaded) this.#loaded.set(target, content);
  }

  /** What its disk holds now. Written all the time while it runs, so that each backup of it is another. */
  content(writesEveryMs: number, now: number = Date.now()): DiskContent {
    this.#countWrites(writesEveryMs, now);
    const { count, last, at } = this.writes;
    const disks = savedDisks(this);
    return {
      origin: this.origin,
      kind: this.kind,
      revision: count,
      files: JSON.stringify([...this.files]),
      writtenAt: last ?? at,
      ...(disks.length > 0 ? { disks } : {}),
    };
  }

  /** A guest that was restored writes no more: it has no link to tell it the time, and nobody sells or counts with it. */
  #countWrites(writesEveryMs: number, now: number): void {
    const { count, last, at, stopped } = this.writes;
    if (this.restored) return;
    if (this.status !== 'running' || stopped) {
      this.writes = { count, at: now, last: last ?? at, ...(stopped ? { stopped } : {}) };
      return;
    }
    const since = Math.floor((now - at) / writesEveryMs);
    if (since > 0) this.writes = { count: count + since, at: at + since * writesEveryMs };
  }

  /** A file's content as a program in the guest reads it, the canary record among them. */
  show(path: string, writesEveryMs: number, now: number = Date.now()): string | undefined {
    if (path !== CANARY_FILE) return this.read(path);
    if (this.restored) {
      const { content, damaged } = this.restored;
      if (!content) return undefined;
      return damaged.includes(canaryPlace(content.revision))
        ? GARBAGE
        : canaryText(content.revision, content.writtenAt ?? 0);
    }
    const { revision, writtenAt } = this.content(writesEveryMs, now);
    return canaryText(revision, writtenAt ?? now);
  }

  /** Fills the files of a guest from what was restored, and loads its config as its services do when they start. */
  fill(): void {
    const { content, damaged = [] } = this.restored ?? {};
    if (!content) return;
    const files = JSON.parse(content.files) as [string, FileEntry][];
    const read = damaged.includes('files') ? files.map(([path]) => [path, rotten] as [string, FileEntry]) : files;
    this.load({ files: read, loaded: [] });
    this.reload(this.spec.config.map(({ target }) => target));
  }

  /** Whether its services run: some time after its start, if it gets so far. */
  isBooted(timing: Timing, now: number = Date.now()): boolean {
    if (this.status !== 'running' || this.bootTrouble === 'boot-fails') return false;
    return now >= this.startedAt + timing.of('bootGuest') && (this.restored === undefined || this.hasDisk);
  }

  agentAnswers(timing: Timing, now: number = Date.now()): boolean {
    return this.bootTrouble === undefined && this.isBooted(timing, now - timing.of('agentUp'));
  }

  get hasDisk(): boolean {
    return this.restored === undefined || this.restored.content !== undefined;
  }

  /** Whether it starts with its node: as it was before, one that was restored as its settings say. */
  get startsWithNode(): boolean {
    return this.restored ? (this.options?.['onboot'] ?? '0') === '1' : this.wanted === 'started';
  }

  measure(now: number, cacheWarmUpMs: number, crowding: number): GuestMeasure {
    const loaded = [...this.#loaded.values()];
    const any = (patterns: RegExp[]): boolean => loaded.some((text) => patterns.some((pattern) => pattern.test(text)));
    const hangs = this.unhealthyByFault || this.bootTrouble === 'boot-fails';
    const healthy = this.status === 'running' && !hangs && !any(HEALTH_KILLERS);
    const isCache = this.spec.role === 'cache';
    const badCache = isCache && (this.badCacheByFault || any(CACHE_KILLERS));
    const base = BASE_LATENCY[this.spec.role] ?? 20;
    const slow = (any(LATENCY_KILLERS) ? 3 : 1) * (badCache ? 8 : 1);
    const measure: GuestMeasure = { healthy, latencyMs: Math.round(base * slow * (1 + 0.01 * crowding) * 10) / 10 };
    if (!isCache) return measure;
    const warm = cacheWarmUpMs <= 0 ? 1 : Math.min(1, (now - this.startedAt) / cacheWarmUpMs);
    measure.cacheHitPercent =
      Math.round((badCache ? BAD_HIT_PERCENT : USUAL_HIT_PERCENT * (0.6 + 0.4 * warm)) * 10) / 10;
    return measure;
  }
}
