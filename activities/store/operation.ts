import type { NodeFacts } from '#domain/facts.js';
import type { StepAnswer, StoreTask } from '#domain/messages/store.js';
import type { Stop } from '#domain/reasons.js';
import type { Mark, OperationRecord } from '#systems/store-state/types.js';
import { SUDO, type Opened, type StoreDeps } from './deps.js';
import { lines, readAudit, readHa, readUpgradeUnit, runnerOf, unitLog } from './facts.js';
import { waitFor } from './wait.js';

/**
 * The store's own lock and memory. One operation at a time holds the store; it is known by its id and its fence, and
 * what it sets on the cluster is marked here, on disk, before it is set. Whoever comes next adopts or takes back what
 * an earlier operation left, however that one ended.
 */
export interface Operation {
  open(task: StoreTask): Promise<StepAnswer<{ adopted: string[] }>>;
  /**
   * Runs a step once: returns what is recorded, joins an attempt that still runs in this process, or runs it and
   * records the answer. An error is not recorded, so the next attempt looks and goes on.
   */
  step<Done extends object>(
    task: StoreTask,
    name: string,
    run: (key: string) => Promise<StepAnswer<Done>>,
  ): Promise<StepAnswer<Done>>;
  /** The release this operation was opened with. After a restart of the worker it is pulled and verified again. */
  release(task: StoreTask): Promise<Opened>;
  marks(): Mark[];
  ours(): { maintenance: string[]; noout: string[] };
  mark(kind: Mark['kind'], node: string): Promise<void>;
  unmark(kind: Mark['kind'], node: string): Promise<void>;
  homes(): Record<string, string>;
  rememberHomes(homes: Record<string, string>): Promise<void>;
  close(task: StoreTask, outcome: string): Promise<{ undone: string[]; leftSet: string[] }>;
}

