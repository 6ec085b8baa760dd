import { z } from 'zod';
import { instant, personSchema, storeId } from './messages/names.js';
import { MAX_FLEET_FILE } from './repo-limits.js';
import { readYaml, type YamlFile } from './yaml-file.js';

/**
 * Stores that a train may take although they could not be had back: somebody takes it on, somebody else agrees, and both
 * stand in the protected branch with the reason. Read at its tip, so that an override holds from the moment it is merged.
 */
export const OVERRIDES_FILE = 'policies/overrides.yaml';

const overrideSchema = z
  .object({
    reason: z.enum(['NoRecentBackup', 'NoRestoreProof']),
    stores: z.array(storeId).min(1).max(10_000).optional().describe('Absent: every store.'),
    by: personSchema,
    approvedBy: personSchema.describe('Somebody else.'),
    why: z.string().min(1).max(500),
    at: instant,
    expires: instant,
  })
  .strict()
  .refine(({ by, approvedBy }) => by.trim() !== approvedBy.trim(), {
    path: ['approvedBy'],
    message: 'is the one who asks. Another person has to agree',
  })
  .refine(({ at, expires }) => Date.parse(at) < Date.parse(expires), {
    path: ['expires'],
    message: 'is not after `at`',
  });

const overridesSchema = z
  .object({ schema: z.literal('edge.overrides/v1'), overrides: z.array(overrideSchema).max(1_000) })
  .strict();

export const parseOverrides = (text: string): YamlFile<z.infer<typeof overridesSchema>> =>
  readYaml({ schema: overridesSchema, text, file: OVERRIDES_FILE, maxBytes: MAX_FLEET_FILE });
