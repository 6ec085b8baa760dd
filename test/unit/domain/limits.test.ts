import { describe, expect, it } from 'vitest';
import type { ErrorThreshold } from '#domain/fleet.js';
import { concurrencyOf, judgeWave, type WaveState } from '#domain/limits.js';
import { emptyTally, type Tally } from '#domain/outcomes.js';

const never: ErrorThreshold = { percent: 100, minSample: 1 };

function state(size: number, ended: Partial<Tally>, rest: Partial<WaveState> = {}): WaveState {
  const tally = { ...emptyTally(), ...ended };
  const started = Object.values(tally).reduce((sum, count) => sum + count, 0) - tally.excluded - tally.skipped;
  return { size, tally, started, cutOff: 0, ...rest };
}

interface Row {
  state: WaveState;
  errors?: ErrorThreshold;
  offline?: ErrorThreshold;
  verdict: 'go' | 'ErrorThresholdExceeded' | 'OfflineThresholdExceeded';
}

const GO = 'go';
const ERRORS = 'ErrorThresholdExceeded';
const OFFLINE = 'OfflineThresholdExceeded';

const rows: Record<string, Row> = {
  // n = 5: the canary
  'goes on when nothing has started': { state: state(5, {}), errors: { count: 0, minSample: 5 }, verdict: GO },
  'stops a canary at its first failure when none is allowed': {
    state: state(5, { failed: 1 }, { started: 5 }),
    errors: { count: 0, minSample: 5 },
    verdict: ERRORS,
  },
  'counts a timeout as a failure': {
    state: state(5, { timedOut: 1 }, { started: 5 }),
    errors: { count: 0, minSample: 5 },
    verdict: ERRORS,
  },
  'stops when the whole canary failed': {
    state: state(5, { failed: 5 }),
    errors: { percent: 20, minSample: 5 },
    verdict: ERRORS,
  },
  'judges a stage of which all but one store is skipped': {
    state: state(5, { failed: 1, skipped: 4 }),
    errors: { percent: 20, minSample: 5 },
    verdict: ERRORS,
  },
  'waits for the sample: 4 of 4 failed, 1 in work': {
    state: state(5, { failed: 4 }, { started: 5 }),
    errors: { percent: 20, minSample: 5 },
    verdict: GO,
  },
  'judges a stage smaller than the sample when all of it has ended': {
    state: state(4, { failed: 4 }),
    errors: { percent: 20, minSample: 5 },
    verdict: ERRORS,
  },
  'judges the only store that was not offline': {
    state: state(5, { failed: 1, offline: 4 }),
    errors: { percent: 20, minSample: 5 },
    verdict: ERRORS,
  },
  'passes one of five offline at 20 %': {
    state: state(5, { succeeded: 4, offline: 1 }),
    offline: { percent: 20, minSample: 5 },
    verdict: GO,
  },
  'stops at two of five offline at 20 %': {
    state: state(5, { succeeded: 3, offline: 2 }),
    offline: { percent: 20, minSample: 5 },
    verdict: OFFLINE,
  },
  'stops when the whole canary is offline, and calls it offline, not failed': {
    state: state(5, { offline: 5 }),
    errors: { count: 0, minSample: 5 },
    offline: { percent: 20, minSample: 5 },
    verdict: OFFLINE,
  },

  // n = 50: wave 1
  'goes on at exactly the count: 2 of 50': {
    state: state(50, { succeeded: 10, failed: 2 }),
    errors: { count: 2, minSample: 5 },
    verdict: GO,
  },
  'stops above the count: 3 of 50': {
    state: state(50, { succeeded: 9, failed: 2, timedOut: 1 }),
    errors: { count: 2, minSample: 5 },
    verdict: ERRORS,
  },
  'goes on at exactly the percentage: 5 of 50 is 10 %': {
    state: state(50, { succeeded: 45, failed: 5 }),
    errors: { percent: 10, minSample: 5 },
    verdict: GO,
  },
  'stops above the percentage: 6 of 50 is 12 %': {
    state: state(50, { succeeded: 44, failed: 6 }),
    errors: { percent: 10, minSample: 5 },
    verdict: ERRORS,
  },
  'measures failures against the started, not the ended: 3 of 40 is 7.5 %': {
    state: state(50, { succeeded: 7, failed: 3 }, { started: 40 }),
    errors: { percent: 10, minSample: 5 },
    verdict: GO,
  },
  'measures failures against the started, not the stage: 3 of 12 is 25 %': {
    state: state(50, { succeeded: 7, failed: 3 }, { started: 12 }),
    errors: { percent: 10, minSample: 5 },
    verdict: ERRORS,
  },
  'leaves offline and skipped stores out of the measure: 3 of 37 is 8.1 %': {
    state: state(50, { succeeded: 20, failed: 3, offline: 2, skipped: 1 }, { started: 39 }),
    errors: { percent: 10, minSample: 5 },
    verdict: GO,
  },
  'leaves offline and skipped stores out of the measure: 4 of 37 is 10.8 %': {
    state: state(50, { succeeded: 20, failed: 4, offline: 2, skipped: 1 }, { started: 39 }),
    errors: { percent: 10, minSample: 5 },
    verdict: ERRORS,
  },
  'takes count or percentage, whichever breaches first': {
    state: state(50, { succeeded: 47, failed: 3 }),
    errors: { count: 2, percent: 50, minSample: 5 },
    verdict: ERRORS,
  },
  'goes on at 10 of 50 offline at 20 %': {
    state: state(50, { succeeded: 40, offline: 10 }),
    offline: { percent: 20, minSample: 5 },
    verdict: GO,
  },
  'stops at 11 of 50 offline at 20 %': {
    state: state(50, { succeeded: 39, offline: 11 }),
    offline: { percent: 20, minSample: 5 },
    verdict: OFFLINE,
  },
  'adds the silent to the offline: 6 offline and 5 cut off of 50': {
    state: state(50, { succeeded: 39, offline: 6 }, { started: 50, cutOff: 5 }),
    offline: { percent: 20, minSample: 5 },
    verdict: OFFLINE,
  },
  'does not call a silent store failed while it may come back': {
    state: state(50, { succeeded: 49 }, { started: 50, cutOff: 1 }),
    errors: { count: 0, minSample: 5 },
    verdict: GO,
  },
  'calls a store that is silent at the deadline failed': {
    state: state(50, { succeeded: 49 }, { started: 50, cutOff: 1, atDeadline: true }),
    errors: { count: 0, minSample: 5 },
    verdict: ERRORS,
  },
  'keeps counting stores that an earlier part left silent': {
    state: state(50, { succeeded: 39, offline: 6, cutOff: 5 }),
    offline: { percent: 20, minSample: 5 },
    verdict: OFFLINE,
  },
  'calls stores that an earlier part left silent failed at the deadline': {
    state: state(50, { succeeded: 49, cutOff: 1 }, { atDeadline: true }),
    errors: { count: 0, minSample: 5 },
    verdict: ERRORS,
  },
  'does not let early offline stores stop a wave before the sample': {
    state: state(50, { offline: 4 }, { started: 10 }),
    offline: { percent: 20, minSample: 5 },
    verdict: GO,
  },
  'names failures before offline stores when both breach': {
    state: state(50, { failed: 25, offline: 25 }),
    errors: { count: 0, minSample: 5 },
    offline: { percent: 20, minSample: 5 },
    verdict: ERRORS,
  },
  'ignores excluded stores: 1 of 10 started failed, 40 excluded': {
    state: state(50, { succeeded: 9, failed: 1, excluded: 40 }),
    errors: { percent: 10, minSample: 5 },
    verdict: GO,
  },

  // n = 200: wave 2
  'goes on at 20 of 200 failed at 10 %': {
    state: state(200, { succeeded: 180, failed: 20 }),
    errors: { percent: 10, minSample: 20 },
    verdict: GO,
  },
  'stops at 21 of 200 failed at 10 %': {
    state: state(200, { succeeded: 179, failed: 21 }),
    errors: { percent: 10, minSample: 20 },
    verdict: ERRORS,
  },
  'waits for a sample of 20: 19 of 25 started failed': {
    state: state(200, { failed: 19 }, { started: 25 }),
    errors: { percent: 10, minSample: 20 },
    verdict: GO,
  },
  'stops with a sample of 20: 20 of 25 started failed': {
    state: state(200, { failed: 20 }, { started: 25 }),
    errors: { percent: 10, minSample: 20 },
    verdict: ERRORS,
  },
  'stops an offline count of 10 at the eleventh': {
    state: state(200, { succeeded: 100, offline: 11 }),
    offline: { count: 10, minSample: 5 },
    verdict: OFFLINE,
  },
  'keeps an offline count of 10 at the tenth': {
    state: state(200, { succeeded: 100, offline: 10 }),
    offline: { count: 10, minSample: 5 },
    verdict: GO,
  },
  'stops when all 200 failed': {
    state: state(200, { failed: 150, timedOut: 50 }),
    errors: { percent: 99, minSample: 5 },
    verdict: ERRORS,
  },
  'stops when all 200 are offline': {
    state: state(200, { offline: 200 }),
    offline: { percent: 99, minSample: 5 },
    verdict: OFFLINE,
  },
  'does not count aborted, rolled back, skipped or missed stores as failures': {
    state: state(200, { succeeded: 100, aborted: 40, rolledBack: 30, skipped: 20, missed: 10 }),
    errors: { count: 0, percent: 0, minSample: 1 },
    verdict: GO,
  },

  'does not lose a share to rounding: 14 of 200 is exactly 7 %': {
    state: state(200, { succeeded: 186, failed: 14 }),
    errors: { percent: 7, minSample: 5 },
    verdict: GO,
  },

  // n = 245: wave 3
  'rounds no share up: 71 of 245 against 29 % (71.05)': {
    state: state(245, { succeeded: 174, failed: 71 }),
    errors: { percent: 29, minSample: 5 },
    verdict: GO,
  },
  'takes a fraction of a percent: 2 of 245 against 0.8 % (1.96)': {
    state: state(245, { succeeded: 243, failed: 2 }),
    errors: { percent: 0.8, minSample: 5 },
    verdict: ERRORS,
  },
  'goes on with a mix below both limits': {
    state: state(
      245,
      { succeeded: 180, failed: 10, offline: 30, skipped: 5, excluded: 8 },
      { started: 232, cutOff: 12 },
    ),
    errors: { percent: 5, minSample: 5 },
    offline: { percent: 20, minSample: 5 },
    verdict: GO,
  },
  'stops the same mix when two more fall silent and one more is offline: 45 of 232 against 19 %': {
    state: state(
      245,
      { succeeded: 177, failed: 10, offline: 31, skipped: 5, excluded: 8 },
      { started: 232, cutOff: 14 },
    ),
    errors: { percent: 5, minSample: 5 },
    offline: { percent: 19, minSample: 5 },
    verdict: OFFLINE,
  },
  'never divides by nothing: all 245 excluded': {
    state: state(245, { excluded: 245 }),
    errors: { count: 0, percent: 0, minSample: 1 },
    offline: { count: 0, percent: 0, minSample: 1 },
    verdict: GO,
  },
};

