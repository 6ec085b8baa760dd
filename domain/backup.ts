import type { GuestFacts } from './facts.js';
import type { LeftOut } from './left-out.js';
import { hasEndedWell } from './task-status.js';

/**
 * What the backups of a store prove, judged from what a backup server lists and from nothing else: not from the words
 * of a job, and not from what another server found out. A snapshot that is not proven counts as none.
 */

export type BackupKind = 'vm' | 'ct' | 'host';

/** All snapshots of one guest. */
export interface GuestGroup {
  type: Exclude<BackupKind, 'host'>;
  id: string;
}

/** One snapshot of a group, as a backup server lists it. */
export interface SnapshotFacts {
  type: BackupKind;
  /** The guest's number, as text. */
  id: string;
  /** Epoch seconds at which the backup began, on the clock of the node that made it. */
  time: number;
  /** Bytes of the whole guest; absent = unfinished or broken. */
  size?: number | undefined;
  encrypted: boolean;
  /** Of the key that it was encrypted with. */
  keyFingerprint?: string | undefined;
  /** Not removed by pruning. */
  protected: boolean;
  /** Of which night of ours it is, by what was written beside it; absent when somebody else made it. */
  night?: string | undefined;
  /** The newest verification, by whichever server: a copy bears that of its source. */
  verification?:
    | {
        state: 'ok' | 'failed';
        /** Host name of the server that verified. */
        node: string;
        /** Epoch seconds at which that began, on the clock of that server. */
        at: number;
      }
    | undefined;
}

/** The snapshots of a store on one backup server. */
export interface CopyFacts {
  /** The server's host name, as its task ids have it. */
  node: string;
  snapshots: readonly SnapshotFacts[];
}

/**
 * Two servers of one name would vouch for each other, since a copy bears the verification of its source: then nobody
 * knows who verified what.
 */
export const areToldApart = (here: string | undefined, there: string | undefined): boolean =>
  here !== undefined && there !== undefined && here !== there;

/** What is read of the second place, as far as it says anything. */
export const secondPlace = (here: CopyFacts | undefined, there: CopyFacts | undefined): CopyFacts | undefined =>
  here && !areToldApart(here.node, there?.node) ? undefined : there;

/** `leftOut`: disks that its backups lack; absent when there are none. Store workers of earlier builds do not tell. */
export type BackedUpGuest = Pick<GuestFacts, 'vmid' | 'kind' | 'name' | 'template'> & { leftOut?: LeftOut | undefined };

export const UNPROVEN = [
  'unreadable',
  'in the future',
  'unfinished',
  'not verified',
  'verified by another server',
  'verification failed',
  'disks left out',
] as const;
export type Unproven = (typeof UNPROVEN)[number];

/**
 * How old the newest proven snapshot is, against the objective: `ok` up to once, `late` up to twice, `breach` beyond;
 * `never` without any, `unknown` when the server could not be asked. All but `ok` count as not proven.
 */
export type RpoState = 'ok' | 'late' | 'breach' | 'never' | 'unknown';

export interface CopyState {
  state: RpoState;
  /** The newest proven snapshot. Its age, in milliseconds, is the time that would be lost. */
  proven?: { time: number; age: number; size: number; encrypted: boolean; keyFingerprint?: string; verifiedAt: number };
  /** A newer one that is not proven, and why. */
  unproven?: { time: number; why: Unproven };
}

/** Milliseconds by which the clocks of nodes, servers and workers may differ before a time is not believed. */
export const MAX_SKEW = 5 * 60_000;

/** What a night writes beside each of its snapshots; Proxmox fills in the name. */
export const noteOf = (night: string): string => `{{guestname}}, ${night}`;
export const nightIn = (note: string): string | undefined => /, ((?:night|backup)-[\d-]{1,40})$/.exec(note)?.[1];

/** Whether a snapshot was made in this night: by what it says of itself, and by its time when it says nothing. */
export const isOfNight = (
  snapshot: Pick<SnapshotFacts, 'night' | 'time'>,
  night: { night: string; startedAt: Date },
): boolean =>
  snapshot.night === undefined
    ? snapshot.time * 1_000 >= night.startedAt.getTime() - MAX_SKEW
    : snapshot.night === night.night;

/** Why a snapshot does not prove that its guest can be had back; undefined when it does. */
export function unprovenBecause(snapshot: SnapshotFacts, node: string, now: Date): Unproven | undefined {
  const latest = now.getTime() + MAX_SKEW;
  const { time, size, verification } = snapshot;
  if (!isNumber(time) || time <= 0) return 'unreadable';
  if (!(time * 1_000 <= latest)) return 'in the future';
  if (!isNumber(size) || size <= 0) return 'unfinished';
  if (!verification) return 'not verified';
  if (verification.node !== node || node === '') return 'verified by another server';
  if (verification.state === 'failed') return 'verification failed';
  const { state, at } = verification;
  // What was verified before it was there, or will be tomorrow, was not verified. A task that began before the backup
  // and came to it later is not believed either: the list does not tell the two apart.
  const possible = isNumber(at) && at * 1_000 <= latest && at * 1_000 + MAX_SKEW >= time * 1_000;
  return state === 'ok' && possible ? undefined : 'not verified';
}

