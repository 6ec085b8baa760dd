import { setTimeout as delay } from 'node:timers/promises';
import { are, plural } from '#domain/counted.js';
import {
  decideDrain,
  decidePackages,
  decideReboot,
  decideRejoined,
  lacking,
  type StoreContext,
} from '#domain/decide-store.js';
import { decideBoot } from '#domain/downgrade.js';
import type { GuestFacts, NodeFacts, StoreFacts } from '#domain/facts.js';
import type { NodeTask, StepAnswer } from '#domain/messages/store.js';
import { upgradeUnit } from '#domain/naming.js';
import type { Reason, Stop } from '#domain/reasons.js';
import { pinsOf, SUDO, type StoreDeps } from './deps.js';
import {
  bootId,
  gatherFacts,
  lines,
  readAudit,
  readCluster,
  readGuests,
  readHa,
  readHaManager,
  readInstalled,
  readNode,
  readUpgradeUnit,
  runnerOf,
  unitLog,
  type Wanted,
} from './facts.js';
import { bringHome, moveGuest, roomiest } from './guest-moves.js';
import { leaveMaintenance, removeUnit } from './marks.js';
import type { Operation } from './operation.js';
import { aptCommand, aptRequest } from './packages.js';
import { waitFor } from './wait.js';

/**
 * The four steps of a node. Each looks first and adopts what an earlier attempt began, reads the facts again
 * immediately before it disturbs anything, acts, and proves what it did.
 */
