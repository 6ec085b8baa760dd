import { describe, expect, it } from 'vitest';
import type { GuestBackupRow, RestoreTestRow } from '#domain/messages/ledger.js';
import type { TestState } from '#domain/restore-sampling.js';
import { restoreConcern, restoreStatus } from '#domain/restore-status.js';
import { fleet as aFleet, store as aStore } from '../client/builders.js';

const WEEK = 7 * 86_400_000;
const now = new Date('2026-11-29T12:00:00Z');
const weeksAgo = (weeks: number): string => new Date(now.getTime() - weeks * WEEK).toISOString();

const fleet = aFleet({
  backup: {
    window: { start: '22:00', end: '05:00' },
    tiers: {
      till: { rpo: { local: '10h', offsite: '20h' }, restoreWeeks: 4 },
      normal: { rpo: { local: '26h', offsite: '50h' }, restoreWeeks: 13 },
    },
    defaultTier: 'normal',
    keep: { daily: 7 },
    offsite: { keep: { daily: 14 } },
  },
});
const till = { vmid: 101, name: 'till', kind: 'qemu', role: 'pos', tier: 'till' };
const stores = [
  aStore('store-001', { backup: {}, guests: [till, { vmid: 102, name: 'camera', kind: 'lxc' }] }),
  aStore('store-002', { backup: {}, guests: [till] }),
  aStore('store-003', { guests: [till] }),
];

const seen = (store: string, vmid: number, change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'edge',
  store,
  vmid,
  name: 'as then',
  kind: vmid === 102 ? 'lxc' : 'qemu',
  tier: 'normal',
  rpoLocalMs: 1,
  firstSeen: weeksAgo(40),
  seenAt: weeksAgo(0),
  offsite: { readAt: weeksAgo(0), provenAt: weeksAgo(0) },
  ...change,
});
const known = [seen('store-001', 101), seen('store-001', 102), seen('store-002', 101)];

