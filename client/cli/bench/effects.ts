import type { LabEntry } from '../lab-client.js';

/** What a run did, read from the practice fleet's journal alone. Pure. */

/** Each of these happens once for a node that is patched as it should be. */
export const NODE_EFFECTS = [
  'apt.update',
  'apt.download',
  'ha.maintenance.enable',
  'ceph.noout.set',
  'packages.install',
  'node.reboot.request',
  'ceph.noout.unset',
  'ha.maintenance.disable',
] as const;

/** From one effect on a node to the next one named: what a node spends its time on. */
const STEPS: readonly { step: string; from: string; to: string }[] = [
  { step: 'drain', from: 'ha.maintenance.enable', to: 'ceph.noout.set' },
  { step: 'checks, start of the upgrade', from: 'ceph.noout.set', to: 'packages.begin' },
  { step: 'upgrade', from: 'packages.begin', to: 'packages.install' },
  { step: 'checks, request to reboot', from: 'packages.install', to: 'node.reboot.request' },
  { step: 'reboot', from: 'node.reboot.request', to: 'node.up' },
  { step: 'Ceph recovers, checks', from: 'node.up', to: 'ceph.noout.unset' },
  { step: 'back into service', from: 'ceph.noout.unset', to: 'ha.maintenance.disable' },
];

export interface JournalFigures {
  /** Name → how often it was journaled, of `NODE_EFFECTS`. */
  effects: Record<string, number>;
  /** Mean seconds over all nodes that took the step. */
  steps: { step: string; seconds: number }[];
  /** Seconds from the first to the last effect on a store: mean over all stores. */
  storeSeconds: number;
  /** Most stores between their first and last effect at one moment. */
  mostAtOnce: number;
  /** From the first effect to the last. */
  seconds: number;
}

export function journalFigures(entries: readonly LabEntry[]): JournalFigures {
  const spans = storeSpans(entries);
  return {
    effects: Object.fromEntries(
      NODE_EFFECTS.map((effect) => [effect, entries.filter((entry) => entry.effect === effect).length]),
    ),
    steps: STEPS.map(({ step, from, to }) => ({ step, seconds: mean(stepTimes(entries, from, to)) / 1_000 })),
    storeSeconds: mean(spans.map(({ first, last }) => last - first)) / 1_000,
    mostAtOnce: mostAtOnce(spans),
    seconds:
      spans.length === 0
        ? 0
        : (Math.max(...spans.map(({ last }) => last)) - Math.min(...spans.map(({ first }) => first))) / 1_000,
  };
}

/** Stores whose every node was upgraded, came back with it and takes guests again. */
export function finishedStores(entries: readonly LabEntry[], nodesPerStore: number): number {
  const stages = ['packages.install', 'node.up', 'ha.maintenance.disable'];
  const reached = new Map<string, number>();
  for (const { store, node, effect } of entries) {
    const key = `${store}/${node ?? ''}`;
    const next = reached.get(key) ?? 0;
    if (effect === stages[next]) reached.set(key, next + 1);
  }
  const done = [...reached].filter(([, stage]) => stage === stages.length).map(([key]) => key.split('/')[0] ?? '');
  return [...new Set(done)].filter((store) => done.filter((other) => other === store).length === nodesPerStore).length;
}

const MARKS: readonly { mark: string; set: string; unset: string }[] = [
  { mark: 'maintenance', set: 'ha.maintenance.enable', unset: 'ha.maintenance.disable' },
  { mark: 'noout', set: 'ceph.noout.set', unset: 'ceph.noout.unset' },
];

/** `<store>/<node> <mark>` for each mark whose last change was that it was set. */
export function leftSet(entries: readonly LabEntry[]): string[] {
  const set = new Set<string>();
  for (const { store, node, effect } of entries) {
    for (const { mark, set: on, unset: off } of MARKS) {
      if (effect === on) set.add(`${store}/${node ?? ''} ${mark}`);
      if (effect === off) set.delete(`${store}/${node ?? ''} ${mark}`);
    }
  }
  return [...set].sort();
}

/** Stores between the first mark that is set and the last that is taken away, at the end of these entries. */
export const storesInWork = (entries: readonly LabEntry[]): number =>
  new Set(leftSet(entries).map((mark) => mark.split('/')[0])).size;

interface Span {
  first: number;
  last: number;
}

function storeSpans(entries: readonly LabEntry[]): Span[] {
  const spans = new Map<string, Span>();
  for (const { store, at } of entries) {
    const time = Date.parse(at);
    const span = spans.get(store);
    if (span) span.last = time;
    else spans.set(store, { first: time, last: time });
  }
  return [...spans.values()];
}

/** A store that ends in the very moment in which another begins is not counted beside it. */
function mostAtOnce(spans: readonly Span[]): number {
  const changes = spans
    .flatMap(({ first, last }) => [
      { at: first, by: 1 },
      { at: last, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);
  let now = 0;
  return changes.reduce((most, { by }) => Math.max(most, (now += by)), 0);
}

/** Milliseconds between the first `from` on a node and the first `to` after it. */
function stepTimes(entries: readonly LabEntry[], from: string, to: string): number[] {
  const begun = new Map<string, number>();
  const done = new Set<string>();
  const times: number[] = [];
  for (const { store, node, effect, at } of entries) {
    const key = `${store}/${node ?? ''}`;
    if (effect === from && !begun.has(key)) begun.set(key, Date.parse(at));
    const start = begun.get(key);
    if (effect !== to || start === undefined || done.has(key)) continue;
    done.add(key);
    times.push(Date.parse(at) - start);
  }
  return times;
}

const mean = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;
