import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import type { StagePlan, StageWindows, TrainView } from '#domain/messages/train.js';
import type { wave } from '#workflows/index.js';
import {
  answerUpdates,
  decideUpdate,
  abortUpdate,
  pauseUpdate,
  resumeUpdate,
  steerWaveSignal,
  trainQuery,
} from '#workflows/messages.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import {
  aPlan,
  aWave,
  currentPreflight,
  OTHER_HASH,
  PLAN_HASH,
  type StageChange,
} from '../support/workflow-builders.js';
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
const refusal = (sentence: RegExp) => ({ cause: { message: expect.stringMatching(sentence) as string } });
const refuses = async (): Promise<StepAnswer<never>> => ({
  kind: 'failed',
  stop: { reason: 'ConfigRejected', summary: 'nginx -t said no' },
});
const accepts = async () => ({ kind: 'done' as const, changed: [] });
const limits = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 } };
const POLICY = { onCanaryFailure: 'rollback' } as const;
const strict = { ...limits, errorThreshold: { count: 0, minSample: 1 } };

const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const say = (train: Train, answer: keyof typeof answerUpdates) =>
  train.executeUpdate(answerUpdates[answer], { args: [by] });
const decide = (train: Train, decision: 'approve' | 'reject', stage = 'wave-1', planHash = PLAN_HASH) =>
  train.executeUpdate(decideUpdate, { args: [{ stage, planHash, decision, via: 'cli', ...by }] });
const catchesUp = (train: Train) => trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
const fakeOf = (stores: Map<string, FakeStore>, id: string) => stores.get(id) as FakeStore;
const roundsOf = (store: FakeStore) => store.tasks.map(({ operationId }) => operationId.split('/').at(-1));
const stageOf = (view: TrainView, name: string) => view.stages.find((stage) => stage.name === name);

/** A first stage of which s002 and s003 are away, and a second one that waits for its approval. */
const twoStages = (canary: Partial<StageChange> = {}) =>
  aPlan()
    .stage('canary', { stores: ['s001', 's002', 's003'], limits, ...canary })
    .stage('wave-1', { stores: ['s004'], approval: { required: true } })
    .build();

