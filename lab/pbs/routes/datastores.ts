import { owns } from '../../world/pbs/access.js';
import { NO_GC } from '../../world/pbs/chunk-store.js';
import {
  filesOf,
  PbsError,
  sizeOf,
  snapshotName,
  type Datastore,
  type Group,
  type Snapshot,
} from '../../world/pbs/datastore.js';
import { KEEP_OPTIONS, type KeepOptions } from '../../world/pbs/keep.js';
import { pruneGroup, recordPrune } from '../../world/pbs/work-prune.js';
import { datastoreOf, heldOn, nsOf, number, requireOwner, text, words, type Call, type Route } from '../route.js';

const MAX_DEPTH = 7;
const SEE = ['Datastore.Audit'];
const CHANGE = ['Datastore.Modify'];

export const keepOf = ({ params }: Call): KeepOptions =>
  Object.fromEntries(
    KEEP_OPTIONS.flatMap((name) => (params[name] === undefined ? [] : [[name, number(params[name])]])),
  ) as KeepOptions;

export const datastoreRoutes: Route[] = [
  { method: 'GET', path: '/admin/datastore', run: listDatastores },
  { method: 'GET', path: '/status/datastore-usage', run: listUsage },
  {
    method: 'GET',
    path: '/admin/datastore/{store}/status',
    run: (call) => {
      const { datastore, limitedTo } = datastoreOf(call, SEE, ['Datastore.Backup']);
      datastore.require('read');
      return {
        ...datastore.usage,
        'backend-type': backendOf(datastore),
        ...(call.params['verbose'] === true
          ? {
              counts: countsOf(datastore, limitedTo),
              ...(limitedTo === undefined ? { 'gc-status': datastore.gc } : {}),
            }
          : {}),
      };
    },
  },
  {
    method: 'GET',
    path: '/admin/datastore/{store}/namespace',
    run: (call) => {
      const { datastore } = datastoreOf(call, [...SEE, ...CHANGE, 'Datastore.Backup']);
      datastore.require('read');
      const parent = datastore.namespace(words(call.params['parent']) ?? '');
      return datastore.namespacesBelow(parent, number(call.params['max-depth']) ?? MAX_DEPTH).map((ns) => {
        const comment = datastore.namespaces.get(ns);
        return { ns, ...(comment === undefined ? {} : { comment }) };
      });
    },
  },
  {
    method: 'POST',
    path: '/admin/datastore/{store}/namespace',
    run: (call) => {
      const { datastore } = datastoreOf(call, CHANGE);
      datastore.require('write');
      return datastore.addNamespace(words(call.params['parent']) ?? '', text(call.params['name']));
    },
  },
  {
    method: 'DELETE',
    path: '/admin/datastore/{store}/namespace',
    run: (call) => {
      const { datastore } = datastoreOf(call, CHANGE);
      datastore.require('write');
      datastore.removeNamespace(nsOf(call), call.params['delete-groups'] === true);
      return null;
    },
  },
  {
    method: 'GET',
    path: '/admin/datastore/{store}/groups',
    run: (call) => visibleGroups(call).map(groupRow),
  },
  {
    method: 'DELETE',
    path: '/admin/datastore/{store}/groups',
    run: (call) => {
      const { datastore, group } = ownGroup(call, CHANGE, ['Datastore.Prune']);
      datastore.require('write');
      const names = group.snapshots.filter((each) => !each.protected).map((each) => snapshotName(group, each));
      const kept = datastore.removeGroup(group);
      removed(call, datastore, group, names);
      if (kept > 0 && call.params['error-on-protected'] !== false) {
        throw new PbsError(`group only partially deleted due to protected snapshots`);
      }
      return { 'removed-groups': kept > 0 ? 0 : 1, 'protected-snapshots': kept, 'removed-snapshots': names.length };
    },
  },
  {
    method: 'GET',
    path: '/admin/datastore/{store}/snapshots',
    run: (call) => {
      const { 'backup-type': type, 'backup-id': id } = call.params;
      return visibleGroups(call)
        .filter((group) => (type === undefined || group.type === type) && (id === undefined || group.id === id))
        .flatMap((group) => group.snapshots.map((snapshot) => snapshotRow(group, snapshot)));
    },
  },
  {
    method: 'DELETE',
    path: '/admin/datastore/{store}/snapshots',
    run: (call) => {
      const { datastore, group, snapshot } = ownSnapshot(call, CHANGE, ['Datastore.Prune']);
      datastore.require('write');
      if (snapshot.protected) throw new PbsError('cannot remove protected snapshot');
      datastore.removeSnapshot(group, snapshot);
      removed(call, datastore, group, [snapshotName(group, snapshot)]);
      return null;
    },
  },
  ...protectionRoutes(),
  ...noteRoutes(),
  {
    method: 'POST',
    path: '/admin/datastore/{store}/verify',
    step: 'snapshot.verify',
    run: startVerify,
  },
  {
    method: 'POST',
    path: '/admin/datastore/{store}/prune',
    step: 'datastore.prune',
    run: pruneOne,
  },
  {
    method: 'POST',
    path: '/admin/datastore/{store}/prune-datastore',
    step: 'datastore.prune',
    run: (call) => {
      const { datastore, limitedTo } = datastoreOf(call, CHANGE, ['Datastore.Prune']);
      datastore.require('write');
      return call.pbs.start(
        {
          kind: 'prune',
          store: datastore.name,
          ns: datastore.namespace(nsOf(call)),
          maxDepth: number(call.params['max-depth']) ?? MAX_DEPTH,
          keep: keepOf(call),
          dryRun: call.params['dry-run'] === true,
          owner: limitedTo,
        },
        call.caller.authId,
      ).upid;
    },
  },
  {
    method: 'POST',
    path: '/admin/datastore/{store}/gc',
    permission: { path: '/datastore/{store}', anyOf: ['Datastore.Modify'] },
    step: 'datastore.gc',
    run: (call) => {
      const { datastore } = datastoreOf(call, CHANGE);
      datastore.require('write');
      return call.pbs.start({ kind: 'gc', store: datastore.name }, call.caller.authId).upid;
    },
  },
  {
    method: 'GET',
    path: '/admin/datastore/{store}/gc',
    permission: { path: '/datastore/{store}', anyOf: ['Datastore.Audit'] },
    run: (call) => gcRow(call, datastoreOf(call, SEE).datastore),
  },
  {
    method: 'GET',
    path: '/admin/gc',
    run: (call) =>
      [...call.pbs.datastores.values()]
        .filter(({ name }) => call.params['store'] === undefined || call.params['store'] === name)
        .filter(({ name }) => heldOn(call, name).some((each) => [...SEE, ...CHANGE].includes(each)))
        .map((datastore) => gcRow(call, datastore)),
  },
];

