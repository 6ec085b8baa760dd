import type { RestoreActivities, TrialTask } from '#domain/messages/restore.js';
import {
  cardsFor,
  copyStorage,
  decideSite,
  decideStart,
  devicesIn,
  isSameTrial,
  judgeRestore,
  readMark,
  snapshotName,
  standInsFor,
  writeMark,
} from '#domain/restore-site.js';
import type { TrialRecord } from '#systems/site-state/types.js';
import { isKind } from '../backup/answers.js';
import { waitFor } from '../store/wait.js';
import { guestFault, siteFault } from './answers.js';
import type { RestoreDeps } from './deps.js';
import { onNode } from './inside.js';
import { findGuest, kindOf, readGuest, readSite, recordOf, trialOf, whoseGuest, type Found } from './site.js';
import { endOf, restoresOf, sinceOf } from './tasks.js';

/** Of one task: a restore writes a line for each percent of each disk. */
const LOG_LINES = 1_000;

type Answer = Awaited<ReturnType<RestoreActivities['restoreGuest']>>;

/**
 * Restores the guest once: the task of an earlier attempt is found by what is on disk about it, else by search, and a
 * guest by its notes, before anything is asked for.
 */
export async function restoreGuest(deps: RestoreDeps, task: TrialTask): Promise<Answer> {
  const record = recordOf(deps, task);
  const upid = record && (record.upid ?? (await search(deps, task, record)));
  if (record && upid !== undefined) return prove(deps, task, { ...record, upid });
  const found = await findGuest(deps, task.as);
  if (found) return adopt(deps, task, found);
  return ask(deps, task, record);
}

/** A guest that this worker knows nothing of, as after the loss of its own disk: its notes tell whose it is. */
async function adopt(deps: RestoreDeps, task: TrialTask, found: Found): Promise<Answer> {
  for (const { upid, status } of await restoresOf(deps, task.as)) {
    if (status === undefined) await endOf(deps, upid, deps.timing.restore);
  }
  const whose = (await whoseGuest(deps, found))?.whose;
  if (whose?.kind !== 'marked' || !isSameTrial(whose.mark, { ...trialOf(task), askedAt: '' }))
    return taken(task, found);
  const { mark } = whose;
  const [{ size = 0 } = {}, archived] = await Promise.all([
    snapshotOf(deps, task),
    archivedConfig(deps, found.node, archiveOf(task)),
  ]);
  const leftOut = devicesIn(found.kind, archived);
  const record: TrialRecord = { ...mark, node: found.node, bytes: size, before: [], leftOut };
  await deps.state.saveTrial(task.as, record);
  return proveGuest(deps, task, record);
}

const taken = ({ as }: TrialTask, { kind, node }: Found): Answer =>
  siteFault(
    `The id ${as} has ${kind === 'qemu' ? 'a VM' : 'a container'} on ${node} that this trial did not make. It was left as it is.`,
  );

const snapshotOf = async ({ copies }: RestoreDeps, { store, snapshot }: TrialTask) => {
  const { type, id, time } = snapshot;
  const all = await copies.client.snapshots(copies.datastore, store, { type, id });
  return all.find((one) => one.time === time);
};

/** What was listed when the copy was opened is pruned by policy meanwhile: it shows nothing of whoever it was of. */
const noMore = (name: string): Answer =>
  siteFault(
    `The central backup server holds ${name} no more: it was there when the copy was opened, and was pruned or taken away since. Nothing is known of the guest.`,
  );

async function ask(deps: RestoreDeps, task: TrialTask, known: TrialRecord | undefined): Promise<Answer> {
  const { proxmox, state, place } = deps;
  const name = snapshotName(task.snapshot);
  const [facts, snapshot, before] = await Promise.all([
    readSite(deps),
    snapshotOf(deps, task),
    restoresOf(deps, task.as),
  ]);
  if (!snapshot) return noMore(name);
  if (snapshot.size === undefined) return guestFault(`The central backup server has no finished snapshot ${name}.`);
  const kind = kindOf(task);
  const { size: bytes } = snapshot;
  const decide = () => decideSite(facts, place, { kind, bytes, promised: promisedIn(deps, task.as) });
  const first = decide();
  if (first.kind === 'refuse') return siteFault(first.why, first.detail);
  const archive = archiveOf(task);
  const archived = await archivedConfig(deps, first.nodes[0] ?? '', archive);
  // Others may have been promised room meanwhile; from here to the record of this trial nobody comes between.
  const decision = decide();
  if (decision.kind === 'refuse') return siteFault(decision.why, decision.detail);
  const [node = ''] = decision.nodes;
  const at = deps.now().toISOString();
  const record: TrialRecord = {
    ...trialOf(task),
    askedAt: known?.askedAt ?? at,
    node,
    bytes,
    sentAt: at,
    before: before.map(({ upid }) => upid),
    leftOut: devicesIn(kind, archived),
  };
  await state.saveTrial(task.as, record);
  const restore = {
    kind,
    vmid: task.as,
    archive,
    storage: place.storage,
    pool: place.pool,
    settings: {
      ...cardsFor(kind, archived, place),
      ...standInsFor(kind, archived),
      onboot: 0,
      protection: 0,
      description: writeMark(record),
    },
  };
  let upid: string | undefined;
  try {
    upid = await proxmox.restore(node, restore);
  } catch (error) {
    if (isKind(error, 'OutcomeUnknown')) upid = await search(deps, task, record);
    else {
      const { sentAt: _, ...unsent } = record;
      await state.saveTrial(task.as, unsent);
      if (error instanceof Error && /already exists/.test(error.message)) return siteFault(error.message);
    }
    // The next attempt searches once more before it asks anew.
    if (upid === undefined) throw error;
  }
  return prove(deps, task, await withTask(deps, task, record, upid));
}

