import { Context } from '@temporalio/activity';

const BEAT_MS = 5_000;

/** Tells the server that the worker lives for as long as the work runs. Quick work ends before the first beat. */
export async function beating<T>(work: () => Promise<T>): Promise<T> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat(), BEAT_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

/** The same for all of them: without a beat the server learns of a killed worker only when the time for the work is over. */
export function allBeating<T extends object>(activities: T): T {
  const wrapped = Object.entries(activities).map(([name, run]) => [
    name,
    (...args: unknown[]) => beating(() => (run as (...all: unknown[]) => Promise<unknown>)(...args)),
  ]);
  return Object.fromEntries(wrapped) as T;
}
