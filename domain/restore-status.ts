import { are, plural } from './counted.js';
import type { Fleet, Guest, Store } from './fleet.js';
import { groupedBy } from './grouped.js';
import type { GuestBackupRow, RestoreTestRow } from './messages/ledger.js';
import { classOf, triedAs } from './recoverability.js';
import { isNotThereYet, pastOf, triedOf } from './restore-past.js';
import {
  coverageOf,
  standingOf,
  TEST_STATES,
  type Coverage,
  type TestableGuest,
  type TestState,
} from './restore-sampling.js';

/** How the fleet stands: which guests were had back within the weeks of their tier, and which never were. */

export interface GuestTests {
  store: string;
  vmid: number;
  name: string;
  class: string;
  tier: string;
  weeks: number;
  state: TestState;
  /** It should have been tested by now. */
  isLate: boolean;
  /** store.yaml does not name it: nobody knows how to ask it whether it is well, so no run takes it. */
  isUnnamed: boolean;
  /** No night has seen it: nobody knows since when it waits. */
  isUnseen: boolean;
  /** Nothing of it is proven at the central server, and nothing ever was tried: no run takes it. */
  isNotThereYet: boolean;
  /** The newest trial that passed. */
  passed?: RestoreTestRow | undefined;
  /** The newest trial that failed, whether it passed since or not. */
  failed?: RestoreTestRow | undefined;
  /** The newest trial of all. */
  last?: RestoreTestRow | undefined;
}

export interface ClassTests {
  class: string;
  guests: number;
  tested: number;
  /** The newest pass of any guest of the class. */
  passedAt?: string | undefined;
  /** Milliseconds: of the newest passes of its guests, the time that 95 of 100 stay below. */
  rtoMs?: number | undefined;
}

export interface RestoreStatus {
  fleet: string;
  coverage: Coverage;
  /** Failed ones first, then those never tested, then overdue ones; then by store and number. */
  guests: GuestTests[];
  classes: ClassTests[];
}

export function restoreStatus({
  fleet,
  stores,
  known,
  newest,
  now,
}: {
  fleet: Fleet;
  stores: readonly Store[];
  known: readonly GuestBackupRow[];
  /** The newest trial of each result of each guest. */
  newest: readonly RestoreTestRow[];
  now: Date;
}): RestoreStatus {
  const rowsOf = groupedBy(known, ({ store }) => store);
  const trialsOf = groupedBy(newest, ({ store }) => store);
  const guests = stores
    .filter(({ backup }) => backup)
    .flatMap((store) => {
      const own = { known: rowsOf.get(store.id) ?? [], newest: trialsOf.get(store.id) ?? [], now };
      const named = new Set(store.guests.map(({ vmid }) => vmid));
      const unnamed = own.known.filter(({ vmid }) => !named.has(vmid));
      return [
        ...store.guests.map((guest) => testsOf(fleet, store, guest, own)),
        ...unnamed.map(({ vmid, name, kind }) => testsOf(fleet, store, { vmid, name, kind, role: 'other' }, own)),
      ];
    })
    .filter((guest) => guest !== undefined);
  const rank = ({ state }: GuestTests) => TEST_STATES.indexOf(state);
  const sorted = guests.toSorted(
    (a, b) => rank(a.tests) - rank(b.tests) || compare(a.tests.store, b.tests.store) || a.tests.vmid - b.tests.vmid,
  );
  return {
    fleet: fleet.fleet,
    coverage: coverageOf(
      guests.map(({ testable }) => testable),
      now,
    ),
    guests: sorted.map(({ tests }) => tests),
    classes: classesOf(sorted.map(({ tests }) => tests)),
  };
}

/** For an alarm; undefined when no guest has failed, and every one was tested in time, or still may be. */
export function restoreConcern({ guests }: RestoreStatus): string | undefined {
  const failed = guests.filter(({ state }) => state === 'failed');
  const late = guests.filter(({ state, isLate }) => isLate && state !== 'failed');
  const concerns = [failedWords(failed, guests.length), lateWords(late, guests.length)];
  return concerns.filter((words) => words !== undefined).join(' ') || undefined;
}

