import { number, plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import type { TrainView } from '#domain/messages/train.js';
import { OUTCOME_WORDS, OUTCOMES, addTallies, emptyTally, totalOf } from '#domain/outcomes.js';
import type { Struck } from './demo-run.js';
import type { LabEntry, LabReport, LabTiming } from './lab-client.js';
import { holds, verdictLine } from './render-lab.js';
import { resultLine } from './render-train.js';
import { columns, printable } from './text.js';

/** The demo's header, its news from the practice fleet's journal, and its summary. Pure. */

export interface DemoHeader {
  stores: number;
  nodes: number;
  release: string;
  speed: number;
  temporal: { server: string; origin: string; ui: string };
}

export function renderHeader({ stores, nodes, release, speed, temporal }: DemoHeader): string[] {
  return [
    `Edge Governor demo: ${plural(stores, 'practice store')} (${plural(nodes, 'node')}), release ${printable(release)}, ` +
      `calendar compressed, speed ×${speed}`,
    `  Temporal ${temporal.server} (${temporal.origin})  ${temporal.ui}     ledger PGlite     practice fleet on loopback addresses`,
  ];
}

/** The longer ones: what a real store takes, and by what that is divided. */
export function durationsLine({ speed, durations }: LabTiming): string {
  const long = durations.filter(({ baseMs }) => baseMs >= SHOWN_FROM);
  const shown = long.map(({ name, baseMs }) => `${printable(name)} ${formatDuration(baseMs)}`);
  return `  durations of a real store, divided by ${speed}: ${shown.join(', ')} (all: edge lab state --timing)`;
}
const SHOWN_FROM = 20_000;

/** What the journal says of a cut link: which store, where in its work, and when it came back. */
export function linkNews(entries: readonly LabEntry[]): string[] {
  return entries.flatMap((entry) => {
    if (entry.effect === 'fault.active' && entry.detail?.['kind'] === 'wan-cut') {
      const node = entry.node === undefined ? '' : ` of ${printable(entry.node)}`;
      return [`${printable(entry.store)} lost its WAN during the drain${node}`];
    }
    return entry.effect === 'wan.restore' ? [`${printable(entry.store)} has its WAN back`] : [];
  });
}

/** Stores in which something happened between two instants. */
export function storesAtWork(entries: readonly LabEntry[], from: Date, to: Date): number {
  const between = entries.filter(({ at }) => Date.parse(at) >= from.getTime() && Date.parse(at) <= to.getTime());
  return new Set(between.map(({ store }) => store)).size;
}

export const nodesRebooted = (entries: readonly LabEntry[]): number =>
  entries.filter(({ effect }) => effect === 'node.reboot.request').length;

export interface DemoResult {
  view: TrainView;
  report: LabReport;
  rebooted: number;
  /** Milliseconds from the start of the train to its end. */
  took: number;
  /** What was to go wrong, and whether it did; absent when nothing was. */
  struck?: Struck | undefined;
}

/** Done means: the train reached its end through all that was to go wrong, every store has one outcome, the journal holds. */
export function isGood({ view, report, struck }: Pick<DemoResult, 'view' | 'report' | 'struck'>): boolean {
  const wentWrong = struck === undefined || (struck.cut && struck.killed);
  return view.state === 'done' && sumOf(view) === plannedOf(view) && holds(report) && wentWrong;
}

const notStruck = ({ cut, killed }: Struck): string[] => [
  ...(cut ? [] : ['NOT SHOWN: no store lost its WAN during its patch; the train was too quick for the fault.']),
  ...(killed ? [] : ['NOT SHOWN: the control worker was not killed.']),
];

const tallyOfTrain = (view: TrainView) =>
  view.stages.map((stage) => stage.tally).reduce((sum, tally) => addTallies(sum, tally), emptyTally());
const sumOf = (view: TrainView): number => totalOf(tallyOfTrain(view));
const plannedOf = (view: TrainView): number => view.stages.reduce((sum, stage) => sum + stage.stores, 0);

const ALWAYS_SHOWN: readonly string[] = ['succeeded', 'offline', 'failed'];

export function renderSummary(result: DemoResult): string[] {
  const { view, report, rebooted, took, struck } = result;
  const tally = tallyOfTrain(view);
  const counts = OUTCOMES.filter((outcome) => tally[outcome] > 0 || ALWAYS_SHOWN.includes(outcome)).map(
    (outcome) => `${OUTCOME_WORDS[outcome]} ${number(tally[outcome])}`,
  );
  const word = view.state === 'done' ? 'Done' : view.state === 'aborted' ? 'ABORTED' : 'NOT DONE';
  return [
    `${word} in ${formatDuration(roundSeconds(took))}: ${plural(plannedOf(view), 'store')}, ${plural(rebooted, 'node reboot')}.`,
    `  ${counts.join('   ')}   sum ${number(sumOf(view))} of ${number(plannedOf(view))}`,
    ...(view.state === 'done' ? [] : [`  ${printable(view.doing)}`]),
    ...view.notSucceeded
      .slice(0, 10)
      .flatMap((entry) => [
        `  ${resultLine(entry)}`,
        ...(entry.reason === undefined ? [] : [`          See: edge runbook ${entry.reason}`]),
      ]),
    ...(struck === undefined ? [] : notStruck(struck)),
    `Practice fleet's own journal: ${verdictLine(report)}.`,
    ...report.rules
      .filter((rule) => rule.violations.length > 0)
      .map((rule) => `  BROKEN: ${printable(rule.title)} (${plural(rule.violations.length, 'time')})`),
  ];
}

/** Where to look while the service still runs, else how to have it kept running. */
export function renderWhereNext(kept: { ui: string; dir: string; store: string } | undefined): string[] {
  if (kept === undefined) {
    return ['To look around afterwards: edge demo --keep   Your own practice fleet: edge up --lab 60'];
  }
  const { ui, dir, store } = kept;
  return [
    'Look around (Ctrl-C ends it):',
    ...columns([
      ['the train and every store', ui],
      ['the same in words', `edge train show --dir ${dir}`],
      ['one store', `edge store show ${store} --dir ${dir}`],
      ['what really happened', `edge lab journal --store ${store} --dir ${dir}`],
    ]),
  ];
}

const roundSeconds = (ms: number): number => Math.round(ms / 1_000) * 1_000;
