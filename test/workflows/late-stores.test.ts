import { describe, expect, it } from 'vitest';
import type { TrainView } from '#domain/messages/train.js';
import {
  abortUpdate,
  answerUpdates,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  steerWaveSignal,
  trainQuery,
} from '#workflows/messages.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import { useWorld } from '../support/use-world.js';
import { aHealthyProbe, aPlan, aWave, currentPreflight, OTHER_HASH } from '../support/workflow-builders.js';
import { eventsOf, eventually, heldFor, trainUntil, waveUntil, type World } from '../support/workflow-harness.js';

/** Stores that came back: when they are proven, who answers for them, and when nobody waits for them any more. */

type Train = Awaited<ReturnType<World['startTrain']>>;

const by = { by: 'anna' };
const quick = { readFacts: async () => currentPreflight() };
const refuses = async () => ({
  kind: 'failed' as const,
  stop: { reason: 'ConfigRejected' as const, summary: 'nginx -t said no' },
});
const limits = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };
const strict = { ...limits, errorThreshold: { count: 0, minSample: 1 } };
const SOAK = 8_000;

const say = (train: Train, answer: keyof typeof answerUpdates) =>
  train.executeUpdate(answerUpdates[answer], { args: [by] });
const catchesUp = (train: Train) => trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
const stageOf = (view: TrainView, name: string) => view.stages.find((stage) => stage.name === name);
const soaks = (train: Train) =>
  trainUntil(train, 'it soaks', (view) => stageOf(view, 'canary')?.state === 'soaking' && view.awaited.length > 0);
const succeeded = (train: Train, count: number) =>
  trainUntil(train, `${count} are done`, (view) => stageOf(view, 'canary')?.tally.succeeded === count);
const confirmedIn = ({ central }: World) => central.confirmed.map(({ stores }) => stores);
const endOf = ({ central }: World, store: string): number =>
  Date.parse(
    central
      .ledgerOf('results')
      .flatMap(({ results }) => results)
      .findLast((result) => result.store === store)?.endedAt ?? '',
  );

describe('a store that comes back while its stage soaks', () => {
  it('is not proven with the others, but when it has soaked as long itself', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits, soak: SOAK })
        .build(),
    );
    const train = await world.startTrain();
    await soaks(train);
    await world.store('s002', quick);
    await succeeded(train, 2);
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(confirmedIn(world)).toEqual([['s001'], ['s002']]);
    const provenAt = Date.parse(world.central.confirmed[1]?.soakedAt ?? '');
    expect(provenAt - endOf(world, 's002')).toBeGreaterThanOrEqual(SOAK);
  });

  it('is proven while others are still awaited', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003'], limits, soak: SOAK })
        .build(),
    );
    const train = await world.startTrain();
    await soaks(train);
    await world.store('s002', quick);
    await succeeded(train, 2);
    await eventually('s002 is proven', () => world.central.confirmed.length === 2);
    expect(confirmedIn(world)).toEqual([['s001'], ['s002']]);
    const view = await trainUntil(train, 'it waits again', ({ answers }) => answers.includes('finish'));
    expect(view).toMatchObject({ state: 'catching up', awaited: ['s003'] });
    await say(train, 'finish');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, missed: 1 } });
  });

  it('and is the only one of it that took the release, soaks before the gate asks for anybody', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], limits, soak: SOAK })
        .build(),
    );
    const train = await world.startTrain();
    await soaks(train);
    await world.store('s001', quick);
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(confirmedIn(world)).toEqual([['s001']]);
    const provenAt = Date.parse(world.central.confirmed[0]?.soakedAt ?? '');
    expect(provenAt - endOf(world, 's001')).toBeGreaterThanOrEqual(SOAK);
  });
});

