import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SUDO } from '#activities/store/deps.js';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { TrainView } from '#domain/messages/train.js';
import { storeQueue } from '#domain/naming.js';
import { onNode } from '../support/on-node.js';
import { countByNode, givenPractice, touchedAfter, type EditableFleet, type Practice } from '../support/practice.js';

/**
 * Stores that were offline at their turn come back when their stage is through, and the release breaks them. The next
 * stage is in work by then, the last one has not begun. Judged by the practice fleet's journal.
 */
const FIRST = 'first';
const NEXT = 'next';
const LAST = 'last';
/** A stage that nobody keeps waiting has begun long before. */
const WHILE = 3_000;
const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
/** Of the first stage, in the order in which it takes them; two at a time. All but the first are offline at their turn. */
let well: string;
let failing: string;
let inFlight: string;
/** Of the stages behind it. */
let next: string;
let last: string;
let train: WorkflowHandle;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      const [stage] = fleet.stages as [EditableFleet['stages'][number]];
      const limits = {
        ...stage.limits,
        maxConcurrency: 2,
        errorThreshold: { count: 0 },
        offlineThreshold: { percent: 100, minSample: 1 },
        offlineAfter: '5s',
      };
      fleet.stages = [
        { name: FIRST, stores: 3 },
        { name: NEXT, stores: 1 },
        { name: LAST, stores: 'rest' },
      ].map((own) => ({ ...stage, ...own, approval: { required: false }, limits }));
    },
  });
  const stages = await practice.stages();
  [well, failing, inFlight] = stages[FIRST] as [string, string, string];
  [next] = stages[NEXT] as [string];
  [last] = stages[LAST] as [string];
});
afterAll(() => practice?.stop());

/** Whoever is back before the turn of the late ones is free is taken in one round with the others. */
const hasAnsweredItsGreeting = (store: string): Promise<true> =>
  practice.eventually(`${store} to be greeted`, async () => {
    const events = (await train.fetchHistory()).events ?? [];
    const greetings = events.flatMap(({ eventId, activityTaskScheduledEventAttributes: asked }) =>
      asked?.activityType?.name === 'hello' && asked.taskQueue?.name === storeQueue(store) ? [String(eventId)] : [],
    );
    const isAnswered = events.some(({ activityTaskCompletedEventAttributes: done }) =>
      greetings.includes(String(done?.scheduledEventId)),
    );
    return isAnswered || undefined;
  });
const isHeld = (): Promise<TrainView> =>
  practice.until('the train to hold for the late ones', ({ hold }) => hold?.reason === 'ErrorThresholdExceeded');

describe('a stage that is through, and stores of it that come back and fail', () => {
  it('does not keep the next stage waiting while they are away', async () => {
    for (const store of [failing, inFlight]) await practice.lab.setWan(store, false);
    // Its guests cannot leave: the next stage is in work until all are back.
    await practice.lab.addFault({ id: 'stuck', store: next, kind: 'migration-fails' });
    await practice.lab.addFault({ id: 'broken', store: failing, kind: 'apt-fail' });
    train = await practice.startTrain();
    await practice.seen(
      `${next} to be drained`,
      ({ store, effect }) => store === next && effect === 'ha.maintenance.enable',
    );
    const { stages, awaited } = await practice.view();
    expect(stages[0]).toMatchObject({ name: FIRST, tally: { succeeded: 1, offline: 2 } });
    expect(awaited).toEqual([failing, inFlight].sort());
    for (const store of [failing, inFlight]) expect(await practice.effects(store)).toEqual([]);
  });

  it('holds the train; from that second on no further store is touched, and what is in flight ends safely', async () => {
    for (const store of [failing, inFlight]) await practice.comesBack(store);
    for (const store of [failing, inFlight]) await hasAnsweredItsGreeting(store);
    expect(await practice.effects(failing), 'one round at a time').toEqual([]);
    await practice.lab.removeFault('stuck');

    const { hold } = await isHeld();
    const breach = (await practice.effects(failing)).at(-1) as LabEntry;
    await practice.until('what is in flight to end', ({ stages }) => stages[0]?.tally.succeeded === 2);
    const after = (await practice.effects(inFlight)).filter(({ seq }) => seq > breach.seq);
    expect(countByNode(after, 'node.up'), 'work went on beside the breach').not.toEqual({});
    expect(countByNode(await practice.effects(inFlight), 'node.up')).toEqual(ONCE);
    await practice.past(new Date(Date.parse(hold?.since ?? '') + WHILE).toISOString());
    expect(await touchedAfter(practice, breach, [well, next, last])).toEqual([]);
    expect(await practice.effects(last)).toEqual([]);
  });

  it('lists what people may answer, for the stage that is through', async () => {
    const { state, hold, answers, stages, notSucceeded } = await isHeld();
    expect({ state, stage: hold?.stage }).toEqual({ state: 'held', stage: FIRST });
    expect(answers).toEqual(['retry-failed', 'skip', 'rollback', 'pause', 'abort']);
    expect(stages[0]).toMatchObject({ tally: { succeeded: 2, failed: 1, offline: 0 }, inFlight: 0 });
    expect(stages[2]).toMatchObject({ name: LAST, stores: 1, started: 0, tally: { succeeded: 0 } });
    expect(notSucceeded).toContainEqual(
      expect.objectContaining({ store: failing, outcome: 'failed', reason: 'UpgradeFailed' }),
    );
  });

  it('goes on when the repair has worked, `retry-failed`, and ends with everything done once', async () => {
    await practice.lab.removeFault('broken');
    const { node } = (await practice.effects(failing)).findLast(({ effect }) => effect === 'unit.start') as LabEntry;
    // What its runbook says.
    const { code } = await onNode(join(practice.dir, 'edge', 'lab'), failing, String(node), [
      ...SUDO,
      'dpkg',
      '--configure',
      '-a',
    ]);
    expect(code).toBe(0);
    await practice.answer('retryFailed');
    const tally = { succeeded: 5, failed: 0, offline: 0, missed: 0 };
    expect(await practice.ride(train)).toMatchObject({ state: 'done', planned: 5, tally });
    for (const store of [well, failing, inFlight, next, last]) {
      const entries = await practice.effects(store);
      for (const effect of ['packages.install', 'node.reboot.request', 'node.down', 'node.up'])
        expect({ [store]: { [effect]: countByNode(entries, effect) } }).toEqual({ [store]: { [effect]: ONCE } });
      expect({ [store]: await practice.leftSet(store) }).toEqual({ [store]: [] });
    }
    const [repaired, begun] = [await practice.effects(failing), await practice.effects(last)];
    const home = repaired.findLast(({ effect }) => effect === 'ha.maintenance.disable');
    expect(home?.seq, 'nobody else before the stage is well').toBeLessThan(begun[0]?.seq ?? 0);
    expect(await practice.violations()).toEqual([]);
  });
});
