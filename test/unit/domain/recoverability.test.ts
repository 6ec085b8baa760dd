import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decideRecoverability,
  type RecoverabilityDecision,
  type RecoverabilityOverride,
  type RecoverableGuest,
  type RestoreProof,
} from '#domain/recoverability.js';

const NOW = new Date('2026-12-01T09:00:00Z');
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const ago = (milliseconds: number): string => new Date(NOW.getTime() - milliseconds).toISOString();
const LIMITS = { backupYoungerThan: 48 * HOUR, restoreYoungerThan: 91 * DAY };

const aGuest = (change: Partial<RecoverableGuest> = {}): RecoverableGuest => ({
  vmid: 101,
  name: 'till',
  class: 'pos',
  backedUpAt: ago(9 * HOUR),
  ...change,
});
const proof = (age: number, name = 'pos'): RestoreProof => ({ class: name, at: ago(age) });
const anOverride = (change: Partial<RecoverabilityOverride> = {}): RecoverabilityOverride => ({
  reason: 'NoRecentBackup',
  by: 'ann',
  approvedBy: 'bob',
  why: 'a fix that cannot wait',
  at: ago(HOUR),
  expires: ago(-DAY),
  ...change,
});

interface Case {
  guests?: RecoverableGuest[] | undefined;
  proofs?: RestoreProof[];
  overrides?: RecoverabilityOverride[];
}
const decide = (change: Case): RecoverabilityDecision =>
  decideRecoverability({
    store: 'store-001',
    guests: [aGuest()],
    proofs: [proof(20 * DAY)],
    overrides: [],
    limits: LIMITS,
    now: NOW,
    ...change,
  });

describe('a store enters a stage', () => {
  const rows: Record<string, [Case, 'proceed' | 'NoRecentBackup' | 'NoRestoreProof']> = {
    'with a young backup of each guest and a restore of each class': [{}, 'proceed'],
    'at exactly the limits': [
      { guests: [aGuest({ backedUpAt: ago(48 * HOUR) })], proofs: [proof(91 * DAY)] },
      'proceed',
    ],
    'not beyond the limit of a backup': [{ guests: [aGuest({ backedUpAt: ago(48 * HOUR + 1) })] }, 'NoRecentBackup'],
    'not beyond the limit of a restore': [{ proofs: [proof(91 * DAY + 1)] }, 'NoRestoreProof'],
    'with the youngest of several restores': [
      { proofs: [proof(200 * DAY), proof(3 * DAY), proof(100 * DAY)] },
      'proceed',
    ],
    'not when one guest of many has no backup': [
      { guests: [aGuest(), aGuest({ vmid: 102, backedUpAt: undefined })] },
      'NoRecentBackup',
    ],
    'not when a class was never restored': [
      { guests: [aGuest(), aGuest({ vmid: 103, class: 'cache' })] },
      'NoRestoreProof',
    ],
    'not when the restore is of another class': [{ proofs: [proof(DAY, 'cache')] }, 'NoRestoreProof'],
    'not when nobody knows its guests': [{ guests: undefined }, 'NoRecentBackup'],
    'not by a backup of tomorrow': [{ guests: [aGuest({ backedUpAt: ago(-DAY) })] }, 'NoRecentBackup'],
    'not by a restore of tomorrow': [{ proofs: [proof(-DAY)] }, 'NoRestoreProof'],
    'not by an instant that is none': [{ guests: [aGuest({ backedUpAt: 'last night' })] }, 'NoRecentBackup'],
    'not by a restore at an instant that is none': [{ proofs: [{ class: 'pos', at: '' }] }, 'NoRestoreProof'],
    'not when both are missing, and the backup is named first': [
      { guests: [aGuest({ backedUpAt: undefined })], proofs: [] },
      'NoRecentBackup',
    ],
    'when it has no guests: it has nothing to lose': [{ guests: [], proofs: [] }, 'proceed'],
  };
  it.each(Object.entries(rows))('%s', (_words, [change, expected]) => {
    const decision = decide(change);
    expect(decision.kind === 'skip' ? decision.reason : decision.kind).toBe(expected);
  });

  it('or is told what it lacks, guest by guest and class by class', () => {
    const guests = [
      aGuest({ backedUpAt: ago(60 * HOUR) }),
      aGuest({ vmid: 103, name: 'cache', class: 'cache', backedUpAt: undefined }),
    ];
    expect(decide({ guests, proofs: [proof(100 * DAY)] })).toEqual({
      kind: 'skip',
      reason: 'NoRecentBackup',
      stop: {
        reason: 'NoRecentBackup',
        step: 'recoverability',
        summary: 'guest 101 (till): the newest proven backup is 2 d 12 h old, the limit is 2 d (and 1 more)',
        detail: [
          'guest 101 (till): the newest proven backup is 2 d 12 h old, the limit is 2 d',
          'guest 103 (cache): no backup is proven, the limit is 2 d',
          'guests of class cache: no restore was ever proven, the limit is 91 d',
          'guests of class pos: the last one was 100 d ago, the limit is 91 d',
        ],
      },
    });
  });
});

