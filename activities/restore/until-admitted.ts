import { setTimeout as delay } from 'node:timers/promises';
import { isKind } from '../backup/answers.js';
import type { RestoreDeps } from './deps.js';

/**
 * A token that is refused, as one is that is just being renewed, is tried again for as long as `timing.remove` says: what
 * is not taken away now stays at the site, a guest or the key of a store.
 */
export async function untilAdmitted<T>({ timing }: RestoreDeps, work: () => Promise<T>): Promise<T> {
  const until = performance.now() + timing.remove;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isKind(error, 'Auth') || performance.now() >= until) throw error;
      await delay(timing.poll);
    }
  }
}
