import { CancellationScope, setHandler, workflowInfo } from '@temporalio/workflow';
import { abridge } from '#domain/abridge.js';
import type { GuestRun } from '#domain/backup-failures.js';
import {
  dumpGuestsInputSchema,
  type DumpGuestsInput,
  type DumpPlan,
  type DumpReport,
  type DumpTask,
} from '#domain/messages/backup.js';
import { BACKUP_STAGE } from '#domain/naming.js';
import type { Stop } from '#domain/reasons.js';
import { ended, stopOf } from './ended.js';
import { storeQuery } from './messages.js';
import { parseInput } from './parse-input.js';
import { backupProxies } from './proxies.js';
import { showOutcome } from './search-keys.js';
import { listenForStop, type Stopping } from './store-steering.js';
import { openView, type View } from './store-view.js';

/**
 * Dumps the guests of one store to its backup server: take the store → one vzdump on each node, all nodes at once →
 * give the store back.
 *
 * Started by `backupStore` under the id `store/<id>`, so that no guest is moved and no node rebooted meanwhile; all that
 * need not hold the store is done by `backupStore` itself.
 * - A dump that runs is never broken off: abort only keeps further ones from starting.
 * - Whatever the end, the store is given back.
 */
export async function dumpGuests(raw: DumpGuestsInput): Promise<DumpReport> {
  const { task: asked, storeTimeout, endsBy } = parseInput(dumpGuestsInputSchema, raw);
  const task = { ...asked, fence: workflowInfo().startTime.getTime() };
  const { store, night, operationId } = task;
  const view = openView({ store, train: night, stage: BACKUP_STAGE, operationId });
  setHandler(storeQuery, () => view.current);
  const stopping = listenForStop({ store, storeTimeout }, view);

  return CancellationScope.nonCancellable(async () => {
    const closes = endsBy === undefined ? undefined : task.notAfter;
    const report = await dump(task, view, stopping, closes);
    const notGivenBack = await giveBack(task, view);
    stopping.cancel();
    const why = report.stop ?? notGivenBack;
    const stop = why ?? notAll(report.runs);
    showOutcome(view.finish(stop ? ended('failed', stop) : { outcome: 'succeeded' }));
    return {
      ...report,
      ...(why ? { stop: why } : {}),
      ...(stopping.stop?.outcome === 'aborted' ? { aborted: true } : {}),
    };
  });
}

async function dump(task: DumpTask, view: View, stopping: Stopping, closes: string | undefined): Promise<DumpReport> {
  const { longTask, dump: nodeByNode } = backupProxies(task.store);
  let plan: DumpPlan;
  try {
    view.step('open');
    const opened = await longTask.openDump.executeWithOptions({ summary: 'take the store, read its guests' }, [task]);
    if (opened.kind !== 'done') return { guests: opened.guests, runs: [], stop: opened.stop };
    plan = opened;
  } catch (error) {
    return { runs: [], stop: stopOf(error, 'open') };
  }
  const { adopted, nodes, guests, unreachable } = plan;
  view.note(...adopted);
  view.plan(
    nodes.map(({ node }) => node),
    nodes,
  );
  await stopping.whilePaused(
    undefined,
    closes === undefined ? undefined : Math.max(1, Date.parse(closes) - Date.now()),
  );
  if (stopping.stop) return { guests, runs: unreachable };
  if (stopping.paused && closes) return { guests, runs: unreachable, stop: STOOD_PAUSED };

  const ends = await Promise.all(
    nodes.map(async ({ node, vmids }): Promise<{ runs: GuestRun[]; stop?: Stop }> => {
      view.node(node, 'dumping guests');
      const unknown = (): GuestRun[] => vmids.map((vmid) => ({ vmid, kind: 'unknown' }));
      try {
        const answer = await nodeByNode.dumpNode.executeWithOptions({ summary: `dump guests of ${node}` }, [
          { ...task, node, vmids },
        ]);
        view.node(node, answer.kind === 'done' ? 'done' : 'stopped');
        return answer.kind === 'done' ? { runs: answer.runs } : { runs: unknown(), stop: answer.stop };
      } catch (error) {
        view.node(node, 'stopped');
        return { runs: unknown(), stop: stopOf(error, `dump ${node}`) };
      }
    }),
  );
  const stop = ends.find((end) => end.stop)?.stop;
  return { guests, runs: [...unreachable, ...ends.flatMap(({ runs }) => runs)], ...(stop ? { stop } : {}) };
}

/** No dump begins after the window, so there is nothing to stand still for. */
export const STOOD_PAUSED: Stop = {
  reason: 'OutsideWindow',
  step: 'dump guests',
  summary: 'Its backup stood paused until the night was over.',
};

async function giveBack(task: DumpTask, view: View): Promise<Stop | undefined> {
  view.step('close');
  try {
    await backupProxies(task.store).longTask.closeDump.executeWithOptions({ summary: 'give the store back' }, [task]);
    return undefined;
  } catch (error) {
    return { ...stopOf(error, 'close'), reason: 'UndoIncomplete' };
  }
}

/** What a person sees of it who looks at the store; what follows from it `backupStore` decides. */
function notAll(runs: readonly GuestRun[]): Stop | undefined {
  const missed = runs.filter(({ kind }) => kind !== 'done').map(({ vmid }) => String(vmid));
  if (missed.length === 0) return undefined;
  return { reason: 'BackupIncomplete', step: 'dump guests', summary: `Not dumped: guest ${abridge(missed)}.` };
}
