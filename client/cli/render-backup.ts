import type { RpoState } from '#domain/backup.js';
import { shortKey } from '#domain/backup-encryption.js';
import {
  clearConcern,
  countsOf,
  datastoreConcern,
  percentWords,
  RPO_STATES,
  stateIn,
  type BackupStatus,
  type CopyStatus,
  type DatastoreStatus,
  type GuestStatus,
  type StateCounts,
  type StoreStatus,
} from '#domain/backup-status.js';
import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import { groupedBy } from '#domain/grouped.js';
import { leftOutAdvice } from '#domain/left-out.js';
import type { KnownCopy, NightGuestRow, NightRow } from '#domain/messages/ledger.js';
import { tallyWords } from './render-train.js';
import { columns, fit, listed, printable, timeInZone, timeOf, wrap, type Clock } from './text.js';

/** What `edge backup status` and `edge backup history` say. Pure. */

const MAX_STORES = 20;
const WIDTH = 80;
/** Characters of a guest's name in a table. */
const MAX_NAME = 18;

/** The whole fleet: how many are as they should be, then those that are not or are in these states, the worst first. */
export function renderFleetStatus(
  { storeCounts, stores, notBackedUp }: BackupStatus,
  states?: readonly RpoState[],
): string[] {
  if (stores.length === 0 && notBackedUp.length === 1) return notBackedUpLines(notBackedUp);
  if (stores.length === 0) return ['No store of this fleet is backed up.', ...notBackedUpLines(notBackedUp)];
  const guests = stores.flatMap((store) => store.guests);
  const offsite = guests.flatMap(({ offsite: copy, inGrace }) => (copy ? [{ state: stateIn(copy, inGrace) }] : []));
  return [
    `Backups of ${plural(stores.length, 'store')}, ${plural(guests.length, 'guest')}:`,
    `  Stores, by their worst guest: ${countsWords(storeCounts)}`,
    ...(guests.length === 0
      ? []
      : [
          `  Guests, at the store: ${countsWords(countsOf(guests.map(({ local, inGrace }) => ({ state: stateIn(local, inGrace) }))))}`,
        ]),
    ...(offsite.length === 0 ? [] : [`  Guests, in the second place: ${countsWords(countsOf(offsite))}`]),
    ...storeLines(stores, states),
    ...[clearConcern({ stores }), datastoreConcern({ stores })].flatMap((concern) =>
      concern === undefined ? [] : wrap(printable(concern), WIDTH),
    ),
    ...notBackedUpLines(notBackedUp),
  ];
}

const WHAT_TO_DO = 'What to do: edge runbook RpoBreach';

function storeLines(stores: readonly StoreStatus[], states: readonly RpoState[] | undefined): string[] {
  const wanted = stores.filter(({ state }) => (states ? states.includes(state) : state !== 'ok'));
  if (wanted.length === 0)
    return [states ? `No store is ${states.join(' or ')}.` : 'Every guest has a proven backup that is young enough.'];
  const shown = wanted.slice(0, MAX_STORES);
  const rows = shown.map(({ store, state, guests: [worst] }) => [
    printable(store),
    state.toUpperCase(),
    worst ? `${ageWords(worst)}: guest ${worst.vmid} (${printable(worst.name)})` : 'no guest is known',
  ]);
  return [
    states ? `Stores that are ${states.join(' or ')}, the worst first:` : 'Not as it should be, the worst first:',
    ...columns(rows).map((line) => fit(line, WIDTH)),
    ...(wanted.length > shown.length
      ? [`  and ${wanted.length - shown.length} more; fewer at a time: --state STATE, all of them: --json`]
      : []),
    `See one of them: edge backup status ${printable(shown[0]?.store ?? 'STORE')}`,
    ...(wanted.some(({ state }) => state !== 'ok') ? [WHAT_TO_DO] : []),
  ];
}

const notBackedUpLines = (stores: readonly string[]): string[] =>
  stores.length === 0
    ? []
    : wrap(
        `Nobody backs these up (no section backup in store.yaml or fleet.yaml): ${listed(stores.map(printable), 10)}`,
        WIDTH,
      );

