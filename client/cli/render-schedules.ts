import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import { timeText, type DesiredSchedule, type ScheduleChange } from '../schedules.js';
import { printable } from './text.js';

/** What `edge schedules plan` and `apply` say. Pure. */
export const renderChanges = (changes: readonly ScheduleChange[]): string[] => changes.flatMap(changeLines);

function changeLines(change: ScheduleChange): string[] {
  const id = printable(change.id);
  const warnings = change.desired.warnings.map((warning) => `  note: ${printable(warning)}`);
  switch (change.kind) {
    case 'create':
      return [`create   ${id}`, ...settingLines(change.desired), ...warnings];
    case 'update':
      return [
        `update   ${id}${pausedWord(change.paused)}`,
        ...change.changes.map(({ field, from, to }) => `  ${field}: ${shown(from)} -> ${shown(to)}`),
        ...warnings,
      ];
    case 'none':
      return [`same     ${id}${pausedWord(change.paused)}`, ...warnings];
    case 'foreign':
      return [
        `foreign  ${id}`,
        '  A schedule with this id exists that was not made by edge; it is left alone. ' +
          'Delete or rename it if edge shall fire this.',
      ];
    default:
      return change satisfies never;
  }
}

function settingLines(desired: DesiredSchedule): string[] {
  return [
    `  every ${timeText(desired.calendar).replace(' ', ' at ')} (${desired.timeZone}): ${desired.workflowType} for fleet ${printable(desired.fleet)}`,
    `  a start missed by an outage is made up for within ${formatDuration(desired.catchupWindow)}; never two at once`,
  ];
}

export function summaryOf(changes: readonly ScheduleChange[], applied: boolean): string {
  const toDo = changes.filter(({ kind }) => kind === 'create' || kind === 'update').length;
  if (toDo === 0) return 'Nothing to change.';
  if (applied) return `${plural(toDo, 'schedule')} changed.`;
  return `${plural(toDo, 'schedule')} to change. Nothing was changed yet: edge schedules apply`;
}

const pausedWord = (paused: boolean): string => (paused ? ' (paused; stays paused)' : '');
const shown = (text: string): string => (text === '' ? 'nothing' : printable(text));
