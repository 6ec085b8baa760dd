import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { doneOf, PracticeRestore } from './practice-restore.js';

let practice: PracticeRestore;
beforeEach(async () => {
  practice = await PracticeRestore.start();
});
afterEach(() => practice.close());

describe('a trial', () => {
  it.each([
    ['a VM', 101, 'pos-selftest'],
    ['a container', 102, 'inventory-selftest'],
  ])('of %s restores it, starts it, asks it and leaves nothing', async (_, vmid, program) => {
    const worker = practice.worker();
    const task = practice.trial(vmid);
    const { copy } = doneOf(await worker.openCopy(practice.copy));
    expect(copy).toMatchObject({ node: practice.staging.central.hostname, snapshots: [{ id: String(vmid) }] });
    const restored = doneOf(await worker.restoreGuest(task));
    expect(restored.bytes).toBeGreaterThan(0);
    expect(Date.parse(restored.endedAt)).toBeGreaterThan(Date.parse(restored.startedAt));
    expect(practice.staging.site.guests.get(task.as)).toMatchObject({ status: 'stopped', pool: 'restore-test' });
    const booted = doneOf(await worker.bootGuest(task));
    expect(Date.parse(booted.endedAt)).toBeGreaterThan(Date.parse(booted.startedAt));
    const probed = doneOf(await worker.probeGuest(practice.probing(task, `/usr/local/bin/${program}`)));
    expect(probed.probes).toEqual([
      { name: 'self-test', ok: true, said: expect.stringContaining('service healthy') as string },
    ]);
    expect(probed.canary).toEqual({ at: expect.any(String) as string, sequence: 1 });
    doneOf(await worker.removeGuest(task));
    doneOf(await worker.closeCopy(practice.copy));
    expect(practice.violations()).toEqual([]);
    expect(practice.deps.state.trials()).toEqual([]);
  });
});
