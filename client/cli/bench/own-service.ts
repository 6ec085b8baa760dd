import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import type { RepoOptions } from '../../repo/template.js';
import { createOperations, type Operations } from '../../operations.js';
import type { Service } from '#workers/embedded/supervisor.js';
import { connectTemporal } from '../context.js';
import { CliFailure } from '../failure.js';
import { makeRepo } from '../init.js';
import type { Io } from '../io.js';
import { createLabClient, type LabClient } from '../lab-client.js';
import { freeLabNetwork } from '../lab-network.js';
import { loadRepo, type LoadedRepo } from '../repo.js';
import { startEmbedded } from '../service.js';
import { childrenOf, costOf, type Cost, type ProcessFigures, type RunCost } from './figures.js';
import { figuresOf } from './process-figures.js';

/** A service over a practice fleet of its own, both from nothing, while they are measured. */
export interface OwnService {
  repo: LoadedRepo;
  service: Service;
  operations: Operations;
  lab: LabClient;
  /** Of the newest run of a workflow. */
  costOf(workflowId: string): Promise<Cost>;
  runCostOf(workflowId: string): Promise<RunCost>;
  /** Ids of the workflows that it started. */
  childrenOf(workflowId: string): Promise<string[]>;
  /** As they are at this moment; to be asked before anything else makes the processes work. */
  processes(): ProcessFigures[];
}

export async function withOwnService<T>(
  io: Io,
  { speed, ...size }: Pick<RepoOptions, 'stores' | 'guests'> & { speed: number },
  measure: (own: OwnService) => Promise<T>,
): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), 'edge-bench-'));
  const pids = new Map<string, number>();
  try {
    const repoDir = join(dir, 'edge-infra');
    await makeRepo(repoDir, { ...size, lab: true, compressed: true, labNetwork: await freeLabNetwork(size.stores) });
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
    try {
      if (!service.lab) throw new CliFailure('The practice fleet did not start.');
      const connection = await connectTemporal(service.temporal.address);
      try {
        const client = new Client({ connection, namespace: service.temporal.namespace });
        const events = async (workflowId: string) =>
          ((await client.workflow.getHandle(workflowId).fetchHistory()).events ?? []) as object[];
        return await measure({
          repo,
          service,
          operations: createOperations({ client, address: service.temporal.address, timeout: 3_000 }),
          lab: createLabClient(service.lab.control),
          costOf: async (workflowId) => costOf(await events(workflowId)),
          childrenOf: async (workflowId) => childrenOf(await events(workflowId)),
          async runCostOf(workflowId) {
            const { historySize } = await client.workflow.getHandle(workflowId).describe();
            return { workflowId, ...costOf(await events(workflowId)), kilobytes: (historySize ?? NaN) / 1_000 };
          },
          processes: () => [...pids].map(([name, pid]) => figuresOf(name, pid)),
        });
      } finally {
        await connection.close();
      }
    } finally {
      await service.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}
