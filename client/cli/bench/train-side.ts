import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import { storeWorkflowId } from '#domain/naming.js';
import { createOperations } from '../../operations.js';
import { connectTemporal } from '../context.js';
import { followTrain } from '../demo-run.js';
import { CliFailure } from '../failure.js';
import { makeRepo } from '../init.js';
import type { Io } from '../io.js';
import { createLabClient } from '../lab-client.js';
import { freeLabNetwork } from '../lab-network.js';
import { loadRepo } from '../repo.js';
import { startEmbedded } from '../service.js';
import { journalFigures } from './effects.js';
import { costOf, type BenchRow } from './figures.js';
import { figuresOf } from './process-figures.js';
import { outcomeOf, type Side } from './side.js';
import { strikeOnce } from './strike.js';

export interface MeasureOptions {
  stores: number;
  speed: number;
  /** Kill the centre when so large a share of all nodes was asked to reboot. */
  killAt?: number;
}

/** One train over a fleet of its own, from nothing; calm but for the death of the control worker, if that is asked for. */
export async function measureTrain(
  io: Io,
  { stores, speed, killAt }: MeasureOptions,
): Promise<{ row: BenchRow; side: Side }> {
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
      const nodes = repo.stores.reduce((sum, store) => sum + store.nodes.length, 0);
      const over = new AbortController();
      const striking =
        killAt === undefined
          ? undefined
          : strikeOnce(lab, { nodes, at: killAt, kill: () => service.kill('control', 'SIGKILL') }, over.signal);
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
      }).finally(() => over.abort());
      const struck = await striking;
      const events = async (workflowId: string) =>
        ((await client.workflow.getHandle(workflowId).fetchHistory()).events ?? []) as object[];
      const [last] = repo.stores.slice(-1);
      const waves = view.stages.flatMap(({ wave }) => wave ?? []);
      const check = await lab.check();
      const entries = await lab.journal(0);
      const processes = [...pids].map(([name, pid]) => figuresOf(name, pid));
      const row = {
        stores,
        speed,
        succeeded: view.stages.reduce((sum, { tally }) => sum + tally.succeeded, 0),
        seconds: took / 1_000,
        store: costOf(await events(storeWorkflowId(last?.id ?? ''))),
        waves: await Promise.all(waves.map(async (wave) => ({ wave, ...costOf(await events(wave)) }))),
        effects: check.effects,
        violations: check.rules.reduce((sum, { violations }) => sum + violations.length, 0),
        processes,
      };
      const own = processes.filter(({ name }) => name !== 'lab').map(({ cpuSeconds }) => cpuSeconds ?? NaN);
      const side: Side = {
        name: 'Edge Governor',
        stores,
        nodes,
        seconds: row.seconds,
        // What a killed process had used is not told any more.
        ...(killAt === undefined ? { cpuSeconds: own.reduce((sum, seconds) => sum + seconds, 0) } : {}),
        outcome: outcomeOf(entries, check, nodes / stores),
        journal: journalFigures(entries),
        ...(struck ? { kill: struck } : {}),
      };
      return { row, side };
    } finally {
      await connection.close();
      await service.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
