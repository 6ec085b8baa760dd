import { parsePbsUpid, type PbsUpid } from './upid.js';
import type { Keep, PbsWork, Place } from './types.js';

/** How each kind of work is asked for, and how its task is told among others. */

/** Path and form of the request that starts it. Whatever has a default that surprises is always said. */
export function requestOf(work: PbsWork): { path: string; form: Record<string, string | number | boolean> } {
  switch (work.kind) {
    case 'verify': {
      const { datastore, namespace, group, time, ignoreVerified, outdatedAfterDays } = work;
      return {
        path: `${datastorePath(datastore)}/verify`,
        form: {
          ...nsOf(namespace),
          ...(group ? { 'backup-type': group.type, 'backup-id': group.id } : { 'max-depth': 0 }),
          ...(group && time !== undefined ? { 'backup-time': time } : {}),
          // True unless said, and then a snapshot that was ever verified is passed over with the task ending OK.
          'ignore-verified': ignoreVerified,
          ...(outdatedAfterDays === undefined ? {} : { 'outdated-after': outdatedAfterDays }),
        },
      };
    }
    case 'prune':
      return {
        path: `${datastorePath(work.datastore)}/prune-datastore`,
        form: { ...nsOf(work.namespace), 'max-depth': 0, 'dry-run': work.dryRun, ...keepForm(work.keep) },
      };
    case 'collect':
      return { path: `${datastorePath(work.datastore)}/gc`, form: {} };
    case 'sync':
      return { path: `/admin/sync/${encodeURIComponent(work.job)}/run`, form: {} };
    default:
      return work satisfies never;
  }
}

/** Whether a task is one that `work` would have started. */
export function isTaskOf(work: PbsWork, upid: string): boolean {
  const task = parsePbsUpid(upid);
  if (!task) return false;
  const id = plainId(task);
  switch (work.kind) {
    case 'verify': {
      const { datastore, namespace, group, time } = work;
      const type = !group ? 'verify' : time === undefined ? 'verify_group' : 'verify_snapshot';
      const parts = [
        ...namespaceParts(namespace),
        ...(group ? [group.type, group.id] : []),
        ...(group && time !== undefined ? [time.toString(16).toUpperCase().padStart(8, '0')] : []),
      ];
      return task.type === type && id === joined(datastore, parts.join('/'));
    }
    case 'prune':
      return task.type === 'prune' && id === joined(work.datastore, work.namespace);
    case 'collect':
      return task.type === 'garbage_collection' && id === work.datastore;
    case 'sync':
      // The job's name is the last part; before it stand the remote and both datastores.
      return task.type === 'syncjob' && (id === work.job || id.endsWith(`:${work.job}`));
    default:
      return work satisfies never;
  }
}

/** Whether a task verifies snapshots of this namespace, whichever it was asked for. */
export function isVerificationIn({ datastore, namespace }: Place, upid: string): boolean {
  const task = parsePbsUpid(upid);
  if (!task || !VERIFY_TYPES.has(task.type)) return false;
  const whole = joined(datastore, namespaceParts(namespace).join('/'));
  const id = plainId(task);
  if (id === whole) return true;
  const rest = id.startsWith(whole) ? id.slice(whole.length) : '';
  return /^[:/]/.test(rest) && !rest.slice(1).startsWith('ns/');
}

const VERIFY_TYPES: ReadonlySet<string> = new Set(['verify', 'verify_group', 'verify_snapshot']);

/** Between versions the id differs by empty parts: `store:vm/100` is also `store:/vm/100`, and `store` is `store:`. */
const plainId = ({ id }: PbsUpid): string =>
  id
    .replaceAll(/\/+/g, '/')
    .replaceAll(':/', ':')
    .replace(/[:/]+$/, '');

/** Types of tasks that end with warnings when a group was not copied. */
export const SYNC_TYPES: ReadonlySet<string> = new Set(['syncjob', 'sync']);

export const datastorePath = (datastore: string): string => `/admin/datastore/${encodeURIComponent(datastore)}`;
/** The root is meant by leaving the namespace out. */
export const nsOf = (namespace: string): { ns?: string } => (namespace === '' ? {} : { ns: namespace });

export const keepForm = (keep: Keep): Record<string, number> =>
  Object.fromEntries(
    Object.entries(keep).flatMap(([unit, count]: [string, number | undefined]) =>
      count === undefined ? [] : [[`keep-${unit}`, count]],
    ),
  );

/** `a/b` → `ns/a/ns/b`, as paths on the server have it. */
const namespaceParts = (namespace: string): string[] =>
  namespace.split('/').flatMap((part) => (part === '' ? [] : ['ns', part]));

const joined = (datastore: string, rest: string): string => (rest === '' ? datastore : `${datastore}:${rest}`);
