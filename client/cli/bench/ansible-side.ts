import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { concurrencyOf } from '#domain/limits.js';
import { planStages } from '#domain/plan.js';
import { CliFailure } from '../failure.js';
import { makeRepo } from '../init.js';
import type { Io } from '../io.js';
import type { LabClient } from '../lab-client.js';
import { freeLabNetwork } from '../lab-network.js';
import { loadRepo, type LoadedRepo } from '../repo.js';
import { journalFigures } from './effects.js';
import { groupOf, inventoryOf, knownHostsOf } from './inventory.js';
import { createPlaybook, type Playbook } from './playbook-run.js';
import { startPracticeFleet } from './practice-fleet.js';
import { outcomeOf, type KillStory, type Outcome, type Side } from './side.js';
import { strikeOnce } from './strike.js';
import type { MeasureOptions } from './train-side.js';

interface RunStage {
  name: string;
  stores: string[];
  concurrency: number;
}

interface AnsibleOptions extends MeasureOptions {
  /** Folder of Ansible's programs. */
  programs: string;
  patience?: Patience;
}

/** It is ended when it has taken so many times these seconds. */
interface Patience {
  factor: number;
  seconds: number;
}

interface Limit {
  patience: number;
  reached: AbortSignal;
}

/** Its time begins now, and is never shorter than it says. */
export const limitOf = ({ factor, seconds }: Patience): Limit => ({
  patience: factor,
  reached: AbortSignal.timeout(Math.ceil(factor * seconds * 1_000)),
});

/** The same work on a fresh fleet of the same size, by ansible-playbook: one run a stage, in the order of the stages. */
export async function measureAnsible(
  io: Io,
  { programs, stores, speed, killAt, patience }: AnsibleOptions,
): Promise<Side> {
  const dir = await mkdtemp(join(tmpdir(), 'edge-a-'));
  try {
    const repoDir = join(dir, 'edge-infra');
    await makeRepo(repoDir, { stores, lab: true, compressed: true, labNetwork: await freeLabNetwork(stores) });
    const repo = await loadRepo(repoDir);
    const stages = stagesOf(repo);
    const fleet = await startPracticeFleet({ io, dir, repo, speed, stages });
    try {
      const knownHosts = join(dir, 'known_hosts');
      const inventory = join(dir, 'inventory.json');
      const log = join(dir, 'ansible.log');
      await writeFile(knownHosts, knownHostsOf(fleet.enrolled.values()));
      await writeFile(
        inventory,
        JSON.stringify(
          inventoryOf({
            repo,
            stages,
            enrolled: fleet.enrolled,
            manifest: fleet.release.manifest,
            knownHosts,
            fileOf: (path) => readFileSync(join(repo.dir, path), 'utf8'),
          }),
        ),
      );
      const playbook = createPlaybook({ programs, dir, inventory, log, env: io.env });
      const interrupted = io.interrupted();
      const end = () => void playbook.kill();
      interrupted.addEventListener('abort', end);
      try {
        const limit = patience && limitOf(patience);
        const side = await runStages({ io, playbook, lab: fleet.lab, stores: repo.stores, stages, killAt, limit });
        const isToFinish = killAt === undefined && side.ended === undefined;
        if (side.outcome.finished < stores && isToFinish) io.err(await tailOf(log));
        return side;
      } finally {
        interrupted.removeEventListener('abort', end);
      }
    } finally {
      await fleet.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function stagesOf(repo: LoadedRepo): RunStage[] {
  const today = new Date().toISOString().slice(0, 10);
  const { stages } = planStages({ fleet: repo.fleet, stores: repo.stores, today });
  return stages.map(({ name, stores }) => {
    const settings = repo.fleet.stages.find((stage) => stage.name === name);
    if (!settings) throw new CliFailure(`The fleet has no stage ${name}.`);
    return { name, stores, concurrency: concurrencyOf(settings.limits.maxConcurrency, stores.length) };
  });
}

interface StagesRun {
  io: Io;
  playbook: Playbook;
  lab: Pick<LabClient, 'journal' | 'check'>;
  stores: readonly Pick<LoadedRepo['stores'][number], 'nodes'>[];
  stages: readonly RunStage[];
  killAt?: number | undefined;
  limit?: Limit | undefined;
}

export async function runStages({ io, playbook, lab, stores: fleet, stages, killAt, limit }: StagesRun): Promise<Side> {
  const nodes = fleet.reduce((sum, store) => sum + store.nodes.length, 0);
  const stores = fleet.length;
  const outcome = async (soFar = false): Promise<Outcome> =>
    outcomeOf(await lab.journal(0), await lab.check(), { nodesPerStore: nodes / stores, soFar });
  const over = new AbortController();
  const striking =
    killAt === undefined ? undefined : strikeOnce(lab, { nodes, at: killAt, kill: () => playbook.kill() }, over.signal);
  limit?.reached.addEventListener('abort', () => void playbook.kill());
  const start = performance.now();
  let cpuSeconds: number | undefined = 0;
  let kill: KillStory | undefined;
  let isEnded = false;
  const run = async (stage: RunStage, variables: Record<string, unknown> = {}) => {
    const result = await playbook.run({ stage: groupOf(stage.name), ...variables }, stage.concurrency);
    cpuSeconds =
      cpuSeconds === undefined || result.cpuSeconds === undefined ? undefined : cpuSeconds + result.cpuSeconds;
    const seconds = Math.round((performance.now() - start) / 1_000);
    io.err(`${String(seconds).padStart(4)} s  ${stage.name}: ansible-playbook ended with code ${result.code}`);
    return result.code;
  };

  for (const stage of stages) {
    if (limit?.reached.aborted) {
      isEnded = true;
      break;
    }
    let code = await run(stage);
    if (io.interrupted().aborted) throw new CliFailure('Interrupted: Ansible did not reach its end.');
    if (code === 137 && limit?.reached.aborted) {
      isEnded = true;
      break;
    }
    if (code === 137) {
      // Whoever keeps it going, a unit or a job server, starts the same order again.
      code = await run(stage);
      const struck = await striking;
      if (struck) kill = { ...struck, afterRestart: await outcome() };
      if (code !== 0 && kill) {
        kill.hand = 'told it to take over what the killed run had left set';
        code = await run(stage, { take_over: true });
      }
    }
    // As a stage of the service does, it goes no further with stores that failed.
    if (code !== 0) break;
  }
  const seconds = (performance.now() - start) / 1_000;
  over.abort();
  await striking;
  return {
    name: 'Ansible',
    stores,
    nodes,
    seconds,
    ...(cpuSeconds === undefined ? {} : { cpuSeconds }),
    outcome: await outcome(isEnded),
    journal: journalFigures(await lab.journal(0)),
    ...(kill ? { kill } : {}),
    ...(limit && isEnded ? { ended: { patience: limit.patience } } : {}),
  };
}

async function tailOf(log: string): Promise<string> {
  const lines = (await readFile(log, 'utf8')).trim().split('\n');
  return lines.slice(-30).join('\n');
}