function listDatastores(call: Call) {
  return [...call.pbs.datastores.values()]
    .filter(({ name }) => heldOn(call, name).some((each) => each === 'Datastore.Audit' || each === 'Datastore.Backup'))
    .map((datastore) => ({
      store: datastore.name,
      'mount-status': 'nonremovable',
      'backend-type': backendOf(datastore),
      ...(datastore.config.comment === undefined ? {} : { comment: datastore.config.comment }),
      ...(datastore.config['maintenance-mode'] === undefined
        ? {}
        : { maintenance: datastore.config['maintenance-mode'] }),
    }));
}

function listUsage(call: Call) {
  return [...call.pbs.datastores.values()]
    .filter(({ name }) => heldOn(call, name).some((each) => each === 'Datastore.Audit' || each === 'Datastore.Backup'))
    .map((datastore) => {
      const row = { store: datastore.name, 'mount-status': 'nonremovable', 'backend-type': backendOf(datastore) };
      try {
        datastore.require('read');
      } catch (error) {
        return { ...row, error: (error as Error).message };
      }
      return { ...row, ...datastore.usage, 'gc-status': datastore.gc };
    });
}

export const backendOf = ({ config }: Datastore): 'filesystem' | 's3' =>
  config.backend?.includes('type=s3') ? 's3' : 'filesystem';

