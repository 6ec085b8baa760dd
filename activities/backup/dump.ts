import { setTimeout as delay } from 'node:timers/promises';
import { isOfNight, MAX_SKEW, noteOf, type BackedUpGuest } from '#domain/backup.js';
import { classOfText, readVzdumpLog, type FailureClass, type GuestRun } from '#domain/backup-failures.js';
import { decideDump, guestsIn } from '#domain/dump.js';
import {
  dumpNodeTaskSchema,
  dumpTaskSchema,
  type DumpActivities,
  type DumpNodeTask,
  type DumpOpened,
  type DumpTask,
} from '#domain/messages/backup.js';
import type { StepAnswer } from '#domain/messages/store.js';
import type { Stop } from '#domain/reasons.js';
import type { TaskStatus } from '#systems/proxmox/types.js';
import { beating } from '../beating.js';
import { doorOf } from '../door.js';
import type { StoreDeps } from '../store/deps.js';
import type { Operation } from '../store/operation.js';
import { waitFor } from '../store/wait.js';
import { readSnapshots } from './copy.js';
import type { StoreBackup } from './deps.js';
import { gatherDumpFacts } from './dump-facts.js';
import { failureOf, isKind } from './answers.js';

/** Minutes that a vzdump of ours waits at most for another one on the same node. After that it is tried again, as long as the window is open. */
const LOCK_WAIT_MINUTES = 60;
/** Of one task, the last ones: some hundred for each guest. */
const LOG_LINES = 20_000;

/** What is known of a vzdump before and after it was asked for; on disk each time. */
interface DumpIntent extends Record<string, unknown> {
  /** ISO instant just before it was asked for. */
  at: string;
  /** Tasks that were there already: none of them is the one that was asked for. */
  before: string[];
  /** Guests that it was not asked for, since this night has their backup. */
  has?: number[];
  upid?: string;
}

