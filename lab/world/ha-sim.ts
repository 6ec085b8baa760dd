import type { GuestSim } from './guest-sim.js';
import { NodeGone } from './node-gone.js';
import type { StoreSim } from './store-sim.js';
import type { Task } from './tasks.js';

const PARALLEL_MOVES = 2;

export interface SavedHa {
  maintenance: string[];
  /** Guest → node that it goes back to. */
  movedFrom: [number, string][];
  asked: [number, string][];
}

/**
 * The HA manager of one store. A maintenance is visible in the status one cycle after the command, long before the
 * node is empty; the flag survives a reboot; guests that it moved go back when it is taken away.
 */
export class HaSim {
  readonly store: StoreSim;
  /** Flagged by command; `seen` once the manager has acted on it. */
  readonly maintenance = new Map<string, { seen: boolean }>();
  readonly #movedFrom = new Map<number, string>();
  /** Moves that were asked for through the API and wait for the next cycle. */
  readonly #asked = new Map<number, string>();
  readonly #moving = new Set<number>();
  #timestamp = 0;

  constructor(store: StoreSim) {
    this.store = store;
  }

  /** The node that the manager runs on. */
  get master(): string | undefined {
    return [...this.store.nodes.values()].find(({ up }) => up)?.name;
  }

  get managed(): GuestSim[] {
    return [...this.store.guests.values()].filter(({ ha }) => ha);
  }

  inMaintenance(node: string): boolean {
    return this.maintenance.has(node);
  }

