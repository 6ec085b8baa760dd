import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { backupConcern, backupStatus, clearConcern, datastoreConcern, RPO_STATES } from '#domain/backup-status.js';
import type { DatastoreRow, GuestBackupRow } from '#domain/messages/ledger.js';
import { fleet as aFleet, store as aStore } from '../client/builders.js';

const now = new Date('2026-11-26T12:00:00Z');
const HOUR = 3_600_000;
const ago = (hours: number): string => new Date(now.getTime() - hours * HOUR).toISOString();

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
const store = aStore('store-001', { backup: {}, guests: [{ vmid: 101, name: 'pos', kind: 'qemu', tier: 'till' }] });

/** Read an hour ago; the newest proven backups are so many hours old. */
const aRow = (change: Partial<GuestBackupRow> = {}, hours = 2, offsiteHours = 3): GuestBackupRow => ({
  fleet: 'edge',
  store: 'store-001',
  vmid: 101,
  name: 'pos',
  kind: 'qemu',
  tier: 'till',
  rpoLocalMs: 10 * HOUR,
  rpoOffsiteMs: 20 * HOUR,
  local: { readAt: ago(1), provenAt: ago(hours) },
  offsite: { readAt: ago(1), provenAt: ago(offsiteHours) },
  firstSeen: ago(1_000),
  seenAt: ago(1),
  ...change,
});
const statusOf = (...rows: GuestBackupRow[]) => backupStatus({ fleet, stores: [store], rows, now });

describe('the status of a guest', () => {
  const read = { readAt: ago(1) };
  const cases: Record<string, [row: GuestBackupRow, state: string]> = {
    'is ok while both copies are young enough': [aRow({}, 10, 20), 'ok'],
    'is late beyond the objective of its store': [aRow({}, 11), 'late'],
    'is late beyond the objective of the second place': [aRow({}, 2, 21), 'late'],
    'is a breach beyond twice the objective': [aRow({}, 21), 'breach'],
    'is that of the worse copy': [aRow({}, 11, 41), 'breach'],
    'is never when a server that was asked has none': [aRow({ local: read }), 'never'],
    'is unknown when a server was never read': [aRow({ offsite: undefined }), 'unknown'],
    'is unknown after more silence than its objective': [
      aRow({ local: { readAt: ago(10.5), provenAt: ago(11) } }),
      'unknown',
    ],
    'stays a breach in silence': [aRow({ local: { readAt: ago(30), provenAt: ago(30) } }), 'breach'],
    'is unknown when its backup is from tomorrow': [aRow({}, -24), 'unknown'],
    'is unknown when it was read tomorrow': [aRow({ local: { readAt: ago(-24), provenAt: ago(2) } }), 'unknown'],
    'is never, new or not, when its backups lack disks': [
      aRow({ firstSeen: ago(24), local: read, offsite: read, leftOut: { disks: ['scsi1'], at: ago(1) } }),
      'never',
    ],
    'is ok while it is new, whatever the one lacked that had its number before': [
      aRow({ firstSeen: ago(24), local: read, offsite: read, leftOut: { disks: ['scsi1'], at: ago(30) } }),
      'ok',
    ],
    'is that of its age once a newer backup has all disks': [aRow({ leftOut: { disks: ['scsi1'], at: ago(9) } }), 'ok'],
    'is ok without a backup while it is new': [aRow({ firstSeen: ago(24), local: read, offsite: read }), 'ok'],
    'is never once it is no longer new': [aRow({ firstSeen: ago(25), local: read, offsite: read }), 'never'],
    'is unknown while it is new and nobody looks': [
      aRow({ firstSeen: ago(20), local: { readAt: ago(15) } }),
      'unknown',
    ],
    'follows the tier of the repo, not that of the ledger': [
      aRow({ tier: 'normal', rpoLocalMs: 26 * HOUR }, 11),
      'late',
    ],
  };
  it.each(Object.entries(cases))('%s', (_, [row, state]) => {
    const { stores, counts } = statusOf(row);
    expect(stores).toMatchObject([{ state, guests: [{ vmid: 101, state, inRepo: true }] }]);
    expect(counts).toMatchObject({ [state]: 1 });
  });

  it('tells age and objective of both copies', () => {
    expect(statusOf(aRow()).stores[0]?.guests).toMatchObject([
      { local: { age: 2 * HOUR, objective: 10 * HOUR }, offsite: { age: 3 * HOUR, objective: 20 * HOUR } },
    ]);
  });
});

