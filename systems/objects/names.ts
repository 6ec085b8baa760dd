import { createHash } from 'node:crypto';
import { SHA256 } from '#domain/naming.js';
import { ObjectsError } from './errors.js';

/** One to six parts joined by `/`, none of which starts with a dot: a pointer can never leave its folder. */
const POINTER = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}(\/[A-Za-z0-9][A-Za-z0-9._-]{0,127}){0,5}$/;

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** `sha256:…` → bare hex. Throws `BadName` for anything else. */
export function hexOf(digest: string): string {
  if (!SHA256.test(digest)) {
    throw new ObjectsError('BadName', 'A digest must be written as sha256: and 64 hex digits in lower case.');
  }
  return digest.slice('sha256:'.length);
}

/** Throws `BadName` unless the name is safe as a path below a folder, a URL path and an S3 key. */
export function checkedPointer(name: string): string {
  if (!POINTER.test(name)) {
    throw new ObjectsError(
      'BadName',
      'A pointer is up to six names of letters, digits, dot, dash and underscore, joined by slashes.',
    );
  }
  return name;
}

/** Throws `DigestMismatch` unless the bytes are those that were asked for. */
export function checkedBytes(bytes: Buffer, digest: string, where: string): Buffer {
  const actual = digestOf(bytes);
  if (actual !== digest) {
    throw new ObjectsError('DigestMismatch', `${where} answered ${actual} when asked for ${digest}.`);
  }
  return bytes;
}
