import type { StoreResult, Tally } from '../outcomes.js';

/** What a run over the fleet that no number of failures ends shows of itself, such as a night of backups. */
export interface FleetRunView {
  fleet: string;
  state: 'planning' | 'running' | 'done' | 'aborted' | 'failed';
  startedAt: string;
  endedAt?: string | undefined;
  /** One sentence. */
  doing: string;
  stores: number;
  inFlight: number;
  /** Ids of the waves in work: what they say of themselves is newer than what they last told. Absent: none. */
  waves?: string[] | undefined;
  tally: Tally;
  /** Stores that did not succeed, at most 100. */
  notSucceeded: StoreResult[];
}

export const isRunOver = ({ state }: Pick<FleetRunView, 'state'>): boolean =>
  state === 'done' || state === 'aborted' || state === 'failed';
