import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { GuestProbe, ProbeFacts } from '#domain/facts.js';
import { errorThresholdSchema, gateLimitsSchema, type ErrorThreshold, type GateLimits } from '#domain/fleet.js';
import { decideGate, guardsNothing, type Lack } from '#domain/gate.js';

const limits: GateLimits = gateLimitsSchema.parse({});
/** What a stage has that says nothing of it. */
const offlineThreshold: ErrorThreshold = errorThresholdSchema.parse({ percent: 20 });

const pos: GuestProbe = { vmid: 100, name: 'pos', running: true, healthy: true, latencyMs: 40 };
const cache: GuestProbe = {
  vmid: 101,
  name: 'cache',
  running: true,
  healthy: true,
  latencyMs: 10,
  cacheHitPercent: 92,
};

function probe(store: string, change: Partial<ProbeFacts> = {}): ProbeFacts {
  return {
    store,
    at: '2026-11-25T10:00:00Z',
    reachable: true,
    unreadable: [],
    quorate: true,
    nodesOnline: 3,
    nodesTotal: 3,
    cephBlocking: [],
    leftSet: [],
    inventoryMatches: true,
    guests: [pos, cache],
    baseline: [pos, cache],
    ...change,
  };
}

const stores = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `store-${String(index + 1).padStart(3, '0')}`);
const unreachable = (store: string): ProbeFacts => probe(store, { reachable: false, guests: [], nodesOnline: 0 });

interface OneStore {
  change: Partial<ProbeFacts>;
  /** The check that fails and its line; undefined = the gate passes. */
  fails?: [check: string, seen: string];
  /** Checks that could not judge the store. */
  unknown?: string[];
  /** What the gate could not judge the store by, and holds for. */
  holds?: string[];
}

const LATENCY = 'latency against the own baseline';
const CACHE_HIT = 'cache hit against the own baseline';

