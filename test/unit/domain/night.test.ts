import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { NightStorePlan } from '#domain/messages/backup.js';
import { planNight } from '#domain/night-plan.js';
import { nightSummary, partsOfNight } from '#domain/night.js';
import { emptyTally } from '#domain/outcomes.js';
import { fleet as aFleet, store as aStore } from '../client/builders.js';

const closes = '2026-11-27T04:00:00.000Z';
const some = (count: number, uplink?: string): NightStorePlan[] =>
  Array.from({ length: count }, (_, n) => ({
    id: `${uplink ?? 's'}-${String(n).padStart(3, '0')}`,
    closes,
    ...(uplink === undefined ? {} : { uplink }),
  }));

describe('the parts of a night', () => {
  it('are one when all stores fit into it', () => {
    const [part, ...others] = partsOfNight({ stores: some(5), maxConcurrency: 3 }, 250);
    expect([part?.stores.length, part?.maxConcurrency, others]).toEqual([5, 3, []]);
  });

  it('keep the stores of an uplink together', () => {
    const parts = partsOfNight({ stores: [...some(6, 'a'), ...some(6, 'b')], maxConcurrency: 4 }, 8);
    expect(parts.map(({ stores }) => new Set(stores.map(({ uplink }) => uplink)).size)).toEqual([1, 1]);
  });

  it('hold every store once, none too many, and no more at the same time than the night allows, but one each', () => {
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.constantFrom('a', 'b', 'c')), { minLength: 1, maxLength: 60 }),
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 30 }),
        (uplinks, size, maxConcurrency) => {
          const stores = uplinks.map((uplink, n) => ({ id: `s${n}`, closes, ...(uplink ? { uplink } : {}) }));
          const parts = partsOfNight({ stores, maxConcurrency }, size);
          const named = parts.flatMap((part) => part.stores.map(({ id }) => id));
          expect(named.toSorted()).toEqual(stores.map(({ id }) => id).toSorted());
          expect(parts.every((part) => part.stores.length <= size)).toBe(true);
          const together = parts.reduce((sum, part) => sum + part.maxConcurrency, 0);
          expect(together).toBeLessThanOrEqual(Math.max(maxConcurrency, parts.length));
        },
      ),
    );
  });
});

describe('the end of a night', () => {
  it('is told in one sentence', () => {
    expect(nightSummary(emptyTally(), 0, [{ night: 'night-2026-11-26', stores: 60 }])).toBe(
      'Night night-2026-11-26 of the same window has 60 stores.',
    );
    expect(nightSummary({ ...emptyTally(), succeeded: 58, failed: 1, offline: 1 }, 60)).toBe(
      '58 of 60 stores backed up and verified; 1 failed, 1 offline.',
    );
  });
});

