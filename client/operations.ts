import { randomUUID } from 'node:crypto';
import { plural } from '#domain/counted.js';
import type { Client, WorkflowExecutionInfo, WorkflowHandle } from '@temporalio/client';
import {
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowUpdateFailedError,
} from '@temporalio/client';
import {
  defineSearchAttributeKey,
  SearchAttributeType,
  type QueryDefinition,
  type UpdateDefinition,
} from '@temporalio/common';
import type { z } from 'zod';
import {
  commandSchema,
  decisionSchema,
  isTrainOver,
  rollbackInputSchema,
  steeringSchema,
  trainInputSchema,
  type Command,
  type Decision,
  type RollbackInput,
  type StageView,
  type Steering,
  type TrainInput,
  type TrainView,
  type WaveProgress,
} from '#domain/messages/train.js';
import { nightInputSchema, type NightView } from '#domain/messages/backup.js';
import { isRunOver, type FleetRunView } from '#domain/messages/fleet-run.js';
import { restoreInputSchema, type RestoreView } from '#domain/messages/restore.js';
import { janitorInputSchema, type JanitorInput, type JanitorReport } from '#domain/messages/janitor.js';
import type { StoreView } from '#domain/messages/store.js';
import { surveyInputSchema, type Surveyed, type SurveyInput } from '#domain/messages/survey.js';
import { parse } from '#domain/messages/parse.js';
import {
  BACKUP_STAGE,
  CONTROL_QUEUE,
  fleetOfTrain,
  janitorRuns,
  janitorWorkflowId,
  nightRuns,
  nightWorkflowId,
  restoreRuns,
  restoreRunWorkflowId,
  SEARCH_ATTRIBUTES,
  STORE_ID,
  operationOfStage,
  storeWorkflowId,
  surveyWorkflowId,
  trainWorkflowId,
  type StoreOperationKind,
} from '#domain/naming.js';
import type { ResultRow } from '#domain/messages/ledger.js';
import type { LedgerReader } from '#systems/ledger/types.js';
import { isCutOff, isUnended, OUTCOMES } from '#domain/outcomes.js';
import { rollbackAgain } from '#domain/rollback.js';
import {
  abortUpdate,
  answerUpdates,
  decideUpdate,
  janitorQuery,
  nightQuery,
  restoresQuery,
  pauseUpdate,
  resumeUpdate,
  storeQuery,
  trainQuery,
  waveQuery,
  type PlainAnswer,
} from '#workflows/messages.js';
import { OperationError, toOperationError, type CallPlace } from './operation-errors.js';

/**
 * The one facade that every skin (command line, chat, page) uses to ask and to answer. All input is judged here before
 * anything is sent. Throws `OperationError`, whose message is a sentence with its remedy.
 */
export interface Operations {
  startTrain(input: z.input<typeof trainInputSchema>): Promise<StartedTrain>;
  /** The running train of the fleet, else the newest one that Temporal remembers. */
  trainView(fleet: string): Promise<TrainView>;
  decide(fleet: string, decision: z.input<typeof decisionSchema>): Promise<Reply>;
  /** The whole train, or the stage or store that is named. */
  pause(fleet: string, steering: Steering): Promise<Reply>;
  resume(fleet: string, steering: Steering): Promise<Reply>;
  abort(fleet: string, steering: Steering): Promise<Reply>;
  /** An answer to a train that stands still; it is refused when the train does not take it now. */
  answer(fleet: string, answer: Exclude<PlainAnswer, 'rollback'>, command: Command): Promise<Reply>;
  /** Of the train that runs; when none does, of the one that is named, or of the newest that left something to take back. */
  rollback(input: z.input<typeof rollbackInputSchema>): Promise<Reply>;
  /** The operation that runs on a store, whoever started it. */
  pauseStore(store: string, command: Command): Promise<Reply>;
  resumeStore(store: string, command: Command): Promise<Reply>;
  abortStore(store: string, command: Command): Promise<Reply>;
  /** With the operations that are asked for, by default the newest of each kind. */
  storeView(store: string, which?: WhichOperations): Promise<StoreAnswer>;
  /** Starts the janitor by hand; resolves with what it found when it has ended, however long that takes. */
  runJanitor(input: z.input<typeof janitorInputSchema>): Promise<JanitorReport>;
  /** The newest run, by hand or by the schedule; undefined when Temporal remembers none. */
  lastJanitor(fleet: string): Promise<JanitorRun | undefined>;
  nights: FleetRuns<z.input<typeof nightInputSchema>, NightView>;
  restores: FleetRuns<z.input<typeof restoreInputSchema>, RestoreView>;
  /** Asks stores what a release would do there; they are only looked at. Resolves within minutes, or throws. */
  survey(input: z.input<typeof surveyInputSchema>): Promise<Surveyed[]>;
  /** The trains of the fleet that Temporal remembers, newest first. */
  history(fleet: string, limit?: number): Promise<PastTrain[]>;
}

