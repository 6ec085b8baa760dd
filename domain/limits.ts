import { are, plural } from './counted.js';
import type { ErrorThreshold, Limits } from './fleet.js';
import { hasFailed, tallyOf, type Outcome, type StoreResult, type Tally } from './outcomes.js';

/**
 * When a wave may go on and when it must stop starting stores. Pure arithmetic; the wave asks after every store that
 * ends, falls silent or turns out to be offline. "More than" is strict everywhere: at the limit a wave still goes on.
 */

/** The counts of one stage so far, over all its rounds and parts, each store once with its newest outcome. */
export interface WaveState {
  /** Stores of the stage that count: all but those that people accepted as they are. */
  size: number;
  /** Stores that ended. One that is started again in a later round leaves the tally until it ends again. */
  tally: Tally;
  /**
   * Stores whose operation was begun, in work or ended, offline ones included. Not in here: who was excluded or ended
   * as skipped, because nothing was tried there.
   */
  started: number;
  /** Stores silent in the middle of their work right now that have no outcome yet. */
  cutOff: number;
  /** The stage or the train is over: who is still silent now counts as failed. */
  atDeadline?: boolean | undefined;
}

export type WaveVerdict =
  { kind: 'go' } | { kind: 'breach'; reason: 'ErrorThresholdExceeded' | 'OfflineThresholdExceeded'; summary: string };

type Counted = Pick<StoreResult, 'outcome' | 'startedAt' | 'failedBefore'>;

/**
 * What results are worth to the thresholds. A store that was taken out before its turn counts like a skipped one:
 * nothing was tried there, so it must not make a failing stage look better. One that failed counts as failed until it
 * succeeds, whatever became of it when it was tried again.
 */
export function countsOf(results: readonly Counted[]): Pick<WaveState, 'tally' | 'started'> {
  const tally = tallyOf(results.map((result) => ({ outcome: worthOf(result) })));
  return { tally, started: results.length - tally.skipped - tally.excluded };
}

function worthOf(result: Counted): Outcome {
  if (result.outcome === 'timedOut') return 'timedOut';
  if (hasFailed(result)) return 'failed';
  return result.outcome === 'aborted' && result.startedAt === undefined ? 'skipped' : result.outcome;
}

/**
 * Stores in work at the same time. A percentage is of the stage, rounded down, at least 1:
 * `25%` of 50 is 12, `25%` of 3 is 1; a number stands as it is.
 */
export function concurrencyOf(limit: number | string, stageSize: number): number {
  const stores = typeof limit === 'number' ? limit : (stageSize * Number.parseInt(limit, 10)) / 100;
  return Math.max(1, Math.floor(stores));
}

/**
 * Judges a stage by its two thresholds, errors first.
 *
 * Errors: failures = failed + timed out, and at the deadline also the silent ones; they are measured against the stores
 * started that were not offline. With `{count: 2}` the third failure breaches, however large the stage. With
 * `{percent: 10, minSample: 5}` and 39 started, 2 of them offline, the measure is 37: 3 failures are 8.1 % and pass, 4
 * are 10.8 % and breach, but only when 5 of the 37 have ended.
 *
 * Offline: offline + silent stores against all stores started. With `{percent: 20, minSample: 5}` and 50 started, 10
 * pass (exactly 20 %) and 11 breach.
 *
 * A stage that has fewer stores than `minSample` is judged when all of them have ended; otherwise a canary of 4 could
 * fail as a whole and pass.
 */
export function judgeWave(state: WaveState, limits: Pick<Limits, 'errorThreshold' | 'offlineThreshold'>): WaveVerdict {
  const { tally } = state;
  const silent = state.cutOff + tally.cutOff;
  const answered = tally.succeeded + tally.failed + tally.timedOut + tally.aborted + tally.rolledBack;
  const unresolved = state.atDeadline ? silent : 0;

  const failures = tally.failed + tally.timedOut + unresolved;
  const ended = answered + unresolved;
  const failed = breachOf(limits.errorThreshold, {
    hits: failures,
    // A caller who counts too few as started must not make a failing stage look empty.
    of: Math.max(state.started - tally.offline, ended),
    known: ended,
    knowable: state.size - tally.excluded - tally.skipped - tally.offline,
  });
  if (failed) {
    const silentWords = unresolved > 0 ? ` (${unresolved} of them still silent at the deadline)` : '';
    return {
      kind: 'breach',
      reason: 'ErrorThresholdExceeded',
      summary: `${failures} of ${plural(failed.of, 'store')} failed${silentWords}; ${failed.allowance}.`,
    };
  }

  const gone = tally.offline + silent;
  const offline = breachOf(limits.offlineThreshold, {
    hits: gone,
    of: Math.max(state.started, answered + gone),
    known: answered + gone,
    knowable: state.size - tally.excluded - tally.skipped,
  });
  if (offline) {
    return {
      kind: 'breach',
      reason: 'OfflineThresholdExceeded',
      summary: `${gone} of ${plural(offline.of, 'store')} ${are(gone)} offline or cut off (${tally.offline} offline, ${silent} cut off); ${offline.allowance}.`,
    };
  }
  return { kind: 'go' };
}

/** What the threshold allows of `gone` stores out of `of`, in words, when these are more; all answers are known. */
export const allowanceFor = (gone: number, of: number, threshold: ErrorThreshold): string | undefined =>
  breachOf(threshold, { hits: gone, of, known: of, knowable: of })?.allowance;

interface Sample {
  hits: number;
  of: number;
  /** Stores whose answer to this question is known. */
  known: number;
  /** Stores of the stage whose answer can ever be known. */
  knowable: number;
}

function breachOf(threshold: ErrorThreshold, sample: Sample): { of: number; allowance: string } | undefined {
  const { hits, of, known, knowable } = sample;
  if (threshold.count !== undefined && hits > threshold.count) {
    return { of, allowance: `the stage allows ${threshold.count}` };
  }
  const enough = known >= Math.min(threshold.minSample, Math.max(1, knowable));
  // Multiplied rather than divided: 29 of 100 must not exceed 29 % by a rounding error.
  if (threshold.percent !== undefined && enough && hits * 100 > threshold.percent * of) {
    const share = Math.round((hits * 1_000) / of) / 10;
    return { of, allowance: `that is ${share} %, the stage allows ${threshold.percent} %` };
  }
  return undefined;
}
