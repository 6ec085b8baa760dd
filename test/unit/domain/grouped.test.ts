import { describe, expect, it } from 'vitest';
import { restoreStatus } from '#domain/restore-status.js';
import { groupedBy } from '#domain/grouped.js';
import type { GuestBackupRow, RestoreTestRow } from '#domain/messages/ledger.js';
import { judgeStores } from '#domain/recoverability.js';
import { fleet as aFleet, store as aStore } from '../client/builders.js';

describe('groupedBy', () => {
  it('keeps together what has the same key, in its order', () =>
    expect([...groupedBy(['b1', 'a1', 'b2'], ([letter]) => letter)]).toEqual([
      ['b', ['b1', 'b2']],
      ['a', ['a1']],
    ]));
  it('has no group for what nobody is in', () => expect(groupedBy([], String).size).toBe(0));
});

/** Rows that count how often somebody asks of which store, or of which class, they are. */
function counting<T extends object>(rows: readonly T[], key: keyof T & string) {
  let reads = 0;
  const counted = rows.map((row) => {
    const value = row[key];
    return Object.defineProperty({ ...row }, key, { get: () => ((reads += 1), value), enumerable: true });
  });
  return { rows: counted, reads: () => reads };
}

describe('what is asked of all stores at once', () => {
  const now = new Date('2026-11-26T06:00:00Z');
  const at = '2026-11-26T02:00:00Z';
  const vmids = [101, 102, 103, 104];
  const stores = Array.from({ length: 100 }, (_, index) =>
    aStore(`store-${String(index + 1).padStart(3, '0')}`, {
      backup: {},
      guests: vmids.map((vmid) => ({ vmid, name: `guest-${vmid}`, kind: 'qemu' })),
    }),
  );
  const each = <T>(make: (store: string, vmid: number) => T): T[] =>
    stores.flatMap(({ id }) => vmids.map((vmid) => make(id, vmid)));
  const known = each((store, vmid): GuestBackupRow => ({
    fleet: 'edge',
    store,
    vmid,
    name: `guest-${vmid}`,
    kind: 'qemu',
    tier: 'normal',
    rpoLocalMs: 1,
    local: { readAt: at, provenAt: at },
    firstSeen: at,
    seenAt: at,
  }));
  const newest = each((store, vmid): RestoreTestRow => ({
    run: 'r',
    store,
    vmid,
    fleet: 'edge',
    name: `guest-${vmid}`,
    class: `guest-${vmid}`,
    tier: 'normal',
    why: 'due',
    result: 'pass',
    testedAt: at,
  }));
  /** So often a row may be looked at, however many stores there are. */
  const FEW = 5;
  const few = FEW * known.length;

  it('looks at each row a few times for the restore tests of the fleet, not once for every guest', () => {
    const fleet = aFleet({
      backup: {
        window: { start: '22:00', end: '05:00' },
        tiers: { normal: { rpo: { local: '26h' }, restoreWeeks: 13 } },
        defaultTier: 'normal',
        keep: { daily: 7 },
      },
    });
    const rows = counting(known, 'store');
    const trials = counting(newest, 'store');
    const status = restoreStatus({ fleet, stores, known: rows.rows, newest: trials.rows, now });
    expect(status.coverage).toMatchObject({ guests: 400, covered: 400 });
    expect(rows.reads()).toBeLessThanOrEqual(few);
    expect(trials.reads()).toBeLessThanOrEqual(few);
  });

  it('and to judge whether the stores of a round could be had back', () => {
    const rows = counting(known, 'store');
    const day = 86_400_000;
    const skippedBy = (trials: readonly RestoreTestRow[]) =>
      judgeStores({
        stores,
        asked: stores.map(({ id }) => id),
        known: rows.rows,
        newest: trials,
        limits: { backupYoungerThan: 2 * day, restoreYoungerThan: 90 * day },
        policy: { overrides: [], problems: [] },
        now,
      }).skipped;
    const byStore = counting(newest, 'store');
    expect(skippedBy(byStore.rows)).toEqual([]);
    expect(rows.reads()).toBeLessThanOrEqual(few);
    expect(byStore.reads()).toBeLessThanOrEqual(few);
    const byNumber = counting(newest, 'vmid');
    expect(skippedBy(byNumber.rows)).toEqual([]);
    // By each of the four guests of its own store.
    expect(byNumber.reads()).toBeLessThanOrEqual(few * vmids.length);
  });
});
