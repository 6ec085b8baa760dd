import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { tsToMs } from '@temporalio/common/lib/time.js';
import type { LabEntry, LabReport } from '#client/cli/lab-client.js';
import type { NightReport } from '#domain/messages/backup.js';
import type { GuestBackupRow, NightGuestRow, RestoreTestRow, ResultRow } from '#domain/messages/ledger.js';
import type { RestoreReport } from '#domain/messages/restore.js';
import type { TrainReport } from '#domain/messages/train.js';
import { backupWorkflowId, restoreWorkflowId, ROLLBACK_STAGE, storeWorkflowId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { PbsSnapshot, StoreSnapshot } from '#lab/control/snapshot.js';
import { openLedger } from '#systems/ledger/client.js';
import type { Practice } from '../support/practice.js';
import type { Ground } from './ground.js';
import type { Journal } from './journal.js';
import { within } from './patience.js';
import type { ChaosPlan, PlannedFault } from './plan.js';
import type { Steered } from './steering.js';
import type { Work } from './table.js';
import { readWayBack, type WayBackSeen } from './way-back-seen.js';
import type { Endings } from './works.js';

/** What was seen of one work of a run; nothing of it is judged yet. */
export interface Ran<Report> {
  /** Undefined: it did not end. */
  report?: Report | undefined;
  /** Its own last words, for people. */
  doing?: string | undefined;
  /** What the ledger says of its stores. */
  rows: ResultRow[];
  /** How each operation on a store ended, by its own word. */
  operations: Operation[];
}
export type Operation = StoreResult & {
  workflowId: string;
  /** When it was called for; its first words may come later. */
  begunAt: string;
  /** When it was told to stand still, to go on or to end; absent when nobody steered its train. */
  toldAt?: string[];
};

export interface TrainSeen extends Ran<TrainReport> {
  /** The release of the train, as the ledger names it. */
  release?: string | undefined;
  /** When the release was built, by the history of the train. */
  builds: { from: string; to: string }[];
  steered: Steered[];
  /** Of a train that was to be taken back. */
  wayBack?: WayBackSeen | undefined;
}

export interface NightSeen extends Ran<NightReport> {
  /** When its window closes; absent when it was begun by hand. */
  closes?: string | undefined;
  guests: NightGuestRow[];
  known: GuestBackupRow[];
}
export interface RestoresSeen extends Ran<RestoreReport> {
  tests: RestoreTestRow[];
}

/** What a store's own worker remembers: the operation that took the store last, and its steps. */
export interface Memory {
  store: string;
  operationId: string;
  startedAt: string;
  open: boolean;
  /** Written down since that operation took the store. The key begins with the id of the operation that the step is of. */
  steps: { key: string; at: string }[];
}

/** What was seen of a run. */
export interface Seen {
  plan: ChaosPlan;
  stores: string[];
  train?: TrainSeen | undefined;
  night?: NightSeen | undefined;
  restores?: RestoresSeen | undefined;
  /** Workflows that ended by an exception, which none should. */
  broken: string[];
  /** What still runs after everything was repaired, with the pending work of each. */
  running: string[];
  /** Of the stores, of the central backup server and of the staging site. */
  journal: LabEntry[];
  check: LabReport;
  now: StoreSnapshot[];
  site: StoreSnapshot;
  /** The backup servers of the stores, and the central one. */
  servers: PbsSnapshot[];
  memories: Memory[];
  /** Which planned faults the suite itself made strike, where and when. */
  struck: { fault: number; store: string | undefined; at: string }[];
  /** What the operator said, in order. */
  said: string[];
  seconds: number;
}

/** The id under which the nth fault of a plan is known to the practice fleet. */
export const faultId = ({ seed }: ChaosPlan, fault: number): string => `seed-${seed}-${fault + 1}`;
export const faultsOf = (plan: ChaosPlan, works: readonly Work[]): (PlannedFault & { fault: number; id: string })[] =>
  plan.faults
    .map((planned, fault) => ({ ...planned, fault, id: faultId(plan, fault) }))
    .filter(({ cell }) => works.includes(cell.work));

export const secondId = (store: string): string => `second/${store}`;

const REST_LIMIT_MS = 120_000;
const QUIET_MS = 1_000;
const BUILD_LIMIT_MS = 10_000;

/** What runs is named with its pending activities, or nothing at all when all has ended. */
export async function untilNothingRuns({ client }: Practice): Promise<string[]> {
  const limit = performance.now() + REST_LIMIT_MS;
  for (;;) {
    const open = await within(5_000, openWorkflows(client));
    if (open && open.length === 0) return [];
    if (performance.now() > limit) return open ?? ['unknown: the server does not answer'];
    await delay(500);
  }
}

async function openWorkflows(client: Practice['client']): Promise<string[]> {
  const open: string[] = [];
  for await (const { workflowId } of client.workflow.list({ query: "ExecutionStatus='Running'" })) {
    const { raw } = await client.workflow.getHandle(workflowId).describe();
    const pending = (raw.pendingActivities ?? []).map(
      ({ activityType, attempt, lastFailure }) =>
        `${activityType?.name} attempt ${attempt} ${lastFailure?.message ?? ''}`,
    );
    open.push(`${workflowId} [${pending.join('; ')}]`);
  }
  return open;
}

export async function untilQuiet(practice: Practice, fleet: readonly string[], journal: Journal): Promise<void> {
  const limit = performance.now() + 30_000;
  let quietSince = performance.now();
  while (performance.now() < limit) {
    const stores = await statesOf(practice, fleet);
    const settled = stores.every(
      ({ nodes, ceph }) =>
        nodes.every(({ state }) => state === 'up') && ceph.pgs.every(({ state }) => state === 'active+clean'),
    );
    if ((await journal.more()).length > 0 || !settled) quietSince = performance.now();
    if (performance.now() - quietSince > QUIET_MS) return;
    await delay(200);
  }
}

const statesOf = ({ lab }: Practice, stores: readonly string[]): Promise<StoreSnapshot[]> =>
  Promise.all(stores.map(async (store) => (await lab.state(store)) as StoreSnapshot));

const serversOf = ({ lab }: Practice, ids: readonly string[]): Promise<PbsSnapshot[]> =>
  Promise.all(ids.map(async (id) => (await lab.pbs(id)) as PbsSnapshot));

/** From the memory of each store's worker; a store that nothing was ever done to has none. */
async function memoriesOf({ dir }: Practice, stores: readonly string[]): Promise<Seen['memories']> {
  const all = await Promise.all(
    stores.map(async (store) => {
      const read = (file: string) => readFile(join(dir, 'edge', 'lab', 'workers', store, file), 'utf8').catch(() => '');
      const [operation, steps] = await Promise.all([read('operation.json'), read('steps.jsonl')]);
      if (operation === '') return [];
      const { operationId, startedAt, open } = JSON.parse(operation) as Omit<Memory, 'store' | 'steps'>;
      const lines = steps.split('\n').filter(Boolean);
      return [
        { store, operationId, startedAt, open, steps: lines.map((line) => JSON.parse(line) as Memory['steps'][0]) },
      ];
    }),
  );
  return all.flat();
}

const OPERATIONS = {
  patchStore: (store: string) => [storeWorkflowId(store), secondId(store)],
  dumpGuests: (store: string) => [storeWorkflowId(store)],
  backupStore: (store: string) => [backupWorkflowId(store)],
  restoreStore: (store: string) => [restoreWorkflowId(store)],
} as const;
type OperationType = keyof typeof OPERATIONS;

/** Stores belong to one run, so that all operations on them do. */
async function operationsOf(
  { client }: Practice,
  stores: readonly string[],
  isSteered: boolean,
): Promise<{ operations: Record<OperationType, Operation[]>; broken: string[] }> {
  const operations: Record<OperationType, Operation[]> = {
    patchStore: [],
    dumpGuests: [],
    backupStore: [],
    restoreStore: [],
  };
  const broken: string[] = [];
  for (const type of Object.keys(OPERATIONS) as OperationType[]) {
    const own = new Set(stores.flatMap((store) => OPERATIONS[type](store)));
    for await (const each of client.workflow.list({ query: `WorkflowType='${type}'` })) {
      const { workflowId, runId, status, startTime } = each;
      if (status.name === 'RUNNING' || !own.has(workflowId)) continue;
      try {
        const handle = client.workflow.getHandle(workflowId, runId);
        const result = (await handle.result()) as StoreResult;
        const toldAt = type === 'patchStore' && isSteered ? await toldOf(handle) : undefined;
        operations[type].push({
          ...{ ...result, workflowId, begunAt: startTime.toISOString() },
          ...(toldAt ? { toldAt } : {}),
        });
      } catch (error) {
        broken.push(
          `${workflowId}: ${error instanceof Error ? `${error.message} ${String(error.cause)}` : String(error)}`,
        );
      }
    }
  }
  return { operations, broken };
}

/** Waits until a worker has the activity, or it is too late for that. */
export async function untilAtWork(handle: WorkflowHandle, activity: string): Promise<void> {
  const limit = performance.now() + BUILD_LIMIT_MS;
  while (performance.now() < limit) {
    const { raw } = await handle.describe();
    if (raw.pendingActivities?.some(({ activityType }) => activityType?.name === activity)) return;
    await delay(20);
  }
}

/** When the newest train had its release built, by its history. It has an id of its own with whatever took it back. */
async function buildsOf({ client }: Practice): Promise<TrainSeen['builds']> {
  let newest: { workflowId: string; runId: string; startTime: Date } | undefined;
  for await (const train of client.workflow.list({ query: "WorkflowType='patchTrain'" }))
    if (!newest || train.startTime > newest.startTime) newest = train;
  return newest ? timesOf(client.workflow.getHandle(newest.workflowId, newest.runId), 'buildRelease') : [];
}

const eventsOf = async (handle: WorkflowHandle) => (await handle.fetchHistory()).events ?? [];
const at = ({ eventTime }: Awaited<ReturnType<typeof eventsOf>>[number]): string =>
  new Date(tsToMs(eventTime)).toISOString();

/** When an operation on a store was told what people said, by its history. */
const toldOf = async (handle: WorkflowHandle): Promise<string[]> =>
  (await eventsOf(handle))
    .filter(
      (event) =>
        event.workflowExecutionSignaledEventAttributes?.signalName === STEERED ||
        event.workflowExecutionCancelRequestedEventAttributes,
    )
    .map(at);
const STEERED = 'steerStore';

/** When the activity ran to its end, by the history of the workflow. */
async function timesOf(handle: WorkflowHandle, activity: string): Promise<TrainSeen['builds']> {
  const events = await eventsOf(handle);
  const begun = new Map(
    events
      .filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === activity)
      .map((event) => [String(event.eventId), at(event)]),
  );
  return events.flatMap((event) => {
    const from = begun.get(String(event.activityTaskCompletedEventAttributes?.scheduledEventId));
    return from === undefined ? [] : [{ from, to: at(event) }];
  });
}

