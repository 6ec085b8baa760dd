import { join } from 'node:path';
import { execa } from 'execa';
import { ROOT } from './build.js';

/** The command line as whoever types it has it: a process of its own, not on a terminal, all of whose files are in `dir`. */
export const edge = (dir: string, ...args: string[]) =>
  execa(process.execPath, [join(ROOT, 'bin', 'edge.mjs'), ...args], {
    cwd: dir,
    env: { TMPDIR: dir },
    reject: false,
    stdin: 'ignore',
    lines: true,
  });
