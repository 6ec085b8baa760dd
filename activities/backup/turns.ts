import { setTimeout as delay } from 'node:timers/promises';
import { activityInfo } from '@temporalio/activity';
import { requireAsked } from './work.js';

/** Waits until fewer than so many others are at it, then works. Throws when nobody waits for it any more. */
export type InTurn = <T>(work: () => Promise<T>) => Promise<T>;

/**
 * Limits what the activities of this process do at once at one server. Whoever was asked for first is next, as Temporal
 * has it: a try that took too long, or was of a worker that died, costs no place. `poll` in milliseconds.
 */
export function takingTurns(atOnce: number, poll: number): InTurn {
  const waiting: { since: number }[] = [];
  let working = 0;
  return async (work) => {
    const own = { since: activityInfo().scheduledTimestampMs };
    waiting.push(own);
    waiting.sort((a, b) => a.since - b.since);
    try {
      while (working >= atOnce || waiting[0] !== own) {
        await delay(poll);
        requireAsked();
      }
      working += 1;
    } finally {
      waiting.splice(waiting.indexOf(own), 1);
    }
    try {
      return await work();
    } finally {
      working -= 1;
    }
  };
}
