import type { NodeFacts } from '#domain/facts.js';
import type { StepAnswer, StoreTask } from '#domain/messages/store.js';
import { SUDO, type Opened, type StoreDeps } from './deps.js';
import { lines, readNode, runnerOf } from './facts.js';

/** `dist-upgrade`, never `upgrade`: the latter keeps new kernels and changed dependencies back and leaves half an upgrade. */
const APT = ['apt-get', '-y', '-o', 'DPkg::Lock::Timeout=300'] as const;
export const APT_UPGRADE = [
  ...APT,
  '-o',
  'Dpkg::Options::=--force-confdef',
  '-o',
  'Dpkg::Options::=--force-confold',
  'dist-upgrade',
];
const SOURCES = '/etc/apt/sources.list.d/edge-governor.list';

/** A download over a thin link may take its time. */
const DOWNLOAD_TIMEOUT = 3_600_000;

/**
 * Points apt of each node at the release's snapshot, simulates the upgrade and downloads it. Retry-safe: the same file
 * is written again, and apt fetches only what it lacks. No installed package changes.
 */
export async function stagePackages(
  deps: StoreDeps,
  task: StoreTask & { nodes: string[] },
  { manifest }: Opened,
): Promise<StepAnswer<{ nodes: NodeFacts[] }>> {
  const { snapshot, sources, pinned } = manifest.packages;
  const sourceList = `${sources.map((line) => line.replaceAll('{snapshot}', snapshot)).join('\n')}\n`;
  const nodes = await Promise.all(
    task.nodes.map(async (name): Promise<NodeFacts> => {
      const runner = runnerOf(deps, name);
      const written = await runner.run([...SUDO, 'install', '-D', '-m', '0644', '/dev/stdin', SOURCES], {
        stdin: sourceList,
      });
      if (written.code !== 0)
        throw new Error(`${name}: the package sources cannot be written: ${written.stderr.trim().slice(0, 300)}`);
      await lines(runner, [...SUDO, 'apt-get', 'update'], DOWNLOAD_TIMEOUT);
      const simulation = parseSimulation(await lines(runner, [...SUDO, 'apt-get', '-s', 'dist-upgrade']));
      await lines(runner, [...SUDO, ...APT, '--download-only', 'dist-upgrade'], DOWNLOAD_TIMEOUT);
      const node = await readNode(
        deps,
        name,
        pinned.map((pin) => pin.name),
      );
      return { ...node, simulation };
    }),
  );
  return { kind: 'done', nodes };
}

/** `Inst name [old] (new origin [arch])` and `Remv name [old]` lines of a simulated upgrade. */
export function parseSimulation(output: readonly string[]): NonNullable<NodeFacts['simulation']> {
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