/** Both come back while nothing may start, so that one round has both. */
async function bothBack(world: World, train: Train, script = {}) {
  await train.executeUpdate(pauseUpdate, { args: [by] });
  const late = await world.stores(['s002', 's003'], { ...quick, ...script });
  await eventually('both have answered a greeting', async () => {
    const events = await eventsOf(train);
    const greetings = events.flatMap(({ eventId, activityTaskScheduledEventAttributes: asked }) =>
      asked?.activityType?.name === 'hello' ? [String(eventId)] : [],
    );
    const answered = events.map(({ activityTaskCompletedEventAttributes: done }) => String(done?.scheduledEventId));
    return greetings.filter((id) => answered.includes(id)).length === 2;
  });
  return { s002: fakeOf(late, 's002'), s003: fakeOf(late, 's003') };
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

describe('a breach by stores that came back', () => {
  /** s002 fails when it is caught up after the last stage, and s003 has not been started then. */
  const breached = async (change = {}) => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan(change)
        .stage('canary', { stores: ['s001', 's002', 's003'], limits: strict })
        .build(),
    );
    const train = await world.startTrain();
    await catchesUp(train);
    const late = await bothBack(world, train, { applyConfig: refuses });
    late.s003.on('applyConfig', accepts);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    return { world, train, ...late };
  };

  it('holds the train with its reason and its choices, and no further store is touched', async () => {
    const { world, train, s002, s003 } = await breached();
    const view = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(view).toMatchObject({
      state: 'held',
      hold: {
        summary: '1 of 2 stores failed; the stage allows 0.',
        answers: ['retry-failed', 'retry-offline', 'skip', 'rollback', 'abort'],
      },
    });
    expect(view.hold?.detail[0]).toBe('s002: ConfigRejected nginx -t said no');
    await eventually('people are called', () =>
      world.central.notifications.some(({ event, reason }) => event === 'held' && reason === 'ErrorThresholdExceeded'),
    );
    expect([roundsOf(s002), s003.tasks]).toEqual([['r1'], []]);
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 1, failed: 1 } });
    expect(s003.tasks).toEqual([]);
  });

  it('is over when what failed is tried again and succeeds; who waited follows', async () => {
    const { train, s002, s003 } = await breached();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    s002.on('applyConfig', accepts);
    await say(train, 'retry-failed');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect([roundsOf(s002), roundsOf(s003)]).toEqual([['r1', 'r2'], ['r3']]);
    expect(stageOf(await train.query(trainQuery), 'canary')?.state).toBe('done');
  });

  it('stays when those that are away are tried, and is left with a skip, after which others are awaited', async () => {
    const { train, s002, s003 } = await breached();
    const first = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await say(train, 'retry-offline');
    const again = await trainUntil(
      train,
      'it is held again',
      ({ hold }) => hold?.since !== first.hold?.since && !!hold,
    );
    expect(again.hold).toMatchObject({
      reason: 'ErrorThresholdExceeded',
      summary: '1 of 3 stores failed; the stage allows 0.',
      answers: ['retry-failed', 'skip', 'rollback', 'abort'],
    });
    expect([roundsOf(s002), roundsOf(s003)]).toEqual([['r1'], ['r2']]);
    await say(train, 'skip');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, failed: 1 } });
  });

  it('that is skipped lets those go on that have not been started', async () => {
    const { train, s002, s003 } = await breached();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await say(train, 'skip');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, failed: 1 } });
    expect([roundsOf(s002), roundsOf(s003)]).toEqual([['r1'], ['r2']]);
  });

  it.each([
    ['when people say so', 'anna', {}],
    ['without asking when it is the first stage and the fleet says so', 'policy onCanaryFailure', POLICY],
  ])('takes the train back %s', async (_, who, change) => {
    const { world, train, s002, s003 } = await breached(change);
    world.central.on('planRollback', async () => {
      s002.on('applyConfig', accepts);
      const plan = aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001', 's002'] }] });
      return { kind: 'planned', plan, planHash: OTHER_HASH };
    });
    if (who === by.by) {
      await heldFor(train, 'ErrorThresholdExceeded', 'canary');
      await say(train, 'rollback');
      await heldFor(train, 'ApprovalPending', 'rollback');
      await decide(train, 'approve', 'rollback', OTHER_HASH);
    }
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
    expect(world.central.ledgerOf('approval').map(({ row }) => row.by)).toEqual([who]);
    expect(s003.tasks).toEqual([]);
  });

  it('sets aside what the train asks for until it is answered', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's004'], quick);
    world.central.plans(twoStages({ limits: strict }));
    const train = await world.startTrain();
    const asked = await heldFor(train, 'ApprovalPending', 'wave-1');
    const { s003 } = await bothBack(world, train, { applyConfig: refuses });
    s003.on('applyConfig', accepts);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(held.answers).not.toContain('approve');
    await expect(decide(train, 'approve')).rejects.toMatchObject(refusal(/does not ask for an approval now/));
    await say(train, 'skip');
    const anew = await heldFor(train, 'ApprovalPending', 'wave-1');
    expect(anew.hold?.since).not.toBe(asked.hold?.since);
    expect(stores.get('s004')?.tasks).toEqual([]);
    await decide(train, 'approve');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3, failed: 1 } });
  });

  it('is asked about after the hold that stands already, and before the question that was asked again', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's004'], quick);
    world.central.plans(twoStages({ limits: strict }));
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const { s002, s003 } = await bothBack(world, train, { applyConfig: refuses });
    const inWork = s002.hold('openOperation');
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await inWork.reached;
    await decide(train, 'reject');
    await heldFor(train, 'ApprovalRejected', 'wave-1');
    inWork.release();
    const view = await trainUntil(train, 's002 has failed', (seen) => stageOf(seen, 'canary')?.tally.failed === 1);
    expect(view.hold?.reason).toBe('ApprovalRejected');
    await say(train, 'ask-again');
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(s003.tasks).toEqual([]);
    await say(train, 'skip');
    await heldFor(train, 'ApprovalPending', 'wave-1');
  });

  it('is what the train says and takes an answer to, when its last stage gets through meanwhile', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's003'], quick);
    const measured = fakeOf(stores, 's003').hold('probeStore');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits: strict })
        .stage('wave-1', { stores: ['s003'] })
        .build(),
    );
    const train = await world.startTrain();
    await measured.reached;
    await world.store('s002', { ...quick, applyConfig: refuses });
    const { hold } = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    measured.release();
    await eventually('the train has gone on from its last stage', async () => {
      const events = await eventsOf(train);
      const recorded = events.findLastIndex((event) => event.activityTaskCompletedEventAttributes);
      const isRecorded = world.central.ledgerOf('stage').some(({ row }) => row.stage === 'wave-1');
      const open = events.filter(
        (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'record',
      );
      const closed = new Set(
        events.map(({ activityTaskCompletedEventAttributes: done }) => String(done?.scheduledEventId)),
      );
      const isIdle = open.every(({ eventId }) => closed.has(String(eventId)));
      return isRecorded && isIdle && events.slice(recorded).some((event) => event.workflowTaskCompletedEventAttributes);
    });
    expect(await train.query(trainQuery)).toMatchObject({ state: 'held', doing: hold?.summary, hold });
    await say(train, 'skip');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, failed: 1 } });
  });

  it('while a stage soaks starts no further stage, until it is answered', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's004'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003'], limits: strict, soak: 8_000 })
        .stage('wave-1', { stores: ['s004'] })
        .build(),
    );
    const train = await world.startTrain();
    await trainUntil(train, 'it soaks', (view) => stageOf(view, 'canary')?.state === 'soaking');
    const { s003 } = await bothBack(world, train, { applyConfig: refuses });
    s003.on('applyConfig', accepts);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await eventually('the soak is over', async () =>
      (await eventsOf(train)).some((event) => event.timerFiredEventAttributes),
    );
    expect(stores.get('s001')?.calls).not.toContain('probeStore');
    expect(stores.get('s004')?.tasks).toEqual([]);
    await say(train, 'skip');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3, failed: 1 } });
  });
});

