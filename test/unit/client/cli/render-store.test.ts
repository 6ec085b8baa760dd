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

  it('calls a rollback what it is', () => {
    const current = {
      store: 'store-014',
      train: '2026-w48',
      stage: 'rollback',
      operationId: '2026-w48/rollback/store-014/r0',
      release: '2026.47.0',
      step: 'draining n1',
      since: '2026-11-24T11:06:00Z',
      cutOff: false,
      paused: false,
      nodes: [],
      notes: [],
    };
    expect(renderStore({ store: 'store-014', recent: [], current }, clock)[0]).toBe(
      'store-014: rollback is running (train 2026-w48, stage rollback, release 2026.47.0).',
    );
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
      '  You can: edge store pause store-014, edge store abort store-014',
    ]);
  });

  it('shows how the last one left the store: node by node, what was seen, what is left set', () => {
    const last = {
      store: 'store-033',
      train: '2026-w48',
      stage: 'wave-1',
      operationId: '2026-w48/wave-1/store-033/r0',
      release: '2026.48.0',
      step: 'ended',
      since: '2026-11-24T10:21:00Z',
      cutOff: false,
      paused: false,
      nodes: [
        { node: 'n1', state: 'done' as const, since: '2026-11-24T10:10:00Z' },
        { node: 'n2', state: 'stopped' as const, since: '2026-11-24T10:20:00Z' },
      ],
      notes: ['undone: noout of n2'],
      result: {
        store: 'store-033',
        outcome: 'failed' as const,
        operationId: '2026-w48/wave-1/store-033/r0',
        nodesPatched: 1,
        release: '2026.48.0',
        stop: {
          reason: 'RebootTimeout' as const,
          summary: 'n2 did not come back in time.',
          detail: ['connect ECONNREFUSED', 'left in place: maintenance of n2 (not reachable)'],
        },
      },
    };
    const recent = [{ operation: 'patch', status: 'ended' as const, outcome: 'failed' }];
    expect(renderStore({ store: 'store-033', last, recent }, clock).slice(3)).toEqual([
      'How 2026-w48/wave-1/store-033/r0 left it: nodes finished: 1, on 2026.48.0; left in place: maintenance of n2 (not reachable)',
      '    n1  done     since Tue 11:10',
      '    n2  stopped  since Tue 11:20',
      '  Seen: connect ECONNREFUSED',
      '  Note: undone: noout of n2',
      'More: edge store show store-033 --limit 20, or --operation backup',
    ]);
    const succeeded = { ...last, result: { ...last.result, outcome: 'succeeded' as const } };
    expect(renderStore({ store: 'store-033', last: succeeded, recent }, clock)).toHaveLength(4);
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
      { limit: 5 },
    );
    expect(lines).toEqual([
      'store-033: no operation is running.',
      'Last 1 operation (times in Europe/Berlin):',
      '  Tue 11:00  patch  2026-w48/wave-1 round 1  failed  RebootTimeout: n2 did not come back in 5 min; took 21 min',
      'What to do: edge runbook RebootTimeout',
    ]);
  });

  it('says that an operation was begun of which nobody has heard the end, and never that one that was cut off was not', () => {
    const cutOff = {
      operation: 'patch',
      status: 'ended' as const,
      train: '2026-w48',
      stage: 'wave-1',
      round: 0,
      outcome: 'cutOff',
      reason: 'StoreCutOff',
      summary: 'The store fell silent at the step draining n2.',
    };
    const rowOf = (startedAt?: string) =>
      renderStore({ store: 'store-033', recent: [{ ...cutOff, startedAt }] }, clock, { limit: 5 })[2];
    const words = 'patch  2026-w48/wave-1  cut off  StoreCutOff: The store fell silent at the step draining n2';
    expect(rowOf('2026-11-24T10:00:00Z')).toBe(`  Tue 11:00  ${words}`);
    expect(rowOf()).toBe(`  start not known  ${words}`);
  });

  it.each([
    [{}, 'Last operation of each kind (times in Europe/Berlin):', 'Nothing is known of earlier operations.'],
    [{ limit: 5 }, 'Last 2 operations (times in Europe/Berlin):', 'Nothing is known of earlier operations.'],
    [
      { operation: 'backup' as const, limit: 5 },
      'Last 2 operations of the kind backup (times in Europe/Berlin):',
      'Nothing is known of an earlier backup.',
    ],
  ])('says which operations are listed: %j', (which, heading, none) => {
    const recent = ['patch', 'backup'].map((operation) => ({ operation, status: 'ended' as const }));
    expect(renderStore({ store: 'store-014', recent }, clock, which)[1]).toBe(heading);
    expect(renderStore({ store: 'store-014', recent: [] }, clock, which)[1]).toBe(none);
  });

  it('says what people told it that waits for the end of a step, and what the step was refused with before', () => {
    const current = {
      store: 'store-014',
      train: '2026-w48',
      stage: 'wave-1',
      operationId: '2026-w48/wave-1/store-014/r0',
      release: '2026.48.0',
      step: 'packages n1',
      since: '2026-11-24T11:06:00Z',
      cutOff: false,
      paused: false,
      nodes: [],
      notes: [],
    };
    const shown = (told: 'pause' | 'abort', attempt: number) =>
      renderStore(
        {
          store: 'store-014',
          recent: [],
          current: { ...current, told },
          pending: [{ activity: 'stagePackages', attempt, lastError: 'Version 9.1.2 was not found.' }],
        },
        clock,
      );
    expect(shown('pause', 7).slice(2)).toEqual([
      '  stagePackages is tried again (try 7). Last error: Version 9.1.2 was not found.',
      '  Told to pause: it stands still after the node it is at, until it is resumed.',
      '  You can: edge store resume store-014, edge store abort store-014',
      'Nothing is known of earlier operations.',
    ]);
    expect(shown('abort', 1).slice(2)).toEqual([
      '  Told to abort: it ends at the nearest safe point, once this step is over.',
      '  You can: edge store pause store-014, edge store abort store-014',
      'Nothing is known of earlier operations.',
    ]);
  });
});
