import type { Outcome, Tally } from '../outcomes.js';

/** Rows of the ledger. Instants are ISO strings in UTC. */

export interface TrainRow {
  id: string;
  fleet: string;
  release?: string | undefined;
  sequence?: number | undefined;
  manifest?: string | undefined;
  /** Digest of the signature bundle over the manifest: with it the release can be named in full again. */
  bundle?: string | undefined;
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

export interface NightRow {
  id: string;
  fleet: string;
  state: string;
  reason?: string | undefined;
  summary?: string | undefined;
  commit?: string | undefined;
  stores: number;
  tally: Tally;
  opens?: string | undefined;
  closes?: string | undefined;
  startedAt: string;
  endedAt?: string | undefined;
}
