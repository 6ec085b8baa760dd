import { abridge } from './abridge.js';
import {
  isOfNight,
  unprovenBecause,
  type BackedUpGuest,
  type CopyFacts,
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

export function judgeNight({ guests, local, offsite, runs, steps, ...which }: NightFacts, now: Date): NightResult {
  const unreadable = [
    ...(guests ? [] : ['the guests of the cluster could not be read']),
    ...(local ? [] : ['the backup server could not be read']),
  ];
  if (!guests || !local) return failed('FactsUnreadable', `${unreadable.join('; ')}.`, unreadable, []);

  const wanted = guests.filter(({ template }) => !template);
  const missing = wanted.flatMap((guest) => missingOf(guest, local, which, runs, now));
  const notThere = offsite ? wanted.filter((guest) => !isProvenIn(offsite.copy, guest, which, now)) : [];
  const broken = steps.filter(({ ok }) => !ok);
  const proven = wanted.length - missing.length;
  if (missing.length === 0 && notThere.length === 0 && broken.length === 0) {
    return { kind: 'succeeded', summary: `${proven} of ${wanted.length} guests backed up and verified.` };
  }

  const unread = offsite && !offsite.copy ? ['the server of the second place could not be read'] : [];
  const detail = [
    ...missing.map(({ vmid, name, why, text }) => `guest ${vmid} (${name}): ${why}${text ? `: ${text}` : ''}`),
    ...broken.map(({ what, detail: seen }) => `${what}: ${seen}`),
    ...unread,
  ];
  const lacking = [
    ...(missing.length > 0 ? [`not guest ${numbersOf(missing)}`] : []),
    ...(notThere.length > 0 ? [`not in the second place: guest ${numbersOf(notThere)}`] : []),
    ...(broken.length > 0 ? [`not done: ${[...new Set(broken.map(({ what }) => what))].join(', ')}`] : []),
  ];
  const summary = `${proven} of ${wanted.length} guests backed up and verified; ${lacking.join('; ')}.`;
  const failures = runs.flatMap((run) => (run.kind === 'failed' ? [run.failure] : []));
  const named: Reason | undefined = failures.includes('credentials')
    ? 'BackupRefused'
    : failures.includes('space')
      ? 'DatastoreFull'
      : missing.some(({ why }) => why === 'verification failed')
        ? 'BackupVerifyFailed'
        : undefined;
  if (proven === 0 && missing.length > 0) return failed(named ?? 'BackupFailed', summary, detail, missing);
  return { kind: 'partial', stop: stop(named ?? 'BackupIncomplete', summary, detail), missing };
}

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
  { kind, vmid }: BackedUpGuest,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
): SnapshotFacts[] =>
  copy.snapshots
    .filter((one) => one.type === (kind === 'qemu' ? 'vm' : 'ct') && one.id === String(vmid))
    .filter((one) => isOfNight(one, which))
    .toSorted((a, b) => b.time - a.time);

const isProvenIn = (
  copy: CopyFacts | undefined,
  guest: BackedUpGuest,
  which: Pick<NightFacts, 'night' | 'startedAt'>,
  now: Date,
): boolean =>
  copy !== undefined &&
  madeTonight(copy, guest, which).some((one) => unprovenBecause(one, copy.node, now) === undefined);

const numbersOf = (guests: readonly { vmid: number }[]): string => abridge(guests.map(({ vmid }) => String(vmid)));

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
