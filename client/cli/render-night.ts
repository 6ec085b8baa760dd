import { plural } from '#domain/counted.js';
import type { NightView } from '#domain/messages/backup.js';
import { OUTCOME_WORDS, OUTCOMES, totalOf } from '#domain/outcomes.js';
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
    `  ${printable(view.doing)}`,
    ...(view.stores > 0 ? [`  ${countsLine(view)}`] : []),
    ...(closes !== undefined && !isNightOver(view) ? [`  Nothing is begun after ${timeInZone(closes, clock)}.`] : []),
    ...notSucceededLines(view),
    ...(isNightOver(view) ? ['What is proven of each guest: edge backup status'] : []),
  ];
}

/** `12 of 60 stores ended: succeeded 11, failed 1; in work 5` */
export function countsLine({ stores, tally, inFlight }: NightView): string {
  const counts = OUTCOMES.filter((outcome) => tally[outcome] > 0).map(
    (outcome) => `${OUTCOME_WORDS[outcome]} ${tally[outcome]}`,
  );
  const head = `${totalOf(tally)} of ${plural(stores, 'store')} ended`;
  return `${head}${counts.length > 0 ? `: ${counts.join(', ')}` : ''}${inFlight > 0 ? `; in work ${inFlight}` : ''}`;
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