/** Everything that is to be judged, once nothing runs any more. */
export async function collect(
  { practice, stores, before }: Ground,
  { train, night, restores }: Endings,
): Promise<Omit<Seen, 'plan' | 'stores' | 'said' | 'running' | 'struck' | 'journal' | 'seconds'>> {
  const { service, lab } = practice;
  const ledger = await openLedger(service.databaseUrl);
  const isOwn = ({ store }: { store: string }): boolean => stores.includes(store);
  /** Ids of runs are of a second or of a week, and are used again: what is about other stores is of other runs. */
  const own = async <Row extends { store: string }>(
    id: string | undefined,
    rows: (id: string) => Promise<Row[]>,
  ): Promise<Row[]> => (id === undefined ? [] : (await rows(id)).filter(isOwn));
  try {
    const { operations, broken } = await operationsOf(practice, stores, (train?.steered.length ?? 0) > 0);
    const { effects, rules } = await lab.check();
    const sites = [...stores, ...(restores ? ['staging'] : [])];
    const violationsOf = (rule: (typeof rules)[number]) => rule.violations.filter(({ store }) => sites.includes(store));
    const trainId = train?.view?.train;
    /** And not of the one that brought what the stores can go back to. */
    const isOfTrain = ({ workflowId, store, operationId }: Operation): boolean =>
      workflowId === secondId(store) || trainId === undefined || operationId?.startsWith(`${trainId}/`) === true;
    const isOfWayBack = ({ stage }: { stage: string }): boolean => stage === ROLLBACK_STAGE;
    const nightId = night?.report?.night ?? night?.view?.night;
    const runId = restores?.report?.run ?? restores?.view?.run;
    return {
      train: train && {
        ...{ report: train.report, doing: train.view?.doing, steered: train.steered },
        operations: operations.patchStore.filter(isOfTrain),
        rows: await own(trainId, (id) => ledger.results(id)),
        release: trainId === undefined ? undefined : (await ledger.train(trainId))?.release,
        builds: await buildsOf(practice),
        wayBack: before && {
          ...(await readWayBack(practice, stores, before)),
          approvals: trainId === undefined ? [] : (await ledger.approvals(trainId)).filter(isOfWayBack),
        },
      },
      night: night && {
        ...{ report: night.report, doing: night.view?.doing, operations: operations.backupStore },
        closes: night.view?.opens === undefined ? undefined : night.view.closes,
        rows: await own(nightId, (id) => ledger.results(id)),
        guests: await own(nightId, (id) => ledger.nightGuests(id)),
        known: (await ledger.guestBackups()).filter(isOwn),
      },
      restores: restores && {
        ...{ report: restores.report, doing: restores.view?.doing, operations: operations.restoreStore },
        rows: await own(runId, (id) => ledger.results(id)),
        tests: await own(runId, (id) => ledger.restoreTests(id)),
      },
      broken,
      check: { effects, rules: rules.map((rule) => ({ ...rule, violations: violationsOf(rule) })) },
      now: await statesOf(practice, stores),
      site: (await lab.state('staging')) as StoreSnapshot,
      servers: await serversOf(practice, [...stores, 'central']),
      memories: await memoriesOf(practice, stores),
    };
  } finally {
    await ledger.close();
  }
}
