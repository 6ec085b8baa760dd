import type { Command } from 'commander';
import { concernOf } from '#domain/janitor.js';
import {
  answer,
  clockOf,
  fleetOf,
  withFleetOption,
  withSession,
  withTargetOptions,
  type TargetOptions,
} from './context.js';
import type { Io } from './io.js';
import type { AddCommands, CommandResult } from './main.js';
import { renderJanitor, renderJanitorRun } from './render-janitor.js';

export const addJanitorCommands: AddCommands = (program, io, result) => {
  const janitor = program
    .command('janitor')
    .description('Looks for what runs that died left on stores, takes back what is ours, reports the rest.');
  addRun(janitor, io, result);
  addShow(janitor, io);
};

interface RunOptions extends TargetOptions {
  store?: string;
  by?: string;
}

function addRun(janitor: Command, io: Io, result: CommandResult): void {
  withFleetOption(withTargetOptions(janitor.command('run')))
    .description(
      'Run it now and wait for its report; exit code 1 when something of ours is still set, or nobody can tell. ' +
        'A train may be running: a store with an operation on it is left alone.',
    )
    .option('--store <ids>', 'only these stores, separated by commas (default: all of the fleet)')
    .option('--by <name>', 'who runs it (default: your user name)')
    .addHelpText('after', '\nExamples:\n  edge janitor run\n  edge janitor run --store store-014')
    .action(async (options: RunOptions) => {
      await withSession(io, options, async ({ operations, target }) => {
        const fleet = fleetOf(io, options, target.service);
        const stores = options.store?.split(',').map((id) => id.trim());
        const report = await operations.runJanitor({
          fleet,
          requestedBy: options.by ?? io.user,
          ...(stores === undefined ? {} : { stores }),
        });
        answer(io, options, report, renderJanitor(report));
        if (concernOf(report)?.reason !== undefined) result.exitCode = 1;
      });
    });
}

function addShow(janitor: Command, io: Io): void {
  withFleetOption(withTargetOptions(janitor.command('show')))
    .description('Show what the newest run found, by hand or by its schedule.')
    .addHelpText('after', '\nExample:\n  edge janitor show')
    .action(async (options: TargetOptions) => {
      const clock = clockOf(io, options);
      await withSession(io, options, async ({ operations, target }) => {
        const fleet = fleetOf(io, options, target.service);
        const run = await operations.lastJanitor(fleet);
        answer(io, options, run ?? null, renderJanitorRun(fleet, run, clock));
      });
    });
}
