import { ApplicationFailure } from '@temporalio/common';
import { optionalTsToMs } from '@temporalio/common/lib/time.js';
import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import type { TrainView } from '#domain/messages/train.js';
import { totalOf } from '#domain/outcomes.js';
import {
  abortUpdate,
  answerUpdates,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  trainQuery,
} from '#workflows/messages.js';
import { aPlan, aReopenedTrain, currentPreflight, OTHER_HASH, PLAN_HASH } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { eventsOf, eventually, heldFor, trainUntil, type HistoryEvent } from '../support/workflow-harness.js';

/** How people steer a train, a stage of it or one store, and how stores that were away come back into it. */

const quick = { readFacts: async () => currentPreflight() };
const failedStep: StepAnswer<never> = { kind: 'failed', stop: { reason: 'ConfigRejected', summary: 'no' } };
const by = { by: 'anna' };
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const stageOf = (view: TrainView, name: string) => view.stages.find((stage) => stage.name === name);
const refusal = (sentence: RegExp) => ({ cause: { message: expect.stringMatching(sentence) as string } });
const oneStage = (stores: string[], change = {}) =>
  aPlan()
    .stage('canary', { stores, ...change })
    .build();

describe('a pause', () => {
  it('given while a train waits for an approval is kept: approved or not, nothing starts until it is resumed', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(oneStage(['s001'], { approval: { required: true } }));
    const train = await world.startTrain();
    const { planHash } = await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(pauseUpdate, { args: [by] });
    const decision = { stage: 'canary', planHash: planHash as string, decision: 'approve' as const, via: 'cli', ...by };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    await trainUntil(train, 'it is paused', ({ state }) => state === 'paused');
    expect(world.central.promotions).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(store.tasks).toHaveLength(1);
  });

  it('given during a soak holds the train before its gate', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(oneStage(['s001'], { soak: 1_500 }));
    const train = await world.startTrain();
    await trainUntil(train, 'it soaks', (view) => stageOf(view, 'canary')?.state === 'soaking');
    await train.executeUpdate(pauseUpdate, { args: [by] });
    await eventually('the soak is over', async () =>
      (await eventsOf(train)).some((event) => event.timerFiredEventAttributes),
    );
    expect(store.calls).not.toContain('probeStore');
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done' });
  });

  it('of a stage that has not begun waits there, and lets the one before end', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    const held = stores.get('s001')?.hold('openOperation');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    await held?.reached;
    await expect(train.executeUpdate(pauseUpdate, { args: [{ ...by, stage: 'wave-9' }] })).rejects.toMatchObject(
      refusal(/wave-9 is not a stage of this train. Its stages: canary, wave-1/),
    );
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, stage: 'wave-1' }] });
    held?.release();
    await trainUntil(train, 'the canary is done', (view) => stageOf(view, 'canary')?.state === 'done');
    expect(stores.get('s002')?.calls).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, stage: 'wave-1' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });

  it('of one store lets the others go on; in work it stands still between two nodes, until it is resumed', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003']);
    const held = stores.get('s001')?.hold('rejoinNode n1');
    world.central.plans(oneStage(['s001', 's002', 's003'], { limits: { maxConcurrency: 1 } }));
    const train = await world.startTrain();
    await held?.reached;
    for (const store of ['s001', 's002']) await train.executeUpdate(pauseUpdate, { args: [{ ...by, store }] });
    await expect(train.executeUpdate(pauseUpdate, { args: [{ ...by, store: 's999' }] })).rejects.toMatchObject(
      refusal(/s999 is not in the plan/),
    );
    // From the train to the wave to the store: the message is on its way when the train has answered.
    await eventually('s001 was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some((event) => event.workflowExecutionSignaledEventAttributes),
    );
    held?.release();
    await eventually(
      's001 stands still',
      async () => ((await world.storeHandle('s001').query('store')) as { paused: boolean }).paused,
    );
    expect(stores.get('s001')?.work().at(-1)).toBe('rejoinNode n1');
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, store: 's001' }] });
    const waits = await trainUntil(
      train,
      's003 has ended, s002 waits',
      (view) => stageOf(view, 'canary')?.tally.succeeded === 2,
    );
    expect(stageOf(waits, 'canary')?.inFlight).toBe(0);
    expect(stores.get('s002')?.calls).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, store: 's002' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
  });
});

