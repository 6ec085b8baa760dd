import { execa } from 'execa';

/** Throws a sentence when there is none, before anything is written that would need it. */
export async function requireGit(): Promise<void> {
  const { failed } = await execa('git', ['--version'], { reject: false });
  if (failed) throw new Error('git does not run here. Install git.');
}

/** Runs Git in a working tree, with an author of its own and without what the person at this machine has configured. */
export const gitIn =
  (dir: string) =>
  async (...args: string[]): Promise<string> => {
    const { stdout } = await execa('git', ['-C', dir, '-c', 'core.hooksPath=/dev/null', ...args], {
      env: {
        GIT_CONFIG_GLOBAL: '/dev/null',
        GIT_CONFIG_NOSYSTEM: '1',
        GIT_TERMINAL_PROMPT: '0',
        GIT_AUTHOR_NAME: 'edge-governor',
        GIT_AUTHOR_EMAIL: 'edge-governor@localhost',
        GIT_COMMITTER_NAME: 'edge-governor',
        GIT_COMMITTER_EMAIL: 'edge-governor@localhost',
        GIT_DIR: undefined,
        GIT_WORK_TREE: undefined,
        GIT_INDEX_FILE: undefined,
      },
    });
    return stdout.trim();
  };
