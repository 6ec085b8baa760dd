/**
 * What was seen, as plain data: gathered by activities, judged by pure functions, kept in history as the reason of a
 * decision. A value that could not be read is listed in `unreadable` and judged as a failed check, never as healthy.
 */

export interface CephCheck {
  code: string;
  severity: string;
  message: string;
  muted: boolean;
}

export interface CephFacts {
  health: string;
  checks: CephCheck[];
  monsInQuorum: string[];
  monsInMap: string[];
  mgrAvailable: boolean;
  mgrStandbys: number;
  /** `utilization` in percent, absent when it was not asked for. */
  osds: { id: number; host: string; up: boolean; in: boolean; utilization?: number | undefined }[];
  pgs: { total: number; states: { state: string; count: number }[] };
  degradedObjects: number;
  misplacedObjects: number;
  unfoundObjects: number;
  /** Cluster-wide OSD map flags, e.g. `noout`, `sortbitwise`. */
  flags: string[];
  /** Flags set on CRUSH hosts, e.g. `{ n1: ['noout'] }`. */
  hostFlags: Record<string, string[]>;
  pools: { name: string; size: number; minSize: number }[];
}

export interface GuestFacts {
  vmid: number;
  kind: 'qemu' | 'lxc';
  name: string;
  node: string;
  status: string;
  lock?: string | undefined;
  maxMemory: number;
  ha: boolean;
  template: boolean;
}

export interface NodeFacts {
  name: string;
  runningKernel: string;
  /** Kernel releases that the boot loader knows, e.g. `6.14.11-4-pve`. */
  bootableKernels: string[];
  /** The one that the boot loader starts although it knows newer ones. */
  pinnedKernel?: string | undefined;
  /** Installed version of every package that the release pins; absent = not installed. */
  installed: Record<string, string>;
  dpkgAudit: string[];
  held: string[];
  rootFreeBytes: number;
  /** The upgrade unit of this service on the node, when one exists. */
  upgradeUnit?: { name: string; state: UnitState } | undefined;
}

/** A node whose apt looks at the release's snapshot: what it has, and what apt says that it would do. */
export interface StagedNode {
  name: string;
  installed: Record<string, string>;
  simulation?: { install: { name: string; version: string }[]; remove: string[] } | undefined;
}

export type UnitState = 'running' | 'succeeded' | 'failed';

export interface HaFacts {
  quorumOk: boolean;
  /** `online`, `maintenance`, `unknown`, `fence`, `gone`, by node. */
  nodeStatus: Record<string, string>;
  /** Status line of each local resource manager, e.g. `idle`, `active`, `maintenance mode`; absent when not asked for. */
  managers?: Record<string, string> | undefined;
  services: { sid: string; node: string; state: string }[];
  /** The node whose cluster resource manager leads; patched last. */
  master?: string | undefined;
}

export interface ClusterFacts {
  quorate: boolean;
  nodes: { name: string; online: boolean }[];
}

export interface StoreFacts {
  /** ISO instant on the store worker's clock. */
  at: string;
  pveVersion: string;
  missingPrivileges: string[];
  cluster: ClusterFacts;
  ha: HaFacts;
  ceph: CephFacts;
  guests: GuestFacts[];
  /** Tasks running in the cluster that this operation did not start; absent when not asked for. */
  runningTasks?: { type: string; node: string; upid: string }[] | undefined;
  /** The nodes that were looked into. */
  nodes: NodeFacts[];
  /** Bytes of memory of every node. */
  memory: Record<string, number>;
  /** `ceph osd ok-to-stop` over all OSDs of the host and `ceph mon ok-to-stop`, by node. */
  okToStop: Record<string, { osds: boolean; mon: boolean; detail: string }>;
  /** What could not be read, in words, e.g. `n2: uname -r: connection refused`. */
  unreadable: string[];
}

/** What a health gate knows of one store. */
export interface ProbeFacts {
  store: string;
  at: string;
  reachable: boolean;
  /** What could not be read although the store answered. */
  unreadable: string[];
  quorate: boolean;
  nodesOnline: number;
  nodesTotal: number;
  /** Codes of Ceph checks that block. */
  cephBlocking: string[];
  /** noout, maintenance and the like that are still set. */
  leftSet: string[];
  /** Installed packages and running kernels are those of the release the store was given; absent = not asked. */
  inventoryMatches?: boolean | undefined;
  guests: GuestProbe[];
  /**
   * The same measurements from before the release was begun, as the store worker kept them; empty = never patched by us,
   * or there are none from before.
   */
  baseline: GuestProbe[];
}

export interface GuestProbe {
  vmid: number;
  name: string;
  running: boolean;
  healthy: boolean;
  /** Median over a few requests, milliseconds. */
  latencyMs?: number | undefined;
  /** 0..100, caches only. */
  cacheHitPercent?: number | undefined;
}
