import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathOf } from './programs.js';

/**
 * Real daemons in one folder. Nothing of them outlives this process, however it ends: the kernel kills the daemons
 * with it, and the folder goes when the pipe to its keeper closes.
 */
export interface Daemons {
  folder: string;
  /** Starts a program that stays in the foreground. */
  start(name: string, argv: string[]): void;
  /** Ends it and waits until it is gone. */
  stop(name: string, signal?: NodeJS.Signals): Promise<void>;
  runs(name: string): boolean;
  close(): Promise<void>;
}

interface Daemon {
  child: ChildProcess;
  gone: Promise<unknown>;
}

export async function openDaemons(): Promise<Daemons> {
  const folder = await mkdtemp(join(tmpdir(), 'edge-real-'));
  const keeper = spawn('sh', ['-c', 'cat; until rm -rf "$1"; do sleep 0.1; done', 'keeper', folder], {
    stdio: ['pipe', 'ignore', 'ignore'],
    // Not in the group that Ctrl-C at a terminal reaches.
    detached: true,
  });
  const daemons = new Map<string, Daemon>();

  const stop = async (name: string, signal: NodeJS.Signals = 'SIGTERM') => {
    const daemon = daemons.get(name);
    daemon?.child.kill(signal);
    await daemon?.gone;
  };

  return {
    folder,
    start(name, argv) {
      const child = spawn(pathOf('setpriv'), ['--pdeathsig', 'KILL', ...argv], { stdio: 'ignore' });
      daemons.set(name, { child, gone: once(child, 'exit') });
      child.on('exit', () => daemons.delete(name));
    },
    stop,
    runs: (name) => daemons.has(name),
    async close() {
      await Promise.all([...daemons.keys()].map((name) => stop(name, 'SIGKILL')));
      const gone = once(keeper, 'exit');
      keeper.stdin.end();
      await gone;
    },
  };
}
