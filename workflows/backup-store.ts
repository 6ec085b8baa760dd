import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  getExternalWorkflowHandle,
  ParentClosePolicy,
  patched,
  setHandler,
  startChild,
} from '@temporalio/workflow';
import { areToldApart, isOfNight, type BackedUpGuest } from '#domain/backup.js';
import { keyChanges, keyChangeWords } from '#domain/backup-encryption.js';
import type { GuestRun } from '#domain/backup-failures.js';
import {
  asReadBefore,
  isBelieved,
  judgeNight,
  lacksDisks,
  missingOf,
  notBegun,
  provenGroups,
  prunableGroups,
  stillAtWork,
  unlistedOf,
  withLeftOut,
  type MissingGuest,
  type NightResult,
  type NightStep,
} from '#domain/backup-result.js';
import { datastoreRows, rowsOf } from '#domain/backup-rows.js';
import { planNextTry } from '#domain/backup-retries.js';
import {
  backupStoreInputSchema,
  waySchema,
  type BackupStoreInput,
  type BackupTask,
  type CopyAnswer,
  type DumpReport,
  type PruneTask,
  type TendActivities,
  type TendAnswer,
} from '#domain/messages/backup.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { BACKUP_STAGE, operationId, storeWorkflowId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { Stop } from '#domain/reasons.js';
import { attention } from './attention.js';
import { openBackupView, type BackupDesk } from './backup-view.js';
import { STOOD_PAUSED, type dumpGuests } from './dump-guests.js';
import { ended, stopOf } from './ended.js';
import { backupQuery, makeWaySignal, storeFreeSignal, wayTakenSignal } from './messages.js';
import { openNightEnd, type NightEnd } from './night-end.js';
import { heard, parseInput } from './parse-input.js';
import { backupProxies, control, messageOf, offsiteProxies } from './proxies.js';
import { searchKeys } from './search-keys.js';
import { greet, watchForSilence } from './store-contact.js';
import { listenForStop, type Stopping } from './store-steering.js';

/**
 * Backs up one store: hello → dump its guests, and once more those for whom that may help → verify what is new, prune →
 * send it to the central server, verify and prune there → collect → read back what both servers hold, and judge by that.
 *
 * Started by `wave` under the id `pbs/<id>`; the store itself is held by a child, and only while guests are dumped.
 * - A train that finds the store held asks for it: after the dump that runs no other one begins until the train has had
 *   its turn, or the night is over. A train that holds the store is waited for.
 * - Nothing is pruned of a guest of which this night has no proven backup: else the last good one would make room for a
 *   bad one. What the night has proven is what the servers list, at the moment of the pruning.
 * - Nothing that a step says of itself is believed.
 * - It ends with its night: what runs by then goes on at its server and is named, and the next night finds it.
 */
export async function backupStore(raw: BackupStoreInput): Promise<StoreResult> {
  const input = parseInput(backupStoreInputSchema, raw);
  const task = taskOf(input);
  const view = openBackupView(task);
  setHandler(backupQuery, () => view.current);
  const way = standBackWhenAsked(task.store);
  const stopping = listenForStop(input, view);

  const absent = await greet(input, view);
  if (absent) return view.finish(absent);

  return CancellationScope.nonCancellable(async () => {
    const watch = watchForSilence(input, view);
    const end = openNightEnd({ endsBy: input.endsBy, patience: input.cutOffAfter });
    const dumped = withWhatTheyLack(await dumpUntilDone(input, task, { view, stopping, way, end }), input);
    const steps = openSteps(view, stopping, end);
    await tend(input, task, dumped, view, steps, end);
    const copies = await readBack(input, task, view, end);
    await collectWhenDue(input, task, copies, steps);
    // What a night leaves running says more than that it took long.
    const isCutShort = end.isOver() && !stopping.isAborted;
    const halt = isCutShort ? undefined : stopping.stop && stopping.ended();
    const refusal = halt?.stop ?? dumped.stop;
    const night = judgeNight(
      {
        guests: dumped.guests,
        named: namedIn(input),
        night: task.night,
        startedAt: new Date(task.startedAt),
        local: copies.local?.copy,
        encrypted: input.orders.encrypted,
        ...(input.orders.offsite ? { offsite: { copy: copies.offsite?.copy } } : {}),
        runs: dumped.runs,
        steps: steps.done,
        refusal,
      },
      new Date(),
    );
    const missing = night.kind === 'succeeded' ? [] : night.missing;
    await record(input, task, { ...dumped, stop: refusal }, copies, missing, view);
    await tellOfKeys(task, dumped, copies);
    watch.cancel();
    stopping.cancel();
    end.cancel();
    return view.finish(
      night.kind === 'succeeded' ? { outcome: 'succeeded' } : ended(halt?.outcome ?? 'failed', night.stop),
    );
  });
}

