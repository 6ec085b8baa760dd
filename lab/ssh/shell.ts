import { NodeGone } from '../world/node-gone.js';
import type { NodeSim } from '../world/node-sim.js';
import { ceph } from './programs/ceph.js';
import { pct, qm } from './programs/guests.js';
import { haManager } from './programs/ha.js';
import { aptGet, aptMark, dpkg, dpkgQuery } from './programs/packages.js';
import { bootTool, cat, date, df, echo, hostname, id, install, rm, trueProgram, uname } from './programs/system.js';
import { journalctl, systemctl, systemdRun } from './programs/systemd.js';
import { fail, hang, type Program, type Result } from './result.js';
import { stepOf } from './steps.js';
import { maySudo, ROOT_ONLY } from './sudoers.js';
import { splitWords, UnsupportedShell } from './words.js';

const PROGRAMS: Record<string, Program> = {
  'apt-get': aptGet,
  'apt-mark': aptMark,
  cat,
  ceph,
  date,
  df,
  dpkg,
  'dpkg-query': dpkgQuery,
  echo,
  'ha-manager': haManager,
  hostname,
  id,
  install,
  journalctl,
  pct,
  'proxmox-boot-tool': bootTool,
  qm,
  rm,
  systemctl,
  'systemd-run': systemdRun,
  true: trueProgram,
  uname,
};

/** What the server does with the connection once the command is through. */
export type Answer = { kind: 'exit'; result: Result } | { kind: 'lost' };

export interface CommandLine {
  node: NodeSim;
  by: string;
  line: string;
  stdin: () => Promise<string>;
}

/**
 * Runs one command line as the login shell of `edge-governor` would. A refused command is journaled, since nothing
 * that works as it should ever sends one.
 */
export async function runCommandLine({ node, by, line, stdin }: CommandLine): Promise<Answer> {
  let words: string[];
  try {
    words = splitWords(line);
  } catch (error) {
    if (!(error instanceof UnsupportedShell)) throw error;
    refuse(node, by, [line], error.message);
    return exit(fail(2, `bash: line 1: ${error.message}\n`));
  }
  const env: Record<string, string> = {};
  while (/^[A-Za-z_][A-Za-z0-9_]*=/.test(words[0] ?? '')) {
    const word = words.shift() as string;
    env[word.slice(0, word.indexOf('='))] = word.slice(word.indexOf('=') + 1);
  }
  const sudo = words[0] === 'sudo';
  if (sudo) {
    words = words.slice(1);
    if (words[0] !== '-n') return exit(passwordWanted(node, by, words));
    words = words.slice(words[1] === '--' ? 2 : 1);
  }
  const [path = '', ...args] = words;
  const name = path.replace(/^\/(usr\/)?s?bin\//, '');
  const program = Object.hasOwn(PROGRAMS, name) ? PROGRAMS[name] : undefined;
  if (sudo && !maySudo(name, args, node.store.layout.sudoers)) return exit(passwordWanted(node, by, words));
  if (!program) {
    refuse(node, by, words, 'not found');
    return exit(fail(127, `bash: line 1: ${path}: command not found\n`));
  }
  if (!sudo && ROOT_ONLY.has(name)) {
    refuse(node, by, words, 'needs root');
    return exit(fail(1, `${name}: please run as root\n`));
  }

  const step = stepOf([name, ...args]);
  if (node.bite('lost-answer', step, 'before')) return { kind: 'lost' };
  if (node.bite('command-hangs', step, 'before')) return exit(await hang());
  let result: Result;
  try {
    const work = program({ node, by, root: sudo, args, env, stdin });
    if (work instanceof Promise && node.bite('lost-answer', step, 'during')) {
      // The work goes on: nobody tells a program that its reader is gone until it writes.
      work.catch(() => undefined);
      return { kind: 'lost' };
    }
    result = await work;
  } catch (error) {
    if (error instanceof NodeGone) return { kind: 'lost' };
    throw error;
  }
  if (!sudo && /Permission denied|authentication required|superuser privilege/.test(result.stderr)) {
    refuse(node, by, words, 'permission denied');
  }
  if (node.bite('command-hangs', step, 'after')) return exit(await hang());
  if (node.bite('lost-answer', step, 'after')) return { kind: 'lost' };
  return exit(result);
}

const exit = (result: Result): Answer => ({ kind: 'exit', result });

function passwordWanted(node: NodeSim, by: string, argv: string[]): Result {
  refuse(node, by, argv, 'not in sudoers');
  return fail(1, 'sudo: a password is required\n');
}

function refuse(node: NodeSim, by: string, argv: string[], why: string): void {
  node.record('command.refused', by, { detail: { argv: argv.map((word) => word.slice(0, 200)).slice(0, 40), why } });
}
