import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkRepo as checkFiles, type CheckedRepo } from '#domain/repo-check.js';
import { collectRepoFiles, type RepoSource } from '#domain/repo-files.js';

/** Judges a GitOps repo wherever it is read from. Throws only what the source throws. */
export async function checkRepo(source: RepoSource): Promise<CheckedRepo> {
  return checkFiles(await collectRepoFiles(source));
}

/**
 * The working tree in a folder, as it is on disk. Links are left out, as in a commit: they lead out of the repo.
 */
export function folderSource(dir: string): RepoSource {
  return {
    async list() {
      const entries = await readdir(dir, { recursive: true, withFileTypes: true });
      const files = entries.filter((entry) => entry.isFile());
      const paths = files
        .map((entry) => join(entry.parentPath, entry.name).slice(join(dir, '/').length))
        .filter((path) => !path.startsWith('.git/'));
      return Promise.all(paths.map(async (path) => ({ path, size: (await stat(join(dir, path))).size })));
    },
    async readMany(paths) {
      const files = new Map<string, Uint8Array>();
      for (const path of paths) files.set(path, await readFile(join(dir, path)));
      return files;
    },
  };
}
