import { describe, expect, it } from 'vitest';
import { renderHistory } from '#client/cli/render-history.js';
import { clock } from '../builders.js';

describe('renderHistory', () => {
  it('tells trains in the ledger’s words', () => {
    const rows = [
      {
        id: '2026-w48',
        fleet: 'edge',
        release: '2026.48.0',
        state: 'aborted',
        reason: 'Aborted',
        summary: 'Aborted by mara.',
        startedAt: '2026-11-23T01:00:00Z',
        endedAt: '2026-11-24T10:00:00Z',
      },
      { id: '2026-w47', fleet: 'edge', state: 'building', startedAt: '2026-11-16T01:00:00Z' },
    ];
    expect(renderHistory('edge', rows, clock)).toEqual([
      'Last 2 trains of fleet edge (times in Europe/Berlin):',
      '  Mon 02:00              2026-w48  2026.48.0   aborted (Aborted)  ended Tue 11:00: Aborted by mara.',
      '  Mon 16 Nov 2026 02:00  2026-w47  no release  building',
    ]);
  });

  it('tells what Temporal alone remembers', () => {
    const trains = [{ train: undefined, status: 'running', runId: 'r', startedAt: '2026-11-23T01:00:00Z' }];
    expect(renderHistory('edge', trains, clock)[1]).toBe('  Mon 02:00  unnamed  running');
  });
});
