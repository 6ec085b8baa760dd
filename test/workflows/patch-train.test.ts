import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import type { Decision, TrainInput, TrainView } from '#domain/messages/train.js';
import { totalOf } from '#domain/outcomes.js';
import {
  abortUpdate,
  answerUpdates,
  approveWaveSignal,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  trainQuery,
} from '#workflows/messages.js';
import { aHealthyProbe, aPlan, COMMIT, currentPreflight, OTHER_HASH, PLAN_HASH } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { eventsOf, eventually, heldFor, trainUntil, type World } from '../support/workflow-harness.js';

type Train = Awaited<ReturnType<World['startTrain']>>;

const quick = { readFacts: async () => currentPreflight() };
const failedStep: StepAnswer<never> = {
  kind: 'failed',
  stop: { reason: 'ConfigRejected', summary: 'nginx -t said no' },
};
const by = { by: 'anna' };
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();

const approvalOf = (stage: string, change: Partial<Decision> = {}): Decision => ({
  stage,
  planHash: PLAN_HASH,
  decision: 'approve',
  by: 'anna',
  via: 'cli',
  ...change,
});
const approve = (train: Train, stage: string, change: Partial<Decision> = {}): Promise<string> =>
  train.executeUpdate(decideUpdate, { args: [approvalOf(stage, change)] });
const stageOf = (view: TrainView, name: string) => view.stages.find((stage) => stage.name === name);
const refusal = (sentence: RegExp) => ({ cause: { message: expect.stringMatching(sentence) as string } });

