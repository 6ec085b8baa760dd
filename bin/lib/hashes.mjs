import { createHash } from 'node:crypto';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { join, relative, sep } from 'node:path';

/** The folders that are compiled into dist/, in one place for the hash, the build and its cleaning. */
const SOURCE_FOLDERS = ['domain', 'workflows', 'activities', 'systems', 'workers', 'client', 'lab'];
const BUILD_INPUTS = ['package.json', 'package-lock.json', 'tsconfig.json', 'tsconfig.build.json'];

/** All files below the source folders, relative to `root`, sorted. */
export function sourceFiles(root) {
  return SOURCE_FOLDERS.filter((folder) => existsSync(join(root, folder)))
    .flatMap((folder) => filesBelow(join(root, folder)))
    .map((file) => relative(root, file).split(sep).join('/'))
    .sort();
}

export function filesBelow(folder) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** Changes whenever something changes that the build reads, the build itself included. */
export function sourcesHash(root) {
  const hash = createHash('sha256');
  const build = filesBelow(join(root, 'bin')).map((file) => relative(root, file).split(sep).join('/'));
  for (const file of [...BUILD_INPUTS, ...build.sort(), ...sourceFiles(root)]) {
    const bytes = readFileSync(join(root, file));
    hash.update(`${file}\0${bytes.length}\0`).update(bytes);
  }
  return hash.digest('hex');
}

export const fileHash = (file) => createHash('sha256').update(readFileSync(file)).digest('hex');
