/**
 * What the service needs of the Proxmox VE API of one store. Any node answers for any other, so a client is made with
 * all nodes and enters through the first that answers.
 *
 * Obligations of every implementation:
 * - Reads may be repeated, and are, on the next entry node when one cannot be reached.
 * - A write is sent once. When its answer is lost the client throws `OutcomeUnknown` and the caller looks for the task.
 * - An object that does not exist is a `NotFound`, although Proxmox answers 500.
 * - Every error is a `ProxmoxError` whose `kind` says what it is; no error text holds a token.
 */
export interface ProxmoxClient {
  version(): Promise<{ version: string; release: string }>;
  /**
   * Path → privileges of the token in use. Where not all of them hold below it, `<path>/*` has those that do. Empty for
   * a token without rights.
   */
  permissions(): Promise<Record<string, string[]>>;
  clusterStatus(): Promise<{ quorate: boolean; nodes: { name: string; online: boolean; local: boolean }[] }>;
  guests(): Promise<GuestResource[]>;
  /**
   * Its settings, all as text: as they will be after its next start, or with `now` as they are, which is what vzdump goes
   * by. `NotFound` when the guest is not on that node.
   */
  guestConfig(node: string, kind: GuestKind, vmid: number, options?: { now: boolean }): Promise<Record<string, string>>;
  /** `lock` and HA state, fresh from the node that holds the guest. */
  guestStatus(node: string, kind: GuestKind, vmid: number): Promise<{ status: string; lock?: string; ha: boolean }>;
  haManagerStatus(): Promise<{
    quorate: boolean;
    nodeStatus: Record<string, string>;
    serviceStatus: Record<string, { node: string; state: string }>;
  }>;
  haStatus(): Promise<HaRow[]>;
  /** Seconds and bytes. */
  nodeStatus(node: string): Promise<{ uptime: number; kernel: string; rootFree: number; memoryFree?: number }>;
  /** Bytes of memory that each node has, of those that are online. */
  nodeMemory(): Promise<Record<string, number>>;
  /** Running tasks of the whole cluster, asked node by node, since the cluster-wide list loses some. */
  runningTasks(): Promise<TaskSummary[]>;
  /**
   * Tasks of one node, newest first; finds the task of a request whose answer was lost. `since`: epoch seconds. `own`:
   * only those that this token started.
   */
  tasks(node: string, filter: { type?: string; vmid?: number; since?: number; own?: boolean }): Promise<TaskSummary[]>;
  taskStatus(upid: string): Promise<TaskStatus>;
  taskLog(upid: string, lines: number): Promise<string[]>;
  /** Live migration of a VM (`online`), restart migration of a container. Returns the UPID. */
  migrate(node: string, kind: GuestKind, vmid: number, target: string): Promise<string>;
  start(node: string, kind: GuestKind, vmid: number): Promise<string>;
  shutdown(node: string, kind: GuestKind, vmid: number, timeoutSeconds: number): Promise<string>;
  /** Accepted without a task; the node goes down some two seconds later. */
  reboot(node: string): Promise<void>;
  /**
   * Starts one vzdump on that node and returns its UPID; undefined when none of the guests is there, and nothing was
   * started. A node runs one at a time: a second one waits for `lockWaitMinutes` and then fails.
   */
  backUp(node: string, backup: GuestBackup): Promise<string | undefined>;
  /**
   * The backups of these guests that this token started on that node since then, newest first: finds the task of a
   * `backUp` whose answer was lost. A task of several guests names none of them, so all such tasks are among these.
   */
  backups(node: string, vmids: readonly number[], since: number): Promise<TaskSummary[]>;
  /** Guests that no backup job of the cluster covers. Says nothing about backups that were made. */
  notBackedUp(): Promise<{ vmid: number; kind: GuestKind; name: string }[]>;
  storageStatus(node: string, storage: string): Promise<StorageStatus>;
  close(): Promise<void>;
}

