import { createHash, type KeyObject } from 'node:crypto';
import { bundleFromJSON, isBundleWithMessageSignature, isBundleWithPublicKey, type Bundle } from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { toSignedEntity, toTrustMaterial, VerificationError, Verifier } from '@sigstore/verify';
import type { z } from 'zod';
import { shortDigest } from '#domain/naming.js';
import { pveInRange } from '#domain/pve-range.js';
import type { Reason } from '#domain/reasons.js';
import {
  desiredPointer,
  desiredRecordSchema,
  withdrawnPointer,
  withdrawnRecordSchema,
  releaseManifestSchema,
  rollbackPermitSchema,
  storeArtifactSchema,
  type PermitRef,
  type ReleaseManifest,
  type ReleaseRef,
  type RollbackPermit,
  type StoreArtifact,
} from '#domain/release.js';
import type { Objects } from '#systems/objects/types.js';
import { KeyError } from './errors.js';
import { readPublicKey } from './sign.js';
import type { PinnedKey, ReleaseVerifier } from './types.js';

const MAX_MANIFEST = 4_000_000;
const MAX_BUNDLE = 64_000;
const MAX_DESIRED = 16_000;
/** Ten thousand stores of the longest name, and the rest. */
const MAX_PERMIT = 1_000_000;
/** A jump further ahead than this would leave no room for later releases: an attack, or a slip, either way refused. */
const MAX_SEQUENCE_JUMP = 1_000;
/** A release or permit from the future means that the store's clock is behind, and expiry cannot be judged. */
const MAX_CLOCK_LAG_MS = 60 * 60_000;

type Request = Parameters<ReleaseVerifier['verify']>[0];

/** Ends a verification; caught at the top and returned as a verdict. */
class Refusal extends Error {
  readonly reason: Reason;
  constructor(reason: Reason, summary: string) {
    super(summary);
    this.reason = reason;
  }
}

interface PinnedKeyState {
  key: KeyObject;
  pinned: PinnedKey;
}

/**
 * The store's own judgement of a release. The registry is not trusted: all that is used of it is checked against the
 * digests of the task, the signature, or the signed manifest. A registry that cannot be reached throws (try again);
 * whatever it answers wrongly is a refusal.
 * Throws `KeyError` at once when a pinned key is not usable: a store without keys must not start.
 */
export function createReleaseVerifier(options: { registry: Objects; keys: readonly PinnedKey[] }): ReleaseVerifier {
  const { registry } = options;
  const keys = new Map<string, PinnedKeyState>();
  for (const pinned of options.keys) {
    const { key, hint } = readPublicKey(pinned.publicKeyPem);
    if (pinned.hint !== hint) {
      throw new KeyError(`The pinned key with hint ${pinned.hint.slice(0, 50)} is another key: its hint is ${hint}.`);
    }
    keys.set(hint, { key, pinned });
  }

  if (keys.size === 0) throw new KeyError('No release key is pinned. Without one no release can be accepted.');

  return {
    async verify(request) {
      try {
        const bytes = await fetchObject(registry, request.ref.manifest, MAX_MANIFEST, 'The release manifest');
        const bundle = await fetchObject(registry, request.ref.bundle, MAX_BUNDLE, 'The signature bundle');
        checkSignature('release', bytes, bundle, keys, request.now);
        const manifest = parseAs(releaseManifestSchema, bytes, 'The release manifest');
        checkIdentity(manifest, request);
        checkExpiry(manifest, request.now);
        const permit = await checkSequence(registry, keys, request);
        checkCompatibility(manifest, request);
        checkScan(manifest);
        await checkPromotion(registry, request);
        const artifact = await fetchArtifact(registry, manifest, request.store);
        return permit ? { kind: 'accepted', manifest, artifact, permit } : { kind: 'accepted', manifest, artifact };
      } catch (error) {
        if (error instanceof Refusal) return { kind: 'refused', reason: error.reason, summary: error.message };
        throw error;
      }
    },

    async desired(store) {
      const raw = await registry.getPointer(desiredPointer(store), MAX_DESIRED);
      const desired = raw && desiredRecordSchema.safeParse(jsonOf(raw)).data;
      return desired?.store === store ? desired : undefined;
    },

    async withdrawn(store) {
      const raw = await registry.getPointer(withdrawnPointer(store), MAX_DESIRED);
      const record = raw && withdrawnRecordSchema.safeParse(jsonOf(raw)).data;
      return record?.store === store ? record.releases.map(({ sequence }) => sequence) : [];
    },
  };
}

