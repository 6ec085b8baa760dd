import { describe, expect, it } from 'vitest';
import { renderStore } from '#client/cli/render-store.js';
import { clock } from '../builders.js';

describe('renderStore', () => {
  it('says that nothing runs and nothing is known', () => {
    expect(renderStore({ store: 'store-014', recent: [] }, clock)).toEqual([
      'store-014: no operation is running.',
      'Nothing is known of earlier operations.',
    ]);
  });

  it('shows the step, node by node, and that the store is silent', () => {
    const lines = renderStore(
      {
        store: 'store-014',
        recent: [],
        current: {
          store: 'store-014',
          train: '2026-w48',
          stage: 'wave-1',
          operationId: '2026-w48/wave-1/store-014/r0',
          release: '2026.48.0',
          step: 'rebooting n2',
          since: '2026-11-24T11:06:00Z',
          cutOff: true,
          paused: false,
          nodes: [
            { node: 'n1', state: 'done', since: '2026-11-24T11:00:00Z' },
            { node: 'n2', state: 'rebooting', since: '2026-11-24T11:06:00Z' },
          ],
          notes: ['adopted what an earlier operation left'],
        },
      },
      clock,
    );
    expect(lines.slice(0, -1)).toEqual([
      'store-014: patch is running (train 2026-w48, stage wave-1, release 2026.48.0).',
      '  Step: rebooting n2, since Tue 12:06 (Europe/Berlin) (2 min ago)',
      '  The store fell silent: its WAN may be down. It keeps serving; the operation goes on when it is back.',
      '    n1  done       since Tue 12:00',
      '    n2  rebooting  since Tue 12:06',
      '  Note: adopted what an earlier operation left',
    ]);
  });

  it('lists ended operations with reason and summary, and names the runbook of the newest', () => {
    const lines = renderStore(
      {
        store: 'store-033',
        recent: [
          {
            operation: 'patch',
            status: 'ended',
            train: '2026-w48',
            stage: 'wave-1',
            round: 1,
            outcome: 'failed',
            reason: 'RebootTimeout',
            summary: 'n2 did not come back in 5 min.',
            startedAt: '2026-11-24T10:00:00Z',
            endedAt: '2026-11-24T10:21:00Z',
          },
        ],
      },
      clock,
    );
    expect(lines).toEqual([
      'store-033: no operation is running.',
      'Last 1 operation (times in Europe/Berlin):',
      '  Tue 11:00  patch  2026-w48/wave-1 round 1  failed  RebootTimeout: n2 did not come back in 5 min; took 21 min',
      'What to do: edge runbook RebootTimeout',
    ]);
  });
});
