import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import { renderTrain } from '#client/cli/render-train.js';
import type { TrainView } from '#domain/messages/train.js';
import type { Outcome } from '#domain/outcomes.js';
import {
  abortUpdate,
  answerUpdates,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  trainQuery,
} from '#workflows/messages.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import { useWorld } from '../support/use-world.js';
import { aPlan, aReopenedTrain, currentPreflight, OTHER_HASH } from '../support/workflow-builders.js';
import { eventsOf, eventually, heldFor, trainUntil } from '../support/workflow-harness.js';

/** Stores that are away when their train is taken back, or that people leave out: nothing on a store acts without a task. */

const quick = { readFacts: async () => currentPreflight() };
const failedStep: StepAnswer<never> = { kind: 'failed', stop: { reason: 'ConfigRejected', summary: 'no' } };
const by = { by: 'anna' };
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const ENDED = '2026-11-23T03:00:00.000Z';

type Rollback = Awaited<ReturnType<Awaited<ReturnType<typeof useWorld>>['startRollback']>>;

const TWO = ['s001', 's002'];

/** A train that has ended, over s001 and s002, at the end of its approval; no store has a worker yet. */
async function takenBack({
  deadline = ENDED,
  canary = TWO,
  back = TWO,
  limits = {},
  outcomes = {} as Record<string, Outcome>,
  noProgressAfter = 3_600_000,
} = {}) {
  const world = await useWorld();
  const { central } = world;
  const pointed: Record<string, unknown>[] = [];
  central.on('pointBack', async (input) => void pointed.push(input));
  const patient = { offlineAfter: 2_000, offlineThreshold: { percent: 100, minSample: 1 }, ...limits };
  const plan = aPlan({ deadline })
    .stage('canary', { stores: canary, limits: patient })
    .stage('wave-1', { stores: ['s003'], limits: patient })
    .build();
  central.plans(plan);
  central.on('reopenTrain', async () => ({
    ...aReopenedTrain(plan, { s003: 'missed', ...outcomes }),
    noProgressAfter,
  }));
  central.on('planRollback', async () => ({
    kind: 'planned',
    plan: aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: back }] }),
    planHash: OTHER_HASH,
  }));
  const start = async (beforeApproval: (train: Rollback) => Promise<void> = async () => undefined) => {
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    await beforeApproval(train);
    await train.executeUpdate(decideUpdate, {
      args: [{ stage: 'rollback', planHash: OTHER_HASH, decision: 'approve', via: 'cli', ...by }],
    });
    return train;
  };
  return { world, central, pointed, start };
}

const measured = (calls: readonly string[]): number => calls.filter((call) => call === 'probeStore').length;

describe('a store that is away when its train is taken back', () => {
  it('is awaited, and taken back and measured in a further round when it is there', async () => {
    const { world, start } = await takenBack();
    const first = await world.store('s001', quick);
    const train = await start();
    const view = await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    expect(view).toMatchObject({ awaited: ['s002'], answers: ['finish', 'pause', 'abort'] });
    expect(view.doing).toMatch(/^1 store is away and awaited until .*: s002\.$/);
    expect(measured(first.calls)).toBe(1);

    const late = await world.store('s002', quick);
    const report = await train.result();
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 2, missed: 1 } });
    expect(report.summary).toBe('Rolled back from 2026.48.0: 2 of 2 stores are back on 2026.47.0.');
    expect(late.tasks.at(-1)).toMatchObject({
      operationId: '2026-w48/rollback/s002/r1',
      release: aReleaseRef(47),
      permit: { permit: OTHER_HASH },
    });
    expect([measured(first.calls), measured(late.calls)]).toEqual([1, 1]);
    expect((await train.query(trainQuery)).awaited).toEqual([]);
  });

  it('is named at the end, with what takes it back, when people do not want to wait', async () => {
    const { world, central, start } = await takenBack();
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await expect(train.executeUpdate(answerUpdates.finish, { args: [by] })).resolves.toBe(
      'anna ends the rollback; no further store is taken, and those that are not back keep the release that was taken back.',
    );
    const report = await train.result();
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 1, offline: 1, missed: 1 } });
    expect(report.summary).toBe(
      'Rolled back from 2026.48.0: 1 of 2 stores is back on 2026.47.0. Away, and still on 2026.48.0: s002. ' +
        'To take them back later: edge train rollback --train 2026-w48',
    );
    expect(central.ledgerOf('train').at(-1)?.row).toMatchObject({ state: 'rolled back', summary: report.summary });
    expect((await train.query(trainQuery)).awaited).toEqual([]);
  });

  it('is awaited no longer than to the deadline of a train that has one ahead', async () => {
    const { world, start } = await takenBack({ deadline: inSeconds(15) });
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      summary: expect.stringMatching(/Away, and still on 2026\.48\.0: s002\./) as string,
    });
  });

  it('and fails when it is back is a question to people, as in any round', async () => {
    const { world, start } = await takenBack({ limits: { errorThreshold: { count: 0, minSample: 1 } } });
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await world.store('s002', { ...quick, applyConfig: async () => failedStep });
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(held.answers).toEqual(['retry-failed', 'skip', 'pause', 'abort']);
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      summary:
        'Rolled back from 2026.48.0: 1 of 2 stores is back on 2026.47.0. Did not come back: s002. ' +
        'To take them back later: edge train rollback --train 2026-w48',
    });
  });

  it('is not taken while people keep it paused', async () => {
    const { world, start } = await takenBack();
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, store: 's002' }] });
    const late = await world.store('s002', quick);
    await trainUntil(train, 'it is greeted', () => late.calls.includes('hello'));
    expect(late.tasks).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, store: 's002' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});

