import { CephSim } from './ceph-sim.js';
import type { Fault } from './faults.js';
import { GuestSim } from './guest-sim.js';
import { HaSim } from './ha-sim.js';
import { NodeSim } from './node-sim.js';
import type { StoreSpec } from './specs.js';
import type { Task } from './tasks.js';
import { Timers } from './timers.js';
import type { World } from './world.js';

const OSDS_PER_HOST = 2;

/** API token of the service at a store, as an installer would have made it. */
export interface StoreToken {
  /** `user@realm!name`. */
  id: string;
  secret: string;
  /** Path → privileges. */
  privileges: Record<string, string[]>;
  expired: boolean;
}

/** Who asked: the user of the task and the name in the journal. */
export interface Actor {
  user: string;
  by: string;
}

/** One practice store: its nodes, guests, HA manager and Ceph, and the link to the world. */
export class StoreSim {
  readonly id: string;
  readonly spec: StoreSpec;
  readonly world: World;
  readonly timers = new Timers();
  readonly nodes = new Map<string, NodeSim>();
  readonly guests = new Map<number, GuestSim>();
  readonly ceph: CephSim;
  readonly ha: HaSim;
  readonly token: StoreToken;
  wanUp = true;
  wanSilent = false;

  constructor(world: World, spec: StoreSpec, token: StoreToken) {
    this.id = spec.id;
    this.spec = spec;
    this.world = world;
    this.token = token;
    spec.nodes.forEach((node, index) => this.nodes.set(node.name, new NodeSim(this, node, index + 1)));
    const names = spec.nodes.map(({ name }) => name);
    spec.guests.forEach((guest, index) => {
      const node = guest.node ?? (names[index % names.length] as string);
      this.guests.set(guest.vmid, new GuestSim(guest, node));
    });
    const { journal, faults, timing } = world;
    this.ceph = new CephSim(spec.id, spec.nodes, OSDS_PER_HOST, { journal, faults, timing, timers: this.timers });
    this.ha = new HaSim(this);
  }

  get nodesUp(): NodeSim[] {
    return [...this.nodes.values()].filter(({ up }) => up);
  }

  /** More than half of the nodes are up: without it the cluster file system is read-only. */
  get quorate(): boolean {
    return this.nodesUp.length * 2 > this.nodes.size;
  }

  requireQuorum(): void {
    if (!this.quorate) throw new Error('cluster not ready - no quorum?');
  }

  node(name: string): NodeSim {
    const node = this.nodes.get(name);
    if (!node) throw new Error(`Store ${this.id} has no node ${name}.`);
    return node;
  }

  guestsOn(node: string): GuestSim[] {
    return [...this.guests.values()].filter((guest) => guest.node === node);
  }

  /** The guest when its config lies on that node, else Proxmox's own text. */
  guestOn(node: string, kind: 'qemu' | 'lxc', vmid: number): GuestSim {
    const guest = this.guests.get(vmid);
    if (!guest || guest.node !== node || guest.kind !== kind) {
      const folder = kind === 'qemu' ? 'qemu-server' : 'lxc';
      throw new Error(`Configuration file 'nodes/${node}/${folder}/${vmid}.conf' does not exist`);
    }
    return guest;
  }

  // Guests

