import type { Script } from '../tasks.js';
import { NO_GC, type GcStatus } from './chunk-store.js';
import { digestOf } from './content.js';
import type { PbsSim } from './pbs-sim.js';
import type { GcOrder, Worker } from './work.js';

/** Touches every chunk that is referred to, then takes away what nobody touched for a day. */
export function* collect(pbs: PbsSim, order: GcOrder, { log, upid, user }: Worker): Script {
  const datastore = pbs.datastore(order.store);
  datastore.require('write');
  pbs.reached('datastore.gc', 'before');
  log(`starting garbage collection on store ${order.store}`);
  const started = Date.now();
  // What somebody sends now may not be referred to yet.
  const oldest = Math.min(started, datastore.oldestWriter ?? started);
  const cutoff = Math.min(started - pbs.timing.of('gcCutoff'), oldest);
  const status: GcStatus = { ...NO_GC, upid };
  log('Start GC phase1 (mark used chunks)');
  yield pbs.timing.of('gcPhase') / 2;
  pbs.reached('datastore.gc', 'during');
  yield pbs.timing.of('gcPhase') / 2;
  const missing = datastore.mark(Date.now(), status);
  for (const { id, snapshot } of missing) {
    log(`WARN: warning: unable to access non-existent chunk ${digestOf(id)}, required by "${snapshot}"`);
  }
  log('Start GC phase2 (sweep unused chunks)');
  yield pbs.timing.of('gcPhase');
  datastore.chunks.sweep(oldest, cutoff, status);
  log(`Removed garbage: ${mib(status['removed-bytes'])}`);
  log(`Removed chunks: ${status['removed-chunks']}`);
  if (status['pending-bytes'] > 0) {
    log(`Pending removals: ${mib(status['pending-bytes'])} (in ${status['pending-chunks']} chunks)`);
  }
  if (status['removed-bad'] > 0) log(`Removed bad chunks: ${status['removed-bad']}`);
  if (status['still-bad'] > 0) log(`Leftover bad chunks: ${status['still-bad']}`);
  log(`Original data usage: ${mib(status['index-data-bytes'])}`);
  log(`On-Disk usage: ${mib(status['disk-bytes'])}`);
  log(`On-Disk chunks: ${status['disk-chunks']}`);
  if (status['disk-bytes'] > 0) {
    log(`Deduplication factor: ${(status['index-data-bytes'] / status['disk-bytes']).toFixed(2)}`);
  }
  datastore.gc = status;
  datastore.touchSettings();
  pbs.record('datastore.gc', user, {
    datastore: order.store,
    upid,
    removed: status['removed-chunks'],
    pending: status['pending-chunks'],
    stillBad: status['still-bad'],
  });
  return missing.length;
}

const mib = (bytes: number): string => `${(bytes / 1024 ** 2).toFixed(3)} MiB`;
