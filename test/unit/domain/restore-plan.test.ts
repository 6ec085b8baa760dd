import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Store } from '#domain/fleet.js';
import type { GuestBackupRow, RestoreTestRow } from '#domain/messages/ledger.js';
import { restoreStoreInputSchema, TEST_IDS, type RestorePlan } from '#domain/messages/restore.js';
import { classOf } from '#domain/recoverability.js';
import { planRestores } from '#domain/restore-plan.js';
import { fleet as aFleet, store as aStore } from '../client/builders.js';

const WEEK = 7 * 86_400_000;
/** A Sunday, 09:00 in Berlin. */
const startedAt = new Date('2026-11-29T08:00:00Z');
const weeksAgo = (weeks: number): string => new Date(startedAt.getTime() - weeks * WEEK).toISOString();

const backup = {
  window: { start: '22:00', end: '05:00' },
  tiers: {
    till: { rpo: { local: '10h', offsite: '20h' }, restoreWeeks: 4 },
    normal: { rpo: { local: '26h', offsite: '50h' }, restoreWeeks: 13 },
  },
  defaultTier: 'normal',
  keep: { daily: 7 },
  cutOffAfter: '20m',
  storeTimeout: '3h',
  restoreTest: { maxConcurrency: 3 },
  offsite: { keep: { daily: 14 } },
};
const fleet = aFleet({ timeZone: 'Europe/Berlin', backup });
const probe = { name: 'http', command: ['/usr/bin/probe', '--http'], within: '2m' };
const stores = [
  aStore('store-001', {
    backup: {},
    guests: [
      { vmid: 101, name: 'till', kind: 'qemu', role: 'pos', tier: 'till', probes: [probe] },
      { vmid: 102, name: 'camera', kind: 'lxc', canary: false },
    ],
  }),
  aStore('store-002', { backup: {}, guests: [{ vmid: 101, name: 'till', kind: 'qemu', role: 'pos', tier: 'till' }] }),
  aStore('store-003', { guests: [{ vmid: 101, name: 'till', kind: 'qemu', role: 'pos' }] }),
];

/** A guest that was first seen long enough ago to be due, whatever its tier. */
const seen = (store: string, vmid: number, change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'edge',
  store,
  vmid,
  name: 'as then',
  kind: vmid === 102 ? 'lxc' : 'qemu',
  tier: 'normal',
  rpoLocalMs: 1,
  firstSeen: weeksAgo(20),
  seenAt: weeksAgo(0),
  offsite: { readAt: weeksAgo(0), provenAt: weeksAgo(0) },
  ...change,
});
const known = [seen('store-001', 101), seen('store-001', 102), seen('store-002', 101)];
const tried = (store: string, vmid: number, weeks: number, change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
  run: `run-${weeks}`,
  store,
  vmid,
  fleet: 'edge',
  name: 'as then',
  class: vmid === 101 ? 'pos' : 'camera',
  tier: 'as then',
  why: 'due',
  result: 'pass',
  testedAt: weeksAgo(weeks),
  ...change,
});

type Asked = Parameters<typeof planRestores>[0];
const outcomeOf = (change: Partial<Asked> = {}) =>
  planRestores({
    fleet,
    stores,
    name: 'edge',
    commit: 'c'.repeat(40),
    known,
    newest: [],
    startedAt,
    ...change,
  });
const planOf = (change: Partial<Asked> = {}): RestorePlan => {
  const outcome = outcomeOf(change);
  if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
  return outcome.plan;
};
const problemsOf = (change: Partial<Asked>): string[] => {
  const outcome = outcomeOf(change);
  return outcome.kind === 'refused' ? outcome.problems : [];
};
const trialsOf = ({ stores: planned }: RestorePlan) =>
  planned.flatMap(({ id, trials }) => trials.map((trial) => ({ store: id, ...trial })));
const namesOf = (plan: RestorePlan): string[] =>
  trialsOf(plan)
    .map(({ store, vmid }) => `${store}/${vmid}`)
    .toSorted();

