import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  isCollectionDue,
  judgeCopy,
  planVerification,
  unprovenBecause,
  type BackedUpGuest,
  type CopyFacts,
  type RpoState,
  type SnapshotFacts,
  type Unproven,
} from '#domain/backup.js';

const NOW = new Date('2026-11-26T06:00:00Z');
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ago = (milliseconds: number): number => (NOW.getTime() - milliseconds) / 1_000;

/** Begun `age` ms ago, verified an hour later by the server that holds it. */
const aSnapshot = (age: number, change: Partial<SnapshotFacts> = {}): SnapshotFacts => ({
  type: 'vm',
  id: '101',
  time: ago(age),
  size: 1_000,
  encrypted: true,
  protected: false,
  verification: { state: 'ok', node: 'pbs-001', at: ago(age - HOUR) },
  ...change,
});
const verified = (state: 'ok' | 'failed', at: number, node = 'pbs-001') => ({ verification: { state, node, at } });
const on = (...snapshots: SnapshotFacts[]): CopyFacts => ({ node: 'pbs-001', snapshots });
const aGuest = (change: Partial<BackedUpGuest> = {}): BackedUpGuest => ({
  vmid: 101,
  kind: 'qemu',
  name: 'pos',
  template: false,
  ...change,
});

describe('a snapshot proves that its guest can be had back', () => {
  const rows: Record<string, [SnapshotFacts, Unproven | undefined]> = {
    'when the server that holds it verified it': [aSnapshot(8 * HOUR), undefined],
    'also when the clocks differ by minutes': [aSnapshot(-4 * 60_000, verified('ok', ago(0))), undefined],
    'not while it is unfinished': [aSnapshot(8 * HOUR, { size: undefined }), 'unfinished'],
    'not when it holds nothing': [aSnapshot(8 * HOUR, { size: 0 }), 'unfinished'],
    'not before it is verified': [aSnapshot(8 * HOUR, { verification: undefined }), 'not verified'],
    'not when it is found damaged': [aSnapshot(8 * HOUR, verified('failed', ago(HOUR))), 'verification failed'],
    'not by the word of the server it was copied from': [
      aSnapshot(8 * HOUR, verified('ok', ago(HOUR), 'pbs-002')),
      'verified by another server',
    ],
    'not by the bad word of another server either': [
      aSnapshot(8 * HOUR, verified('failed', ago(HOUR), 'pbs-002')),
      'verified by another server',
    ],
    'not when it will be made tomorrow': [aSnapshot(-DAY, verified('ok', ago(0))), 'in the future'],
    'not when it was verified before it was there': [
      aSnapshot(8 * HOUR, verified('ok', ago(9 * HOUR))),
      'not verified',
    ],
    'not when it will be verified tomorrow': [aSnapshot(8 * HOUR, verified('ok', ago(-DAY))), 'not verified'],
    'not when its time is no number': [aSnapshot(8 * HOUR, { time: Number.NaN }), 'unreadable'],
    'not when its time is text': [aSnapshot(8 * HOUR, { time: '1779000000' as unknown as number }), 'unreadable'],
    'not when its size is text': [aSnapshot(8 * HOUR, { size: '9' as unknown as number }), 'unfinished'],
    'not when the result is a word nobody knows': [
      aSnapshot(8 * HOUR, { verification: { state: 'OK' as 'ok', node: 'pbs-001', at: ago(HOUR) } }),
      'not verified',
    ],
    'not when nobody knows when it was verified': [
      aSnapshot(8 * HOUR, verified('ok', null as unknown as number)),
      'not verified',
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [snapshot, why]) => {
    expect(unprovenBecause(snapshot, 'pbs-001', NOW)).toBe(why);
  });

  it('not when the server has no name', () => {
    expect(unprovenBecause(aSnapshot(HOUR, verified('ok', ago(0), '')), '', NOW)).toBe('verified by another server');
  });

  it('never, whatever comes, without a verification of that server after it was begun', () => {
    const anything = fc.oneof(fc.integer(), fc.double(), fc.string(), fc.constant(null), fc.constant(undefined));
    const mostly = (instant: fc.Arbitrary<number>) =>
      fc.oneof({ weight: 4, arbitrary: instant }, { weight: 1, arbitrary: anything });
    const at = mostly(fc.integer({ min: ago(10 * DAY), max: ago(-10 * DAY) }));
    const snapshot = fc.record({
      type: fc.constant('vm'),
      id: fc.constant('101'),
      time: at,
      size: mostly(fc.integer()),
      encrypted: anything,
      protected: anything,
      verification: fc.option(
        fc.record({
          state: fc.constantFrom('ok', 'ok', 'ok', 'failed', 'OK', ''),
          node: fc.constantFrom('pbs-001', 'pbs-001', 'pbs-002', '', 'PBS-001'),
          at,
        }),
        { nil: undefined },
      ),
    });
    let believed = 0;
    fc.assert(
      fc.property(snapshot, (junk) => {
        if (unprovenBecause(junk as unknown as SnapshotFacts, 'pbs-001', NOW) !== undefined) return;
        believed += 1;
        const { time, size, verification } = junk as unknown as SnapshotFacts;
        expect(verification).toMatchObject({ state: 'ok', node: 'pbs-001' });
        expect(size).toBeGreaterThan(0);
        for (const instant of [time, verification?.at]) expect(instant).toBeLessThanOrEqual(ago(-5 * 60_000));
        expect(verification?.at).toBeGreaterThanOrEqual(time - 300);
      }),
      { numRuns: 3_000 },
    );
    expect(believed).toBeGreaterThan(0);
  });
});

