import {
  RPO_STATES,
  type BackupStatus,
  type CopyStatus,
  type GuestStatus,
  type StateCounts,
  type StoreStatus,
} from '#domain/backup-status.js';
import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import type { NightGuestRow, NightRow } from '#domain/messages/ledger.js';
import { OUTCOME_WORDS, OUTCOMES } from '#domain/outcomes.js';
import { columns, listed, printable, timeOf, type Clock } from './text.js';

/** What `edge backup status` and `edge backup history` say. Pure. */

const MAX_STORES = 20;

/** The whole fleet: how many are as they should be, then those that are not, the worst first. */
export function renderFleetStatus({ counts, storeCounts, stores, notBackedUp }: BackupStatus): string[] {
  if (stores.length === 0) return ['No store of this fleet is backed up.', ...notBackedUpLines(notBackedUp)];
  const bad = stores.filter(({ state }) => state !== 'ok');
  const shown = bad.slice(0, MAX_STORES);
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  return [
    `Backups of ${plural(stores.length, 'store')}, ${plural(total, 'guest')}:`,
    `  Stores, by their worst guest: ${countsWords(storeCounts)}`,
    `  Guests: ${countsWords(counts)}`,
    ...(bad.length === 0
      ? ['Every guest has a proven backup that is young enough.']
      : [
          'Not as it should be, the worst first:',
          ...columns(
            shown.map(({ store, state, guests: [worst] }) => [
              printable(store),
              state.toUpperCase(),
              worst ? `guest ${worst.vmid} (${printable(worst.name)}): ${guestWords(worst)}` : 'no guest is known',
            ]),
          ),
          ...(bad.length > shown.length
            ? [`  and ${plural(bad.length - shown.length, 'more store', 'more stores')}`]
            : []),
          `See one of them: edge backup status ${printable(shown[0]?.store ?? 'STORE')}`,
        ]),
    ...notBackedUpLines(notBackedUp),
  ];
}

const notBackedUpLines = (stores: readonly string[]): string[] =>
  stores.length === 0
    ? []
    : [`Without a section backup in store.yaml, so nobody backs them up: ${listed(stores.map(printable), 10)}`];

/** One store, guest by guest. */
export function renderStoreStatus({ store, state, guests }: StoreStatus, clock: Clock): string[] {
  const head = `${printable(store)}: ${state.toUpperCase()}`;
  if (guests.length === 0)
    return [`${head}. No guest of it is known; was it ever backed up? edge backup run --store ${printable(store)}`];
  return [
    `${head}. ${plural(guests.length, 'guest')}, the worst first (ages of the newest proven backup):`,
    ...columns([
      ['guest', 'tier', 'here', 'second place', 'size', 'encrypted'],
      ...guests.map((guest) => [
        `${guest.vmid} ${printable(guest.name)}`,
        printable(guest.tier),
        copyWords(guest.local),
        guest.offsite ? copyWords(guest.offsite) : 'none',
        sizeWords(guest.row?.local?.size),
        guest.row?.local?.encrypted === undefined ? 'unknown' : guest.row.local.encrypted ? 'yes' : 'no',
      ]),
    ]),
    ...guests.flatMap((guest) => remarks(guest, clock)),
    ...(state === 'ok' ? [] : [`Back it up now: edge backup run --store ${printable(store)}`]),
  ];
}

/** One guest, with what became of it in the last nights. */
export function renderGuestStatus(guest: GuestStatus, history: readonly NightGuestRow[], clock: Clock): string[] {
  const { store, vmid, name, state, local, offsite } = guest;
  return [
    `${printable(store)}, guest ${vmid} (${printable(name)}): ${state.toUpperCase()}`,
    `  Here: ${copyWords(local)}, ${objectiveWords(local)}`,
    ...(offsite ? [`  Second place: ${copyWords(offsite)}, ${objectiveWords(offsite)}`] : []),
    ...remarks(guest, clock),
    ...(history.length === 0
      ? ['  No night is on record.']
      : [
          'Last nights:',
          ...columns(
            history.map(({ night, result, text, offsite: copied }) => [
              printable(night),
              result,
              copied === undefined ? '' : copied ? 'proven in the second place' : 'not proven in the second place',
              printable(text ?? ''),
            ]),
          ),
        ]),
  ];
}

function remarks({ vmid, inGrace, inRepo, row, local, offsite }: GuestStatus, clock: Clock): string[] {
  const unproven = (where: string, at: string | undefined, why: string | undefined) =>
    at === undefined
      ? []
      : [`  Guest ${vmid}: a newer backup ${where}, of ${timeOf(at, clock)}, is not proven: ${why ?? 'unknown why'}`];
  return [
    ...(inGrace && local.state === 'never' ? [`  Guest ${vmid} is new; it needs no backup yet.`] : []),
    ...(inRepo ? [] : [`  Guest ${vmid} is not named in store.yaml.`]),
    ...unproven('here', row?.local?.unprovenAt, row?.local?.unprovenWhy),
    ...unproven('in the second place', row?.offsite?.unprovenAt, row?.offsite?.unprovenWhy),
    ...silence(vmid, 'here', local, clock),
    ...(offsite ? silence(vmid, 'in the second place', offsite, clock) : []),
  ];
}

/** A state that nobody has looked at for too long is no state. */
function silence(vmid: number, where: string, { state, readAt }: CopyStatus, clock: Clock): string[] {
  if (state !== 'unknown') return [];
  const since = readAt === undefined ? 'was never read' : `was last read ${timeOf(readAt, clock)}`;
  return [`  Guest ${vmid}: the server ${where} ${since}.`];
}

export function renderNights(nights: readonly NightRow[], clock: Clock): string[] {
  if (nights.length === 0) return ['No night of backups is on record. Start one: edge backup run'];
  return [
    `Nights, the newest first (times in ${clock.zone}):`,
    ...columns(
      nights.map(({ id, state, startedAt, endedAt, stores, tally }) => {
        const counts = OUTCOMES.filter((outcome) => tally[outcome] > 0).map(
          (outcome) => `${OUTCOME_WORDS[outcome]} ${tally[outcome]}`,
        );
        const took = endedAt === undefined ? '' : `took ${formatDuration(Date.parse(endedAt) - Date.parse(startedAt))}`;
        return [
          timeOf(startedAt, clock),
          printable(id),
          printable(state),
          plural(stores, 'store'),
          counts.join(', '),
          took,
        ];
      }),
    ),
  ];
}

const guestWords = ({ local, offsite }: GuestStatus): string =>
  offsite ? `${copyWords(local)} here, ${copyWords(offsite)} in the second place` : copyWords(local);

/** `ok, 3 h` or `never` */
const copyWords = ({ state, age }: CopyStatus): string =>
  age === undefined ? state : `${state}, ${formatDuration(roundAge(age))}`;

const objectiveWords = ({ objective }: CopyStatus): string => `may be ${formatDuration(objective)}`;

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
