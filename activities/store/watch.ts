import { setTimeout as delay } from 'node:timers/promises';
import type { StoreTiming } from './deps.js';
import type { Operation } from './operation.js';

/** Milliseconds. Often enough that the times mean what they say, and seldom enough to cost nothing. */
const lookEvery = ({ poll, maxMaintenance, learn }: StoreTiming): number =>
  Math.max(poll, Math.min(maxMaintenance / 20, learn, 60_000));

/**
 * Looks after a store that nobody works on any more, for as long as its worker lives: with the link cut, with the centre
 * gone, after a restart. What is done is done by `lookAfter`; `tell` hears of it.
 */
export async function watchStore(
  operation: Operation,
  timing: StoreTiming,
  tell: (line: string) => void,
  stopped: AbortSignal,
): Promise<void> {
  const every = lookEvery(timing);
  let askIn = timing.learn;
  while (!stopped.aborted) {
    await delay(every, undefined, { signal: stopped, ref: false }).catch(() => undefined);
    if (stopped.aborted) return;
    try {
      for (const line of await operation.lookAfter()) tell(line);
      askIn -= every;
      if (askIn > 0) continue;
      askIn = timing.learn;
      await operation.learnLastGood();
    } catch (error) {
      // The next look tries again: the store is looked after for as long as the worker lives.
      tell(`Looking after the store failed: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}
