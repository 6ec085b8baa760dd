import {
  ActivityCancellationType,
  ActivityFailure,
  patched,
  proxyActivities,
  sleep,
  TimeoutFailure,
  type ActivityOptions,
} from '@temporalio/workflow';
import { afterLostHeartbeat } from '#domain/contact.js';
import type { StoreBackupActivities, TendActivities } from '#domain/messages/backup.js';
import type { RestoreActivities } from '#domain/messages/restore.js';
import type { StoreActivities } from '#domain/messages/store.js';
import type { ControlActivities, ReleaseActivities } from '#domain/messages/train.js';
import { CONTROL_QUEUE, OFFSITE_QUEUE, RELEASE_QUEUE, STAGING_QUEUE, storeQueue } from '#domain/naming.js';

/**
 * How long things may take and how often they are tried, by class and in one place.
 *
 * A heartbeat bounds what a cut link or a killed worker costs: after a lost answer the next attempt starts when the
 * heartbeat is overdue, and the store's step journal makes that attempt safe. Attempts are limited so that a step that
 * cannot work ends with a name instead of going round for ever; a task that waits for an absent worker is not an attempt.
 */
const HEARTBEAT = '15 seconds';

const classes = {
  /** Looks, changes nothing. */
  read: {
    startToCloseTimeout: '3 minutes',
    heartbeatTimeout: HEARTBEAT,
    retry: { initialInterval: '1 second', maximumInterval: '30 seconds', maximumAttempts: 6 },
  },
  /** Changes something that is quick to change. */
  mutate: {
    startToCloseTimeout: '20 minutes',
    heartbeatTimeout: HEARTBEAT,
    retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: 8 },
  },
  /** Drains, upgrades, reboots, waits for recovery; takes a store over, and gives it back, which wait for the same. */
  longTask: {
    startToCloseTimeout: '3 hours',
    heartbeatTimeout: HEARTBEAT,
    retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: 8 },
  },
  /**
   * Dumps of all guests of a node, or the restore of one, of which each may take hours over a slow link; and what waits
   * its turn at a server that all stores share.
   */
  bulk: {
    startToCloseTimeout: '12 hours',
    heartbeatTimeout: HEARTBEAT,
    retry: { initialInterval: '1 second', maximumInterval: '1 minute', maximumAttempts: 8 },
  },
  /** Central work: Git, registry, ledger, builds. Tried until it works or an operator aborts. */
  central: {
    startToCloseTimeout: '2 minutes',
    heartbeatTimeout: HEARTBEAT,
    retry: { initialInterval: '1 second', maximumInterval: '30 seconds' },
  },
  /** Tells people; a train never waits long for it. */
  notify: {
    startToCloseTimeout: '30 seconds',
    retry: { initialInterval: '1 second', maximumInterval: '5 seconds', maximumAttempts: 3 },
  },
} satisfies Record<string, ActivityOptions>;

/** The operation on a store ends what it began, so its steps are never cancelled half-way; see `patchStore`. */
const cancellationType = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED;

type StoreSteps = ReturnType<typeof proxyActivities<StoreActivities>>;

/**
 * The steps of an operation. A lost heartbeat says that the link or the worker was gone, not that the step failed: it
 * takes none of the step's attempts, and the step is asked for again as long as the operation `hasTime`.
 */
export function storeProxies(store: string, hasTime: () => boolean) {
  const taskQueue = storeQueue(store);
  const proxy = ({ retry, ...options }: ActivityOptions): StoreSteps =>
    askedUntilHeard(
      proxyActivities<StoreActivities>({
        taskQueue,
        cancellationType,
        ...options,
        // Temporal's own name for it: it ends the activity, which would be tried again with one attempt less.
        retry: { ...retry, nonRetryableErrorTypes: ['TemporalTimeout:Heartbeat'] },
      }),
      hasTime,
    );
  return { read: proxy(classes.read), mutate: proxy(classes.mutate), longTask: proxy(classes.longTask) };
}

const askedUntilHeard = (steps: StoreSteps, hasTime: () => boolean): StoreSteps =>
  new Proxy(steps, {
    get(target, name) {
      const step = target[name as keyof StoreSteps] as { executeWithOptions: (...args: unknown[]) => Promise<unknown> };
      return {
        executeWithOptions: (...args: unknown[]) => untilHeard(() => step.executeWithOptions(...args), hasTime),
      };
    },
  });

/** A heartbeat lost takes a minute and a quarter with its pause: some 2,000 events in the four hours of a store. */
async function untilHeard<T>(ask: () => Promise<T>, hasTime: () => boolean): Promise<T> {
  for (let lost = 1; ; lost += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!isLost(error)) throw error;
      const then = afterLostHeartbeat(lost, hasTime());
      if (then.kind === 'giveUp' || !patched('lost-heartbeats')) throw error;
      await sleep(then.pause, { summary: 'the heartbeat was lost' });
    }
  }
}

export function backupProxies(store: string) {
  const taskQueue = storeQueue(store);
  const proxy = (options: ActivityOptions) =>
    proxyActivities<StoreBackupActivities>({ taskQueue, cancellationType, ...options });
  return { read: proxy(classes.read), longTask: proxy(classes.longTask), dump: proxy(classes.bulk) };
}