describe('an abort', () => {
  it('of one store ends it at a safe point or before its turn, and the stage goes on', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003']);
    const held = stores.get('s001')?.hold('drainNode n1');
    world.central.plans(oneStage(['s001', 's002', 's003'], { limits: { maxConcurrency: 1 } }));
    const train = await world.startTrain();
    await held?.reached;
    for (const store of ['s001', 's002']) await train.executeUpdate(abortUpdate, { args: [{ ...by, store }] });
    await eventually('s001 was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerStore',
      ),
    );
    held?.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { aborted: 2, succeeded: 1 } });
    expect(stores.get('s001')?.work().at(-1)).toBe('closeOperation aborted');
    expect(stores.get('s002')?.calls).toEqual([]);
  });

  it('of a stage stops it at safe points and holds the train; skip goes on with the rest of the stage', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002']);
    const held = stores.get('s001')?.hold('drainNode n1');
    world.central.plans(oneStage(['s001', 's002'], { limits: { maxConcurrency: 1 } }));
    const train = await world.startTrain();
    await held?.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary', reason: 'a doubt' }] });
    await eventually('s001 was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    held?.release();
    const view = await heldFor(train, 'StageAborted');
    expect(view.hold?.summary).toBe('Stage canary was aborted by anna: a doubt.');
    expect(stores.get('s002')?.calls).toEqual([]);
    await expect(train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] })).resolves.toBe(
      'Stage canary was aborted by anna: a doubt.',
    );
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { aborted: 1, succeeded: 1 } });
  });

  it('of a stage that waits for its approval holds before anything is promoted; when it goes on it asks again', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(oneStage(['s001'], { approval: { required: true } }));
    const train = await world.startTrain();
    const { planHash } = await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    const view = await heldFor(train, 'StageAborted');
    expect(view.hold?.summary).toBe('Stage canary was aborted by anna. Nothing of it has started.');
    expect(view.answers).toEqual(['retry-failed', 'pause', 'abort']);
    expect(world.central.promotions).toEqual([]);
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await heldFor(train, 'ApprovalPending');
    const decision = { stage: 'canary', planHash: planHash as string, decision: 'approve' as const, via: 'cli', ...by };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('of a stage that waits for its window holds before anything is promoted', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(oneStage(['s001']));
    let opens: string | undefined = inSeconds(3_600);
    world.central.on('stageWindows', async () => ({ opens, excluded: [], never: [], stores: {} }));
    const train = await world.startTrain();
    await trainUntil(train, 'it waits', (view) => stageOf(view, 'canary')?.state === 'awaiting window');
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    await heldFor(train, 'StageAborted');
    expect(world.central.promotions).toEqual([]);
    opens = undefined;
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(store.tasks).toHaveLength(1);
  });

  it('of a stage that has not begun holds the train when it comes to it', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    const held = stores.get('s001')?.hold('openOperation');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    await held?.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'wave-1' }] });
    held?.release();
    const view = await heldFor(train, 'StageAborted');
    expect(view.hold?.stage).toBe('wave-1');
    expect(world.central.promotions).toHaveLength(1);
    expect(stores.get('s002')?.calls).toEqual([]);
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 1, aborted: 1 } });
  });

  it('of a stage that soaks holds before its gate; when it goes on it soaks once more', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(oneStage(['s001'], { soak: 2_000 }));
    const train = await world.startTrain();
    await trainUntil(train, 'it soaks', (view) => stageOf(view, 'canary')?.state === 'soaking');
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    const view = await heldFor(train, 'StageAborted');
    expect(view.answers).toEqual(['retry-failed', 'rollback', 'pause', 'abort']);
    expect(store.calls).not.toContain('probeStore');
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await trainUntil(train, 'it soaks', (now) => stageOf(now, 'canary')?.state === 'soaking');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('of a stage that is measured holds before the next one, whatever was measured', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    const held = stores.get('s001')?.hold('probeStore');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    await held?.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    held?.release();
    await heldFor(train, 'StageAborted');
    expect(world.central.promotions).toHaveLength(1);
    expect(world.central.confirmed).toEqual([]);
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });

  it('of a stage that stands still already, or a store that is done, is refused with what can be done', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    world.central.plans(
      oneStage(['s001', 's002'], { limits: { maxConcurrency: 1, errorThreshold: { count: 0, minSample: 1 } } }),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    await expect(train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] })).rejects.toMatchObject(
      refusal(/^Stage canary stands still already \(ErrorThresholdExceeded\)\. It takes: retry-failed, .*abort\.$/),
    );
    await expect(train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's001' }] })).rejects.toMatchObject(
      refusal(/^s001 has ended already \(succeeded\); there is nothing of it to abort\.$/),
    );
    await expect(train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's002' }] })).resolves.toBe(
      's002 has ended already (failed). anna says that this train does not take it again.',
    );
    await expect(train.executeUpdate(answerUpdates['retry-failed'], { args: [by] })).rejects.toMatchObject(
      refusal(/^The train does not take "retry-failed" now\..* It takes: skip, rollback, pause, abort\.$/s),
    );
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1, failed: 1 } });
    expect(stores.get('s002')?.tasks).toHaveLength(1);
  });
});

