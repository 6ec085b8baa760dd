/**
 * How long to wait before a store is asked again that could not be heard. All in milliseconds; each ask and its pause
 * are at most 11 events of a history, which may have 51,200.
 */

const MINUTE = 60_000;
const HALF_AN_HOUR = 30 * MINUTE;

/** So many lost heartbeats are forgiven even when the time is over: a killed worker is no reason to leave a node half-way. */
const FORGIVEN = 8;

/** What to do about a step whose heartbeat was lost for the `lost`th time. */
export function afterLostHeartbeat(
  lost: number,
  hasTime: boolean,
): { kind: 'askAgain'; pause: number } | { kind: 'giveUp' } {
  if (lost >= FORGIVEN && !hasTime) return { kind: 'giveUp' };
  return { kind: 'askAgain', pause: Math.min(1_000 * 2 ** (lost - 1), MINUTE) };
}

/**
 * The pause after a greeting that failed for good, for the `failed`th time: ten seconds, then twice as long each time,
 * up to half an hour. Those of one train whose greetings fail share its history: more than eight of them wait longer,
 * so that all together fail once in four minutes. That is at most some 13,000 events in three days, with 245 of them.
 */
export const pauseAfterGreeting = (failed: number, sick: number): number =>
  Math.max(Math.min(10_000 * 2 ** (failed - 1), HALF_AN_HOUR), (sick - 1) * 4 * MINUTE);

/** The pause before a store is greeted again that has answered, but may not start now; the same with many of them. */
export const pauseWhileKeptOut = (keptOut: number): number => Math.max(HALF_AN_HOUR, (keptOut - 1) * 4 * MINUTE);
