import { setTimeout as delay } from 'node:timers/promises';
import { MAX_SKEW } from '#domain/backup.js';
import type { TaskStatus, TaskSummary } from '#systems/proxmox/types.js';
import { isKind } from '../backup/answers.js';
import type { RestoreDeps } from './deps.js';

export type Ended = Extract<TaskStatus, { state: 'stopped' }>;

/** Of nodes whose clock may be wrong. Epoch seconds. */
export const sinceOf = (at: string): number => Math.floor((Date.parse(at) - MAX_SKEW) / 1_000);

type Filter = Parameters<RestoreDeps['proxmox']['tasks']>[1];

/** Of the nodes that are online. */
async function tasksOf({ proxmox }: RestoreDeps, vmid: number, filter: Filter): Promise<TaskSummary[]> {
  const { nodes } = await proxmox.clusterStatus();
  const online = nodes.filter((node) => node.online);
  const lists = await Promise.all(online.map(({ name }) => proxmox.tasks(name, { vmid, ...filter })));
  return lists.flat().filter(({ id }) => id === String(vmid));
}

/** Restores to this id that this worker's token asked for, on the nodes that are online, newest first. */
export async function restoresOf(deps: RestoreDeps, vmid: number, since?: number): Promise<TaskSummary[]> {
  const own = await tasksOf(deps, vmid, { own: true, ...(since === undefined ? {} : { since }) });
  return own.filter(({ type }) => /^(qm|vz)restore$/.test(type)).toSorted((a, b) => b.startTime - a.startTime);
}

/** `own`: by this worker's token. */
export type Work = TaskSummary & { own: boolean };

/** All that was done to this id, by whomever, on the nodes that are online. */
export async function workOn(deps: RestoreDeps, vmid: number): Promise<Work[]> {
  const [all, own] = await Promise.all([tasksOf(deps, vmid, {}), tasksOf(deps, vmid, { own: true })]);
  const ours = new Set(own.map(({ upid }) => upid));
  return all.map((task) => ({ ...task, own: ours.has(task.upid) }));
}

/**
 * How a task ended; undefined when nobody knows it any more, or it did not end within `limit` milliseconds. A node that
 * is away for a while is waited for: when it is back its tasks have ended.
 */
export async function endOf({ proxmox, timing }: RestoreDeps, upid: string, limit: number): Promise<Ended | undefined> {
  const until = performance.now() + limit;
  let seenAt = performance.now();
  for (;;) {
    try {
      const status = await proxmox.taskStatus(upid);
      if (status.state === 'stopped') return status;
      seenAt = performance.now();
    } catch (error) {
      if (isKind(error, 'NotFound')) return undefined;
      if (!isKind(error, 'NodeUnreachable')) throw error;
      if (performance.now() - seenAt > timing.away) return undefined;
    }
    if (performance.now() >= until) return undefined;
    await delay(timing.poll);
  }
}
