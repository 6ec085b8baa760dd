import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from '@temporalio/client';
import type { Service } from '#workers/embedded/supervisor.js';
import { createOperations } from '../operations.js';
import { connectTemporal } from './context.js';
import { drillRollback, DRILL, isTakenBack, renderDrill } from './demo-rollback.js';
import { FEWEST_STORES, isTrue, renderNightDemo, runNight, type NightDemo } from './demo-backup.js';
import { followTrain, OPERATOR, type DemoRun, type Following } from './demo-run.js';
import { CliFailure, wrongUsage } from './failure.js';
import { makeRepo, storeCount } from './init.js';
import type { Io } from './io.js';
import { createLabClient } from './lab-client.js';
import { freeLabNetwork } from './lab-network.js';
import type { AddCommands, CommandResult } from './main.js';
import { isGood, nodesRebooted, durationsLine, renderHeader, renderSummary, renderWhereNext } from './render-demo.js';
import { loadRepo, type LoadedRepo } from './repo.js';
import { eventLine, startEmbedded } from './service.js';
import { printable, printableJson } from './text.js';
import { DEFAULT_SPEED, speedOf, untilAborted } from './up.js';

const STORES = '60';

interface DemoOptions {
  stores?: string;
  speed: string;
  calm?: boolean;
  rollback?: boolean;
  backup?: boolean;
  keep?: boolean;
  json?: boolean;
}

function whatOf(what: string | undefined): Pick<DemoOptions, 'backup'> {
  if (what === undefined) return {};
  if (what === 'backup') return { backup: true };
  throw wrongUsage(
    `There is no demo of ${printable(what)}. There are: edge demo, edge demo --rollback, edge demo backup`,
  );
}

export const addDemoCommand: AddCommands = (program, io, result) => {
  program
    .command('demo')
    .description(
      'Run a whole train over a practice fleet, by itself; exit code 0 only when its journal proves it safe.',
    )
    .argument('[what]', 'backup: a night of backups and restore tests instead of a train, with four stores in trouble')
    .option('--stores <number>', `size of the practice fleet (default: ${STORES})`)
    .option('--speed <factor>', 'how many times faster than real the practice fleet lives', DEFAULT_SPEED)
    .option('--calm', 'without the cut link and the killed worker')
    .option(
      '--rollback',
      'the drill instead: a bad release reaches five pilots, is caught by their health, and taken back',
    )
    .option('--keep', 'keep it running at the end, to look around')
    .option('--json', 'print the result as JSON; progress goes to stderr')
    .addHelpText(
      'after',
      '\nExamples:\n  edge demo\n  edge demo --stores 500\n  edge demo --calm --keep\n  edge demo --rollback\n  edge demo backup',
    )
    .action((what: string | undefined, options: DemoOptions) => demo(io, { ...options, ...whatOf(what) }, result));
};

