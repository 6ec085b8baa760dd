import { z } from 'zod';
import type { BackedUpGuest, CopyFacts } from '../backup.js';
import type { GuestRun } from '../backup-failures.js';
import type { NightStep } from '../backup-result.js';
import { keepSchema } from '../fleet.js';
import type { MeantOut } from '../left-out.js';
import type { StoreResult, Tally } from '../outcomes.js';
import type { Reason, Stop } from '../reasons.js';
import type { FleetRunView } from './fleet-run.js';
import { fleetName, instant, nodeName, operationName, personSchema, storeId, trainId } from './names.js';
import type { StepAnswer } from './store.js';

/**
 * What is said to and by a night of backups: its input, the tasks of a store's worker while the store is backed up, and
 * those of whoever tends a backup server: the store's worker for its own, the staging worker for the central one.
 */

const milliseconds = z.number().int().min(1);

export const nightInputSchema = z
  .object({
    fleet: fleetName.describe('The fleet named in fleet.yaml.'),
    stores: z.array(storeId).min(1).max(10_000).optional().describe('Default: all that have a backup server.'),
    /** By hand it begins at once, whatever the window, and each store at the same time. */
    now: z.boolean().optional().describe('Begin at once instead of in the window.'),
    requestedBy: personSchema.optional(),
  })
  .strict();
export type NightInput = z.infer<typeof nightInputSchema>;

/** A store on one backup server: all its snapshots there are one "copy". */
export const backupTaskSchema = z
  .object({
    protocol: z.number().int().min(1).max(1_000),
    store: storeId,
    fleet: fleetName,
    /** The run that asks, e.g. `night-2026-11-26`. */
    night: trainId,
    operationId: operationName,
    /** When the operation on this store began: tasks that are older are those of another one. */
    startedAt: instant,
  })
  .strict();
export type BackupTask = z.infer<typeof backupTaskSchema>;

/** While the guests are dumped, the store itself is held, as by any operation that changes it. */
export const dumpTaskSchema = backupTaskSchema
  .extend({
    /** Rises with every operation on the store; a store worker refuses a lower one than it has seen. */
    fence: z.number().int().min(0),
    /** From 1: what failed is tried again. */
    attempt: z.number().int().min(1).max(100),
    /** Guests to dump; absent: all that are no template. */
    vmids: z.array(z.number().int().min(100).max(999_999_999)).min(1).max(1_000).optional(),
    /** No dump starts after this instant. What runs goes on to its end. */
    notAfter: instant.optional(),
  })
  .strict();
export type DumpTask = z.infer<typeof dumpTaskSchema>;

export const dumpNodeTaskSchema = dumpTaskSchema
  .extend({ node: nodeName, vmids: z.array(z.number().int().min(100).max(999_999_999)).min(1).max(1_000) })
  .strict();
export type DumpNodeTask = z.infer<typeof dumpNodeTaskSchema>;

export interface DumpPlan {
  /** What was taken over or taken back of an earlier operation, in sentences. */
  adopted: string[];
  /** One vzdump for each node that has guests to dump. */
  nodes: { node: string; vmids: number[] }[];
  /** Every guest of the cluster. */
  guests: BackedUpGuest[];
  /** Guests that cannot be dumped now, e.g. since their node is offline. */
  unreachable: GuestRun[];
}

/** A refusal tells of the guests as well, if they were read: what is proven of them is recorded all the same. */
export type DumpOpened = StepAnswer<DumpPlan> & { guests?: BackedUpGuest[] | undefined };

export interface DumpActivities {
  /**
   * Takes the store's own lock, as a patch does, and reads which guests are to be dumped where. Refuses, before anything
   * is begun, when the storage or its server cannot take backups. What an earlier operation left set on nodes stays as it
   * is: it belongs to the next patch.
   */
  openDump(task: DumpTask): Promise<DumpOpened>;
  /** One vzdump of these guests, adopted when it runs or has run already. Says of every guest how it fared. */
  dumpNode(task: DumpNodeTask): Promise<StepAnswer<{ runs: GuestRun[] }>>;
  /** Gives the store's own lock back. */
  closeDump(task: DumpTask): Promise<void>;
}

export const verifyTaskSchema = backupTaskSchema
  .extend({ reverifyAfter: milliseconds.describe('A backup is verified anew when its last verification is so old.') })
  .strict();
export type VerifyTask = z.infer<typeof verifyTaskSchema>;

const groupSchema = z.object({ type: z.enum(['vm', 'ct']), id: z.string().regex(/^\d{3,9}$/) }).strict();

export const pruneTaskSchema = backupTaskSchema
  .extend({
    keep: keepSchema,
    /** Absent: all groups. */
    groups: z.array(groupSchema).min(1).max(1_000).optional(),
  })
  .strict();
export type PruneTask = z.infer<typeof pruneTaskSchema>;

/** What a step after the dumps came to. An expected failure is an answer; only what may be tried again is thrown. */
export type TendAnswer = ({ ok: true; detail: string } | { ok: false; detail: string; reason: Reason }) & {
  /** Host name of the server, as its tasks have it. Told by a verification that was carried out. */
  node?: string | undefined;
};

export interface CopyAnswer {
  copy: CopyFacts;
  /** Bytes of the datastore; absent when the server does not say. */
  space?: { total: number; used: number } | undefined;
  /** Chunks that a verification found broken and no backup has written anew. */
  stillBad?: number | undefined;
  /** Whether it is longer than a week ago that space was collected; absent when the server does not say. */
  isCollectionDue?: boolean | undefined;
}

