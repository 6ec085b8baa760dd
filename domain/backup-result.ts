import { abridge } from './abridge.js';
import {
  groupOf,
  isOf,
  isOfNight,
  nameOf,
  secondPlace,
  unprovenBecause,
  type BackedUpGuest,
  type CopyFacts,
  type GuestGroup,
  type SnapshotFacts,
  type Unproven,
} from './backup.js';
import { backupsInClear } from './backup-encryption.js';
import type { FailureClass, GuestRun } from './backup-failures.js';
import { byDisk, leftOutAdvice, leftOutWords, type MeantOut } from './left-out.js';
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
  /** Why it did not end well. */
  reason?: Reason | undefined;
  /** The night ended before it did; it goes on. */
  isAtWork?: boolean | undefined;
}

const AT_WORK = {
  verify: 'verifies',
  prune: 'prunes',
  collect: 'collects space',
  sync: 'sends to the central server',
} as const satisfies Record<NightStep['what'], string>;

/** Of a step that the night leaves running. */
export const stillAtWork = (what: NightStep['what'], where: string): NightStep => ({
  what,
  ok: false,
  detail: `still ${AT_WORK[what]}${where}; that goes on`,
  reason: 'BackupIncomplete',
  isAtWork: true,
});

/** Of a step that the night had no time for. */
export const notBegun = (what: NightStep['what'], where: string): NightStep => ({
  what,
  ok: false,
  detail: `not begun${where}: the night was over`,
  reason: 'BackupIncomplete',
});

