import { createHash } from 'node:crypto';
import { refuseDevices } from './devices.js';
import { restoredDisks } from './disks.js';
import { GuestSim, type Restored } from './guest-sim.js';
import type { NodeSim } from './node-sim.js';
import { digestOf, DISK_BYTES, placeOf } from './pbs/content.js';
import { chunksOfSnapshot, type Snapshot } from './pbs/datastore.js';
import type { GuestSpec } from './specs.js';
import type { PbsStorage } from './storage-sim.js';
import type { Actor, StoreSim } from './store-sim.js';
import { PVE_TASKS } from './task-form.js';
import { ProcessDies, type Log, type Script, type Task } from './tasks.js';

/** A restore that runs, as plain data: a restart of the lab begins it anew. */
export interface RestoreOrder {
  what: 'restore';
  node: string;
  vmid: number;
  kind: 'qemu' | 'lxc';
  /** Volume id of the backup, and the storage it is in. */
  archive: string;
  from: string;
  /** For the disk. */
  storage: string;
  pool: string | undefined;
  unique: boolean;
  start: boolean;
  /** An existing guest is overwritten. */
  force: boolean;
  /** Settings that count before those of the backup. */
  options: Record<string, string>;
  /** Bridges that whoever asked may use. */
  bridges: string[];
  /** Paths of mapped devices that whoever asked may use. Absent in what an older lab kept. */
  mappings?: string[];
  actor: Actor;
}

interface DestroyOrder {
  what: 'destroy';
  node: string;
  vmid: number;
  kind: 'qemu' | 'lxc';
  purge: boolean;
  force: boolean;
  actor: Actor;
}

export type GuestOrder = RestoreOrder | DestroyOrder;

const WORD = { qemu: 'VM', lxc: 'CT' } as const;

/**
 * Guests that come from backups and go again. A limit of the bandwidth is accepted and not felt. What the storage layer
 * says of a backup that cannot be read follows the real one: of a VM its settings stay behind, of a container nothing.
 */
export class RestoreSim {
  /** By the id of the task. */
  readonly orders = new Map<string, GuestOrder>();
  readonly #store: StoreSim;

  constructor(store: StoreSim) {
    this.#store = store;
  }

  /** Reserves the id at once. Throws what the real one refuses before there is a task. */
  restore(node: NodeSim, order: RestoreOrder): Task {
    const { vmid, kind, force } = order;
    const refusal = unable(order);
    node.enter('guest.restore');
    const known = this.#store.guests.get(vmid);
    if (known && (!force || known.node !== node.name || known.kind !== kind)) {
      throw new Error(`${refusal} ${WORD[known.kind]} ${vmid} already exists on node '${known.node}'`);
    }
    if (known?.lock !== undefined) throw new Error(`${refusal} ${WORD[kind]} is locked (${known.lock})`);
    const guest = known ?? this.#shell(order);
    guest.lock = 'create';
    this.#store.guests.set(vmid, guest);
    return this.#carryOut(node, order);
  }

  destroy(node: NodeSim, order: DestroyOrder): Task {
    const guest = this.#store.guestOn(node.name, order.kind, order.vmid);
    node.enter('guest.destroy');
    admitDestroy(guest, order);
    return this.#carryOut(node, order);
  }

  /** Goes on after a restart of the lab. */
  resume(): void {
    for (const [upid, order] of [...this.orders]) {
      const node = this.#store.nodes.get(order.node);
      const task = node?.tasks.find(upid);
      this.orders.delete(upid);
      if (node?.up && task && this.#store.guests.has(order.vmid)) this.#carryOut(node, order, task);
    }
  }

  #carryOut(node: NodeSim, order: GuestOrder, task?: Task): Task {
    const short = order.kind === 'qemu' ? 'qm' : 'vz';
    let upid = '';
    return node.tasks.script({
      type: `${short}${order.what}`,
      id: String(order.vmid),
      user: order.actor.user,
      task,
      script: (log, begun) => {
        ({ upid } = begun);
        this.orders.set(upid, order);
        this.#store.world.touch(this.#store.id);
        return order.what === 'restore' ? this.#restore(node, order, begun, log) : this.#destroy(node, order, log);
      },
      ended: (exit) => {
        this.orders.delete(upid);
        if (order.what === 'restore' && exit !== 'OK') this.#leave(node, order, exit);
        this.#store.world.touch(this.#store.id);
      },
    });
  }

