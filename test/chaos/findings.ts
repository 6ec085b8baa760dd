import type { ResultRow } from '#domain/messages/ledger.js';
import { operationId as idOf, ROLLBACK_STAGE } from '#domain/naming.js';
import { OUTCOMES, tallyOf, totalOf, type StoreResult, type Tally } from '#domain/outcomes.js';
import type { Operation, Ran } from './seen.js';

/** Something that is wrong with a run. `rule`: what it breaks, in a word; rules of the journal have their own ids. */
export interface Finding {
  rule: string;
  /** A sentence. */
  what: string;
}
export const renderFinding = ({ rule, what }: Finding): string => `${rule}: ${what}`;
/** Of one rule. */
export const found = (rule: string, sentences: readonly string[]): Finding[] =>
  sentences.map((what) => ({ rule, what }));

const time = (instant: string | undefined, otherwise: number): number =>
  instant === undefined ? otherwise : Date.parse(instant);
export const startOf = ({ startedAt }: StoreResult): number => time(startedAt, Infinity);
export const endOf = ({ endedAt }: StoreResult): number => time(endedAt, Infinity);
export const during = (operation: StoreResult, { at }: { at: string }): boolean =>
  Date.parse(at) >= startOf(operation) && Date.parse(at) <= endOf(operation);
export const lastOf = (operations: readonly Operation[]): Operation | undefined =>
  operations.toSorted((a, b) => time(a.startedAt, 0) - time(b.startedAt, 0)).at(-1);

/** Its id begins with its train and the stage that it ran as. */
const stageOf = ({ operationId }: StoreResult): string | undefined => operationId?.split('/')[1];
export const isOfWayBack = (operation: StoreResult): boolean => stageOf(operation) === ROLLBACK_STAGE;

/** How each store stands by the ledger: the way back comes after the way there, and of each the later round counts. */
export function newestRows(rows: readonly ResultRow[]): ResultRow[] {
  const isBack = ({ stage }: ResultRow): number => (stage === ROLLBACK_STAGE ? 1 : 0);
  const ordered = rows.toSorted((a, b) => isBack(a) - isBack(b) || a.round - b.round);
  return [...new Map(ordered.map((row) => [row.store, row])).values()];
}

/** Every store of a plan has exactly one outcome, in the report and in the ledger. */
export function sumIsThePlan(
  { rows, report }: Pick<Ran<{ state: string; tally: Tally; planned: number }>, 'rows' | 'report'>,
  stores: number,
): string[] {
  if (!report || report.state === 'failed') return [];
  const wrong: string[] = [];
  if (report.planned !== stores) wrong.push(`The report plans ${report.planned} stores, the run has ${stores}`);
  if (totalOf(report.tally) !== stores)
    wrong.push(`The outcomes add up to ${totalOf(report.tally)} of ${stores} stores`);
  const inLedger = tallyOf(newestRows(rows));
  const differing = OUTCOMES.filter((outcome) => inLedger[outcome] !== report.tally[outcome]);
  for (const outcome of differing)
    wrong.push(`The ledger has ${inLedger[outcome]} ${outcome}, the report ${report.tally[outcome]}`);
  return wrong;
}

/**
 * Each operation stands in the ledger as it ended, and what the ledger says of a store is what an operation came to, or
 * that none was begun. One that fell silent and was not waited for stands there as that, however it ended afterwards.
 */
export function ledgerIsWhatHappened({ rows, operations, report }: Ran<unknown>): string[] {
  if (!report) return [];
  const wrong: string[] = [];
  const idOfRow = ({ train, stage, store, round }: ResultRow): string => idOf(train, stage, store, round);
  for (const { operationId, outcome } of operations) {
    const row = rows.find((each) => idOfRow(each) === operationId);
    if (!row) wrong.push(`${operationId} ended ${outcome} and is not in the ledger`);
    else if (row.outcome !== outcome && row.outcome !== 'cutOff')
      wrong.push(`${operationId} ended ${outcome}, the ledger says ${row.outcome}`);
  }
  for (const row of rows) {
    const { store, stage, round, outcome } = row;
    if (operations.some(({ operationId }) => operationId === idOfRow(row))) continue;
    // Nobody is cut off, or succeeds, in an operation that there was not.
    if (['succeeded', 'cutOff', 'failed', 'timedOut', 'rolledBack'].includes(outcome))
      wrong.push(`The ledger says that ${store} ${outcome} in round ${round}, and no operation of that round is known`);
    const done = operations.find(
      (each) => each.store === store && stageOf(each) === stage && ['succeeded', 'rolledBack'].includes(each.outcome),
    );
    if (done && ['missed', 'aborted'].includes(outcome))
      wrong.push(`The ledger says that ${store} was ${outcome}, and ${done.operationId} ended ${done.outcome}`);
  }
  return wrong;
}
