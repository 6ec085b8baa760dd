import type { BackupKind, SnapshotFacts } from '#domain/backup.js';

/**
 * What the service needs of one Proxmox Backup Server. It is self-signed, so the fingerprint of its certificate is what
 * is trusted.
 *
 * Obligations of every implementation:
 * - Reads may be repeated. A write is sent once; when its answer is lost the client throws `OutcomeUnknown`, and the
 *   caller looks with `find` before it starts the same work again.
 * - Lists are filtered by what the token may see, with no word about the rest: an empty list of a token that lacks
 *   privileges looks like an empty datastore. `permissions` tells the two apart.
 * - Groups and snapshots are those of one namespace, without the ones below it. The root is the empty text.
 * - A task that ended well says nothing of the snapshots it was about: read those.
 * - Every error is a `PbsError` whose `kind` says what it is; no error text holds a token.
 */
export interface PbsClient {
  version(): Promise<{ version: string; release: string }>;
  /**
   * Path → privileges of the token in use. Where not all of them hold below it, `<path>/*` has those that do. Empty for
   * a token without rights.
   */
  permissions(): Promise<Record<string, string[]>>;
  datastores(): Promise<DatastoreEntry[]>;
  /** Bytes. */
  space(datastore: string): Promise<{ total: number; used: number; available: number }>;
  /** All datastores that the token sees, each with its space or with what keeps it from being read. */
  usage(): Promise<DatastoreUsage[]>;
  namespaces(datastore: string): Promise<string[]>;
  groups(datastore: string, namespace: string): Promise<GroupSummary[]>;
  /** Of one group, or of the whole namespace. */
  snapshots(datastore: string, namespace: string, group?: BackupGroup): Promise<SnapshotFacts[]>;
  /**
   * Prunes one group, or with `dryRun` says only what it would do; answers when it is done. Repeating it with the same
   * policy removes nothing more. Without any `keep` everything is kept.
   */
  prune(group: BackupGroup & Place, keep: Keep, dryRun: boolean): Promise<PruneMark[]>;
  collection(datastore: string): Promise<CollectionStatus>;
  /** Of both directions; the server lists those that pull only, unless asked. */
  syncJobs(): Promise<SyncJob[]>;
  /** Returns the task's id. `Locked` when the same work runs already. */
  start(work: PbsWork): Promise<string>;
  /** Tasks of this work that this token started since then (epoch seconds, the server's clock), newest first. */
  find(work: PbsWork, since: number): Promise<PbsTask[]>;
  /** The same of those that run, however long ago they began. */
  running(work: PbsWork): Promise<PbsTask[]>;
  /** Verifications of this namespace that this token started and that run, whichever snapshots they are about. */
  verifying(place: Place): Promise<PbsTask[]>;
  taskStatus(upid: string): Promise<PbsTaskStatus>;
  /** The last lines. */
  taskLog(upid: string, lines: number): Promise<string[]>;
  close(): Promise<void>;
}

export interface BackupGroup {
  type: BackupKind;
  id: string;
}

export interface GroupSummary extends BackupGroup {
  /** Epoch seconds of the newest snapshot, finished or not. */
  lastBackup: number;
  count: number;
  owner?: string;
}

export interface Place {
  datastore: string;
  namespace: string;
}

/** How many of each are kept, at least 1 each. */
export interface Keep {
  last?: number | undefined;
  hourly?: number | undefined;
  daily?: number | undefined;
  weekly?: number | undefined;
  monthly?: number | undefined;
  yearly?: number | undefined;
}

/** Work that runs as a task of the server. */
export type PbsWork =
  | ({
      kind: 'verify';
      /** Absent: the whole namespace, without those below it. */
      group?: BackupGroup | undefined;
      /** Epoch seconds of one snapshot of the group. */
      time?: number | undefined;
      /** Passes over what was ever verified, or verified in the last `outdatedAfterDays`. */
      ignoreVerified: boolean;
      outdatedAfterDays?: number | undefined;
    } & Place)
  | ({ kind: 'prune'; keep: Keep; dryRun: boolean } & Place)
  /** Garbage collection: space that pruning freed comes back a day after it, at the earliest. */
  | { kind: 'collect'; datastore: string }
  /** A configured sync job. */
  | { kind: 'sync'; job: string };

export interface PbsTask {
  upid: string;
  type: string;
  startTime: number;
  /** Absent while it runs. */
  status?: string;
}

/** `ok` with warnings, except for a sync: there a warning is a group that was not copied. */
export type PbsTaskStatus = { state: 'running' } | { state: 'stopped'; exit: string; ok: boolean; warnings: boolean };

export interface DatastoreEntry {
  name: string;
  backend: string;
  /** `read-only`, `offline`, …; absent when it is in use. */
  maintenance?: string;
  /** `mounted`, `notmounted`, `nonremovable`. */
  mount?: string;
}

export type DatastoreUsage =
  | { datastore: string; total: number; used: number; available: number; fullAt?: number }
  | { datastore: string; error: string };

export interface PruneMark {
  time: number;
  keep: boolean;
  protected: boolean;
}

/** Bytes and counts are those of the last run; times are epoch seconds. */
export interface CollectionStatus {
  lastRun?: { upid: string; state?: string; endTime?: number };
  /** What the chunks on disk take, and what they stand for. Their ratio is the deduplication. */
  diskBytes: number;
  indexBytes: number;
  /** Freed, but kept for a day yet. */
  pendingBytes: number;
  removedBytes: number;
  /** Chunks that a verification found broken, and that no backup has written anew. */
  stillBad: number;
}

export interface SyncJob {
  id: string;
  datastore: string;
  namespace: string;
  remote?: string;
  remoteDatastore?: string;
  direction: string;
  lastRun?: { upid: string; state?: string; endTime?: number };
}

export interface PbsOptions {
  /** As messages name it. */
  name: string;
  address: string;
  port: number;
  /** `user@realm!tokenid:secret`. */
  token: string;
  /** SHA-256 of the certificate, in hex, colons allowed. */
  fingerprint: string;
  /** Milliseconds for one request. */
  timeoutMs?: number;
}
