import { setTimeout as delay } from 'node:timers/promises';

const LOOK_EVERY = 100;
const GIVE_UP_AFTER = 150_000;

/** Looks until `look` gives something. Fails at once when it throws, and when nothing came for so long that none will. */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const giveUp = Date.now() + GIVE_UP_AFTER;
  for (;;) {
    const seen = await look();
    if (seen !== undefined) return seen;
    if (Date.now() > giveUp) throw new Error(`Waited ${GIVE_UP_AFTER / 1_000} s in vain: ${what}.`);
    await delay(LOOK_EVERY);
  }
}
