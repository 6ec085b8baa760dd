import { MAX_SKEW, type RpoState } from './backup.js';
import { plural } from './counted.js';
import { formatDuration } from './durations.js';
import type { Fleet, Store } from './fleet.js';
import { groupedBy } from './grouped.js';
import type { GuestBackupRow, KnownCopy } from './messages/ledger.js';

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
  now,
}: {
  fleet: Fleet;
  stores: readonly Store[];
  rows: readonly GuestBackupRow[];
  now: Date;
}): BackupStatus {
  const { backup } = fleet;
  const isBackedUp = (store: Store): boolean => backup !== undefined && store.backup !== undefined;
  const rowsOf = groupedBy(
    rows.filter(({ goneAt }) => goneAt === undefined),
    ({ store }) => store,
  );
  const judged = backup
    ? stores.filter(isBackedUp).map((store) => storeStatus(store, rowsOf.get(store.id) ?? [], backup, now))
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

function storeStatus(
  store: Store,
  rows: readonly GuestBackupRow[],
  backup: NonNullable<Fleet['backup']>,
  now: Date,
): StoreStatus {
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
