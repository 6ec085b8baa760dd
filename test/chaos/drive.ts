import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import type { LabEntry, LabReport } from '#client/cli/lab-client.js';
import type { ResultRow } from '#domain/messages/ledger.js';
import type { Answer, TrainReport, TrainView } from '#domain/messages/train.js';
import { CONTROL_QUEUE, storeWorkflowId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { PatchStoreInput } from '#domain/messages/store.js';
import { openLedger } from '#systems/ledger/client.js';
import type { StoreSnapshot } from '#lab/control/snapshot.js';
import type { Practice } from '../support/practice.js';
import type { Ground } from './ground.js';
import { processFaults, type ChaosPlan } from './plan.js';
import type { Cell } from './table.js';

/** What was seen of a run; nothing of it is judged yet. */
export interface Seen {
  plan: ChaosPlan;
  /** Undefined: the train did not end. */
  report?: TrainReport | undefined;
  view?: TrainView | undefined;
  rows: ResultRow[];
  /** How each operation on a store ended, by its own word. */
  operations: (StoreResult & { workflowId: string })[];
  /** Operations that ended by an exception, which none should. */
  broken: string[];
  /** What still runs after everything was repaired, with the pending work of each. */
  running: string[];
  journal: LabEntry[];
  check: LabReport;
  now: StoreSnapshot[];
  /** What the suite did to the service, when, and during whose step. */
  struck: (Cell & { store: string | undefined; at: string })[];
  /** What the operator said, in order. */
  said: string[];
  seconds: number;
}

const FLEET = 'practice';
/** A moment that a fault waits for is soon over; an operator has time, and each look at a train costs the service. */
const WATCH_EVERY_MS = 80;
const LOOK_EVERY_MS = 500;
/** From the first message to the train to its end. */
const TRAIN_LIMIT_MS = 240_000;
/** For what goes on after that: stores that come back from behind a cut link and finish. */
const REST_LIMIT_MS = 120_000;
const QUIET_MS = 1_000;
/** A stage that waits for silent stores is given up after this time. */
const CATCH_UP_MS = 10_000;
const REPAIR_AFTER_MS = 40_000;

export interface RunOptions {
  /** Goes on beside the train, and stops when the signal says that the train has ended. */
  beside?: (practice: Practice, ended: AbortSignal) => Promise<void>;
  trainLimitMs?: number;
}

/** The journal of these stores as it grows, from this moment on. From its file: to be asked so often costs the fleet. */
async function follow(practice: Practice, stores: readonly string[]) {
  const file = await open(join(practice.dir, 'edge', 'lab', 'journal.jsonl'));
  let { size: offset } = await file.stat();
  const entries: LabEntry[] = [];
  return {
    entries,
    async more(): Promise<LabEntry[]> {
      const { size } = await file.stat();
      if (size === offset) return [];
      const { buffer } = await file.read(Buffer.alloc(size - offset), 0, size - offset, offset);
      // The rest of a line that is being written is read the next time.
      const end = buffer.lastIndexOf(0x0a) + 1;
      offset += end;
      const lines = buffer.subarray(0, end).toString('utf8').split('\n').filter(Boolean);
      const own = lines.map((line) => JSON.parse(line) as LabEntry).filter(({ store }) => stores.includes(store));
      entries.push(...own);
      return own;
    },
    close: () => file.close(),
  };
}

export async function run(
  plan: ChaosPlan,
  { practice, stores }: Ground,
  { beside, trainLimitMs = TRAIN_LIMIT_MS }: RunOptions = {},
): Promise<Seen> {
  const began = performance.now();
  const { client, lab, service } = practice;
  const order = Object.values(await practice.stages()).flat();
  const storeOf = (index: number): string => order[index] ?? (order[0] as string);
  const journal = await follow(practice, stores);
  const struck: Seen['struck'] = [];
  const said: string[] = [];
  let report: TrainReport | undefined;
  let trouble: unknown;
  let last: TrainView | undefined;

  const planned = plan.faults.map((fault, i) => ({ ...fault, id: `seed-${plan.seed}-${i + 1}` }));
  await lab.addFaults(
    planned.flatMap(({ id, lab: fault, store }) => (fault ? [{ id, store: storeOf(store), ...fault }] : [])),
  );
  let waiting = processFaults(plan);
  let pausesAt = plan.operator.pausesAt;

  const strike = (fault: (typeof waiting)[number], moment: Cell['moment'], entry?: LabEntry): void => {
    const { kind, step } = fault;
    const name = { 'kill-control': 'control', 'kill-release': 'release', 'kill-temporal': 'temporal' }[kind as string];
    const done =
      kind === 'second-operation'
        ? second(entry?.store ?? storeOf(fault.store))
        : service.kill(name ?? storesProcess(practice), 'SIGKILL');
    if (done) struck.push({ kind, step, moment, store: entry?.store, at: new Date().toISOString() });
  };
  /** Another operator, or another centre, takes the same store while it is in work. */
  const second = (store: string): boolean => {
    if (!last?.release) return false;
    const input: PatchStoreInput = {
      fleet: FLEET,
      train: 'by-hand',
      stage: 'by-hand',
      store,
      round: 0,
      release: last.release,
      offlineAfter: 20_000,
      cutOffAfter: 60_000,
      storeTimeout: 120_000,
    };
    client.workflow
      .start('patchStore', { taskQueue: CONTROL_QUEUE, workflowId: secondId(store), args: [input] })
      .catch(() => undefined);
    return true;
  };

  const repair = async (): Promise<void> => {
    for (const { id } of await lab.faults()) await lab.removeFault(id);
    for (const store of order) await lab.setWan(store, true);
  };
  const operator = createOperator(plan, practice, said, repair);

  const handle = await practice.startTrain();
  void handle.result().then(
    (result) => void (report = result as TrainReport),
    (error: unknown) => void (trouble = error),
  );
  const release = waiting.find(({ step }) => step === 'release.build');
  if (release) strike(release, 'during');
  waiting = waiting.filter((fault) => fault !== release);

  const over = new AbortController();
  const aside = beside?.(practice, over.signal);
  const ends: { id: string; at: number }[] = [];
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) {
      for (const entry of await journal.more()) {
        const due = waiting.find(({ step, store }) => step === entry.effect && storeOf(store) === entry.store);
        if (due && last?.release) {
          waiting = waiting.filter((fault) => fault !== due);
          strike(due, 'after', entry);
        }
        const id = entry.effect === 'fault.active' ? entry.detail?.['id'] : undefined;
        const endsAfter = planned.find((fault) => fault.id === id)?.endsAfter;
        if (typeof id === 'string' && endsAfter !== undefined && ends.every((end) => end.id !== id))
          ends.push({ id, at: performance.now() + endsAfter * 1_000 });
        if (pausesAt === entry.effect && entry.by !== 'lab') {
          pausesAt = undefined;
          operator.pause();
        }
      }
      for (const { id, at } of ends.splice(0)) {
        if (performance.now() < at) ends.push({ id, at });
        // The operator may have repaired it meanwhile.
        else await lab.removeFault(id).catch(() => undefined);
      }
      await delay(WATCH_EVERY_MS);
    }
  };
  const watching = watch();

  const limit = performance.now() + trainLimitMs;
  while (!report && performance.now() < limit) {
    last = (await within(2_000, handle.query<TrainView>('train'))) ?? last;
    if (trouble && !report) trouble = await describe(handle, (result) => void (report = result));
    if (last && !report) await operator.look(last);
    await delay(LOOK_EVERY_MS);
  }
  over.abort();
  await Promise.all([aside, watching]);
  if (trouble && !report)
    said.push(`The train: ${trouble instanceof Error ? trouble.message : JSON.stringify(trouble)}`);

  await repair();
  const running = await untilNothingRuns(practice);
  await untilQuiet(practice, stores, journal);
  last = (await within(5_000, handle.query<TrainView>('train'))) ?? last;
  const ledger = await openLedger(service.databaseUrl);
  try {
    const rows = last?.train ? await ledger.results(last.train) : [];
    const { operations, broken } = await operationsOf(practice, stores);
    const { effects, rules } = await lab.check();
    return {
      plan,
      report,
      view: last,
      rows,
      operations,
      broken,
      running,
      journal: journal.entries,
      check: {
        effects,
        rules: rules.map((rule) => ({
          ...rule,
          violations: rule.violations.filter(({ store }) => stores.includes(store)),
        })),
      },
      now: await statesOf(practice, stores),
      struck,
      said,
      seconds: Math.round((performance.now() - began) / 1_000),
    };
  } finally {
    await Promise.all([ledger.close(), journal.close()]);
  }
}

