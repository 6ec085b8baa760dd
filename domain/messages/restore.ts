import { z } from 'zod';
import type { CopyFacts } from '../backup.js';
import type { Tally } from '../outcomes.js';
import type { FleetRunView } from './fleet-run.js';
import { fleetName, instant, personSchema, storeId, trainId } from './names.js';

/**
 * What is said to and by a week of restore tests: its input, and the tasks of the staging site's worker, which alone
 * restores. Nothing that a task names is on the site already: guests get ids of the range that the site keeps for them.
 */

const vmid = z.number().int().min(100).max(999_999_999);

/** Ids that restored guests get. What has one is a guest under test, and nothing else ever has one. */
export const TEST_IDS = { from: 90_000, to: 99_999 } as const;

/** A store whose copy at the central server is opened at the site. */
export const copyTaskSchema = z
  .object({
    protocol: z.number().int().min(1).max(1_000),
    fleet: fleetName,
    /** The run that asks, e.g. `restores-2026-w48`. */
    run: trainId,
    store: storeId,
  })
  .strict();
export type CopyTask = z.infer<typeof copyTaskSchema>;

/** One guest of that store. */
export const trialTaskSchema = copyTaskSchema
  .extend({
    /** At its store. */
    vmid,
    /** At the site; no other trial has it at the same time. */
    as: z.number().int().min(TEST_IDS.from).max(TEST_IDS.to),
    snapshot: z
      .object({ type: z.enum(['vm', 'ct']), id: z.string().regex(/^\d{3,9}$/), time: z.number().int().min(1) })
      .strict(),
  })
  .strict();
export type TrialTask = z.infer<typeof trialTaskSchema>;

const probesSchema = z
  .array(
    z
      .object({
        name: z.string().min(1).max(31),
        command: z.array(z.string().min(1).max(200)).min(1).max(20),
        /** Milliseconds in which it may be tried again. */
        within: z.number().int().min(1).max(3_600_000),
      })
      .strict(),
  )
  .max(20);

export const probeTaskSchema = trialTaskSchema.extend({ probes: probesSchema }).strict();
export type ProbeTask = z.infer<typeof probeTaskSchema>;

export const sweepTaskSchema = z
  .object({
    protocol: z.number().int().min(1).max(1_000),
    fleet: fleetName,
    /** What began to be restored before this instant has no owner any more. */
    before: instant,
    /** Stores whose guests a run is trying now: what is theirs stays, however old. Absent = nobody asked. */
    tried: z.array(storeId).max(10_000).optional(),
  })
  .strict();
export type SweepTask = z.infer<typeof sweepTaskSchema>;

/**
 * Whose fault it is that a trial did not go well. `guest`: what was backed up cannot be had back, as far as it got.
 * `site`: nothing is known of the guest; it counts as not tested.
 */
export type Fault = 'guest' | 'site';

/** An expected end is an answer. What is thrown may be tried again, and is the site's fault when that does not help. */
export type TrialAnswer<T> =
  | ({ kind: 'done' } & T)
  | { kind: 'failed'; fault: Fault; /** One sentence. */ why: string; detail?: string[] | undefined };

export interface Timed {
  /** ISO instants on the clock of the site's worker: when it was first asked for, and when it was proven. */
  startedAt: string;
  endedAt: string;
}

/** The record that a guest keeps of the moment, e.g. to measure from a restore how much was really lost. */
export interface Canary {
  /** ISO instant at which the guest wrote it. */
  at: string;
  sequence: number;
}

export interface ProbeResult {
  name: string;
  ok: boolean;
  /** What it printed, its last lines, without secrets; for people. */
  said: string;
}

