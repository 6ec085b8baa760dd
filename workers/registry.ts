import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';
import { ObjectsError } from '#systems/objects/errors.js';
import { ALTERED_STATUS } from '#systems/objects/http.js';
import { openObjects } from '#systems/objects/open.js';
import type { Objects } from '#systems/objects/types.js';

export interface Registry {
  /** Where it listens, e.g. `http://127.0.0.1:7280`. */
  url: string;
  port: number;
  close(): Promise<void>;
}

/** No object of a release comes near this; it bounds the memory of one request. */
const MAX_BYTES = 64 * 1024 * 1024;
const OBJECT = /^\/sha256\/([0-9a-f]{64})$/;
const POINTER = /^\/pointers\/([A-Za-z0-9._/-]{1,400})$/;

/**
 * The read-only HTTP side of an object folder: objects by digest and pointers by name, nothing else, no listing.
 * It needs no secret and no trust: stores verify what they pull.
 */
export async function startRegistry(options: { dir: string; host: string; port: number }): Promise<Registry> {
  const objects = openObjects(pathToFileURL(options.dir).href);
  const server = createServer((request, response) => {
    answer(objects, request, response).catch(() => response.destroy());
  });
  server.requestTimeout = 10_000;
  server.headersTimeout = 10_000;
  server.keepAliveTimeout = 15_000;
  server.maxHeadersCount = 50;

  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port, options.host, () => {
      server.off('error', reject);
      resolve();
    });
  });
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return {
    url: `http://${host}:${port}`,
    port,
    close: () =>
      new Promise((resolve, reject) => {
        server.close((error) => (error ? reject(error) : resolve()));
        server.closeAllConnections();
      }),
  };
}

async function answer(objects: Objects, request: IncomingMessage, response: ServerResponse): Promise<void> {
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return end(response, 405);
  }
  const path = request.url ?? '';
  if (path === '/health') return end(response, 200);
  try {
    const digest = OBJECT.exec(path)?.[1];
    if (digest) {
      response.setHeader('Cache-Control', 'public, max-age=31536000, immutable');
      return send(request, response, await objects.get(`sha256:${digest}`, MAX_BYTES));
    }
    const pointer = POINTER.exec(path)?.[1];
    if (!pointer) return end(response, 404);
    response.setHeader('Cache-Control', 'no-store');
    const bytes = await objects.getPointer(pointer, MAX_BYTES);
    return bytes ? send(request, response, bytes) : end(response, 404);
  } catch (error) {
    response.removeHeader('Cache-Control');
    return end(response, statusOf(error));
  }
}

function send(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': bytes.byteLength });
  response.end(request.method === 'HEAD' ? undefined : bytes);
}

function end(response: ServerResponse, status: number): void {
  response.writeHead(status, { 'Content-Length': 0 });
  response.end();
}

function statusOf(error: unknown): number {
  if (!(error instanceof ObjectsError)) return 500;
  // Not a fault that passes: who asks again gets the same altered bytes.
  if (error.kind === 'DigestMismatch') return ALTERED_STATUS;
  return error.kind === 'ObjectMissing' || error.kind === 'BadName' ? 404 : 500;
}
