import type { Seed } from '../seed.js';
import type { StoreSpec } from '../specs.js';
import { keyFingerprint, PbsStorage } from '../storage-sim.js';
import type { StoreSim } from '../store-sim.js';
import type { World } from '../world.js';
import { userOf, type Role } from './access.js';
import { PbsSim, type PbsToken } from './pbs-sim.js';

/**
 * The backup servers of a fleet as their installer left them: one at each store, with a job that sends to the central
 * one, which has a namespace for each store and a token that may only send into it.
 */
export const CENTRAL = 'central';
export const STORE_DATASTORE = 'backup';
export const CENTRAL_DATASTORE = 'offsite';
/** Storage of the store's cluster that backups go to. */
export const PVE_STORAGE = 'pbs';

/** The one person of a practice server. */
export const AUDITOR = 'auditor@pbs';

/** The sync job of a store's server that sends what is new. */
export const SEND_JOB = 'to-central';

/**
 * Who is known at a store's server. The nodes may send backups and nothing else. The service has two identities: only
 * one of them can remove anything.
 */
const AT_STORE = {
  [AUDITOR]: { '/': ['Audit'] },
  'edge-nodes@pbs!pve': { [`/datastore/${STORE_DATASTORE}`]: ['DatastoreBackup'] },
  'edge-governor@pbs!verify': {
    [`/datastore/${STORE_DATASTORE}`]: ['DatastoreReader'],
    [`/remote/${CENTRAL}`]: ['RemoteSyncPushOperator'],
  },
  'edge-governor@pbs!prune': { [`/datastore/${STORE_DATASTORE}`]: ['DatastoreAdmin'] },
} as const satisfies Grants;

const AT_CENTRAL = {
  [AUDITOR]: { '/': ['Audit'] },
  'edge-governor@pbs!verify': { [`/datastore/${CENTRAL_DATASTORE}`]: ['DatastoreReader'] },
  'edge-governor@pbs!prune': {
    [`/datastore/${CENTRAL_DATASTORE}`]: ['DatastoreAdmin'],
    '/remote': ['RemoteSyncOperator'],
    '/system': ['Audit'],
  },
  'edge-staging@pbs!restore': { [`/datastore/${CENTRAL_DATASTORE}`]: ['DatastoreReader'] },
} as const satisfies Grants;

type Grants = Record<string, Record<string, readonly Role[]>>;

export const VERIFY_TOKEN = 'edge-governor@pbs!verify';
export const PRUNE_TOKEN = 'edge-governor@pbs!prune';
const NODES_TOKEN = 'edge-nodes@pbs!pve';
/** One for each store: what it sends belongs to it, and it reaches nothing of the others. */
export const senderOf = (store: string): string => `edge-stores@pbs!${store}`;

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

/** Undefined when no store has a server that could send. It stands at 7 of the first store's network. */
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
    const sender = senderOf(pbs.id);
    grant(central, { [sender]: { [`/datastore/${CENTRAL_DATASTORE}/${pbs.id}`]: ['DatastoreBackup'] } }, world.seed);
    pbs.remotes.set(CENTRAL, {
      name: CENTRAL,
      host: central.address,
      port: central.port,
      'auth-id': sender,
      password: central.tokens.find(({ id }) => id === sender)?.secret ?? '',
    });
    pbs.syncJobs.set(SEND_JOB, {
      id: SEND_JOB,
      store: STORE_DATASTORE,
      ns: world.store(pbs.id).spec.pbs?.namespace ?? '',
      remote: CENTRAL,
      'remote-store': CENTRAL_DATASTORE,
      'remote-ns': pbs.id,
      'sync-direction': 'push',
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