const oneStore: Record<string, OneStore> = {
  'passes a store that is as it was': { change: {} },
  'fails a store that answers but cannot be read in full': {
    change: { unreadable: ['n2: uname -r: connection refused'] },
    fails: ['facts readable', 'n2: uname -r: connection refused'],
  },
  'does not call guests gone that could not be read': {
    change: { unreadable: ['inventory: release 2026.48.0 is refused by now (ReleaseExpired)'], guests: [] },
    fails: ['facts readable', 'inventory: release 2026.48.0 is refused by now (ReleaseExpired)'],
    unknown: ['guests running', 'guests healthy', LATENCY, CACHE_HIT],
  },
  'calls guests gone of a store that was read in full': {
    change: { guests: [] },
    fails: ['guests running', 'guest 100 (pos) is gone; guest 101 (cache) is gone'],
    unknown: [LATENCY, CACHE_HIT],
  },
  'fails a store with a node offline': {
    change: { nodesOnline: 2 },
    fails: ['nodes online', '2 of 3 nodes online'],
  },
  'fails a store that knows of no node': {
    change: { nodesOnline: 0, nodesTotal: 0 },
    fails: ['nodes online', '0 of 0 nodes online'],
  },
  'fails a store without quorum': {
    change: { quorate: false },
    fails: ['quorum', 'the cluster is not quorate'],
  },
  'fails a store with a blocking Ceph check': {
    change: { cephBlocking: ['OSD_DOWN', 'PG_DEGRADED'] },
    fails: ['Ceph without blocking checks', 'OSD_DOWN; PG_DEGRADED'],
  },
  'fails a store where noout is left': {
    change: { leftSet: ['noout on n1'] },
    fails: ['nothing left set', 'noout on n1 is still set'],
  },
  'fails a store with another inventory': {
    change: { inventoryMatches: false },
    fails: ['inventory matches', 'packages or kernel are not those of the release'],
  },
  'holds for an inventory that was not asked for': {
    change: { inventoryMatches: undefined },
    unknown: ['inventory matches'],
    holds: ['inventory matches'],
  },
  'fails a store whose guest does not run, and does not call it slow as well': {
    change: { guests: [{ ...pos, running: false, healthy: false, latencyMs: undefined }, cache] },
    fails: ['guests running', 'guest 100 (pos) does not run'],
  },
  'fails a store that lost a guest': {
    change: { guests: [cache] },
    fails: ['guests running', 'guest 100 (pos) is gone'],
  },
  'fails a store whose guest runs without being healthy': {
    change: { guests: [{ ...pos, healthy: false }, cache] },
    fails: ['guests healthy', 'guest 100 (pos) runs but is not healthy'],
  },
  'fails a guest that is slower by more than percent and floor': {
    change: { guests: [{ ...pos, latencyMs: 60.1 }, cache] },
    fails: [LATENCY, 'guest 100 (pos) 40 ms → 60.1 ms'],
  },
  'passes a rise of exactly the floor, whatever its percentage': {
    change: { guests: [{ ...pos, latencyMs: 60 }, cache] },
  },
  'passes a rise above the floor of exactly the percentage': {
    change: { guests: [{ ...pos, latencyMs: 330 }, cache], baseline: [{ ...pos, latencyMs: 300 }, cache] },
  },
  'fails a rise above the floor just over the percentage': {
    change: { guests: [{ ...pos, latencyMs: 331 }, cache], baseline: [{ ...pos, latencyMs: 300 }, cache] },
    fails: [LATENCY, 'guest 100 (pos) 300 ms → 331 ms'],
  },
  'passes a store that became faster': {
    change: { guests: [{ ...pos, latencyMs: 5 }, cache] },
  },
  'holds for latency and cache without a baseline, and does not fail': {
    change: { baseline: [] },
    unknown: [LATENCY, CACHE_HIT],
    holds: [LATENCY, CACHE_HIT],
  },
  'holds for a cache whose hit rate was not read before the patch': {
    change: { baseline: [pos, { ...cache, cacheHitPercent: undefined }] },
    unknown: [CACHE_HIT],
    holds: [CACHE_HIT],
  },
  'passes a store that has no cache, and has never had one': {
    change: { guests: [pos], baseline: [pos] },
  },
  'passes a store without guests, which has nothing that could be slower': {
    change: { guests: [], baseline: [] },
  },
  'does not judge a guest that is newer than the baseline by it': {
    change: { guests: [pos, cache, { vmid: 102, name: 'new', running: true, healthy: true, latencyMs: 900 }] },
  },
  'fails a guest that was measured before and is silent now': {
    change: { guests: [{ ...pos, latencyMs: undefined }, cache] },
    fails: [LATENCY, 'guest 100 (pos) was 40 ms, now not measured'],
  },
  'takes a value that is no number for not measured': {
    change: { guests: [{ ...pos, latencyMs: Number.NaN }, cache] },
    fails: [LATENCY, 'guest 100 (pos) was 40 ms, now not measured'],
  },
  'passes a cache that dropped by exactly the limit': {
    change: { guests: [pos, { ...cache, cacheHitPercent: 90 }] },
  },
  'fails a cache that dropped by more than the limit': {
    change: { guests: [pos, { ...cache, cacheHitPercent: 89.5 }] },
    fails: [CACHE_HIT, 'guest 101 (cache) hit 92 % → 89.5 %'],
  },
  'fails a cache whose hit rate is not reported any more': {
    change: { guests: [pos, { ...cache, cacheHitPercent: undefined }] },
    fails: [CACHE_HIT, 'guest 101 (cache) hit 92 %, now not measured'],
  },
};

describe('decideGate on one store', () => {
  it.each(Object.entries(oneStore))('%s', (_sentence, { change, fails, unknown, holds }) => {
    const verdict = decideGate({
      probes: [probe('store-001', change)],
      expected: ['store-001'],
      limits,
      offlineThreshold,
    });
    expect(verdict.kind).toBe(fails ? 'fail' : holds ? 'hold' : 'pass');
    if (holds) expect(verdict.summary).toContain(holds.map((check) => `${check} (store-001)`).join(', '));
    expect(verdict.checks.filter((check) => check.verdict === 'fail')).toEqual(
      fails ? [{ name: fails[0], verdict: 'fail', failing: [`store-001: ${fails[1]}`] }] : [],
    );
    expect(verdict.checks.filter((check) => check.verdict === 'unknown').map(({ name }) => name)).toEqual(
      unknown ?? [],
    );
  });
});

