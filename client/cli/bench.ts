import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import { storeWorkflowId } from '#domain/naming.js';
import { createOperations } from '../operations.js';
import { costOf, renderBench, type BenchRow, type ProcessFigures } from './bench-figures.js';
import { connectTemporal } from './context.js';
import { followTrain } from './demo-run.js';
import { CliFailure } from './failure.js';
import { makeRepo, storeCount } from './init.js';
import type { Io } from './io.js';
import { createLabClient } from './lab-client.js';
import { freeLabNetwork } from './lab-network.js';
import type { AddCommands } from './main.js';
import { loadRepo } from './repo.js';
import { startEmbedded } from './service.js';
import { printableJson } from './text.js';
import { DEFAULT_SPEED, speedOf } from './up.js';

export const addBenchCommand: AddCommands = (program, io, result) => {
  program
    .command('bench')
    .description('Measure calm trains over practice fleets: time, Temporal actions, history sizes, CPU and memory.')
    .option('--stores <numbers>', 'sizes of the fleets, one after another', '60,500')
    .option('--speed <factor>', 'how many times faster than real the practice fleet lives', DEFAULT_SPEED)
    .option('--json', 'print the figures as JSON')
    .addHelpText('after', '\nExamples:\n  edge bench\n  edge bench --stores 60 --json')
    .action(async (options: { stores: string; speed: string; json?: boolean }) => {
      const rows: BenchRow[] = [];
      for (const size of options.stores.split(',')) {
        const row = await measure(io, storeCount(size), speedOf(options.speed));
        if (row.violations > 0 || row.succeeded !== row.stores) result.exitCode = 1;
        rows.push(row);
      }
      if (options.json) io.out(printableJson(rows));
      else for (const line of renderBench(rows)) io.out(line);
    });
};

/** One calm train over a fleet of its own, from nothing. */
async function measure(io: Io, stores: number, speed: number): Promise<BenchRow> {
  const dir = await mkdtemp(join(tmpdir(), 'edge-bench-'));
  const pids = new Map<string, number>();
  try {
    const repoDir = join(dir, 'edge-infra');
    await makeRepo(repoDir, { stores, lab: true, compressed: true, labNetwork: await freeLabNetwork(stores) });
    const repo = await loadRepo(repoDir);
    const service = await startEmbedded({
      dir: join(dir, 'state'),
      repo: repo.dir,
      fleet: repo.fleet.fleet,
      lab: { speed },
      env: { ...io.env },
      log: (line) => io.err(line),
      onEvent: (event) => {
        if (event.kind === 'started') pids.set(event.name, event.pid);
      },
    });
    if (!service.lab) throw new CliFailure('The practice fleet did not start.');
    const connection = await connectTemporal(service.temporal.address);
    try {
      const client = new Client({ connection, namespace: service.temporal.namespace });
      const operations = createOperations({ client, address: service.temporal.address, timeout: 3_000 });
      const lab = createLabClient(service.lab.control);
      await operations.startTrain({ fleet: repo.fleet.fleet, requestedBy: 'bench' });
      const { view, took } = await followTrain({
        io: { ...io, terminal: false },
        operations,
        lab,
        fleet: repo.fleet.fleet,
        speed,
        calm: true,
        killControlWorker: () => false,
        say: (line) => io.err(line),
      });
      const events = async (workflowId: string) =>
        ((await client.workflow.getHandle(workflowId).fetchHistory()).events ?? []) as object[];
      const [last] = repo.stores.slice(-1);
      const waves = view.stages.flatMap(({ wave }) => wave ?? []);
      const check = await lab.check();
      return {
        stores,
        speed,
        succeeded: view.stages.reduce((sum, { tally }) => sum + tally.succeeded, 0),
        seconds: took / 1_000,
        store: costOf(await events(storeWorkflowId(last?.id ?? ''))),
        waves: await Promise.all(waves.map(async (wave) => ({ wave, ...costOf(await events(wave)) }))),
        effects: check.effects,
        violations: check.rules.reduce((sum, { violations }) => sum + violations.length, 0),
        processes: [...pids].map(([name, pid]) => figuresOf(name, pid)),
      };
    } finally {
      await connection.close();
      await service.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** As the kernel counts them, where it has /proc; a hundred ticks are a second on every Linux that Node runs on. */
function figuresOf(name: string, pid: number): ProcessFigures {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
    const peak = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    return {
      name,
      cpuSeconds: (Number(stat[11]) + Number(stat[12])) / 100,
      peakMegabytes: Math.round(Number(peak) / 1_024),
    };
  } catch {
    return { name };
  }
}
