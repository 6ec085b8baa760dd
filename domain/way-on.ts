import { isTrainOver, type TrainView } from './messages/train.js';
import { ROLLBACK_STAGE } from './naming.js';
import type { Outcome, StoreResult } from './outcomes.js';
import { rollbackAgain } from './rollback.js';

/** Took nothing, or not all, of the release. Stores that are excluded were meant to be. */
const OPEN: readonly Outcome[] = ['failed', 'timedOut', 'offline', 'cutOff', 'skipped', 'aborted', 'missed'];

/**
 * What brings on the stores that a train does not try again by itself, as a sentence with the command. Undefined when
 * there are none, or when the train's own answers are the way. `suffix` repeats the options of the command asked.
 */
export function wayOn(view: TrainView, suffix = ''): string | undefined {
  const isOpen = ({ store, outcome }: StoreResult) => OPEN.includes(outcome) && !view.awaited.includes(store);
  const open = view.notSucceeded.filter(isOpen);
  const isAsked = view.answers.includes('retry-failed') || view.answers.includes('retry-offline');
  if (isAsked || open.length === 0) return undefined;
  if (isTakenBack(view)) {
    // Who never took the release is where it should be.
    if (!open.some((result) => isOfWayBack(view, result))) return undefined;
    return `Who is not back is taken back by: ${rollbackAgain(view.train)}${suffix}. Or a newer release brings it on.`;
  }
  switch (view.state) {
    case 'done':
    case 'aborted':
    case 'failed':
      return `To try them again: ${startAgain(view, suffix)}`;
    case 'rolled back':
    case 'rolling back':
      return undefined;
    case 'building':
    case 'planning':
    case 'running':
    case 'held':
    case 'paused':
    case 'catching up':
      return `This train does not try them again. When it has ended: ${startAgain(view, suffix)}`;
    default:
      return view.state satisfies never;
  }
}

const isOfWayBack = ({ train }: TrainView, { operationId }: StoreResult): boolean =>
  operationId?.startsWith(`${train}/${ROLLBACK_STAGE}/`) ?? false;

const isTakenBack = (view: TrainView): boolean =>
  (view.rollingBack === true && !isTrainOver(view.state)) ||
  view.state === 'rolled back' ||
  view.state === 'rolling back' ||
  view.notSucceeded.some((result) => isOfWayBack(view, result));

/** Stores that run the release already are left as they are. */
function startAgain({ release, stages }: TrainView, suffix: string): string {
  const names = stages.filter(({ tally }) => OPEN.some((outcome) => tally[outcome] > 0)).map(({ name }) => name);
  const which = [
    ...(release ? [`--release ${release.version}`] : []),
    ...(names.length > 0 ? [`--stages ${names.join(',')}`] : []),
  ];
  return `${['edge train start', ...which].join(' ')}${suffix}`;
}
