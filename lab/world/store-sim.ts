import { BackupSim } from './backup-sim.js';
import { lackingDevice } from './devices.js';
import { CephSim } from './ceph-sim.js';
import type { Fault } from './faults.js';
import type { Step } from './fault-table.js';
import { furtherDisk } from './disks.js';
import { GuestSim } from './guest-sim.js';
import { HaSim } from './ha-sim.js';
import { RESTORE, STORE_LAYOUT, type Layout } from './layout.js';
import { NodeSim } from './node-sim.js';
import type { PbsSim } from './pbs/pbs-sim.js';
import { netsIn, RestoreSim } from './restore-sim.js';
import type { StoreSpec } from './specs.js';
import { StorageSim } from './storage-sim.js';
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

/** One practice site, usually a store: its nodes, guests, HA manager and Ceph, and the link to the world. */
export class StoreSim {
  readonly id: string;
  readonly spec: StoreSpec;
  readonly world: World;
  readonly timers: Timers;
  readonly nodes = new Map<string, NodeSim>();
  readonly guests = new Map<number, GuestSim>();
  readonly ceph: CephSim;
  readonly ha: HaSim;
  readonly token: StoreToken;
  readonly storages = new StorageSim();
  readonly backups: BackupSim;
  readonly layout: Layout;
  /** Ids of guests that were destroyed. */
  readonly gone = new Set<number>();
  /** Jobs of the cluster, by id, as they were written. */
  readonly backupJobs = new Map<string, Record<string, unknown>>();
  /** Guests that move now: what a restart of the lab goes on with. */
  readonly moves = new Map<number, { target: string; actor: Actor; upid: string }>();
  wanUp = true;
  wanSilent = false;
  #restores: RestoreSim | undefined;
  /** Links that a fault lets come and go, by the fault's id. */
  readonly #flapping = new Map<string, () => void>();

  constructor(world: World, spec: StoreSpec, token: StoreToken, layout: Layout = STORE_LAYOUT) {
    this.id = spec.id;
    this.layout = layout;
    this.spec = spec;
    this.world = world;
    this.token = token;
    this.timers = new Timers(() => world.touch(spec.id));
    spec.nodes.forEach((node, index) => this.nodes.set(node.name, new NodeSim(this, node, index + 1)));
    const names = spec.nodes.map(({ name }) => name);
    spec.guests.forEach((guest, index) => {
      const node = guest.node ?? (names[index % names.length] as string);
      this.guests.set(guest.vmid, new GuestSim(guest, node, `${this.id}/${guest.vmid}`));
    });
    const { journal, faults, timing } = world;
    this.ceph = new CephSim(spec.id, spec.nodes, OSDS_PER_HOST, { journal, faults, timing, timers: this.timers });
    this.ha = new HaSim(this);
    this.backups = new BackupSim(this);
  }

  /** The backup server that stands at the store. */
  get pbs(): PbsSim | undefined {
    return this.world.pbs.get(this.id);
  }

