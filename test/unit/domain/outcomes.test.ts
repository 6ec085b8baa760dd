import { describe, expect, it } from 'vitest';
import {
  afterRound,
  hasFailed,
  isAway,
  OUTCOMES,
  stateWords as stateWordsAt,
  type Outcome,
  type StoreResult,
} from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';

const stateWords = (result: StoreResult) => stateWordsAt(result, String);

describe('how an operation left its store', () => {
  const result = { store: 'store-001', outcome: 'failed', operationId: '2026-w48/canary/store-001/r0' } as const;
  const stop = { reason: 'RebootTimeout', summary: 'n2 did not come back.' } as const;

  it('is told by the nodes that are finished and by what is left in place', () => {
    const detail = ['uptime unknown', 'left in place: maintenance of n2 (not reachable)'];
    expect(stateWords({ ...result, nodesPatched: 1, release: '2026.48.0', stop: { ...stop, detail } })).toBe(
      'nodes finished: 1, on 2026.48.0; left in place: maintenance of n2 (not reachable)',
    );
    expect(stateWords({ ...result, nodesPatched: 0, stop })).toBe('no node finished; nothing left set');
    expect(stateWords({ ...result, nodesPatched: 0, lastGood: '2026.47.0', stop })).toBe(
      'no node finished; nothing left set; last good release: 2026.47.0',
    );
  });

  it('is told as it was last heard of, when nobody has heard how it ended', () => {
    const cutOff = { ...result, outcome: 'cutOff', startedAt: '2026-11-24T09:00:00Z' } as const;
    const stop = { reason: 'StoreCutOff', step: 'draining n2', summary: 'It fell silent.' } as const;
    expect(stateWords({ ...cutOff, nodesPatched: 1, release: '2026.48.0', lastGood: '2026.47.0', stop })).toBe(
      'begun 2026-11-24T09:00:00Z; when last heard of, nodes finished: 1, on 2026.48.0; what is left set is not known; last good release: 2026.47.0',
    );
    expect(stateWords({ ...cutOff, stop })).toBe('begun 2026-11-24T09:00:00Z');
    const terminated = { ...result, startedAt: cutOff.startedAt };
    expect(stateWords(terminated)).toBe('begun 2026-11-24T09:00:00Z');
    expect(stateWords({ ...cutOff, nodesPatched: 0, endedAt: '2026-11-24T10:00:00Z', stop })).toBe(
      'no node finished; nothing left set',
    );
  });

  it('is nothing to tell of stores that were never worked on, or are done', () => {
    expect(stateWords({ store: 'store-001', outcome: 'excluded' })).toBeUndefined();
    expect(stateWords({ ...result, outcome: 'offline' })).toBeUndefined();
    expect(stateWords({ ...result, outcome: 'succeeded', nodesPatched: 3 })).toBeUndefined();
  });
});