describe('a round of stores that came back, begun while their stage soaks and ended when it is through', () => {
  it('leaves the stage as it ended, held and kept waiting for its window meanwhile', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's004'], quick);
    world.central.plans(twoStages({ stores: ['s001', 's002'], limits: strict, soak: 4_000 }));
    const train = await world.startTrain();
    await trainUntil(
      train,
      'it soaks',
      (view) => stageOf(view, 'canary')?.state === 'soaking' && view.awaited.length > 0,
    );
    const late = await world.store('s002', { ...quick, applyConfig: refuses });
    const inWork = late.hold('openOperation');
    await inWork.reached;
    await heldFor(train, 'ApprovalPending', 'wave-1');
    inWork.release();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    late.on('applyConfig', accepts);
    const opens = inSeconds(2);
    world.central.on('stageWindows', async () => ({
      ...(Date.parse(opens) > Date.now() && { opens }),
      stores: {},
      never: [],
      excluded: [],
    }));
    await say(train, 'retry-failed');
    await trainUntil(train, 'it waits', (view) => stageOf(view, 'canary')?.state === 'awaiting window');
    const view = await trainUntil(
      train,
      's002 is done',
      (seen) =>
        stageOf(seen, 'canary')?.tally.succeeded === 2 &&
        !seen.wave &&
        stageOf(seen, 'canary')?.state !== 'awaiting window',
    );
    expect(stageOf(view, 'canary')?.state).toBe('done');
  });
});

