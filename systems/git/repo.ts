import { GitError } from './errors.js';
import { checkedCommit, checkedPath } from './names.js';
import { gitIn, type Git } from './program.js';
import { promote } from './promote.js';
import { headOf, tagCommit } from './refs.js';
import { revertPromotions } from './revert.js';
import type { GitRepo } from './types.js';

/** All files of one `readMany` together; a fleet of 500 stores has some 10 MB. */
const MAX_TOTAL = 256 * 1024 * 1024;

/** Opens the repo in `dir`, bare or with a work tree. Nothing is run yet. */
export function openGitRepo(options: { dir: string }): GitRepo {
  const git = gitIn(options.dir);

  return {
    head: (branch) => headOf(git, branch),

    async list(commit, folder) {
      const below = folder === '' ? [] : [`${checkedPath(folder.replace(/\/$/, ''))}/`];
      await requireCommit(git, commit);
      const { stdout } = await git(['ls-tree', '-r', '-l', '-z', '--full-tree', checkedCommit(commit), '--', ...below]);
      return stdout
        .toString()
        .split('\0')
        .flatMap((line) => fileOf(line) ?? []);
    },

    async read(commit, path, maxBytes) {
      const files = await readMany(git, commit, [path], maxBytes);
      const bytes = files.get(path);
      if (!bytes) throw new GitError('FileMissing', `${path} is not in commit ${commit.slice(0, 12)}.`);
      return bytes;
    },

    readMany: (commit, paths, maxBytes) => readMany(git, commit, paths, maxBytes),

    async contains(branch, commit) {
      checkedCommit(commit);
      const tip = await headOf(git, branch);
      const { code } = await git(['merge-base', '--is-ancestor', commit, tip], { answers: [1, 128] });
      return code === 0;
    },

    async hasUncommitted() {
      const { stdout } = await git(['--no-optional-locks', 'status', '--porcelain', '-z'], { answers: [128] });
      return stdout.length > 0;
    },

    promote: (promotion) => promote(git, options.dir, promotion),
    revertPromotions: (reversion) => revertPromotions(git, options.dir, reversion),
    tagCommit: (tag) => tagCommit(git, tag),
  };
}

async function requireCommit(git: Git, commit: string): Promise<void> {
  const { code } = await git(['cat-file', '-e', `${checkedCommit(commit)}^{commit}`], { answers: [1, 128] });
  if (code !== 0) throw new GitError('RefMissing', `The repo has no commit ${commit.slice(0, 12)}.`);
}

/** `<mode> <type> <hash> <size>\t<path>`; links and submodules are left out: they point at things outside the commit. */
function fileOf(line: string): { path: string; size: number } | undefined {
  const match = /^100(?:644|755) blob [0-9a-f]{40} +(\d+)\t([\s\S]+)$/.exec(line);
  return match ? { path: match[2] as string, size: Number(match[1]) } : undefined;
}

async function readMany(git: Git, commit: string, paths: string[], maxBytes: number): Promise<Map<string, Buffer>> {
  const requests = paths.map((path) => `${checkedCommit(commit)}:${checkedPath(path)}`);
  await requireCommit(git, commit);
  const files = new Map<string, Buffer>();
  if (requests.length === 0) return files;

  // Sizes first: no content is read before it is known to be small enough.
  const sizes = await git(['cat-file', '--batch-check'], { input: `${requests.join('\n')}\n` });
  const found: { path: string; hash: string; size: number }[] = [];
  for (const [index, line] of sizes.stdout.toString().trimEnd().split('\n').entries()) {
    const match = /^([0-9a-f]{40}) blob (\d+)$/.exec(line);
    const path = paths[index];
    if (!match || path === undefined) continue;
    const size = Number(match[2]);
    if (size > maxBytes) throw new GitError('FileTooLarge', `${path} has ${size} bytes; at most ${maxBytes} are read.`);
    found.push({ path, hash: match[1] as string, size });
  }
  if (found.length === 0) return files;

  const contents = await git(['cat-file', '--batch'], {
    input: `${found.map(({ hash }) => hash).join('\n')}\n`,
    maxBuffer: MAX_TOTAL,
  });
  let at = 0;
  for (const { path, size } of found) {
    const start = contents.stdout.indexOf(0x0a, at) + 1;
    files.set(path, contents.stdout.subarray(start, start + size));
    at = start + size + 1;
  }
  return files;
}
