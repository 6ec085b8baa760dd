import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { join } from 'node:path';
import type { RestoreDeps } from '#activities/restore/deps.js';
import { createRestoreActivities } from '#activities/restore/index.js';
import type { CopyTask, ProbeTask, RestoreActivities, TrialAnswer, TrialTask } from '#domain/messages/restore.js';
import { checkJournal } from '#lab/check/check.js';
import { snapshotOf, type StoreSnapshot } from '#lab/control/snapshot.js';
import { writeStagingEnrolment } from '#lab/staging-enrolment.js';
import type { FaultSpec } from '#lab/world/faults.js';
import { GuestSim } from '#lab/world/guest-sim.js';
import { readConfigFile, stagingWorkerSchema, type StagingWorkerConfig } from '#workers/config.js';
import { openSite } from '#workers/site.js';
import { PracticeStaging } from '../../lab/staging/practice-staging.js';

/** The practice staging site, and the worker of it as its own file says, over real HTTP and SSH. */
export class PracticeRestore {
  readonly staging: PracticeStaging;
  readonly config: StagingWorkerConfig;
  deps: RestoreDeps;
  #closeSite: () => Promise<void>;
  readonly #atStart: StoreSnapshot[];
  readonly #environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });

  private constructor(
    staging: PracticeStaging,
    config: StagingWorkerConfig,
    site: Awaited<ReturnType<typeof openSite>>,
  ) {
    this.staging = staging;
    this.config = config;
    this.deps = site.deps;
    this.#closeSite = site.close;
    this.#atStart = staging.lab.world.sites.map(snapshotOf);
  }

  static async start(): Promise<PracticeRestore> {
    const staging = await PracticeStaging.start();
    const { site, central, lab } = staging;
    const { caPem } = await lab.authorities.storeAuthority('staging');
    const folder = await writeStagingEnrolment(site, central, { namespace: 'default', temporal: '127.0.0.1:9', caPem });
    const read = await readConfigFile(join(folder, 'staging.json'), stagingWorkerSchema);
    const timing = { poll: 10, grace: 300, away: 300, restore: 20_000, boot: 1_500, remove: 5_000, command: 5_000 };
    const config = { ...read, timing };
    return new PracticeRestore(staging, config, await openSite(config));
  }

  async close(): Promise<void> {
    await this.#closeSite();
    await this.staging.close();
  }

  /** Another process of the worker, with what is on its disk. */
  async restart(): Promise<void> {
    await this.#closeSite();
    const { deps, close } = await openSite(this.config);
    this.deps = deps;
    this.#closeSite = close;
  }

  /** Calls activities as a worker would. */
  worker(change: Partial<RestoreDeps> = {}): RestoreActivities {
    const activities = createRestoreActivities({ ...this.deps, ...change });
    return Object.fromEntries(
      Object.entries(activities).map(([name, run]) => [
        name,
        (argument: never) => this.#environment.run(run as (argument: never) => Promise<unknown>, argument),
      ]),
    ) as unknown as RestoreActivities;
  }

  readonly copy: CopyTask = { protocol: 1, fleet: 'practice', run: 'restores-2026-w48', store: 'store-001' };

  /** A guest backed up at its store just now, as what is to be tried. */
  trial(vmid: number, as = 90_000 + vmid, volid = this.staging.backUp(vmid)): TrialTask {
    const [, type = '', , time = ''] = volid.split('/');
    const snapshot = { type: type as 'vm' | 'ct', id: String(vmid), time: Date.parse(time) / 1_000 };
    return { ...this.copy, vmid, as, snapshot };
  }

  probing(task: TrialTask, ...command: string[]): ProbeTask {
    return { ...task, probes: [{ name: 'self-test', command, within: 300 }] };
  }

  volidOf({ snapshot: { type, id, time } }: TrialTask): string {
    return `test-store-001:backup/${type}/${id}/${new Date(time * 1_000).toISOString().slice(0, 19)}Z`;
  }

  /** Restores it, as far as that. */
  async restored(task: TrialTask): Promise<TrialTask> {
    doneOf(await this.worker().openCopy(this.copy));
    doneOf(await this.worker().restoreGuest(task));
    return task;
  }

  fault(spec: Omit<FaultSpec, 'store'> & { store?: string }): void {
    this.staging.lab.world.faults.add({ store: 'staging', ...spec });
  }

  nodeOf(vmid: number): string {
    return this.staging.site.guests.get(vmid)!.node;
  }

  /** Somebody makes a guest with an id for tests, on the node that had one of a test with it; the tasks stay as they are. */
  somebodyMakes(vmid: number, kind: 'qemu' | 'lxc', node: string, options: Record<string, string>): void {
    const guest = new GuestSim(
      { vmid, name: 'mine', kind, role: 'other', config: [], ha: false, running: false },
      node,
    );
    this.staging.site.guests.set(vmid, Object.assign(guest, { options }));
  }

  /** A task about the id as somebody else left it, younger than all that are there; `exit` is its last word. */
  somebodyDid(type: string, vmid: number, node: string, exit = 'OK'): void {
    const { tasks } = this.staging.site.nodes.get(node)!;
    const younger = 60;
    const { task, end } = tasks.open({ type, id: String(vmid), user: 'root@pam' });
    end(exit);
    const startTime = task.starttime + younger;
    tasks.all.splice(tasks.all.indexOf(task), 1, { ...task, starttime: startTime, endtime: startTime });
  }

  /** Somebody plugs the bridge of the restored guests into the network. */
  openBridge(): void {
    const { site } = this.staging;
    const { bridge } = this.config.place;
    const bridges = site.layout.bridges.map((one) => (one.iface === bridge ? { ...one, ports: 'eno2' } : one));
    Object.assign(site, { layout: { ...site.layout, bridges } });
  }

  /** Restores that began. */
  get restores(): number {
    return this.#restoreTasks.length;
  }

  /** Restores that are still at work. */
  get restoring(): number {
    return this.#restoreTasks.filter(({ exitstatus }) => exitstatus === undefined).length;
  }

  get #restoreTasks() {
    const tasks = [...this.staging.site.nodes.values()].flatMap((node) => node.tasks.all);
    return tasks.filter(({ type }) => type.endsWith('restore'));
  }

  /** Rules of the lab that were broken. */
  violations(): string[] {
    const { lab, site } = this.staging;
    const report = checkJournal(lab.world.journal.entries, {
      atStart: this.#atStart,
      now: [snapshotOf(lab.store)],
      staging: snapshotOf(site),
      evidence: { byStore: new Map(), permits: new Map() },
    });
    return report.rules.flatMap(({ id, violations }) => violations.map(({ summary }) => `${id}: ${summary}`));
  }
}

export function failureIn(answer: TrialAnswer<object>): Extract<TrialAnswer<object>, { kind: 'failed' }> {
  if (answer.kind !== 'failed') throw new Error(JSON.stringify(answer));
  return answer;
}

export function doneOf<T>(answer: TrialAnswer<T>): T {
  if (answer.kind !== 'done') throw new Error(JSON.stringify(answer));
  return answer;
}
