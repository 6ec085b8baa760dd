import { UNPROVEN, type Unproven } from '../backup.js';
import type { MissingGuest } from '../backup-result.js';
import type { Outcome, Tally } from '../outcomes.js';
import type { TrialVerdict } from '../restore-trial.js';

/** Rows of the ledger. Instants are ISO strings in UTC. */

export interface TrainRow {
  id: string;
  fleet: string;
  release?: string | undefined;
  sequence?: number | undefined;
  manifest?: string | undefined;
  /** Digest of the signature bundle over the manifest: with it the release can be named in full again. */
  bundle?: string | undefined;
  commit?: string | undefined;
  planHash?: string | undefined;
  state: string;
  reason?: string | undefined;
  summary?: string | undefined;
  startedAt: string;
  endedAt?: string | undefined;
}

export interface StageRow {
  train: string;
  stage: string;
  position: number;
  stores: number;
  state: string;
  reason?: string | undefined;
  commit?: string | undefined;
  tally: Tally;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
}

export interface ResultRow {
  train: string;
  stage: string;
  store: string;
  round: number;
  outcome: Outcome;
  reason?: string | undefined;
  summary?: string | undefined;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
}

export interface ApprovalRow {
  train: string;
  stage: string;
  /** Stable id of the attempt, so that a repeated message is one row. */
  id: string;
  planHash: string;
  /** `unknown` of a refused message that named none. */
  decision: 'approve' | 'reject' | 'unknown';
  by: string;
  via: string;
  comment?: string | undefined;
  accepted: boolean;
  /** Why it was refused. */
  refusal?: string | undefined;
  at: string;
}

/** A night of backups. What became of its stores are results, with the night's id as train. */
export interface NightRow {
  /** e.g. `night-2026-11-26` */
  id: string;
  fleet: string;
  state: string;
  reason?: string | undefined;
  summary?: string | undefined;
  commit?: string | undefined;
  stores: number;
  tally: Tally;
  /** The window; absent for a night that was begun by hand. */
  opens?: string | undefined;
  closes?: string | undefined;
  startedAt: string;
  endedAt?: string | undefined;
}

/** How a guest fared in a night: proven at the store, or why not. */
export const NIGHT_GUEST_RESULTS = ['proven', 'nothing new', ...UNPROVEN] as const satisfies readonly (
  'proven' | MissingGuest['why']
)[];
export type NightGuestResult = (typeof NIGHT_GUEST_RESULTS)[number];

export interface NightGuestRow {
  night: string;
  store: string;
  vmid: number;
  name: string;
  result: NightGuestResult;
  /** What the backup said, if it said anything. */
  text?: string | undefined;
  /** When the night's snapshot was begun. */
  snapshotAt?: string | undefined;
  /** Whether that snapshot is proven in the second place; absent when nobody knows. */
  offsite?: boolean | undefined;
}

/** What is known of a guest's backups on one server, as of when that was last read. */
export interface KnownCopy {
  readAt: string;
  /** When the newest proven snapshot was begun; absent = there is none. */
  provenAt?: string | undefined;
  verifiedAt?: string | undefined;
  /** A newer snapshot that is not proven, and why. */
  unprovenAt?: string | undefined;
  unprovenWhy?: Unproven | undefined;
}

/** The newest that is known of one guest's backups. Templates have none. */
export interface GuestBackupRow {
  fleet: string;
  store: string;
  vmid: number;
  name: string;
  kind: 'qemu' | 'lxc';
  tier: string;
  /** Milliseconds that the newest proven backup may be old. */
  rpoLocalMs: number;
  /** Absent when the fleet has no second place. */
  rpoOffsiteMs?: number | undefined;
  /** The store's own server; absent when it could not be asked, or never was. Size in bytes, of the whole guest. */
  local?:
    | (KnownCopy & {
        size?: number | undefined;
        encrypted?: boolean | undefined;
        keyFingerprint?: string | undefined;
      })
    | undefined;
  /** The second place; absent as `local` is. */
  offsite?: KnownCopy | undefined;
  /**
   * Disks that its backups up to then leave out although nobody meant them to; none named when nobody could read which.
   * Such a backup is not proven, whatever its server says. Those up to `since` are not meant; without it all are. Absent
   * when that was never so.
   */
  leftOut?: { disks: readonly string[]; since?: string | undefined; at: string } | undefined;
  firstSeen: string;
  /** When the cluster last had it. */
  seenAt: string;
  /** Since when the cluster no longer has it. */
  goneAt?: string | undefined;
  /** Another guest had its number before, at the latest until then; absent when none was seen. Never told, only read. */
  ownSince?: string | undefined;
}

/** What a backup server last said of the datastore that holds a store's copy. */
export interface DatastoreRow {
  fleet: string;
  store: string;
  /** The store's own server, or the second place, which has one datastore for all stores. */
  place: 'local' | 'offsite';
  /** Bytes; absent when the server did not say. */
  total?: number | undefined;
  used?: number | undefined;
  /** Parts of backups that a verification found broken and no backup has written anew. */
  stillBad?: number | undefined;
  readAt: string;
}

/** A run of restore tests. What became of its stores are results, with the run's id as train. */
export interface RestoreRunRow {
  /** e.g. `restores-2026-w48` */
  id: string;
  fleet: string;
  state: string;
  summary?: string | undefined;
  commit?: string | undefined;
  stores: number;
  guests: number;
  /** Of stores. */
  tally: Tally;
  startedAt: string;
  endedAt?: string | undefined;
}

/** How a guest fared in a run. Only `pass` counts as tested. */
export interface RestoreTestRow extends Omit<TrialVerdict, 'why'> {
  run: string;
  store: string;
  vmid: number;
  fleet: string;
  name: string;
  /** Absent in earlier rows. */
  kind?: GuestBackupRow['kind'] | undefined;
  class: string;
  tier: string;
  /** Why it was tried, e.g. `never tested`. */
  why: string;
  /** Why it did not pass. */
  text?: string | undefined;
  /** When the snapshot was begun. */
  snapshotAt?: string | undefined;
  testedAt: string;
}