/** Windows as a test sets them, by stage; open at first. */
function withWindows(world: World) {
  const always = (): StageWindows => ({ stores: {}, never: [], excluded: [] });
  const asked: string[] = [];
  const of = new Map<string, StageWindows>();
  world.central.on('stageWindows', async ({ stage }: { stage: StagePlan }) => {
    asked.push(stage.name);
    return of.get(stage.name) ?? always();
  });
  return {
    asked: (stage: string) => asked.filter((name) => name === stage).length,
    open: (stage: string) => void of.set(stage, { ...always(), opens: inSeconds(-600), closes: inSeconds(600) }),
    close: (stage: string) => void of.set(stage, { ...always(), opens: inSeconds(3_600), closes: inSeconds(7_200) }),
    closesIn: (stage: string, seconds: number): string => {
      const closes = inSeconds(seconds);
      of.set(stage, { ...always(), opens: inSeconds(-600), closes });
      return closes;
    },
    ofStore: (stage: string, store: string, seconds: number, { closesIn = 7_200 } = {}) =>
      void of.set(stage, {
        ...always(),
        opens: inSeconds(-600),
        closes: inSeconds(closesIn),
        stores: { [store]: { opens: inSeconds(seconds), closes: inSeconds(seconds + 600) } },
      }),
  };
}

describe('a round that waits for its turn until its window has closed', () => {
  it('of stores that came back goes back to waiting for the window', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    windows.open('canary');
    const stores = await world.stores(['s001', 's003', 's004'], quick);
    world.central.plans(twoStages());
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const inWork = fakeOf(stores, 's004').hold('openOperation');
    await decide(train, 'approve');
    await inWork.reached;
    const before = windows.asked('canary');
    const late = await world.store('s002', quick);
    await eventually('it is back and waits for its turn', () => windows.asked('canary') > before);
    windows.close('canary');
    inWork.release();
    await catchesUp(train);
    await eventually('the windows were read again', () => windows.asked('canary') > before + 1);
    await say(train, 'finish');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3, missed: 1 } });
    expect(late.tasks).toEqual([]);
  });

  it('of a stage itself goes back to waiting for the window', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    windows.open('wave-1');
    const stores = await world.stores(['s001', 's003', 's004'], quick);
    world.central.plans(twoStages());
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const late = await world.store('s002');
    const inWork = late.hold('openOperation');
    late.on('readFacts', async () => currentPreflight());
    await inWork.reached;
    await decide(train, 'approve');
    await eventually('wave-1 is promoted and waits for its turn', () => world.central.promotions.length === 2);
    windows.close('wave-1');
    inWork.release();
    await trainUntil(train, 'it waits', (view) => stageOf(view, 'wave-1')?.state === 'awaiting window');
    expect(stores.get('s004')?.tasks).toEqual([]);
    expect(world.central.promotions).toHaveLength(2);
  });
});

describe('a store that is back before its window opens', () => {
  it('of its own keeps nobody else waiting, neither of its stage nor of another', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    await world.stores(['s001', 's004'], quick);
    world.central.plans(twoStages());
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    windows.ofStore('canary', 's002', 3_600);
    const { s002, s003 } = await bothBack(world, train);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await decide(train, 'approve');
    const view = await trainUntil(train, 's004 is done', (seen) => stageOf(seen, 'wave-1')?.tally.succeeded === 1);
    expect(stageOf(view, 'canary')?.tally.succeeded).toBe(2);
    expect(roundsOf(s003)).toEqual(['r1']);
    expect((await catchesUp(train)).awaited).toEqual(['s002']);
    await say(train, 'finish');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3, missed: 1 } });
    expect(s002.tasks).toEqual([]);
  });

  it('of its own is taken when that opens', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits })
        .build(),
    );
    const train = await world.startTrain();
    await catchesUp(train);
    windows.ofStore('canary', 's002', 5);
    const late = await world.store('s002', quick);
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(roundsOf(late)).toEqual(['r1']);
  });

  it('that of its stage, lets those of another stage go first', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    await world.stores(['s001', 's003'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits })
        .stage('wave-1', { stores: ['s003', 's004'], limits })
        .build(),
    );
    const train = await world.startTrain();
    await catchesUp(train);
    windows.close('canary');
    const before = windows.asked('canary');
    const early = await world.store('s002', quick);
    await eventually('it waits for its window', () => windows.asked('canary') > before);
    await world.store('s004', quick);
    await trainUntil(train, 's004 is done', (seen) => stageOf(seen, 'wave-1')?.tally.succeeded === 2);
    await trainUntil(train, 'only s002 is awaited', ({ awaited }) => awaited.join() === 's002');
    await say(train, 'finish');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3, missed: 1 } });
    expect(early.tasks).toEqual([]);
  });
});

