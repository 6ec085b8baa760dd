import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import type { Service } from '#workers/embedded/supervisor.js';
import { createOperations } from '../operations.js';
import { connectTemporal } from './context.js';
import { followTrain } from './demo-run.js';
import { CliFailure } from './failure.js';
import { makeRepo, storeCount } from './init.js';
import type { Io } from './io.js';
import { createLabClient, type LabClient } from './lab-client.js';
import { freeLabNetwork } from './lab-network.js';
import type { AddCommands, CommandResult } from './main.js';
import { isGood, nodesRebooted, renderHeader, renderSummary, renderWhereNext, type DemoResult } from './render-demo.js';
import { loadRepo, type LoadedRepo } from './repo.js';
import { eventLine, startEmbedded } from './service.js';
import { printableJson } from './text.js';
import { DEFAULT_SPEED, speedOf, untilAborted } from './up.js';

interface DemoOptions {
  stores: string;
  speed: string;
  calm?: boolean;
  keep?: boolean;
  json?: boolean;
}

export const addDemoCommand: AddCommands = (program, io, result) => {
  program
    .command('demo')
    .description(
      'Run a whole train over a practice fleet, by itself; exit code 0 only when its journal proves it safe.',
    )
    .option('--stores <number>', 'size of the practice fleet', '60')
    .option('--speed <factor>', 'how many times faster than real the practice fleet lives', DEFAULT_SPEED)
    .option('--calm', 'without the cut link and the killed worker')
    .option('--keep', 'keep it running at the end, to look around')
    .option('--json', 'print the result as JSON; progress goes to stderr')
    .addHelpText('after', '\nExamples:\n  edge demo\n  edge demo --stores 500\n  edge demo --calm --keep')
    .action((options: DemoOptions) => demo(io, options, result));
};

async function demo(io: Io, options: DemoOptions, result: CommandResult): Promise<void> {
  const stores = storeCount(options.stores);
  const speed = speedOf(options.speed);
  const dir = await mkdtemp(join(tmpdir(), 'edge-demo-'));
  const interrupted = io.interrupted();
  try {
    const repoDir = join(dir, 'edge-infra');
    await makeRepo(repoDir, { stores, lab: true, compressed: true, labNetwork: await freeLabNetwork(stores) });
    const repo = await loadRepo(repoDir);
    const service = await startDemo(io, { dir: join(dir, 'state'), repo, speed });
    try {
      const ended = interrupted.aborted ? undefined : await run(io, options, { service, repo, speed });
      if (ended === undefined) {
        io.err('Interrupted: the demo did not reach its end.');
        result.exitCode = 1;
        return;
      }
      report(io, options, { ended, service, dir: join(dir, 'state') });
      if (!isGood(ended)) result.exitCode = 1;
      if (options.keep) await untilAborted(interrupted);
    } finally {
      await service.stop();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function startDemo(
  io: Io,
  { dir, repo, speed }: { dir: string; repo: LoadedRepo; speed: number },
): Promise<Service> {
  let isUp = false;
  const service = await startEmbedded({
    dir,
    repo: repo.dir,
    fleet: repo.fleet.fleet,
    lab: { speed },
    env: { ...io.env },
    log: (line) => io.err(line),
    onEvent: (event) => {
      const line = event.kind === 'ready' && !isUp ? eventLine(event) : undefined;
      if (line !== undefined) io.err(line);
    },
  });
  // From here on the train is what is shown; a line in between would break a block that is redrawn.
  isUp = true;
  return service;
}

/** From the header to the journal's verdict; undefined when a person interrupts. */
async function run(
  io: Io,
  options: DemoOptions,
  { service, repo, speed }: { service: Service; repo: LoadedRepo; speed: number },
): Promise<DemoResult | undefined> {
  if (service.lab === undefined) throw new CliFailure('The practice fleet did not start.');
  const say = options.json ? (line: string) => io.err(line) : (line: string) => io.out(line);
  const nodes = repo.stores.reduce((sum, store) => sum + store.nodes.length, 0);
  const { version } = repo.fleet.release;
  const header = { stores: repo.stores.length, nodes, release: version, speed, temporal: service.temporal };
  for (const line of renderHeader(header)) say(line);

  const lab = createLabClient(service.lab.control);
  const connection = await connectTemporal(service.temporal.address);
  try {
    const client = new Client({ connection, namespace: service.temporal.namespace });
    const operations = createOperations({ client, address: service.temporal.address, timeout: 3_000 });
    await operations.startTrain({ fleet: repo.fleet.fleet, requestedBy: 'demo-operator' });
    const { view, took } = await followTrain({
      io: options.json ? { ...io, terminal: false } : io,
      operations,
      lab,
      fleet: repo.fleet.fleet,
      speed,
      calm: options.calm === true,
      killControlWorker: () => service.kill('control', 'SIGKILL'),
      say,
    });
    if (io.interrupted().aborted) return undefined;
    return { view, took, ...(await judged(lab)) };
  } finally {
    await connection.close();
  }
}

async function judged(lab: LabClient): Promise<Pick<DemoResult, 'report' | 'rebooted'>> {
  return { rebooted: nodesRebooted(await lab.journal(0)), report: await lab.check() };
}

function report(
  io: Io,
  options: DemoOptions,
  { ended, service, dir }: { ended: DemoResult; service: Service; dir: string },
): void {
  if (options.json) {
    const { view, report: verdict, rebooted, took } = ended;
    io.out(
      printableJson({ good: isGood(ended), tookMs: took, nodesRebooted: rebooted, train: view, journal: verdict }),
    );
    return;
  }
  const store = ended.view.notSucceeded[0]?.store ?? 'store-001';
  const kept = options.keep ? { ui: service.temporal.ui, dir, store } : undefined;
  for (const line of [...renderSummary(ended), ...renderWhereNext(kept)]) io.out(line);
}
