import { constants } from 'node:os';
import { execa } from 'execa';
import { signalGroup } from './signal.js';

export interface ProgramCall {
  /** Milliseconds; then the program and all that it has started are ended. */
  timeoutMs: number;
  /** Written to its standard input, which is then closed. Default nothing. */
  input?: string | Uint8Array;
  signal?: AbortSignal;
  cwd?: string;
  /** Added to the environment of this process, unless `extendEnv` is false; what is undefined is taken out of it. */
  env?: Record<string, string | undefined>;
  extendEnv?: boolean;
  /** Bytes of each of its two outputs; default 10 MB. */
  maxBuffer?: number;
}

export type ProgramEnd =
  | { kind: 'ended'; code: number; stdout: Buffer; stderr: Buffer }
  /** By a signal that was not ours. */
  | { kind: 'killed'; signal: string }
  | { kind: 'timedOut' }
  | { kind: 'aborted' }
  | { kind: 'tooMuchOutput' }
  /** `code` as the operating system has it: ENOENT, EACCES, … */
  | { kind: 'notStarted'; code: string };

const MAX_BUFFER = 10 * 1024 * 1024;
const GRACE_MS = 2_000;

/**
 * Runs a program without a shell, in a process group of its own, and answers how it ended; it never throws for that.
 * Whatever it has started and left in its group is ended with it when its time is up or the caller gives up: asked first,
 * killed after two seconds. When this process ends, they are asked. What has left the group on purpose is not waited for.
 */
export async function runProgram(program: string, args: readonly string[], call: ProgramCall): Promise<ProgramEnd> {
  const { timeoutMs, signal, input = '', maxBuffer = MAX_BUFFER, ...surroundings } = call;
  if (signal?.aborted) return { kind: 'aborted' };
  const running = execa(program, args, {
    ...surroundings,
    input,
    maxBuffer,
    encoding: 'buffer',
    stripFinalNewline: false,
    reject: false,
    // A group of its own. The library's own time limit and clean-up know of the program alone.
    detached: true,
    cleanup: false,
  });
  const { pid } = running;
  let stopped: 'timedOut' | 'aborted' | undefined;
  let kill: NodeJS.Timeout | undefined;
  const stop = (why: 'timedOut' | 'aborted') => {
    if (stopped || pid === undefined) return;
    stopped = why;
    signalGroup(pid, 'SIGTERM');
    kill = setTimeout(() => {
      signalGroup(pid, 'SIGKILL');
      running.stdout.destroy();
      running.stderr.destroy();
    }, GRACE_MS);
  };
  const onAbort = () => stop('aborted');
  signal?.addEventListener('abort', onAbort, { once: true });
  const limit = setTimeout(() => stop('timedOut'), timeoutMs);
  if (pid !== undefined) watch(pid);
  try {
    const result = await running;
    // Whoever outlives the program although it was asked to end has had its time.
    if (stopped && pid !== undefined) signalGroup(pid, 'SIGKILL');
    if (stopped) return { kind: stopped };
    if (result.isMaxBuffer) return { kind: 'tooMuchOutput' };
    if (result.exitCode !== undefined) {
      return {
        kind: 'ended',
        code: result.exitCode,
        stdout: Buffer.from(result.stdout),
        stderr: Buffer.from(result.stderr),
      };
    }
    if (result.signal) return { kind: 'killed', signal: result.signal };
    return { kind: 'notStarted', code: result.code ?? 'unknown' };
  } finally {
    clearTimeout(limit);
    clearTimeout(kill);
    signal?.removeEventListener('abort', onAbort);
    if (pid !== undefined) unwatch(pid);
  }
}

/** For people, after the name of the program: what it was, with the last line that it said on its standard error. */
export function howItEnded(end: ProgramEnd): string {
  switch (end.kind) {
    case 'ended': {
      const said = lastLine(end.stderr);
      return `ended with exit code ${end.code}${said === '' ? '' : `: ${said}`}`;
    }
    case 'killed':
      return `was ended by ${end.signal}`;
    case 'timedOut':
      return 'did not end in time';
    case 'aborted':
      return 'was given up';
    case 'tooMuchOutput':
      return 'printed more than is read';
    case 'notStarted':
      return `could not be started (${end.code})`;
    default:
      return end satisfies never;
  }
}

export const lastLine = (output: Buffer): string => output.toString().trim().split('\n').at(-1)?.slice(0, 300) ?? '';

const leaders = new Set<number>();
/** What ends this process without its event `exit`, and what Ctrl-C at a terminal sends to our group alone. */
const DEADLY = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function watch(leader: number): void {
  leaders.add(leader);
  if (leaders.size > 1) return;
  process.on('exit', endAll);
  for (const signal of DEADLY) process.on(signal, onDeadly);
}

function unwatch(leader: number): void {
  leaders.delete(leader);
  if (leaders.size > 0) return;
  process.off('exit', endAll);
  for (const signal of DEADLY) process.off(signal, onDeadly);
}

/** Asked only: there is no time left for more, and one that is killed leaves its lock files, as git does. */
function endAll(): void {
  for (const leader of leaders) signalGroup(leader, 'SIGTERM');
}

/** Where nobody else listens, the signal would have ended this process. */
function onDeadly(signal: NodeJS.Signals): void {
  if (process.listenerCount(signal) > 1) return;
  process.exit(128 + constants.signals[signal]);
}