export interface StartedTrain {
  workflowId: string;
  runId: string;
  /** Undefined when the train names itself after the ISO week; its view shows the name. */
  train?: string | undefined;
}

/** What the train answered: it took the message, or refused it with a sentence. */
export type Reply = { kind: 'accepted'; sentence: string } | Refused;
export interface Refused {
  kind: 'refused';
  sentence: string;
}

export interface StoreOperation {
  operation: string;
  status: 'running' | 'ended';
  train?: string | undefined;
  stage?: string | undefined;
  round?: number | undefined;
  outcome?: string | undefined;
  reason?: string | undefined;
  summary?: string | undefined;
  release?: string | undefined;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
  /** Address in the Temporal UI is `…/workflows/<workflowId>/<runId>`; absent for rows of the ledger. */
  runId?: string | undefined;
}

export interface StoreAnswer {
  store: string;
  /** The operation that runs now; absent when none does. */
  current?: StoreView | undefined;
  /** What the operation that runs now waits for. */
  pending?: PendingActivity[] | undefined;
  /** How the newest operation left it, node by node; absent while one runs, and when no worker can tell it any more. */
  last?: StoreView | undefined;
  /** Newest first; what runs stands before them. */
  recent: StoreOperation[];
}

/** A step that was asked for and has not been answered. */
export interface PendingActivity {
  activity: string;
  /** From 1. */
  attempt: number;
  /** What the attempt before this one ended with. */
  lastError?: string | undefined;
}

export interface WhichOperations {
  /** How many, 20 when only the kind is given. */
  limit?: number | undefined;
  operation?: StoreOperationKind | undefined;
}

export interface PastTrain {
  train?: string | undefined;
  status: string;
  runId: string;
  startedAt: string;
  endedAt?: string | undefined;
}

/** Runs over the fleet that no number of failures ends: nights of backups, runs of restore tests. */
export interface FleetRuns<Input, View extends FleetRunView> {
  /** Starts one by hand. Resolves when it has begun; its view tells of its end. */
  start(input: Input): Promise<RunHandle>;
  /** A run that was ended from outside, without a word of its own, shows as failed. */
  view(run: RunHandle): Promise<View>;
  /**
   * By hand or by the schedule: the newest that runs, else the newest that has ended, or the one of this name. Undefined
   * when Temporal remembers none such.
   */
  newest(fleet: string, name?: string): Promise<FleetRun<View> | undefined>;
  /** Begins no further store; what is in work goes on to its end. */
  abort(run: RunHandle, command: Command): Promise<Reply>;
}

export interface RunHandle {
  fleet: string;
  workflowId: string;
  runId: string;
}

export interface FleetRun<View extends FleetRunView> extends RunHandle {
  status: string;
  view: View;
  /** Names of others that run as well. */
  besides: string[];
}

export interface JanitorRun {
  workflowId: string;
  runId: string;
  status: string;
  startedAt: string;
  endedAt?: string | undefined;
  report: JanitorReport;
}

export interface OperationsOptions {
  client: Client;
  /** As people wrote it; named in errors. */
  address: string;
  /** Knows more of ended operations, and for longer, than Temporal. */
  ledger?: Pick<LedgerReader, 'storeHistory' | 'newestOfEach'> | undefined;
  /** Milliseconds to wait for an answer. */
  timeout?: number;
}

const DEFAULT_TIMEOUT = 15_000;
/** Milliseconds that a survey of the whole fleet may take. */
const SURVEY_WITHIN = 300_000;
const RECENT = 20;
/** Milliseconds to wait for what a run that has ended can still tell. */
const LAST_WITHIN = 5_000;

const operationKey = defineSearchAttributeKey(SEARCH_ATTRIBUTES.operation, SearchAttributeType.KEYWORD);