export function createOperation(deps: StoreDeps): Operation {
  const { state, now } = deps;
  const running = new Map<string, Promise<unknown>>();
  let verified: { manifest: string; opened: Opened } | undefined;

  const record = (): OperationRecord => {
    const operation = state.operation();
    if (!operation) throw new Error('No operation holds the store.');
    return operation;
  };

  const staleness = (task: StoreTask): Stop | undefined => {
    const held = state.operation();
    if (held?.open && held.operationId === task.operationId && held.fence === task.fence) return undefined;
    return stale(`The store is held by ${held?.operationId ?? 'nobody'}; ${task.operationId} may not act on it.`);
  };

  const verify = async (task: StoreTask): Promise<Opened | Stop> => {
    const { version } = await deps.proxmox.version();
    const verdict = await deps.verifier.verify({
      ref: task.release,
      store: task.store,
      fleet: task.fleet,
      now: now(),
      highestSequence: state.trust().highestSequence,
      pveVersion: version,
    });
    if (verdict.kind === 'refused') return { reason: verdict.reason, step: 'verify release', summary: verdict.summary };
    const opened = { manifest: verdict.manifest, artifact: verdict.artifact };
    verified = { manifest: task.release.manifest, opened };
    return opened;
  };

  /** Waits for what an earlier operation began on its nodes, so that nothing is undone under a running upgrade. */
  const settle = async (marks: Mark[]): Promise<string[]> => {
    const notes: string[] = [];
    for (const node of new Set(marks.map(({ node: name }) => name))) {
      const settled = await waitFor(deps, deps.timing.reboot + deps.timing.upgrade, async () => {
        const unit = await readUpgradeUnit(runnerOf(deps, node));
        return unit?.state === 'running' ? undefined : { unit };
      });
      if (!settled.seen) {
        notes.push(`${node} is not back: ${settled.lastError}`);
        continue;
      }
      const { unit } = settled.seen;
      if (!unit) continue;
      notes.push(`${node}: adopted the upgrade ${unit.name}, which ${unit.state}`);
      if (unit.state === 'failed') notes.push(...(await removeUnit(deps, node, unit)));
    }
    return notes;
  };

  const undo = async (): Promise<{ undone: string[]; leftSet: string[] }> => {
    const undone: string[] = [];
    const leftSet: string[] = [];
    // noout first: it is the one that hides a fault from Ceph.
    for (const { kind, node } of [...record().marks].sort((a, b) =>
      a.kind === b.kind ? 0 : a.kind === 'noout' ? -1 : 1,
    )) {
      const why = kind === 'noout' ? await takeBackNoout(node) : await takeBackMaintenance(node);
      if (why === undefined) {
        await keeper.unmark(kind, node);
        undone.push(`${kind} of ${node}`);
      } else {
        leftSet.push(`${kind} of ${node} (${why})`);
      }
    }
    return { undone, leftSet };
  };

  const takeBackNoout = async (node: string): Promise<string | undefined> => {
    const gone = await waitFor(deps, deps.timing.rejoin, async () => {
      await deps.ceph.unsetHostNoout(node);
      const hostFlags = await deps.ceph.hostFlags();
      return hostFlags[node]?.includes('noout') ? undefined : true;
    });
    return gone.seen ? undefined : gone.lastError;
  };

  /** A node that is not fit to run guests stays cordoned, on purpose; people decide. */
  const takeBackMaintenance = async (node: string): Promise<string | undefined> => {
    const unfit = await whyUnfit(deps, node);
    if (unfit) return unfit;
    try {
      await leaveMaintenance(deps, node);
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  };

  const keeper: Operation = {
    async open(task) {
      const held = state.operation();
      if (held && held.operationId === task.operationId && held.fence === task.fence) {
        if (!held.open) return { kind: 'refused', stop: stale(`${task.operationId} has ended already.`) };
        await this.release(task);
        return { kind: 'done', adopted: [] };
      }
      if (held && task.fence <= held.fence)
        return { kind: 'refused', stop: stale(`${held.operationId} is newer than ${task.operationId}.`) };

      const opened = await verify(task);
      if (!('manifest' in opened)) return { kind: 'refused', stop: opened };

      // Steps of an operation that was terminated may still run in this process; what they do is waited for.
      await Promise.allSettled(running.values());
      const left = held?.marks ?? [];
      const adopted = await settle(left);
      await state.save({
        operationId: task.operationId,
        fence: task.fence,
        open: true,
        release: task.release,
        startedAt: now().toISOString(),
        marks: left,
        homes: left.length > 0 ? (held?.homes ?? {}) : {},
      });
      await state.saveTrust({
        ...state.trust(),
        highestSequence: Math.max(state.trust().highestSequence, task.release.sequence),
      });
      if (held?.release.manifest === task.release.manifest) {
        adopted.push(...left.map(({ kind, node }) => `took over ${kind} of ${node} from ${held.operationId}`));
      } else if (left.length > 0) {
        const { undone, leftSet } = await undo();
        adopted.push(...undone.map((what) => `undone: ${what}`), ...leftSet.map((what) => `left: ${what}`));
      }
      return { kind: 'done', adopted };
    },

    async step<Done extends object>(task: StoreTask, name: string, run: (key: string) => Promise<StepAnswer<Done>>) {
      const notOurs = staleness(task);
      if (notOurs) return { kind: 'refused', stop: notOurs };
      // With the fence: a train that is run again under its old id repeats operation ids, and must not find old results.
      const key = `${task.operationId}|${task.fence}|${name}`;
      const recorded = state.step(key)?.result;
      if (recorded !== undefined) return recorded as StepAnswer<Done>;
      const inFlight = running.get(key);
      if (inFlight) return inFlight as Promise<StepAnswer<Done>>;
      const attempt = run(key)
        .then(async (answer) => {
          await state.result(key, answer);
          return answer;
        })
        .finally(() => running.delete(key));
      running.set(key, attempt);
      return attempt;
    },

    async release(task) {
      if (verified?.manifest === task.release.manifest) return verified.opened;
      const opened = await verify(task);
      if ('manifest' in opened) return opened;
      throw new ReleaseRefused(opened);
    },

    marks: () => state.operation()?.marks ?? [],
    ours() {
      const marks = this.marks();
      const of = (kind: Mark['kind']) => marks.filter((mark) => mark.kind === kind).map(({ node }) => node);
      return { maintenance: of('maintenance'), noout: of('noout') };
    },
    async mark(kind, node) {
      const operation = record();
      if (operation.marks.some((mark) => mark.kind === kind && mark.node === node)) return;
      await state.save({ ...operation, marks: [...operation.marks, { kind, node, setAt: now().toISOString() }] });
    },
    async unmark(kind, node) {
      const operation = record();
      await state.save({
        ...operation,
        marks: operation.marks.filter((mark) => !(mark.kind === kind && mark.node === node)),
      });
    },
    homes: () => state.operation()?.homes ?? {},
    async rememberHomes(homes) {
      const operation = record();
      // The first place seen is home; a second drain after an adoption would see guests where they were moved to.
      await state.save({ ...operation, homes: { ...homes, ...operation.homes } });
    },

    async close(task, outcome) {
      const held = state.operation();
      if (!held || held.operationId !== task.operationId || held.fence !== task.fence)
        return { undone: [], leftSet: [] };
      await Promise.allSettled(running.values());
      const answer = await undo();
      if (outcome === 'succeeded' && answer.leftSet.length === 0)
        await state.saveTrust({ ...state.trust(), current: task.release });
      await state.save({ ...record(), open: false, endedAt: now().toISOString(), outcome });
      return answer;
    },
  };
  return keeper;
}

/** Why a node may not take guests yet; undefined = it may. */
async function whyUnfit(deps: StoreDeps, node: string): Promise<string | undefined> {
  try {
    const runner = runnerOf(deps, node);
    const audit = await readAudit(runner);
    if (audit.length > 0) return `dpkg is not clean: ${audit[0]}`;
    const unit = await readUpgradeUnit(runner);
    if (unit?.state === 'running') return `${unit.name} still runs`;
    if (unit) await removeUnit(deps, node, unit);
    return undefined;
  } catch (error) {
    return `not reachable: ${error instanceof Error ? error.message : String(error)}`;
  }
}

export async function leaveMaintenance(deps: StoreDeps, node: string): Promise<void> {
  const gone = await waitFor(deps, deps.timing.rejoin, async () => {
    const { nodeStatus } = await readHa(deps);
    if (nodeStatus[node] === 'online') return true;
    await lines(runnerOf(deps, node), [...SUDO, 'ha-manager', 'crm-command', 'node-maintenance', 'disable', node]);
    return undefined;
  });
  if (!gone.seen) throw new Error(`${node} does not leave maintenance: ${gone.lastError}`);
}

/** Removes a unit that has ended. Of one that failed the last lines of its log are given, as evidence. */
export async function removeUnit(
  deps: StoreDeps,
  node: string,
  { name, state }: NonNullable<NodeFacts['upgradeUnit']>,
): Promise<string[]> {
  const runner = runnerOf(deps, node);
  const unit = `${name}.service`;
  if (state === 'succeeded') {
    await runner.run([...SUDO, 'systemctl', 'stop', unit]);
    return [];
  }
  const log = await unitLog(runner, name);
  await runner.run([...SUDO, 'systemctl', 'reset-failed', unit]);
  return log;
}

const stale = (summary: string): Stop => ({ reason: 'StaleOperation', step: 'open', summary });

/** A release that was accepted before is refused now: expired, demoted, or a key withdrawn. */
export class ReleaseRefused extends Error {
  readonly kind: string;
  readonly retryable = false;
  constructor(stop: Stop) {
    super(stop.summary);
    this.name = 'ReleaseRefused';
    this.kind = stop.reason;
  }
}
