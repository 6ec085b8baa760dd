import { ApplicationFailure } from '@temporalio/activity';
import { backupTaskSchema, type StoreBackupActivities, type TendAnswer } from '#domain/messages/backup.js';
import { beating } from '../beating.js';
import { doorOf } from '../door.js';
import type { StoreDeps } from '../store/deps.js';
import type { Operation } from '../store/operation.js';
import { translated } from '../to-failure.js';
import { answered, done, notDone } from './answers.js';
import { readSnapshots } from './copy.js';
import type { StoreBackup } from './deps.js';
import { createDumpActivities } from './dump.js';
import { createTendActivities } from './tend.js';
import { carryOut } from './work.js';

/** A night of backups, as a store's own worker carries it out. `backup` is what its file says; absent = no server. */
export function createStoreBackupActivities(
  deps: StoreDeps,
  operation: Operation,
  backup: StoreBackup | undefined,
): StoreBackupActivities {
  const mine = doorOf(deps.store);
  const nowhere = (raw: { store: string }): Promise<TendAnswer> => {
    mine(backupTaskSchema.pick({ store: true }).loose(), raw);
    return Promise.resolve({ ok: false, reason: 'BackupFailed', detail: NO_SERVER });
  };
  const tend = backup && {
    ...createTendActivities({
      ...backup.pbs,
      namespaceOf: (store) => (store === deps.store ? backup.pbs.namespace : undefined),
      timing: deps.timing,
      now: deps.now,
    }),
    /** Retry-safe: a run of the job that began after the newest backup is waited for, or is enough when it ended well. */
    sendCopy: (raw: Parameters<StoreBackupActivities['sendCopy']>[0]) =>
      beating(async () => {
        const task = mine(backupTaskSchema, raw);
        const { sendJob: job, pbs } = backup;
        if (job === undefined) return notDone({ why: NO_JOB, failure: 'guest' });
        return answered(async () => {
          const { timing } = deps;
          const newest = Math.max(0, ...(await readSnapshots(pbs.verifier, pbs)).map(({ time }) => time));
          const how = { timing, adoptEnded: true, notBefore: newest };
          const ended = await carryOut(pbs.verifier, { kind: 'sync', job }, task, how);
          return ended.ok ? done(`the job ${job} has sent what is new`) : notDone(ended);
        });
      }),
  };
  return translated<StoreBackupActivities>({
    ...createDumpActivities(deps, operation, backup),
    ...(tend ?? {
      verifyCopy: nowhere,
      pruneCopy: nowhere,
      collectSpace: nowhere,
      sendCopy: nowhere,
      readCopy: async (raw) => {
        await nowhere(raw);
        throw ApplicationFailure.create({ type: 'BackupFailed', nonRetryable: true, message: NO_SERVER });
      },
    }),
  });
}

const NO_SERVER =
  'The file of this store worker names no backup server. Add the section `backup` to it, and start the worker again.';
const NO_JOB =
  'The file of this store worker names no job that sends to the second place. Set `backup.sendJob`, and start the worker again.';
