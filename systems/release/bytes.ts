import canonicalize from 'canonicalize';
import type { Objects } from '#systems/objects/types.js';

/** The same content is the same bytes, whatever order its keys were written in. */
export function canonical(value: unknown): Buffer {
  const text = canonicalize(value);
  if (text === undefined) throw new TypeError('There is nothing to write.');
  return Buffer.from(text);
}

/** Undefined for what is not JSON. */
export function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Undefined when it is not there, or is not what its digest says. */
export async function presentBytes(objects: Objects, digest: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    return await objects.get(digest, maxBytes);
  } catch (error) {
    const kind = error instanceof Error && 'kind' in error ? error.kind : undefined;
    if (kind === 'ObjectMissing' || kind === 'DigestMismatch' || kind === 'ObjectTooLarge') return undefined;
    throw error;
  }
}