describe('the end of the waiting, said while stores that came back are in work', () => {
  const strict = { errorThreshold: { count: 0, minSample: 1 } };

  it('is still meant when one of them fails and people skip it', async () => {
    const { world, start } = await takenBack({
      canary: ['s001', 's002', 's004'],
      back: ['s001', 's002', 's004'],
      limits: strict,
    });
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    const late = await world.store('s002', { ...quick, applyConfig: async () => failedStep });
    const step = late.hold('applyConfig');
    await step.reached;
    await train.executeUpdate(answerUpdates.finish, { args: [by] });
    step.release();
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(held.awaited).toEqual([]);
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    const next = await trainUntil(
      train,
      'it ends or waits again',
      ({ state, hold, doing }) => state === 'rolled back' || (hold === undefined && doing.includes('awaited')),
    );
    expect(next).toMatchObject({ state: 'rolled back', awaited: [] });
  });

  it('starts nobody of them who has not begun, and holds for nobody', async () => {
    const { world, start } = await takenBack({
      canary: ['s001', 's002', 's004'],
      back: ['s001', 's002', 's004', 's003'],
      outcomes: { s003: 'succeeded' },
      limits: strict,
    });
    await world.store('s001', quick);
    const train = await start();
    await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    // All come back at once: those of canary are taken one by one, and that of wave-1 after them.
    await train.executeUpdate(pauseUpdate, { args: [by] });
    const late = await world.stores(['s002', 's003', 's004'], quick);
    const step = late.get('s002')?.hold('applyConfig');
    await trainUntil(train, 'all are greeted', () => [...late.values()].every(({ calls }) => calls.includes('hello')));
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await step?.reached;
    await train.executeUpdate(answerUpdates.finish, { args: [by] });
    step?.release();
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      summary: expect.stringMatching(/2 of 4 stores .*Away, and still on 2026\.48\.0: s003, s004\./) as string,
    });
    expect([...late.values()].map(({ tasks }) => tasks.length > 0)).toEqual([true, false, false]);
  });
});

