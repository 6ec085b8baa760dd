import { abridge } from './abridge.js';
import type { Fleet } from './fleet.js';
import type { ResultRow, StageRow, TrainRow } from './messages/ledger.js';
import type { PastStage, ReopenOutcome, StagePlan, StageState } from './messages/train.js';
import { ROLLBACK_STAGE } from './naming.js';
import { afterRound, isCutOff, type StoreResult } from './outcomes.js';
import { isReason } from './reasons.js';
import { releaseRefSchema } from './release.js';
import { rollbackAgain, stillOn } from './rollback.js';

/** A train that has ended, from its rows in the ledger: which one can be taken back, and what was done where. */

export interface PastTrain {
  row: TrainRow;
  results: ResultRow[];
}
type Refused = Extract<ReopenOutcome, { kind: 'refused' }>;
const refused = (...problems: string[]): Refused => ({ kind: 'refused', problems });

/**
 * The train that people mean, or the newest whose release is still on a store. Releases are taken back in the reverse of
 * the order in which they came: a store that a later train has been to is that train's.
 *
 * @param trains of the fleet, newest first.
 */
export function choosePastTrain(
  fleet: string,
  trains: readonly PastTrain[],
  wanted?: string,
): { kind: 'chosen'; train: PastTrain } | Refused {
  const train = trains.find(({ row, results }) =>
    wanted === undefined ? stillOn(results).length > 0 : row.id === wanted,
  );
  if (!train)
    return refused(
      wanted === undefined
        ? `No store of fleet ${fleet} holds a release that a train of the ledger could take back.`
        : `The ledger has no train ${wanted} of fleet ${fleet} among its last ${trains.length}. See: edge train history`,
    );
  const open = stillOn(train.results);
  if (open.length === 0) return refused(`No store holds anything of train ${train.row.id} that could be taken back.`);
  for (const later of trains.slice(0, trains.indexOf(train))) {
    const taken = stillOn(later.results).filter((store) => open.includes(store));
    if (taken.length > 0)
      return refused(
        `Train ${later.row.id} came after ${train.row.id} and is still on ${abridge(taken)}. ` +
          `Take that one back first: ${rollbackAgain(later.row.id)}`,
      );
  }
  return { kind: 'chosen', train };
}

export const notKnown = ({ id }: TrainRow): Refused =>
  refused(`The ledger does not know all of train ${id}: its release, commit and plan are needed.`);

/** @param fleet as it was at the train's commit: limits and gates are those that the train ran under. */
export function reopenTrain({ row, results }: PastTrain, stages: readonly StageRow[], fleet: Fleet): ReopenOutcome {
  const release = releaseRefSchema.safeParse({
    version: row.release,
    sequence: row.sequence,
    manifest: row.manifest,
    bundle: row.bundle,
  });
  if (!release.success || row.commit === undefined || row.planHash === undefined) return notKnown(row);
  const newest = newestResults(results);
  const all = [...stages, ...openStages(row, results, stages)];
  const strangers = all.filter(({ stage }) => !fleet.stages.some(({ name }) => name === stage));
  if (strangers.length > 0)
    return refused(
      `fleet.yaml at ${row.commit.slice(0, 12)} has no stage ${strangers.map(({ stage }) => stage).join(', ')}.`,
    );
  const past = all.map((stage) => pastStage(stage, results, newest));
  return {
    kind: 'reopened',
    plan: {
      train: row.id,
      fleet: fleet.fleet,
      timeZone: fleet.timeZone,
      commit: row.commit,
      release: release.data,
      stages: past.flatMap((stage): StagePlan[] => {
        const settings = fleet.stages.find(({ name }) => name === stage.name);
        return settings ? [{ name: stage.name, ...membersOf(stage), settings }] : [];
      }),
      deadline: row.endedAt ?? row.startedAt,
      onCanaryFailure: fleet.train.onCanaryFailure,
    },
    planHash: row.planHash,
    startedAt: row.startedAt,
    stages: past,
    nextRound: 1 + Math.max(-1, ...results.filter(isWayBack).map(({ round }) => round)),
    noProgressAfter: fleet.alarms.noProgressAfter,
    caveats: caveatsOf(row),
  };
}

type KnownStage = Pick<StageRow, 'stage' | 'state' | 'startedAt' | 'endedAt'>;

/** A stage is written down at its end: the one that was open when the run died is known by what came of its stores. */
function openStages({ startedAt }: TrainRow, results: readonly ResultRow[], stages: readonly StageRow[]): KnownStage[] {
  const known = new Set(stages.map(({ stage }) => stage));
  const open = new Set(results.filter((row) => !isWayBack(row) && !known.has(row.stage)).map(({ stage }) => stage));
  return [...open].map((stage) => ({ stage, state: 'running', startedAt }));
}

const isWayBack = ({ stage }: { stage: string }): boolean => stage === ROLLBACK_STAGE;

/** The way back comes after the way there; of each the later round counts, as far as it told anything new. */
function newestResults(results: readonly ResultRow[]): Map<string, StoreResult> {
  const there = newestOf(results.filter((row) => !isWayBack(row)));
  const held = [...there].filter(([, result]) => isCutOff(result));
  return new Map([...there, ...newestOf(results.filter(isWayBack), new Map(held))]);
}

function newestOf(rows: readonly ResultRow[], newest = new Map<string, StoreResult>()): Map<string, StoreResult> {
  for (const row of rows.toSorted((a, b) => a.round - b.round))
    newest.set(row.store, afterRound(newest.get(row.store), toResult(row), row.round));
  return newest;
}

function pastStage(
  { stage, state, startedAt, endedAt }: KnownStage,
  results: readonly ResultRow[],
  newest: ReadonlyMap<string, StoreResult>,
): PastStage {
  const members = new Set(results.filter((result) => result.stage === stage).map(({ store }) => store));
  return {
    name: stage,
    state: state as StageState,
    startedAt,
    endedAt,
    results: [...members].toSorted().flatMap((store) => newest.get(store) ?? []),
  };
}

function toResult({ store, outcome, reason, summary, startedAt, endedAt }: ResultRow): StoreResult {
  const known = reason !== undefined && isReason(reason) ? reason : undefined;
  return {
    store,
    outcome,
    reason: known,
    ...(known === undefined ? {} : { stop: { reason: known, summary: (summary ?? '').slice(0, MAX_SUMMARY) } }),
    startedAt,
    endedAt,
  };
}
/** Hundreds of them travel in one answer. */
const MAX_SUMMARY = 300;

/** Who was excluded counted for no limit then, and does not now. */
function membersOf({ results }: PastStage): Pick<StagePlan, 'stores' | 'excluded'> {
  const isOut = ({ outcome }: StoreResult) => outcome === 'excluded';
  return {
    stores: results.filter((result) => !isOut(result)).map(({ store }) => store),
    excluded: results
      .filter(isOut)
      .map(({ store, reason = 'StoreOnHold', stop }) => ({ store, reason, detail: stop?.summary ?? '' })),
  };
}

const caveatsOf = ({ id, endedAt }: TrainRow): string[] =>
  endedAt === undefined
    ? [
        `The run of train ${id} did not come to its end. Stores that are still in work, or whose wave was terminated with ` +
          'it, are not in the ledger and not in this plan. Look for them: edge janitor run',
      ]
    : [];
