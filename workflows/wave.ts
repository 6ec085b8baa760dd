import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  CancellationScope,
  ChildWorkflowFailure,
  condition,
  getExternalWorkflowHandle,
  isCancellation,
  patched,
  setHandler,
  sleep,
  workflowInfo,
  type ChildWorkflowHandle,
} from '@temporalio/workflow';
import { nextStarts, startOf, type NightStore } from '#domain/backup-starts.js';
import { plural } from '#domain/counted.js';
import type { ProbeFacts } from '#domain/facts.js';
import { concurrencyOf, countsOf, judgeWave } from '#domain/limits.js';
import { storeFreeSchema, type StoreFree } from '#domain/messages/backup.js';
import { parse } from '#domain/messages/parse.js';
import {
  cutOffNoticeSchema,
  probeFactsSchema,
  PROTOCOL,
  type CutOffNotice,
  type LastSeen,
} from '#domain/messages/store.js';
import {
  waveInputSchema,
  waveSteeringSchema,
  type WaveInput,
  type WaveProgress,
  type WaveReport,
  type WaveSteering,
} from '#domain/messages/train.js';
import { backupWorkflowId, operationId } from '#domain/naming.js';
import { addTallies, emptyTally, fellSilent, tallyOf, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import {
  cutOffSignal,
  makeWaySignal,
  steerStoreSignal,
  steerWaveSignal,
  slotFreeSignal,
  storeFreeSignal,
  waveProgressSignal,
  waveQuery,
  wayTakenSignal,
} from './messages.js';
import { saidInOrder } from './in-order.js';
import { heard, parseInput } from './parse-input.js';
import { control, helloProxy } from './proxies.js';
import { stopwatch } from './stopwatch.js';
import { startOperation, type StoreOperation } from './wave-children.js';

/**
 * Runs one operation over at most 250 stores: so many at a time as the limits allow, and no further one after a breach,
 * a pause, an abort or the stage's timeout. What is in flight always ends by itself.
 *
 * Started by `patchTrain`, `nightlyBackup` and `restoreTest`. `patch`, `rollback`, `backup` and `restore` are a child
 * workflow per store; `probe` only looks and is an activity per store.
 * - A backup begins at the store's own moment in its window, in a slot of its uplink, and not at all after the window.
 * - A store that is held is asked for by each try: when a backup has it, it is free after the dump that runs, and kept
 *   free for as long as it may begin.
 * - A busy store is deferred and tried again, as often as the limit allows; no try counts while its backup is to call.
 * - A silent store gives its slot free and is counted, but not waited for.
 * - One whose backup is left to the central server gives its slot free, and is waited for.
 * - Whose window closed while people let the wave, or that store, stand still is handed back; time in which the wave
 *   stood still does not count against its timeout. So is everybody not started when nobody is waited for any more.
 * - Every store of the input is either in `results` or in `notStarted`.
 */
export async function wave(raw: WaveInput): Promise<WaveReport> {
  const input = parseInput(waveInputSchema, raw);
  const floor = openFloor(input);
  setHandler(waveQuery, floor.progress);
  setHandler(steerWaveSignal, heard('steerWave', waveSteeringSchema, floor.steer));
  setHandler(cutOffSignal, heard('cutOff', cutOffNoticeSchema, floor.cutOff));
  setHandler(storeFreeSignal, heard('storeFree', storeFreeSchema, floor.storeFree));
  setHandler(slotFreeSignal, heard('slotFree', storeFreeSchema, floor.slotFree));

  let isCancelled = false;
  CancellationScope.current().cancelRequested.catch(() => {
    isCancelled = true;
    floor.abort();
  });
  return CancellationScope.nonCancellable(async () => {
    floor.startClock();
    for (;;) {
      floor.judge();
      floor.startWhatFits();
      if (floor.isOver()) break;
      await floor.somethingChanged();
    }
    await floor.farewell();
    const report = floor.close();
    if (isCancelled) await recordFor(input, report);
    return report;
  });
}

/** Whoever sent it out may be gone, terminated from outside: then nobody else writes down what was done to its stores. */
async function recordFor({ train, stage, round }: WaveInput, { results }: WaveReport): Promise<void> {
  const begun = results.filter(({ startedAt }) => startedAt !== undefined);
  if (begun.length === 0 || !patched('cancelled-wave-records')) return;
  await control.record({ kind: 'results', train, stage, round, results: begun });
}

/** `deferrals`: those of its tries that count. */
type Waiting = WaveInput['stores'][number] & { tries: number; deferrals: number };

function openFloor(input: WaveInput) {
  const { limits } = input;
  const slots = concurrencyOf(limits.maxConcurrency, input.stageSize);
  const before = {
    // An outcome that is not named counts none; undefined would make every comparison with a limit false.
    tally: { ...emptyTally(), ...input.before.tally },
    started: input.before.started,
  };
  const reportEvery = Math.max(1, Math.ceil(input.stores.length / 10));

  const waiting: Waiting[] = input.stores.map((store) => ({ ...store, tries: 0, deferrals: 0 }));
  let deferred: Waiting[] = [];
  let steering: WaveSteering = input.steering ?? { paused: false, pausedStores: [], abortedStores: [] };
  const handedBack: string[] = [];
  const pauses = stopwatch(steering.paused);
  let aborted = false;
  let breach: WaveReport['breach'];
  let isLate = false;
  let changes = 0;
  let timer: 'running' | undefined;
  let reports = 0;
  let unreported: StoreResult[] = [];
  let endedSinceReport = 0;
  const results: StoreResult[] = [];
  const probes: ProbeFacts[] = [];
  const inFlight = new Map<string, ChildWorkflowHandle<StoreOperation> | undefined>();
  /** ISO instants. */
  const begun = new Map<string, string>();
  const silent = new Map<string, LastSeen | undefined>();
  const withoutSlot = new Set<string>();
  const children = new CancellationScope();
  const clocks = new CancellationScope();
  const way = wayThroughBackups();

  const now = () => new Date();
  const mayStart = () => !steering.paused && !aborted && !breach;
  const needsSlot = (store: string) => !silent.has(store) && !withoutSlot.has(store);
  const busySlots = () => [...inFlight.keys()].filter(needsSlot).length;
  const started = () => countsOf(results).started + inFlight.size;

  const progress = (): WaveProgress => ({
    wave: workflowInfo().workflowId,
    started: started(),
    inFlight: inFlight.size,
    deferred: deferred.length,
    cutOff: [...silent.keys()],
    tally: tallyOf(results),
    notSucceeded: unreported,
    breach,
  });

  const report = () => {
    const parent = workflowInfo().parent;
    if (!parent || input.operation === 'probe') return;
    reports += 1;
    const message = { ...progress(), nth: reports };
    unreported = [];
    endedSinceReport = 0;
    getExternalWorkflowHandle(parent.workflowId)
      .signal(waveProgressSignal, message)
      .catch(() => undefined);
  };

  const ended = (result: StoreResult) => {
    way.done(result.store);
    results.push(result);
    if (result.outcome !== 'succeeded') unreported.push(result);
    endedSinceReport += 1;
    changes += 1;
    const tells = endedSinceReport >= reportEvery && !isOver();
    // Before it is told, or the store is counted as in work and as ended, until something else happens.
    leave(result.store);
    if (tells) report();
  };

  const leave = (store: string) => {
    for (const all of [inFlight, silent, withoutSlot]) all.delete(store);
  };

  const defer = (store: Waiting) => {
    changes += 1;
    const asks = input.operation === 'patch' || input.operation === 'rollback';
    const isSpared = asks && way.askFor(store.id);
    if (!isSpared && store.deferrals >= limits.deferLimit) {
      ended(
        notRun(
          store.id,
          'skipped',
          'StoreBusy',
          `Another operation held the store through ${plural(limits.deferLimit, 'try', 'tries')}.`,
        ),
      );
      return;
    }
    deferred.push({ ...store, tries: store.tries + 1, deferrals: store.deferrals + (isSpared ? 0 : 1) });
    wakeDeferred();
  };

  /** One timer for all deferred stores, longer with every try. */
  const wakeDeferred = () => {
    if (timer) return;
    timer = 'running';
    const most = Math.max(...deferred.map(({ tries }) => tries));
    after(limits.deferFor * Math.min(most, 6), 'try busy stores again', () => {
      timer = undefined;
      waiting.push(...deferred);
      deferred = [];
    });
  };

  const after = (milliseconds: number, summary: string, then: () => void) => {
    clocks
      .run(async () => {
        await sleep(Math.max(1, milliseconds), { summary });
        then();
        changes += 1;
      })
      .catch(() => undefined);
  };

  const start = (store: Waiting) => {
    inFlight.set(store.id, undefined);
    const run = input.operation === 'probe' ? probeOne(store) : operateOn(store);
    children
      .run(() => run)
      .catch((error: unknown) =>
        ended(
          isCancellation(error)
            ? notRun(store.id, 'aborted', 'Aborted', 'Aborted before the operation began.')
            : untold(failedResult(store.id, error)),
        ),
      )
      .finally(() => {
        leave(store.id);
        changes += 1;
      });
  };

  const operateOn = async (store: Waiting) => {
    const child = await children
      .run(() => startOperation(input, store))
      .catch((error: unknown) => {
        if (error instanceof WorkflowExecutionAlreadyStartedError) return undefined;
        throw error;
      });
    if (!child) {
      defer(store);
      return;
    }
    inFlight.set(store.id, child);
    begun.set(store.id, now().toISOString());
    tell(store.id, child);
    ended(await children.run(() => child.result()));
  };

  /** A result that an operation has not told itself, with what is known of the operation all the same. */
  const untold = (result: StoreResult): StoreResult => {
    const { store, stop } = result;
    const startedAt = begun.get(store);
    if (startedAt === undefined) return result;
    const { step, ...reached } = silent.get(store) ?? {};
    return {
      ...result,
      ...(stop && step !== undefined ? { stop: { ...stop, step } } : {}),
      operationId: operationId(input.train, input.stage, store, input.round),
      startedAt,
      ...(input.release ? { release: input.release.version } : {}),
      ...reached,
    };
  };

  /** An operation hears only what is not the normal case: that it is to stand still, or to end. */
  const told = new Map<string, string>();
  const steers = saidInOrder(() => patched('told-in-order'));
  const tell = (store: string, child: ChildWorkflowHandle<StoreOperation>) => {
    const message = {
      paused: steering.pausedStores.includes(store),
      aborted: steering.abortedStores.includes(store),
    };
    const text = JSON.stringify(message);
    const isNews = told.has(store) ? told.get(store) !== text : message.paused || message.aborted;
    if (!isNews) return;
    told.set(store, text);
    steers.say(store, () => child.signal(steerStoreSignal, message));
  };

  const probeOne = async (store: Waiting) => {
    const probe = helloProxy(store.id, limits.offlineAfter).probeStore;
    const manifest = input.release ? { manifest: input.release.manifest } : {};
    const answer = await children
      .run(() => probe({ protocol: PROTOCOL, store: store.id, fleet: input.fleet, ...manifest }))
      .catch(() => undefined);
    probes.push(answer === undefined ? nothingOf(store.id, now()) : readable(store.id, answer, now()));
    ended({ store: store.id, outcome: answer === undefined ? 'offline' : 'succeeded' });
  };

  /** The next store whose turn it is, taken from those that wait. */
  const nextInTurn = (): Waiting | undefined => {
    const able = waiting.filter(({ id }) => !steering.pausedStores.includes(id));
    const id = input.orders ? paced(able).start[0] : able.find(({ opens }) => !opens || new Date(opens) <= now())?.id;
    const next = waiting.findIndex((store) => store.id === id);
    return next < 0 ? undefined : waiting.splice(next, 1)[0];
  };

  /** A night's stores: each at its own moment, in a slot of its uplink. */
  const paced = (able: readonly Waiting[]) =>
    nextStarts({
      now: now(),
      waiting: able.map(nightStoreOf),
      running: input.stores
        .filter(({ id }) => inFlight.has(id) && needsSlot(id))
        .map(({ id, uplink }) => ({ store: id, uplink })),
      slots: input.orders?.slots ?? {},
      maxConcurrency: slots,
    });

  /** Ends stores before their turn. */
  const drop = (isOut: (store: Waiting) => boolean, resultOf: (store: string) => StoreResult) => {
    for (const list of [waiting, deferred]) {
      for (const store of list.filter(isOut)) {
        list.splice(list.indexOf(store), 1);
        ended(resultOf(store.id));
      }
    }
  };

  const dropAborted = () =>
    drop(
      ({ id }) => steering.abortedStores.includes(id),
      (store) => notRun(store, 'aborted', 'Aborted', 'Aborted by an operator before its turn.'),
    );

  /** A night that is over is over, also for those that wait for a slot, or for people. */
  const dropLate = () =>
    drop(
      ({ closes }) => closes !== undefined && new Date(closes) <= now(),
      (store) => notRun(store, 'missed', 'OutsideWindow', 'The night ended before its turn. It has no new backup.'),
    );

  const isClosed = ({ closes = input.notAfter }: Waiting) => closes !== undefined && new Date(closes) <= now();

  /** A pause takes nobody's turn away: they begin in a further round, in the next window. */
  const handBack = (isReleased: (store: Waiting) => boolean) => {
    if (input.operation !== 'patch') return;
    for (const list of [waiting, deferred]) {
      for (const store of list.filter((one) => isReleased(one) && isClosed(one))) {
        if (!patched('pause-over-window')) return;
        list.splice(list.indexOf(store), 1);
        handedBack.push(store.id);
      }
    }
  };

  /** Trains of earlier builds counted the time in which people let a wave stand still. */
  const watchTime = async () => {
    for (let left = limits.stageTimeout; left > 0; left = pauses.taken()) {
      await sleep(Math.max(1, left), { summary: 'time for the stage' });
      if (!pauses.hasRun() || !patched('pauses-not-counted')) break;
      await condition(() => !steering.paused);
    }
    isLate = true;
    changes += 1;
  };

  /** People wait for nobody else. */
  const handAllBack = () => {
    if (!steering.handBack || waiting.length + deferred.length === 0 || !patched('finish-ends-catch-up')) return;
    handedBack.push(...[...waiting.splice(0), ...deferred.splice(0)].map(({ id }) => id));
  };

  const startWhatFits = () => {
    dropAborted();
    handAllBack();
    if (input.operation === 'backup') dropLate();
    while (mayStart() && waiting.length > 0 && busySlots() < slots) {
      const store = nextInTurn();
      if (!store) break;
      if (isClosed(store))
        ended(notRun(store.id, 'skipped', 'OutsideWindow', 'The maintenance window closed before its turn.'));
      else start(store);
    }
    giveWayBack();
  };

  /** Nobody stands back for a store whose turn cannot come now. */
  const giveWayBack = () => {
    const turns = mayStart() ? [...waiting, ...deferred].filter(({ id }) => !steering.pausedStores.includes(id)) : [];
    way.keepFor(new Set([...inFlight.keys(), ...turns.map(({ id }) => id)]));
  };

  /** Whoever fell silent is not waited for: the stage goes on, and its operation ends when it is back. */
  const isOver = () => {
    const startsNothing = aborted || breach !== undefined || waiting.length + deferred.length === 0;
    return startsNothing && inFlight.size === silent.size;
  };

  return {
    progress,
    steer: (next: WaveSteering) => {
      const before = steering;
      steering = next;
      pauses.run(next.paused);
      handBack((store) => isAtRest(store, before) && !isAtRest(store, next));
      for (const [store, child] of inFlight) if (child) tell(store, child);
      changes += 1;
    },
    cutOff: ({ store, cutOff, seen }: CutOffNotice) => {
      if (!inFlight.has(store)) return;
      if (cutOff) silent.set(store, seen);
      else silent.delete(store);
      changes += 1;
      report();
    },
    slotFree: ({ store }: StoreFree) => {
      if (!inFlight.has(store)) return;
      withoutSlot.add(store);
      changes += 1;
    },
    storeFree: ({ store }: StoreFree) => {
      const waits = deferred.find(({ id }) => id === store);
      if (!waits) return;
      way.called(store);
      deferred = deferred.filter((one) => one !== waits);
      waiting.unshift(waits);
      changes += 1;
    },
    abort: () => {
      aborted = true;
      changes += 1;
      children.cancel();
    },
    startClock: () => {
      clocks.run(watchTime).catch(() => undefined);
      for (const at of momentsOf(input)) {
        const ahead = at.getTime() - now().getTime();
        if (ahead > 0) after(ahead, 'window of a store', () => undefined);
      }
    },
    judge: () => {
      if (breach) return;
      if (input.operation === 'probe') {
        if (isLate) breach = tooLate;
        return;
      }
      const verdict = judgeWave(
        {
          size: input.judged ?? input.stageSize,
          tally: addTallies(before.tally, countsOf(results).tally),
          started: before.started + started(),
          cutOff: silent.size,
          atDeadline: isLate,
        },
        limits,
      );
      if (verdict.kind === 'breach') {
        breach = { reason: verdict.reason, summary: verdict.summary };
        report();
      } else if (isLate) {
        breach = tooLate;
      }
    },
    startWhatFits,
    isOver,
    somethingChanged: async () => {
      const seen = changes;
      await condition(() => changes !== seen);
    },
    /** Backups that still stand back need not any more. */
    farewell: () => way.close(),
    close: (): WaveReport => {
      clocks.cancel();
      const reason = aborted ? 'UndoPending' : 'StoreCutOff';
      for (const [store, seen] of silent)
        results.push(untold({ store, outcome: 'cutOff', reason, stop: fellSilent(reason, seen?.step) }));
      return { results, probes, notStarted: [...handedBack, ...[...waiting, ...deferred].map(({ id }) => id)], breach };
    },
  };
}

const isAtRest = ({ id }: Waiting, { paused, pausedStores }: WaveSteering): boolean =>
  paused || pausedStores.includes(id);

/** A backup that holds a store stands back for whoever asks, and is told when it need not any more. */
function wayThroughBackups() {
  /** `in vain`: no backup has heard it, or the one that has does not hold the store. */
  const asked = new Map<string, 'promised' | 'called' | 'in vain'>();
  const note = (store: string, answer: 'called' | 'in vain') => {
    if (asked.has(store)) asked.set(store, answer);
  };
  const requests = saidInOrder(() => patched('way-in-order'));
  /** It does not arrive where whatever holds the store is no backup, or has ended. */
  const say = (signal: typeof makeWaySignal, store: string) => {
    const backup = getExternalWorkflowHandle(backupWorkflowId(store));
    requests.say(store, () => {
      const sent = backup.signal(signal, { store, wave: workflowInfo().workflowId });
      sent.catch(() => note(store, 'in vain'));
      return sent;
    });
  };
  const done = (store: string) => {
    if (asked.delete(store)) say(wayTakenSignal, store);
  };
  return {
    /**
     * By each try that finds the store held, since whoever holds it may be another one by now; but not by one that was
     * called for, which a backup that stands back would answer with the next call at once. Says whether the try is
     * spared: a backup that was asked before is to call, or it has called and the try is one more than those by timer.
     */
    askFor: (store: string): boolean => {
      const before = asked.get(store);
      if (!before && !patched('make-way')) return false;
      const isPromised = before === 'promised' && patched('waits-to-be-called');
      if (before && !patched('asks-again')) return isPromised;
      if (before === 'called') {
        asked.set(store, 'in vain');
        return true;
      }
      asked.set(store, 'promised');
      say(makeWaySignal, store);
      return isPromised;
    },
    called: (store: string): void => note(store, 'called'),
    done,
    keepFor(stores: ReadonlySet<string>): void {
      for (const store of asked.keys()) if (!stores.has(store) && patched('way-given-back')) done(store);
    },
    /** The server drops signals of a workflow that ends before they are on their way. */
    async close(): Promise<void> {
      for (const store of asked.keys()) done(store);
      await requests.arrived();
    },
  };
}

const nightStoreOf = ({ id, uplink, opens, closes }: WaveInput['stores'][number]): NightStore => ({
  store: id,
  uplink,
  ...(opens ? { opens: new Date(opens) } : {}),
  deadline: new Date(closes ?? END_OF_TIME),
});
const END_OF_TIME = 8_640_000_000_000_000;

/** When a store's turn comes, or passes, without anything else happening. */
function momentsOf({ operation, stores }: WaveInput): Date[] {
  if (operation !== 'backup') return stores.flatMap(({ opens }) => (opens ? [new Date(opens)] : []));
  const ends = stores.flatMap(({ closes }) => closes ?? []);
  return [...stores.map((store) => startOf(nightStoreOf(store))), ...[...new Set(ends)].map((end) => new Date(end))];
}

const tooLate = {
  reason: 'StageTimeout',
  summary: 'The stage did not end in time. No further store is started.',
} as const;

const notRun = (store: string, outcome: StoreResult['outcome'], reason: Reason, summary: string): StoreResult => ({
  store,
  outcome,
  reason,
  stop: { reason, summary },
});

function failedResult(store: string, error: unknown): StoreResult {
  const cause = error instanceof ChildWorkflowFailure ? error.cause : error;
  const terminated = cause instanceof Error && cause.name === 'TerminatedFailure';
  const message = cause instanceof Error ? cause.message : String(cause);
  return terminated
    ? notRun(
        store,
        'failed',
        'Terminated',
        'The operation was terminated from outside. The next operation on the store takes over what it left.',
      )
    : notRun(store, 'failed', 'StepFailed', message.slice(0, 300));
}

/** A store's answer is judged at the door: one that cannot be read is a store that was reached and shows nothing. */
function readable(store: string, answer: unknown, at: Date): ProbeFacts {
  const parsed = parse(probeFactsSchema, answer);
  if (parsed.ok && parsed.value.store === store) return parsed.value;
  const why = parsed.ok ? `it speaks of ${parsed.value.store}` : parsed.problems.slice(0, 5).join('; ');
  return { ...nothingOf(store, at), reachable: true, unreadable: [`the answer of the store: ${why}`] };
}

function nothingOf(store: string, at: Date): ProbeFacts {
  return {
    store,
    at: at.toISOString(),
    reachable: false,
    unreadable: [],
    quorate: false,
    nodesOnline: 0,
    nodesTotal: 0,
    cephBlocking: [],
    leftSet: [],
    guests: [],
    baseline: [],
  };
}
