import { z } from 'zod';
import { packagePinSchema, storeSchema, type Store } from './fleet.js';
import {
  commitHash,
  digest,
  fleetName,
  instant,
  releaseVersion,
  stageName,
  storeId,
  trainId,
} from './messages/names.js';

/**
 * `release.json`: what stores shall run. Its exact bytes are signed; everything else is named in it by digest.
 * The desired record names the release that one store shall run, written at promotion.
 */

export const artifactSchema = z
  .object({
    /** Store that may pull it. */
    store: storeId,
    digest,
    size: z.number().int().min(0).max(5_000_000),
  })
  .strict();

export const releaseManifestSchema = z
  .object({
    schema: z.literal('edge.release/v1'),
    fleet: fleetName,
    version: z.string().max(40),
    sequence: z.number().int().min(1),
    created: instant,
    expires: instant,
    source: z.object({ commit: commitHash, builder: z.string().max(200) }).strict(),
    compat: z.object({ pve: z.string().max(60), minSequence: z.number().int().min(0) }).strict(),
    packages: z
      .object({
        snapshot: z.string().regex(/^\d{8}T\d{6}Z$/),
        sources: z.array(z.string().max(300)).min(1),
        pinned: z.array(packagePinSchema).min(1),
        kernel: z.string().max(80),
      })
      .strict(),
    /** One config artifact per store: the JSON of `storeArtifactSchema`. */
    artifacts: z.array(artifactSchema).max(10_000),
    images: z.array(z.object({ name: z.string().max(100), digest }).strict()).max(200),
    sbom: digest,
    scan: z
      .object({
        tool: z.string().max(100),
        at: instant,
        sbom: digest,
        report: digest,
        verdict: z.enum(['pass', 'deny']),
        counts: z.object({ critical: z.number().int(), high: z.number().int(), other: z.number().int() }).strict(),
      })
      .strict(),
  })
  .strict();
export type ReleaseManifest = z.infer<typeof releaseManifestSchema>;

/** The version that a release pins, by package name. */
export const pinnedPackages = ({ packages }: ReleaseManifest): Record<string, string> =>
  Object.fromEntries(packages.pinned.map(({ name, version }) => [name, version]));

/** The config artifact of one store: its own `store.yaml` as checked, and the files its guests get. */
export const storeArtifactSchema = z
  .object({
    schema: z.literal('edge.store-config/v1'),
    store: storeSchema,
    files: z.record(z.string().max(100), z.string().max(1_000_000)),
  })
  .strict();
export type StoreArtifact = z.infer<typeof storeArtifactSchema>;

/** A release changes what runs on a store, and says nothing of how it is backed up. */
export function storeOfRelease({ backup: _, guests, ...store }: Store): Store {
  return { ...store, guests: guests.map(({ tier: _tier, probes: _probes, ...guest }) => guest) };
}

/** How a task names a release: where the signed bytes are, and what they must hash to. */
export const releaseRefSchema = z
  .object({
    version: releaseVersion,
    sequence: z.number().int().min(1),
    manifest: digest,
    bundle: digest,
  })
  .strict();
export type ReleaseRef = z.infer<typeof releaseRefSchema>;

/** The release that a rollback leaves. */
export const leftReleaseSchema = releaseRefSchema.omit({ bundle: true });
export type LeftRelease = z.infer<typeof leftReleaseSchema>;

/** How a task names a rollback permit: the signed bytes, and the bundle over them. */
export const permitRefSchema = z.object({ permit: digest, bundle: digest }).strict();
export type PermitRef = z.infer<typeof permitRefSchema>;

/**
 * What lets a store take a release of a lower sequence than it has accepted. Its exact bytes are signed with the key
 * that signs releases.
 */
export const rollbackPermitSchema = z
  .object({
    schema: z.literal('edge.rollback-permit/v1'),
    fleet: fleetName,
    stores: z.array(storeId).min(1).max(10_000),
    /** The release that is left. A store that has meanwhile accepted another one does not take the permit. */
    from: leftReleaseSchema,
    to: releaseRefSchema,
    /** The recorded approval that it was signed against. */
    approval: z
      .object({ id: z.string().min(1).max(300), by: z.string().max(100), at: instant, planHash: digest })
      .strict(),
    /** The instant of the approval, so that signing again gives the same bytes. */
    created: instant,
    expires: instant,
  })
  .strict();
export type RollbackPermit = z.infer<typeof rollbackPermitSchema>;

export const desiredRecordSchema = z
  .object({
    schema: z.literal('edge.desired/v1'),
    store: storeId,
    /** Absent: nothing, since the train that promoted the last one was taken back and nothing is known from before it. */
    release: releaseRefSchema.optional(),
    train: trainId,
    stage: stageName,
    commit: commitHash,
    expires: instant,
    /** Present when the release is older than the one before. */
    permit: permitRefSchema.optional(),
    /**
     * The newest release of this store whose stage soaked and passed its gate: from then on it is the last good one. The
     * next record carries it on, since a store may have been away all the while that the earlier one stood.
     */
    soaked: z.object({ release: releaseRefSchema, at: instant }).strict().optional(),
  })
  .strict();
export type DesiredRecord = z.infer<typeof desiredRecordSchema>;

/** The oldest are forgotten: a store remembers two good releases. */
export const MAX_WITHDRAWN = 20;
/**
 * What a store was told to go back from and has not soaked there again since, by the rule of the ledger. Not signed: it
 * only takes away from what the store has seen to be good. Beside the desired record, which workers of earlier builds
 * refuse as a whole for a field that they do not know.
 */
export const withdrawnRecordSchema = z
  .object({
    schema: z.literal('edge.withdrawn/v1'),
    store: storeId,
    /** The oldest first. */
    releases: z.array(leftReleaseSchema).max(MAX_WITHDRAWN),
  })
  .strict();
export type WithdrawnRecord = z.infer<typeof withdrawnRecordSchema>;

export const withdrawnPointer = (store: string): string => `withdrawn/${store}.json`;
export const desiredPointer = (store: string): string => `desired/${store}.json`;
/** The newest release that was built for a fleet at a commit; lets a repeated build return what it already made. */
export const builtPointer = (fleet: string, commit: string): string => `built/${fleet}/${commit}.json`;
