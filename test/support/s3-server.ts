import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * A small S3: path-style GET and PUT of one bucket, `If-None-Match: *`, error documents as the real one sends them.
 * Requests without a version 4 signature for the expected access key are refused.
 */
export interface S3Server {
  endpoint: string;
  accessKeyId: string;
  /** Key → bytes, for looking and for tampering. */
  objects: Map<string, Buffer>;
  /** `PUT <key> <status>`, in order. */
  log: string[];
  /** Answer the next request with this status instead. */
  failNext: (status: number) => void;
  close(): Promise<void>;
}

export async function startS3Server(bucket: string): Promise<S3Server> {
  const accessKeyId = 'EDGETESTKEY';
  const objects = new Map<string, Buffer>();
  const log: string[] = [];
  let failure: number | undefined;

  const server = createServer((request, response) => {
    const reply = (status: number, body: Buffer | string = '', type = 'application/octet-stream'): void => {
      const bytes = Buffer.from(body);
      response.writeHead(status, {
        'Content-Type': type,
        'Content-Length': bytes.byteLength,
        ETag: `"${createHash('md5').update(bytes).digest('hex')}"`,
      });
      response.end(bytes);
    };
    const refuse = (status: number, code: string): void =>
      reply(status, `<?xml version="1.0"?><Error><Code>${code}</Code></Error>`, 'application/xml');

    readBody(request)
      .then((body) => {
        const url = new URL(request.url ?? '/', 'http://s3');
        const key = decodeURIComponent(url.pathname).replace(`/${bucket}/`, '');
        const done = (status: number, code: string): void => {
          log.push(`${request.method} ${key} ${status}`);
          refuse(status, code);
        };
        if (!isSigned(request, accessKeyId)) return done(403, 'AccessDenied');
        if (failure !== undefined) {
          const status = failure;
          failure = undefined;
          return done(status, 'InternalError');
        }
        if (!url.pathname.startsWith(`/${bucket}/`)) return done(404, 'NoSuchBucket');
        if (request.method === 'GET') {
          const found = objects.get(key);
          if (!found) return done(404, 'NoSuchKey');
          log.push(`GET ${key} 200`);
          return reply(200, found);
        }
        if (request.method === 'PUT') {
          if (request.headers['if-none-match'] === '*' && objects.has(key)) return done(412, 'PreconditionFailed');
          objects.set(key, body);
          log.push(`PUT ${key} 200`);
          return reply(200);
        }
        return done(405, 'MethodNotAllowed');
      })
      .catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    accessKeyId,
    objects,
    log,
    failNext: (status) => {
      failure = status;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function isSigned(request: IncomingMessage, accessKeyId: string): boolean {
  const authorization = request.headers.authorization ?? '';
  const form =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/\d{8}\/[^/]+\/s3\/aws4_request, ?SignedHeaders=([a-z0-9;-]+), ?Signature=[0-9a-f]{64}$/;
  const match = form.exec(authorization);
  return match?.[1] === accessKeyId && (match[2] ?? '').split(';').includes('host');
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}
