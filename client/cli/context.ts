import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { Client, type Connection } from '@temporalio/client';
import { createOperations, type Operations } from '../operations.js';
import { OperationError, toOperationError, unreachable } from '../operation-errors.js';
import { openConnection } from '../temporal-connection.js';
import { CliFailure, wrongUsage } from './failure.js';
import type { Io } from './io.js';
import { lazyLedger } from './ledger.js';
import { readServiceFile, type ServiceFile } from './service-file.js';
import { isZone, localZone, printable, printableJson, type Clock } from './text.js';

/** How a command finds the service, and what all commands have in common. */

export interface CommonOptions {
  json?: boolean;
  zone?: string;
}

export interface TargetOptions extends CommonOptions {
  address?: string;
  namespace?: string;
  dir?: string;
  fleet?: string;
}

export interface Target {
  address: string;
  namespace: string;
  service: ServiceFile | undefined;
  /** The options as they were given, to be repeated in the commands that are suggested. */
  suffix: string;
}

export interface Session {
  client: Client;
  target: Target;
  operations: Operations;
}

const STATE_DIR = '.edge';

export function withCommonOptions(command: Command): Command {
  return command
    .option('--json', 'print the same facts as JSON')
    .option('--zone <zone>', 'time zone of the times shown, e.g. Europe/Berlin (default: that of this machine)');
}

export function withTargetOptions(command: Command): Command {
  return withCommonOptions(command)
    .option('--address <host:port>', 'address of Temporal (default: EDGE_TEMPORAL_ADDRESS, else the running `edge up`)')
    .option('--namespace <name>', 'namespace of Temporal (default: EDGE_TEMPORAL_NAMESPACE, else default)')
    .option('--dir <dir>', 'state directory of a running `edge up` (default: .edge)');
}

export function withFleetOption(command: Command): Command {
  return command.option('--fleet <name>', 'name of the fleet (default: EDGE_FLEET, else that of `edge up`)');
}

export function stateDir(io: Io, options: { dir?: string }): string {
  return resolve(io.cwd, options.dir ?? io.env['EDGE_DIR'] ?? STATE_DIR);
}

/** Whether anything says which service is meant. */
export const hasTarget = (io: Io, options: TargetOptions): boolean =>
  (options.address ?? io.env['EDGE_TEMPORAL_ADDRESS'] ?? readServiceFile(stateDir(io, options))) !== undefined;

export function resolveTarget(io: Io, options: TargetOptions): Target {
  const explicit = options.address ?? (options.dir === undefined ? io.env['EDGE_TEMPORAL_ADDRESS'] : undefined);
  const service = readServiceFile(stateDir(io, options));
  const address = explicit ?? service?.temporal.address;
  if (address === undefined) {
    throw new CliFailure(
      `No service is running here: ${join(stateDir(io, options), 'service.json')} does not exist. ` +
        'Start one with `edge up`, or name another with --address or EDGE_TEMPORAL_ADDRESS.',
    );
  }
  if (!/^[^\s/@]{1,253}:\d{1,5}$/.test(address)) {
    throw wrongUsage('The address of Temporal is written host:port, e.g. 127.0.0.1:7233.');
  }
  // What an embedded service says of its repo and ledger does not hold for another one.
  const isEmbedded = service !== undefined && service.temporal.address === address;
  return {
    address,
    namespace:
      options.namespace ??
      (isEmbedded ? service.temporal.namespace : undefined) ??
      io.env['EDGE_TEMPORAL_NAMESPACE'] ??
      'default',
    service: isEmbedded ? service : undefined,
    suffix: suffixOf(options),
  };
}

function suffixOf(options: TargetOptions): string {
  const given = (['address', 'namespace', 'dir', 'fleet'] as const).flatMap((name) => {
    const value = options[name];
    return value === undefined ? [] : [`--${name}`, shellWord(value)];
  });
  return given.length === 0 ? '' : ` ${given.join(' ')}`;
}

/** A word that a shell takes as it is. */
const shellWord = (word: string): string =>
  /^[A-Za-z0-9_./:@%+=,-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;

const CONNECT_TIMEOUT = '3s';

/** Connects, runs the work and closes, whatever happens. */
export async function withSession<T>(
  io: Io,
  options: TargetOptions,
  work: (session: Session) => Promise<T>,
): Promise<T> {
  const target = resolveTarget(io, options);
  const connection = await connectTemporal(target.address);
  try {
    const client = new Client({ connection, namespace: target.namespace });
    return await work({
      client,
      target,
      operations: createOperations({ client, address: target.address, ledger: lazyLedger(io, target) }),
    });
  } catch (error) {
    throw toOperationError(error, { address: target.address, subject: 'Temporal', missing: () => missing(error) });
  } finally {
    await connection.close();
  }
}

const missing = (cause: unknown): OperationError =>
  new OperationError('unexpected', `Temporal does not know it: ${(cause as Error).message}`, { cause });

export async function connectTemporal(address: string): Promise<Connection> {
  try {
    return await openConnection(address, CONNECT_TIMEOUT);
  } catch (error) {
    throw unreachable(address, error);
  }
}

/** The fleet that is meant; throws wrong usage when nothing says so. */
export function fleetOf(io: Io, options: TargetOptions, service: ServiceFile | undefined): string {
  const fleet = options.fleet ?? io.env['EDGE_FLEET'] ?? service?.fleet;
  if (fleet !== undefined) return fleet;
  throw wrongUsage('Which fleet? Name it with --fleet or EDGE_FLEET.');
}

/** The GitOps repo that is meant; throws wrong usage when nothing says so. */
export function repoOf(io: Io, options: { repo?: string; dir?: string }): string {
  const named = options.repo ?? io.env['EDGE_REPO'] ?? readServiceFile(stateDir(io, options))?.repo;
  if (named !== undefined) return resolve(io.cwd, named);
  if (existsSync(join(io.cwd, 'fleet.yaml'))) return io.cwd;
  throw wrongUsage('Which repo? There is no fleet.yaml here: name the GitOps repo with --repo or EDGE_REPO.');
}

export function clockOf(io: Io, options: CommonOptions): Clock {
  const zone = options.zone ?? io.env['EDGE_TIME_ZONE'] ?? localZone();
  if (!isZone(zone)) throw wrongUsage(`${printable(zone)} is not a time zone. Write an IANA name, e.g. Europe/Berlin.`);
  return { zone, now: io.now() };
}

/** The answer of a command: sentences, or the same facts as JSON. */
export function answer(io: Io, options: CommonOptions, facts: unknown, lines: readonly string[]): void {
  if (options.json) io.out(printableJson(facts));
  else for (const line of lines) io.out(line);
}

/** How a command gets to the service; tests give their own. */
export type OpenSession = typeof withSession;

/** Words separated by commas, each one of `known`; undefined when nothing was given. */
export function statesOf<State extends string>(list: string | undefined, known: readonly State[]): State[] | undefined {
  return list?.split(',').map((word) => {
    const state = known.find((one) => one === word.trim());
    if (state) return state;
    throw wrongUsage(`${printable(word)} is not a state. There are: ${known.join(', ')}`);
  });
}

/** The value of `--limit` of a history. */
export function limitOf({ limit: given }: { limit: string }): number {
  const limit = Number(given);
  if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) throw wrongUsage('--limit is a number from 1 to 1000.');
  return limit;
}
