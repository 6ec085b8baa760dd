import { z } from 'zod';
import { readLimitsSchema, type Stage } from '../fleet.js';
import type { LearnedOfCopies } from '../backup-rows.js';
import type { JanitorPlan } from './janitor.js';
import type {
  ApprovalRow,
  GuestBackupRow,
  DatastoreRow,
  NightGuestRow,
  NightRow,
  RestoreRunRow,
  RestoreTestRow,
  StageRow,
  TrainRow,
} from './ledger.js';
import { trialSchema, type RestorePlanOutcome } from './restore.js';
import { backupOrdersSchema, guestOrdersSchema, meantOutSchema, type NightPlanOutcome } from './backup.js';
import { commitHash, fleetName, instant, personSchema, stageName, storeId, trainId } from './names.js';
import { SHA256 } from '../naming.js';
import { UNKNOWN_KEY } from '../issue-words.js';
import { OUTCOMES, type StoreResult, type Tally } from '../outcomes.js';
import { isReason, type Reason, type Stop } from '../reasons.js';
import type { RecoverabilityLimits, RecoverabilityOverride } from '../recoverability.js';
import { permitRefSchema, releaseRefSchema, type LeftRelease, type PermitRef, type ReleaseRef } from '../release.js';
import type { RollbackPlan } from '../rollback.js';
import type { ProbeFacts } from '../facts.js';

/** Everything that is said to and by a train: its input, the messages people send it, and what it shows. */

/** What people and bots write ends up in terminals, tables and the ledger. */
const NO_CONTROL = /^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]*$/u;
export const withoutControl = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, ' ');
/** Below it stand the refused decisions of the ledger: no sender may choose such an id. */
export const REFUSED = 'refused';
const comment = z.string().max(500).regex(NO_CONTROL, 'may hold no control characters; write it on one line');

export const trainInputSchema = z
  .object({
    fleet: fleetName.describe('The fleet named in fleet.yaml.'),
    train: trainId.optional().describe('Default: the ISO week, e.g. 2026-w48.'),
    commit: commitHash.optional().describe('Default: the tip of the branch.'),
    release: releaseRefSchema
      .optional()
      .describe('A release that was built before: an urgent fix. Default: build one.'),
    stages: z.array(stageName).min(1).max(20).optional().describe('Default: all.'),
    reason: comment.optional(),
    requestedBy: personSchema.optional(),
  })
  .strict();
export type TrainInput = z.infer<typeof trainInputSchema>;

export const rollbackInputSchema = z
  .object({
    fleet: fleetName.describe('The fleet named in fleet.yaml.'),
    train: trainId.optional().describe('Default: the newest train whose release is still on a store.'),
    by: personSchema,
    reason: comment.optional(),
  })
  .strict();
export type RollbackInput = z.infer<typeof rollbackInputSchema>;

export const launchInputSchema = z.object({ fleet: fleetName, requestedBy: personSchema.optional() }).strict();
export type LaunchInput = z.infer<typeof launchInputSchema>;

export const decisionSchema = z
  .object({
    stage: stageName,
    planHash: z.string().regex(SHA256, 'is not a plan hash (sha256:…)'),
    decision: z.enum(['approve', 'reject']),
    by: personSchema,
    comment: comment.optional(),
    via: z
      .string()
      .regex(/^[a-z][a-z0-9-]{0,30}$/, 'is not the name of a way, such as cli or chat')
      .default('cli'),
    /** The sender's own id of this message; a repeated one changes nothing. */
    id: z
      .string()
      .min(1)
      .max(120)
      .regex(NO_CONTROL, 'may hold no control characters')
      .refine((id) => !id.startsWith(`${REFUSED}/`), `may not begin with ${REFUSED}/`)
      .optional(),
  })
  .strict();
export type Decision = z.infer<typeof decisionSchema>;

