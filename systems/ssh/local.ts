import { execa } from 'execa';
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
        const result = await execa(program, args, {
          input: runOptions.stdin ?? '',
          timeout: timeoutMs,
          cancelSignal: AbortSignal.any(signals),
          maxBuffer: MAX_OUTPUT_BYTES,
          reject: false,
          stripFinalNewline: false,
          ...(options.env ? { env: options.env } : {}),
        });
        if (result.timedOut) {
          throw new CommandError('CommandTimeout', `${program}: no end within ${timeoutMs} ms; it may still run`);
        }
        if (result.isCanceled) throw new CommandError('Aborted', `${program}: aborted; it may still run`);
        if (result.isMaxBuffer) {
          throw new CommandError('OutputTooLarge', `${program}: more than ${MAX_OUTPUT_BYTES} bytes of output`);
        }
        if (result.exitCode !== undefined) {
          return { code: result.exitCode, stdout: result.stdout, stderr: result.stderr };
        }
        if (result.signal) throw new CommandError('OutcomeUnknown', `${program}: ended by ${result.signal}`);
        const reason = 'code' in result ? String(result.code) : 'not started';
        return {
          code: reason === 'EACCES' ? NOT_EXECUTABLE : NOT_FOUND,
          stdout: '',
          stderr: `${program}: ${reason}\n`,
        };
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
