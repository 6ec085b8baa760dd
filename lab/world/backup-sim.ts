import { disksOf, dumped } from './disks.js';
import type { GuestSim } from './guest-sim.js';
import { NodeGone } from './node-gone.js';
import type { NodeSim } from './node-sim.js';
import type { BackupSession } from './pbs/backup-session.js';
import type { PbsStorage } from './storage-sim.js';
import type { Actor, StoreSim } from './store-sim.js';
import { PVE_TASKS } from './task-form.js';
import { ProcessDies, type Log, type Script, type Task } from './tasks.js';

/** One run of vzdump on one node, as plain data: a restart of the lab goes on with the guest that was under way. */
export interface BackupOrder {
  node: string;
  vmids: number[];
  /** Guests that were asked for and are on other nodes. */
  elsewhere: number[];
  storage: string;
  mode: string;
  /** Minutes. */
  lockwait: number;
  notes?: string | undefined;
  protected: boolean;
  prune?: string | undefined;
  /** As the log shows it. */
  commandLine: string;
  actor: Actor;
  done: number[];
  failed: number[];
  warnings: number;
}

/** The guest that a run has locked, and what it sends of it. */
interface Current {
  guest: GuestSim;
  session: BackupSession | undefined;
}

const LOCK = '/var/run/vzdump.lock';

/** vzdump on the nodes of one store: one at a time on each node, its guests one after another. */
export class BackupSim {
  /** By the id of the task. The first of a node has the node's lock; the others wait for it. */
  readonly orders = new Map<string, BackupOrder>();
  readonly #current = new Map<string, Current>();
  readonly #store: StoreSim;

  constructor(store: StoreSim) {
    this.#store = store;
  }

  start(node: NodeSim, order: BackupOrder): Task {
    node.enter('backup.start');
    return this.#carryOut(node, order);
  }

  /** Goes on after a restart of the lab. */
  resume(): void {
    for (const [upid, order] of [...this.orders]) {
      const node = this.#store.nodes.get(order.node);
      const task = node?.tasks.find(upid);
      this.orders.delete(upid);
      for (const guest of this.#store.guests.values()) {
        if (guest.lock === 'backup' && order.vmids.includes(guest.vmid)) guest.lock = undefined;
      }
      if (node?.up && task) this.#carryOut(node, order, task);
    }
  }

