import type { Command } from 'commander';
import { restoreScheduleId } from '#domain/naming.js';
import { TEST_STATES } from '#domain/restore-sampling.js';
import { restoreStatus, type GuestTests, type RestoreStatus } from '#domain/restore-status.js';
import { addRestoreRunCommands } from './restore-run.js';
import { askLedger, type AskLedger } from './ask-ledger.js';
import {
  answer,
  clockOf,
  fleetOf,
  limitOf,
  repoOf,
  stateDir,
  statesOf,
  withCommonOptions,
  withFleetOption,
  withSession,
  type CommonOptions,
  type OpenSession,
} from './context.js';
import { wrongUsage } from './failure.js';
import { guestOf } from './guests.js';
import type { Io } from './io.js';
import { fromLedger } from './ledger.js';
import type { AddCommands, CommandResult } from './main.js';
import { renderRestoreHistory, renderRestoreStatus, renderRestoreRuns } from './render-restore.js';
import { loadFolder, type LoadedRepo } from './repo.js';
import { silenceWords } from './schedule-words.js';
import { readServiceFile } from './service-file.js';
import { printable } from './text.js';

/** What the commands reach outside; tests give their own. */
export interface Outside {
  open: OpenSession;
  ask: AskLedger;
}

export const addRestoreCommands: AddCommands = (program, io, result) =>
  addRestore(program, io, result, { open: withSession, ask: fromLedger });

export function addRestore(program: Command, io: Io, result: CommandResult, { open, ask }: Outside): void {
  const restore = program
    .command('restore')
    .description('Restore tests: guests had back from their copies at the staging site, and what that proved.');
  addStatus(restore, io, result, { open, ask });
  addRestoreRunCommands(restore, io, result, open, ask);
  addHistory(restore, io, ask);
}

interface StatusOptions extends CommonOptions {
  repo?: string;
  dir?: string;
  guest?: string;
  state?: string;
}

const HISTORY = 14;

function addStatus(restore: Command, io: Io, result: CommandResult, { open, ask }: Outside): void {
  withCommonOptions(restore.command('status'))
    .argument('[store]', 'only this store')
    .description(
      'Which guests were had back within the weeks of their tier, which failed when last tested, which are ' +
        'overdue, and which never were; with the time it took, by class. Exit code 1 when a guest that is asked for ' +
        'failed, was not tested in time, or was never tested and no night has seen it, and when there is no guest; ' +
        'a new one has the weeks of its tier. 0 otherwise.',
    )
    .option('--guest <vmid>', 'only this guest of the store, with its last trials')
    .option('--state <states>', 'list guests in these states: failed, never, overdue, tested; separated by commas')
    .option('--repo <dir>', 'the GitOps repo (default: EDGE_REPO, else that of `edge up`, else this folder)')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .addHelpText(
      'after',
      '\nExamples:\n  edge restore status\n  edge restore status --state failed,overdue\n  edge restore status store-014 --guest 101',
    )
    .action(async (store: string | undefined, options: StatusOptions) => {
      const clock = clockOf(io, options);
      const states = statesOf(options.state, TEST_STATES);
      if (options.guest !== undefined && store === undefined)
        throw wrongUsage('Of which store? Name it: edge restore status STORE --guest VMID');
      const { fleet, stores } = await loadFolder(repoOf(io, options));
      const status = await readStatus(ask, io, options, { fleet, stores }, store);
      if (status.guests.length === 0 || status.guests.some(isConcern)) result.exitCode = 1;
      if (options.guest === undefined || store === undefined) {
        const guests = status.guests.filter(({ state }) => !states || states.includes(state));
        const ids = store === undefined && fleet.backup?.offsite ? [restoreScheduleId(fleet.fleet)] : [];
        const silence = await silenceWords(open, io, options, ids);
        const lines = [...renderRestoreStatus(status, clock, states), ...silence.map(printable)];
        answer(io, options, { ...status, guests, silence }, lines);
        return;
      }
      const guest = guestOf(status.guests, options.guest);
      const history = await askLedger(ask, io, options, 'restore tests', (ledger) =>
        ledger.restoreHistory(store, guest.vmid, HISTORY),
      );
      answer(io, options, { ...guest, history }, renderRestoreHistory(guest, history, clock));
      result.exitCode = isConcern(guest) ? 1 : 0;
    });
}

/** A new one is none as long as it has time, else a watcher would call for weeks; but it must be known since when. */
const isConcern = ({ state, isLate, isUnseen }: GuestTests): boolean =>
  state === 'failed' || isLate || (state === 'never' && isUnseen);

async function readStatus(
  ask: AskLedger,
  io: Io,
  options: StatusOptions,
  { fleet, stores }: Pick<LoadedRepo, 'fleet' | 'stores'>,
  store: string | undefined,
): Promise<RestoreStatus> {
  const wanted = stores.filter(({ id }) => store === undefined || id === store);
  if (wanted.length === 0 && store !== undefined)
    throw wrongUsage(`${printable(store)} is not a store of fleet ${fleet.fleet}.`);
  const [known, newest] = await askLedger(ask, io, options, 'restore tests', (ledger) =>
    Promise.all([ledger.guestBackups(store === undefined ? {} : { store }), ledger.newestRestores(fleet.fleet)]),
  );
  return restoreStatus({ fleet, stores: wanted, known, newest, now: io.now() });
}

interface HistoryOptions extends CommonOptions {
  fleet?: string;
  dir?: string;
  limit: string;
}

function addHistory(restore: Command, io: Io, ask: AskLedger): void {
  withFleetOption(withCommonOptions(restore.command('history')))
    .description('The last runs: how many guests were tried, and of how many stores all could be had back.')
    .option('--limit <number>', 'how many', '14')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .addHelpText('after', '\nExample:\n  edge restore history --limit 30')
    .action(async (options: HistoryOptions) => {
      const clock = clockOf(io, options);
      const limit = limitOf(options);
      const fleet = fleetOf(io, options, readServiceFile(stateDir(io, options)));
      const runs = await askLedger(ask, io, options, 'restore tests', (ledger) => ledger.restoreRuns(fleet, limit));
      answer(io, options, runs, renderRestoreRuns(runs, clock));
    });
}
