import {
  isOf,
  isOfNight,
  judgeCopy,
  MAX_SKEW,
  secondPlace,
  type BackedUpGuest,
  type CopyFacts,
  type CopyState,
  type SnapshotFacts,
} from './backup.js';
import type { GuestRun } from './backup-failures.js';
import { missingOf, type MissingGuest } from './backup-result.js';
import type { BackupOrders, BackupTask, CopyAnswer, GuestOrders } from './messages/backup.js';
import type { DatastoreRow, GuestBackupRow, KnownCopy, NightGuestRow } from './messages/ledger.js';

/** What a night has learned of a store's guests, as the ledger keeps it: how each fared, and what is proven of it now. */

export interface Learned {
  task: Pick<BackupTask, 'fleet' | 'store' | 'night' | 'startedAt'>;
  guests: readonly BackedUpGuest[];
  /** Of which this night has no proven backup. */
  missing: readonly MissingGuest[];
  /** Why nobody was dumped, or not all, if there is one reason for it. */
  refusal?: string | undefined;
  /** Absent is what could not be read. */
  local?: CopyFacts | undefined;
  offsite?: CopyFacts | undefined;
  orders: Pick<BackupOrders, 'tiers' | 'defaultTier'>;
  /** Tiers of guests that are not of the default one. */
  tiers: GuestOrders;
  /** When the servers were read. */
  now: Date;
}

/** Templates are left out: they do not change, and nobody would miss them. */
export function rowsOf(learned: Learned): { guests: GuestBackupRow[]; night: NightGuestRow[] } {
  const { guests, local } = learned;
  const offsite = secondPlace(local, learned.offsite);
  const judged = guests
    .filter(({ template }) => !template)
    .map((guest): Judged => {
      const state = (copy: CopyFacts | undefined) => copy && stateOf(guest, copy, learned);
      return { guest, here: state(local), there: state(offsite) };
    });
  return {
    guests: judged.map((one) => guestRow(one, learned)),
    night: judged.map((one) => nightRow(one, learned)),
  };
}

/** Of a guest whose settings nobody could read, what is new is in doubt, and what is older is worth what it was. */
function stateOf(guest: BackedUpGuest, copy: CopyFacts, learned: Learned): CopyState {
  const judge = (facts: CopyFacts): CopyState => judgeCopy({ guest, copy: facts, objective: 0, now: learned.now });
  const doubtful = doubtfulIn(guest, copy, learned);
  if (doubtful.length === 0) return judge(copy);
  const isSure = (one: SnapshotFacts) => !isOf(guest, one) || !doubtful.includes(one.time);
  const older = judge({ ...copy, snapshots: copy.snapshots.filter(isSure) });
  return { ...older, unproven: { time: Math.max(...doubtful), why: 'disks left out' } };
}

/** What was read of the servers in a night in which nobody has read who there is at the store. */
export type LearnedOfCopies = Omit<Learned, 'guests' | 'missing' | 'now'> & {
  /** How the dumps fared of which there were some. */
  runs: readonly GuestRun[];
  /** ISO instant. */
  readAt: string;
};

/** The same of the guests that the ledger knows: nobody has seen them tonight, and nobody has seen them gone. */
export function rowsOfKnown(
  known: readonly GuestBackupRow[],
  { runs, readAt, ...learned }: LearnedOfCopies,
): ReturnType<typeof rowsOf> {
  const rows = known.filter(({ goneAt }) => goneAt === undefined);
  const guests = rows.map(
    // Nobody has read their settings either.
    ({ vmid, kind, name }): BackedUpGuest => ({ vmid, kind, name, template: false, leftOut: 'unread' }),
  );
  const now = new Date(readAt);
  const { night, startedAt } = learned.task;
  const which = { night, startedAt: new Date(startedAt) };
  const missing = learned.local ? missingOf(guests, learned.local, which, runs, now) : [];
  const told = rowsOf({ ...learned, guests, missing, now });
  const seenAt = new Map(rows.map((row) => [row.vmid, row.seenAt]));
  return { ...told, guests: told.guests.map((row) => ({ ...row, seenAt: seenAt.get(row.vmid) ?? row.seenAt })) };
}

