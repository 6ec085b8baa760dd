import { execa } from 'execa';
import { GitError } from './errors.js';

/** Nothing that lives in the repo or in a person's settings may run a program or ask a question. */
const SAFE_SETTINGS = [
  'core.hooksPath=/dev/null',
  'core.fsmonitor=false',
  'core.quotePath=false',
  'protocol.allow=never',
  'protocol.ext.allow=never',
  'commit.gpgSign=false',
  'tag.gpgSign=false',
  'gc.auto=0',
  'maintenance.auto=false',
];

const ENVIRONMENT = {
  GIT_TERMINAL_PROMPT: '0',
  GIT_CONFIG_NOSYSTEM: '1',
  GIT_CONFIG_GLOBAL: '/dev/null',
  GIT_LITERAL_PATHSPECS: '1',
  GIT_NO_REPLACE_OBJECTS: '1',
  LC_ALL: 'C',
  // Inherited from a hook or a person's shell these would point git at another repo.
  GIT_DIR: undefined,
  GIT_WORK_TREE: undefined,
  GIT_INDEX_FILE: undefined,
  GIT_OBJECT_DIRECTORY: undefined,
  GIT_ALTERNATE_OBJECT_DIRECTORIES: undefined,
  GIT_CONFIG_COUNT: undefined,
  GIT_CONFIG_PARAMETERS: undefined,
  GIT_NAMESPACE: undefined,
};

interface GitCall {
  input?: string | Uint8Array;
  env?: Record<string, string>;
  /** Exit codes that are an answer and not a failure; 0 always is. */
  answers?: number[];
  maxBuffer?: number;
}

export interface GitAnswer {
  code: number;
  stdout: Buffer;
  /** The last line that git said, for people. */
  stderr: string;
}

export type Git = (args: string[], call?: GitCall) => Promise<GitAnswer>;

/** Runs `git -C <dir> …`. Throws `GitFailed` with the last line git said. */
export function gitIn(dir: string): Git {
  // A repo that belongs to another user of this host is refused by git unless it is named here.
  const settings = [...SAFE_SETTINGS, `safe.directory=${dir}`].flatMap((setting) => ['-c', setting]);

  return async (args, call = {}) => {
    const result = await execa('git', ['-C', dir, ...settings, ...args], {
      encoding: 'buffer',
      input: call.input ?? '',
      env: { ...ENVIRONMENT, ...call.env },
      reject: false,
      timeout: 60_000,
      stripFinalNewline: false,
      maxBuffer: call.maxBuffer ?? 64 * 1024 * 1024,
    });
    const code = result.exitCode;
    if (code === 0 || (code !== undefined && call.answers?.includes(code))) {
      return { code, stdout: Buffer.from(result.stdout), stderr: lastLine(result.stderr) };
    }
    throw failed(args[0] ?? '', dir, result);
  };
}

function failed(
  command: string,
  dir: string,
  result: {
    exitCode?: number | undefined;
    timedOut: boolean;
    isMaxBuffer: boolean;
    stderr: Uint8Array;
    code?: string | undefined;
  },
): GitError {
  if (result.code === 'ENOENT') {
    return new GitError('GitFailed', `git could not be started in ${dir}. Is it installed, and does the folder exist?`);
  }
  if (result.isMaxBuffer) return new GitError('FileTooLarge', `git ${command} answered more than is read at once.`);
  if (result.timedOut) return new GitError('GitFailed', `git ${command} did not end in 60 s.`, { retryable: true });
  const said = lastLine(result.stderr);
  // A lock file is another git at work, or one that was killed; the first of these passes.
  const locked = /\.lock|cannot lock ref/i.test(said);
  return new GitError('GitFailed', `git ${command} failed in ${dir}: ${said}`, { retryable: locked });
}

const lastLine = (output: Uint8Array): string =>
  Buffer.from(output).toString().trim().split('\n').at(-1)?.slice(0, 300) ?? '';
