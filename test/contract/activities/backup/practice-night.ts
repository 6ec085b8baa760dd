import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { StoreBackup } from '#activities/backup/deps.js';
import { createStoreBackupActivities } from '#activities/backup/index.js';
import type { StoreDeps } from '#activities/store/deps.js';
import { createOperation } from '#activities/store/operation.js';
import type { DumpTask, StoreBackupActivities } from '#domain/messages/backup.js';
import { writeEnrolment } from '#lab/enrolment.js';
import type { FaultSpec } from '#lab/world/faults.js';
import type { JournalEntry } from '#lab/world/journal.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { createPbsClient } from '#systems/pbs/client.js';
import type { PbsClient } from '#systems/pbs/types.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import type { ProxmoxClient } from '#systems/proxmox/types.js';
import { readConfigFile, storeWorkerSchema, type StoreWorkerConfig } from '#workers/config.js';
import { memoryStoreState } from '../../../support/memory-store-state.js';
import { startPracticeStore, type PracticeStore } from '../../lab/pve/practice-store.js';

/** A practice store with its backup server, and the worker of it as its own file says, over real HTTP. */
export interface PracticeNight {
  lab: PracticeStore;
  pbs: PbsSim;
  central: PbsSim;
  config: StoreWorkerConfig & { backup: NonNullable<StoreWorkerConfig['backup']> };
  proxmox: ProxmoxClient;
  verifier: PbsClient;
  pruner: PbsClient;
  /** As the worker's file says. */
  backup: StoreBackup;
  deps: StoreDeps;
  task: DumpTask;
  /** Another process of the store worker with the same memory. */
  worker(change?: { deps?: Partial<StoreDeps>; backup?: Partial<StoreBackup> | null }): StoreBackupActivities;
  fault(spec: Omit<FaultSpec, 'store'>): void;
  effects(name: string): JournalEntry[];
  close(): Promise<void>;
}

export async function startPracticeNight(): Promise<PracticeNight> {
  const lab = await startPracticeStore({ backup: true });
  const { store, world, authorities } = lab;
  const pbs = store.pbs as PbsSim;
  const central = world.pbs.get('central') as PbsSim;
  pbs.fingerprint = (await authorities.selfSigned(pbs.id, pbs.hostname, pbs.address)).fingerprint;
  const nothing = '127.0.0.1:9';
  const addresses = { temporal: nothing, registry: nothing, releaseKeys: 'none', namespace: 'default' };
  const folder = await writeEnrolment(store, { fleet: 'practice', caPem: lab.ca, ...addresses });
  const config = (await readConfigFile(
    join(folder, 'store-worker.json'),
    storeWorkerSchema,
  )) as PracticeNight['config'];
  const secret = async (path: string) => (await readFile(path, 'utf8')).trim();
  const { node, address, port, fingerprint, datastore, namespace } = config.backup.pbs;
  const clientWith = async (file: string) =>
    createPbsClient({ name: node, address, port, fingerprint, token: await secret(file) });
  const verifier = await clientWith(config.backup.pbs.verifyTokenFile);
  const pruner = await clientWith(config.backup.pbs.pruneTokenFile);
  const proxmox = createProxmoxClient({
    nodes: config.proxmox.nodes,
    token: await secret(config.proxmox.tokenFile),
    ca: await secret(config.proxmox.caFile),
  });
  const { storage, sendJob } = config.backup;
  const backup: StoreBackup = { storage, sendJob, pbs: { node, verifier, pruner, datastore, namespace } };
  // A dump on a store that carries no marks asks neither its nodes, nor Ceph, nor the registry.
  const deps = {
    store: store.id,
    proxmox,
    nodes: new Map(),
    state: memoryStoreState(),
    timing: { ...config.timing, poll: 10, rebootGrace: 300, reboot: 1_000 },
    now: () => new Date(),
    uptime: () => performance.now(),
  } as unknown as StoreDeps;
  const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
  return {
    lab,
    pbs,
    central,
    config,
    proxmox,
    verifier,
    pruner,
    backup,
    deps,
    task: {
      protocol: 1,
      store: store.id,
      fleet: 'practice',
      night: 'night-2026-11-26',
      operationId: `night-2026-11-26/${store.id}/r0`,
      startedAt: new Date().toISOString(),
      fence: 1,
      attempt: 1,
    },
    worker(change = {}) {
      const given = { ...deps, ...change.deps };
      const target = change.backup === null ? undefined : { ...backup, ...change.backup };
      const activities = createStoreBackupActivities(given, createOperation(given), target);
      const called = Object.entries(activities).map(([name, run]) => [
        name,
        (argument: never) => environment.run(run as (argument: never) => Promise<unknown>, argument),
      ]);
      return Object.fromEntries(called) as unknown as StoreBackupActivities;
    },
    fault: (spec) => void world.faults.add({ store: store.id, ...spec }),
    effects: (name) => world.journal.entries.filter(({ effect }) => effect === name),
    async close() {
      await Promise.all([proxmox, verifier, pruner].map((client) => client.close()));
      await lab.close();
    },
  };
}
