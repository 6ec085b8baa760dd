import { describe, expect, it } from 'vitest';
import { WorkflowNotFoundError, type Client } from '@temporalio/client';
import { createOperations, mergeOperations, withProgress, type StoreOperation } from '#client/operations.js';
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

describe('a message to a train that is just closing', () => {
  /** What the server says of an update that it dropped with the run it was for. */
  const dropped = new WorkflowNotFoundError('update "1f0c" not found', 'train/edge', undefined);
  const to = (handle: object) =>
    createOperations({
      address: 'here',
      client: {
        withDeadline: (_: number, request: () => unknown) => request(),
        workflow: { getHandle: () => ({ executeUpdate: () => Promise.reject(dropped), ...handle }) },
      } as unknown as Client,
    });
  const by = { by: 'mara' };

  it('is told that the train has ended, and how', async () => {
    const operations = to({
      describe: () => Promise.resolve({ status: { name: 'COMPLETED' } }),
      query: () =>
        Promise.resolve({ train: '2026-w48', fleet: 'edge', state: 'aborted', doing: 'Aborted by ben: no time.' }),
    });
    await expect(operations.pause('edge', by)).rejects.toMatchObject({
      kind: 'train-over',
      message:
        'Train 2026-w48 of fleet edge has ended (aborted). Aborted by ben: no time. It takes no answer any more: edge train show',
    });
  });

  it('is told as much when the train was terminated, or no worker can tell more', async () => {
    const operations = to({
      describe: () => Promise.resolve({ status: { name: 'TERMINATED' } }),
      query: () => Promise.reject(new Error('no worker')),
    });
    await expect(operations.answer('edge', 'skip', by)).rejects.toMatchObject({
      kind: 'train-over',
      message: expect.stringMatching(/^The train of fleet edge has ended: its run was terminated\./) as string,
    });
  });

  it('finds no train where none is', async () => {
    const operations = to({
      describe: () => Promise.reject(new WorkflowNotFoundError('no rows in result set', 'train/edge', undefined)),
    });
    await expect(operations.answer('edge', 'skip', by)).rejects.toMatchObject({ kind: 'no-train' });
  });
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

  it('tells a night of backups, a restore test and a rollback from a patch', () => {
    const others = ['backup', 'restore', 'rollback'].map((stage) => ({ ...row, train: stage, stage }));
    expect(mergeOperations([], [row, ...others]).map(({ operation }) => operation)).toEqual([
      'patch',
      'backup',
      'restore',
      'rollback',
    ]);
  });

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

  describe('of a store that was cut off when its wave ended', () => {
    const summary = 'The store fell silent at the step draining n2.';
    const cutOff = { ...row, outcome: 'cutOff' as const, reason: 'StoreCutOff', summary };
    const ended = { outcome: 'aborted', reason: 'Aborted', endedAt: '2026-11-24T11:00:00Z', runId: 'run-1' };

    it('tells what the ledger knows while the operation goes on', () => {
      const running = run({ status: 'running' });
      const known = { outcome: 'cutOff', startedAt: row.startedAt, summary };
      expect(mergeOperations([running], [cutOff])).toEqual([running, expect.objectContaining(known)]);
    });

    it('tells how the operation ended, as long as Temporal knows it', () => {
      expect(mergeOperations([run(ended)], [cutOff])).toEqual([
        expect.objectContaining({ ...ended, startedAt: row.startedAt, round: 0, summary }),
      ]);
      expect(mergeOperations([], [cutOff])).toEqual([expect.objectContaining({ outcome: 'cutOff', summary })]);
    });

    it('takes no other round for its end', () => {
      const second = { startedAt: '2026-11-24T12:00:00Z', endedAt: '2026-11-24T12:30:00Z' };
      const again = {
        ...row,
        round: 1,
        outcome: 'succeeded' as const,
        reason: undefined,
        summary: undefined,
        ...second,
      };
      const merged = mergeOperations([run({ outcome: 'succeeded', ...second }), run(ended)], [cutOff, again]);
      expect(merged.map(({ round, outcome }) => [round, outcome])).toEqual([
        [1, 'succeeded'],
        [0, 'aborted'],
      ]);
    });

    it('shows the operation beside a row of an earlier build, which does not say that there was one', () => {
      const old = { ...cutOff, startedAt: undefined };
      expect(mergeOperations([run(ended)], [old]).map(({ outcome }) => outcome)).toEqual(['aborted', 'cutOff']);
    });
  });

  it('keeps a running operation of a stage that the ledger has an earlier round of', () => {
    expect(mergeOperations([run({ status: 'running' })], [row])).toHaveLength(2);
  });
});
