import { z } from 'zod';
import { packagePinSchema, releaseSourceSchema } from '../fleet.js';
import { fleetName, nodeName, storeId } from './names.js';
import type { Stop } from '../reasons.js';

/** What is said to and by a survey, which asks stores what a release would do there. It only looks. */

const nodes = z.array(nodeName).min(1).max(20);
/** What a store is held against: the pins of a release, which need not be built yet. */
const wanted = z
  .object({
    packages: z.record(packagePinSchema.shape.name, packagePinSchema.shape.version),
    kernel: releaseSourceSchema.shape.kernel,
  })
  .strict();

export const surveyTaskSchema = z
  .object({ protocol: z.number().int(), store: storeId, fleet: fleetName, nodes, wanted })
  .strict();
export type SurveyTask = z.infer<typeof surveyTaskSchema>;

/** What a store said of itself. */
export interface StoreSurvey {
  /** Version of the release that it runs by its own record; absent when it never took one. */
  release?: string | undefined;
  /** Set while an operation holds the store: the rest may change under it. */
  busy?: string | undefined;
  /** Pinned packages that at least one node has in another version, or not at all. */
  packages: number;
  /** Nodes to be rebooted. */
  reboots: number;
  /** Guests that run on nodes that would be drained; each leaves its node once. */
  guestsMoved: number;
  /** Why its preflight would refuse it at this moment. */
  stop?: Stop | undefined;
}

export type Surveyed =
  | ({ kind: 'answered'; store: string } & StoreSurvey)
  | { kind: 'offline'; store: string }
  /** It answered, but not with what was asked. */
  | { kind: 'failed'; store: string; why: string };

export const surveyInputSchema = z
  .object({
    fleet: fleetName,
    wanted,
    stores: z.array(z.object({ store: storeId, nodes }).strict()).max(10_000),
    /** Milliseconds after which a store that does not take its task counts as offline. */
    offlineAfter: z.number().int().min(1).max(3_600_000),
    /** Only from one run to the next: a fleet is asked in parts. */
    found: z.array(z.custom<Surveyed>((value) => typeof value === 'object' && value !== null)).optional(),
  })
  .strict();
export type SurveyInput = z.infer<typeof surveyInputSchema>;
