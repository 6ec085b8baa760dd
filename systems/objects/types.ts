/**
 * Objects by the sha256 of their bytes, and a few named pointers.
 *
 * Obligations: `put` of bytes that are there succeeds and writes nothing. `get` hashes what it read and throws
 * `DigestMismatch` when it is not what was asked for, `ObjectTooLarge` above `maxBytes`, `ObjectMissing` when there is none.
 * A pointer is replaced atomically; it is the only thing that changes. Read-only stores throw `ReadOnly` on writes.
 */
export interface Objects {
  put(bytes: Uint8Array): Promise<string>;
  get(digest: string, maxBytes: number): Promise<Buffer>;
  setPointer(name: string, bytes: Uint8Array): Promise<void>;
  /** Undefined when there is none. */
  getPointer(name: string, maxBytes: number): Promise<Buffer | undefined>;
}
