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
  /** Version of the release where a rollback leads, as the store knew it when the operation had taken it. */
  lastGood?: string | undefined;
  /** It failed in an earlier round, and no success has come since. */
  failedBefore?: true | undefined;
}

type Told = Pick<StoreResult, 'outcome' | 'failedBefore'>;

/** Who may be tried again without asking why: nothing was wrong with it but the link. */
export const isAway = ({ outcome }: Told): boolean => outcome === 'offline' || outcome === 'cutOff';

/** It fell silent in the middle of an operation, which may still hold it. */
export const isCutOff = ({ outcome }: Told): boolean => outcome === 'cutOff';

/** It failed, and has not succeeded since. */
export const hasFailed = ({ outcome, failedBefore }: Told): boolean =>
  outcome === 'failed' || outcome === 'timedOut' || failedBefore === true;

/**
 * What is known of a store when a further round has told of it. Only a success resolves a failure: it stays when nothing
 * was done to the store in that round, and says what was met; else it stands beside what came of it. A store that was cut
 * off stays so while its operation may still hold it.
 *
 * @param round counted from 0.
 */
export function afterRound(known: StoreResult | undefined, told: StoreResult, round: number): StoreResult {
  if (!known) return told;
  if (known.outcome === 'cutOff') {
    // That it could not be taken says nothing new.
    if (told.outcome === 'skipped' && told.reason === 'StoreBusy') return known;
    if (told.outcome === 'offline') return triedAgain(known, told, round);
  } else if (hasFailed(known) && wasLeftAlone(told)) return triedAgain(known, told, round);
  const isResolved = told.outcome === 'succeeded' || told.outcome === 'rolledBack';
  if (!hasFailed(known) || hasFailed(told) || isResolved) return told;
  return { ...told, failedBefore: true, ...withNote(told, failureIn(known)) };
}

/** Nothing was done to the store: its operation did not begin, or ended with the greeting. */
const wasLeftAlone = ({ outcome, startedAt, stop }: StoreResult): boolean =>
  outcome === 'offline' ||
  ((outcome === 'skipped' || outcome === 'aborted') && (startedAt === undefined || stop?.step === 'hello'));

const TRIED_AGAIN = 'tried again in round ';
const FAILED_BEFORE = 'failed before: ';
const isTriedAgain = (line: string): boolean => line.startsWith(TRIED_AGAIN);
const isFailedBefore = (line: string): boolean => line.startsWith(FAILED_BEFORE);

const triedAgain = (known: StoreResult, told: StoreResult, round: number): StoreResult => {
  const met = [OUTCOME_WORDS[told.outcome], told.stop?.summary ?? told.reason].filter(Boolean).join(', ');
  return { ...known, ...withNote(known, `${TRIED_AGAIN}${round + 1}: ${met}`) };
};

/** The failure in one line, however long ago it was. */
const failureIn = ({ outcome, reason, stop }: StoreResult): string =>
  stop?.detail?.find(isFailedBefore) ??
  `${FAILED_BEFORE}${[reason ?? OUTCOME_WORDS[outcome], stop?.summary].filter(Boolean).join(', ')}`;

/** Of what further rounds met, the newest is enough. */
const withNote = ({ stop }: StoreResult, note: string): Pick<StoreResult, 'stop'> =>
  stop ? { stop: { ...stop, detail: [...(stop.detail ?? []).filter((line) => !isTriedAgain(line)), note] } } : {};

/** What earlier and later rounds add to how the store stands. */
export const roundNotes = ({ stop }: StoreResult): string[] =>
  (stop?.detail ?? []).filter((line) => isTriedAgain(line) || isFailedBefore(line));

/** Why nobody knows how it ended: `step` is where it was when it was last heard of. */
export function fellSilent(reason: 'StoreCutOff' | 'UndoPending', step: string | undefined): Stop {
  const where = step === undefined ? 'in the middle of its operation' : `at the step ${step}`;
  const then =
    reason === 'UndoPending'
      ? 'It takes back what is set by itself, or when it is back.'
      : 'Its operation ends when it is back, and the store is tried again.';
  return { reason, ...(step === undefined ? {} : { step }), summary: `The store fell silent ${where}. ${then}` };
}

/** It was begun, and nobody has heard how it ended. */
export const isUnended = ({ startedAt, endedAt }: Pick<StoreResult, 'startedAt' | 'endedAt'>): boolean =>
  startedAt !== undefined && endedAt === undefined;

/**
 * How an operation left its store, as far as it got, and what other rounds add: `nodes finished: 1; left in place: maintenance of n2 (…)`.
 * Of one whose end nobody has heard, when it was begun, in the words of `timeWords`, and how far it was then.
 */
export function stateWords(result: StoreResult, timeWords: (instant: string) => string): string | undefined {
  const begun = isUnended(result) && result.startedAt ? [`begun ${timeWords(result.startedAt)}`] : [];
  const words = [...begun, ...nodeWords(result), ...roundNotes(result)];
  return words.length > 0 ? words.join('; ') : undefined;
}
export const LEFT_IN_PLACE = 'left in place: ';

function nodeWords(result: StoreResult): string[] {
  const { outcome, operationId, nodesPatched, release, lastGood, stop } = result;
  // An operation that works on no node says nothing of nodes.
  const isOfNodes = operationId !== undefined && nodesPatched !== undefined;
  if (!isOfNodes || outcome === 'succeeded' || outcome === 'offline') return [];
  const finished = nodesPatched
    ? `nodes finished: ${nodesPatched}, on ${release ?? 'the release'}`
    : 'no node finished';
  const left = (stop?.detail ?? []).filter((line) => line.startsWith(LEFT_IN_PLACE));
  const good = lastGood === undefined ? [] : [`last good release: ${lastGood}`];
  if (isUnended(result)) return [`when last heard of, ${finished}`, 'what is left set is not known', ...good];
  return [finished, ...(left.length > 0 ? left : ['nothing left set']), ...good];
}

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
