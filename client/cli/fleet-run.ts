import { plural } from '#domain/counted.js';
import { isRunOver, type FleetRunView } from '#domain/messages/fleet-run.js';
import { OUTCOME_WORDS, totalOf } from '#domain/outcomes.js';
import type { FleetRun, FleetRuns, RunHandle } from '../operations.js';
import { fleetOf, type Session, type TargetOptions } from './context.js';
import { CliFailure } from './failure.js';
import type { Io } from './io.js';
import { tallyWords } from './render-train.js';
import { Screen } from './screen.js';
import { printable } from './text.js';

/** What the commands for nights of backups and for restore tests have in common: to find a run, to follow it, to show it. */

/** Milliseconds between two looks at a run that is followed. */
const LOOK_EVERY = 1_000;
const MAX_STORES = 20;

/** `none` says what to do when Temporal knows of no run, or of none of this name. */
export async function newestRun<Input, View extends FleetRunView>(
  io: Io,
  options: TargetOptions,
  { target }: Session,
  runs: FleetRuns<Input, View>,
  none: (fleet: string, name?: string) => string,
  name?: string,
): Promise<FleetRun<View>> {
  const fleet = fleetOf(io, options, target.service);
  const run = await runs.newest(fleet, name);
  if (run) return run;
  throw new CliFailure(none(fleet, name));
}

/** On a terminal the counts move; elsewhere a line tells of each change. Interrupted, the run goes on by itself. */
export async function followRun<Input, View extends FleetRunView>(
  io: Io,
  options: { json?: boolean },
  runs: FleetRuns<Input, View>,
  run: RunHandle,
): Promise<View> {
  const screen = new Screen(io);
  const interrupted = io.interrupted();
  let told = '';
  for (;;) {
    const view = await runs.view(run);
    if (isRunOver(view) || interrupted.aborted) {
      screen.clear();
      return view;
    }
    const lines = progressLines(view);
    const line = lines.join(' ');
    if (!options.json) {
      if (!io.terminal && line !== told) io.out(line);
      screen.draw(lines);
    }
    told = line;
    await io.pause(LOOK_EVERY);
  }
}

/** Every store of the run succeeded. */
export const wentWell = ({ state, notSucceeded }: FleetRunView): boolean =>
  state === 'done' && notSucceeded.length === 0;

/** What it does, and how far it is as soon as that is known. */
export const progressLines = (view: FleetRunView): string[] => [
  printable(view.doing),
  ...(view.stores > 0 ? [countsLine(view)] : []),
];

/** `12 of 60 stores ended: succeeded 11, failed 1; in work 5` */
function countsLine({ stores, tally, inFlight }: FleetRunView): string {
  const counts = tallyWords(tally);
  const head = `${totalOf(tally)} of ${plural(stores, 'store')} ended`;
  return `${head}${counts === '' ? '' : `: ${counts}`}${inFlight > 0 ? `; in work ${inFlight}` : ''}`;
}

export function notSucceededLines({ notSucceeded }: FleetRunView): string[] {
  const shown = notSucceeded.slice(0, MAX_STORES);
  const reasons = [...new Set(shown.flatMap(({ reason }) => reason ?? []))];
  return [
    ...shown.map(({ store, outcome, reason, stop }) => {
      const why = [reason, stop?.summary].filter((part) => part !== undefined).join(': ');
      return `  ${printable(store)}: ${OUTCOME_WORDS[outcome]}${why === '' ? '' : ` (${printable(why)})`}`;
    }),
    ...(notSucceeded.length > shown.length ? [`  and ${notSucceeded.length - shown.length} more`] : []),
    ...(reasons.length > 0 ? [`What to do: ${reasons.map((reason) => `edge runbook ${reason}`).join(', ')}`] : []),
  ];
}