  /** Moves a guest as the API does. For an HA guest the task only hands the wish to the HA manager and ends OK at once. */
  migrate(vmid: number, target: string, actor: Actor): Task {
    const guest = this.#guest(vmid);
    this.#admit(guest, 'guest.migrate');
    if (!this.nodes.has(target)) throw new Error(`no such cluster node '${target}'`);
    if (target === guest.node) throw new Error(`target is local node.`);
    if (!this.node(target).up) throw new Error(`no such cluster node '${target}' or it is offline`);
    if (!guest.ha) return this.startMove(guest, target, actor);
    const sid = `${guest.kind === 'qemu' ? 'vm' : 'ct'}:${vmid}`;
    return this.#handOver(guest, 'hamigrate', actor, `requested HA migrate of ${sid} to node ${target}`, () =>
      this.ha.requestMove(guest, target),
    );
  }

  start(vmid: number, actor: Actor): Task {
    const guest = this.#guest(vmid);
    this.#admit(guest, 'guest.start');
    if (guest.ha) {
      const sid = `${guest.kind === 'qemu' ? 'vm' : 'ct'}:${vmid}`;
      return this.#handOver(guest, 'hastart', actor, `Requesting HA start for ${sid}`, () =>
        this.ha.requestState(guest, 'started', actor.by),
      );
    }
    return this.node(guest.node).tasks.start({
      type: guest.kind === 'qemu' ? 'qmstart' : 'vzstart',
      id: String(vmid),
      user: actor.user,
      durationMs: this.world.timing.of('guestStart'),
      run: () => {
        if (guest.status === 'running')
          throw new Error(`${guest.kind === 'qemu' ? 'VM' : 'CT'} ${vmid} already running`);
        guest.wanted = 'started';
        this.bootGuest(guest, actor.by);
      },
    });
  }

  /** A clean shutdown; `stop` is the hard way. */
  shutdown(vmid: number, actor: Actor, how: 'shutdown' | 'stop' = 'shutdown'): Task {
    const guest = this.#guest(vmid);
    this.#admit(guest, 'guest.stop');
    if (guest.ha) {
      const sid = `${guest.kind === 'qemu' ? 'vm' : 'ct'}:${vmid}`;
      return this.#handOver(guest, 'hastop', actor, `Requesting HA stop for ${sid}`, () =>
        this.ha.requestState(guest, 'stopped', actor.by),
      );
    }
    return this.node(guest.node).tasks.start({
      type: `${guest.kind === 'qemu' ? 'qm' : 'vz'}${how}`,
      id: String(vmid),
      user: actor.user,
      durationMs: this.world.timing.of('guestStop'),
      run: () => {
        guest.wanted = 'stopped';
        this.haltGuest(guest, actor.by);
      },
    });
  }

  /** The real move, as a task on the source node: live for a VM, by restart for a container. */
  startMove(guest: GuestSim, target: string, actor: Actor, ended?: () => void): Task {
    const source = guest.node;
    const mode = guest.kind === 'qemu' ? 'live' : 'restart';
    const wasRunning = guest.status === 'running';
    guest.lock = 'migrate';
    this.world.faults.reached(this.id, source, 'guest.migrate', 'before');
    const moveMs = this.world.timing.of('guestMove');
    // Either half may meet a fault or the end of the node; both end in the task's own end.
    const cancelDuring = this.node(source).timers.after(moveMs / 2, () => {
      this.world.faults.reached(this.id, source, 'guest.migrate', 'during');
    });
    return this.node(source).tasks.start({
      type: guest.kind === 'qemu' ? 'qmigrate' : 'vzmigrate',
      id: String(guest.vmid),
      user: actor.user,
      durationMs: moveMs,
      log: [`starting migration of ${guest.kind === 'qemu' ? 'VM' : 'CT'} ${guest.vmid} to node '${target}'`],
      run: (log) => {
        if (!this.node(target).up) throw new Error(`migration aborted: can't connect to node '${target}'`);
        if (this.node(source).bite('migration-fails', 'guest.migrate')) throw new Error('migration aborted');
        guest.node = target;
        if (mode === 'restart' && wasRunning) guest.startedAt = Date.now();
        this.world.journal.record({
          store: this.id,
          node: source,
          guest: guest.vmid,
          effect: 'guest.migrate',
          by: actor.by,
          before: source,
          after: target,
          detail: { mode: wasRunning ? mode : 'offline' },
        });
        log(`migration finished successfully`);
      },
      ended: () => {
        cancelDuring();
        guest.lock = undefined;
        ended?.();
      },
    });
  }

  bootGuest(guest: GuestSim, by: string, detail?: Record<string, unknown>): void {
    if (guest.status === 'running' || !this.nodes.get(guest.node)?.up) return;
    guest.status = 'running';
    guest.startedAt = Date.now();
    this.#guestEffect(guest, 'guest.start', by, detail);
  }

  haltGuest(guest: GuestSim, by: string, detail?: Record<string, unknown>): void {
    if (guest.status === 'stopped') return;
    guest.status = 'stopped';
    this.#guestEffect(guest, 'guest.stop', by, detail);
  }

  // Nodes

  nodeWentDown(node: NodeSim, cause: string): void {
    for (const guest of this.guestsOn(node.name)) {
      guest.lock = undefined;
      this.haltGuest(guest, 'node', { cause });
    }
    this.ceph.hostDown(node.name, () => !node.up);
    if (cause !== 'reboot') this.ha.nodeLost(node.name);
    this.world.emitNode('down', node);
  }

  nodeCameUp(node: NodeSim): void {
    this.ceph.daemonVersion.set(node.name, node.packages.installed.get('ceph-osd') ?? '19.2.3-pve2');
    this.ceph.hostUp(node.name, () => node.up);
    this.timers.after(this.world.timing.of('guestStart'), () => {
      for (const guest of this.guestsOn(node.name)) {
        if (guest.wanted === 'started') this.bootGuest(guest, guest.ha ? 'ha-manager' : 'node', { cause: 'node.up' });
      }
      this.ha.pump();
    });
    this.world.emitNode('up', node);
  }

  // Faults

  beginFault(fault: Fault, nodeName: string | undefined): void {
    const node = this.nodes.get(fault.node ?? nodeName ?? this.spec.nodes[0]?.name ?? '');
    switch (fault.kind) {
      case 'wan-cut':
        return this.setWan(false, 'lab', fault.params?.['silent'] === true);
      case 'disk-full':
        if (node) node.diskFull = true;
        return;
      case 'clock-skew':
        if (node) node.clockSkewMs = Number(fault.params?.['seconds'] ?? 600) * 1_000;
        return;
      case 'guest-unhealthy':
        for (const guest of this.#guestsOf(fault)) guest.unhealthyByFault = true;
        return;
      case 'bad-cache':
        for (const guest of this.#guestsOf(fault)) guest.badCacheByFault = true;
        return;
      case 'osd-down':
        return this.ceph.breakOsd(this.#osdOf(fault, node));
      case 'mgr-down':
        return this.ceph.stopMgrs();
      case 'foreign-noout':
        return this.ceph.setHostFlag(String(fault.params?.['host'] ?? node?.name), 'noout', 'root@pam');
      case 'node-crash':
        return node?.powerOff('lab');
      default:
        return;
    }
  }

  endFault(fault: Fault, nodeName: string | undefined): void {
    const node = this.nodes.get(fault.node ?? nodeName ?? this.spec.nodes[0]?.name ?? '');
    switch (fault.kind) {
      case 'wan-cut':
        return this.setWan(true, 'lab');
      case 'disk-full':
        if (node) node.diskFull = false;
        return;
      case 'clock-skew':
        if (node) node.clockSkewMs = 0;
        return;
      case 'guest-unhealthy':
        for (const guest of this.#guestsOf(fault)) guest.unhealthyByFault = false;
        return;
      case 'bad-cache':
        for (const guest of this.#guestsOf(fault)) guest.badCacheByFault = false;
        return;
      case 'osd-down': {
        const id = this.#osdOf(fault, node);
        const host = this.ceph.osds.find((osd) => osd.id === id)?.host;
        return this.ceph.repairOsd(id, this.nodes.get(host ?? '')?.up ?? false);
      }
      case 'mgr-down':
        return this.ceph.startMgrs(this.nodesUp.map(({ name }) => name));
      case 'foreign-noout':
        return this.ceph.unsetHostFlag(String(fault.params?.['host'] ?? node?.name), 'noout', 'root@pam');
      case 'node-crash':
        return node?.powerOn('lab');
      case 'node-stays-down':
        for (const each of this.nodes.values())
          if (fault.node === undefined || each.name === fault.node) each.resumeBoot();
        return;
      case 'stuck-recovery':
        return this.ceph.resumeRecovery();
      default:
        return;
    }
  }

  /**
   * The store's link to the outside. What runs at the store goes on without it. A silent cut swallows what is sent,
   * as a dead line does; the other resets what is open, as a router without a route does.
   */
  setWan(up: boolean, by: string, silent = false): void {
    if (this.wanUp === up) return;
    this.wanUp = up;
    this.wanSilent = !up && silent;
    this.world.journal.record({ store: this.id, effect: up ? 'wan.restore' : 'wan.cut', by });
    this.world.emitWan(this);
  }

  get quiet(): boolean {
    return this.timers.size === 0 && [...this.nodes.values()].every(({ timers }) => timers.size === 0);
  }

  /** Ends what still runs; nothing is journaled for it. */
  close(): void {
    this.timers.drop();
    for (const node of this.nodes.values()) node.timers.drop();
  }

  #guest(vmid: number): GuestSim {
    const guest = this.guests.get(vmid);
    if (!guest) throw new Error(`no such VM ('${vmid}')`);
    return guest;
  }

  #admit(guest: GuestSim, step: string): void {
    this.requireQuorum();
    if (this.node(guest.node).bite('lock-contention', step)) {
      const file =
        guest.kind === 'qemu'
          ? `/var/lock/qemu-server/lock-${guest.vmid}.conf`
          : `/run/lock/lxc/pve-config-${guest.vmid}.lock`;
      throw new Error(`can't lock file '${file}' - got timeout`);
    }
    if (guest.lock !== undefined) throw new Error(`${guest.kind === 'qemu' ? 'VM' : 'CT'} is locked (${guest.lock})`);
  }

  #handOver(guest: GuestSim, type: string, actor: Actor, line: string, run: () => void): Task {
    return this.node(guest.node).tasks.start({
      type,
      id: String(guest.vmid),
      user: actor.user,
      durationMs: 1,
      run: (log) => {
        log(line);
        run();
      },
    });
  }

  #guestEffect(guest: GuestSim, effect: string, by: string, detail?: Record<string, unknown>): void {
    this.world.journal.record({
      store: this.id,
      node: guest.node,
      guest: guest.vmid,
      effect,
      by,
      ...(detail === undefined ? {} : { detail }),
    });
  }

  #guestsOf(fault: Fault): GuestSim[] {
    const vmid = fault.params?.['vmid'];
    const all = [...this.guests.values()];
    if (vmid !== undefined) return all.filter((guest) => guest.vmid === Number(vmid));
    return fault.kind === 'bad-cache' ? all.filter(({ spec }) => spec.role === 'cache') : all;
  }

  #osdOf(fault: Fault, node: NodeSim | undefined): number {
    const osd = fault.params?.['osd'];
    return osd === undefined ? (this.ceph.osdsOf(node?.name ?? '')[0]?.id ?? 0) : Number(osd);
  }
}
