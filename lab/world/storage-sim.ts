import { createHash } from 'node:crypto';
import type { GuestSim } from './guest-sim.js';
import { datastorePath } from './pbs/access.js';
import type { BackupSession } from './pbs/backup-session.js';
import { groupName, type BackupType, type Datastore } from './pbs/datastore.js';
import type { KeepOptions } from './pbs/keep.js';
import type { PbsSim, PbsToken } from './pbs/pbs-sim.js';
import { pruneGroup, recordPrune } from './pbs/work-prune.js';
import type { StoreSim } from './store-sim.js';
import type { Log } from './tasks.js';

/** A storage of type `pbs` in the cluster's configuration. */
export interface PbsStorageConfig {
  storage: string;
  datastore: string;
  namespace: string;
  token: PbsToken;
  /** Fingerprint of the key that the nodes encrypt with; the key itself lies beside the configuration. */
  encryptionKey: string | undefined;
}

export const typeOf = (kind: 'qemu' | 'lxc'): BackupType => (kind === 'qemu' ? 'vm' : 'ct');

/** 32 bytes with colons, of the store's own key. */
export const keyFingerprint = (store: StoreSim): string =>
  (
    createHash('sha256')
      .update(store.world.seed.bytes(`backup-key/${store.id}`))
      .digest('hex')
      .match(/../g) ?? []
  ).join(':');

/** The storages of a cluster that backups go to. */
export class StorageSim {
  readonly all = new Map<string, PbsStorage>();

  pbs(id: string): PbsStorage {
    const storage = this.all.get(id);
    if (!storage) throw new Error(`could not get storage information for '${id}': storage '${id}' does not exist`);
    return storage;
  }
}

export class PbsStorage {
  readonly config: PbsStorageConfig;
  readonly pbs: PbsSim;
  readonly #store: StoreSim;

  constructor(store: StoreSim, pbs: PbsSim, config: PbsStorageConfig) {
    this.#store = store;
    this.pbs = pbs;
    this.config = config;
  }

  /** Why it cannot be used now, in the words of the storage layer. */
  get trouble(): string | undefined {
    const { config, pbs } = this;
    const where = `${pbs.address}:${pbs.port}`;
    if (!pbs.up)
      return `${config.storage}: error fetching datastores - 500 Can't connect to ${where} (Connection refused)`;
    try {
      pbs.login(config.token.id, config.token.secret);
    } catch {
      return `${config.storage}: error fetching datastores - 401 Unauthorized`;
    }
    const held = pbs.privileges(config.token.id, datastorePath(config.datastore));
    if (!pbs.datastores.has(config.datastore) || held.length === 0) {
      return `${config.storage}: Cannot find datastore '${config.datastore}', check permissions and existence!`;
    }
    return undefined;
  }

  require(): Datastore {
    const { trouble, config } = this;
    if (trouble !== undefined) throw new Error(`could not get storage information for '${config.storage}': ${trouble}`);
    return this.pbs.datastore(config.datastore);
  }

  /** Begins to send what the guest holds at this moment. */
  backup(guest: GuestSim, log: Log): BackupSession {
    const { datastore, namespace, token, encryptionKey } = this.config;
    const failed = `VM ${guest.vmid} qmp command 'backup' failed - backup connect failed: command error`;
    return this.speak(guest.kind, failed, log, () => {
      this.require();
      return this.pbs.backup({
        store: datastore,
        ns: namespace,
        type: typeOf(guest.kind),
        id: String(guest.vmid),
        owner: token.id,
        content: guest.content(this.#store.world.timing.of('guestWrites')),
        fingerprint: encryptionKey,
      });
    });
  }

  /**
   * What the backup server refuses, as vzdump tells it: of a VM the error says what happened, of a container it only
   * says that the client failed, and what happened stands in the log.
   */
  speak<T>(kind: 'qemu' | 'lxc', failed: string, log: Log, run: () => T): T {
    try {
      return run();
    } catch (error) {
      const { message } = error as Error;
      if (kind === 'qemu') throw new Error(`${failed}: ${message}`, { cause: error });
      log(`INFO: Error: ${message}`);
      throw new Error(
        "command '/usr/bin/lxc-usernsexec -- proxmox-backup-client backup root.pxar:/mnt/vzsnap0' failed: exit code 255",
        { cause: error },
      );
    }
  }

  /** What a node does when it was told to prune as well. The token of the nodes usually may not. */
  prune(guest: GuestSim, retention: string, log: Log): void {
    const { config, pbs } = this;
    const group = pbs.datastore(config.datastore).group(config.namespace, typeOf(guest.kind), String(guest.vmid));
    const held = pbs.privileges(config.token.id, datastorePath(config.datastore, config.namespace));
    if (!held.includes('Datastore.Modify') && !held.includes('Datastore.Prune')) {
      log(`ERROR: prune '${groupName(group)}': proxmox-backup-client failed: Error: permission check failed`);
      throw new Error('error pruning backups - check log');
    }
    const keep = Object.fromEntries(
      retention.split(',').map((part) => [part.split('=')[0] ?? '', Number(part.split('=')[1])]),
    ) as KeepOptions;
    const datastore = pbs.datastore(config.datastore);
    const removed = pruneGroup(pbs, datastore, group, keep, false).filter((row) => row.removed);
    recordPrune(pbs, { by: config.token.id, datastore: datastore.name, removed: removed.map(({ name }) => name) });
    log(`INFO: pruned ${removed.length} backup(s) not covered by keep-retention policy`);
  }
}
