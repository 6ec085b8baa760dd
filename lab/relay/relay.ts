import { connect, createServer, type Server, type Socket } from 'node:net';
import type { StoreSim } from '../world/store-sim.js';
import type { World } from '../world/world.js';

/** Ports of the relay on a store's own address; what lies behind is Temporal and the registry. */
export const RELAY_PORTS = { temporal: 7233, registry: 7280 } as const;

export interface RelayTargets {
  /** `host:port`. */
  temporal: string;
  registry: string;
}

export interface Relays {
  close(): Promise<void>;
}

/** The address of a store's relay: that of its first node with 9 at the end. Undefined outside 127/8. */
export function relayAddress(store: StoreSim): string | undefined {
  const first = store.spec.nodes[0]?.address ?? '';
  return /^127(\.\d{1,3}){3}$/.test(first) ? first.replace(/\d+$/, '9') : undefined;
}

/**
 * The WAN of every store: its worker reaches Temporal and the registry through here alone, so that a cut drops the
 * connections of that store and of nobody else.
 */
export async function startRelays(world: World, targets: RelayTargets): Promise<Relays> {
  const relays = new Map<StoreSim, Relay[]>();
  for (const store of world.stores.values()) {
    const address = relayAddress(store);
    if (address === undefined) continue;
    const ends = [
      new Relay(store, address, RELAY_PORTS.temporal, targets.temporal),
      new Relay(store, address, RELAY_PORTS.registry, targets.registry),
    ];
    relays.set(store, ends);
  }
  const stop = world.onWan((store) => {
    for (const relay of relays.get(store) ?? []) {
      if (store.wanUp) void relay.restore();
      else void relay.cut();
    }
  });
  const all = [...relays.values()].flat();
  // A link may have been cut when an earlier lab ended.
  const open = [...relays].flatMap(([store, ends]) => (store.wanUp || store.wanSilent ? ends : []));
  await Promise.all(open.map((relay) => relay.listen()));
  return {
    close: async () => {
      stop();
      await Promise.all(all.map((relay) => relay.close()));
    },
  };
}

class Relay {
  readonly #store: StoreSim;
  readonly #address: string;
  readonly #port: number;
  readonly #target: { host: string; port: number };
  readonly #sockets = new Set<Socket>();
  #server: Server | undefined;

  constructor(store: StoreSim, address: string, port: number, target: string) {
    const colon = target.lastIndexOf(':');
    this.#store = store;
    this.#address = address;
    this.#port = port;
    this.#target = { host: target.slice(0, colon), port: Number(target.slice(colon + 1)) };
  }

  listen(): Promise<void> {
    if (this.#server) return Promise.resolve();
    const server = createServer({ noDelay: true }, (socket) => this.#accept(socket));
    this.#server = server;
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen(this.#port, this.#address, 511, () => {
        server.removeListener('error', reject);
        resolve();
      });
    });
  }

  /** A silent cut keeps what is open and lets nothing through; the other resets all and refuses new connections. */
  async cut(): Promise<void> {
    if (this.#store.wanSilent) {
      for (const socket of this.#sockets) socket.unpipe().pause();
      return;
    }
    await this.close();
  }

  /** Whatever hung in a silent cut is lost: its two ends no longer agree on what was said. */
  restore(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    return this.listen();
  }

  close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
    if (!server) return Promise.resolve();
    return new Promise((resolve) => server.close(() => resolve()));
  }

  #accept(inner: Socket): void {
    this.#track(inner);
    if (!this.#store.wanUp) {
      inner.pause();
      return;
    }
    const outer = connect({ ...this.#target, noDelay: true });
    this.#track(outer);
    inner.pipe(outer).pipe(inner);
    inner.on('close', () => outer.destroy());
    outer.on('close', () => inner.destroy());
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    // The other end's loss is this relay's daily bread; the pair is taken down by `close`.
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }
}
