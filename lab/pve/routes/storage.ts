import { groupName, sizeOf, timeText, type Group, type Snapshot } from '../../world/pbs/datastore.js';
import { DISK_BYTES as DATA_BYTES } from '../../world/pbs/content.js';
import { fingerprintIn, PbsStorage, type PbsStorageConfig } from '../../world/storage-sim.js';
import type { StoreSim } from '../../world/store-sim.js';
import { privilegesOn, type Caller } from '../access.js';
import { parameterError } from '../errors.js';
import { param } from '../params.js';
import { text, type Call, type Route } from '../route.js';

/** Storages of the cluster: those for disks, which stay as they are, and those of backup servers. */
const STORE_DISKS = 'vm';
const DISK_BYTES = { qemu: 32 * 1024 ** 3, lxc: 8 * 1024 ** 3 } as const;
const TYPES = ['btrfs', 'cephfs', 'cifs', 'dir', 'esxi', 'iscsi', 'iscsidirect', 'lvm', 'lvmthin', 'nfs', 'pbs', 'rbd'];

const ANY_OF = ['Datastore.Audit', 'Datastore.AllocateSpace'];
const sees = (caller: Caller, storage: string): boolean =>
  privilegesOn(caller, `/storage/${storage}`).some((privilege) => ANY_OF.includes(privilege));
const ALLOCATE = { path: '/storage', anyOf: ['Datastore.Allocate'] };
const ON_STORAGE = { path: '/storage/{storage}', anyOf: ANY_OF };

export const storageRoutes: Route[] = [
  {
    method: 'GET',
    path: '/storage',
    params: { type: { type: 'string', optional: true, enum: [...TYPES, 'zfs', 'zfspool'] } },
    run: ({ store, caller, params }) =>
      configRows(store)
        .filter(({ storage, type }) => sees(caller, storage) && (params['type'] ?? type) === type)
        .map((row) => ({ ...row, digest: '0123456789abcdef0123456789abcdef01234567' })),
  },
  {
    method: 'POST',
    path: '/storage',
    params: {
      storage: {
        type: 'string',
        pattern: /^[a-z][a-z0-9_.-]*[a-z0-9]$/i,
        format: 'invalid format - storage ID contains illegal characters',
      },
      type: { type: 'string', enum: [...TYPES, 'zfs', 'zfspool'] },
      content: param.text,
      datastore: param.text,
      disable: param.flag(true),
      'encryption-key': param.text,
      fingerprint: {
        type: 'string',
        optional: true,
        pattern: /^([0-9a-f]{2}:){31}[0-9a-f]{2}$/i,
        format: 'value does not match the regex pattern',
      },
      namespace: param.text,
      nodes: param.text,
      password: param.text,
      port: { type: 'integer', optional: true, minimum: 1, maximum: 65_535 },
      'prune-backups': param.text,
      server: param.text,
      username: param.text,
    },
    permission: ALLOCATE,
    step: 'storage.add',
    run: addStorage,
  },
  {
    method: 'GET',
    path: '/storage/{storage}',
    params: { storage: { type: 'string' } },
    permission: { path: '/storage/{storage}', anyOf: ['Datastore.Allocate'] },
    run: ({ store, params }) => {
      const found = configRows(store).find(({ storage }) => storage === params['storage']);
      if (!found) throw new Error(`storage '${text(params['storage'])}' does not exist`);
      return found;
    },
  },
  {
    method: 'DELETE',
    path: '/storage/{storage}',
    params: { storage: { type: 'string' } },
    permission: ALLOCATE,
    step: 'storage.remove',
    run: removeStorage,
  },
  {
    method: 'GET',
    path: '/nodes/{node}/storage',
    params: { node: param.node, storage: param.text, content: param.text, enabled: param.flag(true) },
    run: ({ store, caller, params }) =>
      allStorages(store)
        .filter(({ storage }) => sees(caller, storage) && (params['storage'] ?? storage) === storage)
        .filter(
          ({ content }) => params['content'] === undefined || content.split(',').includes(text(params['content'])),
        ),
  },
  {
    method: 'GET',
    path: '/nodes/{node}/storage/{storage}/status',
    params: { node: param.node, storage: { type: 'string' } },
    permission: ON_STORAGE,
    run: (call) => {
      const { storage: _id, used_fraction: _share, ...row } = storageOf(call);
      return row;
    },
  },
  {
    method: 'GET',
    path: '/nodes/{node}/storage/{storage}/content',
    params: {
      node: param.node,
      storage: { type: 'string' },
      content: param.text,
      vmid: { ...param.vmid, optional: true },
    },
    permission: ON_STORAGE,
    run: contentOf,
  },
];