/** The tasks of the site's worker. Each may be repeated: it finds what an earlier attempt did. */
export interface RestoreActivities {
  /**
   * Looks whether the site is safe to restore at (a bridge without a port, a pool, a storage, room, no right to touch
   * anything else), adds the storage for this store's copy, read-only and with the store's own key, and lists what the
   * central server holds of the store.
   */
  openCopy(task: CopyTask): Promise<TrialAnswer<{ copy: CopyFacts }>>;
  /**
   * Restores the snapshot as a guest that is stopped, alone on its network, without devices of a node, and proven to be
   * so. One that failed stays failed until its guest is taken away. `leftOut`: devices that it had at its store.
   */
  restoreGuest(task: TrialTask): Promise<TrialAnswer<Timed & { bytes: number; leftOut?: string[] | undefined }>>;
  /** Starts it, after another look at where it is connected, and waits until its agent answers (a VM) or it can be entered. */
  bootGuest(task: TrialTask): Promise<TrialAnswer<Timed>>;
  /** Runs the probes inside, and reads the canary. A probe that fails is an answer. Canary: undefined = the guest keeps none. */
  probeGuest(
    task: ProbeTask,
  ): Promise<TrialAnswer<Timed & { probes: ProbeResult[]; canary?: Canary | { broken: string } | undefined }>>;
  /**
   * Stops and destroys it, whatever state it is in, and proves that it is gone; a restore that still runs is broken off.
   * Refuses ids outside the range, and a guest that is not of this trial.
   */
  removeGuest(task: TrialTask): Promise<TrialAnswer<object>>;
  /** Takes the storage away. */
  closeCopy(task: CopyTask): Promise<TrialAnswer<object>>;
  /**
   * Takes away what dead runs left: guests in the range and storages of ours, that are old enough. Says what, in
   * sentences; of what it leaves, why. `busy`: what is young enough, or of a store that is tried, to be in use.
   */
  sweepSite(task: SweepTask): Promise<TrialAnswer<{ removed: string[]; left: string[]; busy?: string[] | undefined }>>;
}

export const restoreInputSchema = z
  .object({
    fleet: fleetName.describe('The fleet named in fleet.yaml.'),
    stores: z.array(storeId).min(1).max(10_000).optional().describe('Default: those whose guests are due.'),
    vmids: z.array(vmid).min(1).max(1_000).optional().describe('Only these guests of the stores that are named.'),
    requestedBy: personSchema.optional(),
  })
  .strict()
  .refine(({ stores, vmids }) => vmids === undefined || stores !== undefined, {
    path: ['vmids'],
    message: 'name guests of no store. Name their stores too',
  });
export type RestoreInput = z.infer<typeof restoreInputSchema>;

/** A guest to be tried. */
export const trialSchema = z
  .object({
    vmid,
    as: trialTaskSchema.shape.as,
    name: z.string().min(1).max(63),
    kind: z.enum(['qemu', 'lxc']).optional().describe('Absent in older plans: any.'),
    class: z.string().min(1).max(63).describe('Guests that are restored alike.'),
    ownSince: instant.optional().describe('What was backed up before is of another guest that had its number.'),
    tier: z.string().min(1).max(63),
    snapshot: z.enum(['newest', 'older']),
    why: z.enum(['never tested', 'due', 'early', 'by hand']),
    probes: probesSchema,
    canary: z.boolean().describe('Whether the guest keeps a record of the moment.'),
    recordWithin: z
      .number()
      .int()
      .min(1)
      .optional()
      .describe('Milliseconds by which that record may be older than the backup. Absent in older plans: any age.'),
  })
  .strict();
export type TrialPlan = z.infer<typeof trialSchema>;

export const restoreStoreInputSchema = z
  .object({
    fleet: fleetName,
    run: trainId,
    store: storeId,
    round: z.number().int().min(0).max(1_000),
    trials: z.array(trialSchema).min(1).max(1_000),
    /** Milliseconds: for the site to take a task, and for all guests of the store. */
    patience: z.number().int().min(1),
    storeTimeout: z.number().int().min(1),
  })
  .strict();
export type RestoreStoreInput = z.infer<typeof restoreStoreInputSchema>;

export interface RestorePlan {
  run: string;
  fleet: string;
  commit: string;
  stores: { id: string; trials: TrialPlan[] }[];
  /** All stores of the fleet, whose guests another run may be trying. Absent in older plans. */
  fleetStores?: string[] | undefined;
  /** Stores at the same time. */
  maxConcurrency: number;
  /** Milliseconds. */
  timing: { patience: number; storeTimeout: number };
}
export type RestorePlanOutcome = { kind: 'planned'; plan: RestorePlan } | { kind: 'refused'; problems: string[] };

/** The answer of the query `restores`. */
export interface RestoreView extends FleetRunView {
  run: string;
  guests: number;
}

export interface RestoreReport {
  run: string;
  state: 'done' | 'aborted';
  planned: number;
  tally: Tally;
  summary: string;
}
