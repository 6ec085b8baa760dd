import type { CopyFacts } from '#domain/backup.js';
import type { CopyTask, TrialAnswer } from '#domain/messages/restore.js';
import { heldOn } from '#domain/permissions.js';
import { copyStorage, decideSite } from '#domain/restore-site.js';
import type { StorageConfig } from '#systems/proxmox/types.js';
import { isKind } from '../backup/answers.js';
import { waitFor } from '../store/wait.js';
import { guestFault, siteFault } from './answers.js';
import type { RestoreDeps } from './deps.js';
import { readSite } from './site.js';
import { untilAdmitted } from './until-admitted.js';

/** Opens the copy of a store at the site. A storage that is there already, as it shall be, is used as it is. */
export async function openCopy(deps: RestoreDeps, { store }: CopyTask): Promise<TrialAnswer<{ copy: CopyFacts }>> {
  const facts = await readSite(deps);
  const decision = decideSite(facts, deps.place);
  if (decision.kind === 'refuse') return siteFault(decision.why, decision.detail);
  const copy = await readCopy(deps, store);
  const key = await deps.keyOf(store);
  if (key === undefined && copy.snapshots.length > 0 && copy.snapshots.every(({ encrypted }) => encrypted)) {
    return guestFault(
      `The copy of ${store} is encrypted, and the site has no key of that store: nobody could have it back from here.`,
    );
  }

  const storage = copyStorage(store);
  const wanted = storageFor(deps, store, key);
  const there = (await deps.proxmox.storages()).find((one) => one.storage === storage);
  if (there && !isOurs(there, store))
    return siteFault(`The storage ${storage} is there, and not for backups of ${store}.`);
  await deps.state.saveOpened(store, deps.now().toISOString());
  const nodes = facts.nodes.map(({ name }) => name);
  const isAsWanted = there !== undefined && isSame(there, wanted) && (await isActive(deps, nodes, storage));
  if (there && !isAsWanted) await removeStorage(deps, storage);
  if (!isAsWanted) await addStorage(deps, wanted, key);

  // A node learns of it a little later than the one that was asked.
  const { seen, lastError } = await waitFor(deps, deps.timing.grace, async () =>
    (await isActive(deps, nodes, storage)) ? true : undefined,
  );
  if (!seen) return siteFault(`The storage ${storage} does not come up on all nodes.`, [lastError]);
  return { kind: 'done', copy };
}

/** Takes the storage away. */
export async function closeCopy(deps: RestoreDeps, { store }: CopyTask): Promise<TrialAnswer<object>> {
  try {
    return await untilAdmitted(deps, () => closeOnce(deps, store));
  } finally {
    // Nothing uses it any more, gone or not: a sweep need not spare it as one that is young.
    await deps.state.forgetOpened(store);
  }
}

async function closeOnce(deps: RestoreDeps, store: string): Promise<TrialAnswer<object>> {
  const storage = copyStorage(store);
  const there = (await deps.proxmox.storages()).find((one) => one.storage === storage);
  if (there && !isOurs(there, store))
    return siteFault(`The storage ${storage} is not for backups of ${store}; it stays.`);
  if (there) await removeStorage(deps, storage);
  return { kind: 'done' };
}

/** What the role DatastoreReader of a backup server holds. */
const READING = /\.Audit$|^Datastore\.(Read|Verify)$/;

async function readCopy({ copies }: RestoreDeps, store: string): Promise<CopyFacts> {
  const { client, datastore, node } = copies;
  const path = `/datastore/${datastore}/${store}`;
  const permissions = await client.permissions();
  const excess = Object.entries(permissions).flatMap(([on, privileges]) =>
    privileges.filter((name) => !READING.test(name)).map((name) => `${name} on ${on}`),
  );
  // The nodes of the site get it, and all copies of all stores are behind it.
  if (excess.length > 0) throw new Refused(`The token of the copies may do more than read: ${excess.join(', ')}.`);
  const held = heldOn(permissions, path);
  // Lists leave out what a token may not see, without a word.
  const lacking = ['Datastore.Audit', 'Datastore.Read'].filter((privilege) => !held.includes(privilege));
  if (lacking.length > 0) throw new Refused(`The token lacks ${lacking.join(' and ')} on ${path}.`);
  try {
    return { node, snapshots: await client.snapshots(datastore, store) };
  } catch (error) {
    if (!isKind(error, 'NotFound')) throw error;
    if ((await client.namespaces(datastore)).includes(store)) throw error;
    return { node, snapshots: [] };
  }
}

