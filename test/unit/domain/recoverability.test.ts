import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import { parseOverrides } from '#domain/overrides.js';
import {
  decideRecoverability,
  judgeStores,
  recoverableGuests,
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
const aTrial = (age: number, change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
  run: `run-${age}`,
  store: 'store-001',
  vmid: 101,
  fleet: 'edge',
  name: 'till',
  class: 'pos',
  tier: 'normal',
  why: 'due',
  result: 'pass',
  testedAt: ago(age),
  ...change,
});
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
    'not when a guest of its own failed, whatever others of its class have proven': [
      { guests: [aGuest({ failure: 'Chunk 12ab is damaged.' })], proofs: [proof(0)] },
      'NoRestoreProof',
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

it('a store whose own guest failed is told which one, and what its test said', () => {
  const guests = [aGuest({ failure: 'Chunk 12ab is damaged.' }), aGuest({ vmid: 103, name: 'cache', class: 'cache' })];
  expect(decide({ guests })).toMatchObject({
    stop: {
      summary: 'guest 101 (till): its own newest restore test failed: Chunk 12ab is damaged. (and 1 more)',
      detail: [
        'guest 101 (till): its own newest restore test failed: Chunk 12ab is damaged.',
        'guests of class cache: no restore was ever proven, the limit is 91 d',
      ],
    },
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

  it('lets in a store whose own guest failed', () => {
    const guests = [aGuest({ failure: 'Chunk 12ab is damaged.' })];
    const overrides = [anOverride({ reason: 'NoRestoreProof' })];
    expect(decide({ guests, overrides })).toEqual({ kind: 'proceed', overrides });
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

describe('what there is to lose at a store', () => {
  const guest = (vmid: number, change: object = {}) => ({ vmid, name: `g${vmid}`, role: 'other', ...change }) as never;
  const row = (vmid: number, change: object = {}) =>
    ({
      store: 'store-001',
      vmid,
      name: `g${vmid}`,
      local: { readAt: ago(0), provenAt: ago(HOUR) },
      ...change,
    }) as never;
  const store = (guests: never[], change: object = {}) => ({ id: 'store-001', backup: {}, guests, ...change }) as never;
  const guestsOf = (of: never, known: never[], trials: RestoreTestRow[] = []) =>
    recoverableGuests(of, known, trials, NOW);

  it('is what its file names and what the cluster has besides', () => {
    expect(guestsOf(store([guest(101, { role: 'pos' })]), [row(101), row(104)])).toEqual([
      { vmid: 101, name: 'g101', class: 'pos', backedUpAt: ago(HOUR) },
      { vmid: 104, name: 'g104', class: 'g104 (not in store.yaml)', backedUpAt: ago(HOUR) },
    ]);
  });

  it.each([
    ['that store.yaml does not name is of no class, whatever its name', [], { name: 'pos' }],
    ['that is of no role is of none, whatever its name', [guest(104, { name: 'pos', role: 'other' })], { name: 'pos' }],
    ['that store.yaml does not name is not that of another store', [], { name: 'camera' }],
  ])('has a guest %s, so no other restore proves it', (_, named, change) => {
    const guests = guestsOf(store(named), [row(104, change)]);
    expect(guests).toHaveLength(1);
    const proofs = [proof(DAY, 'pos'), proof(DAY, 'camera')];
    expect(decide({ guests, proofs })).toMatchObject({ kind: 'skip', reason: 'NoRestoreProof' });
  });

  it('has no backup when no night has seen it, and the younger of two when it has', () => {
    const offsite = { readAt: ago(0), provenAt: ago(HOUR / 2) };
    const [first, second] = guestsOf(store([guest(101), guest(102)]), [row(101, { offsite })]) ?? [];
    expect([first?.backedUpAt, second?.backedUpAt]).toEqual([ago(HOUR / 2), undefined]);
  });

  it('does not count guests that are gone, or of other stores', () => {
    const known = [row(104, { goneAt: ago(DAY) }), row(105, { store: 'store-002' })];
    expect(guestsOf(store([guest(101)]), known)?.map(({ vmid }) => vmid)).toEqual([101]);
  });

  it('has the failure of a guest of its own, and none of another guest that had the number before', () => {
    const failed = aTrial(DAY, { class: 'g101', result: 'fail', kind: 'qemu', snapshotAt: ago(2 * DAY), text: 'Why.' });
    const failureOf = (change: object, named = [guest(101)]) =>
      guestsOf(store(named), [row(101, { kind: 'qemu', ...change })], [failed])?.[0]?.failure;
    expect(failureOf({})).toBe('Why.');
    expect(failureOf({}, [])).toBe('Why.');
    expect(failureOf({ kind: 'lxc' })).toBeUndefined();
    expect(failureOf({ ownSince: ago(2 * DAY - 1) })).toBeUndefined();
    expect(failureOf({ ownSince: ago(2 * DAY) })).toBe('Why.');
  });

  it('has no failure that it has passed since, though it was of another class then', () => {
    const failed = aTrial(2 * DAY, { result: 'fail', text: 'Why.' });
    const failureAfter = (age: number, change: Partial<RestoreTestRow> = {}) =>
      guestsOf(store([guest(101)]), [row(101)], [failed, aTrial(age, change)])?.[0]?.failure;
    expect(failureAfter(DAY)).toBeUndefined();
    expect(failureAfter(DAY, { result: 'partial' })).toBe('Why.');
    expect(failureAfter(3 * DAY)).toBe('Why.');
  });

  it('is not known of a store that nobody backs up or has looked at', () => {
    expect(guestsOf(store([guest(101)], { backup: undefined }), [])).toBeUndefined();
    expect(guestsOf(store([]), [])).toBeUndefined();
  });
});

describe('the stores of a round', () => {
  const store = (id: string) => ({ id, backup: {}, guests: [{ vmid: 101, name: 'till', role: 'pos' }] }) as never;
  const known = (id: string, age: number) =>
    ({ store: id, vmid: 101, name: 'till', local: { readAt: ago(0), provenAt: ago(age) } }) as never;
  const judge = (change: object = {}) =>
    judgeStores({
      stores: [store('store-001'), store('store-002')],
      asked: ['store-001', 'store-002'],
      known: [known('store-001', HOUR), known('store-002', 3 * DAY)],
      newest: [aTrial(DAY, { store: 'store-009' })],
      limits: LIMITS,
      policy: { overrides: [], problems: [] },
      now: NOW,
      ...change,
    });

  it('are left out one by one, each with what it lacks', () => {
    const { skipped, overrides } = judge();
    expect(skipped.map(({ store: id, stop }) => [id, stop.reason])).toEqual([['store-002', 'NoRecentBackup']]);
    expect(overrides).toEqual([]);
  });

  const bothYoung = [known('store-001', HOUR), known('store-002', HOUR)];
  const failed = aTrial(HOUR, { store: 'store-002', result: 'fail', text: 'It was started and stopped by itself.' });
  const skippedBy = (...newest: RestoreTestRow[]) =>
    judge({ known: bothYoung, newest: [aTrial(DAY), ...newest] }).skipped.map(({ store: id, stop }) => [
      id,
      stop.reason,
      stop.summary,
    ]);

  it('are not let in by the pass of another store when their own guest failed', () => {
    expect(skippedBy(failed)).toEqual([
      [
        'store-002',
        'NoRestoreProof',
        'guest 101 (till): its own newest restore test failed: It was started and stopped by itself.',
      ],
    ]);
  });

  it('are let in when the guest passed since, or failed before, and not for a trial that the site spoilt', () => {
    expect(skippedBy(failed, aTrial(0, { store: 'store-002' }))).toEqual([]);
    expect(skippedBy(aTrial(2 * HOUR, { store: 'store-002' }), failed)).toHaveLength(1);
    expect(skippedBy(failed, aTrial(0, { store: 'store-002', result: 'infra-error' }))).toHaveLength(1);
    expect(skippedBy({ ...failed, result: 'infra-error' })).toEqual([]);
    expect(skippedBy({ ...failed, vmid: 109 })).toEqual([]);
  });

  it('do not take for proof what did not pass', () => {
    const newest = [aTrial(DAY, { store: 'store-009', result: 'partial' })];
    expect(judge({ known: bothYoung, newest }).skipped).toHaveLength(2);
  });

  it('are taken by an override, which is named with them', () => {
    const override = anOverride();
    expect(judge({ policy: { overrides: [override], problems: [] } })).toEqual({
      skipped: [],
      overrides: [{ override, stores: ['store-002'] }],
    });
  });

  it('tell, when overrides cannot be read, why nobody is let through', () => {
    const { skipped } = judge({ policy: { overrides: [], problems: ['policies/overrides.yaml:3: is no list'] } });
    expect(skipped[0]?.stop.detail).toContain('policies/overrides.yaml:3: is no list');
  });

  it('that the repo does not know are not known to be recoverable', () => {
    expect(judge({ asked: ['store-009'] }).skipped).toMatchObject([{ store: 'store-009' }]);
  });
});

describe('an override in the repo', () => {
  const file = (lines: string) => `schema: edge.overrides/v1\noverrides:\n${lines}`;
  const entry = (change: Record<string, string> = {}): string => {
    const fields = {
      reason: 'NoRecentBackup',
      by: 'ann',
      approvedBy: 'bob',
      why: 'its disks are being replaced',
      at: '2026-11-26T10:00:00Z',
      expires: '2026-11-27T10:00:00Z',
      ...change,
    };
    return file(
      `  - { ${Object.entries(fields)
        .map(([name, value]) => `${name}: ${value}`)
        .join(', ')} }\n`,
    );
  };

  it('is read', () => {
    expect(parseOverrides(entry()).value?.overrides).toMatchObject([{ by: 'ann', approvedBy: 'bob' }]);
  });

  it.each([
    ['one person', { approvedBy: 'ann' }, /approvedBy.*Another person/],
    ['no end', { expires: '2026-11-26T10:00:00Z' }, /expires.*not after/],
    ['another reason', { reason: 'NoQuorum' }, /reason/],
    ['no instant', { at: 'yesterday' }, /at/],
  ] as const)('is refused with %s', (_, change, message) => {
    const { value, problems } = parseOverrides(entry(change));
    expect(value).toBeUndefined();
    expect(problems.map((problem) => `${problem.path} ${problem.message}`).join('\n')).toMatch(message);
  });
});
