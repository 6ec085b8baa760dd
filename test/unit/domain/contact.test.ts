import { describe, expect, it } from 'vitest';
import { signEvery } from '#domain/abandoned.js';
import { afterLostHeartbeat, pauseAfterGreeting, pauseWhileKeptOut } from '#domain/contact.js';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;

describe('a step whose heartbeat was lost', () => {
  it.each([
    ['is asked for again after a second', 1, true, { kind: 'askAgain', pause: 1_000 }],
    [
      'is asked for again after eight of them too, as long as there is time',
      9,
      true,
      { kind: 'askAgain', pause: MINUTE },
    ],
    ['is asked for again for the thousandth time', 1_000, true, { kind: 'askAgain', pause: MINUTE }],
    ['is given as many tries as before when the time is over', 7, false, { kind: 'askAgain', pause: MINUTE }],
    ['is given up after them', 8, false, { kind: 'giveUp' }],
  ] as const)('%s', (_, lost, hasTime, then) => expect(afterLostHeartbeat(lost, hasTime)).toEqual(then));
});

describe('a greeting that fails for good', () => {
  it('is repeated after ten seconds, then after twice as long each time, up to half an hour', () => {
    const pauses = [1, 2, 3, 8, 9, 10, 2_000].map((failed) => pauseAfterGreeting(failed, 1) / 1_000);
    expect(pauses).toEqual([10, 20, 40, 1_280, 1_800, 1_800, 1_800]);
  });

  it.each([1, 8, 9, 50, 245])('stays far below the limit of a history in three days, with %i such stores', (sick) => {
    let events = 0;
    for (let store = 1; store <= sick; store += 1) {
      // They are found out one after another, so the first of them share with fewer.
      let at = 0;
      for (let failed = 1; at < 3 * DAY; failed += 1) {
        at += pauseAfterGreeting(failed, failed === 1 ? store : sick);
        events += 11;
      }
    }
    expect(events).toBeLessThan(20_000);
  });
});

describe('a store that is back and may not start now', () => {
  it.each([1, 8, 9, 245])('is asked again seldom enough, with %i of them, twenty events each time', (keptOut) => {
    const times = Math.ceil((3 * DAY) / pauseWhileKeptOut(keptOut));
    expect(pauseWhileKeptOut(keptOut)).toBeGreaterThanOrEqual(30 * MINUTE);
    expect(times * keptOut * 20).toBeLessThan(30_000);
  });
});

describe('a sign of life', () => {
  it.each([90 * MINUTE, 10, 1])('is given several times before the store would give itself free', (maxMaintenance) => {
    expect(signEvery(maxMaintenance)).toBeGreaterThanOrEqual(1);
    expect(signEvery(maxMaintenance)).toBeLessThanOrEqual(Math.max(1, maxMaintenance / 3));
  });
});
