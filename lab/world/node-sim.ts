import { randomUUID } from 'node:crypto';
import { BootSim } from './boot-sim.js';
import type { FaultKind, Moment, Step } from './fault-table.js';
import type { Fault } from './faults.js';
import { NodeGone } from './node-gone.js';
import { PackagesSim } from './packages-sim.js';
import type { NodeSpec } from './specs.js';
import type { StoreSim } from './store-sim.js';
import { TaskList } from './tasks.js';
import { Timers } from './timers.js';
import type { Timing } from './timing.js';
import { UnitsSim } from './units-sim.js';

const GIB = 1024 ** 3;
const FACTORY_KERNEL = '6.14.11-3-pve';

/**
 * `stopping`: a reboot was accepted and has not happened yet. `restarting`: down, and will boot by itself. `off`: down
 * until somebody switches it on.
 */
export type NodePhase = 'up' | 'stopping' | 'restarting' | 'off' | 'booting';

/** One Proxmox VE node. What runs on it dies with it: tasks, programs, units. */
export class NodeSim {
  readonly name: string;
  readonly address: string;
  readonly apiPort: number;
  readonly sshPort: number;
  readonly store: StoreSim;
  /** 1, 2, 3: corosync's node id. */
  readonly nodeId: number;
  phase: NodePhase = 'up';
  bootId: string = randomUUID();
  /** Milliseconds since the epoch. */
  bootedAt: number;
  kernel: string;
  readonly packages: PackagesSim;
  readonly boot: BootSim;
  readonly units: UnitsSim;
  readonly tasks: TaskList;
  /** Timers of what runs on the node; interrupted when it goes down. */
  readonly timers: Timers;
  readonly memoryTotal = 64 * GIB;
  readonly rootTotal = 94 * GIB;
  diskFull = false;
  /** Milliseconds that its clock is ahead. */
  clockSkewMs = 0;
  #bootRound = 0;

  constructor(store: StoreSim, spec: NodeSpec, nodeId: number) {
    this.store = store;
    this.name = spec.name;
    this.address = spec.address;
    this.apiPort = spec.apiPort;
    this.sshPort = spec.sshPort;
    this.nodeId = nodeId;
    this.timers = new Timers(() => store.world.touch(store.id));
    this.packages = new PackagesSim(this, store.world.mirror);
    this.boot = new BootSim(this);
    this.units = new UnitsSim(this);
    this.tasks = new TaskList(spec.name, this.timers, () => this.clock);
    this.bootedAt = Date.now() - 40 * 86_400_000;
    this.kernel = this.boot.chosen ?? FACTORY_KERNEL;
  }

  get up(): boolean {
    return this.phase === 'up' || this.phase === 'stopping';
  }

  get state(): 'up' | 'down' | 'booting' {
    return this.up ? 'up' : this.phase === 'booting' ? 'booting' : 'down';
  }

  get timing(): Timing {
    return this.store.world.timing;
  }

  /** Seconds. */
  get uptime(): number {
    return this.up ? Math.max(1, Math.floor((Date.now() - this.bootedAt) / 1_000)) : 0;
  }

  /** Milliseconds since the epoch on this node's own clock. */
  get clock(): number {
    return Date.now() + this.clockSkewMs;
  }

  get rootFree(): number {
    return this.diskFull ? 40_000_000 : 61 * GIB;
  }

  get memoryUsed(): number {
    const guests = this.store.guestsOn(this.name).filter(({ status }) => status === 'running');
    return 9 * GIB + guests.reduce((sum, guest) => sum + Math.floor(guest.maxMemory * 0.8), 0);
  }

  get rebootNeeded(): boolean {
    return this.kernel !== this.boot.chosen;
  }

  /**
   * Accepts a reboot: the node leaves the network after a moment and comes back with a new boot id and the kernel that
   * its boot loader chooses. The journal entry records what the safety rules ask for.
   */
  reboot(by: string): void {
    this.enter('node.reboot.request');
    const again = this.phase === 'stopping';
    this.phase = 'stopping';
    this.record('node.reboot.request', by, {
      before: { bootId: this.bootId, kernel: this.kernel },
      detail: this.#situation(),
    });
    // A fault may have struck at the request itself.
    if (again || this.phase !== 'stopping') return;
    this.#stopSoon(by);
  }