/** What restoring takes besides, at the one site where that is done: no store's worker is given this. */
export interface ProxmoxRestoreClient extends ProxmoxClient {
  /** Ends a task that runs, in the middle of what it does. One that has ended already is left as it is. */
  stopTask(upid: string): Promise<void>;
  /** Switches it off, as if its plug was pulled. */
  stop(node: string, kind: GuestKind, vmid: number): Promise<string>;
  /**
   * Destroys a guest that is stopped, with its disks, those that its settings do not name, and what jobs say of it. It
   * has to be unlocked and unprotected.
   */
  destroy(node: string, kind: GuestKind, vmid: number): Promise<string>;
  /**
   * Restores a backup as a new guest with addresses of its own, and leaves it stopped. Never over a guest that is there:
   * that is refused, as `Server`. When the task fails, a VM stays behind with neither disk nor pool.
   */
  restore(node: string, restore: GuestRestore): Promise<string>;
  /**
   * Settings that lie in a backup, all as text; those of its snapshots are left out. `Server` when the backup cannot be
   * read.
   */
  archivedConfig(node: string, archive: string): Promise<Record<string, string>>;
  /** `NotFound` when there is no such pool. */
  poolMembers(pool: string): Promise<{ kind: GuestKind; vmid: number }[]>;
  /** Bridges of a node as they are configured, not as they are at this moment. */
  bridges(node: string): Promise<Bridge[]>;
  /** Fails, as `Server`, as long as the agent of the VM does not answer. */
  agentPing(node: string, vmid: number): Promise<void>;
  /** Starts a program in a VM. Returns its number there. `Server` when there is no such program. */
  agentExec(node: string, vmid: number, command: readonly string[]): Promise<number>;
  /** What came of that program; told once, after its end. */
  agentResult(node: string, vmid: number, pid: number): Promise<AgentResult | undefined>;
  /** What lies on a storage of one guest, by volume id. */
  volumes(node: string, storage: string, vmid: number): Promise<string[]>;
  /** Of the whole cluster, as they are configured; those that the token may see. */
  storages(): Promise<StorageConfig[]>;
  /**
   * Adds a storage for the backups of a backup server. Proxmox tries the server at once, and keeps nothing when that
   * fails. Without a task: after a lost answer `storages` tells whether it is there. An id that is taken is refused, as
   * `Server`.
   */
  addBackupStorage(storage: NewBackupStorage): Promise<void>;
  /** Takes a storage out of the configuration; what lies on it stays there. `NotFound` when there is none. */
  removeStorage(storage: string): Promise<void>;
}

export type GuestKind = 'qemu' | 'lxc';

export interface GuestBackup {
  vmids: readonly number[];
  /** A storage of type `pbs`. */
  storage: string;
  mode: 'snapshot' | 'suspend' | 'stop';
  lockWaitMinutes: number;
  /** Written beside the backup; `{{guestname}}` and the like are filled in by Proxmox. */
  notes?: string | undefined;
  /** A fast local storage that holds what guests overwrite meanwhile, so that a slow target does not slow them. */
  fleecingStorage?: string | undefined;
  bandwidthKiB?: number | undefined;
}

export interface GuestRestore {
  kind: GuestKind;
  /** That the new guest gets. */
  vmid: number;
  /** Volume id of the backup. */
  archive: string;
  /** That its disks are written to. */
  storage: string;
  pool: string;
  /** Count before those of the backup, by their names in the guest's configuration. */
  settings: Readonly<Record<string, string | number>>;
}

export interface Bridge {
  name: string;
  /** Empty: what is on it reaches nobody beyond the node. Absent: not told. */
  ports?: string[];
}

export interface AgentResult {
  /** Absent when a signal ended it. */
  code?: number;
  stdout: string;
  stderr: string;
}

/** Never with the secret or the key of a storage: of the key it has the fingerprint. */
export interface StorageConfig {
  storage: string;
  type: string;
  content: string[];
  enabled: boolean;
  /** Empty: all nodes. */
  nodes: string[];
  /** These of a backup server alone. */
  server?: string;
  port?: number;
  datastore?: string;
  namespace?: string;
  username?: string;
  fingerprint?: string;
  keyFingerprint?: string;
}

export interface NewBackupStorage {
  storage: string;
  server: string;
  port: number;
  datastore: string;
  namespace: string;
  /** `user@realm!tokenid` of the backup server. */
  username: string;
  /** Of that token. Secret. */
  password: string;
  /** SHA-256 of the server's certificate, in hex with colons. */
  fingerprint: string;
  /** Content of the key file of the backup client. Secret. */
  encryptionKey?: string | undefined;
}

export interface StorageStatus {
  type: string;
  content: string[];
  enabled: boolean;
  /** It can be reached from that node. */
  active: boolean;
  /** Bytes. */
  space?: { total: number; used: number; avail: number };
}

export interface GuestResource {
  vmid: number;
  kind: GuestKind;
  name: string;
  node: string;
  status: string;
  template: boolean;
  maxMemory: number;
  lock?: string;
  haState?: string;
}

export interface HaRow {
  id: string;
  type: string;
  node?: string;
  status?: string;
  sid?: string;
  state?: string;
  quorate?: boolean;
}

export interface TaskSummary {
  upid: string;
  node: string;
  type: string;
  id: string;
  user: string;
  /** Epoch seconds. */
  startTime: number;
  /** Both absent while it runs. */
  endTime?: number;
  status?: string;
}

export type TaskStatus = { state: 'running' } | { state: 'stopped'; exit: string; ok: boolean; warnings: boolean };

export interface ProxmoxEndpoint {
  name: string;
  address: string;
  port: number;
}

export interface ProxmoxOptions {
  nodes: ProxmoxEndpoint[];
  /** `user@realm!tokenid=secret`. */
  token: string;
  /** PEM of the store's own CA, or the leaf's SHA-256 by node name. One of the two is required. */
  ca?: string;
  fingerprints?: Record<string, string>;
  /** Milliseconds for one request; Proxmox's own proxy gives up after 30 s. Default 35,000. */
  timeoutMs?: number;
}
