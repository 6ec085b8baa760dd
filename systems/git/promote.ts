import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { GitError } from './errors.js';
import { checkedPath, checkedRef } from './names.js';
import type { Git, GitAnswer } from './program.js';
import { headOf, tagCommit } from './refs.js';
import type { GitRepo } from './types.js';

type Promotion = Parameters<GitRepo['promote']>[0];

/** Names the tag in the commit itself, so that a commit whose tag was never written is found again. */
const TRAILER = 'Edge-Promotion';
/** How far back a commit without its tag is looked for. */
const LOOK_BACK = 1_000;
const ATTEMPTS = 10;

const AUTHOR = {
  GIT_AUTHOR_NAME: 'edge-governor',
  GIT_AUTHOR_EMAIL: 'edge-governor@localhost',
  GIT_COMMITTER_NAME: 'edge-governor',
  GIT_COMMITTER_EMAIL: 'edge-governor@localhost',
};

/** Look, then act: the tag, then a commit that lacks its tag, then a new commit and tag in one transaction. */
export async function promote(git: Git, promotion: Promotion): Promise<string> {
  const branch = checkedRef(promotion.branch);
  const tag = checkedRef(promotion.tag);
  checkedPath(promotion.file);

  let said = '';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const tagged = await tagCommit(git, tag);
    if (tagged !== undefined) return tagged;

    const tip = await headOf(git, branch);
    const earlier = await findCommit(git, tip, tag);
    const commit = earlier ?? (await writeCommit(git, tip, promotion));
    const moved = await moveRefs(git, { branch, tip, commit, tag, message: promotion.message });
    if (moved.code !== 0) {
      said = moved.stderr;
      continue;
    }
    if (!earlier) await followInWorkTree(git, promotion, commit);
    return commit;
  }
  throw new GitError(
    'Contended',
    `Tag ${tag} and branch ${branch} could not be written in ${ATTEMPTS} tries: ${said}`,
    {
      retryable: true,
    },
  );
}

async function findCommit(git: Git, tip: string, tag: string): Promise<string | undefined> {
  const { stdout } = await git([
    'log',
    `--max-count=${LOOK_BACK}`,
    `--format=%H %(trailers:key=${TRAILER},valueonly,separator=%x2C)`,
    '--fixed-strings',
    `--grep=${TRAILER}: ${tag}`,
    tip,
    '--',
  ]);
  // The grep also finds `…/wave-10` for `…/wave-1`, and a person who quotes the line; the trailer decides.
  return stdout
    .toString()
    .split('\n')
    .map((line) => [line.slice(0, 40), line.slice(41).trim()] as const)
    .find(([, value]) => value === tag)?.[0];
}

/** Built in an index of its own: a person's work tree and staged changes are never part of a promotion. */
async function writeCommit(git: Git, tip: string, promotion: Promotion): Promise<string> {
  const scratch = await mkdtemp(join(tmpdir(), 'edge-promote-'));
  const env = { GIT_INDEX_FILE: join(scratch, 'index') };
  try {
    const blob = await line(git(['hash-object', '-w', '--no-filters', '--stdin'], { input: promotion.content }));
    await git(['read-tree', tip], { env });
    await git(['update-index', '--add', '--cacheinfo', `100644,${blob},${promotion.file}`], { env });
    const tree = await line(git(['write-tree'], { env }));
    const message = `${promotion.message.trim()}\n\n${TRAILER}: ${promotion.tag}\n`;
    return await line(git(['commit-tree', tree, '-p', tip, '-F', '-'], { env: AUTHOR, input: message }));
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Moves the branch and creates the tag together, or neither when another writer was first. */
async function moveRefs(
  git: Git,
  refs: { branch: string; tip: string; commit: string; tag: string; message: string },
): Promise<GitAnswer> {
  const tagger = (await line(git(['var', 'GIT_COMMITTER_IDENT'], { env: AUTHOR }))).trim();
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
  return git(['update-ref', '--create-reflog', '-m', `promote ${refs.tag}`, '--stdin'], {
    env: AUTHOR,
    input: `${transaction.join('\n')}\n`,
    answers: [1, 128],
  });
}

/**
 * In a repo with a work tree whose branch just moved, the new file joins index and folder. Without it the next commit
 * of the person who works there would delete the promotion again. Best effort, and never over a file that exists.
 */
async function followInWorkTree(git: Git, promotion: Promotion, commit: string): Promise<void> {
  const bare = await line(git(['rev-parse', '--is-bare-repository']));
  if (bare === 'true') return;
  const current = await git(['symbolic-ref', '--quiet', 'HEAD'], { answers: [1] });
  if (current.stdout.toString().trim() !== `refs/heads/${promotion.branch}`) return;
  try {
    const blob = await line(git(['rev-parse', `${commit}:${promotion.file}`]));
    await git(['update-index', '--add', '--cacheinfo', `100644,${blob},${promotion.file}`]);
    await git(['checkout-index', '--quiet', '--', promotion.file], { answers: [1, 128] });
  } catch (error) {
    if (!(error instanceof GitError)) throw error;
  }
}

async function line(answer: ReturnType<Git>): Promise<string> {
  return (await answer).stdout.toString().trim();
}
