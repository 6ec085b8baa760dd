import { CancellationScope, setHandler } from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import type { CopyFacts } from '#domain/backup.js';
import type { RestoreTestRow } from '#domain/messages/ledger.js';
import {
  restoreStoreInputSchema,
  type CopyTask,
  type RestoreStoreInput,
  type TrialAnswer,
  type TrialPlan,
  type TrialTask,
} from '#domain/messages/restore.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { operationId, RESTORE_STAGE } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import { chooseSnapshot } from '#domain/restore-sampling.js';
import { judgeTrial, storeStop, type TrialSteps, type TrialVerdict } from '#domain/restore-trial.js';
import { ended, type Ended } from './ended.js';
import { storeQuery } from './messages.js';
import { parseInput } from './parse-input.js';
import { control, isUnanswered, messageOf, stagingProxies } from './proxies.js';
import { listenForStop, type Stopping } from './store-steering.js';
import { openView, type View } from './store-view.js';

/**
 * Tries the guests of one store at the staging site, one after another: open its copy at the central server → for each
 * guest restore, start, ask, take away → close the copy. The store itself is not touched, nor asked.
 *
 * Started by `wave` under the id `restore/<id>`.
 * - Whatever becomes of a trial, its guest is taken away again, and what that leaves is named.
 * - What the site spoils says nothing of the guest: it counts as not tested.
 * - Abort begins no further guest; one that is being tried is taken away.
 */
export async function restoreStore(raw: RestoreStoreInput): Promise<StoreResult> {
  const input = parseInput(restoreStoreInputSchema, raw);
  const { run, store, round } = input;
  const view = openView({
    store,
    train: run,
    stage: RESTORE_STAGE,
    operationId: operationId(run, RESTORE_STAGE, store, round),
  });
  setHandler(storeQuery, () => view.current);
  const stopping = listenForStop(input, view);

  return CancellationScope.nonCancellable(async () => {
    const left: string[] = [];
    const rows = await tryAll(input, view, stopping, left);
    view.step('record');
    await control.record({ kind: 'restore tests', rows });
    const end = endOf(rows, left, stopping);
    stopping.cancel();
    return view.finish(end);
  });
}

async function tryAll(
  { fleet, run, store, trials, patience }: RestoreStoreInput,
  view: View,
  stopping: Stopping,
  left: string[],
): Promise<RestoreTestRow[]> {
  const site = stagingProxies(patience);
  const task: CopyTask = { protocol: PROTOCOL, fleet, run, store };
  view.step('open the copy');
  const opened = await answered(() => site.mutate.openCopy(task));
  const rows: RestoreTestRow[] = [];
  for (const trial of trials) {
    await stopping.whilePaused();
    if (stopping.stop) break;
    const verdict: Tried =
      opened.kind === 'done'
        ? await tryOne(task, trial, opened.copy, view, left)
        : { verdict: judgeTrial(trial, { opened }) };
    rows.push(rowOf(task, trial, verdict));
    if (verdict.verdict.why !== undefined) view.note(`${trial.vmid} (${trial.name}): ${verdict.verdict.why}`);
  }
  view.step('close the copy');
  const closed = await answered(() => site.mutate.closeCopy(task));
  if (closed.kind !== 'done') left.push(`the storage of its copy: ${closed.why}`);
  return rows;
}

interface Tried {
  verdict: TrialVerdict;
  snapshot?: TrialTask['snapshot'] | undefined;
}

async function tryOne(
  copyTask: CopyTask,
  trial: TrialPlan,
  copy: CopyFacts,
  view: View,
  left: string[],
): Promise<Tried> {
  const { vmid, as, probes } = trial;
  const pick = { store: copyTask.store, ...trial };
  const snapshot = chooseSnapshot({ pick, copy, seed: copyTask.run, now: new Date() });
  if (!snapshot || snapshot.type === 'host') return { verdict: judgeTrial(trial, {}) };
  const named = { ...snapshot, type: snapshot.type };
  const task: TrialTask = { ...copyTask, vmid, as, snapshot: named };
  const { mutate, longTask, restore } = stagingProxies(PATIENCE_ONCE_BEGUN);
  const steps: TrialSteps = { snapshot };

  view.step(`restore ${vmid}`);
  steps.restored = await answered(() => restore.restoreGuest(task));
  if (steps.restored.kind === 'done') {
    view.step(`start ${vmid}`);
    steps.booted = await answered(() => mutate.bootGuest(task));
  }
  if (steps.booted?.kind === 'done') {
    view.step(`ask ${vmid}`);
    steps.probed = await answered(() => longTask.probeGuest({ ...task, probes }));
  }
  view.step(`take ${vmid} away`);
  const removed = await answered(() => mutate.removeGuest(task));
  if (removed.kind !== 'done') left.push(`guest ${as} (${vmid} of ${copyTask.store}): ${removed.why}`);
  return { verdict: judgeTrial(trial, steps), snapshot: named };
}

/** What was begun is ended, however long the site's worker is away. */
const PATIENCE_ONCE_BEGUN = 7 * 86_400_000;

/** What cannot be done at the site is the site's fault. */
async function answered<T>(ask: () => Promise<TrialAnswer<T>>): Promise<TrialAnswer<T>> {
  try {
    return await ask();
  } catch (error) {
    const why = isUnanswered(error) ? "The staging site's worker did not answer." : messageOf(error).slice(0, 300);
    return { kind: 'failed', fault: 'site', why };
  }
}

function rowOf({ fleet, run, store }: CopyTask, trial: TrialPlan, { verdict, snapshot }: Tried): RestoreTestRow {
  const { vmid, name, kind, class: itsClass, tier, why } = trial;
  const { why: text, ...measured } = verdict;
  return {
    run,
    store,
    vmid,
    fleet,
    name,
    kind,
    class: itsClass,
    tier,
    why,
    ...measured,
    text,
    snapshotAt: snapshot && new Date(snapshot.time * 1_000).toISOString(),
    testedAt: new Date().toISOString(),
  };
}

function endOf(rows: readonly RestoreTestRow[], left: readonly string[], stopping: Stopping): Ended {
  const stop = storeStop(rows, left);
  if (stopping.stop) {
    const { outcome, stop: why } = stopping.ended();
    const tried = `${plural(rows.length, 'guest')} tried.`;
    return ended(outcome, { reason: 'Aborted', summary: tried, ...why, detail: stop?.detail });
  }
  return stop ? ended('failed', stop) : { outcome: 'succeeded' };
}
