import { describe, expect, it } from 'vitest';
import type { RestoreView } from '#domain/messages/restore.js';
import { emptyTally, type Outcome, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import { renderRestoreDetails, restoreSummary } from '#domain/restore-progress.js';
import { tally } from '../client/builders.js';

const aResult = (change: Partial<StoreResult> = {}): StoreResult => ({
  store: 'store-001',
  outcome: 'failed',
  reason: 'RestoreTestFailed',
  stop: { reason: 'RestoreTestFailed', summary: 'guest 101 (till): Chunk 12ab is damaged.' },
  ...change,
});
const aView = (change: Partial<RestoreView> = {}): RestoreView => ({
  run: 'restores-2026-w48',
  fleet: 'edge',
  state: 'running',
  startedAt: '2026-11-29T08:00:00Z',
  doing: 'Restores 12 guests of 5 stores at the staging site.',
  guests: 12,
  stores: 5,
  inFlight: 2,
  tally: tally({ succeeded: 2, failed: 1 }),
  notSucceeded: [aResult()],
  ...change,
});
const rowsOf = (details: string): string[] => details.split('\n').filter((line) => line.startsWith('| ['));

describe('the end of a run of restore tests', () => {
  const trials = (count: number) => ({
    stores: Array.from({ length: count }, (_, index) => ({ id: `store-${index}`, trials: [] })),
  });
  const results = (...told: (readonly [count: number, outcome: Outcome, reason?: Reason])[]) =>
    told.flatMap(([count, outcome, reason]) => Array.from({ length: count }, () => ({ outcome, reason })));
  const rows: Record<string, [results: Parameters<typeof restoreSummary>[0], planned: number, summary: string]> = {
    'of which no guest was due is told as that': [[], 0, 'No guest was due.'],
    'in which all passed': [
      results([5, 'succeeded']),
      5,
      'Of 5 of 5 stores all guests that were tried could be had back.',
    ],
    'of one store': [results([1, 'succeeded']), 1, 'Of 1 of 1 store all guests that were tried could be had back.'],
    'in which not all passed names the others': [
      results([3, 'succeeded'], [1, 'failed', 'RestoreTestFailed'], [2, 'aborted', 'Aborted']),
      6,
      'Of 3 of 6 stores all guests that were tried could be had back; 1 failed, 2 aborted.',
    ],
    'in which nobody passed': [
      results([2, 'timedOut']),
      2,
      'Of 0 of 2 stores all guests that were tried could be had back; 2 timed out.',
    ],
    'in which all passed and something was left at the site': [
      results([1, 'failed', 'UndoIncomplete']),
      1,
      'Of 1 of 1 store all guests that were tried could be had back; something of 1 of them is left at the staging site.',
    ],
    'in which some passed, some did not, and something of others was left': [
      results([3, 'succeeded'], [2, 'failed', 'UndoIncomplete'], [1, 'failed', 'RestoreUnproven']),
      6,
      'Of 5 of 6 stores all guests that were tried could be had back; something of 2 of them is left at the staging site, 1 failed.',
    ],
  };
  it.each(Object.entries(rows))('%s', (_words, [told, planned, summary]) => {
    expect(restoreSummary(told, trials(planned))).toBe(summary);
  });
});

describe('what a run of restore tests shows of itself', () => {
  it('says what it does, how far it is, and what went wrong', () => {
    expect(renderRestoreDetails(aView()).split('\n\n')).toEqual([
      '**restores-2026-w48** of edge · running',
      'Restores 12 guests of 5 stores at the staging site.',
      '3 of 5 stores ended (12 guests): 2 succeeded, 1 failed; in work 2.',
      [
        '| Store | Outcome | Reason | Why |',
        '| --- | --- | --- | --- |',
        '| [store-001](/namespaces/{namespace}/workflows/restore%2Fstore-001) | failed | RestoreTestFailed | guest 101 (till): Chunk 12ab is damaged. |',
      ].join('\n'),
      'What is proven of each guest: `edge restore status`',
    ]);
  });

  it('has a name before its plan, and no table and no counts before anything ended', () => {
    const view = aView({
      run: '',
      state: 'planning',
      doing: 'Reads which guests are due.',
      guests: 0,
      stores: 0,
      inFlight: 0,
      tally: emptyTally(),
      notSucceeded: [],
    });
    expect(renderRestoreDetails(view).split('\n\n')).toEqual([
      '**Restore tests** of edge · planning',
      'Reads which guests are due.',
      '0 of 0 stores ended (0 guests); in work 0.',
      'What is proven of each guest: `edge restore status`',
    ]);
  });

  it('shows a store of which there is nothing to say', () => {
    const view = aView({ notSucceeded: [aResult({ outcome: 'timedOut', reason: undefined, stop: undefined })] });
    expect(rowsOf(renderRestoreDetails(view))).toEqual([expect.stringMatching(/\| timed out \| – \| – \|$/)]);
  });

  it.each([
    [40, 40, undefined],
    [41, 40, 'and 1 more'],
    [100, 40, 'and 60 more'],
  ])('names of %d stores %d, and counts the rest', (count, shown, more) => {
    const notSucceeded = Array.from({ length: count }, (_, index) => aResult({ store: `store-${index}` }));
    const details = renderRestoreDetails(aView({ notSucceeded }));
    expect(rowsOf(details)).toHaveLength(shown);
    expect(/and \d+ more/.exec(details)?.[0]).toBe(more);
  });

  it('takes no markup, link or new row from the words of a guest', () => {
    const summary = 'said <img src=x> | [here](https://evil.example)\n| {namespace}';
    const stop = { reason: 'RestoreTestFailed' as const, summary };
    const [row = '', ...others] = rowsOf(renderRestoreDetails(aView({ notSucceeded: [aResult({ stop })] })));
    expect(others).toEqual([]);
    expect(row.split(/(?<!\\)\|/)).toHaveLength(6);
    expect(row).toContain('said \\<img src=x\\> \\| \\[here\\](https\\://evil.example) \\| \\{namespace\\}');
  });

  it('fits into what Temporal takes', () => {
    const stop = { reason: 'RestoreTestFailed' as const, summary: '🛒'.repeat(5_000) };
    const notSucceeded = Array.from({ length: 100 }, (_, index) => aResult({ store: `store-${index}`, stop }));
    const details = renderRestoreDetails(aView({ notSucceeded }));
    expect(Buffer.byteLength(JSON.stringify(details))).toBeLessThan(20_000);
    expect(details).toMatch(/There is more than fits here\.$/);
  });
});
