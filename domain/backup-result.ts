import { abridge } from './abridge.js';
import {
  groupOf,
  isOf,
  isOfNight,
  unprovenBecause,
  type BackedUpGuest,
  type CopyFacts,
  type GuestGroup,
  type SnapshotFacts,
  type Unproven,
} from './backup.js';
import type { GuestRun } from './backup-failures.js';
import type { Reason, Stop } from './reasons.js';

/**
 * How a night ended for one store, judged from what its backup server holds afterwards. A job that says it succeeded
 * is no proof, and a part is never the whole.
 */

/** What else a night has to do beside the backups; only what was due. */
export interface NightStep {
  what: 'verify' | 'prune' | 'collect' | 'sync';
  ok: boolean;
  /** What was seen. Never a secret. */
  detail: string;
}

export interface NightFacts {
  /** Absent when the list could not be read. */
  guests?: readonly BackedUpGuest[] | undefined;
  /** Numbers of those that store.yaml names. */
  named?: readonly number[] | undefined;
  night: string;
  /** When the operation began; what is older and does not say that it is of this night is last night's. */
  startedAt: Date;
  /** The store's own server, read after the last step; absent when it could not be. */
  local?: CopyFacts | undefined;
  /** Of the second place, and whether there is one. */
  offsite?: { copy: CopyFacts | undefined } | undefined;
  runs: readonly GuestRun[];
  steps: readonly NightStep[];
}

export interface MissingGuest {
  vmid: number;
  name: string;
  /** `nothing new` when the server has no snapshot of this night. */
  why: Unproven | 'nothing new';
  /** What the backup said, if it said anything. */
  text?: string;
}

export type NightResult =
  | { kind: 'succeeded'; summary: string }
  /** Some guests, or some steps. Counts as a failure wherever stores are counted. */
  | { kind: 'partial'; stop: Stop; missing: MissingGuest[] }
  /** Nothing is proven of this night. */
  | { kind: 'failed'; stop: Stop; missing: MissingGuest[] };

const STEP = 'backup';

export function judgeNight(
  { guests, named, local, offsite, runs, steps, ...which }: NightFacts,
  now: Date,
): NightResult {
  const unreadable = [
    ...(guests ? [] : ['the guests of the cluster could not be read']),
    ...(local ? [] : ['the backup server could not be read']),
  ];
  if (!guests || !local) return failed('FactsUnreadable', `${unreadable.join('; ')}.`, unreadable, []);

  const wanted = guests.filter(({ template }) => !template);
  const forgotten = forgottenBy(guests, local);
  if (forgotten.length > 0) {
    const summary = `the cluster lists no guest, and the backup server has backups of guest ${abridge(forgotten)}`;
    return failed('FactsUnreadable', `${summary}.`, [summary], []);
  }
  const unlisted = unlistedOf(named, guests);
  const missing = wanted.flatMap((guest) => missingOf(guest, local, which, runs, now));
  const notThere = offsite ? wanted.filter((guest) => !isProvenIn(offsite.copy, guest, which, now)) : [];
  const broken = steps.filter(({ ok }) => !ok);
  const total = wanted.length + unlisted.length;
  const proven = wanted.length - missing.length;
  if (proven === total && notThere.length === 0 && broken.length === 0) {
    return { kind: 'succeeded', summary: `${proven} of ${total} guests backed up and verified.` };
  }

  const unread = offsite && !offsite.copy ? ['the server of the second place could not be read'] : [];
  const detail = [
    ...missing.map(({ vmid, name, why, text }) => `guest ${vmid} (${name}): ${why}${text ? `: ${text}` : ''}`),
    ...unlisted.map((vmid) => `guest ${vmid}: the cluster does not list it, though store.yaml names it`),
    ...broken.map(({ what, detail: seen }) => `${what}: ${seen}`),
    ...unread,
  ];
  const without = [...missing.map(({ vmid }) => vmid), ...unlisted];
  const lacking = [
    ...(without.length > 0 ? [`not guest ${numbersOf(without)}`] : []),
    ...(notThere.length > 0 ? [`not in the second place: guest ${numbersOf(notThere.map(({ vmid }) => vmid))}`] : []),
    ...(broken.length > 0 ? [`not done: ${[...new Set(broken.map(({ what }) => what))].join(', ')}`] : []),
  ];
  const summary = `${proven} of ${total} guests backed up and verified; ${lacking.join('; ')}.`;
  const failures = runs.flatMap((run) => (run.kind === 'failed' ? [run.failure] : []));
  const reason: Reason | undefined = failures.includes('credentials')
    ? 'BackupRefused'
    : failures.includes('space')
      ? 'DatastoreFull'
      : missing.some(({ why }) => why === 'verification failed')
        ? 'BackupVerifyFailed'
        : undefined;
  if (proven === 0 && without.length > 0) return failed(reason ?? 'BackupFailed', summary, detail, missing);
  return { kind: 'partial', stop: stop(reason ?? 'BackupIncomplete', summary, detail), missing };
}

