import { setTimeout as delay } from 'node:timers/promises';
import type {
  ProbeResult,
  ProbeTask,
  RestoreActivities,
  Timed,
  TrialAnswer,
  TrialTask,
} from '#domain/messages/restore.js';
import { decideStart, hasAgent } from '#domain/restore-site.js';
import type { TrialRecord } from '#systems/site-state/types.js';
import { isKind } from '../backup/answers.js';
import { waitFor } from '../store/wait.js';
import { guestFault, siteFault } from './answers.js';
import { readCanary } from './canary.js';
import type { RestoreDeps } from './deps.js';
import { runInside, type Said } from './inside.js';
import { guestOf, readGuest, recordOf, trialOf, type Found } from './site.js';
import { endOf } from './tasks.js';

const SHOWN_LINES = 10;
const SHOWN_CHARS = 1_000;

const absent = ({ as }: TrialTask) => siteFault(`There is no guest ${as} of this trial at the site.`);

/** Starts the guest once it is seen to be safe, and waits until somebody inside answers. */
export async function bootGuest(deps: RestoreDeps, task: TrialTask): Promise<TrialAnswer<Timed>> {
  const { state, timing, place, now } = deps;
  const found = await guestOf(deps, task);
  if (!found) return absent(task);
  const guest = await readGuest(deps, found);
  const isRunning = guest.status === 'running';
  // One that runs has its memory already.
  const node = isRunning ? { ...guest.node, memoryFree: Infinity } : guest.node;
  const decision = decideStart({ ...guest, node }, place);
  if (decision.kind === 'unsafe') return siteFault('It is not safe to start what was restored.', decision.why);
  if (found.kind === 'qemu' && !hasAgent(guest.config ?? {}))
    return siteFault('The VM has no guest agent set up, so nobody can tell from outside whether it came up.');

  const record = await noted(deps, task, found, 'bootAskedAt');
  const { bootAskedAt: startedAt = '' } = record;
  if (!isRunning) {
    const trouble = await start(deps, found);
    if (trouble !== undefined) return siteFault(`The site could not start it: ${trouble}`);
  }
  const left = Date.parse(startedAt) + timing.boot - now().getTime();
  const trouble = record.bootedAt === undefined ? await untilUp(deps, found, left) : undefined;
  if (trouble !== undefined)
    return (await fellWithNode(deps, found, startedAt)) ?? guestFault(trouble.why, trouble.detail);
  const endedAt = record.bootedAt ?? now().toISOString();
  await state.saveTrial(task.as, { ...record, bootedAt: endedAt });
  return { kind: 'done', startedAt, endedAt };
}

/** A node that was started anew has taken its guests down with it: that is not for them to answer for. */
async function fellWithNode({ proxmox, now }: RestoreDeps, { node }: Found, since: string) {
  // Whole seconds, rounded down.
  const { uptime } = await proxmox.nodeStatus(node);
  const isAnew = (uptime + 1) * 1_000 < now().getTime() - Date.parse(since);
  return isAnew ? siteFault(`Its node ${node} was started anew while it was tried.`) : undefined;
}

/** When it was first asked for is on disk before it is. */
async function noted(
  deps: RestoreDeps,
  task: TrialTask,
  { node }: Found,
  name: 'bootAskedAt' | 'probeAskedAt',
): Promise<TrialRecord> {
  const at = deps.now().toISOString();
  const known = recordOf(deps, task) ?? { ...trialOf(task), askedAt: at, node, bytes: 0, before: [] };
  const record = known[name] === undefined ? { ...known, [name]: at } : known;
  await deps.state.saveTrial(task.as, record);
  return record;
}

/** Why it could not be started; undefined when it runs. A second start of a guest that runs is refused, and changes nothing. */
async function start(deps: RestoreDeps, { node, kind, vmid }: Found): Promise<string | undefined> {
  const { proxmox, timing } = deps;
  const runs = async (): Promise<true | undefined> =>
    (await proxmox.guestStatus(node, kind, vmid)).status === 'running' ? true : undefined;
  try {
    const upid = await proxmox.start(node, kind, vmid);
    const ended = await endOf(deps, upid, timing.boot);
    if (ended?.ok || (await runs())) return undefined;
    return ended?.exit ?? 'the task did not end in time';
  } catch (error) {
    const mayRun = isKind(error, 'OutcomeUnknown') || isKind(error, 'LockTimeout');
    if (!mayRun || !(await waitFor(deps, timing.grace, runs)).seen) throw error;
    return undefined;
  }
}

async function untilUp(
  deps: RestoreDeps,
  found: Found,
  limit: number,
): Promise<{ why: string; detail: string[] } | undefined> {
  const { proxmox, timing } = deps;
  const { node, kind, vmid } = found;
  let last: unknown;
  const { seen, lastError } = await waitFor(deps, Math.min(limit, timing.boot), async () => {
    try {
      last = undefined;
      if (kind === 'qemu') await proxmox.agentPing(node, vmid);
      else {
        const { code, stderr } = await runInside(deps, found, ['true']);
        if (code !== 0) throw new NotUp(stderr.trim());
      }
      return true;
    } catch (error) {
      last = error;
      throw error;
    }
  });
  if (seen) return undefined;
  // Of the guest that says nothing: it could not even be asked.
  if (!(last instanceof NotUp) && !isKind(last, 'Server')) throw last;
  const { status } = await proxmox.guestStatus(node, kind, vmid);
  if (status !== 'running') return { why: 'It was started and stopped by itself.', detail: [lastError] };
  const who = kind === 'qemu' ? 'Its agent did not answer' : 'It could not be entered';
  return { why: `${who} within ${Math.round(timing.boot / 1_000)} s of its start.`, detail: [lastError] };
}

class NotUp extends Error {}

/** Asks the guest how it fares. What it is asked changes nothing in it, so that it may be asked again. */
export async function probeGuest(deps: RestoreDeps, task: ProbeTask): ReturnType<RestoreActivities['probeGuest']> {
  const found = await guestOf(deps, task);
  if (!found) return absent(task);
  const { probeAskedAt: startedAt = '', bootAskedAt = startedAt } = await noted(deps, task, found, 'probeAskedAt');
  const probes: ProbeResult[] = [];
  for (const probe of task.probes) probes.push(await probeOnce(deps, found, probe));
  const canary = await readCanary(deps, found);
  const isWell = probes.every(({ ok }) => ok) && !(canary && 'broken' in canary);
  const fell = isWell ? undefined : await fellWithNode(deps, found, bootAskedAt);
  if (fell) return fell;
  const endedAt = deps.now().toISOString();
  return { kind: 'done', startedAt, endedAt, probes, ...(canary === undefined ? {} : { canary }) };
}

/** Tries until it is well, or its time is over. */
async function probeOnce(
  deps: RestoreDeps,
  guest: Found,
  { name, command, within }: ProbeTask['probes'][number],
): Promise<ProbeResult> {
  const until = performance.now() + within;
  for (;;) {
    const said = await runInside(deps, guest, command);
    const ok = said.code === 0;
    if (ok || performance.now() >= until) return { name, ok, said: shown(said) };
    await delay(deps.timing.poll);
  }
}

function shown({ code, stdout, stderr }: Said): string {
  const lines = `${stdout}\n${stderr}`
    .split('\n')
    .map((line) => line.replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ').trim())
    .filter((line) => line !== '');
  const text = lines.slice(-SHOWN_LINES).join('\n').slice(-SHOWN_CHARS);
  return text === '' ? `exit code ${code ?? 'unknown'}` : text;
}
