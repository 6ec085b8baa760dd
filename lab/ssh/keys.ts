import { createPrivateKey, createPublicKey } from 'node:crypto';

/** PKCS#8 header of an Ed25519 private key; 32 bytes of seed follow. Source: RFC 8410. */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');
const KEY_TYPE = 'ssh-ed25519';

export interface SshKey {
  /** OpenSSH private key file. */
  privateKey: string;
  /** Base64 of the public key blob: the second field of a `.pub` file. */
  publicBlob: string;
}

const field = (bytes: Buffer | string): Buffer => {
  const data = Buffer.from(bytes as string);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  return Buffer.concat([length, data]);
};

/**
 * The Ed25519 key that grows from 32 bytes. The OpenSSH container is written here because generators differ in it:
 * one key in some hundred made by ssh2's own cannot be read back.
 */
export function sshKeyFrom(seed: Buffer, comment: string): SshKey {
  const secret = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' });
  const publicKey = createPublicKey(secret).export({ format: 'der', type: 'spki' }).subarray(-32);
  const blob = Buffer.concat([field(KEY_TYPE), field(publicKey)]);
  const check = seed.subarray(0, 4);
  const inner = Buffer.concat([
    check,
    check,
    field(KEY_TYPE),
    field(publicKey),
    field(Buffer.concat([seed, publicKey])),
    field(comment),
  ]);
  const padding = Buffer.from(Array.from({ length: (8 - (inner.length % 8)) % 8 }, (_, i) => i + 1));
  const one = Buffer.from([0, 0, 0, 1]);
  const container = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    field('none'),
    field('none'),
    field(''),
    one,
    field(blob),
    field(Buffer.concat([inner, padding])),
  ]);
  const lines = container.toString('base64').match(/.{1,70}/g) ?? [];
  return {
    privateKey: `-----BEGIN OPENSSH PRIVATE KEY-----\n${lines.join('\n')}\n-----END OPENSSH PRIVATE KEY-----\n`,
    publicBlob: blob.toString('base64'),
  };
}
