import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type {
  Answer,
  Command,
  Decision,
  Steering,
  TrainView,
  WaveProgress,
  WaveSteering,
} from '#domain/messages/train.js';
import type { BackupView, NightCare, NightView, StoreFree, Way } from '#domain/messages/backup.js';
import type { RestoreView } from '#domain/messages/restore.js';
import type { JanitorReport } from '#domain/messages/janitor.js';
import type { CutOffNotice, StoreSteering, StoreView } from '#domain/messages/store.js';

/**
 * What can be said to a running workflow. Updates answer with a sentence or are refused with one; the signal
 * `approveWave` is for senders that cannot wait for an answer, under the same rules.
 */

export const trainQuery = defineQuery<TrainView>('train');
export const decideUpdate = defineUpdate<string, [Decision]>('decide');
export const approveWaveSignal = defineSignal<[Decision]>('approveWave');

/** To a train: all of it, one stage or one store. To the operation on a store, without stage and store: itself. */
export const pauseUpdate = defineUpdate<string, [Steering]>('pause');
export const resumeUpdate = defineUpdate<string, [Steering]>('resume');
export const abortUpdate = defineUpdate<string, [Steering]>('abort');

/** Answers to a train that stands still, by the update that gives each. */
export const answerUpdates = {
  'ask-again': defineUpdate<string, [Command]>('askAgain'),
  'retry-gate': defineUpdate<string, [Command]>('retryGate'),
  'retry-failed': defineUpdate<string, [Command]>('retryFailed'),
  'retry-offline': defineUpdate<string, [Command]>('retryOffline'),
  skip: defineUpdate<string, [Command]>('skip'),
  rollback: defineUpdate<string, [Command]>('rollback'),
  finish: defineUpdate<string, [Command]>('finish'),
} satisfies Partial<Record<Answer, unknown>>;
export type PlainAnswer = keyof typeof answerUpdates;

/** From a wave to its train: how far it is. */
export const waveProgressSignal = defineSignal<[WaveProgress]>('waveProgress');
export const waveQuery = defineQuery<WaveProgress>('wave');
/** From a train to its wave, and from a wave to the operation on a store. */
export const steerWaveSignal = defineSignal<[WaveSteering]>('steerWave');
export const steerStoreSignal = defineSignal<[StoreSteering]>('steerStore');

/** From a wave to the backup that holds its store, and when it needs the store no more. */
export const makeWaySignal = defineSignal<[Way]>('makeWay');
export const wayTakenSignal = defineSignal<[Way]>('wayTaken');
/** From that backup to the wave: the store is free. */
export const storeFreeSignal = defineSignal<[StoreFree]>('storeFree');
/** From a backup to its own wave: what is left is for the central server to do, and needs no slot. */
export const slotFreeSignal = defineSignal<[StoreFree]>('slotFree');

export const backupQuery = defineQuery<BackupView>('backup');
/** From the plan of another night, which leaves out whom this one has. */
export const nightCareQuery = defineQuery<NightCare>('nightCare');
export const nightQuery = defineQuery<NightView>('night');
export const restoresQuery = defineQuery<RestoreView>('restores');
export const storeQuery = defineQuery<StoreView>('store');
/** From a store's operation to its wave: it fell silent, or it is back. */
export const cutOffSignal = defineSignal<[CutOffNotice]>('cutOff');

/** What the janitor has found so far, or in all when it has ended. */
export const janitorQuery = defineQuery<JanitorReport>('janitor');