describe('what is known of a store after a further round', () => {
  const store = 'store-001';
  const at = { startedAt: '2026-11-24T11:00:00Z', endedAt: '2026-11-24T12:00:00Z' };
  const result = (outcome: Outcome, change: Partial<StoreResult> = {}): StoreResult => ({ store, outcome, ...change });
  const stopped = (outcome: Outcome, reason: Reason, change: Partial<StoreResult> = {}, step?: string): StoreResult =>
    result(outcome, { reason, stop: { reason, ...(step ? { step } : {}), summary: `${reason}.` }, ...change });
  const failed = stopped('failed', 'RebootTimeout', { ...at, operationId: 'r0' });
  const timedOut = stopped('timedOut', 'OperationTimeout', { ...at, operationId: 'r0' });
  const cutOff = stopped('cutOff', 'StoreCutOff');
  const LONG_AGO = 'failed before: RebootTimeout, n2 did not come back.';
  const since = (outcome: Outcome, reason: Reason, change: Partial<StoreResult> = {}) =>
    result(outcome, { reason, stop: { reason, summary: '', detail: [LONG_AGO] }, ...change, failedBefore: true });
  const offline = stopped('offline', 'StoreOffline', at, 'hello');
  const busy = stopped('skipped', 'StoreBusy');

  it.each<[string, StoreResult | undefined, StoreResult, Pick<StoreResult, 'outcome' | 'failedBefore'>, string[]?]>([
    ['is what it told, of a store of which nothing was known', undefined, busy, result('skipped')],
    ['is what it told, of a store that had not failed', stopped('aborted', 'Aborted'), offline, result('offline')],
    ['is what it told, of a store that was offline', offline, busy, result('skipped')],

    [
      'stays a failure when the store was offline',
      failed,
      offline,
      result('failed'),
      ['tried again in round 2: offline, StoreOffline.'],
    ],
    [
      'stays a failure when the store was busy',
      failed,
      busy,
      result('failed'),
      ['tried again in round 2: skipped, StoreBusy.'],
    ],
    [
      'stays a failure when its window had closed',
      timedOut,
      stopped('skipped', 'OutsideWindow'),
      result('timedOut'),
      ['tried again in round 2: skipped, OutsideWindow.'],
    ],
    [
      'stays a failure when its backup was too old',
      failed,
      stopped('skipped', 'NoRecentBackup'),
      result('failed'),
      ['tried again in round 2: skipped, NoRecentBackup.'],
    ],
    [
      'stays a failure when its worker was too old',
      failed,
      stopped('skipped', 'WorkerTooOld', at, 'hello'),
      result('failed'),
      ['tried again in round 2: skipped, WorkerTooOld.'],
    ],
    [
      'stays a failure when people took it out before its turn',
      failed,
      stopped('aborted', 'Aborted'),
      result('failed'),
      ['tried again in round 2: aborted, Aborted.'],
    ],
    [
      'stays a failure when people aborted it in its greeting',
      failed,
      stopped('aborted', 'Aborted', at, 'hello'),
      result('failed'),
      ['tried again in round 2: aborted, Aborted.'],
    ],

    ['is a success that resolves the failure', failed, result('succeeded', at), result('succeeded')],
    ['is a way back that resolves the failure', failed, result('rolledBack', at), result('rolledBack')],
    ['is the newer failure', failed, stopped('timedOut', 'OperationTimeout', at), result('timedOut')],

    [
      'is cut off beside the failure',
      failed,
      cutOff,
      result('cutOff', { failedBefore: true }),
      ['failed before: RebootTimeout, RebootTimeout.'],
    ],
    [
      'is aborted in its work beside the failure',
      failed,
      stopped('aborted', 'Aborted', at),
      result('aborted', { failedBefore: true }),
      ['failed before: RebootTimeout, RebootTimeout.'],
    ],
    [
      'is stopped by its window in its work beside the failure',
      timedOut,
      stopped('skipped', 'OutsideWindow', at),
      result('skipped', { failedBefore: true }),
      ['failed before: OperationTimeout, OperationTimeout.'],
    ],
    [
      'keeps the failure over rounds in which nothing was done',
      since('aborted', 'Aborted', at),
      offline,
      result('aborted', { failedBefore: true }),
      [LONG_AGO, 'tried again in round 2: offline, StoreOffline.'],
    ],
    [
      'keeps the failure beside whatever comes of a store that was cut off',
      since('cutOff', 'StoreCutOff'),
      stopped('skipped', 'NotPromoted', at),
      result('skipped', { failedBefore: true }),
      [LONG_AGO],
    ],

    [
      'is still cut off when the store did not answer',
      cutOff,
      offline,
      result('cutOff'),
      ['tried again in round 2: offline, StoreOffline.'],
    ],
    ['is still cut off when its operation may still hold it', cutOff, busy, result('cutOff')],
    [
      'is what it told, of a store that was cut off and could be taken',
      cutOff,
      stopped('skipped', 'NotPromoted', at),
      result('skipped'),
    ],
    [
      'is that people took it out, of a store that was cut off',
      cutOff,
      stopped('aborted', 'Aborted'),
      result('aborted'),
    ],
  ])('%s', (_, known, told, { outcome, failedBefore }, detail) => {
    const after = afterRound(known, told, 1);
    expect([after.outcome, after.failedBefore]).toEqual([outcome, failedBefore]);
    expect(after.stop?.detail).toEqual(detail);
  });

  it('says what was met last, and how the store stands for people', () => {
    const first = afterRound({ ...failed, nodesPatched: 0 }, offline, 1);
    const second = afterRound(first, busy, 2);
    expect(second.stop?.detail).toEqual(['tried again in round 3: skipped, StoreBusy.']);
    expect(stateWords(second)).toBe('no node finished; nothing left set; tried again in round 3: skipped, StoreBusy.');
    expect(stateWords(afterRound(second, cutOff, 3))).toBe('failed before: RebootTimeout, RebootTimeout.');
  });

  it('tells who is away from who failed', () => {
    const away = OUTCOMES.filter((outcome) => isAway({ outcome }));
    const bad = OUTCOMES.filter((outcome) => hasFailed({ outcome }));
    expect([away, bad]).toEqual([
      ['offline', 'cutOff'],
      ['failed', 'timedOut'],
    ]);
    expect(hasFailed({ outcome: 'cutOff', failedBefore: true })).toBe(true);
  });
});
