import type { Script } from '../tasks.js';
import { datastorePath, privilegesOn } from './access.js';
import { chunkBytes, digestOf } from './content.js';
import {
  chunksOfSnapshot,
  groupName,
  PbsError,
  permissionDenied,
  snapshotName,
  type Datastore,
  type Group,
  type Snapshot,
} from './datastore.js';
import type { PbsSim } from './pbs-sim.js';
import type { SyncOrder, Worker } from './work.js';

/**
 * Copies what is newer from another server, or to it. A group that belongs to somebody else there is left out with a
 * warning, one that cannot be read or written fails the task; the others go on. A copy has all that the manifest says,
 * also who verified it.
 */
export function* sync(pbs: PbsSim, order: SyncOrder, { log, upid, user }: Worker): Script {
  const isPush = order.direction === 'push';
  pbs.datastore(order.store).require(isPush ? 'read' : 'write');
  reached(pbs, order, 'before');
  log(
    `Starting datastore sync job '${order.remote ?? '-'}:${order.remoteStore}:${order.store}:${order.ns}:${order.job ?? ''}'`,
  );
  const far = `${order.remote ?? ''}/${order.remoteStore}`;
  log(`sync datastore '${order.store}' ${isPush ? 'to' : 'from'} '${far}'`);
  yield pbs.timing.of('pruneDatastore');
  const ends = isPush ? endsOfPush(pbs, order) : endsOfPull(pbs, order);
  const { source, target } = ends;
  const counts = { groups: 0, snapshots: 0, warnings: 0, failures: 0 };
  for (const from of source.datastore.namespacesBelow(source.datastore.namespace(source.ns), order.maxDepth)) {
    const ns = mapped(from, ends);
    target.prepare(ns);
    const groups = source.datastore.groups(from).filter((group) => isWanted(group, order.groupFilter));
    log('----');
    log(
      `Syncing datastore '${source.datastore.name}', ${place(from)} into datastore '${target.datastore.name}', ${place(ns)}`,
    );
    log(`found ${groups.length} groups to sync`);
    for (const group of groups) {
      counts.groups += 1;
      const own = target.datastore.findGroup(ns, group.type, group.id);
      if (own && own.owner !== target.owner) {
        log(`WARN: sync group ${groupName(group)} failed - owner check failed (${target.owner} != ${own.owner})`);
        counts.warnings += 1;
        continue;
      }
      try {
        counts.snapshots += yield* copyGroup(pbs, { ...ends, group, to: ns }, order, log);
      } catch (error) {
        log(`sync group ${groupName(group)} failed - ${(error as Error).message}`);
        counts.failures += 1;
      }
    }
    if (order.removeVanished) removeVanished(target, ns, groups, order, log);
    log(`Finished syncing ${place(from)}, current progress: ${counts.groups} groups, ${counts.snapshots} snapshots`);
  }
  const detail = { pbs: pbs.hostname, datastore: order.store, ns: order.ns, upid, ...counts };
  const store = isPush ? pbs.id : pbs.storeBehind(order.remote);
  pbs.world.journal.record({ store, effect: 'datastore.sync', by: user, detail });
  if (counts.failures > 0) throw new Error('sync failed with some errors.');
  return counts.warnings;
}

function reached(pbs: PbsSim, { remote }: SyncOrder, moment: 'before' | 'during'): void {
  const store = pbs.storeBehind(remote);
  pbs.reached('datastore.sync', moment);
  if (store !== pbs.id) pbs.world.faults.reached(store, undefined, 'datastore.sync', moment);
}

interface Ends {
  source: { datastore: Datastore; ns: string };
  target: {
    datastore: Datastore;
    ns: string;
    /** Of what is copied. */
    owner: string;
    /** Sees to it that the namespace is there and may be written. */
    prepare: (ns: string) => void;
  };
  /** The other server; undefined for another datastore of the same one. */
  far: PbsSim | undefined;
}

function endsOfPull(pbs: PbsSim, order: SyncOrder): Ends {
  const own = pbs.datastore(order.store);
  const far = farEnd(pbs, order);
  if (far && !far.held('').includes('Datastore.Read')) throw permissionDenied();
  const datastore = (far?.pbs ?? pbs).datastore(order.remoteStore);
  datastore.require('read');
  return {
    source: { datastore, ns: order.remoteNs },
    target: { datastore: own, ns: order.ns, owner: order.owner, prepare: (ns) => makeNamespace(own, ns) },
    far: far?.pbs,
  };
}

