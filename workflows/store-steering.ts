import { CancellationScope, condition, patched, setHandler, sleep } from '@temporalio/workflow';
import { commandSchema, type Command } from '#domain/messages/train.js';
import { storeSteeringSchema, type StoreView } from '#domain/messages/store.js';
import { abortUpdate, pauseUpdate, resumeUpdate, steerStoreSignal } from './messages.js';
import { heard, messageOrRefusal, refused } from './parse-input.js';
import { stopwatch } from './stopwatch.js';
import type { Ended } from './ended.js';

/**
 * What is said to the operation on a store: stand still, go on, end. All of it is remembered here and acted upon between
 * two nodes, where the store is whole. Abort also comes as a cancellation, and the time for one store acts like one;
 * time in which the operation was told to stand still does not count.
 */
export type Stopping = ReturnType<typeof listenForStop>;

/** `storeTimeout` in milliseconds. */
export function listenForStop(
  input: { store: string; storeTimeout: number },
  view: { paused(paused: boolean): void; told?(told: StoreView['told']): void },
) {
  const timer = new CancellationScope();
  const pauses = stopwatch(false);
  const state = {
    stop: undefined as Ended | undefined,
    /** The time for one store is over, whatever else it is to end for. */
    isLate: false,
    /** By people, be it after the time was over. */
    isAborted: false,
    paused: false,
    ended: (): Ended => state.stop ?? aborted('an operator'),
    /**
     * Stands still for as long as it is told to, while `sayThatItLives` keeps the store; not at all when the operation
     * is to end. `within`: milliseconds after which nothing could be begun any more.
     */
    async whilePaused(sayThatItLives?: () => CancellationScope, within?: number): Promise<void> {
      if (!state.paused || state.stop) return;
      view.paused(true);
      const signs = sayThatItLives && patched('signs-of-life') ? sayThatItLives() : undefined;
      const goesOn = () => !state.paused || state.stop !== undefined;
      await (within === undefined ? condition(goesOn) : condition(goesOn, within));
      signs?.cancel();
      view.paused(false);
    },
    abort: (by: string): void => {
      state.isAborted = true;
      state.stop ??= aborted(by);
      view.told?.('abort');
    },
    pause: (paused: boolean): void => {
      state.paused = paused;
      pauses.run(paused);
      if (!state.isAborted) view.told?.(paused ? 'pause' : undefined);
    },
    cancel: () => timer.cancel(),
  };
  const { abort } = state;
  // It does not say for what: an abort, a rollback or the deadline of its train, or people in the Temporal UI.
  CancellationScope.current().cancelRequested.catch(() => abort('what had started it, or an operator'));
  setHandler(
    steerStoreSignal,
    heard('steerStore', storeSteeringSchema, (message) => {
      state.pause(message.paused);
      if (message.aborted) abort('an operator');
    }),
  );

  const wellFormed = (raw: Command): void => void messageOrRefusal(commandSchema, raw);
  const endsAlready = () => state.stop && `The operation on ${input.store} ends already: ${state.stop.stop?.summary}`;
  const validator = (raw: Command): void => {
    wellFormed(raw);
    const refusal = endsAlready();
    if (refusal) throw refused(refusal);
  };
  setHandler(
    pauseUpdate,
    ({ by }) => {
      if (state.paused) return `${input.store} is paused already.`;
      state.pause(true);
      return `${input.store} is paused by ${by}. It stops after the node it is at.`;
    },
    { validator, description: 'Stands still between two nodes until `resume`: {by, reason?}' },
  );
  setHandler(
    resumeUpdate,
    ({ by }) => {
      if (!state.paused) return `${input.store} is not paused; there is nothing to resume.`;
      state.pause(false);
      return `${input.store} is resumed by ${by}.`;
    },
    { validator, description: 'Goes on after a pause: {by, reason?}' },
  );
  setHandler(
    abortUpdate,
    ({ by }) => {
      const already = endsAlready();
      abort(by);
      return already ?? `The operation on ${input.store} is aborted by ${by}. It stops at the nearest safe point.`;
    },
    { validator: wellFormed, description: 'Ends the operation at the nearest safe point: {by, reason?}' },
  );

  /** Operations of earlier builds counted a pause that ended in time, and had their whole time anew after another one. */
  const runOut = async (time: number): Promise<void> => {
    await condition(() => !state.paused);
    pauses.taken();
    await sleep(time, { summary: 'time for one store' });
    if (!pauses.hasRun()) return;
    if (patched('paused-time-not-counted')) return runOut(Math.max(1, pauses.taken()));
    if (state.paused) return runOut(time);
  };
  timer
    .run(async () => {
      await runOut(input.storeTimeout);
      state.isLate = true;
      state.stop ??= {
        outcome: 'timedOut',
        reason: 'OperationTimeout',
        stop: {
          reason: 'OperationTimeout',
          summary: 'The store took longer than its stage allows; stopped at the nearest safe point.',
        },
      };
    })
    .catch(() => undefined);
  return state;
}

const aborted = (by: string): Ended => ({
  outcome: 'aborted',
  reason: 'Aborted',
  stop: { reason: 'Aborted', summary: `Aborted by ${by}; stopped at the nearest safe point.` },
});
