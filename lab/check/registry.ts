import { createHash } from 'node:crypto';

/** The lab's own, independent reader of the registry: what it returns is hashed before it is believed. */
export interface RegistryReader {
  /** Undefined when it is not there, or is not what its digest says. */
  object(digest: string): Promise<Buffer | undefined>;
  /** What stands under a name now, e.g. `desired/store-001.json`. Undefined when nothing does. */
  pointer(name: string): Promise<Buffer | undefined>;
}

const DIGEST = /^sha256:([0-9a-f]{64})$/;
const TIMEOUT_MS = 10_000;

export function openRegistry(base: string): RegistryReader {
  const cache = new Map<string, Promise<Buffer | undefined>>();
  const fetchObject = async (digest: string, hex: string): Promise<Buffer | undefined> => {
    const response = await fetch(`${base}/sha256/${hex}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.status === 404) return undefined;
    if (!response.ok) throw new Error(`The registry at ${base} answered ${response.status} for ${digest}.`);
    const bytes = Buffer.from(await response.arrayBuffer());
    return createHash('sha256').update(bytes).digest('hex') === hex ? bytes : undefined;
  };
  return {
    pointer: async (name) => {
      const response = await fetch(`${base}/pointers/${name}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
      if (response.status === 404) return undefined;
      if (!response.ok) throw new Error(`The registry at ${base} answered ${response.status} for ${name}.`);
      return Buffer.from(await response.arrayBuffer());
    },
    object: (digest) => {
      const hex = DIGEST.exec(digest)?.[1];
      if (hex === undefined) return Promise.resolve(undefined);
      const known = cache.get(digest);
      if (known) return known;
      const wanted = fetchObject(digest, hex);
      cache.set(digest, wanted);
      // Only what was found stays: what is missing now may be there at the next check.
      void wanted.then(
        (bytes) => bytes ?? cache.delete(digest),
        () => cache.delete(digest),
      );
      return wanted;
    },
  };
}
