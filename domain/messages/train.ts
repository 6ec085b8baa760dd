import { z } from 'zod';
import { readLimitsSchema, type Stage } from '../fleet.js';
import type { ApprovalRow, StageRow, TrainRow } from './ledger.js';
import { COMMIT, SHA256, STAGE_NAME, STORE_ID, TRAIN_ID } from '../naming.js';
import type { StoreResult, Tally } from '../outcomes.js';
import type { Reason } from '../reasons.js';
import { releaseRefSchema, type ReleaseRef } from '../release.js';
import type { ProbeFacts } from '../facts.js';

/** Everything that is said to and by a train: its input, the messages people send it, and what it shows. */

const person = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[\p{L}\p{N}][\p{L}\p{N} .@_+:/-]*$/u, 'is not a name: letters, digits, spaces and . @ _ + : / - only');
const comment = z.string().max(500);

export const trainInputSchema = z
  .object({
    fleet: z.string().regex(STORE_ID, 'is not a fleet name').describe('The fleet named in fleet.yaml.'),
    train: z.string().regex(TRAIN_ID, 'is not a train id').optional().describe('Default: the ISO week, e.g. 2026-w48.'),
    commit: z
      .string()
      .regex(COMMIT, 'is not a full commit hash')
      .optional()
      .describe('Default: the tip of the branch.'),
    release: releaseRefSchema
      .optional()
      .describe('A release that was built before: an urgent fix. Default: build one.'),
    stages: z
      .array(z.string().regex(STAGE_NAME, 'is not a stage name'))
      .min(1)
      .max(20)
      .optional()
      .describe('Default: all.'),
    reason: comment.optional(),
    requestedBy: person.optional(),
  })
  .strict();
export type TrainInput = z.infer<typeof trainInputSchema>;

export const launchInputSchema = z
  .object({ fleet: z.string().regex(STORE_ID, 'is not a fleet name'), requestedBy: person.optional() })
  .strict();
export type LaunchInput = z.infer<typeof launchInputSchema>;

export const decisionSchema = z
  .object({
    stage: z.string().regex(STAGE_NAME, 'is not a stage name'),
    planHash: z.string().regex(SHA256, 'is not a plan hash (sha256:…)'),
    decision: z.enum(['approve', 'reject']),
    by: person,
    comment: comment.optional(),
    via: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,30}$/)
      .default('cli'),
    /** The sender's own id of this message; a repeated one changes nothing. */
    id: z.string().min(1).max(120).optional(),
  })
  .strict();
export type Decision = z.infer<typeof decisionSchema>;

export const commandSchema = z.object({ by: person, reason: comment.optional() }).strict();
export type Command = z.infer<typeof commandSchema>;

/** What an operator may answer to a train that stands still. */
export const ANSWERS = ['approve', 'reject', 'retry-gate', 'retry-failed', 'resume', 'pause', 'abort'] as const;
export type Answer = (typeof ANSWERS)[number];

/** One stage of the plan, frozen before the first stage starts. */
export interface StagePlan {
  name: string;
  stores: string[];
  excluded: { store: string; reason: Reason; detail: string }[];
  settings: Stage;
}

export interface TrainPlan {
  train: string;
  fleet: string;
  timeZone: string;
  commit: string;
  release: ReleaseRef;
  stages: StagePlan[];
  deadline: string;
}

export interface OpenedTrain {
  train: string;
  commit: string;
  /** Milliseconds from the start of the train. */
  deadlineAfter: number;
}

export type PlanOutcome =
  { kind: 'planned'; plan: TrainPlan; planHash: string } | { kind: 'refused'; problems: string[] };
export type BuildOutcome = { kind: 'built'; release: ReleaseRef } | { kind: 'refused'; problems: string[] };

export interface StageWindows {
  /** Undefined = always open. */
  opens?: string | undefined;
  closes?: string | undefined;
  /** Stores with a narrower window of their own. */
  stores: Record<string, { opens: string; closes: string }>;
  /** Stores whose window never meets the stage's. */
  never: string[];
  /** Stores excluded at this moment: a freeze or hold that began after the plan. */
  excluded: { store: string; reason: Reason; detail: string }[];
}

export type StageState =
  | 'waiting'
  | 'awaiting approval'
  | 'awaiting window'
  | 'promoting'
  | 'running'
  | 'soaking'
  | 'gate'
  | 'held'
  | 'done'
  | 'aborted'
  | 'missed';

export interface StageView {
  name: string;
  state: StageState;
  stores: number;
  tally: Tally;
  inFlight: number;
  deferred: number;
  started: number;
  /** Workflow id of the wave that runs now. */
  wave?: string | undefined;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
  gate?: string | undefined;
  approvedBy?: string | undefined;
}