/** One store, guest by guest; only those in these states. */
export function renderStoreStatus(
  { store, state, guests, datastores }: StoreStatus,
  clock: Clock,
  states?: readonly RpoState[],
): string[] {
  const head = `${printable(store)}: ${state.toUpperCase()}`;
  const now = [`Back it up now: edge backup run --store ${printable(store)}`, WHAT_TO_DO];
  const space = datastores.flatMap((one) => datastoreLines(one, clock));
  if (guests.length === 0) return [`${head}. No guest of it is known; was it ever backed up?`, ...space, ...now];
  const shown = guests.filter((guest) => !states || states.includes(guest.state));
  const table = [
    ['guest', 'at the store', 'second place', 'size', 'encrypted'],
    ...shown.map((guest) => [
      `${guest.vmid} ${fit(printable(guest.name), MAX_NAME)}`,
      copyWords(guest.local),
      guest.offsite ? copyWords(guest.offsite) : 'none',
      sizeWords(guest.row?.local?.size),
      guest.row?.local?.encrypted === undefined ? 'unknown' : guest.row.local.encrypted ? 'yes' : 'no',
    ]),
  ];
  return [
    `${head}. ${plural(guests.length, 'guest')}, the worst first (ages of the newest proven backup):`,
    ...(shown.length === 0 ? [`  No guest is ${states?.join(' or ')}.`] : columns(table)),
    ...shown.flatMap((guest) => remarks(guest, clock)),
    ...keyLines(shown),
    ...space,
    ...(state === 'ok' ? [] : now),
  ];
}

/** Which keys a restore of the newest backups needs. */
function keyLines(guests: readonly GuestStatus[]): string[] {
  const keyed = guests.flatMap(({ vmid, row }) =>
    row?.local?.keyFingerprint ? [{ vmid, key: row.local.keyFingerprint }] : [],
  );
  const keys = [...groupedBy(keyed, ({ key }) => shortKey(key))];
  return keys.flatMap(([key, of]) => {
    const whose =
      keys.length === 1
        ? ''
        : ` (${of.length === 1 ? 'guest' : 'guests'} ${listed(
            of.map(({ vmid }) => String(vmid)),
            10,
          )})`;
    return wrap(`Encrypted with key ${key}${whose}`, WIDTH, '  ');
  });
}

function datastoreLines(datastore: DatastoreStatus, clock: Clock): string[] {
  const { place, total, used, share, stillBad = 0, readAt } = datastore;
  const where = place === 'local' ? 'at the store' : 'of the second place';
  const space =
    share === undefined
      ? 'the server does not say how full it is'
      : `${percentWords(datastore)} full, ${sizeWords(used)} of ${sizeWords(total)}`;
  const damage = stillBad > 0 ? `; ${plural(stillBad, 'damaged part')} that no backup has written anew` : '';
  return wrap(`Datastore ${where}: ${space}${damage}, read ${timeInZone(readAt, clock)}`, WIDTH, '  ');
}

/** One guest, with what became of it in the last nights. */
export function renderGuestStatus(guest: GuestStatus, history: readonly NightGuestRow[], clock: Clock): string[] {
  const { store, vmid, name, tier, state, local, offsite, row } = guest;
  const size = sizeWords(row?.local?.size);
  const { encrypted, keyFingerprint } = row?.local ?? {};
  const sealed = keyFingerprint ? `encrypted with key ${shortKey(keyFingerprint)}` : 'encrypted';
  const facts = [
    `tier ${printable(tier)}`,
    ...(size === '' ? [] : [size]),
    ...(encrypted === undefined ? [] : [encrypted ? sealed : 'not encrypted']),
  ];
  return [
    `${printable(store)}, guest ${vmid} (${printable(name)}): ${state.toUpperCase()}, ${facts.join(', ')}`,
    `  At the store: ${copyWords(local)}; it may be ${formatDuration(local.objective)}`,
    ...(offsite ? [`  Second place: ${copyWords(offsite)}; it may be ${formatDuration(offsite.objective)}`] : []),
    ...remarks(guest, clock),
    ...(history.length === 0 ? ['  No night is on record.'] : ['Last nights:', ...history.flatMap(nightGuestLines)]),
  ];
}

function nightGuestLines({ night, result, text, offsite }: NightGuestRow): string[] {
  const copied = offsite === undefined ? '' : `, ${offsite ? '' : 'not '}proven in the second place`;
  return [
    `  ${printable(night)}  ${printable(result)}${copied}`,
    ...(text === undefined || text === '' ? [] : wrap(printable(text), WIDTH, '    ')),
  ];
}