describe('an override', () => {
  const noBackup = { guests: [aGuest({ backedUpAt: undefined })] };

  it('lets the store in, and is handed on to be recorded', () => {
    const overrides = [anOverride()];
    expect(decide({ ...noBackup, overrides })).toEqual({ kind: 'proceed', overrides });
  });

  it('is not recorded where it was not needed', () => {
    expect(decide({ overrides: [anOverride()] })).toEqual({ kind: 'proceed', overrides: [] });
  });

  const refused: Record<string, Partial<RecoverabilityOverride>> = {
    'for the other reason': { reason: 'NoRestoreProof' },
    'of one person alone': { approvedBy: 'ann' },
    'of one person who signs in two ways': { approvedBy: ' ann ' },
    'that nobody approved': { approvedBy: '' },
    'of nobody': { by: ' ' },
    'without a why': { why: '' },
    'for other stores': { stores: ['store-002'] },
    'that has run out': { expires: ago(0) },
    'whose end is no instant': { expires: 'never' },
    'of tomorrow': { at: ago(-DAY), expires: ago(-2 * DAY) },
  };
  it.each(Object.entries(refused))('%s does not', (_words, change) => {
    expect(decide({ ...noBackup, overrides: [anOverride(change)] })).toMatchObject({ reason: 'NoRecentBackup' });
  });

  it('is needed for each reason', () => {
    const nothing = { ...noBackup, proofs: [] };
    const restore = anOverride({ reason: 'NoRestoreProof', stores: ['store-001'] });
    expect(decide({ ...nothing, overrides: [anOverride()] })).toMatchObject({ reason: 'NoRestoreProof' });
    expect(decide({ ...nothing, overrides: [restore] })).toMatchObject({ reason: 'NoRecentBackup' });
    expect(decide({ ...nothing, overrides: [restore, anOverride()] })).toEqual({
      kind: 'proceed',
      overrides: [anOverride(), restore],
    });
  });
});

it('nothing unknown is ever taken for proof', () => {
  const instant = (limit: number) =>
    fc.oneof(
      { weight: 1, arbitrary: fc.constantFrom('', 'last night', '0') },
      { weight: 6, arbitrary: fc.integer({ min: -1, max: 5 }).map((fifths) => ago((fifths * 4 * limit) / 15)) },
    );
  const guest = fc.record({
    vmid: fc.integer({ min: 100, max: 105 }),
    class: fc.constantFrom('pos', 'cache'),
    backedUpAt: fc.option(instant(LIMITS.backupYoungerThan), { nil: undefined }),
  });
  const proofs = fc.array(
    fc.record({ class: fc.constantFrom('pos', 'cache', 'other'), at: instant(LIMITS.restoreYoungerThan) }),
  );
  let proceeded = 0;
  fc.assert(
    fc.property(fc.array(guest, { minLength: 1, maxLength: 4 }), proofs, (guests, restores) => {
      const named = guests.map((one) => ({ ...one, name: 'x' }));
      if (decide({ guests: named, proofs: restores }).kind !== 'proceed') return;
      proceeded += 1;
      const young = (at: string | undefined, limit: number): boolean => {
        const age = NOW.getTime() - Date.parse(at ?? '');
        return age <= limit && age >= -5 * 60_000;
      };
      for (const one of guests) {
        expect(young(one.backedUpAt, LIMITS.backupYoungerThan)).toBe(true);
        expect(
          restores.some((restore) => restore.class === one.class && young(restore.at, LIMITS.restoreYoungerThan)),
        ).toBe(true);
      }
    }),
    { numRuns: 3_000 },
  );
  expect(proceeded).toBeGreaterThan(0);
});
