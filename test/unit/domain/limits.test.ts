import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ErrorThreshold } from '#domain/fleet.js';
import { concurrencyOf, countsOf, judgeWave, type WaveState } from '#domain/limits.js';
import { emptyTally, type StoreResult, type Tally } from '#domain/outcomes.js';

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

/** The largest number of stores that is not more than 10 % and 20 % of each size, by hand. */
const SIZES = [
  { n: 5, tenth: 0, fifth: 1 },
  { n: 50, tenth: 5, fifth: 10 },
  { n: 200, tenth: 20, fifth: 40 },
  { n: 245, tenth: 24, fifth: 49 },
];

describe.each(SIZES)('a stage of $n stores', ({ n, tenth, fifth }) => {
  const errorsAt = (tally: Partial<Tally>, errors: ErrorThreshold, rest: Partial<WaveState> = {}) =>
    judgeWave(state(n, tally, rest), { errorThreshold: errors, offlineThreshold: never });
  const offlineAt = (tally: Partial<Tally>, offline: ErrorThreshold, rest: Partial<WaveState> = {}) =>
    judgeWave(state(n, tally, rest), { errorThreshold: never, offlineThreshold: offline });
  const go = { kind: 'go' };
  const errors = { kind: 'breach', reason: ERRORS };
  const offline = { kind: 'breach', reason: OFFLINE };
  const percent = (share: number, minSample = 5) => ({ percent: share, minSample });

  it('goes on at exactly the count of failures, and stops at the next one, whatever the size', () => {
    const count = { count: 2, minSample: 5 };
    expect(errorsAt({ failed: 2 }, count, { started: n })).toEqual(go);
    expect(errorsAt({ failed: 2, timedOut: 1 }, count, { started: n })).toMatchObject(errors);
  });

  it('goes on at the share of failures, and stops above it', () => {
    expect(errorsAt({ succeeded: n - tenth, failed: tenth }, percent(10))).toEqual(go);
    expect(errorsAt({ succeeded: n - tenth - 1, failed: tenth + 1 }, percent(10))).toMatchObject(errors);
  });

  it('does not judge a share before the sample, and does with it', () => {
    expect(errorsAt({ failed: 4 }, percent(1), { started: n })).toEqual(go);
    expect(errorsAt({ failed: 5 }, percent(1), { started: n })).toMatchObject(errors);
    expect(offlineAt({ offline: 4 }, percent(1), { started: n })).toEqual(go);
    expect(offlineAt({ offline: 5 }, percent(1), { started: n })).toMatchObject(offline);
  });

  it('goes on at the share of offline stores, and stops above it', () => {
    expect(offlineAt({ succeeded: n - fifth, offline: fifth }, percent(20))).toEqual(go);
    expect(offlineAt({ succeeded: n - fifth - 1, offline: fifth + 1 }, percent(20))).toMatchObject(offline);
  });

  it('takes cut off for offline, as long as it may come back', () => {
    const half = Math.floor(fifth / 2);
    const rest = { started: n, cutOff: fifth - half };
    expect(offlineAt({ succeeded: n - fifth, offline: half }, percent(20), rest)).toEqual(go);
    const more = { started: n, cutOff: fifth - half + 1 };
    expect(offlineAt({ succeeded: n - fifth - 1, offline: half }, percent(20), more)).toMatchObject(offline);
    expect(errorsAt({ succeeded: n - fifth, offline: half }, { count: 0, minSample: 1 }, rest)).toEqual(go);
  });

  it('takes cut off for failed at the deadline', () => {
    const late = { started: n, cutOff: tenth + 1, atDeadline: true };
    expect(errorsAt({ succeeded: n - tenth - 1 }, percent(10), late)).toMatchObject(errors);
    expect(errorsAt({ succeeded: n - tenth }, percent(10), { ...late, cutOff: tenth })).toEqual(go);
  });

  it('measures failures against who was started and there: not offline, excluded or skipped', () => {
    // All but four are away or left out. Of these four 25 % failed, or none.
    const out = { offline: n - 5, excluded: 1 };
    expect(errorsAt({ ...out, succeeded: 3, failed: 1 }, percent(25))).toEqual(go);
    expect(errorsAt({ ...out, succeeded: 3, failed: 1 }, percent(24))).toMatchObject(errors);
    expect(errorsAt({ skipped: n - 4, succeeded: 3, failed: 1 }, percent(24))).toMatchObject(errors);
  });

  it('stops when all of it failed, and when all of it is offline or cut off', () => {
    expect(errorsAt({ failed: n }, percent(99))).toMatchObject(errors);
    expect(errorsAt({ timedOut: n }, percent(99))).toMatchObject(errors);
    expect(offlineAt({ offline: n }, percent(99))).toMatchObject(offline);
    expect(offlineAt({}, percent(99), { started: n, cutOff: n })).toMatchObject(offline);
  });

  it('stops for nobody when nothing of it was tried', () => {
    const nothing = { errorThreshold: percent(0, 1), offlineThreshold: percent(0, 1) };
    expect(judgeWave(state(n, { excluded: n }), nothing)).toEqual(go);
    expect(judgeWave(state(n, { skipped: n }), nothing)).toEqual(go);
    expect(judgeWave(state(n, {}), nothing)).toEqual(go);
  });
});