/** Groups of others are left out, without a word. */
function visibleGroups(call: Call): Group[] {
  const { datastore, limitedTo } = datastoreOf(call, SEE, ['Datastore.Backup']);
  datastore.require('read');
  return datastore
    .groups(datastore.namespace(nsOf(call)))
    .filter((group) => limitedTo === undefined || owns(limitedTo, group.owner));
}

function ownGroup(call: Call, full: readonly string[], own: readonly string[]) {
  const { datastore, limitedTo } = datastoreOf(call, full, own);
  const group = datastore.group(nsOf(call), text(call.params['backup-type']), text(call.params['backup-id']));
  return { datastore, group: requireOwner(group, limitedTo) };
}

function ownSnapshot(call: Call, full: readonly string[], own: readonly string[]) {
  const { datastore, group } = ownGroup(call, full, own);
  const time = Number(call.params['backup-time']);
  return { datastore, ...datastore.snapshot(group.ns, group.type, group.id, time) };
}

function removed(call: Call, datastore: Datastore, group: Group, names: string[]): void {
  for (const snapshot of names) {
    const detail = { datastore: datastore.name, ns: group.ns, snapshot };
    call.pbs.record('snapshot.remove', call.caller.authId, detail, Number(group.id) || undefined);
  }
}

const groupRow = (group: Group) => ({
  'backup-type': group.type,
  'backup-id': group.id,
  'last-backup': group.snapshots.at(-1)?.time ?? 0,
  'backup-count': group.snapshots.length,
  files: group.snapshots.at(-1)?.finished
    ? filesOf(group.snapshots.at(-1) as Snapshot).map(({ filename }) => filename)
    : [],
  owner: group.owner,
  ...(group.notes === undefined ? {} : { comment: group.notes.split('\n')[0] }),
});

export function snapshotRow(group: Group, snapshot: Snapshot) {
  const row = {
    'backup-type': group.type,
    'backup-id': group.id,
    'backup-time': snapshot.time,
    owner: group.owner,
    protected: snapshot.protected,
  };
  // Without a manifest there is nothing to tell but the names of the files.
  if (!snapshot.finished)
    return {
      ...row,
      files: filesOf(snapshot)
        .slice(0, 2)
        .map(({ filename }) => ({ filename })),
    };
  return {
    ...row,
    files: filesOf(snapshot),
    size: sizeOf(snapshot),
    ...(snapshot.notes === undefined ? {} : { comment: snapshot.notes.split('\n')[0] }),
    ...(snapshot.fingerprint === undefined ? {} : { fingerprint: snapshot.fingerprint }),
    ...(snapshot.verification === undefined ? {} : { verification: snapshot.verification }),
  };
}

function countsOf(datastore: Datastore, limitedTo: string | undefined) {
  const counts: Record<string, { groups: number; snapshots: number }> = {};
  for (const group of datastore.allGroups()) {
    if (limitedTo !== undefined && !owns(limitedTo, group.owner)) continue;
    const count = (counts[group.type] ??= { groups: 0, snapshots: 0 });
    count.groups += 1;
    count.snapshots += group.snapshots.length;
  }
  return counts;
}

function gcRow({ pbs }: Call, datastore: Datastore) {
  const run = pbs.runs.get(`gc ${datastore.name}`);
  const schedule = datastore.config['gc-schedule'];
  return {
    store: datastore.name,
    ...NO_GC,
    ...datastore.gc,
    ...(schedule === undefined ? {} : { schedule }),
    ...(run?.endtime === undefined ? {} : { 'last-run-endtime': run.endtime }),
    ...(run?.state === undefined ? {} : { 'last-run-state': run.state }),
  };
}