export function createNodeSteps(deps: StoreDeps, operation: Operation) {
  const { timing, proxmox, ceph, state } = deps;

  const contextOf = async (task: NodeTask): Promise<StoreContext> => {
    const opened = await operation.release(task);
    return {
      ...pinsOf(opened, task.permit !== undefined),
      expectedNodes: opened.artifact.store.nodes.map(({ name }) => name),
      ours: operation.ours(),
      work: [task.node],
    };
  };

  /** The store's own last look: is the window still open, and the same decision as the workflow's on facts of this moment. */
  const lookAgain = async (
    task: NodeTask,
    step: string,
    context: StoreContext,
    decide: (facts: StoreFacts, context: StoreContext, node: string) => ReturnType<typeof decideDrain>,
    wanted: Pick<Wanted, 'stoppable' | 'load' | 'managers'>,
  ): Promise<{ stop: Stop } | { stop?: undefined; node: NodeFacts | undefined }> => {
    if (task.notAfter && deps.now() >= new Date(task.notAfter)) {
      const summary = `The window closed at ${task.notAfter}; ${step} was not started.`;
      return { stop: { reason: 'OutsideWindow', step, summary } };
    }
    const facts = await gatherFacts(deps, { nodes: [task.node], packages: Object.keys(context.packages), ...wanted });
    const decision = decide(facts, context, task.node);
    if (decision.kind === 'proceed') return { node: facts.nodes.find(({ name }) => name === task.node) };
    return { stop: { ...decision.stop, reason: 'FactsChanged', detail: decision.stop.detail } };
  };

  const guestsOn = async (node: string): Promise<GuestFacts[]> =>
    (await readGuests(deps)).filter((guest) => guest.node === node && guest.status === 'running' && !guest.template);

  /**
   * Retry-safe: maintenance and noout are marked before they are set and setting them again changes nothing; a guest
   * that has left is not asked to leave again, and a migration whose answer was lost is found in the task list.
   */
  async function drain(task: NodeTask, key: string): Promise<StepAnswer<{ moved: number }>> {
    const { node } = task;
    const step = `drain ${node}`;
    const context = await contextOf(task);
    // An intent alone does not say that anything happened: until maintenance is there the decision is made anew.
    const begun =
      state.step(key)?.intent !== undefined && (await readHaManager(deps)).nodeStatus[node] === 'maintenance';
    if (!begun) {
      const wanted = { stoppable: [node], load: true, managers: true };
      const { stop } = await lookAgain(task, step, context, decideDrain, wanted);
      if (stop) return refused(stop);
    }
    const there = await guestsOn(node);
    await operation.rememberHomes(Object.fromEntries(there.map(({ vmid }) => [String(vmid), node])));
    if (!begun) await state.intent(key, { guests: there.map(({ vmid }) => vmid) });

    await operation.mark('maintenance', node);
    await lines(runnerOf(deps, node), [...SUDO, 'ha-manager', 'crm-command', 'node-maintenance', 'enable', node]);

    let manager: string | undefined;
    const empty = await waitFor(deps, timing.drain, async () => {
      const left = await guestsOn(node);
      for (const guest of left.filter(({ ha }) => !ha))
        await moveGuest(deps, guest, await roomiest(deps, guest, context.expectedNodes));
      const { nodeStatus, managers } = await readHa(deps);
      manager = managers?.[node];
      const watchdogOff = manager !== undefined && !/active/.test(manager);
      return left.length === 0 && nodeStatus[node] === 'maintenance' && watchdogOff ? true : undefined;
    });
    if (!empty.seen) {
      const left = await guestsOn(node).catch(() => []);
      return failed('DrainTimeout', step, `${plural(left.length, 'guest')} ${are(left.length)} still on ${node}.`, [
        empty.lastError,
        `resource manager: ${manager ?? 'not reported'}`,
        ...left.map(({ vmid, name }) => `${vmid} ${name}`),
      ]);
    }

    await operation.mark('noout', node);
    await ceph.setHostNoout(node);
    const hostFlags = await ceph.hostFlags();
    if (!hostFlags[node]?.includes('noout'))
      return failed('StepFailed', step, `noout was set on ${node} and is not there.`);
    return { kind: 'done', moved: there.length };
  }

  /**
   * Retry-safe: the transient unit is named by the release, so a second start is refused by systemd; a unit that runs
   * is waited for, one that vanished with a reboot leaves the inventory to decide.
   */
  async function upgrade(task: NodeTask, key: string): Promise<StepAnswer<{ changed: number }>> {
    const { node } = task;
    const step = `upgrade ${node}`;
    const runner = runnerOf(deps, node);
    const context = await contextOf(task);
    const names = Object.keys(context.packages);
    const unit = upgradeUnit(task.release.manifest);

    const before = await readInstalled(runner, names);
    const found = await readUpgradeUnit(runner);
    // One of another release that has ended says nothing of this one.
    const over = found && found.name !== unit && found.state !== 'running' ? found : undefined;
    const present = over ? undefined : found;
    const changed = lacking({ installed: before }, context).length;
    const request = aptRequest({ installed: before }, context);
    if (!present && changed > 0 && request) {
      const { stop } = await lookAgain(task, step, context, decidePackages, { stoppable: [] });
      if (stop) return refused(stop);
      if (over) await removeUnit(deps, node, over);
      await state.intent(key, { unit, changed });
      await lines(runner, [
        ...SUDO,
        'systemd-run',
        `--unit=${unit}`,
        '--remain-after-exit',
        '--setenv=DEBIAN_FRONTEND=noninteractive',
        '--setenv=NEEDRESTART_MODE=l',
        '--',
        ...aptCommand(request),
      ]);
    } else if (present && present.name !== unit) {
      return failed('PackagesBroken', step, `Another upgrade (${present.name}) runs on ${node}.`);
    }

    const waited = await waitFor(deps, timing.upgrade, async () => {
      const now = await readUpgradeUnit(runner);
      return now?.state === 'running' ? undefined : { unit: now };
    });
    if (!waited.seen) return failed('UpgradeTimeout', step, `apt has not ended on ${node}.`, [waited.lastError]);
    const ended = waited.seen.unit;
    if (ended?.state === 'failed') {
      const log = await unitLog(runner, ended.name);
      return failed('UpgradeFailed', step, `apt failed on ${node}.`, log);
    }

    const [installed, audit] = await Promise.all([readInstalled(runner, names), readAudit(runner)]);
    const wrong = lacking({ installed }, context);
    if (audit.length > 0 || wrong.length > 0) {
      const detail = [
        ...audit,
        ...wrong.map((name) => `${name}: ${installed[name] ?? 'not installed'}, pinned ${context.packages[name]}`),
      ];
      return failed('InventoryMismatch', step, `${node} does not have the packages of the release.`, detail);
    }
    if (ended) await removeUnit(deps, node, ended);
    // The newer kernel stays installed: without a pin the next start of the node, whoever asks for it, would take it.
    if (context.back) await chooseKernel(await readNode(deps, node, names), context.kernel);
    return { kind: 'done', changed };
  }

  /**
   * Retry-safe: the boot id of before is recorded, and the node is asked to reboot only while it still has that one.
   */
  async function reboot(task: NodeTask, key: string): Promise<StepAnswer<{ kernel: string }>> {
    const { node } = task;
    const step = `reboot ${node}`;
    const runner = runnerOf(deps, node);
    const context = await contextOf(task);
    const recorded = state.step(key)?.intent?.['bootId'] as string | undefined;
    // Unreadable: the node is on its way down or up, as an earlier attempt asked.
    const current = recorded === undefined ? await bootId(runner) : await bootId(runner).catch(() => undefined);
    const old = recorded ?? current;
    const look = () => lookAgain(task, step, context, decideReboot, { stoppable: [node] });
    if (current !== undefined && current === old) {
      const first = await look();
      if (first.stop) return refused(first.stop);
      if (recorded === undefined) await state.intent(key, { bootId: current });
      if (first.node) await chooseKernel(first.node, context.kernel);
    }
    // An attempt before this one may have asked just now; the node gets its time to act on that.
    let askedAt = recorded === undefined ? undefined : performance.now();
    const back = await waitFor(deps, timing.reboot, async () => {
      const now = await bootId(runner);
      if (now !== old) return { boot: now };
      // Still the old boot. Ask, and ask again only when an accepted request has plainly come to nothing.
      if (askedAt !== undefined) {
        if (performance.now() - askedAt < timing.rebootGrace) return undefined;
        // What allowed the request before is as old as that.
        const { stop } = await look();
        if (stop) return { stop };
      }
      askedAt = performance.now();
      await askToReboot(node);
      return undefined;
    });
    if (!back.seen) return failed('RebootTimeout', step, `${node} did not come back in time.`, [back.lastError]);
    if (back.seen.stop) return refused(back.seen.stop);

    const kernel = await waitFor(deps, timing.rejoin, async () => (await lines(runner, ['uname', '-r']))[0]);
    if (kernel.seen !== context.kernel) {
      return failed(
        'WrongKernel',
        step,
        `${node} came back with kernel ${kernel.seen ?? 'unknown'}, the release names ${context.kernel}.`,
      );
    }
    return { kind: 'done', kernel: kernel.seen };
  }

  /** Pins outlast the operation, so they are kept with the trust of the store: the next upgrade takes them away. */
  async function chooseKernel(facts: NodeFacts, kernel: string): Promise<void> {
    const { name } = facts;
    const pins = state.trust().pins ?? {};
    const change = decideBoot(facts, kernel, pins[name]);
    if (change === 'none') return;
    const bootTool = (...words: string[]) =>
      lines(runnerOf(deps, name), [...SUDO, 'proxmox-boot-tool', ...words], timing.rejoin);
    if (change === 'pin') await state.saveTrust({ pins: { ...pins, [name]: kernel } });
    await bootTool('kernel', ...(change === 'pin' ? ['pin', kernel] : ['unpin']));
    // Writes the choice to the boot partitions of nodes that have them.
    await bootTool('refresh');
    if (change === 'unpin')
      await state.saveTrust({ pins: Object.fromEntries(Object.entries(pins).filter(([node]) => node !== name)) });
  }

  async function askToReboot(node: string): Promise<void> {
    try {
      await proxmox.reboot(node);
    } catch (error) {
      // It may have been accepted: the boot id will tell.
      if ((error as { kind?: unknown }).kind !== 'OutcomeUnknown') throw error;
    }
  }

  /** Retry-safe: waits for a state, and takes back what is marked as ours; both are no-ops the second time. */
  async function rejoin(task: NodeTask): Promise<StepAnswer<{ returned: number }>> {
    const { node } = task;
    const step = `rejoin ${node}`;
    const context = await contextOf(task);

    const complete = await waitFor(deps, timing.rejoin, async () => {
      const { quorate, nodes } = await readCluster(deps);
      return quorate && nodes.every(({ online }) => online) ? true : undefined;
    });
    if (!complete.seen)
      return failed('RejoinTimeout', step, `${node} is up but the cluster is not complete.`, [complete.lastError]);

    const stuck = await proveRecovered(node, context);
    if (stuck) return failed('RecoveryStuck', step, `Ceph did not recover after ${node} came back.`, stuck);

    await ceph.unsetHostNoout(node);
    const hostFlags = await ceph.hostFlags();
    if (hostFlags[node]?.includes('noout')) return failed('UndoIncomplete', step, `noout is still set on ${node}.`);
    await operation.unmark('noout', node);

    await leaveMaintenance(deps, node);
    await operation.unmark('maintenance', node);
    return { kind: 'done', returned: await bringHome(deps, operation.homes(), node) };
  }

  /** Well at a glance, and again in full some time later: placement groups report late. Else what is wrong. */
  async function proveRecovered(node: string, context: StoreContext): Promise<string[] | undefined> {
    let wrong: string[] | undefined;
    const proven = await waitFor(deps, timing.recovery, async () => {
      if (!(await ceph.looksSettled())) return undefined;
      await delay(timing.stable);
      const facts = await gatherFacts(deps, { nodes: [], stoppable: [], packages: [] });
      const decision = decideRejoined(facts, { ...context, ours: operation.ours() }, node);
      wrong = decision.kind === 'stop' ? decision.stop.detail : undefined;
      return wrong ? undefined : true;
    });
    return proven.seen ? undefined : (wrong ?? [proven.lastError]);
  }

  return { drain, upgrade, reboot, rejoin };
}

const refused = (stop: Stop) => ({ kind: 'refused' as const, stop });
const failed = (reason: Reason, step: string, summary: string, detail: string[] = []) => ({
  kind: 'failed' as const,
  stop: { reason, step, summary, detail: detail.filter((line) => line !== '').slice(0, 20) },
});
