import { randomUUID } from 'node:crypto';
import { Client, type Connection } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { OperationError } from '#client/operation-errors.js';
import { createOperations, type Operations, type Reply } from '#client/operations.js';
import { applySchedules, desiredSchedules, planSchedules, readSchedules } from '#client/schedules.js';
import { stageSchema } from '#domain/fleet.js';
import type { ControlActivities, TrainPlan, TrainView } from '#domain/messages/train.js';
import { CONTROL_QUEUE, janitorWorkflowId, SEARCH_ATTRIBUTES } from '#domain/naming.js';
import { connectTemporal, type TestTemporal } from '../../support/temporal.js';
import { fleet } from '../../unit/client/builders.js';

/** The facade against the real server, the real workflows and a control worker whose activities are fakes. */

const KEYWORD = 2;
const planHash = `sha256:${'4f1c9a02'.repeat(8)}`;
const release = {
  version: '2026.48.0',
  sequence: 48,
  manifest: `sha256:${'a'.repeat(64)}`,
  bundle: `sha256:${'b'.repeat(64)}`,
};
const commit = 'c'.repeat(40);

/** The fleet that waits long for its store's worker, so that its wave can be looked at. */
const PATIENT = 'patient';
const storeOf = (fleetName: string): string => `store-of-${fleetName}`;

const plan = (fleetName: string): TrainPlan => ({
  train: '2026-w48',
  fleet: fleetName,
  timeZone: 'Europe/Berlin',
  commit,
  release,
  deadline: new Date(Date.now() + 3_600_000).toISOString(),
  onCanaryFailure: 'hold',
  stages: [
    {
      name: 'canary',
      stores: [storeOf(fleetName)],
      excluded: [],
      settings: stageSchema.parse({
        name: 'canary',
        stores: 'rest',
        limits: { offlineAfter: fleetName === PATIENT ? '10m' : '1s' },
        soak: '1ms',
      }),
    },
  ],
});

const activities: ControlActivities = {
  openTrain: async ({ train }) => ({
    train: train ?? '2026-w48',
    commit,
    deadlineAfter: 3_600_000,
    noProgressAfter: 3_600_000,
  }),
  planTrain: async ({ fleet: name }) => ({ kind: 'planned', plan: plan(name), planHash }),
  stageWindows: async () => ({ stores: {}, never: [], excluded: [] }),
  promoteStage: async () => ({ commit, tag: 'edge/2026-w48/canary' }),
  confirmStage: async () => ({ left: [] }),
  reopenTrain: async () => ({ kind: 'refused', problems: ['nothing that could be taken back'] }),
  planRollback: async () => ({ kind: 'refused', problems: ['nothing to go back to'] }),
  revertPromotions: async () => ({ commit, tag: 'edge/2026-w48/rollback' }),
  pointBack: async () => undefined,
  planSweep: async ({ fleet: name }) => ({
    kind: 'planned',
    commit,
    stores: [storeOf(name)],
    offlineAfter: 1,
  }),
  planRestores: async () => ({ kind: 'refused' as const, problems: [] }),
  judgeRecoverability: async () => ({ skipped: [], overrides: [] }),
  backupConcerns: async () => [],
  planNight: async () => ({ kind: 'refused', problems: ['no backups here'] }),
  isBusy: async () => false,
  triedNow: async () => [],
  inWork: async () => [],
  record: async () => undefined,
  notify: async () => undefined,
};

/** Other test files use the same task queues, so this one has a namespace of its own. */
async function newNamespace(connection: Connection): Promise<string> {
  const namespace = `operations-${randomUUID()}`;
  await connection.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: msToTs('1 day'),
  });
  const searchAttributes = Object.fromEntries(Object.values(SEARCH_ATTRIBUTES).map((name) => [name, KEYWORD]));
  await eventually(() => connection.operatorService.addSearchAttributes({ namespace, searchAttributes }));
  return namespace;
}

/** Tries until it does not throw: a new namespace is known to all parts of the server only after a while. */
async function eventually<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (attempt >= 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }
}

