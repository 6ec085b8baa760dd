import { abridge } from './abridge.js';
import { plural } from './counted.js';
import type { GuestProbe, ProbeFacts } from './facts.js';
import type { ErrorThreshold, GateLimits } from './fleet.js';
import { allowanceFor } from './limits.js';

/**
 * Whether the stores that took a release are as well as before it. No data is hold, never pass: neither no store, nor
 * one that does not answer, nor nothing to compare it with. A store that answers but cannot be read fails.
 */

export interface GateCheck {
  name: string;
  /** `unknown`: no store could be judged by it. */
  verdict: 'pass' | 'fail' | 'unknown';
  /** Stores that fail it and what was seen there, at most 20 lines; the last line counts the rest. */
  failing: string[];
}

export type GateVerdict =
  | { kind: 'pass'; reason?: undefined; summary: string; checks: GateCheck[] }
  | { kind: 'hold'; reason: 'NotEnoughFacts'; lacks: Lack; summary: string; checks: GateCheck[] }
  | { kind: 'fail'; reason: 'HealthGateFailed'; summary: string; checks: GateCheck[] };

/**
 * What a gate lacks: any store that took the release, answers by its own limit, answers by the offline threshold of the
 * stage, or something to judge the answers by.
 */
export type Lack = 'stores' | 'answers' | 'links' | 'comparison';

/** What a check says of one store: what is wrong there, nothing, or `unknown` when it cannot tell. */
type Finding = string[] | 'unknown';

interface Rule {
  name: string;
  judge: (probe: ProbeFacts, limits: GateLimits) => Finding;
}

const MAX_LINES = 20;

const RULES: readonly Rule[] = [
  // Whoever answers must answer in full: what could not be read may hide the very fault the gate looks for.
  { name: 'facts readable', judge: ({ unreadable }) => unreadable },
  // Three of three; a store without a single known node is not healthy either.
  { name: 'nodes online', judge: judgeNodes },
  // Without quorum the next failure stops the store.
  { name: 'quorum', judge: ({ quorate }) => (quorate ? [] : ['the cluster is not quorate']) },
  // Only codes that block work on a node; benign ones (old scrubs, telemetry) are no reason to stop a train.
  { name: 'Ceph without blocking checks', judge: ({ cephBlocking }) => cephBlocking },
  // A forgotten noout or maintenance turns the next disk failure into an outage.
  { name: 'nothing left set', judge: ({ leftSet }) => leftSet.map((what) => `${what} is still set`) },
  // Packages and kernels drift when someone works by hand during the soak.
  { name: 'inventory matches', judge: judgeInventory },
  // Every guest that was there before the patch, and every one seen now, runs.
  { name: 'guests running', judge: judgeRunning },
  // Running is not serving: the guest's own health address answers.
  { name: 'guests healthy', judge: judgeHealthy },
  // Each guest against itself before the release was begun: a slow store is not a bad release.
  { name: 'latency against the own baseline', judge: judgeLatency },
  // A cache that lost its content after the patch shows in the WAN bill, not in an error.
  { name: 'cache hit against the own baseline', judge: judgeCacheHit },
];

/**
 * Judges the stores in `expected` (those that took the release) by the newest probe of each; other probes are ignored.
 * Known harm comes first: more than `maxFailedStores` failing is fail even when many stores could not be measured.
 * Hold is: nobody expected; fewer than `minFacts` percent reached; more of them silent than `offlineThreshold` allows;
 * a check by which fewer than `minFacts` percent could be judged.
 */