type Way = ReturnType<typeof standBackWhenAsked>;

/** Whoever asks for the store gets word at once when nothing of ours holds it, else when it is free. */
function standBackWhenAsked(store: string) {
  const asking = new Set<string>();
  let holding = false;
  const tell = (wave: string) => {
    getExternalWorkflowHandle(wave)
      .signal(storeFreeSignal, { store })
      // It has ended meanwhile: nobody waits.
      .catch(() => asking.delete(wave));
  };
  setHandler(
    makeWaySignal,
    heard('makeWay', waySchema, ({ wave }) => {
      asking.add(wave);
      if (!holding) tell(wave);
    }),
  );
  setHandler(
    wayTakenSignal,
    heard('wayTaken', waySchema, ({ wave }) => void asking.delete(wave)),
  );
  return {
    isAsked: () => asking.size > 0,
    async whileHolding<T>(work: () => Promise<T>): Promise<T> {
      holding = true;
      try {
        return await work();
      } finally {
        holding = false;
        for (const wave of asking) tell(wave);
      }
    },
  };
}

interface Dumped {
  guests?: readonly BackedUpGuest[] | undefined;
  /** The newest of each guest. */
  runs: GuestRun[];
  stop?: Stop | undefined;
}

interface DumpDesk {
  view: BackupDesk;
  stopping: Stopping;
  way: Way;
  end: NightEnd;
}

/** No try begins after the night's end. */
async function dumpUntilDone(input: BackupStoreInput, task: BackupTask, desk: DumpDesk): Promise<Dumped> {
  const { view, stopping } = desk;
  const deadline = input.notAfter ? new Date(input.notAfter) : new Date(Date.now() + input.storeTimeout);
  const tries = new Map<number, GuestRun[]>();
  const refusals: Stop[] = [];
  const dumped: Dumped = { runs: [] };
  let vmids: number[] | undefined;
  for (let attempt = 1; ; attempt += 1) {
    const report = await dumpOnce(input, { ...task, attempt, ...(vmids ? { vmids } : {}) }, deadline, desk);
    for (const run of report.runs) tries.set(run.vmid, [...(tries.get(run.vmid) ?? []), run]);
    dumped.guests = report.guests ? asReadBefore(report.guests, dumped.guests) : dumped.guests;
    dumped.runs = [...tries.values()].flatMap((runs) => runs.at(-1) ?? []);
    dumped.stop = report.stop;
    view.runs(dumped.runs);
    if (report.aborted) stopping.abort('an operator');
    if (report.stop) refusals.push(report.stop);
    const tried = {
      tries,
      refusals: refusals.map(({ reason }) => reason),
      isRefused: isRefused(report, tries, refusals),
      vmids,
    };
    const next = planNextTry(tried, new Date(), deadline, input.deferFor);
    if (!next || stopping.stop) return dumped;
    vmids = next.vmids;
    view.step(`waits until ${next.at.toISOString()} to dump again`);
    await condition(() => stopping.stop !== undefined, Math.max(1, next.at.getTime() - Date.now()));
  }
}