describe('the state of a guest on one server', () => {
  const stateOf = (copy: CopyFacts | undefined, objective = 24 * HOUR): RpoState =>
    judgeCopy({ guest: aGuest(), copy, objective, now: NOW }).state;

  const rows: Record<string, [CopyFacts | undefined, RpoState]> = {
    'is ok within the objective': [on(aSnapshot(8 * HOUR)), 'ok'],
    'is ok at exactly the objective': [on(aSnapshot(24 * HOUR)), 'ok'],
    'is late beyond it': [on(aSnapshot(24 * HOUR + 1_000)), 'late'],
    'is late at exactly twice the objective': [on(aSnapshot(48 * HOUR)), 'late'],
    'is a breach beyond twice': [on(aSnapshot(48 * HOUR + 1_000)), 'breach'],
    'is never without a snapshot': [on(), 'never'],
    'is never when no snapshot is proven': [on(aSnapshot(HOUR, { verification: undefined })), 'never'],
    'is never when the snapshots are of other guests': [
      on(aSnapshot(HOUR, { id: '102' }), aSnapshot(HOUR, { type: 'ct' }), aSnapshot(HOUR, { id: '1011' })),
      'never',
    ],
    'is unknown when the server could not be asked': [undefined, 'unknown'],
    'is that of the newest proven one, not of the newest': [
      on(aSnapshot(HOUR, { verification: undefined }), aSnapshot(30 * HOUR), aSnapshot(90 * HOUR)),
      'late',
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [copy, state]) => {
    expect(stateOf(copy)).toBe(state);
  });

  it('is not ok against an objective that is no number', () => {
    expect(stateOf(on(aSnapshot(HOUR)), Number.NaN)).toBe('breach');
  });

  it('tells age, size, encryption and what newer one does not count', () => {
    const copy = on(
      aSnapshot(30 * HOUR, { keyFingerprint: 'aa:bb' }),
      aSnapshot(2 * HOUR, verified('failed', ago(HOUR))),
    );
    expect(judgeCopy({ guest: aGuest(), copy, objective: 24 * HOUR, now: NOW })).toEqual({
      state: 'late',
      proven: {
        time: ago(30 * HOUR),
        age: 30 * HOUR,
        size: 1_000,
        encrypted: true,
        keyFingerprint: 'aa:bb',
        verifiedAt: ago(29 * HOUR),
      },
      unproven: { time: ago(2 * HOUR), why: 'verification failed' },
    });
  });

  it('gets worse with time, and never better by more unproven snapshots', () => {
    const rank: RpoState[] = ['ok', 'late', 'breach', 'never', 'unknown'];
    const ages = fc.array(fc.integer({ min: 0, max: 200 }), { maxLength: 6 });
    fc.assert(
      fc.property(ages, ages, fc.integer({ min: 0, max: 100 }), (proven, unproven, later) => {
        const good = proven.map((hours) => aSnapshot(hours * HOUR + 2 * HOUR));
        const bad = unproven.map((hours) => aSnapshot(hours * HOUR, { verification: undefined }));
        const at = (snapshots: SnapshotFacts[], now: Date) =>
          judgeCopy({ guest: aGuest(), copy: on(...snapshots), objective: 24 * HOUR, now }).state;
        expect(at([...good, ...bad], NOW)).toBe(at(good, NOW));
        const then = new Date(NOW.getTime() + later * HOUR);
        expect(rank.indexOf(at(good, then))).toBeGreaterThanOrEqual(rank.indexOf(at(good, NOW)));
      }),
    );
  });
});

