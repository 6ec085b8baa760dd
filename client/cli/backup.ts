import type { Command } from 'commander';
import type { RpoState } from '#domain/backup.js';
import { backupStatus, RPO_STATES, type BackupStatus } from '#domain/backup-status.js';
import { problemText } from '#domain/yaml-file.js';
import type { LedgerReader } from '#systems/ledger/types.js';
import { checkRepo, folderSource } from '../repo/check.js';
import { addNightCommands } from './backup-night.js';
import {
  answer,
  clockOf,
  fleetOf,
  repoOf,
  stateDir,
  withCommonOptions,
  withFleetOption,
  type CommonOptions,
} from './context.js';
import { CliFailure, wrongUsage } from './failure.js';
import type { Io } from './io.js';
import { databaseUrlOf, fromLedger } from './ledger.js';
import type { AddCommands, CommandResult } from './main.js';
import { renderFleetStatus, renderGuestStatus, renderNights, renderStoreStatus } from './render-backup.js';
import { readServiceFile } from './service-file.js';
import { printable } from './text.js';

export const addBackupCommands: AddCommands = (program, io, result) => {
  const backup = program
    .command('backup')
    .description('Nights of backups: what is proven of each guest, and the night that runs.');
  addStatus(backup, io, result);
  addNightCommands(backup, io, result);
  addHistory(backup, io);
};

interface StatusOptions extends CommonOptions {
  repo?: string;
  dir?: string;
  guest?: string;
  state?: string;
}

const HISTORY = 14;

function addStatus(backup: Command, io: Io, result: CommandResult): void {
  withCommonOptions(backup.command('status'))
    .argument('[store]', 'only this store, guest by guest')
    .description(
      'How old the newest proven backup of each guest is, here and in the second place, against what fleet.yaml allows: ' +
        'ok, late (up to twice), breach (beyond), never, or unknown when nobody has looked for too long. ' +
        'Exit code 1 when a guest is not ok.',
    )
    .option('--guest <vmid>', 'only this guest of the store, with its last nights')
    .option('--state <states>', 'only stores in these states, separated by commas')
    .option('--repo <dir>', 'the GitOps repo (default: EDGE_REPO, else that of `edge up`, else this folder)')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .addHelpText(
      'after',
      '\nExamples:\n  edge backup status\n  edge backup status --state breach,never\n  edge backup status store-014\n  edge backup status store-014 --guest 101',
    )
    .action(async (store: string | undefined, options: StatusOptions) => {
      const { shown, guestHistory } = await read(io, options, store);
      const clock = clockOf(io, options);
      const [only] = shown.stores;
      const guest = only && guestOf(only.guests, options.guest);
      if (guest) {
        const history = await guestHistory(guest.store, guest.vmid);
        answer(io, options, { ...guest, history }, renderGuestStatus(guest, history, clock));
        if (guest.state !== 'ok') result.exitCode = 1;
        return;
      }
      answer(
        io,
        options,
        store && only ? only : shown,
        store && only ? renderStoreStatus(only, clock) : renderFleetStatus(shown),
      );
      if (shown.stores.some(({ state }) => state !== 'ok')) result.exitCode = 1;
    });
}

async function read(io: Io, options: StatusOptions, store: string | undefined) {
  if (options.guest !== undefined && store === undefined)
    throw wrongUsage('Of which store? Name it: edge backup status STORE --guest VMID');
  const states = statesOf(options.state);
  const dir = repoOf(io, options);
  const { fleet, stores, problems } = await checkRepo(folderSource(dir));
  if (!fleet || problems.length > 0)
    throw new CliFailure(`The repo ${dir} is not valid; see edge fleet check.`, {
      problems: problems.slice(0, 20).map(problemText),
    });
  if (store !== undefined && !stores.some(({ id }) => id === store))
    throw wrongUsage(`${printable(store)} is not a store of fleet ${fleet.fleet}.`);
  const rows = await asked(io, options, (ledger) => ledger.guestBackups(store === undefined ? {} : { store }));
  const status = backupStatus({
    fleet,
    stores: stores.filter(({ id }) => store === undefined || id === store),
    rows,
    now: io.now(),
  });
  const shown: BackupStatus = states
    ? { ...status, stores: status.stores.filter(({ state }) => states.includes(state)) }
    : status;
  return {
    shown,
    guestHistory: (id: string, vmid: number) => asked(io, options, (ledger) => ledger.backupHistory(id, vmid, HISTORY)),
  };
}

function guestOf<T extends { vmid: number; store: string }>(
  guests: readonly T[],
  wanted: string | undefined,
): T | undefined {
  if (wanted === undefined) return undefined;
  const found = guests.find(({ vmid }) => String(vmid) === wanted);
  if (found) return found;
  throw wrongUsage(
    `No guest ${printable(wanted)} is known there. There are: ${guests.map(({ vmid }) => vmid).join(', ')}`,
  );
}

function statesOf(list: string | undefined): RpoState[] | undefined {
  if (list === undefined) return undefined;
  return list.split(',').map((word) => {
    const state = RPO_STATES.find((known) => known === word.trim());
    if (state) return state;
    throw wrongUsage(`${printable(word)} is not a state. There are: ${RPO_STATES.join(', ')}`);
  });
}

interface HistoryOptions extends CommonOptions {
  fleet?: string;
  dir?: string;
  limit: string;
}

function addHistory(backup: Command, io: Io): void {
  withFleetOption(withCommonOptions(backup.command('history')))
    .description('The last nights: how many stores were backed up, and how long it took.')
    .option('--limit <number>', 'how many', '14')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .addHelpText('after', '\nExample:\n  edge backup history --limit 30')
    .action(async (options: HistoryOptions) => {
      const limit = Number(options.limit);
      if (!Number.isInteger(limit) || limit < 1 || limit > 1_000)
        throw wrongUsage('--limit is a number from 1 to 1000.');
      const fleet = fleetOf(io, options, readServiceFile(stateDir(io, options)));
      const nights = await asked(io, options, (ledger) => ledger.nights(fleet, limit));
      answer(io, options, nights, renderNights(nights, clockOf(io, options)));
    });
}

/** All that is known of backups is in the ledger: without it there is no answer. */
async function asked<T>(io: Io, options: { dir?: string }, question: (ledger: LedgerReader) => Promise<T>): Promise<T> {
  const target = { service: readServiceFile(stateDir(io, options)) };
  if (databaseUrlOf(io, target) === undefined)
    throw new CliFailure(
      'What is known of backups is in the ledger. Start `edge up` here, or name the ledger with EDGE_DATABASE_URL.',
    );
  const found = await fromLedger(io, target, question);
  if (found === undefined) throw new CliFailure('The ledger did not answer, so nothing is known of backups.');
  return found;
}