describe('a calm train', () => {
  it('takes three stages one after another, each when it was approved, and every store of the plan has one outcome', async () => {
    const world = await useWorld();
    const { central } = world;
    const promotedBefore: number[] = [];
    await world.stores(['s001', 's002', 's003', 's004'], {
      ...quick,
      openOperation: async () => {
        promotedBefore.push(central.promotions.length);
        return { kind: 'done', adopted: [] };
      },
    });
    const frozen = { store: 's005', reason: 'Frozen' as const, detail: '2026-11-20 to 2026-11-30: Black Friday' };
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002', 's003'], approval: { required: true }, limits: { maxConcurrency: 2 } })
        .stage('wave-2', { stores: ['s004'], excluded: [frozen], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    for (const stage of ['wave-1', 'wave-2']) {
      await heldFor(train, 'ApprovalPending', stage);
      await expect(approve(train, stage)).resolves.toBe(`Stage ${stage} is approved.`);
    }
    const report = await train.result();
    expect(report).toMatchObject({ state: 'done', planned: 5, tally: { succeeded: 4, excluded: 1 } });
    expect(totalOf(report.tally)).toBe(5);

    expect(central.promotions.map(({ stage, stores, approvedBy }) => [stage, stores, approvedBy])).toEqual([
      ['canary', ['s001'], 'no approval required'],
      ['wave-1', ['s002', 's003'], 'anna'],
      ['wave-2', ['s004'], 'anna'],
    ]);
    expect(promotedBefore).toEqual([1, 2, 2, 3]);
    expect(central.ledgerOf('stage').map(({ row }) => [row.stage, row.position, row.state])).toEqual([
      ['canary', 0, 'done'],
      ['wave-1', 1, 'done'],
      ['wave-2', 2, 'done'],
    ]);
    const recorded = central.ledgerOf('results').flatMap(({ results }) => results.map(({ store }) => store));
    expect(recorded.toSorted()).toEqual(['s001', 's002', 's003', 's004', 's005']);
    expect(central.ledgerOf('approval').map(({ row }) => [row.stage, row.accepted])).toEqual([
      ['wave-1', true],
      ['wave-2', true],
    ]);
    expect(central.ledgerOf('train').at(-1)?.row).toMatchObject({ state: 'done', planHash: PLAN_HASH });
    expect(central.notifications.map(({ event }) => event)).toEqual(['approval-needed', 'approval-needed', 'done']);
  });

  it('does not sign a stage that needs no approval with the name of who approved the one before', async () => {
    const world = await useWorld();
    await world.stores(['s001', 's002'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    await approve(train, 'canary');
    await train.result();
    expect(world.central.promotions.map(({ approvedBy }) => approvedBy)).toEqual(['anna', 'no approval required']);
  });

  it('takes a release that was built before instead of building one', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    const release = { version: '2026.48.9', sequence: 99, manifest: PLAN_HASH, bundle: OTHER_HASH };
    const train = await world.startTrain({ release });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', release });
    expect(world.central.calls).not.toContain('buildRelease');
  });
});

describe('an approval', () => {
  it('is refused with a sentence, and leaves only a record of that, when it is not what the train asks for', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    await expect(approve(train, 'canary', { planHash: OTHER_HASH })).rejects.toMatchObject(
      refusal(/plan hash is not that of this train/),
    );
    await expect(approve(train, 'wave-1')).rejects.toMatchObject(refusal(/asks for stage canary, not for wave-1/));
    await expect(approve(train, 'canary', { by: '' })).rejects.toMatchObject(refusal(/by: /));
    await expect(train.executeUpdate(answerUpdates['retry-gate'], { args: [by] })).rejects.toMatchObject(
      refusal(/does not take "retry-gate" now.*It takes: approve, reject, pause, abort/s),
    );
    await eventually('the record', () => world.central.ledgerOf('approval').length === 3);
    expect(world.central.ledgerOf('approval').filter(({ row }) => row.accepted)).toEqual([]);
    expect(store.calls).toEqual([]);

    const held = store.hold('openOperation');
    await approve(train, 'canary');
    await held.reached;
    await expect(approve(train, 'canary', { by: 'ben' })).rejects.toMatchObject(refusal(/already approved by anna/));
    await expect(approve(train, 'wave-1')).rejects.toMatchObject(refusal(/does not ask for an approval now/));
    expect(world.central.ledgerOf('approval').filter(({ row }) => row.accepted)).toHaveLength(1);
    held.release();
    await expect(train.result()).resolves.toMatchObject({ state: 'done' });
  });

  it('by signal follows the same rules: a refused one is recorded and told, an accepted one counts, a repeated one changes nothing', async () => {
    const world = await useWorld();
    const { central } = world;
    const store = await world.store('s001', quick);
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    await train.signal(approveWaveSignal, approvalOf('canary', { planHash: OTHER_HASH, by: 'ben', id: 'chat-1' }));
    await train.signal(approveWaveSignal, { stage: 'canary', by: 'eve' } as Decision);
    const { refusedDecisions, hold } = await trainUntil(
      train,
      'both are refused',
      (view) => view.refusedDecisions.length === 2,
    );
    expect(hold?.reason).toBe('ApprovalPending');
    expect(refusedDecisions[0]).toMatchObject({ by: 'ben', why: expect.stringMatching(/plan hash/) as string });
    expect(refusedDecisions[1]).toMatchObject({ by: 'eve', why: expect.stringMatching(/planHash: /) as string });
    await eventually('the refusal is told', () => central.notifications.some(({ event }) => event === 'refused'));
    await eventually('both are written down', () => central.ledgerOf('approval').length === 2);
    expect(store.calls).toEqual([]);

    const held = store.hold('openOperation');
    const right = approvalOf('canary', { id: 'chat-2', via: 'chat' });
    await train.signal(approveWaveSignal, right);
    await held.reached;
    await train.signal(approveWaveSignal, right);
    held.release();
    await train.result();
    const rows = central.ledgerOf('approval').map(({ row }) => [row.id, row.by, row.accepted] as const);
    expect(rows.toSorted(([a], [b]) => (a < b ? -1 : 1))).toEqual([
      ['chat-2', 'anna', true],
      [expect.stringMatching(/^refused\/.*\/1\/chat-1$/), 'ben', false],
      [expect.stringMatching(/^refused\/.*\/2$/), 'eve', false],
    ]);
    expect(central.promotions.map(({ approvedBy }) => approvedBy)).toEqual(['anna']);
  });

  it('that nobody gives in time is expired; ask-again asks again', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true, expires: 3_000 } })
        .build(),
    );
    const train = await world.startTrain();
    const { answers } = await heldFor(train, 'ApprovalExpired');
    expect(answers).toEqual(['ask-again', 'pause', 'abort']);
    await expect(approve(train, 'canary')).rejects.toMatchObject(refusal(/does not ask for an approval now/));
    await train.executeUpdate(answerUpdates['ask-again'], { args: [by] });
    await heldFor(train, 'ApprovalPending');
    await approve(train, 'canary');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('that is a rejection holds the train; nothing of the stage has started', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    await heldFor(train, 'ApprovalPending');
    await approve(train, 'canary', { decision: 'reject', comment: 'not before the sale' });
    const view = await heldFor(train, 'ApprovalRejected');
    expect(view.hold?.summary).toBe('Stage canary was rejected by anna. Nothing of it has started.');
    expect(world.central.promotions).toEqual([]);
    await train.executeUpdate(abortUpdate, { args: [{ by: 'anna', reason: 'not this week' }] });
    await expect(train.result()).resolves.toMatchObject({
      state: 'aborted',
      summary: 'Aborted by anna: not this week.',
      tally: { aborted: 1 },
    });
    expect(store.calls).toEqual([]);
  });
});