describe('the restores of a week', () => {
  it('are those that are due, store by store, with what the repo says of each guest', () => {
    const plan = planOf();
    expect(plan).toMatchObject({
      run: 'restores-2026-w48',
      fleet: 'edge',
      commit: 'c'.repeat(40),
      fleetStores: ['store-001', 'store-002', 'store-003'],
      maxConcurrency: 3,
      timing: { patience: 20 * 60_000, storeTimeout: 3 * 3_600_000 },
    });
    expect(plan.stores.map(({ id }) => id).toSorted()).toEqual(['store-001', 'store-002']);
    const trial = (vmid: number) => trialsOf(plan).find((one) => one.store === 'store-001' && one.vmid === vmid);
    expect(trial(101)).toMatchObject({
      name: 'till',
      kind: 'qemu',
      class: 'pos',
      tier: 'till',
      why: 'never tested',
      snapshot: 'newest',
      probes: [{ name: 'http', command: ['/usr/bin/probe', '--http'], within: 120_000 }],
      canary: true,
      recordWithin: 10 * 3_600_000,
    });
    expect(trial(102)).toMatchObject({
      name: 'camera',
      kind: 'lxc',
      class: 'camera',
      tier: 'normal',
      probes: [],
      canary: false,
      recordWithin: 26 * 3_600_000,
    });
  });

  it('tell the guest from another one that had its number before, by hand too', () => {
    const other = seen('store-001', 101, { kind: 'lxc', ownSince: weeksAgo(2) });
    for (const wanted of [undefined, { stores: ['store-001'] }]) {
      const plan = planOf({ known: [other, ...known.slice(1)], wanted });
      expect(trialsOf(plan).find(({ store, vmid }) => store === 'store-001' && vmid === 101)).toMatchObject({
        kind: 'lxc',
        ownSince: weeksAgo(2),
      });
    }
  });

  it('can be handed to a store as they are', () => {
    const {
      run,
      fleet: name,
      timing,
      stores: planned,
    } = planOf({
      known: known.map((row) => ({ ...row, ownSince: weeksAgo(20) })),
    });
    for (const { id, trials } of planned) {
      const input = { fleet: name, run, store: id, round: 0, trials, ...timing };
      expect(restoreStoreInputSchema.parse(input)).toEqual(input);
    }
  });

  const lines: Record<string, [Partial<Asked>, names: string[]]> = {
    'leave out a guest that nobody has seen yet': [{ known: known.slice(1) }, ['store-001/102', 'store-002/101']],
    'leave out a guest that is gone': [
      { known: [...known.slice(1), seen('store-001', 101, { goneAt: weeksAgo(1) })] },
      ['store-001/102', 'store-002/101'],
    ],
    'leave out a guest that the repo does not name': [
      { known: [...known, seen('store-002', 199)] },
      ['store-001/101', 'store-001/102', 'store-002/101'],
    ],
    'leave out a store without backups, though its guests were seen': [
      { known: [...known, seen('store-003', 101)] },
      ['store-001/101', 'store-001/102', 'store-002/101'],
    ],
    'leave out who passed within the weeks of its tier': [
      { newest: [tried('store-001', 102, 11), tried('store-001', 101, 4), tried('store-002', 101, 4)] },
      ['store-001/101', 'store-002/101'],
    ],
    'leave out nobody who failed, though it passed within the weeks of its tier': [
      {
        newest: [
          ...[tried('store-001', 102, 2), tried('store-001', 101, 1), tried('store-002', 101, 1)],
          tried('store-001', 102, 1, { result: 'fail' }),
        ],
      },
      ['store-001/102'],
    ],
    'leave out nobody for what another guest passed that had its number before': [
      {
        known: [...known.slice(0, 2), seen('store-002', 101, { ownSince: weeksAgo(2) })],
        newest: [
          tried('store-001', 101, 1, { class: 'cache' }),
          tried('store-001', 102, 1, { kind: 'qemu' }),
          tried('store-002', 101, 1, { snapshotAt: weeksAgo(2.1) }),
        ],
      },
      ['store-001/101', 'store-001/102', 'store-002/101'],
    ],
    'leave out nobody for what a guest of the same number passed at another store': [
      { newest: [tried('store-002', 101, 1)] },
      ['store-001/101', 'store-001/102'],
    ],
  };
  it.each(Object.entries(lines))('%s', (_words, [change, names]) => {
    expect(namesOf(planOf(change))).toEqual(names);
  });

  it('leave out who has no copy at the central server yet, but nobody who was had back or failed before', () => {
    const unsent = known.map((row) => ({ ...row, offsite: row.vmid === 102 ? row.offsite : undefined }));
    expect(namesOf(planOf({ known: unsent }))).toEqual(['store-001/102']);
    const newest = [tried('store-001', 101, 20), tried('store-002', 101, 1, { result: 'fail' })];
    expect(namesOf(planOf({ known: unsent, newest }))).toEqual(['store-001/101', 'store-001/102', 'store-002/101']);
    const unproven = known.map((row) => ({ ...row, offsite: { readAt: weeksAgo(0), unprovenAt: weeksAgo(0) } }));
    expect(namesOf(planOf({ known: unproven }))).toEqual([]);
  });

  it('are none when nobody was ever seen, and that is a plan', () => {
    expect(planOf({ known: [] }).stores).toEqual([]);
  });

  it('say why each is tried', () => {
    const change = { newest: [tried('store-001', 101, 4), tried('store-001', 102, 13.5)] };
    expect(trialsOf(planOf(change)).map(({ store, vmid, why }) => [store, vmid, why])).toEqual([
      ['store-002', 101, 'never tested'],
      ['store-001', 102, 'due'],
      ['store-001', 101, 'due'],
    ]);
  });

  it.each([
    ['on Sunday, late in the evening', '2026-11-29T22:59:00Z', 'restores-2026-w48'],
    ['when it is Monday for the fleet, and Sunday in UTC', '2026-11-29T23:01:00Z', 'restores-2026-w49'],
    ['on the first days of a year that belong to the last one', '2027-01-01T09:00:00Z', 'restores-2026-w53'],
  ])('are named by the ISO week of the fleet: %s', (_words, at, run) => {
    expect(planOf({ startedAt: new Date(at) }).run).toBe(run);
  });

  it('are in one order, and the same for the same week', () => {
    expect(planOf({ known: known.toReversed() })).toEqual(planOf());
  });
});

