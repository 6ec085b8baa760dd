import { ApplicationFailure } from '@temporalio/activity';
import { abridge } from '#domain/abridge.js';
import {
  isCollectionDue,
  keepsNewestProven,
  MAX_SKEW,
  nameOf,
  planVerification,
  unprovenBecause,
  type CopyFacts,
  type SnapshotFacts,
  type SnapshotName,
} from '#domain/backup.js';
import { plural } from '#domain/counted.js';
import {
  backupTaskSchema,
  pruneTaskSchema,
  verifyTaskSchema,
  type BackupTask,
  type PruneTask,
  type TendActivities,
  type TendAnswer,
  type VerifyTask,
} from '#domain/messages/backup.js';
import { groupedBy } from '#domain/grouped.js';
import type { PbsWork, PruneMark } from '#systems/pbs/types.js';
import { beating } from '../beating.js';
import { doorFor } from '../door.js';
import { answered, done, notDone } from './answers.js';
import { isRefusal, readSnapshots, requireOn } from './copy.js';
import type { TendDeps } from './deps.js';
import { takingTurns } from './turns.js';
import { afterOtherVerifications, carryOut, requireAsked } from './work.js';

const SHOWN = 20;

/**
 * What is done with the copies of stores on one backup server after the dumps. What came of it is read from the
 * server's list; the words of a task are no proof.
 */
export function createTendActivities(deps: TendDeps): TendActivities {
  const { node, verifier, pruner, datastore, timing, verifyAtOnce = Infinity } = deps;
  const inTurn = takingTurns(verifyAtOnce, timing.poll);
  const mine = doorFor((store) =>
    deps.namespaceOf(store) === undefined ? `The backup server ${node} has nothing of ${store}.` : undefined,
  );
  const placeOf = ({ store }: BackupTask) => ({ datastore, namespace: deps.namespaceOf(store) ?? '' });
  const read = async (task: BackupTask): Promise<CopyFacts> => {
    const { namespace } = placeOf(task);
    return { node, snapshots: await readSnapshots(verifier, { datastore, namespace }) };
  };

  return {
    /** Retry-safe: what is verified already is not planned again, and a verification that runs is waited for. */
    verifyCopy: (raw) =>
      beating(async () => {
        const task = mine(verifyTaskSchema, raw);
        return answered(async () => {
          await requireOn(verifier, datastore, placeOf(task).namespace, 'Datastore.Verify');
          return inTurn(() => verify(task));
        });
      }),

    /** Retry-safe: the same policy removes nothing more. */
    pruneCopy: (raw) =>
      beating(async () => {
        const task = mine(pruneTaskSchema, raw);
        return answered(() => prune(task));
      }),

    /** Retry-safe: a collection that runs is waited for, and one that ended well since the operation began is enough. */
    collectSpace: (raw) =>
      beating(async () => {
        const task = mine(backupTaskSchema, raw);
        return answered(async () => {
          const ended = await carryOut(pruner, { kind: 'collect', datastore }, task, { timing, adoptEnded: true });
          if (!ended.ok) return notDone(ended);
          const { removedBytes, pendingBytes } = await pruner.collection(datastore);
          return done(`${mib(removedBytes)} MiB collected, ${mib(pendingBytes)} MiB are free a day from now`);
        });
      }),

    /** Only looks. */
    readCopy: (raw) =>
      beating(async () => {
        const task = mine(backupTaskSchema, raw);
        try {
          const copy = await read(task);
          const [space, collection] = await Promise.all([
            verifier.space(datastore).catch(() => undefined),
            verifier.collection(datastore).catch(() => undefined),
          ]);
          return {
            copy,
            ...(space ? { space: { total: space.total, used: space.used } } : {}),
            ...(collection
              ? { stillBad: collection.stillBad, isCollectionDue: isCollectionDue(collection.lastRun, deps.now()) }
              : {}),
          };
        } catch (error) {
          throw isRefusal(error) ? refusedFailure(error) : error;
        }
      }),
  };

  /**
   * A policy counts snapshots, whatever they are worth: one that is damaged, or not verified yet, takes the place of a
   * proven one that is older. So each group is looked at just before, and one that would lose its newest proven snapshot
   * is left.
   */
  async function prune({ keep, groups: asked, ...task }: PruneTask): Promise<TendAnswer> {
    const { namespace } = placeOf(task);
    await requireOn(pruner, datastore, namespace, 'Datastore.Modify');
    await requireOn(verifier, datastore, namespace, 'Datastore.Audit');
    const names = asked && new Set(asked.map(groupOf));
    const all = await pruner.groups(datastore, namespace);
    const groups = all.filter((group) => names?.has(groupOf(group)) ?? true);
    const left: string[] = [];
    let removed = 0;
    for (const { type, id } of groups) {
      requireAsked();
      const group = { datastore, namespace, type, id };
      const snapshots = await verifier.snapshots(datastore, namespace, { type, id });
      const plan = await pruner.prune(group, keep, true);
      if (!keepsNewestProven({ node, snapshots }, plan.filter(stays), deps.now())) left.push(groupOf(group));
      else removed += (await pruner.prune(group, keep, false)).filter((mark) => !stays(mark)).length;
    }
    return done(`${plural(removed, 'snapshot')} of ${plural(groups.length, 'group')} removed${leftWords(left)}`);
  }

  async function verify(task: VerifyTask): Promise<TendAnswer> {
    await afterOtherVerifications(verifier, placeOf(task), timing);
    const before = await read(task);
    const { fresh, again } = planVerification(before, deps.now(), task.reverifyAfter);
    const planned = [...fresh, ...again];
    const troubles: string[] = [];
    for (const work of verificationsOf(placeOf(task), planned, before.snapshots)) {
      // Not of one that has ended: had it verified anything, the list would say so.
      const ended = await carryOut(verifier, work, task, { timing, adoptEnded: false });
      const by = ended.upid.split(':')[1];
      if (by !== node) return notDone({ why: misnamed(node, by), failure: 'guest' });
      if (!ended.ok) troubles.push(ended.why);
    }
    const after = await read(task);
    return { ...judgeVerified(after, planned, task, deps.now(), troubles), node };
  }
}

