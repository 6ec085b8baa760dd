import { runProgram } from '../programs/run.js';
import { CommandError } from './errors.js';
import type { CommandResult, CommandRunner, RunOptions } from './types.js';

const DEFAULT_TIMEOUT_MS = 30_000;
const MAX_OUTPUT_BYTES = 10 * 1024 * 1024;
/** What a shell answers for a program that does not exist, or may not be run. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;

/** Runs commands on this machine, without a shell. `env` is added to the process's own. */
export function createLocalRunner(options: { env?: Record<string, string> } = {}): CommandRunner {
  const running = new Set<AbortController>();
  let closed = false;

  return {
    async run(argv: string[], runOptions: RunOptions = {}): Promise<CommandResult> {
      const [program, ...args] = argv;
      if (program === undefined) throw new TypeError('A command needs at least the name of a program.');
      if (closed) throw new CommandError('Unreachable', 'The local runner is closed.');
      const timeoutMs = runOptions.timeoutMs ?? DEFAULT_TIMEOUT_MS;
      const closing = new AbortController();
      running.add(closing);
      const signals = runOptions.signal ? [closing.signal, runOptions.signal] : [closing.signal];
      try {
        const end = await runProgram(program, args, {
          input: runOptions.stdin ?? '',
          timeoutMs,
          maxBuffer: MAX_OUTPUT_BYTES,
          signal: AbortSignal.any(signals),
          ...(options.env ? { env: options.env } : {}),
        });
        switch (end.kind) {
          case 'ended':
            return { code: end.code, stdout: end.stdout.toString(), stderr: end.stderr.toString() };
          case 'timedOut':
            throw new CommandError('CommandTimeout', `${program}: no end within ${timeoutMs} ms; it was ended`);
          case 'aborted':
            throw new CommandError('Aborted', `${program}: aborted; it was ended`);
          case 'tooMuchOutput':
            throw new CommandError('OutputTooLarge', `${program}: more than ${MAX_OUTPUT_BYTES} bytes of output`);
          case 'killed':
            throw new CommandError('OutcomeUnknown', `${program}: ended by ${end.signal}`);
          case 'notStarted':
            return {
              code: end.code === 'EACCES' ? NOT_EXECUTABLE : NOT_FOUND,
              stdout: '',
              stderr: `${program}: ${end.code}\n`,
            };
          default:
            return end satisfies never;
        }
      } finally {
        running.delete(closing);
      }
    },

    async close() {
      closed = true;
      for (const controller of running) controller.abort();
      return Promise.resolve();
    },
  };
}
