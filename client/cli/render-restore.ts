import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import { isRunOver } from '#domain/messages/fleet-run.js';
import type { RestoreRunRow, RestoreTestRow } from '#domain/messages/ledger.js';
import type { RestoreView } from '#domain/messages/restore.js';
import type { TestState } from '#domain/restore-sampling.js';
import { whyNotTaken, type GuestTests, type RestoreStatus } from '#domain/restore-status.js';
import { notSucceededLines, progressLines } from './fleet-run.js';
import { tallyWords } from './render-train.js';
import { columns, fit, printable, timeInZone, timeOf, wrap, type Clock } from './text.js';

/** What `edge restore` says. Pure. */

const WIDTH = 80;
const MAX_GUESTS = 20;

export function renderRestoreRun(view: RestoreView, guests: readonly RestoreTestRow[], clock: Clock): string[] {
  const { run, fleet, state, startedAt, endedAt } = view;
  const name = run === '' ? `Restore tests of fleet ${printable(fleet)}` : `Run ${printable(run)}`;
  const since = endedAt === undefined ? `since ${timeInZone(startedAt, clock)}` : `ended ${timeInZone(endedAt, clock)}`;
  return [
    `${name}: ${state}, ${since}.`,
    ...progressLines(view).map((line) => `  ${line}`),
    ...guestLines(guests),
    ...notSucceededLines(view),
    ...(isRunOver(view) ? ['Which guests were had back, and when: edge restore status'] : []),
  ];
}

function guestLines(guests: readonly RestoreTestRow[]): string[] {
  // What went wrong is looked at first.
  const sorted = guests.toSorted((a, b) => Number(a.result === 'pass') - Number(b.result === 'pass'));
  const shown = sorted.slice(0, MAX_GUESTS);
  const rows = shown.map(({ store, vmid, name, result, rtoMs, rpoMs, snapshotAt, text }) => [
    `${printable(store)}/${vmid} ${fit(printable(name), 14)}`,
    result,
    rtoMs === undefined ? '–' : formatDuration(rtoMs),
    rpoMs === undefined ? '–' : formatDuration(rpoMs),
    printable(text ?? (snapshotAt === undefined ? '' : `of ${snapshotAt.slice(0, 16).replace('T', ' ')} UTC`)),
  ]);
  if (rows.length === 0) return [];
  const hidden = sorted.length - shown.length;
  return [
    ...columns([['guest', 'result', 'back in', 'lost', ''], ...rows]).map((line) => fit(line, 120)),
    ...(hidden > 0 ? [`  and ${hidden} more: --json`] : []),
  ];
}

export function renderRestoreStatus(
  { fleet, coverage, guests, classes }: RestoreStatus,
  clock: Clock,
  states?: readonly TestState[],
): string[] {
  if (guests.length === 0) return [`No guest of fleet ${printable(fleet)} is backed up, so none can be had back.`];
  const wanted = guests.filter(({ state }) => (states ? states.includes(state) : state !== 'tested'));
  const shown = wanted.slice(0, MAX_GUESTS);
  return [
    `Restore tests: ${coverage.covered} of ${plural(coverage.guests, 'guest')} had back within the weeks of its tier, ` +
      `${coverage.failed.length} failed, ${coverage.overdue.length} overdue, ${coverage.neverTested.length} never.`,
    ...columns([
      ['class', 'tested', 'newest', 'back in (95 of 100)'],
      ...classes.map(({ class: name, guests: all, tested, passedAt, rtoMs }) => [
        printable(name),
        `${tested} of ${all}`,
        passedAt === undefined ? 'never' : timeOf(passedAt, clock),
        rtoMs === undefined ? '–' : formatDuration(rtoMs),
      ]),
    ]),
    ...(shown.length === 0
      ? [states ? `No guest is ${states.join(' or ')}.` : 'Every guest was had back within the weeks of its tier.']
      : columns(shown.map((guest) => guestRow(guest, clock))).map((line) => fit(line, 120))),
    ...(wanted.length > shown.length ? [`  and ${wanted.length - shown.length} more: --json`] : []),
    ...(wanted.length > 0 && !states ? ['Try those that are due: edge restore run'] : []),
    ...(shown.some(({ state }) => state === 'failed')
      ? ['What to do about one that failed: edge runbook RestoreTestFailed']
      : []),
  ];
}

const guestRow = (
  { store, vmid, name, state, tier, weeks, passed, failed, last, isUnnamed, isNotThereYet }: GuestTests,
  clock: Clock,
): string[] => [
  `${printable(store)}/${vmid} ${fit(printable(name), 14)}`,
  state.toUpperCase(),
  `tier ${printable(tier)}, every ${plural(weeks, 'week')}`,
  [
    ...(isUnnamed ? ['not in store.yaml'] : isNotThereYet ? ['not at the central server yet'] : []),
    // The line is cut at its end, and why it failed matters more than when it passed.
    ...(state === 'failed' && failed
      ? [`failed ${timeOf(failed.testedAt, clock)}: ${printable(failed.text ?? '')}`]
      : []),
    passed ? `passed ${timeOf(passed.testedAt, clock)}` : 'never passed',
    ...(state !== 'failed' && last && last.result !== 'pass'
      ? [`last ${last.result}: ${printable(last.text ?? '')}`]
      : []),
  ].join('; '),
];

export function renderRestoreHistory(guest: GuestTests, history: readonly RestoreTestRow[], clock: Clock): string[] {
  const { store, vmid, name, state, class: kind, tier, weeks } = guest;
  const notTaken = whyNotTaken(guest);
  return [
    `${printable(store)}, guest ${vmid} (${printable(name)}): ${state.toUpperCase()}, class ${printable(kind)}, tier ${printable(tier)}, every ${plural(weeks, 'week')}`,
    ...(notTaken === undefined ? [] : wrap(notTaken, WIDTH, '  ')),
    ...(history.length === 0 ? ['  It was never tried.'] : history.flatMap((row) => trialLines(row, name, clock))),
  ];
}

/** A number may have been another guest's, and a guest may have had another name: a trial says which it was of. */
function trialLines(row: RestoreTestRow, nameNow: string, clock: Clock): string[] {
  const { run, result, testedAt, rtoMs, restoreMs, bootMs, probeMs, rpoMs, text, detail = [] } = row;
  const phase = (name: string, value: number | undefined) =>
    value === undefined ? [] : [`${name} ${formatDuration(value)}`];
  const of = row.name === nameNow ? '' : ` of ${printable(row.name)}`;
  const times = [
    ...phase('back in', rtoMs),
    ...phase('restore', restoreMs),
    ...phase('start', bootMs),
    ...phase('probes', probeMs),
    ...phase('lost', rpoMs),
  ];
  return [
    `  ${timeInZone(testedAt, clock)}  ${printable(run)}${of}  ${result}${times.length > 0 ? `: ${times.join(', ')}` : ''}`,
    ...(text === undefined ? [] : wrap(printable(text), WIDTH, '    ')),
    ...detail.flatMap((line) => wrap(printable(line), WIDTH, '      ')),
  ];
}

export function renderRestoreRuns(runs: readonly RestoreRunRow[], clock: Clock): string[] {
  if (runs.length === 0) return ['No run of restore tests is on record. Start one: edge restore run'];
  return columns(
    runs.map(({ id, state, startedAt, guests, tally }) => [
      printable(id),
      printable(state),
      timeInZone(startedAt, clock),
      `${plural(guests, 'guest')}; stores: ${tallyWords(tally) || 'none'}`,
    ]),
  );
}
