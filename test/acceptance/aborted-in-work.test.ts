import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { WaveProgress } from '#domain/messages/train.js';
import { storeWorkflowId, waveWorkflowId } from '#domain/naming.js';
import { openLedger } from '#systems/ledger/client.js';
import { countByNode, givenPractice, resultOf, type Practice } from '../support/practice.js';

/**
 * A train is aborted with three of its four stores in work, and the control worker is killed as soon as they have heard
 * of it. What was done to stores is read from the practice fleet's journal.
 */
const FLIGHT = 'flight';
/** What is set at a node before it is worked on, and how it is taken back. */
const TAKEN_BACK = { 'ha.maintenance.enable': 'ha.maintenance.disable', 'ceph.noout.set': 'ceph.noout.unset' };
/** A slot that is free takes its next store long before. */
const WHILE = 4_000;

let practice: Practice;
/** In the order in which the stage takes them, two at a time; a store that is cut off gives its slot free. */
let cut: string;
let drained: string;
let upgraded: string;
let waiting: string;
let train: WorkflowHandle;

beforeAll(async () => {
  practice = await givenPractice({
    stores: 4,
    edit: (fleet) => {
      const rest = fleet.stages.at(-1) as (typeof fleet.stages)[number];
      const limits = {
        ...rest.limits,
        maxConcurrency: 2,
        offlineThreshold: { percent: 100, minSample: 1 },
        cutOffAfter: '3s',
        offlineAfter: '5s',
      };
      fleet.stages = [{ ...rest, name: FLIGHT, approval: { required: false }, limits }];
    },
  });
  [cut, drained, upgraded, waiting] = (await practice.stages())[FLIGHT] as [string, string, string, string];
});
afterAll(() => practice?.stop());

const seen = (store: string, effect: string): Promise<LabEntry> =>
  practice.seen(`${effect} at ${store}`, (entry) => entry.store === store && entry.effect === effect);
const newest = async (): Promise<number> => (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
const since = async (seq: number, store: string): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.seq > seq);
const cutOff = async (): Promise<string[]> => {
  const { train: id } = await practice.view();
  const wave = practice.client.workflow.getHandle(waveWorkflowId(id, FLIGHT, 0, 0));
  // Nobody answers while no control worker runs.
  return wave.query<WaveProgress>('wave').then(
    (progress) => progress.cutOff,
    () => [],
  );
};
/** From the train to the wave to the store: the abort is on its way when the train has answered. */
const hasHeard = (store: string) =>
  practice.eventually(`${store} to hear it`, async () => {
    const { events } = await practice.client.workflow.getHandle(storeWorkflowId(store)).fetchHistory();
    return events?.some((event) => event.workflowExecutionCancelRequestedEventAttributes) || undefined;
  });
/** What was set at this one node, and at no other one, was taken back; how often, and in which order. */
const expectTakenBackOnce = async (store: string, node: string): Promise<void> => {
  const entries = await practice.effects(store);
  for (const [set, unset] of Object.entries(TAKEN_BACK)) {
    for (const effect of [set, unset])
      expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: { [node]: 1 } });
    const [first, second] = [set, unset].map((effect) => entries.find((entry) => entry.effect === effect)?.seq);
    expect(second, `${unset} after ${set}`).toBeGreaterThan(first ?? Infinity);
  }
  expect({ store, set: await practice.leftSet(store) }).toEqual({ store, set: [] });
};