export interface Hold {
  reason: Reason;
  stage?: string | undefined;
  since: string;
  until?: string | undefined;
  summary: string;
  detail: string[];
  answers: Answer[];
}

/** The answer of the query `train`. */
export interface TrainView {
  train: string;
  fleet: string;
  state: 'building' | 'planning' | 'running' | 'held' | 'paused' | 'done' | 'aborted' | 'failed';
  release?: ReleaseRef | undefined;
  commit?: string | undefined;
  planHash?: string | undefined;
  startedAt: string;
  deadline?: string | undefined;
  /** One sentence: what happens or what it waits for. */
  doing: string;
  hold?: Hold | undefined;
  answers: Answer[];
  stages: StageView[];
  /** Stores that did not succeed, newest first, at most 100. */
  notSucceeded: StoreResult[];
  refusedDecisions: { at: string; by: string; why: string }[];
}

export interface TrainReport {
  train: string;
  state: 'done' | 'aborted' | 'failed';
  release?: ReleaseRef | undefined;
  planHash?: string | undefined;
  tally: Tally;
  planned: number;
  reason?: Reason | undefined;
  summary: string;
}

export const waveInputSchema = z
  .object({
    fleet: z.string().regex(STORE_ID),
    train: z.string().regex(TRAIN_ID),
    stage: z.string().regex(STAGE_NAME),
    round: z.number().int().min(0).max(1_000),
    operation: z.enum(['patch', 'probe']),
    stores: z
      .array(
        z
          .object({
            id: z.string().regex(STORE_ID),
            opens: z.iso.datetime().optional(),
            closes: z.iso.datetime().optional(),
          })
          .strict(),
      )
      .max(250),
    release: releaseRefSchema,
    notAfter: z.iso.datetime().optional(),
    /** The limits of the stage as read from fleet.yaml, durations in milliseconds. */
    limits: readLimitsSchema,
    /** Number of stores of the whole stage, the basis of percentages. */
    stageSize: z.number().int().min(1),
    /** How the stores of this stage have ended so far, in earlier parts of the round. */
    before: z
      .object({ tally: z.record(z.string(), z.number().int().min(0)), started: z.number().int().min(0) })
      .strict(),
    paused: z.boolean().default(false),
  })
  .strict();
export type WaveInput = z.infer<typeof waveInputSchema>;

export interface WaveProgress {
  wave: string;
  started: number;
  inFlight: number;
  deferred: number;
  cutOff: string[];
  tally: Tally;
  /** Stores that ended otherwise than succeeded since the last report. */
  notSucceeded: StoreResult[];
  breach?: { reason: Reason; summary: string } | undefined;
}

export interface WaveReport {
  results: StoreResult[];
  probes: ProbeFacts[];
  /** Never started: a breach, an abort or the stage's timeout came first. */
  notStarted: string[];
  breach?: { reason: Reason; summary: string } | undefined;
}

export interface LaunchReport {
  started: boolean;
  workflowId: string;
  summary: string;
}

/** The central activities, run by control workers. */
export interface ControlActivities {
  openTrain(input: {
    fleet: string;
    train?: string | undefined;
    commit?: string | undefined;
    startedAt: string;
  }): Promise<OpenedTrain>;
  planTrain(input: {
    opened: OpenedTrain;
    fleet: string;
    release: ReleaseRef;
    stages?: string[] | undefined;
    startedAt: string;
  }): Promise<PlanOutcome>;
  stageWindows(input: {
    plan: Pick<TrainPlan, 'fleet' | 'timeZone' | 'commit'>;
    stage: StagePlan;
    after: string;
  }): Promise<StageWindows>;
  /** One commit, one tag, one desired record per store. */
  promoteStage(input: {
    plan: Omit<TrainPlan, 'stages'>;
    stage: string;
    stores: string[];
    planHash: string;
    approvedBy: string;
    expires: string;
  }): Promise<{ commit: string; tag: string }>;
  record(input: LedgerEntry): Promise<void>;
  notify(input: Notification): Promise<void>;
}

export type LedgerEntry =
  | { kind: 'train'; row: TrainRow }
  | { kind: 'stage'; row: StageRow }
  | { kind: 'results'; train: string; stage: string; round: number; results: StoreResult[] }
  | { kind: 'approval'; row: ApprovalRow };

export interface Notification {
  event: 'approval-needed' | 'held' | 'done' | 'aborted' | 'failed' | 'refused';
  fleet: string;
  train: string;
  stage?: string | undefined;
  reason?: Reason | undefined;
  planHash?: string | undefined;
  summary: string;
  answers: Answer[];
}
