import { describe, expect, it } from 'vitest';
import type { SnapshotFacts } from '#domain/backup.js';
import { datastoreRows, rowsOf, rowsOfKnown, withoutParts, type LearnedOfCopies } from '#domain/backup-rows.js';
import type { GuestBackupRow } from '#domain/messages/ledger.js';

const READ_AT = '2026-11-26T04:00:00.000Z';
const seconds = (instant: string): number => Date.parse(instant) / 1_000;

const aRow = (vmid: number, change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'acme',
  store: 's001',
  vmid,
  name: `guest-${vmid}`,
  kind: 'qemu',
  tier: 'normal',
  rpoLocalMs: 1,
  firstSeen: '2026-11-01T00:00:00.000Z',
  seenAt: '2026-11-25T04:00:00.000Z',
  ...change,
});
const aSnapshot = (vmid: number, at: string, state: 'ok' | 'failed' = 'ok'): SnapshotFacts => ({
  type: 'vm',
  id: String(vmid),
  time: seconds(at),
  size: 1_000,
  encrypted: false,
  protected: false,
  verification: { state, node: 'pbs-001', at: seconds(at) + 600 },
});
const SNAPSHOTS = [aSnapshot(101, '2026-11-25T01:00:00Z', 'failed'), aSnapshot(102, '2026-11-26T01:30:00Z')];
const learned = (change: Partial<LearnedOfCopies> = {}): LearnedOfCopies => ({
  task: { fleet: 'acme', store: 's001', night: 'night-2026-11-26', startedAt: '2026-11-26T01:00:00.000Z' },
  local: {
    node: 'pbs-001',
    snapshots: SNAPSHOTS,
  },
  orders: { tiers: { normal: { local: 86_400_000 } }, defaultTier: 'normal' },
  tiers: {},
  runs: [],
  refusal: 'Another operation held the store.',
  readAt: READ_AT,
  ...change,
});

describe('what servers said of their datastores', () => {
  const task = { fleet: 'acme', store: 's001' };

  it('is kept of those that could be read', () => {
    const local = { space: { total: 100, used: 97 }, stillBad: 3 };
    expect(datastoreRows(task, { local, offsite: undefined }, READ_AT)).toEqual([
      { ...task, place: 'local', total: 100, used: 97, stillBad: 3, readAt: READ_AT },
    ]);
    expect(datastoreRows(task, { local: undefined, offsite: {} }, READ_AT)).toEqual([
      { ...task, place: 'offsite', readAt: READ_AT },
    ]);
  });

  it.each([Number.NaN, -1, 0.5, 1e30, null, '7'])('is nothing when it is no number of bytes: %s', (value) => {
    const odd = value as number;
    const [row] = datastoreRows(
      task,
      { local: { space: { total: odd, used: odd }, stillBad: odd }, offsite: undefined },
      READ_AT,
    );
    expect([row?.total, row?.used, row?.stillBad]).toEqual([undefined, undefined, undefined]);
  });
});

describe('a night in which nobody has read which guests a store has', () => {
  it('tells what is proven of those that are known', () => {
    const { guests } = rowsOfKnown([aRow(101), aRow(102), aRow(103)], {
      ...learned(),
      local: { node: 'pbs-001', snapshots: [...SNAPSHOTS, aSnapshot(103, '2026-11-25T01:30:00Z')] },
    });
    expect(guests.map(({ vmid, local }) => [vmid, local?.provenAt, local?.unprovenWhy])).toEqual([
      [101, undefined, 'verification failed'],
      // Nobody has read whether it lacks disks.
      [102, undefined, 'disks left out'],
      [103, '2026-11-25T01:30:00.000Z', undefined],
    ]);
  });

  it('has a row for each of them, with why there is nothing new', () => {
    expect(rowsOfKnown([aRow(101), aRow(102)], learned()).night).toMatchObject([
      { vmid: 101, result: 'nothing new', text: 'Another operation held the store.' },
      { vmid: 102, result: 'disks left out' },
    ]);
  });

  it('has seen nobody, and does not bring back who is gone', () => {
    const known = [aRow(101), aRow(102, { goneAt: '2026-11-20T00:00:00.000Z' })];
    const { guests, night } = rowsOfKnown(known, learned());
    expect(guests.map(({ vmid, seenAt }) => [vmid, seenAt])).toEqual([[101, '2026-11-25T04:00:00.000Z']]);
    expect(night).toHaveLength(1);
  });

  it('and in which no server was read has proven nothing of anybody', () => {
    const { guests, night } = rowsOfKnown([aRow(101)], learned({ local: undefined }));
    expect(guests).toMatchObject([{ vmid: 101 }]);
    expect(guests[0]).not.toHaveProperty('local');
    expect(night).toMatchObject([{ result: 'unreadable' }]);
  });
});