export function createOperations(options: OperationsOptions): Operations {
  const { client, address, ledger } = options;
  const timeout = options.timeout ?? DEFAULT_TIMEOUT;

  async function call<T>(place: Omit<CallPlace, 'address'>, request: () => Promise<T>): Promise<T> {
    try {
      return await client.withDeadline(Date.now() + timeout, request);
    } catch (error) {
      throw toOperationError(error, { address, ...place });
    }
  }

  /** What a workflow that is waited for came to. */
  async function resultOf<T>(what: string, place: Omit<CallPlace, 'address'>, result: () => Promise<T>): Promise<T> {
    try {
      return await result();
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) throw toOperationError(error, { address, ...place });
      throw new OperationError('unexpected', `The ${what} failed: ${error.cause?.message ?? error.message}`, {
        cause: error,
      });
    }
  }

  async function send(place: Omit<CallPlace, 'address'>, request: () => Promise<string>): Promise<Reply> {
    return call(place, async () => {
      try {
        return { kind: 'accepted', sentence: await request() };
      } catch (error) {
        if (error instanceof WorkflowUpdateFailedError) return { kind: 'refused', sentence: refusalOf(error) };
        throw error;
      }
    });
  }

  /** A message that finds nobody may have met a train that was just closing; people are told how that one ended. */
  async function sendToTrain<Args extends [unknown]>(
    fleet: string,
    update: UpdateDefinition<string, Args>,
    args: Args,
  ): Promise<Reply> {
    const handle = client.workflow.getHandle(trainWorkflowId(fleet));
    const place = placeOfTrain(fleet);
    try {
      return await send(place, () => handle.executeUpdate<string, Args>(update, { args }));
    } catch (error) {
      if (!(error instanceof OperationError) || (error.kind !== 'no-train' && error.kind !== 'train-over')) throw error;
      const end = await call(place, () => endOf(fleet));
      throw end === undefined ? error : trainOver(end);
    }
  }

  async function isRunning(fleet: string): Promise<boolean> {
    const handle = client.workflow.getHandle(trainWorkflowId(fleet));
    return call(placeOfTrain(fleet), async () => (await handle.describe()).status.name === 'RUNNING').catch(
      (error: unknown) => {
        if (error instanceof OperationError && error.kind === 'no-train') return false;
        throw error;
      },
    );
  }

  /** Under a fixed id, so that it is never two at a time; `running` is said when it is one already. */
  async function startOnce(
    place: Omit<CallPlace, 'address'>,
    type: string,
    {
      operation,
      running,
      ...options
    }: {
      workflowId: string;
      args: [unknown];
      staticSummary: string;
      operation: string;
      running: OperationError;
    },
  ): Promise<{ workflowId: string; runId: string }> {
    return call(place, async () => {
      try {
        const handle = await client.workflow.start(type, {
          ...options,
          taskQueue: CONTROL_QUEUE,
          workflowIdReusePolicy: 'ALLOW_DUPLICATE',
          workflowIdConflictPolicy: 'FAIL',
          typedSearchAttributes: [{ key: operationKey, value: operation }],
        });
        return { workflowId: handle.workflowId, runId: handle.firstExecutionRunId };
      } catch (error) {
        if (error instanceof WorkflowExecutionAlreadyStartedError) throw running;
        throw error;
      }
    });
  }

  /** Whatever goes through all stores of a fleet has the one id of its train. */
  const startOfFleet = (
    type: 'patchTrain' | 'rollbackTrain',
    input: TrainInput | RollbackInput,
    operation: string,
    staticSummary: string,
  ) =>
    startOnce(placeOfTrain(input.fleet), type, {
      workflowId: trainWorkflowId(input.fleet),
      args: [input],
      staticSummary,
      operation,
      running: trainRunning(input.fleet),
    });

  /** The newest of the runs whose ids begin so: Temporal adds the time to the id of a run that a schedule starts. */
  const newestRuns = (place: Omit<CallPlace, 'address'>, type: string, runs: string) =>
    call(place, () => listRuns(`WorkflowType = '${type}' AND WorkflowId STARTS_WITH '${runs}'`, RECENT));

  /** How the newest train of the fleet ended; undefined while it runs. */
  async function endOf(fleet: string): Promise<string | undefined> {
    const handle = client.workflow.getHandle(trainWorkflowId(fleet));
    const { status } = await handle.describe();
    if (status.name === 'RUNNING') return undefined;
    const view = await handle.query(trainQuery).catch(() => undefined);
    if (view && isTrainOver(view.state))
      return `${view.train === '' ? 'The train' : `Train ${view.train}`} of fleet ${fleet} has ended (${view.state}). ${view.doing}`;
    const how = outcomeOfStatus(status.name);
    return `The train of fleet ${fleet} has ended${how === undefined ? '' : `: its run was ${how}`}.`;
  }

  const steer = (update: typeof pauseUpdate) => async (fleet: string, raw: Steering) =>
    sendToTrain(checkFleet(fleet), update, [check(steeringSchema, raw)]);

  const steerStore = (update: typeof pauseUpdate, instead: string) => async (rawStore: string, raw: Command) => {
    const store = checkStore(rawStore);
    const args: [Command] = [check(commandSchema, raw)];
    const handle = client.workflow.getHandle(storeWorkflowId(store));
    return send(placeOfOperation(store, instead), () => handle.executeUpdate(update, { args }));
  };

  /**
   * A pause is known to the operation and to the train that it is of, so that the train says who stands still, and either
   * command lets the store go on. A train that is over takes no message, and needs none.
   */
  const restStore = (update: typeof pauseUpdate, instead: string) => async (store: string, command: Command) => {
    const reply = await steerStore(update, instead)(store, command);
    const train = reply.kind === 'accepted' ? await trainOf(store) : undefined;
    if (!train) return reply;
    try {
      await send(placeOfTrain(train.fleet), () =>
        train.handle.executeUpdate(update, { args: [{ ...command, store }] }),
      );
    } catch (error) {
      if (!(error instanceof OperationError) || error.kind !== 'train-over') throw error;
    }
    return reply;
  };

  /** An operation may have been told to stand still without its train; either way it goes on. */
  async function resumeOfTrain(fleet: string, raw: Steering): Promise<Reply> {
    const { store, stage: _, ...command } = check(steeringSchema, raw);
    const isAtRest = store !== undefined && (await isToldToRest(fleet, store));
    const ofStore = isAtRest ? await resumeIfThere(store, command) : undefined;
    const reply = await steer(resumeUpdate)(fleet, raw);
    return reply.kind === 'refused' ? reply : (ofStore ?? reply);
  }

  /** Undefined: it has ended meanwhile. */
  async function resumeIfThere(store: string, command: Command): Promise<Reply | undefined> {
    try {
      return await steerStore(resumeUpdate, '')(store, command);
    } catch (error) {
      if (error instanceof OperationError && error.kind === 'no-operation') return undefined;
      throw error;
    }
  }

  async function isToldToRest(fleet: string, store: string): Promise<boolean> {
    const operation = client.workflow.getHandle(storeWorkflowId(store));
    const ask = () => operation.query(storeQuery);
    const view = await client.withDeadline(Date.now() + timeout, ask).catch(() => undefined);
    return view?.told === 'pause' && !view.result && (await trainOf(store))?.fleet === fleet;
  }

  /** The run of the train that has begun the operation on the store. */
  async function trainOf(store: string) {
    const { workflow } = client;
    const ask = () => workflow.getHandle(storeWorkflowId(store)).describe();
    const { rootExecution: root } = await call(placeOfStore(store), ask);
    const fleet = root?.workflowId ? fleetOfTrain(root.workflowId) : undefined;
    if (fleet === undefined || !root?.workflowId || !root.runId) return undefined;
    return { fleet, handle: workflow.getHandle(root.workflowId, root.runId) };
  }

  async function pendingOn(store: string): Promise<PendingActivity[]> {
    const { raw } = await call(placeOfStore(store), () => client.workflow.getHandle(storeWorkflowId(store)).describe());
    return (raw.pendingActivities ?? []).map(({ activityType, attempt, lastFailure }) => ({
      activity: activityType?.name ?? 'a step',
      attempt: attempt ?? 1,
      lastError: lastFailure?.message ?? undefined,
    }));
  }

  async function waveProgress(wave: string): Promise<WaveProgress | undefined> {
    try {
      return await client.withDeadline(Date.now() + timeout, () => client.workflow.getHandle(wave).query(waveQuery));
    } catch {
      // The wave may have ended a moment ago; what its parent knows is shown then.
      return undefined;
    }
  }

  /** A wave tells its run of stores that ended, not of those that begin. */
  async function inWorkNow<View extends FleetRunView>(view: View): Promise<View> {
    const progress = await Promise.all((view.waves ?? []).map(waveProgress));
    const known = progress.filter((each) => each !== undefined);
    if (known.length === 0 || known.length < progress.length) return view;
    return { ...view, inFlight: known.reduce((sum, { inFlight }) => sum + inFlight, 0) };
  }

  async function listRuns(query: string, limit: number): Promise<WorkflowExecutionInfo[]> {
    const runs: WorkflowExecutionInfo[] = [];
    for await (const run of client.workflow.list({ query, pageSize: limit })) {
      runs.push(run);
      if (runs.length >= limit) break;
    }
    return runs.sort((a, b) => b.startTime.getTime() - a.startTime.getTime());
  }

  function fleetRuns<Input extends { fleet: string }, View extends FleetRunView>({
    schema,
    type,
    operation,
    query,
    words,
    nameIn,
    idOf,
    runsOf,
  }: FleetRunKind<Input, View>): FleetRuns<Input, View> {
    const placeOf = (fleet: string) => ({
      subject: `the ${words.one} of fleet ${fleet}`,
      missing: () => new OperationError('unexpected', `No ${words.one} of fleet ${fleet} is known to Temporal.`),
      over: () =>
        new OperationError('no-operation', `The ${words.one} of fleet ${fleet} has ended. See it: ${words.show}`),
    });
    const viewOf = ({ fleet, workflowId, runId }: RunHandle): Promise<View> =>
      call(placeOf(fleet), async () => {
        const handle = client.workflow.getHandle(workflowId, runId);
        const brokenOff = (view: View, doing: string): View => ({ ...view, state: 'failed', inFlight: 0, doing });
        return toldBy(handle, query, { isOver: isRunOver, brokenOff, inWork: inWorkNow });
      });
    return {
      async start(raw) {
        const input = check(schema, raw);
        const { fleet } = input;
        const run = await startOnce(placeOf(fleet), type, {
          workflowId: idOf(fleet),
          args: [input],
          staticSummary: `${words.title} of fleet ${fleet}`,
          operation,
          running: new OperationError(
            words.running,
            `Somebody else has started ${words.many} of fleet ${fleet}, and they are not through yet. See them: ${words.show}`,
          ),
        });
        return { fleet, ...run };
      },
      view: viewOf,
      async newest(rawFleet, name) {
        const fleet = checkFleet(rawFleet);
        const runs = await newestRuns(placeOf(fleet), type, runsOf(fleet));
        const isRunning = ({ status }: WorkflowExecutionInfo) => status.name === 'RUNNING';
        const inWork = runs.filter(isRunning);
        const shown = async ({ workflowId, runId, status }: WorkflowExecutionInfo) => {
          const run = { fleet, workflowId, runId };
          return { ...run, status: status.name.toLowerCase(), view: await viewOf(run) };
        };
        const besides: string[] = [];
        let found: Omit<FleetRun<View>, 'besides'> | undefined;
        for (const run of [...inWork, ...runs.filter((one) => !isRunning(one))]) {
          if (found && !isRunning(run)) break;
          // One that does not answer hides no other, unless it is the one that people want to see.
          const isFirst = name === undefined && !found;
          const one = isFirst ? await shown(run) : await shown(run).catch(() => undefined);
          if (one === undefined) continue;
          if (!found && (name === undefined || nameIn(one.view) === name)) found = one;
          else if (isRunning(run)) besides.push(nameIn(one.view));
        }
        return found && { ...found, besides };
      },
      async abort({ fleet, workflowId, runId }, raw) {
        const args: [Command] = [check(commandSchema, raw)];
        const handle = client.workflow.getHandle(workflowId, runId);
        return send(placeOf(fleet), () => handle.executeUpdate(abortUpdate, { args }));
      },
    };
  }

  async function runsOn(store: string, limit: number, operation?: StoreOperationKind): Promise<StoreOperation[]> {
    const ofKind = operation ? ` AND ${SEARCH_ATTRIBUTES.operation} IN (${wordsFor(operation)})` : '';
    const query = `WorkflowId = '${storeWorkflowId(store)}'${ofKind}`;
    return (await call(placeOfStore(store), () => listRuns(query, limit))).map(operationOf);
  }

  async function someOperations(store: string, limit: number, operation?: StoreOperationKind) {
    const runs = await runsOn(store, limit, operation);
    const rows = await ledger?.storeHistory(store, limit, operation);
    return mergeOperations(runs, rows ?? []).slice(0, limit);
  }

  /** The newest of each kind, however many of another kind came after it; and what runs. */
  async function newestOfEach(store: string): Promise<StoreOperation[]> {
    const runs = await runsOn(store, RECENT);
    const rows = await ledger?.newestOfEach(store);
    const kinds = new Set<string>();
    return mergeOperations(runs, rows ?? []).filter(({ operation, status }) => {
      if (status === 'running') return true;
      const isFirst = !kinds.has(operation);
      kinds.add(operation);
      return isFirst;
    });
  }

  return {
    async startTrain(raw) {
      const input: TrainInput = check(trainInputSchema, raw);
      const started = await startOfFleet('patchTrain', input, 'train', `Patch train of fleet ${input.fleet}`);
      return { ...started, train: input.train };
    },

    async trainView(rawFleet) {
      const fleet = checkFleet(rawFleet);
      const handle = client.workflow.getHandle(trainWorkflowId(fleet));
      const view = await call(placeOfTrain(fleet), () =>
        toldBy(handle, trainQuery, { isOver: ({ state }) => isTrainOver(state), brokenOff: brokenOffTrain }),
      );
      // A stage that is done already has a wave in work too: of stores that came back.
      const progress = view.wave === undefined ? undefined : await waveProgress(view.wave);
      const stages = view.stages.map((stage) => (stage.wave === view.wave ? withProgress(stage, progress) : stage));
      return { ...view, stages };
    },

    async decide(rawFleet, raw) {
      const fleet = checkFleet(rawFleet);
      const decision: Decision = check(decisionSchema, raw);
      return sendToTrain(fleet, decideUpdate, [decision]);
    },

    pause: steer(pauseUpdate),
    resume: resumeOfTrain,
    abort: steer(abortUpdate),

    async answer(rawFleet, answer, raw) {
      const fleet = checkFleet(rawFleet);
      return sendToTrain(fleet, answerUpdates[answer], [check(commandSchema, raw)]);
    },

    async rollback(raw) {
      const input: RollbackInput = check(rollbackInputSchema, raw);
      const { fleet, train, by, reason } = input;
      if (await isRunning(fleet)) {
        const { train: running } = await call(placeOfTrain(fleet), () =>
          client.workflow.getHandle(trainWorkflowId(fleet)).query(trainQuery),
        );
        if (train !== undefined && train !== running)
          return {
            kind: 'refused',
            sentence: `Train ${running} of fleet ${fleet} is running; ${train} can be taken back when that has ended.`,
          };
        try {
          return await sendToTrain(fleet, answerUpdates.rollback, [
            { by, ...(reason === undefined ? {} : { reason }) },
          ]);
        } catch (error) {
          // It ended a moment ago.
          if (!(error instanceof OperationError) || error.kind !== 'train-over') throw error;
        }
      }
      await startOfFleet(
        'rollbackTrain',
        input,
        'rollback',
        `Rollback of ${train ?? 'the last train'} of fleet ${fleet}`,
      );
      return { kind: 'accepted', sentence: `${by} asked to take back ${train ?? 'the last train'} of fleet ${fleet}.` };
    },

    pauseStore: restStore(pauseUpdate, 'To keep the train from starting it: edge train pause --store'),
    resumeStore: restStore(resumeUpdate, 'When the train was told to leave it alone: edge train resume --store'),
    abortStore: steerStore(abortUpdate, 'To take it out of the train: edge train abort --store'),

    async storeView(rawStore, { limit, operation } = {}) {
      const store = checkStore(rawStore);
      const isAsked = operation !== undefined || limit !== undefined;
      const recent = isAsked ? await someOperations(store, limit ?? RECENT, operation) : await newestOfEach(store);
      const [newest] = operation === undefined ? recent : await runsOn(store, 1);
      const ask = () => client.workflow.getHandle(storeWorkflowId(store)).query(storeQuery);
      if (newest?.status === 'running') {
        const [current, pending] = await Promise.all([
          call(placeOfStore(store), ask),
          pendingOn(store).catch(() => []),
        ]);
        return { store, current, pending, recent };
      }
      if (recent.length === 0) return { store, recent };
      // What is listed is known without a worker; that more cannot be told is no reason to tell nothing.
      const last = await client.withDeadline(Date.now() + LAST_WITHIN, ask).catch(() => undefined);
      return { store, last, recent };
    },

    async runJanitor(raw) {
      const input: JanitorInput = check(janitorInputSchema, raw);
      const { fleet } = input;
      const place = placeOfJanitor(fleet);
      const { workflowId, runId } = await startOnce(place, 'janitor', {
        workflowId: janitorWorkflowId(fleet, 'by-hand'),
        args: [input],
        staticSummary: `Janitor of fleet ${fleet}`,
        operation: 'janitor',
        running: janitorRunning(fleet),
      });
      const handle = client.workflow.getHandle(workflowId, runId);
      return (await resultOf('janitor', place, () => handle.result())) as JanitorReport;
    },

    async survey(raw) {
      const input: SurveyInput = check(surveyInputSchema, raw);
      const place = placeOfSurvey(input.fleet);
      return (await resultOf('survey', place, () =>
        client.withDeadline(Date.now() + SURVEY_WITHIN, () =>
          client.workflow.execute('survey', {
            workflowId: surveyWorkflowId(input.fleet, randomUUID()),
            taskQueue: CONTROL_QUEUE,
            args: [input],
            // It has nothing to undo, so nobody has to end it when nobody waits for it any more.
            workflowExecutionTimeout: SURVEY_WITHIN,
            staticSummary: `What a release would do to ${plural(input.stores.length, 'store')} of ${input.fleet}`,
            typedSearchAttributes: [{ key: operationKey, value: 'survey' }],
          }),
        ),
      )) as Surveyed[];
    },

    async lastJanitor(rawFleet) {
      const fleet = checkFleet(rawFleet);
      const place = placeOfJanitor(fleet);
      const [newest] = await newestRuns(place, 'janitor', janitorRuns(fleet));
      if (newest === undefined) return undefined;
      const { workflowId, runId, status, startTime, closeTime } = newest;
      const handle = client.workflow.getHandle(workflowId, runId);
      return {
        workflowId,
        runId,
        status: status.name.toLowerCase(),
        startedAt: startTime.toISOString(),
        endedAt: closeTime?.toISOString(),
        report: await call(place, () => handle.query(janitorQuery)),
      };
    },

    nights: fleetRuns({
      schema: nightInputSchema,
      type: 'nightlyBackup',
      operation: 'backup',
      query: nightQuery,
      nameIn: ({ night }) => night,
      idOf: (fleet) => nightWorkflowId(fleet, 'by-hand'),
      runsOf: nightRuns,
      words: {
        one: 'night of backups',
        many: 'backups',
        title: 'Backups',
        show: 'edge backup show',
        running: 'night-running',
      },
    }),

    restores: fleetRuns({
      schema: restoreInputSchema,
      type: 'restoreTest',
      operation: 'restore',
      query: restoresQuery,
      nameIn: ({ run }) => run,
      idOf: (fleet) => restoreRunWorkflowId(fleet, 'by-hand'),
      runsOf: restoreRuns,
      words: {
        one: 'run of restore tests',
        many: 'restore tests',
        title: 'Restore tests',
        show: 'edge restore show',
        running: 'restores-running',
      },
    }),

    async history(rawFleet, limit = RECENT) {
      const fleet = checkFleet(rawFleet);
      const runs = await call(placeOfTrain(fleet), () => listRuns(`WorkflowId = '${trainWorkflowId(fleet)}'`, limit));
      return runs.map((run) => ({
        train: attribute(run, SEARCH_ATTRIBUTES.train),
        status: run.status.name.toLowerCase(),
        runId: run.runId,
        startedAt: run.startTime.toISOString(),
        endedAt: run.closeTime?.toISOString(),
      }));
    },
  };
}