function failedWords(failed: readonly GuestTests[], all: number): string | undefined {
  const [first] = failed;
  if (!first) return undefined;
  const { store, vmid, name, failed: trial, isUnnamed } = first;
  return `${plural(failed.length, 'guest')} of ${all} could not be had back when last tested; the first: ${store}, guest ${vmid} (${name})${trial?.text ? `: ${trial.text}` : '.'}${isUnnamed ? ` ${UNNAMED_GUEST}` : ''}`;
}

function lateWords(late: readonly GuestTests[], all: number): string | undefined {
  const [first] = late;
  if (!first) return undefined;
  const { store, vmid, name, weeks, last } = first;
  const cause = whyNotTaken(first);
  const why = cause ? ` ${cause}` : last?.result !== 'pass' && last?.text ? ` Last: ${last.text}` : '';
  return `${plural(late.length, 'guest')} of ${all} ${are(late.length)} not restored for a test in the weeks of its tier; the first: ${store}, guest ${vmid} (${name}), every ${plural(weeks, 'week')}.${why}`;
}

/** Why no run takes it, whether it is due or not. */
export function whyNotTaken({ isUnnamed, isNotThereYet: isAway }: Pick<GuestTests, 'isUnnamed' | 'isNotThereYet'>) {
  if (isUnnamed) return UNNAMED_GUEST;
  return isAway ? NOT_THERE_YET : undefined;
}

const NOT_THERE_YET = 'The central server has no proven backup of it yet, so no run takes it: edge runbook RpoBreach.';

const UNNAMED_GUEST = 'It is not in store.yaml, so no run takes it: name it there, with its probes.';

/** `known` and `newest` are of that store. */
function testsOf(
  fleet: Fleet,
  store: Store,
  guest: Pick<Guest, 'vmid' | 'name' | 'kind' | 'role' | 'tier'>,
  { known, newest, now }: { known: readonly GuestBackupRow[]; newest: readonly RestoreTestRow[]; now: Date },
): { tests: GuestTests; testable: TestableGuest } | undefined {
  const tier = guest.tier ?? fleet.backup?.defaultTier ?? '';
  const weeks = fleet.backup?.tiers[tier]?.restoreWeeks;
  const seen = known.find((row) => row.vmid === guest.vmid);
  if (weeks === undefined || seen?.goneAt !== undefined) return undefined;
  const { vmid, name } = guest;
  const isUnnamed = store.guests.every((named) => named.vmid !== vmid);
  const past = pastOf(isUnnamed && seen ? seen : triedAs(guest, seen), newest);
  const testable: TestableGuest = {
    store: store.id,
    vmid,
    weeks,
    knownSince: seen?.firstSeen ?? now.toISOString(),
    ...triedOf(past),
  };
  return {
    testable,
    tests: {
      store: store.id,
      vmid,
      name,
      class: classOf(guest),
      tier,
      weeks,
      ...standingOf(testable, now),
      isUnnamed,
      isUnseen: seen === undefined,
      isNotThereYet: isNotThereYet(seen, past),
      passed: past.passed,
      failed: past.failed,
      last: past.last,
    },
  };
}

function classesOf(guests: readonly GuestTests[]): ClassTests[] {
  const classes = [...groupedBy(guests, (guest) => guest.class)].toSorted(([a], [b]) => compare(a, b));
  return classes.map(([name, members]) => {
    const passes = members.flatMap(({ passed }) => passed ?? []);
    return {
      class: name,
      guests: members.length,
      tested: members.filter(({ state }) => state === 'tested').length,
      passedAt: passes
        .map(({ testedAt }) => testedAt)
        .toSorted()
        .at(-1),
      rtoMs: percentile95(passes.flatMap(({ rtoMs }) => rtoMs ?? [])),
    };
  });
}

function percentile95(values: readonly number[]): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * 0.95) - 1)];
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
