import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CopyFacts } from '#domain/backup.js';
import { chooseSnapshot, coverageOf, planRestoreTests, type TestableGuest } from '#domain/restore-sampling.js';

const DAY = 86_400_000;
const WEEK = 7 * DAY;
const NOW = new Date('2026-11-29T03:00:00Z');
const weeksAgo = (weeks: number): string => new Date(NOW.getTime() - weeks * WEEK).toISOString();

const aGuest = (change: Partial<TestableGuest> = {}): TestableGuest => ({
  store: 'store-001',
  vmid: 101,
  weeks: 8,
  knownSince: weeksAgo(1),
  ...change,
});
const plan = (guests: TestableGuest[], seed = '2026-w48') => planRestoreTests({ guests, seed, now: NOW });

/** Weeks one after another in which every restore passes, unless `passes` says otherwise. */
function run(
  guests: TestableGuest[],
  weeks: number,
  passes: (guest: TestableGuest, week: number) => boolean = () => true,
) {
  const tested = new Map<string, number[]>();
  const loads: number[] = [];
  let known = guests;
  for (let week = 0; week < weeks; week += 1) {
    const now = new Date(NOW.getTime() + week * WEEK);
    const { picks } = planRestoreTests({ guests: known, seed: `week-${week}`, now });
    loads.push(picks.length);
    const picked = new Set(picks.map(({ store, vmid }) => `${store}/${vmid}`));
    expect(picked.size).toBe(picks.length);
    known = known.map((guest) => {
      const key = `${guest.store}/${guest.vmid}`;
      if (!picked.has(key) || !passes(guest, week)) return guest;
      tested.set(key, [...(tested.get(key) ?? []), week]);
      return { ...guest, passedAt: new Date(now.getTime() + 3_600_000).toISOString() };
    });
  }
  return { tested, loads, known };
}

const fleet = fc
  .uniqueArray(
    fc.record({
      store: fc.integer({ min: 1, max: 40 }).map((n) => `store-${n}`),
      vmid: fc.integer({ min: 100, max: 104 }),
      weeks: fc.constantFrom(1, 2, 4, 8, 13),
    }),
    { selector: ({ store, vmid }) => `${store}/${vmid}`, minLength: 1, maxLength: 60 },
  )
  .map((guests) => guests.map((guest) => aGuest({ ...guest, knownSince: weeksAgo(0) })));

describe('over the weeks', () => {
  it('every guest is restored in the weeks of its tier, from the day that it was seen', () => {
    const horizon = 40;
    fc.assert(
      fc.property(fleet, (guests) => {
        const { tested } = run(guests, horizon);
        for (const { store, vmid, weeks } of guests) {
          const runs = [0, ...(tested.get(`${store}/${vmid}`) ?? []), horizon];
          const gaps = runs.slice(1).map((week, at) => week - (runs[at] as number));
          expect(Math.max(...gaps)).toBeLessThanOrEqual(weeks);
        }
      }),
      { numRuns: 60 },
    );
  });

  it('nobody is ever overdue while restores pass', () => {
    fc.assert(
      fc.property(fleet, fc.integer({ min: 14, max: 30 }), (guests, weeks) => {
        const { known } = run(guests, weeks);
        const now = new Date(NOW.getTime() + weeks * WEEK);
        expect(coverageOf(known, now)).toMatchObject({ covered: guests.length, neverTested: [], overdue: [] });
      }),
      { numRuns: 60 },
    );
  });

  it('the work is spread: 2,000 new guests do not come in one week', () => {
    const guests = Array.from({ length: 2_000 }, (_, at) =>
      aGuest({ store: `store-${at >> 2}`, vmid: 101 + (at % 4), weeks: [4, 8, 8, 13][at % 4] as number }),
    );
    const { capacity } = plan(guests);
    expect(capacity).toBe(Math.ceil(500 * (1 / 4 + 2 / 8 + 1 / 13) * 1.3));
    const { loads } = run(guests, 30);
    expect(Math.max(...loads)).toBeLessThanOrEqual(Math.ceil(capacity * 1.5));
  });

  it('a guest whose restore fails stays due every week', () => {
    const guests = [aGuest({ weeks: 4, knownSince: weeksAgo(4) }), aGuest({ vmid: 102, weeks: 4 })];
    const { tested, known } = run(guests, 12, ({ vmid }, week) => vmid !== 101 || week >= 10);
    expect(tested.get('store-001/101')?.[0]).toBe(10);
    expect(known.every(({ passedAt }) => passedAt !== undefined)).toBe(true);
  });

  it('nor does one that passed before, and fails long before it is due', () => {
    const guests = Array.from({ length: 26 }, (_, at) =>
      aGuest({ vmid: 100 + at, weeks: 13, passedAt: weeksAgo(at === 0 ? 1 : 2 + (at % 11)) }),
    );
    guests[0]!.failedAt = weeksAgo(0);
    const { tested } = run(guests, 4, ({ vmid }, week) => vmid !== 100 || week === 2);
    expect(tested.get('store-001/100')).toEqual([2]);
  });
});

