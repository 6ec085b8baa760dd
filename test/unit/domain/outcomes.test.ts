import { describe, expect, it } from 'vitest';
import { isNews, stateWords } from '#domain/outcomes.js';

describe('how an operation left its store', () => {
  const result = { store: 'store-001', outcome: 'failed', operationId: '2026-w48/canary/store-001/r0' } as const;
  const stop = { reason: 'RebootTimeout', summary: 'n2 did not come back.' } as const;

  it('is told by the nodes that are finished and by what is left in place', () => {
    const detail = ['uptime unknown', 'left in place: maintenance of n2 (not reachable)'];
    expect(stateWords({ ...result, nodesPatched: 1, release: '2026.48.0', stop: { ...stop, detail } })).toBe(
      'nodes finished: 1, on 2026.48.0; left in place: maintenance of n2 (not reachable)',
    );
    expect(stateWords({ ...result, nodesPatched: 0, stop })).toBe('no node finished; nothing left set');
  });

  it('is nothing to tell of stores that were never worked on, or are done', () => {
    expect(stateWords({ store: 'store-001', outcome: 'excluded' })).toBeUndefined();
    expect(stateWords({ ...result, outcome: 'offline' })).toBeUndefined();
    expect(stateWords({ ...result, outcome: 'succeeded', nodesPatched: 3 })).toBeUndefined();
  });
});

describe('what a round says of a store', () => {
  const cutOff = { store: 'store-001', outcome: 'cutOff' } as const;

  it('is no news when it only found the store held by the operation that it was cut off in', () => {
    expect(isNews(cutOff, { store: 'store-001', outcome: 'skipped', reason: 'StoreBusy' })).toBe(false);
  });

  it('is news otherwise', () => {
    expect(isNews(cutOff, { store: 'store-001', outcome: 'skipped', reason: 'NotPromoted' })).toBe(true);
    expect(isNews(cutOff, { store: 'store-001', outcome: 'failed' })).toBe(true);
    expect(isNews(undefined, { store: 'store-001', outcome: 'skipped', reason: 'StoreBusy' })).toBe(true);
  });
});