/** Of the servers that could be read. A number that is none would keep all of the night from being recorded. */
export function datastoreRows(
  { fleet, store }: Pick<BackupTask, 'fleet' | 'store'>,
  answers: Record<DatastoreRow['place'], Omit<CopyAnswer, 'copy'> | undefined>,
  readAt: string,
): DatastoreRow[] {
  return (['local', 'offsite'] as const).flatMap((place) => {
    const answer = answers[place];
    if (!answer) return [];
    const { space, stillBad } = answer;
    const [total, used] = [countIn(space?.total), countIn(space?.used)];
    return [{ fleet, store, place, total, used, stillBad: countIn(stillBad), readAt }];
  });
}

const countIn = (value: unknown): number | undefined =>
  Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : undefined;

interface Judged {
  guest: BackedUpGuest;
  /** Absent when the server was not read, or cannot be trusted. */
  here: CopyState | undefined;
  there: CopyState | undefined;
}

function guestRow({ guest, here, there }: Judged, learned: Learned): GuestBackupRow {
  const { task, orders, tiers, now } = learned;
  const { vmid, name, kind } = guest;
  const tier = tierOf(vmid, tiers, orders);
  const objectives = orders.tiers[tier];
  const readAt = now.toISOString();
  return {
    fleet: task.fleet,
    store: task.store,
    vmid,
    name,
    kind,
    tier,
    rpoLocalMs: objectives?.local ?? 0,
    ...(objectives?.offsite === undefined ? {} : { rpoOffsiteMs: objectives.offsite }),
    ...(here ? { local: { ...knownOf(here, readAt), ...sizeOf(here) } } : {}),
    ...(there ? { offsite: knownOf(there, readAt) } : {}),
    ...leftOutOf(guest, learned),
    firstSeen: readAt,
    seenAt: readAt,
  };
}

/**
 * Of all snapshots that are there by now: nobody knows since when its disks are left out. When nobody could read whether
 * any are, only what is new is in doubt.
 */
function leftOutOf(guest: BackedUpGuest, learned: Learned): Pick<GuestBackupRow, 'leftOut'> {
  const { local, offsite, now } = learned;
  const { leftOut } = guest;
  if (leftOut === undefined || leftOut.length === 0) return {};
  const times = [local, offsite]
    .flatMap((copy) => copy?.snapshots ?? [])
    .filter((one) => isOf(guest, one))
    .map(({ time }) => time * 1_000)
    // A node whose clock is wrong by years does not make all its backups of these years worthless.
    .filter((time) => time <= now.getTime() + MAX_SKEW);
  const at = new Date(Math.max(now.getTime(), ...times)).toISOString();
  if (leftOut !== 'unread') return { leftOut: { disks: leftOut, at } };
  const doubtful = [local, offsite].flatMap((copy) => (copy ? doubtfulIn(guest, copy, learned) : []));
  // Whose node was away has nothing new that could lack something.
  if (doubtful.length === 0) return {};
  return { leftOut: { disks: [], since: instantOf(Math.min(...doubtful) - 1), at } };
}

/** Times of what this night made of a guest whose settings nobody could read. */
const doubtfulIn = (guest: BackedUpGuest, copy: CopyFacts, { task }: Pick<Learned, 'task'>): number[] => {
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  const isInDoubt = (one: SnapshotFacts) => guest.leftOut === 'unread' && isOf(guest, one) && isOfNight(one, which);
  return copy.snapshots.filter(isInDoubt).map(({ time }) => time);
};

/**
 * The rows as they are kept: what was proven of a backup that lacks disks proves nothing of the guest, neither in the
 * night that finds it out, nor later, when a newer one did not come about.
 */