  /** Made at the first restore: most sites never see one. */
  get restores(): RestoreSim {
    return (this.#restores ??= new RestoreSim(this));
  }

  /** Undefined when there never was one. */
  get restoring(): RestoreSim | undefined {
    return this.#restores;
  }

  /** Settings of a guest's network cards, as far as they say where they are plugged in. */
  netsOf({ options }: GuestSim): { name: string; bridge: string }[] {
    return options?.['net0'] === undefined ? netsIn({ net0: 'bridge=vmbr0', ...options }) : netsIn(options);
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
        const bridges = this.layout.bridges.map(({ iface }) => iface);
        const lacking = this.netsOf(guest).find(({ bridge }) => !bridges.includes(bridge));
        if (lacking) throw new Error(`bridge '${lacking.bridge}' does not exist`);
        const device = guest.restored && lackingDevice(guest.options ?? {});
        if (device !== undefined) throw new Error(device);
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
  startMove(
    guest: GuestSim,
    target: string,
    actor: Actor,
    { ended, task }: { ended?: () => void; task?: Task | undefined } = {},
  ): Task {
    const source = this.node(guest.node);
    const mode = guest.kind === 'qemu' ? 'live' : 'restart';
    const wasRunning = guest.status === 'running';
    if (!task) source.enter('guest.migrate');
    guest.lock = 'migrate';
    const doomed = source.bite('migration-fails', 'guest.migrate', 'before') !== undefined;
    const moveMs = doomed ? 1 : this.world.timing.of('guestMove');
    // Either half may meet a fault or the end of the node; both end in the task's own end.
    const cancelDuring = source.timers.after(moveMs / 2, () => source.reached('guest.migrate', 'during'));
    const begun = source.tasks.start({
      type: guest.kind === 'qemu' ? 'qmigrate' : 'vzmigrate',
      id: String(guest.vmid),
      user: actor.user,
      durationMs: moveMs,
      log: [`starting migration of ${guest.kind === 'qemu' ? 'VM' : 'CT'} ${guest.vmid} to node '${target}'`],
      task,
      run: (log) => {
        if (!this.node(target).up) throw new Error(`migration aborted: can't connect to node '${target}'`);
        if (doomed || source.bite('migration-fails', 'guest.migrate', 'during')) throw new Error('migration aborted');
        guest.node = target;
        if (mode === 'restart' && wasRunning) guest.startedAt = Date.now();
        this.world.journal.record({
          store: this.id,
          node: source.name,
          guest: guest.vmid,
          effect: 'guest.migrate',
          by: actor.by,
          before: source.name,
          after: target,
          detail: { mode: wasRunning ? mode : 'offline' },
        });
        log(`migration finished successfully`);
      },
      ended: () => {
        cancelDuring();
        this.moves.delete(guest.vmid);
        guest.lock = undefined;
        ended?.();
      },
    });
    this.moves.set(guest.vmid, { target, actor, upid: begun.upid });
    return begun;
  }

  bootGuest(guest: GuestSim, by: string, detail?: Record<string, unknown>): void {
    if (guest.status === 'running' || !this.nodes.get(guest.node)?.up) return;
    this.#report(guest);
    guest.status = 'running';
    guest.startedAt = Date.now();
    guest.bootTrouble = undefined;
    this.#guestEffect(guest, 'guest.start', by, detail);
    const node = this.node(guest.node);
    for (const trouble of ['boot-fails', 'agent-silent'] as const) {
      if (guest.bootTrouble === undefined && node.bite(trouble, 'guest.start', 'after')) guest.bootTrouble = trouble;
    }
    this.#lookForConflicts(guest, by);
  }

  /** The network cards of a guest were changed. */
  replugged(guest: GuestSim, by: string): void {
    if (guest.status === 'running') this.#lookForConflicts(guest, by);
  }

  haltGuest(guest: GuestSim, by: string, detail?: Record<string, unknown>): void {
    if (guest.status === 'stopped') return;
    this.#report(guest);
    guest.status = 'stopped';
    this.#guestEffect(guest, 'guest.stop', by, detail);
  }

  // Nodes

  nodeWentDown(node: NodeSim, cause: string): void {
    for (const guest of this.guestsOn(node.name)) {
      // What a backup or a restore locked stays locked, as it stands in the guest's config.
      if (guest.lock !== 'backup' && guest.lock !== 'create') guest.lock = undefined;
      this.haltGuest(guest, 'node', { cause });
    }
    this.ceph.hostDown(node.name, () => !node.up);
    if (cause !== 'reboot') this.ha.nodeLost(node.name);
    this.world.emitNode('down', node);
  }

  nodeCameUp(node: NodeSim): void {
    this.startCeph(node);
    this.timers.after(this.world.timing.of('guestStart'), () => {
      for (const guest of this.guestsOn(node.name)) {
        if (guest.startsWithNode) this.bootGuest(guest, guest.ha ? 'ha-manager' : 'node', { cause: 'node.up' });
      }
      this.ha.pump();
    });
    this.world.emitNode('up', node);
  }

  startCeph(node: NodeSim): void {
    const { bootId } = node;
    const version = node.packages.installed.get('ceph-osd') ?? '';
    this.ceph.hostUp(node.name, version, () => node.up && node.bootId === bootId);
  }

  // Faults

  beginFault(fault: Fault, nodeName: string | undefined): void {
    const node = this.nodes.get(fault.node ?? nodeName ?? this.spec.nodes[0]?.name ?? '');
    switch (fault.kind) {
      case 'wan-cut':
        return this.setWan(false, 'lab', fault.params?.['silent'] === true);
      case 'wan-flap':
        return this.#flap(fault);
      case 'disk-full':
        if (node) node.diskFull = true;
        return;
      case 'clock-skew':
        if (node) this.#turnClocks([node], Number(fault.params?.['seconds'] ?? 600));
        return;
      case 'clock-jump':
        return this.#turnClocks([...this.nodes.values()], Number(fault.params?.['seconds'] ?? 3_600));
      case 'guest-locked':
        for (const guest of this.#guestsOf(fault)) guest.lock ??= String(fault.params?.['lock'] ?? 'backup');
        return;
      case 'disk-left-out':
        return this.#plugFurtherDisks(fault, false);
      case 'guest-unhealthy':
        for (const guest of this.#guestsOf(fault)) guest.unhealthyByFault = true;
        return;
      case 'bad-cache':
        for (const guest of this.#guestsOf(fault)) guest.badCacheByFault = true;
        return;
      case 'restore-storage-full':
        return this.#fill(fault, true);
      case 'osd-down':
        return this.ceph.breakOsd(this.#osdOf(fault, node));
      case 'mon-down':
        return this.ceph.breakMon(node?.name ?? '');
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
      case 'wan-flap':
        this.#flapping.get(fault.id)?.();
        return this.setWan(true, 'lab');
      case 'disk-full':
        if (node) node.diskFull = false;
        return;
      case 'clock-skew':
        if (node) this.#turnClocks([node], -Number(fault.params?.['seconds'] ?? 600));
        return;
      case 'clock-jump':
        return this.#turnClocks([...this.nodes.values()], -Number(fault.params?.['seconds'] ?? 3_600));
      case 'guest-locked':
        for (const guest of this.#guestsOf(fault)) if (guest.lock !== 'migrate') guest.lock = undefined;
        return;
      case 'disk-left-out':
        return this.#plugFurtherDisks(fault, true);
      case 'guest-unhealthy':
        for (const guest of this.#guestsOf(fault)) guest.unhealthyByFault = false;
        return;
      case 'bad-cache':
        for (const guest of this.#guestsOf(fault)) guest.badCacheByFault = false;
        return;
      case 'restore-storage-full':
        return this.#fill(fault, false);
      case 'osd-down': {
        const id = this.#osdOf(fault, node);
        const host = this.ceph.osds.find((osd) => osd.id === id)?.host;
        return this.ceph.repairOsd(id, this.nodes.get(host ?? '')?.up ?? false);
      }
      case 'mon-down':
        return this.ceph.repairMon(node?.name ?? '', node?.up ?? false);
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

  /** Goes on with what was under way when the lab ended. */
  resume(faults: readonly Fault[]): void {
    for (const node of this.nodes.values()) {
      node.resume();
      this.ceph.clockSkew.set(node.name, node.clockSkewMs);
      if (node.up && !this.ceph.runsOn(node.name)) this.startCeph(node);
      if (!node.up) this.ceph.hostDown(node.name, () => !node.up);
      if (node.phase === 'off') this.ha.nodeLost(node.name);
    }
    for (const fault of faults) if (fault.kind === 'wan-flap' && fault.state === 'active') this.#flap(fault);
    for (const [vmid, { target, actor, upid }] of [...this.moves]) {
      const guest = this.guests.get(vmid);
      const task = guest && this.nodes.get(guest.node)?.tasks.find(upid);
      this.moves.delete(vmid);
      if (!guest || !task || !this.node(guest.node).up) continue;
      if (actor.by === 'ha-manager') this.ha.resumeMove(guest, target, task);
      else this.startMove(guest, target, actor, { task });
    }
    this.backups.resume();
    this.#restores?.resume();
    for (const guest of this.guests.values()) {
      if (guest.lock === 'migrate' && !this.moves.has(guest.vmid)) guest.lock = undefined;
    }
    for (const node of this.nodes.values()) node.tasks.buryDead();
    this.timers.after(this.world.timing.of('guestStart'), () => {
      for (const guest of this.guests.values()) {
        const by = guest.ha ? 'ha-manager' : 'node';
        // What was restored is as it was: nobody but who restored it wants anything of it.
        if (guest.restored) continue;
        if (guest.wanted === 'started') this.bootGuest(guest, by, { cause: 'lab restart' });
        else this.haltGuest(guest, by, { cause: 'lab restart' });
      }
      this.ha.pump();
    });
  }

  /** Down at once, then up and down in turns until the fault ends. */
  #flap(fault: Fault): void {
    const wait = (name: string): number => this.world.timing.scale(Number(fault.params?.[name] ?? 20) * 1_000);
    const turn = (up: boolean): void => {
      this.setWan(up, 'lab');
      const cancel = this.timers.after(wait(up ? 'upSeconds' : 'downSeconds'), () => turn(!up));
      this.#flapping.set(fault.id, () => {
        cancel();
        this.#flapping.delete(fault.id);
      });
    };
    turn(false);
  }

  /** Monitors compare their clocks, so what all do together none of them sees. */
  #turnClocks(nodes: NodeSim[], seconds: number): void {
    for (const node of nodes) {
      node.clockSkewMs += seconds * 1_000;
      this.ceph.clockSkew.set(node.name, node.clockSkewMs);
      node.record('clock.set', 'lab', { detail: { seconds } });
    }
  }

  /** A storage that is full, or is not any more. */
  #fill({ params }: Fault, full: boolean): void {
    const { disks, ownDisks } = this.layout;
    const usual = disks.some(({ storage }) => storage === RESTORE.storage) ? RESTORE.storage : ownDisks;
    const storage = String(params?.['storage'] ?? usual);
    this.storages.full = this.storages.full.filter((each) => each !== storage);
    if (full) this.storages.full.push(storage);
    this.world.touch(this.id);
  }

  /** A restored guest has the address of the guest that it is a copy of: where others hear it, there are two. */
  #lookForConflicts(guest: GuestSim, by: string): void {
    if (!guest.restored) return;
    const open = this.layout.bridges.filter(({ ports }) => ports !== '').map(({ iface }) => iface);
    for (const { name, bridge } of this.netsOf(guest)) {
      if (!open.includes(bridge)) continue;
      this.#guestEffect(guest, 'network.conflict', by, { card: name, bridge, origin: guest.origin });
    }
  }

  #report(guest: GuestSim): void {
    guest.reported = { status: guest.status, until: Date.now() + this.world.timing.of('clusterLag') };
  }

  #guest(vmid: number): GuestSim {
    const guest = this.guests.get(vmid);
    if (!guest) throw new Error(`no such VM ('${vmid}')`);
    return guest;
  }

  #admit(guest: GuestSim, step: Extract<Step, `guest.${string}`>): void {
    this.requireQuorum();
    // A move meets its faults where it really begins, which for HA is later.
    if (step !== 'guest.migrate') this.node(guest.node).enter(step);
    if (this.node(guest.node).bite('lock-contention', step, 'before')) {
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

  #plugFurtherDisks(fault: Fault, backup: boolean): void {
    for (const guest of this.#guestsOf(fault)) {
      guest.options = { ...guest.options, ...furtherDisk(guest, this.layout.ownDisks, backup) };
    }
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
