import { describe, expect, it } from 'vitest';
import { isTrue, renderNightDemo, type NightDemoResult } from '#client/cli/demo-backup.js';
import type { RpoState } from '#domain/backup.js';
import type { GuestStatus, StoreStatus } from '#domain/backup-status.js';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import { emptyTally, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';

/** Six stores, of which four are in trouble. */
const [LOCKED, FULL, ROTTEN, AWAY, CALM] = ['store-001', 'store-003', 'store-004', 'store-006', 'store-002'] as const;

const guest = (store: string, vmid: number, local: RpoState, isThere = local === 'ok'): GuestStatus => ({
  store,
  vmid,
  name: 'pos',
  tier: 'till',
  local: { state: local, objective: 1 },
  offsite: { state: isThere ? 'ok' : 'never', objective: 1 },
  state: local,
  inGrace: false,
  inRepo: true,
  inClear: false,
  row: {
    fleet: 'edge',
    store,
    vmid,
    name: 'pos',
    kind: 'qemu',
    tier: 'till',
    rpoLocalMs: 1,
    offsite: { readAt: '2026-11-26T02:00:00Z', ...(isThere ? { provenAt: '2026-11-26T01:00:00Z' } : {}) },
    firstSeen: '2026-11-26T01:00:00Z',
    seenAt: '2026-11-26T01:00:00Z',
  },
});
const counts = { ok: 0, late: 0, unknown: 0, breach: 0, never: 0 };
const storeOf = (store: string, ...states: [RpoState, RpoState]): StoreStatus => ({
  store,
  state: states.every((state) => state === 'ok') ? 'ok' : 'never',
  counts,
  guests: [guest(store, 101, states[0], states[0] === 'ok' || store === ROTTEN), guest(store, 102, states[1])],
  datastores: [],
});
const failed = (store: string, reason: Reason): StoreResult => ({ store, outcome: 'failed', reason });
const tested = (store: string, result: RestoreTestRow['result']): RestoreTestRow => ({
  run: 'restores-2026-w48',
  store,
  vmid: 101,
  fleet: 'edge',
  name: 'pos',
  class: 'pos',
  tier: 'till',
  why: 'never tested',
  result,
  testedAt: '2026-11-26T02:00:00Z',
});

const aResult = (change: Partial<NightDemoResult> = {}): NightDemoResult => {
  const run = {
    fleet: 'edge',
    state: 'done' as const,
    startedAt: '2026-11-26T01:00:00Z',
    doing: 'Over.',
    stores: 6,
    inFlight: 0,
    tally: emptyTally(),
  };
  return {
    troubles: [
      { store: LOCKED, what: 'locked', reasons: ['BackupIncomplete'], vmid: 101 },
      { store: FULL, what: 'full', reasons: ['DatastoreFull'] },
      { store: ROTTEN, what: 'rotten', reasons: ['BackupVerifyFailed'], vmid: 101 },
      { store: AWAY, what: 'away', reasons: ['StoreOffline'] },
    ],
    night: {
      ...run,
      night: 'backup-1',
      notSucceeded: [
        failed(LOCKED, 'BackupIncomplete'),
        failed(FULL, 'DatastoreFull'),
        failed(ROTTEN, 'BackupVerifyFailed'),
        failed(AWAY, 'StoreOffline'),
      ],
    },
    restores: { ...run, run: 'restores-2026-w48', guests: 2, notSucceeded: [] },
    tests: [tested(CALM, 'pass'), tested(LOCKED, 'fail'), tested(ROTTEN, 'pass')],
    status: {
      counts,
      storeCounts: counts,
      stores: [
        storeOf(LOCKED, 'never', 'ok'),
        storeOf(FULL, 'unknown', 'unknown'),
        storeOf(ROTTEN, 'never', 'ok'),
        storeOf(AWAY, 'unknown', 'unknown'),
        storeOf(CALM, 'ok', 'ok'),
      ],
      notBackedUp: [],
    },
    report: { effects: 75, rules: [{ id: 'one-down', title: 'Never two nodes down', violations: [] }] },
    took: 69_000,
    ...change,
  };
};
const replacing = (store: StoreStatus) => {
  const { status } = aResult();
  return { status: { ...status, stores: status.stores.map((one) => (one.store === store.store ? store : one)) } };
};
const nightWith = (...notSucceeded: StoreResult[]) => ({ night: { ...aResult().night, notSucceeded } });

describe('the demo of a night', () => {
  it('is good when each trouble is told as it is, and all other stores are well', () => {
    expect(isTrue(aResult())).toBe(true);
    const [head, , first] = renderNightDemo(aResult());
    expect(head).toBe('Told as it was, in 1 min 9 s. Over.');
    expect(first).toMatch(/^ {2}store-001 +locked +BackupIncomplete +101 never\/never, 102 ok\/ok +101 fail$/);
  });

  const told = aResult().night.notSucceeded;
  const untrue: Record<string, Partial<NightDemoResult>> = {
    'a trouble that the night did not see': nightWith(...told.slice(1)),
    'a trouble by another name': nightWith(failed(LOCKED, 'BackupFailed'), ...told.slice(1)),
    'a store that failed though nothing is wrong with it': nightWith(...told, failed(CALM, 'BackupIncomplete')),
    'a damaged backup that counts as proven': replacing(storeOf(ROTTEN, 'ok', 'ok')),
    'more guests without a backup than are in trouble': replacing(storeOf(LOCKED, 'never', 'never')),
    'a full server that proved something': replacing(storeOf(FULL, 'unknown', 'ok')),
    'a store that is well and is not told so': replacing(storeOf(CALM, 'ok', 'late')),
    'a restore that passed from nothing': { tests: [tested(LOCKED, 'pass')] },
    'a proven copy that could not be had back': { tests: [tested(CALM, 'infra-error')] },
    'no restore at all': { tests: [] },
    'a night that was ended': { night: { ...aResult().night, state: 'aborted' } },
    'a broken rule': {
      report: { effects: 1, rules: [{ id: 'x', title: 'x', violations: [{ store: 's', summary: 'x' }] }] },
    },
  };
  it.each(Object.entries(untrue))('is not good with %s, and says so', (_, change) => {
    expect(isTrue(aResult(change))).toBe(false);
    expect(renderNightDemo(aResult(change))[0]).toMatch(/^NOT TOLD AS IT WAS/);
  });
});