export function decideGate({
  probes,
  expected,
  limits,
  offlineThreshold,
}: {
  probes: readonly ProbeFacts[];
  expected: readonly string[];
  limits: GateLimits;
  /** Of the stage. Whoever fell silent after the patch is offline by the same measure as who was so before it. */
  offlineThreshold: ErrorThreshold;
}): GateVerdict {
  const stores = [...new Set(expected)].toSorted();
  if (stores.length === 0) {
    return hold('stores', 'No store took the release, so nothing shows how it does.', []);
  }
  const newest = newestByStore(probes);
  const reached = stores.flatMap((store) => {
    const probe = newest.get(store);
    return probe?.reachable ? [probe] : [];
  });

  const failed = new Set<string>();
  const undecided = new Map<string, string[]>();
  const checks = RULES.map((rule) => checkOf(rule, reached, limits, failed, undecided));
  const coverage = `${reached.length} of ${plural(stores.length, 'store')} measured`;

  if (failed.size > limits.maxFailedStores) {
    const names = checks.filter(({ verdict }) => verdict === 'fail').map(({ name }) => name);
    return {
      kind: 'fail',
      reason: 'HealthGateFailed',
      summary: `${coverage}; ${failed.size} failing, ${limits.maxFailedStores} allowed: ${names.join(', ')}.`,
      checks,
    };
  }
  const isEnough = (known: number): boolean => known > 0 && known * 100 >= limits.minFacts * stores.length;
  const silent = stores.filter((store) => !newest.get(store)?.reachable);
  if (!isEnough(reached.length)) {
    const needs = `the gate needs ${limits.minFacts} %`;
    return hold('answers', `${coverage}; ${needs}. No answer from ${abridge(silent)}.`, checks);
  }
  const allowance = allowanceFor(silent.length, stores.length, offlineThreshold);
  if (allowance) {
    return hold(
      'links',
      `${coverage}; ${silent.length} silent, ${allowance} offline. No answer from ${abridge(silent)}.`,
      checks,
    );
  }
  const failing = failed.size > 0 ? `${failed.size} failing, ${limits.maxFailedStores} allowed` : 'none failing';
  const unjudged = [...undecided].flatMap(([name, open]) => {
    // Of a store that fails anyway enough is known.
    const unknown = open.filter((store) => !failed.has(store));
    const isShort = unknown.length > 0 && !isEnough(reached.length - unknown.length);
    return isShort ? [`${name} (${abridge(unknown)})`] : [];
  });
  if (unjudged.length > 0) {
    return hold('comparison', `${coverage}; ${failing}. Could not be judged: ${unjudged.join(', ')}.`, checks);
  }
  return { kind: 'pass', summary: `${coverage}; ${failing}.`, checks };
}

/**
 * Whether nothing depends on the gate of this stage: the plan has no store for it, nor for any stage after it. A fleet
 * that is frozen as a whole asks nobody.
 */
export const guardsNothing = <S extends { stores: readonly string[] }>(stages: readonly S[], stage: S): boolean =>
  stages.slice(stages.indexOf(stage)).every(({ stores }) => stores.length === 0);

const hold = (lacks: Lack, summary: string, checks: GateCheck[]): GateVerdict => ({
  kind: 'hold',
  reason: 'NotEnoughFacts',
  lacks,
  summary,
  checks,
});

function checkOf(
  rule: Rule,
  probes: readonly ProbeFacts[],
  limits: GateLimits,
  failed: Set<string>,
  undecided: Map<string, string[]>,
): GateCheck {
  const failing: string[] = [];
  const open: string[] = [];
  for (const probe of probes) {
    const finding = rule.judge(probe, limits);
    if (finding === 'unknown') open.push(probe.store);
    if (finding === 'unknown' || finding.length === 0) continue;
    failed.add(probe.store);
    failing.push(`${probe.store}: ${finding.join('; ')}`);
  }
  undecided.set(rule.name, open);
  if (open.length === probes.length) return { name: rule.name, verdict: 'unknown', failing: [] };
  return { name: rule.name, verdict: failing.length > 0 ? 'fail' : 'pass', failing: capped(failing) };
}

function judgeNodes({ nodesOnline, nodesTotal }: ProbeFacts): Finding {
  if (nodesTotal > 0 && nodesOnline >= nodesTotal) return [];
  return [`${nodesOnline} of ${plural(nodesTotal, 'node')} online`];
}

function judgeInventory({ inventoryMatches }: ProbeFacts): Finding {
  if (inventoryMatches === undefined) return 'unknown';
  return inventoryMatches ? [] : ['packages or kernel are not those of the release'];
}

