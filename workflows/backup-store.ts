import { CancellationScope, setHandler } from '@temporalio/workflow';
import { judgeNight } from '#domain/backup-result.js';
import { backupStoreInputSchema, type BackupStoreInput, type BackupTask } from '#domain/messages/backup.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { BACKUP_STAGE, operationId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import { readBack, recordCopies, tellOfKeys } from './backup-record.js';
import { openSteps } from './backup-steps.js';
import { openBackupView } from './backup-view.js';
import { ended } from './ended.js';
import { backupQuery } from './messages.js';
import { openNightEnd } from './night-end.js';
import { parseInput } from './parse-input.js';
import { greet, watchForSilence } from './store-contact.js';
import { dumpUntilDone, standBackWhenAsked, withWhatTheyLack } from './store-dumps.js';
import { listenForStop } from './store-steering.js';
import { collectWhenDue, namedIn, tend } from './tend-copies.js';

/**
 * Backs up one store: hello → dump its guests, and once more those for whom that may help → verify what is new, prune →
 * send it to the central server, verify and prune there → collect → read back what both servers hold, and judge by that.
 *
 * Started by `wave` under the id `pbs/<id>`; the store itself is held by a child, and only while guests are dumped.
 * - A train that finds the store held asks for it: after the dump that runs no other one begins until the train has had
 *   its turn, or the night is over. A train that holds the store is waited for.
 * - Nothing is pruned of a guest of which this night has no proven backup: else the last good one would make room for a
 *   bad one. What the night has proven is what the servers list, at the moment of the pruning.
 * - Nothing that a step says of itself is believed.
 * - It ends with its night: what runs by then goes on at its server and is named, and the next night finds it.
 */
export async function backupStore(raw: BackupStoreInput): Promise<StoreResult> {
  const input = parseInput(backupStoreInputSchema, raw);
  const task = taskOf(input);
  const view = openBackupView(task);
  setHandler(backupQuery, () => view.current);
  const way = standBackWhenAsked(task.store);
  const stopping = listenForStop(input, view);

  const absent = await greet(input, view);
  if (absent) return view.finish(absent);

  return CancellationScope.nonCancellable(async () => {
    const watch = watchForSilence(input, view);
    const end = openNightEnd({ endsBy: input.endsBy, patience: input.cutOffAfter });
    const dumped = withWhatTheyLack(await dumpUntilDone(input, task, { view, stopping, way, end }), input);
    const steps = openSteps(view, stopping, end);
    await tend(input, task, dumped, view, steps, end);
    const copies = await readBack(input, task, view, end);
    await collectWhenDue(input, task, copies, steps);
    // What a night leaves running says more than that it took long.
    const isCutShort = end.isOver() && !stopping.isAborted;
    const halt = isCutShort ? undefined : stopping.stop && stopping.ended();
    const refusal = halt?.stop ?? dumped.stop;
    const night = judgeNight(
      {
        guests: dumped.guests,
        named: namedIn(input),
        night: task.night,
        startedAt: new Date(task.startedAt),
        local: copies.local?.copy,
        encrypted: input.orders.encrypted,
        ...(input.orders.offsite ? { offsite: { copy: copies.offsite?.copy } } : {}),
        runs: dumped.runs,
        steps: steps.done,
        refusal,
      },
      new Date(),
    );
    const missing = night.kind === 'succeeded' ? [] : night.missing;
    await recordCopies(input, task, { ...dumped, stop: refusal }, copies, missing, view);
    await tellOfKeys(task, dumped, copies);
    watch.cancel();
    stopping.cancel();
    end.cancel();
    return view.finish(
      night.kind === 'succeeded' ? { outcome: 'succeeded' } : ended(halt?.outcome ?? 'failed', night.stop),
    );
  });
}

function taskOf({ store, fleet, night, round }: BackupStoreInput): BackupTask {
  return {
    protocol: PROTOCOL,
    store,
    fleet,
    night,
    operationId: operationId(night, BACKUP_STAGE, store, round),
    startedAt: new Date().toISOString(),
  };
}
