import { randomUUID } from 'node:crypto';
import type { FaultKind, Fault, Moment } from './faults.js';
import { PackagesSim } from './packages-sim.js';
import type { NodeSpec } from './specs.js';
import type { StoreSim } from './store-sim.js';
import { TaskList } from './tasks.js';
import { Timers } from './timers.js';
import type { Timing } from './timing.js';
import { UnitsSim } from './units-sim.js';

const GIB = 1024 ** 3;

/** One Proxmox VE node. What runs on it dies with it: tasks, programs, units. */
export class NodeSim {
  readonly name: string;
  readonly address: string;
  readonly apiPort: number;
  readonly sshPort: number;
  readonly store: StoreSim;
  /** 1, 2, 3: corosync's node id. */
  readonly nodeId: number;
  state: 'up' | 'down' | 'booting' = 'up';
  bootId: string = randomUUID();
  /** Milliseconds since the epoch. */
  bootedAt: number;
  kernel: string;
  readonly packages: PackagesSim;
  readonly units: UnitsSim;
  readonly tasks: TaskList;
  /** Timers of what runs on the node; interrupted when it goes down. */
  readonly timers = new Timers();
  readonly memoryTotal = 64 * GIB;
  readonly rootTotal = 94 * GIB;
  diskFull = false;
  /** Milliseconds that its clock is ahead. */
  clockSkewMs = 0;
  /** A reboot was accepted and has not happened yet. */
  rebooting = false;
  #heldDown = false;

  constructor(store: StoreSim, spec: NodeSpec, nodeId: number) {
    this.store = store;
    this.name = spec.name;
    this.address = spec.address;
    this.apiPort = spec.apiPort;
    this.sshPort = spec.sshPort;
    this.nodeId = nodeId;
    this.packages = new PackagesSim(this, store.world.mirror);
    this.units = new UnitsSim(this);
    this.tasks = new TaskList(spec.name, this.timers);
    this.bootedAt = Date.now() - 40 * 86_400_000;
    this.kernel = this.#newestKernel();
  }

  get up(): boolean {
    return this.state === 'up';
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
    return this.kernel !== this.#newestKernel();
  }

  /**
   * Accepts a reboot: the node leaves the network after a moment and comes back with a new boot id and the newest
   * kernel. The journal entry records what the safety rules ask for.
   */
  reboot(by: string): void {
    if (!this.up) throw new Error(`Node ${this.name} is not up.`);
    this.reached('node.reboot.request', 'before');
    this.record('node.reboot.request', by, {
      before: { bootId: this.bootId, kernel: this.kernel },
      detail: this.#situation(),
    });
    if (this.rebooting) return;
    this.rebooting = true;
    this.timers.after(this.timing.of('rebootDelay'), () => {
      this.#goDown('reboot', by);
      this.store.timers.after(this.timing.of('shutdown'), () => this.#powerOn());
    });
  }

  /** A clean shutdown: it stays off until `powerOn`. */
  shutdown(by: string): void {
    if (!this.up) throw new Error(`Node ${this.name} is not up.`);
    this.record('node.shutdown.request', by, { detail: this.#situation() });
    this.timers.after(this.timing.of('rebootDelay'), () => this.#goDown('shutdown', by));
  }

  /** Power loss: at once, nothing is told. */
  powerOff(by: string): void {
    if (this.state === 'down') return;
    this.#goDown('power', by);
  }

  powerOn(by: string): void {
    if (this.state !== 'down') return;
    this.record('node.power.on', by, {});
    this.#powerOn();
  }

  /** Off when the lab ended: switched on with its next start. */
  bootAfterRestart(): void {
    this.state = 'down';
    this.store.ceph.hostDown(this.name, () => !this.up);
    this.#powerOn();
  }

  /** `node-stays-down` ended, or somebody pressed the button. */
  resumeBoot(): void {
    if (this.state === 'down' && this.#heldDown) this.#powerOn();
  }

  record(
    effect: string,
    by: string,
    rest: { before?: unknown; after?: unknown; detail?: Record<string, unknown>; guest?: number },
  ): void {
    this.store.world.journal.record({ store: this.store.id, node: this.name, effect, by, ...rest });
  }

  bite(kind: FaultKind, step?: string): Fault | undefined {
    return this.store.world.faults.bite(kind, { store: this.store.id, node: this.name, step });
  }

  reached(step: string, moment: Moment): void {
    this.store.world.faults.reached(this.store.id, this.name, step, moment);
  }

  #goDown(cause: string, by: string): void {
    this.state = 'down';
    this.rebooting = false;
    const detail = { cause, bootId: this.bootId, ...this.#situation() };
    this.record('node.down', by, { before: { kernel: this.kernel }, detail });
    this.timers.interrupt();
    this.units.all.clear();
    this.store.nodeWentDown(this, cause);
  }

  #powerOn(): void {
    if (this.state !== 'down') return;
    this.#heldDown = this.bite('node-stays-down', 'node.up') !== undefined;
    if (this.#heldDown) return;
    this.state = 'booting';
    this.store.timers.after(this.timing.of('boot'), () => this.#comeUp());
  }

  #comeUp(): void {
    if (this.state !== 'booting') return;
    this.state = 'up';
    this.bootId = randomUUID();
    this.bootedAt = Date.now();
    const before = this.kernel;
    this.kernel = this.bite('wrong-kernel', 'node.up')
      ? (this.packages.bootKernels[0] ?? before)
      : this.#newestKernel();
    this.record('node.up', 'node', {
      before: { kernel: before },
      after: { bootId: this.bootId, kernel: this.kernel },
      detail: { expected: !this.rebootNeeded },
    });
    this.store.nodeCameUp(this);
  }

  #newestKernel(): string {
    return this.packages.bootKernels.at(-1) ?? '6.14.11-3-pve';
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
