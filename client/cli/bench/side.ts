import type { LabEntry, LabReport } from '../lab-client.js';
import { finishedStores, leftSet, type JournalFigures } from './effects.js';

/** One of the two that are compared: what it took, and what the practice fleet says of its work. */
export interface Side {
  name: string;
  stores: number;
  nodes: number;
  /** From the order to start until it said that it had ended. */
  seconds: number;
  /** Of its own processes, without the practice fleet; undefined where it cannot be counted. */
  cpuSeconds?: number;
  outcome: Outcome;
  journal: JournalFigures;
  kill?: KillStory;
  /** It did not reach its end: it was killed when it had taken `patience` times as long as the other side. */
  ended?: { patience: number };
}

/** A verdict of the journal, at the moment it is read. */
export interface Outcome {
  finished: number;
  /** Reboots and upgrades that were done a second time. */
  twice: number;
  /** Maintenance and noout that are still set, e.g. `store-014/n2 noout`. */
  leftSet: string[];
  /** Rules of the practice fleet, by id, with the number of violations; those that hold are left out. */
  broken: Record<string, number>;
  rules: number;
}

export interface KillStory {
  /** Nodes whose reboot had been asked for. */
  atReboots: number;
  storesInWork: number;
  /** After it was started again by a program. Undefined for one that simply went on to its end. */
  afterRestart?: Outcome;
  /** What a person had to do; undefined when nothing. */
  hand?: string;
}

/** How a run leaves the stores. In the middle of one it says nothing: what is rightly set counts as left behind. */
const RULES_OF_THE_END = ['nothing-left-set', 'down-and-up-again'];

/** `soFar`: of a run that did not reach its end only what it has done is judged. */
export function outcomeOf(
  entries: readonly LabEntry[],
  report: LabReport,
  { nodesPerStore, soFar = false }: { nodesPerStore: number; soFar?: boolean },
): Outcome {
  const counts = report.rules
    .filter(({ id }) => !soFar || !RULES_OF_THE_END.includes(id))
    .map(({ id, violations }) => [id, violations.length] as const);
  return {
    finished: finishedStores(entries, nodesPerStore),
    twice: Object.fromEntries(counts)['nothing-twice'] ?? 0,
    leftSet: leftSet(entries),
    broken: Object.fromEntries(counts.filter(([, count]) => count > 0)),
    rules: counts.length,
  };
}

/**
 * A comparison with work that was not done, or not done safely, says nothing. Of a side that was ended at least one
 * store is wanted: what finishes none may not work at all.
 */
export const isSound = ({ outcome, stores, ended }: Side): boolean =>
  (ended ? outcome.finished > 0 : outcome.finished === stores) && Object.keys(outcome.broken).length === 0;
