import { setTimeout as delay } from 'node:timers/promises';
import type { LabClient, LabEntry } from '../lab-client.js';
import { storesInWork } from './effects.js';

const LOOK_EVERY = 100;

export interface Strike {
  /** Nodes of the whole fleet. */
  nodes: number;
  /** Share of them whose reboot was asked for when the blow falls. */
  at: number;
  /** Kills. False when there was nothing to kill at this moment; then it is tried again. */
  kill: () => boolean;
}

/**
 * Kills in the middle of the work, at the same point of it for whoever is measured: the practice fleet's journal tells
 * when. Undefined when `over` came first.
 */
export async function strikeOnce(
  lab: Pick<LabClient, 'journal'>,
  { nodes, at, kill }: Strike,
  over: AbortSignal,
): Promise<{ atReboots: number; storesInWork: number } | undefined> {
  const entries: LabEntry[] = [];
  while (!over.aborted) {
    entries.push(...(await lab.journal(entries.at(-1)?.seq ?? 0)));
    const reboots = entries.filter(({ effect }) => effect === 'node.reboot.request').length;
    if (reboots >= nodes * at && storesInWork(entries) > 0 && kill())
      return { atReboots: reboots, storesInWork: storesInWork(entries) };
    await delay(LOOK_EVERY);
  }
  return undefined;
}