describe('a train that is aborted with stores in work, and whose worker is killed', () => {
  /** The node that each was at. */
  const at: Record<string, string> = {};

  it('ends without the store that is cut off, and reports it', async () => {
    // Guests cannot leave: the drain lasts until the fault is gone.
    await practice.lab.addFault({ id: 'stuck', store: drained, kind: 'migration-fails' });
    train = await practice.startTrain();
    at[drained] = (await seen(drained, 'ha.maintenance.enable')).node as string;
    at[cut] = (await seen(cut, 'packages.begin')).node as string;
    await practice.lab.setWan(cut, false);
    await practice.eventually(`${cut} to be cut off`, async () => (await cutOff()).includes(cut) || undefined);
    at[upgraded] = (await seen(upgraded, 'packages.begin')).node as string;

    await train.executeUpdate('abort', { args: [{ by: 'test', reason: 'a doubt' }] });
    await Promise.all([cut, drained, upgraded].map(hasHeard));
    expect(practice.service.kill('control', 'SIGKILL')).toBe(true);
    for (const store of [drained, upgraded])
      expect(countByNode(await practice.effects(store), 'ha.maintenance.disable'), 'is still in work').toEqual({});
    await practice.lab.removeFault('stuck');

    expect(await practice.ride(train)).toMatchObject({
      state: 'aborted',
      reason: 'Aborted',
      planned: 4,
      tally: { aborted: 3, cutOff: 1, succeeded: 0, failed: 0 },
    });
    expect((await practice.snapshot(cut)).wanUp).toBe(false);
    const { notSucceeded } = await practice.view();
    const startedAt = expect.any(String) as string;
    expect(notSucceeded.find(({ store }) => store === cut)).toMatchObject({
      outcome: 'cutOff',
      reason: 'UndoPending',
      stop: { step: `upgrading ${at[cut]}` },
      startedAt,
      nodesPatched: 0,
    });
    const ledger = await openLedger(practice.service.databaseUrl);
    try {
      const rows = await ledger.results((await practice.view()).train);
      expect(rows.map(({ store, outcome, reason }) => [store, outcome, reason]).toSorted()).toEqual(
        [
          [cut, 'cutOff', 'UndoPending'],
          [drained, 'aborted', 'Aborted'],
          [upgraded, 'aborted', 'Aborted'],
          [waiting, 'aborted', 'Aborted'],
        ].toSorted(),
      );
      expect(rows.find(({ store }) => store === cut)).toMatchObject({ startedAt });
    } finally {
      await ledger.close();
    }
  });

  it('has taken back, once, what was set at the others, and begun nothing more', async () => {
    for (const store of [drained, upgraded]) await expectTakenBackOnce(store, at[store] as string);
    const once = { [at[upgraded] as string]: 1 };
    for (const effect of ['packages.begin', 'packages.install', 'node.up'])
      expect({ [effect]: countByNode(await practice.effects(upgraded), effect) }).toEqual({ [effect]: once });
    for (const effect of ['unit.start', 'packages.begin', 'node.reboot.request'])
      expect({ [effect]: countByNode(await practice.effects(drained), effect) }).toEqual({ [effect]: {} });
    expect(await practice.effects(waiting)).toEqual([]);
  });

  it('leaves nothing set at the store that was cut off, which ends when it is back and takes no further step', async () => {
    const stood = await newest();
    await practice.lab.setWan(cut, true);
    const ended = await resultOf(practice.client.workflow.getHandle(storeWorkflowId(cut)));
    // A store that was away for longer than a minute has given itself free before it hears of the abort.
    expect(['aborted', 'cutOff']).toContain(ended.outcome);
    await expectTakenBackOnce(cut, at[cut] as string);
    const once = { [at[cut] as string]: 1 };
    for (const effect of ['unit.start', 'packages.begin', 'packages.install'])
      expect({ [effect]: countByNode(await practice.effects(cut), effect) }).toEqual({ [effect]: once });

    await practice.past(new Date(Date.now() + WHILE).toISOString());
    for (const store of [drained, upgraded, waiting]) expect(await since(stood, store)).toEqual([]);
    const later = (await since(stood, cut)).map(({ effect }) => effect);
    expect(later.filter((effect) => /^(packages|unit|ha\.maintenance\.enable|ceph\.noout\.set)/.test(effect))).toEqual(
      [],
    );
    expect(await practice.violations()).toEqual([]);
  });
});
