import { mkdirSync } from 'node:fs';
import { Faults } from './faults.js';
import { Journal } from './journal.js';
import { builtinMirror, type Mirror } from './mirror.js';
import type { NodeSim } from './node-sim.js';
import { Seed } from './seed.js';
import { restoreWorld, StateKeeper, type SavedWorld } from './saved.js';
import { toSpec, type StoreSpecInput } from './specs.js';
import { StoreSim } from './store-sim.js';
import { Timers } from './timers.js';
import { DEFAULT_SPEED, Timing } from './timing.js';

export interface WorldOptions {
  stores: StoreSpecInput[];
  /** Folder for the journal, the seed of all keys, certificates. */
  stateDir: string;
  /** Factor over the durations of a real store; default 480. */
  speed?: number | undefined;
  mirror?: Mirror | undefined;
  /** Goes on where an earlier lab in the same folder ended, journal and all. */
  saved?: SavedWorld | undefined;
}

/** What the service's role may do at a store, as documented for an installer. */
export const TOKEN_PRIVILEGES = [
  'Sys.Audit',
  'Sys.Modify',
  'Sys.PowerMgmt',
  'Sys.Console',
  'VM.Audit',
  'VM.PowerMgmt',
  'VM.Migrate',
  'VM.Config.Options',
  'Datastore.Audit',
] as const;

type NodeListener = (change: 'up' | 'down', node: NodeSim) => void;
type WanListener = (store: StoreSim) => void;

/** All practice stores of one lab process, with one journal and one list of faults. */
export class World {
  readonly stores = new Map<string, StoreSim>();
  readonly journal: Journal;
  readonly faults: Faults;
  readonly timing: Timing;
  readonly mirror: Mirror;
  readonly stateDir: string;
  readonly seed: Seed;
  readonly keeper: StateKeeper;
  readonly #timers = new Timers();
  readonly #nodeListeners = new Set<NodeListener>();
  readonly #wanListeners = new Set<WanListener>();

  constructor(options: WorldOptions) {
    mkdirSync(options.stateDir, { recursive: true });
    this.stateDir = options.stateDir;
    this.seed = new Seed(options.stateDir);
    this.timing = new Timing(options.speed ?? DEFAULT_SPEED);
    this.mirror = options.mirror ?? builtinMirror;
    this.journal = new Journal(options.stateDir, options.saved?.entries);
    this.keeper = new StateKeeper(this, options.saved);
    this.faults = new Faults(this.journal, this.#timers, this.timing);
    for (const input of options.stores) {
      const spec = toSpec(input);
      if (this.stores.has(spec.id)) throw new Error(`Store ${spec.id} is there twice. Give each store its own id.`);
      const token = {
        id: 'edge-governor@pve!worker',
        secret: this.seed.uuid(`token/${spec.id}`),
        privileges: { '/': [...TOKEN_PRIVILEGES] },
        expired: false,
      };
      this.stores.set(spec.id, new StoreSim(this, spec, token));
    }
    this.faults.connect(
      () => this.stores.keys(),
      (fault, store, node) => this.stores.get(store)?.beginFault(fault, node),
      (fault, store, node) => this.stores.get(store)?.endFault(fault, node),
    );
    if (options.saved) restoreWorld(this, options.saved);
  }

  store(id: string): StoreSim {
    const store = this.stores.get(id);
    if (!store) throw new Error(`The lab has no store ${id}.`);
    return store;
  }

  /** Told after a node left the network or came back: listeners close and open their ports. Returns how to stop. */
  onNode(listener: NodeListener): () => void {
    this.#nodeListeners.add(listener);
    return () => this.#nodeListeners.delete(listener);
  }

  onWan(listener: WanListener): () => void {
    this.#wanListeners.add(listener);
    return () => this.#wanListeners.delete(listener);
  }

  emitNode(change: 'up' | 'down', node: NodeSim): void {
    for (const listener of this.#nodeListeners) listener(change, node);
  }

  emitWan(store: StoreSim): void {
    for (const listener of this.#wanListeners) listener(store);
  }

  /** Something of the store changed that the journal does not tell. */
  touch(store: string): void {
    this.keeper.touch(store);
  }

  /** Goes on with what was under way when an earlier lab ended. */
  resume(): void {
    for (const store of this.stores.values()) store.resume(this.faults.list());
  }

  /** Whether nothing runs in any store at this moment: no task, program, reboot, or cycle of HA. */
  get quiet(): boolean {
    return [...this.stores.values()].every(({ quiet }) => quiet);
  }

  close(): void {
    this.#timers.drop();
    for (const store of this.stores.values()) store.close();
    this.keeper.close();
    this.journal.close();
  }
}

export function createWorld(options: WorldOptions): World {
  return new World(options);
}