  *#restore(node: NodeSim, order: RestoreOrder, task: Task, log: Log): Script {
    if (!node.up) throw new ProcessDies();
    try {
      yield* this.#fetch(node, order, task, log);
    } catch (error) {
      if (error instanceof ProcessDies) throw error;
      const { message } = error as Error;
      if (order.kind === 'lxc') throw new Error(`${unable(order)} ${message}`, { cause: error });
      log(
        `error before or during data restore, some or all disks were not completely restored. VM ${order.vmid} state is NOT cleaned up.`,
      );
      throw error;
    }
    if (!order.start) return;
    if (order.kind === 'qemu') log('Execute autostart');
    this.#store.start(order.vmid, order.actor);
  }

  *#fetch(node: NodeSim, order: RestoreOrder, task: Task, log: Log): Script<void> {
    const { vmid, kind } = order;
    const slow = node.bite('restore-slow', 'guest.restore', 'before');
    const ms = this.#store.world.timing.of('restoreGuest') * (slow ? Number(slow.params?.['factor'] ?? 10) : 1);
    if (node.bite('restore-fails', 'guest.restore', 'before'))
      throw broken(order, 'Input/output error (os error 5)', log);
    this.#admitOver(order);
    if (kind === 'lxc') log(`recovering backed-up configuration from '${order.archive}'`);
    const source = this.#store.storages.pbs(order.from);
    const { snapshot } = this.#open(source, order, log);
    const options = this.#optionsOf(order, snapshot, task);
    refuseBridges(options, order.bridges);
    if (kind === 'qemu') refuseDevices(options, order.mappings ?? []);
    this.#allocate(order, log);
    this.#wipe(node, order);
    describeStart(source, order, snapshot, log);

    yield ms / 2;
    node.reached('guest.restore', 'during');
    if (!node.up) throw new ProcessDies();
    if (node.bite('restore-fails', 'guest.restore', 'during'))
      throw broken(order, 'connection error: connection reset', log);
    if (kind === 'qemu') log(progress(snapshot, 50));
    // Asked anew: the server may be gone by now, and what it holds another.
    const { datastore } = this.#open(source, order, log);
    const damaged: string[] = [];
    for (const id of chunksOfSnapshot(snapshot)) {
      if (!datastore.chunks.has(id)) {
        const digest = digestOf(id);
        const file = `${datastore.config.path}/.chunks/${digest.slice(0, 4)}/${digest}`;
        throw broken(order, `reading file "${file}" failed: No such file or directory (os error 2)`, log);
      }
      if (!datastore.chunks.isDamaged(id)) continue;
      // Of what is encrypted the digest is over what only the guest can judge, so the rot shows in the guest.
      if (snapshot.fingerprint === undefined) throw broken(order, 'detected chunk with wrong digest.', log);
      damaged.push(placeOf(id));
    }

    yield ms / 2;
    if (!node.up) throw new ProcessDies();
    if (kind === 'qemu') {
      log(progress(snapshot, 100));
      const seconds = (ms * this.#store.world.timing.speed) / 1_000;
      const rate = (DISK_BYTES[kind] / 1024 ** 2 / seconds).toFixed(2);
      log(`restore image complete (bytes=${DISK_BYTES[kind]}, duration=${seconds.toFixed(2)}s, speed=${rate}MB/s)`);
      log('rescan volumes...');
    } else log('merging backed-up and given configuration..');
    this.#finish(node, order, options, {
      archive: order.archive,
      storage: order.storage,
      content: snapshot.content,
      damaged,
    });
    log(`${WORD[kind]} ${vmid} restored`);
  }

  /** What the client refuses before it fetches anything. */
  #open(source: PbsStorage, order: RestoreOrder, log: Log): ReturnType<PbsStorage['open']> {
    let opened: ReturnType<PbsStorage['open']>;
    try {
      opened = source.open(order.archive);
    } catch (error) {
      throw broken(order, (error as Error).message, log, 'config');
    }
    const why = keyTrouble(source, opened.snapshot);
    if (why !== undefined) throw broken(order, why, log, 'config');
    return opened;
  }

  /** Over an existing guest: only while it stands still and nobody protects it. */
  #admitOver(order: RestoreOrder): void {
    const guest = this.#store.guests.get(order.vmid);
    if (!guest) throw new ProcessDies();
    const prefix = order.kind === 'qemu' ? `${unable(order)} ` : '';
    if (guest.options?.['protection'] === '1') throw new Error(`${prefix}- protection mode enabled`);
    if (guest.status !== 'running') return;
    throw new Error(order.kind === 'qemu' ? `${prefix}vm is running` : "can't overwrite running container");
  }

  #allocate({ storage, vmid, kind }: RestoreOrder, log: Log): void {
    const { layout, storages } = this.#store;
    const disk = layout.disks.find((each) => each.storage === storage);
    const content = contentOf(kind);
    if (!disk?.content.split(',').includes(content)) {
      throw new Error(`Content type '${content}' is not available on storage '${storage}'`);
    }
    if (storages.full.includes(storage)) {
      throw new Error(
        `lvcreate '${storage}/vm-${vmid}-disk-0' error:   Cannot create new thin volume, free space in thin pool ${storage}/data reached threshold.`,
      );
    }
    if (kind === 'qemu') log(`new volume ID is '${storage}:vm-${vmid}-disk-0'`);
    else log(`  Logical volume "vm-${vmid}-disk-0" created.`);
  }

  /** From here on what was there before is lost. */
  #wipe(node: NodeSim, order: RestoreOrder): void {
    const guest = this.#store.guests.get(order.vmid);
    if (!guest || isShell(guest)) return;
    this.#remove(node, guest, order.actor, { cause: 'restore' });
    const shell = this.#shell(order);
    shell.lock = 'create';
    this.#store.guests.set(order.vmid, shell);
  }

  #finish(node: NodeSim, order: RestoreOrder, options: Record<string, string>, restored: Restored): void {
    const { vmid, pool, actor, storage, archive } = order;
    const { content } = restored;
    const guest = new GuestSim(this.#specFor(order, content), order.node, content?.origin, restored);
    guest.options = options;
    guest.pool = pool;
    guest.writes = { count: content?.revision ?? 1, at: content?.writtenAt ?? Date.now() };
    guest.fill();
    this.#store.guests.set(vmid, guest);
    const detail = { archive, storage, pool, nets: netsIn(options).map(({ bridge }) => bridge) };
    const after = { name: guest.name, origin: guest.origin, revision: content?.revision };
    node.record('guest.restore', actor.by, { guest: vmid, after, detail });
  }

  /** What a restore that failed leaves: of a VM its id without a disk, in no pool; of a container nothing. */
  #leave(node: NodeSim, order: RestoreOrder, exit: string): void {
    const guest = this.#store.guests.get(order.vmid);
    // One that was restored and did not start is a restored guest all the same.
    if (!guest || (guest.hasDisk && guest.restored?.archive === order.archive)) return;
    // A process that died takes its lock back no more.
    if (exit !== PVE_TASKS.lost && guest.lock === 'create') guest.lock = undefined;
    if (exit !== PVE_TASKS.lost && isShell(guest) && order.kind === 'lxc') this.#store.guests.delete(order.vmid);
    node.record('guest.restore.fail', order.actor.by, { guest: order.vmid, detail: { archive: order.archive, exit } });
  }

  *#destroy(node: NodeSim, order: DestroyOrder, log: Log): Script {
    const ms = this.#store.world.timing.of('destroyGuest');
    const find = (): GuestSim => {
      const guest = this.#store.guestOn(node.name, order.kind, order.vmid);
      admitDestroy(guest, order);
      if (guest.lock !== undefined) throw new Error(`${WORD[order.kind]} is locked (${guest.lock})`);
      return guest;
    };
    if (!node.up) throw new ProcessDies();
    find();
    yield ms / 2;
    node.reached('guest.destroy', 'during');
    if (!node.up) throw new ProcessDies();
    yield ms / 2;
    const guest = find();
    if (guest.hasDisk) log(`  Logical volume "vm-${order.vmid}-disk-0" successfully removed.`);
    if (order.purge) log(`purging ${WORD[order.kind]} ${order.vmid} from related configurations..`);
    if (guest.status === 'running') this.#store.haltGuest(guest, order.actor.by);
    this.#remove(node, guest, order.actor, { purge: order.purge });
  }

  #remove(node: NodeSim, guest: GuestSim, actor: Actor, detail: Record<string, unknown>): void {
    this.#store.guests.delete(guest.vmid);
    if (!guest.restored) this.#store.gone.add(guest.vmid);
    const { name, origin, pool, restored } = guest;
    const before = { name, origin, pool, storage: restored?.storage ?? this.#store.layout.ownDisks };
    node.record('guest.destroy', actor.by, {
      guest: guest.vmid,
      before,
      detail: { restored: restored !== undefined, ...detail },
    });
  }

  /** A guest that has an id and settings, and no disk. */
  #shell({ vmid, kind, node, archive, storage }: RestoreOrder): GuestSim {
    const restored: Restored = { archive, storage, content: undefined, damaged: [] };
    const guest = new GuestSim(plainSpec(vmid, kind, `VM${vmid}`), node, `${this.#store.id}/${vmid}`, restored);
    // There is nothing to start, and no card to start it on.
    guest.options = { net0: null, onboot: null };
    return guest;
  }

  /** The settings in a backup, as the nodes show them without restoring it. */
  archived(from: string, archive: string): Record<string, string> {
    const source = this.#store.storages.pbs(from);
    const { snapshot } = source.open(archive);
    const why = keyTrouble(source, snapshot);
    if (why !== undefined) throw new Error(`unable to extract the configuration: ${why}`);
    const { content } = snapshot;
    const number = Number(content.origin.split('/')[1] ?? 0);
    return this.#settingsOf(content.kind, content.origin, (nth) => macOf(number, nth));
  }

  #originalOf(origin: string): GuestSpec | undefined {
    const [store = '', number = ''] = origin.split('/');
    return this.#store.world.site(store)?.spec.guests.find((each) => each.vmid === Number(number));
  }

  #settingsOf(kind: 'qemu' | 'lxc', origin: string, mac: (nth: number) => string): Record<string, string> {
    const original = this.#originalOf(origin);
    return { onboot: '1', ...cardsOf(kind, original, mac), ...original?.devices };
  }

  /** The guest that the backup is of, as the fleet knows it. */
  #specFor({ vmid, kind, storage }: RestoreOrder, content: Restored['content']): GuestSpec {
    const spec = this.#originalOf(content?.origin ?? '');
    if (!spec) return plainSpec(vmid, kind, `restored-${vmid}`);
    const { health: _health, metrics: _metrics, node: _node, disks: _disks, ...rest } = spec;
    const disks = restoredDisks(content ?? {}, { vmid, storage });
    return { ...rest, vmid, ha: false, running: false, disks };
  }

  /** Settings of the backup under those that were given. With `unique` its cards get addresses of their own. */
  #optionsOf(order: RestoreOrder, { content }: Snapshot, task: Task): Record<string, string> {
    const number = Number(content.origin.split('/')[1] ?? 0);
    const mac = (nth: number): string =>
      order.unique ? freshMac(`${order.vmid} ${nth} ${task.upid}`) : macOf(number, nth);
    return { ...this.#settingsOf(order.kind, content.origin, mac), ...order.options };
  }
}

