import { Agent, request } from 'undici';
import type { Authorities } from '#lab/tls/authority.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';

/** A request as any outside client of a backup server makes it: over TLS, to the one certificate that it knows. */
export class PbsCaller {
  readonly #pbs: PbsSim;
  readonly #agent: Agent;

  private constructor(pbs: PbsSim, ca: string) {
    this.#pbs = pbs;
    this.#agent = new Agent({ connect: { ca, servername: 'localhost' }, keepAliveTimeout: 1_000 });
  }

  static async open(pbs: PbsSim, authorities: Authorities): Promise<PbsCaller> {
    const { certPem } = await authorities.selfSigned(pbs.id, pbs.hostname, pbs.address);
    return new PbsCaller(pbs, certPem);
  }

  /** Of the service's two the one that may change things. */
  get #adminToken(): string {
    return this.#pbs.tokens.find(({ id }) => id === 'edge-governor@pbs!prune')?.id ?? '';
  }

  async call(method: string, path: string, options: CallOptions = {}): Promise<PbsReply> {
    const { token = this.#adminToken, headers = {}, json, form, raw } = options;
    const secret = this.#pbs.tokens.find(({ id }) => id === token)?.secret ?? token;
    const body = raw ?? (json === undefined ? form && new URLSearchParams(form).toString() : JSON.stringify(json));
    const type = json === undefined ? 'application/x-www-form-urlencoded' : 'application/json';
    const host = `https://${this.#pbs.address}:${this.#pbs.port}`;
    const reply = await request(`${host}${path.startsWith('/api2') ? '' : '/api2/json'}${path}`, {
      method: method as 'GET',
      dispatcher: this.#agent,
      headers: {
        ...(token === '' ? {} : { authorization: `PBSAPIToken=${token}:${secret}` }),
        ...(body === undefined ? {} : { 'content-type': type }),
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    });
    const text = await reply.body.text();
    return { ...parse(text), status: reply.statusCode, type: String(reply.headers['content-type']), text };
  }

  async data<T>(method: string, path: string, options?: CallOptions): Promise<T> {
    const reply = await this.call(method, path, options);
    if (reply.status !== 200) throw new Error(`${method} ${path}: ${reply.status} ${reply.text}`);
    return reply.data as T;
  }

  /** Starts work and waits for its end. Returns the exit status. */
  async work(path: string, json: object = {}): Promise<string> {
    return this.ended(await this.data<string>('POST', path, { json }));
  }

  /** A task is seen by who started it. */
  async ended(upid: string, options?: CallOptions): Promise<string> {
    for (;;) {
      const path = `/nodes/localhost/tasks/${encodeURIComponent(upid)}/status`;
      const { status, exitstatus } = await this.data<{ status: string; exitstatus?: string }>('GET', path, options);
      if (status === 'stopped') return exitstatus ?? '';
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy();
  }
}

export interface CallOptions {
  /** Id of a token; empty for none. */
  token?: string;
  headers?: Record<string, string>;
  json?: unknown;
  form?: Record<string, string>;
  raw?: string;
}

export interface PbsReply {
  status: number;
  type: string;
  text: string;
  data?: unknown;
  total?: number;
}

function parse(text: string): Partial<PbsReply> {
  try {
    return JSON.parse(text) as Partial<PbsReply>;
  } catch {
    return {};
  }
}
