import type { NightView } from '#domain/messages/backup.js';
import { isRunOver } from '#domain/messages/fleet-run.js';
import { notSucceededLines, progressLines } from './fleet-run.js';
import { printable, timeInZone, type Clock } from './text.js';

/** What `edge backup run` and `edge backup show` say of a night. Pure. */

export function renderNight(view: NightView, clock: Clock): string[] {
  const { night, fleet, state, opens, closes, endsBy, startedAt, endedAt } = view;
  const isAhead = opens !== undefined && Date.parse(opens) > clock.now.getTime() && !isRunOver(view);
  const name = night === '' ? `Backups of fleet ${printable(fleet)}` : `Night ${printable(night)}`;
  const since = endedAt === undefined ? `since ${timeInZone(startedAt, clock)}` : `ended ${timeInZone(endedAt, clock)}`;
  return [
    `${name}: ${state}, ${since}.`,
    ...progressLines(view).map((line) => `  ${line}`),
    ...(isAhead ? [`  Nothing is begun before ${timeInZone(opens, clock)}. To end it: edge backup abort`] : []),
    ...(closes !== undefined && !isRunOver(view) ? [`  Nothing is begun after ${timeInZone(closes, clock)}.`] : []),
    ...(endsBy !== undefined && !isRunOver(view) ? [`  It ends by ${timeInZone(endsBy, clock)}.`] : []),
    ...notSucceededLines(view),
    ...(isRunOver(view) ? ['What is proven of each guest: edge backup status'] : []),
  ];
}
