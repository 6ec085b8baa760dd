import { abridge } from './abridge.js';
import { MAX_SKEW, type RpoState } from './backup.js';
import { plural } from './counted.js';
import { formatDuration } from './durations.js';
import type { Fleet, Store } from './fleet.js';
import { groupedBy } from './grouped.js';
import type { DatastoreRow, GuestBackupRow, KnownCopy } from './messages/ledger.js';

/**
 * How old the backups of a fleet are now, from what the ledger last heard and what the repo asks for. What nobody has
 * looked at for longer than its objective is not `ok`, whatever was seen then: silence is an alarm.
 */

export interface CopyStatus {
  state: RpoState;
  /** Milliseconds since the newest proven backup was begun; absent = none is known. */
  age?: number | undefined;
  /** Milliseconds that it may be. */
  objective: number;
  /** When the server was last read. */
  readAt?: string | undefined;
}

export interface GuestStatus {
  store: string;
  vmid: number;
  name: string;
  tier: string;
  local: CopyStatus;
  /** Absent when the fleet has no second place. */
  offsite?: CopyStatus | undefined;
  /** The worse of both. A guest in its grace without a backup is `ok`. */
  state: RpoState;
  /** Too new to need a backup. */
  inGrace: boolean;
  /** Named by the repo; the cluster may have others. */
  inRepo: boolean;
  /** The newest proven backup is not encrypted, though the repo says that it has to be. */
  inClear: boolean;
  /** Absent when the ledger never heard of it. */
  row?: GuestBackupRow | undefined;
}

export type StateCounts = Record<RpoState, number>;

export interface StoreStatus {
  store: string;
  state: RpoState;
  counts: StateCounts;
  /** The worst first. */
  guests: GuestStatus[];
  /** That hold its copies, as their servers last said. */
  datastores: DatastoreStatus[];
}

export interface DatastoreStatus extends DatastoreRow {
  /** Of its bytes that are used, 0 to 1; absent = nobody knows. */
  share?: number | undefined;
}

export interface BackupStatus {
  /** Guests, over all stores. */
  counts: StateCounts;
  /** Stores by their worst guest. */
  storeCounts: StateCounts;
  /** The worst first. */
  stores: StoreStatus[];
  /** Stores without a `backup` section: nobody backs them up. */
  notBackedUp: string[];
}

/** From good to bad. That nothing is known stands before a breach: it may be well, and a breach is certain. */
export const RPO_STATES = ['ok', 'late', 'unknown', 'breach', 'never'] as const satisfies readonly RpoState[];

const badness = (state: RpoState): number => RPO_STATES.indexOf(state);
const worse = (a: RpoState, b: RpoState): RpoState => (badness(a) >= badness(b) ? a : b);
const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Guests that are gone are left out, as are stores that the repo does not have. A store that should be backed up and
 * of which no guest is known is `unknown`.
 */
export function backupStatus({
  fleet,
  stores,
  rows,
  datastores = [],
  now,
}: {
  fleet: Fleet;
  stores: readonly Store[];
  rows: readonly GuestBackupRow[];
  datastores?: readonly DatastoreRow[];
  now: Date;
}): BackupStatus {
  const { backup } = fleet;
  const isBackedUp = (store: Store): boolean => backup !== undefined && store.backup !== undefined;
  const rowsOf = groupedBy(
    rows.filter(({ goneAt }) => goneAt === undefined),
    ({ store }) => store,
  );
  const datastoresOf = groupedBy(
    datastores.filter(({ place }) => place === 'local' || backup?.offsite),
    ({ store }) => store,
  );
  const judged = backup
    ? stores.filter(isBackedUp).map((store) => ({
        ...storeStatus(store, rowsOf.get(store.id) ?? [], backup, now),
        datastores: (datastoresOf.get(store.id) ?? []).map(datastoreStatus),
      }))
    : [];
  return {
    counts: countsOf(judged.flatMap(({ guests }) => guests)),
    storeCounts: countsOf(judged),
    stores: judged.toSorted(worstFirst(({ store }) => store)),
    notBackedUp: stores
      .filter((store) => !isBackedUp(store))
      .map(({ id }) => id)
      .toSorted(byName),
  };
}

