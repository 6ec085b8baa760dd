import { describe, expect, it } from 'vitest';
import type { TrainView } from '#domain/messages/train.js';
import type { wave } from '#workflows/index.js';
import { answerUpdates, decideUpdate, pauseUpdate, resumeUpdate } from '#workflows/messages.js';
import { aPlan, currentPreflight, PLAN_HASH } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import {
  eventsOf,
  eventually,
  heldFor,
  trainUntil,
  waveUntil,
  type FakeStore,
  type World,
} from '../support/workflow-harness.js';

/** Stores that were away come back into a train that is held, breaches, or has no window for them. */

type Train = Awaited<ReturnType<World['startTrain']>>;

const by = { by: 'anna' };
const quick = { readFacts: async () => currentPreflight() };
const limits = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };

const say = (train: Train, answer: keyof typeof answerUpdates) =>
  train.executeUpdate(answerUpdates[answer], { args: [by] });
const decide = (train: Train, decision: 'approve' | 'reject', stage = 'wave-1') =>
  train.executeUpdate(decideUpdate, { args: [{ stage, planHash: PLAN_HASH, decision, via: 'cli', ...by }] });
const stageOf = (view: TrainView, name: string) => view.stages.find((stage) => stage.name === name);

/** A first stage of which s002 and s003 are away, and a second one that waits for its approval. */
const twoStages = () =>
  aPlan()
    .stage('canary', { stores: ['s001', 's002', 's003'], limits })
    .stage('wave-1', { stores: ['s004'], approval: { required: true } })
    .build();

/** Both come back while nothing may start, so that one round has both. */
async function bothBack(world: World, train: Train) {
  await train.executeUpdate(pauseUpdate, { args: [by] });
  const late = await world.stores(['s002', 's003'], quick);
  await eventually('both have answered a greeting', async () => {
    const events = await eventsOf(train);
    const greetings = events.flatMap(({ eventId, activityTaskScheduledEventAttributes: asked }) =>
      asked?.activityType?.name === 'hello' ? [String(eventId)] : [],
    );
    const answered = events.map(({ activityTaskCompletedEventAttributes: done }) => String(done?.scheduledEventId));
    return greetings.filter((id) => answered.includes(id)).length === 2;
  });
  return { s002: late.get('s002') as FakeStore, s003: late.get('s003') as FakeStore };
}

describe('a train that is held while it catches up', () => {
  it('starts no further store of the round, lets the one in work end, and goes on when the hold is over', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's004'], quick);
    world.central.plans(twoStages());
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const { s002, s003 } = await bothBack(world, train);
    const inWork = s002.hold('openOperation');
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await inWork.reached;
    await decide(train, 'reject');
    await heldFor(train, 'ApprovalRejected');
    const round = world.client.workflow.getHandle<typeof wave>('2026-w48/canary/r1');
    await eventually('the wave was told', async () =>
      (await eventsOf(round)).some(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerWave',
      ),
    );
    inWork.release();
    const progress = await waveUntil(round, 's002 is done', ({ tally }) => tally.succeeded === 1);
    expect(progress).toMatchObject({ started: 1, inFlight: 0 });
    expect(s003.tasks).toEqual([]);
    await say(train, 'ask-again');
    await trainUntil(train, 's003 is done', (view) => stageOf(view, 'canary')?.tally.succeeded === 3);
    await heldFor(train, 'ApprovalPending');
    await decide(train, 'approve');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 4 } });
  });
});
