import { resolve } from 'node:path';
import { plural } from '#domain/counted.js';
import { initRepo, type RepoOptions } from '../repo/template.js';
import { answer } from './context.js';
import { CliFailure, wrongUsage } from './failure.js';
import type { AddCommands } from './main.js';
import { isZone } from './text.js';

interface InitOptions {
  stores: string;
  lab?: boolean;
  compressed?: boolean;
  fleet?: string;
  zone?: string;
  json?: boolean;
}

export const addInitCommand: AddCommands = (program, io) => {
  program
    .command('init')
    .description('Write a valid GitOps repo to start from: fleet.yaml and a folder for each store, committed on main.')
    .argument('[dir]', 'a new or empty folder', 'edge-infra')
    .option('--stores <number>', 'how many stores', '8')
    .option('--lab', "the practice fleet's addresses instead of placeholders for real ones")
    .option('--compressed', 'a week in minutes, for practice only: no windows, short soaks and timeouts')
    .option('--fleet <name>', 'name of the fleet (default: edge)')
    .option('--zone <zone>', 'time zone of the fleet (default: Europe/Berlin)')
    .option('--json', 'print the same facts as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  edge init edge-infra --stores 8\n  edge init practice --stores 60 --lab --compressed',
    )
    .action(async (folder: string, options: InitOptions) => {
      const dir = resolve(io.cwd, folder);
      const stores = storeCount(options.stores);
      if (options.zone !== undefined && !isZone(options.zone))
        throw wrongUsage('--zone takes an IANA name, e.g. Europe/Berlin.');
      const commit = await makeRepo(dir, {
        stores,
        lab: options.lab === true,
        compressed: options.compressed === true,
        ...(options.fleet === undefined ? {} : { fleet: options.fleet }),
        ...(options.zone === undefined ? {} : { timeZone: options.zone }),
      });
      answer(io, options, { dir, stores, commit }, [
        `${dir} holds a fleet of ${plural(stores, 'store')}, committed as ${commit.slice(0, 12)}.`,
        `Check it after every change: edge fleet check --repo ${folder}`,
        `See what a train would do: edge train plan --repo ${folder}`,
      ]);
    });
};

export function storeCount(text: string): number {
  const stores = Number(text);
  if (/^\d{1,5}$/.test(text) && stores >= 1 && stores <= 10_000) return stores;
  throw wrongUsage('The number of stores is a whole number from 1 to 10000.');
}

export async function makeRepo(dir: string, options: RepoOptions): Promise<string> {
  try {
    return await initRepo(dir, options);
  } catch (error) {
    throw new CliFailure(`The repo was not made: ${(error as Error).message}`, { cause: error });
  }
}
