import { Agent, request, type Dispatcher } from 'undici';
import { missing, ObjectsError, readOnly, tooLarge } from './errors.js';
import { checkedBytes, checkedPointer, hexOf } from './names.js';
import type { Objects } from './types.js';

/** How a registry says that what it holds under a digest is not what the digest names. */
export const ALTERED_STATUS = 409;

export interface HttpOptions {
  /** For one whole read, milliseconds. */
  timeoutMs?: number;
  /** Shared connections, e.g. for many stores in one process; else each `openObjects` has its own. */
  dispatcher?: Dispatcher;
}

/** Reads `GET <base>/sha256/<hex>` and `GET <base>/pointers/<name>`. Redirects are refused, so the address is the address. */
export function openHttpObjects(base: string, options: HttpOptions = {}): Objects {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const dispatcher = options.dispatcher ?? new Agent({ connections: 4, keepAliveTimeout: 10_000 });
  const root = base.replace(/\/+$/, '');

  async function fetchCapped(path: string, what: string, maxBytes: number): Promise<Buffer | undefined> {
    // The abort covers connecting, headers and body: a registry that drips bytes must not hold a store's operation.
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const { statusCode, headers, body } = await request(`${root}${path}`, { dispatcher, signal, method: 'GET' });
      // Destroying a body makes it report the abort as an error, which nobody is listening for.
      body.on('error', () => undefined);
      if (statusCode === 404) {
        await body.dump();
        return undefined;
      }
      if (statusCode !== 200) {
        body.destroy();
        throw refusedBy(root, what, statusCode);
      }
      if (Number(headers['content-length'] ?? 0) > maxBytes) {
        body.destroy();
        throw tooLarge(what, maxBytes);
      }
      const chunks: Buffer[] = [];
      let size = 0;
      for await (const chunk of body as AsyncIterable<Buffer>) {
        size += chunk.byteLength;
        if (size > maxBytes) {
          body.destroy();
          throw tooLarge(what, maxBytes);
        }
        chunks.push(chunk);
      }
      return Buffer.concat(chunks, size);
    } catch (error) {
      if (error instanceof ObjectsError) throw error;
      throw new ObjectsError('Unavailable', `${root} did not deliver ${what}: ${causeOf(error, timeoutMs)}.`, {
        retryable: true,
        cause: error,
      });
    }
  }

  return {
    put: () => Promise.reject(readOnly(root)),
    setPointer: () => Promise.reject(readOnly(root)),

    async get(digest, maxBytes) {
      const bytes = await fetchCapped(`/sha256/${hexOf(digest)}`, digest, maxBytes);
      if (!bytes) throw missing(digest, root);
      return checkedBytes(bytes, digest, root);
    },

    async getPointer(name, maxBytes) {
      return fetchCapped(`/pointers/${checkedPointer(name)}`, `pointer ${name}`, maxBytes);
    },
  };
}

function refusedBy(root: string, what: string, status: number): ObjectsError {
  if (status === ALTERED_STATUS) return new ObjectsError('DigestMismatch', `${root} holds an altered ${what}.`);
  const passing = status >= 500 || status === 429 || status === 408;
  const redirect = status >= 300 && status < 400 ? ' Redirects are not followed; configure the final address.' : '';
  return new ObjectsError('Unavailable', `${root} answered ${status} for ${what}.${redirect}`, {
    retryable: passing,
    mayBeAbsent: status === 403,
  });
}

function causeOf(error: unknown, timeoutMs: number): string {
  if (!(error instanceof Error)) return 'unknown error';
  if (error.name === 'TimeoutError' || error.name === 'AbortError') return `no full answer within ${timeoutMs} ms`;
  return 'code' in error ? String(error.code) : error.name;
}
