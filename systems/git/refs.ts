import { GitError } from './errors.js';
import { checkedRef } from './names.js';
import type { Git } from './program.js';

/** Full hash of the tip. Throws `RefMissing`. */
export async function headOf(git: Git, branch: string): Promise<string> {
  const { code, stdout } = await git(
    ['rev-parse', '--verify', '--quiet', `refs/heads/${checkedRef(branch)}^{commit}`],
    {
      answers: [1],
    },
  );
  if (code !== 0) throw new GitError('RefMissing', `The repo has no branch ${branch}.`);
  return stdout.toString().trim();
}

export async function tagCommit(git: Git, tag: string): Promise<string | undefined> {
  const { code, stdout } = await git(['rev-parse', '--verify', '--quiet', `refs/tags/${checkedRef(tag)}^{commit}`], {
    answers: [1],
  });
  return code === 0 ? stdout.toString().trim() : undefined;
}
