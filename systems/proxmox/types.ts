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
  /** Path → privileges of the token in use. Empty for a token without rights. */
  permissions(): Promise<Record<string, string[]>>;
  clusterStatus(): Promise<{ quorate: boolean; nodes: { name: string; online: boolean; local: boolean }[] }>;
  guests(): Promise<GuestResource[]>;
  /** `lock` and HA state, fresh from the node that holds the guest. */
  guestStatus(node: string, kind: GuestKind, vmid: number): Promise<{ status: string; lock?: string; ha: boolean }>;
  haManagerStatus(): Promise<{
    quorate: boolean;
    nodeStatus: Record<string, string>;
    serviceStatus: Record<string, { node: string; state: string }>;
  }>;
  haStatus(): Promise<HaRow[]>;
  nodeStatus(node: string): Promise<{ uptime: number; kernel: string; rootFree: number }>;
  /** Bytes of memory that each node has, of those that are online. */
  nodeMemory(): Promise<Record<string, number>>;
  /** Running tasks of the whole cluster, asked node by node, since the cluster-wide list loses some. */
  runningTasks(): Promise<TaskSummary[]>;
  /** Tasks of one node, newest first; finds the task of a request whose answer was lost. */
  tasks(node: string, filter: { type?: string; vmid?: number; since?: number }): Promise<TaskSummary[]>;
  taskStatus(upid: string): Promise<TaskStatus>;
  taskLog(upid: string, lines: number): Promise<string[]>;
  /** Live migration of a VM (`online`), restart migration of a container. Returns the UPID. */
  migrate(node: string, kind: GuestKind, vmid: number, target: string): Promise<string>;
  start(node: string, kind: GuestKind, vmid: number): Promise<string>;
  shutdown(node: string, kind: GuestKind, vmid: number, timeoutSeconds: number): Promise<string>;
  /** Accepted without a task; the node goes down some two seconds later. */
  reboot(node: string): Promise<void>;
  close(): Promise<void>;
}

export type GuestKind = 'qemu' | 'lxc';

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
  startTime: number;
  /** Absent while it runs. */
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