describe('a store that is awaited and aborted by people', () => {
  it('is awaited no more: the train ends when nobody else is away, and does not take it when it is back', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003'], limits })
        .build(),
    );
    const train = await world.startTrain();
    expect((await catchesUp(train)).awaited).toEqual(['s002', 's003']);
    await train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's002' }] });
    expect((await train.query(trainQuery)).awaited).toEqual(['s003']);
    const { s002, s003 } = await bothBack(world, train);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2, aborted: 1 } });
    expect([s002.tasks, roundsOf(s003)]).toEqual([[], ['r1']]);
  });

  it('lets the train end at once when it was the last', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'], limits })
        .build(),
    );
    const train = await world.startTrain();
    await catchesUp(train);
    await train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's002' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1, aborted: 1 } });
  });
});

describe('a pause over the end of a window', () => {
  it('takes nobody out: who has not been started begins in a further round, in the next window', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    const stores = await world.stores(['s001', 's002'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'] })
        .build(),
    );
    const closes = windows.closesIn('canary', 15);
    const inWork = fakeOf(stores, 's001').hold('openOperation');
    const train = await world.startTrain();
    await inWork.reached;
    await train.executeUpdate(pauseUpdate, { args: [by] });
    const round = world.client.workflow.getHandle<typeof wave>('2026-w48/canary/r0');
    await eventually('the wave was told', async () =>
      (await eventsOf(round)).some(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerWave',
      ),
    );
    inWork.release();
    await eventually('the window has closed', () => Date.now() > Date.parse(closes));
    windows.close('canary');
    await train.executeUpdate(resumeUpdate, { args: [by] });
    const view = await trainUntil(train, 'it waits', (seen) => stageOf(seen, 'canary')?.state === 'awaiting window');
    expect(stageOf(view, 'canary')?.tally).toMatchObject({ succeeded: 1, skipped: 0 });
    windows.open('canary');
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    await heldFor(train, 'StageAborted');
    await say(train, 'retry-failed');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(fakeOf(stores, 's002').tasks.map(({ operationId }) => operationId)).toEqual(['2026-w48/canary/s002/r1']);
  });

  it.each([
    ['of the stage', { paused: true, pausedStores: [] }],
    ['of a store', { paused: false, pausedStores: ['s001'] }],
  ])('hands back who stood still, when the pause is one %s', async (_, paused) => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    const round = await world.startWave(
      aWave(['s001'], { notAfter: inSeconds(-1), steering: { ...paused, abortedStores: [] } }),
    );
    await waveUntil(round, 'it stands still', ({ started }) => started === 0);
    await round.signal(steerWaveSignal, { paused: false, pausedStores: [], abortedStores: [] });
    await expect(round.result()).resolves.toMatchObject({ results: [], notStarted: ['s001'] });
    expect(store.calls).toEqual([]);
  });

  it('does not count against the time for the stage', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    const still = { pausedStores: [], abortedStores: [] };
    const round = await world.startWave(
      aWave(['s001'], { limits: { stageTimeout: 4_000 }, steering: { ...still, paused: true } }),
    );
    await eventually('the time for the stage is over', async () =>
      (await eventsOf(round)).some((event) => event.timerFiredEventAttributes),
    );
    await round.signal(steerWaveSignal, { ...still, paused: false });
    await expect(round.result()).resolves.toMatchObject({ results: [{ outcome: 'succeeded' }], notStarted: [] });
  });
});

describe('a store whose own window opens after that of its stage has closed', () => {
  it('is not in a round that waits for it: the turn is free until then', async () => {
    const world = await useWorld();
    const windows = withWindows(world);
    windows.ofStore('canary', 's002', 3_600, { closesIn: 600 });
    const stores = await world.stores(['s001', 's002'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'] })
        .build(),
    );
    const train = await world.startTrain();
    const view = await trainUntil(train, 'it waits', (seen) => stageOf(seen, 'canary')?.state === 'awaiting window');
    expect(view.wave).toBeUndefined();
    expect(stageOf(view, 'canary')?.tally.succeeded).toBe(1);
    expect(fakeOf(stores, 's002').tasks).toEqual([]);
  });
});
