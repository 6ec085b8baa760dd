import { abridge } from './abridge.js';
import { isOf, isOfNight, unprovenBecause, type BackedUpGuest, type CopyFacts, type SnapshotFacts } from './backup.js';
import { plural } from './counted.js';
import { groupedBy } from './grouped.js';

/**
 * Whether what a night has made is encrypted as what was before it, and with the same key. A storage that has lost its
 * key goes on, in clear, and says nothing; a new key shows nowhere until somebody restores what needs the old one.
 */

export interface EncryptionFacts {
  guests: readonly BackedUpGuest[];
  night: string;
  startedAt: Date;
  /** The store's own server. */
  local: CopyFacts;
  /** The second place holds what is pruned at the store. */
  there?: CopyFacts | undefined;
}

export interface InClear {
  vmid: number;
  name: string;
  because: string;
}

/** `wanted`: true, every backup has to be encrypted; false, none; absent, those of guests of which an earlier one is. */
export function backupsInClear(facts: EncryptionFacts, wanted: boolean | undefined, now: Date): InClear[] {
  return facts.guests.flatMap((guest) => {
    const { vmid, name } = guest;
    const made = newestOfNight(guest, facts, (one) => unprovenBecause(one, facts.local.node, now) === undefined);
    if (!made || made.encrypted || wanted === false) return [];
    if (wanted) return [{ vmid, name, because: 'though fleet.yaml asks for it' }];
    return encryptedBefore(guest, made, facts) ? [{ vmid, name, because: 'though an earlier one is' }] : [];
  });
}

export interface KeyChange {
  vmid: number;
  /** Fingerprints, in short. */
  from: string;
  to: string;
}

/** Guests whose backup of this night is encrypted with another key than the one before it: so it is told once. */
export function keyChanges(facts: EncryptionFacts, now: Date): KeyChange[] {
  return facts.guests.flatMap((guest) => {
    const made = newestOfNight(guest, facts, (one) => !isUnfinished(one, facts, now));
    const to = made?.encrypted ? made.keyFingerprint : undefined;
    const from = made && encryptedBefore(guest, made, facts)?.keyFingerprint;
    if (to === undefined || from === undefined || from === to) return [];
    return [{ vmid: guest.vmid, from: shortKey(from), to: shortKey(to) }];
  });
}

/** For people; undefined when no key has changed. */
export function keyChangeWords(store: string, changes: readonly KeyChange[]): string | undefined {
  if (changes.length === 0) return undefined;
  const told = [...groupedBy(changes, ({ from, to }) => `from key ${from} to ${to}`)].map(
    ([change, of]) =>
      `${change} (${of.length === 1 ? 'guest' : 'guests'} ${abridge(of.map(({ vmid }) => String(vmid)))})`,
  );
  return `The key that the backups of ${store} are encrypted with has changed for ${plural(changes.length, 'guest')}: ${told.join('; ')}. Backups so far need the old one. What to do: edge runbook KeyLost`;
}

/** The first eight bytes, as Proxmox shows a key. */
export const shortKey = (fingerprint: string): string =>
  /^(?:[0-9a-f]{2}:){7}[0-9a-f]{2}/i.exec(fingerprint)?.[0] ?? 'unreadable';

const newestFirst = (snapshots: readonly SnapshotFacts[]): SnapshotFacts[] =>
  snapshots.toSorted((a, b) => b.time - a.time);

const newestOfNight = (
  guest: BackedUpGuest,
  { local, ...which }: EncryptionFacts,
  counts: (one: SnapshotFacts) => boolean,
) => newestFirst(local.snapshots).find((one) => isOf(guest, one) && isOfNight(one, which) && counts(one));

/** Nobody can tell how it is encrypted. Whether it is verified says nothing of its key. */
const isUnfinished = (one: SnapshotFacts, { local }: EncryptionFacts, now: Date): boolean =>
  ['unreadable', 'in the future', 'unfinished'].includes(unprovenBecause(one, local.node, now) ?? '');

const encryptedBefore = (guest: BackedUpGuest, made: SnapshotFacts, { local, there }: EncryptionFacts) =>
  newestFirst([...local.snapshots, ...(there?.snapshots ?? [])]).find(
    (one) => isOf(guest, one) && one.encrypted && one.time < made.time,
  );
