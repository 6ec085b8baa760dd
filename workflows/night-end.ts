import { CancellationScope, sleep } from '@temporalio/workflow';

/**
 * The end of a night for one store. Nobody waits for what runs by then: its activity is told so and goes, the task of a
 * server or a dump goes on to its end, and the next night finds it. Nights of earlier builds have no end of their own.
 */
export type NightEnd = ReturnType<typeof openNightEnd>;

/** Milliseconds. */
const LAST_LOOK = 10 * 60_000;

/** `patience` in milliseconds: how long something silent is waited for. */
export function openNightEnd({ endsBy, patience }: { endsBy: string | undefined; patience: number }) {
  const clock = new CancellationScope();
  const isPast = endsBy !== undefined && Date.parse(endsBy) <= Date.now();
  let isOver = isPast;
  const reached =
    endsBy === undefined || isPast
      ? Promise.resolve()
      : clock
          .run(() => sleep(Date.parse(endsBy) - Date.now(), { summary: 'the end of the night' }))
          .then(() => void (isOver = true));
  // Cancelled: the store was through before.
  reached.catch(() => undefined);

  /** Undefined when `limit` came first; what works then is told to go. */
  async function workUntil<T>(limit: Promise<unknown>, work: () => Promise<T>): Promise<T | undefined> {
    const scope = new CancellationScope();
    const working = scope.run(work);
    const isDone = await Promise.race([working.then(() => true), limit.then(() => false)]);
    if (!isDone) {
      working.catch(() => undefined);
      scope.cancel();
      return undefined;
    }
    return working;
  }

  return {
    isOver: (): boolean => isOver,
    /** Undefined when the night ended first. */
    async untilOver<T>(work: () => Promise<T>): Promise<T | undefined> {
      if (endsBy === undefined) return work();
      return isOver ? undefined : workUntil(reached, work);
    },
    /** For what is looked at when the night is over, in a time that does not hold back the next one. */
    async lastly<T>(work: () => Promise<T>): Promise<T | undefined> {
      if (endsBy === undefined) return work();
      const waiting = new CancellationScope();
      const limit = reached.then(() =>
        waiting.run(() => sleep(Math.min(patience, LAST_LOOK), { summary: 'time to read back' })),
      );
      limit.catch(() => undefined);
      try {
        return await workUntil(limit, work);
      } finally {
        waiting.cancel();
      }
    },
    cancel: (): void => clock.cancel(),
  };
}
