import { plural } from '#domain/counted.js';
import type { NightView } from '#domain/messages/backup.js';
import { OUTCOME_WORDS, totalOf } from '#domain/outcomes.js';
import { tallyWords } from './render-train.js';
import { printable, timeInZone, type Clock } from './text.js';

/** What `edge backup run` and `edge backup show` say of a night. Pure. */

const MAX_STORES = 20;

export const isNightOver = ({ state }: NightView): boolean =>
  state === 'done' || state === 'aborted' || state === 'failed';

export function renderNight(view: NightView, clock: Clock): string[] {
  const { night, fleet, state, closes, startedAt, endedAt } = view;
  const name = night === '' ? `Backups of fleet ${printable(fleet)}` : `Night ${printable(night)}`;
  const since = endedAt === undefined ? `since ${timeInZone(startedAt, clock)}` : `ended ${timeInZone(endedAt, clock)}`;
  return [
    `${name}: ${state}, ${since}.`,
    ...progressLines(view).map((line) => `  ${line}`),
    ...(closes !== undefined && !isNightOver(view) ? [`  Nothing is begun after ${timeInZone(closes, clock)}.`] : []),
    ...notSucceededLines(view),
    ...(isNightOver(view) ? ['What is proven of each guest: edge backup status'] : []),
  ];
}

/** Every store got a new verified backup. */
export const wentWell = ({ state, notSucceeded }: NightView): boolean => state === 'done' && notSucceeded.length === 0;

/** What it does, and how far it is as soon as that is known. */
export const progressLines = (view: NightView): string[] => [
  printable(view.doing),
  ...(view.stores > 0 ? [countsLine(view)] : []),
];

/** `12 of 60 stores ended: succeeded 11, failed 1; in work 5` */
function countsLine({ stores, tally, inFlight }: NightView): string {
  const counts = tallyWords(tally);
  const head = `${totalOf(tally)} of ${plural(stores, 'store')} ended`;
  return `${head}${counts === '' ? '' : `: ${counts}`}${inFlight > 0 ? `; in work ${inFlight}` : ''}`;
}

function notSucceededLines({ notSucceeded }: NightView): string[] {
  const shown = notSucceeded.slice(0, MAX_STORES);
  const reasons = [...new Set(shown.flatMap(({ reason }) => reason ?? []))];
  return [
    ...shown.map(({ store, outcome, reason, stop }) => {
      const why = [reason, stop?.summary].filter((part) => part !== undefined).join(': ');
      return `  ${printable(store)}: ${OUTCOME_WORDS[outcome]}${why === '' ? '' : ` (${printable(why)})`}`;
    }),
    ...(notSucceeded.length > shown.length ? [`  and ${notSucceeded.length - shown.length} more`] : []),
    ...(reasons.length > 0 ? [`What to do: ${reasons.map((reason) => `edge runbook ${reason}`).join(', ')}`] : []),
  ];
}
