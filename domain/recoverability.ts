import { MAX_SKEW } from './backup.js';
import { formatDuration } from './durations.js';
import type { Guest, Store } from './fleet.js';
import { groupedBy } from './grouped.js';
import type { GuestBackupRow, RestoreTestRow } from './messages/ledger.js';
import type { Stop } from './reasons.js';
import { hasFailed, pastOf, triedOf, type RestorePast, type TriedGuest } from './restore-past.js';

/**
 * Whether a store may be changed at all: what it has could be had back. A verified backup of every guest that is young
 * enough, and a restore of a guest of its class that was seen to work not too long ago; of a guest whose own restore was
 * seen to fail, no other one proves anything. What is not known is not proven.
 */

export interface RecoverableGuest {
  vmid: number;
  name: string;
  /** Guests that are restored alike, e.g. `pos`. */
  class: string;
  /** ISO instant of the newest proven backup, wherever it is; absent = none, or not known. */
  backedUpAt?: string | undefined;
  /** What its own newest restore test said, when that failed, or ''; it stays so until one passes. */
  failure?: string | undefined;
}

/** A restore test that passed. */
export interface RestoreProof {
  class: string;
  /** ISO instant. */
  at: string;
}

export interface RecoverabilityLimits {
  /** Milliseconds. */
  backupYoungerThan: number;
  restoreYoungerThan: number;
}

export type Unrecoverable = 'NoRecentBackup' | 'NoRestoreProof';

/** Somebody takes it on, and somebody else agrees. */
export interface RecoverabilityOverride {
  reason: Unrecoverable;
  /** Absent: every store. */
  stores?: readonly string[] | undefined;
  by: string;
  approvedBy: string;
  /** Why, in their words. */
  why: string;
  /** ISO instants. */
  at: string;
  expires: string;
}

export type RecoverabilityDecision =
  /** `overrides` are those that it rests on; they are recorded with the store's result. */
  { kind: 'proceed'; overrides: RecoverabilityOverride[] } | { kind: 'skip'; reason: Unrecoverable; stop: Stop };

const STEP = 'recoverability';

/** Guests that are restored alike, and prove it for one another. One that is called as a role is not of that role. */
export const classOf = ({ role, name }: Pick<Guest, 'role' | 'name'>): string =>
  role !== 'other' ? role : ROLES.includes(name) ? `other ${name}` : name;

const ROLES: readonly string[] = ['pos', 'inventory', 'cache', 'other'] satisfies Guest['role'][];

/** Whose restore tests are its own: those of the guest that store.yaml names, as the cluster was last seen to have it. */
export const triedAs = (
  guest: Pick<Guest, 'vmid' | 'kind' | 'role' | 'name'>,
  row: GuestBackupRow | undefined,
): TriedGuest & { class: string } => ({
  vmid: guest.vmid,
  kind: row?.kind ?? guest.kind,
  class: classOf(guest),
  ownSince: row?.ownSince,
});

/** Of what it is nobody has said, so no other guest's restore says anything of it. */
const classOfUnnamed = (name: string): string => `${name} (not in store.yaml)`;

/**
 * What there is to lose at a store, and what is proven of it: the guests that its file names, and those that the cluster
 * was last seen to have besides. Undefined for a store that nobody backs up, or has ever looked at. `trials`: of the store,
 * the newest of each result of each guest.
 */
export function recoverableGuests(
  { id, backup, guests }: Pick<Store, 'id' | 'backup' | 'guests'>,
  known: readonly GuestBackupRow[],
  trials: readonly RestoreTestRow[],
  now: Date,
): RecoverableGuest[] | undefined {
  const rows = known.filter(({ store, goneAt }) => store === id && goneAt === undefined);
  if (!backup || (rows.length === 0 && guests.length === 0)) return undefined;
  const rowOf = new Map(rows.map((row) => [row.vmid, row]));
  const provenAt = (vmid: number): string | undefined => {
    const row = rowOf.get(vmid);
    return [row?.local?.provenAt, row?.offsite?.provenAt]
      .flatMap((at) => at ?? [])
      .toSorted()
      .at(-1);
  };
  const named = guests.map((guest) => ({
    vmid: guest.vmid,
    name: guest.name,
    class: classOf(guest),
    past: pastOf(triedAs(guest, rowOf.get(guest.vmid)), trials),
  }));
  const isNamed = new Set(guests.map(({ vmid }) => vmid));
  const others = rows
    .filter(({ vmid }) => !isNamed.has(vmid))
    .map((row) => ({ vmid: row.vmid, name: row.name, class: classOfUnnamed(row.name), past: pastOf(row, trials) }));
  return [...named, ...others].map(({ past, ...guest }) => ({
    ...guest,
    backedUpAt: provenAt(guest.vmid),
    failure: failureOf(past, now),
  }));
}

const failureOf = (past: RestorePast, now: Date): string | undefined =>
  hasFailed(triedOf(past), now) ? (past.failed?.text ?? '') : undefined;

/** `guests` is absent when nobody could say which guests the store has. A store without guests has nothing to lose. */
export function decideRecoverability({
  store,
  guests,
  proofs,
  limits,
  overrides,
  now,
}: {
  store: string;
  guests: readonly RecoverableGuest[] | undefined;
  proofs: readonly RestoreProof[];
  limits: RecoverabilityLimits;
  overrides: readonly RecoverabilityOverride[];
  now: Date;
}): RecoverabilityDecision {
  const lacking: [reason: Unrecoverable, detail: string[]][] = [
    ['NoRecentBackup', backupsLacking(guests, limits, now)],
    ['NoRestoreProof', restoresLacking(guests ?? [], proofs, limits, now)],
  ];
  const open = lacking.filter(([, detail]) => detail.length > 0);
  const taken = open.map(([reason]) =>
    overrides.find((override) => override.reason === reason && holds(override, store, now)),
  );
  const first = open.find((_, index) => taken[index] === undefined);
  if (!first) return { kind: 'proceed', overrides: taken.filter((override) => override !== undefined) };
  const [reason, detail] = first;
  const more = detail.length > 1 ? ` (and ${detail.length - 1} more)` : '';
  return {
    kind: 'skip',
    reason,
    stop: {
      reason,
      step: STEP,
      summary: `${detail[0]}${more}`,
      detail: open.flatMap(([, lines]) => lines).slice(0, 20),
    },
  };
}

