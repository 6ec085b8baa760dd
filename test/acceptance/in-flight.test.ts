import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { TrainReport } from '#domain/messages/train.js';
import { storeWorkflowId } from '#domain/naming.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/**
 * People step in while nodes are being worked on: abort, pause, resume. One fleet, one stage of four stores, two at a
 * time; then a stage whose window opens while it is paused. What was done to stores is read from the practice fleet's
 * journal.
 */
const FLIGHT = 'flight';
const LATE = 'late';
const ONCE = { n1: 1, n2: 1, n3: 1 };
/** A store that goes on has its next node drained long before. */
const WHILE = 4_000;
const MINUTE = 60_000;

let practice: Practice;
/** Aborted while a node is drained; paused after a node, then aborted in an upgrade; in work during a pause; waiting. */
let drained: string;
let standing: string;
let inFlight: string;
let waiting: string;
let late: string;
let train: WorkflowHandle;

beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      const [first, rest] = fleet.stages as [(typeof fleet.stages)[number], (typeof fleet.stages)[number]];
      fleet.stages = [
        { ...first, name: FLIGHT, stores: 4, limits: { ...first.limits, maxConcurrency: 2 } },
        { ...rest, name: LATE },
      ].map((stage) => ({ ...stage, approval: { required: false } }));
    },
  });
  const stages = await practice.stages();
  [drained, standing, inFlight, waiting] = stages[FLIGHT] as [string, string, string, string];
  [late] = stages[LATE] as [string];
});
afterAll(() => practice?.stop());

const say = (update: 'abort' | 'pause' | 'resume', what: { stage?: string; store?: string } = {}): Promise<string> =>
  train.executeUpdate<string, [object]>(update, { args: [{ by: 'test', ...what }] });
const newest = async (): Promise<number> => (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
const since = async (seq: number, store: string): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.seq > seq);
const seen = (store: string, effect: string, seq = 0): Promise<LabEntry> =>
  practice.seen(
    `${effect} at ${store}`,
    (entry) => entry.seq > seq && entry.store === store && entry.effect === effect,
  );
/** From the train to the wave to the store: what was said is on its way when the train has answered. */
const hasHeard = (store: string, times: number) =>
  practice.eventually(`${store} to hear it`, async () => {
    const { events } = await practice.client.workflow.getHandle(storeWorkflowId(store)).fetchHistory();
    const told = events?.filter((event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerStore');
    return (told?.length ?? 0) >= times || undefined;
  });
const expectCounts = async (store: string, counts: Record<string, Record<string, number>>): Promise<void> => {
  const entries = await practice.effects(store);
  for (const [effect, byNode] of Object.entries(counts))
    expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: byNode });
};
const passes = (milliseconds: number) => practice.past(new Date(Date.now() + milliseconds).toISOString());

describe('a store that is aborted while a node is drained', () => {
  it('is whole again, with nothing changed, and the others of its stage go on', async () => {
    // Guests cannot leave: the drain lasts until the store has heard of it.
    await practice.lab.addFault({ id: 'stuck', store: drained, kind: 'migration-fails' });
    train = await practice.startTrain({ stages: [FLIGHT] });
    const { node } = (await seen(drained, 'ha.maintenance.enable')) as { node: string };
    await say('abort', { store: drained });
    await hasHeard(drained, 1);
    await practice.lab.removeFault('stuck');

    // The other one in work is told to stand still, in the middle of its first node.
    await seen(standing, 'packages.begin');
    await say('pause', { store: standing });
    await hasHeard(standing, 1);

    await seen(inFlight, 'packages.begin');
    const once = { [node]: 1 };
    await expectCounts(drained, {
      'ha.maintenance.enable': once,
      'ha.maintenance.disable': once,
      'ceph.noout.set': once,
      'ceph.noout.unset': once,
      'unit.start': {},
      'packages.begin': {},
      'packages.install': {},
      'node.reboot.request': {},
      'node.down': {},
    });
    expect(await practice.leftSet(drained)).toEqual([]);
  });
});