describe('backups in clear', () => {
  const fleetThat = (encrypted: boolean | undefined) => ({ ...fleet, backup: { ...fleet.backup!, encrypted } });
  const read = { readAt: ago(1), provenAt: ago(2) };
  const statusIn = (asked: boolean | undefined, encrypted: boolean | undefined) =>
    backupStatus({ fleet: fleetThat(asked), stores: [store], rows: [aRow({ local: { ...read, encrypted } })], now });

  it('are named when fleet.yaml asks for encrypted ones, though they are young enough', () => {
    const status = statusIn(true, false);
    expect(backupConcern(status)).toBeUndefined();
    expect(clearConcern(status)).toBe(
      'The newest backups of 1 guest are not encrypted, though fleet.yaml asks for it: store-001. What to do: edge runbook BackupUnencrypted',
    );
  });

  it.each([
    [true, true],
    [true, undefined],
    [false, false],
    [undefined, false],
  ])('are not when it asks %s and the newest one is encrypted: %s', (asked, encrypted) => {
    expect(clearConcern(statusIn(asked, encrypted))).toBeUndefined();
  });
});

describe('datastores', () => {
  const GIB = 1024 ** 3;
  const aDatastore = (used: number | undefined, change: Partial<DatastoreRow> = {}): DatastoreRow => ({
    fleet: 'edge',
    store: 'store-001',
    place: 'local',
    total: 1_000 * GIB,
    used: used === undefined ? undefined : used * GIB,
    stillBad: 0,
    readAt: ago(1),
    ...change,
  });
  const second = aStore('store-002', { backup: {} });
  const concernOf = (datastores: DatastoreRow[], of = fleet) =>
    datastoreConcern(backupStatus({ fleet: of, stores: [store, second], rows: [aRow()], datastores, now }));

  it('are named above 90 %, before the server refuses what is new', () => {
    const others = { store: 'store-002' };
    expect(concernOf([aDatastore(979), aDatastore(500, others)])).toBe(
      'Datastores that are nearly full: store-001 (97 %). What to do: edge runbook DatastoreFull',
    );
    expect(concernOf([aDatastore(901), aDatastore(999, others)])).toContain('store-002 (99 %), store-001 (90 %)');
  });

  it.each<[string, DatastoreRow[]]>([
    ['at 90 %', [aDatastore(900)]],
    ['when nobody knows how full they are', [aDatastore(undefined), aDatastore(5, { total: 0, place: 'offsite' })]],
    ['of stores that the repo does not have', [aDatastore(999, { store: 'store-009' })]],
  ])('are not %s', (_, datastores) => {
    expect(concernOf(datastores)).toBeUndefined();
  });

  it('are one in the second place, as it was last read, and none when the fleet has no second place', () => {
    const there = { place: 'offsite' } as const;
    const full = [
      aDatastore(950, { ...there, readAt: ago(1) }),
      aDatastore(500, { ...there, store: 'store-002', readAt: ago(30) }),
    ];
    expect(concernOf(full)).toContain('nearly full: the second place (95 %). ');
    expect(concernOf(full.map((row) => ({ ...row, readAt: row.store === 'store-001' ? ago(40) : ago(1) })))).toBe(
      undefined,
    );
    expect(concernOf(full, { ...fleet, backup: { ...fleet.backup!, offsite: undefined } })).toBeUndefined();
  });

  it('are named when parts of backups in them are damaged', () => {
    expect(concernOf([aDatastore(500, { stillBad: 3 })])).toBe(
      'Datastores with damaged parts that no backup has written anew: store-001 (3). What to do: edge runbook BackupVerifyFailed',
    );
  });
});

