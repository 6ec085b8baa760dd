import { createHash, timingSafeEqual } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { SecureContext, TLSSocket } from 'node:tls';
import { Pool, buildConnector } from 'undici';
import type { Dispatcher } from 'undici';
import { ProxmoxError, kindOfAnswer } from './errors.js';
import { envelopeSchema, errorBodySchema } from './schemas.js';
import type { ProxmoxEndpoint, ProxmoxOptions } from './types.js';

/**
 * One store's API over HTTPS: which node to enter by, what may be sent twice, and what an answer means.
 *
 * A connection that fails before the request is on the wire is harmless, so the next entry node is tried, for writes
 * too. After that point a read may go to another node, and a write may not.
 */

const DEFAULT_TIMEOUT_MS = 35_000;
const CONNECT_TIMEOUT_MS = 10_000;
/** The server closes idle connections after 5 s; leaving earlier avoids sending into a closing one. */
const KEEP_ALIVE_MS = 4_000;
/** pveproxy has three blocking workers for everybody, people at the web page included. */
const CONNECTIONS_PER_NODE = 1;
const MAX_ANSWER_BYTES = 8 * 1024 * 1024;
const MAX_MESSAGE = 500;

export interface Answer {
  data: unknown;
  /** Sibling of `data` on paged lists. */
  total: number | undefined;
}

export interface ProxmoxHttp {
  get(path: string, query?: Query): Promise<Answer>;
  post(path: string, form?: Query): Promise<Answer>;
  close(): Promise<void>;
}

export type Query = Record<string, string | number | undefined>;

interface Call {
  method: 'GET' | 'POST';
  path: string;
  body?: string;
}

interface Entry {
  node: ProxmoxEndpoint;
  pool: Pool;
}

/** Set on errors that came up before anything was sent, with the reason when the peer is not who it should be. */
class ConnectFailed extends Error {
  readonly untrusted: boolean;
  constructor(message: string, untrusted: boolean, cause?: unknown) {
    super(message, { cause });
    this.name = 'ConnectFailed';
    this.untrusted = untrusted;
  }
}

