import { contentOf, type RestoreOrder } from '../../world/restore-sim.js';
import { typeOf, VOLUME } from '../../world/storage-sim.js';
import type { StoreSim } from '../../world/store-sim.js';
import { privilegesOn, requirePrivilege } from '../access.js';
import { parameterError, PveError } from '../errors.js';
import { param, type ParamSpecs } from '../params.js';
import { text, type Call, type Route } from '../route.js';
import { mayUse, requireSettings, settingsFrom, settingsOf } from './config.js';
import { requirePool } from './site.js';

type Kind = 'qemu' | 'lxc';

/** Guests made from backups, and taken away. Making an empty one is not simulated. */
const COMMON: ParamSpecs = {
  node: param.node,
  vmid: param.vmid,
  force: param.flag(true),
  pool: param.text,
  start: param.flag(true),
  storage: param.text,
  unique: param.flag(true),
};

export const restoreRoutes: Route[] = [
  {
    method: 'GET',
    path: '/nodes/{node}/vzdump/extractconfig',
    params: { node: param.node, volume: { type: 'string' } },
    run: (call) => {
      const volid = text(call.params['volume']);
      const settings = call.store.restores.archived(volumeOf(call, volid), volid);
      return Object.entries(settings)
        .map(([name, value]) => `${name}: ${value}\n`)
        .join('');
    },
  },
  {
    method: 'POST',
    path: '/nodes/{node}/qemu',
    params: {
      ...COMMON,
      ...settingsOf('qemu'),
      archive: param.text,
      bwlimit: { type: 'integer', optional: true, minimum: 0 },
      'live-restore': param.flag(true),
    },
    step: 'guest.restore',
    run: (call) => restore(call, 'qemu', call.params['archive']),
  },
  {
    method: 'POST',
    path: '/nodes/{node}/lxc',
    params: {
      ...COMMON,
      ...settingsOf('lxc'),
      bwlimit: { type: 'number', optional: true, minimum: 0 },
      'ignore-unpack-errors': param.flag(true),
      ostemplate: { type: 'string' },
      restore: param.flag(true),
      unprivileged: param.flag(true),
    },
    step: 'guest.restore',
    run: (call) => restore(call, 'lxc', call.params['restore'] ? call.params['ostemplate'] : undefined),
  },
  ...(['qemu', 'lxc'] as const).map((kind): Route => ({
    method: 'DELETE',
    path: `/nodes/{node}/${kind}/{vmid}`,
    params: {
      node: param.node,
      vmid: param.vmid,
      purge: param.flag(true),
      'destroy-unreferenced-disks': param.flag(true),
      ...(kind === 'qemu' ? { skiplock: param.flag(true) } : { force: param.flag(true) }),
    },
    permission: { path: '/vms/{vmid}', anyOf: ['VM.Allocate'] },
    step: 'guest.destroy',
    run: ({ store, node, params, actor }) => {
      if (params['skiplock']) throw parameterError({ skiplock: 'Only root may use this option.' });
      store.requireQuorum();
      return store.restores.destroy(node, {
        what: 'destroy',
        node: node.name,
        vmid: Number(params['vmid']),
        kind,
        purge: params['purge'] === true,
        force: params['force'] === true,
        actor,
      }).upid;
    },
  })),
];

/** In the order of checks of the real server; with a pool that one may fill, any id may be asked for. */
function restore(call: Call, kind: Kind, archive: Call['params'][string]): string {
  const { store, node, caller, params, actor } = call;
  const vmid = Number(params['vmid']);
  const pool = params['pool'] === undefined ? undefined : text(params['pool']);
  const storage = text(params['storage'] ?? 'local');
  if (archive === undefined) {
    throw new PveError(
      501,
      'The practice fleet makes guests from backups only: give an archive, of a container with restore=1',
    );
  }
  if (params['live-restore']) throw new PveError(501, 'The practice fleet does not simulate live-restore');
  store.requireQuorum();
  if (pool !== undefined) requirePool(store, pool);
  if (params['storage'] !== undefined) requirePrivilege(caller, `/storage/${storage}`, ['Datastore.AllocateSpace']);
  requireAllocate(call, vmid, pool);
  const from = volumeOf(call, text(archive), kind);
  const options = settingsFrom(params, kind);
  requireSettings(call, { vmid, pool }, options);
  requireDisks(store, kind, storage);
  const order: RestoreOrder = {
    what: 'restore',
    node: node.name,
    vmid,
    kind,
    archive: text(archive),
    from,
    storage,
    pool,
    unique: params['unique'] === true,
    start: params['start'] === true,
    force: params['force'] === true,
    options,
    mappings: Object.keys(caller.privileges).filter((path) => privilegesOn(caller, path).includes('Mapping.Use')),
    bridges: store.layout.bridges.map(({ iface }) => iface).filter((iface) => mayUse(caller, iface)),
    actor,
  };
  return store.restores.restore(node, order).upid;
}

function requireAllocate({ store, caller, params }: Call, vmid: number, pool: string | undefined): void {
  if (privilegesOn(caller, `/vms/${vmid}`).includes('VM.Allocate')) return;
  if (pool !== undefined && privilegesOn(caller, `/pool/${pool}`).includes('VM.Allocate')) return;
  const overOwn = params['force'] === true && store.guests.has(vmid);
  if (overOwn && privilegesOn(caller, `/vms/${vmid}`).includes('VM.Backup')) return;
  throw new PveError(403, 'Permission check failed');
}

/** The storage of a backup that the caller may read: all of one that he manages, else those of guests that he backs up. */
function volumeOf({ store, caller, params }: Call, volid: string, kind?: Kind): string {
  const [, type, owner = ''] = VOLUME.exec(volid) ?? [];
  const storage = volid.split(':')[0] ?? '';
  if (type === undefined) throw new Error(`unable to parse volume ID '${volid}'`);
  if (
    !privilegesOn(caller, `/storage/${storage}`).includes('Datastore.Allocate') &&
    owner !== text(params['vmid'] ?? '')
  ) {
    requirePrivilege(caller, `/storage/${storage}`, ['Datastore.AllocateSpace']);
    requirePrivilege(caller, `/vms/${owner}`, ['VM.Backup']);
  }
  if (!store.storages.all.has(storage)) throw new Error(`storage '${storage}' does not exist`);
  if (kind !== undefined && type !== typeOf(kind)) throw new Error(`unexpected backup format 'pbs-${type}'`);
  return storage;
}

/** Of a container the storage is looked at before there is a task; of a VM only in it. */
function requireDisks({ layout }: StoreSim, kind: Kind, storage: string): void {
  const disks = layout.disks.find((each) => each.storage === storage);
  if (!disks) throw new Error(`storage '${storage}' does not exist`);
  if (kind === 'lxc' && !disks.content.split(',').includes(contentOf(kind))) {
    throw parameterError({ storage: `storage '${storage}' does not support container directories` });
  }
}
