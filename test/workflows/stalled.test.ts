import { describe, expect, it } from 'vitest';
import { renderTrain } from '#client/cli/render-train.js';
import { pauseUpdate, resumeUpdate, storeQuery } from '#workflows/messages.js';
import { aPlan, COMMIT, currentPreflight } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { eventsOf, eventually, heldFor, trainUntil, type World } from '../support/workflow-harness.js';

const quick = { readFacts: async () => currentPreflight() };
const callsAfter = ({ central }: World, noProgressAfter: number) =>
  central.on('openTrain', async () => ({
    train: '2026-w48',
    commit: COMMIT,
    deadlineAfter: 3_600_000,
    noProgressAfter,
  }));
const stalls = ({ central }: World) => central.notifications.filter(({ event }) => event === 'stalled');
const timersOf = (events: Awaited<ReturnType<typeof eventsOf>>) =>
  events.filter((event) => event.timerStartedEventAttributes).length;

describe('a train that should move and does not', () => {
  it('calls people once for each silence, with the stores in work and their steps', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's003'], quick);
    const [first, second] = ['s001', 's003'].map((id) => stores.get(id)?.hold('applyConfig'));
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s003'] })
        .build(),
    );
    callsAfter(world, 4_000);
    const train = await world.startTrain();
    await first?.reached;
    const view = await trainUntil(train, 'people to be called', ({ stalled }) => stalled !== undefined);
    expect(view.stalled?.inWork).toEqual([
      { store: 's001', step: 'apply config', since: expect.any(String) as string, cutOff: false, paused: false },
    ]);
    const clock = { zone: 'UTC', now: new Date() };
    expect(renderTrain(view, { clock, suffix: '', columns: 200 }).join('\n')).toMatch(
      /NO PROGRESS since .*\n {4}s001 at apply config for .*edge store show s001/,
    );
    await eventually('the call', () => stalls(world).length === 1);
    expect(stalls(world)[0]).toMatchObject({
      train: '2026-w48',
      summary: expect.stringMatching(
        /^No store ended and no stage moved for .*Stage canary: 1 store\. In work: s001 at apply config for /,
      ) as string,
    });

    first?.release();
    await second?.reached;
    await trainUntil(
      train,
      'the silence to be over',
      ({ stages, stalled }) => stages[1]?.state === 'running' && stalled === undefined,
    );
    await eventually('the second call', () => stalls(world).length === 2);
    second?.release();
    expect(await train.result()).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(stalls(world).map(({ summary }) => /s00\d/.exec(summary)?.[0])).toEqual(['s001', 's003']);
  });

  it('is one whose release nobody builds', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    let build: () => void = () => undefined;
    const built = new Promise<void>((resolve) => (build = resolve));
    world.central.builds(async () => {
      await built;
      return { kind: 'refused', problems: ['later'] };
    });
    callsAfter(world, 300);
    const train = await world.startTrain();
    await eventually('the call', () => stalls(world).length === 1);
    expect(stalls(world)[0]?.summary).toContain('Building the release');
    build();
    await trainUntil(train, 'the build to be held', ({ hold, stalled }) => hold !== undefined && stalled === undefined);
  });
});

describe('a store that makes no progress while others move', () => {
  const LIMIT = 5_000;
  /** s002 to s004, one after another, for as long as s001 stands still. */
  const withOneHeld = async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003', 's004'], quick);
    const [held, second, third] = [
      ['s001', 'applyConfig'],
      ['s002', 'verifyStore'],
      ['s003', 'verifyStore'],
    ].map(([id, step]) => stores.get(id as string)?.hold(step as string));
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003', 's004'], limits: { maxConcurrency: 2 } })
        .build(),
    );
    callsAfter(world, LIMIT);
    const train = await world.startTrain();
    await Promise.all([held?.reached, second?.reached]);
    const reached = Date.now();
    return { world, train, held, second, third, reached };
  };
  const passes = (ms: number, since: number) => eventually(`${ms} ms to pass`, () => Date.now() >= since + ms);

  it('calls people once, by its name and step, and the train itself is not called silent', async () => {
    const { world, train, held, second, third, reached } = await withOneHeld();
    await passes(LIMIT * 0.6, reached);
    second?.release();
    await third?.reached;
    const view = await trainUntil(train, 'people to be called', ({ stuck }) => stuck.length > 0);
    expect(view.stalled).toBeUndefined();
    expect(view.stuck).toMatchObject([{ store: 's001', step: 'apply config' }]);
    const clock = { zone: 'UTC', now: new Date() };
    expect(renderTrain(view, { clock, suffix: '', columns: 200 }).join('\n')).toMatch(
      /NO PROGRESS at 1 store, while others move:\n {4}s001 at apply config for .*edge store show s001/,
    );
    await eventually('the call', () => stalls(world).length === 1);
    expect(stalls(world)[0]?.summary).toMatch(/^No progress while others move: s001 at apply config for /);
    third?.release();
    held?.release();
    expect(await train.result()).toMatchObject({ state: 'done', tally: { succeeded: 4 } });
    expect(stalls(world)).toHaveLength(1);
  });
});

describe('a train that waits for people', () => {
  it('is not silent while all its stores in work are paused, and is again when they are not', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    const held = store.hold('rejoinNode n1');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    callsAfter(world, 1_500);
    const train = await world.startTrain();
    await held.reached;
    const work = world.storeHandle('s001');
    await work.executeUpdate(pauseUpdate, { args: [{ by: 'anna' }] });
    held.release();
    await eventually('it stands still', async () => (await work.query(storeQuery)).paused);
    const fired = async () => (await eventsOf(train)).filter((event) => event.timerFiredEventAttributes).length;
    const before = { calls: stalls(world).length, timers: await fired() };
    await eventually('the time to pass, twice', async () => (await fired()) >= before.timers + 4);
    expect(stalls(world).length).toBe(before.calls);
    const next = store.hold('drainNode n3');
    await work.executeUpdate(resumeUpdate, { args: [{ by: 'anna' }] });
    await next.reached;
    await eventually('the call', () => stalls(world).length > before.calls);
    next.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('is not silent, however long it takes, and costs no timer', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true, expires: 1_500 } })
        .build(),
    );
    callsAfter(world, 500);
    const train = await world.startTrain();
    // Three times as long as the limit.
    await heldFor(train, 'ApprovalExpired');
    expect(stalls(world)).toEqual([]);
    const timers = timersOf(await eventsOf(train));
    // One while it was built and planned, one until the approval expires.
    expect(timers).toBeLessThanOrEqual(3);
  });
});
