import { type ChildProcess, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { signalGroup, signalProcess } from '#systems/programs/signal.js';
import { endGroup, parseRecord, recordOf } from '../processes.js';

/**
 * Runs "$@", tells its process id on descriptor 3, and ends it when stdin closes, that is, when the process that
 * started it is gone, however it went. Any program can be run so; none has to know of it.
 */
const GUARD = `
exec 4<&0
"$@" 3>&- 4<&- </dev/null &
child=$!
{ while read -r _; do :; done; kill -TERM $child; sleep 10; kill -KILL $child; } 3>&- <&4 2>/dev/null &
watcher=$!
echo $child >&3
exec 3>&- 4<&-
wait $child
code=$?
kill -KILL $watcher 2>/dev/null
wait $watcher 2>/dev/null
exit $code
`;

const POLL_MS = 50;
const FIRST_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 30_000;
/** Whoever ran for so long starts again with the first backoff: what cannot start at all ends sooner. */
const SETTLED_MS = 10_000;
const MAX_LOG_BYTES = 20_000_000;

export type ChildEvent =
  | { kind: 'started'; name: string; pid: number }
  | { kind: 'ready'; name: string; afterMs: number }
  | { kind: 'ended'; name: string; how: string }
  | { kind: 'restarting'; name: string; inMs: number };

export interface ChildSpec {
  name: string;
  command: string;
  args: readonly string[];
  env: NodeJS.ProcessEnv;
  /** Working folder of the process. */
  cwd: string;
  /** Holds `logs/<name>.log` and `pids/<name>.json`. */
  dir: string;
  /** Undefined: ready when it writes a JSON line with `"ready":true` to its stdout. */
  isReady?: (() => Promise<boolean>) | undefined;
  readyTimeoutMs?: number;
  /** Start it again, with backoff, when it ends unasked. */
  keep: boolean;
  onEvent: (event: ChildEvent) => void;
}

/** Ends all that an earlier supervisor of `dir` left, when it and its children's guards were killed. */
export function endLeftovers(dir: string): void {
  const folder = join(dir, 'pids');
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder)) endLeftover(join(folder, name));
}

function endLeftover(pidFile: string): void {
  if (!existsSync(pidFile)) return;
  const record = parseRecord(readFileSync(pidFile, 'utf8'));
  if (record) endGroup(record);
  rmSync(pidFile, { force: true });
}

/** A process that lives no longer than this one, writes its own log file and can be killed and started again. */
export class ManagedChild {
  readonly name: string;
  readonly logFile: string;
  readonly #spec: ChildSpec;
  readonly #pidFile: string;
  /** Process id of the program, not of its guard. */
  #program: number | undefined;
  #ended: Promise<void> = Promise.resolve();
  #wanted = false;
  #nextBackoffMs = FIRST_BACKOFF_MS;
  #logOffset = 0;
  #restart: AbortController | undefined;

  constructor(spec: ChildSpec) {
    this.#spec = spec;
    this.name = spec.name;
    this.logFile = join(spec.dir, 'logs', `${spec.name}.log`);
    this.#pidFile = join(spec.dir, 'pids', `${spec.name}.json`);
  }

  get pid(): number | undefined {
    return this.#program;
  }

