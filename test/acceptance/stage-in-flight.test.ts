import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import { waveWorkflowId } from '#domain/naming.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/**
 * People steer a whole stage while two of its five stores are in work: pause, resume, abort, and on. What was done to
 * stores is read from the practice fleet's journal.
 */
const FLIGHT = 'flight';
const ONCE = { n1: 1, n2: 1, n3: 1 };
/** A slot that is free takes its next store long before. */
const WHILE = 4_000;

let practice: Practice;
/** In work when the stage is paused; in work when it is aborted; never begun by then. */
let early: [string, string];
let torn: [string, string];
let last: string;
let train: WorkflowHandle;

beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      const rest = fleet.stages.at(-1) as (typeof fleet.stages)[number];
      fleet.stages = [
        { ...rest, name: FLIGHT, approval: { required: false }, limits: { ...rest.limits, maxConcurrency: 2 } },
      ];
    },
  });
  const stores = (await practice.stages())[FLIGHT] as [string, string, string, string, string];
  early = [stores[0], stores[1]];
  torn = [stores[2], stores[3]];
  last = stores[4];
});
afterAll(() => practice?.stop());

const say = (update: 'abort' | 'pause' | 'resume'): Promise<string> =>
  train.executeUpdate<string, [object]>(update, { args: [{ by: 'test', stage: FLIGHT }] });
const newest = async (): Promise<number> => (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
const since = async (seq: number, store: string): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.seq > seq);
const begun = (store: string): Promise<LabEntry> =>
  practice.seen(`packages at ${store}`, (entry) => entry.store === store && entry.effect === 'packages.begin');
const expectWhole = async (store: string): Promise<void> => {
  const entries = await practice.effects(store);
  for (const effect of ['packages.install', 'node.down', 'node.up'])
    expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: ONCE });
};
/** As nobody ever set anything on it. */
const expectNothingSet = async (store: string): Promise<void> => {
  const { nodes } = await practice.snapshot(store);
  expect(nodes.map(({ state }) => state)).toEqual(nodes.map(() => 'up'));
  expect(await practice.leftSet(store)).toEqual([]);
};

describe('a stage that is paused while stores of it are in work', () => {
  it('begins no further store; those in work reach their end', async () => {
    train = await practice.startTrain();
    await Promise.all(early.map(begun));
    await say('pause');
    const { train: id } = await practice.view();
    await practice.eventually('the wave to hear it', async () => {
      const { events } = await practice.client.workflow.getHandle(waveWorkflowId(id, FLIGHT, 0, 0)).fetchHistory();
      const told = ({ workflowExecutionSignaledEventAttributes: signal }: NonNullable<typeof events>[number]) =>
        signal?.signalName === 'steerWave';
      return events?.some(told) || undefined;
    });
    const { stages } = await practice.until('both to end', ({ stages: [stage] }) => stage?.tally.succeeded === 2);
    await practice.past(new Date(Date.now() + WHILE).toISOString());
    expect(stages[0]).toMatchObject({ paused: { by: 'test' } });
    for (const store of early) await expectWhole(store);
    for (const store of [...torn, last]) expect(await practice.effects(store)).toEqual([]);
  });

  it('goes on when it is resumed', async () => {
    const before = await newest();
    await say('resume');
    const entries = await Promise.all(torn.map(begun));
    for (const { seq } of entries) expect(seq).toBeGreaterThan(before);
  });
});

describe('a stage that is aborted while stores of it are in work', () => {
  it('begins no further store; those in work stop at a safe point, with nothing left set', async () => {
    await say('abort');
    const held = await practice.until('the train to hold', ({ hold }) => hold?.reason === 'StageAborted');
    expect(held).toMatchObject({
      answers: ['retry-failed', 'skip', 'rollback', 'pause', 'abort'],
      stages: [{ tally: { succeeded: 2, aborted: 2 }, inFlight: 0 }],
    });
    for (const store of torn) {
      const installed = countByNode(await practice.effects(store), 'packages.install');
      expect(Object.keys(installed), 'not all of it').not.toHaveLength(3);
      for (const effect of ['node.up', 'ha.maintenance.disable'])
        expect({ store, [effect]: countByNode(await practice.effects(store), effect) }).toEqual({
          store,
          [effect]: installed,
        });
      await expectNothingSet(store);
    }
    const stood = await newest();
    await practice.past(new Date(Date.now() + WHILE).toISOString());
    for (const store of torn) expect(await since(stood, store)).toEqual([]);
    expect(await practice.effects(last)).toEqual([]);
    expect(await practice.violations()).toEqual([]);
  });

  it('is taken on by `retry-failed`: no node is upgraded twice, and who was never begun follows', async () => {
    const before = await newest();
    await practice.answer('retryFailed');
    expect(await practice.ride(train)).toMatchObject({ state: 'done', tally: { succeeded: 5 } });
    for (const store of [...early, ...torn, last]) {
      await expectWhole(store);
      await expectNothingSet(store);
    }
    const home = (await Promise.all(torn.map((store) => since(before, store))))
      .flat()
      .findLast(({ effect }) => effect === 'ha.maintenance.disable');
    const [first] = await since(before, last);
    expect(first?.seq).toBeGreaterThan(home?.seq ?? Infinity);
    expect(await practice.violations()).toEqual([]);
  });
});
