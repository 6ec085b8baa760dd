import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Client, WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';
import { execa } from 'execa';
import { parse, stringify } from 'yaml';
import { freeLabNetwork } from '#client/cli/lab-network.js';
import { createLabClient, type LabClient, type LabEntry } from '#client/cli/lab-client.js';
import { recentPollers } from '#client/pollers.js';
import { initRepo } from '#client/repo/template.js';
import { openConnection } from '#client/temporal-connection.js';
import { planStages } from '#domain/plan.js';
import { desiredPointer, type DesiredRecord, type PermitRef, type ReleaseRef } from '#domain/release.js';
import { checkRepo } from '#domain/repo-check.js';
import { collectRepoFiles } from '#domain/repo-files.js';
import { MAX_CONFIG_FILE } from '#domain/repo-limits.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { NightInput } from '#domain/messages/backup.js';
import type { RestoreInput } from '#domain/messages/restore.js';
import type { PatchStoreInput, StoreView } from '#domain/messages/store.js';
import { isTrainOver, type Decision, type TrainReport, type TrainView } from '#domain/messages/train.js';
import {
  CONTROL_QUEUE,
  nightWorkflowId,
  restoreRunWorkflowId,
  storeQueue,
  storeWorkflowId,
  trainWorkflowId,
} from '#domain/naming.js';
import type { StoreSnapshot } from '#lab/control/snapshot.js';
import { builtinMirror, NEXT_SNAPSHOT } from '#lab/world/mirror.js';
import { openGitRepo } from '#systems/git/repo.js';
import { startService, type Service } from '#workers/embedded/supervisor.js';
import { buildOnce } from './build.js';

/**
 * A whole service with a practice fleet, as processes, for acceptance tests in the manner of given, when, then.
 * What happened is read from the practice fleet's own journal.
 */
