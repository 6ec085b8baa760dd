import { z } from 'zod';
import type { ProbeFacts, StagedNode, StoreFacts } from '../facts.js';
import { digest, fleetName, instant, nodeName, operationName, stageName, storeId, trainId } from './names.js';
import type { Stop } from '../reasons.js';
import type { StoreResult } from '../outcomes.js';
import { permitRefSchema, releaseRefSchema } from '../release.js';
import type { StoreSurvey, SurveyTask } from './survey.js';

/**
 * What is said to and by a store: the input of `patchStore`, and the tasks and answers of the store's activities.
 * A store worker states the range of protocols it speaks in `hello`; raise PROTOCOL when a task changes its meaning.
 */
export const PROTOCOL = 1;
export const PROTOCOL_RANGE = { min: 1, max: 1 } as const;

export const storeTaskSchema = z
  .object({
    protocol: z.number().int().min(1).max(1_000),
    store: storeId,
    fleet: fleetName,
    train: trainId,
    stage: stageName,
    operationId: operationName,
    /** Rises with every operation on the store; a store worker refuses a lower one than it has seen. */
    fence: z.number().int().min(0),
    release: releaseRefSchema,
    /** Lets the store go back: the release may be older than what it has accepted, and apt may install older packages. */
    permit: permitRefSchema.optional(),
    /** No drain, package or reboot starts after this instant. Proof, rejoin and undo never look at it. */
    notAfter: instant.optional(),
  })
  .strict();
export type StoreTask = z.infer<typeof storeTaskSchema>;

export const nodeTaskSchema = storeTaskSchema.extend({ node: nodeName }).strict();
export type NodeTask = z.infer<typeof nodeTaskSchema>;

export const helloTaskSchema = z.object({ protocol: z.number().int(), store: storeId }).strict();
export type HelloTask = z.infer<typeof helloTaskSchema>;

export interface Hello {
  store: string;
  protocol: { min: number; max: number };
  /** The operation that holds the store on its side, if any. */
  operation?: string | undefined;
  /** What the store took back by itself while that operation was silent. */
  selfUndo?: SelfUndo | undefined;
  release?: { version: string; sequence: number; manifest: string } | undefined;
  clock: string;
}

/** Lines such as `noout of n1`. */
export interface SelfUndo {
  at: string;
  undone: string[];
  /** What could not be taken back, and why. Tried again until it goes. */
  leftSet: string[];
}

/** A step either did its work, was refused before it changed anything, or failed on the way. */
export type StepAnswer<Done = object> =
  ({ kind: 'done' } & Done) | { kind: 'refused'; stop: Stop } | { kind: 'failed'; stop: Stop };

/** What one node needs, decided from its facts. */
export interface NodeWork {
  node: string;
  packages: boolean;
  reboot: boolean;
  /** An earlier operation left it out of service; whatever else it needs, it has to be brought back. */
  out: boolean;
}

/** What was adopted or undone, in sentences; and after how much silence, in milliseconds, the store helps itself. */
export interface Taken {
  adopted: string[];
  /** Version of the newest release that has soaked here and was not gone back from; absent when none has. */
  lastGood?: string | undefined;
  /** Absent: the worker is of a build that does not say. */
  maxMaintenance?: number | undefined;
}

export interface StoreActivities {
  /** Who are you? Read-only; runs on a slot of its own, so that a busy store still answers. */
  hello(task: HelloTask): Promise<Hello>;
  /** Takes the store's own lock, adopts or undoes what an earlier operation left, pulls and verifies the release. */
  openOperation(task: StoreTask): Promise<StepAnswer<Taken>>;
  /** Reads every fact that the pre-checks rest on, and keeps the health baseline: from before the release was begun. */
  readFacts(task: StoreTask): Promise<Preflight>;
  /** Points apt of all nodes at the release's snapshot, downloads, and simulates the upgrade. Changes no installed package. */
  stagePackages(task: StoreTask & { nodes: string[] }): Promise<StepAnswer<{ nodes: StagedNode[] }>>;
  drainNode(task: NodeTask): Promise<StepAnswer<{ moved: number }>>;
  upgradeNode(task: NodeTask): Promise<StepAnswer<{ changed: number }>>;
  rebootNode(task: NodeTask): Promise<StepAnswer<{ kernel: string }>>;
  rejoinNode(task: NodeTask): Promise<StepAnswer<{ returned: number }>>;
  applyConfig(task: StoreTask): Promise<StepAnswer<{ changed: string[] }>>;
  verifyStore(task: StoreTask): Promise<StepAnswer>;
  /** Takes back what is still set where that is safe, and gives the store's own lock back. Safe to call at any time. */
  closeOperation(
    task: StoreTask & { outcome: 'succeeded' | 'failed' | 'aborted' | 'timedOut' },
  ): Promise<{ undone: string[]; leftSet: string[] }>;
  probeStore(task: ProbeTask): Promise<ProbeFacts>;
  /** What a release would do here, and whether the preflight would let it. Only looks. */
  surveyStore(task: SurveyTask): Promise<StoreSurvey>;
  /** What an operation has left on the store, and what others have set. Only looks. */
  inspectStore(task: InspectTask): Promise<Inspected>;
  /** Takes back what one operation left, and its lock, if it is still the one that holds the store. */
  sweepStore(task: SweepTask): Promise<Swept>;
}

