import { ChildWorkflowCancellationType, ParentClosePolicy, startChild } from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import type { BackupStoreInput } from '#domain/messages/backup.js';
import type { RestoreStoreInput } from '#domain/messages/restore.js';
import type { PatchStoreInput } from '#domain/messages/store.js';
import type { WaveInput } from '#domain/messages/train.js';
import { backupWorkflowId, restoreWorkflowId, storeWorkflowId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import { invalid } from './parse-input.js';
import { searchKeys } from './search-keys.js';

/** What a wave starts for one of its stores: which operation, under which of the store's ids, and with what. */

type OperationInput = PatchStoreInput | BackupStoreInput | RestoreStoreInput;
export type StoreOperation = (input: OperationInput) => Promise<StoreResult>;

export function startOperation(input: WaveInput, store: WaveInput['stores'][number]) {
  const { train, stage, operation, release } = input;
  const { type, workflowId, words, args } = childOf(input, store);
  return startChild<StoreOperation>(type, {
    workflowId,
    staticSummary: `${operation} ${store.id}${words}`,
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    cancellationType: ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    typedSearchAttributes: [
      { key: searchKeys.store, value: store.id },
      { key: searchKeys.train, value: train },
      { key: searchKeys.stage, value: stage },
      { key: searchKeys.operation, value: operation },
      ...(release ? [{ key: searchKeys.release, value: release.version }] : []),
    ],
    args: [args],
  });
}

function childOf(
  input: WaveInput,
  store: WaveInput['stores'][number],
): { type: string; workflowId: string; words: string; args: OperationInput } {
  const { fleet, train, stage, round, release, permit, orders, limits } = input;
  const notAfter = store.closes ?? input.notAfter;
  const common = {
    fleet,
    store: store.id,
    round,
    ...(notAfter ? { notAfter } : {}),
    offlineAfter: limits.offlineAfter,
    cutOffAfter: limits.cutOffAfter,
    storeTimeout: limits.storeTimeout,
  };
  if (input.operation === 'backup' && orders)
    return {
      type: 'backupStore',
      workflowId: backupWorkflowId(store.id),
      words: '',
      args: {
        ...common,
        night: train,
        orders,
        guests: store.guests ?? {},
        withoutDisks: store.withoutDisks ?? {},
        deferFor: limits.deferFor,
        ...(input.endsBy ? { endsBy: input.endsBy } : {}),
      },
    };
  if (input.operation === 'restore' && store.trials)
    return {
      type: 'restoreStore',
      workflowId: restoreWorkflowId(store.id),
      words: ` (${plural(store.trials.length, 'guest')})`,
      args: {
        fleet,
        run: train,
        store: store.id,
        round,
        trials: store.trials,
        patience: limits.cutOffAfter,
        storeTimeout: limits.storeTimeout,
      },
    };
  if ((input.operation === 'patch' || input.operation === 'rollback') && release)
    return {
      type: 'patchStore',
      workflowId: storeWorkflowId(store.id),
      words: ` to ${release.version}`,
      args: { ...common, train, stage, release, ...(permit ? { permit } : {}) },
    };
  throw invalid([`the wave does not say what is to be done with ${store.id}`]);
}