describe('countsOf', () => {
  const result = (outcome: StoreResult['outcome'], startedAt?: string) => ({ outcome, startedAt });
  const AT = '2026-11-24T11:00:00Z';

  it('counts a store that was taken out before its turn like a skipped one, and one that was aborted in its work not', () => {
    const { tally, started } = countsOf([
      result('failed', AT),
      result('aborted', AT),
      result('aborted'),
      result('excluded'),
      result('offline', AT),
    ]);
    expect(tally).toEqual({ ...emptyTally(), failed: 1, aborted: 1, skipped: 1, excluded: 1, offline: 1 });
    expect(started).toBe(3);
  });

  it('counts one that failed as failed until it succeeds, whatever became of it since', () => {
    const again = (outcome: StoreResult['outcome'], startedAt?: string) => ({
      ...result(outcome, startedAt),
      failedBefore: true as const,
    });
    const { tally, started } = countsOf([again('cutOff'), again('aborted', AT), again('skipped'), result('cutOff')]);
    expect(tally).toEqual({ ...emptyTally(), failed: 3, cutOff: 1 });
    expect(started).toBe(4);
  });

  it('keeps a stage that fails from looking better because people took stores out of it', () => {
    const takenOut = Array.from({ length: 45 }, () => result('aborted'));
    const tried = [...Array.from({ length: 4 }, () => result('succeeded', AT)), result('failed', AT)];
    const judged = judgeWave(
      { size: 50, ...countsOf([...takenOut, ...tried]), cutOff: 0 },
      { errorThreshold: { percent: 10, minSample: 5 }, offlineThreshold: never },
    );
    expect(judged).toMatchObject({ kind: 'breach', summary: expect.stringMatching(/^1 of 5 stores failed/) as string });
  });
});

describe('concurrencyOf', () => {
  it.each([
    ['a number stands as it is', 10, 5, 10],
    ['25 % of 50 rounds down to 12', '25%', 50, 12],
    ['25 % of 3 is at least 1', '25%', 3, 1],
    ['100 % is the stage', '100%', 245, 245],
    ['29 % of 100 is 29', '29%', 100, 29],
    ['25 % of 5 rounds down to 1', '25%', 5, 1],
    ['39 % of 5 rounds down to 1', '39%', 5, 1],
    ['25 % of 200 is 50', '25%', 200, 50],
    ['25 % of 245 rounds down to 61', '25%', 245, 61],
    ['99 % of 245 rounds down to 242', '99%', 245, 242],
    ['1 % of 50 is at least 1', '1%', 50, 1],
    ['a number larger than the stage is no harm', 50, 5, 50],
    ['0 % still works on one', '0%', 200, 1],
  ] as const)('%s', (_sentence, limit, size, expected) => {
    expect(concurrencyOf(limit, size)).toBe(expected);
  });
});

describe('the verdict on any stage', () => {
  const threshold = fc.oneof(
    fc.record({ count: fc.nat(20), minSample: fc.integer({ min: 1, max: 20 }) }),
    fc.record({ percent: fc.nat(100), minSample: fc.integer({ min: 1, max: 20 }) }),
  );
  const counts = fc.record({ succeeded: fc.nat(60), failed: fc.nat(60), timedOut: fc.nat(10), offline: fc.nat(60) });
  const stage = fc.record({ counts, waiting: fc.nat(60), inWork: fc.nat(20), errors: threshold, offline: threshold });
  interface Rest {
    waiting: number;
    inWork: number;
    errors: ErrorThreshold;
    offline: ErrorThreshold;
  }
  const judge = (ended: Partial<Tally>, { waiting, inWork, errors, offline }: Rest) => {
    const base = state(0, ended);
    const size = base.started + inWork + waiting;
    return judgeWave(
      { ...base, size, started: base.started + inWork },
      { errorThreshold: errors, offlineThreshold: offline },
    );
  };

  it('is never better when one of the stores that succeeded has failed instead', () => {
    fc.assert(
      fc.property(stage, (given) => {
        fc.pre(given.counts.succeeded > 0);
        const { succeeded, failed } = given.counts;
        const worse = judge({ ...given.counts, succeeded: succeeded - 1, failed: failed + 1 }, given);
        if (judge(given.counts, given).kind === 'breach') expect(worse.kind).toBe('breach');
      }),
    );
  });

  it('is a breach, for errors, exactly when more failed than a count allows', () => {
    fc.assert(
      fc.property(stage, fc.nat(20), (given, count) => {
        const verdict = judge(given.counts, { ...given, errors: { count, minSample: 1 }, offline: never });
        const isOver = given.counts.failed + given.counts.timedOut > count;
        expect(verdict).toMatchObject(isOver ? { kind: 'breach', reason: ERRORS } : { kind: 'go' });
      }),
    );
  });

  it('is a breach when all stores of a stage failed, unless all may', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 500 }),
        fc.nat(99),
        fc.integer({ min: 1, max: 600 }),
        (size, percent, minSample) => {
          const limits = { errorThreshold: { percent, minSample }, offlineThreshold: never };
          expect(judgeWave(state(size, { failed: size }), limits).kind).toBe('breach');
        },
      ),
    );
  });

  it('lets at least one store work, and no share more than the stage has', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.integer({ min: 1, max: 1_000 }), (percent, size) => {
        const stores = concurrencyOf(`${percent}%`, size);
        expect(stores).toBeGreaterThanOrEqual(1);
        expect(stores).toBeLessThanOrEqual(size);
        if (stores > 1) expect(stores * 100).toBeLessThanOrEqual(percent * size);
      }),
    );
  });
});
