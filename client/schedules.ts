import {
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
  type Client,
  type ScheduleDescription,
} from '@temporalio/client';
import { formatDuration } from '#domain/durations.js';
import { WEEKDAYS, type Fleet, type MaintenanceWindow, type Weekday } from '#domain/fleet.js';
import { clockChanges } from '#domain/windows.js';
import {
  backupScheduleId,
  CONTROL_QUEUE,
  janitorScheduleId,
  janitorWorkflowId,
  launchWorkflowId,
  nightWorkflowId,
  restoreRunWorkflowId,
  restoreScheduleId,
  SCHEDULE_OWNER,
  trainScheduleId,
} from '#domain/naming.js';

/**
 * The schedules that fire the cadence: what `fleet.yaml` asks for, what Temporal has, the difference, and its application.
 * A schedule that this service did not create is never changed, whatever its id.
 */

const DAYS = {
  mon: 'MONDAY',
  tue: 'TUESDAY',
  wed: 'WEDNESDAY',
  thu: 'THURSDAY',
  fri: 'FRIDAY',
  sat: 'SATURDAY',
  sun: 'SUNDAY',
} as const satisfies Record<Weekday, string>;

export interface Calendar {
  /** Every day when no day is named. */
  dayOfWeek?: (typeof DAYS)[Weekday][];
  hour: number;
  minute: number;
}

export interface DesiredSchedule {
  id: string;
  fleet: string;
  calendar: Calendar;
  timeZone: string;
  workflowType: 'launchTrain' | 'janitor' | 'nightlyBackup' | 'restoreTest';
  workflowId: string;
  taskQueue: string;
  args: [{ fleet: string }];
  overlap: 'SKIP';
  /** Milliseconds that a start missed by an outage is still made up for. */
  catchupWindow: number;
  note: string;
  memo: { owner: string };
  summary: string;
  /** What the operator should know of these settings. */
  warnings: string[];
}

/** The same facts of a schedule that exists; a value that this service would not write is shown in words. */
export interface ExistingSchedule {
  id: string;
  owner?: string | undefined;
  paused: boolean;
  note: string;
  fields: Record<FieldName, string>;
}

const FIELDS = ['time', 'time zone', 'workflow', 'task queue', 'input', 'overlap', 'catch-up'] as const;
type FieldName = (typeof FIELDS)[number] | 'note';

interface FieldChange {
  field: FieldName;
  from: string;
  to: string;
}

export type ScheduleChange =
  | { kind: 'create'; id: string; desired: DesiredSchedule }
  | { kind: 'update'; id: string; desired: DesiredSchedule; changes: FieldChange[]; paused: boolean }
  | { kind: 'none'; id: string; desired: DesiredSchedule; paused: boolean }
  /** The id is taken by a schedule of somebody else. */
  | { kind: 'foreign'; id: string; desired: DesiredSchedule };

export const desiredSchedules = (fleet: Fleet): DesiredSchedule[] => [
  trainSchedule(fleet),
  ...(fleet.backup ? [backupSchedule(fleet, fleet.backup)] : []),
  // Guests are restored from the second place.
  ...(fleet.backup?.offsite ? [restoreSchedule(fleet, fleet.backup)] : []),
  janitorSchedule(fleet),
];

function trainSchedule(fleet: Fleet): DesiredSchedule {
  const { day, at } = fleet.train.build;
  return {
    ...commonTo(fleet),
    id: trainScheduleId(fleet.fleet),
    calendar: { dayOfWeek: [DAYS[day]], ...clockTime(at) },
    workflowType: 'launchTrain',
    workflowId: launchWorkflowId(fleet.fleet),
    catchupWindow: catchUpOf(fleet),
    note: fleet.train.note,
    summary: `Weekly patch train of fleet ${fleet.fleet}`,
    warnings: warningsOf(fleet),
  };
}