  /** Resolves when it is ready. Throws with the end of its log when it ends before, or is not ready in time. */
  async start(): Promise<void> {
    if (this.#wanted) throw new Error(`${this.name} is started already.`);
    this.#wanted = true;
    this.endLeftover();
    try {
      await this.#launch();
    } catch (error) {
      await this.stop(0);
      throw error;
    }
  }

  /** Ends what is left of an earlier run under the same name. */
  endLeftover(): void {
    endLeftover(this.#pidFile);
  }

  /** Signals the program. False when it is not running. What a killed one had started is ended with it. */
  kill(signal: NodeJS.Signals): boolean {
    return this.#program !== undefined && signalProcess(this.#program, signal);
  }

  /** Resolves once the process of this moment has ended. */
  ended(): Promise<void> {
    return this.#ended;
  }

  async stop(graceMs = 15_000): Promise<void> {
    this.#wanted = false;
    this.#restart?.abort();
    this.kill('SIGTERM');
    // A stopped process would not hear the request to end.
    this.kill('SIGCONT');
    const impatience = setTimeout(() => this.kill('SIGKILL'), graceMs);
    await this.#ended;
    clearTimeout(impatience);
  }

  async #launch(): Promise<void> {
    const start = performance.now();
    const guard = this.#spawn();
    const pid = guard.pid;
    if (pid === undefined) throw new Error(`${this.name}: the shell /bin/sh could not be started.`);
    writeFileSync(this.#pidFile, JSON.stringify(recordOf(pid)));
    let ending: string | undefined;
    const exited = new Promise<string>((resolve) => {
      guard.once('exit', (code, signal) => resolve(signal ? `by ${signal}` : endingOf(code ?? 0)));
    });
    this.#ended = exited.then((how) => {
      ending = how;
      this.#program = undefined;
      guard.stdin?.destroy();
      signalGroup(pid, 'SIGKILL');
      rmSync(this.#pidFile, { force: true });
      this.#spec.onEvent({ kind: 'ended', name: this.name, how });
      this.#onEnd(performance.now() - start);
    });

    const program = await Promise.race([firstNumber(guard.stdio[3] as Readable), exited.then(() => undefined)]);
    if (program !== undefined) {
      this.#program = program;
      this.#spec.onEvent({ kind: 'started', name: this.name, pid: program });
      // Stopped in the moment before its process id was known.
      if (!this.#wanted) this.kill('SIGTERM');
    }
    await this.#untilReady(start, () => ending);
    this.#spec.onEvent({ kind: 'ready', name: this.name, afterMs: Math.round(performance.now() - start) });
  }

  #spawn(): ChildProcess {
    const { dir, name, command, args, cwd, env } = this.#spec;
    mkdirSync(join(dir, 'logs'), { recursive: true });
    mkdirSync(join(dir, 'pids'), { recursive: true });
    this.#logOffset = sizeOf(this.logFile);
    if (this.#logOffset > MAX_LOG_BYTES) {
      renameSync(this.logFile, `${this.logFile}.1`);
      this.#logOffset = 0;
    }
    const log = openSync(this.logFile, 'a');
    try {
      // A group of its own, so that Ctrl-C on the terminal reaches only the supervisor, which ends all in order.
      const guard = spawn('/bin/sh', ['-c', GUARD, `edge-${name}`, command, ...args], {
        cwd,
        env,
        detached: true,
        stdio: ['pipe', log, log, 'pipe'],
      });
      // Its end breaks the pipe; that is what the pipe is for.
      guard.stdin?.on('error', () => undefined);
      return guard;
    } finally {
      closeSync(log);
    }
  }

  async #untilReady(start: number, how: () => string | undefined): Promise<void> {
    const { isReady = () => Promise.resolve(this.#saidReady()), readyTimeoutMs = 60_000 } = this.#spec;
    for (;;) {
      const end = how();
      if (end) throw new Error(`${this.name} ended ${end} before it was ready.${this.#logTail()}`);
      if (await isReady()) return;
      if (performance.now() - start > readyTimeoutMs) {
        throw new Error(`${this.name} was not ready after ${readyTimeoutMs / 1_000} s.${this.#logTail()}`);
      }
      await delay(POLL_MS);
    }
  }

  #saidReady(): boolean {
    return this.#logSinceStart().some((line) => {
      if (!line.includes('"ready"')) return false;
      try {
        return (JSON.parse(line) as { ready?: unknown }).ready === true;
      } catch {
        return false;
      }
    });
  }

  #logSinceStart(): string[] {
    const file = openSync(this.logFile, 'r');
    try {
      const buffer = Buffer.alloc(Math.min(sizeOf(this.logFile) - this.#logOffset, 1_000_000));
      readSync(file, buffer, 0, buffer.length, this.#logOffset);
      return buffer.toString().split('\n');
    } finally {
      closeSync(file);
    }
  }

  #logTail(): string {
    const tail = this.#logSinceStart().filter(Boolean).slice(-8).join('\n  ');
    return ` See ${this.logFile}${tail ? `, which ends:\n  ${tail}` : ''}`;
  }

  #onEnd(ranMs: number): void {
    if (!this.#wanted || !this.#spec.keep) return;
    const inMs = ranMs > SETTLED_MS ? FIRST_BACKOFF_MS : this.#nextBackoffMs;
    this.#nextBackoffMs = Math.min(inMs * 2, MAX_BACKOFF_MS);
    void this.#startAgain(inMs);
  }

  async #startAgain(inMs: number): Promise<void> {
    this.#spec.onEvent({ kind: 'restarting', name: this.name, inMs });
    this.#restart = new AbortController();
    try {
      await delay(inMs, undefined, { signal: this.#restart.signal });
    } catch {
      return;
    }
    if (!this.#wanted) return;
    // Not ready in time: end it, so that it is tried again. When it ended by itself, that is under way already.
    await this.#launch().catch(() => this.kill('SIGKILL'));
  }
}

/** A shell tells by 128 + n that signal n ended the program. */
function endingOf(code: number): string {
  const signal = Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
  return signal ? `by ${signal}` : `with code ${code}`;
}

function firstNumber(stream: Readable): Promise<number> {
  return new Promise((resolve) => {
    let text = '';
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes('\n')) resolve(Number(text.trim()));
    });
  });
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}
