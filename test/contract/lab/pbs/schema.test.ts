import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { routes } from '#lab/pbs/dispatch.js';
import type { ParamSpec } from '#lab/pbs/params.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { until } from '../../../unit/lab/lab-support.js';
import { startPracticeStore, type PracticeStore } from '../pve/practice-store.js';
import { PbsCaller } from './caller.js';

/**
 * What the practice backup server serves, against what the real one declares. Name a file with the published schema of
 * Proxmox Backup Server in EDGE_PBS_SCHEMA to compare with all of it: an array of
 * `{path, method, parameters: {name: {type, optional?, enum?, minimum?, maximum?}}, returns}`.
 */
interface Declared {
  type?: string;
  optional?: unknown;
  enum?: string[];
  minimum?: number;
  maximum?: number;
}
interface Method {
  path: string;
  method: string;
  parameters?: Record<string, Declared>;
  returns?: { type?: string; properties?: Record<string, Declared>; items?: { properties?: Record<string, Declared> } };
}

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

const file = process.env['EDGE_PBS_SCHEMA'];
const schema = file ? (JSON.parse(readFileSync(file, 'utf8')) as Method[]) : [];
const known = new Map(schema.map((method) => [`${method.method} ${method.path}`, method]));
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

function rowsOf(name: string): Promise<unknown> {
  const path = name
    .slice(4)
    .replace('{store}', 'backup')
    .replace('{node}', 'localhost')
    .replace('{upid}', encodeURIComponent(upid))
    .replace('/sync/{id}', '/sync/to-central')
    .replace('/remote/{name}', '/remote/central')
    .replace('{id}', 'a-job')
    .replace('{name}', 'backup');
  const query = /\/(protected|notes)$/.test(path) ? oneSnapshot() : path.endsWith('/sync') ? ALL_DIRECTIONS : '';
  return stores.data('GET', `${path}${query}`, ofSync(name) ? { token: 'edge-governor@pbs!verify' } : {});
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

  it.runIf(file)('has no call that the real one does not have', () => {
    expect([...served.keys()].filter((name) => !known.has(name))).toEqual([]);
  });

  const both = [...served.keys()].filter((name) => known.has(name));
  it.runIf(file).each(both)('takes of the parameters of %s none that the real one would refuse', (name) => {
    const ours: Record<string, ParamSpec> = served.get(name)?.params ?? {};
    const theirs = known.get(name)?.parameters ?? {};
    const form = ({ type, enum: words, minimum, maximum }: Declared) => ({
      type,
      words: [...(words ?? [])].sort(),
      minimum,
      maximum,
    });
    for (const [each, spec] of Object.entries(ours)) {
      const there = theirs[each];
      expect([name, each, there === undefined]).toEqual([name, each, false]);
      expect([each, Boolean(spec.optional)]).toEqual([each, Boolean(there?.optional)]);
      // Of words it may know fewer; of numbers the borders are the same where it has any.
      const [own, other] = [form(spec as Declared), form(there ?? {})];
      expect([each, own.type]).toEqual([each, other.type]);
      expect(own.words.filter((word) => !other.words.includes(word))).toEqual([]);
      if (own.minimum !== undefined && other.minimum !== undefined)
        expect([each, own.minimum]).toEqual([each, other.minimum]);
      if (own.maximum !== undefined) expect([each, own.maximum]).toEqual([each, other.maximum]);
    }
    const needed = Object.keys(theirs).filter((each) => !theirs[each]?.optional);
    expect(Object.keys(ours)).toEqual(expect.arrayContaining(needed));
  });

  const reads = both.filter((name) => name.startsWith('GET ') && !/s3|roles|acl|log$/.test(name));
  it.runIf(file).each(reads)('answers %s as declared', async (name) => {
    const { returns = {} } = known.get(name) ?? {};
    const data = await rowsOf(name);
    const required = (properties: Record<string, Declared> = {}): string[] =>
      Object.keys(properties).filter((key) => !properties[key]?.optional);
    if (returns.type === 'array') {
      const rows = data as Record<string, unknown>[];
      expect(rows.length).toBeGreaterThan(0);
      for (const row of rows) {
        expect(Object.keys(row)).toEqual(expect.arrayContaining(required(returns.items?.properties)));
        const strange = Object.keys(row).filter((key) => !(key in (returns.items?.properties ?? { [key]: {} })));
        expect(strange).toEqual([]);
      }
    } else if (returns.type === 'object') {
      expect(Object.keys(data as object)).toEqual(expect.arrayContaining(required(returns.properties)));
    }
  });
});
