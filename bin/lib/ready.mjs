/** From a fresh clone to something that runs: the right Node, the packages of the lockfile, a build of these sources. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from './build.mjs';
import { install } from './install.mjs';
import { withLock } from './lock.mjs';
import { satisfies } from './node-version.mjs';
import { SetupError, say } from './steps.mjs';

export const ROOT = join(import.meta.dirname, '..', '..');

/** Throws `SetupError` with one sentence when it cannot be done. `always` builds even when nothing changed. */
export async function ready({ root = ROOT, always = false } = {}) {
  checkNode(root);
  const waiting = (pid) => say(`Waiting for process ${pid}, which is setting up the same checkout …`);
  await withLock(join(root, '.edge', 'setup.lock'), waiting, async () => {
    await install(root);
    await build(root, { always });
  });
}

function checkNode(root, version = process.versions.node) {
  const { engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  if (satisfies(version, engines.node)) return;
  throw new SetupError(
    `This is Node ${version}; Edge Governor needs ${engines.node}. Install one of these and start again.`,
  );
}

/** Runs an entry point: its number is the exit code, and a failed set-up is told in a sentence. */
export async function enter(work) {
  try {
    process.exitCode = await work();
  } catch (error) {
    say(error instanceof SetupError ? error.message : (error?.stack ?? String(error)));
    process.exitCode = error instanceof SetupError ? error.exitCode : 1;
  }
}
