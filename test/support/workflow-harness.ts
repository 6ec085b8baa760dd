import { randomUUID } from 'node:crypto';
import type { ControlDeps } from '#activities/control.js';
import { Context } from '@temporalio/activity';
import { Client, type Connection, type WorkflowHandle } from '@temporalio/client';
import { msToTs } from '@temporalio/common/lib/time.js';
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import type { CopyFacts } from '#domain/backup.js';
import type {
  BackupStoreInput,
  NightInput,
  StoreBackupActivities,
  TendActivities,
  TendAnswer,
} from '#domain/messages/backup.js';
import type { JanitorInput } from '#domain/messages/janitor.js';
import type { RestoreActivities, RestoreInput } from '#domain/messages/restore.js';
import type { SurveyInput } from '#domain/messages/survey.js';
import type { PatchStoreInput, StoreActivities, StoreTask } from '#domain/messages/store.js';
import type {
  BuildOutcome,
  ControlActivities,
  LedgerEntry,
  LaunchInput,
  Notification,
  PermitOutcome,
  PermitRequest,
  ReleaseActivities,
  RollbackInput,
  TrainInput,
  TrainPlan,
  TrainView,
  WaveInput,
  WaveProgress,
} from '#domain/messages/train.js';
import {
  backupWorkflowId,
  CONTROL_QUEUE,
  janitorWorkflowId,
  nightWorkflowId,
  OFFSITE_QUEUE,
  RELEASE_QUEUE,
  restoreRunWorkflowId,
  SEARCH_ATTRIBUTES,
  STAGING_QUEUE,
  storeQueue,
  restoreWorkflowId,
  storeWorkflowId,
  surveyWorkflowId,
} from '#domain/naming.js';
import { openConnection } from '#client/temporal-connection.js';
import { trainQuery, waveQuery } from '#workflows/messages.js';
import { inWorkIn, isRunningIn } from '#workers/running.js';
import type {
  backupStore,
  janitor,
  launchTrain,
  nightlyBackup,
  patchStore,
  patchTrain,
  restoreTest,
  rollbackTrain,
  survey,
  wave,
} from '#workflows/index.js';
import { aReleaseRef, KERNEL } from './builders.js';
import {
  aHealthyProbe,
  aPlan,
  aPreflight,
  COMMIT,
  currentPreflight,
  PLAN_HASH,
  simulated,
} from './workflow-builders.js';

/**
 * The real workflows on a real server, with fakes for everything that they ask to be done.
 * Each world has a namespace of its own: task queues and workflow ids are fixed names, and no test sees another's.
 */

let quiet = false;

/** Only errors of the SDK reach the output; what a test wants to see of a worker it sees in the history. */
function beQuiet(): void {
  if (quiet) return;
  quiet = true;
  Runtime.install({
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } },
  });
}

export interface Place {
  /** `host:port` of the Temporal server. */
  address: string;
  /** The bundle that the control worker loads. */
  codePath: string;
}

export type World = Awaited<ReturnType<typeof openWorld>>;
type AllStoreActivities = StoreActivities & StoreBackupActivities;
type StoreScript = Partial<AllStoreActivities>;

