import { createServer } from 'node:net';
import { CliFailure } from './failure.js';

/** Where a practice fleet may stand on the loopback network: its first store's first node has `127.<network>.0.1`. */
const NETWORKS = Array.from({ length: 24 }, (_, index) => 10 + 10 * index);
/** Stores that fit into one second part of the address. */
const STORES_EACH = 200;
/** Listened on by every practice node. */
const PORT = 8006;

/**
 * A stretch of loopback addresses that no other practice fleet on this machine uses. Another may take it in the next
 * moment, and its lab then says so and does not start; so each process begins to look at a place of its own.
 */
export async function freeLabNetwork(stores: number): Promise<number> {
  const parts = Math.ceil(stores / STORES_EACH);
  const first = process.pid % NETWORKS.length;
  for (const network of [...NETWORKS.slice(first), ...NETWORKS.slice(0, first)]) {
    if (network + parts > 255) break;
    const firsts = Array.from({ length: parts }, (_, part) => `127.${network + part}.0.1`);
    const free = await Promise.all(firsts.map((host) => canListen(host, PORT)));
    if (free.every(Boolean)) return network;
  }
  throw new CliFailure('No loopback addresses are free for another practice fleet. Stop one that is running.');
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else if (error.code === 'EADDRNOTAVAIL')
        reject(new CliFailure(`A practice fleet needs the whole of 127.0.0.0/8, but ${host} cannot be used here.`));
      else reject(error);
    });
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}
