/** Words for people: pure, without escape sequences, fit for a log file and a screen reader. */

const ESCAPE_SEQUENCES =
  /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[@-Z\\-_])|\u009b[0-?]*[ -/]*[@-~]/g;
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
const LONE_SURROGATES = /\p{Surrogate}/gu;

/**
 * Text from outside as one line that cannot steer a terminal: escape sequences, control characters and characters that
 * change the reading direction are taken out, line breaks become spaces.
 */
export function printable(text: string): string {
  return text
    .replace(ESCAPE_SEQUENCES, '')
    .replace(/[\t\r\n]+/g, ' ')
    .replace(CONTROLS, '')
    .replace(LONE_SURROGATES, '\ufffd');
}

/** JSON that cannot steer a terminal either: what `JSON.stringify` leaves as it is, is escaped. */
export function printableJson(value: unknown, indent = 2): string {
  return JSON.stringify(value, undefined, indent).replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** `a`, `a and b`, `a, b and 3 more`. */
export function listed(words: readonly string[], atMost: number): string {
  if (words.length > atMost) return `${words.slice(0, atMost).join(', ')} and ${words.length - atMost} more`;
  if (words.length <= 1) return words.join('');
  return `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}

/** How instants are shown: in which zone, and how near they must be for the date to be left out. */
export interface Clock {
  zone: string;
  now: Date;
}

const DAY = 86_400_000;

/** `Tue 11:42`, with the date when it is not within the last or next six days. Without the zone. */
export function timeOf(instant: string | Date, { zone, now }: Clock): string {
  const date = typeof instant === 'string' ? new Date(instant) : instant;
  if (Number.isNaN(date.getTime())) return 'an unreadable time';
  const isNear = Math.abs(date.getTime() - now.getTime()) < 6 * DAY;
  const parts = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    weekday: 'short',
    hour: '2-digit',
    minute: '2-digit',
    ...(isNear ? {} : { day: 'numeric', month: 'short', year: 'numeric' }),
  }).formatToParts(date);
  const part = (type: Intl.DateTimeFormatPartTypes) => parts.find((found) => found.type === type)?.value ?? '';
  const day = isNear ? part('weekday') : `${part('weekday')} ${part('day')} ${part('month')} ${part('year')}`;
  return `${day} ${part('hour')}:${part('minute')}`;
}

/** `Tue 11:42 (Europe/Berlin)`. */
export const timeInZone = (instant: string | Date, clock: Clock): string => `${timeOf(instant, clock)} (${clock.zone})`;

/** Columns padded to the widest cell of each; the last one is left as it is. Trailing blanks are cut. */
export function columns(rows: readonly (readonly string[])[], indent = 2): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    row.slice(0, -1).forEach((cell, index) => {
      widths[index] = Math.max(widths[index] ?? 0, width(cell));
    });
  }
  return rows.map((row) =>
    `${' '.repeat(indent)}${row
      .map((cell, index) => (index === row.length - 1 ? cell : cell + ' '.repeat((widths[index] ?? 0) - width(cell))))
      .join('  ')}`.trimEnd(),
  );
}

/** Number of characters as people count them; wide ones are not told apart. */
export const width = (text: string): number => [...text].length;

/** Cut to fit a terminal line, so that a redrawn block never wraps. */
export function fit(text: string, columnsOfTerminal: number): string {
  const characters = [...text];
  return characters.length <= columnsOfTerminal ? text : `${characters.slice(0, columnsOfTerminal - 1).join('')}…`;
}

/** Breaks words into lines of at most `columnsOfTerminal`, each after the indent. */
export function wrap(text: string, columnsOfTerminal: number, indent = ''): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && width(indent) + width(line) + 1 + width(word) > columnsOfTerminal) {
      lines.push(indent + line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, indent + line];
}

/** The time zone this machine shows times in. */
export const localZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone;

export function isZone(zone: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}
