import { describe, expect, it } from 'vitest';
import { openGitRepo } from '#systems/git/repo.js';

describe('names that git would read otherwise than we mean', () => {
  // There is no such folder: whatever reached git would fail with another error.
  const repo = openGitRepo({ dir: '/nonexistent' });

  it.each(['../x', '/etc/passwd', 'a\nb', 'a\0b', '-x', 'a//b', '.git/config', 'a/.GIT/config', 'a/./b', 'a\\b', ''])(
    'refuses the path %j',
    async (path) => {
      await expect(repo.read('0'.repeat(40), path, 10)).rejects.toMatchObject({ kind: 'BadName' });
      await expect(
        repo.promote({ branch: 'main', tag: 'edge/t/s', content: '', message: 'm', file: path }),
      ).rejects.toMatchObject({ kind: 'BadName' });
    },
  );

  it.each(['-d', '--upload-pack=x', 'a..b', 'a b', 'a~1', 'a^{}', 'x.lock', 'a/', '', 'HEAD:x', 'a\nb'])(
    'refuses the branch or tag %j',
    async (name) => {
      await expect(repo.head(name)).rejects.toMatchObject({ kind: 'BadName' });
      await expect(repo.tagCommit(name)).rejects.toMatchObject({ kind: 'BadName' });
    },
  );

  it.each(['HEAD', 'main', '--help', 'abc', `${'0'.repeat(40)}^`])('refuses the commit %j', async (commit) => {
    await expect(repo.read(commit, 'fleet.yaml', 10)).rejects.toMatchObject({ kind: 'BadName' });
  });
});
