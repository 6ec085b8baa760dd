import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isRunning, parseRecord, recordOf } from './processes.js';

const POLL_MS = 200;

export type LockAttempt = { kind: 'held'; release: () => void } | { kind: 'busy'; pid: number };

/** Takes a lock between processes: a file that names its holder. A holder that died does not hold it. */
export function tryLock(file: string): LockAttempt {
  mkdirSync(dirname(file), { recursive: true });
  const mine = JSON.stringify(recordOf(process.pid));
  for (;;) {
    if (create(file, mine)) return { kind: 'held', release: () => release(file, mine) };
    const text = read(file);
    if (text === undefined) continue;
    const holder = parseRecord(text);
    if (holder && isRunning(holder)) return { kind: 'busy', pid: holder.pid };
    clearStale(file, text);
  }
}

/**
 * Runs `work` while this process holds `file`; `onWait` is called once when another process holds it. Throws when `signal`
 * ends the waiting; the work itself it does not end.
 */
export async function withLock<T>(
  file: string,
  onWait: (pid: number) => void,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  let told = false;
  for (;;) {
    const attempt = tryLock(file);
    if (attempt.kind === 'held') {
      try {
        return await work();
      } finally {
        attempt.release();
      }
    }
    if (!told) onWait(attempt.pid);
    told = true;
    await delay(POLL_MS, undefined, signal ? { signal } : {});
  }
}

function create(file: string, mine: string): boolean {
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, mine);
  try {
    // A link appears with its content, so nobody ever reads a half-written lock.
    linkSync(draft, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    return false;
  } finally {
    rmSync(draft, { force: true });
  }
}

function release(file: string, mine: string): void {
  if (read(file) === mine) rmSync(file, { force: true });
}

function clearStale(file: string, text: string): void {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  // Between reading and renaming, another process may have cleared the stale lock and taken it: give it back.
  if (read(aside) !== text) create(file, read(aside) ?? '');
  rmSync(aside, { force: true });
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
