import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextStarts, startOf, type NightState, type NightStore } from '#domain/backup-starts.js';

const OPENS = new Date('2026-11-25T22:00:00Z');
const DEADLINE = new Date('2026-11-26T04:00:00Z');
const LAST = new Date('2026-11-26T03:59:59Z');
const named = (count: number, uplink?: string): NightStore[] =>
  Array.from({ length: count }, (_, at) => {
    const store = `store-${String(at + 1).padStart(3, '0')}`;
    return uplink === undefined ? { store } : { store, uplink };
  });
const aNight = (change: Partial<NightState> = {}): NightState => ({
  opens: OPENS,
  deadline: DEADLINE,
  now: LAST,
  waiting: [],
  running: [],
  slots: {},
  maxConcurrency: 1_000,
  ...change,
});

describe('the moment of a store', () => {
  it('is the same every night, so that its backups are a day apart', () => {
    const nextNight = (date: Date) => new Date(date.getTime() + 86_400_000);
    expect(startOf('store-001', nextNight(OPENS), nextNight(DEADLINE))).toEqual(
      nextNight(startOf('store-001', OPENS, DEADLINE)),
    );
  });

  it('spreads 500 stores evenly over the first three quarters of the window', () => {
    const quarters = [0, 0, 0, 0];
    for (const { store } of named(500)) {
      const into =
        (startOf(store, OPENS, DEADLINE).getTime() - OPENS.getTime()) / (DEADLINE.getTime() - OPENS.getTime());
      quarters[Math.floor(into * 4)]! += 1;
    }
    expect(quarters[3]).toBe(0);
    for (const count of quarters.slice(0, 3)) expect(count).toBeGreaterThan(130);
  });

  it('is the opening of a window that has no length', () => {
    expect(startOf('store-001', OPENS, OPENS)).toEqual(OPENS);
    expect(startOf('store-001', DEADLINE, OPENS)).toEqual(DEADLINE);
  });
});

describe('the stores that begin now', () => {
  it('are those whose moment has come, in its order; the next one is waited for', () => {
    const waiting = named(20);
    const moments = waiting.map(({ store }) => startOf(store, OPENS, DEADLINE).getTime()).toSorted((a, b) => a - b);
    const now = new Date(moments[4] as number);
    const { start, missed, wakeAt } = nextStarts(aNight({ waiting, now }));
    expect(start.map((store) => startOf(store, OPENS, DEADLINE).getTime())).toEqual(moments.slice(0, 5));
    expect(missed).toEqual([]);
    expect(wakeAt?.getTime()).toBe(moments[5]);
  });

  it('leave an uplink to those that use it, and do not hold up others', () => {
    const waiting = [...named(3, 'town'), { store: 'store-900' }];
    const running = [{ store: 'store-800', uplink: 'town' }];
    const { start } = nextStarts(aNight({ waiting, running, slots: { town: 2 } }));
    expect(start).toHaveLength(2);
    expect(start).toContain('store-900');
  });

  it('use an uplink that nobody has described one at a time', () => {
    expect(nextStarts(aNight({ waiting: named(3, 'constructor') })).start).toHaveLength(1);
  });

  it('are none from the deadline on: those that wait are missed', () => {
    expect(nextStarts(aNight({ waiting: named(2), now: DEADLINE }))).toEqual({
      start: [],
      missed: ['store-001', 'store-002'],
    });
  });

  it('never exceed slots or concurrency; every store begins or is missed, and none twice', () => {
    const store = fc.record({
      store: fc.integer({ min: 1, max: 400 }).map((n) => `store-${n}`),
      uplink: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
      takes: fc.integer({ min: 1, max: 40 }),
    });
    const stores = fc.uniqueArray(store, { selector: (one) => one.store, maxLength: 40 });
    fc.assert(
      fc.property(stores, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 3 }), (all, max, slotsOfA) => {
        const begun: string[] = [];
        let waiting = all;
        let running: ((typeof all)[number] & { until: number })[] = [];
        for (let step = 0; step <= 72; step += 1) {
          const now = new Date(OPENS.getTime() + step * 5 * 60_000);
          running = running.filter(({ until }) => until > step);
          const night = aNight({ now, waiting, running, slots: { a: slotsOfA }, maxConcurrency: max });
          const { start, missed } = nextStarts(night);
          if (now >= DEADLINE) {
            expect([...begun, ...missed].toSorted()).toEqual(all.map((one) => one.store).toSorted());
            expect(start).toEqual([]);
            continue;
          }
          begun.push(...start);
          running = [
            ...running,
            ...waiting.filter((one) => start.includes(one.store)).map((one) => ({ ...one, until: step + one.takes })),
          ];
          waiting = waiting.filter((one) => !start.includes(one.store));
          expect(running.length).toBeLessThanOrEqual(max);
          expect(running.filter(({ uplink }) => uplink === 'a').length).toBeLessThanOrEqual(slotsOfA);
          expect(running.filter(({ uplink }) => uplink === 'b').length).toBeLessThanOrEqual(1);
        }
        expect(new Set(begun).size).toBe(begun.length);
      }),
    );
  });
});
