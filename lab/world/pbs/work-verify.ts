import type { Script } from '../tasks.js';
import { digestOf } from './content.js';
import { groupName, snapshotName, type Datastore, type Group, type Snapshot } from './datastore.js';
import type { PbsSim } from './pbs-sim.js';
import type { VerifyOrder, Worker } from './work.js';
import { groupsOf } from './work-groups.js';

const DAY_MS = 86_400_000;

export function* verify(pbs: PbsSim, order: VerifyOrder, worker: Worker): Script {
  const datastore = pbs.datastore(order.store);
  datastore.require('read');
  const { log } = worker;
  const known = { good: new Set<string>(), bad: new Set<string>() };
  const failed: string[] = [];
  const groups = groupsOf(datastore, order);
  if (order.type === undefined) {
    log(`verify datastore ${order.store}`);
    if (order.owner !== undefined) log(`limiting to backups owned by ${order.owner}`);
    log(`found ${groups.length} groups`);
  }
  for (const [index, group] of groups.entries()) {
    const all = group.snapshots.filter(({ time }) => order.time === undefined || time === order.time).reverse();
    if (order.time === undefined) log(`verify group ${order.store}:${groupName(group)} (${all.length} snapshots)`);
    for (const [done, snapshot] of all.entries()) {
      const good = yield* verifySnapshot(pbs, { datastore, group, snapshot, known }, order, worker);
      if (!good) failed.push(snapshotName(group, snapshot));
      const percent = ((index + (done + 1) / all.length) / groups.length) * 100;
      if (order.time === undefined) {
        log(
          `percentage done: ${percent.toFixed(2)}% (${index}/${groups.length} groups, ${done + 1}/${all.length} snapshots)`,
        );
      }
    }
  }
  if (failed.length === 0) return;
  log('Failed to verify the following snapshots/groups:');
  for (const name of failed) log(`\t${name}`);
  throw new Error('verification failed - please check the log for details');
}

interface Subject {
  datastore: Datastore;
  group: Group;
  snapshot: Snapshot;
  known: { good: Set<string>; bad: Set<string> };
}

function* verifySnapshot(
  pbs: PbsSim,
  { datastore, group, snapshot, known }: Subject,
  order: VerifyOrder,
  { log, upid, user }: Worker,
): Script<boolean> {
  const name = snapshotName(group, snapshot);
  const title = `${datastore.name}:${name}`;
  // Done by this very task, before the lab was started again.
  if (snapshot.verification?.upid === upid) return snapshot.verification.state === 'ok';
  if (!snapshot.finished) {
    if (datastore.isBusy(group)) {
      log(`SKIPPED: verify ${title} - could not acquire snapshot lock: locked by another operation`);
      return true;
    }
    log(
      `verify ${title} - manifest load error: unable to load blob 'index.json.blob' - ENOENT: No such file or directory`,
    );
    return false;
  }
  if (!isDue(pbs, snapshot, order)) {
    log(`SKIPPED: verify ${title} (recently verified)`);
    return true;
  }
  pbs.reached('snapshot.verify', 'before');
  log(`verify ${title}`);
  yield pbs.timing.of('verifySnapshot') / 2;
  pbs.reached('snapshot.verify', 'during');
  yield pbs.timing.of('verifySnapshot') / 2;
  if (!group.snapshots.includes(snapshot)) {
    log(`verify ${title} - snapshot vanished`);
    return true;
  }
  const problems = datastore.check(snapshot, known);
  for (const { id, what } of problems) {
    const digest = digestOf(id);
    if (what === 'rotten') {
      log(`chunk ${digest} can't be verified: blob has wrong CRC checksum.`);
      log(`corrupted chunk renamed to "${datastore.config.path}/.chunks/${digest.slice(0, 4)}/${digest}.0.bad"`);
    } else log(`can't verify missing chunk ${digest}`);
  }
  log(
    `  verified 96.00/96.00 MiB in ${(pbs.timing.of('verifySnapshot') / 1_000).toFixed(2)} seconds (${problems.length} errors)`,
  );
  if (problems.length > 0) log(`verify ${title} failed: chunks could not be verified`);
  const before = snapshot.verification?.state;
  snapshot.verification = { state: problems.length > 0 ? 'failed' : 'ok', upid };
  datastore.touch(group);
  pbs.record(
    'snapshot.verify',
    user,
    {
      datastore: datastore.name,
      ns: group.ns,
      snapshot: name,
      ...(before === undefined ? {} : { before }),
      state: snapshot.verification.state,
      upid,
    },
    Number(group.id) || undefined,
  );
  return problems.length === 0;
}

/** Without an age nothing that was verified once is verified again, unless it is asked for. */
function isDue(pbs: PbsSim, { verification }: Snapshot, { ignoreVerified, outdatedAfter }: VerifyOrder): boolean {
  if (!ignoreVerified || verification === undefined) return true;
  if (outdatedAfter === undefined) return false;
  return Date.now() - startOf(verification.upid) > pbs.timing.scale(outdatedAfter * DAY_MS);
}

/** When the task began that verified it, milliseconds since the epoch: that is all that a snapshot tells. */
const startOf = (upid: string): number => parseInt(upid.split(':')[5] ?? '0', 16) * 1_000;
