import { setTimeout as delay } from 'node:timers/promises';
import type { TrialAnswer, TrialTask } from '#domain/messages/restore.js';
import { isTestId } from '#domain/restore-site.js';
import { isKind } from '../backup/answers.js';
import { waitFor } from '../store/wait.js';
import { siteFault } from './answers.js';
import type { RestoreDeps } from './deps.js';
import { NotAllowed, onNode } from './inside.js';
import { search } from './restore.js';
import { configOf, findGuest, guestOf, recordOf, type Found } from './site.js';
import { endOf, restoresOf } from './tasks.js';

/**
 * Takes the guest of the trial away, in whatever state it is, and proves that neither it nor a disk of it is left. A
 * token that is refused, as one is that is just being renewed, is tried again for as long as `timing.remove` says.
 */
export async function removeGuest(deps: RestoreDeps, task: TrialTask): Promise<TrialAnswer<object>> {
  const until = performance.now() + deps.timing.remove;
  for (;;) {
    try {
      return await removeOnce(deps, task);
    } catch (error) {
      if (!isKind(error, 'Auth') || performance.now() >= until) throw error;
      await delay(deps.timing.poll);
    }
  }
}

async function removeOnce(deps: RestoreDeps, task: TrialTask): Promise<TrialAnswer<object>> {
  const record = recordOf(deps, task);
  const upid = record && (record.upid ?? (await search(deps, task, record)));
  if (upid !== undefined) await endRestore(deps, upid);
  const found = await findGuest(deps, task.as);
  if (!found) {
    await deps.state.forgetTrial(task.as);
    return { kind: 'done' };
  }
  const isOurs = (await guestOf(deps, task)) !== undefined || (await isLeftover(deps, found, upid));
  if (!isOurs) return siteFault(`Guest ${task.as} is not of this trial. It was left as it is.`);
  const left = await takeAway(deps, found);
  if (left.length > 0) return siteFault(`Guest ${task.as} is gone, and not all of its disks are.`, left);
  await deps.state.forgetTrial(task.as);
  return { kind: 'done' };
}

/** One that a restore of ours was about to make: on that node, and with no notes of anybody yet. */
async function isLeftover(deps: RestoreDeps, found: Found, upid: string | undefined): Promise<boolean> {
  if (upid?.split(':')[1] !== found.node) return false;
  return (await configOf(deps, found))?.['description'] === undefined;
}

/** A restore that still runs is broken off. */
export async function endRestore(deps: RestoreDeps, upid: string): Promise<void> {
  const { proxmox, timing } = deps;
  if (await endOf(deps, upid, 0)) return;
  await proxmox.stopTask(upid).catch((error: unknown) => {
    if (!isKind(error, 'NotFound') && !isKind(error, 'OutcomeUnknown')) throw error;
  });
  const running = (await restoresOf(deps, Number(upid.split(':')[6]))).filter(({ status }) => status === undefined);
  if (!running.some((one) => one.upid === upid)) return;
  if (!(await endOf(deps, upid, timing.remove))) throw new Error(`The restore ${upid} does not end.`);
}

/** Returns what is left of its disks. Throws when the guest could not be taken away. */
export async function takeAway(deps: RestoreDeps, found: Found): Promise<string[]> {
  const { proxmox, place, timing } = deps;
  const { node, kind, vmid } = found;
  if (!isTestId(vmid)) throw new NotAllowed(`${vmid} is not one of the ids for tests.`);
  const { status, lock } = await proxmox.guestStatus(node, kind, vmid);
  if (status === 'running') await endedWell(deps, proxmox.stop(node, kind, vmid));
  if (lock !== undefined) await onNode(deps, found, ['unlock', String(vmid)]);
  const isInPool = (await proxmox.poolMembers(place.pool)).some((member) => member.vmid === vmid);
  if (isInPool) await endedWell(deps, proxmox.destroy(node, kind, vmid));
  // The token has no rights on what is in no pool, and that is all that a restore leaves which failed.
  else await onNode(deps, found, destroyWords(found));
  const { seen } = await waitFor(deps, timing.grace, async () => ((await findGuest(deps, vmid)) ? undefined : true));
  if (!seen) throw new Error(`Guest ${vmid} on ${node} is still there after it was destroyed.`);
  return proxmox.volumes(node, place.storage, vmid);
}

/** A list of commands for sudo names each word, so it is these and in this order. */
const destroyWords = ({ kind, vmid }: Found): string[] =>
  kind === 'qemu'
    ? ['destroy', String(vmid), '--purge', '1', '--destroy-unreferenced-disks', '1']
    : ['destroy', String(vmid), '--purge', '1'];

/** What was asked for and has no answer is looked at by whoever looks next. */
async function endedWell(deps: RestoreDeps, starting: Promise<string>): Promise<void> {
  const upid = await starting;
  const ended = await endOf(deps, upid, deps.timing.remove);
  if (!ended?.ok) throw new Error(`${upid.split(':')[5]} of ${upid.split(':')[6]}: ${ended?.exit ?? 'no end in time'}`);
}
