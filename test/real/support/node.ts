import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { vi } from 'vitest';
import type { StoreDeps } from '#activities/store/deps.js';
import { createNodeSteps } from '#activities/store/node-steps.js';
import { createOperation } from '#activities/store/operation.js';
import type { StepAnswer } from '#domain/messages/store.js';
import { createSshRunner } from '#systems/ssh/client.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { aNodeTask, aTask, KERNEL, OLD_KERNEL, OLD_PACKAGES, PACKAGES } from '../../support/builders.js';
import { aFakeStore } from '../../support/fake-store.js';
import { SOON } from '../../support/soon.js';
import { startOpenSsh, type OpenSsh } from './openssh.js';

/**
 * A drained node behind an OpenSSH server, which finds stand-ins for systemd, sudo, apt and dpkg (`stand-ins/`), to be
 * upgraded by the product. The rest of the store is a fake in memory.
 */
export interface Node {
  sshd: OpenSsh;
  /** The step as a store worker runs it that has just been started: it knows what its predecessor wrote down. */
  upgrade(): Promise<StepAnswer<object>>;
  /** The program has its effects from now on, and keeps its answers back. */
  holdAnswers(program: Held): Promise<void>;
  /** Waits until it keeps one back. */
  heldAnswers(program: Held): Promise<void>;
  answersAll(): Promise<void>;
  /** Lets apt end: well, or with these words. */
  aptEnds(fails: string | undefined): Promise<void>;
  /** The arguments of each run of apt that the node has seen. */
  runs(): Promise<string[]>;
  installed(): Promise<Record<string, string>>;
  units(): Promise<string[]>;
  close(): Promise<void>;
}

const STAND_INS = join(import.meta.dirname, 'stand-ins');

type Held = 'systemd-run' | 'systemctl';
const HELD: Held[] = ['systemd-run', 'systemctl'];

export async function aNode(): Promise<Node> {
  const sshd = await startOpenSsh({ programs: STAND_INS });
  const at = (...names: string[]) => join(sshd.folder, 'programs', 'node', ...names);
  const linesOf = async (name: string): Promise<string[]> =>
    (await readFile(at(name), 'utf8').catch(() => '')).split('\n').filter((line) => line !== '');
  await mkdir(at('units'), { recursive: true });
  await writeFile(at('installed'), asRows(OLD_PACKAGES));
  await writeFile(at('offered'), asRows(PACKAGES));
  await writeFile(at('kernels'), `Automatically selected kernels:\n${OLD_KERNEL}\n${KERNEL}\n`);

  const store = aFakeStore({ timing: { poll: 50, upgrade: 120_000 } });
  const task = aNodeTask('n1');
  const step = (deps: StoreDeps, name: 'drain' | 'upgrade'): Promise<StepAnswer<object>> => {
    const operation = createOperation(deps);
    const steps = createNodeSteps(deps, operation);
    return operation.step<object>(task, `${name} n1`, (key) => steps[name](task, key));
  };
  await createOperation(store.deps).open(aTask());
  await step(store.deps, 'drain');

  const runners: CommandRunner[] = [];
  const overSsh = () => {
    const { host, port, user, privateKey, hostKey } = sshd;
    const runner = createSshRunner({ host, port, user, privateKey, hostKey });
    runners.push(runner);
    return runner;
  };
  const node: Node = {
    sshd,
    upgrade() {
      const runner = overSsh();
      return step({ ...store.deps, nodes: new Map([...store.deps.nodes, ['n1', runner]]) }, 'upgrade');
    },
    holdAnswers: (program) => writeFile(at(`hold-${program}`), ''),
    async heldAnswers(program) {
      await vi.waitUntil(async () => (await readdir(at())).includes(`held-${program}`), SOON);
    },
    async answersAll() {
      for (const program of HELD) await rm(at(`hold-${program}`), { force: true });
    },
    async aptEnds(fails) {
      if (fails !== undefined) await writeFile(at('fails'), `${fails}\n`);
      await writeFile(at('leave'), '');
    },
    runs: () => linesOf('runs'),
    installed: async () =>
      Object.fromEntries(
        (await linesOf('installed')).map((line) => {
          const [, name = '', version = ''] = line.split(/\s+/);
          return [name, version];
        }),
      ),
    units: () => readdir(at('units')),
    async close() {
      await Promise.all(runners.map((runner) => runner.close()));
      await sshd.close();
    },
  };
  await refuseRealPrograms(overSsh(), join(sshd.folder, 'programs')).catch(async (error: unknown) => {
    await node.close();
    throw error;
  });
  return node;
}

/** A login shell may have a PATH of its own. With that the machine that runs the tests would be upgraded. */
async function refuseRealPrograms(runner: CommandRunner, folder: string): Promise<void> {
  const names = (await readdir(STAND_INS)).filter((name) => name !== 'common');
  for (const name of names) {
    const found = (await runner.run(['sh', '-c', 'command -v "$0"', name])).stdout.trim();
    if (found !== join(folder, name)) throw new Error(`${name} is ${found || 'not there'}, which is no stand-in.`);
  }
}

const asRows = (packages: Record<string, string>): string =>
  Object.entries(packages)
    .map(([name, version]) => `ii  ${name} ${version}\n`)
    .join('');
