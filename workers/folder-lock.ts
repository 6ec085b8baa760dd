import { closeSync, ftruncateSync, mkdirSync, openSync, readFileSync, writeSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { tryLock } from './file-lock.js';

export type FolderLock = { kind: 'held'; release: () => void } | { kind: 'busy'; holder: string };

interface Patience {
  /** Milliseconds that a holder who is about to end is waited for. */
  patienceMs: number;
}

const POLL_MS = 500;
/** What flock(1) answers when another holds the lock. */
const TAKEN = 1;

/**
 * Takes a folder for as long as this process lives or until it is released: `file` in it is locked by the kernel, which
 * frees it with the end of the process, however it ends, and knows the holder in another container too, where process
 * ids are others and say nothing.
 */
export async function lockFolder(dir: string, file: string, { patienceMs }: Patience): Promise<FolderLock> {
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const attempt = await tryFolder(join(dir, file));
    if (attempt.kind === 'held' || performance.now() >= deadline) return attempt;
    await delay(POLL_MS);
  }
}

/** A worker that was told to end takes up to eight seconds for it, and whoever is to follow may be started meanwhile. */
const PREDECESSOR_MS = 10_000;

/**
 * Takes the folder of what a worker remembers of its site; two on one folder would each believe the journal to be its
 * own. Throws one sentence when another process has it.
 */
export async function holdState(dir: string): Promise<() => void> {
  const lock = await lockFolder(dir, 'worker.lock', { patienceMs: PREDECESSOR_MS });
  if (lock.kind === 'held') return lock.release;
  throw new Error(
    `Another worker (${lock.holder}) works with ${dir}, and there can be only one: stop that one first, or leave it ` +
      'running and do not start this one.',
  );
}

async function tryFolder(path: string): Promise<FolderLock> {
  // Only Linux has containers that share a folder and not their process ids; elsewhere flock(1) is not at hand.
  if (process.platform !== 'linux') {
    const attempt = tryLock(path);
    return attempt.kind === 'held' ? attempt : { kind: 'busy', holder: `process ${attempt.pid}` };
  }
  const file = openSync(path, 'a+', 0o600);
  try {
    if (await isTaken(file, path)) {
      const holder = readFileSync(path, 'utf8').trim();
      closeSync(file);
      return { kind: 'busy', holder: holder === '' ? 'another process' : holder };
    }
  } catch (error) {
    closeSync(file);
    throw error;
  }
  ftruncateSync(file);
  writeSync(file, `process ${process.pid} on ${hostname()}\n`);
  return { kind: 'held', release: () => closeSync(file) };
}

/** Node has no flock(2). A lock that flock(1) takes on a file that it has inherited is ours too, and stays when it ends. */
async function isTaken(file: number, path: string): Promise<boolean> {
  const flock = spawn('flock', ['-n', '3'], { stdio: ['ignore', 'ignore', 'pipe', file] });
  let said = '';
  flock.stderr?.on('data', (part: Buffer) => (said += part.toString()));
  const code = await new Promise<number | string | null>((resolve) => {
    flock.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    flock.once('close', resolve);
  });
  if (code === 0) return false;
  if (code === TAKEN) return true;
  const why = code === 'ENOENT' ? 'the program flock (of util-linux) is not installed' : said.trim() || String(code);
  throw new Error(`${path} cannot be locked, so nobody can say that one process alone works here: ${why}.`);
}