/**
 * The wave's own counts are newer than those it last told its train, but know nothing of earlier rounds and parts.
 * Counts only rise, so the larger of both is never more than the truth.
 */
export function withProgress(stage: StageView, progress: WaveProgress | undefined): StageView {
  if (progress === undefined) return stage;
  const tally = { ...stage.tally };
  for (const outcome of OUTCOMES) tally[outcome] = Math.max(tally[outcome], progress.tally[outcome]);
  return {
    ...stage,
    tally,
    started: Math.max(stage.started, progress.started),
    inFlight: progress.inFlight,
    deferred: progress.deferred,
  };
}

/**
 * Ended operations as the ledger tells them, where it does; what Temporal alone knows beside them. Newest first. Of one
 * that was not waited for the ledger has no end: how it ended since is told by Temporal.
 */
export function mergeOperations(fromTemporal: StoreOperation[], rows: ResultRow[]): StoreOperation[] {
  const ended = fromTemporal.filter(({ status }) => status === 'ended');
  const told = rows.map((row): StoreOperation => ({
    operation: operationOfStage(row.stage),
    status: 'ended',
    train: row.train,
    stage: row.stage,
    round: row.round,
    outcome: row.outcome,
    reason: row.reason,
    summary: row.summary,
    startedAt: row.startedAt,
    endedAt: row.endedAt,
    ...(isCutOff(row) && isUnended(row) ? endOf(row, ended) : {}),
  }));
  // A row of an earlier build says that a store was cut off, and nothing of its operation.
  const telling = rows.filter((row) => !isCutOff(row) || row.startedAt !== undefined);
  const isTold = (operation: StoreOperation) =>
    operation.status === 'ended' && telling.some((row) => isOfSameStage(row, operation));
  const merged = [...fromTemporal.filter((operation) => !isTold(operation)), ...told];
  const instant = (operation: StoreOperation) => Date.parse(operation.startedAt ?? operation.endedAt ?? '') || 0;
  return merged.sort(
    (a, b) => Number(b.status === 'running') - Number(a.status === 'running') || instant(b) - instant(a),
  );
}