export interface Practice {
  dir: string;
  repo: string;
  service: Service;
  client: Client;
  lab: LabClient;
  startTrain(input?: object): Promise<WorkflowHandle>;
  /** A night by hand, which begins at once. */
  startNight(input?: Partial<NightInput>): Promise<WorkflowHandle>;
  /** A run of restore tests by hand. */
  startRestores(input?: Partial<RestoreInput>): Promise<WorkflowHandle>;
  view(): Promise<TrainView>;
  /** Waits until the train's view satisfies the condition; approves every stage on the way when asked to. */
  until(what: string, condition: (view: TrainView) => boolean, options?: { approving?: boolean }): Promise<TrainView>;
  approve(stage?: string): Promise<string>;
  /** A decision about what the train asks for at this moment, but for the change. */
  decision(change?: Partial<Decision>): Promise<Decision>;
  /** Sends it as an Update; resolves with the train's sentence, rejects with its refusal as the cause. */
  decide(decision: Decision): Promise<string>;
  /** Approves whatever is asked until the train ends. */
  ride(handle: WorkflowHandle): Promise<TrainReport>;
  answer(update: string): Promise<unknown>;
  /** Waits for an entry of the journal. */
  seen(what: string, match: (entry: LabEntry) => boolean): Promise<LabEntry>;
  /** Waits until a look has something to show. */
  eventually<T>(what: string, look: () => Promise<T | undefined>): Promise<T>;
  /** Waits until that instant has passed. */
  past(instant: string): Promise<void>;
  /** Waits until the store is as the condition says. */
  storeIs(what: string, store: string, condition: (store: StoreSnapshot) => boolean): Promise<StoreSnapshot>;
  /** Joins the store's link, and waits until the store has asked for work over it: its worker is not back at once. */
  comesBack(store: string): Promise<void>;
  /** The store as the practice fleet knows it. */
  snapshot(store: string): Promise<StoreSnapshot>;
  /** What stands set at the store, whoever set it. Empty for one that is as nobody ever set anything on it. */
  leftSet(store: string): Promise<string[]>;
  /** The stores of each stage, by its name. */
  stages(): Promise<Record<string, string[]>>;
  effects(store: string): Promise<LabEntry[]>;
  violations(): Promise<string[]>;
  patch(store: string, release: ReleaseRef, change?: Partial<PatchStoreInput>): Promise<WorkflowHandle>;
  /** The store's desired record, as somebody with the registry's keys could write it. */
  promoteByHand(store: string, release: ReleaseRef, permit?: PermitRef): Promise<void>;
  /** A path among the objects of the registry. */
  objects(...path: string[]): string;
  storeView(store: string): Promise<StoreView>;
  /** The process that runs under this name of the service now. */
  pid(name: string): number;
  editFleet(change: (fleet: EditableFleet) => void): Promise<void>;
  /** Ends the whole service in good order, practice fleet and Temporal included, and starts it on the same folder. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

export interface EditableFleet {
  stages: {
    name: string;
    stores: unknown;
    soak: string;
    approval?: object;
    limits?: Record<string, unknown>;
    gate?: object;
  }[];
  release: { version: string; sequence: number; snapshot: string };
  [key: string]: unknown;
}

const FLEET = 'practice';
const LOOK_EVERY = 150;
const PATIENCE = 120_000;

export async function givenPractice(options: {
  stores: number;
  canary?: number;
  ownProcess?: string[];
  /** The environment of whoever starts the service, on top of that of the tests. */
  env?: NodeJS.ProcessEnv;
  /** Folder of the build that the service runs, when not that of this tree. */
  build?: string;
  edit?: (fleet: EditableFleet) => void;
  speed?: number;
  /** Instead of a folder that is gone after the test. */
  dir?: string;
  /** Starts the service from another build. */
  start?: typeof startService;
}): Promise<Practice> {
  await buildOnce();
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), 'edge-acceptance-')));
  const repo = join(dir, 'edge-infra');
  await initRepo(repo, {
    fleet: FLEET,
    stores: options.stores,
    lab: true,
    compressed: true,
    labNetwork: await freeLabNetwork(options.stores),
  });
  const editFleet = async (change: (fleet: EditableFleet) => void) => {
    const file = join(repo, 'fleet.yaml');
    const fleet = parse(await readFile(file, 'utf8')) as EditableFleet;
    change(fleet);
    await writeFile(file, stringify(fleet));
    await execa('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.com', 'commit', '-qam', 'change'], {
      cwd: repo,
    });
  };
  await editFleet((fleet) => {
    const [first] = fleet.stages as [EditableFleet['stages'][number]];
    fleet.stages = [
      { ...first, name: 'canary', stores: options.canary ?? 1 },
      { ...first, name: 'rest', stores: 'rest' },
    ];
    options.edit?.(fleet);
  });
  const pids = new Map<string, number>();
  const start = async (): Promise<Service> =>
    (options.start ?? startService)({
      dir: join(dir, 'edge'),
      repo,
      fleet: FLEET,
      lab: { speed: options.speed ?? 240, ...(options.ownProcess ? { ownProcess: options.ownProcess } : {}) },
      env: { ...process.env, ...options.env },
      ...(options.build === undefined ? {} : { build: options.build }),
      log: () => undefined,
      onEvent: (event) => {
        if (event.kind === 'started') pids.set(event.name, event.pid);
        if (event.kind === 'ended') pids.delete(event.name);
      },
    });
  const service = await start();
  const connection = await openConnection(service.temporal.address, '10s');
  const client = new Client({ connection, namespace: service.temporal.namespace });
  const lab = createLabClient(service.lab?.control ?? '');
  const train = () => client.workflow.getHandle(trainWorkflowId(FLEET));

  /** `last`: what was seen last, for the error. */
  const waitFor = async <T>(
    what: string,
    look: () => Promise<T | undefined>,
    last: () => unknown = () => undefined,
  ): Promise<T> => {
    const until = Date.now() + PATIENCE;
    for (;;) {
      const found = await look();
      if (found !== undefined) return found;
      if (Date.now() > until) throw new Error(`Waited in vain for: ${what}. Last seen: ${JSON.stringify(last())}`);
      await delay(LOOK_EVERY);
    }
  };
  /** Undefined while no control worker answers. */
  const look = () =>
    train()
      .query<TrainView>('train')
      .catch(() => undefined);

  const practice: Practice = {
    dir,
    repo,
    service,
    client,
    lab,
    editFleet,
    async startTrain(input = {}) {
      const workflowId = trainWorkflowId(FLEET);
      const before = await look();
      // A train shows its end, and writes it down, before Temporal has closed it.
      if (before && isTrainOver(before.state))
        await waitFor('the train before to close', async () => {
          const { status } = await client.workflow.getHandle(workflowId).describe();
          return status.name === 'RUNNING' ? undefined : true;
        });
      return client.workflow.start('patchTrain', {
        taskQueue: CONTROL_QUEUE,
        workflowId,
        args: [{ fleet: FLEET, requestedBy: 'test', ...input }],
      });
    },
    startNight: (input = {}) =>
      client.workflow.start('nightlyBackup', {
        taskQueue: CONTROL_QUEUE,
        workflowId: nightWorkflowId(FLEET, 'by-hand'),
        args: [{ fleet: FLEET, now: true, requestedBy: 'test', ...input } satisfies NightInput],
      }),
    startRestores: (input = {}) =>
      client.workflow.start('restoreTest', {
        taskQueue: CONTROL_QUEUE,
        workflowId: restoreRunWorkflowId(FLEET, 'by-hand'),
        args: [{ fleet: FLEET, requestedBy: 'test', ...input } satisfies RestoreInput],
      }),
    view: () => waitFor('a view of the train', look),
    until: (what, condition, { approving = false } = {}) => {
      let view: TrainView | undefined;
      return waitFor(
        what,
        async () => {
          view = await look();
          if (view && condition(view)) return view;
          if (approving && view?.hold?.reason === 'ApprovalPending') await practice.approve().catch(() => undefined);
          return undefined;
        },
        () => view,
      );
    },
    approve: async (stage) => practice.decide(await practice.decision(stage === undefined ? {} : { stage })),
    async decision(change = {}) {
      const { hold, planHash } = await practice.view();
      return {
        stage: hold?.stage ?? '',
        planHash: hold?.planHash ?? planHash ?? '',
        decision: 'approve',
        by: 'test',
        via: 'cli',
        ...change,
      };
    },
    decide: (decision) => train().executeUpdate<string, [Decision]>('decide', { args: [decision] }),
    async ride(handle) {
      const ended = handle.result().then(
        (report: TrainReport) => report,
        (error: unknown) => {
          if (error instanceof WorkflowFailedError) throw error.cause ?? error;
          throw error;
        },
      );
      await Promise.race([
        ended,
        practice.until(
          'the end of the train',
          ({ state }) => ['done', 'rolled back', 'aborted', 'failed'].includes(state),
          {
            approving: true,
          },
        ),
      ]);
      return ended;
    },
    answer: (update) => train().executeUpdate(update, { args: [{ by: 'test' }] }),
    seen: (what, match) => waitFor(what, async () => (await lab.journal(0)).find(match)),
    eventually: (what, look) => waitFor(what, look),
    past: (instant) =>
      waitFor(instant, async () => (Date.now() > Date.parse(instant) ? true : undefined)).then(() => undefined),
    snapshot: async (store) => (await lab.state(store)) as StoreSnapshot,
    async leftSet(store) {
      const { nodes, ceph } = await practice.snapshot(store);
      const ofNode = ({ name, maintenance, noout }: (typeof nodes)[number]) => [
        ...(maintenance ? [`maintenance of ${name}`] : []),
        ...(noout ? [`noout of ${name}`] : []),
      ];
      return [...nodes.flatMap(ofNode), ...ceph.flags];
    },
    storeIs: (what, store, condition) =>
      waitFor(`${store}: ${what}`, async () => {
        const seen = await practice.snapshot(store);
        return condition(seen) ? seen : undefined;
      }),
    async comesBack(store) {
      const joined = Date.now();
      await lab.setWan(store, true);
      await waitFor(`${store} to ask for work again`, async () => {
        const pollers = await recentPollers(client, storeQueue(store), 'activity');
        const isBack = pollers.some(({ lastAccessTime }) => tsToMs(lastAccessTime) > joined);
        return isBack || undefined;
      });
    },
    async stages() {
      const git = openGitRepo({ dir: repo });
      const at = await git.head('main');
      const files = await collectRepoFiles({
        list: () => git.list(at, ''),
        readMany: (paths) => git.readMany(at, paths, MAX_CONFIG_FILE),
      });
      const { fleet, stores, problems } = checkRepo(files);
      if (!fleet) throw new Error(`The fleet of this test is not valid: ${JSON.stringify(problems)}`);
      const plan = planStages({ fleet, stores, today: '2026-01-01' });
      return Object.fromEntries(plan.stages.map((stage) => [stage.name, stage.stores]));
    },
    effects: async (store) =>
      (await lab.journal(0)).filter(
        (entry) => entry.store === store && !entry.effect.startsWith('fault.') && !entry.effect.startsWith('wan.'),
      ),
    violations: async () =>
      (await lab.check()).rules.flatMap(({ id, violations }) =>
        violations.map((violation) => `${id}: ${JSON.stringify(violation)}`),
      ),
    patch: (store, release, change = {}) =>
      client.workflow.start('patchStore', {
        taskQueue: CONTROL_QUEUE,
        workflowId: storeWorkflowId(store),
        args: [
          {
            fleet: FLEET,
            train: 'by-hand',
            stage: 'canary',
            store,
            round: 0,
            release,
            offlineAfter: 20_000,
            cutOffAfter: 120_000,
            storeTimeout: 240_000,
            ...change,
          } satisfies PatchStoreInput,
        ],
      }),
    async promoteByHand(store, release, permit) {
      const record: DesiredRecord = {
        schema: 'edge.desired/v1',
        store,
        release,
        train: 'by-hand',
        stage: 'canary',
        commit: await openGitRepo({ dir: repo }).head('main'),
        expires: new Date(Date.now() + 3_600_000).toISOString(),
        ...(permit ? { permit } : {}),
      };
      const file = practice.objects('pointers', desiredPointer(store));
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, JSON.stringify(record));
    },
    objects: (...path) => join(dir, 'edge', 'objects', ...path),
    storeView: (store) => client.workflow.getHandle(storeWorkflowId(store)).query<StoreView>('store'),
    pid(name) {
      const pid = pids.get(name);
      if (pid === undefined) throw new Error(`No process ${name} runs.`);
      return pid;
    },
    async restart() {
      await practice.service.stop();
      practice.service = await start();
    },
    async stop() {
      await connection.close();
      await practice.service.stop();
      if (options.dir === undefined) await rm(dir, { recursive: true, force: true });
    },
  };
  return practice;
}

