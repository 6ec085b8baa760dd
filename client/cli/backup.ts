import type { Command } from 'commander';
import type { RpoState } from '#domain/backup.js';
import { backupStatus, clearConcern, datastoreConcern, RPO_STATES, type BackupStatus } from '#domain/backup-status.js';
import { backupScheduleId, janitorScheduleId } from '#domain/naming.js';
import { addNightCommands } from './backup-night.js';
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
import { loadFolder, type LoadedRepo } from './repo.js';
import { renderFleetStatus, renderGuestStatus, renderNights, renderStoreStatus } from './render-backup.js';
import { silenceWords } from './schedule-words.js';
import { readServiceFile } from './service-file.js';
import { printable } from './text.js';

/** What the commands reach outside; tests give their own. */
export interface Outside {
  open: OpenSession;
  ask: AskLedger;
}

export const addBackupCommands: AddCommands = (program, io, result) => addBackup(program, io, result, REAL);

export function addBackup(program: Command, io: Io, result: CommandResult, { open, ask }: Outside): void {
  const backup = program
    .command('backup')
    .description('Nights of backups: what is proven of each guest, and the night that runs.');
  addStatus(backup, io, result, { open, ask });
  addNightCommands(backup, io, result, open);
  addHistory(backup, io, ask);
}

const REAL: Outside = { open: withSession, ask: fromLedger };
type Ask = Outside['ask'];

interface StatusOptions extends CommonOptions {
  repo?: string;
  dir?: string;
  guest?: string;
  state?: string;
}

const HISTORY = 14;

function addStatus(backup: Command, io: Io, result: CommandResult, { open, ask }: Outside): void {
  withCommonOptions(backup.command('status'))
    .argument('[store]', 'only this store, guest by guest')
    .description(
      'How old the newest proven backup of each guest is, here and in the second place, against what fleet.yaml allows: ' +
        'ok, late (up to twice), breach (beyond), never, or unknown when nobody has looked for too long. ' +
        'Exit code 0 when every guest that is asked for is ok, and encrypted where fleet.yaml asks for it, ' +
        'and no datastore is nearly full or holds damaged parts, 1 otherwise, ' +
        'whatever --state shows; ' +
        'a store that nobody backs up is not ok when it is asked for by name.',
    )
    .option('--guest <vmid>', 'only this guest of the store, with its last nights')
    .option('--state <states>', 'show only stores, or guests of the store, in these states, separated by commas')
    .option('--repo <dir>', 'the GitOps repo (default: EDGE_REPO, else that of `edge up`, else this folder)')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .addHelpText(
      'after',
      '\nExamples:\n  edge backup status\n  edge backup status --state breach,never\n  edge backup status store-014\n  edge backup status store-014 --guest 101',
    )
    .action(async (store: string | undefined, options: StatusOptions) => {
      const clock = clockOf(io, options);
      const states = statesOf(options.state, RPO_STATES);
      if (options.guest !== undefined && store === undefined)
        throw wrongUsage('Of which store? Name it: edge backup status STORE --guest VMID');
      if (options.guest !== undefined && states) throw wrongUsage('Name a guest or states, not both.');
      const { fleet, stores } = await loadFolder(repoOf(io, options));
      const status = await readStatus(ask, io, options, { fleet, stores }, store);
      // What is filtered out of the answer still counts: an alarm must not depend on what is shown.
      const concern = clearConcern(status) ?? datastoreConcern(status);
      if (status.stores.length === 0 || status.stores.some(({ state }) => state !== 'ok') || concern)
        result.exitCode = 1;

      const [only] = status.stores;
      if (store === undefined || !only) {
        // Where the janitor is silent, nobody says that nights are.
        const ids = fleet.backup ? [backupScheduleId(fleet.fleet), janitorScheduleId(fleet.fleet)] : [];
        const silence = await silenceWords(open, io, options, ids);
        const lines = [...renderFleetStatus(status, states), ...silence.map(printable)];
        answer(io, options, { ...showing(status, states), silence }, lines);
        return;
      }
      if (options.guest === undefined) {
        const guests = only.guests.filter(({ state }) => !states || states.includes(state));
        answer(io, options, { ...only, guests }, renderStoreStatus(only, clock, states));
        return;
      }
      const guest = guestOf(only.guests, options.guest);
      const history = await askLedger(ask, io, options, 'backups', (ledger) =>
        ledger.backupHistory(store, guest.vmid, HISTORY),
      );
      answer(io, options, { ...guest, history }, renderGuestStatus(guest, history, clock));
      result.exitCode = guest.state === 'ok' && !guest.inClear ? 0 : 1;
    });
}

async function readStatus(
  ask: Ask,
  io: Io,
  options: StatusOptions,
  { fleet, stores }: Pick<LoadedRepo, 'fleet' | 'stores'>,
  store: string | undefined,
): Promise<BackupStatus> {
  if (store !== undefined && !stores.some(({ id }) => id === store))
    throw wrongUsage(`${printable(store)} is not a store of fleet ${fleet.fleet}.`);
  const of = store === undefined ? {} : { store };
  const [rows, datastores] = await askLedger(ask, io, options, 'backups', (ledger) =>
    Promise.all([ledger.guestBackups(of), ledger.datastores(of)]),
  );
  return backupStatus({
    fleet,
    stores: stores.filter(({ id }) => store === undefined || id === store),
    rows,
    datastores,
    now: io.now(),
  });
}

const showing = (status: BackupStatus, states: readonly RpoState[] | undefined): BackupStatus =>
  states ? { ...status, stores: status.stores.filter(({ state }) => states.includes(state)) } : status;

interface HistoryOptions extends CommonOptions {
  fleet?: string;
  dir?: string;
  limit: string;
}

function addHistory(backup: Command, io: Io, ask: Ask): void {
  withFleetOption(withCommonOptions(backup.command('history')))
    .description('The last nights: how many stores were backed up, and how long it took.')
    .option('--limit <number>', 'how many', '14')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)')
    .addHelpText('after', '\nExample:\n  edge backup history --limit 30')
    .action(async (options: HistoryOptions) => {
      const clock = clockOf(io, options);
      const limit = limitOf(options);
      const fleet = fleetOf(io, options, readServiceFile(stateDir(io, options)));
      const nights = await askLedger(ask, io, options, 'backups', (ledger) => ledger.nights(fleet, limit));
      answer(io, options, nights, renderNights(nights, clock));
    });
}
