import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { z } from 'zod';

const HOST = '127.0.0.1';
/**
 * Below every system's ephemeral range: while a server is down, a client that reconnects could otherwise be given
 * the server's own port as its source, and keep the server from coming back.
 */
const FIRST = 20_000;
const LAST = 29_999;
const LETTING_GO_MS = 1_000;

const portsSchema = z.record(z.string(), z.number().int().min(1).max(65_535));

/**
 * One free port on 127.0.0.1 for each name, remembered in `<dir>/ports.json`, so that a restart keeps its addresses.
 * `fixed` ones are taken as they are. Whether a remembered port is still free is for `refuseTakenPorts` to say.
 */
export async function rememberPorts<Name extends string>(
  dir: string,
  names: readonly Name[],
  fixed: Partial<Record<Name, number>> = {},
): Promise<Record<Name, number>> {
  const file = join(dir, 'ports.json');
  const ports = { ...readPorts(file), ...portsSchema.parse(fixed) };
  for (const name of names) ports[name] ??= await freePort(new Set(Object.values(ports)));
  writeFileSync(`${file}.new`, `${JSON.stringify(ports, undefined, 2)}\n`);
  renameSync(`${file}.new`, file);
  return Object.fromEntries(names.map((name) => [name, ports[name]])) as Record<Name, number>;
}

/** Throws a sentence naming the first of these ports that another program uses. One that has just ended has a moment. */
export async function refuseTakenPorts(dir: string, ports: Record<string, number>): Promise<void> {
  for (const [name, port] of Object.entries(ports)) {
    if (await becomesFree(port)) continue;
    throw new Error(
      `Port ${port} on ${HOST} (${name}) is in use by another program. End it, or delete ` +
        `${join(dir, 'ports.json')} to have other ports chosen.`,
    );
  }
}

async function becomesFree(port: number): Promise<boolean> {
  const deadline = performance.now() + LETTING_GO_MS;
  while (performance.now() < deadline) {
    if (await isPortFree(port)) return true;
    await delay(50);
  }
  return isPortFree(port);
}

function isPortFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, host: HOST, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

async function freePort(taken: Set<number>): Promise<number> {
  const size = LAST - FIRST + 1;
  const start = Math.floor(Math.random() * size);
  for (let offset = 0; offset < size; offset += 1) {
    const port = FIRST + ((start + offset) % size);
    if (!taken.has(port) && (await isPortFree(port))) return port;
  }
  throw new Error(
    `No port between ${FIRST} and ${LAST} is free on ${HOST}. End what listens there, or name ports yourself.`,
  );
}

function readPorts(file: string): Record<string, number> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw error;
  }
  try {
    return portsSchema.parse(JSON.parse(text));
  } catch {
    throw new Error(`${file} is not a list of ports. Delete it to have new ones chosen.`);
  }
}