const aTrial = (store: string, vmid: number, weeks: number, change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
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

type Asked = Parameters<typeof restoreStatus>[0];
const statusOf = (change: Partial<Asked> = {}) => restoreStatus({ fleet, stores, known, newest: [], now, ...change });
/** Every guest: where it is, and how it stands. */
const statesOf = (change: Partial<Asked>) =>
  statusOf(change).guests.map(({ store, vmid, state }) => `${store}/${vmid} ${state}`);

describe('how the fleet stands', () => {
  it('counts by the weeks of the tier that the repo names now', () => {
    const newest = [aTrial('store-001', 101, 5), aTrial('store-001', 102, 5), aTrial('store-002', 101, 5)];
    expect(statusOf({ newest }).coverage).toEqual({
      guests: 3,
      covered: 1,
      failed: [],
      neverTested: [],
      overdue: [
        { store: 'store-001', vmid: 101 },
        { store: 'store-002', vmid: 101 },
      ],
    });
  });

  it('names those that were never tested first, then those that are overdue', () => {
    const newest = [aTrial('store-001', 101, 1), aTrial('store-002', 101, 9)];
    expect(statesOf({ newest })).toEqual(['store-001/102 never', 'store-002/101 overdue', 'store-001/101 tested']);
  });

  it('names before all others those that failed when last tested, though they passed within the weeks of their tier', () => {
    const failed = aTrial('store-002', 101, 0, { result: 'fail' });
    const newest = [aTrial('store-001', 101, 9), aTrial('store-002', 101, 1), failed];
    expect(statesOf({ newest })).toEqual(['store-002/101 failed', 'store-001/102 never', 'store-001/101 overdue']);
    expect(statusOf({ newest }).coverage).toMatchObject({ covered: 0, failed: [{ store: 'store-002', vmid: 101 }] });
    expect(statusOf({ newest }).classes).toContainEqual(
      expect.objectContaining({ class: 'pos', guests: 2, tested: 0 }),
    );
  });

  it.each(['partial', 'infra-error'] as const)('lets no %s take the place of a failure', (result) => {
    const newest = [aTrial('store-001', 101, 1, { result: 'fail' }), aTrial('store-001', 101, 0, { result })];
    expect(statesOf({ newest })).toContain('store-001/101 failed');
  });

  it('forgets a failure when a later test passes', () => {
    const newest = [aTrial('store-001', 101, 1, { result: 'fail' }), aTrial('store-001', 101, 0.5)];
    expect(statesOf({ newest })).toContain('store-001/101 tested');
  });

  it.each([0, -1])('does not take a pass for a later one that is of %d weeks ago as well', (weeks) => {
    const newest = [aTrial('store-001', 101, 0, { result: 'fail' }), aTrial('store-001', 101, weeks)];
    expect(statesOf({ newest })).toContain('store-001/101 failed');
  });

  const guests: Record<string, [Partial<Asked>, string[]]> = {
    'counts nobody who is gone': [
      { known: [...known.slice(1), seen('store-001', 101, { goneAt: weeksAgo(1) })] },
      ['store-001/102 never', 'store-002/101 never'],
    ],
    'counts whom the cluster has and the repo does not name': [
      { known: [...known, seen('store-002', 199)] },
      ['store-001/101 never', 'store-001/102 never', 'store-002/101 never', 'store-002/199 never'],
    ],
    'counts who was not seen yet: nothing is proven of it': [
      { known: [] },
      ['store-001/101 never', 'store-001/102 never', 'store-002/101 never'],
    ],
    'counts nobody of a store without backups': [{ stores: stores.slice(2) }, []],
    'is nothing in a fleet that says nothing of backups': [{ fleet: aFleet({}) }, []],
  };
  it.each(Object.entries(guests))('%s', (_words, [change, states]) => {
    expect(statesOf(change)).toEqual(states);
    expect(statusOf(change).coverage.guests).toBe(states.length);
  });

  it.each(['partial', 'infra-error'] as const)('takes %s for no test', (result) => {
    const newest = [aTrial('store-001', 101, 0, { result })];
    expect(statesOf({ newest })).toContain('store-001/101 never');
  });

  it('tells of a guest what the repo says of it, its newest pass and its newest trial', () => {
    const pass = aTrial('store-001', 101, 2);
    const fail = aTrial('store-001', 101, 3, { result: 'fail' });
    const spoilt = aTrial('store-001', 101, 1, { result: 'infra-error' });
    const newest = [pass, aTrial('store-001', 101, 4, { result: 'partial' }), spoilt, fail];
    expect(statusOf({ newest }).guests.at(-1)).toEqual({
      store: 'store-001',
      vmid: 101,
      name: 'till',
      class: 'pos',
      tier: 'till',
      weeks: 4,
      state: 'tested',
      isLate: false,
      isUnnamed: false,
      isUnseen: false,
      isNotThereYet: false,
      passed: pass,
      failed: fail,
      last: spoilt,
    });
  });
});

describe('a number that another guest had before', () => {
  const stateOf = (trials: RestoreTestRow[], change: Partial<GuestBackupRow> = {}) =>
    statusOf({ newest: trials, known: [seen('store-001', 101, change)], stores: stores.slice(0, 1) }).guests.find(
      ({ vmid }) => vmid === 101,
    )?.state;
  const fail = { result: 'fail' } as const;

  const lines: Record<string, [TestState | undefined, RestoreTestRow[], Partial<GuestBackupRow>]> = {
    'has no pass of a guest of another class': ['never', [aTrial('store-001', 101, 2, { class: 'cache' })], {}],
    'has the failure of one of another class: it may be the same guest': [
      'failed',
      [aTrial('store-001', 101, 1), aTrial('store-001', 101, 0, { ...fail, class: 'cache' })],
      {},
    ],
    'has no failure that a later pass has settled, of whatever class the guest was then': [
      'never',
      [aTrial('store-001', 101, 1, { class: 'cache' }), aTrial('store-001', 101, 2, { ...fail, class: 'cache' })],
      {},
    ],
    'has a failure that no pass settles but one that is yet to come': [
      'failed',
      [aTrial('store-001', 101, -1, { class: 'cache' }), aTrial('store-001', 101, 2, { ...fail, class: 'cache' })],
      {},
    ],
    'has a failure that a pass of a backup of the guest before does not settle': [
      'failed',
      [
        aTrial('store-001', 101, 1, { class: 'cache', snapshotAt: weeksAgo(2.1) }),
        aTrial('store-001', 101, 1.5, { ...fail, snapshotAt: weeksAgo(1.6) }),
      ],
      { ownSince: weeksAgo(2) },
    ],
    'has a pass from before its guest was renamed': ['tested', [aTrial('store-001', 101, 2)], { name: 'till-7' }],
    'has no pass of a guest of the other kind': [
      'never',
      [aTrial('store-001', 101, 2, { kind: 'qemu' })],
      { kind: 'lxc' },
    ],
    'has no failure of a guest of the other kind': [
      'tested',
      [aTrial('store-001', 101, 2, { kind: 'lxc' }), aTrial('store-001', 101, 1, { ...fail, kind: 'qemu' })],
      { kind: 'lxc' },
    ],
    'has no pass of a backup of the guest before': [
      'never',
      [aTrial('store-001', 101, 1, { snapshotAt: weeksAgo(2.1) })],
      { ownSince: weeksAgo(2) },
    ],
    'has no failure of a backup of the guest before, nor one for want of a backup then': [
      'tested',
      [
        aTrial('store-001', 101, 1.5, { snapshotAt: weeksAgo(1.6) }),
        aTrial('store-001', 101, 1, { ...fail, snapshotAt: weeksAgo(2.1) }),
        aTrial('store-001', 101, 2.1, fail),
      ],
      { ownSince: weeksAgo(2) },
    ],
    'has what its own backups have shown': [
      'failed',
      [
        aTrial('store-001', 101, 1.5, { snapshotAt: weeksAgo(1.6) }),
        aTrial('store-001', 101, 1, { ...fail, snapshotAt: weeksAgo(2) }),
      ],
      { ownSince: weeksAgo(2) },
    ],
  };
  it.each(Object.entries(lines))('%s', (_words, [state, trials, change]) => {
    expect(stateOf(trials, change)).toBe(state);
  });

  it('has, when store.yaml does not name its guest, what its backups have shown, of whatever class it was then', () => {
    const status = statusOf({
      known: [...known, seen('store-001', 177, { name: 'fax', ownSince: weeksAgo(2) })],
      newest: [aTrial('store-001', 177, 1, { class: 'pos' })],
    });
    expect(status.guests.find(({ vmid }) => vmid === 177)).toMatchObject({ state: 'tested', isUnnamed: true });
  });
});

describe('how a class of guests stands', () => {
  it('is counted over all stores, with the newest pass of any guest, whatever it is worth by now', () => {
    const newest = [aTrial('store-001', 101, 9), aTrial('store-002', 101, 1)];
    expect(statusOf({ newest }).classes).toEqual([
      { class: 'camera', guests: 1, tested: 0, passedAt: undefined, rtoMs: undefined },
      { class: 'pos', guests: 2, tested: 1, passedAt: weeksAgo(1), rtoMs: undefined },
    ]);
  });

  it.each([
    [1, 1],
    [2, 2],
    [19, 19],
    [20, 19],
    [40, 38],
  ])('takes of %d passes the time of the %dth fastest, which 95 of 100 do not exceed', (count, expected) => {
    const many = Array.from({ length: count }, (_, index) =>
      aStore(`store-${100 + index}`, { backup: {}, guests: [till] }),
    );
    const newest = many.map(({ id }, index) => aTrial(id, 101, 1, { rtoMs: count - index }));
    const rows = many.map(({ id }) => seen(id, 101));
    expect(statusOf({ stores: many, known: rows, newest }).classes).toMatchObject([{ class: 'pos', rtoMs: expected }]);
  });

  it('leaves out passes of which nobody took the time', () => {
    const newest = [aTrial('store-001', 101, 1, { rtoMs: 7 }), aTrial('store-002', 101, 1)];
    expect(statusOf({ newest }).classes).toContainEqual(expect.objectContaining({ class: 'pos', rtoMs: 7 }));
  });
});

describe('an alarm', () => {
  const allTested = [aTrial('store-001', 101, 1), aTrial('store-001', 102, 1), aTrial('store-002', 101, 1)];

  it('is none when everybody was tested in time', () => {
    expect(restoreConcern(statusOf({ newest: allTested }))).toBeUndefined();
  });

  it('is none for guests that were never tested but are younger than the weeks of their tier', () => {
    const young = known.map((row) => ({ ...row, firstSeen: weeksAgo(3) }));
    expect(restoreConcern(statusOf({ known: young }))).toBeUndefined();
  });

  it('names how many are late, and the first with what its last trial said', () => {
    const spoilt = aTrial('store-002', 101, 1, { result: 'infra-error', text: 'The site is full.' });
    const newest = [...allTested.slice(0, 2), aTrial('store-002', 101, 9), spoilt];
    expect(restoreConcern(statusOf({ newest }))).toBe(
      '1 guest of 3 is not restored for a test in the weeks of its tier; the first: store-002, guest 101 (till), every 4 weeks. Last: The site is full.',
    );
  });

  it('is raised at once for a guest that failed, before those that are late, with what it said', () => {
    const failed = aTrial('store-002', 101, 0, { result: 'fail', text: 'Chunk 12ab is damaged.' });
    const words =
      '1 guest of 3 could not be had back when last tested; the first: store-002, guest 101 (till): Chunk 12ab is damaged.';
    expect(restoreConcern(statusOf({ newest: [...allTested, failed] }))).toBe(words);
    const late = [aTrial('store-001', 101, 9), ...allTested.slice(1), failed];
    expect(restoreConcern(statusOf({ newest: late }))).toBe(
      `${words} 1 guest of 3 is not restored for a test in the weeks of its tier; the first: store-001, guest 101 (till), every 4 weeks.`,
    );
  });

  it('is raised for a guest that the cluster has and store.yaml does not name: no run takes it', () => {
    const stranger = { ...seen('store-001', 177), name: 'fax' };
    const status = statusOf({ newest: allTested, known: [...known, stranger] });
    expect(status.coverage).toMatchObject({ guests: 4, covered: 3 });
    expect(status.guests[0]).toMatchObject({ vmid: 177, state: 'never', class: 'fax', isUnnamed: true });
    expect(restoreConcern(status)).toMatch(
      /^1 guest of 4 .*the first: store-001, guest 177 \(fax\).*not in store\.yaml/,
    );
    const gone = { ...stranger, goneAt: weeksAgo(1) };
    expect(restoreConcern(statusOf({ newest: allTested, known: [...known, gone] }))).toBeUndefined();
  });

  it('says of a guest that no run takes it as long as the central server has no copy of it', () => {
    const unsent = known.map((row) => (row.store === 'store-002' ? { ...row, offsite: undefined } : row));
    const status = statusOf({ newest: allTested.slice(0, 2), known: unsent });
    expect(status.guests[0]).toMatchObject({ store: 'store-002', state: 'never', isNotThereYet: true });
    expect(restoreConcern(status)).toMatch(/every 4 weeks\. The central server has no proven backup of it yet/);
    expect(statusOf({ newest: allTested, known: unsent }).guests.some((guest) => guest.isNotThereYet)).toBe(false);
  });

  it('is raised when no test ever ran: silence is no success', () => {
    expect(restoreConcern(statusOf())).toMatch(/^3 guests of 3 are not restored for a test/);
  });
});