describe('restores by hand', () => {
  it('are of the guests of the stores that are named, due or not, seen or not', () => {
    const plan = planOf({
      wanted: { stores: ['store-001'] },
      known: [],
      newest: [tried('store-001', 101, 0)],
    });
    expect(namesOf(plan)).toEqual(['store-001/101', 'store-001/102']);
    expect(trialsOf(plan).map(({ why, snapshot }) => [why, snapshot])).toEqual([
      ['by hand', 'newest'],
      ['by hand', 'newest'],
    ]);
  });

  it('are of the guests that are named', () => {
    expect(namesOf(planOf({ wanted: { stores: ['store-001', 'store-002'], vmids: [101] } }))).toEqual([
      'store-001/101',
      'store-002/101',
    ]);
  });

  it('leave out who has no copy at the central server yet, and are refused when it is named', () => {
    const unsent = known.map((row) => ({ ...row, offsite: row.vmid === 102 ? row.offsite : undefined }));
    expect(namesOf(planOf({ known: unsent, wanted: { stores: ['store-001'] } }))).toEqual(['store-001/102']);
    expect(problemsOf({ known: unsent, wanted: { stores: ['store-001'], vmids: [101, 102] } })).toEqual([
      'vmids: guest 101 of store-001: the central server has no proven backup of it yet',
    ]);
  });

  it('are each tried once, however often they are named', () => {
    expect(namesOf(planOf({ wanted: { stores: ['store-002', 'store-002'], vmids: [101, 101] } }))).toEqual([
      'store-002/101',
    ]);
  });

  it('are named by the second at which they began, so that they replace no week', () => {
    expect(planOf({ wanted: { stores: ['store-001'] } }).run).toBe('restore-20261129-080000');
  });
});