export async function openWorld({ address, codePath }: Place) {
  beQuiet();
  const namespace = `test-${randomUUID()}`;
  // Not the default, process id and host name, which would stand in recorded histories.
  const identity = 'workflow-test';
  const connection = await openConnection(address, '10s');
  const native = await NativeConnection.connect({ address });
  await prepareNamespace(connection, namespace);
  const client = new Client({ connection, namespace, identity });
  const running: { worker: Worker; end: Promise<void> }[] = [];
  const run = async (options: Omit<WorkerOptions, 'connection' | 'namespace'>): Promise<void> => {
    const worker = await Worker.create({
      connection: native,
      namespace,
      identity,
      shutdownGraceTime: '1s',
      ...options,
    });
    running.push({ worker, end: worker.run() });
  };

  const central = createCentral({ isRunning: isRunningIn(client), inWork: inWorkIn(client) });
  await run({ taskQueue: CONTROL_QUEUE, workflowBundle: { codePath }, activities: central.activities });
  await run({ taskQueue: RELEASE_QUEUE, activities: central.release });
  const taskQueue = CONTROL_QUEUE;
  const started: WorkflowHandle[] = [];
  const stores: FakeStore[] = [];
  const kept = <T extends WorkflowHandle>(handle: T): T => {
    started.push(handle);
    return handle;
  };

  return {
    client,
    central,
    /** A store with a worker that answers. With one slot it is deaf as long as a step is held. */
    async store(id: string, script: StoreScript = {}, { slots = 4 } = {}): Promise<FakeStore> {
      const store = createStore(id, script);
      stores.push(store);
      await run({
        taskQueue: storeQueue(id),
        activities: store.activities,
        maxConcurrentActivityTaskPolls: 1,
        maxConcurrentActivityTaskExecutions: slots,
      });
      return store;
    },
    async stores(ids: readonly string[], script: StoreScript = {}): Promise<Map<string, FakeStore>> {
      const opened = await Promise.all(ids.map((id) => this.store(id, script)));
      return new Map(opened.map((store) => [store.id, store]));
    },
    /** `input` may be anything: people start workflows by hand. */
    startStore: async (input: PatchStoreInput) =>
      kept(
        await client.workflow.start<typeof patchStore>('patchStore', {
          workflowId: storeWorkflowId(String(input.store)),
          taskQueue,
          args: [input],
        }),
      ),
    startWave: async (input: WaveInput) =>
      kept(
        await client.workflow.start<typeof wave>('wave', {
          workflowId: `${input.train}/${input.stage}/r0`,
          taskQueue,
          args: [input],
        }),
      ),
    /** The worker at the central backup server. */
    async centralServer(script: Partial<TendActivities> = {}): Promise<string[]> {
      const calls: string[] = [];
      const sound: TendActivities = { ...tendsWell('pbs-central'), ...script };
      const activities = Object.fromEntries(
        (Object.keys(sound) as (keyof TendActivities)[]).map((name) => [
          name,
          (task: { store: string }) => {
            calls.push(`${name} ${task.store}`);
            return sound[name](task as never);
          },
        ]),
      );
      await run({ taskQueue: OFFSITE_QUEUE, activities });
      return calls;
    },
    /** The worker at the staging site, where every guest is had back in ten seconds. */
    async stagingSite(script: Partial<RestoreActivities> = {}): Promise<StagingSite> {
      const site = createSite(script);
      await run({ taskQueue: STAGING_QUEUE, activities: site.activities });
      return site;
    },
    startRestores: async (
      input: Partial<RestoreInput> = {},
      begun: Parameters<typeof restoreRunWorkflowId>[1] = 'by-hand',
    ) =>
      kept(
        await client.workflow.start<typeof restoreTest>('restoreTest', {
          workflowId: restoreRunWorkflowId('acme', begun),
          taskQueue,
          args: [{ fleet: 'acme', ...input }],
        }),
      ),
    startBackup: async (input: BackupStoreInput) =>
      kept(
        await client.workflow.start<typeof backupStore>('backupStore', {
          workflowId: backupWorkflowId(input.store),
          taskQueue,
          args: [input],
        }),
      ),
    startNight: async (input: Partial<NightInput> = {}, startedBy: 'nightly' | 'by-hand' = 'by-hand') =>
      kept(
        await client.workflow.start<typeof nightlyBackup>('nightlyBackup', {
          workflowId: nightWorkflowId('acme', startedBy),
          taskQueue,
          args: [{ fleet: 'acme', ...input }],
        }),
      ),
    startTrain: async (input: Partial<TrainInput> = {}) =>
      kept(
        await client.workflow.start<typeof patchTrain>('patchTrain', {
          workflowId: 'train/acme',
          taskQueue,
          args: [{ fleet: 'acme', requestedBy: 'anna', ...input }],
        }),
      ),
    startRollback: async (input: Partial<RollbackInput> = {}) =>
      kept(
        await client.workflow.start<typeof rollbackTrain>('rollbackTrain', {
          workflowId: 'train/acme',
          taskQueue,
          args: [{ fleet: 'acme', by: 'anna', ...input }],
        }),
      ),
    startJanitor: async (input: Partial<JanitorInput> = {}) =>
      kept(
        await client.workflow.start<typeof janitor>('janitor', {
          workflowId: janitorWorkflowId('acme', 'by-hand'),
          taskQueue,
          args: [{ fleet: 'acme', ...input }],
        }),
      ),
    startSurvey: async (input: SurveyInput) =>
      kept(
        await client.workflow.start<typeof survey>('survey', {
          workflowId: surveyWorkflowId('acme', randomUUID()),
          taskQueue,
          args: [input],
        }),
      ),
    launch: (input: LaunchInput) =>
      client.workflow.execute<typeof launchTrain>('launchTrain', {
        workflowId: `launch/${randomUUID()}`,
        taskQueue,
        args: [input],
      }),
    storeHandle: (id: string): WorkflowHandle<typeof patchStore> => client.workflow.getHandle(storeWorkflowId(id)),
    /** Ends what still runs and takes the workers away. */
    async close(): Promise<void> {
      for (const store of stores) store.letGo();
      await Promise.all(started.map((handle) => handle.terminate('end of the test').catch(() => undefined)));
      for (const { worker } of running) worker.shutdown();
      await Promise.all(running.map(({ end }) => end));
      await native.close();
      await connection.close();
    },
  };
}

