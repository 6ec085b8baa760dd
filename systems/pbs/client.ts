import { setTimeout as delay } from 'node:timers/promises';
import type { z } from 'zod';
import { nightIn, type SnapshotFacts } from '#domain/backup.js';
import { permissionsFrom } from '#domain/permissions.js';
import { PbsError } from './errors.js';
import { createPbsHttp } from './http.js';
import {
  collectionSchema,
  datastoresSchema,
  groupsSchema,
  namespacesSchema,
  permissionsSchema,
  pruneSchema,
  snapshotsSchema,
  spaceSchema,
  syncJobsSchema,
  taskLogSchema,
  tasksSchema,
  taskStatusSchema,
  usageSchema,
  versionSchema,
} from './schemas.js';
import type { DatastoreUsage, PbsClient, PbsOptions, PbsTask, PbsTaskStatus } from './types.js';
import { parsePbsUpid } from './upid.js';
import { datastorePath, isTaskOf, isVerificationIn, keepForm, nsOf, requestOf, SYNC_TYPES } from './work.js';

const TASK_PAGE = 500;
const MAX_TASK_PAGES = 20;
/** Between two reads of a task that seems to have ended without a last line: it may just be writing it. */
const REREAD_MS = 1_000;

/** Throws `PbsError` of kind Untrusted or Auth at once when the options cannot make a safe connection. */
export function createPbsClient(options: PbsOptions): PbsClient {
  const { api, tokenId } = createPbsHttp(options);
  const { read } = api;

  /** All of them, page by page: work whose task is not found is started a second time. */
  const tasksWhere = async (which: { since: number } | { running: true }): Promise<z.output<typeof tasksSchema>> => {
    const found: z.output<typeof tasksSchema> = [];
    for (let page = 0; page < MAX_TASK_PAGES; page++) {
      const rows = await read(tasksSchema, TASKS, { ...which, start: found.length, limit: TASK_PAGE });
      found.push(...rows);
      if (rows.length < TASK_PAGE) return found;
    }
    throw new PbsError(
      'Malformed',
      `GET ${TASKS}: more than ${MAX_TASK_PAGES * TASK_PAGE} tasks of ${JSON.stringify(which)}`,
    );
  };
  const ownOf = (is: (upid: string) => boolean, rows: z.output<typeof tasksSchema>): PbsTask[] =>
    rows
      .filter(({ upid }) => is(upid) && parsePbsUpid(upid)?.authId === tokenId)
      .map(taskOf)
      .toSorted((a, b) => b.startTime - a.startTime);
  // A server may list one that has just ended.
  const runningOf = async (is: (upid: string) => boolean): Promise<PbsTask[]> =>
    ownOf(is, await tasksWhere({ running: true })).filter(({ status }) => status === undefined);

  return {
    async version() {
      const { version, release } = await read(versionSchema, '/version');
      return { version, release };
    },

    async permissions() {
      return permissionsFrom(await read(permissionsSchema, '/access/permissions'));
    },

    async datastores() {
      const rows = await read(datastoresSchema, '/admin/datastore');
      return rows.map((row) => ({
        name: row.store,
        backend: row['backend-type'],
        ...(row.maintenance ? { maintenance: maintenanceOf(row.maintenance) } : {}),
        ...(row['mount-status'] ? { mount: row['mount-status'] } : {}),
      }));
    },

    async space(datastore) {
      const { total, used, avail } = await read(spaceSchema, `${datastorePath(datastore)}/status`);
      return { total, used, available: avail };
    },

    async usage() {
      return (await read(usageSchema, '/status/datastore-usage')).map(usageOf);
    },

    async namespaces(datastore) {
      const rows = await read(namespacesSchema, `${datastorePath(datastore)}/namespace`);
      return rows.map(({ ns }) => ns);
    },

    async groups(datastore, namespace) {
      const rows = await read(groupsSchema, `${datastorePath(datastore)}/groups`, nsOf(namespace));
      return rows.map((row) => ({
        type: row['backup-type'],
        id: row['backup-id'],
        lastBackup: row['last-backup'],
        count: row['backup-count'],
        ...(row.owner ? { owner: row.owner } : {}),
      }));
    },

    async snapshots(datastore, namespace, group) {
      const rows = await read(snapshotsSchema, `${datastorePath(datastore)}/snapshots`, {
        ...nsOf(namespace),
        ...(group ? { 'backup-type': group.type, 'backup-id': group.id } : {}),
      });
      return rows.map(snapshotOf);
    },

    async prune({ datastore, namespace, type, id }, keep, dryRun) {
      const path = `${datastorePath(datastore)}/prune`;
      const { data } = await api.post(path, {
        ...nsOf(namespace),
        'backup-type': type,
        'backup-id': id,
        'dry-run': dryRun,
        ...keepForm(keep),
      });
      return api
        .parse(pruneSchema, `POST ${path}`, data)
        .map((row) => ({ time: row['backup-time'], keep: row.keep, protected: row.protected }));
    },

    async collection(datastore) {
      const row = await read(collectionSchema, `${datastorePath(datastore)}/gc`);
      return {
        ...lastRunOf(row.upid, row['last-run-state'], row['last-run-endtime']),
        diskBytes: row['disk-bytes'],
        indexBytes: row['index-data-bytes'],
        pendingBytes: row['pending-bytes'],
        removedBytes: row['removed-bytes'],
        stillBad: row['still-bad'],
      };
    },

    async syncJobs() {
      const rows = await read(syncJobsSchema, '/admin/sync', { 'sync-direction': 'all' });
      return rows.map((row) => ({
        id: row.id,
        datastore: row.store,
        namespace: row.ns ?? '',
        direction: row['sync-direction'],
        ...(row.remote ? { remote: row.remote } : {}),
        ...(row['remote-store'] ? { remoteDatastore: row['remote-store'] } : {}),
        ...lastRunOf(row['last-run-upid'], row['last-run-state'], row['last-run-endtime']),
      }));
    },

    async start(work) {
      const { path, form } = requestOf(work);
      const { data } = await api.post(path, form);
      if (typeof data === 'string' && parsePbsUpid(data)) return data;
      throw new PbsError('OutcomeUnknown', `POST ${path}: accepted, but the answer names no task. Look for its task.`);
    },

    find: async (work, since) => ownOf((upid) => isTaskOf(work, upid), await tasksWhere({ since })),
    running: (work) => runningOf((upid) => isTaskOf(work, upid)),
    verifying: (place) => runningOf((upid) => isVerificationIn(place, upid)),

    async taskStatus(upid) {
      const { type, path } = taskPlace(upid);
      let task = await read(taskStatusSchema, `${path}/status`);
      if (task.status === 'stopped' && task.exitstatus === NO_LAST_LINE) {
        await delay(REREAD_MS);
        task = await read(taskStatusSchema, `${path}/status`);
      }
      return statusOf(task, type);
    },

    async taskLog(upid, lines) {
      const path = `${taskPlace(upid).path}/log`;
      // The number of a first line, from 1; where Proxmox VE takes how many to skip.
      const page = (start: number) => api.get(path, { start, limit: lines });
      let answer = await page(1);
      const total = answer.total ?? 0;
      if (total > lines) answer = await page(total - lines + 1);
      return api.parse(taskLogSchema, `GET ${path}`, answer.data).map((line) => line.t);
    },

    close: () => api.close(),
  };
}

