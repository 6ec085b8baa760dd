import { defineQuery, defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Command, Decision, TrainView, WaveProgress } from '#domain/messages/train.js';
import type { StoreView } from '#domain/messages/store.js';

/**
 * What can be said to a running workflow. Updates answer with a sentence or are refused with one; the signal
 * `approveWave` is for senders that cannot wait for an answer, under the same rules.
 */

export const trainQuery = defineQuery<TrainView>('train');
export const decideUpdate = defineUpdate<string, [Decision]>('decide');
export const approveWaveSignal = defineSignal<[Decision]>('approveWave');
export const pauseUpdate = defineUpdate<string, [Command]>('pause');
export const resumeUpdate = defineUpdate<string, [Command]>('resume');
export const abortUpdate = defineUpdate<string, [Command]>('abort');
export const retryGateUpdate = defineUpdate<string, [Command]>('retryGate');
export const retryFailedUpdate = defineUpdate<string, [Command]>('retryFailed');

/** From a wave to its train: how far it is. */
export const waveProgressSignal = defineSignal<[WaveProgress]>('waveProgress');
export const waveQuery = defineQuery<WaveProgress>('wave');
/** From a train to its wave. */
export const pauseWaveSignal = defineSignal<[boolean]>('pauseWave');

export const storeQuery = defineQuery<StoreView>('store');
/** From a store's operation to its wave: it fell silent, or it is back. */
export const cutOffSignal = defineSignal<[{ store: string; cutOff: boolean }]>('cutOff');