/** What the service has set on a store by its own record; never what merely looks like it. */
export interface Ours {
  /** Nodes in maintenance, hosts with noout. */
  maintenance: string[];
  noout: string[];
  /** Kernels that we told boot loaders to start, by node. They outlast the operation. */
  pins?: Record<string, string> | undefined;
}

export interface Preflight {
  facts: StoreFacts;
  /** Node names as the store's file says. */
  nodes: string[];
  kernel: string;
  packages: Record<string, string>;
  /** What this operation has set already: not empty when it took over an earlier one. */
  ours: Ours;
  /** The store goes back: an older release, with a permit. */
  back?: boolean | undefined;
  /** In sentences: what stays newer on a store that goes back, and why; that there is no baseline. */
  notes?: string[] | undefined;
}

export const probeTaskSchema = z
  .object({
    protocol: z.number().int(),
    store: storeId,
    fleet: fleetName,
    manifest: digest.optional(),
  })
  .strict();
export type ProbeTask = z.infer<typeof probeTaskSchema>;

const guestProbeSchema = z.looseObject({
  vmid: z.number().int(),
  name: z.string(),
  running: z.boolean(),
  healthy: z.boolean(),
  latencyMs: z.number().optional(),
  cacheHitPercent: z.number().optional(),
});
/** What a probe must be to be judged by. A store may say more. */
export const probeFactsSchema: z.ZodType<ProbeFacts> = z.looseObject({
  store: storeId,
  at: z.string(),
  reachable: z.boolean(),
  unreadable: z.array(z.string()),
  quorate: z.boolean(),
  nodesOnline: z.number().int(),
  nodesTotal: z.number().int(),
  cephBlocking: z.array(z.string()),
  leftSet: z.array(z.string()),
  inventoryMatches: z.boolean().optional(),
  guests: z.array(guestProbeSchema),
  baseline: z.array(guestProbeSchema),
});

const lastSeenSchema = z.object({
  step: z.string(),
  nodesPatched: z.number().int().min(0).optional(),
  lastGood: z.string().optional(),
});
/** How far an operation was when its store was last heard of. */
export type LastSeen = z.infer<typeof lastSeenSchema>;

/** What an operation tells its wave: it fell silent, or it is back. */
export const cutOffNoticeSchema = z
  .object({
    store: storeId,
    cutOff: z.boolean(),
    // That it is silent counts, whatever is said with it; operations of earlier builds say no more.
    seen: lastSeenSchema.optional().catch(undefined),
  })
  .strict();
export type CutOffNotice = z.infer<typeof cutOffNoticeSchema>;

/** What a wave tells an operation. */
export const storeSteeringSchema = z.object({ paused: z.boolean(), aborted: z.boolean() }).strict();
export type StoreSteering = z.infer<typeof storeSteeringSchema>;

export const inspectTaskSchema = helloTaskSchema.extend({ fleet: fleetName }).strict();
export type InspectTask = z.infer<typeof inspectTaskSchema>;

export interface Inspected {
  /** The operation that holds or last held the store, when it has left its lock or something that it set. */
  leftBy?: { operationId: string; fence: number; locked: boolean; marks: string[] } | undefined;
  /** Set by someone else. Lines such as `maintenance of n2`, as of marks. */
  foreign: string[];
}

export const sweepTaskSchema = inspectTaskSchema
  .extend({
    /** The operation that is over, as `inspectStore` named it: one that opened since then is another one. */
    over: z.object({ operationId: operationName, fence: z.number().int().min(0) }).strict(),
  })
  .strict();
export type SweepTask = z.infer<typeof sweepTaskSchema>;

export type Swept =
  /** All that the store took back of this operation by itself, now or before; `left` could not be, with the reason. */
  | { kind: 'swept'; undone: string[]; left: string[] }
  /** Another operation holds the store by now; it adopts or takes back what was left. Nothing was done. */
  | { kind: 'taken'; by: string };

export const patchStoreInputSchema = z
  .object({
    fleet: fleetName,
    train: trainId,
    stage: stageName,
    store: storeId,
    round: z.number().int().min(0).max(1_000),
    release: releaseRefSchema,
    /** Makes it a rollback: the release is an older one, and this lets the store take it. */
    permit: permitRefSchema.optional(),
    notAfter: instant.optional(),
    /** Milliseconds. */
    offlineAfter: z.number().int().min(1),
    cutOffAfter: z.number().int().min(1),
    storeTimeout: z.number().int().min(1),
  })
  .strict();
export type PatchStoreInput = z.infer<typeof patchStoreInputSchema>;

export interface NodeView {
  node: string;
  state:
    | 'waiting'
    | 'draining'
    | 'upgrading'
    | 'rebooting'
    | 'rejoining'
    | 'dumping guests'
    | 'done'
    | 'nothing to do'
    | 'stopped';
  since: string;
}

/** The answer of the query `store`. */
export interface StoreView {
  store: string;
  train: string;
  stage: string;
  operationId: string;
  /** Absent: the store is held for something else than a release. */
  release?: string | undefined;
  /** Version of the newest release that has soaked here and was not gone back from, once that is known. */
  lastGood?: string | undefined;
  step: string;
  since: string;
  cutOff: boolean;
  /** Stands still between two steps until it is resumed. */
  paused: boolean;
  /** What people said that waits for the end of a step. */
  told?: 'pause' | 'abort' | undefined;
  nodes: NodeView[];
  notes: string[];
  result?: StoreResult | undefined;
}
