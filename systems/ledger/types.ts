import type { ApprovalRow, ResultRow, StageRow, TrainRow } from '#domain/messages/ledger.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { LastGood } from '#domain/rollback.js';

export type { ApprovalRow, ResultRow, StageRow, TrainRow };

/** What may be asked of the ledger. */
export interface LedgerReader {
  train(id: string): Promise<TrainRow | undefined>;
  trains(limit: number): Promise<TrainRow[]>;
  stages(train: string): Promise<StageRow[]>;
  results(train: string): Promise<ResultRow[]>;
  storeHistory(store: string, limit: number): Promise<ResultRow[]>;
  approvals(train: string): Promise<ApprovalRow[]>;
  /** Milliseconds that successful operations took, newest first: the basis of an estimate. */
  durations(limit: number): Promise<number[]>;
  /**
   * For each store of the train's fleet the newest release before this train that succeeded there, in a stage that
   * passed its gate, and was not taken back afterwards. Only releases older than the train's own; sorted by store.
   * Empty when the ledger does not know the train or its release.
   */
  lastGoodBefore(train: string): Promise<LastGood[]>;
  close(): Promise<void>;
}

/**
 * The SQL record of what happened. Every write is an upsert by natural key, so a repeated one changes nothing.
 * Instants are ISO strings in UTC.
 */
export interface Ledger extends LedgerReader {
  recordTrain(row: TrainRow): Promise<void>;
  recordStage(row: StageRow): Promise<void>;
  recordResults(train: string, stage: string, round: number, results: StoreResult[]): Promise<void>;
  recordApproval(row: ApprovalRow): Promise<void>;
}