/** Fires when the window opens; the night waits with each store for its own moment, and begins nothing after the window. */
function backupSchedule(fleet: Fleet, { window, catchUp }: NonNullable<Fleet['backup']>): DesiredSchedule {
  const length = lengthOf(window) * MINUTE;
  return {
    ...commonTo(fleet),
    id: backupScheduleId(fleet.fleet),
    calendar: {
      ...(window.days ? { dayOfWeek: window.days.map((day) => DAYS[day]) } : {}),
      ...clockTime(window.start),
    },
    workflowType: 'nightlyBackup',
    workflowId: nightWorkflowId(fleet.fleet, 'nightly'),
    catchupWindow: Math.max(MIN_CATCH_UP, Math.min(catchUp, length)),
    note: '',
    summary: `Night of backups of fleet ${fleet.fleet}`,
    warnings: [
      ...(catchUp > length
        ? [`backup.catchUp is ${formatDuration(catchUp)}, but the window is only ${formatDuration(length)} long.`]
        : []),
      ...clockWarnings(fleet, `a night that begins at ${window.start}`, { days: window.days, at: window.start }),
    ],
  };
}

/** In the day, when those are there who look at what could not be had back. */
function restoreSchedule(fleet: Fleet, { restoreTest: { day, at } }: NonNullable<Fleet['backup']>): DesiredSchedule {
  return {
    ...commonTo(fleet),
    id: restoreScheduleId(fleet.fleet),
    calendar: { dayOfWeek: [DAYS[day]], ...clockTime(at) },
    workflowType: 'restoreTest',
    workflowId: restoreRunWorkflowId(fleet.fleet, 'weekly'),
    catchupWindow: RESTORE_CATCH_UP,
    note: '',
    summary: `Restore tests of fleet ${fleet.fleet}`,
    warnings: clockWarnings(fleet, `a run of restore tests at ${at}`, { days: [day], at }),
  };
}

function janitorSchedule(fleet: Fleet): DesiredSchedule {
  return {
    ...commonTo(fleet),
    id: janitorScheduleId(fleet.fleet),
    calendar: clockTime(fleet.janitor.at),
    workflowType: 'janitor',
    workflowId: janitorWorkflowId(fleet.fleet, 'nightly'),
    // The next night does the same again.
    catchupWindow: JANITOR_CATCH_UP,
    note: '',
    summary: `Janitor of fleet ${fleet.fleet}`,
    warnings: clockWarnings(fleet, `the janitor at ${fleet.janitor.at}`, { at: fleet.janitor.at }),
  };
}

const commonTo = ({ fleet, timeZone }: Fleet) => ({
  fleet,
  timeZone,
  taskQueue: CONTROL_QUEUE,
  args: [{ fleet }] as DesiredSchedule['args'],
  overlap: 'SKIP' as const,
  memo: { owner: SCHEDULE_OWNER },
});

const MINUTE = 60_000;
const JANITOR_CATCH_UP = 60 * MINUTE;
/** No store is touched, so the hour does not matter; what is not tried this week is due the next. */
const RESTORE_CATCH_UP = 24 * 60 * MINUTE;
const DAY_MINUTES = 24 * 60;
const WEEK_MINUTES = 7 * DAY_MINUTES;
/** Temporal's own minimum is 10 s; anything below a minute is no catch-up at all. */
const MIN_CATCH_UP = MINUTE;
/** The clocks may be moved by an hour between the build and the window. */
const CLOCK_CHANGE = 60 * MINUTE;

/**
 * `train.catchUp`, but never so long that a late train would start when its first stage's window is already open:
 * the people who watch the canary would find it half built.
 */
function catchUpOf(fleet: Fleet): number {
  const window = fleet.stages[0]?.window;
  if (window === undefined) return Math.max(MIN_CATCH_UP, fleet.train.catchUp);
  const cap = minutesUntilOpen(fleet.train.build, window) * MINUTE - CLOCK_CHANGE;
  return Math.max(MIN_CATCH_UP, Math.min(fleet.train.catchUp, cap));
}

/** Wall-clock minutes from the build to the next opening of the window; at most a week. */
function minutesUntilOpen(build: { day: Weekday; at: string }, window: MaintenanceWindow): number {
  const start = WEEKDAYS.indexOf(build.day) * DAY_MINUTES + minutesOf(build.at);
  const openings = (window.days ?? WEEKDAYS).map(
    (day) => WEEKDAYS.indexOf(day) * DAY_MINUTES + minutesOf(window.start),
  );
  return Math.min(...openings.map((opening) => (opening - start + WEEK_MINUTES) % WEEK_MINUTES));
}