/** What can be believed of a message that may be no decision: each field that is by itself what it must be. */
export function partsOfDecision(raw: unknown): Partial<Decision> {
  if (typeof raw !== 'object' || raw === null) return {};
  const given = new Map(Object.entries(raw));
  return Object.fromEntries(
    Object.entries(decisionSchema.shape).flatMap(([name, schema]) => {
      const parsed = given.has(name) ? schema.safeParse(given.get(name)) : undefined;
      return parsed?.success ? [[name, parsed.data]] : [];
    }),
  );
}

/** What is wrong with it, for the record: fields that a decision does not have are not named, their names are anything. */
export function problemsOfDecision(problems: readonly string[]): string {
  const names = ['The input', ...Object.keys(decisionSchema.shape).map((name) => `${name}:`)];
  const told = problems.map((problem) =>
    names.some((name) => problem.startsWith(`${name} `)) && !problem.endsWith(UNKNOWN_KEY)
      ? problem
      : 'It has fields that a decision does not have.',
  );
  return [...new Set(told)].join('; ');
}

export const commandSchema = z.object({ by: personSchema, reason: comment.optional() }).strict();
export type Command = z.infer<typeof commandSchema>;

/** Pause, resume and abort reach the whole train, one stage of it, or one store. */
export const steeringSchema = commandSchema
  .extend({
    stage: stageName.optional(),
    store: storeId.optional(),
  })
  .strict()
  .refine(({ stage, store }) => stage === undefined || store === undefined, 'names a stage and a store: give one');
export type Steering = z.infer<typeof steeringSchema>;

/** What an operator may say to a train; which of these it takes now is in its view. */
export const ANSWERS = [
  'approve',
  'reject',
  'ask-again',
  'retry-gate',
  'retry-failed',
  'retry-offline',
  'skip',
  'finish',
  'rollback',
  'resume',
  'pause',
  'abort',
] as const;
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
  /** Whether a failed first stage stands still until people answer, or is taken back without asking. */
  onCanaryFailure: 'hold' | 'rollback';
  /** Stores that could not be had back are left out. Absent: nobody asks. */
  recoverability?: RecoverabilityLimits | undefined;
}

export interface OpenedTrain {
  train: string;
  commit: string;
  /** Milliseconds from the start of the train. */
  deadlineAfter: number;
  /** Milliseconds of silence of a train that should move, after which people are called. */
  noProgressAfter: number;
}

/** A store in work, and the step that its operation is at. */
export interface InWork {
  store: string;
  step: string;
  since: string;
  cutOff: boolean;
  /** Told to stand still. */
  paused: boolean;
}

export interface Stalled {
  /** When something moved last. */
  since: string;
  /** In work when people were called. */
  inWork: InWork[];
}

/** A stage of a train that has ended, with the newest outcome of each of its stores. */
export interface PastStage extends Pick<StageView, 'name' | 'state' | 'startedAt' | 'endedAt'> {
  results: StoreResult[];
}
export type ReopenOutcome =
  | {
      kind: 'reopened';
      /** What the ledger still knows of it: the stages, their stores, and their limits as they were then. */
      plan: TrainPlan;
      planHash: string;
      startedAt: string;
      stages: PastStage[];
      /** Rounds of rollback below this one were used. */
      nextRound: number;
      noProgressAfter: number;
      /** What people should know before they approve. */
      caveats: string[];
    }
  | { kind: 'refused'; problems: string[] };

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
  | 'rolled back'
  | 'skipped'
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
  /** Stores in work at the same time, at most. */
  concurrency: number;
  /** Milliseconds. */
  soak: number;
  /** Workflow id of the newest wave. */
  wave?: string | undefined;
  startedAt?: string | undefined;
  endedAt?: string | undefined;
  gate?: string | undefined;
  approvedBy?: string | undefined;
  paused?: Paused | undefined;
}

/** Who told it to stand still. */
export interface Paused {
  by: string;
  at: string;
  reason?: string | undefined;
}

export interface Hold {
  reason: Reason;
  stage?: string | undefined;
  since: string;
  until?: string | undefined;
  /** What an approval would be for; default: the plan of the train. */
  planHash?: string | undefined;
  summary: string;
  detail: string[];
  answers: Answer[];
}