const isOfSameStage = (row: ResultRow, { train, stage }: StoreOperation): boolean =>
  row.train === train && row.stage === stage;

/** Operations on one store never overlap, so the moment at which it was begun tells it from other rounds. */
function endOf(row: ResultRow, ended: readonly StoreOperation[]): Partial<StoreOperation> {
  const instant = (iso: string | undefined) => Date.parse(iso ?? '');
  const run = ended.find(
    (one) =>
      isOfSameStage(row, one) &&
      instant(one.startedAt) <= instant(row.startedAt) &&
      instant(row.startedAt) <= instant(one.endedAt),
  );
  if (run === undefined) return {};
  const { outcome, reason, endedAt, runId } = run;
  return { outcome, reason, endedAt, runId };
}

/** Of a backup, only its dumps run on the store. */
const DUMP = 'dump';
const operationWord = (word: string): string => (word === DUMP ? BACKUP_STAGE : word);
const wordsFor = (kind: StoreOperationKind): string =>
  (kind === BACKUP_STAGE ? [kind, DUMP] : [kind]).map((word) => `'${word}'`).join();

function operationOf(run: WorkflowExecutionInfo): StoreOperation {
  return {
    operation: operationWord(attribute(run, SEARCH_ATTRIBUTES.operation) ?? run.type),
    status: run.status.name === 'RUNNING' ? 'running' : 'ended',
    train: attribute(run, SEARCH_ATTRIBUTES.train),
    stage: attribute(run, SEARCH_ATTRIBUTES.stage),
    outcome: attribute(run, SEARCH_ATTRIBUTES.outcome) ?? outcomeOfStatus(run.status.name),
    reason: attribute(run, SEARCH_ATTRIBUTES.reason),
    release: attribute(run, SEARCH_ATTRIBUTES.release),
    startedAt: run.startTime.toISOString(),
    endedAt: run.closeTime?.toISOString(),
    runId: run.runId,
  };
}

