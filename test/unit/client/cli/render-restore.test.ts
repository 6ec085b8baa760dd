import { describe, expect, it } from 'vitest';
import { renderRestoreHistory, renderRestoreStatus } from '#client/cli/render-restore.js';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import type { TestState } from '#domain/restore-sampling.js';
import type { GuestTests, RestoreStatus } from '#domain/restore-status.js';

const now = new Date('2026-11-29T12:00:00Z');
const clock = { zone: 'UTC', timeZone: 'UTC', now };
const hoursAgo = (hours: number): string => new Date(now.getTime() - hours * 3_600_000).toISOString();

const aTrial = (hours: number, change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
  run: `run-${hours}`,
  store: 'store-001',
  vmid: 101,
  fleet: 'edge',
  name: 'till',
  class: 'pos',
  tier: 'normal',
  why: 'due',
  result: 'pass',
  testedAt: hoursAgo(hours),
  ...change,
});
const aGuest = (state: TestState, change: Partial<GuestTests> = {}): GuestTests => ({
  store: 'store-001',
  vmid: 101,
  name: 'till',
  class: 'pos',
  tier: 'normal',
  weeks: 13,
  state,
  isLate: false,
  isUnnamed: false,
  isUnseen: false,
  isNotThereYet: false,
  ...change,
});
const statusOf = (guests: GuestTests[]): RestoreStatus => {
  const inState = (state: TestState) => guests.filter((guest) => guest.state === state);
  return {
    fleet: 'edge',
    coverage: {
      guests: guests.length,
      covered: inState('tested').length,
      failed: inState('failed'),
      neverTested: inState('never'),
      overdue: inState('overdue'),
    },
    guests,
    classes: [],
  };
};
const linesOf = (guests: GuestTests[], states?: TestState[]) => renderRestoreStatus(statusOf(guests), clock, states);

describe('edge restore status', () => {
  const passed = aTrial(10);
  const failed = aTrial(2, { result: 'fail', text: 'It was started and stopped by itself.' });

  it('names a guest that failed with what its test said, and what to do, though it passed in its weeks', () => {
    const lines = linesOf([aGuest('failed', { passed, failed, last: failed })]);
    expect(lines[0]).toBe(
      'Restore tests: 0 of 1 guest had back within the weeks of its tier, 1 failed, 0 overdue, 0 never.',
    );
    expect(lines.find((line) => line.includes('store-001/101'))).toMatch(
      /FAILED +tier normal, every 13 weeks +failed .*10:00: It was started and stopped by itself\./,
    );
    expect(lines.join('\n')).not.toContain('Every guest was had back');
    expect(lines.at(-1)).toBe('What to do about one that failed: edge runbook RestoreTestFailed');
  });

  it('tells the failure also when the site spoilt the test after it', () => {
    const last = aTrial(1, { result: 'infra-error', text: 'The site is full.' });
    expect(linesOf([aGuest('failed', { failed, last })]).join('\n')).toMatch(
      /failed .*: It was started and stopped by itself/,
    );
  });

  it('speaks of no failure that is over', () => {
    const text = linesOf([aGuest('overdue', { passed, failed: { ...failed, testedAt: hoursAgo(90) }, last: passed })]);
    expect(text.join('\n')).not.toMatch(/stopped by itself|runbook/);
    expect(linesOf([aGuest('tested', { passed, last: passed })]).at(-1)).toBe(
      'Every guest was had back within the weeks of its tier.',
    );
  });

  it('lists those that failed alone when asked to', () => {
    const guests = [aGuest('failed', { failed, last: failed }), aGuest('never', { vmid: 102, name: 'camera' })];
    const text = linesOf(guests, ['failed']).join('\n');
    expect(text).toContain('store-001/101');
    expect(text).not.toContain('store-001/102');
  });
});

describe('the trials of one guest', () => {
  it('name the guest that was tried where it had another name, or was another one', () => {
    const history = [aTrial(1), aTrial(2, { name: 'cache', result: 'fail' })];
    const lines = renderRestoreHistory(aGuest('tested'), history, clock);
    expect(lines.slice(1).map((line) => line.trim().split('  ').slice(1))).toEqual([
      ['run-1', 'pass'],
      ['run-2 of cache', 'fail'],
    ]);
  });
});