/** The server answers for itself only. */
const TASKS = '/nodes/localhost/tasks';
/** Of a task that the server, or its power, took down. */
const NO_LAST_LINE = 'unknown';

function taskPlace(upid: string): { type: string; path: string } {
  const task = parsePbsUpid(upid);
  if (!task) throw new PbsError('Validation', `Not a task id of a backup server: ${upid.slice(0, 120)}`);
  return { type: task.type, path: `${TASKS}/${encodeURIComponent(upid)}` };
}

function statusOf(task: z.output<typeof taskStatusSchema>, type: string): PbsTaskStatus {
  if (task.status === 'running') return { state: 'running' };
  const exit = task.exitstatus ?? NO_LAST_LINE;
  const warnings = /^WARNINGS: \d+$/.test(exit);
  return { state: 'stopped', exit, ok: exit === 'OK' || (warnings && !SYNC_TYPES.has(type)), warnings };
}

const taskOf = (row: z.output<typeof tasksSchema>[number]): PbsTask => ({
  upid: row.upid,
  type: row.worker_type,
  startTime: row.starttime,
  ...(row.status ? { status: row.status } : {}),
});

/** `read-only,message="moving"` or `type=read-only,…` → `read-only`. */
const maintenanceOf = (words: string): string => (words.split(',')[0] ?? '').replace(/^type=/, '');

function usageOf(row: z.output<typeof usageSchema>[number]): DatastoreUsage {
  const { store: datastore, total, used, avail, error } = row;
  const numbers = [total, used, avail].every((bytes) => bytes !== undefined && bytes >= 0);
  if (error || !numbers) return { datastore, error: error ?? 'the server gives no numbers' };
  const fullAt = row['estimated-full-date'];
  return {
    datastore,
    total: total as number,
    used: used as number,
    available: avail as number,
    ...(fullAt === undefined ? {} : { fullAt }),
  };
}

function snapshotOf(row: z.output<typeof snapshotsSchema>[number]): SnapshotFacts {
  const data = row.files.filter(({ filename }) => !UNENCRYPTED.has(filename));
  const upid = row.verification ? parsePbsUpid(row.verification.upid) : undefined;
  const state = row.verification?.state;
  const night = nightIn(row.comment ?? '');
  return {
    type: row['backup-type'],
    id: row['backup-id'],
    time: row['backup-time'],
    protected: row.protected,
    encrypted: data.length > 0 && data.every((file) => file['crypt-mode'] === 'encrypt'),
    ...(row.size === undefined ? {} : { size: row.size }),
    ...(night === undefined ? {} : { night }),
    ...(row.fingerprint ? { keyFingerprint: row.fingerprint } : {}),
    // A verification by nobody, or with a result that is not known, is none.
    ...(upid && (state === 'ok' || state === 'failed')
      ? { verification: { state, node: upid.node, at: upid.startTime } }
      : {}),
  };
}

/** In an encrypted backup too: the list of its parts is signed only, and the log holds no data of the guest. */
const UNENCRYPTED: ReadonlySet<string> = new Set(['index.json.blob', 'client.log.blob']);

const lastRunOf = (upid: string | undefined, state: string | undefined, endTime: number | undefined) =>
  upid ? { lastRun: { upid, ...(state ? { state } : {}), ...(endTime === undefined ? {} : { endTime }) } } : {};
