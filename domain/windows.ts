import { DateTime } from 'luxon';
import { type Freeze, type MaintenanceWindow, WEEKDAYS, type Weekday } from './fleet.js';

/**
 * Calendar arithmetic: windows, freezes, weeks and the weekly start. It follows the time zone data of the machine it
 * runs on, so it is called from activities, which pin its answer in history, and never from a workflow.
 */

export interface Opening {
  opens: Date;
  /** The first instant at which nothing may be started any more. */
  closes: Date;
}

export type StoreWindow = { kind: 'always' } | ({ kind: 'window' } & Opening) | { kind: 'never' };

/** Two windows that are to be open together; one that is absent is always open. */
export interface WindowPair {
  stage?: MaintenanceWindow | undefined;
  fleetZone: string;
  store?: MaintenanceWindow | undefined;
  storeZone: string;
}

const SEARCH_DAYS = 14;
/** A window of Monday to Sunday that never closes began at most a week ago. */
const LOOK_BACK_DAYS = 8;

/**
 * The window that is open at `after`, else the next one; undefined when there is no window, that is, always open.
 * A window whose end is not later than its start ends on the next day; `days` names the days on which it starts.
 * Windows that touch are one, so that an all-day window does not close at midnight.
 */
export function nextWindow({
  window,
  timeZone,
  after,
}: {
  window?: MaintenanceWindow | undefined;
  timeZone: string;
  after: Date;
}): Opening | undefined {
  if (!window) return undefined;
  return openings(window, timeZone, after).find((opening) => opening.closes > after);
}

/**
 * The next interval, or the one that holds at `after`, in which the stage's window (in the fleet's zone) and the
 * store's own (in its zone) are both open. `never` when they do not meet within two weeks.
 */
export function storeWindow({ stage, fleetZone, store, storeZone, after }: WindowPair & { after: Date }): StoreWindow {
  if (!stage && !store) return { kind: 'always' };
  const ofStage = stage && openings(stage, fleetZone, after);
  const ofStore = store && openings(store, storeZone, after);
  const both = ofStage && ofStore ? intersect(ofStage, ofStore) : (ofStage ?? ofStore ?? []);
  const horizon = after.getTime() + SEARCH_DAYS * 86_400_000;
  const next = both.find((opening) => opening.closes > after && opening.opens.getTime() < horizon);
  return next ? { kind: 'window', ...next } : { kind: 'never' };
}

/**
 * Whether a stage's and a store's window ever meet, in winter and in summer alike: clocks of different zones do not
 * change together, and windows that meet in summer only would leave the store unpatched for half a year.
 */
export function windowsMeet(pair: WindowPair): boolean {
  const seasons = [new Date('2026-01-12T00:00:00Z'), new Date('2026-07-13T00:00:00Z')];
  return seasons.every((after) => storeWindow({ ...pair, after }).kind !== 'never');
}

/** The first freeze that holds for a store on a date `YYYY-MM-DD`, first and last day included. */
export function activeFreeze(freezes: readonly Freeze[], store: string, date: string): Freeze | undefined {
  // ISO dates compare as text.
  return freezes.find(
    (freeze) => freeze.from <= date && date <= freeze.to && (!freeze.stores || freeze.stores.includes(store)),
  );
}

/** The ISO week of an instant in a zone, as a train is named: `2026-w48`. The year is that of the week. */
export function isoWeekId(date: Date, zone: string): string {
  const local = DateTime.fromJSDate(date, { zone });
  return `${local.weekYear}-w${String(local.weekNumber).padStart(2, '0')}`;
}

/** The date `YYYY-MM-DD` of an instant in a zone. */
export function localDate(date: Date, zone: string): string {
  return DateTime.fromJSDate(date, { zone }).toFormat('yyyy-MM-dd');
}

/** The weekday of an instant in a zone. */
export const weekdayIn = (date: Date, zone: string): Weekday => weekdayOf(DateTime.fromJSDate(date, { zone }));

/** The first instant later than `after` at which it is this weekday and time of day in the zone. */
export function nextScheduled({
  day,
  at,
  timeZone,
  after,
}: {
  day: Weekday;
  at: string;
  timeZone: string;
  after: Date;
}): Date {
  return nextOpening({ window: { days: [day], start: at }, timeZone, after });
}

