import { join } from 'node:path';
import { execa } from 'execa';

export const ROOT = join(import.meta.dirname, '..', '..');

/** Brings dist/ up to date, for tests that run built programs. Cheap when it is. */
export async function buildOnce(): Promise<void> {
  await execa(process.execPath, [join(ROOT, 'bin', 'ready.mjs')], { cwd: ROOT, stdin: 'ignore' });
}
