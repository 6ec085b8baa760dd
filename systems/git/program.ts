import { lastLine, runProgram, type ProgramEnd } from '../programs/run.js';
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
    const end = await runProgram('git', ['-C', dir, ...settings, ...args], {
      input: call.input ?? '',
      env: { ...ENVIRONMENT, ...call.env },
      timeoutMs: 60_000,
      maxBuffer: call.maxBuffer ?? 64 * 1024 * 1024,
    });
    if (end.kind === 'ended' && (end.code === 0 || call.answers?.includes(end.code))) {
      return { code: end.code, stdout: end.stdout, stderr: lastLine(end.stderr) };
    }
    throw failed(args[0] ?? '', dir, end);
  };
}

function failed(command: string, dir: string, end: ProgramEnd): GitError {
  switch (end.kind) {
    case 'notStarted':
      return new GitError(
        'GitFailed',
        `git could not be started in ${dir}. Is it installed, and does the folder exist?`,
      );
    case 'tooMuchOutput':
      return new GitError('FileTooLarge', `git ${command} answered more than is read at once.`);
    case 'timedOut':
    case 'aborted':
      return new GitError('GitFailed', `git ${command} did not end in 60 s.`, { retryable: true });
    case 'killed':
      return new GitError('GitFailed', `git ${command} was ended in ${dir} by ${end.signal}.`, { retryable: true });
    case 'ended': {
      const said = lastLine(end.stderr);
      // A lock file is another git at work, or one that was killed; the first of these passes.
      const locked = /\.lock|cannot lock ref/i.test(said);
      return new GitError('GitFailed', `git ${command} failed in ${dir}: ${said}`, { retryable: locked });
    }
    default:
      return end satisfies never;
  }
}
