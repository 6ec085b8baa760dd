import type { PbsClient } from '#systems/pbs/types.js';
import type { StoreTiming } from '../store/deps.js';

/** Where the guests of a store are dumped to. */
export interface DumpTarget {
  /** A storage of the cluster, of type `pbs`. */
  storage: string;
  /** A fast local storage, see `GuestBackup.fleecingStorage`. */
  fleecing?: string | undefined;
}

/** What tends the copies on one backup server: of one store, or of all stores, each in its own namespace. */
export interface TendDeps {
  /** The server's host name, as its task ids have it. */
  node: string;
  /** May read, verify, and run the sync job. */
  verifier: PbsClient;
  /** May prune and collect as well: an identity that the nodes do not have. */
  pruner: PbsClient;
  datastore: string;
  /** Undefined: the server has nothing of this store, and its tasks are refused. */
  namespaceOf: (store: string) => string | undefined;
  /** Copies that are verified at the same time, of whichever stores; the others wait. Absent: all that are asked for. */
  verifyAtOnce?: number;
  timing: Pick<StoreTiming, 'poll'>;
  now: () => Date;
}

/** What the worker's own file says of the store's backup server. */
export interface StoreBackup extends DumpTarget {
  pbs: Pick<TendDeps, 'node' | 'verifier' | 'pruner' | 'datastore'> & { namespace: string };
  /** The sync job of the store's server that sends to the central one. */
  sendJob?: string | undefined;
}
