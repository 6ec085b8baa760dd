import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import { AnswerLost, keepWaiting } from '../api/answers.js';
import type { Authorities } from '../tls/authority.js';
import { TlsPort } from '../tls/port.js';
import { PbsError } from '../world/pbs/datastore.js';
import type { PbsSim } from '../world/pbs/pbs-sim.js';
import type { World } from '../world/world.js';
import { dispatch } from './dispatch.js';
import { readRequest } from './request.js';

/**
 * The API of every backup server of the practice fleet, as the real one serves it. One HTTP machine for all; a port is
 * open exactly while its server is up. Left out: the protocols that clients send and fetch backups by (nodes of the
 * practice fleet hand theirs over inside the process), tapes, notifications, users and their tokens, ACME, push jobs.
 */
const IDLE_MS = 5_000;
/** Not scaled: they slow down guessing, and a client must not take them for an outage. */
const AUTH_DELAY_MS = 3_000;
const PERMISSION_DELAY_MS = 500;

export async function startPbsServers(world: World, authorities: Authorities): Promise<{ close(): Promise<void> }> {
  const pbsOf = new WeakMap<object, PbsSim>();
  const server = http.createServer({ keepAliveTimeout: IDLE_MS }, (request, response) => {
    const pbs = pbsOf.get(request.socket);
    if (pbs) answer(pbs, request, response).catch(() => response.destroy());
    else request.socket.destroy();
  });
  server.on('clientError', (_error, socket) => socket.destroy());

  const ports = new Map<PbsSim, TlsPort>();
  const open = async (pbs: PbsSim): Promise<void> => {
    const port = new TlsPort({
      what: `The backup server of ${pbs.id}`,
      address: pbs.address,
      port: pbs.port,
      context: async () => (await authorities.selfSigned(pbs.id, pbs.hostname, pbs.address)).context,
      secured: (socket) => {
        pbsOf.set(socket, pbs);
        server.emit('connection', socket);
      },
    });
    ports.set(pbs, port);
    await port.listen();
  };
  await Promise.all([...world.pbs.values()].filter(({ up }) => up).map(open));
  const stopWatching = world.onPbs((pbs) => {
    const done = pbs.up ? open(pbs) : ports.get(pbs)?.close();
    done?.catch((error: Error) => process.emitWarning(error));
  });
  return {
    async close() {
      stopWatching();
      await Promise.all([...ports.values()].map((port) => port.close()));
    },
  };
}

async function answer(pbs: PbsSim, incoming: IncomingMessage, response: ServerResponse): Promise<void> {
  const isExtjs = incoming.url?.startsWith('/api2/extjs') ?? false;
  try {
    const request = await readRequest(incoming);
    const result = await dispatch(pbs, request);
    send(response, 200, JSON.stringify(isExtjs ? { success: true, ...result } : result));
  } catch (error) {
    if (error instanceof AnswerLost || !pbs.up) return void incoming.socket.destroy();
    await sendError(incoming, response, error, isExtjs);
  }
}

/** An error is its bare text, though it is called JSON; whatever a handler throws is a 400. */
async function sendError(
  incoming: IncomingMessage,
  response: ServerResponse,
  error: unknown,
  isExtjs: boolean,
): Promise<void> {
  const status = error instanceof PbsError ? error.status : 400;
  const message = error instanceof Error ? error.message : String(error);
  // Whatever of the body was not read would be taken for the next request.
  if (!incoming.complete) response.setHeader('connection', 'close');
  if (status === 401) await keepWaiting(incoming, AUTH_DELAY_MS);
  if (status === 403) await keepWaiting(incoming, PERMISSION_DELAY_MS);
  if (isExtjs && status !== 401) {
    return send(response, 200, JSON.stringify({ success: false, message, status, errors: {}, data: null }));
  }
  send(response, status, message);
}

function send(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, {
    'content-type': 'application/json;charset=UTF-8',
    'content-length': Buffer.byteLength(body),
    'cache-control': 'max-age=0',
  });
  response.end(body);
}
