import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PRACTICE_AUDITOR } from '#lab/pbs/access.js';
import { DECLARED } from '#lab/pbs/declared.js';
import { routes } from '#lab/pbs/dispatch.js';
import { checkParams, type ParamSpec } from '#lab/pbs/params.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { until } from '../../../unit/lab/lab-support.js';
import { startPracticeStore, type PracticeStore } from '../pve/practice-store.js';
import { PbsCaller, type CallOptions } from './caller.js';

/**
 * What the practice backup server takes and answers, against what the real one declares: lab/pbs/declared.ts, which
 * test/contract/lab/published.test.ts compares with what is published.
 */

/** The calls that the service rests on, as a short table for where the published schema is not at hand. */
const ESSENTIAL: Record<string, readonly string[]> = {
  'GET /ping': ['pong'],
  'GET /version': ['version', 'release', 'repoid'],
  'GET /admin/datastore': ['store', 'mount-status', 'backend-type'],
  'GET /admin/datastore/{store}/status': ['total', 'used', 'avail', 'backend-type'],
  'GET /admin/datastore/{store}/namespace': ['ns'],
  'GET /admin/datastore/{store}/groups': ['backup-type', 'backup-id', 'last-backup', 'backup-count', 'files'],
  'GET /admin/datastore/{store}/snapshots': ['backup-type', 'backup-id', 'backup-time', 'files', 'protected'],
  'GET /admin/datastore/{store}/gc': ['store', 'disk-bytes', 'pending-bytes', 'still-bad', 'index-data-bytes'],
  'GET /nodes/{node}/tasks': ['upid', 'node', 'pid', 'pstart', 'starttime', 'worker_type', 'user'],
  'GET /nodes/{node}/tasks/{upid}/status': ['upid', 'node', 'status', 'type', 'user'],
  'GET /nodes/{node}/tasks/{upid}/log': ['n', 't'],
  'GET /status/datastore-usage': ['store', 'backend-type', 'mount-status'],
  'GET /admin/sync': ['id', 'store', 'remote-store'],
  'POST /admin/datastore/{store}/verify': [],
  'POST /admin/datastore/{store}/prune': [],
  'POST /admin/datastore/{store}/gc': [],
  'POST /admin/sync/{id}/run': [],
};

const served = new Map(routes.map((route) => [`${route.method} ${route.path}`, route]));

let lab: PracticeStore;
let stores: PbsCaller;
let upid: string;
beforeAll(async () => {
  lab = await startPracticeStore({ backup: true });
  stores = await PbsCaller.open(lab.store.pbs as PbsSim, lab.authorities);
  // One of each kind of row should exist.
  await lab.request('n1', 'POST', '/nodes/n1/vzdump', { body: { vmid: '100', storage: 'pbs' } });
  await until('a guest is backed up', () => lab.world.journal.entries.some(({ effect }) => effect === 'backup.done'));
  await stores.data('POST', '/config/verify', { json: { id: 'a-job', store: 'backup' } });
  await stores.data('POST', '/config/prune', { json: { id: 'a-job', store: 'backup', schedule: 'daily' } });
  const bucket = { id: 'a-bucket', endpoint: 's3.example.com', 'access-key': 'AKIA', 'secret-key': 'hidden' };
  lab.store.pbs?.s3.set(bucket.id, bucket);
  upid = await stores.data<string>('POST', '/admin/datastore/backup/verify');
  await stores.ended(upid);
});
afterAll(async () => {
  await stores.close();
  await lab.close();
});

/** Else it lists what is pulled alone. */
const ALL_DIRECTIONS = '?sync-direction=all';
const ofSync = (name: string): boolean => /\/(sync|remote)\b/.test(name);

