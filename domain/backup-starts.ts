import { hashOf } from './hash.js';

/**
 * Which stores of a night begin now. Each has its own moment in the window, the same every night, so that its backups
 * are a day apart; stores that share an uplink take turns; and nothing begins after the deadline.
 */

export interface NightStore {
  store: string;
  /** The line it shares with others; absent = it has its own. */
  uplink?: string | undefined;
}

export interface NightState {
  opens: Date;
  /** From here on nothing is begun; what runs goes on to its end. */
  deadline: Date;
  now: Date;
  waiting: readonly NightStore[];
  running: readonly NightStore[];
  /** Stores at the same time, by uplink. One that is not named has one slot. */
  slots: Readonly<Record<string, number>>;
  /** Stores at the same time in the whole fleet. */
  maxConcurrency: number;
}

export interface Starts {
  /** In the order in which to begin them. */
  start: string[];
  /** The deadline came first. */
  missed: string[];
  /** When the next store is due by its own moment; absent when only slots or nothing are waited for. */
  wakeAt?: Date;
}

/** The last quarter of the window is left to those that waited for a slot. */
const SPREAD = 0.75;

/** A store's own moment in the window. */
export function startOf(store: string, opens: Date, deadline: Date): Date {
  const span = Math.max(0, deadline.getTime() - opens.getTime()) * SPREAD;
  return new Date(opens.getTime() + Math.floor((hashOf(store) / 2 ** 32) * span));
}

export function nextStarts(night: NightState): Starts {
  const { opens, deadline, now, waiting, running, slots, maxConcurrency } = night;
  if (now >= deadline) return { start: [], missed: waiting.map(({ store }) => store).toSorted() };

  const due = waiting
    .map((one) => ({ ...one, at: startOf(one.store, opens, deadline) }))
    .toSorted((a, b) => a.at.getTime() - b.at.getTime() || (a.store < b.store ? -1 : 1));
  const used = new Map<string, number>();
  for (const { uplink } of running) if (uplink !== undefined) used.set(uplink, (used.get(uplink) ?? 0) + 1);

  const start: string[] = [];
  for (const { store, uplink, at } of due) {
    if (at > now || running.length + start.length >= maxConcurrency) break;
    if (uplink !== undefined) {
      const taken = used.get(uplink) ?? 0;
      if (taken >= slotsOf(slots, uplink)) continue;
      used.set(uplink, taken + 1);
    }
    start.push(store);
  }
  const later = due.find(({ at }) => at > now);
  return { start, missed: [], ...(later ? { wakeAt: later.at } : {}) };
}

const slotsOf = (slots: NightState['slots'], uplink: string): number =>
  Object.hasOwn(slots, uplink) ? (slots[uplink] ?? 1) : 1;