describe('the status of a fleet', () => {
  it('shows guests that the ledger never saw and guests that the repo does not name, the worst first', () => {
    expect(statusOf(aRow({ vmid: 200, name: 'stray' })).stores[0]?.guests).toMatchObject([
      { vmid: 101, name: 'pos', state: 'unknown', inRepo: true },
      { vmid: 200, name: 'stray', state: 'ok', tier: 'normal', inRepo: false },
    ]);
  });

  it('leaves out guests that are gone and stores that the repo does not have', () => {
    const { stores } = statusOf(aRow(), aRow({ vmid: 200, goneAt: ago(1) }, 99), aRow({ store: 'store-009' }, 99));
    expect(stores).toMatchObject([{ store: 'store-001', state: 'ok', counts: { ok: 1, breach: 0 } }]);
  });

  it('lists stores that are not backed up apart, and does not count them', () => {
    const stores = [store, aStore('store-002')];
    const rows = [aRow(), aRow({ store: 'store-002' }, 99)];
    const status = backupStatus({ fleet, stores, rows, now });
    expect(status).toMatchObject({ notBackedUp: ['store-002'], storeCounts: { ok: 1, breach: 0 } });
    expect(backupStatus({ fleet: aFleet(), stores, rows, now })).toMatchObject({
      stores: [],
      notBackedUp: ['store-001', 'store-002'],
    });
  });

  it('does not take a store of which nothing is known for a good one', () => {
    const empty = aStore('store-001', { backup: {}, guests: [] });
    const status = backupStatus({ fleet, stores: [empty], rows: [], now });
    expect(status.stores).toMatchObject([{ state: 'unknown', guests: [] }]);
    expect(backupConcern(status)).toBe(
      'Backups of 1 of 1 store are not as they should be; the worst: store-001, no guest is known.',
    );
  });

  it('is a concern in one sentence, or none', () => {
    expect(backupConcern(statusOf(aRow()))).toBeUndefined();
    expect(backupConcern(statusOf(aRow({}, 2, 41)))).toBe(
      'Backups of 1 of 1 store are not as they should be (guests: 1 breach); the worst: store-001, guest 101 (pos): breach, the newest proven backup is 41 h old.',
    );
  });

  it('counts every guest and every store exactly once', () => {
    const hours = fc.integer({ min: -30, max: 200 });
    const row = fc.record({
      store: fc.integer({ min: 1, max: 4 }),
      vmid: fc.integer({ min: 100, max: 104 }),
      hours,
      read: hours,
    });
    const property = fc.property(fc.uniqueArray(row, { selector: (one) => `${one.store}/${one.vmid}` }), (drawn) => {
      const stores = [1, 2, 3].map((id) => aStore(`store-00${id}`, { backup: {} }));
      const rows = drawn.map((one) =>
        aRow({
          store: `store-00${one.store}`,
          vmid: one.vmid,
          local: { readAt: ago(one.read), provenAt: ago(one.hours) },
        }),
      );
      const { counts, storeCounts, stores: judged } = backupStatus({ fleet, stores, rows, now });
      const sum = (of: Record<string, number>) => Object.values(of).reduce((a, b) => a + b, 0);
      const named = [1, 2, 3].flatMap((id) => [`${id}/101`, `${id}/103`]);
      const seen = drawn.filter((one) => one.store <= 3).map((one) => `${one.store}/${one.vmid}`);
      expect(sum(counts)).toBe(new Set([...named, ...seen]).size);
      expect(sum(storeCounts)).toBe(3);
      for (const state of RPO_STATES) {
        expect(counts[state]).toBe(judged.reduce((total, one) => total + one.counts[state], 0));
      }
    });
    fc.assert(property);
  });
});