describe('a train that is paused while stores are in work', () => {
  let stoodAt: number;

  it('starts nothing, also when its workers are killed; what is in work ends, and a paused store stands after a node', async () => {
    await say('pause');
    await practice.eventually('the paused store to stand', async () =>
      (await practice.storeView(standing).catch(() => undefined))?.paused ? true : undefined,
    );
    stoodAt = await newest();
    const [[node] = []] = Object.entries(countByNode(await practice.effects(standing), 'packages.install'));
    const once = { [node as string]: 1 };
    const stands = () =>
      expectCounts(standing, {
        'ha.maintenance.enable': once,
        'packages.install': once,
        'node.up': once,
        'ha.maintenance.disable': once,
        'ceph.noout.unset': once,
      });
    await stands();
    expect(await practice.leftSet(standing)).toEqual([]);

    expect(practice.service.kill('control', 'SIGKILL')).toBe(true);
    await practice.eventually('what is in work to end', async () => {
      const home = countByNode(await practice.effects(inFlight), 'ha.maintenance.disable');
      return Object.keys(home).length === 3 || undefined;
    });
    await practice.until('its end to be heard of', ({ stages }) => stages[0]?.tally.succeeded === 1);
    await passes(WHILE);
    await expectCounts(inFlight, { 'packages.install': ONCE, 'node.down': ONCE, 'ha.maintenance.disable': ONCE });
    await stands();
    expect(await since(stoodAt, standing)).toEqual([]);
    expect(await practice.effects(waiting)).toEqual([]);
  });

  it('goes on when it is resumed, but for a store that is paused by itself', async () => {
    const before = await newest();
    await say('resume');
    const begun = await seen(waiting, 'packages.begin');
    expect(begun.seq).toBeGreaterThan(before);
    expect(await since(stoodAt, standing)).toEqual([]);
  });
});

describe('a store that is aborted while a node is upgraded', () => {
  it('ends with that node, whole, and touches no further one', async () => {
    const before = await newest();
    const [first] = Object.keys(countByNode(await practice.effects(standing), 'packages.install')) as [string];
    await say('resume', { store: standing });
    const { node: second } = (await seen(standing, 'packages.begin', before)) as { node: string };
    await say('abort', { store: standing });
    expect((await train.result()) as TrainReport).toMatchObject({
      state: 'done',
      tally: { succeeded: 2, aborted: 2, failed: 0 },
    });
    const both = { [first]: 1, [second]: 1 };
    for (const effect of ['packages.install', 'node.reboot.request', 'node.up'])
      await expectCounts(standing, { [effect]: both });
    for (const effect of ['ha.maintenance.enable', 'ha.maintenance.disable', 'ceph.noout.set', 'ceph.noout.unset'])
      await expectCounts(standing, { [effect]: both });
    expect(await practice.leftSet(standing)).toEqual([]);
    for (const store of [inFlight, waiting])
      await expectCounts(store, { 'packages.install': ONCE, 'node.up': ONCE, 'ha.maintenance.disable': ONCE });
    expect(await practice.violations()).toEqual([]);
  });
});

describe('a train that is paused while it waits for its window', () => {
  it('begins nothing when the window opens, until it is resumed', async () => {
    const opens = new Date(Math.ceil((Date.now() + 6_000) / MINUTE) * MINUTE);
    await practice.editFleet((fleet) => {
      fleet['timeZone'] = 'UTC';
      const window = { start: timeOfDay(opens), end: timeOfDay(new Date(opens.getTime() + 60 * MINUTE)) };
      Object.assign(fleet.stages[1] as object, { window });
    });
    train = await practice.startTrain({ stages: [LATE] });
    await practice.until('the window to be waited for', ({ stages }) => stages[0]?.state === 'awaiting window');
    await say('pause');
    await practice.past(opens.toISOString());
    await passes(WHILE);
    expect(await practice.effects(late)).toEqual([]);
    const before = await newest();
    await say('resume');
    expect((await seen(late, 'ha.maintenance.enable')).seq).toBeGreaterThan(before);
  });
});

const timeOfDay = (at: Date): string => at.toISOString().slice(11, 16);
