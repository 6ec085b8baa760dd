import { describe, expect, it } from 'vitest';
import { storeSchema, type Fleet, type Store } from '#domain/fleet.js';
import { parseFleet } from '#domain/repo-check.js';
import type { GuestBackupRow, RestoreTestRow } from '#domain/messages/ledger.js';
import { restoreStatus } from '#domain/restore-status.js';
import { renderRepo } from '#client/repo/template.js';

const NOW = new Date('2026-11-29T09:00:00Z');
const DAY = 86_400_000;
const ago = (days: number): string => new Date(NOW.getTime() - days * DAY).toISOString();

/** As `edge init` lays it out: tills every 4 weeks, the others every 13. */
const fleet = parseFleet(renderRepo({ stores: 3 }).get('fleet.yaml') ?? '').value as Fleet;
const storeOf = (id: string): Store =>
  storeSchema.parse({
    id,
    nodes: [1, 2, 3].map((n) => ({ name: `n${n}`, address: `10.0.0.${n}` })),
    backup: {},
    guests: [
      { vmid: 101, name: 'pos', kind: 'qemu', role: 'pos', tier: 'till' },
      { vmid: 103, name: 'cache', kind: 'lxc', role: 'cache' },
    ],
  });
const seen = (store: string, vmid: number, change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'edge',
  store,
  vmid,
  name: 'x',
  kind: 'qemu',
  tier: 'till',
  rpoLocalMs: 1,
  firstSeen: ago(200),
  seenAt: ago(0),
  ...change,
});
const trial = (store: string, vmid: number, days: number, change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
  run: 'restores-2026-w40',
  fleet: 'edge',
  store,
  vmid,
  name: 'x',
  class: 'pos',
  tier: 'till',
  why: 'due',
  result: 'pass',
  testedAt: ago(days),
  ...change,
});
const statusOf = (newest: RestoreTestRow[], known: GuestBackupRow[] = []) =>
  restoreStatus({ fleet, stores: [storeOf('store-001'), storeOf('store-002')], known, newest, now: NOW });

describe('how the fleet stands', () => {
  it('names those first that were never had back, then those for whom it is too long ago', () => {
    const { guests, coverage } = statusOf([trial('store-001', 101, 40), trial('store-001', 103, 40)]);
    expect(guests.map(({ store, vmid, state }) => [store, vmid, state])).toEqual([
      ['store-002', 101, 'never'],
      ['store-002', 103, 'never'],
      ['store-001', 101, 'overdue'],
      ['store-001', 103, 'tested'],
    ]);
    expect(coverage).toMatchObject({ guests: 4, covered: 1, overdue: [{ store: 'store-001', vmid: 101 }] });
    expect(coverage.neverTested).toHaveLength(2);
  });

  it('keeps a pass apart from what came after it, which does not count', () => {
    const failed = trial('store-001', 101, 1, { result: 'fail', text: 'a chunk is gone' });
    const { guests } = statusOf([trial('store-001', 101, 8), failed]);
    const till = guests.find(({ store, vmid }) => store === 'store-001' && vmid === 101);
    expect(till).toMatchObject({ state: 'tested', passed: { testedAt: ago(8) }, last: { result: 'fail' } });
  });

  it('does not count as had back what was only tried', () => {
    const { guests } = statusOf([trial('store-001', 101, 1, { result: 'partial' })]);
    expect(guests.find(({ store, vmid }) => store === 'store-001' && vmid === 101)?.state).toBe('never');
  });

  it('leaves out a guest that is gone, and stores that nobody backs up', () => {
    const { guests } = statusOf([], [seen('store-001', 101, { goneAt: ago(3) })]);
    expect(guests.map(({ store, vmid }) => `${store}/${vmid}`)).not.toContain('store-001/101');
    const { backup: _, ...bare } = storeOf('store-009');
    expect(restoreStatus({ fleet, stores: [bare], known: [], newest: [], now: NOW }).guests).toEqual([]);
  });

  it('says of each class how long it took at worst, all but the slowest twentieth', () => {
    const { classes } = statusOf([
      trial('store-001', 101, 9, { rtoMs: 60_000 }),
      trial('store-002', 101, 2, { rtoMs: 90_000 }),
    ]);
    expect(classes.find(({ class: name }) => name === 'pos')).toEqual({
      class: 'pos',
      guests: 2,
      tested: 2,
      passedAt: ago(2),
      rtoMs: 90_000,
    });
    expect(classes.find(({ class: name }) => name === 'cache')).toMatchObject({ tested: 0, passedAt: undefined });
  });
});
