import { createHash } from 'node:crypto';
import { ObjectsError } from '#systems/objects/errors.js';
import type { Objects } from '#systems/objects/types.js';

/** Objects in two maps, open to tampering. It hands out whatever is in them, unchecked, as a hostile registry would. */
export interface MemoryObjects extends Objects {
  objects: Map<string, Buffer>;
  pointers: Map<string, Buffer>;
}

export function memoryObjects(): MemoryObjects {
  const objects = new Map<string, Buffer>();
  const pointers = new Map<string, Buffer>();
  return {
    objects,
    pointers,
    put: (bytes) => {
      const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
      objects.set(digest, Buffer.from(bytes));
      return Promise.resolve(digest);
    },
    get: (digest, maxBytes) => {
      const bytes = objects.get(digest);
      if (!bytes) return Promise.reject(new ObjectsError('ObjectMissing', `${digest} is missing`));
      if (bytes.byteLength > maxBytes)
        return Promise.reject(new ObjectsError('ObjectTooLarge', `${digest} is too large`));
      return Promise.resolve(bytes);
    },
    setPointer: (name, bytes) => {
      pointers.set(name, Buffer.from(bytes));
      return Promise.resolve();
    },
    getPointer: (name) => Promise.resolve(pointers.get(name)),
  };
}
