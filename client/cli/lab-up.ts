import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { plural } from '#domain/counted.js';
import { readConfigFile, storeWorkerSchema } from '#workers/config.js';
import { rememberPorts } from '#workers/embedded/ports.js';
import { CliFailure } from './failure.js';
import type { Io } from './io.js';
import { labProcess } from './lab-process.js';
import { loadRepo } from './repo.js';
import { columns, printableJson } from './text.js';
import { DEFAULT_SPEED, practiceRepo, speedOf, untilAborted } from './up.js';

interface LabUpOptions {
  stores?: string;
  repo?: string;
  dir: string;
  speed: string;
  json?: boolean;
}

const DEFAULT_DIR = '.edge-lab';
const DEFAULT_STORES = '8';

export function addLabUp(lab: Command, io: Io): void {
  lab
    .command('up')
    .description(
      'Run a practice fleet alone, without the service, for tools of your own, until Ctrl-C; ' +
        'the next start goes on where this one was. With the service: edge up --lab',
    )
    .option('--stores <number>', `of so many stores when its repo is made (default: ${DEFAULT_STORES})`)
    .option('--repo <dir>', 'the GitOps repo whose stores are simulated (default: one in the state directory)')
    .option('--dir <dir>', 'state directory', DEFAULT_DIR)
    .option('--speed <factor>', 'how many times faster than real it lives; 1 is real time', DEFAULT_SPEED)
    .option('--json', 'print the addresses as JSON')
    .addHelpText('after', '\nExamples:\n  edge lab up --stores 3 --speed 60\n  edge lab journal --control URL')
    .action((options: LabUpOptions) => labUp(io, options));
}

async function labUp(io: Io, options: LabUpOptions): Promise<void> {
  const dir = resolve(io.cwd, options.dir);
  const speed = speedOf(options.speed);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const repo =
    options.repo === undefined
      ? await practiceRepo(dir, options.stores ?? DEFAULT_STORES, options.stores !== undefined)
      : await loadRepo(resolve(io.cwd, options.repo));
  const { labControl } = await rememberPorts(dir, ['labControl']);
  const interrupted = io.interrupted();
  const state = join(dir, 'lab');
  const child = labProcess({ io, dir, repo: repo.dir, state, speed, controlPort: labControl });
  try {
    await child.start().catch((error: unknown) => {
      throw new CliFailure(`The practice fleet did not start: ${(error as Error).message}`, { cause: error });
    });
    const store = repo.stores[0]?.id ?? '';
    const enrolled = join(state, 'enrolment', store, 'store-worker.json');
    const { proxmox, ssh } = await readConfigFile(enrolled, storeWorkerSchema);
    const facts = {
      control: `http://127.0.0.1:${labControl}`,
      fleet: repo.fleet.fleet,
      stores: repo.stores.length,
      speed,
      repo: repo.dir,
      enrolment: join(state, 'enrolment'),
      journal: join(state, 'journal.jsonl'),
    };
    const node = proxmox.nodes[0] as (typeof proxmox.nodes)[number];
    const door = ssh.nodes[node.name];
    const lines = [
      `The practice fleet is up: ${plural(facts.stores, 'store')} at speed ×${speed}, simulated. Ctrl-C ends it.`,
      ...columns([
        ['control', facts.control],
        ['repo', facts.repo],
        ['tokens, keys, certificates', `${facts.enrolment}/<store>`],
      ]),
      `To try ${store}:`,
      `  curl --cacert ${proxmox.caFile} -H "Authorization: PVEAPIToken=$(cat ${proxmox.tokenFile})" https://${node.address}:${node.port}/api2/json/nodes`,
      ...(door
        ? [`  ssh -i ${ssh.keyFile} -p ${door.port} ${ssh.user}@${door.address} sudo -n ceph status -f json`]
        : []),
      `  edge lab journal --control ${facts.control}`,
      `  edge lab check --control ${facts.control}`,
    ];
    if (options.json) io.out(printableJson(facts));
    else for (const line of lines) io.out(line);
    await untilAborted(interrupted);
  } finally {
    io.err('Stopping.');
    await child.stop();
  }
}