/** The states in which a train is over for good. */
export const isTrainOver = (state: TrainView['state']): boolean =>
  state === 'done' || state === 'rolled back' || state === 'aborted' || state === 'failed';

/** The answer of the query `train`. */
export interface TrainView {
  train: string;
  fleet: string;
  state:
    | 'building'
    | 'planning'
    | 'running'
    | 'held'
    | 'paused'
    | 'catching up'
    | 'rolling back'
    | 'done'
    | 'rolled back'
    | 'aborted'
    | 'failed';
  release?: ReleaseRef | undefined;
  commit?: string | undefined;
  planHash?: string | undefined;
  startedAt: string;
  deadline?: string | undefined;
  /** One sentence: what happens or what it waits for. */
  doing: string;
  /** Workflow id of the wave that is in work now, whichever stage it is of. */
  wave?: string | undefined;
  hold?: Hold | undefined;
  /** Set while the train should move and has not for too long. */
  stalled?: Stalled | undefined;
  /** Stores that stay at the same step for too long, as seen at the last look. */
  stuck: InWork[];
  /** The way back has begun; nothing of the way there is to come any more. */
  rollingBack?: true | undefined;
  /** The whole train. */
  paused?: Paused | undefined;
  /** The stage that is paused and has the turn: the train stands still until people let it go on. */
  standsAt?: string | undefined;
  /** Stores that are paused one by one. */
  pausedStores: string[];
  /** Those of them that the wave in work has, or had: as long as one stands still there, the wave does not end. */
  pausedInWork?: string[] | undefined;
  answers: Answer[];
  stages: StageView[];
  /** Stores that were offline or fell silent; each is tried again when it answers, until the deadline. */
  awaited: string[];
  /** Stores that did not succeed, newest first, those never started last, at most 1,000, of which the first 100 say what was seen. */
  notSucceeded: StoreResult[];
  refusedDecisions: { at: string; by: string; why: string }[];
}

export interface TrainReport {
  train: string;
  state: 'done' | 'rolled back' | 'aborted' | 'failed';
  release?: ReleaseRef | undefined;
  planHash?: string | undefined;
  tally: Tally;
  planned: number;
  reason?: Reason | undefined;
  summary: string;
}

/**
 * From a train to its wave, always the whole of it: what is not to be started or to go on now. `handBack`: nobody else is
 * started any more, and those that were not are handed back.
 */
export const waveSteeringSchema = z
  .object({
    paused: z.boolean(),
    pausedStores: z.array(storeId),
    abortedStores: z.array(storeId),
    handBack: z.literal(true).optional(),
  })
  .strict();
export type WaveSteering = z.infer<typeof waveSteeringSchema>;

const count = z.number().int().min(0);

export const waveInputSchema = z
  .object({
    fleet: fleetName,
    train: trainId,
    stage: stageName,
    round: z.number().int().min(0).max(1_000),
    operation: z.enum(['patch', 'rollback', 'probe', 'backup', 'restore']),
    stores: z
      .array(
        z
          .object({
            id: storeId,
            opens: instant.optional(),
            closes: instant.optional(),
            /** Of a backup: the line that the store shares with others. */
            uplink: z.string().max(63).optional(),
            guests: guestOrdersSchema.optional(),
            withoutDisks: meantOutSchema.optional(),
            /** Of a restore test: the guests that are tried. */
            trials: z.array(trialSchema).min(1).max(1_000).optional(),
          })
          .strict(),
      )
      .max(250),
    /** Of what is done to the store itself, and of its measurement. */
    release: releaseRefSchema.optional(),
    /** Of a backup. */
    orders: backupOrdersSchema.optional(),
    /** Lets stores go back to an older release. */
    permit: permitRefSchema.optional(),
    notAfter: instant.optional(),
    /** Of a backup: when its night ends, whoever is in work. */
    endsBy: instant.optional(),
    /** The limits of the stage as read from fleet.yaml, durations in milliseconds. */
    limits: readLimitsSchema,
    /** Number of stores of the whole stage, the basis of percentages. */
    stageSize: z.number().int().min(1),
    /** How other stores of this stage have ended so far, as far as that counts for this round. */
    before: z.object({ tally: z.record(z.string(), count), started: count }).strict(),
    /** Number of stores that the thresholds are about; default: the whole stage. */
    judged: count.optional(),
    steering: waveSteeringSchema.optional(),
  })
  .strict()
  .refine(
    ({ operation, release }) => operation === 'backup' || operation === 'restore' || release !== undefined,
    'names no release',
  )
  .refine(({ operation, orders }) => operation !== 'backup' || orders !== undefined, 'has no orders for a backup');