async function demo(io: Io, options: DemoOptions, result: CommandResult): Promise<void> {
  if (options.rollback && (options.calm || options.stores !== undefined))
    throw wrongUsage('--rollback has a fleet and a course of its own: leave out --stores and --calm.');
  if (options.backup && (options.calm || options.rollback))
    throw wrongUsage('The demo of a night has a course of its own: leave out --calm and --rollback.');
  const size = options.rollback ? DRILL : { stores: storeCount(options.stores ?? STORES) };
  if (options.backup && size.stores < FEWEST_STORES)
    throw wrongUsage(`The demo of a night needs at least ${FEWEST_STORES} stores: four are in trouble.`);
  const speed = speedOf(options.speed);
  const dir = await mkdtemp(join(tmpdir(), 'edge-demo-'));
  const interrupted = io.interrupted();
  try {
    const repoDir = join(dir, 'edge-infra');
    const labNetwork = await freeLabNetwork(size.stores);
    await makeRepo(repoDir, { ...size, lab: true, compressed: true, labNetwork });
    const repo = await loadRepo(repoDir);
    const service = await startDemo(io, { dir: join(dir, 'state'), repo, speed, signal: interrupted });
    try {
      const ended = interrupted.aborted ? undefined : await run(io, options, { service, repo, speed });
      if (ended === undefined) {
        io.err('Interrupted: the demo did not reach its end.');
        result.exitCode = 1;
        return;
      }
      report(io, options, { ended, service, dir: join(dir, 'state') });
      if (!ended.good) result.exitCode = 1;
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
  { dir, repo, speed, signal }: { dir: string; repo: LoadedRepo; speed: number; signal: AbortSignal },
): Promise<Service> {
  let isUp = false;
  const service = await startEmbedded({
    dir,
    repo: repo.dir,
    fleet: repo.fleet.fleet,
    lab: { speed },
    env: { ...io.env },
    signal,
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

/** What either kind of demo came to. */
interface Ended {
  good: boolean;
  facts: object;
  lines: string[];
  /** A store worth looking at. */
  store: string;
}

/** From the header to the journal's verdict; undefined when a person interrupts. */
async function run(
  io: Io,
  options: DemoOptions,
  { service, repo, speed }: { service: Service; repo: LoadedRepo; speed: number },
): Promise<Ended | undefined> {
  if (service.lab === undefined) throw new CliFailure('The practice fleet did not start.');
  const say = options.json ? (line: string) => io.err(line) : (line: string) => io.out(line);
  const nodes = repo.stores.reduce((sum, store) => sum + store.nodes.length, 0);
  const { version } = repo.fleet.release;
  const header = { stores: repo.stores.length, nodes, release: version, speed, temporal: service.temporal };
  const lab = createLabClient(service.lab.control);
  for (const line of [...renderHeader(header), durationsLine(await lab.timing())]) say(line);

  const connection = await connectTemporal(service.temporal.address);
  try {
    const client = new Client({ connection, namespace: service.temporal.namespace });
    const following = {
      io: options.json ? { ...io, terminal: false } : io,
      operations: createOperations({ client, address: service.temporal.address, timeout: 3_000 }),
      lab,
      fleet: repo.fleet.fleet,
      say,
    };
    if (options.rollback) return await runDrill(following, repo);
    return options.backup
      ? await runNightOf({ ...following, repo, databaseUrl: service.databaseUrl })
      : await runTrain(following, {
          speed,
          calm: options.calm === true,
          killControlWorker: () => service.kill('control', 'SIGKILL'),
        });
  } finally {
    await connection.close();
  }
}

async function runTrain(following: Following, rest: Omit<DemoRun, keyof Following>): Promise<Ended | undefined> {
  const { io, operations, lab, fleet } = following;
  await operations.startTrain({ fleet, requestedBy: OPERATOR });
  const { view, took, struck } = await followTrain({ ...following, ...rest });
  if (io.interrupted().aborted) return undefined;
  const rebooted = nodesRebooted(await lab.journal(0));
  const result = { view, took, rebooted, report: await lab.check(), struck };
  return {
    good: isGood(result),
    facts: {
      tookMs: took,
      nodesRebooted: rebooted,
      ...(struck ? { struck } : {}),
      train: view,
      journal: result.report,
    },
    lines: renderSummary(result),
    store: view.notSucceeded[0]?.store ?? 'store-001',
  };
}

async function runDrill(following: Following, repo: LoadedRepo): Promise<Ended | undefined> {
  const result = await drillRollback({ ...following, repo });
  if (result === undefined) return undefined;
  const { pilots, others, git, view, report: journal, took } = result;
  return {
    good: isTakenBack(result),
    facts: { tookMs: took, pilots, others, git, train: view, journal },
    lines: renderDrill(result),
    store: pilots[0]?.store ?? 'store-001',
  };
}

async function runNightOf(demo: NightDemo): Promise<Ended | undefined> {
  const result = await runNight(demo);
  if (result === undefined) return undefined;
  const { troubles, night, restores, tests, status, report: journal, took } = result;
  return {
    good: isTrue(result),
    facts: { tookMs: took, troubles, night, restores, tests, status, journal },
    lines: renderNightDemo(result),
    store: troubles[0]?.store ?? 'store-001',
  };
}

function report(
  io: Io,
  options: DemoOptions,
  { ended, service, dir }: { ended: Ended; service: Service; dir: string },
): void {
  const { good, facts, lines, store } = ended;
  if (options.json) {
    io.out(printableJson({ good, ...facts }));
    return;
  }
  const kept = options.keep ? { ui: service.temporal.ui, dir, store } : undefined;
  for (const line of [...lines, ...renderWhereNext(kept)]) io.out(line);
}