describe('judgeWave', () => {
  it.each(Object.entries(rows))('%s', (_sentence, { state, errors, offline, verdict }) => {
    const judged = judgeWave(state, { errorThreshold: errors ?? never, offlineThreshold: offline ?? never });
    expect(judged.kind === 'go' ? 'go' : judged.reason).toBe(verdict);
  });

  it('says with numbers what failed and what is allowed', () => {
    const judged = judgeWave(state(50, { succeeded: 20, failed: 4, offline: 2, skipped: 1 }, { started: 39 }), {
      errorThreshold: { percent: 10, minSample: 5 },
      offlineThreshold: never,
    });
    expect(judged).toMatchObject({
      summary: '4 of 37 stores failed; that is 10.8 %, the stage allows 10 %.',
    });
  });

  it('tells offline from cut off in its sentence', () => {
    const judged = judgeWave(state(50, { succeeded: 39, offline: 6 }, { started: 50, cutOff: 5 }), {
      errorThreshold: never,
      offlineThreshold: { count: 10, minSample: 5 },
    });
    expect(judged).toMatchObject({
      summary: '11 of 50 stores are offline or cut off (6 offline, 5 cut off); the stage allows 10.',
    });
  });
});

describe('concurrencyOf', () => {
  it.each([
    ['a number stands as it is', 10, 5, 10],
    ['25 % of 50 rounds down to 12', '25%', 50, 12],
    ['25 % of 3 is at least 1', '25%', 3, 1],
    ['100 % is the stage', '100%', 245, 245],
    ['29 % of 100 is 29', '29%', 100, 29],
    ['0 % still works on one', '0%', 200, 1],
  ] as const)('%s', (_sentence, limit, size, expected) => {
    expect(concurrencyOf(limit, size)).toBe(expected);
  });
});
