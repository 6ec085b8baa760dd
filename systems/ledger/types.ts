import type { ApprovalRow, ResultRow, StageRow, TrainRow } from '#domain/messages/ledger.js';
import type { StoreResult } from '#domain/outcomes.js';

export type { ApprovalRow, ResultRow, StageRow, TrainRow };

/**
 * The SQL record of what happened. Every write is an upsert by natural key, so a repeated one changes nothing.
 * Instants are ISO strings in UTC.
 */
export interface Ledger {
  recordTrain(row: TrainRow): Promise<void>;
  recordStage(row: StageRow): Promise<void>;
  recordResults(train: string, stage: string, round: number, results: StoreResult[]): Promise<void>;
  recordApproval(row: ApprovalRow): Promise<void>;
  train(id: string): Promise<TrainRow | undefined>;
  trains(limit: number): Promise<TrainRow[]>;
  stages(train: string): Promise<StageRow[]>;
  results(train: string): Promise<ResultRow[]>;
  storeHistory(store: string, limit: number): Promise<ResultRow[]>;
  approvals(train: string): Promise<ApprovalRow[]>;
  /** Milliseconds that successful operations took, newest first: the basis of an estimate. */
  durations(limit: number): Promise<number[]>;
  close(): Promise<void>;
}