/** Of the dump as a whole, not of some guests. */
function isRefused(
  { runs, stop }: DumpReport,
  tries: ReadonlyMap<number, unknown>,
  refusals: readonly Stop[],
): boolean {
  const refused = stop !== undefined && runs.length === 0;
  const before = refusals.length > 0 && tries.size === 0;
  return refused === before || patched('refusals-counted') ? refused : before;
}

/** With what the backups of each guest lack although store.yaml does not say that they may. */
const withWhatTheyLack = (dumped: Dumped, { withoutDisks }: BackupStoreInput): Dumped => ({
  ...dumped,
  guests: dumped.guests && withLeftOut(dumped.guests, dumped.runs, withoutDisks),
});

/** Waits until the store is free and nobody else asks for it. Says so when that was not so before the night's end. */
async function dumpOnce(
  input: BackupStoreInput,
  task: BackupTask & { attempt: number; vmids?: number[] },
  deadline: Date,
  { view, stopping, way, end }: DumpDesk,
): Promise<DumpReport> {
  const { store, night } = task;
  const left = () => Math.max(1, deadline.getTime() - Date.now());
  const isOver = () => stopping.stop !== undefined || Date.now() >= deadline.getTime();
  for (;;) {
    if (way.isAsked()) {
      view.step('stands back for a train');
      await condition(() => !way.isAsked() || isOver(), left());
    }
    await stopping.whilePaused(undefined, input.endsBy ? left() : undefined);
    if (isOver()) return { runs: [], stop: busy(stopping) };
    view.step('dump guests');
    const report = await way.whileHolding(async () => {
      try {
        const child = await startChild<typeof dumpGuests>('dumpGuests', {
          workflowId: storeWorkflowId(store),
          staticSummary: `dump the guests of ${store}`,
          parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
          typedSearchAttributes: [
            { key: searchKeys.store, value: store },
            { key: searchKeys.train, value: night },
            { key: searchKeys.stage, value: BACKUP_STAGE },
            { key: searchKeys.operation, value: 'dump' },
          ],
          args: [
            {
              task: { ...task, notAfter: deadline.toISOString() },
              storeTimeout: input.storeTimeout,
              ...(input.endsBy ? { endsBy: input.endsBy } : {}),
            },
          ],
        });
        return (await end.untilOver(() => child.result())) ?? { runs: [], stop: STILL_DUMPING };
      } catch (error) {
        if (error instanceof WorkflowExecutionAlreadyStartedError) return undefined;
        // Terminated by hand, say: what the servers hold tells the rest.
        return { runs: [], stop: stopOf(error, 'dump guests') };
      }
    });
    if (report) return report;
    view.step('waits for the store, which another operation holds');
    await condition(isOver, Math.min(input.deferFor, left()));
  }
}

const STILL_DUMPING: Stop = {
  reason: 'BackupIncomplete',
  step: 'dump guests',
  summary: 'The night ended while guests of the store were still dumped; the dumps that run go on to their end.',
};

function busy({ stop, paused }: Stopping): Stop {
  if (stop?.stop) return stop.stop;
  if (paused) return STOOD_PAUSED;
  return {
    reason: 'StoreBusy',
    step: 'dump guests',
    summary: 'Another operation held the store until the night was over.',
  };
}

