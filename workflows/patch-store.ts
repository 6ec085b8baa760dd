import { CancellationScope, setHandler, workflowInfo } from '@temporalio/workflow';
import { decideManifest, decideReady, planNodes } from '#domain/decide-store.js';
import {
  PROTOCOL,
  patchStoreInputSchema,
  type NodeTask,
  type NodeWork,
  type PatchStoreInput,
  type StepAnswer,
  type StoreTask,
} from '#domain/messages/store.js';
import { operationId } from '#domain/naming.js';
import { withLeftSet, type StoreResult } from '#domain/outcomes.js';
import type { Stop } from '#domain/reasons.js';
import { ended, stopOf, type Ended } from './ended.js';
import { storeQuery } from './messages.js';
import { listenForStop, type Stopping } from './store-steering.js';
import { parseInput } from './parse-input.js';
import { isLost, storeProxies } from './proxies.js';
import { showOutcome } from './search-keys.js';
import { giveSignsOfLife, greet, watchForSilence } from './store-contact.js';
import { openView, type View } from './store-view.js';

/**
 * Patches one store: hello → take the store and verify the release → pre-checks → stage packages → node by node
 * drain, upgrade, reboot, rejoin → guest configuration → verify → give the store back.
 *
 * Started by `wave` under the id `store/<id>`, so that no other operation can run on the store at the same time.
 * - Nothing is cancelled half-way. Abort and the store's timeout take effect between steps, at a point where the store
 *   is safe: before a node's packages change everything is undone, after that the node is finished first.
 * - Whatever the end, `closeOperation` takes back what is still set.
 * - A store that is silent is `cutOff`, never `failed`, until it has answered.
 * - How it ended is a value, never an exception.
 */
export async function patchStore(raw: PatchStoreInput): Promise<StoreResult> {
  const input = parseInput(patchStoreInputSchema, raw);
  const task = taskOf(input);
  const { store, train, stage, release, permit } = input;
  const { operationId } = task;
  const view = openView({ store, train, stage, operationId, release: release.version }, permit !== undefined);
  setHandler(storeQuery, () => view.current);
  const stopping = listenForStop(input, view);

  const absent = await greet(input, view);
  if (absent) return finish(view, absent);

  return CancellationScope.nonCancellable(async () => {
    const watch = watchForSilence(input, view);
    const ended = await operate(task, view, stopping);
    const closed = await close(task, view, ended, input.storeTimeout);
    watch.cancel();
    stopping.cancel();
    return finish(view, closed);
  });
}

async function operate(task: StoreTask, view: View, stopping: Stopping): Promise<Ended> {
  const { read, mutate, longTask } = storeProxies(task.store, () => !stopping.isLate);
  try {
    view.step('open');
    const opened = await longTask.openOperation.executeWithOptions(
      { summary: `take the store, verify release ${task.release.version}` },
      [task],
    );
    if (opened.kind !== 'done') return notDone(opened, view);
    view.note(...opened.adopted);
    view.lastGood(opened.lastGood);
    const signs = () => giveSignsOfLife(task, opened.maxMaintenance);

    view.step('preflight');
    const seen = await read.readFacts.executeWithOptions({ summary: 'read facts and baseline' }, [task]);
    const work = planNodes(seen.facts, seen).filter(({ packages, reboot, out }) => packages || reboot || out);
    view.plan(seen.nodes, work);
    if (seen.notes) view.note(...seen.notes);
    const ready = decideReady(seen.facts, {
      ...seen,
      expectedNodes: seen.nodes,
      work: work.map(({ node }) => node),
    });
    if (ready.kind === 'stop') return ended('failed', ready.stop);
    if (stopping.stop) return stopping.ended();

    if (work.length > 0) {
      view.step('stage packages');
      const staged = await longTask.stagePackages.executeWithOptions(
        { summary: 'download and simulate on all nodes' },
        [{ ...task, nodes: work.map(({ node }) => node) }],
      );
      if (staged.kind !== 'done') return notDone(staged, view);
      for (const node of staged.nodes) {
        const manifest = decideManifest(node, seen);
        if (manifest.kind === 'stop') return ended('failed', manifest.stop);
      }
    }

    for (const node of work) {
      await stopping.whilePaused(signs);
      if (stopping.stop) return stopping.ended();
      const stopped = await patchNode(task, node, view, stopping);
      if (stopped) return stopped;
    }
    await stopping.whilePaused(signs);
    if (stopping.stop) return stopping.ended();

    view.step('apply config');
    const configured = await mutate.applyConfig.executeWithOptions({ summary: 'guest configuration' }, [task]);
    if (configured.kind !== 'done') return notDone(configured, view);

    view.step('verify');
    const verified = await read.verifyStore.executeWithOptions({ summary: 'verify the store' }, [task]);
    return verified.kind === 'done' ? { outcome: 'succeeded' } : notDone(verified, view);
  } catch (error) {
    const { step } = view.current;
    if (!isLost(error)) return ended('failed', stopOf(error, step));
    return stopping.stop?.outcome === 'aborted' ? stopping.ended() : ended('cutOff', lostAt(step));
  }
}

