import { number, plural } from '#domain/counted.js';
import type { LabEntry, LabFault, LabFaultTable, LabReport } from './lab-client.js';
import { columns, fit, printable, timeOf, type Clock } from './text.js';

/** What the practice fleet says, for people. Pure. */

const MAX_VIOLATIONS = 10;
/** What is longer can be read with `--json`. */
const MAX_DETAIL = 120;
const MAX_STEPS_NAMED = 4;

/** One line: `1,426 effects, 14 rules, 0 violations`. */
export function verdictLine(report: LabReport): string {
  return `${plural(report.effects, 'effect')}, ${plural(report.rules.length, 'rule')}, ${plural(violationsOf(report), 'violation')}`;
}

export const violationsOf = ({ rules }: LabReport): number =>
  rules.reduce((sum, { violations }) => sum + violations.length, 0);

export const holds = (report: LabReport): boolean => violationsOf(report) === 0;

export function renderReport(report: LabReport): string[] {
  return [
    ...report.rules.flatMap((rule) => [
      `${rule.violations.length === 0 ? 'holds ' : 'BROKEN'}  ${printable(rule.title)} (${printable(rule.id)})`,
      ...rule.violations
        .slice(0, MAX_VIOLATIONS)
        .map((violation) => `          ${printable(`${violation.store}: ${violation.summary}`)}`),
      ...(rule.violations.length > MAX_VIOLATIONS
        ? [`          and ${number(rule.violations.length - MAX_VIOLATIONS)} more: edge lab check --json`]
        : []),
    ]),
    `Practice fleet's own journal: ${verdictLine(report)}.`,
  ];
}

export function renderJournal(entries: readonly LabEntry[], clock: Clock): string[] {
  return columns(
    entries.map((entry) => [
      String(entry.seq),
      secondsOf(entry.at, clock),
      placeOf(entry),
      printable(entry.effect),
      `by ${printable(entry.by)}${entry.detail === undefined ? '' : ` ${fit(printable(JSON.stringify(entry.detail)), MAX_DETAIL)}`}`,
    ]),
    0,
  );
}

function placeOf(entry: LabEntry): string {
  const node = entry.node === undefined ? '' : `/${entry.node}`;
  const guest = entry.guest === undefined ? '' : `/${entry.guest}`;
  return printable(`${entry.store}${node}${guest}`);
}

/** Effects follow one another within a second, so minutes are not enough. */
function secondsOf(instant: string, clock: Clock): string {
  const date = new Date(instant);
  if (Number.isNaN(date.getTime())) return timeOf(instant, clock);
  return new Intl.DateTimeFormat('en-GB', {
    timeZone: clock.zone,
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    fractionalSecondDigits: 3,
  }).format(date);
}

type FaultRow = LabFaultTable[number];

/** One line a kind. */
export function renderFaultTable(table: readonly FaultRow[]): string[] {
  return [
    'What can go wrong (an event begins at once or at a step, a trap waits at its steps):',
    ...columns(
      table.map((row) => [
        printable(row.kind),
        printable(row.sort),
        printable(row.title),
        row.steps.length > MAX_STEPS_NAMED
          ? plural(row.steps.length, 'step')
          : row.steps.map(({ step }) => printable(step)).join(', '),
      ]),
    ),
    'Steps, moments and settings of one: edge lab faults --kind <kind>',
  ];
}

export function renderFaultKind(row: FaultRow): string[] {
  return [
    `${printable(row.kind)} (${printable(row.sort)}): ${printable(row.title)}`,
    ...columns(
      row.steps.map(({ step, title, moments }) => [
        printable(step),
        moments.map(printable).join(', '),
        printable(title),
      ]),
    ),
    ...(row.params.length === 0
      ? []
      : [
          'Settings:',
          ...columns(row.params.map(({ name, type, title }) => [printable(name), printable(type), printable(title)])),
        ]),
  ];
}

export function renderFaults(faults: readonly LabFault[]): string[] {
  if (faults.length === 0) return ['No faults are set.'];
  return columns(
    faults.map((fault) => [
      printable(fault.id),
      printable(fault.kind),
      printable(`${fault.store}${fault.node === undefined ? '' : `/${fault.node}`}`),
      printable(fault.step === undefined ? 'no step' : [fault.moment, fault.step].filter(Boolean).join(' ')),
      printable(`${fault.state ?? ''}${fault.bites === undefined ? '' : `, bit ${plural(fault.bites, 'time')}`}`),
    ]),
    0,
  );
}
