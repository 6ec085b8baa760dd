import { createHash } from 'node:crypto';
import type { GuestSim } from './guest-sim.js';
import { datastorePath, owns } from './pbs/access.js';
import type { BackupSession } from './pbs/backup-session.js';
import { groupName, PbsError, type BackupType, type Datastore, type Group, type Snapshot } from './pbs/datastore.js';
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
  /** Of the server's certificate, as somebody wrote it here. Absent: the installer's, which is always the right one. */
  fingerprint?: string | undefined;
}

/** The key of a store's backups, as the client keeps it in a file. It lies at the store, and where it was escrowed. */
export function keyFileOf(store: StoreSim): string {
  const key = keyOf(store);
  const created = '2026-01-01T00:00:00Z';
  const data = key.toString('base64');
  return JSON.stringify({ kdf: null, created, modified: created, data, fingerprint: fingerprintOf(key) });
}

/** Of the key in such a file, whatever the file says of it itself. Throws the refusal of the storage layer. */
export function fingerprintIn(keyFile: string): string {
  const invalid = 'Value does not seems like a valid, JSON formatted encryption key!';
  let value: unknown;
  try {
    value = JSON.parse(keyFile);
  } catch {
    throw new Error(invalid);
  }
  const data = (value as { data?: unknown } | null)?.data;
  if (typeof data !== 'string') throw new Error(invalid);
  return fingerprintOf(Buffer.from(data, 'base64'));
}

const keyOf = (store: StoreSim): Buffer => store.world.seed.bytes(`backup-key/${store.id}`);
const fingerprintOf = (key: Buffer): string =>
  (createHash('sha256').update(key).digest('hex').match(/../g) ?? []).join(':');

export const typeOf = (kind: 'qemu' | 'lxc'): BackupType => (kind === 'qemu' ? 'vm' : 'ct');

/** 32 bytes with colons, of the store's own key. */
export const keyFingerprint = (store: StoreSim): string => fingerprintOf(keyOf(store));

/** The storages of a cluster that backups go to. */
export class StorageSim {
  readonly all = new Map<string, PbsStorage>();
  /** Ids of those that somebody added since the installer left. */
  readonly added: string[] = [];
  /** Ids of those that the installer made and somebody took away. */
  readonly removed: string[] = [];
  /** Ids of storages for disks that somebody else filled. */
  full: string[] = [];

  add(storage: PbsStorage): void {
    const { storage: id } = storage.config;
    this.all.set(id, storage);
    if (!this.added.includes(id)) this.added.push(id);
  }

  remove(id: string): void {
    if (!this.all.delete(id)) return;
    const at = this.added.indexOf(id);
    if (at >= 0) this.added.splice(at, 1);
    else if (!this.removed.includes(id)) this.removed.push(id);
  }

  pbs(id: string): PbsStorage {
    const storage = this.all.get(id);
    if (!storage) throw new Error(`could not get storage information for '${id}': storage '${id}' does not exist`);
    return storage;
  }
}

const isSame = (one: string, other: string): boolean => one.toUpperCase() === other.toUpperCase();

/** `<storage>:backup/<type>/<id>/<time>`. */
export const VOLUME = /^[^:]+:backup\/(vm|ct)\/([0-9]+)\/(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)$/;

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
    const { fingerprint } = config;
    // Nobody asked this server for its certificate yet, so there is nothing to compare with.
    if (fingerprint !== undefined && pbs.fingerprint !== undefined && !isSame(fingerprint, pbs.fingerprint))
      return `${config.storage}: error fetching datastores - 500 Can't connect to ${where} (certificate verify failed)`;
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

  /** A snapshot by its volume id, with its datastore, for whoever may read it. Throws what the client says. */
  open(volid: string): { datastore: Datastore; snapshot: Snapshot; group: Group } {
    const { namespace, token, datastore: name } = this.config;
    const datastore = this.require();
    const [, type = '', id = '', time = ''] = VOLUME.exec(volid) ?? [];
    const held = this.pbs.privileges(token.id, datastorePath(name, namespace));
    const found = datastore.snapshot(namespace, type, id, Date.parse(time) / 1_000);
    const mayRead =
      held.includes('Datastore.Read') || (held.includes('Datastore.Backup') && owns(token.id, found.group.owner));
    if (!mayRead) throw new PbsError('permission check failed', 403);
    datastore.require('read');
    if (!found.snapshot.finished) throw new PbsError(`unable to open snapshot '${type}/${id}/${time}'`);
    return { datastore, ...found };
  }

  /** Whether the token is shown that group: all of them with the right to look around, else its own. */
  shows(group: Group): boolean {
    const { namespace, token, datastore } = this.config;
    const held = this.pbs.privileges(token.id, datastorePath(datastore, namespace));
    return held.includes('Datastore.Audit') || owns(token.id, group.owner);
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