/** Fakes of the central activities. What they were told is kept; each can be replaced while a test runs. */
function createCentral({ isRunning, inWork }: Pick<ControlDeps, 'isRunning' | 'inWork'>) {
  let plan: TrainPlan | undefined;
  let build: (commit: string) => BuildOutcome | Promise<BuildOutcome> = () => ({
    kind: 'built',
    release: aReleaseRef(),
  });
  const calls: string[] = [];
  const ledger: LedgerEntry[] = [];
  const notifications: Notification[] = [];
  const promotions: Parameters<ControlActivities['promoteStage']>[0][] = [];
  const confirmed: Parameters<ControlActivities['confirmStage']>[0][] = [];
  const permits: PermitRequest[] = [];
  const reverted: string[] = [];

  const planned = (): TrainPlan => {
    if (!plan) throw new Error('The test gave no plan: central.plans(aPlan()…)');
    return plan;
  };
  const activities: ControlActivities = {
    openTrain: async ({ train, commit }) => ({
      train: train ?? planned().train,
      commit: commit ?? planned().commit,
      deadlineAfter: 3_600_000,
      noProgressAfter: 3_600_000,
    }),
    planTrain: async ({ release }) => ({ kind: 'planned', plan: { ...planned(), release }, planHash: PLAN_HASH }),
    stageWindows: async () => ({ stores: {}, never: [], excluded: [] }),
    promoteStage: async (promotion) => {
      promotions.push(promotion);
      return { commit: promotion.plan.commit, tag: `edge/${promotion.plan.train}/${promotion.stage}` };
    },
    confirmStage: async (stage) => {
      confirmed.push(stage);
      return { left: [] };
    },
    reopenTrain: async () => ({ kind: 'refused', problems: ['The test has no train that has ended.'] }),
    planRollback: async () => ({ kind: 'refused', problems: ['The test gave no rollback plan.'] }),
    revertPromotions: async ({ train }) => {
      reverted.push(train);
      return { commit: planned().commit, tag: `edge/${train}/rollback` };
    },
    pointBack: async () => undefined,
    planSweep: async ({ stores }) => ({
      kind: 'planned',
      commit: COMMIT,
      stores: stores ?? planned().stages.flatMap((stage) => stage.stores),
      offlineAfter: 30_000,
    }),
    planNight: async () => ({ kind: 'refused', problems: ['The test gave no night.'] }),
    planRestores: async () => ({ kind: 'refused', problems: ['The test gave no restores.'] }),
    judgeRecoverability: async () => ({ skipped: [], overrides: [] }),
    backupConcerns: async () => [],
    inWork: ({ wave: running }) => inWork(running),
    isBusy: ({ store }) => isRunning(storeWorkflowId(store)),
    triedNow: async ({ stores }) => {
      const running = await Promise.all(stores.map((store) => isRunning(restoreWorkflowId(store))));
      return stores.filter((_, index) => running[index]);
    },
    record: async (entry) => void ledger.push(entry),
    notify: async (notification) => void notifications.push(notification),
  };
  const current = { ...activities };
  const called =
    <K extends keyof ControlActivities>(name: K) =>
    (input: never) => {
      calls.push(name);
      return (current[name] as (value: never) => unknown)(input);
    };

  return {
    calls,
    ledger,
    notifications,
    promotions,
    /** Stages whose release was confirmed as the last good one, permits that were asked for, trains that were reverted. */
    confirmed,
    permits,
    reverted,
    plans: (given: TrainPlan) => void (plan = given),
    builds: (given: typeof build) => void (build = given),
    on: <K extends keyof ControlActivities>(name: K, activity: ControlActivities[K]) => {
      current[name] = activity;
    },
    activities: Object.fromEntries(
      (Object.keys(activities) as (keyof ControlActivities)[]).map((name) => [name, called(name)]),
    ),
    release: {
      buildRelease: async ({ commit }) => {
        calls.push('buildRelease');
        return build(commit);
      },
      signRollbackPermit: async (request): Promise<PermitOutcome> => {
        permits.push(request);
        return { kind: 'signed', permit: { permit: request.planHash, bundle: request.to.bundle } };
      },
    } satisfies ReleaseActivities,
    ledgerOf: <Kind extends LedgerEntry['kind']>(kind: Kind) =>
      ledger.filter((entry): entry is Extract<LedgerEntry, { kind: Kind }> => entry.kind === kind),
  };
}

