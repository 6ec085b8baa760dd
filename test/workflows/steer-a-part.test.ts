import type { WorkflowHandle } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import type { TrainView } from '#domain/messages/train.js';
import { abortUpdate, decideUpdate, pauseUpdate, resumeUpdate, trainQuery } from '#workflows/messages.js';
import type { patchTrain } from '#workflows/index.js';
import { aPlan, currentPreflight, PLAN_HASH, type StageChange } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import {
  eventsOf,
  eventually,
  heldFor,
  trainUntil,
  type HistoryEvent,
  type World,
} from '../support/workflow-harness.js';

/** How people steer a stage, or one store, while the train waits: for an approval, for a window, during a soak. */

type Train = WorkflowHandle<typeof patchTrain>;
interface Wait {
  /** The stage that waits, and how the train is brought there. */
  stage: string;
  reach(world: World, stores: string[]): Promise<Train>;
  /** Ends the wait, or lets it end. */
  letGo(world: World, train: Train): Promise<void>;
  /** Whether it has ended, by what has happened since the train was told something. */
  isOver(events: HistoryEvent[]): boolean;
}

const anna = { by: 'anna' };
const bert = { by: 'bert' };
const quick = { readFacts: async () => currentPreflight() };
/** Long enough for a pause to be said in it. */
const SOAK = 3_000;
const OPENS_IN = 1_500;

const oneStage = (stores: string[], change: Partial<StageChange> = {}) =>
  aPlan()
    .stage('canary', { stores, ...change })
    .build();
const isWaitOver = (events: HistoryEvent[]): boolean => {
  const fired = events.findIndex((event) => event.timerFiredEventAttributes);
  return fired >= 0 && events.slice(fired).some((event) => event.workflowTaskCompletedEventAttributes);
};
const WAITS: Record<string, Wait> = {
  'for its approval': {
    stage: 'canary',
    async reach(world, stores) {
      world.central.plans(oneStage(stores, { approval: { required: true } }));
      const train = await world.startTrain();
      await heldFor(train, 'ApprovalPending');
      return train;
    },
    async letGo(_, train) {
      const decision = { stage: 'canary', planHash: PLAN_HASH, decision: 'approve' as const, via: 'cli', ...anna };
      await train.executeUpdate(decideUpdate, { args: [decision] });
    },
    // Whoever approved was answered when the train had gone on.
    isOver: () => true,
  },
  'for its window': {
    stage: 'canary',
    async reach(world, stores) {
      world.central.plans(oneStage(stores));
      // Whenever it is asked, it opens in a moment, until it is open.
      const opens = () => ({ opens: new Date(Date.now() + OPENS_IN).toISOString() });
      world.central.on('stageWindows', async () => ({ ...opens(), excluded: [], never: [], stores: {} }));
      const train = await world.startTrain();
      await trainUntil(train, 'it waits', ({ stages }) => stages[0]?.state === 'awaiting window');
      return train;
    },
    async letGo(world) {
      world.central.on('stageWindows', async () => ({ excluded: [], never: [], stores: {} }));
    },
    isOver: isWaitOver,
  },
  'in the soak': {
    stage: 'pilots',
    async reach(world, stores) {
      await world.store('s000', quick);
      world.central.plans(
        aPlan()
          .stage('pilots', { stores: ['s000'], soak: SOAK })
          .stage('canary', { stores })
          .build(),
      );
      const train = await world.startTrain();
      await trainUntil(train, 'it soaks', ({ stages }) => stages[0]?.state === 'soaking');
      return train;
    },
    letGo: async () => undefined,
    isOver: isWaitOver,
  },
};

/** What a train does when it goes on. */
const isWork = (event: HistoryEvent): boolean =>
  Boolean(event.startChildWorkflowExecutionInitiatedEventAttributes) ||
  ['stageWindows', 'promoteStage'].includes(event.activityTaskScheduledEventAttributes?.activityType?.name ?? '');
