import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from 'node:crypto';
import { KeyError } from './errors.js';

export interface SigningKey {
  /** base64(sha256(SPKI DER)): how bundles name the key, and how stores find it among those they pin. */
  hint: string;
  publicKeyPem: string;
  /** DER signature (ECDSA P-256 over SHA-256). */
  sign(bytes: Uint8Array): Buffer;
}

/** Reads an unencrypted PEM private key. Throws `KeyError` unless it is ECDSA P-256, the one kind every verifier here takes. */
export function loadSigningKey(pem: string): SigningKey {
  const privateKey = parsed(() => createPrivateKey(pem), 'The signing key is not an unencrypted PEM private key.');
  const publicKey = createPublicKey(privateKey);
  requireP256(publicKey, 'The signing key');
  return {
    hint: hintOf(publicKey),
    publicKeyPem: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    sign: (bytes) => sign('sha256', bytes, privateKey),
  };
}

/** Throws `KeyError` unless the PEM is an ECDSA P-256 public key. */
export function readPublicKey(pem: string): { key: KeyObject; hint: string } {
  const key = parsed(() => createPublicKey(pem), 'A pinned key is not a PEM public key.');
  if (pem.includes('PRIVATE KEY')) throw new KeyError('A private key stands where a public one belongs.');
  requireP256(key, 'A pinned key');
  return { key, hint: hintOf(key) };
}

/** The Sigstore bundle v0.3 over these bytes, as `cosign sign-blob --key --bundle` writes it. */
export function createBundle(key: SigningKey, bytes: Uint8Array): string {
  return JSON.stringify({
    mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
    verificationMaterial: { publicKey: { hint: key.hint } },
    messageSignature: {
      messageDigest: { algorithm: 'SHA2_256', digest: createHash('sha256').update(bytes).digest('base64') },
      signature: key.sign(bytes).toString('base64'),
    },
  });
}

const hintOf = (key: KeyObject): string =>
  createHash('sha256')
    .update(key.export({ type: 'spki', format: 'der' }))
    .digest('base64');

function requireP256(key: KeyObject, what: string): void {
  if (key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return;
  throw new KeyError(`${what} is not ECDSA P-256. Make one with: openssl ecparam -name prime256v1 -genkey -noout`);
}

/** OpenSSL's own message may quote the input, so it is not kept. */
function parsed(read: () => KeyObject, message: string): KeyObject {
  try {
    return read();
  } catch {
    throw new KeyError(message);
  }
}
