import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { relayAddress, RELAY_PORTS } from './relay/relay.js';
import { clientKey, hostKey, SSH_USER } from './ssh/server.js';
import { CENTRAL, PRUNE_TOKEN, PVE_STORAGE, SEND_JOB, VERIFY_TOKEN } from './world/pbs/estate.js';
import type { PbsSim } from './world/pbs/pbs-sim.js';
import type { Timing } from './world/timing.js';
import type { StoreSim } from './world/store-sim.js';

export interface EnrolmentOptions {
  fleet: string;
  namespace: string;
  /** `host:port`, for stores outside 127/8, which have no relay. */
  temporal: string;
  registry: string;
  /** Path of the pinned release keys. */
  releaseKeys: string;
  caPem: string;
}

export type Patience = Record<string, { base: number; least: number }>;

const POLL = { base: 5_000, least: 100 };

/**
 * How long a store worker waits in the practice fleet: milliseconds of a real store, and the least real ones, since a
 * busy machine does not get faster with the speed.
 */
const PATIENCE: Patience = {
  poll: POLL,
  drain: { base: 3_600_000, least: 60_000 },
  upgrade: { base: 3_600_000, least: 60_000 },
  reboot: { base: 1_200_000, least: 30_000 },
  rejoin: { base: 600_000, least: 30_000 },
  recovery: { base: 3_600_000, least: 30_000 },
  stable: { base: 60_000, least: 100 },
  homecoming: { base: 900_000, least: 30_000 },
  rebootGrace: { base: 120_000, least: 3_000 },
  maxMaintenance: { base: 5_400_000, least: 60_000 },
  learn: { base: 600_000, least: 2_000 },
};

/** What an installer puts on the store's own backup host for its worker. Returns the folder. Writing it again changes nothing. */
export async function writeEnrolment(store: StoreSim, options: EnrolmentOptions): Promise<string> {
  const { stateDir, timing } = store.world;
  const folder = resolve(stateDir, 'enrolment', store.id);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const address = relayAddress(store);
  const file = (name: string): string => join(folder, name);
  const worker = {
    store: store.id,
    fleet: options.fleet,
    temporal: {
      address: address === undefined ? options.temporal : `${address}:${RELAY_PORTS.temporal}`,
      namespace: options.namespace,
    },
    registry: `http://${address === undefined ? options.registry : `${address}:${RELAY_PORTS.registry}`}`,
    ...reachOf(store, file),
    releaseKeys: resolve(options.releaseKeys),
    stateDir: resolve(stateDir, 'workers', store.id),
    ...(await backupOf(store, file)),
    timing: patienceIn(PATIENCE, timing),
  };
  await mkdir(worker.stateDir, { recursive: true, mode: 0o700 });
  await writeReach(store, options.caPem, file);
  // Last, and at once: whoever sees this file finds all that it names.
  await put(file('store-worker.json'), `${JSON.stringify(worker, undefined, 2)}\n`);
  return folder;
}

/** How the nodes of a site are reached, for its worker's own file; `writeReach` writes the files that it names. */
export function reachOf(site: StoreSim, file: (name: string) => string) {
  const nodes = [...site.nodes.values()];
  return {
    proxmox: {
      nodes: nodes.map(({ name, address, apiPort }) => ({ name, address, port: apiPort })),
      tokenFile: file('pve-token'),
      caFile: file('ca.pem'),
    },
    ssh: {
      user: SSH_USER,
      keyFile: file('ssh-key'),
      nodes: Object.fromEntries(
        nodes.map((node) => [
          node.name,
          { address: node.address, port: node.sshPort, hostKey: hostKey(node).publicBlob },
        ]),
      ),
    },
  };
}

/** What the installer of the site's worker knows: its token, its authority, its key. */
export const writeReach = (site: StoreSim, caPem: string, file: (name: string) => string): Promise<unknown> =>
  Promise.all([
    put(file('pve-token'), `${site.token.id}=${site.token.secret}\n`),
    put(file('ca.pem'), caPem),
    put(file('ssh-key'), clientKey(site).privateKey),
  ]);

/** What the worker's own file says of the store's backup server; nothing where there is none. */
async function backupOf(store: StoreSim, file: (name: string) => string): Promise<{ backup?: object }> {
  const { pbs } = store;
  const storage = store.storages.all.get(PVE_STORAGE);
  if (!pbs || !storage) return {};
  const { datastore, namespace, encryptionKey } = storage.config;
  const backup = {
    storage: PVE_STORAGE,
    ...(encryptionKey === undefined ? {} : { encryptionKey }),
    pbs: { ...(await writeIdentities(pbs, datastore, file)), namespace },
    ...(pbs.remotes.has(CENTRAL) ? { sendJob: SEND_JOB } : {}),
  };
  return { backup };
}

/** How a backup server is reached, with the files of the tokens of both identities. */
async function writeIdentities(pbs: PbsSim, datastore: string, file: (name: string) => string) {
  const write = async (token: string, path: string): Promise<string> => {
    const secret = pbs.tokens.find(({ id }) => id === token)?.secret ?? '';
    await put(path, `${token}:${secret}\n`);
    return path;
  };
  const [verifyTokenFile, pruneTokenFile] = await Promise.all([
    write(VERIFY_TOKEN, file('pbs-verify-token')),
    write(PRUNE_TOKEN, file('pbs-prune-token')),
  ]);
  const { hostname: node, address, port, fingerprint } = pbs;
  return { node, address, port, fingerprint, datastore, verifyTokenFile, pruneTokenFile };
}

export interface CentralOptions {
  /** `host:port`: the central server stands beside the centre and needs no relay. */
  temporal: string;
  namespace: string;
}

/** What an installer puts beside the worker that tends the central backup server. Writing it again changes nothing. */
export async function writeCentralEnrolment(pbs: PbsSim, { temporal, namespace }: CentralOptions): Promise<void> {
  const folder = resolve(pbs.world.stateDir, `enrolment-${pbs.id}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = (name: string): string => join(folder, name);
  const [datastore = ''] = pbs.datastores.keys();
  const worker = {
    temporal: { address: temporal, namespace },
    pbs: await writeIdentities(pbs, datastore, file),
    timing: patienceIn({ poll: POLL }, pbs.timing),
  };
  await put(file('offsite-worker.json'), `${JSON.stringify(worker, undefined, 2)}\n`);
}

export const patienceIn = (patience: Patience, timing: Timing): Record<string, number> =>
  Object.fromEntries(
    Object.entries(patience).map(([name, { base, least }]) => [name, Math.round(Math.max(timing.scale(base), least))]),
  );

export async function put(path: string, text: string): Promise<void> {
  await writeFile(`${path}.new`, text, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