/** Whether this key, and no other, signed these bytes. */
export function signatureHolds(bytes: Buffer, bundle: Buffer, { hint, publicKeyPem }: PinnedKey): boolean {
  const { key } = readPublicKey(publicKeyPem);
  try {
    checkSignature('release', bytes, bundle, new Map([[hint, { key, pinned: { hint, publicKeyPem } }]]), new Date(0));
    return true;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

/** Everything about the bundle is checked before the library sees it; the library then checks the signature itself. */
function checkSignature(
  what: 'release' | 'rollback permit',
  bytes: Buffer,
  raw: Buffer,
  keys: Map<string, PinnedKeyState>,
  now: Date,
): void {
  const bundle = readBundle(raw);
  if (!isBundleWithPublicKey(bundle)) {
    throw new Refusal('KeyUnknown', 'The bundle carries a certificate; this store accepts pinned keys only.');
  }
  if (!isBundleWithMessageSignature(bundle)) {
    throw new Refusal('ReleaseMalformed', `The bundle signs a statement instead of the ${what} itself.`);
  }
  const hint = bundle.verificationMaterial.content.publicKey.hint;
  const state = keys.get(hint);
  if (!state) throw new Refusal('KeyUnknown', `The ${what} is signed by a key that is not pinned here.`);
  checkKeyTime(state.pinned, hint, now);

  const trust = toTrustMaterial(
    TrustedRoot.fromJSON({
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      tlogs: [],
      certificateAuthorities: [],
      ctlogs: [],
      timestampAuthorities: [],
    }),
    // Without timestamps the library never asks `validFor`; checkKeyTime has done it against our clock.
    () => ({ publicKey: state.key, validFor: () => true }),
  );
  try {
    new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, tsaThreshold: 0 }).verify(toSignedEntity(bundle, bytes));
  } catch (error) {
    if (error instanceof VerificationError) {
      throw new Refusal('SignatureInvalid', `The signature does not match the ${what}. It may have been altered.`);
    }
    throw new Refusal('SignatureInvalid', 'The signature could not be checked.');
  }
}

function readBundle(raw: Buffer): Bundle {
  try {
    return bundleFromJSON(JSON.parse(raw.toString('utf8')));
  } catch {
    throw new Refusal('ReleaseMalformed', 'The signature bundle is not a Sigstore bundle.');
  }
}

function checkKeyTime(key: PinnedKey, hint: string, now: Date): void {
  const name = `Key ${hint.slice(0, 12)}…`;
  if (key.revoked) throw new Refusal('KeyUnknown', `${name} is revoked.`);
  if (key.from !== undefined && !(now.getTime() >= Date.parse(key.from))) {
    throw new Refusal('KeyUnknown', `${name} is not valid before ${key.from}.`);
  }
  if (key.to !== undefined && !(now.getTime() < Date.parse(key.to))) {
    throw new Refusal('KeyUnknown', `${name} is not valid after ${key.to}.`);
  }
}

function checkIdentity(manifest: ReleaseManifest, { ref, fleet }: Request): void {
  if (manifest.fleet !== fleet) {
    throw new Refusal(
      'ReleaseIncompatible',
      `The release is for the fleet ${manifest.fleet}, this store is in ${fleet}.`,
    );
  }
  if (manifest.version !== ref.version || manifest.sequence !== ref.sequence) {
    throw new Refusal(
      'DigestMismatch',
      `The task names ${ref.version} (sequence ${ref.sequence}), the manifest behind it says ${manifest.version} (sequence ${manifest.sequence}).`,
    );
  }
}

function checkExpiry(manifest: ReleaseManifest, now: Date): void {
  if (!(now.getTime() < Date.parse(manifest.expires))) {
    throw new Refusal('ReleaseExpired', `Release ${manifest.version} expired on ${manifest.expires}.`);
  }
  if (Date.parse(manifest.created) > now.getTime() + MAX_CLOCK_LAG_MS) {
    throw new Refusal(
      'ReleaseExpired',
      `Release ${manifest.version} was made on ${manifest.created}, which this store's clock (${now.toISOString()}) has not reached. Expiry cannot be judged; check the clock.`,
    );
  }
}