export function withoutParts(rows: readonly GuestBackupRow[], known: readonly GuestBackupRow[]): GuestBackupRow[] {
  const knownBy = new Map(known.map((row) => [row.vmid, row]));
  return rows.map((row) => {
    const same = knownBy.get(row.vmid);
    // A number may have been another guest's, of which nothing is known of this one.
    const before = same?.kind === row.kind ? same : undefined;
    const leftOut = inAll(row.leftOut, before);
    if (!leftOut) return row;
    const [local, offsite] = [row.local ?? before?.local, row.offsite ?? before?.offsite];
    return {
      ...row,
      ...(local ? { local: withoutPart(local, leftOut, before?.local) } : {}),
      ...(offsite ? { offsite: withoutPart(offsite, leftOut, before?.offsite) } : {}),
      ...(row.leftOut ? { leftOut } : {}),
    };
  });
}

type PartsLeftOut = NonNullable<GuestBackupRow['leftOut']>;

/** A doubt is one more, as long as no better backup has ended what was known before. */
function inAll(now: PartsLeftOut | undefined, before: GuestBackupRow | undefined): PartsLeftOut | undefined {
  const was = before?.leftOut;
  if (!now || !was || now.since === undefined) return now ?? was;
  const isEnded = [before?.local, before?.offsite].some((copy) => isAfter(copy?.provenAt, was.at));
  return isEnded ? now : { ...was, at: now.at };
}

/** What was believed before a doubt is believed again; it is older. */
function withoutPart<T extends KnownCopy>(copy: T, { since, at }: PartsLeftOut, before: KnownCopy | undefined): T {
  const { provenAt, unprovenAt } = copy;
  const isOlder = (instant: string | undefined) => since !== undefined && !isAfter(instant, since);
  if (provenAt === undefined || isAfter(provenAt, at) || isOlder(provenAt)) return copy;
  const told = unprovenAt === undefined ? { unprovenAt: provenAt, unprovenWhy: 'disks left out' as const } : {};
  const still = before?.provenAt !== undefined && isOlder(before.provenAt) ? before : undefined;
  return { ...copy, provenAt: still?.provenAt, verifiedAt: still?.verifiedAt, ...told };
}

const isAfter = (instant: string | undefined, other: string): boolean =>
  instant !== undefined && Date.parse(instant) > Date.parse(other);

const tierOf = (vmid: number, tiers: GuestOrders, { defaultTier }: Pick<BackupOrders, 'defaultTier'>): string =>
  Object.hasOwn(tiers, String(vmid)) ? (tiers[String(vmid)] ?? defaultTier) : defaultTier;

const knownOf = ({ proven, unproven }: CopyState, readAt: string): KnownCopy => ({
  readAt,
  ...(proven ? { provenAt: instantOf(proven.time), verifiedAt: instantOf(proven.verifiedAt) } : {}),
  ...(unproven ? { unprovenAt: instantOf(unproven.time), unprovenWhy: unproven.why } : {}),
});

const sizeOf = ({ proven }: CopyState) =>
  proven
    ? {
        size: proven.size,
        encrypted: proven.encrypted,
        ...(proven.keyFingerprint ? { keyFingerprint: proven.keyFingerprint } : {}),
      }
    : {};

function nightRow({ guest, here, there }: Judged, { task, missing, refusal }: Learned): NightGuestRow {
  const { vmid, name } = guest;
  const lacking = here ? missing.find((one) => one.vmid === vmid) : NOT_READ;
  const text = lacking && (lacking.text ?? refusal);
  const snapshot = lacking ? undefined : here?.proven?.time;
  return {
    night: task.night,
    store: task.store,
    vmid,
    name,
    result: lacking?.why ?? 'proven',
    ...(text ? { text } : {}),
    ...(snapshot === undefined ? {} : { snapshotAt: instantOf(snapshot) }),
    ...(there && snapshot !== undefined ? { offsite: there.proven?.time === snapshot } : {}),
  };
}

/** Of a server that nobody could read nothing is known, and what is not known is not proven. */
const NOT_READ: Pick<MissingGuest, 'why' | 'text'> = {
  why: 'unreadable',
  text: 'The backup server could not be read.',
};

/** Epoch seconds; what no calendar has is the beginning of time, which no objective takes for young. */
function instantOf(seconds: number): string {
  const at = new Date(seconds * 1_000);
  return Number.isNaN(at.getTime()) ? new Date(0).toISOString() : at.toISOString();
}