/** What has to be done once the guests are dumped; none of it is begun once people, or the night, have ended it. */
function openSteps(view: BackupDesk, stopping: Stopping, end: NightEnd) {
  const done: NightStep[] = [];
  const keep = (step: NightStep) => {
    done.push(step);
    view.done(step);
  };
  // Time that is over bounds the dumps alone: what was dumped in time is proven all the same.
  const isHalted = () => stopping.stop !== undefined && (stopping.isAborted || !patched('tended-when-late'));
  const isLeftOut = (what: NightStep['what'], where: string): boolean => {
    if (isHalted()) return true;
    if (end.isOver()) keep(notBegun(what, where));
    return end.isOver();
  };
  return {
    done,
    isEnded: () => isHalted() || end.isOver(),
    /** One that the night has no time for any more is named. */
    isLeftOut,
    async take(
      what: NightStep['what'],
      where: string,
      work: () => Promise<TendAnswer>,
    ): Promise<TendAnswer | undefined> {
      if (isLeftOut(what, where)) return undefined;
      view.step(`${what}${where}`);
      const answer = await end.untilOver(work).catch((error: unknown): TendAnswer => ({
        ok: false,
        detail: messageOf(error),
        reason: 'StepFailed',
      }));
      if (answer === undefined) {
        keep(stillAtWork(what, where));
        return undefined;
      }
      const { ok, detail } = answer;
      keep({ what, ok, detail: `${detail}${where}`, ...(answer.ok ? {} : { reason: answer.reason }) });
      return answer;
    },
  };
}

type Steps = ReturnType<typeof openSteps>;

/** Each step for what the ones before it left. */
async function tend(
  input: BackupStoreInput,
  task: BackupTask,
  dumped: Dumped,
  view: BackupDesk,
  steps: Steps,
  end: NightEnd,
): Promise<void> {
  const { orders, cutOffAfter } = input;
  const own = readInTime(backupProxies(task.store), end);
  const central = readInTime(offsiteProxies(cutOffAfter), end);
  const { keep, reverifyAfter, collect, offsite } = orders;
  const at = ' at the central server';

  const prune = async (where: string, server: PruneServer, policy: Pick<PruneTask, 'keep'>, isVerified: boolean) => {
    if (steps.isLeftOut('prune', where)) return;
    await pruneProven({ where, server, task: { ...task, ...policy }, isVerified }, input, dumped, view, steps);
  };
  const pruneHere = () => prune('', own, { keep }, verified?.ok === true);
  const send = () => steps.take('sync', '', () => own.longTask.sendCopy(task));

  // Sending may take all night over a slow uplink: what is here is proven before, and is not held back by it.
  const sendsLast = offsite !== undefined && patched('proven-before-sent');
  let sent = offsite && !sendsLast ? await send() : undefined;
  const verifyTask = { ...task, reverifyAfter };
  const verified = await steps.take('verify', '', () => own.longTask.verifyCopy(verifyTask));
  if (sendsLast) {
    await pruneHere();
    await recordOwn(input, task, dumped, own, view, steps);
    sent = await send();
  }
  const isThere = sent?.ok || (offsite !== undefined && (await hasArrived(central, task, steps)));
  const there = isThere ? await steps.take('verify', at, () => central.longTask.verifyCopy(verifyTask)) : undefined;

  if (!sendsLast) await pruneHere();
  if (isThere && offsite) {
    const node = (server: PruneServer, answer: TendAnswer | undefined) =>
      sendsLast ? nodeOf(server, answer, task, steps) : answer?.node;
    if (!areToldApart(await node(own, verified), await node(central, there)) && patched('servers-told-apart'))
      view.note(`Nothing is pruned${at}: whether it has itself verified what it holds nobody knows.`);
    else await prune(at, central, offsite, sent?.ok === true && there?.ok === true);
  }
  if (collect) await steps.take('collect', '', () => own.longTask.collectSpace(task));
}

/** What is proven at the store is known while it is sent, which may take longer than the night. */
async function recordOwn(
  input: BackupStoreInput,
  task: BackupTask,
  dumped: Dumped,
  { read }: Pick<PruneServer, 'read'>,
  view: BackupDesk,
  steps: Steps,
): Promise<void> {
  if (steps.isEnded() || !patched('recorded-before-sent')) return;
  const local = await read.readCopy(task).catch(() => undefined);
  if (!local) return;
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  const missing = missingOf(dumped.guests ?? [], local.copy, which, dumped.runs, new Date());
  await record(input, task, dumped, { local }, missing, view);
}

