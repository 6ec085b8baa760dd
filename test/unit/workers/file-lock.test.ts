import { existsSync, readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, it } from 'vitest';
import { tryLock, withLock } from '#workers/file-lock.js';
import { recordOf } from '#workers/processes.js';
import { useTempDir } from '../../support/temp-dir.js';

describe('tryLock', () => {
  const tempDir = useTempDir();
  const lockFile = async () => join(await tempDir(), 'sub', 'service.lock');

  it('holds until it is released, and names its holder meanwhile', async () => {
    const file = await lockFile();
    const first = tryLock(file);
    expect(tryLock(file)).toEqual({ kind: 'busy', pid: process.pid });
    if (first.kind === 'held') first.release();
    expect(existsSync(file)).toBe(false);
    expect(tryLock(file).kind).toBe('held');
  });

  it.each([
    [
      'of a process that ended',
      async () => JSON.stringify({ pid: Number((await execa('sh', ['-c', 'echo $$'])).stdout) }),
    ],
    ['of an earlier process with the same id', () => JSON.stringify({ ...recordOf(process.pid), started: 'earlier' })],
    ['that cannot be read', () => 'half a li'],
  ])('takes over a lock %s, and leaves no other file', async (_whose, content) => {
    const dir = await tempDir();
    await writeFile(join(dir, 'service.lock'), await content());
    expect(tryLock(join(dir, 'service.lock')).kind).toBe('held');
    expect(readdirSync(dir)).toEqual(['service.lock']);
  });

  it('does not release what another has taken over', async () => {
    const file = await lockFile();
    const lock = tryLock(file);
    const other = JSON.stringify({ pid: 1 });
    await writeFile(file, other);
    if (lock.kind === 'held') lock.release();
    expect(tryLock(file)).toEqual({ kind: 'busy', pid: 1 });
  });
});

describe('withLock', () => {
  const tempDir = useTempDir();

  it('lets one in at a time, tells the others whom they wait for, and frees the lock after a failure', async () => {
    const file = join(await tempDir(), 'lock');
    const waits: number[] = [];
    let inside = 0;
    let most = 0;
    const work = async () => {
      inside += 1;
      most = Math.max(most, inside);
      await new Promise((resolve) => setImmediate(resolve));
      inside -= 1;
      throw new Error('failed inside');
    };
    const all = await Promise.allSettled([1, 2, 3].map(() => withLock(file, (pid) => waits.push(pid), work)));
    expect(all.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(most).toBe(1);
    expect(waits).toEqual([process.pid, process.pid]);
    expect(existsSync(file)).toBe(false);
  });
});
