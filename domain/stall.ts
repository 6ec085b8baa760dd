import { formatDuration } from './durations.js';
import type { InWork, Stalled, TrainView } from './messages/train.js';

/** When a train or a store should be moving, and what is said when it does not. */

const SHOWN = 5;

/** Something is under way that ends by itself: nobody is waited for, no window and no time. */
export function shouldMove({ state, stages, wave }: Pick<TrainView, 'state' | 'stages' | 'wave'>): boolean {
  const isWaveInWork = wave !== undefined;
  switch (state) {
    case 'building':
    case 'planning':
    case 'rolling back':
      return true;
    case 'running':
      return (
        isWaveInWork || stages.some((stage) => ['promoting', 'running', 'gate'].includes(stage.state) && !stage.paused)
      );
    case 'catching up':
      return isWaveInWork;
    case 'held':
    case 'paused':
    case 'done':
    case 'rolled back':
    case 'aborted':
    case 'failed':
      return false;
    default:
      return state satisfies never;
  }
}

/** People told something of it to stand still, so that nobody knows how long it takes. */
export const isPausedInPart = ({ paused, stages, pausedInWork = [] }: TrainView): boolean =>
  paused !== undefined || pausedInWork.length > 0 || stages.some((stage) => stage.paused && !stage.endedAt);

/** People told everything that would move to stand still: each store in work, or the stage that has the turn. */
export function standsStillAsTold(
  { stages, standsAt }: Pick<TrainView, 'stages' | 'standsAt'>,
  inWork: readonly InWork[],
): boolean {
  if (inWork.length > 0) return inWork.every(({ paused }) => paused);
  return stages.some(({ name, paused }) => name === standsAt && paused !== undefined);
}

/** `store-014 at draining n2 for 1 h 50 min, silent` */
export const inWorkWords = ({ store, step, since, cutOff, paused }: InWork, now: Date): string => {
  const lasts = formatDuration(now.getTime() - Date.parse(since));
  return `${store} at ${step} for ${lasts}${cutOff ? ', silent' : ''}${paused ? ', paused' : ''}`;
};

/** Stores that are at the same step for `limit` milliseconds or longer. One that people told to stand still is not. */
export const stuckIn = (inWork: readonly InWork[], limit: number, now: Date): InWork[] =>
  inWork.filter(({ paused, since }) => !paused && now.getTime() - Date.parse(since) >= limit);

/**
 * Milliseconds until it is worth a look again: when the first of them would have been at its step for too long, or one
 * that is not in work yet; sooner when one is stuck, since that is over when it moves.
 */
export function lookAgainIn(inWork: readonly InWork[], limit: number, now: Date): number {
  const left = inWork.map(({ since }) => Date.parse(since) + limit - now.getTime());
  const soonest = Math.min(limit, ...left.filter((milliseconds) => milliseconds > 0));
  return Math.max(1, stuckIn(inWork, limit, now).length > 0 ? Math.min(soonest, limit / 4) : soonest);
}

export const stuckSummary = (stuck: readonly InWork[], now: Date): string =>
  `No progress while others move: ${namesOf(stuck, now)}.`;

export function stalledSummary(doing: string, { since, inWork }: Stalled, now: Date): string {
  const lasts = formatDuration(now.getTime() - Date.parse(since));
  const who = inWork.length > 0 ? ` In work: ${namesOf(inWork, now)}.` : '';
  return `No store ended and no stage moved for ${lasts}. ${doing}${who}`;
}

function namesOf(inWork: readonly InWork[], now: Date): string {
  const longest = inWork.toSorted((a, b) => Date.parse(a.since) - Date.parse(b.since));
  const more = longest.length > SHOWN ? [`${longest.length - SHOWN} more`] : [];
  return [...longest.slice(0, SHOWN).map((one) => inWorkWords(one, now)), ...more].join('; ');
}
