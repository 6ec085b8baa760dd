import type { Command } from 'commander';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import type { RestoreView } from '#domain/messages/restore.js';
import { unknownIn } from '#domain/restore-plan.js';
import type { AskLedger } from './ask-ledger.js';
import {
  answer,
  clockOf,
  fleetOf,
  withFleetOption,
  withTargetOptions,
  type OpenSession,
  type Session,
  type TargetOptions,
} from './context.js';
import { wrongUsage } from './failure.js';
import { followRun, newestRun, wentWell } from './fleet-run.js';
import type { Io } from './io.js';
import type { CommandResult } from './main.js';
import { renderRestoreRun } from './render-restore.js';
import { loadRepoOf } from './repo.js';
import { reasoned, tell } from './say.js';
import type { ServiceFile } from './service-file.js';
import { printable } from './text.js';

/** `edge restore run`, `show` and `abort`: the run as it is under way. */

export function addRestoreRunCommands(
  restore: Command,
  io: Io,
  result: CommandResult,
  open: OpenSession,
  ask: AskLedger,
): void {
  addRun(restore, io, result, open, ask);
  addShow(restore, io, result, open, ask);
  addAbort(restore, io, result, open);
}

interface RunOptions extends TargetOptions {
  store?: string;
  guest?: string;
  detach?: boolean;
  by?: string;
}

function addRun(restore: Command, io: Io, result: CommandResult, open: OpenSession, ask: AskLedger): void {
  withFleetOption(withTargetOptions(restore.command('run')))
    .description(
      'Restore guests from their copies in the second place, at the staging site and on a network of their own, ask ' +
        'them whether they are well, take them away again, and follow it to its end. The stores are not touched. ' +
        'Exit code 1 when a guest that was tried could not be had back.',
    )
    .option('--store <ids>', 'all guests of these stores, separated by commas (default: those that are due)')
    .option('--guest <vmids>', 'only these guests of the stores, separated by commas')
    .option('--detach', 'do not follow it')
    .option('--by <name>', 'who runs it (default: your user name)')
    .addHelpText(
      'after',
      '\nExamples:\n  edge restore run\n  edge restore run --store store-014 --guest 101\n  edge restore run --detach',
    )
    .action(async (options: RunOptions) => {
      const clock = clockOf(io, options);
      const stores = options.store?.split(',').map((id) => id.trim());
      const vmids = vmidsOf(options.guest);
      if (vmids && !stores) throw wrongUsage('Of which stores? Name them: edge restore run --store STORE --guest VMID');
      await open(io, options, async (session) => {
        const { restores } = session.operations;
        if (stores) await refuseUnknown(session.target.service, { stores, vmids });
        const run = await restores.start({
          fleet: fleetOf(io, options, session.target.service),
          requestedBy: options.by ?? io.user,
          ...(stores === undefined ? {} : { stores }),
          ...(vmids === undefined ? {} : { vmids }),
        });
        if (options.detach) {
          answer(io, options, run, ['Started.', `See it: edge restore show${session.target.suffix}`]);
          return;
        }
        const view = await followRun(io, options, restores, run);
        const guests = await guestsOf(ask, io, session, view);
        answer(io, options, { ...view, guests }, renderRestoreRun(view, guests, { ...clock, now: io.now() }));
        if (!wentWell(view)) result.exitCode = 1;
      });
    });
}

/** Before anything is started, where the repo can be asked; else the run itself says so. */
async function refuseUnknown(
  service: ServiceFile | undefined,
  wanted: { stores: readonly string[]; vmids: readonly number[] | undefined },
): Promise<void> {
  const repo = await loadRepoOf(service);
  const unknown = repo ? unknownIn(repo, wanted) : [];
  if (unknown.length > 0) throw wrongUsage(unknown.map(({ why }) => printable(why)).join('; '));
}

function vmidsOf(list: string | undefined): number[] | undefined {
  return list?.split(',').map((word) => {
    if (/^\d{3,9}$/.test(word.trim())) return Number(word);
    throw wrongUsage(`${printable(word)} is not the number of a guest.`);
  });
}

interface ShowOptions extends TargetOptions {
  watch?: boolean;
}

function addShow(restore: Command, io: Io, result: CommandResult, open: OpenSession, ask: AskLedger): void {
  withFleetOption(withTargetOptions(restore.command('show')))
    .description('Show the newest run, by hand or by its schedule, guest by guest.')
    .option('--watch', 'follow it until it ends; exit code 1 when a guest that was tried could not be had back')
    .addHelpText('after', '\nExamples:\n  edge restore show\n  edge restore show --watch')
    .action(async (options: ShowOptions) => {
      const clock = clockOf(io, options);
      await open(io, options, async (session) => {
        const { restores } = session.operations;
        const run = await newestRun(io, options, session, restores, none);
        const view = options.watch ? await followRun(io, options, restores, run) : run.view;
        const guests = await guestsOf(ask, io, session, view);
        answer(io, options, { ...view, guests }, renderRestoreRun(view, guests, { ...clock, now: io.now() }));
        if (options.watch && !wentWell(view)) result.exitCode = 1;
      });
    });
}

/** Guests are in the ledger alone; without it the stores are told all the same. */
async function guestsOf(ask: AskLedger, io: Io, { target }: Session, { run }: RestoreView): Promise<RestoreTestRow[]> {
  if (run === '') return [];
  return (await ask(io, target, (ledger) => ledger.restoreTests(run))) ?? [];
}

interface AbortOptions extends TargetOptions {
  by?: string;
  reason?: string;
}

function addAbort(restore: Command, io: Io, result: CommandResult, open: OpenSession): void {
  withFleetOption(withTargetOptions(restore.command('abort')))
    .description('End the run: no further guest is tried; those that are being tried are taken away.')
    .option('--by <name>', 'who ends it (default: your user name)')
    .option('--reason <words>', 'why')
    .addHelpText('after', '\nExample:\n  edge restore abort --reason "the site is needed"')
    .action(async (options: AbortOptions) => {
      await open(io, options, async (session) => {
        const { restores } = session.operations;
        const run = await newestRun(io, options, session, restores, none);
        const reply = await restores.abort(run, reasoned(options.by ?? io.user, options.reason));
        tell(io, options, result, reply, { run: run.view.run }, []);
      });
    });
}

const none = (fleet: string): string =>
  `No run of restore tests of fleet ${fleet} is known to Temporal. Start one: edge restore run`;