describe('a health gate', () => {
  it('that fails holds the train, promotes nothing further, and passes when it is measured again and well', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    const sick = { guests: [{ vmid: 101, name: 'pos', running: false, healthy: false }] };
    stores.get('s001')?.on('probeStore', async () => aHealthyProbe('s001', sick));
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    const view = await heldFor(train, 'HealthGateFailed', 'canary');
    expect(view.answers).toEqual(['retry-gate', 'rollback', 'pause', 'abort']);
    await eventually('people are called', () => world.central.notifications.length > 0);
    expect(world.central.notifications).toEqual([
      {
        event: 'held',
        fleet: 'acme',
        train: '2026-w48',
        stage: 'canary',
        reason: 'HealthGateFailed',
        planHash: PLAN_HASH,
        summary: '1 of 1 store measured; 1 failing, 0 allowed: guests running.',
        answers: ['retry-gate', 'rollback', 'abort'],
      },
    ]);
    expect(view.hold?.detail.join('\n')).toMatch(/guests running: s001: guest 101 \(pos\) does not run/);
    expect(world.central.promotions.map(({ stage }) => stage)).toEqual(['canary']);
    expect(stores.get('s002')?.calls).toEqual([]);

    await train.executeUpdate(answerUpdates['retry-gate'], { args: [by] });
    await trainUntil(
      train,
      'it was measured again',
      ({ hold }) => hold !== undefined && hold.since !== view.hold?.since,
    );
    stores.get('s001')?.on('probeStore', async () => aHealthyProbe('s001'));
    await train.executeUpdate(answerUpdates['retry-gate'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(stores.get('s001')?.calls.filter((call) => call === 'probeStore')).toHaveLength(3);
  });

  it('that has too few facts holds, it does not pass', async () => {
    const world = await useWorld();
    await world.store('s001', {
      ...quick,
      probeStore: async () => {
        throw ApplicationFailure.nonRetryable('the link is down');
      },
    });
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    const train = await world.startTrain();
    const view = await heldFor(train, 'NotEnoughFacts', 'canary');
    expect(view.answers).toEqual(['retry-gate', 'skip', 'rollback', 'pause', 'abort']);
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 1 } });
  });

  it('that has nothing to compare with holds; people may go on, and no store has a new good release by that', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    stores.get('s001')?.on('probeStore', async () => aHealthyProbe('s001', { baseline: [] }));
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    const view = await heldFor(train, 'NotEnoughFacts', 'canary');
    expect(view.hold?.summary).toBe(
      '1 of 1 store measured; none failing. Could not be judged: latency against the own baseline (s001).',
    );
    expect(world.central.promotions.map(({ stage }) => stage)).toEqual(['canary']);
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(world.central.confirmed.map(({ stage, stores }) => [stage, stores])).toEqual([['wave-1', ['s002']]]);
  });

  it('of a stage that nobody took holds; retry-failed starts its stores again', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const isTooOld = { store: 's001', protocol: { min: 98, max: 99 }, clock: '' };
    stores.get('s001')?.on('hello', async () => isTooOld);
    const train = await world.startTrain();
    const view = await heldFor(train, 'NotEnoughFacts', 'canary');
    expect(view.answers).toEqual(['retry-failed', 'skip', 'rollback', 'pause', 'abort']);
    expect(stores.get('s002')?.calls).toEqual([]);

    stores.get('s001')?.on('hello', async () => ({ ...isTooOld, protocol: { min: 1, max: 1 } }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(world.central.confirmed.map(({ stage, stores: good }) => [stage, good])).toEqual([
      ['canary', ['s001']],
      ['wave-1', ['s002']],
    ]);
  });

  it('of a stage that the plan leaves without stores holds, and only people let the next stage start', async () => {
    const world = await useWorld();
    const store = await world.store('s002', quick);
    const excluded = [{ store: 's001', reason: 'StoreOnHold' as const, detail: 'until 2026-12-01: rebuilt' }];
    world.central.plans(
      aPlan()
        .stage('canary', { stores: [], excluded })
        .stage('wave-1', { stores: ['s002'] })
        .build(),
    );
    const train = await world.startTrain();
    const view = await heldFor(train, 'NotEnoughFacts', 'canary');
    expect(view.answers).toEqual(['skip', 'rollback', 'pause', 'abort']);
    expect(store.calls).toEqual([]);
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1, excluded: 1 } });
  });

  it('asks nobody when no stage that is left has a store', async () => {
    const world = await useWorld();
    const excluded = [{ store: 's001', reason: 'Frozen' as const, detail: '2026-12-20 to 2027-01-02: sales' }];
    world.central.plans(aPlan().stage('canary', { stores: [], excluded }).build());
    const train = await world.startTrain();
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { excluded: 1 } });
  });
});

