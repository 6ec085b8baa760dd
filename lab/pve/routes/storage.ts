import { owns } from '../../world/pbs/access.js';
import { groupName, sizeOf, timeText, type Group, type Snapshot } from '../../world/pbs/datastore.js';
import type { PbsStorage } from '../../world/storage-sim.js';
import type { StoreSim } from '../../world/store-sim.js';
import { privilegesOn, type Caller } from '../access.js';
import { param } from '../params.js';
import { text, type Call, type Route } from '../route.js';

/** Storages of the cluster: the one of Ceph for disks, and the backup server. */
const VM_STORAGE = { storage: 'vm', type: 'rbd', content: 'images,rootdir', shared: 1 } as const;
const VM_BYTES = 2 * 10 ** 12;
const DISK_BYTES = { qemu: 32 * 1024 ** 3, lxc: 8 * 1024 ** 3 } as const;
const TYPES = ['btrfs', 'cephfs', 'cifs', 'dir', 'esxi', 'iscsi', 'iscsidirect', 'lvm', 'lvmthin', 'nfs', 'pbs', 'rbd'];

const ANY_OF = ['Datastore.Audit', 'Datastore.AllocateSpace'];
const sees = (caller: Caller, storage: string): boolean =>
  privilegesOn(caller, `/storage/${storage}`).some((privilege) => ANY_OF.includes(privilege));
const ON_STORAGE = { path: '/storage/{storage}', anyOf: ANY_OF };

export const storageRoutes: Route[] = [
  {
    method: 'GET',
    path: '/storage',
    params: { type: { type: 'string', optional: true, enum: [...TYPES, 'zfs', 'zfspool'] } },
    run: ({ store, caller, params }) =>
      [VM_STORAGE, ...[...store.storages.all.values()].map(configRow)]
        .filter(({ storage, type }) => sees(caller, storage) && (params['type'] ?? type) === type)
        .map((row) => ({ ...row, digest: '0123456789abcdef0123456789abcdef01234567' })),
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
  const used = store.ceph.objects * 4 * 1024 ** 2;
  return [
    { ...VM_STORAGE, ...spaceOf({ total: VM_BYTES, used, avail: VM_BYTES - used }) },
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
  ...(pbs.fingerprint === undefined ? {} : { fingerprint: pbs.fingerprint }),
  ...(config.encryptionKey === undefined ? {} : { 'encryption-key': config.encryptionKey }),
});

function contentOf(call: Call) {
  const { store, params } = call;
  const { storage: id } = storageOf(call);
  const vmid = params['vmid'] === undefined ? undefined : Number(params['vmid']);
  const wants = (content: string): boolean => params['content'] === undefined || params['content'] === content;
  const storage = store.storages.all.get(id);
  if (!storage) {
    return [...store.guests.values()]
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
  return storage
    .require()
    .groups(storage.config.namespace)
    .filter(({ owner }) => owns(storage.config.token.id, owner))
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
