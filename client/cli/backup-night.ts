import type { Command } from 'commander';
import {
  answer,
  clockOf,
  fleetOf,
  withFleetOption,
  type OpenSession,
  withTargetOptions,
  type TargetOptions,
} from './context.js';
import { followRun, newestRun, wentWell } from './fleet-run.js';
import type { Io } from './io.js';
import type { CommandResult } from './main.js';
import { renderNight } from './render-night.js';
import { reasoned, tell } from './say.js';
import { printable } from './text.js';

/** `edge backup run`, `show` and `abort`: the night as it is under way. */

interface RunOptions extends TargetOptions {
  store?: string;
  inWindow?: boolean;
  detach?: boolean;
  by?: string;
}

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
        const run = await session.operations.nights.start({
          fleet,
          now: options.inWindow !== true,
          requestedBy: options.by ?? io.user,
          ...(stores === undefined ? {} : { stores }),
        });
        if (options.detach) {
          answer(io, options, run, ['Started.', `See it: edge backup show${session.target.suffix}`]);
          return;
        }
        const view = await followRun(io, options, session.operations.nights, run);
        answer(io, options, view, renderNight(view, { ...clock, now: io.now() }));
        if (!wentWell(view)) result.exitCode = 1;
      });
    });
}

interface ShowOptions extends TargetOptions {
  night?: string;
  watch?: boolean;
}

function addShow(backup: Command, io: Io, result: CommandResult, open: OpenSession): void {
  withFleetOption(withTargetOptions(backup.command('show')))
    .description(
      'Show the night that runs, else the newest, by hand or by its schedule: what it does, and which stores did not ' +
        'succeed.',
    )
    .option('--night <id>', 'this one')
    .option('--watch', 'follow it until it ends; exit code 1 when a store did not succeed')
    .addHelpText('after', '\nExamples:\n  edge backup show\n  edge backup show --watch')
    .action(async (options: ShowOptions) => {
      const clock = clockOf(io, options);
      await open(io, options, async (session) => {
        const { nights } = session.operations;
        const run = await newestRun(io, options, session, nights, none, options.night);
        const view = options.watch ? await followRun(io, options, nights, run) : run.view;
        answer(io, options, view, [...renderNight(view, { ...clock, now: io.now() }), ...besidesLines(run.besides)]);
        if (options.watch && !wentWell(view)) result.exitCode = 1;
      });
    });
}

interface AbortOptions extends TargetOptions {
  night?: string;
  by?: string;
  reason?: string;
}

function addAbort(backup: Command, io: Io, result: CommandResult, open: OpenSession): void {
  withFleetOption(withTargetOptions(backup.command('abort')))
    .description('End the night that runs: no further store is begun; dumps that run go on to their end.')
    .option('--night <id>', 'this one, where two of them run')
    .option('--by <name>', 'who ends it (default: your user name)')
    .option('--reason <words>', 'why')
    .addHelpText('after', '\nExample:\n  edge backup abort --reason "the uplink is needed"')
    .action(async (options: AbortOptions) => {
      await open(io, options, async (session) => {
        const { nights } = session.operations;
        const run = await newestRun(io, options, session, nights, none, options.night);
        const said = reasoned(options.by ?? io.user, options.reason);
        const reply = await nights.abort(run, said);
        tell(io, options, result, reply, { night: run.view.night }, besidesLines(run.besides));
      });
    });
}

const besidesLines = (nights: readonly string[]): string[] =>
  nights.map((night) =>
    night === ''
      ? 'Another night is being planned.'
      : `Another night runs as well: edge backup show --night ${printable(night)}`,
  );

const none = (fleet: string, night?: string): string =>
  night === undefined
    ? `No night of backups of fleet ${fleet} is known to Temporal. Start one: edge backup run`
    : `Temporal knows no night ${printable(night)} of fleet ${fleet} among the newest. See them: edge backup history`;