/** The guests of a store are dumped by its nodes; the store worker only asks them to, and proves what came of it. */
export function createDumpActivities(
  deps: StoreDeps,
  operation: Operation,
  backup: StoreBackup | undefined,
): DumpActivities {
  const { proxmox, state, timing } = deps;
  const mine = doorOf(deps.store);

  return {
    /** Retry-safe: a lock that is held is found held, and the plan of the first time is on disk. */
    openDump: (raw) =>
      beating(async () => {
        const task = mine(dumpTaskSchema, raw);
        return backup ? open(task, backup) : { kind: 'refused', stop: NO_SERVER };
      }),

    /** Retry-safe: the task is found by what is on disk about it, and else by search, before another is started. */
    dumpNode: (raw) =>
      beating(async () => {
        const task = mine(dumpNodeTaskSchema, raw);
        if (!backup) return { kind: 'refused', stop: NO_SERVER };
        return operation.step(task, `dump ${task.node}, attempt ${task.attempt}`, (key) => dump(task, key, backup));
      }),

    /** Retry-safe: what is closed stays closed. */
    closeDump: (raw) => beating(() => operation.closeDump(mine(dumpTaskSchema, raw))),
  };

  async function open(task: DumpTask, target: StoreBackup): Promise<DumpOpened> {
    const { storage } = target;
    let guests: BackedUpGuest[] | undefined;
    const opened = await operation.openDump(task, async () => {
      const facts = await gatherDumpFacts(deps, target, task);
      guests = guestsIn(facts);
      return decideDump(facts, { storage, vmids: task.vmids, notAfter: task.notAfter });
    });
    if (opened.kind !== 'done') return guests ? { ...opened, guests } : opened;
    const { notes, adopted, ...plan } = opened;
    return { ...plan, adopted: [...adopted, ...notes] };
  }

  async function dump(task: DumpNodeTask, key: string, target: StoreBackup): Promise<StepAnswer<{ runs: GuestRun[] }>> {
    const { node, vmids } = task;
    const intent = state.step(key)?.intent as DumpIntent | undefined;
    try {
      const known = intent && (intent.upid ?? (await search(task, key, intent)));
      const begun = known === undefined ? await start(task, key, target) : { upid: known, has: intent?.has ?? [] };
      if ('kind' in begun) return begun;
      const { upid, has } = begun;
      return { kind: 'done', runs: [...has.map(done), ...(await prove(node, without(vmids, has), upid))] };
    } catch (error) {
      const { why, failure, kind } = failureOf(error);
      if (failure === 'credentials') return { kind: 'done', runs: all(vmids, { text: why, failure }) };
      // Whether anything was begun there nobody can say before the node is back, and then it has ended.
      if (kind === 'NodeUnreachable' && (await isOffline(node)))
        return { kind: 'done', runs: vmids.map((vmid) => ({ vmid, kind: 'unknown' })) };
      throw error;
    }
  }

  async function start(
    task: DumpNodeTask,
    key: string,
    target: StoreBackup,
  ): Promise<{ upid: string; has: number[] } | StepAnswer<{ runs: GuestRun[] }>> {
    const { node, vmids, notAfter } = task;
    const { storage, fleecing } = target;
    let has: number[] = [];
    const ended = (why: { text: string; failure: FailureClass }): StepAnswer<{ runs: GuestRun[] }> => ({
      kind: 'done',
      runs: [...has.map(done), ...all(without(vmids, has), why)],
    });
    let intent: DumpIntent | undefined;
    try {
      has = await backedUp(task, target);
      const asked = without(vmids, has);
      if (asked.length === 0) return { kind: 'done', runs: has.map(done) };
      const at = deps.now();
      if (notAfter !== undefined && at >= new Date(notAfter))
        return { kind: 'refused', stop: outsideWindow(node, notAfter) };
      const before = await proxmox.backups(node, asked, sinceOf(at));
      intent = { at: at.toISOString(), before: before.map(({ upid }) => upid), has };
      await state.intent(key, intent);
      const upid = await proxmox.backUp(node, {
        vmids: asked,
        storage,
        mode: 'snapshot',
        lockWaitMinutes: lockWait(at, notAfter),
        notes: noteOf(task.night),
        fleecingStorage: fleecing,
      });
      if (upid === undefined) return ended({ text: `no longer on ${node}`, failure: 'lock' });
      await state.intent(key, { ...intent, upid });
      return { upid, has };
    } catch (error) {
      if (intent === undefined || !isKind(error, 'OutcomeUnknown')) {
        const { why, failure, kind } = failureOf(error);
        if (kind === undefined) throw error;
        return ended({ text: why, failure });
      }
      const upid = await search(task, key, intent);
      // The next attempt searches once more before it asks anew.
      if (upid === undefined) throw error;
      return { upid, has };
    }
  }

  /**
   * Guests whose backup of this night the server has, when no vzdump of ours runs on the node any more: an operation that
   * nobody saw the end of may have made them, in an earlier round too.
   */
  async function backedUp({ node, vmids, night, startedAt }: DumpNodeTask, { pbs }: StoreBackup): Promise<number[]> {
    const own = await proxmox.tasks(node, { type: 'vzdump', own: true });
    for (const { upid } of own.filter(({ status }) => status === undefined)) await endOf(upid);
    const which = { night, startedAt: new Date(startedAt) };
    const made = (await readSnapshots(pbs.verifier, pbs))
      .filter((one) => one.type !== 'host' && (one.size ?? 0) > 0 && isOfNight(one, which))
      .map(({ id }) => id);
    return vmids.filter((vmid) => made.includes(String(vmid)));
  }

  /** The task of a request whose answer nobody got; undefined when it did not come about. Throws when that cannot be told. */
  async function search({ node, vmids }: DumpNodeTask, key: string, intent: DumpIntent): Promise<string | undefined> {
    const asked = without(vmids, intent.has ?? []);
    const since = sinceOf(new Date(intent.at));
    const look = async (): Promise<string | undefined> => {
      const found = await proxmox.backups(node, asked, since);
      return found.find(({ upid }) => !intent.before.includes(upid))?.upid;
    };
    // As with a reboot: a request may be carried out a while after its answer was lost.
    const age = deps.now().getTime() - Date.parse(intent.at);
    const { seen } = await waitFor(deps, Math.min(timing.rebootGrace, timing.rebootGrace - age), look);
    // A look that failed is not one that found nothing.
    const upid = seen ?? (await look());
    if (upid !== undefined) await state.intent(key, { ...intent, upid });
    return upid;
  }

  const isOffline = (node: string): Promise<boolean> =>
    proxmox.clusterStatus().then(
      ({ nodes }) => nodes.some(({ name, online }) => name === node && !online),
      () => false,
    );

  async function prove(node: string, vmids: readonly number[], upid: string): Promise<GuestRun[]> {
    const ended = await endOf(upid);
    if (!ended) return vmids.map((vmid) => ({ vmid, kind: 'unknown' }));
    const lines = await proxmox.taskLog(upid, LOG_LINES).catch((error: unknown) => {
      if (isKind(error, 'NotFound')) return [];
      throw error;
    });
    const moved = new Set(lines.flatMap((line) => ELSEWHERE.exec(line)?.[1]?.split(/,\s*/) ?? []));
    const why = troubleOf(ended, lines);
    return readVzdumpLog(lines, vmids).map((run) => {
      if (run.kind !== 'unknown') return run;
      const { vmid } = run;
      if (moved.has(String(vmid))) return { vmid, kind: 'failed', text: `no longer on ${node}`, failure: 'lock' };
      return why === undefined ? run : { vmid, kind: 'failed', text: why, failure: classOfText(why) };
    });
  }

  /** Undefined when the task is gone, or its node has been away for longer than a reboot takes. */
  async function endOf(upid: string): Promise<Extract<TaskStatus, { state: 'stopped' }> | undefined> {
    let seenAt = deps.uptime();
    for (;;) {
      try {
        const status = await proxmox.taskStatus(upid);
        if (status.state === 'stopped') return status;
        seenAt = deps.uptime();
      } catch (error) {
        if (isKind(error, 'NotFound')) return undefined;
        if (!isKind(error, 'NodeUnreachable')) throw error;
        if (deps.uptime() - seenAt > timing.reboot) return undefined;
      }
      await delay(timing.poll);
    }
  }
}