const unable = ({ kind, vmid }: { kind: 'qemu' | 'lxc'; vmid: number }): string =>
  `unable to restore ${WORD[kind]} ${vmid} -`;

/** What a storage has to be for, to hold disks of a kind. */
export const contentOf = (kind: 'qemu' | 'lxc'): string => (kind === 'qemu' ? 'images' : 'rootdir');

const isShell = ({ restored, hasDisk }: GuestSim): boolean => restored !== undefined && !hasDisk;

const plainSpec = (vmid: number, kind: 'qemu' | 'lxc', name: string): GuestSpec => ({
  vmid,
  name,
  kind,
  role: 'other',
  config: [],
  ha: false,
  running: false,
});

function admitDestroy(guest: GuestSim, { kind, vmid, purge, force }: DestroyOrder): void {
  const word = WORD[kind];
  if (guest.options?.['protection'] === '1') throw new Error(`can't remove ${word} ${vmid} - protection mode enabled`);
  if (guest.ha && !purge) {
    throw new Error(`unable to remove ${word} ${vmid} - used in HA resources and purge parameter not set.`);
  }
  if (guest.status !== 'running' || force) return;
  throw new Error(
    kind === 'qemu' ? `VM ${vmid} is running - destroy failed` : `unable to destroy CT ${vmid} - container is running`,
  );
}

