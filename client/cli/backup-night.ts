import type { Command } from 'commander';
import type { NightView } from '#domain/messages/backup.js';
import type { NightHandle } from '../operations.js';
import {
  answer,
  clockOf,
  fleetOf,
  withFleetOption,
  type withSession,
  withTargetOptions,
  type Session,
  type TargetOptions,
} from './context.js';
import { CliFailure } from './failure.js';
import type { Io } from './io.js';
import type { CommandResult } from './main.js';
import { isNightOver, progressLines, renderNight, wentWell } from './render-night.js';
import { reasoned, tell } from './say.js';
import { Screen } from './screen.js';

/** `edge backup run`, `show` and `abort`: the night as it is under way. */

/** Milliseconds between two looks at a night that is followed. */
const LOOK_EVERY = 1_000;

interface RunOptions extends TargetOptions {
  store?: string;
  inWindow?: boolean;
  detach?: boolean;
  by?: string;
}

/** How a command gets to the service; tests give their own. */
export type OpenSession = typeof withSession;

export function addNightCommands(backup: Command, io: Io, result: CommandResult, open: OpenSession): void {
  addRun(backup, io, result, open);
  addShow(backup, io, result, open);
  addAbort(backup, io, result, open);
}

function addRun(backup: Command, io: Io, result: CommandResult, open: OpenSession): void {
  withFleetOption(withTargetOptions(backup.command('run')))
    .description(
      'Back up now, verify, send to the second place, and follow it to its end; exit code 1 when a store has no new ' +
        'verified backup of all of its guests. A train may be running: a store that it works on is waited for.',
    )
    .option('--store <ids>', 'only these stores, separated by commas (default: all that have a backup server)')
    .option('--in-window', 'wait for the backup window, as the nightly run does')
    .option('--detach', 'do not follow it')
    .option('--by <name>', 'who runs it (default: your user name)')
    .addHelpText(
      'after',
      '\nExamples:\n  edge backup run --store store-014     before something risky\n  edge backup run --in-window --detach',
    )
    .action(async (options: RunOptions) => {
      // A zone that is none is told before anything is begun.
      const clock = clockOf(io, options);
      await open(io, options, async (session) => {
        const fleet = fleetOf(io, options, session.target.service);
        const stores = options.store?.split(',').map((id) => id.trim());
        const run = await session.operations.startNight({
          fleet,
          now: options.inWindow !== true,
          requestedBy: options.by ?? io.user,
          ...(stores === undefined ? {} : { stores }),
        });
        if (options.detach) {
          answer(io, options, run, ['Started.', `See it: edge backup show${session.target.suffix}`]);
          return;
        }
        const view = await follow(io, options, session, run);
        answer(io, options, view, renderNight(view, { ...clock, now: io.now() }));
        if (!wentWell(view)) result.exitCode = 1;
      });
    });
}

interface ShowOptions extends TargetOptions {
  watch?: boolean;
}

function addShow(backup: Command, io: Io, result: CommandResult, open: OpenSession): void {
  withFleetOption(withTargetOptions(backup.command('show')))
    .description('Show the newest night, by hand or by its schedule: what runs, and which stores did not succeed.')
    .option('--watch', 'follow it until it ends; exit code 1 when a store did not succeed')
    .addHelpText('after', '\nExamples:\n  edge backup show\n  edge backup show --watch')
    .action(async (options: ShowOptions) => {
      const clock = clockOf(io, options);
      await open(io, options, async (session) => {
        const run = await newest(io, options, session);
        const view = options.watch ? await follow(io, options, session, run) : run.view;
        answer(io, options, view, renderNight(view, { ...clock, now: io.now() }));
        if (options.watch && !wentWell(view)) result.exitCode = 1;
      });
    });
}

interface AbortOptions extends TargetOptions {
  by?: string;
  reason?: string;
}

function addAbort(backup: Command, io: Io, result: CommandResult, open: OpenSession): void {
  withFleetOption(withTargetOptions(backup.command('abort')))
    .description('End the night that runs: no further store is begun; dumps that run go on to their end.')
    .option('--by <name>', 'who ends it (default: your user name)')
    .option('--reason <words>', 'why')
    .addHelpText('after', '\nExample:\n  edge backup abort --reason "the uplink is needed"')
    .action(async (options: AbortOptions) => {
      await open(io, options, async (session) => {
        const run = await newest(io, options, session);
        const said = reasoned(options.by ?? io.user, options.reason);
        const reply = await session.operations.abortNight(run, said);
        tell(io, options, result, reply, { night: run.view.night }, []);
      });
    });
}

async function newest(io: Io, options: TargetOptions, { operations, target }: Session) {
  const fleet = fleetOf(io, options, target.service);
  const run = await operations.newestNight(fleet);
  if (run) return run;
  throw new CliFailure(`No night of backups of fleet ${fleet} is known to Temporal. Start one: edge backup run`);
}

/** On a terminal the counts move; elsewhere a line tells of each change. Interrupted, the night goes on by itself. */
async function follow(io: Io, options: TargetOptions, session: Session, run: NightHandle): Promise<NightView> {
  const screen = new Screen(io);
  const interrupted = io.interrupted();
  let told = '';
  for (;;) {
    const view = await session.operations.nightView(run);
    if (isNightOver(view) || interrupted.aborted) {
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