/** What vzdump says of guests that it was asked for and that are on other nodes. */
const ELSEWHERE = /^INFO: skip external VMs: ([\d, ]+)$/;
/** How a task ends of which the log, and nothing else, tells how its guests fared. */
const SAYS_NOTHING = /^(OK|WARNINGS: \d+|job errors|unexpected status)$/;
/** It never got to a guest. */
const NO_LOCK = /^ERROR: (can't acquire lock .*)$/;

/** Why no guest was dumped, when that is the reason. */
const troubleOf = ({ exit }: { exit: string }, lines: readonly string[]): string | undefined =>
  SAYS_NOTHING.test(exit) ? lines.map((line) => NO_LOCK.exec(line)?.[1]).find((text) => text !== undefined) : exit;

/** Minutes; no longer than to the end of the window, since what has waited begins whatever the hour. */
function lockWait(at: Date, notAfter: string | undefined): number {
  if (notAfter === undefined) return LOCK_WAIT_MINUTES;
  const left = Math.floor((Date.parse(notAfter) - at.getTime()) / 60_000);
  return Math.min(LOCK_WAIT_MINUTES, Math.max(1, left));
}

/** Epoch seconds, on whichever clock. */
const sinceOf = (at: Date): number => Math.floor((at.getTime() - MAX_SKEW) / 1_000);

const done = (vmid: number): GuestRun => ({ vmid, kind: 'done' });
const all = (vmids: readonly number[], why: { text: string; failure: FailureClass }): GuestRun[] =>
  vmids.map((vmid) => ({ vmid, kind: 'failed', ...why }));
const without = (vmids: readonly number[], some: readonly number[]): number[] =>
  vmids.filter((vmid) => !some.includes(vmid));

const outsideWindow = (node: string, notAfter: string): Stop => ({
  reason: 'OutsideWindow',
  step: `dump ${node}`,
  summary: `The window closed at ${notAfter}; the dump of ${node} was not started.`,
});

const NO_SERVER: Stop = {
  reason: 'BackupFailed',
  step: 'open dump',
  summary:
    'The file of this store worker names no backup server. Add the section `backup` to it, and start the worker again.',
};