/** What is sent belongs to the remote's token, which rarely may do more than that. */
function endsOfPush(pbs: PbsSim, order: SyncOrder): Ends {
  const far = farEnd(pbs, order);
  if (!far) throw new PbsError('a push needs a remote');
  const datastore = far.pbs.datastore(order.remoteStore);
  datastore.require('write');
  if (order.removeVanished && !far.held(order.remoteNs).includes('Datastore.Prune')) throw permissionDenied();
  const prepare = (ns: string): void => {
    const held = far.held(ns);
    if (!held.includes('Datastore.Backup')) throw permissionDenied();
    if (datastore.namespaces.has(ns)) return;
    if (!held.includes('Datastore.Modify')) throw permissionDenied();
    makeNamespace(datastore, ns);
  };
  return {
    source: { datastore: pbs.datastore(order.store), ns: order.ns },
    target: { datastore, ns: order.remoteNs, owner: far.token, prepare },
    far: far.pbs,
  };
}

/** The other server, as its remote says, reached with the remote's token. */
function farEnd(pbs: PbsSim, { remote: name, remoteStore }: SyncOrder) {
  if (name === undefined) return undefined;
  const remote = pbs.remotes.get(name);
  if (!remote) throw new PbsError(`no such remote '${name}'`);
  const far = reach(pbs, remote.host, remote.port ?? 8007);
  const token = far.login(remote['auth-id'], remote.password).id;
  const held = (ns: string): string[] => privilegesOn(far.acl, token, datastorePath(remoteStore, ns));
  return { pbs: far, token, held };
}

/** The WAN of either store may be cut. */
function reach(pbs: PbsSim, host: string, port: number): PbsSim {
  const { world } = pbs;
  const other = [...world.pbs.values()].find((each) => each.address === host && each.port === port);
  const linked = [pbs.id, other?.id ?? ''].every((id) => world.stores.get(id)?.wanUp ?? true);
  if (!other?.up || !linked) {
    throw new Error(
      `error trying to connect: error connecting to https://${host}:${port}/ - tcp connect error: deadline has elapsed`,
    );
  }
  return other;
}

/** How many times as long a transfer takes: the slower link counts. */
function slowness(pbs: PbsSim, far: PbsSim | undefined): number {
  if (!far) return 1;
  const { faults } = pbs.world;
  const slow = [pbs.id, far.id].flatMap((store) => faults.on('wan-slow', store) ?? []);
  return Math.max(1, ...slow.map(({ params }) => Number(params?.['factor'] ?? 10)));
}

interface Transfer extends Ends {
  group: Group;
  /** Namespace of the copy. */
  to: string;
}

function* copyGroup(
  pbs: PbsSim,
  { source, target: { datastore: target, owner }, far, group, to: ns }: Transfer,
  order: SyncOrder,
  log: Worker['log'],
): Script<number> {
  const { type, id } = group;
  log(`sync group ${groupName(group)}`);
  let copied = 0;
  for (const snapshot of wantedSnapshots(target, group, ns, order, log)) {
    const name = snapshotName(group, snapshot);
    log(`sync snapshot ${name}`);
    const chunks = chunksOfSnapshot(snapshot);
    const missing = chunks.filter((each) => !target.chunks.has(each));
    const share = bytesOf(missing) / Math.max(1, bytesOf(chunks));
    const half = pbs.timing.of('syncGroup') * (0.05 + 0.45 * share);
    yield half * slowness(pbs, far);
    reached(pbs, order, 'during');
    yield half * slowness(pbs, far);
    if (far) reach(pbs, far.address, far.port);
    // It may have been pruned in the meantime.
    if (!group.snapshots.includes(snapshot)) {
      log(`skipping snapshot ${name} - vanished since start of sync`);
      continue;
    }
    const broken = missing.find(
      (each) => !source.datastore.chunks.has(each) || source.datastore.chunks.isDamaged(each),
    );
    if (broken !== undefined)
      throw new Error(`unable to load chunk '${digestOf(broken)}' - blob has wrong CRC checksum.`);
    target.write(missing, snapshot, Date.now());
    const own = target.groupFor({ ns, type, id, owner });
    const old = own.snapshots.find(({ time }) => time === snapshot.time);
    if (old) target.removeSnapshot(own, old);
    const home = target.groupFor({ ns, type, id, owner });
    const copy: Snapshot = { ...snapshot, protected: old?.protected ?? false };
    target.adopt(home, copy);
    target.finish(home, copy, Date.now());
    copied += 1;
  }
  return copied;
}

