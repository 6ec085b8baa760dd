import { describe, expect, it, vi } from 'vitest';
import type { StoreTiming } from '#activities/store/deps.js';
import { createOperation } from '#activities/store/operation.js';
import { watchStore } from '#activities/store/watch.js';
import { aReleaseRef, aTask } from '../../../support/builders.js';
import { aFakeStore } from '../../../support/fake-store.js';
import { SOON } from '../../../support/soon.js';

describe('watchStore', () => {
  async function watched(timing: Partial<StoreTiming> = { maxMaintenance: 20 }) {
    const store = aFakeStore({ timing: { poll: 1, ...timing } });
    const operation = createOperation(store.deps);
    const stop = new AbortController();
    const told: string[] = [];
    const start = () => watchStore(operation, store.deps.timing, (line) => told.push(line), stop.signal);
    return { store, operation, stop, told, start };
  }

  it('takes back what is abandoned and tells of it, until it is stopped', async () => {
    const { store, operation, stop, told, start } = await watched();
    await operation.open(aTask());
    await operation.mark('noout', 'n1');
    store.noout.add('n1');
    const watch = start();
    store.clock.uptime += 20;
    store.clock.now = new Date(store.clock.now.getTime() + 20);
    await vi.waitFor(
      () => expect(told[0]).toBe(`Taken back, since ${aTask().operationId} is silent: noout of n1.`),
      SOON,
    );
    await vi.waitFor(() => expect(told[1]).toMatch(/^The store is free again/), SOON);
    stop.abort();
    await watch;
  });

  it('goes on when a look fails', async () => {
    const { operation, stop, told, start } = await watched();
    let looks = 0;
    operation.lookAfter = () => {
      looks += 1;
      return looks === 1 ? Promise.reject(new Error('disk full')) : Promise.resolve([]);
    };
    const watch = start();
    await vi.waitFor(() => expect(looks).toBeGreaterThan(1), SOON);
    expect(told).toEqual(['Looking after the store failed: disk full']);
    stop.abort();
    await watch;
  });

  it('learns that the current release has soaked, however long it would let an operation be silent', async () => {
    const { store, stop, start } = await watched({ learn: 20 });
    await store.state.saveTrust({ current: aReleaseRef() });
    store.desired = {
      schema: 'edge.desired/v1',
      store: 'store-001',
      release: aReleaseRef(),
      train: '2026-w48',
      stage: 'canary',
      commit: 'a'.repeat(40),
      expires: '2026-12-01T00:00:00Z',
      soaked: { release: aReleaseRef(), at: '2026-11-25T11:00:00Z' },
    };
    const watch = start();
    await vi.waitFor(() => expect(store.state.trust().lastGood).toEqual(aReleaseRef()), SOON);
    stop.abort();
    await watch;
  });
});
