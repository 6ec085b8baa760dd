import type { Script } from '../tasks.js';
import { groupName, snapshotName, type Datastore, type Group } from './datastore.js';
import { keepsSomething, keepText, type KeepOptions, type Mark } from './keep.js';
import type { PbsSim } from './pbs-sim.js';
import type { PruneOrder, Worker } from './work.js';
import { groupsOf } from './work-groups.js';

export function* prune(pbs: PbsSim, order: PruneOrder, { log, upid, user }: Worker): Script {
  const datastore = pbs.datastore(order.store);
  datastore.require('write');
  pbs.reached('datastore.prune', 'before');
  yield pbs.timing.of('pruneDatastore');
  if (!keepsSomething(order.keep)) log('No prune selection - keeping all files.');
  else log(`retention options: ${keepText(order.keep)}`);
  const removed: string[] = [];
  for (const group of groupsOf(datastore, order)) {
    log(`Starting prune on datastore '${order.store}'${ofNs(group.ns)} group "${groupName(group)}"`);
    for (const row of pruneGroup(pbs, datastore, group, order.keep, order.dryRun)) {
      log(`${row.name} ${row.mark}`);
      if (row.removed) removed.push(row.name);
    }
  }
  recordPrune(pbs, { by: user, upid, datastore: order.store, removed });
}

/** Says what happens to each snapshot, oldest first, and unless it is a rehearsal does it. */
export function pruneGroup(
  pbs: PbsSim,
  datastore: Datastore,
  group: Group,
  keep: KeepOptions,
  dryRun: boolean,
): { name: string; time: number; mark: Mark; protected: boolean; removed: boolean }[] {
  const plan = datastore.prunePlan(group, keep, (ms) => pbs.timing.calendar(ms));
  return plan.map(({ snapshot, mark }) => {
    const removed = mark === 'remove' && !dryRun;
    const row = {
      name: snapshotName(group, snapshot),
      time: snapshot.time,
      mark,
      protected: snapshot.protected,
      removed,
    };
    if (removed) datastore.removeSnapshot(group, snapshot);
    return row;
  });
}

export function recordPrune(
  pbs: PbsSim,
  { by, ...detail }: { by: string; upid?: string; datastore: string; removed: string[] },
): void {
  if (detail.removed.length > 0) pbs.record('datastore.prune', by, detail);
}

const ofNs = (ns: string): string => (ns === '' ? '' : `, namespace '${ns}'`);
