import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import type { Decision, LedgerEntry } from '#domain/messages/train.js';
import { abortUpdate, approveWaveSignal, decideUpdate, trainQuery } from '#workflows/messages.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import { useWorld } from '../support/use-world.js';
import { aPlan, aReopenedTrain, currentPreflight, OTHER_HASH, PLAN_HASH } from '../support/workflow-builders.js';
import { eventsOf, eventually, heldFor, trainThatAsks, trainUntil, type World } from '../support/workflow-harness.js';

/** A decision that is taken stands in the ledger before anything follows from it. */

type Train = Awaited<ReturnType<World['startTrain']>>;

const by = { by: 'anna' };
const approval: Decision = { stage: 'canary', planHash: PLAN_HASH, decision: 'approve', via: 'cli', ...by };
const decide = (train: Pick<Train, 'executeUpdate'>, change: Partial<Decision> = {}): Promise<string> =>
  train.executeUpdate(decideUpdate, { args: [{ ...approval, ...change }] });
const refusal = (sentence: RegExp) => ({ cause: { message: expect.stringMatching(sentence) as string } });
const isTaken = (entry: LedgerEntry): boolean => entry.kind === 'approval' && entry.row.accepted;

/** The ledger takes no decision until it is let: then it writes it, or fails for good. */
function slowLedger({ central }: World) {
  let release: (error?: Error) => void = () => undefined;
  const open = new Promise<Error | undefined>((resolve) => (release = resolve));
  let isReached: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => (isReached = resolve));
  central.on('record', async (entry) => {
    if (isTaken(entry)) {
      isReached();
      const error = await open;
      if (error) throw error;
    }
    central.ledger.push(entry);
  });
  return {
    reached,
    writes: () => release(),
    fails: () => release(ApplicationFailure.nonRetryable('the disk is full')),
  };
}

const works = ({ central }: World) => central.on('record', async (entry) => void central.ledger.push(entry));

