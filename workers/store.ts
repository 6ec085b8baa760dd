import { setMaxListeners } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type NativeConnection, Worker } from '@temporalio/worker';
import type { Logger } from 'pino';
import type { StoreBackup } from '#activities/backup/deps.js';
import { createStoreBackupActivities } from '#activities/backup/index.js';
import type { StoreDeps } from '#activities/store/deps.js';
import { createStoreActivities } from '#activities/store/index.js';
import { createOperation } from '#activities/store/operation.js';
import { watchStore } from '#activities/store/watch.js';
import { storeQueue } from '#domain/naming.js';
import { createCephClient } from '#systems/ceph/client.js';
import { openObjects } from '#systems/objects/open.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { createReleaseVerifier } from '#systems/release/verify.js';
import { createSshRunner } from '#systems/ssh/client.js';
import { createFailoverRunner } from '#systems/ssh/failover.js';
import { openStoreState } from '#systems/store-state/file.js';
import {
  ConfigError,
  pinnedKeysSchema,
  readConfigFile,
  readSecret,
  storeWorkerSchema,
  type StoreWorkerConfig,
} from './config.js';
import { holdState } from './folder-lock.js';
import { probeGuest } from './guest-prober.js';
import { openPbs } from './pbs.js';
import { connectTemporal, ENDING, openLog, runUntilStopped, start } from './runtime.js';

/**
 * The store worker: dials out, pulls the tasks of its store and is the only process that holds the store's credentials.
 *
 *   node store.js --config FILE         one store, as on a store's backup host
 *   node store.js --enrolment DIR       every store below DIR, in one process: for a practice fleet
 *                 [--only a,b] [--except a,b] [--share 1/3]   only a part of them: the first third, say
 */
start(async () => {
  const log = openLog('store-worker');
  const configs = await configsFrom(process.argv.slice(2));
  const stopped = new AbortController();
  // Every store of the process waits on it.
  setMaxListeners(0, stopped.signal);
  const opened = await Promise.all(configs.map((config) => open(config, log, stopped.signal)));
  log.info({ stores: configs.length }, 'polling');
  process.stdout.write(`${JSON.stringify({ ready: true, stores: configs.length })}\n`);
  await runUntilStopped(
    log,
    opened.map(({ worker }) => worker),
    async () => {
      stopped.abort();
      await Promise.all(opened.map(({ close }) => close()));
    },
  );
});

/** Hello and probes must find a slot while a long step holds another. */
const ACTIVITY_SLOTS = 4;

async function open(
  config: StoreWorkerConfig,
  log: Logger,
  stopped: AbortSignal,
): Promise<{ worker: Worker; close(): Promise<void> }> {
  const { store } = config;
  // First of all: opening the state already writes to it.
  const releaseState = await holdState(config.stateDir);
  const [token, ca, privateKey, keys] = await Promise.all([
    readSecret(config.proxmox.tokenFile),
    readSecret(config.proxmox.caFile),
    readSecret(config.ssh.keyFile),
    readConfigFile(config.releaseKeys, pinnedKeysSchema),
  ]);
  const proxmox = createProxmoxClient({ nodes: config.proxmox.nodes, token, ca });
  const nodes = new Map(
    Object.entries(config.ssh.nodes).map(([name, { address, port, hostKey }]) => [
      name,
      createSshRunner({ host: address, port, user: config.ssh.user, privateKey, hostKey }),
    ]),
  );
  const registry = openObjects(config.registry);
  const state = await openStoreState(config.stateDir);
  const deps: StoreDeps = {
    store,
    proxmox,
    nodes,
    ceph: createCephClient(createFailoverRunner([...nodes.values()]), { prefix: ['sudo', '-n'] }),
    verifier: createReleaseVerifier({ registry, keys }),
    state,
    probe: probeGuest,
    timing: config.timing,
    now: () => new Date(),
    uptime: () => performance.now(),
  };
  const tell = (line: string) => log.warn({ store }, line);
  const operation = createOperation(deps, tell);
  const backup = config.backup && (await openBackup(config.backup));
  const activities = {
    ...createStoreActivities(deps, operation),
    ...createStoreBackupActivities(deps, operation, backup),
  };
  // Before there is a link: what a dead run left is taken back with or without one.
  void watchStore(operation, config.timing, tell, stopped);
  const connection = await connect(config, log, stopped);
  // The SDK runs each activity in an async-local storage of its connection, for activities that call Temporal, which
  // ours never do. Node visits every such storage at every asynchronous call: with a hundred stores in one process
  // that was a quarter of its CPU.
  connection.withAbortSignal = async (_, run) => run();
  const worker = await Worker.create({
    connection,
    namespace: config.temporal.namespace,
    taskQueue: storeQueue(store),
    identity: `store-worker/${store}/${process.pid}`,
    activities,
    // One long poll a store: hundreds of stores share one server.
    maxConcurrentActivityTaskPolls: 1,
    maxConcurrentActivityTaskExecutions: ACTIVITY_SLOTS,
    ...ENDING,
    // Steps go on through a lost link; the server is told at once when the link is back.
    maxHeartbeatThrottleInterval: '10 seconds',
  });
  return {
    worker,
    async close() {
      await connection.close();
      await Promise.all([
        proxmox.close(),
        ...(backup ? [backup.pbs.verifier.close(), backup.pbs.pruner.close()] : []),
        ...[...nodes.values()].map((runner) => runner.close()),
        state.close(),
      ]);
      releaseState();
    },
  };
}

async function openBackup({
  storage,
  fleecing,
  pbs,
  sendJob,
}: NonNullable<StoreWorkerConfig['backup']>): Promise<StoreBackup> {
  return { storage, fleecing, pbs: { ...(await openPbs(pbs)), namespace: pbs.namespace }, sendJob };
}

/** A store may start without its link; it goes on trying. */
async function connect(
  { store, temporal }: StoreWorkerConfig,
  log: Logger,
  stopped: AbortSignal,
): Promise<NativeConnection> {
  for (let wait = 500; ; wait = Math.min(wait * 2, 15_000)) {
    try {
      return await connectTemporal(temporal.address);
    } catch (error) {
      log.warn(
        { store, address: temporal.address, error: error instanceof Error ? error.message : String(error) },
        'no link to Temporal yet',
      );
      await delay(wait, undefined, { signal: stopped });
    }
  }
}

async function configsFrom(argv: string[]): Promise<StoreWorkerConfig[]> {
  const value = (flag: string) => {
    const at = argv.indexOf(flag);
    return at < 0 ? undefined : argv[at + 1];
  };
  const file = value('--config');
  if (file) return [await readConfigFile(file, storeWorkerSchema)];
  const dir = value('--enrolment');
  if (!dir)
    throw new ConfigError(
      'Say which store this is: --config FILE (one store) or --enrolment DIR (all stores below it).',
    );
  const list = (flag: string) =>
    value(flag)
      ?.split(',')
      .filter((name) => name !== '');
  const only = list('--only');
  const except = list('--except') ?? [];
  const stores = (await readdir(dir)).filter((store) => (only ? only.includes(store) : !except.includes(store))).sort();
  const [part = 1, parts = 1] = (value('--share') ?? '1/1').split('/').map(Number);
  const mine = stores.filter((_, index) => index % parts === part - 1);
  return Promise.all(mine.map((store) => readConfigFile(join(dir, store, 'store-worker.json'), storeWorkerSchema)));
}
