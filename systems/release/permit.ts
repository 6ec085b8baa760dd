import { abridge } from '#domain/abridge.js';
import { releaseManifestSchema, rollbackPermitSchema, type RollbackPermit } from '#domain/release.js';
import type { Objects } from '#systems/objects/types.js';
import { canonical, jsonOf, presentBytes } from './bytes.js';
import { PermitRefused } from './errors.js';
import { createBundle, loadSigningKey } from './sign.js';
import type { PermitSigner } from './types.js';

const MAX_MANIFEST = 4_000_000;

/** `key`: PEM of the ECDSA P-256 private key. Throws `KeyError` at once when it is not usable. */
export function createPermitSigner(options: { objects: Objects; key: string }): PermitSigner {
  const { objects } = options;
  const key = loadSigningKey(options.key);

  return {
    async sign(permit, now) {
      // What our own stores would not take is a defect of the caller, found before it is signed.
      const bytes = canonical(rollbackPermitSchema.parse(permit));
      const problems = await problemsOfTarget(objects, permit, now);
      if (problems.length > 0) throw new PermitRefused(problems);
      return { permit: await objects.put(bytes), bundle: await objects.put(Buffer.from(createBundle(key, bytes))) };
    },
  };
}

/** The stores check all of this again, and the signature of the release, which may be by a key that came before ours. */
async function problemsOfTarget(objects: Objects, { fleet, stores, to }: RollbackPermit, now: Date): Promise<string[]> {
  const bytes = await presentBytes(objects, to.manifest, MAX_MANIFEST);
  const manifest = releaseManifestSchema.safeParse(bytes && jsonOf(bytes)).data;
  if (!manifest) return [`The registry has no manifest of release ${to.version} any more.`];
  if (manifest.fleet !== fleet || manifest.version !== to.version || manifest.sequence !== to.sequence) {
    return [`The manifest ${to.manifest.slice(0, 19)}… is not that of release ${to.version} of fleet ${fleet}.`];
  }
  const known = new Set(manifest.artifacts.map(({ store }) => store));
  const without = stores.filter((store) => !known.has(store));
  return [
    ...(now.getTime() < Date.parse(manifest.expires)
      ? []
      : [`Release ${to.version} expired on ${manifest.expires}; no store takes it any more.`]),
    ...(without.length > 0 ? [`Release ${to.version} has nothing for ${abridge(without)}.`] : []),
  ];
}
