import { setTimeout as delay } from 'node:timers/promises';
import type { StoreTiming } from './deps.js';

/**
 * Looks again and again until there is something to see, or the time is over (undefined). A look that fails counts as
 * nothing seen: while a node reboots that is the normal case. `lastError` tells what the newest failure was.
 */
export async function waitFor<T>(
  { timing }: { timing: Pick<StoreTiming, 'poll'> },
  limit: number,
  look: () => Promise<T | undefined>,
): Promise<{ seen: T | undefined; lastError: string }> {
  const until = performance.now() + limit;
  let lastError = 'nothing was seen yet';
  for (;;) {
    try {
      const seen = await look();
      if (seen !== undefined) return { seen, lastError };
    } catch (error) {
      lastError = error instanceof Error ? error.message : String(error);
    }
    if (performance.now() >= until) return { seen: undefined, lastError };
    await delay(timing.poll);
  }
}