/** What a night asks of a server on its way it does not ask beyond its end: unread is not proven. */
const readInTime = <S extends { read: Pick<TendActivities, 'readCopy'> }>(server: S, end: NightEnd) => ({
  ...server,
  read: {
    readCopy: async (task: BackupTask): Promise<CopyAnswer> => {
      const answer = await end.untilOver(() => server.read.readCopy(task));
      if (answer === undefined) throw new Error('The night ended before the server was read.');
      return answer;
    },
  },
});

/** Whether something of this night is there although sending failed: one damaged snapshot keeps no other guest's back. */
async function hasArrived({ read }: Pick<PruneServer, 'read'>, task: BackupTask, steps: Steps): Promise<boolean> {
  if (steps.isEnded() || !patched('what-arrived-is-proven')) return false;
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  return read.readCopy(task).then(
    ({ copy }) => copy.snapshots.some((snapshot) => isOfNight(snapshot, which)),
    () => false,
  );
}

/**
 * Whose word a verification is. Workers of earlier builds do not tell; when all was found well, it was so under the name
 * that they read by. One that was not carried out may have met a server of another name, and proves none.
 */
const nodeOf = async (
  { read }: Pick<PruneServer, 'read'>,
  answer: TendAnswer | undefined,
  task: BackupTask,
  steps: Steps,
): Promise<string | undefined> => {
  if (answer?.node !== undefined || !answer?.ok || steps.isEnded()) return answer?.node;
  return read.readCopy(task).then(
    ({ copy }) => copy.node,
    () => undefined,
  );
};

interface PruneServer {
  read: Pick<TendActivities, 'readCopy'>;
  longTask: Pick<TendActivities, 'pruneCopy'>;
}

/**
 * All groups, those of guests that are gone among them, when the server's own list proves the night; else those alone
 * whose guest it proves. Nights of earlier builds believed that nothing is wrong when no step had said so.
 */
async function pruneProven(
  { where, server, task, isVerified }: { where: string; server: PruneServer; task: PruneTask; isVerified: boolean },
  input: BackupStoreInput,
  { guests = [], runs, stop }: Dumped,
  view: BackupDesk,
  steps: Steps,
): Promise<void> {
  if (steps.isEnded()) return;
  const isDone = isVerified && stop === undefined && runs.every(({ kind }) => kind === 'done');
  const isWhole = isDone && runs.length > 0 && !isAnyMissed(input, guests);
  const byList = patched('pruned-by-list');
  const byGroup = byList || (!isWhole && patched('prune-proven'));
  if (isDone && !byGroup) {
    await steps.take('prune', where, () => server.longTask.pruneCopy(task));
    return;
  }
  const copy = byGroup ? await listOn(server, task) : undefined;
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  const groups = copy ? (byList ? prunableGroups : provenGroups)(guests, copy, which, new Date()) : [];
  const isAll = byList && isWhole && groups.length === guests.filter(({ template }) => !template).length;
  const asked = isAll ? task : { ...task, groups };
  if (groups.length > 0) await steps.take('prune', where, () => server.longTask.pruneCopy(asked));
  if (isAll) return;
  view.note(
    groups.length > 0
      ? `Pruned are only the groups of which this night has a proven backup (${groups.length})${where}.`
      : `Nothing is pruned${where}: the night has not proven itself.`,
  );
}

/** Nights of earlier builds took a template that store.yaml names for a guest that is dumped. */
const isAnyMissed = (input: BackupStoreInput, guests: readonly BackedUpGuest[]): boolean =>
  guests.some(lacksDisks) ||
  unlistedOf(namedIn(input), guests).some(({ isTemplate }) => !isTemplate || patched('templates-are-missed'));