describe('a pause or a resume that changes nothing', () => {
  it('is answered with what is so, and leaves who paused first', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(oneStage(['s001'], { approval: { required: true } }));
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const said = (update: typeof pauseUpdate, change = {}) =>
      train.executeUpdate(update, { args: [{ ...by, ...change }] });
    await expect(said(resumeUpdate)).resolves.toBe('The train is not paused.');
    await expect(said(resumeUpdate, { stage: 'canary' })).resolves.toBe('Stage canary is not paused.');
    await expect(said(resumeUpdate, { store: 's001' })).resolves.toBe('s001 is not paused.');
    await said(pauseUpdate);
    await expect(said(pauseUpdate, { by: 'bert' })).resolves.toBe('The train was already paused by anna.');
    expect((await train.query(trainQuery)).paused).toMatchObject({ by: 'anna' });
    await train.executeUpdate(abortUpdate, { args: [by] });
    await train.result();
  });
});

describe('a message to a train that writes down how it ended', () => {
  it('is told that it has ended, and how', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(oneStage(['s001']));
    let write: () => void = () => undefined;
    const written = new Promise<void>((resolve) => (write = resolve));
    world.central.on('record', async (entry) => {
      if (entry.kind === 'train' && entry.row.state === 'done') await written;
    });
    const train = await world.startTrain();
    await trainUntil(train, 'the end', ({ state }) => state === 'done');
    const ended = refusal(/^The train has ended \(done\)\. 1 of 1 store runs 2026\.48\.0\.$/);
    await expect(train.executeUpdate(pauseUpdate, { args: [by] })).rejects.toMatchObject(ended);
    await expect(train.executeUpdate(answerUpdates.skip, { args: [by] })).rejects.toMatchObject(ended);
    const decision = { stage: 'canary', planHash: PLAN_HASH, decision: 'approve' as const, via: 'cli', ...by };
    await expect(train.executeUpdate(decideUpdate, { args: [decision] })).rejects.toMatchObject(ended);
    write();
    await train.result();
  });
});

describe('a store that was offline', () => {
  const limits = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };

  it('is tried again when it answers, in a round of its own stage, while the train goes on', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's003'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits })
        .stage('wave-1', { stores: ['s003'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    const asked = await heldFor(train, 'ApprovalPending');
    expect(asked.awaited).toEqual(['s002']);
    expect(stageOf(asked, 'canary')?.tally).toMatchObject({ succeeded: 1, offline: 1 });

    const late = await world.store('s002', quick);
    await trainUntil(train, 's002 is done', (view) => stageOf(view, 'canary')?.tally.succeeded === 2);
    expect(late.tasks.map(({ operationId }) => operationId)).toEqual(['2026-w48/canary/s002/r1']);
    expect((await train.query(trainQuery)).hold?.reason).toBe('ApprovalPending');

    const decision = { stage: 'wave-1', planHash: PLAN_HASH, decision: 'approve' as const, via: 'cli', ...by };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    const report = await train.result();
    expect(report).toMatchObject({ state: 'done', planned: 3, tally: { succeeded: 3 } });
    expect(world.central.confirmed.map(({ stage, stores }) => [stage, stores])).toEqual([
      ['canary', ['s001']],
      ['wave-1', ['s003']],
      ['canary', ['s002']],
    ]);
  });

  it('stays in view while it is caught up, whatever the other stages do meanwhile', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's003'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits })
        .stage('wave-1', { stores: ['s003'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const late = await world.store('s002');
    const held = late.hold('openOperation');
    late.on('readFacts', async () => currentPreflight());
    await held.reached;
    const decision = { stage: 'wave-1', planHash: PLAN_HASH, decision: 'approve' as const, via: 'cli', ...by };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    const view = await trainUntil(train, 'wave-1 waits for its turn', () => world.central.promotions.length === 2);
    expect(view.wave).toBe('2026-w48/canary/r1');
    // What it was before is not what it is now: it is in work.
    expect(stageOf(view, 'canary')?.tally).toMatchObject({ succeeded: 1, offline: 0 });
    held.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', planned: 3, tally: { succeeded: 3 } });
    expect((await train.query(trainQuery)).wave).toBeUndefined();
  });

  it('is awaited after the last stage, and missed when people do not want to wait', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(oneStage(['s001', 's002'], { limits }));
    const train = await world.startTrain();
    const view = await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
    expect(view.answers).toEqual(['finish', 'rollback', 'pause', 'abort']);
    await train.executeUpdate(answerUpdates.finish, { args: [by] });
    const report = await train.result();
    expect(report).toMatchObject({ state: 'done', planned: 2, tally: { succeeded: 1, missed: 1 } });
    expect(totalOf(report.tally)).toBe(2);
    const rows = world.central.ledgerOf('results').flatMap(({ results }) => results);
    expect(rows.at(-1)).toMatchObject({ store: 's002', outcome: 'missed', reason: 'DeadlineReached' });
  });

  it('is missed when the deadline comes first', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan({ deadline: inSeconds(6) })
        .stage('canary', { stores: ['s001', 's002'], limits })
        .build(),
    );
    const train = await world.startTrain();
    await expect(train.result()).resolves.toMatchObject({ tally: { succeeded: 1, missed: 1 } });
  });
});