/** What people have said, as the train shows it. */
const saidIn = ({ paused, pausedStores, stages, answers }: TrainView) => ({
  paused,
  pausedStores,
  pausedStages: stages.filter((stage) => stage.paused).map(({ name }) => name),
  answers,
});

describe.each(Object.entries(WAITS))('while a train waits %s', (_, { stage, reach, letGo, isOver }) => {
  it('its stage can be paused, and stores paused or aborted before their turn; said twice it changes nothing', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    const train = await reach(world, [...stores.keys()]);
    const say = (update: typeof pauseUpdate, what: { stage: string } | { store: string }, who = anna) =>
      train.executeUpdate(update, { args: [{ ...who, ...what }] });
    const look = async () => saidIn(await train.query(trainQuery));
    const s001 = { store: 's001' };
    const s002 = { store: 's002' };

    await expect(say(pauseUpdate, { stage })).resolves.toBe(
      `Stage ${stage} is paused by anna. It starts no further store.`,
    );
    await expect(say(pauseUpdate, s001)).resolves.toMatch(/^s001 is paused by anna\. It is not started;/);
    await expect(say(abortUpdate, s002)).resolves.toMatch(/^s002 is aborted by anna\./);
    const told = await look();
    expect(told).toMatchObject({ pausedStores: ['s001'], pausedStages: [stage] });
    expect(told.paused, 'the train itself is not').toBeUndefined();
    await expect(say(pauseUpdate, { stage }, bert)).resolves.toMatch(/^Stage \S+ was already paused by anna\.$/);
    await expect(say(pauseUpdate, s001, bert)).resolves.toMatch(/^s001 is paused by/);
    await expect(say(abortUpdate, s002, bert)).resolves.toMatch(/^s002 is aborted by/);
    expect(await look()).toEqual(told);

    await letGo(world, train);
    const since = await eventually('the wait to be over', async () => {
      const events = await eventsOf(train);
      const at = events.findIndex((event) => event.workflowExecutionUpdateAcceptedEventAttributes);
      return isOver(events.slice(at)) ? events.slice(at) : undefined;
    });
    expect(since.filter(isWork), 'a stage that is paused').toEqual([]);
    await trainUntil(
      train,
      'it to say what it waits for',
      ({ doing }) => doing === `Stage ${stage} is paused by anna. Nothing goes on until it is resumed.`,
    );
    for (const store of stores.values()) expect(store.calls).toEqual([]);

    await expect(say(resumeUpdate, { stage })).resolves.toBe(`Stage ${stage} is resumed by anna.`);
    await expect(say(resumeUpdate, { stage }, bert)).resolves.toBe(`Stage ${stage} is not paused.`);
    const isThrough = ({ stages }: TrainView) => {
      const { inFlight, tally } = stages.at(-1) ?? {};
      return inFlight === 0 && tally?.succeeded === 1 && tally.aborted === 1;
    };
    const waits = await trainUntil(train, 's003 is done, and s002 is not to be', isThrough);
    expect(waits.stages.at(-1)).toMatchObject({ name: 'canary', state: 'running' });
    for (const store of ['s001', 's002']) expect(stores.get(store)?.calls).toEqual([]);

    await expect(say(resumeUpdate, s001)).resolves.toBe('s001 is resumed by anna.');
    await expect(say(resumeUpdate, s001, bert)).resolves.toBe('s001 is not paused.');
    const succeeded = stage === 'canary' ? 2 : 3;
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded, aborted: 1 } });
    expect([...stores].map(([id, { tasks }]) => [id, tasks.length])).toEqual([
      ['s001', 1],
      ['s002', 0],
      ['s003', 1],
    ]);
    const rows = world.central.ledgerOf('results').flatMap(({ results }) => results);
    expect(rows.filter(({ store }) => store === 's002')).toMatchObject([{ outcome: 'aborted', reason: 'Aborted' }]);
  });
});
