import { DateTime } from 'luxon';
import { abridge } from './abridge.js';
import type { Fleet, Guest, Store } from './fleet.js';
import { groupedBy } from './grouped.js';
import { hashOf } from './hash.js';
import type { GuestBackupRow, RestoreTestRow } from './messages/ledger.js';
import { TEST_IDS, type RestorePlanOutcome, type TrialPlan } from './messages/restore.js';
import { triedAs } from './recoverability.js';
import { isNotThereYet, pastOf, triedOf, type RestorePast } from './restore-past.js';
import { planRestoreTests, type TestableGuest } from './restore-sampling.js';
import { isoWeekId } from './windows.js';

/** Which guests a run of restore tests tries, and as what. Calendar arithmetic: called from activities only. */

interface Asked {
  fleet: Fleet;
  stores: readonly Store[];
  /** The fleet's name as the one who asks knows it. */
  name: string;
  commit: string;
  /** What the ledger knows of backups: a guest that nobody has seen yet cannot be due. */
  known: readonly GuestBackupRow[];
  /** The newest trial of each result of each guest. */
  newest: readonly RestoreTestRow[];
  /** By hand: these, whether due or not. */
  wanted?: { stores: readonly string[]; vmids?: readonly number[] | undefined } | undefined;
  startedAt: Date;
}

/** A run holds no more guests than the site has ids. The others are due all the same, and first the next time. */
const MOST = TEST_IDS.to - TEST_IDS.from + 1;

export function planRestores(asked: Asked): RestorePlanOutcome {
  const { fleet, name, commit, stores, wanted, startedAt } = asked;
  const problems = problemsOf(asked);
  const { backup } = fleet;
  if (problems.length > 0 || !backup) return { kind: 'refused', problems: problems.slice(0, 20) };
  const week = isoWeekId(startedAt, fleet.timeZone);
  const chosen = wanted ? byHand(asked, wanted) : due(asked, week);
  const run = wanted
    ? `restore-${DateTime.fromJSDate(startedAt, { zone: 'utc' }).toFormat('yyyyMMdd-HHmmss')}`
    : `restores-${week}`;
  // Two runs at once, or what a dead one left, seldom want the same id; and if they do, the site refuses it.
  const first = hashOf(run) % MOST;
  const trials = new Map<string, TrialPlan[]>();
  const seen = rowsByGuest(asked.known);
  for (const [at, { store, guest, snapshot, why }] of chosen.slice(0, MOST).entries()) {
    const tier = guest.tier ?? backup.defaultTier;
    const trial: TrialPlan = {
      ...triedAs(guest, seen.get(`${store.id}/${guest.vmid}`)),
      as: TEST_IDS.from + ((first + at) % MOST),
      name: guest.name,
      tier,
      snapshot,
      why,
      probes: guest.probes ?? [],
      canary: guest.canary !== false,
      recordWithin: backup.tiers[tier]?.rpo.local,
    };
    trials.set(store.id, [...(trials.get(store.id) ?? []), trial]);
  }
  return {
    kind: 'planned',
    plan: {
      run,
      fleet: name,
      commit,
      stores: [...trials].map(([id, members]) => ({ id, trials: members })),
      fleetStores: stores.map(({ id }) => id),
      maxConcurrency: backup.restoreTest.maxConcurrency,
      timing: { patience: backup.cutOffAfter, storeTimeout: backup.storeTimeout },
    },
  };
}

interface Chosen {
  store: Store;
  guest: Guest;
  snapshot: TrialPlan['snapshot'];
  why: TrialPlan['why'];
}

/** A guest that is named is refused when it is not there yet; see `problemsOf`. */
function byHand({ stores, ...asked }: Asked, wanted: NonNullable<Asked['wanted']>): Chosen[] {
  const pastIn = openPast(asked);
  return stores
    .filter(({ id }) => wanted.stores.includes(id))
    .flatMap((store) =>
      store.guests
        .filter(({ vmid }) => wanted.vmids === undefined || wanted.vmids.includes(vmid))
        .filter((guest) => !isNotThereYet(...pastIn(store, guest)))
        .map((guest): Chosen => ({ store, guest, snapshot: 'newest', why: 'by hand' })),
    );
}

