import { describe, expect, it } from 'vitest';
import { mergeOperations, withProgress, type StoreOperation } from '#client/operations.js';
import type { WaveProgress } from '#domain/messages/train.js';
import { stage, tally } from './builders.js';

const progress = (change: Partial<WaveProgress>): WaveProgress => ({
  wave: '2026-w48/wave-1/r0',
  started: 0,
  inFlight: 0,
  deferred: 0,
  cutOff: [],
  tally: tally({}),
  notSucceeded: [],
  ...change,
});

describe('withProgress', () => {
  const told = stage('wave-1', 50, {
    state: 'running',
    tally: tally({ succeeded: 5, excluded: 2 }),
    started: 8,
    inFlight: 3,
  });

  it('shows the wave’s own newer counts, and keeps who was excluded before it began', () => {
    const fresh = progress({ started: 12, inFlight: 4, deferred: 1, tally: tally({ succeeded: 7, failed: 1 }) });
    expect(withProgress(told, fresh)).toMatchObject({
      tally: tally({ succeeded: 7, failed: 1, excluded: 2 }),
      started: 12,
      inFlight: 4,
      deferred: 1,
    });
  });

  it('never shows less than the train knows of earlier parts', () => {
    const secondPart = progress({ started: 2, inFlight: 2 });
    expect(withProgress(told, secondPart).tally).toEqual(told.tally);
  });

  it('changes nothing when the wave does not answer', () => expect(withProgress(told, undefined)).toBe(told));
});

describe('mergeOperations', () => {
  const run = (change: Partial<StoreOperation>): StoreOperation => ({
    operation: 'patch',
    status: 'ended',
    train: '2026-w48',
    stage: 'canary',
    startedAt: '2026-11-24T09:00:00Z',
    ...change,
  });
  const row = {
    train: '2026-w48',
    stage: 'canary',
    store: 'store-001',
    round: 0,
    outcome: 'failed' as const,
    reason: 'RebootTimeout',
    summary: 'n2 did not come back.',
    startedAt: '2026-11-24T09:00:01Z',
  };

  it('tells an operation that both know once, in the ledger’s words', () => {
    expect(mergeOperations([run({ outcome: 'failed' })], [row])).toEqual([
      expect.objectContaining({ reason: 'RebootTimeout', summary: 'n2 did not come back.', round: 0 }),
    ]);
  });

  it('puts what runs first, then the newest', () => {
    const running = run({ status: 'running', train: '2026-w49', startedAt: '2026-12-01T09:00:00Z' });
    const older = run({ train: '2026-w40', startedAt: '2026-10-01T09:00:00Z' });
    const merged = mergeOperations([older, running], [row]);
    expect(merged.map(({ train }) => train)).toEqual(['2026-w49', '2026-w48', '2026-w40']);
  });

  it('keeps a running operation of a stage that the ledger has an earlier round of', () => {
    expect(mergeOperations([run({ status: 'running' })], [row])).toHaveLength(2);
  });
});