  /** `ha-manager crm-command node-maintenance enable`. Throws Proxmox's text without a quorum or for an unknown node. */
  enableMaintenance(node: string, by: string): void {
    this.#check(node);
    if (this.maintenance.has(node)) return;
    const flag = { seen: false };
    this.maintenance.set(node, flag);
    this.#record('ha.maintenance.enable', node, by);
    this.#later(() => {
      flag.seen = true;
      this.pump();
    });
  }

  disableMaintenance(node: string, by: string): void {
    this.#check(node);
    if (!this.maintenance.delete(node)) return;
    this.#record('ha.maintenance.disable', node, by);
    this.#later(() => this.pump());
  }

  /** `online`, `maintenance`, `unknown` by node, as the manager's status says. */
  nodeStatus(): Record<string, string> {
    return Object.fromEntries([...this.store.nodes.values()].map((node) => [node.name, this.#statusOf(node.name)]));
  }

  /** `active`, `idle`, `maintenance mode`, `old timestamp - dead?` by node: the local resource managers. */
  managerStates(): Record<string, string> {
    return Object.fromEntries(
      [...this.store.nodes.values()].map((node) => {
        if (!node.up) return [node.name, 'old timestamp - dead?'];
        if (this.maintenance.get(node.name)?.seen) return [node.name, 'maintenance mode'];
        const active = this.managed.some((guest) => guest.node === node.name && guest.wanted === 'started');
        return [node.name, active ? 'active' : 'idle'];
      }),
    );
  }

  /** State of a service as the manager sees it. */
  serviceState(guest: GuestSim): string {
    if (this.#moving.has(guest.vmid)) return guest.kind === 'qemu' ? 'migrate' : 'relocate';
    const node = this.store.nodes.get(guest.node);
    if (!node?.up) return guest.wanted === 'started' ? 'freeze' : 'stopped';
    return guest.wanted === 'started' ? 'started' : 'stopped';
  }

  /** Seconds since the epoch of the last cycle. */
  get timestamp(): number {
    this.#timestamp = Math.floor((this.store.nodes.get(this.master ?? '')?.clock ?? Date.now()) / 1_000);
    return this.#timestamp;
  }

  /** A move of an HA guest that somebody asked for through the API; done after one cycle. */
  requestMove(guest: GuestSim, target: string): void {
    this.#asked.set(guest.vmid, target);
    this.#later(() => {
      this.#asked.delete(guest.vmid);
      this.#move(guest, target);
    });
  }

  requestState(guest: GuestSim, wanted: 'started' | 'stopped', by: string): void {
    guest.wanted = wanted;
    this.#later(() => {
      if (wanted === 'started') this.store.bootGuest(guest, 'ha-manager', { requestedBy: by });
      else this.store.haltGuest(guest, 'ha-manager', { requestedBy: by });
    });
  }

  /** What is kept over a restart of the lab. */
  dump(): SavedHa {
    return {
      maintenance: [...this.maintenance.keys()],
      movedFrom: [...this.#movedFrom],
      asked: [...this.#asked],
    };
  }

  load({ maintenance, movedFrom, asked }: SavedHa): void {
    for (const node of maintenance) if (this.store.nodes.has(node)) this.maintenance.set(node, { seen: true });
    for (const [vmid, node] of movedFrom) this.#movedFrom.set(vmid, node);
    for (const [vmid, target] of asked) {
      const guest = this.store.guests.get(vmid);
      if (guest) this.requestMove(guest, target);
    }
  }

  /** A move that was under way when the lab ended. */
  resumeMove(guest: GuestSim, target: string, task: Task): void {
    this.#moving.add(guest.vmid);
    this.#startMove(guest, target, task);
  }

  /** A node was lost without a reboot: its guests start elsewhere once it is fenced. */
  nodeLost(name: string): void {
    this.store.timers.after(this.store.world.timing.of('haFence'), () => {
      const node = this.store.nodes.get(name);
      if (node?.state !== 'down' || !this.store.quorate) return;
      for (const guest of this.managed) {
        if (guest.node !== name || guest.wanted !== 'started') continue;
        const target = this.#target(guest);
        if (target === undefined) continue;
        guest.node = target;
        // What ran on the lost node has died with it, and the manager takes its lock away.
        if (guest.lock === 'backup') guest.lock = undefined;
        this.#journalMove(guest, name, target, 'recovery');
        this.store.bootGuest(guest, 'ha-manager', { recoveredFrom: name });
      }
    });
  }

  /** Starts the moves that are due now, at most two at a time. */
  pump(): void {
    if (!this.store.quorate) return;
    for (const guest of this.managed) {
      if (this.#moving.size >= PARALLEL_MOVES) return;
      const target = this.#due(guest);
      if (target !== undefined) this.#move(guest, target);
    }
  }

  #due(guest: GuestSim): string | undefined {
    if (guest.status !== 'running' || guest.lock !== undefined || this.#moving.has(guest.vmid)) return undefined;
    if (this.maintenance.get(guest.node)?.seen) return this.#target(guest);
    const origin = this.#movedFrom.get(guest.vmid);
    if (origin === undefined || this.maintenance.has(origin) || !this.store.nodes.get(origin)?.up) return undefined;
    if (origin === guest.node) {
      this.#movedFrom.delete(guest.vmid);
      return undefined;
    }
    return origin;
  }

  #move(guest: GuestSim, target: string): void {
    const source = guest.node;
    if (guest.status !== 'running' || guest.lock !== undefined || source === target) return;
    this.#moving.add(guest.vmid);
    if (this.maintenance.has(source) && !this.#movedFrom.has(guest.vmid)) this.#movedFrom.set(guest.vmid, source);
    this.#startMove(guest, target);
  }

  #startMove(guest: GuestSim, target: string, task?: Task): void {
    const ended = (): void => {
      this.#moving.delete(guest.vmid);
      if (guest.node === this.#movedFrom.get(guest.vmid)) this.#movedFrom.delete(guest.vmid);
      this.#later(() => this.pump());
    };
    try {
      this.store.startMove(guest, target, { user: 'root@pam', by: 'ha-manager' }, { ended, task });
    } catch (error) {
      if (!(error instanceof NodeGone)) throw error;
      this.#moving.delete(guest.vmid);
    }
  }

  #target(guest: GuestSim): string | undefined {
    const candidates = [...this.store.nodes.values()].filter(
      (node) => node.up && node.name !== guest.node && !this.maintenance.has(node.name),
    );
    const load = (name: string): number => this.store.guestsOn(name).reduce((sum, other) => sum + other.maxMemory, 0);
    return candidates.sort((a, b) => load(a.name) - load(b.name))[0]?.name;
  }

  #statusOf(name: string): string {
    const node = this.store.nodes.get(name);
    if (this.maintenance.get(name)?.seen) return 'maintenance';
    return node?.up ? 'online' : 'unknown';
  }

  #check(node: string): void {
    if (!this.store.nodes.has(node)) throw new Error(`node '${node}' does not exist`);
    this.store.requireQuorum();
  }

  #later(run: () => void): void {
    this.store.timers.after(this.store.world.timing.of('haReaction'), run);
  }

  #journalMove(guest: GuestSim, before: string, after: string, mode: string): void {
    this.store.world.journal.record({
      store: this.store.id,
      node: before,
      guest: guest.vmid,
      effect: 'guest.migrate',
      by: 'ha-manager',
      before,
      after,
      detail: { mode },
    });
  }

  #record(effect: string, node: string, by: string): void {
    this.store.world.journal.record({ store: this.store.id, node, effect, by });
  }
}