describe('operations', () => {
  let temporal: TestTemporal;
  let client: Client;
  let operations: Operations;
  let worker: Worker;
  let running: Promise<void>;

  beforeAll(async () => {
    temporal = await connectTemporal();
    const connection = temporal.client.connection as Connection;
    const namespace = await newNamespace(connection);
    client = new Client({ connection, namespace });
    operations = createOperations({ client, address: inject('temporalAddress'), timeout: 10_000 });
    worker = await eventually(() =>
      Worker.create({
        connection: temporal.native,
        namespace,
        taskQueue: CONTROL_QUEUE,
        workflowBundle: { codePath: inject('workflowBundlePath') },
        activities,
      }),
    );
    running = worker.run();
    // The first start shows that the namespace is really there.
    await eventually(async () => {
      const handle = await client.workflow.start('launchTrain', {
        workflowId: 'warm-up',
        taskQueue: 'nobody',
        args: [{ fleet: 'edge' }],
      });
      await handle.terminate();
    });
  });

  afterAll(async () => {
    worker.shutdown();
    await running;
    await temporal.close();
  });

  const viewWhen = (fleetName: string, ready: (view: TrainView) => boolean) =>
    eventually(async () => {
      const view = await operations.trainView(fleetName);
      if (!ready(view)) throw new Error(`not yet: ${view.doing}`);
      return view;
    });
  const kindOf = async (work: Promise<unknown>) => {
    const error = await work.then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(OperationError);
    const { kind, message } = error as OperationError;
    return kind === 'unexpected' ? `${kind}: ${message}` : kind;
  };

  it('says that a fleet has no train', async () => {
    expect(await kindOf(operations.trainView('nobody'))).toBe('no-train');
    expect(await kindOf(operations.pause('nobody', { by: 'mara' }))).toBe('no-train');
  });

  it('judges input before anything is sent, and names every problem', async () => {
    const bad = operations.startTrain({ fleet: 'Edge', stages: ['../x'], commit: 'abc' });
    expect(await kindOf(bad)).toBe('invalid-input');
    const error = (await bad.catch((thrown: unknown) => thrown)) as OperationError;
    expect(error.problems).toHaveLength(3);
    expect(await kindOf(operations.storeView('store;rm'))).toBe('invalid-input');
  });

  it('starts a train, takes one approval, refuses the rest, and ends it', async () => {
    const name = 'calm';
    const started = await operations.startTrain({ fleet: name, release, requestedBy: 'mara' });
    expect(started.workflowId).toBe('train/calm');
    expect(await kindOf(operations.startTrain({ fleet: name }))).toBe('train-running');

    const asking = await viewWhen(name, (view) => view.hold?.reason === 'ApprovalPending');
    expect(asking).toMatchObject({ train: '2026-w48', planHash, answers: ['approve', 'reject', 'pause', 'abort'] });

    const decision = { stage: 'canary', planHash, decision: 'approve', by: 'mara' } as const;
    const wrongPlan = await operations.decide(name, { ...decision, planHash: `sha256:${'0'.repeat(64)}` });
    expect(wrongPlan.kind).toBe('refused');
    expect(wrongPlan.sentence).toContain('plan hash');
    expect(await operations.decide(name, decision)).toEqual({
      kind: 'accepted',
      sentence: 'Stage canary is approved.',
    });
    expect((await operations.decide(name, decision)).kind).toBe('refused');

    // No store worker polls, so the only store of the stage turns out to be offline.
    const held = await viewWhen(name, (view) => view.hold?.reason === 'OfflineThresholdExceeded');
    expect(held.stages[0]?.tally.offline).toBe(1);
    expect(await operations.answer(name, 'retry-gate', { by: 'mara' })).toMatchObject({ kind: 'refused' });

    expect((await operations.abort(name, { by: 'mara', reason: 'practice' })).kind).toBe('accepted');
    // Whatever comes while the train ends is answered by it, or is told that it has ended: never that there is none.
    const closing = { replies: [] as string[], end: undefined as OperationError | undefined };
    while (closing.end === undefined)
      await operations.pause(name, { by: 'mara' }).then(
        ({ sentence }) => closing.replies.push(sentence),
        (error: OperationError) => (closing.end = error),
      );
    expect(closing.end.kind).toBe('train-over');
    expect(closing.end.message).toMatch(
      /^Train 2026-w48 of fleet calm has ended \(aborted\)\. Aborted by mara: practice\./,
    );
    for (const sentence of closing.replies) expect(sentence).toMatch(/aborted by mara|has ended/i);
    const over = await viewWhen(name, (view) => view.state === 'aborted');
    expect(over.stages[0]?.tally.offline).toBe(1);
    await client.workflow.getHandle('train/calm').result();
    expect(await kindOf(operations.abort(name, { by: 'mara' }))).toBe('train-over');
    await expect(operations.pauseStore(storeOf(name), { by: 'mara' })).rejects.toMatchObject({
      kind: 'no-operation',
      message:
        'No operation is running on store-of-calm. What ran: edge store show store-of-calm. ' +
        'To keep the train from starting it: edge train pause --store store-of-calm',
    });
    expect(await kindOf(operations.abortStore('never-heard-of', { by: 'mara' }))).toBe('no-operation');

    const store = await eventually(async () => {
      const found = await operations.storeView(storeOf(name));
      if (found.recent[0]?.outcome === undefined) throw new Error('not yet visible');
      return found;
    });
    expect(store.current).toBeUndefined();
    expect(store.recent[0]).toMatchObject({
      status: 'ended',
      train: '2026-w48',
      stage: 'canary',
      outcome: 'offline',
      reason: 'StoreOffline',
    });
    expect(store.last?.result).toMatchObject({ outcome: 'offline', stop: { step: 'hello' } });
    expect(await operations.history(name)).toMatchObject([{ status: 'completed' }]);
  });

  it('shows a wave and a store in the middle of their work', async () => {
    await operations.startTrain({ fleet: PATIENT, release });
    await viewWhen(PATIENT, (view) => view.hold?.reason === 'ApprovalPending');
    await operations.decide(PATIENT, { stage: 'canary', planHash, decision: 'approve', by: 'mara' });
    const view = await viewWhen(PATIENT, (found) => found.stages[0]?.inFlight === 1);
    expect(view.stages[0]).toMatchObject({ state: 'running', started: 1, approvedBy: 'mara' });
    const store = await eventually(async () => {
      const found = await operations.storeView(storeOf(PATIENT));
      if (found.current === undefined) throw new Error('not yet visible');
      return found;
    });
    expect(store.current).toMatchObject({ store: storeOf(PATIENT), stage: 'canary', step: 'hello' });
    expect(store.recent[0]?.status).toBe('running');
    const by = { by: 'mara' };
    const said = async (reply: Promise<Reply>) => {
      const { kind, sentence } = await reply;
      return `${kind}: ${sentence}`;
    };
    const id = storeOf(PATIENT);
    expect(await said(operations.pauseStore(id, by))).toMatch(/^accepted: store-of-patient is paused by mara\./);
    expect(await said(operations.pauseStore(id, by))).toBe('accepted: store-of-patient is paused already.');
    expect(await said(operations.resumeStore(id, by))).toBe('accepted: store-of-patient is resumed by mara.');
    // The pause that the train passed on may have come after the resumption, whose own message is still to come then.
    expect(await said(operations.resumeStore(id, by))).toMatch(
      /^accepted: store-of-patient is (not paused;|resumed by mara\.)/,
    );
    expect(await said(operations.abortStore(id, by))).toMatch(/^accepted: .* is aborted by mara\./);
    await operations.abort(PATIENT, by);
    const over = await viewWhen(PATIENT, (found) => found.state === 'aborted');
    expect(over.stages[0]?.tally.aborted).toBe(1);
  });

  it('takes back a train that has ended by a run of its own, and says why when that one refuses', async () => {
    await client.workflow.getHandle('train/calm').result();
    expect(await operations.rollback({ fleet: 'calm', by: 'mara' })).toEqual({
      kind: 'accepted',
      sentence: 'mara asked to take back the last train of fleet calm.',
    });
    const refusal = await viewWhen('calm', (view) => view.state === 'failed');
    expect(refusal.doing).toBe('nothing that could be taken back');
    await client.workflow.getHandle('train/calm').result();
  });

  it('applies schedules once, updates what differs, and leaves those of others alone', async () => {
    const wanted = desiredSchedules(fleet());
    const ids = wanted.map(({ id }) => id);
    const planNow = async (desired = wanted) => planSchedules(await readSchedules(client, ids), desired);
    expect((await planNow()).map(({ kind }) => kind)).toEqual(['create', 'create']);
    await applySchedules(client, await planNow());
    expect((await planNow()).map(({ kind }) => kind)).toEqual(['none', 'none']);

    const handle = client.schedule.getHandle(ids[0] as string);
    await handle.pause('stock-taking');
    const later = desiredSchedules(
      fleet({
        train: { build: { day: 'sun', at: '23:15' }, catchUp: '2h', note: 'new' },
        janitor: { at: '04:30' },
      }),
    );
    expect(await planNow(later)).toMatchObject([
      {
        kind: 'update',
        paused: true,
        changes: [
          { field: 'time', from: 'Monday 02:00', to: 'Sunday 23:15' },
          { field: 'catch-up', from: '6 h', to: '2 h' },
        ],
      },
      { kind: 'update', paused: false, changes: [{ field: 'time', from: 'day 05:00', to: 'day 04:30' }] },
    ]);
    await applySchedules(client, await planNow(later));
    expect((await planNow(later)).map(({ kind }) => kind)).toEqual(['none', 'none']);
    const { state } = await handle.describe();
    expect(state).toMatchObject({ paused: true, note: 'stock-taking' });

    await handle.delete();
    await client.schedule.create({
      scheduleId: ids[0] as string,
      spec: {},
      action: { type: 'startWorkflow', workflowType: 'other', taskQueue: 'other' },
    });
    expect((await planNow()).map(({ kind }) => kind)).toEqual(['foreign', 'update']);
    await applySchedules(client, await planNow());
    expect((await client.schedule.getHandle(ids[0] as string).describe()).action.workflowType).toBe('other');
  });

  it('runs the janitor, tells what it found, and knows the newest run of this fleet from those of others', async () => {
    expect(await operations.lastJanitor('edge')).toBeUndefined();
    await client.workflow.start('janitor', {
      workflowId: `${janitorWorkflowId('edge-2', 'nightly')}-2026-11-24T05:00:00Z`,
      taskQueue: CONTROL_QUEUE,
      args: [{ fleet: 'edge-2' }],
    });
    const report = await operations.runJanitor({ fleet: 'edge', requestedBy: 'mara' });
    expect(report).toMatchObject({ stores: 1, found: [{ kind: 'offline', store: storeOf('edge') }] });
    const newest = (fleetName: string) =>
      eventually(async () => {
        const run = await operations.lastJanitor(fleetName);
        if (run?.status !== 'completed') throw new Error('not yet');
        return run;
      });
    expect(await newest('edge')).toMatchObject({ workflowId: 'janitor/edge/by-hand', report });
    expect((await newest('edge-2')).report).toMatchObject({ fleet: 'edge-2', stores: 1 });
    expect(await kindOf(operations.runJanitor({ fleet: 'edge', stores: ['../etc'] }))).toBe('invalid-input');
  });

  it('says so when no control worker answers', async () => {
    const impatient = createOperations({ client, address: inject('temporalAddress'), timeout: 2_000 });
    await client.workflow.start('patchTrain', {
      workflowId: 'train/lonely',
      taskQueue: 'nobody-polls-here',
      args: [{ fleet: 'lonely' }],
    });
    expect(await kindOf(impatient.trainView('lonely'))).toBe('no-worker');
    expect(await kindOf(impatient.pause('lonely', { by: 'mara' }))).toBe('no-worker');
    await client.workflow.getHandle('train/lonely').terminate();
  });
});