/** Of a server that cannot be read nothing is proven. */
const listOn = ({ read }: PruneServer, { keep: _, ...task }: PruneTask): Promise<CopyAnswer['copy'] | undefined> =>
  read.readCopy(task).then(
    ({ copy }) => copy,
    () => undefined,
  );

/** Numbers of the guests that store.yaml names. */
const namedIn = ({ guests }: BackupStoreInput): number[] => Object.keys(guests).map(Number);

interface Copies {
  local?: CopyAnswer | undefined;
  offsite?: CopyAnswer | undefined;
}

/** Absent is what could not be read. */
async function readBack(
  { orders, cutOffAfter }: BackupStoreInput,
  task: BackupTask,
  view: BackupDesk,
  end: NightEnd,
): Promise<Copies> {
  view.step('read back');
  const unreadable = (where: string) => (error: unknown) => {
    view.note(`${where} could not be read: ${messageOf(error)}`);
    return undefined;
  };
  const copies: Copies = {};
  const own = async () => {
    copies.local = await backupProxies(task.store).read.readCopy(task).catch(unreadable('The backup server'));
  };
  const central = async () => {
    copies.offsite = await offsiteProxies(cutOffAfter).read.readCopy(task).catch(unreadable('The central server'));
  };
  const isRead = await end.lastly(async () => {
    await Promise.all([own(), orders.offsite && central()]);
    return true;
  });
  if (!isRead) view.note('The night was over before each backup server could be read.');
  return { ...copies };
}

/** The night that is named for it may have been one in which this store was away. */
async function collectWhenDue(
  { orders }: BackupStoreInput,
  task: BackupTask,
  { local }: Copies,
  steps: Steps,
): Promise<void> {
  if (orders.collect || !local?.isCollectionDue || steps.isEnded() || !patched('collected-when-due')) return;
  await steps.take('collect', '', () => backupProxies(task.store).longTask.collectSpace(task));
}

/** Whatever could be read is kept, however the night ended. */
async function record(
  { orders, guests: tiers }: BackupStoreInput,
  task: BackupTask,
  { guests, runs, stop }: Dumped,
  { local, offsite }: Copies,
  missing: readonly MissingGuest[],
  view: BackupDesk,
): Promise<void> {
  const now = new Date();
  const at = now.toISOString();
  const datastores = datastoreRows(task, { local, offsite }, at);
  const learned = { task, local: local?.copy, offsite: offsite?.copy, orders, tiers, refusal: stop?.summary };
  // Recorded, a list of nobody would say that all guests are gone.
  if (!guests || (!isBelieved(guests, local?.copy) && patched('empty-list-not-recorded'))) {
    if (!patched('recorded-without-a-list')) return;
    view.step('record');
    await control.record({ kind: 'copies', ...learned, runs, readAt: at, datastores });
    return;
  }
  view.step('record');
  const rows = rowsOf({ ...learned, guests, missing, now });
  await control.record({ kind: 'backups', store: task.store, at, ...rows, datastores });
}

/** A changed key makes no backup less: so nobody would hear of it before a restore of an older one fails. */
async function tellOfKeys(
  { fleet, store, night, startedAt }: BackupTask,
  { guests }: Dumped,
  { local, offsite }: Copies,
): Promise<void> {
  if (!guests || !local) return;
  const copies = { local: local.copy, there: offsite?.copy };
  const changes = keyChanges({ guests, night, startedAt: new Date(startedAt), ...copies }, new Date());
  const words = keyChangeWords(store, changes);
  if (words !== undefined && patched('key-change-told')) await attention(fleet, night, { summary: words });
}

function taskOf({ store, fleet, night, round }: BackupStoreInput): BackupTask {
  return {
    protocol: PROTOCOL,
    store,
    fleet,
    night,
    operationId: operationId(night, BACKUP_STAGE, store, round),
    startedAt: new Date().toISOString(),
  };
}