export type StagingSite = ReturnType<typeof createSite>;

function createSite(script: Partial<RestoreActivities>) {
  const calls: string[] = [];
  const at = (seconds: number) => new Date(Date.UTC(2026, 10, 29, 9, 0, seconds)).toISOString();
  const current: RestoreActivities = {
    openCopy: async () => ({ kind: 'done', copy: aCopy('pbs-central') }),
    restoreGuest: async () => ({ kind: 'done', startedAt: at(0), endedAt: at(6), bytes: 1_000 }),
    bootGuest: async () => ({ kind: 'done', startedAt: at(6), endedAt: at(9) }),
    probeGuest: async ({ probes, snapshot }) => ({
      kind: 'done',
      startedAt: at(9),
      endedAt: at(10),
      probes: probes.map(({ name }) => ({ name, ok: true, said: 'well' })),
      canary: { at: new Date((snapshot.time - 60) * 1_000).toISOString(), sequence: 7 },
    }),
    removeGuest: async () => ({ kind: 'done' }),
    closeCopy: async () => ({ kind: 'done' }),
    sweepSite: async () => ({ kind: 'done', removed: [], left: [] }),
    ...script,
  };
  const nameOf = (task: { store?: string; vmid?: number }) => [task.store, task.vmid].filter(Boolean).join('/');
  const activities = Object.fromEntries(
    (Object.keys(current) as (keyof RestoreActivities)[]).map((name) => [
      name,
      (task: { store?: string; vmid?: number }) => {
        calls.push(`${name} ${nameOf(task)}`.trim());
        return current[name](task as never);
      },
    ]),
  );
  return {
    calls,
    activities,
    on: <K extends keyof RestoreActivities>(name: K, activity: RestoreActivities[K]) => {
      current[name] = activity;
    },
  };
}

/** Three guests, one on each node; a server that proves each of them once it was dumped. */
function soundBackups(): StoreBackupActivities {
  return {
    openDump: async ({ vmids }) => ({
      kind: 'done',
      adopted: [],
      nodes: GUESTS.filter(({ vmid }) => vmids?.includes(vmid) ?? true).map(({ vmid, node }) => ({
        node,
        vmids: [vmid],
      })),
      guests: GUESTS.map(({ node: _, ...guest }) => guest),
      unreachable: [],
    }),
    dumpNode: async ({ vmids }) => ({ kind: 'done', runs: vmids.map((vmid) => ({ vmid, kind: 'done' })) }),
    closeDump: async () => undefined,
    sendCopy: async () => ({ ok: true, detail: 'sent' }),
    ...tendsWell('pbs-store'),
  };
}

const GUESTS = [
  { vmid: 101, kind: 'qemu' as const, name: 'pos', template: false, node: 'n1' },
  { vmid: 102, kind: 'qemu' as const, name: 'inventory', template: false, node: 'n2' },
  { vmid: 103, kind: 'lxc' as const, name: 'cache', template: false, node: 'n3' },
];

function tendsWell(node: string): TendActivities {
  const done = async (): Promise<TendAnswer> => ({ ok: true, detail: 'done' });
  return {
    verifyCopy: async () => ({ ok: true, detail: 'done', node }),
    pruneCopy: done,
    collectSpace: done,
    readCopy: async () => ({ copy: aCopy(node) }),
  };
}

/** What a server holds on which each of these guests has a new snapshot that it has verified. */
export function aCopy(node: string, vmids: readonly number[] = GUESTS.map(({ vmid }) => vmid)): CopyFacts {
  const at = Math.floor(Date.now() / 1_000);
  return {
    node,
    snapshots: GUESTS.filter(({ vmid }) => vmids.includes(vmid)).map(({ vmid, kind }) => ({
      type: kind === 'qemu' ? 'vm' : 'ct',
      id: String(vmid),
      time: at,
      size: 1_000,
      encrypted: true,
      protected: false,
      verification: { state: 'ok', node, at },
    })),
  };
}

/** A step of a store that stands still until it is let go. */
export interface Held {
  reached: Promise<void>;
  release(): void;
}

