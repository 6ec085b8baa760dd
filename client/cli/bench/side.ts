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

export function outcomeOf(entries: readonly LabEntry[], report: LabReport, nodesPerStore: number): Outcome {
  const counts = report.rules.map(({ id, violations }) => [id, violations.length] as const);
  return {
    finished: finishedStores(entries, nodesPerStore),
    twice: Object.fromEntries(counts)['nothing-twice'] ?? 0,
    leftSet: leftSet(entries),
    broken: Object.fromEntries(counts.filter(([, count]) => count > 0)),
    rules: counts.length,
  };
}