/** Returns the permit by which a lower sequence was accepted. */
async function checkSequence(
  registry: Objects,
  keys: Map<string, PinnedKeyState>,
  request: Request,
): Promise<RollbackPermit | undefined> {
  const { ref, highestSequence: highest } = request;
  if (!Number.isSafeInteger(highest) || highest < 0) {
    throw new Refusal('SequenceRollback', 'The highest sequence that this store accepted is not known.');
  }
  if (ref.sequence < highest) {
    if (request.permit) return usePermit(registry, keys, request.permit, request);
    throw new Refusal(
      'SequenceRollback',
      `Release ${ref.version} has sequence ${ref.sequence}; this store has already accepted ${highest}.`,
    );
  }
  if (highest > 0 && ref.sequence - highest > MAX_SEQUENCE_JUMP) {
    throw new Refusal(
      'SequenceRollback',
      `Release ${ref.version} jumps from sequence ${highest} to ${ref.sequence}; more than ${MAX_SEQUENCE_JUMP} at once would block later releases.`,
    );
  }
  return undefined;
}

/** Whatever is wrong with a permit is one reason, so that nobody takes it for a fault of the release. */
async function usePermit(
  registry: Objects,
  keys: Map<string, PinnedKeyState>,
  ref: PermitRef,
  request: Request,
): Promise<RollbackPermit> {
  try {
    const bytes = await fetchObject(registry, ref.permit, MAX_PERMIT, 'The rollback permit');
    const bundle = await fetchObject(registry, ref.bundle, MAX_BUNDLE, 'The signature bundle of the rollback permit');
    checkSignature('rollback permit', bytes, bundle, keys, request.now);
    const permit = parseAs(rollbackPermitSchema, bytes, 'The rollback permit');
    checkPermit(permit, request);
    return permit;
  } catch (error) {
    if (error instanceof Refusal) throw new Refusal('RollbackNotPermitted', error.message);
    throw error;
  }
}

function checkPermit(permit: RollbackPermit, { ref, store, fleet, now, highestSequence }: Request): void {
  const refuse = (summary: string): never => {
    throw new Refusal('RollbackNotPermitted', summary);
  };
  const { from, to } = permit;
  if (permit.fleet !== fleet) {
    refuse(`The rollback permit is for the fleet ${permit.fleet}; this store is in ${fleet}.`);
  }
  if (!permit.stores.includes(store)) refuse(`The rollback permit does not name ${store}.`);
  if (from.sequence !== highestSequence) {
    refuse(
      `The rollback permit leads away from ${from.version} (sequence ${from.sequence}); this store has accepted sequence ${highestSequence}.`,
    );
  }
  if (!sameRelease(to, ref)) {
    refuse(
      `The rollback permit leads to ${to.version} (manifest ${to.manifest.slice(0, 19)}…), not to ${ref.version} (${ref.manifest.slice(0, 19)}…).`,
    );
  }
  if (Date.parse(permit.created) > now.getTime() + MAX_CLOCK_LAG_MS) {
    refuse(
      `The rollback permit was made on ${permit.created}, which this store's clock (${now.toISOString()}) has not reached. Check the clock.`,
    );
  }
  if (!(now.getTime() < Date.parse(permit.expires))) {
    refuse(`The rollback permit expired on ${permit.expires}. It takes a new approval.`);
  }
}

function checkCompatibility(manifest: ReleaseManifest, { pveVersion, highestSequence }: Request): void {
  const { pve, minSequence } = manifest.compat;
  const fits = pveInRange(pveVersion, pve);
  if (fits === undefined) {
    throw new Refusal('ReleaseIncompatible', `The Proxmox version of this store cannot be compared with ${pve}.`);
  }
  if (!fits) {
    throw new Refusal('ReleaseIncompatible', `The release is for Proxmox ${pve}; this store runs ${pveVersion}.`);
  }
  if (highestSequence < minSequence) {
    throw new Refusal(
      'ReleaseIncompatible',
      `The release builds on sequence ${minSequence} or later; this store is at ${highestSequence}.`,
    );
  }
}

function checkScan({ scan, sbom, version }: ReleaseManifest): void {
  if (scan.sbom !== sbom) {
    throw new Refusal('ScanDenied', `The scan of ${version} is of another parts list than the release has.`);
  }
  if (scan.verdict !== 'pass') {
    throw new Refusal('ScanDenied', `The scan of ${version} denies it: ${scan.counts.critical} critical finding(s).`);
  }
}

