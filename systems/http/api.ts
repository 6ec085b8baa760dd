import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import { z } from 'zod';
import type { ApiError, CallErrorKind, ErrorOptions } from './errors.js';
import { ConnectFailed, pinnedConnector } from './pinned.js';
import type { Trust } from './pinned.js';

/**
 * A JSON API over HTTPS below `/api2/json`, as Proxmox VE and Proxmox Backup Server have it: whom to trust, what may be
 * sent twice, and how much is read. What an answer means is the dialect's.
 *
 * A connection that fails before the request is on the wire is harmless, so the next endpoint is tried, for writes too.
 * After that point a read may be sent again, and a write may not.
 */

const DEFAULT_TIMEOUT_MS = 35_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** The servers close idle connections after 5 s; leaving earlier avoids sending into a closing one. */
const KEEP_ALIVE_MS = 4_000;
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
const MAX_MESSAGE = 500;

export interface Endpoint {
  /** As messages name it. */
  name: string;
  address: string;
  port: number;
  trust: Trust;
}

/** An answer with a status of 400 or more. */
export interface Refusal {
  status: number;
  body: string;
  reasonPhrase: string;
  /** The request was not a read. */
  wrote: boolean;
}

/** What a refusal stands for. */
export interface Meaning<Kind extends string> {
  kind: Kind;
  message: string;
  /** A read may be answered by another endpoint: this one only failed to pass it on. */
  elsewhere?: boolean;
  /** It may have cost the whole time limit. */
  slow?: boolean;
}

export interface Dialect<Kind extends string> {
  /** The product, as in `a Proxmox answer`. */
  product: string;
  /** The header's value. */
  authorization: string;
  /** Never part of a message, even when a server repeats it. */
  secret: string;
  meaningOf(refusal: Refusal): Meaning<Kind | CallErrorKind>;
  error(kind: Kind | CallErrorKind, message: string, options?: ErrorOptions): ApiError<Kind | CallErrorKind>;
}

export interface ApiOptions<Kind extends string> {
  dialect: Dialect<Kind>;
  endpoints: Endpoint[];
  connectionsPerEndpoint: number;
  /** Milliseconds for one request. Default 35,000: the proxy between two nodes gives up after 30 s. */
  timeoutMs?: number | undefined;
}

export interface Answer {
  data: unknown;
  /** Sibling of `data` on paged lists. */
  total: number | undefined;
}

/** Flags go out as 1 and 0, which both products read in a form; a list goes out as its key again and again. */
export type Values = Record<string, string | number | boolean | readonly string[] | undefined>;

export interface Api {
  get(path: string, query?: Values): Promise<Answer>;
  /** `secrets`: what is in the form and never in a message, even when the server repeats it. */
  post(path: string, form?: Values, secrets?: readonly string[]): Promise<Answer>;
  /** What it takes goes into the query: neither product reads a body here. */
  delete(path: string, query?: Values): Promise<Answer>;
  /** Reads and checks; an answer of another form is `Malformed`, and names the place. */
  read<T extends z.ZodType>(schema: T, path: string, query?: Values): Promise<z.output<T>>;
  parse<T extends z.ZodType>(schema: T, place: string, data: unknown): z.output<T>;
  close(): Promise<void>;
}

interface Call {
  method: 'GET' | 'POST' | 'DELETE';
  path: string;
  body?: string;
  secrets?: readonly string[];
}

interface Entry {
  name: string;
  pool: Pool;
}

const envelopeSchema = z.looseObject({
  data: z.unknown(),
  total: z.union([z.number(), z.string().regex(/^\d+$/).transform(Number)]).optional(),
});