describe('a store that is back and refuses the greeting', () => {
  const limits = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };
  const greetings = (events: HistoryEvent[]) => {
    const ids = new Set(
      events
        .filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'hello')
        .map(({ eventId }) => String(eventId)),
    );
    return {
      asked: ids.size,
      failed: events.filter((event) => ids.has(String(event.activityTaskFailedEventAttributes?.scheduledEventId)))
        .length,
      pauses: events.filter((event) => optionalTsToMs(event.timerStartedEventAttributes?.startToFireTimeout) === 10_000)
        .length,
    };
  };

  it('is greeted again after a pause, not at once for ever, and taken when it answers', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(oneStage(['s001', 's002'], { limits }));
    const train = await world.startTrain();
    await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
    const sick = await world.store('s002', {
      ...quick,
      hello: async () => {
        throw ApplicationFailure.nonRetryable('this is not s002');
      },
    });
    const seen = await eventually('a pause', async () => {
      const now = greetings(await eventsOf(train));
      return now.pauses > 0 ? now : undefined;
    });
    expect(seen).toEqual({ asked: 1, failed: 1, pauses: 1 });
    sick.on('hello', async () => ({ store: 's002', protocol: { min: 1, max: 1 }, clock: '' }));
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(greetings(await eventsOf(train))).toMatchObject({ failed: 1 });
  });

  it('with an error that may pass is greeted by the server, which writes nothing down', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(oneStage(['s001', 's002'], { limits }));
    const train = await world.startTrain();
    await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
    const ill = await world.store('s002', {
      ...quick,
      hello: async () => {
        throw new Error('the disk is full');
      },
    });
    await eventually('two greetings', () => ill.calls.length >= 2);
    expect(greetings(await eventsOf(train))).toEqual({ asked: 1, failed: 0, pauses: 0 });
    const asked = (await eventsOf(train)).find(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'hello',
    )?.activityTaskScheduledEventAttributes?.retryPolicy;
    expect(asked?.maximumAttempts).toBe(0);
    expect(optionalTsToMs(asked?.maximumInterval)).toBe(1_800_000);
    ill.on('hello', async () => ({ store: 's002', protocol: { min: 1, max: 1 }, clock: '' }));
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });
});

describe('a store that is back and may not start now', () => {
  it('is greeted again after a pause, not at once for ever', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      oneStage(['s001', 's002'], {
        limits: { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } },
      }),
    );
    const train = await world.startTrain();
    await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
    const frozen = { store: 's002', reason: 'Frozen' as const, detail: 'A freeze has begun.' };
    world.central.on('stageWindows', async () => ({ excluded: [frozen], never: [], stores: {} }));
    const late = await world.store('s002', quick);
    await eventually('a pause', async () =>
      (await eventsOf(train)).some(
        (event) => optionalTsToMs(event.timerStartedEventAttributes?.startToFireTimeout) === 1_800_000,
      ),
    );
    expect(late.calls).toEqual(['hello']);
    expect((await train.query(trainQuery)).awaited).toEqual(['s002']);
    await train.executeUpdate(answerUpdates.finish, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ tally: { succeeded: 1, missed: 1 } });
  });
});

describe('a store that helped itself while it was silent', () => {
  it('is caught up, and does not count as failed', async () => {
    const world = await useWorld();
    await world.store('s002', quick);
    const store = await world.store('s001');
    store.on('drainNode', async () => {
      store.on('readFacts', async () => currentPreflight());
      return { kind: 'refused', stop: { reason: 'StoreCutOff', summary: 'The store gave itself free.' } };
    });
    world.central.plans(
      oneStage(['s001', 's002'], {
        limits: { errorThreshold: { count: 0, minSample: 1 }, offlineThreshold: { count: 1, minSample: 1 } },
      }),
    );
    const train = await world.startTrain();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, failed: 0 } });
    expect(store.tasks.map(({ operationId }) => operationId)).toEqual([
      '2026-w48/canary/s001/r0',
      '2026-w48/canary/s001/r1',
    ]);
    const rows = world.central.ledgerOf('results').flatMap(({ results }) => results);
    expect(rows.flatMap(({ store: id, outcome }) => (id === 's001' ? [outcome] : []))).toEqual(['cutOff', 'succeeded']);
  });
});

