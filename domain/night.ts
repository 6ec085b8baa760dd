import { plural } from './counted.js';
import type { NightPlan, NightStorePlan } from './messages/backup.js';
import { othersOf, type Tally } from './outcomes.js';

/** How a night is cut into waves, and what is said of it in the morning. */

export interface NightPart {
  stores: NightStorePlan[];
  /** Stores at the same time in this part. */
  maxConcurrency: number;
}

/**
 * Parts of at most `size` stores that run at the same time. Stores that share an uplink are in one part, so that their
 * slots are counted in one place, unless more share it than a part holds: then its slots hold for each part alone.
 */
export function partsOfNight(plan: Pick<NightPlan, 'stores' | 'maxConcurrency'>, size: number): NightPart[] {
  const { stores, maxConcurrency } = plan;
  const sorted = stores.toSorted((a, b) => compare(a.uplink ?? '', b.uplink ?? '') || compare(a.id, b.id));
  const parts: NightStorePlan[][] = [];
  for (const group of groupsOf(sorted, size)) {
    const last = parts.at(-1);
    if (last && last.length + group.length <= size) last.push(...group);
    else parts.push([...group]);
  }
  return parts.map((members) => ({
    stores: members,
    maxConcurrency: Math.max(1, Math.floor((maxConcurrency * members.length) / Math.max(1, stores.length))),
  }));
}

function groupsOf(sorted: readonly NightStorePlan[], size: number): NightStorePlan[][] {
  const groups: NightStorePlan[][] = [];
  for (const store of sorted) {
    const last = groups.at(-1);
    const isOfLast = store.uplink !== undefined && last?.[0]?.uplink === store.uplink;
    if (last && isOfLast && last.length < size) last.push(store);
    else groups.push([store]);
  }
  return groups;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** What is said of a night that has ended. */
export function nightSummary(tally: Tally, planned: number, leftTo: NightPlan['leftTo'] = []): string {
  const left = leftTo.map(({ night, stores }) => `Night ${night} of the same window has ${plural(stores, 'store')}.`);
  if (planned === 0 && left.length > 0) return left.join(' ');
  return [endOf(tally, planned), ...left].join(' ');
}

function endOf(tally: Tally, planned: number): string {
  const others = othersOf(tally);
  const head = `${tally.succeeded} of ${plural(planned, 'store')} backed up and verified`;
  return `${head}${others.length > 0 ? `; ${others.join(', ')}` : ''}.`;
}

/** What people hear of the first store whose night was refused, while the others are still backed up. */
export const refusalSummary = (store: string, why: string | undefined): string =>
  `Backups are refused at ${store}, and may be at others with the same token or certificate: ${why ?? 'no reason is known.'} The night goes on.`;

/** `unplanned-20261126-010000`, by its start, in UTC. */
export const unplannedNight = (startedAt: string): string =>
  `unplanned-${startedAt.slice(0, 10).replaceAll('-', '')}-${startedAt.slice(11, 19).replaceAll(':', '')}`;
