import type { Reason, Stop } from './reasons.js';

/** Every store of a plan ends in exactly one of these, and their sum is the plan. */
export const OUTCOMES = [
  'succeeded',
  'failed',
  'timedOut',
  'offline',
  'cutOff',
  'skipped',
  'excluded',
  'aborted',
  'rolledBack',
  'missed',
] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** The words for outcomes as people say them; the closed list stays the key. */
export const OUTCOME_WORDS: Record<Outcome, string> = {
  succeeded: 'succeeded',
  failed: 'failed',
  timedOut: 'timed out',
  offline: 'offline',
  cutOff: 'cut off',
  skipped: 'skipped',
  excluded: 'excluded',
  aborted: 'aborted',
  rolledBack: 'rolled back',
  missed: 'missed',
};

/** How the operation on one store ended. */
export interface StoreResult {
  store: string;
  outcome: Outcome;
  reason?: Reason | undefined;
  stop?: Stop | undefined;
  operationId?: string | undefined;
  /** ISO instants; absent when the store was never started. */
  startedAt?: string | undefined;
  endedAt?: string | undefined;
  nodesPatched?: number | undefined;
  nodesRebooted?: number | undefined;
  release?: string | undefined;
}

/**
 * Whether what a round says of a store changes what is known of it. A store that was cut off may still be held by that
 * operation; that it could not be taken says nothing new, and it stays awaited.
 */
export const isNews = (known: StoreResult | undefined, told: StoreResult): boolean =>
  !(known?.outcome === 'cutOff' && told.outcome === 'skipped' && told.reason === 'StoreBusy');

/** How an operation left its store, as far as it got: `nodes finished: 1; left in place: maintenance of n2 (…)`. */
export function stateWords({ outcome, operationId, nodesPatched, release, stop }: StoreResult): string | undefined {
  // An operation that works on no node says nothing of nodes.
  const isOfNodes = operationId !== undefined && nodesPatched !== undefined;
  if (!isOfNodes || outcome === 'succeeded' || outcome === 'offline') return undefined;
  const finished = nodesPatched
    ? `nodes finished: ${nodesPatched}, on ${release ?? 'the release'}`
    : 'no node finished';
  const left = (stop?.detail ?? []).filter((line) => line.startsWith(LEFT_IN_PLACE));
  return [finished, ...(left.length > 0 ? left : ['nothing left set'])].join('; ');
}
export const LEFT_IN_PLACE = 'left in place: ';

/** Why an operation stopped, with what it could not take back at its end. */
export const withLeftSet = (stop: Stop, leftSet: readonly string[]): Stop =>
  leftSet.length === 0
    ? stop
    : { ...stop, detail: [...(stop.detail ?? []), ...leftSet.map((what) => `${LEFT_IN_PLACE}${what}`)] };

export type Tally = Record<Outcome, number>;

/** The outcomes that happened at all, in the order of the list. */
export const happened = (tally: Tally): Outcome[] => OUTCOMES.filter((outcome) => tally[outcome] > 0);

/** `['1 failed', '2 offline']`: whatever is no success. */
export const othersOf = (tally: Tally): string[] =>
  happened(tally)
    .filter((outcome) => outcome !== 'succeeded')
    .map((outcome) => `${tally[outcome]} ${OUTCOME_WORDS[outcome]}`);

export const emptyTally = (): Tally => Object.fromEntries(OUTCOMES.map((outcome) => [outcome, 0])) as Tally;

export function tallyOf(results: Iterable<{ outcome: Outcome }>): Tally {
  const tally = emptyTally();
  for (const { outcome } of results) tally[outcome] += 1;
  return tally;
}

export const totalOf = (tally: Tally): number => Object.values(tally).reduce((sum, count) => sum + count, 0);

export function addTallies(a: Tally, b: Tally): Tally {
  const sum = emptyTally();
  for (const outcome of OUTCOMES) sum[outcome] = a[outcome] + b[outcome];
  return sum;
}
