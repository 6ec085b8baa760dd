import { abridge } from './abridge.js';
import { plural } from './counted.js';
import { bullets, code, fitted, link, plain, sections, table } from './markdown.js';
import type { Found, JanitorReport } from './messages/janitor.js';
import type { Inspected, Swept } from './messages/store.js';
import { storeWorkflowId } from './naming.js';
import type { Reason } from './reasons.js';

/** What the janitor makes of what stores answer, and what it says of a whole fleet. */

const MAX_ROWS = 50;
const MAX_LINES = 20;
const LOCK = 'the lock';

export const emptyReport = (fleet: string): JanitorReport => ({ fleet, commit: '', stores: 0, clean: 0, found: [] });

/**
 * `swept` is the answer to having asked for all that `inspected` named. A store answers with everything it ever took
 * back of that operation, so that an answer that was lost is not missing; only what was there a moment ago counts here.
 */
export function foundOf(store: string, { leftBy, foreign }: Inspected, swept?: Swept): Found {
  if (!leftBy || !swept) return { kind: 'looked', store, undone: [], left: [], foreign };
  if (swept.kind === 'taken') return { kind: 'busy', store };
  const undone = leftBy.marks.filter((mark) => swept.undone.includes(mark));
  const lock = leftBy.locked && swept.left.length === 0 ? [LOCK] : [];
  return { kind: 'looked', store, leftBy: leftBy.operationId, undone: [...undone, ...lock], left: swept.left, foreign };
}

/** Nothing of it was taken back, and why. */
export const unswept = ({ marks, locked }: NonNullable<Inspected['leftBy']>, why: string): Swept => ({
  kind: 'swept',
  undone: [],
  left: [...marks, ...(locked ? [LOCK] : [])].map((what) => `${what} (${why})`),
});

export function addFound(report: JanitorReport, found: Found): JanitorReport {
  if (found.kind === 'looked' && !found.leftBy && found.foreign.length === 0)
    return { ...report, clean: report.clean + 1 };
  return { ...report, found: [...report.found, found].toSorted((a, b) => (a.store < b.store ? -1 : 1)) };
}

export interface JanitorGroups {
  /** From these something was taken back. */
  undone: string[];
  /** On these something of ours is still set. */
  left: string[];
  foreign: string[];
  busy: string[];
  offline: string[];
  failed: string[];
}

export function groupsOf({ found }: JanitorReport): JanitorGroups {
  const idsOf = (isOne: (one: Found) => boolean) => found.filter(isOne).map(({ store }) => store);
  return {
    undone: idsOf((one) => one.kind === 'looked' && one.undone.length > 0),
    left: idsOf((one) => one.kind === 'looked' && one.left.length > 0),
    foreign: idsOf((one) => one.kind === 'looked' && one.foreign.length > 0),
    busy: idsOf(({ kind }) => kind === 'busy'),
    offline: idsOf(({ kind }) => kind === 'offline'),
    failed: idsOf(({ kind }) => kind === 'failed'),
  };
}

/** `Looked at 60 of 60 stores: 57 clean, 1 taken back from, 1 busy, 1 offline.` */
export function summaryOf(report: JanitorReport): string {
  const { undone, left, foreign, busy, offline, failed } = groupsOf(report);
  const counts = [
    `${report.clean} clean`,
    count(undone, 'taken back from'),
    count(left, 'with something of ours left'),
    count(foreign, 'with marks of others'),
    count(busy, 'busy'),
    count(offline, 'offline'),
    count(failed, 'failed'),
  ].filter((words) => words !== undefined);
  return `Looked at ${report.clean + report.found.length} of ${plural(report.stores, 'store')}: ${counts.join(', ')}.`;
}

const count = (stores: readonly string[], words: string): string | undefined =>
  stores.length > 0 ? `${stores.length} ${words}` : undefined;