describe('a store that is paused by itself and back from an outage', () => {
  const limits = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };
  const twoStages = () =>
    aPlan()
      .stage('canary', { stores: ['s001', 's002'], limits })
      .stage('wave-1', { stores: ['s003'], approval: { required: true } })
      .build();
  const approve = { stage: 'wave-1', planHash: PLAN_HASH, decision: 'approve' as const, via: 'cli', ...by };

  it('is left out of the catching up until it is resumed, and the other stages go on meanwhile', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's003'], quick);
    world.central.plans(twoStages());
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, store: 's002' }] });
    const late = await world.store('s002', quick);
    await eventually('s002 was greeted', () => late.calls.includes('hello'));
    await train.executeUpdate(decideUpdate, { args: [approve] });
    const view = await trainUntil(train, 's003 is done', (seen) => stageOf(seen, 'wave-1')?.tally.succeeded === 1);
    expect(view).toMatchObject({ pausedStores: ['s002'], pausedInWork: [], awaited: ['s002'] });
    expect(late.tasks).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, store: 's002' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
  });

  it('shows as what the train waits for when it was in work already', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's003'], quick);
    world.central.plans(twoStages());
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const late = await world.store('s002', quick);
    const held = late.hold('openOperation');
    await held.reached;
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, store: 's002' }] });
    expect(await train.query(trainQuery)).toMatchObject({ wave: '2026-w48/canary/r1', pausedInWork: ['s002'] });
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, store: 's002' }] });
    held.release();
    await train.executeUpdate(decideUpdate, { args: [approve] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
  });
});

describe('a link outage of more stores than may be in work', () => {
  it('does not freeze the stage, and those that were cut off in mid-work are done when they are back', async () => {
    const world = await useWorld();
    const silent = await world.store('s001', {}, { slots: 1 });
    const others = await world.stores(['s002', 's003'], quick);
    const held = silent.hold('drainNode n1');
    world.central.plans(
      oneStage(['s001', 's002', 's003'], {
        limits: {
          maxConcurrency: 1,
          offlineAfter: 2_000,
          cutOffAfter: 100,
          offlineThreshold: { count: 2, minSample: 1 },
        },
      }),
    );
    const train = await world.startTrain();
    await trainUntil(train, 'the others are done', (view) => stageOf(view, 'canary')?.tally.succeeded === 2);
    await trainUntil(train, 'it is awaited', ({ awaited }) => awaited.includes('s001'));
    expect([...others.values()].map(({ tasks }) => tasks.length)).toEqual([1, 1]);
    silent.on('readFacts', async () => currentPreflight());
    held.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', planned: 3, tally: { succeeded: 3 } });
    expect(silent.tasks.map(({ operationId }) => operationId)).toEqual([
      '2026-w48/canary/s001/r0',
      '2026-w48/canary/s001/r1',
    ]);
  });
});

describe('retry-offline', () => {
  it('runs a round with those that were offline, then one with those not started, and leaves the failed ones', async () => {
    const world = await useWorld();
    await world.store('s001', { ...quick, applyConfig: async () => failedStep });
    world.central.plans(
      oneStage(['s001', 's002', 's003'], {
        limits: {
          maxConcurrency: 1,
          offlineAfter: 2_000,
          errorThreshold: { count: 1, minSample: 1 },
          offlineThreshold: { count: 0, minSample: 1 },
        },
      }),
    );
    const train = await world.startTrain();
    await heldFor(train, 'OfflineThresholdExceeded');
    const late = await world.stores(['s002', 's003'], quick);
    await train.executeUpdate(answerUpdates['retry-offline'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { failed: 1, succeeded: 2 } });
    expect([...late.values()].map(({ tasks }) => tasks.length)).toEqual([1, 1]);
  });
});