describe('a first stage that fails with a store that came back, in a fleet that takes such trains back', () => {
  const twoStages = async (wave1 = {}) => {
    const world = await useWorld();
    await world.stores(['s001', 's003'], quick);
    world.central.plans(
      aPlan({ onCanaryFailure: 'rollback' })
        .stage('canary', { stores: ['s001', 's002'], limits: strict })
        .stage('wave-1', { stores: ['s003'], ...wave1 })
        .build(),
    );
    return { world, train: await world.startTrain() };
  };

  it.each([
    ['at its turn', 'ErrorThresholdExceeded' as const, { applyConfig: refuses }],
    ['at its gate', 'HealthGateFailed' as const, { probeStore: async () => aHealthyProbe('s002', { quorate: false }) }],
  ])('%s, asks people when a later stage has begun', async (_, reason, script) => {
    const { world, train } = await twoStages();
    await catchesUp(train);
    await world.store('s002', { ...quick, ...script });
    const { hold } = await heldFor(train, reason, 'canary');
    expect(hold?.answers).toContain('rollback');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { rolledBack: 0 } });
    expect(world.central.ledgerOf('approval')).toEqual([]);
  });

  it('is taken back unasked while the next one still waits for its approval', async () => {
    const { world, train } = await twoStages({ approval: { required: true } });
    await heldFor(train, 'ApprovalPending', 'wave-1');
    const late = await world.store('s002', { ...quick, applyConfig: refuses });
    world.central.on('planRollback', async () => {
      late.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
      const plan = aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001', 's002'] }] });
      return { kind: 'planned', plan, planHash: OTHER_HASH };
    });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});

describe('a store that falls away when its stage is tried again at the gate', () => {
  it('is awaited like all others', async () => {
    const world = await useWorld();
    let isOld = true;
    const hello = async () => ({
      store: 's001',
      protocol: isOld ? { min: 99, max: 99 } : { min: 1, max: 1 },
      clock: new Date().toISOString(),
    });
    await world.store('s001', { ...quick, hello });
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits: { ...limits, deferFor: 100, deferLimit: 1 } })
        .build(),
    );
    const other = await world.client.workflow.start('other', { taskQueue: 'nowhere', workflowId: 'store/s002' });
    const train = await world.startTrain();
    await heldFor(train, 'NotEnoughFacts');
    isOld = false;
    await other.terminate('gone');
    await say(train, 'retry-failed');
    expect(await catchesUp(train)).toMatchObject({ awaited: ['s002'] });
    await world.store('s002', quick);
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(confirmedIn(world)).toEqual([['s001'], ['s002']]);
  });
});

describe('a stage that is through, and a late store of it that is not proven when the train ends', () => {
  const unwell = async () => aHealthyProbe('s002', { quorate: false });
  const untilLate = async ({
    script = {},
    soak = SOAK,
    ...plan
  }: {
    script?: object;
    soak?: number;
    deadline?: string;
  }) => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan(plan)
        .stage('canary', { stores: ['s001', 's002'], limits, soak })
        .build(),
    );
    const train = await world.startTrain();
    await catchesUp(train);
    return { world, train, late: await world.store('s002', { ...quick, ...script }) };
  };
  const isAgain = (train: Train, state: string) =>
    trainUntil(train, `it is ${state} again`, ({ stages: [canary] }) => canary?.state === state && !!canary.endedAt);
  const goesBack = async ({ central }: World, train: Train) => {
    const plan = aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001', 's002'] }] });
    central.on('planRollback', async () => ({ kind: 'planned', plan, planHash: OTHER_HASH }));
    await say(train, 'rollback');
    return heldFor(train, 'ApprovalPending', 'rollback');
  };
  const staysDone = async ({ central }: World, train: Train) => {
    expect(stageOf(await train.query(trainQuery), 'canary')?.state).toBe('done');
    const recorded = central.ledgerOf('stage').map(({ row }) => row);
    expect(recorded.map(({ state }) => state)).toEqual(recorded.map(() => 'done'));
    expect(recorded.length).toBeGreaterThan(1);
  };

  it('by an abort while it soaks', async () => {
    const { world, train } = await untilLate({});
    await isAgain(train, 'soaking');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 2 } });
    await staysDone(world, train);
  });

  it('by its deadline while it is measured', async () => {
    const deadline = new Date(Date.now() + 15_000).toISOString();
    const { world, train, late } = await untilLate({ soak: 500, deadline });
    const measured = late.hold('probeStore');
    await measured.reached;
    await isAgain(train, 'gate');
    await eventually('the deadline is over', () => Date.now() > Date.parse(deadline));
    measured.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', reason: 'DeadlineReached' });
    await staysDone(world, train);
  });

  it('by a rollback while it soaks', async () => {
    const { world, train } = await untilLate({});
    await isAgain(train, 'soaking');
    expect(stageOf(await goesBack(world, train), 'canary')?.state).toBe('done');
    const approval = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, via: 'cli', ...by };
    await train.executeUpdate(decideUpdate, { args: [approval] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
    await staysDone(world, train);
  });

  it('by a rollback that is aborted, after its gate held the train', async () => {
    const { world, train } = await untilLate({ soak: 500, script: { probeStore: unwell } });
    await heldFor(train, 'HealthGateFailed', 'canary');
    expect(stageOf(await goesBack(world, train), 'canary')?.state).toBe('done');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 2 } });
    await staysDone(world, train);
  });
});