interface ManyStores {
  probes: ProbeFacts[];
  expected: string[];
  limits?: Partial<GateLimits>;
  offline?: Partial<ErrorThreshold>;
  kind: 'pass' | 'hold' | 'fail';
  lacks?: Lack;
  summary: string;
}

const ten = stores(10);
const well = (count: number): ProbeFacts[] => ten.slice(0, count).map((store) => probe(store));
const FIVE_OF_TEN = 'store-001, store-002, store-003, store-004, store-005 and 5 more';
const withoutBaseline = (store: string): ProbeFacts => probe(store, { baseline: [] });
const broken = (store: string): ProbeFacts => probe(store, { quorate: false });

const manyStores: Record<string, ManyStores> = {
  'holds when nobody took the release': {
    probes: [broken('store-001')],
    expected: [],
    kind: 'hold',
    lacks: 'stores',
    summary: 'No store took the release, so nothing shows how it does.',
  },
  'holds when nobody was asked': {
    probes: [],
    expected: ten,
    kind: 'hold',
    lacks: 'answers',
    summary:
      '0 of 10 stores measured; the gate needs 80 %. No answer from store-001, store-002, store-003, store-004, store-005 and 5 more.',
  },
  'passes at exactly the share of facts': {
    probes: [...well(8), ...ten.slice(8).map(unreachable)],
    expected: ten,
    kind: 'pass',
    summary: '8 of 10 stores measured; none failing.',
  },
  'holds below the share of facts, counting stores that do not answer as missing': {
    probes: [...well(7), ...ten.slice(7).map(unreachable)],
    expected: ten,
    kind: 'hold',
    lacks: 'answers',
    summary: '7 of 10 stores measured; the gate needs 80 %. No answer from store-008, store-009, store-010.',
  },
  'holds without a single fact even when none is asked for': {
    probes: ten.map(unreachable),
    expected: ten,
    limits: { minFacts: 0 },
    offline: { percent: 100 },
    kind: 'hold',
    lacks: 'answers',
    summary:
      '0 of 10 stores measured; the gate needs 0 %. No answer from store-001, store-002, store-003, store-004, store-005 and 5 more.',
  },
  'fails at the first failing store by default': {
    probes: [...well(9), broken('store-010')],
    expected: ten,
    kind: 'fail',
    summary: '10 of 10 stores measured; 1 failing, 0 allowed: quorum.',
  },
  'passes with as many failing stores as may fail': {
    probes: [...well(9), broken('store-010')],
    expected: ten,
    limits: { maxFailedStores: 1 },
    kind: 'pass',
    summary: '10 of 10 stores measured; 1 failing, 1 allowed.',
  },
  'counts a store once, however many checks it fails': {
    probes: [...well(9), probe('store-010', { quorate: false, nodesOnline: 1, leftSet: ['noout'] })],
    expected: ten,
    limits: { maxFailedStores: 1 },
    kind: 'pass',
    summary: '10 of 10 stores measured; 1 failing, 1 allowed.',
  },
  'counts stores that fail different checks together': {
    probes: [...well(8), broken('store-009'), probe('store-010', { leftSet: ['noout'] })],
    expected: ten,
    limits: { maxFailedStores: 1 },
    kind: 'fail',
    summary: '10 of 10 stores measured; 2 failing, 1 allowed: quorum, nothing left set.',
  },
  'lets known harm weigh more than missing facts': {
    probes: [broken('store-001'), ...ten.slice(1).map(unreachable)],
    expected: ten,
    kind: 'fail',
    summary: '1 of 10 stores measured; 1 failing, 0 allowed: quorum.',
  },
  'ignores stores that did not take the release': {
    probes: [...well(10), broken('store-011')],
    expected: ten,
    kind: 'pass',
    summary: '10 of 10 stores measured; none failing.',
  },
  'takes the newest probe of a store, in whatever order they come': {
    probes: [...well(10), { ...broken('store-001'), at: '2026-11-25T09:59:00Z' }],
    expected: ten,
    kind: 'pass',
    summary: '10 of 10 stores measured; none failing.',
  },
  'does not keep an old good probe of a store that is silent now': {
    probes: [probe('store-001'), { ...unreachable('store-001'), at: '2026-11-25T10:05:00Z' }],
    expected: ['store-001'],
    kind: 'hold',
    lacks: 'answers',
    summary: '0 of 1 store measured; the gate needs 80 %. No answer from store-001.',
  },
  'holds when nobody has a baseline, and names what nobody could judge': {
    probes: ten.map((store) => probe(store, { baseline: [] })),
    expected: ten,
    kind: 'hold',
    lacks: 'comparison',
    summary: `10 of 10 stores measured; none failing. Could not be judged: ${LATENCY} (${FIVE_OF_TEN}), ${CACHE_HIT} (${FIVE_OF_TEN}).`,
  },
  'passes when exactly the share of facts has a baseline': {
    probes: [...well(8), ...ten.slice(8).map(withoutBaseline)],
    expected: ten,
    kind: 'pass',
    summary: '10 of 10 stores measured; none failing.',
  },
  'holds when fewer than the share of facts have a baseline': {
    probes: [...well(7), ...ten.slice(7).map(withoutBaseline)],
    expected: ten,
    kind: 'hold',
    lacks: 'comparison',
    summary: `10 of 10 stores measured; none failing. Could not be judged: ${LATENCY} (store-008, store-009, store-010), ${CACHE_HIT} (store-008, store-009, store-010).`,
  },
  'counts stores that are silent and stores without a baseline together against the share of facts': {
    probes: [...well(7), withoutBaseline('store-008'), ...ten.slice(8).map(unreachable)],
    expected: ten,
    kind: 'hold',
    lacks: 'comparison',
    summary: `8 of 10 stores measured; none failing. Could not be judged: ${LATENCY} (store-008), ${CACHE_HIT} (store-008).`,
  },
  'wants no baseline of a store that may fail, and does': {
    probes: [probe('store-001'), probe('store-002', { unreadable: ['guests: no answer'], guests: [] })],
    expected: ['store-001', 'store-002'],
    limits: { maxFailedStores: 1 },
    kind: 'pass',
    summary: '2 of 2 stores measured; 1 failing, 1 allowed.',
  },
  'holds when more stores fell silent than the stage may have offline, in percent': {
    probes: [...well(8), ...ten.slice(8).map(unreachable)],
    expected: ten,
    offline: { percent: 19 },
    kind: 'hold',
    lacks: 'links',
    summary:
      '8 of 10 stores measured; 2 silent, that is 20 %, the stage allows 19 % offline. No answer from store-009, store-010.',
  },
  'holds when more stores fell silent than the stage may have offline, in stores': {
    probes: [...well(9), unreachable('store-010')],
    expected: ten,
    offline: { count: 0 },
    kind: 'hold',
    lacks: 'links',
    summary: '9 of 10 stores measured; 1 silent, the stage allows 0 offline. No answer from store-010.',
  },
  'passes with exactly as many silent stores as the stage may have offline': {
    probes: [...well(8), ...ten.slice(8).map(unreachable)],
    expected: ten,
    offline: { count: 2 },
    kind: 'pass',
    summary: '8 of 10 stores measured; none failing.',
  },
  'judges a canary that is smaller than the sample of the offline threshold as a whole': {
    probes: [...well(3), unreachable('store-004')],
    expected: stores(4),
    limits: { minFacts: 50 },
    offline: { percent: 20, minSample: 5 },
    kind: 'hold',
    lacks: 'links',
    summary: '3 of 4 stores measured; 1 silent, that is 25 %, the stage allows 20 % offline. No answer from store-004.',
  },
  'lets known harm weigh more than silence above the offline threshold': {
    probes: [...well(8), broken('store-009'), unreachable('store-010')],
    expected: ten,
    offline: { count: 0 },
    kind: 'fail',
    summary: '9 of 10 stores measured; 1 failing, 0 allowed: quorum.',
  },
};