describe('a plan', () => {
  it.each<[string, Partial<Asked>, RegExp]>([
    ['another fleet', { name: 'other' }, /^fleet: the repo is of fleet edge, not of other$/],
    ['a fleet that says nothing of backups', { fleet: aFleet({}) }, /^backup: fleet\.yaml has no such section/],
    [
      'a fleet without a second place',
      { fleet: aFleet({ backup: { ...backup, offsite: undefined } }) },
      /^backup\.offsite: fleet\.yaml names no second place/,
    ],
    [
      'a store that there is not',
      { wanted: { stores: ['store-009'] } },
      /^stores: store-009 is not a store of edge; it has store-001, /,
    ],
    ['a store without backups', { wanted: { stores: ['store-003'] } }, /^stores: store-003 has no section backup/],
    [
      'a guest that there is not, and says which there are',
      { wanted: { stores: ['store-001'], vmids: [101, 109] } },
      /^vmids: store-001 has no guest 109; it has 101, 102$/,
    ],
    [
      'a guest of a store without any',
      { stores: [aStore('store-004', { backup: {}, guests: [] })], wanted: { stores: ['store-004'], vmids: [101] } },
      /^vmids: store-004 has no guest 101; it has none$/,
    ],
  ])('is refused for %s', (_words, change, problem) => {
    expect(problemsOf(change)).toEqual([expect.stringMatching(problem)]);
  });

  it('that is refused names every problem at once, up to a number that can be read', () => {
    expect(problemsOf({ wanted: { stores: ['store-009', 'store-001', 'store-003'], vmids: [109] } })).toHaveLength(3);
    const many = Array.from({ length: 30 }, (_, index) => `store-1${index}`);
    expect(problemsOf({ wanted: { stores: many } })).toHaveLength(20);
  });

  const RANGE = TEST_IDS.to - TEST_IDS.from + 1;
  const [model] = stores;
  /** Stores of many guests each. */
  const crowd = (count: number, guests: number): Store[] =>
    Array.from({ length: count }, (_, index): Store => {
      const [guest] = model?.guests ?? [];
      if (!model || !guest) throw new Error('The model store has no guest.');
      const members = Array.from({ length: guests }, (_each, at) => ({ ...guest, vmid: 100 + at }));
      return { ...model, id: `store-${String(index).padStart(3, '0')}`, guests: members };
    });

  it('gives each guest an id of its own of those that the site keeps', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 12 }),
        fc.boolean(),
        (count, guests, hand) => {
          const all = crowd(count, guests);
          const plan = planOf({
            stores: all,
            known: all.flatMap(({ id, guests: members }) => members.map(({ vmid }) => seen(id, vmid))),
            ...(hand ? { wanted: { stores: all.map(({ id }) => id) } } : {}),
          });
          const ids = trialsOf(plan).map(({ as }) => as);
          expect(new Set(ids).size).toBe(count * guests);
          expect(ids.every((id) => id >= TEST_IDS.from && id <= TEST_IDS.to)).toBe(true);
          expect(new Set(plan.stores.map(({ id }) => id)).size).toBe(plan.stores.length);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('begins elsewhere among the ids in every run, so that two at once do not meet', () => {
    const minutes = Array.from({ length: 60 }, (_, minute) => new Date(startedAt.getTime() + minute * 60_000));
    const wanted = { stores: ['store-001', 'store-002'] };
    const ids = minutes.flatMap((at) => trialsOf(planOf({ wanted, startedAt: at })).map(({ as }) => as));
    expect(new Set(ids).size).toBeGreaterThan(0.9 * ids.length);
  });

  it.each(['by hand', 'of a week'])('%s holds no more guests than the site has ids', (way) => {
    const all = crowd(51, 200);
    const plan = planOf({
      stores: all,
      known: all.flatMap(({ id, guests }) => guests.map(({ vmid }) => seen(id, vmid))),
      ...(way === 'by hand' ? { wanted: { stores: all.map(({ id }) => id) } } : {}),
    });
    const ids = trialsOf(plan).map(({ as }) => as);
    expect(new Set(ids).size).toBe(RANGE);
    expect([ids.length, Math.min(...ids), Math.max(...ids)]).toEqual([RANGE, TEST_IDS.from, TEST_IDS.to]);
  });
});

describe('the class of a guest', () => {
  it('is its role, and its name when it has none that others share', () => {
    expect(classOf({ role: 'pos', name: 'till-7' })).toBe('pos');
    expect(classOf({ role: 'other', name: 'camera' })).toBe('camera');
  });
});

describe('two runs', () => {
  it('begin with other ids, so that they do not meet at the site', () => {
    const idsOf = (at: string) =>
      trialsOf(planOf({ wanted: { stores: ['store-001'] }, startedAt: new Date(at) })).map(({ as }) => as);
    const first = idsOf('2026-11-29T09:00:00Z');
    expect(first.length).toBeGreaterThan(0);
    expect(idsOf('2026-11-29T09:00:00Z')).toEqual(first);
    expect(idsOf('2026-11-29T09:00:01Z').some((id) => first.includes(id))).toBe(false);
  });
});