async function checkPromotion(registry: Objects, { store, ref, now }: Request): Promise<void> {
  const raw = await refusing('NotPromoted', 'The desired record', () =>
    registry.getPointer(desiredPointer(store), MAX_DESIRED),
  );
  if (!raw) throw new Refusal('NotPromoted', `Nothing has been promoted for ${store}.`);
  const desired = desiredRecordSchema.safeParse(jsonOf(raw)).data;
  if (!desired || desired.store !== store) {
    throw new Refusal('NotPromoted', `The desired record of ${store} cannot be read.`);
  }
  if (!desired.release) {
    throw new Refusal('NotPromoted', `Nothing is promoted for ${store} since train ${desired.train} was taken back.`);
  }
  if (!sameRelease(desired.release, ref)) {
    // With digests: a release that was built anew under its old version is another release.
    const named = ({ version, manifest }: ReleaseRef) => `${version} (${shortDigest(manifest)})`;
    throw new Refusal('NotPromoted', `Promoted for ${store} is ${named(desired.release)}, not ${named(ref)}.`);
  }
  if (!(now.getTime() < Date.parse(desired.expires))) {
    throw new Refusal('NotPromoted', `The promotion of ${ref.version} for ${store} expired on ${desired.expires}.`);
  }
}

const sameRelease = (a: ReleaseRef, b: ReleaseRef): boolean =>
  a.manifest === b.manifest && a.bundle === b.bundle && a.sequence === b.sequence && a.version === b.version;

async function fetchArtifact(registry: Objects, manifest: ReleaseManifest, store: string): Promise<StoreArtifact> {
  const [entry, second] = manifest.artifacts.filter((artifact) => artifact.store === store);
  if (!entry) throw new Refusal('ReleaseIncompatible', `Release ${manifest.version} has nothing for ${store}.`);
  if (second) throw new Refusal('ReleaseMalformed', `Release ${manifest.version} names ${store} more than once.`);
  const what = `The configuration of ${store}`;
  const bytes = await fetchObject(registry, entry.digest, entry.size, what);
  if (bytes.byteLength !== entry.size) {
    throw new Refusal('DigestMismatch', `${what} has ${bytes.byteLength} bytes; the release names ${entry.size}.`);
  }
  const artifact = parseAs(storeArtifactSchema, bytes, what);
  if (artifact.store.id !== store) {
    throw new Refusal('ReleaseMalformed', `${what} is that of ${artifact.store.id}.`);
  }
  const wanted = artifact.store.guests.flatMap((guest) => guest.config.map(({ file }) => file));
  const absent = wanted.find((file) => !Object.hasOwn(artifact.files, file));
  if (absent !== undefined) throw new Refusal('ReleaseMalformed', `${what} lacks the file ${absent}.`);
  return artifact;
}

async function fetchObject(registry: Objects, digest: string, maxBytes: number, what: string): Promise<Buffer> {
  const bytes = await refusing('ReleaseMalformed', what, () => registry.get(digest, maxBytes));
  // Contracts are for friends: what the signature rests on is hashed here once more.
  const actual = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  if (actual !== digest) throw new Refusal('DigestMismatch', `${what} is not what ${digest.slice(0, 19)}… names.`);
  return bytes;
}

/** Turns what the registry answers wrongly into a refusal; what may pass (no link, a busy server) stays an error. */
async function refusing<T>(otherwise: Reason, what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    const kind = error instanceof Error && 'kind' in error ? error.kind : undefined;
    if (kind === 'DigestMismatch') throw new Refusal('DigestMismatch', `${what} was altered on the way.`);
    if (kind === 'ObjectMissing') throw new Refusal(otherwise, `${what} is not in the registry.`);
    if (kind === 'ObjectTooLarge') throw new Refusal(otherwise, `${what} is too large.`);
    if (kind === 'BadName') throw new Refusal(otherwise, `${what} is not named in a valid way.`);
    throw error;
  }
}

function parseAs<T>(schema: z.ZodType<T>, bytes: Buffer, what: string): T {
  const result = schema.safeParse(jsonOf(bytes));
  if (result.success) return result.data;
  const place = result.error.issues[0]?.path.join('.') ?? '';
  throw new Refusal(
    'ReleaseMalformed',
    `${what} is not of the known form${place ? ` (at ${place.slice(0, 100)})` : ''}.`,
  );
}

/** Undefined, which no schema takes, for what is not JSON in UTF-8. */
function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}