describe('decideGate on a stage', () => {
  it.each(Object.entries(manyStores))('%s', (_sentence, given) => {
    const { probes, expected, limits: own, offline, kind, lacks, summary } = given;
    const threshold = offline ? errorThresholdSchema.parse(offline) : offlineThreshold;
    const verdict = decideGate({ probes, expected, limits: { ...limits, ...own }, offlineThreshold: threshold });
    expect(verdict.summary).toBe(summary);
    expect(verdict.kind).toBe(kind);
    expect(verdict.kind === 'hold' ? verdict.lacks : undefined).toBe(lacks);
    expect(verdict.reason).toBe({ pass: undefined, hold: 'NotEnoughFacts', fail: 'HealthGateFailed' }[kind]);
  });

  it('lists at most 20 lines of a check, the last of which counts the rest', () => {
    const expected = stores(30);
    const verdict = decideGate({ probes: expected.map(broken), expected, limits, offlineThreshold });
    const quorum = verdict.checks.find(({ name }) => name === 'quorum');
    expect(quorum?.failing).toHaveLength(20);
    expect(quorum?.failing.at(-1)).toBe('and 11 more stores');
  });

  it('judges latency by the stores that have a baseline when others have none', () => {
    const slow = probe('store-002', { guests: [{ ...pos, latencyMs: 400 }, cache] });
    const verdict = decideGate({
      probes: [probe('store-001', { baseline: [] }), slow],
      expected: ['store-001', 'store-002'],
      limits,
      offlineThreshold,
    });
    expect(verdict.checks.find(({ name }) => name === LATENCY)).toEqual({
      name: LATENCY,
      verdict: 'fail',
      failing: ['store-002: guest 100 (pos) 40 ms → 400 ms'],
    });
  });
});

