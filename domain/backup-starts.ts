import { hashOf } from './hash.js';

/**
 * Which stores of a night begin now. Each has its own moment in its window, the same every night, so that its backups
 * are a day apart; stores that share an uplink take turns; and nothing begins after the deadline.
 */

export interface NightStore {
  store: string;
  /** The line it shares with others; absent = it has its own. */
  uplink?: string | undefined;
  /** Absent: at once. */
  opens?: Date | undefined;
  /** From here on it is not begun any more; what runs goes on to its end. */
  deadline: Date;
}

export interface NightState {
  now: Date;
  waiting: readonly NightStore[];
  running: readonly Pick<NightStore, 'store' | 'uplink'>[];
  /** Stores at the same time, by uplink. One that is not named has one slot. */
  slots: Readonly<Record<string, number>>;
  /** Stores at the same time in the whole fleet. */
  maxConcurrency: number;
}

export interface Starts {
  /** In the order in which to begin them. */
  start: string[];
  /** Their deadline came first. */
  missed: string[];
  /** When to ask again although no store has ended; absent when nobody waits. */
  wakeAt?: Date;
}

/** The last quarter of the window is left to those that waited for a slot. */
const SPREAD = 0.75;

/** A store's own moment in its window. */
export function startOf({ store, opens, deadline }: NightStore): Date {
  if (!opens) return new Date(0);
  const span = Math.max(0, deadline.getTime() - opens.getTime()) * SPREAD;
  return new Date(opens.getTime() + Math.floor((hashOf(store) / 2 ** 32) * span));
}

export function nextStarts({ now, waiting, running, slots, maxConcurrency }: NightState): Starts {
  const missed = waiting.filter(({ deadline }) => now >= deadline).map(({ store }) => store);
  const left = waiting
    .filter(({ deadline }) => now < deadline)
    .map((one) => ({ ...one, at: startOf(one) }))
    .toSorted((a, b) => a.at.getTime() - b.at.getTime() || (a.store < b.store ? -1 : 1));

  const used = new Map<string, number>();
  for (const { uplink } of running) if (uplink !== undefined) used.set(uplink, (used.get(uplink) ?? 0) + 1);
  const start = new Set<string>();
  for (const { store, uplink, at } of left) {
    if (at > now || running.length + start.size >= maxConcurrency) break;
    if (uplink !== undefined) {
      const taken = used.get(uplink) ?? 0;
      if (taken >= slotsOf(slots, uplink)) continue;
      used.set(uplink, taken + 1);
    }
    start.add(store);
  }

  const events = left
    .filter(({ store }) => !start.has(store))
    .map(({ at, deadline }) => (at > now ? at : deadline).getTime());
  return {
    start: [...start],
    missed: missed.toSorted(),
    ...(events.length > 0 ? { wakeAt: new Date(Math.min(...events)) } : {}),
  };
}

const slotsOf = (slots: NightState['slots'], uplink: string): number =>
  Object.hasOwn(slots, uplink) ? (slots[uplink] ?? 1) : 1;