export const storageResources = (store: StoreSim, caller: Caller) =>
  [...store.nodes.values()].flatMap((node) =>
    allStorages(store)
      .filter(({ storage }) => sees(caller, storage))
      .map(({ storage, type, content, shared, active, used, total }) => ({
        id: `storage/${node.name}/${storage}`,
        type: 'storage',
        storage,
        node: node.name,
        plugintype: type,
        content,
        shared,
        status: node.up && active === 1 ? 'available' : 'unknown',
        disk: used,
        maxdisk: total,
      })),
  );

function allStorages(store: StoreSim) {
  return [
    ...store.layout.disks.map(({ bytes, ...row }) => {
      const used = store.storages.full.includes(row.storage) ? bytes : usedOf(store, row.storage);
      return { ...row, ...spaceOf({ total: bytes, used, avail: bytes - used }) };
    }),
    ...[...store.storages.all.values()].map((storage) => ({
      storage: storage.config.storage,
      type: 'pbs',
      content: 'backup',
      shared: 1,
      // One that cannot be reached is told with zeros.
      ...(storage.trouble === undefined ? spaceOf(storage.require().usage) : { ...spaceOf(NOTHING), active: 0 }),
    })),
  ];
}

/** Ceph counts for itself; elsewhere disks take the room of their data. */
function usedOf(store: StoreSim, storage: string): number {
  if (storage === STORE_DISKS) return store.ceph.objects * 4 * 1024 ** 2;
  return disksOn(store, storage).length * DATA_BYTES.lxc;
}

const disksOn = (store: StoreSim, storage: string) =>
  [...store.guests.values()].filter(
    ({ restored, hasDisk }) => hasDisk && (restored?.storage ?? store.layout.ownDisks) === storage,
  );

const NOTHING = { total: 0, used: 0, avail: 0 };
const spaceOf = ({ total, used, avail }: typeof NOTHING) => ({
  active: 1,
  enabled: 1,
  total,
  used,
  avail,
  used_fraction: total === 0 ? 0 : used / total,
});

function storageOf({ store, params }: Call) {
  const id = text(params['storage']);
  const found = allStorages(store).find(({ storage }) => storage === id);
  if (!found) throw new Error(`storage '${id}' does not exist`);
  return found;
}

const configRows = (store: StoreSim) => [
  ...store.layout.disks.map(({ bytes: _bytes, ...row }) => row),
  ...[...store.storages.all.values()].map(configRow),
];

const configRow = ({ config, pbs }: PbsStorage) => ({
  storage: config.storage,
  type: 'pbs',
  content: 'backup',
  shared: 1,
  server: pbs.address,
  ...(pbs.port === 8007 ? {} : { port: pbs.port }),
  datastore: config.datastore,
  ...(config.namespace === '' ? {} : { namespace: config.namespace }),
  username: config.token.id,
  'prune-backups': 'keep-all=1',
  ...fingerprintOf(config.fingerprint ?? pbs.fingerprint),
  ...(config.encryptionKey === undefined ? {} : { 'encryption-key': config.encryptionKey }),
});

const fingerprintOf = (fingerprint: string | undefined) => (fingerprint === undefined ? {} : { fingerprint });

