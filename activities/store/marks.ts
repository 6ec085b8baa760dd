import type { NodeFacts } from '#domain/facts.js';
import { stepKey } from '#domain/naming.js';
import type { Mark, OperationName } from '#systems/store-state/types.js';
import { SUDO, type StoreDeps } from './deps.js';
import { lines, readAudit, readHaManager, readUpgradeUnit, runnerOf, unitLog } from './facts.js';
import { waitFor } from './wait.js';

/** Takes back what an operation set on a node. Whoever does it, it is done here: the same looks, the same proof. */

/** Undefined when it is gone; else why not. */
export async function takeBack(deps: StoreDeps, { kind, node }: Pick<Mark, 'kind' | 'node'>) {
  return kind === 'noout' ? takeBackNoout(deps, node) : takeBackMaintenance(deps, node);
}

/** noout first: it is the one that hides a fault from Ceph. */
export const inOrderOfUndo = (marks: readonly Mark[]): Mark[] =>
  marks.toSorted((a, b) => (a.kind === b.kind ? 0 : a.kind === 'noout' ? -1 : 1));

async function takeBackNoout(deps: StoreDeps, node: string): Promise<string | undefined> {
  const gone = await waitFor(deps, deps.timing.rejoin, async () => {
    await deps.ceph.unsetHostNoout(node);
    const hostFlags = await deps.ceph.hostFlags();
    return hostFlags[node]?.includes('noout') ? undefined : true;
  });
  return gone.seen ? undefined : gone.lastError;
}

/** A node that is not fit to run guests stays cordoned, on purpose; people decide. */
async function takeBackMaintenance(deps: StoreDeps, node: string): Promise<string | undefined> {
  const unfit = await whyUnfit(deps, node);
  if (unfit) return unfit;
  try {
    await leaveMaintenance(deps, node);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
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
    const { nodeStatus } = await readHaManager(deps);
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

/**
 * Waits for what an earlier operation began on the nodes that it left, so that nothing is undone under a running upgrade.
 * A node that cannot be reached, and on which nothing of ours can be under way, is not waited for: it is down, and the
 * pre-check says so.
 */
export async function settle(deps: StoreDeps, owner: OperationName, marks: readonly Mark[]): Promise<string[]> {
  const nodes = new Set(marks.map(({ node }) => node));
  const notes = await Promise.all([...nodes].map((node) => settleNode(deps, owner, node)));
  return notes.flat();
}

async function settleNode(deps: StoreDeps, { operationId, fence }: OperationName, node: string): Promise<string[]> {
  const { timing, state } = deps;
  const isUnderWay = (step: string) => {
    const entry = state.step(stepKey({ operationId, fence }, `${step} ${node}`));
    return entry?.intent !== undefined && entry.result === undefined;
  };
  const look = () => readUpgradeUnit(runnerOf(deps, node));
  const isUpgrading =
    isUnderWay('upgrade') ||
    (await look().then(
      (unit) => unit?.state === 'running',
      () => false,
    ));
  const patience = Math.max(isUpgrading ? timing.upgrade : 0, isUnderWay('reboot') ? timing.reboot : 0);
  const settled = await waitFor(deps, patience, async () => {
    const unit = await look();
    if (unit?.state === 'running') throw new Error(`${unit.name} still runs`);
    return { unit };
  });
  if (!settled.seen) return [`went on without ${node}: ${settled.lastError}`];
  const { unit } = settled.seen;
  if (!unit) return [];
  const log = unit.state === 'failed' ? await removeUnit(deps, node, unit) : [];
  return [`${node}: adopted the upgrade ${unit.name}, which ${unit.state}`, ...log];
}

/**
 * Before a node goes back, dpkg ends what a broken upgrade left half done: apt would refuse to work otherwise. Only on
 * nodes that we hold out of service. A node that stays unclean is found by the pre-check, and people are asked.
 */
export async function mendPackages(deps: StoreDeps, marks: readonly Mark[]): Promise<string[]> {
  const notes: string[] = [];
  for (const { node } of marks.filter(({ kind }) => kind === 'maintenance')) {
    const runner = runnerOf(deps, node);
    const [finding] = await readAudit(runner).catch(() => []);
    if (finding === undefined || (await readHaManager(deps)).nodeStatus[node] !== 'maintenance') continue;
    const { code, stderr } = await runner.run([...SUDO, 'dpkg', '--configure', '-a'], {
      timeoutMs: deps.timing.upgrade,
    });
    const ended = code === 0 ? 'ended what was half done' : `failed: ${stderr.trim().slice(0, 300)}`;
    notes.push(`${node}: dpkg was not clean (${finding}); dpkg --configure ${ended}`);
  }
  return notes;
}