function remarks({ vmid, inGrace, inRepo, inClear, row, local, offsite }: GuestStatus, clock: Clock): string[] {
  const unproven = (where: string, at: string | undefined, why: string | undefined) =>
    at === undefined
      ? []
      : [`a newer backup ${where}, of ${timeInZone(at, clock)}, is not proven: ${printable(why ?? 'unknown why')}`];
  return [
    ...(inGrace && local.state === 'never' ? ['it is new and needs no backup yet.'] : []),
    ...(inRepo ? [] : ['it is not named in store.yaml.']),
    ...(inClear ? ['its backup is not encrypted, though fleet.yaml asks for it: edge runbook BackupUnencrypted'] : []),
    ...(row?.leftOut && !isProven(row.local, row.offsite)
      ? [`disks left out: ${leftOutAdvice(row.leftOut.disks)}.`]
      : []),
    ...unproven('at the store', row?.local?.unprovenAt, row?.local?.unprovenWhy),
    ...unproven('in the second place', row?.offsite?.unprovenAt, row?.offsite?.unprovenWhy),
    ...silence('at the store', local, clock),
    ...(offsite ? silence('in the second place', offsite, clock) : []),
  ].flatMap((remark) => wrap(`Guest ${vmid}: ${remark}`, WIDTH, '  '));
}

/** Of a guest of which disks were left out once: what is proven was begun after that. */
const isProven = (...copies: (KnownCopy | undefined)[]): boolean => copies.some((copy) => copy?.provenAt !== undefined);

/** A state that nobody has looked at for too long is no state. */
function silence(where: string, { state, readAt }: CopyStatus, clock: Clock): string[] {
  if (state !== 'unknown') return [];
  const since = readAt === undefined ? 'was never read' : `was last read ${timeInZone(readAt, clock)}`;
  return [`the server ${where} ${since}.`];
}

export function renderNights(nights: readonly NightRow[], clock: Clock): string[] {
  if (nights.length === 0) return ['No night of backups is on record. Start one: edge backup run'];
  const reasons = [...new Set(nights.flatMap(({ reason }) => reason ?? []))];
  return [
    `Nights, the newest first (times in ${clock.zone}):`,
    ...nights.flatMap((night) => nightLines(night, clock)),
    ...(reasons.length === 0
      ? []
      : wrap(`What to do: ${reasons.map((reason) => `edge runbook ${printable(reason)}`).join(', ')}`, WIDTH)),
  ];
}

function nightLines(
  { id, state, reason, summary, stores, tally, startedAt, endedAt }: NightRow,
  clock: Clock,
): string[] {
  const counts = tallyWords(tally);
  const took = endedAt === undefined ? '' : `, took ${formatDuration(Date.parse(endedAt) - Date.parse(startedAt))}`;
  const told = [plural(stores, 'store'), ...(counts === '' ? [] : [counts])].join(': ');
  const why = [reason, reason === undefined ? undefined : summary].filter((part) => part !== undefined).join(': ');
  return [
    `  ${timeOf(startedAt, clock)}  ${printable(id)}  ${printable(state)}${took}`,
    ...wrap(told, WIDTH, '    '),
    ...(why === '' ? [] : wrap(printable(why), WIDTH, '    ')),
  ];
}

/** How old the worse copy is, against what it may be. */
function ageWords({ state, local, offsite }: GuestStatus): string {
  const isLocal = local.state === state || !offsite;
  const where = isLocal ? 'at the store' : 'in the second place';
  const copy = isLocal ? local : offsite;
  if (copy.state === 'never') return `no proven backup ${where}`;
  if (copy.age === undefined) return `nothing is known ${where}`;
  const age = `${formatDuration(roundAge(copy.age))} old ${where}`;
  return copy.state === 'unknown'
    ? `${age}, not read for too long`
    : `${age}, may be ${formatDuration(copy.objective)}`;
}

/** `ok, 3 h` or `never` */
const copyWords = ({ state, age }: CopyStatus): string =>
  age === undefined ? state : `${state}, ${formatDuration(roundAge(age))}`;

/** Nobody needs the seconds of a day. */
const roundAge = (age: number): number => {
  const unit = age < 600_000 ? 1_000 : age < 86_400_000 ? 60_000 : 3_600_000;
  return Math.floor(age / unit) * unit;
};

const countsWords = (counts: StateCounts): string =>
  RPO_STATES.filter((state) => counts[state] > 0)
    .map((state) => `${state} ${counts[state]}`)
    .join(', ');

const sizeWords = (bytes: number | undefined): string =>
  bytes === undefined ? '' : `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