describe('a pause', () => {
  it('in a wave starts no further store until the train is resumed', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    const held = stores.get('s001')?.hold('openOperation');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'] })
        .build(),
    );
    const train = await world.startTrain();
    await held?.reached;
    await expect(train.executeUpdate(pauseUpdate, { args: [{ by: 'anna', reason: 'lunch' }] })).resolves.toMatch(
      /^Paused by anna: lunch\./,
    );
    const paused = await train.query(trainQuery);
    expect(paused).toMatchObject({ state: 'paused', answers: ['rollback', 'resume', 'abort'] });
    await eventually('the wave knows', async () =>
      (await eventsOf(world.client.workflow.getHandle('2026-w48/canary/r0'))).some(
        (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerWave',
      ),
    );
    held?.release();
    await trainUntil(train, 's001 has ended', (view) => stageOf(view, 'canary')?.tally.succeeded === 1);
    expect(stores.get('s002')?.calls).toEqual([]);
    await train.executeUpdate(resumeUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 2 } });
  });
});

describe('an abort', () => {
  it.each<[string, (train: Train) => Promise<unknown>]>([
    ['by the update', (train) => train.executeUpdate(abortUpdate, { args: [by] })],
    ['by a cancellation of the workflow', (train) => train.cancel()],
  ])('%s in the middle of a wave brings the stores in work to a safe point first', async (_, abort) => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003']);
    const held = stores.get('s001')?.hold('upgradeNode n1');
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002'] })
        .stage('wave-1', { stores: ['s003'] })
        .build(),
    );
    const train = await world.startTrain();
    await held?.reached;
    await abort(train);
    await eventually('the store was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    held?.release();
    await expect(train.result()).resolves.toMatchObject({
      state: 'aborted',
      reason: 'Aborted',
      planned: 3,
      tally: { aborted: 3 },
    });
    expect(stores.get('s001')?.work().slice(-2)).toEqual(['rejoinNode n1', 'closeOperation aborted']);
    expect([stores.get('s002')?.calls, stores.get('s003')?.calls]).toEqual([[], []]);
    expect(world.central.ledgerOf('stage').map(({ row }) => [row.stage, row.state])).toEqual([
      ['canary', 'aborted'],
      ['wave-1', 'aborted'],
    ]);
  });

  it('ends a soak', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], soak: 86_400_000 })
        .build(),
    );
    const train = await world.startTrain();
    await trainUntil(train, 'it soaks', (view) => stageOf(view, 'canary')?.state === 'soaking');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { succeeded: 1 } });
  });

  it('ends the wait for a window, before anything is promoted', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    const opens = inSeconds(3_600);
    world.central.on('stageWindows', async () => ({
      opens,
      closes: inSeconds(7_200),
      stores: {},
      never: [],
      excluded: [],
    }));
    const train = await world.startTrain();
    await trainUntil(train, 'it waits', (view) => stageOf(view, 'canary')?.state === 'awaiting window');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', tally: { aborted: 1 } });
    expect(world.central.promotions).toEqual([]);
  });

  it('during the build never asks anybody for an approval', async () => {
    const world = await useWorld();
    const { central } = world;
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .build(),
    );
    let finish = (): void => undefined;
    const { release } = aPlan().build();
    central.builds(
      () =>
        new Promise((resolve) => {
          finish = () => resolve({ kind: 'built', release });
        }),
    );
    const train = await world.startTrain();
    await eventually('it builds', () => central.calls.includes('buildRelease'));
    await train.executeUpdate(abortUpdate, { args: [by] });
    finish();
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted' });
    expect(central.notifications.map(({ event }) => event)).toEqual(['aborted']);
  });
});

