import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { endTree } from './process-figures.js';

/** Beside this file, built or not. */
export const PLAYBOOK = join(import.meta.dirname, 'playbook');

/** Runs "$@" with its output in $LOG, then tells the CPU time of it and of all that it started. */
const TIMED = '"$@" >>"$LOG" 2>&1; code=$?; times; exit $code';

export interface PlaybookOptions {
  /** Folder of the environment's programs. */
  programs: string;
  /** For Ansible's own files; short, since sockets lie below it. */
  dir: string;
  inventory: string;
  log: string;
  env: Readonly<Record<string, string | undefined>>;
}

interface PlaybookResult {
  /** 0 when every host is done. 137: it was killed. */
  code: number;
  /** Undefined when it was killed: then nobody counted. */
  cpuSeconds: number | undefined;
}

export interface Playbook {
  run(variables: Record<string, unknown>, forks: number): Promise<PlaybookResult>;
  /** SIGKILL for it and all that it started, as when its machine dies. False when it does not run. */
  kill(): boolean;
}

export function createPlaybook({ programs, dir, inventory, log, env }: PlaybookOptions): Playbook {
  let shell: ChildProcess | undefined;
  return {
    async run(variables, forks) {
      const child = spawn(
        '/bin/sh',
        [
          ...['-c', TIMED, 'sh', join(programs, 'ansible-playbook'), join(PLAYBOOK, 'site.yml')],
          ...['--inventory', inventory, '--forks', String(forks), '--extra-vars', JSON.stringify(variables)],
        ],
        {
          cwd: dir,
          env: {
            PATH: env['PATH'],
            // Without UTF-8 Ansible refuses to start.
            LC_ALL: 'C.UTF-8',
            HOME: dir,
            LOG: log,
            ANSIBLE_CONFIG: join(PLAYBOOK, 'ansible.cfg'),
            ANSIBLE_HOME: join(dir, 'home'),
            ANSIBLE_SSH_CONTROL_PATH_DIR: join(dir, 'cp'),
            PYTHONDONTWRITEBYTECODE: '1',
          },
          stdio: ['ignore', 'pipe', 'inherit'],
        },
      );
      shell = child;
      let said = '';
      child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
      const [code] = (await once(child, 'close')) as [number | null];
      shell = undefined;
      return { code: code ?? 137, cpuSeconds: code === 137 ? undefined : childrenSeconds(said) };
    },
    kill: () => shell?.pid !== undefined && endTree(shell.pid),
  };
}

/** The second line of the shell's `times`: user and system time of its children, e.g. `1m2.50s 0m3.25s`. */
export function childrenSeconds(times: string): number | undefined {
  const found = [...(times.trim().split('\n').at(-1) ?? '').matchAll(/(\d+)m([\d.]+)s/g)];
  if (found.length !== 2) return undefined;
  return found.reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
}
