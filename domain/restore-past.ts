import type { RestoreTestRow } from './messages/ledger.js';

/** What the restore tests of one guest have shown. */

export interface RestorePast {
  /** The newest trial that passed. */
  passed?: RestoreTestRow | undefined;
  /** The newest trial that failed. */
  failed?: RestoreTestRow | undefined;
  /** The newest trial of all. */
  last?: RestoreTestRow | undefined;
}

/** `trials`: of its store, at least the newest of each result. */
export function pastOf({ vmid }: Pick<RestoreTestRow, 'vmid'>, trials: readonly RestoreTestRow[]): RestorePast {
  const own = trials
    .filter((trial) => trial.vmid === vmid)
    .toSorted((a, b) => Date.parse(b.testedAt) - Date.parse(a.testedAt));
  const newest = (result: RestoreTestRow['result']) => own.find((trial) => trial.result === result);
  return { passed: newest('pass'), failed: newest('fail'), last: own[0] };
}

/** ISO instants of the newest trials of a guest. What was left out, or spoilt by the test site, is neither. */
export interface Tried {
  passedAt?: string | undefined;
  failedAt?: string | undefined;
}

/** Milliseconds; undefined for a guest that never passed, or is said to pass in the future. */
export function passOf({ passedAt }: Tried, now: Date): number | undefined {
  const at = passedAt === undefined ? Number.NaN : Date.parse(passedAt);
  return at <= now.getTime() ? at : undefined;
}

/** It failed, and has not passed since, whatever else was tried. */
export function hasFailed(tried: Tried, now: Date): boolean {
  const { failedAt } = tried;
  return failedAt !== undefined && !(Date.parse(failedAt) < (passOf(tried, now) ?? Number.NaN));
}