export type WaveInput = z.infer<typeof waveInputSchema>;

const reasonName = z.custom<Reason>((value) => typeof value === 'string' && isReason(value), 'is not a reason');
const storeResultSchema: z.ZodType<StoreResult> = z.object({
  store: storeId,
  outcome: z.enum(OUTCOMES),
  reason: reasonName.optional(),
  stop: z
    .object({
      reason: reasonName,
      step: z.string().optional(),
      summary: z.string(),
      detail: z.array(z.string()).optional(),
    })
    .optional(),
  operationId: z.string().optional(),
  startedAt: z.string().optional(),
  endedAt: z.string().optional(),
  nodesPatched: count.optional(),
  nodesRebooted: count.optional(),
  release: z.string().optional(),
  lastGood: z.string().optional(),
});

/** From a wave to its train: how far it is. */
export const waveProgressSchema = z.object({
  wave: z.string(),
  nth: count.optional().describe('Number of the report, from 1. They may arrive in another order.'),
  started: count,
  inFlight: count,
  deferred: count,
  cutOff: z.array(storeId),
  tally: z.record(z.enum(OUTCOMES), count),
  notSucceeded: z.array(storeResultSchema).describe('Stores that ended otherwise since the last report.'),
  breach: z.object({ reason: reasonName, summary: z.string() }).optional(),
});
export type WaveProgress = z.infer<typeof waveProgressSchema>;

/** Temporal delivers signals of one workflow to another in any order: a later report was here before this one. */
export const wasOvertaken = (told: WaveProgress, newest: Pick<WaveProgress, 'nth'> | undefined): boolean =>
  (told.nth ?? Infinity) < (newest?.nth ?? 0);

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
  /**
   * After soak and gate: writes into the desired records of these stores that the release has proven itself. `left` are
   * stores whose record names something else by now; nothing was written for them.
   */
  confirmStage(input: {
    train: string;
    stage: string;
    release: ReleaseRef;
    stores: string[];
    soakedAt: string;
  }): Promise<{ left: string[] }>;
  /** What a train that has ended left on its stores; by default the newest whose release is still on one. */
  reopenTrain(input: { fleet: string; train?: string | undefined }): Promise<ReopenOutcome>;
  /** Where the stores that took something of a train can go back to; all of them, or those named. */
  planRollback(input: { fleet: string; train: string; stores?: string[] | undefined }): Promise<RollbackOutcome>;
  /** Reverts every promotion of the train on the branch, newest first, and tags the result. */
  revertPromotions(input: {
    train: string;
    planHash: string;
    approvedBy: string;
  }): Promise<{ commit: string; tag: string }>;
  /**
   * The desired records that take stores back; from here on a store accepts the older release. Those of `others` that the
   * train promoted something for are meant to run again what was good there before it, or nothing: they do not go back,
   * so they need no permit.
   */
  pointBack(input: {
    train: string;
    commit: string;
    groups: { to: ReleaseRef; stores: string[]; permit: PermitRef }[];
    others?: string[] | undefined;
    expires: string;
  }): Promise<void>;
  /**
   * Which stores are backed up, when and how: those of the branch that have a backup server, or those named. The night
   * is the one whose window is open, or opens next; with `now` it begins at once.
   */
  planNight(input: {
    fleet: string;
    stores?: string[] | undefined;
    now?: boolean | undefined;
    startedAt: string;
  }): Promise<NightPlanOutcome>;
  /** Which guests are restored for a test: those that are due, or those of the stores named. */
  planRestores(input: {
    fleet: string;
    stores?: string[] | undefined;
    vmids?: number[] | undefined;
    startedAt: string;
  }): Promise<RestorePlanOutcome>;
  /** Which of these stores could not be had back, by what the ledger knows now, and which overrides the others rest on. */
  judgeRecoverability(input: {
    commit: string;
    limits: RecoverabilityLimits;
    stores: string[];
  }): Promise<RecoverabilityJudgement>;
  /** What people should know of backups and restore tests, in sentences: late, missing, or silent for too long. */
  backupConcerns(input: { fleet: string }): Promise<string[]>;
  /** Which stores the janitor looks at: all that the branch has now, or those named. */
  planSweep(input: { fleet: string; stores?: string[] | undefined }): Promise<JanitorPlan>;
  /** Whether an operation runs on the store at this moment. Asked of Temporal itself, not of its index, which lags. */
  isBusy(input: { store: string }): Promise<boolean>;
  /** Of which of these stores guests are tried at the staging site at this moment. Asked like `isBusy`. */
  triedNow(input: { stores: string[] }): Promise<string[]>;
  /** The operations of a wave that have not ended, with the step that each is at. */
  inWork(input: { wave: string }): Promise<InWork[]>;
  record(input: LedgerEntry): Promise<void>;
  notify(input: Notification): Promise<void>;
}

