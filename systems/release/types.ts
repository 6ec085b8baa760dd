import type { Reason } from '#domain/reasons.js';
import type { DesiredRecord, PermitRef, ReleaseManifest, ReleaseRef, StoreArtifact } from '#domain/release.js';

/** Why a release is refused; `reason` is one of the release reasons of `domain/reasons.ts`. */
export type Verdict =
  | { kind: 'accepted'; manifest: ReleaseManifest; artifact: StoreArtifact }
  | { kind: 'refused'; reason: Reason; summary: string };

/** A key that may sign releases: hint = base64(sha256(SPKI DER)). `to` and `revoked` are enforced against our own clock. */
export interface PinnedKey {
  hint: string;
  publicKeyPem: string;
  from?: string;
  to?: string;
  revoked?: boolean;
}

/**
 * The checks of a store, in order: size, signature over the raw bytes, form, expiry, sequence, compatibility, scan,
 * promotion, then the store's own artifact. Nothing is trusted before the signature holds.
 */
export interface ReleaseVerifier {
  verify(request: {
    ref: ReleaseRef;
    permit?: PermitRef | undefined;
    store: string;
    fleet: string;
    now: Date;
    highestSequence: number;
    pveVersion: string;
  }): Promise<Verdict>;
  /** The desired record of a store as it is now, unsigned; undefined when there is none that can be read. */
  desired(store: string): Promise<DesiredRecord | undefined>;
}

/** Builds, scans and signs. The only holder of the key is the process that calls it. */
export interface ReleaseBuilder {
  /** Returns what an earlier call made for the same commit, when it did. Throws `BuildRefused` with all problems. */
  build(request: { commit: string; now: Date }): Promise<ReleaseRef>;
}
