/** What a prune keeps: so many of each. None given keeps all. */
export interface KeepOptions {
  'keep-last'?: number | undefined;
  'keep-hourly'?: number | undefined;
  'keep-daily'?: number | undefined;
  'keep-weekly'?: number | undefined;
  'keep-monthly'?: number | undefined;
  'keep-yearly'?: number | undefined;
}

export type Mark = 'keep' | 'keep-partial' | 'protected' | 'remove';

interface Candidate {
  /** Milliseconds on the calendar that days and weeks are counted by. */
  at: number;
  finished: boolean;
  protected: boolean;
}

/** Names the span of time that an instant lies in; of each span the newest is kept. In the order that the options are taken. */
const SPANS: [keyof KeepOptions, (at: Date) => string][] = [
  ['keep-last', (at) => String(at.getTime())],
  ['keep-hourly', (at) => `${dayOf(at)}/${at.getUTCHours()}`],
  ['keep-daily', dayOf],
  ['keep-weekly', isoWeek],
  ['keep-monthly', (at) => `${at.getUTCFullYear()}/${at.getUTCMonth()}`],
  ['keep-yearly', (at) => String(at.getUTCFullYear())],
];

export const KEEP_OPTIONS = SPANS.map(([name]) => name);

export const keepsSomething = (keep: KeepOptions): boolean =>
  KEEP_OPTIONS.some((name) => keep[name] !== undefined && keep[name] > 0);

export const keepText = (keep: KeepOptions): string =>
  KEEP_OPTIONS.flatMap((name) => (keep[name] === undefined ? [] : [`--${name} ${keep[name]}`])).join(' ');

/**
 * Marks the snapshots of one group as the real server does: each option looks only at what the ones before it left
 * undecided, and a span that has a kept snapshot already does not count again.
 */
export function pruneMarks<T extends Candidate>(group: readonly T[], keep: KeepOptions): Map<T, Mark> {
  const list = [...group].sort((a, b) => b.at - a.at);
  if (!keepsSomething(keep)) {
    return new Map(list.map((each): [T, Mark] => [each, each.protected ? 'protected' : 'keep']));
  }
  const marks = new Map<T, Mark>();
  markPartial(list, marks);
  for (const [name, spanOf] of SPANS) {
    const wanted = keep[name] ?? 0;
    if (wanted > 0) markSpans(list, marks, wanted, (each) => spanOf(new Date(each.at)));
  }
  return new Map(list.map((each): [T, Mark] => [each, each.protected ? 'protected' : (marks.get(each) ?? 'remove')]));
}

/** An unfinished one is kept while nothing newer is finished: it may be under way. */
function markPartial<T extends Candidate>(list: readonly T[], marks: Map<T, Mark>): void {
  let mayRun = true;
  for (const each of list) {
    if (!each.finished) marks.set(each, mayRun ? 'keep-partial' : 'remove');
    mayRun = false;
  }
}

function markSpans<T extends Candidate>(
  list: readonly T[],
  marks: Map<T, Mark>,
  wanted: number,
  spanOf: (each: T) => string,
): void {
  const covered = new Set(list.filter((each) => marks.get(each) === 'keep').map(spanOf));
  const taken = new Set<string>();
  for (const each of list) {
    if (marks.has(each)) continue;
    if (each.protected) {
      marks.set(each, 'protected');
      continue;
    }
    const span = spanOf(each);
    if (covered.has(span)) continue;
    if (taken.has(span)) marks.set(each, 'remove');
    else if (taken.size >= wanted) break;
    else {
      taken.add(span);
      marks.set(each, 'keep');
    }
  }
}

function dayOf(at: Date): string {
  return `${at.getUTCFullYear()}/${at.getUTCMonth()}/${at.getUTCDate()}`;
}

/** `2026/W48` of ISO 8601: the week belongs to the year that has its Thursday. */
function isoWeek(at: Date): string {
  const thursday = new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()));
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const year = thursday.getUTCFullYear();
  const week = Math.ceil(((thursday.getTime() - Date.UTC(year, 0, 1)) / 86_400_000 + 1) / 7);
  return `${year}/W${week}`;
}
