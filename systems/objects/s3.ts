import type { GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3';
import { missing, ObjectsError, tooLarge } from './errors.js';
import { checkedBytes, checkedPointer, digestOf, hexOf } from './names.js';
import type { Objects } from './types.js';

export interface S3Options {
  /** Only for stores other than Amazon's, e.g. `https://s3.example.net`; path-style addressing is then used. */
  endpoint?: string;
  region?: string;
  /** Without these the SDK's own chain is asked (instance role, profile). */
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  /** For one request, milliseconds. */
  timeoutMs?: number;
}

/**
 * Objects in a bucket, with the keys `<prefix>/sha256/<hex>` and `<prefix>/pointers/<name>`.
 * `put` asks for creation only (`If-None-Match: *`), so that even a store without versions is never overwritten.
 */
export function openS3Objects(bucket: string, prefix: string, options: S3Options = {}): Objects {
  const timeoutMs = options.timeoutMs ?? 30_000;
  const where = `s3://${bucket}/${prefix}`;
  const key = (path: string): string => (prefix === '' ? path : `${prefix}/${path}`);

  // 22 MB of SDK that a store with a file: or http: address never loads.
  const load = once(async () => {
    const sdk = await import('@aws-sdk/client-s3');
    const client: S3Client = new sdk.S3Client({
      region: options.region ?? 'us-east-1',
      // Newer checksum headers are refused by older S3 look-alikes; our own digest covers the content.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      maxAttempts: 3,
      ...(options.endpoint ? { endpoint: options.endpoint, forcePathStyle: true } : {}),
      ...(options.credentials ? { credentials: options.credentials } : {}),
    });
    return { sdk, client };
  });

  async function read(path: string, what: string, maxBytes: number): Promise<Buffer | undefined> {
    const { sdk, client } = await load();
    const abortSignal = AbortSignal.timeout(timeoutMs);
    try {
      const answer = await client.send(new sdk.GetObjectCommand({ Bucket: bucket, Key: key(path) }), { abortSignal });
      return await readBody(answer, what, maxBytes);
    } catch (error) {
      if (error instanceof ObjectsError) throw error;
      if (statusOf(error) === 404) return undefined;
      throw unavailable(where, what, error);
    }
  }

  async function write(path: string, what: string, bytes: Uint8Array, createOnly: boolean): Promise<void> {
    const { sdk, client } = await load();
    const abortSignal = AbortSignal.timeout(timeoutMs);
    try {
      await client.send(
        new sdk.PutObjectCommand({
          Bucket: bucket,
          Key: key(path),
          Body: bytes,
          ContentLength: bytes.byteLength,
          ...(createOnly ? { IfNoneMatch: '*' } : {}),
        }),
        { abortSignal },
      );
    } catch (error) {
      // 412: it is there already, and its name is the hash of its bytes.
      if (createOnly && statusOf(error) === 412) return;
      throw unavailable(where, what, error);
    }
  }

  return {
    async put(bytes) {
      const digest = digestOf(bytes);
      await write(`sha256/${hexOf(digest)}`, digest, bytes, true);
      return digest;
    },

    async get(digest, maxBytes) {
      const bytes = await read(`sha256/${hexOf(digest)}`, digest, maxBytes);
      if (!bytes) throw missing(digest, where);
      return checkedBytes(bytes, digest, where);
    },

    async setPointer(name, bytes) {
      await write(`pointers/${checkedPointer(name)}`, `pointer ${name}`, bytes, false);
    },

    async getPointer(name, maxBytes) {
      return read(`pointers/${checkedPointer(name)}`, `pointer ${name}`, maxBytes);
    },
  };
}

async function readBody(answer: GetObjectCommandOutput, what: string, maxBytes: number): Promise<Buffer> {
  const body = answer.Body as (AsyncIterable<Uint8Array> & { destroy?: () => void }) | undefined;
  if (!body) return Buffer.alloc(0);
  if ((answer.ContentLength ?? 0) > maxBytes) {
    body.destroy?.();
    throw tooLarge(what, maxBytes);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.byteLength;
    if (size > maxBytes) {
      body.destroy?.();
      throw tooLarge(what, maxBytes);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}

function statusOf(error: unknown): number | undefined {
  const metadata = (error as { $metadata?: { httpStatusCode?: number } } | undefined)?.$metadata;
  return metadata?.httpStatusCode;
}

/** The SDK's message may quote request headers, so only its error name and the status are kept. */
function unavailable(where: string, what: string, error: unknown): ObjectsError {
  const status = statusOf(error);
  const name = error instanceof Error ? error.name : 'unknown error';
  const refused = status !== undefined && status >= 400 && status < 500 && status !== 429 && status !== 408;
  return new ObjectsError('Unavailable', `${where} failed for ${what}: ${name}${status ? ` (${status})` : ''}.`, {
    retryable: !refused,
    mayBeAbsent: status === 403,
    cause: error,
  });
}

/** One shared attempt; a failed one is forgotten so that the next caller tries again. */
function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make().catch((error: unknown) => {
      made = undefined;
      throw error;
    });
    return made;
  };
}