/** Wall-clock minutes; a window that ends when it begins lasts a day. */
const lengthOf = ({ start, end }: MaintenanceWindow): number =>
  (minutesOf(end) - minutesOf(start) + DAY_MINUTES) % DAY_MINUTES || DAY_MINUTES;

function warningsOf(fleet: Fleet): string[] {
  const { day, at } = fleet.train.build;
  const warnings: string[] = [];
  const catchUp = catchUpOf(fleet);
  if (catchUp < fleet.train.catchUp) {
    warnings.push(
      `train.catchUp is ${formatDuration(fleet.train.catchUp)}, but only ${formatDuration(catchUp)} is used: ` +
        `a later start would run into the window of ${fleet.stages[0]?.name ?? 'the first stage'}.`,
    );
  }
  return [...warnings, ...clockWarnings(fleet, `a train built at ${at}`, { days: [day], at })];
}

/** Where clocks are changed at the hour at which it begins. */
function clockWarnings(
  { timeZone }: Fleet,
  what: string,
  when: { days?: Weekday[] | undefined; at: string },
): string[] {
  const { isSkipped, isRepeated } = clockChanges({ ...when, timeZone });
  const ends = [...(isSkipped ? ['missed in spring'] : []), ...(isRepeated ? ['started twice in autumn'] : [])];
  if (ends.length === 0) return [];
  return [`Clocks are changed at this hour in ${timeZone}: ${what} may be ${ends.join(' and ')}. Take another hour.`];
}

/** What has to change, and nothing else. Pure. */
export function planSchedules(
  existing: readonly ExistingSchedule[],
  desired: readonly DesiredSchedule[],
): ScheduleChange[] {
  return desired.map((wanted): ScheduleChange => {
    const found = existing.find(({ id }) => id === wanted.id);
    if (found === undefined) return { kind: 'create', id: wanted.id, desired: wanted };
    if (found.owner !== SCHEDULE_OWNER) return { kind: 'foreign', id: wanted.id, desired: wanted };
    const changes = changesOf(found, wanted);
    const { paused } = found;
    return changes.length === 0
      ? { kind: 'none', id: wanted.id, desired: wanted, paused }
      : { kind: 'update', id: wanted.id, desired: wanted, changes, paused };
  });
}

function changesOf(found: ExistingSchedule, wanted: DesiredSchedule): FieldChange[] {
  const fields = fieldsOf(wanted);
  const changes = FIELDS.filter((field) => found.fields[field] !== fields[field]).map((field) => ({
    field,
    from: found.fields[field],
    to: fields[field],
  }));
  // The note of a paused schedule says why somebody paused it.
  if (found.paused || found.note === wanted.note) return changes;
  return [...changes, { field: 'note', from: found.note, to: wanted.note }];
}

function fieldsOf(wanted: DesiredSchedule): Record<FieldName, string> {
  return {
    time: timeText(wanted.calendar),
    'time zone': wanted.timeZone,
    workflow: `${wanted.workflowType} ${wanted.workflowId}`,
    'task queue': wanted.taskQueue,
    input: JSON.stringify(wanted.args),
    overlap: wanted.overlap,
    'catch-up': formatDuration(wanted.catchupWindow),
    note: wanted.note,
  };
}

/** Reads the schedules of these ids; those that do not exist are left out. */
export async function readSchedules(client: Client, ids: readonly string[]): Promise<ExistingSchedule[]> {
  const found = await Promise.all(
    ids.map(async (id) => {
      try {
        return existingOf(await client.schedule.getHandle(id).describe());
      } catch (error) {
        if (error instanceof ScheduleNotFoundError) return undefined;
        throw error;
      }
    }),
  );
  return found.filter((schedule) => schedule !== undefined);
}

/** Of schedules that are wanted: those that begin nothing, and what brings them on. */
export const silenceOf = (existing: readonly ExistingSchedule[], ids: readonly string[]): string[] =>
  ids.flatMap((id) => {
    const found = existing.find((one) => one.id === id);
    if (found === undefined)
      return [`The schedule ${id} is missing, so nothing begins by itself: edge schedules apply`];
    if (!found.paused) return [];
    return [`The schedule ${id} is paused, so nothing begins by itself${found.note === '' ? '.' : `: ${found.note}`}`];
  });

