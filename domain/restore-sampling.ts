import { isOf, unprovenBecause, type BackedUpGuest, type CopyFacts, type SnapshotName } from './backup.js';
import { hashOf } from './hash.js';
import { hasFailed, passOf, type Tried } from './restore-past.js';

/**
 * Which guests are restored this week to see whether they can be. Each is tested at least once in the weeks of its
 * tier; those never tested come first, then those that failed, every week until they pass; and now and then an older
 * snapshot is taken, because the newest is not the one that is needed when the harm is found late.
 */

export interface TestableGuest extends Tried {
  store: string;
  vmid: number;
  /** Weeks within which it is to be tested again. */
  weeks: number;
  /** ISO instant at which it was first seen: a guest that was never tested is due so many weeks after it. */
  knownSince: string;
}

export interface RestorePick {
  store: string;
  vmid: number;
  snapshot: 'newest' | 'older';
  why: 'never tested' | 'due' | 'early';
}

export interface RestorePlan {
  picks: RestorePick[];
  /** Restores a week that keep everybody within the weeks; picks beyond it are due all the same. */
  capacity: number;
  coverage: Coverage;
}

export interface Coverage {
  guests: number;
  /** Passed within the weeks of their tier. */
  covered: number;
  /** Failed, and have not passed since; these and the others sorted by store and number. */
  failed: { store: string; vmid: number }[];
  /** Never passed, and did not fail. */
  neverTested: { store: string; vmid: number }[];
  /** Passed once, but too long ago. */
  overdue: { store: string; vmid: number }[];
}

const WEEK = 7 * 86_400_000;
/** Tests end hours after their week began, one week sooner than the other: that much beyond its weeks is no delay. */
const TOLERANCE = 86_400_000;
/** Room for restores that fail and stay due. */
const RESERVE = 1.3;
/** One in so many takes an older snapshot. */
const OLDER_ONE_IN = 5;

/**
 * The week's picks. Whoever failed, or would be overdue before the next run, is taken, however many they are; then the
 * week is filled up to its capacity with those never tested, and those whose time is nearest. The same input gives the same picks;
 * `seed` names the week, e.g. `2026-w48`.
 */
export function planRestoreTests({
  guests,
  seed,
  now,
}: {
  guests: readonly TestableGuest[];
  seed: string;
  now: Date;
}): RestorePlan {
  const capacity = Math.ceil(guests.reduce((sum, { weeks }) => sum + 1 / weeks, 0) * RESERVE);
  const next = now.getTime() + WEEK + TOLERANCE / 2;
  const ranked = guests
    .map((guest) => ({
      ...guest,
      isTested: passOf(guest, now) !== undefined,
      isFailed: hasFailed(guest, now),
      due: deadlineOf(guest, now),
      rank: hashOf(`${seed}/${guest.store}/${guest.vmid}`),
    }))
    .toSorted(
      (a, b) =>
        Number(a.isTested) - Number(b.isTested) ||
        Number(b.isFailed) - Number(a.isFailed) ||
        a.due - b.due ||
        a.rank - b.rank ||
        (nameOf(a) < nameOf(b) ? -1 : 1),
    )
    .map((guest) => ({ ...guest, mustNow: guest.isFailed || guest.due < next }));
  const mustNow = ranked.filter((guest) => guest.mustNow);
  const room = Math.max(0, capacity - mustNow.length);
  const early = ranked.filter((guest) => !guest.mustNow).slice(0, room);
  const chosen = new Set([...mustNow, ...early]);

  const picks = ranked
    .filter((guest) => chosen.has(guest))
    .map((guest): RestorePick => {
      const { store, vmid, isTested, isFailed, rank } = guest;
      return {
        store,
        vmid,
        // The first test of a guest, and the next one after a failure, answer whether it can be had back at all.
        snapshot: isTested && !isFailed && rank % OLDER_ONE_IN === 0 ? 'older' : 'newest',
        why: !isTested ? 'never tested' : guest.mustNow ? 'due' : 'early',
      };
    });
  return { picks, capacity, coverage: coverageOf(guests, now) };
}

/**
 * `failed` when it has not passed since it last failed, though it may have passed within its weeks; else `tested` within
 * them, `overdue` when that is longer ago, `never`.
 */
export const TEST_STATES = ['failed', 'never', 'overdue', 'tested'] as const;
export type TestState = (typeof TEST_STATES)[number];

/** `isLate`: it should have been tested by now, whether it ever was or not. */
export function standingOf(guest: TestableGuest, now: Date): { state: TestState; isLate: boolean } {
  const isLate = deadlineOf(guest, now) < now.getTime();
  if (hasFailed(guest, now)) return { state: 'failed', isLate };
  if (passOf(guest, now) === undefined) return { state: 'never', isLate };
  return { state: isLate ? 'overdue' : 'tested', isLate };
}

export function coverageOf(guests: readonly TestableGuest[], now: Date): Coverage {
  const named = guests.toSorted((a, b) => (a.store === b.store ? a.vmid - b.vmid : a.store < b.store ? -1 : 1));
  const coverage: Coverage = { guests: guests.length, covered: 0, failed: [], neverTested: [], overdue: [] };
  for (const guest of named) {
    const { store, vmid } = guest;
    const { state } = standingOf(guest, now);
    if (state === 'failed') coverage.failed.push({ store, vmid });
    else if (state === 'never') coverage.neverTested.push({ store, vmid });
    else if (state === 'overdue') coverage.overdue.push({ store, vmid });
    else coverage.covered += 1;
  }
  return coverage;
}

/**
 * The snapshot that a pick means, among those of the guest that are proven on that server; undefined when there is none.
 * Without an older one it is the newest. `kind` and `ownSince` tell the guest from another one that had its number
 * before; without them, whatever has its number is taken for it.
 */
export function chooseSnapshot({
  pick,
  copy,
  seed,
  now,
}: {
  pick: Pick<RestorePick, 'store' | 'vmid' | 'snapshot'> & {
    kind?: BackedUpGuest['kind'] | undefined;
    /** ISO instant. */
    ownSince?: string | undefined;
  };
  copy: CopyFacts;
  seed: string;
  now: Date;
}): SnapshotName | undefined {
  const { vmid, kind, ownSince } = pick;
  const kinds = kind ? [kind] : (['qemu', 'lxc'] as const);
  const proven = copy.snapshots
    .filter((snapshot) => kinds.some((one) => isOf({ vmid, kind: one }, snapshot)))
    .filter(({ time }) => ownSince === undefined || time * 1_000 >= Date.parse(ownSince))
    .filter((snapshot) => unprovenBecause(snapshot, copy.node, now) === undefined)
    .toSorted((a, b) => b.time - a.time);
  const older = proven.slice(1);
  const chosen =
    pick.snapshot === 'older' && older.length > 0
      ? older[hashOf(`${seed}/${pick.store}/${pick.vmid}/snapshot`) % older.length]
      : proven[0];
  return chosen && { type: chosen.type, id: chosen.id, time: chosen.time };
}

/** Milliseconds: until then it is to be tested again. What cannot be read of a guest's past makes it due at once. */
function deadlineOf(guest: TestableGuest, now: Date): number {
  const deadline = (passOf(guest, now) ?? Date.parse(guest.knownSince)) + guest.weeks * WEEK + TOLERANCE;
  return Number.isFinite(deadline) ? deadline : now.getTime();
}

const nameOf = ({ store, vmid }: TestableGuest): string => `${store}/${vmid}`;
