import type { IncomingMessage } from 'node:http';
import { PveError, parameterError } from './errors.js';

const MAX_BODY_BYTES = 512 * 1024;
const MAX_HEADER_LINES = 64;

export type RawParams = Map<string, unknown[]>;

export interface PveRequest {
  method: string;
  /** Below `/api2/json`, decoded piece by piece, e.g. `['nodes', 'n1', 'status']`. */
  segments: string[];
  /** As in error texts: `/nodes/n1/status`. */
  uri: string;
  format: 'json' | 'extjs';
  params: RawParams;
  headers: IncomingMessage['headers'];
}

/** Reads a request as the real server does, with its refusals. */
export async function readRequest(incoming: IncomingMessage): Promise<PveRequest> {
  const method = incoming.method ?? 'GET';
  const { headers } = incoming;
  const url = new URL(incoming.url ?? '/', 'https://node');
  const match = /^\/api2\/(json|extjs)(\/.*)?$/.exec(url.pathname);
  if (!match) throw new PveError(501, 'no such uri');
  if (!['GET', 'POST', 'PUT', 'DELETE'].includes(method)) throw new PveError(501, `method '${method}' not available`);
  if (incoming.rawHeaders.length / 2 > MAX_HEADER_LINES) throw new PveError(501, 'too many http header lines');
  if (headers['transfer-encoding']) throw new PveError(501, 'chunked transfer encoding not supported');
  const length = Number(headers['content-length'] ?? 0);
  if (length > 0 && (method === 'GET' || method === 'DELETE')) {
    throw new PveError(501, `Unexpected content for method '${method}'`);
  }
  if (length > MAX_BODY_BYTES) throw new PveError(501, 'for data too large');

  const format = match[1] as 'json' | 'extjs';
  const segments = decodeSegments(match[2] ?? '/');
  const params: RawParams = new Map();
  if (length > 0) addBody(params, headers['content-type'] ?? '', await readBody(incoming));
  // What stands in the query wins over the body.
  for (const name of new Set(url.searchParams.keys())) params.set(name, url.searchParams.getAll(name));
  return { method, segments, uri: `/${segments.join('/')}`, format, params, headers };
}

function decodeSegments(path: string): string[] {
  try {
    return path
      .split('/')
      .filter((segment) => segment !== '')
      .map(decodeURIComponent);
  } catch {
    throw new PveError(501, 'no such uri');
  }
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

function addBody(params: RawParams, contentType: string, body: string): void {
  const type = contentType.split(';')[0]?.trim().toLowerCase();
  if (type === 'application/x-www-form-urlencoded') {
    const form = new URLSearchParams(body);
    for (const name of new Set(form.keys())) params.set(name, form.getAll(name));
    return;
  }
  if (type !== 'application/json') throw new PveError(506, `upload content type '${contentType}' not implemented`);
  for (const [name, value] of Object.entries(parseObject(body))) {
    params.set(name, Array.isArray(value) ? value : [value]);
  }
}

function parseObject(body: string): object {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    throw parameterError({ body: 'unable to parse JSON' });
  }
  if (typeof value !== 'object' || value === null) throw parameterError({ body: 'not an object' });
  return value;
}