const secondId = (store: string): string => `second/${store}`;

const statesOf = async ({ lab }: Practice, stores: readonly string[]): Promise<StoreSnapshot[]> =>
  Promise.all(stores.map(async (store) => (await lab.state(store)) as StoreSnapshot));

const storesProcess = ({ service }: Practice): string =>
  service.processes().find((name) => name.startsWith('stores-')) ?? 'stores-1';

/** A connection that was cut by a restart of the server ends the wait for a result, not the train. */
async function describe(handle: WorkflowHandle, done: (report: TrainReport) => void): Promise<unknown> {
  const status = await within(
    2_000,
    handle.describe().then((found) => found.status.name),
  );
  if (status === 'COMPLETED') done((await handle.result()) as TrainReport);
  return status === undefined || status === 'RUNNING' || status === 'COMPLETED' ? 'still running' : status;
}

/** Undefined when it fails or takes longer, as it may while things are being killed. */
export async function within<T>(milliseconds: number, work: Promise<T>): Promise<T | undefined> {
  const over = new AbortController();
  const late = delay(milliseconds, undefined, { signal: over.signal }).catch(() => undefined);
  try {
    return await Promise.race([work, late]);
  } catch {
    return undefined;
  } finally {
    over.abort();
  }
}

/** Answers every hold, so that each run ends. What was said and refused, because the moment had passed, is said again. */
function createOperator(plan: ChaosPlan, practice: Practice, said: string[], repair: () => Promise<void>) {
  const { retries, repairs, atLast } = plan.operator;
  const startedAt = performance.now();
  let tried = 0;
  let catchingUpSince: number | undefined;
  let repaired = false;
  let pauseWanted = false;
  let resumeAt: number | undefined;

  const say = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const answer = await within(
      5_000,
      work().then(
        () => 'taken',
        () => 'refused',
      ),
    );
    said.push(`${what}: ${answer ?? 'no answer'}`);
  };
  const answer = (update: string) => say(update, () => practice.answer(update));
  const updates: Partial<Record<Answer, string>> = {
    'ask-again': 'askAgain',
    'retry-gate': 'retryGate',
    'retry-failed': 'retryFailed',
    'retry-offline': 'retryOffline',
    skip: 'skip',
  };
  const repairOnce = async (): Promise<void> => {
    if (repaired) return;
    repaired = true;
    said.push('repair');
    await repair();
  };

  return {
    pause(): void {
      pauseWanted = true;
    },
    async look({ state, hold, answers }: TrainView): Promise<void> {
      if (pauseWanted) {
        pauseWanted = false;
        await answer('pause');
        resumeAt = performance.now() + 1_500;
      }
      if (performance.now() - startedAt > REPAIR_AFTER_MS) await repairOnce();
      if (resumeAt !== undefined && performance.now() > resumeAt) {
        resumeAt = undefined;
        if (answers.includes('resume')) await answer('resume');
        return;
      }
      if (!hold) {
        if (resumeAt === undefined && answers.includes('resume')) await answer('resume');
        catchingUpSince = state === 'catching up' ? (catchingUpSince ?? performance.now()) : undefined;
        if (catchingUpSince === undefined || performance.now() - catchingUpSince < CATCH_UP_MS) return;
        await repairOnce();
        if (performance.now() - catchingUpSince > 2 * CATCH_UP_MS && answers.includes('finish')) await answer('finish');
        return;
      }
      if (hold.answers.includes('approve')) {
        await say('approve', () => practice.approve());
        return;
      }
      const again = (['retry-failed', 'retry-offline', 'retry-gate', 'ask-again'] as const).filter((each) =>
        hold.answers.includes(each),
      );
      if (repairs) await repairOnce();
      const retry = tried < retries ? again[tried % again.length] : undefined;
      tried += 1;
      const last: Answer = atLast === 'skip' && hold.answers.includes('skip') && tried < 10 ? 'skip' : 'abort';
      await answer(updates[retry ?? last] ?? 'abort');
    },
  };
}

/** What runs is named with its pending activities, or nothing at all when all has ended. */
async function untilNothingRuns({ client }: Practice): Promise<string[]> {
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

async function untilQuiet(
  practice: Practice,
  fleet: readonly string[],
  journal: Awaited<ReturnType<typeof follow>>,
): Promise<void> {
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

async function operationsOf(
  { client }: Practice,
  stores: readonly string[],
): Promise<Pick<Seen, 'operations' | 'broken'>> {
  const own = new Set(stores.flatMap((store) => [storeWorkflowId(store), secondId(store)]));
  const operations: Seen['operations'] = [];
  const broken: string[] = [];
  for await (const { workflowId, runId, status } of client.workflow.list({ query: "WorkflowType='patchStore'" })) {
    if (status.name === 'RUNNING' || !own.has(workflowId)) continue;
    try {
      const result = (await client.workflow.getHandle(workflowId, runId).result()) as StoreResult;
      operations.push({ ...result, workflowId });
    } catch (error) {
      broken.push(
        `${workflowId}: ${error instanceof Error ? `${error.message} ${String(error.cause)}` : String(error)}`,
      );
    }
  }
  return { operations, broken };
}