describe('a store that people take out of the rollback', () => {
  const rowsOf = (central: Awaited<ReturnType<typeof takenBack>>['central']) =>
    central
      .ledgerOf('results')
      .filter(({ stage }) => stage === 'rollback')
      .flatMap(({ results }) => results.map(({ store, outcome, stop }) => [store, outcome, stop?.summary]));
  const abort = (train: Rollback, store: string) => train.executeUpdate(abortUpdate, { args: [{ ...by, store }] });

  it.each(['succeeded', 'failed'] as const)(
    'before its turn is left out, said so, and holds nobody, however the way there ended (%s)',
    async (outcome) => {
      const { world, central, start } = await takenBack({
        back: ['s001', 's002', 's003'],
        outcomes: { s002: outcome, s003: outcome },
      });
      const stores = await world.stores(['s001', 's002', 's003'], quick);
      const step = stores.get('s001')?.hold('applyConfig');
      const train = await start(async (asking) => {
        await expect(abort(asking, 's002')).resolves.toBe(
          's002 is aborted by anna. The rollback does not take it; it stays as it is.',
        );
      });
      await step?.reached;
      await expect(abort(train, 's003')).resolves.toMatch(/^s003 is aborted by anna\. The rollback does not take it/);
      step?.release();
      const next = await trainUntil(train, 'it ends', ({ state }) => state === 'rolled back' || state === 'held');
      expect(next).toMatchObject({ state: 'rolled back' });
      expect(next.notSucceeded.filter(({ store }) => store !== 's001')).toMatchObject([
        { store: 's003', outcome: 'aborted', stop: { summary: 'Aborted by an operator before its turn.' } },
        { store: 's002', outcome: 'aborted', stop: { summary: 'Aborted by an operator before its turn.' } },
      ]);
      expect(next.doing).toMatch(/1 of 3 stores is back on 2026\.47\.0\. Did not come back: s002, s003\./);
      expect(rowsOf(central)).toEqual([
        ['s002', 'aborted', 'Aborted by an operator before its turn.'],
        ['s001', 'rolledBack', undefined],
        ['s003', 'aborted', 'Aborted by an operator before its turn.'],
      ]);
      expect(['s002', 's003'].map((id) => stores.get(id)?.tasks)).toEqual([[], []]);
    },
  );

  it('in its work holds nobody', async () => {
    const { world, start } = await takenBack();
    await world.store('s001', quick);
    const step = (await world.store('s002')).hold('drainNode n1');
    const train = await start();
    await step.reached;
    await expect(abort(train, 's002')).resolves.toBe(
      's002 is aborted by anna. If it is in work, it stops at the nearest safe point.',
    );
    step.release();
    const next = await trainUntil(train, 'it ends', ({ state }) => state === 'rolled back' || state === 'held');
    expect(next).toMatchObject({
      state: 'rolled back',
      doing: expect.stringMatching(/Did not come back: s002/) as string,
    });
  });

  it('after it failed is not tried again, and no retry is offered that would start nobody', async () => {
    const { world, start } = await takenBack({ limits: { errorThreshold: { count: 0, minSample: 1 } } });
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    const train = await start();
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(held.answers).toEqual(['retry-failed', 'skip', 'pause', 'abort']);
    await expect(abort(train, 's002')).resolves.toBe(
      's002 has ended already (failed). anna says that this train does not take it again.',
    );
    expect((await train.query(trainQuery)).answers).toEqual(['skip', 'pause', 'abort']);
    await expect(train.executeUpdate(answerUpdates['retry-failed'], { args: [by] })).rejects.toThrow();
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 1, failed: 1 } });
  });

  it('after it failed stands in the way of nobody who had not begun', async () => {
    const { world, start } = await takenBack({
      canary: ['s001', 's002', 's004'],
      back: ['s001', 's002', 's004'],
      limits: { errorThreshold: { count: 0, minSample: 1 } },
    });
    const stores = await world.stores(['s001', 's002', 's004'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    const train = await start();
    const first = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await abort(train, 's002');
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    const next = await trainUntil(
      train,
      'it ends or holds again',
      ({ state, hold }) => state === 'rolled back' || (hold !== undefined && hold.since !== first.hold?.since),
    );
    expect(next).toMatchObject({ state: 'rolled back' });
    await expect(train.result()).resolves.toMatchObject({ tally: { rolledBack: 2, failed: 1 } });
    expect(['s001', 's002', 's004'].map((id) => stores.get(id)?.tasks.length)).toEqual([1, 1, 1]);
  });

  it.each(['succeeded', 'failed'] as const)(
    'while a failure keeps it from being started is left out, however the way there ended (%s)',
    async (outcome) => {
      const three = ['s001', 's002', 's004'];
      const { world, central, start } = await takenBack({
        canary: three,
        back: three,
        outcomes: { s002: outcome },
        limits: { errorThreshold: { count: 0, minSample: 1 } },
      });
      const stores = await world.stores(three, quick);
      stores.get('s001')?.on('applyConfig', async () => failedStep);
      const train = await start();
      await heldFor(train, 'ErrorThresholdExceeded', 'canary');
      await expect(abort(train, 's002')).resolves.toBe(
        's002 is aborted by anna. The rollback does not take it; it stays as it is.',
      );
      await expect(abort(train, 's001')).resolves.toMatch(/^s001 has ended already \(failed\)/);
      await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
      await expect(train.result()).resolves.toMatchObject({ state: 'rolled back' });
      expect(rowsOf(central).slice(1)).toEqual([
        ['s002', 'aborted', 'Aborted by an operator before its turn.'],
        ['s004', 'rolledBack', undefined],
      ]);
      expect(three.map((id) => stores.get(id)?.tasks.length)).toEqual([1, 0, 1]);
    },
  );

  it('when it is back already has ended', async () => {
    const { world, start } = await takenBack({ back: ['s001', 's002', 's003'], outcomes: { s003: 'succeeded' } });
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    const step = stores.get('s003')?.hold('applyConfig');
    const train = await start();
    await step?.reached;
    await expect(abort(train, 's001')).rejects.toMatchObject({
      cause: { message: 's001 has ended already (rolled back); there is nothing of it to abort.' },
    });
    step?.release();
    await train.result();
  });
});