export type RollbackOutcome =
  { kind: 'planned'; plan: RollbackPlan; planHash: string } | { kind: 'refused'; problems: string[] };
export type PermitOutcome = { kind: 'signed'; permit: PermitRef } | { kind: 'refused'; problems: string[] };

/** What a permit is asked for: some or all stores of one group of an approved rollback plan. */
export interface PermitRequest {
  fleet: string;
  train: string;
  stores: string[];
  from: LeftRelease;
  to: ReleaseRef;
  planHash: string;
  /** The id of the approval in the ledger, recorded for the stage `rollback`. */
  approvalId: string;
}

/** Run by the release worker, the only process with the signing key. */
export interface ReleaseActivities {
  buildRelease(input: { commit: string }): Promise<BuildOutcome>;
  signRollbackPermit(input: PermitRequest): Promise<PermitOutcome>;
}

export interface RecoverabilityJudgement {
  skipped: { store: string; stop: Stop }[];
  /** With the stores that are taken because of it. */
  overrides: { override: RecoverabilityOverride; stores: string[] }[];
}

export type LedgerEntry =
  | { kind: 'train'; row: TrainRow }
  | { kind: 'stage'; row: StageRow }
  | { kind: 'results'; train: string; stage: string; round: number; results: StoreResult[] }
  | { kind: 'approval'; row: ApprovalRow }
  | { kind: 'night'; row: NightRow }
  | { kind: 'restore run'; row: RestoreRunRow }
  | { kind: 'restore tests'; rows: RestoreTestRow[] }
  /** `at` is when the cluster had these guests and no other ones. */
  | {
      kind: 'backups';
      store: string;
      at: string;
      guests: GuestBackupRow[];
      night: NightGuestRow[];
      datastores?: DatastoreRow[] | undefined;
    }
  /** Of a night in which nobody has read which guests the cluster has: of those that are known. */
  | ({ kind: 'copies'; datastores?: DatastoreRow[] | undefined } & LearnedOfCopies);

export interface Notification {
  event:
    'approval-needed' | 'held' | 'done' | 'rolled back' | 'aborted' | 'failed' | 'refused' | 'attention' | 'stalled';
  fleet: string;
  train: string;
  stage?: string | undefined;
  reason?: Reason | undefined;
  planHash?: string | undefined;
  summary: string;
  answers: Answer[];
}
