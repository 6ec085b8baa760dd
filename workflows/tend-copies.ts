import { getExternalWorkflowHandle, patched, workflowInfo } from '@temporalio/workflow';
import { areToldApart, isOfNight, type BackedUpGuest } from '#domain/backup.js';
import { lacksDisks, missingOf, provenGroups, prunableGroups, unlistedOf } from '#domain/backup-result.js';
import type {
  BackupStoreInput,
  BackupTask,
  CopyAnswer,
  PruneTask,
  TendActivities,
  TendAnswer,
} from '#domain/messages/backup.js';
import { recordCopies, type Copies } from './backup-record.js';
import type { Steps } from './backup-steps.js';
import type { BackupDesk } from './backup-view.js';
import { slotFreeSignal } from './messages.js';
import type { NightEnd } from './night-end.js';
import { backupProxies, messageOf, offsiteProxies, recordForNow } from './proxies.js';
import type { Dumped } from './store-dumps.js';

/** What is done with the copies of a store once its guests are dumped, at its own server and at the central one. */

/** Each step for what the ones before it left. */
export async function tend(
  input: BackupStoreInput,
  task: BackupTask,
  dumped: Dumped,
  view: BackupDesk,
  steps: Steps,
  end: NightEnd,
): Promise<void> {
  const { orders, cutOffAfter } = input;
  const own = readInTime(backupProxies(task.store), end);
  const central = readInTime(offsiteProxies(cutOffAfter), end);
  const { keep, reverifyAfter, collect, offsite } = orders;
  const at = ' at the central server';

  const prune = async (where: string, server: PruneServer, policy: Pick<PruneTask, 'keep'>, isVerified: boolean) => {
    if (steps.isLeftOut('prune', where)) return;
    await pruneProven({ where, server, task: { ...task, ...policy }, isVerified }, input, dumped, view, steps);
  };
  const pruneHere = () => prune('', own, { keep }, verified?.ok === true);
  const send = () => steps.take('sync', '', () => own.longTask.sendCopy(task));

  // Sending may take all night over a slow uplink: what is here is proven before, and is not held back by it.
  const sendsLast = offsite !== undefined && patched('proven-before-sent');
  let sent = offsite && !sendsLast ? await send() : undefined;
  const verifyTask = { ...task, reverifyAfter };
  const verified = await steps.take('verify', '', () => own.longTask.verifyCopy(verifyTask));
  if (sendsLast) {
    await pruneHere();
    await recordOwn(input, task, dumped, own, view, steps, end);
    sent = await send();
  }
  const isThere = sent?.ok || (offsite !== undefined && (await hasArrived(central, task, steps)));
  if (isThere && patched('slot-free-at-centre')) giveSlotFree(task.store);
  const there = isThere ? await steps.take('verify', at, () => central.longTask.verifyCopy(verifyTask)) : undefined;

  if (!sendsLast) await pruneHere();
  if (isThere && offsite) {
    const node = (server: PruneServer, answer: TendAnswer | undefined) =>
      sendsLast ? nodeOf(server, answer, task, steps) : answer?.node;
    if (!areToldApart(await node(own, verified), await node(central, there)) && patched('servers-told-apart'))
      view.note(`Nothing is pruned${at}: whether it has itself verified what it holds nobody knows.`);
    else await prune(at, central, offsite, sent?.ok === true && there?.ok === true);
  }
  if (collect) await steps.take('collect', '', () => own.longTask.collectSpace(task));
}

/** Turns at the central server are given there; whoever waits for one keeps no other store from being dumped. */
function giveSlotFree(store: string): void {
  const { parent } = workflowInfo();
  if (!parent) return;
  getExternalWorkflowHandle(parent.workflowId)
    .signal(slotFreeSignal, { store })
    .catch(() => undefined);
}

/** What is proven at the store is known while it is sent, which may take longer than the night. */
async function recordOwn(
  input: BackupStoreInput,
  task: BackupTask,
  dumped: Dumped,
  { read }: Pick<PruneServer, 'read'>,
  view: BackupDesk,
  steps: Steps,
  end: NightEnd,
): Promise<void> {
  if (steps.isEnded() || !patched('recorded-before-sent')) return;
  const local = await read.readCopy(task).catch(() => undefined);
  if (!local) return;
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  const missing = missingOf(dumped.guests ?? [], local.copy, which, dumped.runs, new Date());
  const early = (record?: typeof recordForNow) => recordCopies(input, task, dumped, { local }, missing, view, record);
  if (!patched('early-record-limited')) return early();
  const note = (why: string) => view.note(`What is proven at the store is recorded only at the end: ${why}`);
  // A ledger that is away keeps nothing from being sent, and no night from ending.
  const isRecorded = await end
    .untilOver(() => early(recordForNow).then(() => true))
    .catch((error: unknown) => {
      note(messageOf(error));
      return true;
    });
  if (!isRecorded) note('the ledger did not answer before the night was over.');
}

