import type { Command } from 'commander';
import { STORE_OPERATIONS } from '#domain/naming.js';
import type { Operations, Reply, WhichOperations } from '../operations.js';
import { answer, clockOf, limitOf, withSession, withTargetOptions, type TargetOptions } from './context.js';
import { askDrift, storeDriftLine } from './drift.js';
import { CliFailure, wrongUsage } from './failure.js';
import type { Io } from './io.js';
import type { AddCommands, CommandResult } from './main.js';
import { renderStore } from './render-store.js';
import { loadRepoOf } from './repo.js';
import { reasoned, tell, type Said } from './say.js';
import type { ServiceFile } from './service-file.js';
import { printable } from './text.js';

export const addStoreCommands: AddCommands = (program, io, result) => {
  const store = program.command('store').description('One store: what runs on it, what ran before, and to steer it.');

  withTargetOptions(store.command('show'))
    .description('Show the operation that runs on a store, node by node, and the last operation of each kind.')
    .argument('<id>', 'id of the store, e.g. store-014')
    .option('--operation <kind>', `only operations of this kind: ${STORE_OPERATIONS.join(', ')}`)
    .option('--limit <number>', 'so many operations, newest first (default: 20 with --operation)')
    .addHelpText(
      'after',
      '\nExamples:\n  edge store show store-014 --zone Europe/Berlin\n  edge store show store-014 --operation patch --limit 5',
    )
    .action(async (id: string, options: ShowOptions) => {
      const clock = clockOf(io, options);
      const which = whichOf(options);
      await withSession(io, options, async ({ operations, target }) => {
        const found = await operations.storeView(id, which);
        const fleet = await fleetWithout(id, target.service);
        if (fleet !== undefined && found.recent.length === 0)
          throw new CliFailure(
            `${printable(id)} is not a store of fleet ${fleet}, and no operation on it is known. The stores: edge train plan --stores${target.suffix}`,
          );
        const drift = fleet === undefined ? await askDrift(io, target, { store: id }) : undefined;
        answer(io, options, { ...found, ...(drift ? { drift } : {}) }, [
          ...(fleet === undefined ? [] : [`${printable(id)} is not a store of fleet ${fleet} any more.`]),
          ...renderStore(found, clock, which),
          ...storeDriftLine(drift ?? []),
        ]);
      });
    });

  for (const spec of STEERING) addSteering(store, io, result, spec);
};

interface ShowOptions extends TargetOptions {
  operation?: string;
  limit?: string;
}

function whichOf({ operation, limit }: ShowOptions): WhichOperations {
  const kind = STORE_OPERATIONS.find((known) => known === operation);
  if (operation !== undefined && kind === undefined)
    throw wrongUsage(`${printable(operation)} is not an operation. There are: ${STORE_OPERATIONS.join(', ')}`);
  return { operation: kind, limit: limit === undefined ? undefined : limitOf({ limit }) };
}

/** The fleet of the service, when its repo is on this machine and does not have the store. */
async function fleetWithout(id: string, service: ServiceFile | undefined): Promise<string | undefined> {
  // A repo with problems is no reason to hide what ran.
  const loaded = await loadRepoOf(service);
  return loaded === undefined || loaded.stores.some((store) => store.id === id) ? undefined : loaded.fleet.fleet;
}

type Send = (operations: Operations, store: string, said: Said) => Promise<Reply>;
interface Steering {
  name: string;
  description: string;
  send: Send;
}

const STEERING: readonly Steering[] = [
  {
    name: 'pause',
    description: 'Let the operation on a store stand still between two nodes; what the store is at is finished first.',
    send: (operations, store, said) => operations.pauseStore(store, said),
  },
  {
    name: 'resume',
    description: 'Go on with the operation on a store after a pause.',
    send: (operations, store, said) => operations.resumeStore(store, said),
  },
  {
    name: 'abort',
    description: 'End the operation on a store at the nearest safe point; what it set on the store is taken back.',
    send: (operations, store, said) => operations.abortStore(store, said),
  },
];

interface SteeringOptions extends TargetOptions, Partial<Said> {}

function addSteering(store: Command, io: Io, result: CommandResult, { name, description, send }: Steering): void {
  withTargetOptions(store.command(name))
    .description(description)
    .argument('<id>', 'id of the store, e.g. store-014')
    .option('--by <name>', 'who says so (default: your user name)')
    .option('--reason <text>', 'kept with the message')
    .addHelpText('after', `\nExample:\n  edge store ${name} store-014 --reason "why"`)
    .action(async (id: string, options: SteeringOptions) => {
      await withSession(io, options, async ({ operations }) => {
        const by = options.by ?? io.user;
        const reply = await send(operations, id, reasoned(by, options.reason));
        tell(io, options, result, reply, { store: id, command: name, by }, []);
      });
    });
}