const archiveOf = ({ store, snapshot }: TrialTask): string => `${copyStorage(store)}:backup/${snapshotName(snapshot)}`;

/** Of a backup that cannot be read nothing is known: the restore, which cannot either, says why. */
const archivedConfig = ({ proxmox }: RestoreDeps, node: string, archive: string): Promise<Record<string, string>> =>
  proxmox.archivedConfig(node, archive).catch((error: unknown) => {
    if (isKind(error, 'Server')) return {};
    throw error;
  });

/** What other restores, that are still on their way, will take on each node. */
function promisedIn({ state }: RestoreDeps, as: number): Record<string, number> {
  const promised: Record<string, number> = {};
  for (const { id, node, bytes, sentAt, restoredAt } of state.trials()) {
    if (id === as || sentAt === undefined || restoredAt !== undefined) continue;
    promised[node] = (promised[node] ?? 0) + bytes;
  }
  return promised;
}

async function withTask(
  { state }: RestoreDeps,
  { as }: TrialTask,
  record: TrialRecord,
  upid: string,
): Promise<TrialRecord & { upid: string }> {
  const next = { ...record, upid };
  await state.saveTrial(as, next);
  return next;
}

/** The task of a request whose answer nobody got; undefined when it did not come about. Throws when that cannot be told. */
export async function search(deps: RestoreDeps, task: TrialTask, record: TrialRecord): Promise<string | undefined> {
  const { sentAt, askedAt, before } = record;
  if (sentAt === undefined) return undefined;
  const look = async (): Promise<string | undefined> => {
    const found = await restoresOf(deps, task.as, sinceOf(askedAt));
    return found.find(({ upid }) => !before.includes(upid))?.upid;
  };
  const left = Date.parse(sentAt) + deps.timing.grace - deps.now().getTime();
  const { seen } = await waitFor(deps, Math.min(left, deps.timing.grace), look);
  // A look that failed is not one that found nothing.
  const upid = seen ?? (await look());
  if (upid !== undefined) await withTask(deps, task, record, upid);
  return upid;
}

async function prove(deps: RestoreDeps, task: TrialTask, record: TrialRecord & { upid: string }): Promise<Answer> {
  const { proxmox, timing } = deps;
  const { upid, askedAt, node } = record;
  if (record.restoredAt !== undefined) return proveGuest(deps, task, record);
  const left = Date.parse(askedAt) + timing.restore - deps.now().getTime();
  const ended = await endOf(deps, upid, Math.max(0, left));
  if (ended?.ok) return proveGuest(deps, task, record);
  const name = snapshotName(task.snapshot);
  if (!ended) return siteFault(`The restore of ${name} on ${node} did not end in time, or nobody can tell how.`);
  const lines = await proxmox.taskLog(upid, LOG_LINES).catch((error: unknown) => {
    if (isKind(error, 'NotFound')) return [];
    throw error;
  });
  const { fault, why, detail } = judgeRestore(ended.exit, lines);
  if (fault === 'guest' && !(await snapshotOf(deps, task))) return noMore(name);
  return (fault === 'guest' ? guestFault : siteFault)(`The restore of ${name} failed: ${why}`, detail);
}

async function proveGuest(deps: RestoreDeps, task: TrialTask, record: TrialRecord): Promise<Answer> {
  const found = await findGuest(deps, task.as);
  if (!found) return siteFault(`The restore ended well, and there is no guest ${task.as}.`);
  const asRestored = await readGuest(deps, found);
  const mark = readMark(asRestored.config?.['description']);
  if (!mark || !isSameTrial(mark, record)) return taken(task, found);
  const devices = devicesIn(found.kind, asRestored.config ?? {});
  const leftOut = [...new Set([...(record.leftOut ?? []), ...devices])].toSorted();
  // When they are gone nothing else tells of them.
  await deps.state.saveTrial(task.as, { ...record, leftOut });
  const guest = asRestored.status === 'running' ? asRestored : await without(deps, found, asRestored, devices);
  // What was proven once may run by now.
  const node = guest.status === 'running' ? { ...guest.node, memoryFree: Infinity } : guest.node;
  const decision = decideStart({ ...guest, node }, deps.place);
  if (decision.kind === 'unsafe') return siteFault('What was restored is not safe to start at the site.', decision.why);
  const endedAt = record.restoredAt ?? deps.now().toISOString();
  await deps.state.saveTrial(task.as, { ...record, leftOut, restoredAt: endedAt });
  const { askedAt: startedAt, bytes } = record;
  return { kind: 'done', startedAt, endedAt, bytes, ...(leftOut.length === 0 ? {} : { leftOut }) };
}

type Restored = Awaited<ReturnType<typeof readGuest>>;

/** Takes the devices of a node from what was restored, and looks again. Root alone may, so it goes over SSH. */
async function without(deps: RestoreDeps, found: Found, guest: Restored, devices: string[]): Promise<Restored> {
  if (devices.length === 0) return guest;
  await onNode(deps, found, ['set', String(found.vmid), '--delete', devices.join(',')]);
  return readGuest(deps, found);
}
