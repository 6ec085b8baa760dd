import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fleetSchema, storeSchema, type Fleet, type Stage, type Store } from '#domain/fleet.js';
import { planStages, type PlannedStage } from '#domain/plan.js';

const TODAY = '2026-11-24';

function fleetOf(stages: { name: string; stores: Stage['stores'] }[], freezes: Fleet['freezes'] = []): Fleet {
  return fleetSchema.parse({
    fleet: 'acme',
    timeZone: 'Europe/Berlin',
    train: { build: { day: 'tue', at: '06:00' } },
    stages,
    freezes,
    release: {
      version: '2026.48.0',
      sequence: 1,
      snapshot: '20261116T000000Z',
      sources: ['deb https://mirror.example/{snapshot} bookworm main'],
      packages: [{ name: 'pve-manager', version: '8.4.1' }],
      kernel: '6.14.11-4-pve',
    },
  });
}

function storeOf(id: string, more: Partial<Pick<Store, 'tags' | 'hold'>> = {}): Store {
  const nodes = ['n1', 'n2', 'n3'].map((name) => ({ name, address: `${name}.${id}.example` }));
  return storeSchema.parse({ id, nodes, ...more });
}

const idOf = (index: number): string => `store-${String(index).padStart(3, '0')}`;
const storesOf = (count: number): Store[] => Array.from({ length: count }, (_, index) => storeOf(idOf(index + 1)));

const rollout = fleetOf([
  { name: 'canary', stores: 5 },
  { name: 'wave-1', stores: 50 },
  { name: 'wave-2', stores: 200 },
  { name: 'wave-3', stores: 'rest' },
]);

const members = (stage: PlannedStage | undefined): string[] => [
  ...(stage?.stores ?? []),
  ...(stage?.excluded ?? []).map(({ store }) => store),
];
const sizes = (stages: PlannedStage[]): number[] => stages.map((stage) => members(stage).length);