describe('people who do not wait for stores any more', () => {
  const threeStores = async (change = {}) => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003'], limits, ...change })
        .build(),
    );
    const train = await world.startTrain();
    await catchesUp(train);
    return { world, train };
  };

  it('see nobody taken who comes back while those that were caught up soak', async () => {
    const { world, train } = await threeStores({ soak: SOAK });
    await world.store('s002', quick);
    await succeeded(train, 2);
    await trainUntil(train, 'only s003 is awaited', ({ awaited, wave }) => awaited.join() === 's003' && !wave);
    await say(train, 'finish');
    const late = await world.store('s003', quick);
    const view = await train.query(trainQuery);
    expect([view.awaited, view.answers.includes('finish')]).toEqual([[], false]);
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, missed: 1 } });
    expect(late.tasks).toEqual([]);
    expect(confirmedIn(world)).toEqual([['s001'], ['s002']]);
  });

  it('let the store in work end, which is measured; the one behind it is not begun', async () => {
    const { world, train } = await threeStores();
    await train.executeUpdate(pauseUpdate, { args: [by] });
    const inWork = await world.stores(['s002', 's003'], quick);
    const held = [...inWork.values()].map((store) => store.hold('openOperation'));
    await eventually('both have answered a greeting', async () => {
      const events = await eventsOf(train);
      const asked = events.flatMap(({ eventId, activityTaskScheduledEventAttributes: scheduled }) =>
        scheduled?.activityType?.name === 'hello' ? [String(eventId)] : [],
      );
      const answered = events.map(({ activityTaskCompletedEventAttributes: done }) => String(done?.scheduledEventId));
      return asked.filter((id) => answered.includes(id)).length === 2;
    });
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await held[0]?.reached;
    await say(train, 'finish');
    await eventually('the wave was told', async () =>
      (await eventsOf(world.client.workflow.getHandle('2026-w48/canary/r1'))).some(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerWave',
      ),
    );
    for (const one of held) one.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, missed: 1 } });
    expect(inWork.get('s003')?.tasks).toEqual([]);
    expect(confirmedIn(world)).toEqual([['s001'], ['s002']]);
  });

  it('say so of the way back by itself', async () => {
    const { world, train } = await threeStores();
    const inWork = (await world.store('s002', quick)).hold('openOperation');
    await inWork.reached;
    await say(train, 'finish');
    const plan = aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001', 's003'] }] });
    world.central.on('planRollback', async () => ({ kind: 'planned', plan, planHash: OTHER_HASH }));
    await say(train, 'rollback');
    inWork.release();
    await heldFor(train, 'ApprovalPending', 'rollback');
    const approval = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, via: 'cli', ...by };
    await train.executeUpdate(decideUpdate, { args: [approval] });
    await trainUntil(
      train,
      's003 is awaited',
      ({ awaited, answers }) => awaited.length === 1 && answers.includes('finish'),
    );
    await say(train, 'finish');
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back' });
  });

  it('have what fails in the end judged like all others', async () => {
    const { world, train } = await threeStores({ limits: strict });
    const late = await world.store('s002', quick);
    const inWork = late.hold('openOperation');
    late.on('applyConfig', refuses);
    await inWork.reached;
    await say(train, 'finish');
    inWork.release();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    late.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await say(train, 'retry-failed');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, missed: 1 } });
  });
});

describe('a wave that is to hand back whom it has not started', () => {
  it('lets the one in work end and begins nobody else', async () => {
    const world = await useWorld();
    const held = (await world.store('s001', quick)).hold('openOperation');
    const second = await world.store('s002', quick);
    const wave = await world.startWave(aWave(['s001', 's002']));
    await held.reached;
    await wave.signal(steerWaveSignal, { paused: false, pausedStores: [], abortedStores: [], handBack: true });
    await waveUntil(wave, 's001 is in work', ({ inFlight }) => inFlight === 1);
    held.release();
    const report = await wave.result();
    expect(report).toMatchObject({ results: [{ store: 's001', outcome: 'succeeded' }], notStarted: ['s002'] });
    expect(second.tasks).toEqual([]);
  });
});