/** What a night asks of a server on its way it does not ask beyond its end: unread is not proven. */
const readInTime = <S extends { read: Pick<TendActivities, 'readCopy'> }>(server: S, end: NightEnd) => ({
  ...server,
  read: {
    readCopy: async (task: BackupTask): Promise<CopyAnswer> => {
      const answer = await end.untilOver(() => server.read.readCopy(task));
      if (answer === undefined) throw new Error('The night ended before the server was read.');
      return answer;
    },
  },
});

/** Whether something of this night is there although sending failed: one damaged snapshot keeps no other guest's back. */
async function hasArrived({ read }: Pick<PruneServer, 'read'>, task: BackupTask, steps: Steps): Promise<boolean> {
  if (steps.isEnded() || !patched('what-arrived-is-proven')) return false;
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  return read.readCopy(task).then(
    ({ copy }) => copy.snapshots.some((snapshot) => isOfNight(snapshot, which)),
    () => false,
  );
}

/**
 * Whose word a verification is. Workers of earlier builds do not tell; when all was found well, it was so under the name
 * that they read by. One that was not carried out may have met a server of another name, and proves none.
 */
const nodeOf = async (
  { read }: Pick<PruneServer, 'read'>,
  answer: TendAnswer | undefined,
  task: BackupTask,
  steps: Steps,
): Promise<string | undefined> => {
  if (answer?.node !== undefined || !answer?.ok || steps.isEnded()) return answer?.node;
  return read.readCopy(task).then(
    ({ copy }) => copy.node,
    () => undefined,
  );
};

interface PruneServer {
  read: Pick<TendActivities, 'readCopy'>;
  longTask: Pick<TendActivities, 'pruneCopy'>;
}

/**
 * All groups, those of guests that are gone among them, when the server's own list proves the night; else those alone
 * whose guest it proves. Nights of earlier builds believed that nothing is wrong when no step had said so.
 */
async function pruneProven(
  { where, server, task, isVerified }: { where: string; server: PruneServer; task: PruneTask; isVerified: boolean },
  input: BackupStoreInput,
  { guests = [], runs, stop }: Dumped,
  view: BackupDesk,
  steps: Steps,
): Promise<void> {
  if (steps.isEnded()) return;
  const isDone = isVerified && stop === undefined && runs.every(({ kind }) => kind === 'done');
  const isWhole = isDone && runs.length > 0 && !isAnyMissed(input, guests);
  const byList = patched('pruned-by-list');
  const byGroup = byList || (!isWhole && patched('prune-proven'));
  if (isDone && !byGroup) {
    await steps.take('prune', where, () => server.longTask.pruneCopy(task));
    return;
  }
  const copy = byGroup ? await listOn(server, task) : undefined;
  if (!copy && byList) {
    const detail = `nothing pruned${where}: the server's list could not be read`;
    if (!steps.isLeftOut('prune', where)) steps.keep({ what: 'prune', ok: false, detail, reason: 'BackupIncomplete' });
    return;
  }
  const which = { night: task.night, startedAt: new Date(task.startedAt) };
  const groups = copy ? (byList ? prunableGroups : provenGroups)(guests, copy, which, new Date()) : [];
  const isAll = byList && isWhole && groups.length === guests.filter(({ template }) => !template).length;
  const asked = isAll ? task : { ...task, groups };
  if (groups.length > 0) await steps.take('prune', where, () => server.longTask.pruneCopy(asked));
  if (isAll) return;
  view.note(
    groups.length > 0
      ? `Pruned are only the groups of which this night has a proven backup (${groups.length})${where}.`
      : `Nothing is pruned${where}: the night has not proven itself.`,
  );
}

/** Nights of earlier builds took a template that store.yaml names for a guest that is dumped. */
const isAnyMissed = (input: BackupStoreInput, guests: readonly BackedUpGuest[]): boolean =>
  guests.some(lacksDisks) ||
  unlistedOf(namedIn(input), guests).some(({ isTemplate }) => !isTemplate || patched('templates-are-missed'));

/** Of a server that cannot be read nothing is proven. */
const listOn = ({ read }: PruneServer, { keep: _, ...task }: PruneTask): Promise<CopyAnswer['copy'] | undefined> =>
  read.readCopy(task).then(
    ({ copy }) => copy,
    () => undefined,
  );

/** The night that is named for it may have been one in which this store was away. */
export async function collectWhenDue(
  { orders }: BackupStoreInput,
  task: BackupTask,
  { local }: Copies,
  steps: Steps,
): Promise<void> {
  if (orders.collect || !local?.isCollectionDue || steps.isEnded() || !patched('collected-when-due')) return;
  await steps.take('collect', '', () => backupProxies(task.store).longTask.collectSpace(task));
}

/** Numbers of the guests that store.yaml names. */
export const namedIn = ({ guests }: BackupStoreInput): number[] => Object.keys(guests).map(Number);