export type FakeStore = ReturnType<typeof createStore>;

function createStore(id: string, script: StoreScript) {
  /** What was asked, in order: `drainNode n1`, `closeOperation failed`. */
  const calls: string[] = [];
  const tasks: StoreTask[] = [];
  const held = new Map<string, { reach(): void; released: Promise<void> }>();
  const releases: (() => void)[] = [];
  const sound: AllStoreActivities = {
    ...soundBackups(),
    hello: async () => ({ store: id, protocol: { min: 1, max: 1 }, clock: new Date().toISOString() }),
    openOperation: async () => ({ kind: 'done', adopted: [] }),
    readFacts: async () => aPreflight(),
    stagePackages: async ({ nodes }) => ({
      kind: 'done',
      nodes: aPreflight()
        .facts.nodes.filter(({ name }) => nodes.includes(name))
        .map(simulated),
    }),
    drainNode: async () => ({ kind: 'done', moved: 1 }),
    upgradeNode: async () => ({ kind: 'done', changed: 2 }),
    rebootNode: async () => ({ kind: 'done', kernel: KERNEL }),
    rejoinNode: async () => ({ kind: 'done', returned: 1 }),
    applyConfig: async () => ({ kind: 'done', changed: [] }),
    verifyStore: async () => ({ kind: 'done' }),
    closeOperation: async () => ({ undone: [], leftSet: [] }),
    probeStore: async () => aHealthyProbe(id),
    inspectStore: async () => ({ foreign: [] }),
    surveyStore: async () => ({ packages: 2, reboots: 3, guestsMoved: 1 }),
    sweepStore: async () => ({ kind: 'swept', undone: [], left: [] }),
  };
  const current: AllStoreActivities = { ...sound, ...script };

  const called =
    <K extends keyof AllStoreActivities>(name: K) =>
    async (task: { node?: string; outcome?: string }) => {
      const call = [name, task.node ?? task.outcome].filter(Boolean).join(' ');
      calls.push(call);
      if (name === 'openOperation') tasks.push(task as StoreTask);
      const stop = held.get(call);
      if (stop) {
        held.delete(call);
        stop.reach();
        await beatingUntil(stop.released);
      }
      return (current[name] as (value: never) => unknown)(task as never);
    };

  return {
    id,
    calls,
    /** Tasks that opened an operation. */
    tasks,
    /** The calls that do something to the store, i.e. all but greetings, probes and looks. */
    work: () => calls.filter((call) => !['hello', 'probeStore', 'inspectStore', 'surveyStore'].includes(call)),
    on: <K extends keyof AllStoreActivities>(name: K, activity: AllStoreActivities[K]) => {
      current[name] = activity;
    },
    /** The next call of this step (`drainNode n1`) waits until it is released. */
    hold(call: string): Held {
      const reached = deferred();
      const released = deferred();
      held.set(call, { reach: reached.resolve, released: released.promise });
      releases.push(released.resolve);
      return { reached: reached.promise, release: released.resolve };
    },
    /** Releases whatever is held; a worker does not stop before its steps end. */
    letGo: () => releases.forEach((release) => release()),
    activities: Object.fromEntries(
      (Object.keys(sound) as (keyof AllStoreActivities)[]).map((name) => [name, called(name)]),
    ),
  };
}

/** A held step lives: without heartbeats the server would give it to a second attempt. */
async function beatingUntil(released: Promise<void>): Promise<void> {
  const context = Context.current();
  const beat = setInterval(() => context.heartbeat(), 1_000);
  await released;
  clearInterval(beat);
}