describe('a week', () => {
  it('begins with those never tested, then those whose time is nearest', () => {
    const guests = [
      aGuest({ vmid: 101, passedAt: weeksAgo(7.2) }),
      aGuest({ vmid: 102, passedAt: weeksAgo(7.5) }),
      aGuest({ vmid: 103, knownSince: weeksAgo(7.5) }),
      aGuest({ vmid: 104, knownSince: weeksAgo(9) }),
    ];
    expect(plan(guests).picks.map(({ vmid, why }) => [vmid, why])).toEqual([
      [104, 'never tested'],
      [103, 'never tested'],
      [102, 'due'],
      [101, 'due'],
    ]);
  });

  it('then takes those that failed, before anybody who is due, and of their newest snapshot', () => {
    const failed = Array.from({ length: 20 }, (_, at) =>
      aGuest({ vmid: 200 + at, weeks: 13, passedAt: weeksAgo(1), failedAt: weeksAgo(0.5) }),
    );
    const others = [
      aGuest({ vmid: 101, passedAt: weeksAgo(9) }),
      aGuest({ vmid: 102, knownSince: weeksAgo(9) }),
      aGuest({ vmid: 103, failedAt: weeksAgo(3), passedAt: weeksAgo(2), weeks: 13 }),
    ];
    const { picks } = plan([...others, ...failed]);
    expect(picks.map(({ vmid }) => vmid)).toEqual([102, ...picks.slice(1, 21).map(({ vmid }) => vmid), 101]);
    for (const pick of picks.slice(1, 21)) {
      expect(pick).toMatchObject({ why: 'due', snapshot: 'newest' });
      expect(pick.vmid).toBeGreaterThanOrEqual(200);
    }
    const never = plan([aGuest({ vmid: 101, knownSince: weeksAgo(9) }), aGuest({ vmid: 102, failedAt: weeksAgo(0) })]);
    expect(never.picks.map(({ vmid, why }) => [vmid, why])).toEqual([
      [102, 'never tested'],
      [101, 'never tested'],
    ]);
  });

  it.each(['', 'yes', weeksAgo(-1)])('takes for failed who is said to have failed at "%s"', (failedAt) => {
    const { picks, coverage } = plan([
      aGuest({ passedAt: weeksAgo(1), failedAt }),
      aGuest({ vmid: 102 }),
      aGuest({ vmid: 103 }),
    ]);
    expect(picks.map(({ vmid }) => vmid)).toContain(101);
    expect(coverage.failed).toEqual([{ store: 'store-001', vmid: 101 }]);
  });

  it('leaves out those with time left when others fill it', () => {
    const guests = [aGuest({ vmid: 101, passedAt: weeksAgo(2) }), aGuest({ vmid: 102 }), aGuest({ vmid: 103 })];
    expect(plan(guests).capacity).toBe(1);
    expect(plan(guests).picks).toHaveLength(1);
  });

  it('takes everybody who would be overdue, however many they are', () => {
    const guests = Array.from({ length: 50 }, (_, at) => aGuest({ vmid: 100 + at, passedAt: weeksAgo(9) }));
    const { picks, capacity } = plan(guests);
    expect(capacity).toBeLessThan(50);
    expect(picks).toHaveLength(50);
  });

  it('takes a guest of which nobody knows since when', () => {
    expect(plan([aGuest({ knownSince: 'once', passedAt: undefined })]).picks).toHaveLength(1);
  });

  it.each(['', 'yes', weeksAgo(-1)])('does not count a pass at "%s"', (passedAt) => {
    const { picks, coverage } = plan([aGuest({ passedAt })]);
    expect(picks[0]?.why).toBe('never tested');
    expect(coverage.neverTested).toEqual([{ store: 'store-001', vmid: 101 }]);
  });

  it('is the same for the same seed in any order, and another one for another', () => {
    const guests = Array.from({ length: 100 }, (_, at) => aGuest({ vmid: 100 + at }));
    expect(plan(guests.toReversed())).toEqual(plan(guests));
    const numbers = (seed: string) => plan(guests, seed).picks.map(({ vmid }) => vmid);
    expect(numbers('2026-w49')).not.toEqual(numbers('2026-w48'));
  });

  it('takes an older snapshot now and then, but never for the first test', () => {
    const tested = Array.from({ length: 1_000 }, (_, at) => aGuest({ vmid: 100 + at, passedAt: weeksAgo(8) }));
    const older = plan(tested).picks.filter(({ snapshot }) => snapshot === 'older').length;
    expect(older).toBeGreaterThan(150);
    expect(older).toBeLessThan(250);
    const fresh = tested.map(({ passedAt: _, ...guest }) => ({ ...guest, knownSince: weeksAgo(9) }));
    expect(plan(fresh).picks.map(({ snapshot }) => snapshot)).not.toContain('older');
  });

  it('is told by whom it covers, who was never tested and who is overdue', () => {
    const guests = [
      aGuest({ store: 'store-002', vmid: 102 }),
      aGuest({ vmid: 103, passedAt: weeksAgo(8.5) }),
      aGuest({ vmid: 102, passedAt: weeksAgo(7.9) }),
      aGuest({ vmid: 101 }),
    ];
    expect(coverageOf(guests, NOW)).toEqual({
      guests: 4,
      covered: 1,
      failed: [],
      neverTested: [
        { store: 'store-001', vmid: 101 },
        { store: 'store-002', vmid: 102 },
      ],
      overdue: [{ store: 'store-001', vmid: 103 }],
    });
  });

  it('is empty without guests', () => {
    expect(plan([])).toEqual({
      picks: [],
      capacity: 0,
      coverage: { guests: 0, covered: 0, failed: [], neverTested: [], overdue: [] },
    });
  });
});

