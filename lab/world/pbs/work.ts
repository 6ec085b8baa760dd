import type { Log, Script } from '../tasks.js';
import type { KeepOptions } from './keep.js';
import type { PbsSim } from './pbs-sim.js';
import { collect } from './work-gc.js';
import { prune } from './work-prune.js';
import { sync } from './work-sync.js';
import { verify } from './work-verify.js';

/** What a backup server was told to do, as plain data: a restart of the lab begins it again under the same task. */
export type Order = VerifyOrder | PruneOrder | GcOrder | SyncOrder;

interface Common {
  store: string;
  /** The job that it belongs to. */
  job?: string | undefined;
}

export interface VerifyOrder extends Common {
  kind: 'verify';
  ns: string;
  maxDepth: number;
  /** One group, or with a time one snapshot. */
  type?: string | undefined;
  id?: string | undefined;
  time?: number | undefined;
  ignoreVerified: boolean;
  /** Days. */
  outdatedAfter?: number | undefined;
  /** Only what belongs to this one. */
  owner?: string | undefined;
}

export interface PruneOrder extends Common {
  kind: 'prune';
  ns: string;
  maxDepth: number;
  type?: string | undefined;
  id?: string | undefined;
  keep: KeepOptions;
  dryRun: boolean;
  owner?: string | undefined;
}

export interface GcOrder extends Common {
  kind: 'gc';
}

export interface SyncOrder extends Common {
  kind: 'sync';
  /** Absent: pull. */
  direction?: 'pull' | 'push' | undefined;
  ns: string;
  remote?: string | undefined;
  remoteStore: string;
  remoteNs: string;
  /** Of what is pulled. What is pushed belongs to the remote's token. */
  owner: string;
  maxDepth: number;
  groupFilter: string[];
  removeVanished: boolean;
  transferLast?: number | undefined;
  verifiedOnly: boolean;
  encryptedOnly: boolean;
  resyncCorrupt: boolean;
}

/** Of the task that carries an order out. */
export interface Worker {
  log: Log;
  upid: string;
  user: string;
}

export function scriptOf(pbs: PbsSim, order: Order, worker: Worker): Script {
  switch (order.kind) {
    case 'verify':
      return verify(pbs, order, worker);
    case 'prune':
      return prune(pbs, order, worker);
    case 'gc':
      return collect(pbs, order, worker);
    case 'sync':
      return sync(pbs, order, worker);
  }
}

/** Worker type and worker id. */
export function titleOf(order: Order): { type: string; id: string } {
  const { store, job } = order;
  if (order.kind === 'gc') return { type: 'garbage_collection', id: store };
  if (order.kind === 'sync') {
    const from = `${order.remote ?? '-'}:${order.remoteStore}:${store}:${order.ns}`;
    return job === undefined ? { type: 'sync', id: `${from}` } : { type: 'syncjob', id: `${from}:${job}` };
  }
  if (job !== undefined)
    return { type: order.kind === 'prune' ? 'prunejob' : 'verificationjob', id: `${store}:${job}` };
  const ns = order.ns === '' ? '' : `${order.ns}/`;
  const { kind, type, id } = order;
  if (type === undefined) return { type: kind, id: order.ns === '' ? store : `${store}:${order.ns}` };
  const group = `${store}:${ns}${type}/${id}`;
  if (kind === 'prune') return { type: kind, id: group };
  return order.time === undefined
    ? { type: 'verify_group', id: group }
    : { type: 'verify_snapshot', id: `${group}/${order.time.toString(16).toUpperCase().padStart(8, '0')}` };
}
