import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/** All that a command may touch of the process it runs in; tests give their own. */
export interface Io {
  /** Writes text to stdout as it is. */
  write(text: string): void;
  /** One line to stdout. */
  out(line: string): void;
  /** One line to stderr. */
  err(line: string): void;
  env: Readonly<Record<string, string | undefined>>;
  cwd: string;
  /** The person at the keyboard, as the operating system names them. */
  user: string;
  now(): Date;
  /** Milliseconds. Ends early, without an error, when the person interrupts. */
  pause(milliseconds: number): Promise<void>;
  /** Stdout is a terminal on which lines may be redrawn. */
  terminal: boolean;
  columns: number;
  /** Aborted by Ctrl-C and SIGTERM. Listened for from the first use on. */
  interrupted(): AbortSignal;
}

const DEFAULT_COLUMNS = 100;

export function processIo(): Io {
  const interruption = new AbortController();
  let listening = false;
  // Whoever read the output is gone, e.g. `edge … | head`: the same as an interruption, and no reason to crash.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    interruption.abort();
  });
  const interrupted = () => {
    if (!listening) {
      listening = true;
      const stop = () => interruption.abort();
      process.on('SIGINT', stop);
      process.on('SIGTERM', stop);
    }
    return interruption.signal;
  };
  return {
    write: (text) => void process.stdout.write(text),
    out: (line) => void process.stdout.write(`${line}\n`),
    err: (line) => void process.stderr.write(`${line}\n`),
    env: process.env,
    cwd: process.cwd(),
    user: userName(),
    now: () => new Date(),
    pause: (milliseconds) => pauseUnless(interrupted(), milliseconds),
    // A terminal that asks for no escape sequences is treated like a log file.
    terminal: process.stdout.isTTY === true && !process.env['NO_COLOR'] && process.env['TERM'] !== 'dumb',
    // Some terminals say that they have no columns at all.
    columns: process.stdout.columns || DEFAULT_COLUMNS,
    interrupted,
  };
}

async function pauseUnless(signal: AbortSignal, milliseconds: number): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch {
    // Interrupted: the caller looks at the signal.
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container may run as a user id that has no name.
    return `uid-${process.getuid?.() ?? 'unknown'}`;
  }
}