describe('a rollback', () => {
  const to = { version: '2026.47.0', sequence: 47, manifest: OTHER_HASH, bundle: OTHER_HASH };
  const from = { version: '2026.48.0', sequence: 48, manifest: PLAN_HASH };
  const rollbackPlan = (stores: string[]) => ({
    schema: 'edge.rollback-plan/v1' as const,
    fleet: 'acme',
    train: '2026-w48',
    from,
    groups: [{ to, stores }],
    unable: [],
  });

  it('asks for its own approval, then signs permits, reverts Git, and takes the stores back in waves', async () => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    central.plans(oneStage(['s001', 's002'], { limits: { errorThreshold: { count: 0, minSample: 1 } } }));
    const pointed: unknown[] = [];
    central.on('planRollback', async () => ({
      kind: 'planned',
      plan: rollbackPlan(['s001', 's002']),
      planHash: OTHER_HASH,
    }));
    central.on('pointBack', async ({ groups }) => void pointed.push(...groups));
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    stores.get('s002')?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    const asked = await heldFor(train, 'ApprovalPending');
    expect(asked.hold).toMatchObject({ stage: 'rollback', planHash: OTHER_HASH });
    expect(asked.hold?.detail[0]).toBe('s001, s002: from 2026.48.0 back to 2026.47.0');
    await expect(train.executeUpdate(answerUpdates.rollback, { args: [{ by: 'bert' }] })).resolves.toMatch(
      /^A rollback was already asked for by anna\. The rollback .* waits for an approval/,
    );
    const decision = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, via: 'cli', by: 'bert' };
    await expect(
      train.executeUpdate(decideUpdate, { args: [{ ...decision, planHash: PLAN_HASH }] }),
    ).rejects.toMatchObject(refusal(/plan hash is not that/));
    await train.executeUpdate(decideUpdate, { args: [decision] });
    const report = await train.result();
    expect(report).toMatchObject({ state: 'rolled back', planned: 2, tally: { rolledBack: 2 } });
    expect(central.ledgerOf('train').at(-1)?.row).toMatchObject({
      state: 'rolled back',
      summary: report.summary,
      endedAt: expect.any(String) as string,
    });
    expect(report.summary).toBe('Rolled back from 2026.48.0: 2 of 2 stores are back on 2026.47.0.');
    expect(central.permits).toMatchObject([{ stores: ['s001', 's002'], from, to, planHash: OTHER_HASH }]);
    // That of the refused one is written beside all this, whenever.
    const approval = central.ledgerOf('approval').findLast(({ row }) => row.accepted)?.row;
    expect(approval).toMatchObject({ stage: 'rollback', by: 'bert' });
    expect(central.permits[0]?.approvalId).toBe(approval?.id);
    expect(central.reverted).toEqual(['2026-w48']);
    expect(pointed).toHaveLength(1);
    expect(stores.get('s001')?.tasks.at(-1)).toMatchObject({
      operationId: '2026-w48/rollback/s001/r0',
      release: to,
      permit: { bundle: OTHER_HASH },
    });
  });

  it('tells of a store in work that it was stopped for it, and not that somebody aborted', async () => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    const held = ['s001', 's002'].map((id) => stores.get(id)?.hold('openOperation'));
    central.plans(oneStage(['s001', 's002', 's003'], { limits: { maxConcurrency: 2 } }));
    central.on('planRollback', async () => ({ kind: 'planned', plan: rollbackPlan(['s001']), planHash: OTHER_HASH }));
    const train = await world.startTrain();
    for (const one of held) await one?.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's002' }] });
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    for (const store of ['s001', 's002'])
      await eventually(`${store} was told`, async () =>
        (await eventsOf(world.storeHandle(store))).some(
          (event) => event.workflowExecutionCancelRequestedEventAttributes,
        ),
      );
    for (const one of held) one?.release();
    const { notSucceeded } = await heldFor(train, 'ApprovalPending', 'rollback');
    const rows = central.ledgerOf('results').flatMap(({ results }) => results);
    for (const told of [notSucceeded, rows]) {
      // The wave writes down how they ended; the train, what for.
      const of = (store: string) => told.findLast((result) => result.store === store);
      expect(of('s001')).toMatchObject({
        outcome: 'aborted',
        reason: 'RolledBack',
        stop: { reason: 'RolledBack', summary: expect.stringMatching(/^The train was taken back\./) as string },
      });
      expect(of('s002')).toMatchObject({ outcome: 'aborted', reason: 'Aborted' });
    }
    await train.executeUpdate(abortUpdate, { args: [by] });
    await train.result();
  });

  it.each([
    ['a stage', { stage: 'canary' }],
    ['a store', { store: 's001' }],
  ])('takes back what the abort of %s left', async (_, target) => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002'], quick);
    const held = stores.get('s001')?.hold('openOperation');
    central.plans(oneStage(['s001', 's002'], { soak: 60_000, limits: { maxConcurrency: 2 } }));
    central.on('planRollback', async () => ({
      kind: 'planned',
      plan: rollbackPlan(['s001', 's002']),
      planHash: OTHER_HASH,
    }));
    const train = await world.startTrain();
    await held?.reached;
    await trainUntil(train, 's002 is done', (view) => stageOf(view, 'canary')?.tally.succeeded === 1);
    await train.executeUpdate(abortUpdate, { args: [{ ...by, ...target }] });
    await eventually('s001 was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some(
        (event) =>
          event.workflowExecutionCancelRequestedEventAttributes ??
          event.workflowExecutionSignaledEventAttributes?.signalName === 'steerStore',
      ),
    );
    held?.release();
    await trainUntil(train, 'it stands or soaks', (view) => stageOf(view, 'canary')?.tally.aborted === 1);
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    await heldFor(train, 'ApprovalPending');
    const decision = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, via: 'cli', by: 'bert' };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });

  it('leaves out a store that people aborted after they asked for it', async () => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002'], quick);
    const held = stores.get('s001')?.hold('openOperation');
    central.plans(oneStage(['s001', 's002'], { limits: { maxConcurrency: 2 } }));
    central.on('planRollback', async () => ({
      kind: 'planned',
      plan: rollbackPlan(['s001', 's002']),
      planHash: OTHER_HASH,
    }));
    const train = await world.startTrain();
    await held?.reached;
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    await expect(train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's001' }] })).resolves.toBe(
      's001 is aborted by anna. If it is in work, it stops at the nearest safe point, and the rollback does not take it.',
    );
    held?.release();
    await heldFor(train, 'ApprovalPending');
    const decision = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, via: 'cli', by: 'bert' };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      tally: { rolledBack: 1, aborted: 1 },
      summary: expect.stringMatching(/1 of 2 stores is back .* Did not come back: s001\./) as string,
    });
    expect(stores.get('s001')?.tasks).toHaveLength(1);
  });

  it('of which people abort a stage stands still, and takes the rest back when they say so', async () => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002'], quick);
    central.plans(oneStage(['s001', 's002'], { soak: 60_000, limits: { maxConcurrency: 1 } }));
    central.on('planRollback', async () => ({
      kind: 'planned',
      plan: rollbackPlan(['s001', 's002']),
      planHash: OTHER_HASH,
    }));
    const train = await world.startTrain();
    await trainUntil(train, 'it soaks', (view) => stageOf(view, 'canary')?.state === 'soaking');
    const held = stores.get('s001')?.hold('applyConfig');
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    await heldFor(train, 'ApprovalPending');
    const decision = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, via: 'cli', by: 'bert' };
    await train.executeUpdate(decideUpdate, { args: [decision] });
    await held?.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    await eventually('s001 was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    held?.release();
    const view = await trainUntil(train, 'it is held', ({ hold }) => hold?.answers.includes('skip') === true);
    expect(view.hold?.summary).toBe('Stage canary was aborted by anna.');
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });

  const brokenCanary = async () => {
    const world = await useWorld();
    const { central } = world;
    const store = await world.store('s001', { ...quick, applyConfig: async () => failedStep });
    const plans: string[] = [];
    central.on('planRollback', async ({ train }) => {
      plans.push(train);
      return { kind: 'planned', plan: rollbackPlan(['s001']), planHash: OTHER_HASH };
    });
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
        .stage('wave-1', { stores: ['s002', 's003'] })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    store.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    await heldFor(train, 'ApprovalPending');
    const decide = (decision: 'approve' | 'reject') =>
      train.executeUpdate(decideUpdate, {
        args: [{ stage: 'rollback', planHash: OTHER_HASH, decision, via: 'cli', by: 'bert' }],
      });
    return { world, train, decide, plans };
  };

  it('that is rejected says where the train stands and what it takes; asked for again, it is planned anew', async () => {
    const { train, decide, plans } = await brokenCanary();
    await expect(decide('reject')).resolves.toBe(
      'The rollback was rejected by bert. Nothing was taken back. The train is held; it takes: ask-again, pause, abort.',
    );
    expect(await train.query(trainQuery)).toMatchObject({
      state: 'held',
      hold: { reason: 'ApprovalRejected', stage: 'rollback' },
    });
    await train.executeUpdate(answerUpdates['ask-again'], { args: [by] });
    await heldFor(train, 'ApprovalPending');
    expect(plans).toHaveLength(2);
    await decide('approve');
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 1 } });
  });

  it('that is rejected and given up takes nothing back', async () => {
    const { world, train, decide } = await brokenCanary();
    await decide('reject');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { failed: 1, aborted: 2 } });
    expect([world.central.permits, world.central.reverted]).toEqual([[], []]);
  });

  it('shows nothing of the way there any more: no stage to come, no end by a deadline', async () => {
    const { train, decide } = await brokenCanary();
    const asked = await train.query(trainQuery);
    expect(asked).toMatchObject({ rollingBack: true, stages: [{ state: 'waiting' }, { state: 'skipped' }] });
    expect(asked.deadline).toBeUndefined();
    await decide('approve');
    await train.result();
  });

  it('ends with stores that were never started as skipped: nobody aborted them, and nothing of them is owed', async () => {
    const { world, train, decide } = await brokenCanary();
    await decide('approve');
    await expect(train.result()).resolves.toMatchObject({
      planned: 3,
      tally: { rolledBack: 1, skipped: 2, aborted: 0 },
    });
    const rows = world.central.ledgerOf('results').flatMap(({ results }) => results);
    expect(rows.filter(({ store }) => store === 's003')).toMatchObject([
      { outcome: 'skipped', reason: 'RolledBack', stop: { summary: expect.stringMatching(/Nothing was touched/) } },
    ]);
    expect((await train.query(trainQuery)).stages.map(({ name, state }) => [name, state])).toEqual([
      ['canary', 'rolled back'],
      ['wave-1', 'skipped'],
    ]);
  });

  it('is done without asking when the first stage fails and the fleet says so', async () => {
    const world = await useWorld();
    const { central } = world;
    const store = await world.store('s001', { ...quick, applyConfig: async () => failedStep });
    central.plans({
      ...oneStage(['s001'], { limits: { errorThreshold: { count: 0, minSample: 1 } } }),
      onCanaryFailure: 'rollback',
    });
    central.on('planRollback', async () => {
      store.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
      return { kind: 'planned', plan: rollbackPlan(['s001']), planHash: OTHER_HASH };
    });
    const report = await (await world.startTrain()).result();
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 1 } });
    expect(central.ledgerOf('approval').map(({ row }) => [row.by, row.via])).toEqual([
      ['policy onCanaryFailure', 'policy'],
    ]);
  });

  it('that cannot be planned holds the train, names why, and can be given up', async () => {
    const world = await useWorld();
    await world.store('s001', { ...quick, applyConfig: async () => failedStep });
    world.central.plans(oneStage(['s001'], { limits: { errorThreshold: { count: 0, minSample: 1 } } }));
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    await train.executeUpdate(answerUpdates.rollback, { args: [by] });
    const view = await heldFor(train, 'RollbackRefused');
    expect(view.hold?.detail).toEqual(['The test gave no rollback plan.']);
    expect(view.answers).not.toContain('rollback');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { failed: 1 } });
  });
});