/** For an alarm; undefined when every guest of every store that is backed up is well. */
export function backupConcern({ stores, counts }: BackupStatus): string | undefined {
  const bad = stores.filter(({ state }) => state !== 'ok');
  const [worst] = bad;
  if (!worst) return undefined;
  const found = RPO_STATES.filter((state) => state !== 'ok' && counts[state] > 0).toReversed();
  const guests = found.map((state) => `${counts[state]} ${state}`).join(', ');
  const [guest] = worst.guests;
  const of = guest ? `guest ${guest.vmid} (${guest.name})${ageWords(guest)}` : 'no guest is known';
  return `Backups of ${bad.length} of ${plural(stores.length, 'store')} are not as they should be${guests ? ` (guests: ${guests})` : ''}; the worst: ${worst.store}, ${of}.`;
}

/** Of backups that are young enough, and not as they should be otherwise. */
export function clearConcern({ stores }: Pick<BackupStatus, 'stores'>): string | undefined {
  const bad = stores.filter(({ guests }) => guests.some(({ inClear }) => inClear));
  if (bad.length === 0) return undefined;
  const count = bad.flatMap(({ guests }) => guests.filter(({ inClear }) => inClear)).length;
  return `The newest backups of ${plural(count, 'guest')} are not encrypted, though fleet.yaml asks for it: ${abridge(bad.map(({ store }) => store))}. What to do: edge runbook BackupUnencrypted`;
}

/** At 98 % a backup server refuses all of a store's backups, and collecting needs room itself. */
const NEARLY_FULL = 0.9;

const isNearlyFull = ({ share }: DatastoreStatus): boolean => share !== undefined && share > NEARLY_FULL;
const isDamaged = ({ stillBad = 0 }: DatastoreStatus): boolean => stillBad > 0;

/** For an alarm, before nothing can be backed up any more. */
export function datastoreConcern({ stores }: Pick<BackupStatus, 'stores'>): string | undefined {
  const all = stores.flatMap(({ datastores }) => datastores);
  const [newest] = all.filter(({ place }) => place === 'offsite').toSorted((a, b) => byName(b.readAt, a.readAt));
  const judged = [...all.filter(({ place }) => place === 'local'), ...(newest ? [newest] : [])];
  const named = (of: readonly DatastoreStatus[], words: (one: DatastoreStatus) => string): string =>
    abridge(of.map((one) => `${one.place === 'local' ? one.store : 'the second place'} (${words(one)})`));
  const full = judged.filter(isNearlyFull).toSorted((a, b) => (b.share ?? 0) - (a.share ?? 0));
  const damaged = judged.filter(isDamaged);
  const told = [
    ...(full.length > 0
      ? [`Datastores that are nearly full: ${named(full, percentWords)}. What to do: edge runbook DatastoreFull`]
      : []),
    ...(damaged.length > 0
      ? [
          `Datastores with damaged parts that no backup has written anew: ${named(damaged, ({ stillBad }) => String(stillBad))}. What to do: edge runbook BackupVerifyFailed`,
        ]
      : []),
  ];
  return told.length > 0 ? told.join('. ') : undefined;
}

/** `97 %` is not 98. */
export const percentWords = ({ share = 0 }: DatastoreStatus): string => `${Math.floor(100 * share)} %`;

function datastoreStatus(row: DatastoreRow): DatastoreStatus {
  const { total = 0, used } = row;
  return total > 0 && used !== undefined ? { ...row, share: used / total } : row;
}