interface Telling<View> {
  isOver: (view: View) => boolean;
  /** The view with what is to be said of a run that can say no more. */
  brokenOff: (view: View, doing: string) => View;
  /** Default: as it is told. */
  inWork?: (view: View) => Promise<View>;
}

/** What a run says of itself. One that was ended from outside would say for ever what it did then. */
async function toldBy<View>(
  handle: WorkflowHandle,
  query: QueryDefinition<View>,
  { isOver, brokenOff, inWork }: Telling<View>,
): Promise<View> {
  const view = await handle.query(query);
  if (isOver(view)) return view;
  const { status } = await handle.describe();
  const how = outcomeOfStatus(status.name);
  if (how !== undefined) return brokenOff(view, `Its run was ${how}, and can say no more.`);
  // It may have ended by itself meanwhile, and says so when it is asked again.
  if (status.name !== 'RUNNING') return handle.query(query);
  return inWork ? inWork(view) : view;
}

const brokenOffTrain = (view: TrainView, doing: string): TrainView => ({
  ...view,
  state: 'failed',
  doing: `${doing} To take back what it left: ${rollbackAgain(view.train)}`,
  hold: undefined,
  answers: [],
  awaited: [],
});

/** A run that was ended from outside never wrote its outcome. */
function outcomeOfStatus(status: string): string | undefined {
  return status === 'TERMINATED' || status === 'FAILED' || status === 'TIMED_OUT' || status === 'CANCELLED'
    ? status.toLowerCase().replace('_', ' ')
    : undefined;
}