function backupsLacking(
  guests: readonly RecoverableGuest[] | undefined,
  { backupYoungerThan }: RecoverabilityLimits,
  now: Date,
): string[] {
  if (!guests) return ['nobody could say which guests the store has'];
  return guests.flatMap(({ vmid, name, backedUpAt }) => {
    const age = ageOf(backedUpAt, now);
    if (age !== undefined && age <= backupYoungerThan) return [];
    const seen = age === undefined ? 'no backup is proven' : `the newest proven backup is ${formatDuration(age)} old`;
    return [`guest ${vmid} (${name}): ${seen}, the limit is ${formatDuration(backupYoungerThan)}`];
  });
}

function restoresLacking(
  guests: readonly RecoverableGuest[],
  proofs: readonly RestoreProof[],
  { restoreYoungerThan }: RecoverabilityLimits,
  now: Date,
): string[] {
  const failed = guests.flatMap(({ vmid, name, failure }) =>
    failure === undefined
      ? []
      : [`guest ${vmid} (${name}): its own newest restore test failed${failure && `: ${failure}`}`],
  );
  const classes = [...new Set(guests.map((guest) => guest.class))].toSorted();
  const unproven = classes.flatMap((name) => {
    const ages = proofs.flatMap((proof) => (proof.class === name ? (ageOf(proof.at, now) ?? []) : []));
    const youngest = Math.min(...ages);
    if (youngest <= restoreYoungerThan) return [];
    const seen = ages.length === 0 ? 'no restore was ever proven' : `the last one was ${formatDuration(youngest)} ago`;
    return [`guests of class ${name}: ${seen}, the limit is ${formatDuration(restoreYoungerThan)}`];
  });
  return [...failed, ...unproven];
}

/** One person's word is not enough, nor one that has run out. */
function holds(
  { stores, by, approvedBy, why, at, expires }: RecoverabilityOverride,
  store: string,
  now: Date,
): boolean {
  const twoPeople = by.trim() !== '' && approvedBy.trim() !== '' && by.trim() !== approvedBy.trim();
  const inTime = ageOf(at, now) !== undefined && now.getTime() < Date.parse(expires);
  return twoPeople && why.trim() !== '' && inTime && (stores === undefined || stores.includes(store));
}

/** Milliseconds; undefined for what is no instant, or lies in the future. */
function ageOf(instant: string | undefined, now: Date): number | undefined {
  const age = instant === undefined ? Number.NaN : now.getTime() - Date.parse(instant);
  return age >= -MAX_SKEW ? Math.max(0, age) : undefined;
}

/** The youngest proof of each class is as good as all of them. */
function youngestOf(newest: readonly RestoreTestRow[], now: Date): RestoreProof[] {
  const youngest = new Map<string, { proof: RestoreProof; age: number }>();
  for (const { result, class: name, testedAt: at } of newest) {
    const age = result === 'pass' ? ageOf(at, now) : undefined;
    if (age !== undefined && age < (youngest.get(name)?.age ?? Infinity))
      youngest.set(name, { proof: { class: name, at }, age });
  }
  return [...youngest.values()].map(({ proof }) => proof);
}

/** Several stores at once. `policy`: the overrides, and why they could not be read, if so. */
export function judgeStores({
  stores,
  asked,
  known,
  newest,
  limits,
  policy,
  now,
}: {
  stores: readonly Pick<Store, 'id' | 'backup' | 'guests'>[];
  asked: readonly string[];
  known: readonly GuestBackupRow[];
  /** The newest trial of each result of each guest of the fleet. */
  newest: readonly RestoreTestRow[];
  limits: RecoverabilityLimits;
  policy: { overrides: readonly RecoverabilityOverride[]; problems: readonly string[] };
  now: Date;
}): {
  skipped: { store: string; stop: Stop }[];
  overrides: { override: RecoverabilityOverride; stores: string[] }[];
} {
  const skipped: { store: string; stop: Stop }[] = [];
  const used = new Map<RecoverabilityOverride, string[]>();
  const storeOf = new Map(stores.map((store) => [store.id, store]));
  const rowsOf = groupedBy(known, (row) => row.store);
  const trialsOf = groupedBy(newest, (row) => row.store);
  const youngest = youngestOf(newest, now);
  for (const id of asked) {
    const store = storeOf.get(id);
    const decision = decideRecoverability({
      store: id,
      guests: store && recoverableGuests(store, rowsOf.get(id) ?? [], trialsOf.get(id) ?? [], now),
      proofs: youngest,
      limits,
      overrides: policy.overrides,
      now,
    });
    if (decision.kind === 'skip') {
      const detail = [...(decision.stop.detail ?? []), ...policy.problems].slice(0, 20);
      skipped.push({ store: id, stop: { ...decision.stop, detail } });
    } else for (const override of decision.overrides) used.set(override, [...(used.get(override) ?? []), id]);
  }
  return { skipped, overrides: [...used].map(([override, taken]) => ({ override, stores: taken })) };
}