/** `The staging site: 1 taken away: guest 90101 on stg1, …`; undefined when it was not looked at, or nothing was there. */
export function siteWords({ staging }: JanitorReport): string | undefined {
  switch (staging?.kind) {
    case undefined:
      return undefined;
    case 'offline':
      return 'The staging site: offline, it did not answer.';
    case 'failed':
      return `The staging site: failed: ${staging.why}`;
    case 'looked': {
      const groups = [
        ['taken away', staging.removed],
        ['LEFT', staging.left],
        ['in use', staging.busy],
      ] as const;
      const said = groups
        .filter(([, things]) => things.length > 0)
        .map(([what, things]) => {
          const more = things.length > SHOWN_THINGS ? ` and ${things.length - SHOWN_THINGS} more` : '';
          return `${things.length} ${what}: ${things.slice(0, SHOWN_THINGS).join('; ')}${more}`;
        });
      return `The staging site: ${said.length > 0 ? said.join('. ') : 'clean'}.`;
    }
    default:
      return staging satisfies never;
  }
}
const SHOWN_THINGS = 10;

/** What people should look at, the worst first. That a store is offline or busy is no news of the janitor's. */
export function concernOf(report: JanitorReport): { reason?: Reason; summary: string } | undefined {
  const { left, foreign, failed } = groupsOf(report);
  const { staging } = report;
  const leftAtSite = staging?.kind === 'looked' ? staging.left : [];
  const isSiteUnknown = staging?.kind === 'failed';
  const said = [
    ...(left.length > 0 ? [`could not take back what a dead operation left on ${abridge(left)}`] : []),
    ...(leftAtSite.length > 0
      ? [`left at the staging site what it could not take away, or what may be somebody else's: ${abridge(leftAtSite)}`]
      : []),
    ...(failed.length > 0 ? [`failed on ${abridge(failed)}`] : []),
    ...(isSiteUnknown ? ['failed at the staging site'] : []),
    ...(foreign.length > 0 ? [`left alone what others have set on ${abridge(foreign)}`] : []),
  ];
  if (said.length === 0) return undefined;
  const isLeft = left.length + leftAtSite.length > 0;
  const isFailed = failed.length > 0 || isSiteUnknown;
  const reason: Reason | undefined = isLeft ? 'UndoIncomplete' : isFailed ? 'StepFailed' : undefined;
  return {
    ...(reason ? { reason } : {}),
    summary: `The janitor ${said.join('; ')}. See: edge janitor show`,
  };
}

/** One store in a line, without its name. */
export function foundWords(found: Found): string {
  switch (found.kind) {
    case 'looked':
      return [
        found.undone.length > 0 ? `taken back, left by ${found.leftBy}: ${found.undone.join(', ')}` : '',
        found.left.length > 0 ? `LEFT by ${found.leftBy}: ${found.left.join(', ')}` : '',
        found.foreign.length > 0 ? `set by others, not touched: ${found.foreign.join(', ')}` : '',
      ]
        .filter((words) => words !== '')
        .join('; ');
    case 'busy':
      return 'busy: an operation runs there, and what is set is in use';
    case 'offline':
      return 'offline: it did not answer, and takes back by itself what is too old';
    case 'failed':
      return `failed: ${found.why}`;
    default:
      return found satisfies never;
  }
}

/** Shown by the Temporal UI while it runs and afterwards. */
export function renderJanitorDetails(report: JanitorReport): string {
  const { offline, busy } = groupsOf(report);
  const site = siteWords(report);
  const told = report.found.filter(({ kind }) => kind === 'looked' || kind === 'failed');
  const rows = told
    .slice(0, MAX_ROWS)
    .map((found) => [link(found.store, storeWorkflowId(found.store)), plain(foundWords(found))]);
  return fitted(
    sections(
      `**Janitor** of ${plain(report.fleet)} · commit ${code(report.commit.slice(0, 12) || 'not read yet')}`,
      summaryOf(report),
      site === undefined ? undefined : plain(site),
      rows.length > 0 ? table(['Store', 'Found'], rows) : undefined,
      told.length > rows.length ? `and ${told.length - rows.length} more` : undefined,
      bullets('Offline', offline.slice(0, MAX_LINES), offline.length),
      bullets('Busy', busy.slice(0, MAX_LINES), busy.length),
    ),
  );
}
