import { patched } from '@temporalio/workflow';
import { keyChanges, keyChangeWords } from '#domain/backup-encryption.js';
import { isBelieved, type MissingGuest } from '#domain/backup-result.js';
import { datastoreRows, rowsOf } from '#domain/backup-rows.js';
import type { BackupStoreInput, BackupTask, CopyAnswer } from '#domain/messages/backup.js';
import { attention } from './attention.js';
import type { BackupDesk } from './backup-view.js';
import type { NightEnd } from './night-end.js';
import { backupProxies, control, messageOf, offsiteProxies } from './proxies.js';
import type { Dumped } from './store-dumps.js';

/** What both servers hold when a night is over, and what the ledger keeps of it. */

export interface Copies {
  local?: CopyAnswer | undefined;
  offsite?: CopyAnswer | undefined;
}

/** Absent is what could not be read. */
export async function readBack(
  { orders, cutOffAfter }: BackupStoreInput,
  task: BackupTask,
  view: BackupDesk,
  end: NightEnd,
): Promise<Copies> {
  view.step('read back');
  const unreadable = (where: string) => (error: unknown) => {
    view.note(`${where} could not be read: ${messageOf(error)}`);
    return undefined;
  };
  const copies: Copies = {};
  const own = async () => {
    copies.local = await backupProxies(task.store).read.readCopy(task).catch(unreadable('The backup server'));
  };
  const central = async () => {
    copies.offsite = await offsiteProxies(cutOffAfter).read.readCopy(task).catch(unreadable('The central server'));
  };
  const isRead = await end.lastly(async () => {
    await Promise.all([own(), orders.offsite && central()]);
    return true;
  });
  if (!isRead) view.note('The night was over before each backup server could be read.');
  return { ...copies };
}

/** Whatever could be read is kept, however the night ended. */
export async function recordCopies(
  { orders, guests: tiers }: BackupStoreInput,
  task: BackupTask,
  { guests, runs, stop }: Dumped,
  { local, offsite }: Copies,
  missing: readonly MissingGuest[],
  view: BackupDesk,
  record = control.record,
): Promise<void> {
  const now = new Date();
  const at = now.toISOString();
  const datastores = datastoreRows(task, { local, offsite }, at);
  const learned = { task, local: local?.copy, offsite: offsite?.copy, orders, tiers, refusal: stop?.summary };
  // Recorded, a list of nobody would say that all guests are gone.
  if (!guests || (!isBelieved(guests, local?.copy) && patched('empty-list-not-recorded'))) {
    if (!patched('recorded-without-a-list')) return;
    view.step('record');
    await record({ kind: 'copies', ...learned, runs, readAt: at, datastores });
    return;
  }
  view.step('record');
  const rows = rowsOf({ ...learned, guests, missing, now });
  await record({ kind: 'backups', store: task.store, at, ...rows, datastores });
}

/** A changed key makes no backup less: so nobody would hear of it before a restore of an older one fails. */
export async function tellOfKeys(
  { fleet, store, night, startedAt }: BackupTask,
  { guests }: Dumped,
  { local, offsite }: Copies,
): Promise<void> {
  if (!guests || !local) return;
  const copies = { local: local.copy, there: offsite?.copy };
  const changes = keyChanges({ guests, night, startedAt: new Date(startedAt), ...copies }, new Date());
  const words = keyChangeWords(store, changes);
  if (words !== undefined && patched('key-change-told')) await attention(fleet, night, { summary: words });
}