async function rowsOf(name: string): Promise<unknown> {
  const path = name
    .slice(4)
    .replace('{store}', 'backup')
    .replace('{node}', 'localhost')
    .replace('{upid}', encodeURIComponent(upid))
    .replace('/sync/{id}', '/sync/to-central')
    .replace('/remote/{name}', '/remote/central')
    .replace('/s3/{id}', '/s3/a-bucket')
    .replace('{id}', 'a-job')
    .replace('{name}', 'backup');
  const query = /\/(protected|notes)$/.test(path) ? oneSnapshot() : path.endsWith('/sync') ? ALL_DIRECTIONS : '';
  return stores.data('GET', `${path}${query}`, needsPerson(name) ? await asAuditor() : asToken(name));
}

const needsPerson = (name: string): boolean => /\/(status|acl|s3|s3\/\{id\})$/.test(name) && !name.includes('upid');
const asToken = (name: string): CallOptions => (ofSync(name) ? { token: 'edge-governor@pbs!verify' } : {});

/** No token of the service may look at the server itself. */
async function asAuditor(): Promise<CallOptions> {
  const { user: username, password } = PRACTICE_AUDITOR;
  const login = { token: '', json: { username, password } };
  const { ticket } = await stores.data<{ ticket: string }>('POST', '/access/ticket', login);
  return { token: '', headers: { cookie: `PBSAuthCookie=${encodeURIComponent(ticket)}` } };
}

function oneSnapshot(): string {
  const [snapshot] = (lab.store.pbs as PbsSim).datastore('backup').groups('')[0]?.snapshots ?? [];
  return `?backup-type=vm&backup-id=100&backup-time=${snapshot?.time}`;
}

describe('the practice backup server', () => {
  it('has every call that the service rests on', () => {
    expect(Object.keys(ESSENTIAL).filter((name) => !served.has(name))).toEqual([]);
  });

  it.each(Object.entries(ESSENTIAL).filter(([name]) => name.startsWith('GET ')))(
    'answers %s with the promised keys',
    async (name, keys) => {
      const data = await rowsOf(name);
      const rows = (Array.isArray(data) ? data : [data]) as Record<string, unknown>[];
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) expect(Object.keys(row)).toEqual(expect.arrayContaining([...keys]));
    },
  );

  it('has no call that the real one does not have', () => {
    expect([...served.keys()].toSorted()).toEqual(Object.keys(DECLARED));
  });

  // Its fields are paths.
  const NO_FIELDS = ['GET /access/permissions'];
  const reads = Object.entries(DECLARED).filter(([name]) => name.startsWith('GET '));
  it.each(reads)('answers %s as declared', async (name, { answer }) => {
    const data = await rowsOf(name);
    if (!answer || NO_FIELDS.includes(name)) return;
    const rows = (answer.isList ? data : [data]) as Record<string, unknown>[];
    expect(rows.length).toBeGreaterThan(0);
    for (const row of rows) {
      expect(Object.keys(row)).toEqual(expect.arrayContaining([...answer.needs]));
      expect(Object.keys(row).filter((key) => ![...answer.needs, ...answer.may].includes(key))).toEqual([]);
    }
  });
});

describe('a value past its border', () => {
  const past = ({ minimum, maximum, minLength = 0, maxLength, enum: words, pattern, items }: ParamSpec): unknown[] => [
    ...(minimum === undefined ? [] : [minimum - 1]),
    ...(maximum === undefined ? [] : [maximum + 1]),
    ...(minLength === 0 ? [] : ['a'.repeat(minLength - 1)]),
    ...(maxLength === undefined ? [] : ['a'.repeat(maxLength + 1)]),
    ...(words ? ['no-such-word'] : []),
    ...(pattern ? ['\u0007'.repeat(Math.max(1, minLength))] : []),
    ...(items ? past(items).map((each) => [each]) : []),
  ];
  const cases = Object.entries(DECLARED).flatMap(([name, { params }]) =>
    Object.entries(params).flatMap(([key, spec]) => past(spec).map((value) => [key, name, value] as const)),
  );

  it.each(cases)('of %s is refused by %s: %j', (key, name, value) => {
    const raw = new Map([[key, { value, isText: false }]]);
    expect(() => checkParams(DECLARED[name]?.params ?? {}, raw, {})).toThrow(`'${key}': value `);
  });
});