describe('planStages', () => {
  it('divides 500 stores into 5, 50, 200 and the rest', () => {
    const { stages, problems } = planStages({ fleet: rollout, stores: storesOf(500), today: TODAY });
    expect(problems).toEqual([]);
    expect(sizes(stages)).toEqual([5, 50, 200, 245]);
    expect(stages.map(({ name }) => name)).toEqual(['canary', 'wave-1', 'wave-2', 'wave-3']);
  });

  it('takes percentages of the whole fleet, rounded down, at least one', () => {
    const fleet = fleetOf([
      { name: 'canary', stores: '1%' },
      { name: 'wave-1', stores: '25%' },
      { name: 'wave-2', stores: 'rest' },
    ]);
    expect(sizes(planStages({ fleet, stores: storesOf(50), today: TODAY }).stages)).toEqual([1, 12, 37]);
  });

  it('lets tags claim their stores before numbers draw', () => {
    const fleet = fleetOf([
      { name: 'wave-1', stores: 4 },
      { name: 'canary', stores: { tag: 'pilot' } },
      { name: 'wave-2', stores: 'rest' },
    ]);
    const pilots = [storeOf('store-101', { tags: ['pilot'] }), storeOf('store-102', { tags: ['big', 'pilot'] })];
    const { stages } = planStages({ fleet, stores: [...storesOf(10), ...pilots], today: TODAY });
    expect(stages[1]?.stores).toEqual(['store-101', 'store-102']);
    expect(sizes(stages)).toEqual([4, 2, 6]);
  });

  it('gives a store with two tags to the first of the two stages', () => {
    const fleet = fleetOf([
      { name: 'canary', stores: { tag: 'pilot' } },
      { name: 'big', stores: { tag: 'big' } },
    ]);
    const stores = [storeOf('a', { tags: ['big', 'pilot'] }), storeOf('b', { tags: ['big'] })];
    expect(planStages({ fleet, stores, today: TODAY }).stages.map(members)).toEqual([['a'], ['b']]);
  });

  it('gives a rest that is not last what no other stage takes', () => {
    const fleet = fleetOf([
      { name: 'canary', stores: 2 },
      { name: 'most', stores: 'rest' },
      { name: 'last', stores: 3 },
    ]);
    expect(sizes(planStages({ fleet, stores: storesOf(10), today: TODAY }).stages)).toEqual([2, 5, 3]);
  });

  it('mixes the fleet: a canary of 20 in 200 numbered stores comes from at least 10 of 20 tens', () => {
    const fleet = fleetOf([
      { name: 'canary', stores: 20 },
      { name: 'wave-1', stores: 'rest' },
    ]);
    const canary = planStages({ fleet, stores: storesOf(200), today: TODAY }).stages[0]?.stores ?? [];
    expect(new Set(canary.map((id) => id.slice(0, -1))).size).toBeGreaterThanOrEqual(10);
  });

  it('decides between two ids of one hash by the id, not by who is read first', () => {
    const fleet = fleetOf([
      { name: 'canary', stores: 1 },
      { name: 'wave-1', stores: 'rest' },
    ]);
    const twins = [storeOf('store-guea'), storeOf('store-52vu')];
    const expected = [['store-52vu'], ['store-guea']];
    expect(planStages({ fleet, stores: twins, today: TODAY }).stages.map(members)).toEqual(expected);
    expect(planStages({ fleet, stores: twins.toReversed(), today: TODAY }).stages.map(members)).toEqual(expected);
  });

  it.each([
    ['on its last day', '2026-11-24', ['held']],
    ['before it', '2026-11-23', ['held']],
    ['no more the day after', '2026-11-25', []],
  ])('excludes a store on hold %s', (_when, today, expected) => {
    const held = storeOf('held', { hold: { until: '2026-11-24', reason: 'new shop floor' } });
    const fleet = fleetOf([{ name: 'all', stores: 'rest' }]);
    const { stages, problems } = planStages({ fleet, stores: [held, storeOf('other')], today });
    expect(problems).toEqual([]);
    expect(stages[0]?.excluded.map(({ store }) => store)).toEqual(expected);
    expect(members(stages[0]).toSorted()).toEqual(['held', 'other']);
  });

  it('says until when and why a store is on hold or frozen', () => {
    const freeze = { from: '2026-11-20', to: '2026-11-30', reason: 'Black Friday', stores: ['b'] };
    const fleet = fleetOf([{ name: 'all', stores: 'rest' }], [freeze]);
    const held = storeOf('a', { hold: { until: '2026-12-01', reason: 'new shop floor' } });
    const { stages } = planStages({ fleet, stores: [storeOf('c'), storeOf('b'), held], today: TODAY });
    expect(stages[0]).toEqual({
      name: 'all',
      stores: ['c'],
      excluded: [
        { store: 'a', reason: 'StoreOnHold', detail: 'until 2026-12-01: new shop floor' },
        { store: 'b', reason: 'Frozen', detail: '2026-11-20 to 2026-11-30: Black Friday' },
      ],
    });
  });

  it('returns only the selected stages, with the stores they always have', () => {
    const stores = storesOf(500);
    const all = planStages({ fleet: rollout, stores, today: TODAY });
    const some = planStages({ fleet: rollout, stores, today: TODAY, selected: ['wave-2', 'canary'] });
    expect(some.problems).toEqual([]);
    expect(some.stages).toEqual([all.stages[0], all.stages[2]]);
  });

  it.each([
    [
      'a selected stage that does not exist',
      { fleet: rollout, stores: storesOf(300), selected: ['canary', 'wave-9'] },
      'wave-9 is not a stage of acme. Its stages: canary, wave-1, wave-2, wave-3.',
    ],
    [
      'a stage for which nothing is left',
      { fleet: rollout, stores: storesOf(255) },
      'stages: wave-3 has no stores. The stages before it take the whole fleet.',
    ],
    [
      'a tag that no store carries',
      {
        fleet: fleetOf([
          { name: 'canary', stores: { tag: 'pilot' } },
          { name: 'wave-1', stores: 'rest' },
        ]),
        stores: storesOf(3),
      },
      'stages: canary has no stores. No store that is still free carries the tag pilot.',
    ],
    [
      'stores that no stage takes',
      { fleet: fleetOf([{ name: 'canary', stores: 5 }]), stores: storesOf(6) },
      /^stages: 1 store is in no stage \(store-00\d\)\. Let the last stage take the rest\.$/,
    ],
    [
      'more than one rest',
      {
        fleet: fleetOf([
          { name: 'wave-1', stores: 'rest' },
          { name: 'wave-2', stores: 'rest' },
        ]),
        stores: storesOf(6),
      },
      'stages: more than one takes the rest (wave-1, wave-2). Keep one.',
    ],
    [
      'two stages of one name',
      {
        fleet: fleetOf([
          { name: 'wave', stores: 3 },
          { name: 'wave', stores: 'rest' },
        ]),
        stores: storesOf(6),
      },
      'stages: wave is named twice. Give each stage its own name.',
    ],
    [
      'two stores of one id',
      { fleet: fleetOf([{ name: 'all', stores: 'rest' }]), stores: [storeOf('a'), storeOf('a')] },
      'clusters: two stores have the id a. Give each store its own.',
    ],
  ] as [string, Omit<Parameters<typeof planStages>[0], 'today'>, string | RegExp][])(
    'reports %s, and nothing else',
    (_what, input, problem) => {
      const { problems } = planStages({ ...input, today: TODAY });
      expect(problems).toHaveLength(1);
      expect(problems[0]).toMatch(problem);
    },
  );
});