describe('the plan of a night', () => {
  const backup = {
    window: { start: '22:00', end: '05:00' },
    tiers: { normal: { rpo: { local: '26h' }, restoreWeeks: 13 } },
    defaultTier: 'normal',
    keep: { daily: 7 },
    maxConcurrency: '50%',
    uplinks: { town: { slots: 2 } },
  };
  const fleet = aFleet({ timeZone: 'Europe/Berlin', backup });
  const stores = [
    aStore('store-001', {
      backup: { uplink: 'town' },
      guests: [{ vmid: 101, name: 'pos', kind: 'qemu', tier: 'normal' }],
    }),
    aStore('store-002', { backup: { window: { start: '23:00', end: '23:30' } } }),
    aStore('store-003', {}),
  ];
  /** Thursday, 20:00 in Berlin. */
  const evening = new Date('2026-11-26T19:00:00Z');
  const outcomeOf = (change: Partial<Parameters<typeof planNight>[0]> = {}) =>
    planNight({ fleet, stores, name: fleet.fleet, commit: 'c'.repeat(40), startedAt: evening, ...change });
  const planOf = (change: Parameters<typeof outcomeOf>[0] = {}) => {
    const outcome = outcomeOf(change);
    if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
    return outcome.plan;
  };
  const problemsOf = (change: Parameters<typeof outcomeOf>[0]) => {
    const outcome = outcomeOf(change);
    return outcome.kind === 'refused' ? outcome.problems : [];
  };

  it('names every guest that store.yaml names, with the tier that it is of', () => {
    const guests = [
      { vmid: 101, name: 'pos', kind: 'qemu' as const, tier: 'gold' },
      { vmid: 102, name: 'inventory', kind: 'qemu' as const },
    ];
    expect(planOf({ stores: [aStore('store-001', { backup: {}, guests })] }).stores).toMatchObject([
      { id: 'store-001', guests: { 101: 'gold', 102: 'normal' } },
    ]);
  });

  it('names the disks that store.yaml says may be lost, and says nothing of other guests', () => {
    const guests = [
      { vmid: 101, name: 'pos', kind: 'qemu' as const, withoutDisks: ['scsi1'] },
      { vmid: 102, name: 'inventory', kind: 'qemu' as const },
    ];
    const [store] = planOf({ stores: [aStore('store-001', { backup: {}, guests })] }).stores;
    expect(store?.withoutDisks).toEqual({ 101: ['scsi1'] });
    expect(planOf().stores.every((each) => !('withoutDisks' in each))).toBe(true);
  });

  it('is of the window that opens next, in the zone of the fleet, and leaves out who has no backup server', () => {
    const plan = planOf();
    expect(plan).toMatchObject({
      night: 'night-2026-11-26',
      opens: '2026-11-26T21:00:00.000Z',
      closes: '2026-11-27T04:00:00.000Z',
      maxConcurrency: 1,
      orders: { slots: { town: 2 }, collect: false, tiers: { normal: { local: 26 * 3_600_000 } } },
    });
    expect(plan.stores).toMatchObject([
      { id: 'store-001', uplink: 'town', guests: { 101: 'normal' } },
      { id: 'store-002', opens: '2026-11-26T22:00:00.000Z', closes: '2026-11-26T22:30:00.000Z' },
    ]);
    expect(plan.orders).not.toHaveProperty('offsite');
  });

  it('is of the window that is open, also after midnight', () => {
    expect(planOf({ startedAt: new Date('2026-11-27T01:00:00Z') })).toMatchObject({ night: 'night-2026-11-26' });
  });

  it.each([
    ['twice the time of one store after its window', {}, evening, '2026-11-27T12:00:00.000Z'],
    ['before the next one opens', { storeTimeout: '12h' }, evening, '2026-11-27T20:30:00.000Z'],
    [
      'before the next one opens, on a day that is an hour short',
      { storeTimeout: '12h' },
      new Date('2026-03-28T19:00:00Z'),
      '2026-03-29T19:30:00.000Z',
    ],
    [
      'before the window that opens next on its days',
      { storeTimeout: '1d', window: { ...backup.window, days: ['thu', 'sat'] } },
      evening,
      '2026-11-28T20:30:00.000Z',
    ],
    [
      'and begins nothing after it where one window follows another',
      { window: { start: '22:00', end: '22:00' } },
      new Date('2026-11-26T21:00:00Z'),
      '2026-11-27T20:30:00.000Z',
    ],
  ])('ends %s', (_, change, startedAt, end) => {
    const plan = planOf({ fleet: aFleet({ timeZone: 'Europe/Berlin', backup: { ...backup, ...change } }), startedAt });
    expect(plan.endsBy).toBe(end);
    for (const { closes } of [plan, ...plan.stores]) expect(Date.parse(closes)).toBeLessThanOrEqual(Date.parse(end));
  });

  it.each([
    ['has twice the time of one store, also when a window opens meanwhile', '2026-11-26T19:00:00Z', '2026-11-27T03:00'],
    ['ends before the next window opens', '2026-11-27T07:00:00Z', '2026-11-27T20:30'],
  ])('by hand %s', (_, startedAt, end) => {
    const inBerlin = aFleet({ timeZone: 'Europe/Berlin', backup });
    const plan = planOf({ fleet: inBerlin, now: true, startedAt: new Date(startedAt) });
    expect(plan.endsBy).toBe(`${end}:00.000Z`);
    for (const { closes } of [plan, ...plan.stores])
      expect(Date.parse(closes)).toBeLessThanOrEqual(Date.parse(plan.endsBy ?? ''));
  });

  it('leaves out a store whose own window has closed for this night, and says why', () => {
    const plan = planOf({ startedAt: new Date('2026-11-27T01:00:00Z') });
    expect(plan.excluded).toMatchObject([{ store: 'store-002', reason: 'OutsideWindow' }]);
  });

  it('begins at once by hand, whatever the windows', () => {
    const plan = planOf({ now: true, wanted: ['store-002'] });
    expect(plan).toMatchObject({ night: 'backup-20261126-190000', closes: '2026-11-27T03:00:00.000Z' });
    expect(plan).not.toHaveProperty('opens');
    expect(plan.stores).toEqual([
      { id: 'store-002', guests: { 101: 'normal', 103: 'normal' }, closes: '2026-11-27T03:00:00.000Z' },
    ]);
  });

  it.each([true, false, undefined])(
    'says whether backups have to be encrypted, as fleet.yaml does: %s',
    (encrypted) => {
      const of = aFleet({ timeZone: 'Europe/Berlin', backup: { ...backup, encrypted } });
      expect(planOf({ fleet: of }).orders.encrypted).toBe(encrypted);
    },
  );

  it('collects space in the night that is named', () => {
    expect(planOf({ startedAt: new Date('2026-11-29T19:00:00Z') }).orders.collect).toBe(true);
  });

  it.each([
    ['another fleet', { name: 'other' }, /is of fleet .*, not of other/],
    ['a store that there is not', { wanted: ['store-009'] }, /store-009 is not a store of/],
    ['a store without a backup server', { wanted: ['store-003'] }, /store-003 has no section backup/],
    ['a fleet that says nothing of backups', { fleet: aFleet({}) }, /fleet\.yaml has no such section/],
    ['no store with a backup server', { stores: [aStore('store-003', {})] }, /none has a section backup/],
  ])('is refused for %s', (_, change, problem) => {
    expect(problemsOf(change)).toEqual([expect.stringMatching(problem)]);
  });
});
