import type { TrialAnswer, TrialTask } from '#domain/messages/restore.js';
import { isSameTrial, isTestId, type Whose } from '#domain/restore-site.js';
import { isKind } from '../backup/answers.js';
import { waitFor } from '../store/wait.js';
import { siteFault } from './answers.js';
import type { RestoreDeps } from './deps.js';
import { NotAllowed, onNode } from './inside.js';
import { search } from './restore.js';
import { findGuest, recordOf, trialOf, whoseGuest, type Found } from './site.js';
import { endOf, restoresOf, type Work } from './tasks.js';
import { untilAdmitted } from './until-admitted.js';

/** Takes the guest of the trial away, in whatever state it is, and proves that neither it nor a disk of it is left. */
export const removeGuest = (deps: RestoreDeps, task: TrialTask): Promise<TrialAnswer<object>> =>
  untilAdmitted(deps, () => removeOnce(deps, task));

async function removeOnce(deps: RestoreDeps, task: TrialTask): Promise<TrialAnswer<object>> {
  const record = recordOf(deps, task);
  const upid = record && (record.upid ?? (await search(deps, task, record)));
  if (upid !== undefined) await endRestore(deps, upid);
  const found = await findGuest(deps, task.as);
  if (!found) {
    await deps.state.forgetTrial(task.as);
    return { kind: 'done' };
  }
  const seen = await whoseGuest(deps, found);
  if (!seen) throw new Error(`Guest ${task.as} is in the list of guests, and has no settings any more.`);
  const why = strangeIn(seen.whose, task, upid);
  if (why !== undefined)
    return siteFault(`It is still there: ${why}, so it may be somebody else's. It was left as it is.`);
  const left = await takeAway(deps, found);
  if (left.length > 0) return siteFault(`Guest ${task.as} is gone, and not all of its disks are.`, left);
  await deps.state.forgetTrial(task.as);
  return { kind: 'done' };
}

/** Why it may not be of this trial; undefined when it is proven to be. */
function strangeIn(whose: Whose<Work>, task: TrialTask, upid: string | undefined): string | undefined {
  switch (whose.kind) {
    case 'marked':
      return isSameTrial(whose.mark, { ...trialOf(task), askedAt: '' }) ? undefined : 'its notes are of another test';
    case 'remainder':
      return whose.task.upid === upid ? undefined : 'another restore made it';
    case 'unknown':
      return whose.why;
    default:
      return whose satisfies never;
  }
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
