import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { missing, ObjectsError, tooLarge } from './errors.js';
import { checkedBytes, checkedPointer, digestOf, hexOf } from './names.js';
import type { Objects } from './types.js';

/**
 * Objects in a folder: `sha256/<hex>`, `pointers/<name>`, and `tmp/` for what is being written.
 * A write is a temporary file, fsync, rename, fsync of the folder: after a power cut there is the old or the new, never half.
 */
export function openFileObjects(dir: string): Objects {
  const objectPath = (digest: string): string => join(dir, 'sha256', hexOf(digest));
  const pointerPath = (name: string): string => join(dir, 'pointers', ...checkedPointer(name).split('/'));

  return {
    async put(bytes) {
      const digest = digestOf(bytes);
      const path = objectPath(digest);
      // Bytes rotted on the disk are not "there": they are written again.
      const present = await readCapped(path, bytes.byteLength, digest).catch(() => undefined);
      if (present && digestOf(present) === digest) return digest;
      await writeDurably(dir, path, bytes);
      return digest;
    },

    async get(digest, maxBytes) {
      const bytes = await readCapped(objectPath(digest), maxBytes, digest);
      if (!bytes) throw missing(digest, dir);
      return checkedBytes(bytes, digest, dir);
    },

    async setPointer(name, bytes) {
      await writeDurably(dir, pointerPath(name), bytes);
    },

    async getPointer(name, maxBytes) {
      return readCapped(pointerPath(name), maxBytes, `Pointer ${name}`);
    },
  };
}

async function readCapped(path: string, maxBytes: number, what: string): Promise<Buffer | undefined> {
  let file;
  try {
    file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (isAbsent(error)) return undefined;
    throw unreadable(what, error);
  }
  try {
    const found = await file.stat();
    if (!found.isFile()) return undefined;
    if (found.size > maxBytes) throw tooLarge(what, maxBytes);
    return await file.readFile();
  } catch (error) {
    throw error instanceof ObjectsError ? error : unreadable(what, error);
  } finally {
    await file.close();
  }
}

async function writeDurably(dir: string, path: string, bytes: Uint8Array): Promise<void> {
  const temporary = join(dir, 'tmp', randomUUID());
  try {
    await mkdir(dirname(temporary), { recursive: true });
    await mkdir(dirname(path), { recursive: true });
    const file = await open(temporary, 'wx', 0o644);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(dirname(path));
  } catch (error) {
    await rm(temporary, { force: true });
    throw new ObjectsError(
      'Unavailable',
      `Could not write below ${dir}: ${codeOf(error)}. Check space and permissions.`,
      {
        retryable: true,
        cause: error,
      },
    );
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';

/** A folder in the place of a pointer's parent (`ENOTDIR`) holds no such pointer either. */
const isAbsent = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(codeOf(error));

const unreadable = (what: string, error: unknown): ObjectsError =>
  new ObjectsError('Unavailable', `${what} could not be read: ${codeOf(error)}.`, { retryable: true, cause: error });