/** Only for backup servers of this lab. What is added is tried at once, and not kept when it cannot be used. */
function addStorage({ store, node, params, actor }: Call) {
  const id = text(params['storage']);
  const given = (name: string): string | undefined => (params[name] === undefined ? undefined : text(params[name]));
  const failed = (why: string): Error => new Error(`create storage failed: ${why}`);
  if (params['type'] !== 'pbs')
    throw failed(`the practice fleet adds storages of type pbs only, not ${text(params['type'])}`);
  for (const name of ['datastore', 'server', 'username']) {
    if (params[name] === undefined) throw parameterError({ [name]: 'property is missing and it is not optional' });
  }
  if ((given('content') ?? 'backup') !== 'backup') {
    throw parameterError({ content: `storage type 'pbs' does not support content type '${given('content')}'` });
  }
  store.requireQuorum();
  node.enter('storage.add');
  if (configRows(store).some(({ storage }) => storage === id)) throw failed(`storage ID '${id}' already defined`);
  const key = given('encryption-key');
  let fingerprint: string | undefined;
  try {
    fingerprint = key === undefined ? undefined : fingerprintIn(key);
  } catch (error) {
    throw failed((error as Error).message);
  }
  const server = given('server') ?? '';
  const port = Number(params['port'] ?? 8007);
  const pbs = [...store.world.pbs.values()].find((each) => each.address === server && each.port === port);
  if (!pbs)
    throw failed(`${id}: error fetching datastores - 500 Can't connect to ${server}:${port} (No route to host)`);
  const config: PbsStorageConfig = {
    storage: id,
    datastore: given('datastore') ?? '',
    namespace: given('namespace') ?? '',
    token: { id: given('username') ?? '', secret: given('password') ?? '', expired: false },
    encryptionKey: fingerprint,
    // Without one the server's own signature would have to be known to the node, which it is not.
    fingerprint: given('fingerprint') ?? 'none',
  };
  const storage = new PbsStorage(store, pbs, config);
  if (storage.trouble !== undefined) throw failed(storage.trouble);
  store.storages.add(storage);
  const { datastore, namespace, token } = config;
  const after = { server, datastore, namespace, username: token.id, encrypted: fingerprint !== undefined };
  node.record('storage.add', actor.by, { after, detail: { storage: id } });
  return { storage: id, type: 'pbs', config: key === undefined ? {} : { 'encryption-key': key } };
}

/** Out of the configuration; what lies on it stays there. */
function removeStorage({ store, node, params, actor }: Call): null {
  const id = text(params['storage']);
  store.requireQuorum();
  node.enter('storage.remove');
  const storage = store.storages.all.get(id);
  if (!storage) {
    const why = configRows(store).some((row) => row.storage === id)
      ? 'the practice fleet keeps the storages that disks lie on'
      : `storage '${id}' does not exist`;
    throw new Error(`delete storage failed: ${why}`);
  }
  store.storages.remove(id);
  const { datastore, namespace } = storage.config;
  const before = { server: storage.pbs.address, datastore, namespace };
  node.record('storage.remove', actor.by, { before, detail: { storage: id } });
  return null;
}

function contentOf(call: Call) {
  const { store, params } = call;
  const { storage: id } = storageOf(call);
  const vmid = params['vmid'] === undefined ? undefined : Number(params['vmid']);
  const wants = (content: string): boolean => params['content'] === undefined || params['content'] === content;
  const storage = store.storages.all.get(id);
  if (!storage) {
    return disksOn(store, id)
      .filter((guest) => wants(guest.kind === 'qemu' ? 'images' : 'rootdir') && (vmid ?? guest.vmid) === guest.vmid)
      .map((guest) => ({
        volid: `${id}:vm-${guest.vmid}-disk-0`,
        name: `vm-${guest.vmid}-disk-0`,
        format: 'raw',
        size: DISK_BYTES[guest.kind],
        vmid: guest.vmid,
        content: guest.kind === 'qemu' ? 'images' : 'rootdir',
      }));
  }
  if (storage.trouble !== undefined) throw new Error(storage.trouble);
  if (!wants('backup')) return [];
  const datastore = storage.require();
  return datastore
    .groups(datastore.namespace(storage.config.namespace))
    .filter((group) => storage.shows(group))
    .filter((group) => vmid === undefined || group.id === String(vmid))
    .flatMap((group) => group.snapshots.filter(({ finished }) => finished).map((each) => backupRow(id, group, each)));
}

const backupRow = (storage: string, group: Group, snapshot: Snapshot) => ({
  volid: `${storage}:backup/${groupName(group)}/${timeText(snapshot.time)}`,
  format: group.type === 'vm' ? 'pbs-vm' : 'pbs-ct',
  subtype: group.type === 'vm' ? 'qemu' : 'lxc',
  content: 'backup',
  vmid: Number(group.id),
  ctime: snapshot.time,
  size: sizeOf(snapshot),
  ...(snapshot.notes === undefined ? {} : { notes: snapshot.notes }),
  ...(snapshot.protected ? { protected: 1 } : {}),
  ...(snapshot.verification === undefined ? {} : { verification: snapshot.verification }),
  ...(snapshot.fingerprint === undefined ? {} : { encrypted: snapshot.fingerprint }),
});
