import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import { mkdtemp, rm } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthorities } from '#lab/tls/authority.js';
import type { ProxmoxEndpoint } from '#systems/proxmox/types.js';

export type Handler = (request: Seen, response: ServerResponse) => void;

interface Seen {
  node: string;
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
}

/** Nodes that answer as they are told to, with the certificates of a store: for what a well-behaved API never does. */
export interface FakeNodes {
  endpoints: ProxmoxEndpoint[];
  ca: string;
  fingerprints: Record<string, string>;
  seen: Seen[];
  /** TCP connections by node, those that failed the TLS handshake included. */
  connections: Record<string, number>;
  answer(node: string, handler: Handler): void;
  stop(node: string): Promise<void>;
  close(): Promise<void>;
}

export async function startFakeNodes(names: string[]): Promise<FakeNodes> {
  const folder = await mkdtemp(join(tmpdir(), 'edge-fake-'));
  const authorities = createAuthorities(folder);
  const handlers = new Map<string, Handler>();
  const servers = new Map<string, https.Server>();
  const seen: Seen[] = [];
  const connections: Record<string, number> = {};
  const endpoints: ProxmoxEndpoint[] = [];
  const fingerprints: Record<string, string> = {};

  for (const name of names) {
    const certificate = await authorities.nodeContext('fake', name, '127.0.0.1');
    fingerprints[name] = certificate.fingerprint;
    const server = https.createServer({ SNICallback: (_host, done) => done(null, certificate.context) });
    server.setSecureContext(await pemOf(folder, name));
    server.on('connection', () => (connections[name] = (connections[name] ?? 0) + 1));
    server.on('request', (request: IncomingMessage, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        const { method = '', url = '', headers } = request;
        const entry = { node: name, method, url, headers, body };
        seen.push(entry);
        (handlers.get(name) ?? ok({}))(entry, response);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    servers.set(name, server);
    endpoints.push({ name, address: '127.0.0.1', port: (server.address() as AddressInfo).port });
  }

  const stop = async (name: string): Promise<void> => {
    const server = servers.get(name);
    servers.delete(name);
    if (!server) return;
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };

  return {
    endpoints,
    ca: (await authorities.storeAuthority('fake')).caPem,
    fingerprints,
    seen,
    connections,
    answer: (node, handler) => handlers.set(node, handler),
    stop,
    async close() {
      await Promise.all([...servers.keys()].map(stop));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function pemOf(folder: string, node: string): Promise<{ cert: string; key: string }> {
  const { readFile } = await import('node:fs/promises');
  const read = (ending: string) => readFile(join(folder, 'tls', 'fake', `${node}.${ending}`), 'utf8');
  return { cert: await read('pem'), key: await read('key') };
}

export const ok =
  (data: unknown): Handler =>
  (_request, response) => {
    response.setHeader('content-type', 'application/json;charset=UTF-8');
    response.end(JSON.stringify({ data }));
  };

/** An error as Proxmox 9 writes it; without `message` in the body, as older ones do. */
export const refuse =
  (status: number, text: string, body: string = JSON.stringify({ data: null, message: `${text}\n` })): Handler =>
  (_request, response) => {
    response.writeHead(status, text, { connection: 'close' });
    response.end(body);
  };

/** Takes the request and cuts the connection: the answer is lost. */
export const hangUp: Handler = (_request, response) => response.destroy();

/** Takes the request and never answers. */
export const silence: Handler = () => undefined;