function storeStatus(
  store: Store,
  rows: readonly GuestBackupRow[],
  backup: NonNullable<Fleet['backup']>,
  now: Date,
): Omit<StoreStatus, 'datastores'> {
  const known = new Map(rows.map((row) => [row.vmid, row]));
  const named = new Map(store.guests.map((guest) => [guest.vmid, guest]));
  const guests = [...new Set([...named.keys(), ...known.keys()])].map((vmid): GuestStatus => {
    const [row, guest] = [known.get(vmid), named.get(vmid)];
    // What the repo says today counts, not what it said when the guest was last seen.
    const tier = guest?.tier ?? backup.defaultTier;
    const rpo = backup.tiers[tier]?.rpo;
    // The check of the repo keeps every tier there; without an objective nothing is young enough.
    const local = copyStatus(row?.local, rpo?.local ?? 0, now);
    const offsite = backup.offsite ? copyStatus(row?.offsite, rpo?.offsite ?? 0, now) : undefined;
    // It does not lack a backup, and waiting mends nothing. What had this number before it is not meant.
    const lacksDisks = row?.leftOut !== undefined && Date.parse(row.leftOut.at) >= Date.parse(row.firstSeen);
    const inGrace = row !== undefined && !lacksDisks && isNew(row, backup.newGuestGrace, now);
    return {
      store: store.id,
      vmid,
      name: row?.name ?? guest?.name ?? '',
      tier,
      local,
      offsite,
      state: offsite ? worse(stateIn(local, inGrace), stateIn(offsite, inGrace)) : stateIn(local, inGrace),
      inGrace,
      inRepo: guest !== undefined,
      inClear: backup.encrypted === true && row?.local?.encrypted === false,
      row,
    };
  });
  const sorted = guests.toSorted(worstFirst(({ vmid }) => String(vmid).padStart(9, '0')));
  return { store: store.id, state: sorted[0]?.state ?? 'unknown', counts: countsOf(guests), guests: sorted };
}

/** A guest that needs no backup yet lacks none. */
export const stateIn = ({ state }: CopyStatus, inGrace: boolean): RpoState =>
  inGrace && state === 'never' ? 'ok' : state;

function copyStatus(copy: KnownCopy | undefined, objective: number, now: Date): CopyStatus {
  const silence = copy ? now.getTime() - Date.parse(copy.readAt) : Number.NaN;
  const age = copy?.provenAt === undefined ? undefined : now.getTime() - Date.parse(copy.provenAt);
  const isHeard = silence >= -MAX_SKEW && silence <= objective;
  const told = { objective, readAt: copy?.readAt };
  if (age === undefined) return { state: isHeard ? 'never' : 'unknown', ...told };
  // A time that is unreadable or still to come says nothing.
  if (!(age >= -MAX_SKEW)) return { state: 'unknown', ...told };
  const state = age <= objective ? 'ok' : age <= 2 * objective ? 'late' : 'breach';
  return { state: isHeard ? state : worse(state, 'unknown'), age: Math.max(0, age), ...told };
}

function isNew({ firstSeen }: GuestBackupRow, grace: number, now: Date): boolean {
  const age = now.getTime() - Date.parse(firstSeen);
  return age >= -MAX_SKEW && age <= grace;
}

function ageWords({ state, local, offsite }: GuestStatus): string {
  const { age } = local.state === state ? local : (offsite ?? local);
  return age === undefined ? `: ${state}` : `: ${state}, the newest proven backup is ${formatDuration(age)} old`;
}

export function countsOf(judged: readonly { state: RpoState }[]): StateCounts {
  const counts: StateCounts = { ok: 0, late: 0, breach: 0, never: 0, unknown: 0 };
  for (const { state } of judged) counts[state] += 1;
  return counts;
}

const worstFirst =
  <T extends { state: RpoState }>(nameOf: (one: T) => string) =>
  (a: T, b: T): number =>
    badness(b.state) - badness(a.state) || byName(nameOf(a), nameOf(b));