describe('any fleet', () => {
  const tags = ['pilot', 'big', 'slow'];
  const anyStore = fc.record({
    id: fc.integer({ min: 1, max: 9_999 }).map(idOf),
    tags: fc.subarray(tags),
    held: fc.boolean(),
  });
  const anyStores = fc
    .uniqueArray(anyStore, { selector: ({ id }) => id, minLength: 1, maxLength: 120 })
    .map((stores) =>
      stores.map(({ id, tags: own, held }) =>
        storeOf(id, { tags: own, ...(held ? { hold: { until: '2026-12-01', reason: 'works' } } : {}) }),
      ),
    );
  const anyAmount: fc.Arbitrary<Stage['stores']> = fc.oneof(
    fc.integer({ min: 1, max: 40 }),
    fc.integer({ min: 1, max: 100 }).map((percent) => `${percent}%`),
    fc.constantFrom(...tags).map((tag) => ({ tag })),
  );
  const anyStages = fc
    .array(anyAmount, { maxLength: 6 })
    .map((amounts) => [...amounts, 'rest' as const].map((stores, index) => ({ name: `s${index}`, stores })));

  it('has every store in exactly one stage, sorted, started or excluded', () => {
    fc.assert(
      fc.property(anyStores, anyStages, (stores, stages) => {
        const plan = planStages({ fleet: fleetOf(stages), stores, today: TODAY });
        expect(plan.stages.flatMap(members).toSorted()).toEqual(stores.map(({ id }) => id).toSorted());
        for (const stage of plan.stages) {
          expect(stage.stores).toEqual(stage.stores.toSorted());
          expect(stage.excluded.map(({ store }) => store)).toEqual(stage.excluded.map(({ store }) => store).toSorted());
        }
        const held = stores.filter(({ hold }) => hold).map(({ id }) => id);
        expect(plan.stages.flatMap(({ excluded }) => excluded.map(({ store }) => store)).toSorted()).toEqual(
          held.toSorted(),
        );
      }),
    );
  });

  it('gives a stage the number it asks for, or all that is left', () => {
    fc.assert(
      fc.property(anyStores, fc.integer({ min: 1, max: 150 }), (stores, wanted) => {
        const fleet = fleetOf([
          { name: 'first', stores: wanted },
          { name: 'others', stores: 'rest' },
        ]);
        const first = Math.min(wanted, stores.length);
        expect(sizes(planStages({ fleet, stores, today: TODAY }).stages)).toEqual([first, stores.length - first]);
      }),
    );
  });

  it('does not depend on the order in which stores are read', () => {
    fc.assert(
      fc.property(anyStores, anyStages, (stores, stages) => {
        const fleet = fleetOf(stages);
        const plan = planStages({ fleet, stores, today: TODAY });
        expect(planStages({ fleet, stores: stores.toReversed(), today: TODAY })).toEqual(plan);
      }),
    );
  });

  it('moves at most one store per numbered stage when a store is added', () => {
    fc.assert(
      fc.property(anyStores, fc.uniqueArray(fc.integer({ min: 1, max: 20 }), { maxLength: 4 }), (stores, counts) => {
        const fleet = fleetOf(
          [...counts, 'rest' as const].map((amount, index) => ({ name: `s${index}`, stores: amount })),
        );
        const before = planStages({ fleet, stores, today: TODAY }).stages;
        const after = planStages({ fleet, stores: [...stores, storeOf('newcomer')], today: TODAY }).stages;
        for (const [index, stage] of before.entries()) {
          const now = new Set(members(after[index]));
          expect(members(stage).filter((store) => !now.has(store)).length).toBeLessThanOrEqual(1);
        }
      }),
    );
  });

  it('moves nobody when the new store belongs to a tag', () => {
    fc.assert(
      fc.property(anyStores, fc.integer({ min: 1, max: 20 }), (stores, count) => {
        const fleet = fleetOf([
          { name: 'canary', stores: { tag: 'lone' } },
          { name: 'wave-1', stores: count },
          { name: 'wave-2', stores: 'rest' },
        ]);
        const added = [...stores, storeOf('newcomer', { tags: ['lone'] })];
        const before = planStages({ fleet, stores, today: TODAY }).stages;
        const after = planStages({ fleet, stores: added, today: TODAY }).stages;
        expect(after[0]?.stores).toEqual(['newcomer']);
        expect(after.slice(1)).toEqual(before.slice(1));
      }),
    );
  });
});
