import { mkdtemp, rm } from 'node:fs/promises';
import https from 'node:https';
import type { IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startPbsServers } from '#lab/pbs/server.js';
import { startPveServers } from '#lab/pve/server.js';
import { createAuthorities } from '#lab/tls/authority.js';
import type { Authorities } from '#lab/tls/authority.js';
import type { StoreSpecInput } from '#lab/world/specs.js';
import type { StoreSim } from '#lab/world/store-sim.js';
import { createWorld } from '#lab/world/world.js';
import type { World } from '#lab/world/world.js';
import type { ProxmoxEndpoint } from '#systems/proxmox/types.js';

/** One practice store with its APIs, on addresses of this process alone. */
export interface PracticeStore {
  world: World;
  store: StoreSim;
  authorities: Authorities;
  ca: string;
  token: string;
  endpoints: ProxmoxEndpoint[];
  /** A request as any outside client makes it. */
  request(node: string, method: string, path: string, options?: RequestOptions): Promise<Reply>;
  close(): Promise<void>;
}

interface RequestOptions {
  headers?: Record<string, string>;
  /** Sent as a form, unless it is text. */
  body?: Record<string, string> | string;
  anonymous?: boolean;
}

export interface Reply {
  status: number;
  reason: string;
  headers: IncomingHttpHeaders;
  text: string;
  body: { data: unknown; message?: string; errors?: Record<string, string>; total?: number };
}

let stores = 0;
const GIB = 1024 ** 3;

export async function startPracticeStore(
  options: { speed?: number; guests?: StoreSpecInput['guests']; backup?: boolean; staging?: boolean } = {},
): Promise<PracticeStore> {
  const folder = await mkdtemp(join(tmpdir(), 'edge-lab-pve-'));
  // Test files run in processes side by side: the process id keeps their addresses apart.
  const net = `127.${64 + ((process.pid >> 8) & 127)}.${process.pid & 255}`;
  const first = 4 * (stores++ % 60);
  const nodes = [1, 2, 3].map((n) => ({ name: `n${n}`, address: `${net}.${first + n}`, apiPort: 8006, sshPort: 2222 }));
  const world = createWorld({
    stateDir: folder,
    staging: options.staging ?? false,
    speed: options.speed ?? 2_000,
    stores: [
      {
        id: 'store-001',
        nodes,
        pbs: { address: `${net}.${first + 4}` },
        guests: options.guests ?? [
          { vmid: 100, name: 'pos', kind: 'qemu', role: 'pos', node: 'n1', ha: true, maxMemory: 4 * GIB },
          { vmid: 101, name: 'cache', kind: 'qemu', role: 'cache', node: 'n1', ha: false },
          { vmid: 102, name: 'probe', kind: 'lxc', role: 'other', node: 'n2', ha: false },
        ],
      },
    ],
  });
  const authorities = createAuthorities(folder);
  const servers = await startPveServers(world, authorities);
  const backup = options.backup ? await startPbsServers(world, authorities) : undefined;
  const store = world.store('store-001');
  const { caPem: ca } = await authorities.storeAuthority(store.id);
  const token = `${store.token.id}=${store.token.secret}`;
  const agent = new https.Agent({ ca, keepAlive: false });

  return {
    world,
    store,
    authorities,
    ca,
    token,
    endpoints: nodes.map(({ name, address, apiPort }) => ({ name, address, port: apiPort })),
    request(node, method, path, { headers = {}, body, anonymous } = {}) {
      const text = typeof body === 'string' ? body : body && new URLSearchParams(body).toString();
      const target = nodes.find(({ name }) => name === node);
      return new Promise((resolve, reject) => {
        const request = https.request(
          {
            host: target?.address,
            port: target?.apiPort,
            method,
            path: path.startsWith('/api2') ? path : `/api2/json${path}`,
            agent,
            headers: {
              ...(anonymous ? {} : { authorization: `PVEAPIToken=${token}` }),
              ...(text === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
              ...(text === undefined || headers['transfer-encoding']
                ? {}
                : { 'content-length': Buffer.byteLength(text) }),
              ...headers,
            },
          },
          (response) => {
            let received = '';
            response.on('data', (chunk: Buffer) => (received += chunk.toString()));
            response.on('error', reject);
            response.on('end', () =>
              resolve({
                status: response.statusCode ?? 0,
                reason: response.statusMessage ?? '',
                headers: response.headers,
                text: received,
                body: parse(received),
              }),
            );
          },
        );
        request.on('error', reject);
        request.end(text);
      });
    },
    async close() {
      await servers.close();
      await backup?.close();
      world.close();
      agent.destroy();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function parse(text: string): Reply['body'] {
  try {
    return JSON.parse(text) as Reply['body'];
  } catch {
    return { data: undefined };
  }
}
