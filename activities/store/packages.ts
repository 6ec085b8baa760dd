import { differing, packagesFor, type Pins } from '#domain/downgrade.js';
import type { NodeFacts, StagedNode } from '#domain/facts.js';
import type { StepAnswer, StoreTask } from '#domain/messages/store.js';
import type { CommandRunner } from '#systems/ssh/types.js';
import { pinsOf, SUDO, type Opened, type StoreDeps } from './deps.js';
import { lines, readInstalled, runnerOf } from './facts.js';

const APT = ['apt-get', '-y', '-o', 'DPkg::Lock::Timeout=300'] as const;
const KEEP_CONFIG_FILES = ['-o', 'Dpkg::Options::=--force-confdef', '-o', 'Dpkg::Options::=--force-confold'] as const;

/** Changes the packages of a node as asked, keeps configuration files of people, and asks nothing. */
export const aptCommand = (what: readonly string[]): string[] => [...APT, ...KEEP_CONFIG_FILES, ...what];

/**
 * What apt is asked for. Forward: `dist-upgrade`, never `upgrade`: the latter keeps new kernels and changed dependencies
 * back and leaves half an upgrade. Back: each package by name and version, since apt never goes back by itself.
 * Undefined when there is nothing to go back with.
 */
export function aptRequest(node: Pick<NodeFacts, 'installed'>, pins: Pins): string[] | undefined {
  if (!pins.back) return ['dist-upgrade'];
  const packages = packagesFor(node, pins);
  const names = differing(node, packages);
  return names.length === 0
    ? undefined
    : ['install', '--allow-downgrades', ...names.map((name) => `${name}=${packages[name]}`)];
}

const SOURCES = '/etc/apt/sources.list.d/edge-governor.list';

/**
 * Points apt of each node at the release's snapshot, simulates what apt is asked for and downloads it. Retry-safe: the same file
 * is written again, and apt fetches only what it lacks. No installed package changes.
 */
export async function stagePackages(
  deps: StoreDeps,
  task: StoreTask & { nodes: string[] },
  opened: Opened,
): Promise<StepAnswer<{ nodes: StagedNode[] }>> {
  const { snapshot, sources } = opened.manifest.packages;
  const pins = pinsOf(opened, task.permit !== undefined);
  const names = Object.keys(pins.packages);
  const sourceList = `${sources.map((line) => line.replaceAll('{snapshot}', snapshot)).join('\n')}\n`;
  // A download over a thin link may take as long as what is done with it.
  const patience = deps.timing.upgrade;
  const nodes = await Promise.all(
    task.nodes.map(async (name): Promise<StagedNode> => {
      const runner = runnerOf(deps, name);
      const written = await runner.run([...SUDO, 'install', '-D', '-m', '0644', '/dev/stdin', SOURCES], {
        stdin: sourceList,
      });
      if (written.code !== 0)
        throw new Error(`${name}: the package sources cannot be written: ${written.stderr.trim().slice(0, 300)}`);
      await updateLists(runner, name, patience);
      const installed = await readInstalled(runner, names);
      const request = aptRequest({ installed }, pins);
      if (!request) return { name, installed, simulation: { install: [], remove: [] } };
      const simulation = parseSimulation(await lines(runner, [...SUDO, 'apt-get', '-s', ...request]));
      await lines(runner, [...SUDO, ...APT, '--download-only', ...request], patience);
      return { name, installed, simulation };
    }),
  );
  return { kind: 'done', nodes };
}

/** apt ends with 0 although it could not fetch a list and goes on with the old one. */
async function updateLists(runner: CommandRunner, node: string, timeoutMs: number): Promise<void> {
  const { code, stdout, stderr } = await runner.run([...SUDO, 'apt-get', 'update'], { timeoutMs });
  const said = `${stdout}\n${stderr}`.split('\n').find((line) => /^[WE]: |index files failed/.test(line));
  if (code !== 0 || said !== undefined)
    throw new Error(`${node}: apt-get update: ${said?.slice(0, 300) ?? `exit code ${code}`}`);
}

/** `Inst name [old] (new origin [arch])` and `Remv name [old]` lines of a simulated upgrade. */
export function parseSimulation(output: readonly string[]): NonNullable<StagedNode['simulation']> {
  const install: { name: string; version: string }[] = [];
  const remove: string[] = [];
  for (const line of output) {
    const inst = /^Inst (\S+) (?:\[[^\]]*\] )?\((\S+)/.exec(line);
    if (inst?.[1] && inst[2]) install.push({ name: inst[1], version: inst[2] });
    const remv = /^(?:Remv|Purg) (\S+)/.exec(line);
    if (remv?.[1]) remove.push(remv[1]);
  }
  return { install, remove };
}