/**
 * Of the central backup server. Its worker takes every task at once, so one that nobody takes for so long says that the
 * worker is away; who has to wait for other stores does so there, until the night ends.
 */
export function offsiteProxies(patience: number) {
  const proxy = (options: ActivityOptions) =>
    proxyActivities<TendActivities>({
      taskQueue: OFFSITE_QUEUE,
      cancellationType,
      scheduleToStartTimeout: patience,
      ...options,
    });
  return { read: proxy(classes.read), longTask: proxy(classes.bulk) };
}

/** Of the staging site. Its worker tries guests of several stores at once; nobody waits for it for ever. */
export function stagingProxies(patience: number) {
  const proxy = (options: ActivityOptions) =>
    proxyActivities<RestoreActivities>({
      taskQueue: STAGING_QUEUE,
      cancellationType,
      scheduleToStartTimeout: patience,
      ...options,
    });
  return { mutate: proxy(classes.mutate), longTask: proxy(classes.longTask), restore: proxy(classes.bulk) };
}

/** Is anybody there? Unanswered means offline; the timeout to start is what finds that out. */
export const helloProxy = (store: string, offlineAfter: number) =>
  proxyActivities<Pick<StoreActivities, 'hello' | 'probeStore' | 'inspectStore' | 'surveyStore'>>({
    ...classes.read,
    taskQueue: storeQueue(store),
    scheduleToStartTimeout: offlineAfter,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
  });

/** A store that has answered a moment ago: not waited for when it is silent by now, else for as long as it takes. */
export const sweepProxy = (store: string, offlineAfter: number) =>
  proxyActivities<Pick<StoreActivities, 'sweepStore'>>({
    ...classes.longTask,
    taskQueue: storeQueue(store),
    scheduleToStartTimeout: offlineAfter,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
  });

/** Waits for a silent store for as long as it takes, also while its worker fails: on the server, which costs no events. */
export const returnProxy = (store: string) =>
  proxyActivities<Pick<StoreActivities, 'hello'>>({
    ...classes.read,
    retry: { initialInterval: '1 second', maximumInterval: '30 minutes' },
    taskQueue: storeQueue(store),
    cancellationType: ActivityCancellationType.TRY_CANCEL,
  });

/** Says to a store that its operation lives. Nobody waits for the answer, and the next one is on its way by then. */
export const signOfLifeProxy = (store: string, every: number) =>
  proxyActivities<Pick<StoreActivities, 'verifyStore'>>({
    ...classes.read,
    retry: { maximumAttempts: 1 },
    taskQueue: storeQueue(store),
    scheduleToStartTimeout: every,
    cancellationType: ActivityCancellationType.TRY_CANCEL,
  });

const central: ActivityOptions = {
  ...classes.central,
  taskQueue: CONTROL_QUEUE,
  cancellationType: ActivityCancellationType.TRY_CANCEL,
};

/** What changes Git and the desired records. */
type Promotions = 'promoteStage' | 'revertPromotions' | 'pointBack';
export const control = proxyActivities<Omit<ControlActivities, 'notify' | Promotions>>(central);
/** Given up after some three minutes, because then people have to look. */
const lookedAt: ActivityOptions = { ...central, retry: { ...classes.central.retry, maximumAttempts: 10 } };
/** The train holds and can be aborted. */
export const { promoteStage, revertPromotions, pointBack } =
  proxyActivities<Pick<ControlActivities, Promotions>>(lookedAt);
/** Of a decision, whose sender waits for it: it does not count, and the sender hears that. */
export const { record: recordDecision } = proxyActivities<Pick<ControlActivities, 'record'>>(lookedAt);
/** Of what is recorded once more when the operation ends. */
export const { record: recordForNow } = proxyActivities<Pick<ControlActivities, 'record'>>(lookedAt);
export const { notify } = proxyActivities<Pick<ControlActivities, 'notify'>>({ ...central, ...classes.notify });
export const { buildRelease, signRollbackPermit } = proxyActivities<ReleaseActivities>({
  ...central,
  taskQueue: RELEASE_QUEUE,
  startToCloseTimeout: '1 hour',
  retry: { initialInterval: '2 seconds', maximumInterval: '1 minute', maximumAttempts: 10 },
});

/** What an activity said when it failed for good. */
export const messageOf = (error: unknown): string =>
  error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);

/** The answer of a plan that could not be made, since something could not be read or is not as it should be. */
export const refusedBy = (error: unknown) => ({ kind: 'refused' as const, problems: [messageOf(error)] });

const isTimeout = (error: unknown, type: TimeoutFailure['timeoutType']): boolean =>
  error instanceof ActivityFailure && error.cause instanceof TimeoutFailure && error.cause.timeoutType === type;

/** Whoever took the task was not heard of again. */
export const isLost = (error: unknown): boolean => isTimeout(error, 'HEARTBEAT');

/** Nobody took the task in the time that it may wait for somebody, or whoever took it is gone. */
export const isUnanswered = (error: unknown): boolean => isTimeout(error, 'SCHEDULE_TO_START') || isLost(error);
