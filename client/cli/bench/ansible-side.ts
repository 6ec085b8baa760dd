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
import { createPlaybook, PLAYBOOK, type Playbook } from './playbook-run.js';
import { startPracticeFleet } from './practice-fleet.js';
import { ansiblePrograms } from './python.js';
import { outcomeOf, type KillStory, type Outcome, type Side } from './side.js';
import { strikeOnce } from './strike.js';
import type { MeasureOptions } from './train-side.js';

interface RunStage {
  name: string;
  stores: string[];
  concurrency: number;
}

/** The same work on a fresh fleet of the same size, by ansible-playbook: one run a stage, in the order of the stages. */
export async function measureAnsible(io: Io, { stores, speed, killAt }: MeasureOptions): Promise<Side> {
  const programs = await ansiblePrograms(io, join(PLAYBOOK, 'requirements.txt'));
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
        const side = await runStages({ io, playbook, lab: fleet.lab, repo, stages, killAt });
        if (side.outcome.finished < stores && killAt === undefined) io.err(await tailOf(log));
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
  lab: LabClient;
  repo: LoadedRepo;
  stages: readonly RunStage[];
  killAt: number | undefined;
}

async function runStages({ io, playbook, lab, repo, stages, killAt }: StagesRun): Promise<Side> {
  const nodes = repo.stores.reduce((sum, store) => sum + store.nodes.length, 0);
  const stores = repo.stores.length;
  const outcome = async (): Promise<Outcome> => outcomeOf(await lab.journal(0), await lab.check(), nodes / stores);
  const over = new AbortController();
  const striking =
    killAt === undefined ? undefined : strikeOnce(lab, { nodes, at: killAt, kill: () => playbook.kill() }, over.signal);
  const start = performance.now();
  let cpuSeconds: number | undefined = 0;
  let kill: KillStory | undefined;
  const run = async (stage: RunStage, variables: Record<string, unknown> = {}) => {
    const result = await playbook.run({ stage: groupOf(stage.name), ...variables }, stage.concurrency);
    cpuSeconds =
      cpuSeconds === undefined || result.cpuSeconds === undefined ? undefined : cpuSeconds + result.cpuSeconds;
    const seconds = Math.round((performance.now() - start) / 1_000);
    io.err(`${String(seconds).padStart(4)} s  ${stage.name}: ansible-playbook ended with code ${result.code}`);
    return result.code;
  };

  for (const stage of stages) {
    let code = await run(stage);
    if (io.interrupted().aborted) throw new CliFailure('Interrupted: Ansible did not reach its end.');
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
  over.abort();
  await striking;
  return {
    name: 'Ansible',
    stores,
    nodes,
    seconds: (performance.now() - start) / 1_000,
    ...(cpuSeconds === undefined ? {} : { cpuSeconds }),
    outcome: await outcome(),
    journal: journalFigures(await lab.journal(0)),
    ...(kill ? { kill } : {}),
  };
}

async function tailOf(log: string): Promise<string> {
  const lines = (await readFile(log, 'utf8')).trim().split('\n');
  return lines.slice(-30).join('\n');
}
