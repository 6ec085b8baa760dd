import type { GuestBackupRow, RestoreTestRow } from './messages/ledger.js';

/**
 * What the restore tests of one guest have shown. What another guest has shown that had its number before says nothing
 * of it; where that is not certain, a failure counts and a pass does not.
 */

export interface TriedGuest {
  vmid: number;
  /** Absent when nobody says of what it is. */
  class?: string | undefined;
  /** Absent when nobody knows. */
  kind?: RestoreTestRow['kind'];
  /** ISO instant: what was backed up before is another guest's. Absent when there was none. */
  ownSince?: string | undefined;
}

export interface RestorePast {
  /** The newest trial that passed, as a guest of its class. */
  passed?: RestoreTestRow | undefined;
  /** The newest trial that passed, as a guest of whatever class. */
  settled?: RestoreTestRow | undefined;
  /** The newest trial that failed. */
  failed?: RestoreTestRow | undefined;
  /** The newest trial of all. */
  last?: RestoreTestRow | undefined;
}

/** `trials`: of its store, at least the newest of each result. */
export function pastOf(guest: TriedGuest, trials: readonly RestoreTestRow[]): RestorePast {
  const own = trials
    .filter((trial) => trial.vmid === guest.vmid && !isOfAnother(guest, trial))
    .toSorted((a, b) => Date.parse(b.testedAt) - Date.parse(a.testedAt));
  const passes = own.filter(({ result }) => result === 'pass');
  return {
    passed: passes.find((trial) => (guest.class ?? trial.class) === trial.class),
    settled: passes[0],
    failed: own.find(({ result }) => result === 'fail'),
    last: own[0],
  };
}

/** A trial of a backup that was begun before the guest had its number, or of a guest of the other kind. */
const isOfAnother = ({ kind, ownSince }: TriedGuest, trial: RestoreTestRow): boolean =>
  (kind !== undefined && trial.kind !== undefined && trial.kind !== kind) ||
  (ownSince !== undefined && Date.parse(trial.snapshotAt ?? trial.testedAt) < Date.parse(ownSince));

/** What nobody has sent there yet cannot be had back from there: that is no failure of its backups. */
export const isNotThereYet = (row: GuestBackupRow | undefined, { settled, failed }: RestorePast): boolean =>
  row !== undefined && row.offsite?.provenAt === undefined && !settled && !failed;

/** ISO instants of the newest trials of a guest. What was left out, or spoilt by the test site, is none of them. */
export interface Tried {
  passedAt?: string | undefined;
  failedAt?: string | undefined;
  /** As a guest of another class too: that proves nothing of it as it is now, but whatever failed before is had back. */
  settledAt?: string | undefined;
}

export const triedOf = ({ passed, failed, settled }: RestorePast): Tried => ({
  passedAt: passed?.testedAt,
  failedAt: failed?.testedAt,
  settledAt: settled?.testedAt,
});

/** Milliseconds; undefined for a guest that never passed, or is said to pass in the future. */
export const passOf = ({ passedAt }: Tried, now: Date): number | undefined => instantOf(passedAt, now);

/** It failed, and has not passed since, whatever else was tried. */
export function hasFailed(tried: Tried, now: Date): boolean {
  const failedAt = Date.parse(tried.failedAt ?? '');
  const passes = [passOf(tried, now), instantOf(tried.settledAt, now)];
  return tried.failedAt !== undefined && !passes.some((at) => at !== undefined && failedAt < at);
}

function instantOf(instant: string | undefined, now: Date): number | undefined {
  const at = Date.parse(instant ?? '');
  return at <= now.getTime() ? at : undefined;
}
