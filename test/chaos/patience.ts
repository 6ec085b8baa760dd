import { setTimeout as delay } from 'node:timers/promises';

/** Undefined when it fails or takes longer, as it may while things are being killed. */
export async function within<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  const over = new AbortController();
  const late = delay(milliseconds, undefined, { signal: over.signal }).catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } catch {
    return undefined;
  } finally {
    over.abort();
  }
}
