import type { Outcome, StoreResult, Tally } from '#domain/outcomes.js';

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

export interface TrainRow {
  id: string;
  fleet: string;
  release?: string | undefined;
  sequence?: number | undefined;
  manifest?: string | undefined;
  commit?: string | undefined;
  planHash?: string | undefined;
  state: string;
  reason?: string | undefined;
  summary?: string | undefined;
  startedAt: string;
  endedAt?: string | undefined;
}

export interface StageRow {
  train: string;
  stage: string;
  position: number;
  stores: number;
  state: string;
  reason?: string | undefined;
  commit?: string | undefined;
  tally: Tally;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
}

export interface ResultRow {
  train: string;
  stage: string;
  store: string;
  round: number;
  outcome: Outcome;
  reason?: string | undefined;
  summary?: string | undefined;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
}

export interface ApprovalRow {
  train: string;
  stage: string;
  /** Stable id of the attempt, so that a repeated message is one row. */
  id: string;
  planHash: string;
  decision: 'approve' | 'reject';
  by: string;
  via: string;
  comment?: string | undefined;
  accepted: boolean;
  /** Why it was refused. */
  refusal?: string | undefined;
  at: string;
}