/** What is finished here and newer than the newest there, oldest first; with `resyncCorrupt` also what failed there. */
function wantedSnapshots(
  target: Datastore,
  group: Group,
  ns: string,
  order: SyncOrder,
  log: Worker['log'],
): Snapshot[] {
  const own = target.findGroup(ns, group.type, group.id)?.snapshots ?? [];
  const newest = own.at(-1)?.time ?? 0;
  const failed = new Set(own.filter(({ verification }) => verification?.state === 'failed').map(({ time }) => time));
  const finished = group.snapshots.filter((snapshot) => {
    if (!snapshot.finished) log(`skipping snapshot ${snapshotName(group, snapshot)} - in-progress backup`);
    return snapshot.finished;
  });
  const last = order.transferLast === undefined ? finished : finished.slice(-order.transferLast);
  return last.filter((snapshot) => {
    const isNew = snapshot.time > newest || (order.resyncCorrupt && failed.has(snapshot.time));
    if (!isNew) return false;
    const fits =
      (!order.verifiedOnly || snapshot.verification?.state === 'ok') &&
      (!order.encryptedOnly || snapshot.fingerprint !== undefined);
    if (!fits) log(`skipping snapshot ${snapshotName(group, snapshot)} - not verified or not encrypted, as asked for`);
    return fits;
  });
}

function removeVanished(
  { datastore: target, owner }: Ends['target'],
  ns: string,
  there: Group[],
  order: SyncOrder,
  log: Worker['log'],
): void {
  for (const own of target.groups(ns)) {
    if (own.owner !== owner || !isWanted(own, order.groupFilter)) continue;
    const source = there.find(({ type, id }) => type === own.type && id === own.id);
    for (const snapshot of [...own.snapshots]) {
      if (snapshot.protected || source?.snapshots.some(({ time }) => time === snapshot.time)) continue;
      log(`delete vanished snapshot ${snapshotName(own, snapshot)}`);
      target.removeSnapshot(own, snapshot);
    }
  }
}

/** `type:vm`, `group:vm/100`, `regex:…`, each also as `exclude:…`. */
function isWanted(group: Group, filters: readonly string[]): boolean {
  const matches = (filter: string): boolean => {
    const [kind = '', ...rest] = filter.split(':');
    const value = rest.join(':');
    if (kind === 'type') return group.type === value;
    return kind === 'group' ? groupName(group) === value : new RegExp(value).test(groupName(group));
  };
  const strip = (filter: string): string => filter.replace(/^(include|exclude):/, '');
  const excludes = filters.filter((filter) => filter.startsWith('exclude:'));
  const includes = filters.filter((filter) => !filter.startsWith('exclude:'));
  const isIn = includes.length === 0 || includes.some((filter) => matches(strip(filter)));
  return isIn && !excludes.some((filter) => matches(strip(filter)));
}

function mapped(from: string, { source, target }: Ends): string {
  const below = source.ns === '' ? from : from.slice(source.ns.length + 1);
  return [target.ns, below].filter((each) => each !== '').join('/');
}

function makeNamespace(target: Datastore, ns: string): void {
  const parts = ns === '' ? [] : ns.split('/');
  for (const [i, name] of parts.entries()) {
    if (!target.namespaces.has(parts.slice(0, i + 1).join('/'))) target.addNamespace(parts.slice(0, i).join('/'), name);
  }
}

const place = (ns: string): string => (ns === '' ? 'root namespace' : `namespace '${ns}'`);
const bytesOf = (ids: readonly string[]): number => ids.reduce((sum, id) => sum + chunkBytes(id), 0);
