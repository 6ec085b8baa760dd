import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { freeLabNetwork } from '#client/cli/lab-network.js';

const servers: Server[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => new Promise((done) => server.close(done))));
});

/** Stands where the first node of a practice fleet would. */
function occupy(network: number): Promise<void> {
  const server = createServer();
  servers.push(server);
  return new Promise((done, failed) => {
    server.once('error', failed);
    server.listen(8006, `127.${network}.0.1`, done);
  });
}

describe('freeLabNetwork', () => {
  it('leaves out addresses that another practice fleet uses', async () => {
    const first = await freeLabNetwork(60);
    await occupy(first);
    expect(await freeLabNetwork(60)).not.toBe(first);
  });

  it('looks at every stretch that a large fleet needs', async () => {
    const first = await freeLabNetwork(500);
    await occupy(first + 2);
    expect(await freeLabNetwork(500)).not.toBe(first);
  });
});
