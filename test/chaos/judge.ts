import type { LabEntry } from '#client/cli/lab-client.js';
import { OUTCOMES, tallyOf, totalOf, type StoreResult } from '#domain/outcomes.js';
import type { Seen } from './drive.js';
import { cellName, type Cell } from './table.js';

export interface Verdict {
  /** What is wrong, in sentences. Empty: the run was good. */
  wrong: string[];
  /** Cells that the journal shows at work during an operation. */
  hits: string[];
}

export function judge(seen: Seen): Verdict {
  return {
    wrong: [
      ...ends(seen),
      ...lawOfTheJournal(seen),
      ...sumIsThePlan(seen),
      ...ledgerIsWhatHappened(seen),
      ...successIsInTheJournal(seen),
      ...effectsBelongToOperations(seen),
    ],
    hits: hitsOf(seen),
  };
}

function ends({ report, view, running, broken }: Seen): string[] {
  return [
    ...(report ? [] : [`The train did not end: ${view?.state ?? 'unknown'}, ${view?.doing ?? 'no view'}`]),
    ...running.map((what) => `Still running: ${what}`),
    ...broken.map((what) => `Ended by an exception: ${what}`),
  ];
}

/** What is left set is wrong, unless the operation that left it said so. */
function lawOfTheJournal({ check, operations }: Seen): string[] {
  const named = (store: string, summary: string): boolean => {
    const last = lastOf(operations.filter((operation) => operation.store === store));
    const told = [last?.stop?.summary ?? '', ...(last?.stop?.detail ?? [])].join('\n');
    const node = / on (n\d+)|^(n\d+) /.exec(summary);
    const name = node?.[1] ?? node?.[2] ?? '';
    const what = /maintenance/.test(summary) ? 'maintenance' : /noout/.test(summary) ? 'noout' : undefined;
    return what !== undefined && new RegExp(`(left in place|Still set): .*${what} of ${name}`).test(told);
  };
  return check.rules.flatMap(({ id, violations }) =>
    violations
      .filter(({ store, summary }) => id !== 'nothing-left-set' || !named(store, summary))
      .map(({ store, summary }) => `${id}: ${store}: ${summary}`),
  );
}

function sumIsThePlan({ plan, report, rows }: Seen): string[] {
  if (!report || report.state === 'failed') return [];
  const wrong: string[] = [];
  if (report.planned !== plan.stores)
    wrong.push(`The report plans ${report.planned} stores, the fleet has ${plan.stores}`);
  if (totalOf(report.tally) !== plan.stores)
    wrong.push(`The outcomes add up to ${totalOf(report.tally)} of ${plan.stores} stores`);
  const newest = new Map(rows.toSorted((a, b) => a.round - b.round).map((row) => [row.store, row]));
  const inLedger = tallyOf([...newest.values()]);
  const differing = OUTCOMES.filter((outcome) => inLedger[outcome] !== report.tally[outcome]);
  for (const outcome of differing)
    wrong.push(`The ledger has ${inLedger[outcome]} ${outcome}, the report ${report.tally[outcome]}`);
  return wrong;
}

/** Each operation stands in the ledger as it ended; one that outlived its train stands there as what was known then. */
function ledgerIsWhatHappened({ rows, operations, report }: Seen): string[] {
  if (!report) return [];
  const ofTrain = operations.filter(({ workflowId }) => workflowId.startsWith('store/'));
  const wrong: string[] = [];
  for (const operation of ofTrain) {
    const row = rows.find(
      (each) => each.store === operation.store && operation.operationId?.endsWith(`/r${each.round}`),
    );
    if (!row) wrong.push(`${operation.operationId} ended ${operation.outcome} and is not in the ledger`);
    else if (row.outcome !== operation.outcome && !['cutOff', 'aborted', 'missed'].includes(row.outcome))
      wrong.push(`${operation.operationId} ended ${operation.outcome}, the ledger says ${row.outcome}`);
  }
  for (const row of rows.filter(({ outcome }) => outcome === 'succeeded')) {
    const operation = ofTrain.find(
      ({ store, operationId }) => store === row.store && operationId?.endsWith(`/r${row.round}`),
    );
    if (operation?.outcome !== 'succeeded')
      wrong.push(`The ledger says that ${row.store} succeeded, its operation ${operation?.outcome ?? 'is not known'}`);
  }
  return wrong;
}

const time = (instant: string | undefined, otherwise: number): number =>
  instant === undefined ? otherwise : Date.parse(instant);
const during = ({ startedAt, endedAt }: StoreResult, { at }: { at: string }): boolean =>
  Date.parse(at) >= time(startedAt, Infinity) && Date.parse(at) <= time(endedAt, Infinity);
const lastOf = (operations: readonly StoreResult[]): StoreResult | undefined =>
  operations.toSorted((a, b) => time(a.startedAt, 0) - time(b.startedAt, 0)).at(-1);

function successIsInTheJournal({ operations, journal, now }: Seen): string[] {
  const wrong: string[] = [];
  for (const operation of operations) {
    const { store, operationId, outcome, nodesPatched = 0 } = operation;
    const own = journal.filter((entry) => entry.store === store);
    const home = new Set(
      own
        .filter((entry) => entry.effect === 'ha.maintenance.disable' && during(operation, entry))
        .map(({ node }) => node),
    );
    if (nodesPatched > home.size)
      wrong.push(
        `${operationId} claims ${nodesPatched} nodes, the journal shows ${home.size} that came back to service`,
      );
    if (outcome !== 'succeeded') continue;
    for (const { name } of now.find(({ id }) => id === store)?.nodes ?? []) {
      const before = own.filter((entry) => entry.node === name && Date.parse(entry.at) <= time(operation.endedAt, 0));
      const installed = before.findLast(({ effect }) => effect === 'packages.install');
      const booted = before.findLast(({ effect }) => effect === 'node.up');
      if (!installed || !booted || booted.seq < installed.seq)
        wrong.push(`${operationId} succeeded, but the journal does not show ${name} upgraded and then booted`);
    }
  }
  return wrong;
}

/** What disturbs a node; whoever does it has to be on record. */
const DISTURBING = ['ha.maintenance.enable', 'packages.begin', 'node.reboot.request'];

function effectsBelongToOperations({ operations, journal, running }: Seen): string[] {
  return journal
    .filter(({ effect, by }) => DISTURBING.includes(effect) && by !== 'lab')
    .filter((entry) => !operations.some((operation) => operation.store === entry.store && during(operation, entry)))
    .filter(({ store }) => !running.some((id) => id.includes(`/${store} `)))
    .map(({ seq, effect, store, node }) => `Nobody on record did ${effect} on ${node} of ${store} (entry ${seq})`);
}

function hitsOf({ journal, operations, struck }: Seen): string[] {
  const inOperation = ({ store, at }: { store: string | undefined; at: string }): boolean =>
    operations.some((operation) => operation.store === store && during(operation, { at }));
  const ofLab = journal
    .filter((entry) => entry.effect === 'fault.active' && entry.detail?.['step'] !== undefined && inOperation(entry))
    .map(cellOf);
  const ofService = struck.filter((each) => each.step === 'release.build' || inOperation(each));
  return [...new Set([...ofLab, ...ofService].map(cellName))];
}

const cellOf = ({ detail }: LabEntry): Cell =>
  ({ kind: detail?.['kind'], step: detail?.['step'], moment: detail?.['moment'] }) as Cell;