class Refused extends Error {
  readonly kind = 'Permission';
  readonly retryable = false;
}

type Wanted = Required<Omit<StorageConfig, 'keyFingerprint' | 'nodes'>> & Pick<StorageConfig, 'keyFingerprint'>;

function storageFor({ copies }: RestoreDeps, store: string, key: string | undefined): Wanted {
  const { server, port, datastore, username, fingerprint } = copies;
  return {
    storage: copyStorage(store),
    type: 'pbs',
    content: ['backup'],
    enabled: true,
    server,
    port,
    datastore,
    namespace: store,
    username,
    // Proxmox takes it with colons only.
    fingerprint: (fingerprint.replaceAll(':', '').match(/../g) ?? []).join(':'),
    ...(key === undefined ? {} : { keyFingerprint: fingerprintIn(key) }),
  };
}

/** Proxmox shows `1` for a key whose file does not say. */
function fingerprintIn(key: string): string {
  try {
    const { fingerprint } = JSON.parse(key) as { fingerprint?: unknown };
    return typeof fingerprint === 'string' ? fingerprint : '1';
  } catch {
    return '1';
  }
}

/** A person's storage may bear any name, also one that begins like ours. */
export const isOurs = ({ type, namespace }: StorageConfig, store: string): boolean =>
  type === 'pbs' && namespace === store;

function isSame(there: StorageConfig, wanted: Wanted): boolean {
  const plain = (hex: string | undefined): string | undefined => hex?.replaceAll(':', '').toLowerCase();
  const texts = ['type', 'server', 'datastore', 'namespace', 'username'] as const;
  return (
    texts.every((name) => there[name] === wanted[name]) &&
    (there.port ?? DEFAULT_PORT) === wanted.port &&
    there.enabled &&
    there.nodes.length === 0 &&
    there.content.join() === wanted.content.join() &&
    plain(there.fingerprint) === plain(wanted.fingerprint) &&
    plain(there.keyFingerprint) === plain(wanted.keyFingerprint)
  );
}

const DEFAULT_PORT = 8007;

/** That its secret is the right one shows only in this. */
async function isActive({ proxmox }: RestoreDeps, nodes: readonly string[], storage: string): Promise<boolean> {
  const all = await Promise.all(nodes.map((node) => proxmox.storageStatus(node, storage)));
  return all.every(({ active }) => active);
}

async function addStorage({ proxmox, copies }: RestoreDeps, wanted: Wanted, key: string | undefined): Promise<void> {
  const { storage, server, port, datastore, namespace, username, fingerprint } = wanted;
  try {
    await proxmox.addBackupStorage({
      ...{ storage, server, port, datastore, namespace, username, fingerprint },
      password: copies.password,
      encryptionKey: key,
    });
  } catch (error) {
    if (!isKind(error, 'OutcomeUnknown')) throw error;
    const there = (await proxmox.storages()).find((one) => one.storage === storage);
    if (!there || !isSame(there, wanted)) throw error;
  }
}

export async function removeStorage({ proxmox }: RestoreDeps, storage: string): Promise<void> {
  try {
    await proxmox.removeStorage(storage);
  } catch (error) {
    if (!isKind(error, 'NotFound') && !isKind(error, 'OutcomeUnknown')) throw error;
    if ((await proxmox.storages()).some((one) => one.storage === storage)) throw error;
  }
}