describe('a guest of which disks are left out', () => {
  const now = new Date(READ_AT);
  const guest = { vmid: 102, kind: 'qemu' as const, name: 'guest-102', template: false };
  const rowsWith = (leftOut?: 'unread' | string[]) => {
    const { guests } = rowsOf({ ...learned(), guests: [{ ...guest, leftOut }], missing: [], now });
    return guests;
  };
  const TONIGHT = '2026-11-26T01:30:00.000Z';

  it('has no proven backup, and its row names the disks', () => {
    expect(withoutParts(rowsWith(['scsi1']), [])).toMatchObject([
      {
        leftOut: { disks: ['scsi1'], at: READ_AT },
        local: { provenAt: undefined, verifiedAt: undefined, unprovenAt: TONIGHT, unprovenWhy: 'disks left out' },
      },
    ]);
  });

  it('has what was proven before, when nobody could read its settings, until a night that reads them has something new', () => {
    const local = { node: 'pbs-001', snapshots: [aSnapshot(102, '2026-11-25T01:30:00Z'), aSnapshot(102, TONIGHT)] };
    const unread = rowsOf({ ...learned({ local }), guests: [{ ...guest, leftOut: 'unread' }], missing: [], now });
    const rows = withoutParts(unread.guests, []);
    expect(rows).toMatchObject([
      {
        leftOut: { disks: [], since: '2026-11-26T01:29:59.000Z', at: READ_AT },
        local: { provenAt: '2026-11-25T01:30:00.000Z', unprovenAt: TONIGHT, unprovenWhy: 'disks left out' },
      },
    ]);
    // Recorded once more, in the same night and in the next, in which there is nothing new.
    expect(withoutParts(unread.guests, rows)).toEqual(rows);
    expect(withoutParts(rowsWith(), rows)).toMatchObject([{ local: { provenAt: '2026-11-25T01:30:00.000Z' } }]);
    const lacked = [aRow(102, { leftOut: { disks: ['scsi1'], at: '2026-11-25T02:00:00.000Z' } })];
    expect(withoutParts(unread.guests, lacked)).toMatchObject([
      { local: { provenAt: undefined }, leftOut: { disks: ['scsi1'], at: READ_AT } },
    ]);
  });

  it('is in doubt, too, when nobody has read who there is', () => {
    const known = [aRow(102, { leftOut: { disks: ['scsi1'], at: '2026-11-25T02:00:00.000Z' } })];
    const { guests, night } = rowsOfKnown(known, learned());
    expect(withoutParts(guests, known)[0]?.local?.provenAt).toBeUndefined();
    expect(night).toMatchObject([{ vmid: 102, result: 'disks left out' }]);
  });

  it('keeps what is proven of it when nobody could read its settings, and there is nothing new of it', () => {
    const local = { node: 'pbs-001', snapshots: [aSnapshot(102, '2026-11-25T01:30:00Z')] };
    const { guests } = rowsOf({ ...learned({ local }), guests: [{ ...guest, leftOut: 'unread' }], missing: [], now });
    expect(withoutParts(guests, [])).toMatchObject([{ local: { provenAt: '2026-11-25T01:30:00.000Z' } }]);
    const named = rowsOf({ ...learned({ local }), guests: [{ ...guest, leftOut: ['scsi1'] }], missing: [], now });
    expect(withoutParts(named.guests, [])).toMatchObject([{ local: { provenAt: undefined } }]);
  });

  it('has none either when only the night after does better and brings nothing new', () => {
    const known = [aRow(102, { leftOut: { disks: ['scsi1'], at: TONIGHT } })];
    expect(withoutParts(rowsWith(), known)).toMatchObject([{ local: { provenAt: undefined } }]);
  });

  it('leaves nothing to another guest that has its number now', () => {
    const known = [aRow(102, { kind: 'lxc', leftOut: { disks: ['mp0'], at: TONIGHT } })];
    expect(withoutParts(rowsWith(), known)).toMatchObject([{ local: { provenAt: TONIGHT } }]);
  });

  it('has one as soon as a newer one has all disks', () => {
    const known = [aRow(102, { leftOut: { disks: ['scsi1'], at: '2026-11-26T01:29:59.000Z' } })];
    expect(withoutParts(rowsWith(), known)).toMatchObject([{ local: { provenAt: TONIGHT } }]);
  });

  it('loses what was known before of a server that could not be read tonight', () => {
    const known = aRow(102, { offsite: { readAt: READ_AT, provenAt: '2026-11-25T01:30:00.000Z' } });
    expect(withoutParts(rowsWith(['scsi1']), [known])).toMatchObject([
      { offsite: { provenAt: undefined, unprovenAt: '2026-11-25T01:30:00.000Z', unprovenWhy: 'disks left out' } },
    ]);
  });

  it('keeps why its newest backup is not proven, if that is something else', () => {
    const local = { readAt: READ_AT, provenAt: TONIGHT, unprovenAt: READ_AT, unprovenWhy: 'not verified' as const };
    const row = aRow(102, { local, leftOut: { disks: ['scsi1'], at: READ_AT } });
    expect(withoutParts([row], [])).toMatchObject([{ local: { provenAt: undefined, unprovenWhy: 'not verified' } }]);
  });

  it('counts backups of a node whose clock is a little ahead among those that lack them, and none of years to come', () => {
    const ahead = '2026-11-26T04:03:00Z';
    const local = { node: 'pbs-001', snapshots: [aSnapshot(102, ahead), aSnapshot(102, '2036-01-01T00:00:00Z')] };
    const { guests } = rowsOf({ ...learned({ local }), guests: [{ ...guest, leftOut: ['scsi1'] }], missing: [], now });
    expect(guests).toMatchObject([{ leftOut: { at: '2026-11-26T04:03:00.000Z' } }]);
  });

  it('is no matter for the others', () => {
    expect(withoutParts(rowsWith(), [aRow(101, { leftOut: { disks: ['scsi1'], at: READ_AT } })])).toEqual(rowsWith());
  });
});