describe('the snapshot of a pick', () => {
  const at = (weeks: number): number => Math.floor(Date.parse(weeksAgo(weeks)) / 1_000);
  const copy = (...weeks: number[]): CopyFacts => ({
    node: 'central',
    snapshots: weeks.map((age) => ({
      type: 'vm',
      id: '101',
      time: at(age),
      size: 1,
      encrypted: true,
      protected: false,
      verification: { state: 'ok', node: 'central', at: at(age) + 60 },
    })),
  });
  type Pick = Parameters<typeof chooseSnapshot>[0]['pick'];
  const choose = (snapshot: 'newest' | 'older', from: CopyFacts, seed = 's', change: Partial<Pick> = {}) =>
    chooseSnapshot({ pick: { store: 'store-001', vmid: 101, snapshot, ...change }, copy: from, seed, now: NOW });

  it('is the newest that is proven on the server it is restored from', () => {
    const from = copy(3, 2, 1);
    from.snapshots[2]!.verification!.node = 'pbs-001';
    expect(choose('newest', from)).toEqual({ type: 'vm', id: '101', time: at(2) });
  });

  it('is any of the older ones when an older one is meant', () => {
    const seen = new Set(Array.from({ length: 60 }, (_, n) => choose('older', copy(1, 2, 3, 4), `week-${n}`)?.time));
    expect(seen).toEqual(new Set([at(2), at(3), at(4)]));
  });

  it.each([
    ['qemu', 'vm', [3, 4]],
    ['lxc', 'ct', [1, 2]],
    [undefined, undefined, [1, 2, 3, 4]],
  ] as const)('is of the kind of the guest (%s), not of what else had its number', (kind, type, weeks) => {
    const from = copy(1, 2, 3, 4);
    for (const snapshot of from.snapshots.slice(0, 2)) snapshot.type = 'ct';
    const snapshots = ['newest', 'older'] as const;
    const seen = Array.from({ length: 60 }, (_, n) =>
      snapshots.map((one) => choose(one, from, `w${n}`, { kind })),
    ).flat();
    expect(new Set(seen.map((one) => one?.time))).toEqual(new Set(weeks.map(at)));
    if (type) expect(seen.every((one) => one?.type === type)).toBe(true);
  });

  it('is none from before the guest had its number', () => {
    const change = { ownSince: weeksAgo(2.5) };
    const seen = Array.from({ length: 60 }, (_, n) => choose('older', copy(1, 2, 3, 4), `week-${n}`, change)?.time);
    expect(new Set(seen)).toEqual(new Set([at(2)]));
    expect(choose('newest', copy(3, 4), 's', change)).toBeUndefined();
    expect(choose('newest', copy(1), 's', { ownSince: 'once' })).toBeUndefined();
  });

  it('is the newest when there is no older one, and none when none is proven', () => {
    expect(choose('older', copy(1))?.time).toBe(at(1));
    expect(choose('older', copy())).toBeUndefined();
    const other = copy(1);
    other.snapshots[0]!.id = '102';
    expect(choose('newest', other)).toBeUndefined();
  });
});