/** One node, in order. Once packages have changed the node is brought home whatever was asked for meanwhile. */
async function patchNode(task: StoreTask, work: NodeWork, view: View, stopping: Stopping): Promise<Ended | undefined> {
  const { longTask } = storeProxies(task.store, () => !stopping.isLate);
  const { node } = work;
  const nodeTask = { ...task, node };
  if (work.packages || work.reboot) {
    const stopped = await renewNode(nodeTask, work, view, stopping);
    if (stopped) return stopped;
  }

  view.node(node, 'rejoining');
  const rejoined = await longTask.rejoinNode.executeWithOptions({ summary: `rejoin ${node}` }, [nodeTask]);
  if (rejoined.kind !== 'done') return view.stopped(node, notDone(rejoined, view));

  view.node(node, 'done');
  return undefined;
}

/** Drain, upgrade and reboot. Not for a node that was taken over with all of that behind it. */
async function renewNode(
  nodeTask: NodeTask,
  work: NodeWork,
  view: View,
  stopping: Stopping,
): Promise<Ended | undefined> {
  const { longTask } = storeProxies(nodeTask.store, () => !stopping.isLate);
  const { node } = work;

  view.node(node, 'draining');
  const drained = await longTask.drainNode.executeWithOptions({ summary: `drain ${node}` }, [nodeTask]);
  if (drained.kind !== 'done') return view.stopped(node, notDone(drained, view));
  if (stopping.stop) return view.stopped(node, stopping.ended());

  if (work.packages) {
    view.node(node, 'upgrading');
    const upgraded = await longTask.upgradeNode.executeWithOptions(
      { summary: `upgrade ${node} to ${nodeTask.release.version}` },
      [nodeTask],
    );
    if (upgraded.kind !== 'done') return view.stopped(node, notDone(upgraded, view));
    view.touch();
  }

  if (!work.reboot) return undefined;
  view.node(node, 'rebooting');
  const rebooted = await longTask.rebootNode.executeWithOptions({ summary: `reboot ${node}` }, [nodeTask]);
  if (rebooted.kind !== 'done') return view.stopped(node, notDone(rebooted, view));
  view.touch();
  return undefined;
}

/** Undo and unlock, for which it has `time` anew. A store that could not be given back clean has not succeeded. */
async function close(task: StoreTask, view: View, end: Ended, time: number): Promise<Ended> {
  const until = Date.now() + time;
  const { longTask } = storeProxies(task.store, () => Date.now() < until);
  const outcome =
    end.outcome === 'succeeded' || end.outcome === 'aborted' || end.outcome === 'timedOut' ? end.outcome : 'failed';
  view.step('close');
  try {
    const { undone, leftSet } = await longTask.closeOperation.executeWithOptions(
      { summary: `give the store back (${outcome})` },
      [{ ...task, outcome }],
    );
    view.note(...undone.map((what) => `undone: ${what}`), ...leftSet.map((what) => `left: ${what}`));
    if (end.stop) return { ...end, stop: withLeftSet(end.stop, leftSet) };
    if (leftSet.length === 0) return end;
    const stop: Stop = { reason: 'UndoIncomplete', step: 'close', summary: `Still set: ${leftSet.join(', ')}.` };
    return ended('failed', withLeftSet(stop, leftSet));
  } catch (error) {
    const stop = stopOf(error, 'close');
    const detail = [...(end.stop ? [end.stop.summary] : []), ...(stop.detail ?? [])];
    const left = ['not known, giving the store back failed'];
    if (!isLost(error)) return ended('failed', withLeftSet({ ...stop, reason: 'UndoIncomplete', detail }, left));
    const hasFailed = end.outcome === 'failed' || end.outcome === 'aborted';
    const unheard: Stop = { ...lostAt('close'), reason: 'UndoPending', detail };
    return ended(hasFailed ? end.outcome : 'cutOff', withLeftSet(unheard, left));
  }
}

function finish(view: View, end: Ended): StoreResult {
  const result = view.finish(end);
  showOutcome(result);
  return result;
}

function taskOf(input: PatchStoreInput): StoreTask {
  const { fleet, train, stage, store, round, release, permit, notAfter } = input;
  return {
    protocol: PROTOCOL,
    store,
    fleet,
    train,
    stage,
    operationId: operationId(train, stage, store, round),
    fence: workflowInfo().startTime.getTime(),
    release,
    ...(permit ? { permit } : {}),
    ...(notAfter ? { notAfter } : {}),
  };
}

const lostAt = (step: string): Stop => ({
  reason: 'StoreCutOff',
  step,
  summary: `The link was lost again and again at the step ${step}, until the time for the store was over.`,
});

/**
 * What a store takes back, or frees, while it hears nothing is no failure of it: it is tried again when it is back.
 * A window that closed skips a store only as long as the store is what it was; a half-patched one has failed.
 */
function notDone(answer: Exclude<StepAnswer, { kind: 'done' }>, view: View): Ended {
  if (answer.stop.reason === 'StoreCutOff') return ended('cutOff', answer.stop);
  const tooLate = answer.kind === 'refused' && answer.stop.reason === 'OutsideWindow';
  return ended(tooLate && !view.touched() ? 'skipped' : 'failed', answer.stop);
}