function protectionRoutes(): Route[] {
  const path = '/admin/datastore/{store}/protected';
  return [
    {
      method: 'GET',
      path,
      run: (call) => ownSnapshot(call, SEE, ['Datastore.Backup']).snapshot.protected,
    },
    {
      method: 'PUT',
      path,
      run: (call) => {
        const { datastore, group, snapshot } = ownSnapshot(call, CHANGE, ['Datastore.Backup']);
        datastore.require('write');
        snapshot.protected = call.params['protected'] === true;
        datastore.touch(group);
        return null;
      },
    },
  ];
}

function noteRoutes(): Route[] {
  const path = '/admin/datastore/{store}/notes';
  return [
    {
      method: 'GET',
      path,
      run: (call) => ownSnapshot(call, SEE, ['Datastore.Backup']).snapshot.notes ?? '',
    },
    {
      method: 'PUT',
      path,
      run: (call) => {
        const { datastore, group, snapshot } = ownSnapshot(call, CHANGE, ['Datastore.Backup']);
        datastore.require('write');
        snapshot.notes = text(call.params['notes']);
        datastore.touch(group);
        return null;
      },
    },
    {
      method: 'POST',
      path: '/admin/datastore/{store}/change-owner',
      run: (call) => {
        const { datastore, group } = ownGroup(call, CHANGE, []);
        datastore.require('write');
        group.owner = text(call.params['new-owner']);
        datastore.touch(group);
        return null;
      },
    },
  ];
}

function startVerify(call: Call): string {
  const { datastore, limitedTo } = datastoreOf(call, ['Datastore.Verify'], ['Datastore.Backup']);
  datastore.require('read');
  const type = words(call.params['backup-type']);
  const id = words(call.params['backup-id']);
  const time = number(call.params['backup-time']);
  const isAll = type === undefined && id === undefined && time === undefined;
  if (!isAll && (type === undefined || id === undefined)) {
    throw new PbsError('parameters do not specify a backup group or snapshot');
  }
  const ns = datastore.namespace(nsOf(call));
  if (type !== undefined && id !== undefined) {
    requireOwner(datastore.group(ns, type, id), limitedTo);
    if (time !== undefined) datastore.snapshot(ns, type, id, time);
  }
  return call.pbs.start(
    {
      kind: 'verify',
      store: datastore.name,
      ns,
      maxDepth: number(call.params['max-depth']) ?? MAX_DEPTH,
      type,
      id,
      time,
      ignoreVerified: call.params['ignore-verified'] !== false,
      outdatedAfter: number(call.params['outdated-after']),
      owner: limitedTo,
    },
    call.caller.authId,
  ).upid;
}

/** Done when it answers, unless a task was asked for. */
function pruneOne(call: Call): unknown {
  const { datastore, group } = ownGroup(call, CHANGE, ['Datastore.Prune']);
  const dryRun = call.params['dry-run'] === true;
  if (!dryRun) datastore.require('write');
  const { pbs, caller } = call;
  if (call.params['use-task'] === true) {
    const { ns, type, id } = group;
    const what = { store: datastore.name, ns, maxDepth: 0, type, id, keep: keepOf(call), dryRun };
    return pbs.start({ kind: 'prune', ...what }, caller.authId).upid;
  }
  if (!dryRun) pbs.reached('datastore.prune', 'before');
  // An event may have struck; whoever asked hears nothing.
  if (!pbs.up) throw new Error('gone');
  const rows = pruneGroup(pbs, datastore, group, keepOf(call), dryRun);
  const gone = rows.filter((row) => row.removed).map(({ name }) => name);
  recordPrune(pbs, { by: caller.authId, datastore: datastore.name, removed: gone });
  return rows.map(({ time, mark, protected: isProtected }) => ({
    'backup-type': group.type,
    'backup-id': group.id,
    'backup-time': time,
    keep: mark !== 'remove',
    protected: isProtected,
    mark,
  }));
}
