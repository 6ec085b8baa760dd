import { abridge } from './abridge.js';
import { are, plural } from './counted.js';
import type { Fleet, Stage, Store } from './fleet.js';
import { hashOf } from './hash.js';
import { activeFreeze } from './windows.js';

/**
 * Who is in which stage. The same fleet always gives the same plan, and a new store moves as few others as possible:
 * stores are drawn in the order of a hash of their id, so that a stage is a mix of the fleet and not the oldest stores.
 */

export interface Exclusion {
  store: string;
  reason: 'StoreOnHold' | 'Frozen';
  /** Until when and why, in the words of the file. */
  detail: string;
}

/** A store of the stage stands either in `stores` or in `excluded`, never in both. */
export interface PlannedStage {
  name: string;
  /** Stores to start, sorted. */
  stores: string[];
  /** Stores of this stage that are not started, sorted. */
  excluded: Exclusion[];
}

export interface Plan {
  stages: PlannedStage[];
  /** Sentences for people; empty when the fleet can be planned as it is written. */
  problems: string[];
}

/**
 * Puts every store into exactly one stage: first the `{tag}` stages take theirs, then numbers and percentages (of the
 * whole fleet, rounded down, at least 1) in the order of the file, then `rest` what is left.
 * A store on hold or in a freeze on `today` (`YYYY-MM-DD`, in the fleet's zone) keeps its place as excluded.
 * With `selected`, only these stages are returned; who belongs to them does not depend on the selection.
 */
export function planStages({
  fleet,
  stores,
  today,
  selected,
}: {
  fleet: Fleet;
  stores: readonly Store[];
  today: string;
  selected?: readonly string[] | undefined;
}): Plan {
  const problems = [...problemsOfNames(fleet, stores, selected)];
  const byId = new Map(stores.map((store) => [store.id, store]));
  const membersOf = assign(fleet.stages, [...byId.values()]);

  const restStages = fleet.stages.filter(({ stores: wanted }) => wanted === 'rest');
  const surplusRest = new Set(restStages.slice(1));
  if (surplusRest.size > 0) {
    const names = restStages.map(({ name }) => name).join(', ');
    problems.push(`stages: more than one takes the rest (${names}). Keep one.`);
  }
  for (const stage of fleet.stages) {
    if (surplusRest.has(stage) || membersOf.get(stage)?.length) continue;
    problems.push(`stages: ${stage.name} has no stores. ${whyEmpty(stage)}`);
  }
  const placed = [...membersOf.values()].reduce((sum, members) => sum + members.length, 0);
  if (placed < byId.size) {
    const taken = new Set([...membersOf.values()].flat());
    const left = [...byId.values()].filter((store) => !taken.has(store)).map(({ id }) => id);
    problems.push(
      `stages: ${plural(left.length, 'store')} ${are(left.length)} in no stage (${abridge(left)}). Let the last stage take the rest.`,
    );
  }

  const stages = fleet.stages
    .filter((stage) => !selected || selected.includes(stage.name))
    .map((stage) => {
      const planned: PlannedStage = { name: stage.name, stores: [], excluded: [] };
      for (const store of (membersOf.get(stage) ?? []).toSorted(byStoreId)) {
        const exclusion = exclusionOf(fleet, store, today);
        if (exclusion) planned.excluded.push(exclusion);
        else planned.stores.push(store.id);
      }
      return planned;
    });
  return { stages, problems };
}

/** Stores on hold, or in a freeze, are not touched on that date; both dates are included. A hold in the past is over. */
export function exclusionOf(fleet: Pick<Fleet, 'freezes'>, store: Store, date: string): Exclusion | undefined {
  if (store.hold && store.hold.until >= date) {
    return { store: store.id, reason: 'StoreOnHold', detail: `until ${store.hold.until}: ${store.hold.reason}` };
  }
  const freeze = activeFreeze(fleet.freezes, store.id, date);
  if (!freeze) return undefined;
  return { store: store.id, reason: 'Frozen', detail: `${freeze.from} to ${freeze.to}: ${freeze.reason}` };
}

function assign(stages: readonly Stage[], stores: readonly Store[]): Map<Stage, Store[]> {
  const members = new Map<Stage, Store[]>();
  let left = spread(stores);
  const take = (stage: Stage, chosen: Store[]): void => {
    const gone = new Set(chosen);
    left = left.filter((store) => !gone.has(store));
    members.set(stage, chosen);
  };

  for (const stage of stages) {
    const wanted = stage.stores;
    if (typeof wanted === 'object') {
      take(
        stage,
        left.filter(({ tags }) => tags.includes(wanted.tag)),
      );
    }
  }
  for (const stage of stages) {
    const count = countOf(stage.stores, stores.length);
    if (count !== undefined) take(stage, left.slice(0, count));
  }
  for (const stage of stages) {
    if (stage.stores === 'rest') take(stage, left);
  }
  return members;
}

function countOf(wanted: Stage['stores'], fleetSize: number): number | undefined {
  if (typeof wanted === 'number') return wanted;
  if (typeof wanted === 'object' || wanted === 'rest') return undefined;
  return Math.max(1, Math.floor((fleetSize * Number.parseInt(wanted, 10)) / 100));
}

function* problemsOfNames(
  fleet: Fleet,
  stores: readonly Store[],
  selected: readonly string[] | undefined,
): Generator<string> {
  const names = fleet.stages.map(({ name }) => name);
  for (const name of new Set(selected)) {
    if (!names.includes(name)) yield `${name} is not a stage of ${fleet.fleet}. Its stages: ${names.join(', ')}.`;
  }
  for (const name of repeated(names)) yield `stages: ${name} is named twice. Give each stage its own name.`;
  for (const id of repeated(stores.map((store) => store.id))) {
    yield `clusters: two stores have the id ${id}. Give each store its own.`;
  }
}

function whyEmpty({ stores: wanted }: Stage): string {
  if (typeof wanted === 'object') return `No store that is still free carries the tag ${wanted.tag}.`;
  return 'The stages before it take the whole fleet.';
}

const repeated = (words: readonly string[]): Set<string> =>
  new Set(words.filter((word, index) => words.indexOf(word) !== index));

const byStoreId = (a: Store, b: Store): number => compareText(a.id, b.id);
const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function spread(stores: readonly Store[]): Store[] {
  return stores
    .map((store) => ({ store, rank: hashOf(store.id) }))
    .toSorted((a, b) => a.rank - b.rank || byStoreId(a.store, b.store))
    .map(({ store }) => store);
}