describe('a collection of space', () => {
  it.each<[string, Parameters<typeof isCollectionDue>[0], boolean]>([
    ['is due when there was none', undefined, true],
    ['is due a week after the last one', { state: 'OK', endTime: ago(7 * DAY + HOUR) }, true],
    ['is due after one that ended badly', { state: 'no space left', endTime: ago(HOUR) }, true],
    ['is due after one of which nobody knows when it ended', { state: 'OK' }, true],
    ['is not due within a week', { state: 'OK', endTime: ago(7 * DAY - HOUR) }, false],
    ['is not due after one with warnings', { state: 'WARNINGS: 2', endTime: ago(HOUR) }, false],
    ['is not due while one runs', {}, false],
  ])('%s', (_, lastRun, isDue) => {
    expect(isCollectionDue(lastRun, NOW)).toBe(isDue);
  });
});

describe('what is to be verified', () => {
  const namesOf = (...snapshots: SnapshotFacts[]) => {
    const plan = planVerification(on(...snapshots), NOW, 30 * DAY);
    const ages = (names: { time: number }[]) =>
      names.map(({ time }) => Math.round((NOW.getTime() / 1_000 - time) / 3_600));
    return { fresh: ages(plan.fresh), again: ages(plan.again) };
  };

  const rows: Record<string, [SnapshotFacts[], { fresh: number[]; again: number[] }]> = {
    'what is new, the newest first': [
      [aSnapshot(30 * HOUR, { verification: undefined }), aSnapshot(6 * HOUR, { verification: undefined })],
      { fresh: [6, 30], again: [] },
    ],
    'a copy that only its source has verified': [
      [aSnapshot(6 * HOUR, verified('ok', ago(HOUR), 'pbs-002'))],
      { fresh: [6], again: [] },
    ],
    'a copy that its source has found damaged before it was sent': [
      [aSnapshot(6 * HOUR, verified('failed', ago(HOUR), 'pbs-002'))],
      { fresh: [6], again: [] },
    ],
    'not what is unfinished': [
      [aSnapshot(HOUR, { size: undefined, verification: undefined })],
      { fresh: [], again: [] },
    ],
    'not what was verified lately': [[aSnapshot(30 * DAY, verified('ok', ago(29 * DAY)))], { fresh: [], again: [] }],
    'what was verified too long ago': [
      [aSnapshot(40 * DAY, verified('ok', ago(31 * DAY))), aSnapshot(35 * DAY, verified('ok', ago(29 * DAY)))],
      { fresh: [], again: [40 * 24] },
    ],
    'not what was found damaged, again and again': [
      [aSnapshot(48 * HOUR, verified('failed', ago(40 * HOUR)))],
      { fresh: [], again: [] },
    ],
    'what was found damaged before a newer backup': [
      [aSnapshot(48 * HOUR, verified('failed', ago(40 * HOUR))), aSnapshot(8 * HOUR)],
      { fresh: [], again: [48] },
    ],
    'not because of a newer backup of another guest': [
      [aSnapshot(48 * HOUR, verified('failed', ago(40 * HOUR))), aSnapshot(8 * HOUR, { id: '102' })],
      { fresh: [], again: [] },
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [snapshots, plan]) => {
    expect(namesOf(...snapshots)).toEqual(plan);
  });

  it('leaves nothing unproven that could be proven, and names nothing twice', () => {
    const one = fc.record({
      age: fc.integer({ min: 2, max: 2_000 }),
      id: fc.constantFrom('101', '102'),
      verification: fc.option(
        fc.record({
          state: fc.constantFrom('ok' as const, 'failed' as const),
          node: fc.constantFrom('pbs-001', 'pbs-002'),
          after: fc.integer({ min: -50, max: 2_000 }),
        }),
        { nil: undefined },
      ),
    });
    fc.assert(
      fc.property(fc.uniqueArray(one, { selector: ({ age, id }) => `${id}/${age}` }), (rowsOf) => {
        const snapshots = rowsOf.map(({ age, id, verification }) =>
          aSnapshot(age * HOUR, {
            id,
            verification: verification && {
              state: verification.state,
              node: verification.node,
              at: ago((age - verification.after) * HOUR),
            },
          }),
        );
        const { fresh, again } = planVerification(on(...snapshots), NOW, 30 * DAY);
        const named = [...fresh, ...again].map(({ type, id, time }) => `${type}/${id}/${time}`);
        expect(new Set(named).size).toBe(named.length);
        for (const snapshot of snapshots) {
          const why = unprovenBecause(snapshot, 'pbs-001', NOW);
          const isNamed = named.includes(`${snapshot.type}/${snapshot.id}/${snapshot.time}`);
          if (why !== undefined && why !== 'verification failed') expect(isNamed).toBe(true);
        }
      }),
    );
  });
});