describe('the verdict on any measurement', () => {
  type State = 'well' | 'silent' | 'unreadable' | 'marked' | 'noQuorum';
  const changes: Record<State, Partial<ProbeFacts>> = {
    well: {},
    silent: { reachable: false, guests: [], nodesOnline: 0 },
    unreadable: { unreadable: ['ceph status: no answer'] },
    marked: { leftSet: ['noout of n1'] },
    noQuorum: { quorate: false },
  };
  const fleet = fc.array(fc.constantFrom(...(Object.keys(changes) as State[])), { minLength: 1, maxLength: 30 });
  const someLimits = fc.record({
    limits: fc
      .record({ maxFailedStores: fc.nat(5), minFacts: fc.integer({ min: 1, max: 100 }) })
      .map((some) => gateLimitsSchema.parse(some)),
    offlineThreshold: fc.nat(30).map((count) => errorThresholdSchema.parse({ count })),
  });
  const measured = (states: readonly State[]) =>
    stores(states.length).map((store, index) => probe(store, changes[states[index] ?? 'well']));

  it('is pass only when enough were measured and no more fail than may', () => {
    fc.assert(
      fc.property(fleet, someLimits, (states, given) => {
        const silent = states.filter((state) => state === 'silent').length;
        const failing = states.filter((state) => state !== 'silent' && state !== 'well').length;
        const reached = states.length - silent;
        const { kind } = decideGate({ probes: measured(states), expected: stores(states.length), ...given });
        const isEnough =
          reached > 0 &&
          reached * 100 >= given.limits.minFacts * states.length &&
          silent <= (given.offlineThreshold.count ?? 0);
        expect(kind).toBe(failing > given.limits.maxFailedStores ? 'fail' : isEnough ? 'pass' : 'hold');
      }),
    );
  });

  it('does not depend on the order of what was measured, on older measurements, or on stores that took nothing', () => {
    fc.assert(
      fc.property(fleet, someLimits, (states, given) => {
        const probes = measured(states);
        const expected = stores(states.length);
        const older = probes.map(({ store }) => probe(store, { at: '2026-11-24T10:00:00Z', quorate: false }));
        const others = [probe('elsewhere', { quorate: false })];
        const verdict = decideGate({ probes, expected, ...given });
        expect(decideGate({ probes: [...others, ...probes.toReversed(), ...older], expected, ...given })).toEqual(
          verdict,
        );
      }),
    );
  });
});

describe('a gate that guards nothing', () => {
  const none = { stores: [] };
  const some = { stores: ['store-001'] };
  it.each([
    ['is that of the last stage without stores', [some, none], 1, true],
    ['is that of every stage when the whole fleet is frozen', [none, none], 0, true],
    ['is not that of a stage without stores before one with stores', [none, some], 0, false],
    ['is not that of the last stage when it has stores', [some], 0, false],
  ])('%s', (_sentence, stages, at, expected) => {
    expect(guardsNothing(stages, stages[at] ?? none)).toBe(expected);
  });
});