function existingOf(description: ScheduleDescription): ExistingSchedule {
  const { spec, action, policies, state, memo } = description;
  return {
    id: description.scheduleId,
    owner: typeof memo?.['owner'] === 'string' ? memo['owner'] : undefined,
    paused: state.paused,
    note: state.note ?? '',
    fields: {
      time: timeOfSpec(spec),
      'time zone': spec.timezone ?? 'UTC',
      workflow: `${action.workflowType} ${action.workflowId}`,
      'task queue': action.taskQueue,
      input: JSON.stringify(action.args),
      overlap: policies.overlap ?? 'none',
      'catch-up': formatDuration(policies.catchupWindow),
      note: state.note ?? '',
    },
  };
}

function timeOfSpec(spec: ScheduleDescription['spec']): string {
  const [calendar, ...others] = spec.calendars ?? [];
  const days = daysOf(calendar?.dayOfWeek ?? []);
  const hour = single(calendar?.hour);
  const minute = single(calendar?.minute);
  const hasMore = others.length + (spec.intervals?.length ?? 0) + (spec.skip?.length ?? 0) > 0;
  if (hasMore || days.length === 0 || hour === undefined || minute === undefined) return 'another form of times';
  return timeText({ ...(days.length < WEEK.length ? { dayOfWeek: days } : {}), hour, minute });
}

/** Sunday first, as ranges of days are counted. */
const WEEK = [DAYS.sun, DAYS.mon, DAYS.tue, DAYS.wed, DAYS.thu, DAYS.fri, DAYS.sat];

/** The server tells of a calendar that names no day as Sunday to Saturday. */
function daysOf(ranges: readonly { start: string; end: string; step: number }[]): (typeof WEEK)[number][] {
  return WEEK.filter((_, index) =>
    ranges.some(({ start, end, step }) => {
      const first = WEEK.findIndex((day) => day === start);
      const last = WEEK.findIndex((day) => day === end);
      return first >= 0 && index >= first && index <= last && (index - first) % Math.max(1, step) === 0;
    }),
  );
}

function single<T>(ranges: { start: T; end: T }[] | undefined): T | undefined {
  const [range, ...others] = ranges ?? [];
  return range !== undefined && others.length === 0 && range.start === range.end ? range.start : undefined;
}

/**
 * Creates and updates what the plan says; whatever is foreign or unchanged is left alone. Repeating it changes nothing.
 * A paused schedule stays paused.
 */
export async function applySchedules(client: Client, changes: readonly ScheduleChange[]): Promise<void> {
  for (const change of changes) {
    switch (change.kind) {
      case 'create':
        await client.schedule.create({
          scheduleId: change.id,
          ...optionsOf(change.desired),
          memo: change.desired.memo,
          state: { note: change.desired.note },
        });
        break;
      case 'update':
        await client.schedule.getHandle(change.id).update((previous) => ({
          ...optionsOf(change.desired),
          state: { ...previous.state, note: previous.state.paused ? (previous.state.note ?? '') : change.desired.note },
        }));
        break;
      case 'none':
      case 'foreign':
        break;
      default:
        change satisfies never;
    }
  }
}

function optionsOf(wanted: DesiredSchedule) {
  return {
    spec: { calendars: [wanted.calendar], timezone: wanted.timeZone },
    action: {
      type: 'startWorkflow' as const,
      workflowType: wanted.workflowType,
      workflowId: wanted.workflowId,
      taskQueue: wanted.taskQueue,
      args: wanted.args,
      staticSummary: wanted.summary,
    },
    policies: { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: wanted.catchupWindow, pauseOnFailure: false },
  };
}

function clockTime(at: string): { hour: number; minute: number } {
  const [hour = 0, minute = 0] = at.split(':').map(Number);
  return { hour, minute };
}
function minutesOf(at: string): number {
  const { hour, minute } = clockTime(at);
  return hour * 60 + minute;
}
const twoDigits = (value: number): string => String(value).padStart(2, '0');

/** `Monday 02:00`, `Monday, Friday 22:00`, `day 05:00`: what stands behind "every". Days in the order of the week. */
export function timeText({ dayOfWeek, hour, minute }: Calendar): string {
  const days = WEEK.filter((day) => dayOfWeek?.includes(day)).map((day) => day.charAt(0) + day.slice(1).toLowerCase());
  return `${days.length === 0 ? 'day' : days.join(', ')} ${twoDigits(hour)}:${twoDigits(minute)}`;
}