/** One guest on one server. */
export function judgeCopy({
  guest,
  copy,
  objective,
  now,
}: {
  guest: Pick<BackedUpGuest, 'vmid' | 'kind'>;
  copy: CopyFacts | undefined;
  objective: number;
  now: Date;
}): CopyState {
  if (!copy) return { state: 'unknown' };
  const own = copy.snapshots.filter((snapshot) => isOf(guest, snapshot)).toSorted((a, b) => b.time - a.time);
  const newest = own[0];
  const why = newest && unprovenBecause(newest, copy.node, now);
  const unproven = newest && why ? { unproven: { time: newest.time, why } } : {};

  const proven = own.find((snapshot) => unprovenBecause(snapshot, copy.node, now) === undefined);
  if (!proven) return { state: 'never', ...unproven };
  const age = Math.max(0, now.getTime() - proven.time * 1_000);
  return {
    state: age <= objective ? 'ok' : age <= 2 * objective ? 'late' : 'breach',
    proven: {
      time: proven.time,
      age,
      size: proven.size as number,
      encrypted: proven.encrypted === true,
      ...(proven.keyFingerprint ? { keyFingerprint: proven.keyFingerprint } : {}),
      verifiedAt: proven.verification?.at as number,
    },
    ...unproven,
  };
}

export type SnapshotName = Pick<SnapshotFacts, 'type' | 'id' | 'time'>;

/** As the server and its tools write it, e.g. `vm/101/2026-11-26T01:10:00Z`. */
export const nameOf = ({ type, id, time }: SnapshotName): string =>
  `${type}/${id}/${new Date(time * 1_000).toISOString().slice(0, 19)}Z`;

export interface VerifyPlan {
  /** Not verified by this server yet, newest first. */
  fresh: SnapshotName[];
  /** Verified too long ago, or found broken before a newer backup that may have brought the missing parts. */
  again: SnapshotName[];
}

/**
 * What a server has to verify. Unfinished snapshots are left out: they have nothing to verify yet. `reverifyAfter` in
 * milliseconds; disks rot, and a server that is not told so never verifies a second time.
 */
export function planVerification({ node, snapshots }: CopyFacts, now: Date, reverifyAfter: number): VerifyPlan {
  const finished = snapshots.filter(({ time, size }) => isNumber(time) && isNumber(size) && size > 0);
  const newestOf = new Map<string, number>();
  for (const { type, id, time } of finished) {
    const group = `${type}/${id}`;
    newestOf.set(group, Math.max(time, newestOf.get(group) ?? time));
  }
  const plan: VerifyPlan = { fresh: [], again: [] };
  const byAge = finished.toSorted((a, b) => b.time - a.time || compareGroup(a, b));
  for (const snapshot of byAge) {
    const { type, id, time, verification } = snapshot;
    const here = verification?.node === node && isNumber(verification.at) ? verification : undefined;
    const isFailed = here?.state === 'failed';
    const name = { type, id, time };
    if (!isFailed && unprovenBecause(snapshot, node, now) !== undefined) plan.fresh.push(name);
    else if (here && isDue(here.at, isFailed, newestOf.get(`${type}/${id}`) ?? time)) plan.again.push(name);
  }
  return plan;

  function isDue(at: number, isFailed: boolean, newest: number): boolean {
    return now.getTime() - at * 1_000 > reverifyAfter || (isFailed && newest > at);
  }
}

/** Whether the newest proven snapshot of a group is among those that stay; true of a group that has none to lose. */
export function keepsNewestProven(
  { node, snapshots }: CopyFacts,
  staying: readonly Pick<SnapshotFacts, 'time'>[],
  now: Date,
): boolean {
  const proven = snapshots.filter((one) => unprovenBecause(one, node, now) === undefined).map(({ time }) => time);
  return proven.length === 0 || staying.some(({ time }) => time === Math.max(...proven));
}

/** Space is got back once a week; a store that was away in the night that is named for it waits no second week. */
const COLLECTED_WITHIN = 7 * 86_400_000;

/** By the last collection as the server tells of it: epoch seconds, and a state that is absent while it runs. */
export function isCollectionDue(
  lastRun: { state?: string | undefined; endTime?: number | undefined } | undefined,
  now: Date,
): boolean {
  if (!lastRun) return true;
  const { state, endTime } = lastRun;
  if (state === undefined) return false;
  const isKnown = hasEndedWell(state) && isNumber(endTime);
  return !isKnown || now.getTime() - endTime * 1_000 > COLLECTED_WITHIN;
}

/** `{ vmid: 101, kind: 'qemu' }` → `{ type: 'vm', id: '101' }` */
export const groupOf = ({ vmid, kind }: Pick<BackedUpGuest, 'vmid' | 'kind'>): GuestGroup => ({
  type: kind === 'qemu' ? 'vm' : 'ct',
  id: String(vmid),
});

/** Whether a snapshot is of this guest. */
export function isOf(guest: Pick<BackedUpGuest, 'vmid' | 'kind'>, snapshot: SnapshotFacts): boolean {
  const { type, id } = groupOf(guest);
  return snapshot.type === type && snapshot.id === id;
}

const compareGroup = (a: SnapshotName, b: SnapshotName): number =>
  `${a.type}/${a.id}` < `${b.type}/${b.id}` ? -1 : `${a.type}/${a.id}` > `${b.type}/${b.id}` ? 1 : 0;

/** NaN and what JSON made of it would compare as neither old nor new. */
const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