describe('the answer skip, when stores did not come back and others of their stage have not begun', () => {
  const strict = { errorThreshold: { count: 0, minSample: 1 } };
  const THREE = ['s001', 's002', 's004'];
  const skip = (train: Rollback) => train.executeUpdate(answerUpdates.skip, { args: [by] });
  const tasksOf = (stores: Map<string, { tasks: unknown[] }>) =>
    Object.fromEntries([...stores].map(([id, { tasks }]) => [id, tasks.length]));

  it('leaves those as they are and takes back the others, whom a further failure stops again', async () => {
    const { world, start } = await takenBack({ canary: THREE, back: THREE, limits: strict });
    const stores = await world.stores(THREE, quick);
    for (const id of ['s001', 's002']) stores.get(id)?.on('applyConfig', async () => failedStep);
    const train = await start();
    const first = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await expect(skip(train)).resolves.toMatch(/go on with the others/);
    const next = await trainUntil(
      train,
      'it is held again, or ends',
      ({ state, hold }) => state === 'rolled back' || (hold !== undefined && hold.since !== first.hold?.since),
    );
    // Of s001 nobody is asked again, nor does it count.
    expect(next.hold).toMatchObject({
      reason: 'ErrorThresholdExceeded',
      summary: '1 of 1 store failed; the stage allows 0.',
      detail: ['s002: no', 's004: not started'],
    });
    await skip(train);
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      tally: { failed: 2, rolledBack: 1, missed: 1 },
      summary: expect.stringMatching(/1 of 3 stores is back .* Did not come back: s001, s002\./) as string,
    });
    expect(tasksOf(stores)).toEqual({ s001: 1, s002: 1, s004: 1 });
  });

  it('takes nobody whom people have aborted meanwhile, and nobody while they pause', async () => {
    const { world, central, start } = await takenBack({ canary: THREE, back: THREE, limits: strict });
    const stores = await world.stores(THREE, quick);
    stores.get('s001')?.on('applyConfig', async () => failedStep);
    const train = await start();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await train.executeUpdate(abortUpdate, { args: [{ ...by, store: 's002' }] });
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, stage: 'canary' }] });
    await skip(train);
    await trainUntil(train, 'it stands', ({ standsAt, state }) => standsAt === 'canary' || state === 'rolled back');
    expect(tasksOf(stores)).toEqual({ s001: 1, s002: 0, s004: 0 });
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, stage: 'canary' }] });
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      tally: { failed: 1, aborted: 1, rolledBack: 1 },
    });
    expect(tasksOf(stores)).toEqual({ s001: 1, s002: 0, s004: 1 });
    const told = central.ledgerOf('results').flatMap(({ results }) => results.map(({ store, stop }) => [store, stop]));
    expect(told).toContainEqual([
      's002',
      expect.objectContaining({ summary: 'Aborted by an operator before its turn.' }),
    ]);
  });

  it('goes on without those that are away, who stay awaited', async () => {
    const limits = { offlineThreshold: { count: 0, minSample: 1 } };
    const { world, start } = await takenBack({ canary: THREE, back: THREE, limits });
    const stores = await world.stores(['s002', 's004'], quick);
    const train = await start();
    await heldFor(train, 'OfflineThresholdExceeded', 'canary');
    await skip(train);
    const waits = await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    expect(waits.awaited).toEqual(['s001']);
    expect(tasksOf(stores)).toEqual({ s002: 1, s004: 1 });
    await train.executeUpdate(answerUpdates.finish, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ tally: { rolledBack: 2, offline: 1 } });
  });

  it('takes those not begun of a stage that people aborted in its work', async () => {
    const { world, start } = await takenBack({ canary: THREE, back: THREE });
    const stores = await world.stores(['s002', 's004'], quick);
    const step = (await world.store('s001')).hold('drainNode n1');
    const train = await start();
    await step.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    step.release();
    await heldFor(train, 'StageAborted', 'canary');
    await skip(train);
    await expect(train.result()).resolves.toMatchObject({ tally: { aborted: 1, rolledBack: 2 } });
    expect(tasksOf(stores)).toEqual({ s002: 1, s004: 1 });
  });

  it('leaves out a stage that people aborted before it began', async () => {
    const { world, start } = await takenBack({ back: ['s001', 's002', 's003'], outcomes: { s003: 'succeeded' } });
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    const train = await start(async (asking) => {
      await asking.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    });
    await heldFor(train, 'StageAborted', 'canary');
    await skip(train);
    await expect(train.result()).resolves.toMatchObject({
      state: 'rolled back',
      summary: expect.stringMatching(/1 of 3 stores is back .* Did not come back: s001, s002\./) as string,
    });
    expect(tasksOf(stores)).toEqual({ s001: 0, s002: 0, s003: 1 });
  });
});

