import { formatDuration } from './durations.js';
import type { InWork, Stalled, TrainView } from './messages/train.js';

/** When a train should be moving, and what is said when it does not. */

const SHOWN = 5;

/** Something is under way that ends by itself: nobody is waited for, no window and no time. */
export function shouldMove({ state, stages }: Pick<TrainView, 'state' | 'stages'>, isWaveInWork: boolean): boolean {
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

/** `store-014 at draining n2 for 1 h 50 min, silent` */
export const inWorkWords = ({ store, step, since, cutOff }: InWork, now: Date): string => {
  const lasts = formatDuration(now.getTime() - Date.parse(since));
  return `${store} at ${step} for ${lasts}${cutOff ? ', silent' : ''}`;
};

export function stalledSummary(doing: string, { since, inWork }: Stalled, now: Date): string {
  const lasts = formatDuration(now.getTime() - Date.parse(since));
  const longest = inWork.toSorted((a, b) => Date.parse(a.since) - Date.parse(b.since));
  const more = longest.length > SHOWN ? [`${longest.length - SHOWN} more`] : [];
  const stores = [...longest.slice(0, SHOWN).map((one) => inWorkWords(one, now)), ...more];
  const who = stores.length > 0 ? ` In work: ${stores.join('; ')}.` : '';
  return `No store ended and no stage moved for ${lasts}. ${doing}${who}`;
}
