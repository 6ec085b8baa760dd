import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import {
  condition,
  getExternalWorkflowHandle,
  ParentClosePolicy,
  patched,
  setHandler,
  startChild,
} from '@temporalio/workflow';
import type { BackedUpGuest } from '#domain/backup.js';
import type { GuestRun } from '#domain/backup-failures.js';
import { asReadBefore, withLeftOut } from '#domain/backup-result.js';
import { planNextTry } from '#domain/backup-retries.js';
import { waySchema, type BackupStoreInput, type BackupTask, type DumpReport } from '#domain/messages/backup.js';
import { BACKUP_STAGE, storeWorkflowId } from '#domain/naming.js';
import type { Stop } from '#domain/reasons.js';
import type { BackupDesk } from './backup-view.js';
import { STOOD_PAUSED, type dumpGuests } from './dump-guests.js';
import { stopOf } from './ended.js';
import { makeWaySignal, storeFreeSignal, wayTakenSignal } from './messages.js';
import type { NightEnd } from './night-end.js';
import { heard } from './parse-input.js';
import { searchKeys } from './search-keys.js';
import type { Stopping } from './store-steering.js';

/** The dumps of one store in a night, when the store is free for them and no train waits for it. */

type Way = ReturnType<typeof standBackWhenAsked>;

/** Whoever asks for the store gets word at once when nothing of ours holds it, else when it is free. */
export function standBackWhenAsked(store: string) {
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

export interface Dumped {
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
export async function dumpUntilDone(input: BackupStoreInput, task: BackupTask, desk: DumpDesk): Promise<Dumped> {
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
export const withWhatTheyLack = (dumped: Dumped, { withoutDisks }: BackupStoreInput): Dumped => ({
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
  let isHeld = false;
  for (;;) {
    if (way.isAsked()) {
      view.step('stands back for a train');
      await condition(() => !way.isAsked() || isOver(), left());
    }
    await stopping.whilePaused(undefined, input.endsBy ? left() : undefined);
    if (isOver()) return { runs: [], stop: whyNot(stopping, way.isAsked() ? STOOD_BACK : isHeld ? HELD : TOO_LATE) };
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
    isHeld = true;
    view.step('waits for the store, which another operation holds');
    await condition(isOver, Math.min(input.deferFor, left()));
  }
}

const STILL_DUMPING: Stop = {
  reason: 'BackupIncomplete',
  step: 'dump guests',
  summary: 'The night ended while guests of the store were still dumped; the dumps that run go on to their end.',
};

function whyNot({ stop, paused }: Stopping, otherwise: Stop): Stop {
  if (stop?.stop) return stop.stop;
  return paused ? STOOD_PAUSED : otherwise;
}

const STOOD_BACK: Stop = {
  reason: 'StoreBusy',
  step: 'dump guests',
  summary: 'It stood back for a train until the night was over.',
};
const HELD: Stop = {
  reason: 'StoreBusy',
  step: 'dump guests',
  summary: 'Another operation held the store until the night was over.',
};
const TOO_LATE: Stop = {
  reason: 'OutsideWindow',
  step: 'dump guests',
  summary: 'The night was over before its guests could be dumped, or dumped again.',
};