/** What is protected stays, whatever the policy says. */
const stays = (mark: PruneMark): boolean => mark.keep || mark.protected;

function leftWords(groups: readonly string[]): string {
  if (groups.length === 0) return '';
  const words = groups.length === 1 ? ['it is', 'its'] : ['they are', 'their'];
  return `; left as ${words[0]}, since ${words[1]} newest proven backup would go: ${abridge(groups)}`;
}

/** One task for a group of which all snapshots are due, since it reads what they share once; else one for each. */
function verificationsOf(
  place: { datastore: string; namespace: string },
  planned: readonly SnapshotName[],
  snapshots: readonly SnapshotFacts[],
): PbsWork[] {
  return [...groupedBy(planned, groupOf).values()].flatMap((due): PbsWork[] => {
    const [first] = due;
    if (!first) return [];
    const group = { type: first.type, id: first.id };
    const work = { kind: 'verify', ...place, group, ignoreVerified: false } as const;
    const isWhole = due.length > 1 && due.length === snapshots.filter((one) => groupOf(one) === groupOf(first)).length;
    return isWhole ? [work] : due.map(({ time }) => ({ ...work, time }));
  });
}

/** Also what an earlier attempt of this operation has found broken, and could not tell. */
function judgeVerified(
  { node, snapshots }: CopyFacts,
  planned: readonly SnapshotName[],
  { startedAt }: VerifyTask,
  now: Date,
  troubles: readonly string[],
): TendAnswer {
  const isBroken = ({ verification }: SnapshotFacts): boolean =>
    verification?.state === 'failed' &&
    verification.node === node &&
    verification.at * 1_000 >= Date.parse(startedAt) - MAX_SKEW;
  const broken = snapshots.filter(isBroken);
  const open = snapshots
    .filter((one) => planned.some((name) => groupOf(name) === groupOf(one) && name.time === one.time))
    .filter((one) => !isBroken(one))
    .flatMap((one) => {
      const why = unprovenBecause(one, node, now);
      return why === undefined ? [] : [`${nameOf(one)}: ${why}`];
    });
  const told = [...broken.map((one) => `${nameOf(one)}: verification failed`), ...open];
  if (told.length === 0) return done(`${plural(planned.length, 'snapshot')} verified`);
  return {
    ok: false,
    reason: broken.length > 0 ? 'BackupVerifyFailed' : 'BackupIncomplete',
    detail: [...told.slice(0, SHOWN), ...troubles.slice(0, 1)].join('; '),
  };
}

const refusedFailure = (error: Error) =>
  ApplicationFailure.create({ type: 'BackupRefused', nonRetryable: true, message: error.message, cause: error });

const misnamed = (node: string, by: string | undefined): string =>
  `The file of this worker calls the backup server ${node}; its tasks say ${by}, and what they verify counts for nothing`;
const groupOf = ({ type, id }: { type: string; id: string }): string => `${type}/${id}`;
const mib = (bytes: number): number => Math.round(bytes / 1024 ** 2);
