import type { Fault } from '../faults.js';
import type { FaultKind, Moment, Step } from '../fault-table.js';
import { PBS_TASKS } from '../task-form.js';
import { TaskList, type Task } from '../tasks.js';
import { Timers } from '../timers.js';
import type { Timing } from '../timing.js';
import type { World } from '../world.js';
import { privilegesOn, type AclEntry } from './access.js';
import { BackupSession, type BackupOffer } from './backup-session.js';
import { chunksOf } from './content.js';
import { Datastore, PbsError, chunksOfSnapshot, type DatastoreConfig, type DatastorePart } from './datastore.js';
import type { PruneJob, Remote, S3Client, SyncJob, VerifyJob } from './jobs.js';
import { scriptOf, titleOf, type Order } from './work.js';

export interface PbsSpec {
  /** The store's id, or `central`. */
  id: string;
  address: string;
  port: number;
  datastores: DatastoreConfig[];
}

export interface PbsToken {
  /** `user@realm!name`. */
  id: string;
  secret: string;
  expired: boolean;
}

/** How the last run of a job ended; a restart forgets nothing of it. */
export interface LastRun {
  upid: string;
  state?: string;
  endtime?: number;
}

/** A part of the state of a backup server, for a log of states: see `parts`. */
export type PbsPart =
  | { what: 'server'; up: boolean; runs: [string, LastRun][] }
  | { what: 'verify-job'; job: VerifyJob }
  | { what: 'prune-job'; job: PruneJob }
  | { what: 'sync-job'; job: SyncJob }
  | { what: 'remote'; remote: Remote }
  | { what: 's3'; client: S3Client }
  | { what: 'task'; task: Task; order?: Order | undefined }
  | { what: 'datastore'; store: string; part: DatastorePart };

/** One Proxmox Backup Server: of a store, or the central one. What runs on it dies with it. */
export class PbsSim {
  readonly id: string;
  /** As in its task ids: who verified a snapshot can be told by it. */
  readonly hostname: string;
  readonly address: string;
  readonly port: number;
  readonly world: World;
  readonly timers: Timers;
  readonly tasks: TaskList;
  readonly datastores = new Map<string, Datastore>();
  readonly tokens: PbsToken[] = [];
  readonly acl: AclEntry[] = [];
  readonly remotes = new Map<string, Remote>();
  readonly s3 = new Map<string, S3Client>();
  readonly verifyJobs = new Map<string, VerifyJob>();
  readonly pruneJobs = new Map<string, PruneJob>();
  readonly syncJobs = new Map<string, SyncJob>();
  /** By `<kind> <job id>`. */
  readonly runs = new Map<string, LastRun>();
  up = true;
  /** Of its certificate, once somebody asked for it. */
  fingerprint: string | undefined;
  readonly bootedAt = Date.now() - 90 * 86_400_000;
  readonly #orders = new Map<string, Order>();
  readonly #dirty = new Set<string>();
  /** Parts that an installer made and somebody took away. */
  readonly #gone = new Set<string>();

  constructor(world: World, { id, address, port, datastores }: PbsSpec) {
    this.id = id;
    this.hostname = `pbs-${id}`;
    this.address = address;
    this.port = port;
    this.world = world;
    this.timers = new Timers(() => world.touchPbs(this));
    this.tasks = new TaskList(this.hostname, this.timers, Date.now, PBS_TASKS);
    for (const config of datastores) this.addDatastore(config);
  }

  get timing(): Timing {
    return this.world.timing;
  }

  get quiet(): boolean {
    return this.timers.size === 0;
  }

  addDatastore(config: DatastoreConfig): Datastore {
    const datastore = new Datastore(config, (part) => this.touch(`datastore ${config.name} ${part}`));
    this.datastores.set(config.name, datastore);
    return datastore;
  }

  datastore(name: string): Datastore {
    const datastore = this.datastores.get(name);
    if (!datastore) throw new PbsError(`no such datastore '${name}'`);
    return datastore;
  }

  privileges(authId: string, path: string): string[] {
    return privilegesOn(this.acl, authId, path);
  }

  /** A known token with its secret, else the refusal of the real server. */
  login(id: string, secret: string): PbsToken {
    const token = this.tokens.find((each) => each.id === id && each.secret === secret && !each.expired);
    if (!token) throw new PbsError('authentication failed', 401);
    return token;
  }

  /** The other end of a remote: a fault may be set there as well as at the server that has the job. */
  storeBehind(remote: string | undefined): string {
    const host = this.remotes.get(remote ?? '')?.host;
    return [...this.world.pbs.values()].find(({ address }) => address === host)?.id ?? this.id;
  }

  /** A trap that bites here, or at the store that the work is about. */
  bites(kind: FaultKind, step: Step, moment: Moment, store: string = this.id): boolean {
    const places = store === this.id ? [store] : [this.id, store];
    return places.some((place) => this.world.faults.bite(kind, { store: place, step, moment }) !== undefined);
  }

