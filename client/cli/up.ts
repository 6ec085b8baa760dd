import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { plural } from '#domain/counted.js';
import type { Fleet } from '#domain/fleet.js';
import type { Service } from '#workers/embedded/supervisor.js';
import { repoOf, stateDir } from './context.js';
import { CliFailure, wrongUsage } from './failure.js';
import { makeRepo, storeCount } from './init.js';
import type { Io } from './io.js';
import { freeLabNetwork } from './lab-network.js';
import type { AddCommands } from './main.js';
import { loadRepo, type LoadedRepo } from './repo.js';
import { eventLine, startEmbedded } from './service.js';
import { columns, printableJson } from './text.js';

interface UpOptions {
  lab?: string | true;
  dir?: string;
  repo?: string;
  speed: string;
  json?: boolean;
}

export const DEFAULT_SPEED = '480';
const DEFAULT_LAB = '60';

export const addUpCommand: AddCommands = (program, io) => {
  program
    .command('up')
    .description('Run the service on this machine until Ctrl-C; the next start goes on where this one was.')
    .option('--lab [stores]', 'with a practice fleet, of so many stores when its repo is made (default: 60)')
    .option(
      '--repo <dir>',
      'the GitOps repo (default: EDGE_REPO, else this folder; with --lab, one in the state directory)',
    )
    .option('--dir <dir>', 'state directory (default: .edge)')
    .option('--speed <factor>', 'how many times faster than real the practice fleet lives', DEFAULT_SPEED)
    .option('--json', 'print the addresses as JSON')
    .addHelpText(
      'after',
      '\nIts Temporal server, ledger and registry are its own, in the state directory: EDGE_TEMPORAL_ADDRESS,\nEDGE_DATABASE_URL and EDGE_OBJECTS are for workers and commands of a service that runs elsewhere.\n\nExamples:\n  edge up --lab 60\n  edge up --repo ./edge-infra',
    )
    .action((options: UpOptions) => up(io, options));
};

async function up(io: Io, options: UpOptions): Promise<void> {
  const unused = unusedSettings(io.env);
  if (unused !== undefined) io.err(unused);
  const dir = stateDir(io, options);
  const repo = await repoFor(io, options, dir);
  const interrupted = io.interrupted();
  let isUp = false;
  const service = await startEmbedded({
    dir,
    repo: repo.dir,
    fleet: repo.fleet.fleet,
    env: { ...io.env },
    signal: interrupted,
    log: (line) => io.err(line),
    onEvent: (event) => {
      // While it starts and stops, endings are part of the work and only failures would be news.
      const line = eventLine(event);
      if (line !== undefined && (event.kind === 'ready' || isUp)) io.err(line);
    },
    ...(options.lab === undefined ? {} : { lab: { speed: speedOf(options.speed) } }),
  });
  isUp = true;
  try {
    const facts = addressesOf(service, repo, dir);
    if (options.json) io.out(printableJson(facts));
    else for (const line of renderUp(service, repo, options)) io.out(line);
    await untilAborted(interrupted);
  } finally {
    isUp = false;
    io.err('Stopping.');
    await service.stop();
  }
}

/** What `edge up` has of its own, so that nobody takes its trains for those of another ledger or registry. */
const OWN = ['EDGE_DATABASE_URL', 'EDGE_OBJECTS', 'EDGE_TEMPORAL_ADDRESS', 'EDGE_TEMPORAL_NAMESPACE'];

/** One sentence when the environment names what this service does not use. */
function unusedSettings(env: Io['env']): string | undefined {
  const named = OWN.filter((name) => env[name] !== undefined);
  if (named.length === 0) return undefined;
  return (
    `${named.join(', ')} ${named.length === 1 ? 'is' : 'are'} set and not used: \`edge up\` runs a Temporal server, a ledger ` +
    'and a registry of its own in its state directory.'
  );
}

async function repoFor(io: Io, options: UpOptions, dir: string): Promise<LoadedRepo> {
  if (options.lab === undefined || options.repo !== undefined) return loadRepo(repoOf(io, options));
  return practiceRepo(dir, options.lab === true ? DEFAULT_LAB : options.lab, options.lab !== true);
}

/** The repo of a practice fleet in a state directory, made when there is none. `exactly` so many stores, or it is refused. */
export async function practiceRepo(dir: string, wanted: string, exactly: boolean): Promise<LoadedRepo> {
  const stores = storeCount(wanted);
  const practice = join(dir, 'edge-infra');
  if (!existsSync(practice)) {
    await makeRepo(practice, { stores, lab: true, compressed: true, labNetwork: await freeLabNetwork(stores) });
  }
  const repo = await loadRepo(practice);
  if (exactly && repo.stores.length !== stores) {
    throw new CliFailure(
      `The practice fleet in ${practice} has ${plural(repo.stores.length, 'store')}. ` +
        'Start it without a number, or name another state directory with --dir.',
    );
  }
  return repo;
}

export function speedOf(text: string): number {
  const speed = Number(text);
  if (/^\d{1,5}(\.\d+)?$/.test(text) && speed > 0) return speed;
  throw wrongUsage('--speed takes a factor such as 480.');
}

function addressesOf(service: Service, repo: LoadedRepo, dir: string) {
  const { temporal, databaseUrl, registry, lab } = service;
  return {
    dir,
    repo: repo.dir,
    fleet: repo.fleet.fleet,
    stores: repo.stores.length,
    temporal,
    databaseUrl,
    registry,
    lab,
  };
}

function renderUp(service: Service, repo: LoadedRepo, options: UpOptions): string[] {
  const suffix = options.dir === undefined ? '' : ` --dir ${options.dir}`;
  return [
    `The service is up: fleet ${repo.fleet.fleet}, ${plural(repo.stores.length, 'store')}. Ctrl-C ends it.`,
    ...columns([
      ['Temporal UI', service.temporal.ui],
      ['Temporal', `${service.temporal.address} (server ${service.temporal.server}, ${service.temporal.origin})`],
      ['ledger', service.databaseUrl],
      ['registry', service.registry],
      ...(service.lab === undefined ? [] : [['practice fleet', service.lab.control]]),
      ['repo', repo.dir],
      ['logs', service.logs],
    ]),
    'Next:',
    ...columns([
      [`edge train start${suffix}`, 'start a train now'],
      [`edge train show --watch${suffix}`, 'follow it'],
      [
        `edge schedules apply${suffix}`,
        `let it start every week (${repo.fleet.train.build.day} ${repo.fleet.train.build.at}, ${repo.fleet.timeZone})${nightText(repo.fleet)}`,
      ],
      [`edge doctor${suffix}`, 'see whether all is well'],
    ]),
  ];
}

const nightText = ({ backup }: Fleet): string => (backup ? `, and backups (from ${backup.window.start})` : '');

export function untilAborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((done) => {
    // A pending promise alone keeps no process alive.
    const alive = setInterval(() => undefined, 60_000);
    signal.addEventListener(
      'abort',
      () => {
        clearInterval(alive);
        done();
      },
      { once: true },
    );
  });
}