export function createProxmoxHttp(options: ProxmoxOptions): ProxmoxHttp {
  const timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  const authorization = `PVEAPIToken=${options.token}`;
  if (!/^[^\s!=@]+@[^\s!=@]+![^\s!=]+=\S+$/.test(options.token)) {
    throw new ProxmoxError('Auth', 'The Proxmox token is not of the form user@realm!tokenid=secret.');
  }
  if (options.nodes.length === 0) throw new ProxmoxError('Validation', 'A Proxmox client needs at least one node.');

  // Made once: to read the CA anew at each connection costs more than the handshake.
  const trust = options.ca ? createSecureContext({ ca: options.ca }) : undefined;
  const entries: Entry[] = options.nodes.map((node) => ({
    node,
    pool: new Pool(`https://${hostOf(node.address)}:${node.port}`, {
      connect: connectorFor(node, options, trust, Math.min(timeoutMs, CONNECT_TIMEOUT_MS)),
      connections: CONNECTIONS_PER_NODE,
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
    const wrote = call.method !== 'GET';
    const first = lastGood;
    let slowFailures = 0;
    let failure: ProxmoxError | undefined;
    for (let turn = 0; turn < entries.length; turn++) {
      const index = (first + turn) % entries.length;
      const entry = entries[index] as Entry;
      try {
        const answer = await sendTo(entry, call, authorization, wrote);
        lastGood = index;
        return answer;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        failure = error.reason;
        if (!error.elsewhere) {
          lastGood = index;
          throw failure;
        }
        // Each of these may have cost the whole time limit; a second node is worth asking, a third one is not.
        if (error.slow && ++slowFailures > 1) throw failure;
      }
    }
    throw failure as ProxmoxError;
  }

  return {
    get: (path, query) => send({ method: 'GET', path: withQuery(path, query) }),
    post: (path, form) => send({ method: 'POST', path, body: encode(form ?? {}) }),
    async close() {
      await Promise.all(entries.map((entry) => entry.pool.destroy()));
    },
  };
}

/** A failed try: what it is, and whether asking another entry node is allowed and can help. */
class Refused extends Error {
  readonly reason: ProxmoxError;
  readonly elsewhere: boolean;
  readonly slow: boolean;
  constructor(reason: ProxmoxError, elsewhere: boolean, slow = false) {
    super(reason.message);
    this.reason = reason;
    this.elsewhere = elsewhere;
    this.slow = slow;
  }
}

async function sendTo(entry: Entry, call: Call, authorization: string, wrote: boolean): Promise<Answer> {
  const place = `${call.method} ${call.path.split('?')[0]} at ${entry.node.name}`;
  let response: Dispatcher.ResponseData;
  let body: Buffer;
  try {
    response = await entry.pool.request({
      method: call.method,
      path: `/api2/json${call.path}`,
      headers: {
        authorization,
        accept: 'application/json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
      },
      ...(call.body === undefined ? {} : { body: call.body }),
    });
    body = await readCapped(response.body);
  } catch (error) {
    throw transportFailure(error, place, wrote);
  }

  const text = body.toString('utf8');
  if (response.statusCode >= 400) {
    const message = messageOf(text, response.statusText);
    const kind = kindOfAnswer(response.statusCode, message, wrote);
    const reason = new ProxmoxError(kind, `${place}: ${message}`, { status: response.statusCode });
    const proxying = response.statusCode >= 595 && response.statusCode <= 599;
    throw new Refused(reason, !wrote && proxying, response.statusCode !== 595);
  }
  const parsed = envelopeSchema.safeParse(parseJson(text));
  if (response.statusCode !== 200 || !parsed.success) {
    const kind = wrote ? 'OutcomeUnknown' : 'Malformed';
    const message = `${place}: the answer (status ${response.statusCode}) is not a Proxmox answer. Is something else listening there?`;
    throw new Refused(new ProxmoxError(kind, message, { status: response.statusCode }), false);
  }
  return { data: parsed.data.data, total: parsed.data.total };
}

function transportFailure(error: unknown, place: string, wrote: boolean): Refused {
  const cause = rootOf(error);
  if (cause instanceof ConnectFailed) {
    const kind = cause.untrusted ? 'Untrusted' : 'NodeUnreachable';
    return new Refused(new ProxmoxError(kind, `${place}: ${cause.message}`, { cause }), !cause.untrusted);
  }
  if (cause instanceof AnswerTooLarge) {
    return new Refused(new ProxmoxError(wrote ? 'OutcomeUnknown' : 'Malformed', `${place}: ${cause.message}`), false);
  }
  const detail = cause instanceof Error ? cause.message : String(cause);
  if (wrote) {
    const message = `${place}: the answer was lost (${detail}). The call may have run; look for its task.`;
    return new Refused(new ProxmoxError('OutcomeUnknown', message, { cause }), false);
  }
  const message = `${place}: no answer (${detail}).`;
  return new Refused(new ProxmoxError('NodeUnreachable', message, { cause }), true, true);
}

function rootOf(error: unknown): unknown {
  let current = error;
  while (current instanceof Error && !(current instanceof ConnectFailed) && current.cause instanceof Error) {
    current = current.cause;
  }
  return current;
}

/** Connects with the store's CA, or with no chain check but the pinned leaf compared before a byte is sent. */
function connectorFor(
  node: ProxmoxEndpoint,
  options: ProxmoxOptions,
  trust: SecureContext | undefined,
  timeout: number,
): buildConnector.connector {
  const pin = options.fingerprints?.[node.name];
  if (!pin && !trust) {
    const message = `No CA and no certificate fingerprint is known for node ${node.name}. Enrol the store to get them.`;
    throw new ProxmoxError('Untrusted', message);
  }
  const base = buildConnector(
    // A resumed session may come without a peer certificate, which would make the comparison moot.
    pin || !trust ? { rejectUnauthorized: false, maxCachedSessions: 0, timeout } : { secureContext: trust, timeout },
  );
  return (target, callback) => {
    base(target, (error, socket) => {
      if (error) {
        callback(new ConnectFailed(reasonOf(error), isTrustFailure(error), error), null);
        return;
      }
      if (pin && !certificateMatches(socket as TLSSocket, pin)) {
        socket.destroy();
        callback(new ConnectFailed('the certificate is not the pinned one; nothing was sent', true), null);
        return;
      }
      callback(null, socket);
    });
  };
}

function certificateMatches(socket: TLSSocket, pin: string): boolean {
  const certificate = socket.getPeerCertificate() as { raw?: Buffer } | undefined;
  if (!certificate?.raw) return false;
  const seen = createHash('sha256').update(certificate.raw).digest();
  const expected = Buffer.from(pin.replaceAll(':', ''), 'hex');
  return expected.length === seen.length && timingSafeEqual(expected, seen);
}

const TRUST_CODES =
  /^(CERT_|ERR_TLS_CERT|UNABLE_TO_|DEPTH_ZERO|SELF_SIGNED|ERR_SSL_|CRL_|INVALID_CA|HOSTNAME_MISMATCH|PATH_LENGTH)/;
const codeOf = (error: Error): string => String((error as NodeJS.ErrnoException).code ?? '');
const isTrustFailure = (error: Error): boolean => TRUST_CODES.test(codeOf(error));
const reasonOf = (error: Error): string => (codeOf(error) ? `${error.message} (${codeOf(error)})` : error.message);

class AnswerTooLarge extends Error {}

async function readCapped(stream: Dispatcher.ResponseData['body']): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    const bytes = chunk as Buffer;
    size += bytes.length;
    if (size > MAX_ANSWER_BYTES) throw new AnswerTooLarge(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks);
}

/** Newer servers write the text into the body, older ones only into the reason phrase. */
function messageOf(body: string, reasonPhrase: string): string {
  const parsed = errorBodySchema.safeParse(parseJson(body));
  const message =
    (parsed.success ? parsed.data.message?.trim() : undefined) || reasonPhrase.trim() || 'no reason given';
  const errors = parsed.success ? Object.entries(parsed.data.errors ?? {}) : [];
  const details = errors.map(([name, why]) => `${name}: ${String(why).trim()}`).join('; ');
  return `${message}${details ? ` (${details})` : ''}`.replaceAll(/\s+/g, ' ').slice(0, MAX_MESSAGE);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const hostOf = (address: string): string => (address.includes(':') ? `[${address}]` : address);

function encode(values: Query): string {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value !== undefined) form.append(name, String(value));
  return form.toString();
}

function withQuery(path: string, query: Query | undefined): string {
  const encoded = query ? encode(query) : '';
  return encoded ? `${path}?${encoded}` : path;
}
