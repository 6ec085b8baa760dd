import type { SweepTask, TrialAnswer } from '#domain/messages/restore.js';
import { copyStorage, isOurRestore, isTestId } from '#domain/restore-site.js';
import { isOurs, removeStorage } from './copy.js';
import type { RestoreDeps } from './deps.js';
import { endRestore, takeAway } from './remove.js';
import { whoseGuest, type Found } from './site.js';

/**
 * Takes away what dead runs left: guests of the range that we restored, and storages that we added. A guest that may be
 * somebody else's stays, and so does what could not be taken away; both are told.
 */
export async function sweepSite(
  deps: RestoreDeps,
  { before, tried = [] }: SweepTask,
): Promise<TrialAnswer<{ removed: string[]; left: string[]; busy: string[] }>> {
  const { proxmox, state } = deps;
  const limit = Date.parse(before);
  const removed: string[] = [];
  const left: string[] = [];
  const busy: string[] = [];
  /** Stores of which a guest is still there; undefined among them: nobody knows whose it is. */
  const needed = new Set<string | undefined>();
  const isTried = (store: string | undefined): boolean =>
    store === undefined ? tried.length > 0 : tried.includes(store);

  const guests = (await proxmox.guests()).filter(({ vmid }) => isTestId(vmid));
  for (const { vmid, kind, node } of guests) {
    const found = { vmid, kind, node };
    const origin = await originOf(deps, found);
    if (!origin) continue;
    const name = `guest ${vmid} on ${node}`;
    if (origin.kind === 'unknown') {
      if (origin.running !== undefined) needed.add(undefined);
      left.push(`${name}: ${origin.why}`);
      continue;
    }
    const { store, at, running } = origin;
    const stays = (where: string[], why: string): void => {
      needed.add(store);
      where.push(`${name}: ${why}`);
    };
    if (at >= limit) stays(busy, `it is of ${new Date(at).toISOString()}, and may be in use`);
    else if (isTried(store)) stays(busy, `guests of ${store ?? 'a store'} are being tried`);
    else {
      try {
        if (running !== undefined) await endRestore(deps, running);
        const disks = await takeAway(deps, found);
        if (disks.length > 0) stays(left, `it is gone, but not ${disks.join(', ')}`);
        else {
          await state.forgetTrial(vmid);
          removed.push(`guest ${vmid} on ${node}, of ${new Date(at).toISOString()}`);
        }
      } catch (error) {
        stays(left, wordsOf(error));
      }
    }
  }

  // Of these nothing came about, or somebody took it away by hand.
  for (const { id, askedAt } of state.trials()) {
    if (Date.parse(askedAt) < limit && !guests.some(({ vmid }) => vmid === id)) await state.forgetTrial(id);
  }

  for (const storage of await proxmox.storages()) {
    const { storage: id, namespace: store = '' } = storage;
    if (id !== copyStorage(store) || !isOurs(storage, store)) continue;
    const openedAt = state.openedAt(store);
    const isYoung = openedAt !== undefined && Date.parse(openedAt) >= limit;
    if (isYoung) busy.push(`storage ${id}: it was opened at ${openedAt}, and may be in use`);
    else if (isTried(store)) busy.push(`storage ${id}: guests of ${store} are being tried`);
    else if (needed.has(store) || needed.has(undefined)) busy.push(`storage ${id}: a guest may still come from it`);
    else {
      try {
        await removeStorage(deps, id);
        await state.forgetOpened(store);
        removed.push(`storage ${id}`);
      } catch (error) {
        left.push(`storage ${id}: ${wordsOf(error)}`);
      }
    }
  }
  return { kind: 'done', removed, left, busy };
}

const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

type Origin =
  | { kind: 'ours'; store: string | undefined; at: number; running: string | undefined }
  /** `running`: a restore of ours to that id, from whichever store. */
  | { kind: 'unknown'; why: string; running: string | undefined };

/**
 * Since when it is there (milliseconds) and whose copy it is, by its own notes; of one whose restore has not ended, or
 * has failed, by the task, which knows no store. Undefined when it is gone by now.
 */
async function originOf(deps: RestoreDeps, found: Found): Promise<Origin | undefined> {
  const seen = await whoseGuest(deps, found);
  if (!seen) return undefined;
  const { whose, tasks } = seen;
  const { upid: running } = tasks.find((task) => isOurRestore(task) && task.status === undefined) ?? {};
  switch (whose.kind) {
    case 'marked':
      return { kind: 'ours', store: whose.mark.store, at: Date.parse(whose.mark.askedAt), running };
    case 'remainder':
      return { kind: 'ours', store: deps.state.trial(found.vmid)?.store, at: whose.task.startTime * 1_000, running };
    case 'unknown':
      return { ...whose, running };
    default:
      return whose satisfies never;
  }
}