export function createApi<Kind extends string>(options: ApiOptions<Kind>): Api {
  const { dialect, endpoints } = options;
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  if (endpoints.length === 0) {
    throw dialect.error('Validation', `A ${dialect.product} client needs at least one address.`);
  }
  const entries: Entry[] = endpoints.map(({ name, address, port, trust }) => ({
    name,
    pool: new Pool(`https://${hostOf(address)}:${port}`, {
      connect: pinnedConnector(trust, Math.min(timeoutMs, CONNECT_TIMEOUT_MS)),
      connections: options.connectionsPerEndpoint,
      pipelining: 1,
      keepAliveTimeout: KEEP_ALIVE_MS,
      keepAliveMaxTimeout: KEEP_ALIVE_MS,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      maxHeaderSize: 64 * 1024,
    }),
  }));
  let lastGood = 0;

  async function send(call: Call): Promise<Answer> {
    const first = lastGood;
    // Alone, an endpoint is asked a second time when it closed the connection just as a read went out.
    const turns = entries.length === 1 && call.method === 'GET' ? 2 : entries.length;
    let slowFailures = 0;
    let failure: Error | undefined;
    for (let turn = 0; turn < turns; turn++) {
      const index = (first + turn) % entries.length;
      try {
        const answer = await sendTo(entries[index] as Entry, call);
        lastGood = index;
        return answer;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        failure = error.reason;
        if (!error.elsewhere || (entries.length === 1 && !error.broken)) {
          lastGood = index;
          throw failure;
        }
        // Each of these may have cost the whole time limit; a second node is worth asking, a third one is not.
        if (error.slow && ++slowFailures > 1) throw failure;
      }
    }
    throw failure as Error;
  }

  async function sendTo(entry: Entry, call: Call): Promise<Answer> {
    const place = `${call.method} ${call.path.split('?')[0]} at ${entry.name}`;
    const wrote = call.method !== 'GET';
    let response: Dispatcher.ResponseData;
    let body: Buffer;
    try {
      response = await entry.pool.request({
        method: call.method,
        path: `/api2/json${call.path}`,
        headers: {
          authorization: dialect.authorization,
          accept: 'application/json',
          ...(call.body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
        },
        ...(call.body === undefined ? {} : { body: call.body }),
      });
      body = await readCapped(response.body, timeoutMs);
    } catch (error) {
      throw transportFailure(error, place, wrote);
    }

    const text = body.toString('utf8');
    const status = response.statusCode;
    if (status >= 400) {
      const meaning = dialect.meaningOf({ status, body: text, reasonPhrase: response.statusText, wrote });
      const reason = dialect.error(meaning.kind, `${place}: ${shown(meaning.message, call.secrets)}`, { status });
      throw new Refused(reason, { elsewhere: !wrote && meaning.elsewhere === true, slow: meaning.slow === true });
    }
    const parsed = envelopeSchema.safeParse(parseJson(text));
    if (status !== 200 || !parsed.success) {
      const message = `${place}: the answer (status ${status}) is not a ${dialect.product} answer. Is something else listening there?`;
      throw new Refused(dialect.error(wrote ? 'OutcomeUnknown' : 'Malformed', message, { status }), {});
    }
    return { data: parsed.data.data, total: parsed.data.total };
  }

  function transportFailure(error: unknown, place: string, wrote: boolean): Refused {
    const cause = rootOf(error);
    if (cause instanceof ConnectFailed) {
      const kind = cause.untrusted ? 'Untrusted' : 'NodeUnreachable';
      return new Refused(dialect.error(kind, `${place}: ${cause.message}`, { cause }), { elsewhere: !cause.untrusted });
    }
    if (cause instanceof AnswerTooLarge) {
      return new Refused(dialect.error(wrote ? 'OutcomeUnknown' : 'Malformed', `${place}: ${cause.message}`), {});
    }
    const detail = cause instanceof Error ? cause.message : String(cause);
    if (wrote) {
      const message = `${place}: the answer was lost (${detail}). The call may have run; look for its task.`;
      return new Refused(dialect.error('OutcomeUnknown', message, { cause }), {});
    }
    const reason = dialect.error('NodeUnreachable', `${place}: no answer (${detail}).`, { cause });
    return new Refused(reason, { elsewhere: true, slow: true, broken: isBroken(cause) });
  }

  const shown = (message: string, secrets: readonly string[] = []): string =>
    [dialect.secret, ...secrets]
      .reduce((text, secret) => (secret === '' ? text : text.replaceAll(secret, '[secret]')), message)
      .replaceAll(/[\s\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
      .trim()
      .slice(0, MAX_MESSAGE);

  const parse: Api['parse'] = (schema, place, data) => {
    const parsed = schema.safeParse(data);
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    const where = issue?.path.join('.') || 'data';
    throw dialect.error('Malformed', `${place}: ${where}: ${shown(issue?.message ?? 'not of the expected form')}`);
  };
  const get: Api['get'] = (path, query) => send({ method: 'GET', path: withQuery(path, query) });

  return {
    get,
    post: (path, form, secrets = []) => send({ method: 'POST', path, body: encode(form ?? {}), secrets }),
    delete: (path, query) => send({ method: 'DELETE', path: withQuery(path, query) }),
    read: async (schema, path, query) => parse(schema, `GET ${path}`, (await get(path, query)).data),
    parse,
    async close() {
      await Promise.all(entries.map((entry) => entry.pool.destroy()));
    },
  };
}

/** A failed try: what it is, and whether asking again is allowed and can help. */
class Refused extends Error {
  readonly reason: Error;
  readonly elsewhere: boolean;
  readonly slow: boolean;
  /** The connection was closed under the request. */
  readonly broken: boolean;
  constructor(reason: Error, how: { elsewhere?: boolean; slow?: boolean; broken?: boolean }) {
    super(reason.message);
    this.reason = reason;
    this.elsewhere = how.elsewhere === true;
    this.slow = how.slow === true;
    this.broken = how.broken === true;
  }
}

function rootOf(error: unknown): unknown {
  let current = error;
  while (current instanceof Error && !(current instanceof ConnectFailed) && current.cause instanceof Error) {
    current = current.cause;
  }
  return current;
}

const isBroken = (cause: unknown): boolean =>
  cause instanceof Error &&
  ['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'].includes(String((cause as NodeJS.ErrnoException).code));

class AnswerTooLarge extends Error {}

/** The time limit is for the whole body too: one that comes drop by drop would never be idle for long enough. */
async function readCapped(stream: Dispatcher.ResponseData['body'], timeoutMs: number): Promise<Buffer> {
  const until = performance.now() + timeoutMs;
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > MAX_ANSWER_BYTES) throw new AnswerTooLarge(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    if (performance.now() > until) throw new Error(`the answer did not end within ${timeoutMs} ms`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const hostOf = (address: string): string => (address.includes(':') ? `[${address}]` : address);

function encode(values: Values): string {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    for (const each of typeof value === 'object' ? value : [value]) {
      form.append(name, typeof each === 'boolean' ? String(Number(each)) : String(each));
    }
  }
  return form.toString();
}

function withQuery(path: string, query: Values | undefined): string {
  const encoded = query ? encode(query) : '';
  return encoded ? `${path}?${encoded}` : path;
}
