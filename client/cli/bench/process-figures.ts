import { readdirSync, readFileSync } from 'node:fs';
import { signalProcess } from '#systems/programs/signal.js';
import type { ProcessFigures } from './figures.js';

/** A hundred of these are a second on every Linux that Node runs on. */
const TICKS = 100;

/** As the kernel counts them, where it has /proc. */
export function figuresOf(name: string, pid: number): ProcessFigures {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return {
      name,
      cpuSeconds: (Number(stat[11]) + Number(stat[12])) / TICKS,
      peakMegabytes: Math.round(Number(peak) / 1_024),
    };
  } catch {
    return { name };
  }
}

/**
 * SIGKILL for a process and all below it, also what left its process group, as Ansible's forks do. They are stopped
 * first, until none is new: what still runs could start another one meanwhile. False when there is none any more.
 */
export function endTree(root: number): boolean {
  const stopped = new Set<number>();
  for (;;) {
    const fresh = [root, ...descendantsOf(root)].filter((pid) => !stopped.has(pid) && signalProcess(pid, 'SIGSTOP'));
    if (fresh.length === 0) break;
    for (const pid of fresh) stopped.add(pid);
  }
  for (const pid of stopped) signalProcess(pid, 'SIGKILL');
  return stopped.size > 0;
}

/** Process ids of all that a process started, and what those started; without itself. */
function descendantsOf(pid: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    const parent = parentOf(Number(name));
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
  }
  const below = (id: number): number[] => (children.get(id) ?? []).flatMap((child) => [child, ...below(child)]);
  return below(pid);
}

function parentOf(pid: number): number | undefined {
  try {
    return Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ')[1]);
  } catch {
    // It ended while the list was read.
    return undefined;
  }
}
