import { rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { GitError } from './errors.js';
import { checkedRef } from './names.js';
import type { Git, GitAnswer } from './program.js';
import { headOf, tagCommit } from './refs.js';

/** How far back a commit without its tag is looked for. */
const LOOK_BACK = 1_000;
const ATTEMPTS = 10;

export const AUTHOR = {
  GIT_AUTHOR_NAME: 'edge-governor',
  GIT_AUTHOR_EMAIL: 'edge-governor@localhost',
  GIT_COMMITTER_NAME: 'edge-governor',
  GIT_COMMITTER_EMAIL: 'edge-governor@localhost',
};

/** What is written once: commits on a branch, proven by an annotated tag on the last of them. */
export interface Entry {
  branch: string;
  tag: string;
  /** Of the tag. */
  message: string;
  /** Names the tag in the commit itself, so that a commit whose tag was never written is found again. */
  trailer: string;
  /** Writes the commits on top of `tip`, without moving the branch, and returns the last one. */
  write(tip: string): Promise<string>;
}

/** Look, then act: the tag, then a commit that lacks its tag, then new commits and the tag in one transaction. */
export async function recordOnce(git: Git, dir: string, entry: Entry): Promise<string> {
  const branch = checkedRef(entry.branch);
  const tag = checkedRef(entry.tag);

  let said = '';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const tagged = await tagCommit(git, tag);
    if (tagged !== undefined) return tagged;

    const tip = await headOf(git, branch);
    const [earlier] = (await commitsWith(git, tip, entry.trailer, `--max-count=${LOOK_BACK}`))
      .filter(({ value }) => value === tag)
      .map(({ commit }) => commit);
    const commit = earlier ?? (await entry.write(tip));
    const moved = await moveRefs(git, { branch, tip, commit, tag, message: entry.message });
    if (moved.code !== 0) {
      said = moved.stderr;
      continue;
    }
    if (!earlier) await followInWorkTree(git, dir, { branch, tip, commit });
    return commit;
  }
  throw new GitError(
    'Contended',
    `Tag ${tag} and branch ${branch} could not be written in ${ATTEMPTS} tries: ${said}`,
    { retryable: true },
  );
}

/** Commits up to `tip` that carry the trailer, newest first. */
export async function commitsWith(
  git: Git,
  tip: string,
  trailer: string,
  ...options: string[]
): Promise<{ commit: string; value: string }[]> {
  const { stdout } = await git([
    'log',
    ...options,
    '--topo-order',
    `--format=%H %(trailers:key=${trailer},valueonly,separator=%x2C)`,
    '--fixed-strings',
    `--grep=${trailer}: `,
    tip,
    '--',
  ]);
  // The grep also finds a person who quotes the line; only as a trailer it counts.
  return stdout
    .toString()
    .split('\n')
    .map((line) => ({ commit: line.slice(0, 40), value: line.slice(41).trim() }))
    .filter(({ value }) => value !== '');
}

/** Moves the branch and creates the tag together, or neither when another writer was first. */
async function moveRefs(
  git: Git,
  refs: { branch: string; tip: string; commit: string; tag: string; message: string },
): Promise<GitAnswer> {
  const tagger = await line(git(['var', 'GIT_COMMITTER_IDENT'], { env: AUTHOR }));
  const tagObject = await line(
    git(['mktag'], {
      input: `object ${refs.commit}\ntype commit\ntag ${refs.tag}\ntagger ${tagger}\n\n${refs.message.trim()}\n`,
    }),
  );
  const alreadyOnBranch =
    (await git(['merge-base', '--is-ancestor', refs.commit, refs.tip], { answers: [1] })).code === 0;
  const transaction = [
    'start',
    ...(alreadyOnBranch ? [] : [`update refs/heads/${refs.branch} ${refs.commit} ${refs.tip}`]),
    `create refs/tags/${refs.tag} ${tagObject}`,
    'prepare',
    'commit',
  ];
  return git(['update-ref', '--create-reflog', '-m', refs.tag, '--stdin'], {
    env: AUTHOR,
    input: `${transaction.join('\n')}\n`,
    answers: [1, 128],
  });
}

/**
 * In a repo with a work tree whose branch just moved, what changed joins index and folder. Without it the next commit of
 * the person who works there would undo it. Best effort: a file that the person added, changed or staged stays as it is.
 */
async function followInWorkTree(
  git: Git,
  dir: string,
  { branch, tip, commit }: { branch: string; tip: string; commit: string },
): Promise<void> {
  if ((await line(git(['rev-parse', '--is-bare-repository']))) === 'true') return;
  const current = await git(['symbolic-ref', '--quiet', 'HEAD'], { answers: [1] });
  if (current.stdout.toString().trim() !== `refs/heads/${branch}`) return;
  try {
    await git(['update-index', '-q', '--refresh'], { answers: [1] });
    for (const change of await changesOf(git, tip, commit)) await followChange(git, dir, change);
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
  }
}

interface Change {
  path: string;
  /** Blobs; undefined where there is no file. */
  before: string | undefined;
  after: string | undefined;
}

async function changesOf(git: Git, from: string, to: string): Promise<Change[]> {
  const { stdout } = await git(['diff-tree', '-r', '-z', '--no-renames', from, to]);
  const fields = stdout.toString().split('\0');
  const blob = (hash: string | undefined) => (hash && !/^0+$/.test(hash) ? hash : undefined);
  return fields.flatMap((field, index) => {
    const match = /^:\d+ \d+ ([0-9a-f]+) ([0-9a-f]+) [AMD]$/.exec(field);
    const path = fields[index + 1];
    return match && path !== undefined ? [{ path, before: blob(match[1]), after: blob(match[2]) }] : [];
  });
}

async function followChange(git: Git, dir: string, { path, before, after }: Change): Promise<void> {
  const staged = /^\d+ ([0-9a-f]+) 0\t/.exec((await git(['ls-files', '--stage', '-z', '--', path])).stdout.toString());
  if (staged?.[1] !== before) return;
  // Compares index and folder; with nothing in the index it says nothing, and checkout-index never writes over a file.
  const untouched = (await git(['diff-files', '--quiet', '--', path], { answers: [1] })).code === 0;

  if (after === undefined) {
    await git(['update-index', '--force-remove', '--', path]);
    if (untouched) await removeFile(dir, path);
    return;
  }
  await git(['update-index', '--add', '--cacheinfo', `100644,${after},${path}`]);
  const over = before !== undefined && untouched ? ['--force'] : [];
  await git(['checkout-index', '--quiet', ...over, '--', path], { answers: [1, 128] });
}

/** With the folders that it leaves empty, as git does. */
async function removeFile(dir: string, path: string): Promise<void> {
  await rm(join(dir, path), { force: true });
  for (let folder = dirname(path); folder !== '.'; folder = dirname(folder)) {
    try {
      await rmdir(join(dir, folder));
    } catch {
      return;
    }
  }
}

export async function line(answer: ReturnType<Git>): Promise<string> {
  return (await answer).stdout.toString().trim();
}