describe('a build', () => {
  it.each<[string, () => never | { kind: 'refused'; problems: string[] }]>([
    ['is refused', () => ({ kind: 'refused', problems: ['CVE-2026-1 is critical and not excused'] })],
    [
      'breaks',
      () => {
        throw ApplicationFailure.nonRetryable('CVE-2026-1 is critical and not excused');
      },
    ],
  ])('that %s holds the train with the reason; retry-failed builds again', async (_, build) => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    world.central.builds(build);
    const train = await world.startTrain();
    const view = await heldFor(train, 'BuildFailed');
    expect(view.hold).toMatchObject({
      summary: 'The release could not be built: CVE-2026-1 is critical and not excused',
      answers: ['retry-failed', 'abort'],
    });
    world.central.builds(() => ({ kind: 'built', release: aPlan().build().release }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('that people give up ends the train without a plan', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    world.central.builds(() => ({ kind: 'refused', problems: ['no space left'] }));
    const train = await world.startTrain();
    await heldFor(train, 'BuildFailed');
    await train.executeUpdate(abortUpdate, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'aborted', planned: 0 });
  });
});

describe('a plan or promotion that does not work', () => {
  it('fails the train when the repo cannot be planned, and says why', async () => {
    const world = await useWorld();
    world.central.plans(aPlan().build());
    world.central.on('planTrain', async () => ({ kind: 'refused', problems: ['stages: canary has no stores.'] }));
    const train = await world.startTrain();
    await expect(train.result()).resolves.toMatchObject({
      state: 'failed',
      reason: 'InvalidInput',
      summary: 'stages: canary has no stores.',
    });
  });

  it('holds the train when the promotion fails, before any store is touched; retry-failed promotes again', async () => {
    const world = await useWorld();
    const { central } = world;
    const store = await world.store('s001', quick);
    central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    central.on('promoteStage', async () => {
      throw ApplicationFailure.nonRetryable('the tag exists at another commit');
    });
    const train = await world.startTrain();
    const view = await heldFor(train, 'PromotionFailed', 'canary');
    expect(view.hold).toMatchObject({
      summary: 'Stage canary could not be promoted: the tag exists at another commit',
      answers: ['retry-failed', 'rollback', 'abort'],
    });
    expect(store.calls).toEqual([]);
    central.on('promoteStage', async () => ({ commit: COMMIT, tag: 'edge/2026-w48/canary' }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });
});

describe('the deadline', () => {
  it('ends a train that waits for people; open stores are missed', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(
      aPlan({ deadline: inSeconds(6) })
        .stage('canary', { stores: ['s001'] })
        .stage('wave-1', { stores: ['s002', 's003'], approval: { required: true } })
        .build(),
    );
    const train = await world.startTrain();
    await expect(train.result()).resolves.toMatchObject({
      state: 'aborted',
      reason: 'DeadlineReached',
      planned: 3,
      tally: { missed: 2 },
    });
    expect(world.central.ledgerOf('stage').at(-1)?.row).toMatchObject({ stage: 'wave-1', state: 'missed' });
  });

  it('in the middle of a wave brings the stores in work to a safe point; those not started are missed', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002']);
    const held = stores.get('s001')?.hold('drainNode n1');
    world.central.plans(
      aPlan({ deadline: inSeconds(4) })
        .stage('canary', { stores: ['s001', 's002'] })
        .build(),
    );
    const train = await world.startTrain();
    await held?.reached;
    await eventually('the store was told', async () =>
      (await eventsOf(world.storeHandle('s001'))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    held?.release();
    await expect(train.result()).resolves.toMatchObject({
      reason: 'DeadlineReached',
      planned: 2,
      tally: { aborted: 1, missed: 1 },
    });
    expect(stores.get('s001')?.work().at(-1)).toBe('closeOperation aborted');
    const rows = world.central.ledgerOf('results').flatMap(({ results }) => results);
    for (const told of [(await train.query(trainQuery)).notSucceeded, rows])
      expect(told.findLast(({ store }) => store === 's001')).toMatchObject({ reason: 'DeadlineReached' });
    const { stop } = await world.storeHandle('s001').result();
    expect(stop?.summary).toBe('Aborted by what had started it, or an operator; stopped at the nearest safe point.');
  });
});

describe('a breach in a stage', () => {
  const threeStores = (change = {}) =>
    aPlan()
      .stage('canary', {
        stores: ['s001', 's002', 's003'],
        limits: { errorThreshold: { count: 0, minSample: 1 } },
        ...change,
      })
      .build();

  it('holds the train; retry-failed runs a round with those that failed, then one with those not started', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    world.central.plans(threeStores());
    const train = await world.startTrain();
    const view = await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    expect(view.hold?.answers).toEqual(['retry-failed', 'skip', 'rollback', 'abort']);
    expect(view.hold?.detail).toEqual(['s002: ConfigRejected nginx -t said no']);
    expect(stores.get('s003')?.calls).toEqual([]);

    stores.get('s002')?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', planned: 3, tally: { succeeded: 3 } });
    expect(stores.get('s001')?.tasks).toHaveLength(1);
    expect(stores.get('s002')?.tasks.map(({ operationId }) => operationId)).toEqual([
      '2026-w48/canary/s002/r0',
      '2026-w48/canary/s002/r1',
    ]);
    expect(stores.get('s003')?.tasks.map(({ operationId }) => operationId)).toEqual(['2026-w48/canary/s003/r2']);
  });

  it('can be gone past by skip: who failed stays as it is, and the others of the stage go on', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    world.central.plans(threeStores());
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    await train.executeUpdate(answerUpdates.skip, { args: [by] });
    await expect(train.result()).resolves.toMatchObject({
      state: 'done',
      planned: 3,
      tally: { succeeded: 2, failed: 1 },
    });
    expect(stores.get('s002')?.tasks).toHaveLength(1);
  });

  it('that is answered when the window has closed waits for the next one and runs in that', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003'], quick);
    stores.get('s002')?.on('applyConfig', async () => failedStep);
    world.central.plans(threeStores());
    const today = { opens: inSeconds(-60), closes: inSeconds(600) };
    world.central.on('stageWindows', async () => ({ ...today, stores: {}, never: [], excluded: [] }));
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded', 'canary');
    stores.get('s002')?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    const tomorrow = { opens: inSeconds(3), closes: inSeconds(1_200) };
    world.central.on('stageWindows', async () => ({ ...tomorrow, stores: {}, never: [], excluded: [] }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [by] });
    await trainUntil(train, 'it waits', (view) => stageOf(view, 'canary')?.state === 'awaiting window');
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect(stores.get('s002')?.tasks.map(({ notAfter }) => notAfter)).toEqual([today.closes, tomorrow.closes]);
  });
});

