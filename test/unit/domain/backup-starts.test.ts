import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextStarts, startOf, type NightState, type NightStore } from '#domain/backup-starts.js';

const OPENS = new Date('2026-11-25T22:00:00Z');
const DEADLINE = new Date('2026-11-26T04:00:00Z');
const LAST = new Date('2026-11-26T03:59:59Z');
const aStore = (store: string, change: Partial<NightStore> = {}): NightStore => ({
  store,
  opens: OPENS,
  deadline: DEADLINE,
  ...change,
});
const named = (count: number, uplink?: string): NightStore[] =>
  Array.from({ length: count }, (_, at) => aStore(`store-${String(at + 1).padStart(3, '0')}`, { uplink }));
const aNight = (change: Partial<NightState> = {}): NightState => ({
  now: LAST,
  waiting: [],
  running: [],
  slots: {},
  maxConcurrency: 1_000,
  ...change,
});
const later = (date: Date, minutes: number): Date => new Date(date.getTime() + minutes * 60_000);

describe('the moment of a store', () => {
  it('is the same every night, so that its backups are a day apart', () => {
    const tomorrow = aStore('store-001', { opens: later(OPENS, 1_440), deadline: later(DEADLINE, 1_440) });
    expect(startOf(tomorrow)).toEqual(later(startOf(aStore('store-001')), 1_440));
  });

  it('spreads 500 stores evenly over the first three quarters of the window', () => {
    const quarters = [0, 0, 0, 0];
    for (const store of named(500)) {
      const into = (startOf(store).getTime() - OPENS.getTime()) / (DEADLINE.getTime() - OPENS.getTime());
      quarters[Math.floor(into * 4)]! += 1;
    }
    expect(quarters[3]).toBe(0);
    for (const count of quarters.slice(0, 3)) expect(count).toBeGreaterThan(130);
  });

  it('is the opening of a window that has no length', () => {
    expect(startOf(aStore('store-001', { deadline: OPENS }))).toEqual(OPENS);
    expect(startOf(aStore('store-001', { opens: DEADLINE, deadline: OPENS }))).toEqual(DEADLINE);
  });
});

describe('the stores that begin now', () => {
  it('are those whose moment has come, in its order; the next one is waited for', () => {
    const waiting = named(20);
    const moments = waiting.map((one) => startOf(one).getTime()).toSorted((a, b) => a - b);
    const now = new Date(moments[4] as number);
    const { start, missed, wakeAt } = nextStarts(aNight({ waiting, now }));
    expect(start.map((store) => startOf(aStore(store)).getTime())).toEqual(moments.slice(0, 5));
    expect(missed).toEqual([]);
    expect(wakeAt?.getTime()).toBe(moments[5]);
  });

  it('leave an uplink to those that use it, and do not hold up others', () => {
    const waiting = [...named(3, 'town'), aStore('store-900')];
    const running = [{ store: 'store-800', uplink: 'town' }];
    const { start, wakeAt } = nextStarts(aNight({ waiting, running, slots: { town: 2 } }));
    expect(start).toHaveLength(2);
    expect(start).toContain('store-900');
    // Nothing happens by itself any more before the deadline of those that wait for the line.
    expect(wakeAt).toEqual(DEADLINE);
  });

  it('use an uplink that nobody has described one at a time', () => {
    expect(nextStarts(aNight({ waiting: named(3, 'constructor') })).start).toHaveLength(1);
  });

  it('are none from the deadline on: those that wait are missed, each by its own', () => {
    const waiting = [...named(2), aStore('store-000', { deadline: later(DEADLINE, 60), opens: later(OPENS, -600) })];
    expect(nextStarts(aNight({ waiting, now: DEADLINE }))).toEqual({
      start: ['store-000'],
      missed: ['store-001', 'store-002'],
    });
  });

  it('are none, and nothing is waited for, when nobody waits', () => {
    expect(nextStarts(aNight())).toEqual({ start: [], missed: [] });
  });

  it('never exceed slots or concurrency; every store begins or is missed, and none twice', () => {
    const store = fc
      .record({
        store: fc.integer({ min: 1, max: 400 }).map((n) => `store-${n}`),
        uplink: fc.option(fc.constantFrom('a', 'b'), { nil: undefined }),
        takes: fc.integer({ min: 1, max: 40 }),
        shorter: fc.integer({ min: 0, max: 300 }),
      })
      .map(({ shorter, ...one }) => ({ ...aStore(one.store), ...one, deadline: later(DEADLINE, -shorter) }));
    const stores = fc.uniqueArray(store, { selector: (one) => one.store, maxLength: 40 });
    fc.assert(
      fc.property(stores, fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 3 }), (all, max, slotsOfA) => {
        const begun: string[] = [];
        const late: string[] = [];
        let waiting = all;
        let running: ((typeof all)[number] & { until: number })[] = [];
        for (let step = 0; step <= 72; step += 1) {
          const now = later(OPENS, step * 5);
          running = running.filter(({ until }) => until > step);
          const night = aNight({ now, waiting, running, slots: { a: slotsOfA }, maxConcurrency: max });
          const { start, missed, wakeAt } = nextStarts(night);
          const started = waiting.filter((one) => start.includes(one.store));
          for (const one of started) {
            expect(now.getTime()).toBeGreaterThanOrEqual(startOf(one).getTime());
            expect(now.getTime()).toBeLessThan(one.deadline.getTime());
          }
          begun.push(...start);
          late.push(...missed);
          running = [...running, ...started.map((one) => ({ ...one, until: step + one.takes }))];
          waiting = waiting.filter((one) => !start.includes(one.store) && !missed.includes(one.store));
          expect(wakeAt === undefined).toBe(waiting.length === 0);
          if (wakeAt) expect(wakeAt.getTime()).toBeGreaterThan(now.getTime());
          expect(running.length).toBeLessThanOrEqual(max);
          expect(running.filter(({ uplink }) => uplink === 'a').length).toBeLessThanOrEqual(slotsOfA);
          expect(running.filter(({ uplink }) => uplink === 'b').length).toBeLessThanOrEqual(1);
        }
        expect([...begun, ...late].toSorted()).toEqual(all.map((one) => one.store).toSorted());
      }),
    );
  });
});
