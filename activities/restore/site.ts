import type { TrialTask } from '#domain/messages/restore.js';
import {
  isSameTrial,
  readMark,
  snapshotName,
  whoseIs,
  type RestoredGuest,
  type SiteFacts,
  type SiteNode,
  type TrialMark,
  type Whose,
} from '#domain/restore-site.js';
import type { GuestKind } from '#systems/proxmox/types.js';
import type { TrialRecord } from '#systems/site-state/types.js';
import { isKind } from '../backup/answers.js';
import type { RestoreDeps } from './deps.js';
import { workOn, type Work } from './tasks.js';

/** Reads what `decideSite` rests on. What cannot be read is told as that. */
export async function readSite(deps: RestoreDeps): Promise<SiteFacts> {
  const { proxmox, place } = deps;
  const unread: string[] = [];
  const read = reader(unread);
  const [cluster, permissions, hasPool] = await Promise.all([
    read('cluster status', proxmox.clusterStatus()),
    read('permissions', proxmox.permissions()),
    read(`pool ${place.pool}`, orNull(proxmox.poolMembers(place.pool))),
  ]);
  const online = (cluster?.nodes ?? []).filter((node) => node.online);
  return {
    quorate: cluster?.quorate,
    permissions,
    hasPool: hasPool === undefined ? undefined : hasPool !== null,
    nodes: await Promise.all(online.map(({ name }) => readNode(deps, name, unread))),
    unread,
  };
}

export async function readNode(
  { proxmox, place }: RestoreDeps,
  name: string,
  unread: string[] = [],
): Promise<SiteNode> {
  const read = reader(unread);
  const [bridges, storage, status] = await Promise.all([
    read(`bridges of ${name}`, proxmox.bridges(name)),
    read(`storage ${place.storage} on ${name}`, orNull(proxmox.storageStatus(name, place.storage))),
    read(`status of ${name}`, proxmox.nodeStatus(name)),
  ]);
  return {
    name,
    bridge: bridges && (bridges.find((bridge) => bridge.name === place.bridge) ?? null),
    storage: storage && { ...storage, available: storage.active ? storage.space?.avail : undefined },
    memoryFree: status?.memoryFree,
  };
}

const reader =
  (unread: string[]) =>
  async <T>(what: string, reading: Promise<T>): Promise<T | undefined> => {
    try {
      return await reading;
    } catch (error) {
      unread.push(`${what}: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  };

const orNull = <T>(reading: Promise<T>): Promise<T | null> =>
  reading.catch((error: unknown) => {
    if (isKind(error, 'NotFound')) return null;
    throw error;
  });

export interface Found {
  vmid: number;
  kind: GuestKind;
  node: string;
}

/** A guest of the site by its id, whoever made it. */
export async function findGuest({ proxmox }: RestoreDeps, vmid: number): Promise<Found | undefined> {
  const found = (await proxmox.guests()).find((guest) => guest.vmid === vmid);
  return found && { vmid, kind: found.kind, node: found.node };
}

/** Its settings; undefined when it is gone by now. */
export const configOf = async ({ proxmox }: RestoreDeps, { node, kind, vmid }: Found) =>
  (await orNull(proxmox.guestConfig(node, kind, vmid))) ?? undefined;

/** Whose it is, and all that was done to its id; undefined when it is gone by now. */
export async function whoseGuest(
  deps: RestoreDeps,
  found: Found,
): Promise<{ whose: Whose<Work>; tasks: readonly Work[] } | undefined> {
  const config = await configOf(deps, found);
  if (!config) return undefined;
  // After the settings: what is done in between shows, and a guest that took the place of this one is not taken for it.
  const tasks = await workOn(deps, found.vmid);
  return { whose: whoseIs({ ...found, config }, tasks, deps.state.trial(found.vmid)), tasks };
}

/** All that `decideStart` rests on. */
export async function readGuest(deps: RestoreDeps, found: Found): Promise<RestoredGuest & { status: string }> {
  const { proxmox, place } = deps;
  const { vmid, kind } = found;
  const [config, members, { ha, status }, node] = await Promise.all([
    configOf(deps, found),
    proxmox.poolMembers(place.pool),
    proxmox.guestStatus(found.node, kind, vmid),
    readNode(deps, found.node),
  ]);
  return { vmid, kind, config, ha, status, inPool: members.some((member) => member.vmid === vmid), node };
}

export const kindOf = ({ snapshot }: TrialTask): GuestKind => (snapshot.type === 'vm' ? 'qemu' : 'lxc');
export const trialOf = ({ run, store, snapshot }: TrialTask): Omit<TrialMark, 'askedAt'> => ({
  run,
  store,
  snapshot: snapshotName(snapshot),
});

/** What is remembered of this very trial; what is of another one with the same id is not. */
export function recordOf({ state }: RestoreDeps, task: TrialTask): TrialRecord | undefined {
  const record = state.trial(task.as);
  return record && isSameTrial(record, { ...trialOf(task), askedAt: '' }) ? record : undefined;
}

/** The guest of this very trial, as its own notes say; undefined when there is none, or it is somebody else's. */
export async function guestOf(deps: RestoreDeps, task: TrialTask): Promise<Found | undefined> {
  const found = await findGuest(deps, task.as);
  const mark = found && readMark((await configOf(deps, found))?.['description']);
  return mark && isSameTrial(mark, { ...trialOf(task), askedAt: '' }) ? found : undefined;
}
