import { readdir, readFile, stat } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { checkRepo as checkFiles, type CheckedRepo } from '#domain/repo-check.js';
import { collectRepoFiles, type RepoSource } from '#domain/repo-files.js';

/** Judges a GitOps repo wherever it is read from. Throws only what the source throws. */
export async function checkRepo(source: RepoSource): Promise<CheckedRepo> {
  return checkFiles(await collectRepoFiles(source));
}

/** Folders that are read below their top; the rest of a working tree can be anything, and large. */
const FOLDERS = ['clusters', 'policies'];

/**
 * The working tree in a folder, as it is on disk: its own files and those of the folders that the check reads. Links
 * are left out, as in a commit: they lead out of the repo.
 */
export function folderSource(dir: string): RepoSource {
  return {
    async list() {
      const top = await readdir(dir, { withFileTypes: true });
      const folders = top.filter((entry) => entry.isDirectory() && FOLDERS.includes(entry.name));
      const below = await Promise.all(
        folders.map(({ name }) => readdir(join(dir, name), { recursive: true, withFileTypes: true })),
      );
      const paths = [...top, ...below.flat()]
        .filter((entry) => entry.isFile())
        .map((entry) => relative(dir, join(entry.parentPath, entry.name)));
      return Promise.all(paths.map(async (path) => ({ path, size: (await stat(join(dir, path))).size })));
    },
    async readMany(paths) {
      const files = new Map<string, Uint8Array>();
      for (const path of paths) files.set(path, await readFile(join(dir, path)));
      return files;
    },
  };
}