describe('windows', () => {
  it('leave out, by reason, stores that never meet them or are frozen by now, and pass on when each store closes', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002', 's003', 's004'], quick);
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001', 's002', 's003', 's004'] })
        .build(),
    );
    const closes = inSeconds(900);
    const own = { opens: inSeconds(-9), closes: inSeconds(300) };
    world.central.on('stageWindows', async () => ({
      opens: inSeconds(-60),
      closes,
      stores: { s002: own },
      never: ['s003'],
      excluded: [{ store: 's004', reason: 'Frozen', detail: 'since this morning' }],
    }));
    const train = await world.startTrain();
    await expect(train.result()).resolves.toMatchObject({ planned: 4, tally: { succeeded: 2, excluded: 2 } });
    expect(world.central.promotions[0]?.stores).toEqual(['s001', 's002']);
    expect(stores.get('s001')?.tasks[0]?.notAfter).toBe(closes);
    expect(stores.get('s002')?.tasks[0]?.notAfter).toBe(own.closes);
    expect([stores.get('s003')?.calls, stores.get('s004')?.calls]).toEqual([[], []]);
  });
});

describe('an input typed by hand', () => {
  it('fails at once, for good, and names every problem by its path', async () => {
    const world = await useWorld();
    const train = await world.startTrain({
      fleet: 'Acme!',
      commit: 'main',
      stages: [],
      speed: 2,
    } as Partial<TrainInput>);
    await expect(train.result()).rejects.toMatchObject({
      cause: {
        type: 'InvalidInput',
        nonRetryable: true,
        message: expect.stringMatching(/fleet: .*commit: .*stages: .*speed/s) as string,
      },
    });
    expect(world.central.calls).toEqual([]);
  });
});

describe('launchTrain', () => {
  it('starts the train once; while that runs a second launch is refused and told, never silent', async () => {
    const world = await useWorld();
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'], approval: { required: true } })
        .build(),
    );
    await expect(world.launch({ fleet: 'acme' })).resolves.toMatchObject({ started: true, workflowId: 'train/acme' });
    await expect(world.launch({ fleet: 'acme' })).resolves.toMatchObject({
      started: false,
      summary: expect.stringMatching(/still running/) as string,
    });
    expect(world.central.notifications.filter(({ event }) => event === 'refused')).toMatchObject([
      { fleet: 'acme', reason: 'TrainRunning' },
    ]);
    await world.client.workflow.getHandle('train/acme').terminate('end of the test');
  });
});
