import { abridge } from './abridge.js';
import { plural } from './counted.js';
import type { GuestProbe, ProbeFacts } from './facts.js';
import type { GateLimits } from './fleet.js';

/**
 * Whether the stores that took a release are as well as before it. No data is hold, never pass; a store that answers
 * but cannot be read fails; one that does not answer is a missing fact.
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
  | { kind: 'hold'; reason: 'NotEnoughFacts'; summary: string; checks: GateCheck[] }
  | { kind: 'fail'; reason: 'HealthGateFailed'; summary: string; checks: GateCheck[] };

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
  // Each guest against itself just before the patch: a slow store is not a bad release.
  { name: 'latency against the own baseline', judge: judgeLatency },
  // A cache that lost its content after the patch shows in the WAN bill, not in an error.
  { name: 'cache hit against the own baseline', judge: judgeCacheHit },
];

/**
 * Judges the stores in `expected` (those that took the release) by the newest probe of each; other probes are ignored.
 * Known harm comes first: more than `maxFailedStores` failing is fail even when many stores could not be measured.
 * Fewer than `minFacts` percent reached is hold. Nobody expected is pass, and the summary says that nobody was judged.
 */
export function decideGate({
  probes,
  expected,
  limits,
}: {
  probes: readonly ProbeFacts[];
  expected: readonly string[];
  limits: GateLimits;
}): GateVerdict {
  const stores = [...new Set(expected)].toSorted();
  if (stores.length === 0) {
    return { kind: 'pass', summary: 'No store took the release, so there was nothing to judge.', checks: [] };
  }
  const newest = newestByStore(probes);
  const reached = stores.flatMap((store) => {
    const probe = newest.get(store);
    return probe?.reachable ? [probe] : [];
  });

  const failed = new Set<string>();
  const checks = RULES.map((rule) => checkOf(rule, reached, limits, failed));
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
  if (reached.length === 0 || reached.length * 100 < limits.minFacts * stores.length) {
    const silent = stores.filter((store) => !newest.get(store)?.reachable);
    return {
      kind: 'hold',
      reason: 'NotEnoughFacts',
      summary: `${coverage}; the gate needs ${limits.minFacts} %. No answer from ${abridge(silent)}.`,
      checks,
    };
  }
  const failing = failed.size > 0 ? `${failed.size} failing, ${limits.maxFailedStores} allowed` : 'none failing';
  const unknown = checks.filter(({ verdict }) => verdict === 'unknown').map(({ name }) => name);
  const unjudged = unknown.length > 0 ? ` Could not be judged: ${unknown.join(', ')}.` : '';
  return { kind: 'pass', summary: `${coverage}; ${failing}.${unjudged}`, checks };
}

function checkOf(rule: Rule, probes: readonly ProbeFacts[], limits: GateLimits, failed: Set<string>): GateCheck {
  const failing: string[] = [];
  let judged = 0;
  for (const probe of probes) {
    const finding = rule.judge(probe, limits);
    if (finding === 'unknown') continue;
    judged += 1;
    if (finding.length === 0) continue;
    failed.add(probe.store);
    failing.push(`${probe.store}: ${finding.join('; ')}`);
  }
  if (judged === 0) return { name: rule.name, verdict: 'unknown', failing: [] };
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
 * has none is worse. A guest that does not run is judged by `guests running`.
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
  return compared === 0 ? 'unknown' : found;
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
