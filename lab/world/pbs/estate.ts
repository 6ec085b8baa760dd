import type { Seed } from '../seed.js';
import type { StoreSpec } from '../specs.js';
import { keyFingerprint, PbsStorage } from '../storage-sim.js';
import type { StoreSim } from '../store-sim.js';
import type { World } from '../world.js';
import { userOf, type Role } from './access.js';
import { PbsSim, type PbsToken } from './pbs-sim.js';

/**
 * The backup servers of a fleet as their installer left them: one at each store, and the central one, which has a
 * namespace, a remote and a sync job for each store.
 */
export const CENTRAL = 'central';
export const STORE_DATASTORE = 'backup';
export const CENTRAL_DATASTORE = 'offsite';
/** Storage of the store's cluster that backups go to. */
export const PVE_STORAGE = 'pbs';

/** The one person of a practice server. */
export const AUDITOR = 'auditor@pbs';

/** Who is known at a store's server. The nodes may send backups and nothing else. */
const AT_STORE = {
  [AUDITOR]: { '/': ['Audit'] },
  'edge-nodes@pbs!pve': { [`/datastore/${STORE_DATASTORE}`]: ['DatastoreBackup'] },
  'edge-governor@pbs!worker': { [`/datastore/${STORE_DATASTORE}`]: ['DatastoreAdmin'], '/system': ['Audit'] },
  'edge-central@pbs!sync': { [`/datastore/${STORE_DATASTORE}`]: ['DatastoreReader'] },
} as const satisfies Grants;

const AT_CENTRAL = {
  [AUDITOR]: { '/': ['Audit'] },
  'edge-governor@pbs!worker': {
    [`/datastore/${CENTRAL_DATASTORE}`]: ['DatastoreAdmin'],
    '/remote': ['RemoteSyncOperator'],
    '/system': ['Audit'],
  },
  'edge-staging@pbs!restore': { [`/datastore/${CENTRAL_DATASTORE}`]: ['DatastoreReader'] },
} as const satisfies Grants;

type Grants = Record<string, Record<string, readonly Role[]>>;

export const WORKER_TOKEN = 'edge-governor@pbs!worker';
const NODES_TOKEN = 'edge-nodes@pbs!pve';
const SYNC_TOKEN = 'edge-central@pbs!sync';

/** Where a store's server stands: as its file says, else at 8 of the network of its first node. Undefined outside 127/8. */
function addressOf(spec: StoreSpec): { address: string; port: number } | undefined {
  const { pbs } = spec;
  const first = spec.nodes[0]?.address ?? '';
  const address = pbs?.address ?? (isLoopback(first) ? lastOctet(first, 8) : undefined);
  return address === undefined ? undefined : { address, port: pbs?.port ?? 8007 };
}

export const isLoopback = (address: string): boolean => /^127(\.\d{1,3}){3}$/.test(address);
const lastOctet = (address: string, octet: number): string => address.replace(/\d+$/, String(octet));

export function makeStorePbs(world: World, store: StoreSim): PbsSim | undefined {
  const place = addressOf(store.spec);
  if (!place) return undefined;
  const namespace = store.spec.pbs?.namespace ?? '';
  const pbs = new PbsSim(world, {
    id: store.id,
    ...place,
    datastores: [{ name: STORE_DATASTORE, path: `/mnt/datastore/${STORE_DATASTORE}` }],
  });
  const parts = namespace === '' ? [] : namespace.split('/');
  for (const [i, name] of parts.entries()) {
    pbs.datastore(STORE_DATASTORE).addNamespace(parts.slice(0, i).join('/'), name);
  }
  grant(pbs, AT_STORE, world.seed);
  const token = pbs.tokens.find(({ id }) => id === NODES_TOKEN) as PbsToken;
  const encryptionKey = store.spec.pbs?.encrypted === false ? undefined : keyFingerprint(store);
  const config = { storage: PVE_STORAGE, datastore: STORE_DATASTORE, namespace, token, encryptionKey };
  store.storages.all.set(PVE_STORAGE, new PbsStorage(store, pbs, config));
  return pbs;
}

/** Undefined when no store has a server to copy from. It stands at 7 of the first store's network. */
export function makeCentralPbs(world: World, stores: readonly PbsSim[]): PbsSim | undefined {
  const first = stores.find(({ address }) => isLoopback(address));
  if (!first) return undefined;
  const central = new PbsSim(world, {
    id: CENTRAL,
    address: lastOctet(first.address, 7),
    port: 8007,
    datastores: [{ name: CENTRAL_DATASTORE, path: `/mnt/datastore/${CENTRAL_DATASTORE}` }],
  });
  grant(central, AT_CENTRAL, world.seed);
  for (const pbs of stores) {
    central.datastore(CENTRAL_DATASTORE).addNamespace('', pbs.id);
    const password = pbs.tokens.find(({ id }) => id === SYNC_TOKEN)?.secret ?? '';
    central.remotes.set(pbs.id, {
      name: pbs.id,
      host: pbs.address,
      port: pbs.port,
      'auth-id': SYNC_TOKEN,
      password,
    });
    central.syncJobs.set(pbs.id, {
      id: pbs.id,
      store: CENTRAL_DATASTORE,
      ns: pbs.id,
      remote: pbs.id,
      'remote-store': STORE_DATASTORE,
      'remote-ns': world.store(pbs.id).spec.pbs?.namespace ?? '',
      owner: WORKER_TOKEN,
      'max-depth': 0,
      schedule: 'daily',
    });
  }
  return central;
}

/** A token has what it was given, and its user at least as much. */
function grant(pbs: PbsSim, grants: Grants, seed: Seed): void {
  for (const [id, paths] of Object.entries(grants)) {
    const isToken = id.includes('!');
    if (isToken) pbs.tokens.push({ id, secret: seed.uuid(`pbs-token/${pbs.id}/${id}`), expired: false });
    for (const [path, roles] of Object.entries(paths)) {
      const holders = isToken ? [id, userOf(id)] : [id];
      for (const role of roles) {
        for (const authId of holders) pbs.acl.push({ path, authId, role, propagate: true });
      }
    }
  }
}
