import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { PinnedKey } from '#systems/release/types.js';

export interface ReleaseKeyFiles {
  /** The private key (PEM, mode 0600): for the release worker alone. */
  privateKey: string;
  /** What stores pin: a JSON list of `PinnedKey`. */
  publicKeys: string;
}

/** Makes the signing key of an embedded service on first use (ECDSA P-256), and the list of public keys beside it. */
export function ensureReleaseKey(dir: string): ReleaseKeyFiles {
  const files = { privateKey: join(dir, 'release-key', 'key.pem'), publicKeys: join(dir, 'release-keys.json') };
  if (!existsSync(files.privateKey)) {
    mkdirSync(dirname(files.privateKey), { recursive: true, mode: 0o700 });
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    write(files.privateKey, privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(), 0o600);
  }
  const publicKey = createPublicKey(createPrivateKey(readFileSync(files.privateKey)));
  const pinned: PinnedKey = {
    hint: createHash('sha256')
      .update(publicKey.export({ type: 'spki', format: 'der' }))
      .digest('base64'),
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
  };
  write(files.publicKeys, `${JSON.stringify([pinned], undefined, 2)}\n`, 0o644);
  return files;
}

/** A key that was cut short by a crash would be a key that no store knows. */
function write(file: string, text: string, mode: number): void {
  writeFileSync(`${file}.new`, text, { mode });
  renameSync(`${file}.new`, file);
}