describe('a decision that is being recorded', () => {
  it('lets nothing begin, and no second decision in, until it stands in the ledger', async () => {
    const world = await useWorld();
    const train = await trainThatAsks(world);
    const ledger = slowLedger(world);
    const approved = decide(train);
    await ledger.reached;
    await expect(decide(train, { by: 'ben', decision: 'reject' })).rejects.toMatchObject(
      refusal(/^A decision of anna for stage canary is being recorded\./),
    );
    expect((await train.query(trainQuery)).hold?.reason).toBe('ApprovalPending');
    expect(world.central.promotions).toEqual([]);
    ledger.writes();
    await expect(approved).resolves.toBe('Stage canary is approved.');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
    expect(world.central.promotions.map(({ approvedBy }) => approvedBy)).toEqual(['anna']);
  });

  it('signs no permit of a rollback that the ledger does not yet bear out', async () => {
    const world = await useWorld();
    await world.store('s001', { readFacts: async () => currentPreflight() });
    const plan = aPlan()
      .stage('canary', { stores: ['s001'] })
      .build();
    world.central.plans(plan);
    world.central.on('reopenTrain', async () => aReopenedTrain(plan, {}));
    world.central.on('planRollback', async () => ({
      kind: 'planned',
      plan: aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores: ['s001'] }] }),
      planHash: OTHER_HASH,
    }));
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    const ledger = slowLedger(world);
    const rollback = { stage: 'rollback', planHash: OTHER_HASH };
    const approved = decide(train, rollback);
    await ledger.reached;
    await expect(decide(train, rollback)).rejects.toMatchObject(refusal(/is being recorded/));
    expect(world.central.permits).toEqual([]);
    ledger.writes();
    await approved;
    await expect(train.result()).resolves.toMatchObject({ state: 'rolled back', tally: { rolledBack: 1 } });
    expect(world.central.permits).toHaveLength(1);
  });

  it('and cannot be does not count: the hold stands, the sender hears it, and may decide again', async () => {
    const world = await useWorld();
    const train = await trainThatAsks(world);
    const { hold } = await train.query(trainQuery);
    const ledger = slowLedger(world);
    ledger.fails();
    await expect(decide(train, { id: 'chat-1' })).rejects.toMatchObject(
      refusal(/^The decision could not be recorded, so it does not count: the disk is full/),
    );
    expect((await train.query(trainQuery)).hold).toEqual(hold);
    expect(world.central.promotions).toEqual([]);
    works(world);
    await expect(decide(train, { id: 'chat-1' })).resolves.toBe('Stage canary is approved.');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('and cannot be, sent by signal, is shown and told', async () => {
    const world = await useWorld();
    const { central } = world;
    const train = await trainThatAsks(world);
    const ledger = slowLedger(world);
    ledger.fails();
    await train.signal(approveWaveSignal, { ...approval, id: 'chat-1' });
    const view = await trainUntil(train, 'it is refused', ({ refusedDecisions }) => refusedDecisions.length === 1);
    expect(view.hold?.reason).toBe('ApprovalPending');
    expect(view.refusedDecisions[0]).toMatchObject({ by: 'anna', why: expect.stringMatching(/not count/) as string });
    await eventually('it is told', () => central.notifications.some(({ event }) => event === 'refused'));
    expect(central.promotions).toEqual([]);
    works(world);
    await train.signal(approveWaveSignal, { ...approval, id: 'chat-1' });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  const trainThatSoonExpires = async (world: World) => {
    await world.store('s001', { readFacts: async () => currentPreflight() });
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true, expires: 4_000 } })
        .build(),
    );
    const ledger = slowLedger(world);
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    const decided = decide(train).catch((error: unknown) => error as Error);
    await ledger.reached;
    await eventually('its time is over', async () =>
      (await eventsOf(train)).some((event) => event.timerFiredEventAttributes),
    );
    return { train, ledger, decided };
  };

  it('came in time when the ledger is slower than the time to decide', async () => {
    const world = await useWorld();
    const { train, ledger, decided } = await trainThatSoonExpires(world);
    expect((await train.query(trainQuery)).hold?.reason).toBe('ApprovalPending');
    ledger.writes();
    await expect(decided).resolves.toBe('Stage canary is approved.');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('and cannot be leaves a hold whose time is over expired', async () => {
    const world = await useWorld();
    const { train, ledger, decided } = await trainThatSoonExpires(world);
    ledger.fails();
    await expect(decided).resolves.toMatchObject(refusal(/does not count/));
    await heldFor(train, 'ApprovalExpired');
    expect(world.central.promotions).toEqual([]);
  });

  it('changes nothing when the train stopped asking meanwhile, and its sender is told so', async () => {
    const world = await useWorld();
    const train = await trainThatAsks(world);
    const ledger = slowLedger(world);
    const approved = decide(train).catch((error: unknown) => error as Error);
    await ledger.reached;
    await train.executeUpdate(abortUpdate, { args: [{ ...by, stage: 'canary' }] });
    await heldFor(train, 'StageAborted');
    ledger.writes();
    await expect(approved).resolves.toMatchObject(refusal(/^The decision is recorded but changes nothing: /));
    expect((await train.query(trainQuery)).hold?.reason).toBe('StageAborted');
    expect(world.central.promotions).toEqual([]);
  });

  it('is written down although the workflow is cancelled meanwhile', async () => {
    const world = await useWorld();
    const train = await trainThatAsks(world);
    const ledger = slowLedger(world);
    const approved = decide(train).catch((error: unknown) => error as Error);
    await ledger.reached;
    await train.cancel();
    await trainUntil(train, 'it ends', ({ state }) => state === 'aborted');
    ledger.writes();
    await expect(approved).resolves.toMatchObject(refusal(/^The decision is recorded but changes nothing: /));
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted' });
    expect(world.central.ledger.filter(isTaken)).toHaveLength(1);
  });
});
