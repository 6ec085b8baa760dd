import { foundWords, groupsOf, siteWords, summaryOf } from '#domain/janitor.js';
import type { JanitorReport } from '#domain/messages/janitor.js';
import type { JanitorRun } from '../operations.js';
import { columns, listed, printable, timeInZone, wrap, type Clock } from './text.js';

/** What `edge janitor run` and `show` say. Pure. */

const SHOWN_IDS = 10;
const WIDTH = 80;

export function renderJanitor(report: JanitorReport): string[] {
  const { busy, offline, left } = groupsOf(report);
  const site = siteWords(report);
  const leftAtSite = report.staging?.kind === 'looked' && report.staging.left.length > 0;
  const told = report.found.filter(({ kind }) => kind === 'looked' || kind === 'failed');
  return [
    summaryOf(report),
    ...columns(told.map((found) => [printable(found.store), printable(foundWords(found))])),
    ...(site === undefined ? [] : wrap(printable(site), WIDTH)),
    ...(busy.length > 0 ? [`Busy, left alone: ${listed(busy, SHOWN_IDS)}`] : []),
    ...(offline.length > 0 ? [`Offline: ${listed(offline, SHOWN_IDS)}`] : []),
    ...(left.length > 0 || leftAtSite ? ['What to do: edge runbook UndoIncomplete'] : []),
  ];
}

export function renderJanitorRun(fleet: string, run: JanitorRun | undefined, clock: Clock): string[] {
  if (run === undefined)
    return [
      `No run of the janitor of fleet ${printable(fleet)} is known. Run it: edge janitor run. ` +
        'Have it run every night: edge schedules apply',
    ];
  const ended = run.endedAt === undefined ? '' : `, ended ${timeInZone(run.endedAt, clock)}`;
  return [
    `Janitor of fleet ${printable(fleet)}: ${run.status}, started ${timeInZone(run.startedAt, clock)}${ended}`,
    ...renderJanitor(run.report),
  ];
}