  record(effect: string, by: string, detail: Record<string, unknown>, guest?: number): void {
    const which = guest === undefined ? {} : { guest };
    this.world.journal.record({ store: this.id, ...which, effect, by, detail: { pbs: this.hostname, ...detail } });
  }

  reached(step: Step, moment: 'before' | 'during'): void {
    this.world.faults.reached(this.id, undefined, step, moment);
  }

  // Work

  /** Starts work as a task; throws what the real one refuses before there is a task. */
  start(order: Order, user: string): Task {
    if (order.kind === 'gc' && this.#runs((other) => other.kind === 'gc' && other.store === order.store)) {
      throw new PbsError('garbage collection already running');
    }
    const { job } = order;
    if (job !== undefined && this.#runs((other) => other.kind === order.kind && other.job === job)) {
      throw new PbsError(`unable to start job '${job}' - could not acquire lock: job already running`);
    }
    return this.#carryOut(order, { ...titleOf(order), user });
  }

  isCollecting(store: string): boolean {
    return this.#runs((order) => order.kind === 'gc' && order.store === store);
  }

  /** A client begins to send a backup. */
  backup(offer: BackupOffer): BackupSession {
    return new BackupSession(this, offer);
  }

  #runs(match: (order: Order) => boolean): boolean {
    return [...this.#orders.values()].some(match);
  }

