import { mkdirSync } from 'node:fs';
import { Faults } from './faults.js';
import { Journal } from './journal.js';
import { builtinMirror, type Mirror } from './mirror.js';
import type { NodeSim } from './node-sim.js';
import { CENTRAL, makeCentralPbs, makeStorePbs } from './pbs/estate.js';
import type { PbsSim } from './pbs/pbs-sim.js';
import { Seed } from './seed.js';
import { restoreWorld, StateKeeper, type SavedWorld } from './saved.js';
import { toSpec, type StoreSpecInput } from './specs.js';
import { makeStaging, STAGING } from './staging.js';
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
  /** Whether a staging site stands beside the central backup server. Default: when there is one. */
  staging?: boolean | undefined;
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
  'VM.Backup',
  'Datastore.Audit',
  'Datastore.AllocateSpace',
] as const;

type NodeListener = (change: 'up' | 'down', node: NodeSim) => void;
type WanListener = (store: StoreSim) => void;
type PbsListener = (pbs: PbsSim) => void;

/** All practice stores of one lab process, with one journal and one list of faults. */
export class World {
  readonly stores = new Map<string, StoreSim>();
  /** Where backups are tried: a site like a store, and none of the fleet. */
  readonly staging: StoreSim | undefined;
  /** Backup servers: of each store by its id, and the central one. */
  readonly pbs = new Map<string, PbsSim>();
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
  readonly #pbsListeners = new Set<PbsListener>();

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
      const store = new StoreSim(this, spec, token);
      this.stores.set(spec.id, store);
      const pbs = makeStorePbs(this, store);
      if (pbs) this.pbs.set(spec.id, pbs);
    }
    const central = makeCentralPbs(this, [...this.pbs.values()]);
    if (central) this.pbs.set(CENTRAL, central);
    if (central && options.staging !== false) this.staging = makeStaging(this, central);
    this.faults.connect(
      () => this.stores.keys(),
      (fault, store, node) => (this.site(store)?.beginFault(fault, node), this.pbs.get(store)?.beginFault(fault)),
      (fault, store, node) => (this.site(store)?.endFault(fault, node), this.pbs.get(store)?.endFault(fault)),
    );
    if (options.saved) restoreWorld(this, options.saved);
  }

  /** Where faults may be set. */
  get places(): ReadonlyMap<string, { nodes: ReadonlyMap<string, unknown> }> {
    const none = { nodes: new Map<string, unknown>() };
    const servers = [...this.pbs.keys()].map((id): [string, typeof none] => [id, none]);
    return new Map([...servers, ...this.sites.map((site): [string, StoreSim] => [site.id, site])]);
  }

  /** All that speaks the protocols of a store: the fleet, and the staging site. */
  get sites(): StoreSim[] {
    return this.staging ? [...this.stores.values(), this.staging] : [...this.stores.values()];
  }

  site(id: string): StoreSim | undefined {
    return id === STAGING ? this.staging : this.stores.get(id);
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

  /** Told after a backup server left the network or came back. */
  onPbs(listener: PbsListener): () => void {
    this.#pbsListeners.add(listener);
    return () => this.#pbsListeners.delete(listener);
  }

  emitPbs(pbs: PbsSim): void {
    for (const listener of this.#pbsListeners) listener(pbs);
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

  touchPbs(pbs: PbsSim): void {
    this.keeper.touchPbs(pbs);
  }

  /** Goes on with what was under way when an earlier lab ended. */
  resume(): void {
    for (const pbs of this.pbs.values()) pbs.resume();
    for (const site of this.sites) site.resume(this.faults.list());
  }

  /** Whether nothing runs in any store at this moment: no task, program, reboot, or cycle of HA. */
  get quiet(): boolean {
    return [...this.sites, ...this.pbs.values()].every(({ quiet }) => quiet);
  }

  close(): void {
    this.#timers.drop();
    for (const site of this.sites) site.close();
    for (const pbs of this.pbs.values()) pbs.close();
    this.keeper.close();
    this.journal.close();
  }
}

export function createWorld(options: WorldOptions): World {
  return new World(options);
}
