import { once } from 'node:events';
import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openConnection } from '#client/temporal-connection.js';
import { SOON } from '../../support/soon.js';

const UNAVAILABLE = '14';
/** Length 0, not compressed: a message with nothing in it. */
const EMPTY_MESSAGE = Buffer.alloc(5);

describe('a connection that is closed while the SDK waits to try a call again', () => {
  let server: Http2Server;
  let refused = 0;
  beforeEach(async () => {
    refused = 0;
    server = createServer().on('stream', (stream, headers) => {
      const isGreeting = headers[':path']?.endsWith('/GetSystemInfo') ?? false;
      if (!isGreeting) refused += 1;
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': isGreeting ? '0' : UNAVAILABLE }));
      stream.end(isGreeting ? EMPTY_MESSAGE : undefined);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterEach(() => void server.close());

  it('lets the call fail where its caller can catch it, and tries it no more after that', async () => {
    const { port } = server.address() as AddressInfo;
    const connection = await openConnection(`127.0.0.1:${port}`, '10s');
    const call = connection.workflowService.describeNamespace({ namespace: 'edge' }).catch((error: unknown) => error);
    await vi.waitFor(() => expect(refused).toBe(1), SOON);
    await connection.close();
    expect(await call).toMatchObject({ code: Number(UNAVAILABLE) });
    const tries = refused;
    // The SDK's first pauses are shorter than this: what it would throw from its timer fails the run.
    await delay(500);
    expect(refused).toBe(tries);
  });
});