  #carryOut(node: NodeSim, order: BackupOrder, task?: Task): Task {
    let upid = '';
    const [only] = order.vmids;
    return node.tasks.script({
      type: 'vzdump',
      id: order.vmids.length === 1 ? String(only) : '',
      user: order.actor.user,
      task,
      script: (log, begun) => {
        ({ upid } = begun);
        this.orders.set(upid, order);
        if (!task) this.#record(node, 'backup.start', order, { upid, vmids: order.vmids, storage: order.storage });
        return this.#run(node, order, begun, log);
      },
      ended: (exit) => {
        this.#letGo(upid, exit === PVE_TASKS.lost);
        this.orders.delete(upid);
        this.#record(node, 'backup.done', order, { upid, exit, done: order.done, failed: order.failed });
        this.#wakeNext(node);
      },
    });
  }

  *#run(node: NodeSim, order: BackupOrder, task: Task, log: Log): Script {
    // An event may have struck as the effect was written down.
    if (!node.up) throw new ProcessDies();
    const storage = this.#store.storages.pbs(order.storage);
    storage.require();
    yield* this.#waitForLock(node, order, task, log);
    log(`INFO: starting new backup job: ${order.commandLine}`);
    if (order.elsewhere.length > 0) log(`INFO: skip external VMs: ${order.elsewhere.join(', ')}`);
    for (const vmid of order.vmids) {
      if (order.done.includes(vmid) || order.failed.includes(vmid)) continue;
      const guest = this.#store.guests.get(vmid);
      const began = Date.now();
      try {
        if (!guest) throw new Error(`unable to find VM '${vmid}'`);
        yield* this.#backUp(node, guest, storage, order, { upid: task.upid, log });
        order.done.push(vmid);
        log(`INFO: Finished Backup of VM ${vmid} (${clock(this.#practice(Date.now() - began))})`);
        log(`INFO: Backup finished at ${stamp(node.clock)}`);
      } catch (error) {
        if (error instanceof ProcessDies || error instanceof NodeGone) throw new ProcessDies();
        const why = (error as Error).message;
        order.failed.push(vmid);
        log(`ERROR: Backup of VM ${vmid} failed - ${why}`);
        log(`INFO: Failed at ${stamp(node.clock)}`);
        this.#record(node, 'backup.fail', order, { upid: task.upid, why }, vmid);
      }
    }
    if (!node.up) throw new ProcessDies();
    log(`INFO: Backup job finished ${order.failed.length > 0 ? 'with errors' : 'successfully'}`);
    if (order.failed.length > 0) throw new Error('job errors');
    return order.warnings;
  }

  *#waitForLock(node: NodeSim, order: BackupOrder, task: Task, log: Log): Script<void> {
    const holds = (): boolean => this.#ofNode(node)[0]?.[0] === task.upid;
    if (holds()) return;
    if (order.lockwait === 0) {
      log(`ERROR: can't acquire lock '${LOCK}' (wait = 0)`);
      // The real one leaves its process without a last word here.
      throw new ProcessDies();
    }
    log('INFO: trying to get global lock - waiting...');
    const until = Date.now() + this.#store.world.timing.scale(order.lockwait * 60_000);
    while (!holds()) {
      const left = until - Date.now();
      if (left <= 0) {
        log(`ERROR: can't acquire lock '${LOCK}' - got timeout`);
        throw new ProcessDies();
      }
      yield left;
    }
    log('INFO: got global lock');
  }

  #wakeNext(node: NodeSim): void {
    const [next] = this.#ofNode(node);
    // A moment later, so that whoever ended has ended.
    if (next) this.#store.timers.after(1, () => node.tasks.finish(next[0]));
  }

  #ofNode(node: NodeSim): [string, BackupOrder][] {
    return [...this.orders].filter(([, order]) => order.node === node.name);
  }

  *#backUp(
    node: NodeSim,
    guest: GuestSim,
    storage: PbsStorage,
    order: BackupOrder,
    { upid, log }: { upid: string; log: Log },
  ): Script<void> {
    const { timing } = this.#store.world;
    const { vmid, kind } = guest;
    const word = kind === 'qemu' ? 'VM' : 'CT';
    log(`INFO: Starting Backup of VM ${vmid} (${kind})`);
    log(`INFO: Backup started at ${stamp(node.clock)}`);
    log(`INFO: status = ${guest.status}`);
    this.#store.guestOn(node.name, kind, vmid);
    node.enter('snapshot.create');
    if (node.bite('lock-contention', 'snapshot.create', 'before')) {
      const file =
        kind === 'qemu' ? `/var/lock/qemu-server/lock-${vmid}.conf` : `/run/lock/lxc/pve-config-${vmid}.lock`;
      throw new Error(`can't lock file '${file}' - got timeout`);
    }
    if (guest.lock !== undefined) throw new Error(`${word} is locked (${guest.lock})`);
    const slow = node.bite('backup-slow', 'snapshot.create', 'before');
    const factor = slow ? Number(slow.params?.['factor'] ?? 10) : 1;
    guest.lock = 'backup';
    this.#store.world.touch(this.#store.id);
    const current: Current = { guest, session: undefined };
    this.#current.set(upid, current);
    try {
      log(`INFO: ${word} Name: ${guest.name}`);
      for (const disk of disksOf(guest, this.#store.layout.ownDisks)) {
        const told = dumped(kind, disk);
        if (told) log(told.line);
      }
      log(`INFO: backup mode: ${order.mode}`);
      log('INFO: ionice priority: 7');
      const session = (current.session = storage.backup(guest, log));
      log(`INFO: creating Proxmox Backup Server archive '${session.name}'`);
      if (kind === 'qemu' && guest.status === 'running') {
        log("INFO: issuing guest-agent 'fs-freeze' command");
        log("INFO: issuing guest-agent 'fs-thaw' command");
      }
      const write = (half: 'first' | 'second'): void =>
        storage.speak(kind, 'backup write data failed: command error', log, () => session.write(half));
      const ms = timing.of('backupGuest') * (0.1 + 0.9 * session.share) * factor;
      yield ms / 2;
      node.reached('snapshot.create', 'during');
      if (!node.up) throw new ProcessDies();
      write('first');
      if (node.bite('vzdump-dies', 'snapshot.create', 'during')) throw new ProcessDies();
      yield ms / 2;
      write('second');
      session.finish(this.#notesFor(node, guest, order), order.protected);
      log(`INFO: transferred ${(session.bytes / 1024 ** 2).toFixed(2)} MiB`);
      this.#tell(node, guest, storage, session, order);
      if (node.bite('backup-warns', 'snapshot.create', 'after')) {
        log('WARN: EFI disk without the current certificates');
        order.warnings += 1;
      }
      if (order.prune !== undefined) {
        log(`INFO: prune older backups with retention: ${order.prune}`);
        storage.prune(guest, order.prune, log);
      }
    } catch (error) {
      if (error instanceof ProcessDies) throw error;
      this.#letGo(upid);
      throw error;
    }
    this.#letGo(upid);
  }

  /** A process that dies takes no lock back: it stays on the guest, and people have to look. */
  #letGo(upid: string, lockStays = false): void {
    const current = this.#current.get(upid);
    if (!current) return;
    this.#current.delete(upid);
    if (current.session && !current.session.snapshot.finished) current.session.abandon();
    if (!lockStays) current.guest.lock = undefined;
    // A move may have waited for it.
    this.#store.ha.pump();
    this.#store.world.touch(this.#store.id);
  }

  #notesFor(node: NodeSim, guest: GuestSim, { notes }: BackupOrder): string | undefined {
    const values: Record<string, string> = {
      cluster: this.#store.id,
      guestname: guest.name,
      node: node.name,
      vmid: String(guest.vmid),
    };
    return notes?.replaceAll(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole);
  }

  #tell(node: NodeSim, guest: GuestSim, storage: PbsStorage, session: BackupSession, order: BackupOrder): void {
    const { content } = session.snapshot;
    this.#record(
      node,
      'snapshot.create',
      order,
      {
        pbs: storage.pbs.hostname,
        datastore: storage.config.datastore,
        ns: storage.config.namespace,
        snapshot: session.name,
        revision: content.revision,
        sent: session.bytes,
      },
      guest.vmid,
    );
  }

  #record(
    node: NodeSim,
    effect: string,
    { actor }: BackupOrder,
    detail: Record<string, unknown>,
    guest?: number,
  ): void {
    node.record(effect, actor.by, { detail, ...(guest === undefined ? {} : { guest }) });
  }

  /** Milliseconds of a real store. */
  #practice(ms: number): number {
    return ms * this.#store.world.timing.speed;
  }
}

const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 19);
const stamp = (at: number): string => new Date(at).toISOString().slice(0, 19).replace('T', ' ');