describe('a store that falls silent on its way back', () => {
  it('holds nobody up: it is awaited, and its result is taken when it is there again', async () => {
    const { world, start } = await takenBack({ limits: { maxConcurrency: 2, offlineAfter: 3_000, cutOffAfter: 100 } });
    const silent = await world.store('s001', {}, { slots: 1 });
    await world.store('s002', quick);
    const held = silent.hold('drainNode n1');
    const train = await start();
    await held.reached;
    const view = await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
    expect(view.awaited).toEqual(['s001']);
    silent.on('readFacts', async () => currentPreflight());
    held.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});

describe('the stores of a train that never took its release', () => {
  it('are pointed back too', async () => {
    const { world, pointed, start } = await takenBack();
    await world.stores(['s001', 's002'], quick);
    const train = await start();
    await train.result();
    expect(pointed).toMatchObject([{ groups: [{ stores: ['s001', 's002'] }], others: ['s003'] }]);
  });
});

const statesOf = ({ stages }: TrainView) => stages.map(({ name, state }) => [name, state]);

describe('a stage that was through before its train is taken back', () => {
  const heldBack = async () => {
    const { world, central, start } = await takenBack({ limits: { errorThreshold: { count: 0, minSample: 1 } } });
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s001')?.on('applyConfig', async () => failedStep);
    const train = await start();
    const held = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(statesOf(held)).toEqual([
      ['canary', 'held'],
      ['wave-1', 'done'],
    ]);
    return { central, train, store: stores.get('s001') };
  };
  const isThrough = async ({ central, train }: Awaited<ReturnType<typeof heldBack>>) => {
    expect(statesOf(await train.query(trainQuery))).toEqual([
      ['canary', 'done'],
      ['wave-1', 'done'],
    ]);
    // Where the ledger does not call it done, its release is nobody's last good one.
    expect(central.ledgerOf('stage').map(({ row }) => [row.stage, row.state])).toEqual([
      ['canary', 'done'],
      ['wave-1', 'done'],
    ]);
  };

  it('is through again when its way back was held and is tried again', async () => {
    const rollback = await heldBack();
    rollback.store?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await rollback.train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(rollback.train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
    await isThrough(rollback);
  });

  it('is through again when its way back was held and people give it up', async () => {
    const rollback = await heldBack();
    await rollback.train.executeUpdate(abortUpdate, { args: [by] });
    await expect(rollback.train.result()).resolves.toMatchObject({ state: 'aborted' });
    await isThrough(rollback);
  });
});

describe('a stage that is paused before its way back', () => {
  it('says so, by whom and how it goes on, and nobody is called for it', async () => {
    const { world, central } = await takenBack({ noProgressAfter: 1_000 });
    await world.stores(['s001', 's002'], quick);
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(pauseUpdate, { args: [{ ...by, stage: 'canary', reason: 'stocktaking' }] });
    await train.executeUpdate(decideUpdate, {
      args: [{ stage: 'rollback', planHash: OTHER_HASH, decision: 'approve', via: 'cli', ...by }],
    });
    const stands = await trainUntil(train, 'it stands', ({ standsAt }) => standsAt === 'canary');
    expect(stands).toMatchObject({
      state: 'rolling back',
      doing: 'Stage canary is paused by anna: stocktaking. Nothing goes on until it is resumed.',
    });
    const shown = renderTrain(stands, { clock: { zone: 'UTC', now: new Date() }, suffix: '', columns: 200 }).join('\n');
    expect(shown).toMatch(
      /Stage canary is paused by anna since .*: stocktaking\. It goes on by: edge train resume --stage canary/,
    );
    const called = () => central.notifications.filter(({ event }) => event === 'stalled').length;
    const timers = async () => (await eventsOf(train)).filter((event) => event.timerFiredEventAttributes).length;
    const before = { called: called(), timers: await timers() };
    await eventually('two looks after the limit', async () => (await timers()) >= before.timers + 2);
    expect(called()).toBe(before.called);
    expect((await train.query(trainQuery)).stalled).toBeUndefined();
    await train.executeUpdate(resumeUpdate, { args: [{ ...by, stage: 'canary' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
  });
});
