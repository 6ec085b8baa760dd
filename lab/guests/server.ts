import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { GuestSim } from '../world/guest-sim.js';
import type { StoreSim } from '../world/store-sim.js';
import type { World } from '../world/world.js';

export interface GuestServers {
  /** Addresses that were asked for and are not of this machine: nothing answers there. */
  skipped: string[];
  close(): Promise<void>;
}

interface Endpoint {
  kind: 'health' | 'metrics';
  store: StoreSim;
  guest: GuestSim;
  host: string;
  port: number;
  path: string;
}

/**
 * The HTTP side of the guests: `health` answers 200 or 503, `metrics` is JSON with `latency_ms` and, for caches,
 * `cache_hit_percent`. A guest's port is open while it runs.
 */
export async function startGuestServers(world: World): Promise<GuestServers> {
  const all = [...world.stores.values()].flatMap((store) =>
    [...store.guests.values()].flatMap((guest) => endpointsOf(store, guest)),
  );
  const local = all.filter(({ host }) => /^127(\.\d{1,3}){3}$/.test(host));
  const doors = new Map<GuestSim, Door[]>();
  for (const endpoint of local) {
    const known = doors.get(endpoint.guest) ?? [];
    const door = known.find((each) => each.host === endpoint.host && each.port === endpoint.port);
    if (door) door.endpoints.push(endpoint);
    else doors.set(endpoint.guest, [...known, new Door(endpoint)]);
  }
  const stop = world.journal.onEntry((entry) => {
    if (entry.guest === undefined || (entry.effect !== 'guest.start' && entry.effect !== 'guest.stop')) return;
    const guest = world.stores.get(entry.store)?.guests.get(entry.guest);
    for (const door of (guest && doors.get(guest)) ?? []) {
      if (entry.effect === 'guest.start') void door.open();
      else void door.close();
    }
  });
  const each = [...doors.values()].flat();
  await Promise.all(each.filter(({ running }) => running).map((door) => door.open()));
  return {
    skipped: all.filter((endpoint) => !local.includes(endpoint)).map(({ host, port }) => `${host}:${port}`),
    close: async () => {
      stop();
      await Promise.all(each.map((door) => door.close()));
    },
  };
}

function endpointsOf(store: StoreSim, guest: GuestSim): Endpoint[] {
  return (['health', 'metrics'] as const).flatMap((kind) => {
    const text = guest.spec[kind];
    if (text === undefined || !URL.canParse(text)) return [];
    const url = new URL(text);
    if (url.protocol !== 'http:') return [];
    return [{ kind, store, guest, host: url.hostname, port: Number(url.port || 80), path: url.pathname }];
  });
}

class Door {
  readonly host: string;
  readonly port: number;
  readonly endpoints: Endpoint[];
  #server: Server | undefined;

  constructor(endpoint: Endpoint) {
    this.host = endpoint.host;
    this.port = endpoint.port;
    this.endpoints = [endpoint];
  }

  get running(): boolean {
    return this.endpoints.some(({ guest }) => guest.status === 'running');
  }

  open(): Promise<void> {
    if (this.#server) return Promise.resolve();
    const server = createServer({ keepAliveTimeout: 5_000 }, (request, response) => this.#answer(request, response));
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.port, this.host, 511, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
  }

  close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (!server) return Promise.resolve();
    return new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '/').split('?')[0];
    const endpoint = this.endpoints.find((each) => each.path === path);
    if (!endpoint || (request.method !== 'GET' && request.method !== 'HEAD')) {
      response.writeHead(endpoint ? 405 : 404, { 'content-type': 'text/plain' });
      return void response.end(endpoint ? 'method not allowed\n' : 'not found\n');
    }
    const measure = measureOf(endpoint);
    if (endpoint.kind === 'health') {
      response.writeHead(measure.healthy ? 200 : 503, { 'content-type': 'text/plain' });
      return void response.end(measure.healthy ? 'ok\n' : 'unhealthy\n');
    }
    const { latencyMs, cacheHitPercent } = measure;
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(
      JSON.stringify({
        latency_ms: latencyMs,
        ...(cacheHitPercent === undefined ? {} : { cache_hit_percent: cacheHitPercent }),
      }),
    );
  }
}

function measureOf({ store, guest }: Endpoint): ReturnType<GuestSim['measure']> {
  const beside = store.guestsOn(guest.node).filter(({ status }) => status === 'running').length;
  return guest.measure(Date.now(), store.world.timing.of('cacheWarmUp'), Math.max(0, beside - 2));
}
