import { describe, expect, it } from 'vitest';
import { driftLines, storeDriftLine } from '#client/cli/drift.js';
import { renderTrain } from '#client/cli/render-train.js';
import type { Drift } from '#domain/drift.js';
import { clock, trainView } from '../builders.js';

const behind = (number: number, change: Partial<Drift> = {}): Drift => ({
  store: `store-${String(number).padStart(3, '0')}`,
  train: '2026-w48',
  stage: 'wave-1',
  release: '2026.48.0',
  sequence: 48,
  outcome: 'missed',
  reason: 'DeadlineReached',
  ...change,
});

describe('stores that are behind', () => {
  it('are named at the end of a train, each with what it came to there', () => {
    const drift = driftLines([behind(1), behind(14, { outcome: 'cutOff', reason: undefined })], '');
    const lines = renderTrain(trainView({ state: 'done' }), { clock, suffix: '', columns: 100, drift });
    expect(lines.join('\n')).toContain(
      [
        'Drift: 2 stores behind the newest release meant for them. The next train takes them.',
        '  store-001  release 2026.48.0 of 2026-w48/wave-1: missed, DeadlineReached',
        '  store-014  release 2026.48.0 of 2026-w48/wave-1: cut off',
      ].join('\n'),
    );
  });

  it('are not spoken of when there are none', () => {
    expect(driftLines([], '')).toEqual([]);
    expect(storeDriftLine([])).toEqual([]);
  });

  it('are counted beyond twenty, with the command that names all', () => {
    const lines = driftLines(
      Array.from({ length: 25 }, (_, i) => behind(i + 1)),
      ' --fleet edge',
    );
    expect(lines).toHaveLength(22);
    expect(lines.at(-1)).toBe('  and 5 more: edge train show --json --fleet edge');
  });

  it('show at the store too', () => {
    expect(storeDriftLine([behind(1)])).toEqual([
      'Drift: it did not get release 2026.48.0 of 2026-w48/wave-1: missed, DeadlineReached. The next train takes it.',
    ]);
  });
});
