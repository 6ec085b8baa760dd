import { readFile } from 'node:fs/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import { desiredPointer, type DesiredRecord, type ReleaseRef } from '#domain/release.js';
import { countByNode, givenPractice, NEXT_WEEK, touchedAfter, type Practice } from '../support/practice.js';

/**
 * A stage that breaches a threshold, and each answer that people may give. Two stores at a time, no failure and no
 * offline store allowed. One fleet, one thing after the other; times are those of the practice fleet's journal.
 */
const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
let canary: string;
let stores: string[];
let train: WorkflowHandle;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      for (const stage of fleet.stages) {
        stage.approval = { required: false };
        stage.limits = {
          ...stage.limits,
          maxConcurrency: 2,
          errorThreshold: { count: 0 },
          offlineThreshold: { count: 0 },
          // Sooner than any store is through, so that nobody takes the slot of the one that does not answer.
          offlineAfter: '5s',
        };
      }
    },
  });
  const stages = await practice.stages();
  [canary] = stages['canary'] as [string];
  stores = stages['rest'] as string[];
});
afterAll(() => practice?.stop());

const heldFor = (reason: string, not: string | undefined) =>
  practice.until(`the train to hold for ${reason}`, ({ hold }) => hold?.reason === reason && hold.since !== not);
const newest = async (): Promise<number> => (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
const effectsSince = async (seq: number, store: string): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.seq > seq);
/** Somebody sets a flag while a node is upgraded, so the store refuses the reboot. */
const failsBeforeItsReboot = async (store: string, since = 0): Promise<void> => {
  await practice.seen(
    `${store} upgraded`,
    (entry) => entry.seq > since && entry.store === store && entry.effect === 'packages.begin',
  );
  await practice.lab.addFault({ id: 'flag', store, kind: 'foreign-noout' });
};
/** The last effect at a store that failed: what comes after it is news to the train, so this is before the breach. */
const lastAt = async (store: string): Promise<LabEntry> => (await practice.effects(store)).at(-1) as LabEntry;
const desiredOf = async (store: string): Promise<DesiredRecord> =>
  JSON.parse(await readFile(practice.objects('pointers', desiredPointer(store)), 'utf8'));
/** What a node runs, but for what no rollback takes back: packages of Ceph, and kernels that are installed. */
const nodesOf = async (store: string) =>
  (await practice.snapshot(store)).nodes.map(({ name, kernel, packages }) => ({
    name,
    kernel,
    packages: Object.fromEntries(
      Object.entries(packages).filter(([of]) => !/^ceph-|^proxmox-kernel-.*-signed$/.test(of)),
    ),
  }));

