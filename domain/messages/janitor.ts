import { z } from 'zod';
import { fleetName, personSchema, storeId } from './names.js';

/** What is said to and by the janitor, which looks for what dead runs left on the stores of a fleet. */

const storeIds = z.array(storeId).max(10_000);

/** How the janitor found one store. */
export type Found =
  /** `leftBy` is the operation that is over; absent when nothing of ours was there. */
  | { kind: 'looked'; store: string; leftBy?: string | undefined; undone: string[]; left: string[]; foreign: string[] }
  /** An operation runs on the store: whatever is set is in use. */
  | { kind: 'busy'; store: string }
  | { kind: 'offline'; store: string }
  /** It answered, but not with what was asked; nothing is known of it. */
  | { kind: 'failed'; store: string; why: string };

/** How it found the staging site. Sentences, each of one guest or storage. */
export type SiteFound =
  /** `left`: could not be taken away, or may be somebody else's. `busy`: may be in use by a run of restore tests. */
  | { kind: 'looked'; removed: string[]; left: string[]; busy: string[] }
  | { kind: 'offline' }
  | { kind: 'failed'; why: string };

export interface JanitorReport {
  fleet: string;
  commit: string;
  /** Stores that were to be looked at. */
  stores: number;
  /** Of those looked at so far, the ones on which nothing was set. */
  clean: number;
  /** All others that were looked at, in the order of their ids. */
  found: Found[];
  /** Absent when it was not looked at, or not yet. */
  staging?: SiteFound | undefined;
}

export const janitorInputSchema = z
  .object({
    fleet: fleetName.describe('The fleet named in fleet.yaml.'),
    stores: storeIds.min(1).optional().describe('Default: all of the fleet.'),
    requestedBy: personSchema.optional(),
    /** Only from one run to the next: a fleet is looked at in parts. */
    goesOn: z
      .object({
        report: z.custom<JanitorReport>((value) => typeof value === 'object' && value !== null),
        offlineAfter: z.number().int().min(1),
        left: storeIds.min(1),
      })
      .strict()
      .optional(),
  })
  .strict();
export type JanitorInput = z.infer<typeof janitorInputSchema>;

export type JanitorPlan =
  | {
      kind: 'planned';
      commit: string;
      stores: string[];
      offlineAfter: number;
      /** Of a fleet with a staging site, for a look at all of it. Milliseconds that the guests of a store may be tried. */
      staging?: { storeTimeout: number } | undefined;
    }
  | { kind: 'refused'; problems: string[] };
