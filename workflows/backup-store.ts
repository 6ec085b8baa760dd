import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  getExternalWorkflowHandle,
  ParentClosePolicy,
  setHandler,
  startChild,
} from '@temporalio/workflow';
import type { BackedUpGuest } from '#domain/backup.js';
import type { GuestRun } from '#domain/backup-failures.js';
import { judgeNight, type NightResult, type NightStep } from '#domain/backup-result.js';
import { rowsOf } from '#domain/backup-rows.js';
import { afterRefusal, planRetries } from '#domain/backup-retries.js';
import {
  backupStoreInputSchema,
  waySchema,
  type BackupStoreInput,
  type BackupTask,
  type CopyAnswer,
  type DumpReport,
  type TendAnswer,
} from '#domain/messages/backup.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { BACKUP_STAGE, operationId, storeWorkflowId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { Stop } from '#domain/reasons.js';
import { openBackupView, type BackupDesk } from './backup-view.js';
import type { dumpGuests } from './dump-guests.js';
import { ended, stopOf, type Ended } from './ended.js';
import { backupQuery, makeWaySignal, storeFreeSignal, wayTakenSignal } from './messages.js';
import { heard, parseInput } from './parse-input.js';
import { backupProxies, control, messageOf, offsiteProxies } from './proxies.js';
import { searchKeys } from './search-keys.js';
import { greet, watchForSilence } from './store-contact.js';
import { listenForStop, type Stopping } from './store-steering.js';

/**
 * Backs up one store: hello → dump its guests, and once more those for whom that may help → send what is new to the
 * central server → verify it, there and here → prune, collect → read back what both servers hold, and judge by that.
 *
 * Started by `wave` under the id `pbs/<id>`; the store itself is held by a child, and only while guests are dumped.
 * - A train that finds the store held asks for it: after the dump that runs no other one begins until the train has had
 *   its turn, or the night is over. A train that holds the store is waited for.
 * - Nothing is pruned in a night that has not proven itself: else the last good backup would make room for a bad one.
 * - Nothing that a step says of itself is believed.
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
    const dumped = await dumpUntilDone(input, task, view, stopping, way);
    const steps = await tend(input, task, dumped, view, stopping);
    const copies = await readBack(input, task, view);
    const night = judgeNight(
      {
        guests: dumped.guests,
        night: task.night,
        startedAt: new Date(task.startedAt),
        local: copies.local?.copy,
        ...(input.orders.offsite ? { offsite: { copy: copies.offsite?.copy } } : {}),
        runs: dumped.runs,
        steps,
      },
      new Date(),
    );
    await record(input, task, dumped, copies, night, view);
    const end = endOf(dumped, night, stopping);
    watch.cancel();
    stopping.cancel();
    return view.finish(end);
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

/** No try begins after the night's end. */
async function dumpUntilDone(
  input: BackupStoreInput,
  task: BackupTask,
  view: BackupDesk,
  stopping: Stopping,
  way: Way,
): Promise<Dumped> {
  const deadline = input.notAfter ? new Date(input.notAfter) : new Date(Date.now() + input.storeTimeout);
  const tries = new Map<number, GuestRun[]>();
  const refusals: Stop[] = [];
  const dumped: Dumped = { runs: [] };
  let vmids: number[] | undefined;
  for (let attempt = 1; ; attempt += 1) {
    const report = await dumpOnce(input, { ...task, attempt, ...(vmids ? { vmids } : {}) }, deadline, {
      view,
      stopping,
      way,
    });
    for (const run of report.runs) tries.set(run.vmid, [...(tries.get(run.vmid) ?? []), run]);
    dumped.guests = report.guests ?? dumped.guests;
    dumped.runs = [...tries.values()].flatMap((runs) => runs.at(-1) ?? []);
    dumped.stop = report.stop;
    view.runs(dumped.runs);
    if (report.aborted) stopping.stop ??= stopping.ended();
    if (report.stop) refusals.push(report.stop);
    const next = nextTry(tries, refusals, deadline, input.deferFor);
    if (!next || stopping.stop) return dumped;
    vmids = next.vmids;
    view.step(`waits until ${next.at.toISOString()} to dump again`);
    await condition(() => stopping.stop !== undefined, Math.max(1, next.at.getTime() - Date.now()));
  }
}

/** Refused as a whole, everybody is asked for again; else those for whom it may help. */
function nextTry(
  tries: ReadonlyMap<number, readonly GuestRun[]>,
  refusals: readonly Stop[],
  deadline: Date,
  wait: number,
): { at: Date; vmids?: number[] } | undefined {
  const now = new Date();
  const stop = refusals.at(-1);
  if (stop && tries.size === 0) {
    const same = refusals.filter(({ reason }) => reason === stop.reason).length;
    const next = afterRefusal(stop.reason, same, now, deadline, wait);
    return next.kind === 'again' ? { at: next.at } : undefined;
  }
  const { vmids, at } = planRetries(tries, now, deadline, wait);
  return at ? { at, vmids } : undefined;
}