function attribute(run: WorkflowExecutionInfo, name: string): string | undefined {
  const pair = run.typedSearchAttributes.getAll().find(({ key }) => key.name === name);
  return typeof pair?.value === 'string' ? pair.value : undefined;
}

function check<T>(schema: z.ZodType<T>, raw: unknown): T {
  const parsed = parse(schema, raw);
  if (parsed.ok) return parsed.value;
  throw new OperationError('invalid-input', `This cannot be sent: ${parsed.problems.join('; ')}.`, {
    problems: parsed.problems,
  });
}

interface FleetRunKind<Input, View> {
  schema: z.ZodType<Input, Input>;
  /** Of the workflow. */
  type: string;
  operation: string;
  query: QueryDefinition<View, []>;
  /** By which people know it; empty before it has a plan. */
  nameIn: (view: View) => string;
  /** Of a run by hand, and how the ids of all runs begin. */
  idOf: (fleet: string) => string;
  runsOf: (fleet: string) => string;
  words: {
    one: string;
    many: string;
    title: string;
    /** The command that shows it. */
    show: string;
    running: OperationError['kind'];
  };
}

function checkFleet(fleet: string): string {
  if (STORE_ID.test(fleet)) return fleet;
  throw new OperationError('invalid-input', 'The fleet name is not one: lower case letters, digits and dashes only.');
}