  #carryOut(order: Order, request: { type: string; id: string; user: string; task?: Task }): Task {
    let upid = request.task?.upid;
    return this.tasks.script({
      ...request,
      script: (log, begun) => {
        upid = begun.upid;
        this.#orders.set(begun.upid, order);
        this.#noteRun(order, { upid: begun.upid });
        this.touchTask(begun);
        return scriptOf(this, order, { log, upid: begun.upid, user: request.user });
      },
      ended: (state) => {
        this.#orders.delete(upid ?? '');
        this.touch(`task ${upid}`);
        this.#noteRun(order, { upid: upid ?? '', state, endtime: Math.floor(Date.now() / 1_000) });
      },
    });
  }

  #noteRun(order: Order, run: LastRun): void {
    const name = order.kind === 'gc' ? order.store : order.job;
    if (name === undefined) return;
    this.runs.set(`${order.kind} ${name}`, run);
    this.touch('server');
  }

  // Power

  /** It loses its power: what runs has died when it is back. */
  powerOff(by: string): void {
    if (!this.up) return;
    this.up = false;
    this.touch('server');
    this.tasks.die();
    this.#orders.clear();
    this.record('pbs.down', by, {});
    this.world.emitPbs(this);
  }

  powerOn(by: string): void {
    if (this.up) return;
    this.up = true;
    this.touch('server');
    this.record('pbs.up', by, {});
    this.world.emitPbs(this);
  }

  beginFault(fault: Fault): void {
    const datastore = this.datastores.get(String(fault.params?.['datastore'])) ?? [...this.datastores.values()][0];
    switch (fault.kind) {
      case 'chunk-corrupt':
        if (datastore) this.#corrupt(datastore, fault);
        return;
      case 'datastore-full':
        return this.#fill(datastore, true);
      case 'pbs-down':
        return this.powerOff('lab');
      default:
        return;
    }
  }

  /** A rotten chunk stays rotten. */
  endFault(fault: Fault): void {
    const datastore = this.datastores.get(String(fault.params?.['datastore'])) ?? [...this.datastores.values()][0];
    if (fault.kind === 'datastore-full') this.#fill(datastore, false);
    if (fault.kind === 'pbs-down') this.powerOn('lab');
  }

  #fill(datastore: Datastore | undefined, full: boolean): void {
    if (!datastore) return;
    datastore.full = full;
    datastore.touchSettings();
  }

  /** One data chunk of a guest's newest finished snapshot; without a guest, of the newest of all. */
  #corrupt(datastore: Datastore, { params = {} }: Fault): void {
    const groups = datastore
      .allGroups()
      .filter(({ ns }) => params['ns'] === undefined || ns === params['ns'])
      .filter(({ id }) => params['vmid'] === undefined || id === String(params['vmid']));
    const newest = groups
      .flatMap((group) => group.snapshots)
      .filter(({ finished }) => finished)
      .sort((a, b) => b.time - a.time)[0];
    if (!newest) return;
    const chunks = chunksOfSnapshot(newest).filter((id) => datastore.chunks.has(id));
    // What only this guest has, so that no other is hit; the newest of it, so that older snapshots may be spared.
    const older = new Set(chunksOf({ ...newest.content, revision: newest.content.revision - 1 }, newest.fingerprint));
    const own = chunks.filter((id) => id.includes(newest.content.origin));
    const id = own.find((each) => !older.has(each)) ?? own[0] ?? chunks[0];
    if (id !== undefined) datastore.chunks.damage(id);
  }

  // State

  touch(part: string): void {
    this.#dirty.add(part);
    this.world.touchPbs(this);
  }

  touchTask(task: Task): void {
    this.touch(`task ${task.upid}`);
  }

  parts(): string[] {
    return [
      'server',
      ...this.#gone,
      ...[...this.verifyJobs.keys()].map((id) => `verify-job ${id}`),
      ...[...this.pruneJobs.keys()].map((id) => `prune-job ${id}`),
      ...[...this.syncJobs.keys()].map((id) => `sync-job ${id}`),
      ...[...this.remotes.keys()].map((id) => `remote ${id}`),
      ...[...this.s3.keys()].map((id) => `s3 ${id}`),
      ...this.tasks.all.slice(-MAX_TASKS).map(({ upid }) => `task ${upid}`),
      ...[...this.datastores.values()].flatMap(({ name }) =>
        (this.datastores.get(name)?.parts() ?? []).map((part) => `datastore ${name} ${part}`),
      ),
    ];
  }

  /** The parts that changed since this was asked before. */
  takeChanges(): string[] {
    const changes = [...this.#dirty];
    this.#dirty.clear();
    return changes;
  }

  /** Undefined for what is not there any more. */
  dump(part: string): PbsPart | undefined {
    const [what = '', name = ''] = part.split(' ');
    const job = <J, P>(found: J | undefined, made: (found: J) => P): P | undefined => found && made(found);
    switch (what) {
      case 'server':
        return { what, up: this.up, runs: [...this.runs] };
      case 'verify-job':
        return job(this.verifyJobs.get(name), (found) => ({ what, job: found }));
      case 'prune-job':
        return job(this.pruneJobs.get(name), (found) => ({ what, job: found }));
      case 'sync-job':
        return job(this.syncJobs.get(name), (found) => ({ what, job: found }));
      case 'remote':
        return job(this.remotes.get(name), (remote) => ({ what, remote }));
      case 's3':
        return job(this.s3.get(name), (client) => ({ what, client }));
      case 'task':
        return job(this.tasks.find(name), (task) => ({ what, task, order: this.#orders.get(name) }));
      default: {
        const inner = this.datastores.get(name)?.dump(part.slice(`datastore ${name} `.length));
        return inner && { what: 'datastore', store: name, part: inner };
      }
    }
  }

  /** Puts the parts of an earlier lab in place. Tasks go on with `resume`. */
  load(parts: ReadonlyMap<string, PbsPart | null>): void {
    const tasks: Task[] = [];
    for (const [name, saved] of parts) {
      if (saved === null) this.#remove(name);
      else this.#put(name, saved, tasks);
    }
    this.tasks.load(tasks.sort((a, b) => a.starttime - b.starttime || a.pid - b.pid).slice(-MAX_TASKS));
  }

  #put(name: string, saved: PbsPart, tasks: Task[]): void {
    switch (saved.what) {
      case 'server':
        this.up = saved.up;
        for (const [job, run] of saved.runs) this.runs.set(job, run);
        break;
      case 'verify-job':
        this.verifyJobs.set(saved.job.id, saved.job);
        break;
      case 'prune-job':
        this.pruneJobs.set(saved.job.id, saved.job);
        break;
      case 'sync-job':
        this.syncJobs.set(saved.job.id, saved.job);
        break;
      case 'remote':
        this.remotes.set(saved.remote.name, saved.remote);
        break;
      case 's3':
        this.s3.set(saved.client.id, saved.client);
        break;
      case 'task':
        tasks.push(saved.task);
        if (saved.order) this.#orders.set(saved.task.upid, saved.order);
        break;
      case 'datastore': {
        const datastore = this.datastores.get(saved.store) ?? this.addDatastore(configIn(saved.store, saved.part));
        datastore.load(name.slice(`datastore ${saved.store} `.length), saved.part);
      }
    }
  }

  /** A job, remote or the like is taken out of the configuration, for good. */
  forget(part: string): void {
    this.#remove(part);
    this.touch(part);
  }

  #remove(part: string): void {
    const [what = '', name = ''] = part.split(' ');
    const maps: Record<string, Map<string, unknown>> = {
      'verify-job': this.verifyJobs,
      'prune-job': this.pruneJobs,
      'sync-job': this.syncJobs,
      remote: this.remotes,
      s3: this.s3,
    };
    if (maps[what]?.delete(name)) this.#gone.add(part);
  }

  /** Goes on with what was under way when the lab ended. Whoever sent a backup begins anew, so what is half is taken away. */
  resume(): void {
    for (const datastore of this.datastores.values()) {
      for (const group of datastore.allGroups()) {
        for (const snapshot of group.snapshots.filter(({ finished }) => !finished)) {
          datastore.removeSnapshot(group, snapshot);
        }
      }
    }
    for (const [upid, order] of [...this.#orders]) {
      const task = this.tasks.find(upid);
      this.#orders.delete(upid);
      if (task && this.up) this.#carryOut(order, { ...titleOf(order), user: task.user, task });
    }
    this.tasks.buryDead();
  }

  close(): void {
    this.timers.drop();
  }
}

const MAX_TASKS = 60;

const configIn = (name: string, part: DatastorePart): DatastoreConfig =>
  part.what === 'settings' ? part.config : { name, path: `/mnt/datastore/${name}` };