function deferred(): { promise: Promise<void>; resolve: () => void } {
  let resolve: () => void = () => undefined;
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

const POLL_MS = 20;
const PATIENCE_MS = 30_000;
/** What one look can cost of the patience: a machine that stood still in the meantime has not looked. */
const LOOK_MS = 1_000;

/** Waits until `ready` gives something other than undefined or false, and returns it. */
export async function eventually<T>(what: string, ready: () => T | Promise<T>): Promise<NonNullable<T>> {
  let last: unknown;
  let looks = 0;
  for (let spent = 0; spent < PATIENCE_MS; looks += 1) {
    const before = performance.now();
    try {
      last = await ready();
      if (last !== undefined && last !== false && last !== null) return last as NonNullable<T>;
    } catch (error) {
      last = error;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    spent += Math.min(performance.now() - before, LOOK_MS);
  }
  throw new Error(`Waited ${PATIENCE_MS / 1_000} s, ${looks} looks, for: ${what}. Last seen: ${String(last)}`);
}

type TrainHandle = Pick<WorkflowHandle<typeof patchTrain>, 'query'>;
type WaveHandle = Pick<WorkflowHandle<typeof wave>, 'query'>;

/** Waits for a view that is `ready`; one that never is stands in the error. */
async function viewUntil<V>(what: string, look: () => Promise<V>, ready: (view: V) => boolean): Promise<V> {
  let last: V | undefined;
  const wanted = eventually(what, async () => {
    last = await look();
    return ready(last) ? { view: last } : undefined;
  });
  return wanted.then(
    ({ view }) => view,
    (error: unknown) => {
      throw new Error(`${String(error)}\n${JSON.stringify(last, undefined, 1)}`);
    },
  );
}

export const trainUntil = (handle: TrainHandle, what: string, ready: (view: TrainView) => boolean) =>
  viewUntil<TrainView>(what, () => handle.query(trainQuery), ready);

export const heldFor = (handle: TrainHandle, reason: string, stage?: string) =>
  trainUntil(
    handle,
    `the train holds: ${reason} ${stage ?? ''}`,
    ({ hold }) => hold?.reason === reason && (stage === undefined || hold.stage === stage),
  );

/** A train over one store, of which the only stage waits for its approval. */
export async function trainThatAsks(world: World) {
  await world.store('s001', { readFacts: async () => currentPreflight() });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], approval: { required: true } })
      .build(),
  );
  const train = await world.startTrain();
  await heldFor(train, 'ApprovalPending');
  return train;
}

export const waveUntil = (handle: WaveHandle, what: string, ready: (progress: WaveProgress) => boolean) =>
  viewUntil<WaveProgress>(what, () => handle.query(waveQuery), ready);

export type HistoryEvent = NonNullable<Awaited<ReturnType<WorkflowHandle['fetchHistory']>>['events']>[number];

export async function eventsOf(handle: Pick<WorkflowHandle, 'fetchHistory'>): Promise<HistoryEvent[]> {
  return (await handle.fetchHistory()).events ?? [];
}

/** How many timers of this summary have fired. */
export function firedOf(events: readonly HistoryEvent[], summary: string): number {
  const isIt = ({ userMetadata }: HistoryEvent) =>
    Buffer.from(userMetadata?.summary?.data ?? []).toString() === JSON.stringify(summary);
  const ids = new Set(events.filter(isIt).map((event) => event.timerStartedEventAttributes?.timerId));
  return events.filter((event) => ids.has(event.timerFiredEventAttributes?.timerId ?? '')).length;
}

/**
 * Billable actions of one run, heartbeats apart, by kind: a child start counts as two, an activity once per attempt, a
 * timer, a signal sent or received, an update and an upsert of search attributes once each.
 */
export function actionsOf(events: readonly HistoryEvent[]): Record<string, number> {
  const count = (pick: (event: HistoryEvent) => unknown): number => events.filter(pick).length;
  return {
    start: events.some((event) => event.workflowExecutionStartedEventAttributes?.parentWorkflowExecution) ? 2 : 1,
    activities: events.reduce((sum, event) => sum + (event.activityTaskStartedEventAttributes?.attempt ?? 0), 0),
    timers: count((event) => event.timerStartedEventAttributes),
    signals: count(
      (event) =>
        event.workflowExecutionSignaledEventAttributes ?? event.signalExternalWorkflowExecutionInitiatedEventAttributes,
    ),
    updates: count((event) => event.workflowExecutionUpdateAcceptedEventAttributes),
    upserts: count((event) => event.upsertWorkflowSearchAttributesEventAttributes),
  };
}

export const sumOf = (counts: Record<string, number>): number =>
  Object.values(counts).reduce((sum, count) => sum + count, 0);

/** IndexedValueType of the Temporal API. */
const KEYWORD = 2;

async function prepareNamespace(connection: Connection, namespace: string): Promise<void> {
  await connection.workflowService.registerNamespace({
    namespace,
    workflowExecutionRetentionPeriod: msToTs('72 hours'),
  });
  const searchAttributes = Object.fromEntries(Object.values(SEARCH_ATTRIBUTES).map((name) => [name, KEYWORD]));
  await eventually('the search attributes of the namespace', async () => {
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes }).catch((error: unknown) => {
      // The answer to a first attempt that was slow to be seen.
      if (!/already exist/i.test(String(error))) throw error;
    });
    return true;
  });
}