describe('a rollback of a train that has ended', () => {
  const to = { version: '2026.47.0', sequence: 47, manifest: OTHER_HASH, bundle: OTHER_HASH };
  const ended = async (change = {}) => {
    const world = await useWorld();
    const { central } = world;
    const stores = await world.stores(['s001', 's002'], quick);
    const plan = aPlan()
      .stage('canary', { stores: ['s001', 's002'] })
      .stage('wave-1', { stores: ['s003'] })
      .build();
    central.plans(plan);
    central.on('reopenTrain', async () => ({ ...aReopenedTrain(plan, { s003: 'missed' }), ...change }));
    central.on('planRollback', async ({ train, fleet }) => ({
      kind: 'planned',
      plan: {
        schema: 'edge.rollback-plan/v1',
        fleet,
        train,
        from: { version: '2026.48.0', sequence: 48, manifest: PLAN_HASH },
        groups: [{ to, stores: ['s001', 's002'] }],
        unable: [],
      },
      planHash: OTHER_HASH,
    }));
    const train = await world.startRollback({ reason: 'orders are lost' });
    const decide = (decision: 'approve' | 'reject') =>
      train.executeUpdate(decideUpdate, {
        args: [{ stage: 'rollback', planHash: OTHER_HASH, decision, via: 'cli', by: 'bert' }],
      });
    return { world, stores, train, decide };
  };

  it('asks for its approval, takes its stores back, and is the end of that train in the ledger', async () => {
    const { world, stores, train, decide } = await ended();
    const asked = await heldFor(train, 'ApprovalPending');
    expect(asked).toMatchObject({
      train: '2026-w48',
      startedAt: '2026-11-23T01:00:00.000Z',
      answers: ['approve', 'reject', 'pause', 'abort'],
      hold: { stage: 'rollback', planHash: OTHER_HASH },
    });
    expect(asked.stages.map(({ name, tally }) => [name, totalOf(tally)])).toEqual([
      ['canary', 2],
      ['wave-1', 1],
    ]);
    await decide('approve');
    const report = await train.result();
    expect(report).toMatchObject({ state: 'rolled back', planned: 3, tally: { rolledBack: 2, missed: 1 } });
    const rows = world.central.ledgerOf('train').map(({ row }) => [row.id, row.state, row.startedAt]);
    expect(rows).toEqual([
      ['2026-w48', 'rolling back', '2026-11-23T01:00:00.000Z'],
      ['2026-w48', 'rolled back', '2026-11-23T01:00:00.000Z'],
    ]);
    expect(world.central.reverted).toEqual(['2026-w48']);
    expect(stores.get('s001')?.tasks.at(-1)).toMatchObject({ release: to, permit: { bundle: OTHER_HASH } });
    const written = world.central.ledgerOf('results').map(({ stage, results }) => [stage, results.length]);
    expect(written, 'what stood there before is not written again').toEqual([['rollback', 2]]);
  });

  it('gives its operations rounds that no earlier rollback of the train has used', async () => {
    const { stores, train, decide } = await ended({ nextRound: 3 });
    await heldFor(train, 'ApprovalPending');
    await decide('approve');
    await train.result();
    expect(stores.get('s002')?.tasks.at(-1)).toMatchObject({ operationId: '2026-w48/rollback/s002/r3' });
  });

  it('names what the ledger does not know beside what people approve', async () => {
    const { train } = await ended({ caveats: ['Some stores are not in the ledger.'] });
    const { hold } = await heldFor(train, 'ApprovalPending');
    expect(hold?.detail.at(-1)).toBe('Some stores are not in the ledger.');
  });

  it('that is rejected and given up leaves the train in the ledger as it ended', async () => {
    const { world, stores, train, decide } = await ended();
    await heldFor(train, 'ApprovalPending');
    await decide('reject');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 2, missed: 1 } });
    expect([world.central.ledgerOf('train'), world.central.ledgerOf('stage'), world.central.reverted]).toEqual([
      [],
      [],
      [],
    ]);
    expect(stores.get('s001')?.tasks).toEqual([]);
  });

  it('that is refused says why, and writes nothing', async () => {
    const world = await useWorld();
    const train = await world.startRollback();
    await expect(train.result()).resolves.toMatchObject({
      state: 'failed',
      reason: 'RollbackRefused',
      summary: 'The test has no train that has ended.',
    });
    expect(world.central.ledger).toEqual([]);
  });
});
