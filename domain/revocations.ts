import { z } from 'zod';
import { releaseSourceSchema } from './fleet.js';
import { SHA256 } from './naming.js';
import type { ReleaseRef } from './release.js';
import { MAX_FLEET_FILE } from './repo-limits.js';
import { printable, readYaml, type YamlFile } from './yaml-file.js';

/**
 * Releases that no store may be brought to any more: not by a train, not by a promotion, not by a rollback.
 * Read at the tip of the protected branch, so that a revocation holds from the moment it is merged.
 */
export const REVOKED_FILE = 'policies/revoked.yaml';

const revocationSchema = z
  .object({
    version: releaseSourceSchema.shape.version,
    manifest: z
      .string()
      .regex(SHA256, 'is not a manifest digest (sha256:…)')
      .optional()
      .describe('Only this build of the version; without it, every build.'),
    reason: z.string().min(1).max(500),
    at: z.iso.date('is not a date. Write YYYY-MM-DD'),
  })
  .strict();
export type Revocation = z.infer<typeof revocationSchema>;

const revocationsSchema = z
  .object({ schema: z.literal('edge.revoked/v1'), revoked: z.array(revocationSchema).max(5_000) })
  .strict();

export const parseRevocations = (text: string): YamlFile<z.infer<typeof revocationsSchema>> =>
  readYaml({ schema: revocationsSchema, text, file: REVOKED_FILE, maxBytes: MAX_FLEET_FILE });

export function revocationOf(
  revoked: readonly Revocation[],
  release: Pick<ReleaseRef, 'version' | 'manifest'>,
): Revocation | undefined {
  return revoked.find(({ version, manifest }) =>
    manifest === undefined ? version === release.version : manifest === release.manifest,
  );
}

export const revocationText = ({ version }: Pick<ReleaseRef, 'version'>, { at, reason }: Revocation): string =>
  `Release ${version} is revoked since ${at}: ${printable(reason.replace(/\.$/, ''), 500)} (${REVOKED_FILE}).`;