/** The reason stands in the log, the error says only which program failed: that is how the real one tells it. */
function broken(order: RestoreOrder, why: string, log: Log, what: 'config' | 'data' = 'data'): Error {
  const { kind, archive, vmid } = order;
  const name = archive.replace(/^[^:]+:backup\//, '');
  if (kind === 'qemu' && what === 'data') {
    log(`restore failed: ${why}`);
    return new Error(
      `command '/usr/bin/pbs-restore ${name} drive-scsi0.img.fidx /dev/${order.storage}/vm-${vmid}-disk-0 --verbose --format raw --skip-zero' failed: exit code 255`,
    );
  }
  log(`Error: ${why}`);
  const file = kind === 'qemu' ? 'qemu-server.conf' : what === 'config' ? 'pct.conf' : 'root.pxar';
  return new Error(`command '/usr/bin/proxmox-backup-client restore ${name} ${file}' failed: exit code 255`);
}

/** Why the storage cannot read what is in a backup; undefined when it can. */
function keyTrouble({ config: { encryptionKey } }: PbsStorage, { fingerprint }: Snapshot): string | undefined {
  if (fingerprint === undefined || fingerprint === encryptionKey) return undefined;
  return encryptionKey === undefined
    ? `missing key - manifest was created with key ${short(fingerprint)}`
    : `wrong key - manifest's key ${short(fingerprint)} does not match provided key ${short(encryptionKey)}`;
}

/** The first eight bytes, as people are shown a key. */
const short = (fingerprint: string): string => fingerprint.slice(0, 23);

function describeStart(source: PbsStorage, order: RestoreOrder, { fingerprint }: Snapshot, log: Log): void {
  const { token, datastore, storage } = source.config;
  const repository = `${token.id}@${source.pbs.address}:${datastore}`;
  const name = order.archive.replace(/^[^:]+:backup\//, '');
  if (order.kind === 'lxc') {
    log(`restoring '${order.archive}' now..`);
    return;
  }
  log(
    `restore proxmox backup image: /usr/bin/pbs-restore --repository ${repository} ${name} drive-scsi0.img.fidx /dev/${order.storage}/vm-${order.vmid}-disk-0 --verbose --format raw --skip-zero`,
  );
  log(`connecting to repository '${repository}'`);
  if (fingerprint !== undefined) {
    log(`using encryption keyfile '/etc/pve/priv/storage/${storage}.enc'`);
    log(`Encryption key fingerprint: '${short(fingerprint)}'`);
  }
  log(`starting to restore snapshot '${name}'`);
  log('download and verify backup index');
}

const progress = ({ content }: Snapshot, percent: number): string =>
  `progress ${percent}% (read ${Math.floor((DISK_BYTES[content.kind] * percent) / 100)} bytes)`;

/** Of the nth card of a guest. */
export const macOf = (number: number, nth: number): string => `BC:24:11:00:${hexOf(nth)}:${hexOf(number)}`;
const hexOf = (number: number): string => (number % 256).toString(16).padStart(2, '0').toUpperCase();

const freshMac = (seed: string): string => {
  const hex = createHash('sha256').update(seed).digest('hex').slice(0, 6).toUpperCase();
  return ['BC:24:11', ...(hex.match(/../g) ?? [])].join(':');
};

export const cardsOf = (
  kind: 'qemu' | 'lxc',
  spec: Pick<GuestSpec, 'bridges'> | undefined,
  mac: (nth: number) => string,
): Record<string, string> =>
  Object.fromEntries(
    (spec?.bridges ?? ['vmbr0']).map((bridge, nth) => [
      `net${nth}`,
      kind === 'qemu'
        ? `virtio=${mac(nth)},bridge=${bridge}`
        : `name=eth${nth},bridge=${bridge},hwaddr=${mac(nth)},ip=dhcp,type=veth`,
    ]),
  );

/** Network cards of a guest that are plugged in, from its settings. */
export function netsIn(options: Record<string, string | null>): { name: string; bridge: string }[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (!/^net\d+$/.test(name) || value === null || /(^|,)link_down=1(,|$)/.test(value)) return [];
    const bridge = bridgeIn(value);
    return bridge === undefined ? [] : [{ name, bridge }];
  });
}

export const bridgeIn = (card: string): string | undefined => /(?:^|,)bridge=([^,]+)/.exec(card)?.[1];

function refuseBridges(options: Record<string, string>, allowed: readonly string[]): void {
  for (const [name, value] of Object.entries(options)) {
    const bridge = /^net\d+$/.test(name) ? bridgeIn(value) : undefined;
    if (bridge !== undefined && !allowed.includes(bridge)) {
      throw new Error(`403 Permission check failed (/sdn/zones/localnetwork/${bridge}, SDN.Use)`);
    }
  }
}