/** Those that store.yaml names and the cluster does not list: nobody can have dumped them. */
export const unlistedOf = (named: readonly number[] = [], guests: readonly BackedUpGuest[]): number[] =>
  named.filter((vmid) => !guests.some((guest) => guest.vmid === vmid));

/** Guests that a server has backups of, when the cluster lists nobody. */
const forgottenBy = (guests: readonly BackedUpGuest[], { snapshots }: CopyFacts): string[] =>
  hasGuests(guests) ? [] : [...new Set(snapshots.filter(({ type }) => type !== 'host').map(({ id }) => id))];

/** That a cluster lists nobody is believed when the server has backups of nobody. */
export const isBelieved = (guests: readonly BackedUpGuest[], copy: CopyFacts | undefined): boolean =>
  hasGuests(guests) || (copy !== undefined && forgottenBy(guests, copy).length === 0);

const hasGuests = (guests: readonly BackedUpGuest[]): boolean => guests.some(({ template }) => !template);

/** Groups whose guest has a proven backup of this night: there is no danger that the last good one makes room for it. */
export const provenGroups = (
  guests: readonly BackedUpGuest[] | undefined,
  copy: CopyFacts,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
  now: Date,
): GuestGroup[] =>
  (guests ?? []).filter((guest) => !guest.template && isProvenIn(copy, guest, which, now)).map(groupOf);

function missingOf(
  guest: BackedUpGuest,
  local: CopyFacts,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
  runs: readonly GuestRun[],
  now: Date,
): MissingGuest[] {
  const tonight = madeTonight(local, guest, which);
  const unproven = tonight.map((snapshot) => unprovenBecause(snapshot, local.node, now));
  if (unproven.includes(undefined)) return [];
  const run = runs.find(({ vmid }) => vmid === guest.vmid);
  const text = run?.kind === 'failed' ? { text: run.text } : {};
  return [{ vmid: guest.vmid, name: guest.name, why: unproven[0] ?? 'nothing new', ...text }];
}

const madeTonight = (
  copy: CopyFacts,
  guest: BackedUpGuest,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
): SnapshotFacts[] =>
  copy.snapshots.filter((one) => isOf(guest, one) && isOfNight(one, which)).toSorted((a, b) => b.time - a.time);

const isProvenIn = (
  copy: CopyFacts | undefined,
  guest: BackedUpGuest,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
  now: Date,
): boolean =>
  copy !== undefined &&
  madeTonight(copy, guest, which).some((one) => unprovenBecause(one, copy.node, now) === undefined);

const numbersOf = (vmids: readonly number[]): string => abridge(vmids.map(String));

const failed = (reason: Reason, summary: string, detail: string[], missing: MissingGuest[]): NightResult => ({
  kind: 'failed',
  stop: stop(reason, summary, detail),
  missing,
});

const stop = (reason: Reason, summary: string, detail: string[]): Stop => ({
  reason,
  step: STEP,
  summary,
  detail: detail.slice(0, 20),
});