/** The first instant later than `after` at which a window begins, be it on a day on which the one before is still open. */
export function nextOpening({
  window: { days, start },
  timeZone,
  after,
}: {
  window: Pick<MaintenanceWindow, 'days' | 'start'>;
  timeZone: string;
  after: Date;
}): Date {
  for (const date of localDays(after, timeZone, 0, 8)) {
    if (days && !days.includes(weekdayOf(date))) continue;
    const instant = instantOf(date, start, timeZone);
    if (instant > after) return instant;
  }
  throw new RangeError(`No window begins within eight days of ${after.toISOString()} in ${timeZone}`);
}

/** Whether a time of day is one that spring skips, or autumn repeats, on such a day of the year that stands for all. */
export function clockChanges({
  days,
  at,
  timeZone,
}: {
  days?: readonly Weekday[] | undefined;
  at: string;
  timeZone: string;
}): { isSkipped: boolean; isRepeated: boolean } {
  const found = { isSkipped: false, isRepeated: false };
  const [hour, minute] = at.split(':').map(Number);
  for (const date of localDays(new Date('2026-01-01T12:00:00Z'), 'UTC', 0, 364)) {
    if (days && !days.includes(weekdayOf(date))) continue;
    const { year, month, day } = date;
    const local = DateTime.fromObject({ year, month, day, hour: hour ?? 0, minute: minute ?? 0 }, { zone: timeZone });
    found.isSkipped ||= local.toFormat('HH:mm') !== at;
    found.isRepeated ||= local.getPossibleOffsets().length > 1;
  }
  return found;
}

function openings(window: MaintenanceWindow, zone: string, around: Date): Opening[] {
  const overnight = window.end <= window.start;
  const found: Opening[] = [];
  for (const date of localDays(around, zone, -LOOK_BACK_DAYS, SEARCH_DAYS + 1)) {
    if (window.days && !window.days.includes(weekdayOf(date))) continue;
    const opens = instantOf(date, window.start, zone);
    const closes = instantOf(overnight ? date.plus({ days: 1 }) : date, window.end, zone);
    // A window that lies wholly in the hour that spring skips does not exist on that day.
    if (closes <= opens) continue;
    found.push({ opens, closes });
  }
  return joinTouching(found);
}

function intersect(a: readonly Opening[], b: readonly Opening[]): Opening[] {
  const both: Opening[] = [];
  for (const one of a) {
    for (const other of b) {
      const opens = one.opens > other.opens ? one.opens : other.opens;
      const closes = one.closes < other.closes ? one.closes : other.closes;
      if (opens < closes) both.push({ opens, closes });
    }
  }
  return both;
}

function joinTouching(sorted: readonly Opening[]): Opening[] {
  const joined: Opening[] = [];
  for (const { opens, closes } of sorted) {
    const last = joined.at(-1);
    if (last && opens <= last.closes) last.closes = closes > last.closes ? closes : last.closes;
    else joined.push({ opens, closes });
  }
  return joined;
}

/** Calendar days around an instant's day in a zone, as UTC midnights: plain dates, on which no clock changes. */
function* localDays(around: Date, zone: string, from: number, to: number): Generator<DateTime> {
  const { year, month, day } = DateTime.fromJSDate(around, { zone });
  const today = DateTime.utc(year, month, day);
  for (let offset = from; offset <= to; offset += 1) yield today.plus({ days: offset });
}

const weekdayOf = (date: DateTime): Weekday => WEEKDAYS[date.weekday - 1] as Weekday;

/**
 * The instant of a time of day. In the hour that autumn repeats it is the earlier one; in the hour that spring skips it
 * is moved later by what was skipped: 02:30 becomes 03:30.
 */
function instantOf(date: DateTime, time: string, zone: string): Date {
  const { year, month, day } = date;
  const [hour, minute] = time.split(':').map(Number);
  const local = DateTime.fromObject({ year, month, day, hour: hour ?? 0, minute: minute ?? 0 }, { zone });
  const instants = local.getPossibleOffsets().map((possible) => possible.toMillis());
  return new Date(Math.min(local.toMillis(), ...instants));
}
