import { createHash, createPublicKey, verify, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { z } from 'zod';

/**
 * The lab's own check of a Sigstore bundle v0.3 over a release: ECDSA P-256 over SHA-256 with a pinned key, by Node's
 * crypto alone. It shares nothing with the check of the service.
 */
const pinnedSchema = z.array(
  z.object({
    hint: z.string(),
    publicKeyPem: z.string(),
    from: z.string().optional(),
    to: z.string().optional(),
    revoked: z.boolean().optional(),
  }),
);

const bundleSchema = z.object({
  mediaType: z.string().regex(/^application\/vnd\.dev\.sigstore\.bundle(\.v0\.3\+json|\+json;version=0\.3)$/),
  verificationMaterial: z.object({ publicKey: z.object({ hint: z.string() }) }),
  messageSignature: z.object({
    messageDigest: z.object({ algorithm: z.literal('SHA2_256'), digest: z.string() }),
    signature: z.string(),
  }),
});

export interface PinnedKey {
  hint: string;
  key: KeyObject;
  from: number;
  to: number;
  revoked: boolean;
}

export function readPinnedKeys(file: string): PinnedKey[] {
  return pinnedSchema.parse(JSON.parse(readFileSync(file, 'utf8'))).map((pinned) => {
    const key = createPublicKey(pinned.publicKeyPem);
    const hint = createHash('sha256')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest('base64');
    return {
      hint,
      key,
      from: pinned.from === undefined ? -Infinity : Date.parse(pinned.from),
      to: pinned.to === undefined ? Infinity : Date.parse(pinned.to),
      revoked: pinned.revoked ?? false,
    };
  });
}

/** The key that signed these bytes, or why none did. */
export function signerOf(bytes: Buffer, rawBundle: Buffer, keys: PinnedKey[]): PinnedKey | string {
  let bundle: z.output<typeof bundleSchema>;
  try {
    bundle = bundleSchema.parse(JSON.parse(rawBundle.toString('utf8')));
  } catch {
    return 'its bundle is not a Sigstore bundle v0.3 with a public key';
  }
  const pinned = keys.find(({ hint }) => hint === bundle.verificationMaterial.publicKey.hint);
  if (!pinned) return 'it is signed by a key that is not pinned';
  if (pinned.revoked) return 'its key is revoked';
  const { messageDigest, signature } = bundle.messageSignature;
  if (createHash('sha256').update(bytes).digest('base64') !== messageDigest.digest)
    return 'its bundle is for other bytes';
  const good = verify('sha256', bytes, pinned.key, Buffer.from(signature, 'base64'));
  return good ? pinned : 'its signature does not match';
}