function checkStore(store: string): string {
  if (STORE_ID.test(store)) return store;
  throw new OperationError(
    'invalid-input',
    'The store id is not one: lower case letters, digits and dashes only, e.g. store-001.',
  );
}

const placeOfTrain = (fleet: string) => ({
  subject: `the train of fleet ${fleet}`,
  missing: () =>
    new OperationError('no-train', `Fleet ${fleet} has no train, running or recent. Start one: edge train start`),
  over: () => trainOver(`The train of fleet ${fleet} has ended.`),
});

const trainOver = (end: string) =>
  new OperationError('train-over', `${end} It takes no answer any more: edge train show`);

const placeOfJanitor = (fleet: string) => ({
  subject: `the janitor of fleet ${fleet}`,
  missing: () => new OperationError('unexpected', `The janitor of fleet ${fleet} is not known to Temporal any more.`),
});

const placeOfSurvey = (fleet: string) => ({
  subject: `the survey of fleet ${fleet}`,
  missing: () => new OperationError('unexpected', `The survey of fleet ${fleet} is not known to Temporal any more.`),
});

/** An operation that has ended is as little there as one that never was. */
const placeOfOperation = (store: string, instead: string) => {
  const missing = () =>
    new OperationError(
      'no-operation',
      `No operation is running on ${store}. What ran: edge store show ${store}. ${instead} ${store}`,
    );
  return { subject: `the operation on ${store}`, missing, over: missing };
};

const placeOfStore = (store: string) => ({
  subject: `store ${store}`,
  missing: () => new OperationError('unexpected', `No operation is running on ${store}.`),
});

const trainRunning = (fleet: string) =>
  new OperationError(
    'train-running',
    `A train of fleet ${fleet} is running, and a fleet has one at a time. See it: edge train show`,
  );

const janitorRunning = (fleet: string) =>
  new OperationError(
    'janitor-running',
    `Somebody else has started the janitor of fleet ${fleet}, and it is not through yet. See it: edge janitor show`,
  );

/** The sentence that the workflow gave, without the wrapping of the transport. */
const refusalOf = (error: WorkflowUpdateFailedError): string => error.cause?.message ?? error.message;