  /** A clean shutdown: it stays off until `powerOn`. */
  shutdown(by: string): void {
    if (!this.up) throw new Error(`Node ${this.name} is not up.`);
    this.record('node.shutdown.request', by, { detail: this.#situation() });
    this.timers.after(this.timing.of('rebootDelay'), () => this.#goDown('shutdown', by));
  }

  /** Power loss: at once, nothing is told. */
  powerOff(by: string): void {
    if (this.phase === 'off') return;
    // Off while it booted or restarted: nobody loses anything that was not lost already.
    if (!this.up) this.phase = 'off';
    else this.#goDown('power', by);
  }

  powerOn(by: string): void {
    if (this.state !== 'down') return;
    this.record('node.power.on', by, {});
    this.#powerOn();
  }

  /** Goes on with what was under way when the lab ended. */
  resume(): void {
    if (this.phase === 'stopping') this.#stopSoon('node');
    if (this.phase === 'restarting' && !this.#mustStayDown()) this.#bootLater();
    if (this.phase === 'booting') this.#boot();
  }

  /** `node-stays-down` ended. */
  resumeBoot(): void {
    if (this.phase === 'restarting') this.#powerOn();
  }

  record(
    effect: string,
    by: string,
    rest: { before?: unknown; after?: unknown; detail?: Record<string, unknown>; guest?: number },
  ): void {
    this.store.world.journal.record({ store: this.store.id, node: this.name, effect, by, ...rest });
  }

  bite(kind: FaultKind, step: Step, moment: Moment): Fault | undefined {
    return this.store.world.faults.bite(kind, { store: this.store.id, node: this.name, step, moment });
  }

  reached(step: Step, moment: 'before' | 'during'): void {
    this.store.world.faults.reached(this.store.id, this.name, step, moment);
  }

  /**
   * A step begins that this node carries out, on itself or on what belongs to another. Throws `NodeGone` when a fault
   * took it away at that moment, before anything was done.
   */
  enter(step: Step, concerned: string = this.name): void {
    if (this.up) this.store.world.faults.reached(this.store.id, concerned, step, 'before');
    if (!this.up) throw new NodeGone(`Node ${this.name} is not up.`);
  }

  /** Work of so many milliseconds of this lab. Ends in `done`, or in `killed` when the node goes down before. */
  work(step: Step, ms: number, done: () => void, killed: () => void): void {
    this.timers.after(
      ms / 2,
      () => {
        this.reached(step, 'during');
        if (this.up) this.timers.after(ms / 2, done, killed);
        else killed();
      },
      killed,
    );
  }

  #stopSoon(by: string): void {
    this.timers.after(this.timing.of('rebootDelay'), () => {
      this.#goDown('reboot', by);
      this.#bootLater();
    });
  }

  #bootLater(): void {
    this.store.timers.after(this.timing.of('shutdown'), () => {
      if (this.phase === 'restarting') this.#powerOn();
    });
  }

  #goDown(cause: 'reboot' | 'shutdown' | 'power', by: string): void {
    this.phase = cause === 'reboot' ? 'restarting' : 'off';
    const detail = { cause, bootId: this.bootId, ...this.#situation() };
    this.record('node.down', by, { before: { kernel: this.kernel }, detail });
    this.timers.interrupt();
    this.units.all.clear();
    this.store.nodeWentDown(this, cause);
  }

  #powerOn(): void {
    if (this.state !== 'down') return;
    // An event may strike as the node is switched on; one that takes its power leaves it off.
    const { phase } = this;
    this.reached('node.up', 'before');
    if (this.phase !== phase) return;
    this.phase = 'restarting';
    if (this.#mustStayDown()) return;
    this.phase = 'booting';
    this.#boot();
  }

  #mustStayDown(): boolean {
    return this.bite('node-stays-down', 'node.up', 'before') !== undefined;
  }

  #boot(): void {
    const half = this.timing.of('boot') / 2;
    const round = (this.#bootRound += 1);
    // A boot that was cut short must not end a later one.
    const goesOn = (): boolean => this.phase === 'booting' && this.#bootRound === round;
    this.store.timers.after(half, () => {
      if (goesOn()) this.reached('node.up', 'during');
      if (!goesOn()) return;
      this.store.timers.after(half, () => {
        if (goesOn()) this.#comeUp();
      });
    });
  }

  #comeUp(): void {
    this.phase = 'up';
    this.bootId = randomUUID();
    this.bootedAt = Date.now();
    const before = this.kernel;
    const chosen = this.boot.chosen ?? before;
    const wrong = this.bite('wrong-kernel', 'node.up', 'before') !== undefined;
    this.kernel = wrong ? (this.boot.kernels[0] ?? before) : chosen;
    this.boot.booted();
    this.record('node.up', 'node', {
      before: { kernel: before },
      after: { bootId: this.bootId, kernel: this.kernel },
      detail: { expected: this.kernel === chosen },
    });
    if (this.up) this.store.nodeCameUp(this);
  }

  #situation(): Record<string, unknown> {
    const { ceph, ha } = this.store;
    return {
      guestsRunning: this.store
        .guestsOn(this.name)
        .filter(({ status }) => status === 'running')
        .map(({ vmid }) => vmid),
      maintenance: ha.inMaintenance(this.name),
      noout: ceph.hostFlags.get(this.name)?.has('noout') ?? ceph.flags.has('noout'),
      pgsClean: ceph.allClean(),
      pgs: ceph.pgStates(),
      othersUp: [...this.store.nodes.values()].filter((node) => node !== this && node.up).length,
      dpkgRunning: this.packages.lockedBy !== undefined,
      rebootNeeded: this.rebootNeeded,
    };
  }
}
