import { join } from 'node:path';
import { baseEnvironment } from '#workers/embedded/child-environment.js';
import { ManagedChild } from '#workers/embedded/managed-child.js';
import type { Io } from './io.js';

export interface LabProcess {
  io: Io;
  /** Folder of the process's own log. */
  dir: string;
  repo: string;
  /** Where the practice fleet keeps its state, journal and enrolment. */
  state: string;
  speed: number;
  controlPort: number;
  /** Further arguments of `lab/main.js`. */
  more?: readonly string[];
}

/** A practice fleet as a process of its own, without the service. It has not been started yet. */
export const labProcess = ({ io, dir, repo, state, speed, controlPort, more = [] }: LabProcess): ManagedChild =>
  new ManagedChild({
    name: 'lab',
    command: process.execPath,
    args: [
      ...['--enable-source-maps', labProgram(), '--repo', repo, '--state', state, '--speed', String(speed)],
      ...['--control-port', String(controlPort), ...more],
    ],
    env: baseEnvironment({ ...io.env }),
    cwd: dir,
    dir,
    readyTimeoutMs: 120_000,
    keep: false,
    onEvent: () => undefined,
  });

/** It runs as it was built, whether this file does or its source. */
function labProgram(): string {
  const root = join(import.meta.dirname, '..', '..');
  return import.meta.filename.endsWith('.ts') ? join(root, 'dist', 'lab', 'main.js') : join(root, 'lab', 'main.js');
}
