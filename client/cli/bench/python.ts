import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa, ExecaError } from 'execa';
import { cacheFolder } from '#workers/embedded/cache-folder.js';
import { CliFailure } from '../failure.js';
import type { Io } from '../io.js';

/** ansible-core 2.19 runs on these; the plain name comes last, whatever it is. */
const PYTHONS = ['python3.13', 'python3.12', 'python3.11', 'python3'];
const SUITS = 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))';

/**
 * The folder of programs of a Python environment that holds exactly the pinned packages; made once and kept in the
 * cache. Throws one sentence that says what is missing.
 */
export async function ansiblePrograms(io: Io, requirements: string): Promise<string> {
  const pins = await readFile(requirements, 'utf8');
  const name = `ansible-${createHash('sha256').update(pins).digest('hex').slice(0, 12)}`;
  const folder = join(cacheFolder({ ...io.env }), name);
  const complete = join(folder, '.complete');
  if (!existsSync(complete)) {
    const python = await findPython(io);
    io.err('Installing Ansible from PyPI, once.');
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    await run(io, python, ['-m', 'venv', folder]);
    await run(io, join(folder, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--requirement', requirements]);
    await writeFile(complete, '');
  }
  return join(folder, 'bin');
}

async function findPython(io: Io): Promise<string> {
  for (const python of PYTHONS) {
    const { exitCode } = await execa(python, ['-c', SUITS], { env: { ...io.env }, extendEnv: false, reject: false });
    if (exitCode === 0) return python;
  }
  throw new CliFailure(
    'The comparison with Ansible needs Python 3.11 to 3.13 with its modules venv and ensurepip, and none is on PATH. ' +
      'On Debian: apt-get install python3-venv.',
  );
}

async function run(io: Io, program: string, args: string[]): Promise<void> {
  try {
    await execa(program, args, { env: { ...io.env }, extendEnv: false, all: true });
  } catch (error) {
    const said = error instanceof ExecaError ? String(error.all ?? error.shortMessage) : String(error);
    const last = said.trim().split('\n').slice(-3).join(' ');
    throw new CliFailure(`Ansible could not be installed from PyPI: ${last}`, { cause: error });
  }
}
