import { setTimeout as delay } from 'node:timers/promises';
import { isKind } from '../backup/answers.js';
import type { RestoreDeps } from './deps.js';
import type { Found } from './site.js';

/** What a program in a guest came to. `code`: undefined when that is not known. */
export interface Said {
  code: number | undefined;
  stdout: string;
  stderr: string;
}

/** As a shell says it. */
const NO_SUCH_PROGRAM = 127;

/**
 * Runs a program in a guest: in a VM through its agent, in a container from its node. What the guest does not let happen
 * is an answer; thrown is what keeps anybody from asking.
 */
export const runInside = (deps: RestoreDeps, guest: Found, command: readonly string[]): Promise<Said> =>
  guest.kind === 'qemu' ? throughAgent(deps, guest, command) : throughNode(deps, guest, command);

async function throughAgent(deps: RestoreDeps, { node, vmid }: Found, command: readonly string[]): Promise<Said> {
  const { proxmox, timing } = deps;
  const until = performance.now() + timing.command;
  try {
    const pid = await proxmox.agentExec(node, vmid, command);
    for (;;) {
      const result = await proxmox.agentResult(node, vmid, pid);
      if (result) return { code: result.code, stdout: result.stdout, stderr: result.stderr };
      if (performance.now() >= until) return unknown(`it did not end within ${timing.command} ms`);
      await delay(timing.poll);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    // A result is told once: to a connection that broke, perhaps.
    const isLost = isKind(error, 'NotFound') && /\bPID \d+ does not exist/.test(message);
    if (!isKind(error, 'Server') && !isLost) throw error;
    if (/can't execute command|failed to execute child/i.test(message)) {
      return { code: NO_SUCH_PROGRAM, stdout: '', stderr: message };
    }
    return unknown(message);
  }
}

async function throughNode(deps: RestoreDeps, { node, vmid }: Found, command: readonly string[]): Promise<Said> {
  const { timing } = deps;
  try {
    const argv = ['sudo', '-n', 'pct', 'exec', String(vmid), '--', ...command];
    const result = await runnerOn(deps, node).run(argv, { timeoutMs: timing.command });
    if (result.stderr.startsWith('sudo: ')) throw new NotAllowed(`pct exec on ${node}: ${result.stderr.trim()}`);
    return result;
  } catch (error) {
    if (isKind(error, 'CommandTimeout')) return unknown(`it did not end within ${timing.command} ms`);
    throw error;
  }
}

const unknown = (stderr: string): Said => ({ code: undefined, stdout: '', stderr });

/** sudo asks for a password: the list of commands on the node is not the one that this worker needs. */
export class NotAllowed extends Error {
  readonly kind = 'Permission';
  readonly retryable = false;
}

export function runnerOn({ nodes }: RestoreDeps, node: string) {
  const runner = nodes.get(node);
  if (!runner) throw new NotAllowed(`The file of this worker does not say how ${node} is reached over SSH.`);
  return runner;
}

/** What only root may do with a guest, on its node: a command of `qm` or `pct`. One that is gone is no failure. */
export async function onNode(deps: RestoreDeps, { node, kind, vmid }: Found, words: readonly string[]): Promise<void> {
  const program = kind === 'qemu' ? 'qm' : 'pct';
  const { code, stderr } = await runnerOn(deps, node).run(['sudo', '-n', program, ...words], {
    timeoutMs: deps.timing.remove,
  });
  if (code === 0 || /does not exist/.test(stderr)) return;
  const why = `${program} ${words[0]} ${vmid} on ${node}: ${stderr.trim() || `exit code ${code}`}`;
  throw stderr.startsWith('sudo: ') ? new NotAllowed(why) : new Error(why);
}