/** Which guests there are could not be read; they are not gone. `facts readable` fails such a store, and says why. */
const guestsUnread = ({ guests, unreadable }: ProbeFacts): boolean => guests.length === 0 && unreadable.length > 0;

function judgeRunning(probe: ProbeFacts): Finding {
  if (guestsUnread(probe)) return 'unknown';
  const { guests, baseline } = probe;
  const present = new Set(guests.map(({ vmid }) => vmid));
  return [
    ...guests.filter(({ running }) => !running).map((guest) => `${label(guest)} does not run`),
    ...baseline.filter(({ vmid }) => !present.has(vmid)).map((guest) => `${label(guest)} is gone`),
  ];
}

function judgeHealthy(probe: ProbeFacts): Finding {
  if (guestsUnread(probe)) return 'unknown';
  return probe.guests
    .filter(({ running, healthy }) => running && !healthy)
    .map((guest) => `${label(guest)} runs but is not healthy`);
}

function judgeLatency(probe: ProbeFacts, limits: GateLimits): Finding {
  return againstBaseline(probe, 'latencyMs', (guest, before, now) => {
    if (now === undefined) return `${label(guest)} was ${round(before)} ms, now not measured`;
    const rise = now - before;
    const worse = rise > limits.latencyFloorMs && rise * 100 > limits.latencyRisePercent * before;
    return worse ? `${label(guest)} ${round(before)} ms → ${round(now)} ms` : undefined;
  });
}

function judgeCacheHit(probe: ProbeFacts, limits: GateLimits): Finding {
  return againstBaseline(probe, 'cacheHitPercent', (guest, before, now) => {
    if (now === undefined) return `${label(guest)} hit ${round(before)} %, now not measured`;
    const worse = before - now > limits.cacheHitDropPoints;
    return worse ? `${label(guest)} hit ${round(before)} % → ${round(now)} %` : undefined;
  });
}

/**
 * Compares each running guest that has a baseline; a guest that has none says nothing, one that had a value and now
 * has none is worse. A guest that does not run is judged by `guests running`. A store whose guests never had a value
 * has nothing to compare: without a cache there is no hit rate that could drop.
 */
function againstBaseline(
  { guests, baseline }: ProbeFacts,
  metric: 'latencyMs' | 'cacheHitPercent',
  worse: (guest: GuestProbe, before: number, now: number | undefined) => string | undefined,
): Finding {
  const before = new Map(baseline.map((guest) => [guest.vmid, measured(guest[metric])]));
  const found: string[] = [];
  let compared = 0;
  for (const guest of guests) {
    const own = before.get(guest.vmid);
    if (own === undefined || !guest.running) continue;
    compared += 1;
    const line = worse(guest, own, measured(guest[metric]));
    if (line !== undefined) found.push(line);
  }
  const has = (guest: GuestProbe): boolean => measured(guest[metric]) !== undefined;
  const isComparable = guests.some(has) || baseline.some(has);
  return compared === 0 && isComparable ? 'unknown' : found;
}

function newestByStore(probes: readonly ProbeFacts[]): Map<string, ProbeFacts> {
  const newest = new Map<string, ProbeFacts>();
  for (const probe of probes) {
    const known = newest.get(probe.store);
    // Same instant: the later one in the list was gathered later.
    if (!known || Date.parse(probe.at) >= Date.parse(known.at)) newest.set(probe.store, probe);
  }
  return newest;
}

const capped = (lines: string[]): string[] =>
  lines.length <= MAX_LINES
    ? lines
    : [...lines.slice(0, MAX_LINES - 1), `and ${plural(lines.length - MAX_LINES + 1, 'more store')}`];

/** A number that is none (NaN, or null after a trip through JSON) would compare as no change. */
const measured = (value: number | null | undefined): number | undefined =>
  typeof value === 'number' && Number.isFinite(value) ? value : undefined;

const label = ({ vmid, name }: GuestProbe): string => `guest ${vmid} (${name})`;
const round = (value: number): number => Math.round(value * 10) / 10;