function due(asked: Asked, week: string): Chosen[] {
  const { picks } = planRestoreTests({ guests: testable(asked), seed: week, now: asked.startedAt });
  const stores = new Map(asked.stores.map((store) => [store.id, store]));
  return picks.flatMap(({ store: id, vmid, snapshot, why }): Chosen[] => {
    const store = stores.get(id);
    const guest = store?.guests.find((one) => one.vmid === vmid);
    return store && guest ? [{ store, guest, snapshot, why }] : [];
  });
}

/**
 * Guests of stores that are backed up and sent, as the repo names them: what is not in it has no probes, and nobody to
 * ask.
 */
function testable({ fleet, stores, ...asked }: Asked): TestableGuest[] {
  const { backup } = fleet;
  if (!backup) return [];
  const pastIn = openPast(asked);
  return stores
    .filter((store) => store.backup)
    .flatMap((store) =>
      store.guests.flatMap((guest): TestableGuest[] => {
        const [row, past] = pastIn(store, guest);
        const weeks = backup.tiers[guest.tier ?? backup.defaultTier]?.restoreWeeks;
        if (!row || row.goneAt !== undefined || weeks === undefined || isNotThereYet(row, past)) return [];
        return [{ store: store.id, vmid: guest.vmid, weeks, knownSince: row.firstSeen, ...triedOf(past) }];
      }),
    );
}

function openPast({ known, newest }: Pick<Asked, 'known' | 'newest'>) {
  const seen = rowsByGuest(known);
  const trialsOf = groupedBy(newest, ({ store }) => store);
  return (store: Store, guest: Guest): [GuestBackupRow | undefined, RestorePast] => {
    const row = seen.get(`${store.id}/${guest.vmid}`);
    return [row, pastOf(triedAs(guest, row), trialsOf.get(store.id) ?? [])];
  };
}

const rowsByGuest = (known: readonly GuestBackupRow[]): ReadonlyMap<string, GuestBackupRow> =>
  new Map(known.map((row) => [`${row.store}/${row.vmid}`, row]));

function problemsOf({ fleet, stores, name, wanted, ...asked }: Asked): string[] {
  if (fleet.fleet !== name) return [`fleet: the repo is of fleet ${fleet.fleet}, not of ${name}`];
  if (!fleet.backup) return ['backup: fleet.yaml has no such section, so nothing is backed up that could be restored'];
  if (!fleet.backup.offsite)
    return ['backup.offsite: fleet.yaml names no second place, and guests are restored from there'];
  const unbacked = stores.filter(({ id, backup }) => wanted?.stores.includes(id) && !backup);
  return [
    ...unknownIn({ fleet, stores }, wanted ?? { stores: [] }).map(({ of, why }) => `${of}: ${why}`),
    ...unbacked.map(({ id }) => `stores: ${id} has no section backup in its store.yaml, so it has no backups`),
    ...notThereYet({ stores, ...asked }, wanted).map((why) => `vmids: ${why}`),
  ];
}

function notThereYet(
  { stores, ...asked }: Pick<Asked, 'stores' | 'known' | 'newest'>,
  wanted: Asked['wanted'],
): string[] {
  if (!wanted?.vmids) return [];
  const { stores: ids, vmids } = wanted;
  const pastIn = openPast(asked);
  return stores
    .filter(({ id }) => ids.includes(id))
    .flatMap((store) =>
      store.guests
        .filter((guest) => vmids.includes(guest.vmid) && isNotThereYet(...pastIn(store, guest)))
        .map(({ vmid }) => `guest ${vmid} of ${store.id}: the central server has no proven backup of it yet`),
    );
}

interface Unknown {
  of: 'stores' | 'vmids';
  why: string;
}

/** What is asked for by hand and is not there, with what is. */
export function unknownIn(
  { fleet, stores }: Pick<Asked, 'fleet' | 'stores'>,
  wanted: NonNullable<Asked['wanted']>,
): Unknown[] {
  const known = new Map(stores.map((store) => [store.id, store]));
  return wanted.stores.flatMap((id): Unknown[] => {
    const store = known.get(id);
    if (!store)
      return [{ of: 'stores', why: `${id} is not a store of ${fleet.fleet}; it has ${abridge([...known.keys()])}` }];
    if (!store.backup) return [];
    const vmids = store.guests.map(({ vmid }) => vmid);
    const unknown = (wanted.vmids ?? []).filter((vmid) => !vmids.includes(vmid));
    return unknown.map((vmid) => ({
      of: 'vmids',
      why: `${id} has no guest ${vmid}; it has ${vmids.join(', ') || 'none'}`,
    }));
  });
}