/** Waits until the store is free and nobody else asks for it. Says so when that was not so before the night's end. */
async function dumpOnce(
  input: BackupStoreInput,
  task: BackupTask & { attempt: number; vmids?: number[] },
  deadline: Date,
  { view, stopping, way }: { view: BackupDesk; stopping: Stopping; way: Way },
): Promise<DumpReport> {
  const { store, night } = task;
  const left = () => Math.max(1, deadline.getTime() - Date.now());
  const isOver = () => stopping.stop !== undefined || Date.now() >= deadline.getTime();
  for (;;) {
    if (way.isAsked()) {
      view.step('stands back for a train');
      await condition(() => !way.isAsked() || isOver(), left());
    }
    await stopping.whilePaused();
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
          args: [{ task: { ...task, notAfter: deadline.toISOString() }, storeTimeout: input.storeTimeout }],
        });
        return await child.result();
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

function busy(stopping: Stopping): Stop {
  const { stop } = stopping;
  return (
    stop?.stop ?? {
      reason: 'StoreBusy',
      step: 'dump guests',
      summary: 'Another operation held the store until the night was over.',
    }
  );
}

/** What has to be done once the guests are dumped, each step for what the ones before it left. */
async function tend(
  { orders, cutOffAfter }: BackupStoreInput,
  task: BackupTask,
  dumped: Dumped,
  view: BackupDesk,
  stopping: Stopping,
): Promise<NightStep[]> {
  const own = backupProxies(task.store).longTask;
  const central = offsiteProxies(cutOffAfter).longTask;
  const steps: NightStep[] = [];
  const step = async (what: NightStep['what'], where: string, work: () => Promise<TendAnswer>): Promise<boolean> => {
    if (stopping.stop) return false;
    view.step(`${what}${where}`);
    const answer = await work().catch((error: unknown): TendAnswer => ({
      ok: false,
      detail: messageOf(error),
      reason: 'StepFailed',
    }));
    const done = { what, ok: answer.ok, detail: `${answer.detail}${where}` };
    steps.push(done);
    view.done(done);
    return answer.ok;
  };
  const { keep, reverifyAfter, collect, offsite } = orders;
  const at = ' at the central server';

  const sent = offsite ? await step('sync', '', () => own.sendCopy(task)) : false;
  const isVerified = await step('verify', '', () => own.verifyCopy({ ...task, reverifyAfter }));
  const isVerifiedThere = sent && (await step('verify', at, () => central.verifyCopy({ ...task, reverifyAfter })));

  const isWhole = dumped.stop === undefined && dumped.runs.every(({ kind }) => kind === 'done');
  if (isVerified && isWhole) await step('prune', '', () => own.pruneCopy({ ...task, keep }));
  else view.note('Nothing is pruned: the night has not proven itself.');
  if (isVerifiedThere && isWhole && offsite)
    await step('prune', at, () => central.pruneCopy({ ...task, keep: offsite.keep }));
  if (collect) await step('collect', '', () => own.collectSpace(task));
  return steps;
}

interface Copies {
  local?: CopyAnswer | undefined;
  offsite?: CopyAnswer | undefined;
}

/** Absent is what could not be read. */
async function readBack(
  { orders, cutOffAfter }: BackupStoreInput,
  task: BackupTask,
  view: BackupDesk,
): Promise<Copies> {
  view.step('read back');
  const unreadable = (where: string) => (error: unknown) => {
    view.note(`${where} could not be read: ${messageOf(error)}`);
    return undefined;
  };
  const [local, offsite] = await Promise.all([
    backupProxies(task.store).read.readCopy(task).catch(unreadable('The backup server')),
    orders.offsite && offsiteProxies(cutOffAfter).read.readCopy(task).catch(unreadable('The central server')),
  ]);
  return { local, offsite };
}

/** Whatever could be read is kept, however the night ended. */
async function record(
  { orders, guests: tiers }: BackupStoreInput,
  task: BackupTask,
  { guests }: Dumped,
  { local, offsite }: Copies,
  night: NightResult,
  view: BackupDesk,
): Promise<void> {
  if (!guests) return;
  view.step('record');
  const now = new Date();
  const missing = night.kind === 'succeeded' ? [] : night.missing;
  const rows = rowsOf({ task, guests, missing, local: local?.copy, offsite: offsite?.copy, orders, tiers, now });
  await control.record({ kind: 'backups', store: task.store, at: now.toISOString(), ...rows });
}

function endOf({ stop }: Dumped, night: NightResult, stopping: Stopping): Ended {
  if (night.kind === 'succeeded') return { outcome: 'succeeded' };
  const detail = [...(stop?.detail ?? []), ...(night.stop.detail ?? [])].slice(0, 20);
  if (stopping.stop) {
    const { outcome, stop: why } = stopping.ended();
    return ended(outcome, { ...night.stop, ...why, detail });
  }
  return ended('failed', stop ? { ...stop, detail: [night.stop.summary, ...detail] } : night.stop);
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
