import { GitError } from './errors.js';
import { checkedRef } from './names.js';
import type { Git } from './program.js';
import { PROMOTION_TRAILER } from './promote.js';
import { AUTHOR, commitsWith, line, recordOnce } from './record.js';
import { withScratchIndex } from './scratch-index.js';
import type { GitRepo } from './types.js';

type Reversion = Parameters<GitRepo['revertPromotions']>[0];

const TRAILER = 'Edge-Rollback';

export function revertPromotions(git: Git, dir: string, reversion: Reversion): Promise<string> {
  checkedRef(reversion.promotions);
  return recordOnce(git, dir, { ...reversion, trailer: TRAILER, write: (tip) => writeReverts(git, tip, reversion) });
}

/** Newest first, each on top of the one before. What somebody has reverted already is left out, as it changes nothing. */
async function writeReverts(git: Git, tip: string, { promotions, branch, tag }: Reversion): Promise<string> {
  const found = (await commitsWith(git, tip, PROMOTION_TRAILER)).filter(({ value }) =>
    value.startsWith(`${promotions}/`),
  );
  if (found.length === 0) {
    throw new GitError('RefMissing', `The branch ${branch} has no promotion below ${promotions}/ to revert.`);
  }
  let top = tip;
  for (const { commit } of found) top = await revert(git, top, commit, tag);
  return top;
}

/**
 * What `git revert` does, in an index of its own: the three-way merge that takes the commit as the base and its parent
 * as the other side. Files that changed on both sides stay unmerged, and a tree cannot be written.
 */
const revert = (git: Git, top: string, commit: string, tag: string): Promise<string> =>
  withScratchIndex(async (env) => {
    await git(['read-tree', '-i', '-m', '--aggressive', commit, top, `${commit}^`], { env });
    const unmerged = (await git(['ls-files', '--unmerged', '-z'], { env })).stdout.toString();
    if (unmerged !== '') {
      const path = unmerged.slice(unmerged.indexOf('\t') + 1).split('\0')[0] ?? '';
      throw new GitError(
        'Conflict',
        `${path} was changed after commit ${commit.slice(0, 12)} promoted it. Put it back or revert that commit by hand, then try again.`,
      );
    }
    const tree = await line(git(['write-tree'], { env }));
    if (tree === (await line(git(['rev-parse', `${top}^{tree}`])))) return top;
    const subject = await line(git(['show', '--no-patch', '--format=%s', commit]));
    const message = `Revert "${subject}"\n\nThis reverts commit ${commit}.\n\n${TRAILER}: ${tag}\n`;
    return line(git(['commit-tree', tree, '-p', top, '-F', '-'], { env: AUTHOR, input: message }));
  });