describe('a stage that breaches its threshold', () => {
  it('touches no further store from that second on, and what is in flight reaches its end safely', async () => {
    const [failing, inFlight, ...untouched] = stores as [string, string, string, string];
    train = await practice.startTrain();
    await failsBeforeItsReboot(failing);
    const held = await heldFor('ErrorThresholdExceeded', undefined);
    const breach = await lastAt(failing);
    const after = (await practice.effects(inFlight)).filter(({ seq }) => seq > breach.seq);
    expect(countByNode(after, 'node.up'), 'work went on beside the breach').not.toEqual({});
    expect(countByNode(await practice.effects(inFlight), 'node.up')).toEqual(ONCE);
    expect(await touchedAfter(practice, breach, untouched)).toEqual([]);
    for (const store of untouched) expect(await practice.effects(store)).toEqual([]);
    expect(held).toMatchObject({
      answers: ['retry-failed', 'skip', 'rollback', 'pause', 'abort'],
      notSucceeded: [{ store: failing, outcome: 'failed', reason: 'FactsChanged' }],
    });
    expect(held.stages[1]).toMatchObject({ tally: { succeeded: 1, failed: 1 } });
  });

  it('tries the failed again and goes on: `retry-failed`; and stops again, at an offline store', async () => {
    const [failed, inFlight, absent, later] = stores as [string, string, string, string];
    const { hold } = await practice.view();
    await practice.lab.removeFault('flag');
    await practice.lab.setWan(absent, false);
    // Beside the absent one there is a slot, which nobody is to take before the breach.
    await train.executeUpdate('pause', { args: [{ by: 'test', store: later }] });
    const before = await newest();
    await practice.answer('retryFailed');
    const held = await heldFor('OfflineThresholdExceeded', hold?.since);
    expect(countByNode(await practice.effects(failed), 'packages.install')).toEqual(ONCE);
    expect(await effectsSince(before, inFlight), 'who had succeeded is left alone').toEqual([]);
    for (const store of [absent, later]) expect(await practice.effects(store)).toEqual([]);
    expect(held).toMatchObject({ answers: ['retry-offline', 'skip', 'rollback', 'pause', 'abort'] });
    expect(held.stages[1]).toMatchObject({ tally: { succeeded: 2, failed: 0, offline: 1 }, inFlight: 0 });
    expect(held.notSucceeded).toMatchObject([{ store: absent, outcome: 'offline', reason: 'StoreOffline' }]);
    expect(await practice.violations()).toEqual([]);
  });

  it('takes the offline ones when they are back, and then whoever was not started: `retry-offline`', async () => {
    const [failed, inFlight, absent, later] = stores as [string, string, string, string];
    const { hold } = await practice.view();
    const before = await newest();
    await practice.comesBack(absent);
    await train.executeUpdate('resume', { args: [{ by: 'test', store: later }] });
    await practice.answer('retryOffline');
    await failsBeforeItsReboot(later);
    const home = (await effectsSince(before, absent)).findLast(({ effect }) => effect === 'ha.maintenance.disable');
    const begun = (await effectsSince(before, later))[0];
    expect(home?.seq, 'one round after the other').toBeLessThan(begun?.seq ?? 0);
    const held = await heldFor('ErrorThresholdExceeded', hold?.since);
    expect(countByNode(await practice.effects(absent), 'packages.install')).toEqual(ONCE);
    for (const store of [failed, inFlight]) expect(await effectsSince(before, store)).toEqual([]);
    expect(held.stages[1]).toMatchObject({ tally: { succeeded: 3, failed: 1, offline: 0 } });
    expect(held.notSucceeded).toMatchObject([{ store: later, outcome: 'failed', reason: 'FactsChanged' }]);
  });

  it('accepts what failed and goes on to the end without it: `skip`', async () => {
    const [, , , failed] = stores as [string, string, string, string];
    await practice.lab.removeFault('flag');
    const before = await newest();
    await practice.answer('skip');
    expect(await practice.ride(train)).toMatchObject({ state: 'done', tally: { succeeded: 4, failed: 1 } });
    expect(await effectsSince(before, failed)).toEqual([]);
    expect(await practice.violations()).toEqual([]);
  });

  it('takes back who took the release, and nobody else, once that is approved too: `rollback`', async () => {
    const [refusing, halfWay, ...untouched] = stores as [string, string, string, string];
    const took = [canary, halfWay];
    const good = (await desiredOf(canary)).release;
    const was = new Map(await Promise.all(took.map(async (store) => [store, await nodesOf(store)] as const)));
    await practice.editFleet((fleet) => void Object.assign(fleet.release, NEXT_WEEK));
    // One refuses before anything is done to it; the other, beside it, with the packages of one node changed.
    await practice.lab.addFault({ id: 'refuses', store: refusing, kind: 'foreign-noout' });
    const before = await newest();
    const next = await practice.startTrain();
    await failsBeforeItsReboot(halfWay, before);
    const held = await heldFor('ErrorThresholdExceeded', undefined);
    const bad = held.release as ReleaseRef;
    expect(held.stages[1]).toMatchObject({ tally: { failed: 2 } });
    expect(countByNode(await effectsSince(before, canary), 'packages.install')).toEqual(ONCE);
    const [half] = Object.keys(countByNode(await effectsSince(before, halfWay), 'packages.install')) as [string];
    for (const store of took) expect(await nodesOf(store)).not.toEqual(was.get(store));
    expect(await effectsSince(before, refusing), 'nothing was done to it').toEqual([]);
    for (const id of ['flag', 'refuses']) await practice.lab.removeFault(id);

    const turned = await newest();
    await practice.answer('rollback');
    const asked = await practice.until('the way back to ask', ({ hold }) => hold?.stage === 'rollback');
    expect(asked).toMatchObject({ hold: { reason: 'ApprovalPending', answers: ['approve', 'reject', 'abort'] } });
    expect(asked.hold?.planHash, 'an approval of its own').not.toBe(held.planHash);
    for (const store of [canary, ...stores]) expect(await effectsSince(turned, store)).toEqual([]);
    for (const store of took) expect((await desiredOf(store)).release?.version).toBe(bad.version);

    await practice.approve();
    expect(await next.result()).toMatchObject({ state: 'rolled back', planned: 5 });
    const back = ['packages.install', 'node.reboot.request', 'node.up', 'ha.maintenance.enable'];
    for (const effect of back) {
      expect({ [effect]: countByNode(await effectsSince(turned, canary), effect) }).toEqual({ [effect]: ONCE });
    }
    expect(countByNode(await effectsSince(turned, halfWay), 'packages.install')).toEqual({ [half]: 1 });
    for (const store of took) {
      expect(await nodesOf(store)).toEqual(was.get(store));
      const { release, permit } = await desiredOf(store);
      expect(release).toEqual(good);
      expect(permit).toBeDefined();
    }
    for (const store of untouched) expect(await effectsSince(before, store)).toEqual([]);
    expect(await effectsSince(turned, refusing), 'nor on the way back').toEqual([]);
    expect(await practice.violations()).toEqual([]);
  });

  it('ends with what is left untouched: `abort`', async () => {
    const before = await newest();
    await practice.lab.addFault({ id: 'flag', store: canary, kind: 'foreign-noout' });
    const next = await practice.startTrain();
    await practice.until(
      'the canary to stop its train',
      ({ hold, stages }) => hold?.reason === 'ErrorThresholdExceeded' && stages[0]?.tally.failed === 1,
    );
    await practice.answer('abort');
    expect(await next.result()).toMatchObject({ state: 'aborted', planned: 5, tally: { failed: 1, aborted: 4 } });
    for (const store of stores) expect(await effectsSince(before, store)).toEqual([]);
    const drained = (await effectsSince(before, canary)).filter(({ effect }) => effect === 'ha.maintenance.enable');
    expect(drained, 'a foreign flag keeps the canary as it is').toEqual([]);
    await practice.lab.removeFault('flag');
    expect(await practice.violations()).toEqual([]);
  });
});
