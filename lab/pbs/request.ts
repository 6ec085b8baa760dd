import type { IncomingMessage } from 'node:http';
import { PbsError } from '../world/pbs/datastore.js';

const MAX_BODY_BYTES = 512 * 1024;
const MAX_QUERY_CHARS = 3_072;

/** A value as it came: of JSON with its type, of a query or a form as text. */
export type RawParams = Map<string, { value: unknown; isText: boolean }>;

export interface PbsRequest {
  method: string;
  /** Below `/api2/<format>`, decoded piece by piece. */
  segments: string[];
  path: string;
  format: 'json' | 'extjs';
  params: RawParams;
  headers: IncomingMessage['headers'];
}

export const notFound = (path: string): PbsError => new PbsError(`Path '${path}' not found.`, 404);

/** Reads a request as the real server does, with its refusals. */
export async function readRequest(incoming: IncomingMessage): Promise<PbsRequest> {
  const url = new URL(incoming.url ?? '/', 'https://pbs');
  if (url.search.length - 1 > MAX_QUERY_CHARS) throw new PbsError('query length exceeds limit');
  const match = /^\/api2\/(json|extjs)(\/.*)?$/.exec(url.pathname);
  if (!match) throw notFound(url.pathname);
  const segments = decode(url.pathname, match[2] ?? '/');
  const params: RawParams = new Map();
  addText(params, url.searchParams);
  const body = await readBody(incoming);
  if (body !== '') addBody(params, incoming.headers['content-type'] ?? '', body);
  const format = match[1] as 'json' | 'extjs';
  return { method: incoming.method ?? 'GET', segments, path: url.pathname, format, params, headers: incoming.headers };
}

function decode(whole: string, path: string): string[] {
  try {
    return path
      .split('/')
      .filter((segment) => segment !== '')
      .map(decodeURIComponent);
  } catch {
    throw notFound(whole);
  }
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_BODY_BYTES) throw new PbsError('request body too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** A name that comes again makes a list. */
function addText(params: RawParams, given: URLSearchParams): void {
  for (const name of new Set(given.keys())) {
    const all = given.getAll(name);
    params.set(name, { value: all.length === 1 ? all[0] : all, isText: true });
  }
}

function addBody(params: RawParams, contentType: string, body: string): void {
  const type = contentType.split(';')[0]?.trim().toLowerCase();
  if (type === 'application/x-www-form-urlencoded') return addText(params, new URLSearchParams(body));
  if (type !== 'application/json') throw new PbsError(`unsupported content type ${contentType}`);
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch (error) {
    throw new PbsError(`unable to parse JSON body - ${(error as Error).message}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new PbsError('parameters: expected object');
  for (const [name, each] of Object.entries(value)) params.set(name, { value: each, isText: false });
}