/** For one copy of a store, on the server that the worker behind the queue tends. */
export interface TendActivities {
  /** Verifies what is new and what was verified too long ago, by the server's own list, one group after another. */
  verifyCopy(task: VerifyTask): Promise<TendAnswer>;
  /** Removes what the policy does not keep, under an identity that the nodes do not have. */
  pruneCopy(task: PruneTask): Promise<TendAnswer>;
  /** Gets back the space of what was pruned. Of the whole datastore. */
  collectSpace(task: BackupTask): Promise<TendAnswer>;
  /** What the server holds now. */
  readCopy(task: BackupTask): Promise<CopyAnswer>;
}

export interface StoreBackupActivities extends DumpActivities, TendActivities {
  /** Sends what is new to the central server. */
  sendCopy(task: BackupTask): Promise<TendAnswer>;
}

/** What every store of a run is told. */
export const backupOrdersSchema = z
  .object({
    keep: keepSchema,
    encrypted: z.boolean().optional().describe('Whether backups have to be. Absent: as those before them.'),
    reverifyAfter: milliseconds,
    collect: z.boolean().describe('Whether space is collected this night.'),
    /** Absent: there is no second place. */
    offsite: z.object({ keep: keepSchema }).strict().optional(),
    /** How old the newest proven backup may be, by tier, in milliseconds. */
    tiers: z.record(z.string(), z.object({ local: milliseconds, offsite: milliseconds.optional() }).strict()),
    defaultTier: z.string(),
    /** Stores at the same time on one uplink; one that is not named has one slot. */
    slots: z.record(z.string(), z.number().int().min(1)),
  })
  .strict();
export type BackupOrders = z.infer<typeof backupOrdersSchema>;

/** The tiers of the guests that store.yaml names, by number. A night has to find each of them. */
export const guestOrdersSchema = z.record(z.string(), z.string());
export type GuestOrders = z.infer<typeof guestOrdersSchema>;

/** Disks that store.yaml says backups may lack, by the number of the guest. */
export const meantOutSchema = z.record(z.string(), z.array(z.string().max(20)).max(300));

export const backupStoreInputSchema = z
  .object({
    fleet: fleetName,
    night: trainId,
    store: storeId,
    round: z.number().int().min(0).max(1_000),
    orders: backupOrdersSchema,
    guests: guestOrdersSchema.default({}),
    withoutDisks: meantOutSchema.default({}),
    /** No dump starts after it. */
    notAfter: instant.optional(),
    /** When the night ends, whoever is in work. Nights of earlier builds had no end of their own. */
    endsBy: instant.optional(),
    offlineAfter: milliseconds,
    cutOffAfter: milliseconds,
    storeTimeout: milliseconds,
    /** Between two tries to take a store that another operation holds. */
    deferFor: milliseconds,
  })
  .strict();
export type BackupStoreInput = z.infer<typeof backupStoreInputSchema>;

export const dumpGuestsInputSchema = z
  .object({
    task: dumpTaskSchema.omit({ fence: true }).strict(),
    storeTimeout: milliseconds,
    /** Nobody stands paused beyond the window of such a night. */
    endsBy: instant.optional(),
  })
  .strict();
export type DumpGuestsInput = z.infer<typeof dumpGuestsInputSchema>;

/** How the guests of a store fared. `stop` says why none was dumped, or not all. */
export interface DumpReport {
  /** Absent when nobody has read them. */
  guests?: BackedUpGuest[] | undefined;
  runs: GuestRun[];
  stop?: Stop | undefined;
  /** People ended it. */
  aborted?: boolean | undefined;
}

/** A wave asks the backup that holds its store to stand back after the dump that runs; and says when it is done. */
export const waySchema = z.object({ store: storeId, wave: z.string().min(1).max(200) }).strict();
export type Way = z.infer<typeof waySchema>;
/** From a backup to the wave that waits: the store is free, and is kept free for it. */
export const storeFreeSchema = z.object({ store: storeId }).strict();
export type StoreFree = z.infer<typeof storeFreeSchema>;

/** The answer of the query `backup`. */
export interface BackupView {
  store: string;
  night: string;
  step: string;
  since: string;
  cutOff: boolean;
  paused: boolean;
  /** The newest of each guest. */
  runs: GuestRun[];
  steps: NightStep[];
  notes: string[];
  result?: StoreResult | undefined;
}

export interface NightStorePlan {
  id: string;
  uplink?: string | undefined;
  opens?: string | undefined;
  closes: string;
  guests?: GuestOrders | undefined;
  withoutDisks?: MeantOut | undefined;
}

export interface NightPlan {
  night: string;
  fleet: string;
  commit: string;
  /** Absent when it is run by hand at once. */
  opens?: string | undefined;
  closes: string;
  /** When the night ends, whoever is in work: before the next one opens. Nights of earlier builds had no end. */
  endsBy?: string | undefined;
  stores: NightStorePlan[];
  /** How many of them another night of the same window has in its care. */
  leftTo?: { night: string; stores: number }[] | undefined;
  excluded: { store: string; reason: Reason; detail: string }[];
  orders: BackupOrders;
  /** Stores at the same time, over all. */
  maxConcurrency: number;
  /** Milliseconds. */
  timing: { storeTimeout: number; offlineAfter: number; cutOffAfter: number; deferFor: number };
}
export type NightPlanOutcome = { kind: 'planned'; plan: NightPlan } | { kind: 'refused'; problems: string[] };

/** The answer of the query `nightCare`: the stores that a night backs up, or has backed up well, in which window. */
export interface NightCare {
  night: string;
  /** Absent when it is run by hand at once. */
  opens?: string | undefined;
  stores: string[];
}

/** The answer of the query `night`. */
export interface NightView extends FleetRunView {
  night: string;
  opens?: string | undefined;
  closes?: string | undefined;
  endsBy?: string | undefined;
}

export interface NightReport {
  night: string;
  state: 'done' | 'aborted';
  planned: number;
  tally: Tally;
  summary: string;
}