export const resultOf = async (handle: WorkflowHandle): Promise<StoreResult> => (await handle.result()) as StoreResult;

/** How often an effect stands in the journal of a store, by node. */
export function countByNode(entries: readonly LabEntry[], effect: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const entry of entries)
    if (entry.effect === effect) counts[entry.node ?? ''] = (counts[entry.node ?? ''] ?? 0) + 1;
  return counts;
}

/** From a breach to no further store touched, in milliseconds. */
const AT_ONCE = 1_000;

/** What was done to stores that nobody should have touched any more after the breach. */
export async function touchedAfter(practice: Practice, breach: LabEntry, untouched: string[]): Promise<string[]> {
  const limit = Date.parse(breach.at) + AT_ONCE;
  const effects = await Promise.all(untouched.map((store) => practice.effects(store)));
  return effects
    .flat()
    .flatMap(({ store, effect, at }) => (Date.parse(at) > limit ? [`${store} ${effect} ${at}`] : []));
}

/** What the practice fleet's mirror has a week after the template's release. */
export const NEXT_WEEK = {
  version: '2026.49.0',
  sequence: 49,
  snapshot: NEXT_SNAPSHOT,
  kernel: '6.14.11-5-pve',
  packages: [...(builtinMirror.get(NEXT_SNAPSHOT) ?? [])].map(([name, version]) => ({ name, version })),
};