export interface NightFacts {
  /** Absent when nobody has read the list. */
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
  /** Whether backups have to be encrypted; absent = as those before them. */
  encrypted?: boolean | undefined;
  runs: readonly GuestRun[];
  steps: readonly NightStep[];
  /** Why the dump was refused as a whole, or not given back, if so. */
  refusal?: Stop | undefined;
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

export function judgeNight(facts: NightFacts, now: Date): NightResult {
  const { guests, named, local, offsite, refusal } = facts;
  const there = secondPlace(local, offsite?.copy);
  const isMisnamed = offsite?.copy !== undefined && there === undefined;
  const listed = guests && isBelieved(guests, local) ? { guests, named } : undefined;
  const damaged = [...damagedIn(local, '', listed, now), ...damagedIn(there, ' at the central server', listed, now)];
  const result = judgeGuests({ ...facts, there, isMisnamed, damaged }, now);
  if (result.kind === 'succeeded' || !refusal) return result;
  // However it was refused: what the servers hold is told all the same.
  const { summary, detail = [] } = result.stop;
  const words = damaged.length > 0 ? ` ${damagedWords(damaged)}` : '';
  const lines = [summary, ...(refusal.detail ?? []), ...detail];
  return {
    ...result,
    stop: { step: STEP, ...refusal, summary: `${refusal.summary}${words}`, detail: shown(lines) },
  };
}

interface Judged extends NightFacts {
  /** The second place, when it could be read and can be trusted. */
  there: CopyFacts | undefined;
  isMisnamed: boolean;
  damaged: readonly Damaged[];
}

function judgeGuests(
  { guests, named, local, offsite, there, encrypted, isMisnamed, damaged, runs, steps, ...which }: Judged,
  now: Date,
): NightResult {
  const broken = steps.filter(({ ok }) => !ok);
  const seen = [
    ...damaged.slice(0, DAMAGED_SHOWN).map(adviceOn),
    ...broken.map(({ what, detail }) => `${what}: ${detail}`),
  ];
  const words = damaged.length > 0 ? ` ${damagedWords(damaged)}` : '';
  const unreadable = [
    ...(guests ? [] : ['nobody has read the guests of the cluster']),
    ...(local ? [] : ['the backup server could not be read']),
  ];
  const atWork = broken.filter(({ isAtWork }) => isAtWork);
  const cutShort = atWork.map(({ detail }) => `the night ended while the store ${detail}`);
  if (!guests || !local) {
    const summary = `${[...unreadable, ...cutShort].join('; ')}.${words}`;
    return failed('FactsUnreadable', summary, [...unreadable, ...seen], []);
  }

  const wanted = guests.filter(({ template }) => !template);
  const forgotten = forgottenBy(guests, local);
  if (forgotten.length > 0) {
    const summary = `the cluster lists no guest, and the backup server has backups of guest ${abridge(forgotten)}`;
    return failed('FactsUnreadable', `${summary}.${words}`, [summary, ...seen], []);
  }
  const unlisted = unlistedOf(named, guests);
  const missing = missingOf(guests, local, which, runs, now);
  const inPart = missing.flatMap(({ vmid, why }) => {
    const leftOut = wanted.find((guest) => guest.vmid === vmid)?.leftOut;
    return why === 'disks left out' && leftOut ? [`${vmid} (${leftOutWords(leftOut)})`] : [];
  });
  const notThere = offsite ? wanted.filter((guest) => !isProvenIn(there, guest, which, now)) : [];
  const inClear = backupsInClear({ guests: wanted, local, there, ...which }, encrypted, now);
  const total = wanted.length + unlisted.length;
  const proven = wanted.length - missing.length;
  const isWhole = proven === total && notThere.length === 0 && !isMisnamed;
  if (isWhole && broken.length === 0 && damaged.length === 0 && inClear.length === 0) {
    return { kind: 'succeeded', summary: `${proven} of ${total} guests backed up and verified.` };
  }

  const without = [...missing.filter(({ why }) => why !== 'disks left out'), ...unlisted].map(({ vmid }) => vmid);
  // One that found damage was done: what is damaged is told by itself.
  const ended = broken.filter(({ isAtWork }) => !isAtWork);
  const undone = ended.filter(({ reason }) => reason !== 'BackupVerifyFailed').map(({ what }) => what);
  const lacking = [
    ...(without.length > 0 ? [`not guest ${numbersOf(without)}`] : []),
    ...(inPart.length > 0 ? [`disks left out of guest ${abridge(inPart)}`] : []),
    ...(isMisnamed ? [misnamed(local.node)] : []),
    ...(notThere.length > 0 ? [`not in the second place: guest ${numbersOf(notThere.map(({ vmid }) => vmid))}`] : []),
    ...(inClear.length > 0 ? [`not encrypted: guest ${numbersOf(inClear.map(({ vmid }) => vmid))}`] : []),
    ...(undone.length > 0 ? [`not done: ${[...new Set(undone)].join(', ')}`] : []),
    ...(undone.length < ended.length ? ['a verification found damage'] : []),
    ...cutShort,
  ];
  const summary = `${[`${proven} of ${total} guests backed up and verified`, ...lacking].join('; ')}.${words}`;
  const detail = [
    ...missing.map(({ vmid, name, why, text }) => `guest ${vmid} (${name}): ${why}${text ? `: ${text}` : ''}`),
    ...unlisted.map((one) => `guest ${one.vmid}: ${unlistedBecause(one)}`),
    ...inClear.map(({ vmid, name, because }) => `guest ${vmid} (${name}): its new backup is not encrypted, ${because}`),
    ...seen,
    ...(offsite && !offsite.copy ? ['the server of the second place could not be read'] : []),
  ];
  const reasons = [...reasonsIn(runs, missing, broken, damaged), ...inClear.map((): Reason => 'BackupUnencrypted')];
  const reason = REASONS.find((one) => reasons.includes(one));
  if (proven === 0 && inPart.length === 0 && without.length > 0)
    return failed(reason ?? 'BackupFailed', summary, detail, missing);
  return { kind: 'partial', stop: stop(reason ?? 'BackupIncomplete', summary, detail), missing };
}

/** What is said before anything else that is wrong as well, the first before all. */
const REASONS = [
  'BackupRefused',
  'DatastoreFull',
  'BackupVerifyFailed',
  'BackupUnencrypted',
] as const satisfies Reason[];

const reasonsIn = (
  runs: readonly GuestRun[],
  missing: readonly MissingGuest[],
  broken: readonly NightStep[],
  damaged: readonly Damaged[],
): (Reason | undefined)[] => [
  ...runs.map((run) => (run.kind === 'failed' ? REASON_OF_FAILURE[run.failure] : undefined)),
  ...missing.map(({ why }) => (why === 'verification failed' ? 'BackupVerifyFailed' : undefined)),
  ...broken.map(({ reason }) => reason),
  ...damaged.map((): Reason => 'BackupVerifyFailed'),
];

const REASON_OF_FAILURE: Partial<Record<FailureClass, Reason>> = {
  credentials: 'BackupRefused',
  space: 'DatastoreFull',
};

const misnamed = (node: string): string =>
  `both backup servers are called ${node}, so nobody knows which of them has verified what: give each a host name of its own`;

interface Damaged {
  snapshot: SnapshotFacts;
  where: string;
  /** Whether a newer snapshot of the guest is proven there. */
  isReplaced: boolean;
  /** Why nobody dumps the guest any more, if so. */
  ended?: string | undefined;
}

/** The guests, when the list of them is believed. */
type Listed = Pick<NightFacts, 'named'> & { guests: readonly BackedUpGuest[] };

const DAMAGED_SHOWN = 5;

/** Snapshots that their server has found broken, of this night or not. */
function damagedIn(copy: CopyFacts | undefined, where: string, listed: Listed | undefined, now: Date): Damaged[] {
  if (!copy) return [];
  const { node, snapshots } = copy;
  const isProven = (one: SnapshotFacts) => unprovenBecause(one, node, now) === undefined;
  return snapshots
    .filter((one) => unprovenBecause(one, node, now) === 'verification failed')
    .map((snapshot) => {
      const { type, id, time } = snapshot;
      const newer = snapshots.filter((one) => one.type === type && one.id === id && one.time > time);
      return { snapshot, where, isReplaced: newer.some(isProven), ended: listed && endedBecause(snapshot, listed) };
    });
}

/** Nobody waits for a newer snapshot of such a guest. One that store.yaml names is meant to be there, and may be again. */
function endedBecause(snapshot: SnapshotFacts, { guests, named = [] }: Listed): string | undefined {
  if (snapshot.type === 'host' || named.includes(Number(snapshot.id))) return undefined;
  const guest = guests.find((one) => isOf(one, snapshot));
  if (!guest) return 'the cluster has no such guest any more';
  return guest.template ? 'the guest is a template, which nobody dumps' : undefined;
}

const damagedWords = (damaged: readonly Damaged[]): string =>
  `Damaged: ${abridge(damaged.map(({ snapshot, where }) => `${nameOf(snapshot)}${where}`))}.`;

const adviceOn = (damaged: Damaged): string =>
  `snapshot ${nameOf(damaged.snapshot)}${damaged.where}: verification failed; ${wayOutOf(damaged)}`;

/** Pruning leaves the newest ones of a guest that nobody dumps any more for good. */
function wayOutOf({ isReplaced, ended }: Damaged): string {
  if (isReplaced)
    return `a newer one of the guest is proven, so forget this one there${ended ? '' : ', or leave it to pruning'}`;
  if (ended) return `${ended}, so no newer one will come: forget it there when nobody needs what it holds`;
  return 'no newer one of the guest is proven: keep it until one is';
}

export interface Unlisted {
  vmid: number;
  /** Else the cluster does not list it. */
  isTemplate: boolean;
}

/** Those that store.yaml names and that nobody can have dumped. */
export const unlistedOf = (named: readonly number[] = [], guests: readonly BackedUpGuest[]): Unlisted[] =>
  named
    .map((vmid) => ({ vmid, guest: guests.find((one) => one.vmid === vmid) }))
    .filter(({ guest }) => guest === undefined || guest.template)
    .map(({ vmid, guest }) => ({ vmid, isTemplate: guest !== undefined }));

const unlistedBecause = ({ isTemplate }: Unlisted): string =>
  isTemplate
    ? 'it is a template, which nobody dumps, though store.yaml names it'
    : 'the cluster does not list it, though store.yaml names it';

/** Guests that a server has backups of, when the cluster lists nobody. */
const forgottenBy = (guests: readonly BackedUpGuest[], { snapshots }: CopyFacts): string[] =>
  hasGuests(guests) ? [] : [...new Set(snapshots.filter(({ type }) => type !== 'host').map(({ id }) => id))];

/** That a cluster lists nobody is believed when the server has backups of nobody. */
export const isBelieved = (guests: readonly BackedUpGuest[], copy: CopyFacts | undefined): boolean =>
  hasGuests(guests) || (copy !== undefined && forgottenBy(guests, copy).length === 0);

const hasGuests = (guests: readonly BackedUpGuest[]): boolean => guests.some(({ template }) => !template);

/**
 * Groups whose guest has a proven backup of this night, with all its disks: there is no danger that the last good one
 * makes room for it.
 */
export const provenGroups = (
  guests: readonly BackedUpGuest[] | undefined,
  copy: CopyFacts,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
  now: Date,
): GuestGroup[] =>
  (guests ?? [])
    .filter((guest) => !guest.template && !lacksDisks(guest) && isProvenIn(copy, guest, which, now))
    .map(groupOf);

/** What the guests' settings, or the dumps themselves, say is left out, without what is meant to be. */
export const withLeftOut = (
  guests: readonly BackedUpGuest[],
  runs: readonly GuestRun[],
  meant: MeantOut,
): BackedUpGuest[] =>
  guests.map(({ leftOut, ...guest }) => {
    const run = runs.find(({ vmid }) => vmid === guest.vmid);
    const seen = [
      ...(leftOut === 'unread' ? [] : (leftOut ?? [])),
      ...(run?.kind === 'done' ? (run.leftOut ?? []) : []),
    ];
    const own = Object.hasOwn(meant, String(guest.vmid)) ? (meant[String(guest.vmid)] ?? []) : [];
    const unmeant = [...new Set(seen)].filter((disk) => !own.includes(disk)).toSorted(byDisk);
    if (unmeant.length > 0) return { ...guest, leftOut: unmeant };
    return leftOut === 'unread' ? { ...guest, leftOut } : guest;
  });

/** The guests as they were read last; of those that cannot be read now what the same night has read before its dumps. */
export const asReadBefore = (
  guests: readonly BackedUpGuest[],
  before: readonly BackedUpGuest[] = [],
): BackedUpGuest[] =>
  guests.map((guest) => {
    const earlier = before.find((one) => one.vmid === guest.vmid && one.kind === guest.kind);
    return guest.leftOut === 'unread' && earlier ? { ...guest, leftOut: earlier.leftOut } : guest;
  });

export const lacksDisks = ({ leftOut }: BackedUpGuest): boolean => leftOut !== undefined && leftOut.length > 0;

/** Those of them of which nothing newer is in doubt: it could take the place of the proven one in what is kept. */
export const prunableGroups: typeof provenGroups = (guests, copy, which, now) =>
  provenGroups(guests, copy, which, now).filter(({ type, id }) => {
    const all = copy.snapshots.filter((one) => one.type === type && one.id === id);
    const newest = all.toSorted((a, b) => b.time - a.time)[0];
    return newest !== undefined && unprovenBecause(newest, copy.node, now) === undefined;
  });

/** Of which this night has no proven backup. */
export const missingOf = (
  guests: readonly BackedUpGuest[],
  local: CopyFacts,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
  runs: readonly GuestRun[],
  now: Date,
): MissingGuest[] =>
  guests
    .filter(({ template }) => !template)
    .flatMap((guest) => {
      const tonight = madeTonight(local, guest, which);
      const unproven = tonight.map((snapshot) => unprovenBecause(snapshot, local.node, now));
      if (unproven.includes(undefined)) return lacksDisks(guest) ? [inPartOf(guest)] : [];
      const run = runs.find(({ vmid }) => vmid === guest.vmid);
      const text = run?.kind === 'failed' ? { text: run.text } : {};
      return [{ vmid: guest.vmid, name: guest.name, why: unproven[0] ?? 'nothing new', ...text }];
    });

const inPartOf = ({ vmid, name, leftOut = 'unread' }: BackedUpGuest): MissingGuest => ({
  vmid,
  name,
  why: 'disks left out',
  text: leftOutAdvice(leftOut),
});

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
  detail: shown(detail),
});

const shown = (detail: string[]): string[] => detail.slice(0, 20);
