import http from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { AnswerLost, keepWaiting } from '../api/answers.js';
import type { Authorities } from '../tls/authority.js';
import { TlsPort } from '../tls/port.js';
import type { NodeSim } from '../world/node-sim.js';
import type { World } from '../world/world.js';
import { dispatch } from './dispatch.js';
import { PveError } from './errors.js';
import { readRequest } from './request.js';

/**
 * The API of every node of every practice store, on the node's own address, as the real one serves it. One HTTP
 * machine for all; a node's port is open exactly while the node is up.
 */

const compress = promisify(gzip);
const IDLE_MS = 5_000;
/** Not scaled: it slows down guessing, and a client must not take it for an outage. */
const AUTH_DELAY_MS = 3_000;
const GZIP_FROM_BYTES = 1_024;

export async function startPveServers(world: World, authorities: Authorities): Promise<{ close(): Promise<void> }> {
  const nodeOf = new WeakMap<object, NodeSim>();
  const server = http.createServer({ maxHeaderSize: 8_192, keepAliveTimeout: IDLE_MS }, (request, response) => {
    const node = nodeOf.get(request.socket);
    if (node) answer(node, request, response).catch(() => response.destroy());
    else request.socket.destroy();
  });
  // Said by the parser to what is not HTTP at all.
  server.on('clientError', (_error, socket) => socket.destroy());

  const ports = new Map<NodeSim, TlsPort>();
  const open = async (node: NodeSim): Promise<void> => {
    const { store, name, address, apiPort } = node;
    const port = new TlsPort({
      what: `The API of ${store.id}/${name}`,
      address,
      port: apiPort,
      context: async () => (await authorities.nodeContext(store.id, name, address)).context,
      secured: (socket) => {
        nodeOf.set(socket, node);
        server.emit('connection', socket);
      },
    });
    ports.set(node, port);
    await port.listen();
  };

  const nodes = world.sites.flatMap((store) => [...store.nodes.values()]);
  await Promise.all(nodes.filter((node) => node.up).map(open));

  const stopWatching = world.onNode((change, node) => {
    const done = change === 'up' ? open(node) : ports.get(node)?.close();
    done?.catch((error: Error) => process.emitWarning(error));
  });
  return {
    async close() {
      stopWatching();
      await Promise.all([...ports.values()].map((port) => port.close()));
    },
  };
}

async function answer(node: NodeSim, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  let extjs = incoming.url?.startsWith('/api2/extjs') ?? false;
  try {
    const request = await readRequest(incoming);
    extjs = request.format === 'extjs';
    const result = await dispatch(node, request);
    await send(incoming, response, 200, 'OK', extjs ? { success: 1, ...result } : result);
  } catch (error) {
    if (error instanceof AnswerLost || !node.up) return void incoming.socket.destroy();
    await sendError(node, incoming, response, error, extjs);
  }
}

async function sendError(
  node: NodeSim,
  incoming: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  extjs: boolean,
): Promise<void> {
  const refusal =
    error instanceof PveError ? error : new PveError(500, error instanceof Error ? error.message : String(error));
  const { status, message, errors } = refusal;
  // Whatever of the body was not read would be taken for the next request.
  response.setHeader('connection', 'close');
  if (status === 401) {
    await keepWaiting(incoming, AUTH_DELAY_MS);
    return endEmpty(response, status, message);
  }
  // What another node did not say has no body either.
  if (status >= 595) return endEmpty(response, status, message);
  if (extjs) {
    const body = { success: 0, message: `${message}\n`, status, data: null, ...(errors ? { errors } : {}) };
    return send(incoming, response, 200, 'OK', body);
  }
  const body = { data: null, message: `${message}\n`, ...(errors ? { errors } : {}) };
  return send(incoming, response, status, message, body);
}

function endEmpty(response: ServerResponse, status: number, reason: string): void {
  stamp(response);
  response.setHeader('content-length', 0);
  response.writeHead(status, phrase(reason));
  response.end();
}

async function send(
  incoming: IncomingMessage,
  response: ServerResponse,
  status: number,
  reason: string,
  value: object,
): Promise<void> {
  let body: Buffer = Buffer.from(JSON.stringify(value));
  stamp(response);
  response.setHeader('content-type', 'application/json;charset=UTF-8');
  if (body.length > GZIP_FROM_BYTES && /\bgzip\b/.test(String(incoming.headers['accept-encoding'] ?? ''))) {
    body = await compress(body);
    response.setHeader('content-encoding', 'gzip');
  }
  response.setHeader('content-length', body.length);
  response.writeHead(status, phrase(reason));
  response.end(body);
}

function stamp(response: ServerResponse): void {
  response.setHeader('server', 'pve-api-daemon/3.0');
  response.setHeader('cache-control', 'max-age=0');
  response.setHeader('pragma', 'no-cache');
}

/** The first line of a text, without what a status line cannot hold. */
const phrase = (message: string): string => (message.split('\n')[0] ?? '').replaceAll(/[^\x20-\x7e]/g, '?');
