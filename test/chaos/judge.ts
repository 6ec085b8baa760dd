import { during, found, lastOf, type Finding } from './findings.js';
import { judgeNight } from './judge-night.js';
import { judgeRestores } from './judge-restores.js';
import { judgeTrain } from './judge-train.js';
import { faultId, type Operation, type Seen } from './seen.js';
import { cellName, type Cell } from './table.js';

interface Verdict {
  /** Empty: the run was good. */
  wrong: Finding[];
  /** Cells that were seen at work during an operation. */
  hits: string[];
}

export function judge(seen: Seen): Verdict {
  const { train, night, restores } = seen;
  return {
    wrong: [
      ...nothingRuns(seen),
      ...lawOfTheJournal(seen),
      ...storesAreGivenBack(seen),
      ...oneHolderAtATime(seen),
      ...(train ? judgeTrain(seen, train) : []),
      ...(night ? judgeNight(seen, night) : []),
      ...(restores ? judgeRestores(seen, restores) : []),
    ],
    hits: hitsOf(seen),
  };
}

function nothingRuns({ running, broken }: Seen): Finding[] {
  return [
    ...found(
      'still-running',
      running.map((what) => `Still running: ${what}`),
    ),
    ...found(
      'exception',
      broken.map((what) => `Ended by an exception: ${what}`),
    ),
  ];
}

/** What is left set is wrong, unless the operation that left it said so. */
function lawOfTheJournal(seen: Seen): Finding[] {
  return seen.check.rules.flatMap(({ id, violations }) =>
    violations
      .filter(({ store, summary }) => id !== 'nothing-left-set' || !isNamed(seen, store, summary))
      .map(({ store, summary }) => ({ rule: id, what: `${store}: ${summary}` })),
  );
}

function isNamed({ train, night }: Seen, store: string, summary: string): boolean {
  const locked = /^guest (\d+) is still locked/.exec(summary);
  if (locked)
    return (
      night?.guests.some(
        (row) => row.store === store && row.vmid === Number(locked[1]) && row.result !== 'proven' && isLock(row.text),
      ) === true
    );
  const last = lastOf((train?.operations ?? []).filter((operation) => operation.store === store));
  const told = [last?.stop?.summary ?? '', ...(last?.stop?.detail ?? [])].join('\n');
  const node = / on (n\d+)|^(n\d+) /.exec(summary);
  const name = node?.[1] ?? node?.[2] ?? '';
  const what = /maintenance/.test(summary) ? 'maintenance' : /noout/.test(summary) ? 'noout' : undefined;
  return what !== undefined && new RegExp(`(left in place|Still set): .*${what} of ${name}`).test(told);
}

/** A vzdump that died leaves its guest locked, and nobody but people may take that back. */
const isLock = (text: string | undefined): boolean => /is locked \(backup\)/.test(text ?? '');

/** No operation holds a store after its end, unless it said that it could not give it back. */
function storesAreGivenBack({ memories, train, night }: Seen): Finding[] {
  const all = [...(train?.operations ?? []), ...(night?.operations ?? [])];
  const isTold = (store: string): boolean =>
    lastOf(all.filter((one) => one.store === store))?.reason === 'UndoIncomplete';
  return found(
    'given-back',
    memories
      .filter(({ store, open }) => open && !isTold(store))
      .map(({ store, operationId }) => `${store} is still held by ${operationId}`),
  );
}

/** Once another operation has taken a store, the one before takes no further step there; what it left may be taken back. */
function oneHolderAtATime({ memories }: Seen): Finding[] {
  return found(
    'one-holder',
    memories.flatMap(({ store, operationId, startedAt, steps }) =>
      steps
        .filter(({ key, at }) => at > startedAt && !key.startsWith(`${operationId}|`) && !key.endsWith('|self-undo'))
        .map(({ key, at }) => `${store} was taken by ${operationId}, and then did for another: ${key} at ${at}`),
    ),
  );
}

/** A fault counts where it struck while an operation of its kind was under way there; anywhere else it tried nothing. */
function hitsOf(seen: Seen): string[] {
  const { plan, journal, struck } = seen;
  const hit = new Set<string>();
  for (const [fault, { cell }] of plan.faults.entries()) {
    const id = faultId(plan, fault);
    const inLab = journal.filter(
      ({ effect, detail }) => effect === 'fault.active' && detail?.['id'] === id && detail['step'] !== undefined,
    );
    const strikes = [...inLab, ...struck.filter((each) => each.fault === fault)];
    if (strikes.some((strike) => isAtWork(seen, cell, strike))) hit.add(cellName(cell));
  }
  return [...hit];
}

function isAtWork(seen: Seen, cell: Cell, strike: { store: string | undefined; at: string }): boolean {
  if (cell.step === 'release.build')
    return seen.train?.builds.some(({ from, to }) => from <= strike.at && strike.at <= to) === true;
  const operations: readonly Operation[] = seen[cell.work]?.operations ?? [];
  return operations.some(
    (operation) => (cell.at !== undefined || operation.store === strike.store) && during(operation, strike),
  );
}
