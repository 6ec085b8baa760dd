import type { Reason } from '#domain/reasons.js';
import type {
  DesiredRecord,
  PermitRef,
  ReleaseManifest,
  ReleaseRef,
  RollbackPermit,
  StoreArtifact,
} from '#domain/release.js';

/** Why a release is refused; `reason` is one of the release reasons of `domain/reasons.ts`. */
export type Verdict =
  | {
      kind: 'accepted';
      manifest: ReleaseManifest;
      artifact: StoreArtifact;
      /** Present when the release is accepted although its sequence is lower: what permits it. */
      permit?: RollbackPermit;
    }
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
    store: string;
    fleet: string;
    now: Date;
    highestSequence: number;
    pveVersion: string;
    /** Looked at only when the release has a lower sequence than `highestSequence`; without one that is refused. */
    permit?: PermitRef | undefined;
  }): Promise<Verdict>;
  /** The desired record of a store as it is now, unsigned; undefined when there is none that can be read. */
  desired(store: string): Promise<DesiredRecord | undefined>;
  /** Numbers of the releases that the store was to go back from, unsigned; none when there is no record that can be read. */
  withdrawn(store: string): Promise<number[]>;
}

/** Builds, scans and signs. The only holder of the key is the process that calls it. */
export interface ReleaseBuilder {
  /** Returns what an earlier call made for the same commit, when it did. Throws `BuildRefused` with all problems. */
  build(request: { commit: string; now: Date }): Promise<ReleaseRef>;
}

/** Signs rollback permits, with the key that signs releases. */
export interface PermitSigner {
  /**
   * Publishes permit and bundle. The same permit is the same object, signed again or not.
   * Throws `PermitRefused` when the stores it names could not take its target: what is signed must be of use.
   */
  sign(permit: RollbackPermit, now: Date): Promise<PermitRef>;
}
