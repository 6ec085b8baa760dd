import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { routes } from '#lab/pve/dispatch.js';
import type { ParamSpec } from '#lab/pve/params.js';
import { until } from '../../../unit/lab/lab-support.js';
import { startPracticeStore } from './practice-store.js';
import type { PracticeStore } from './practice-store.js';

/**
 * What the practice API serves, against what the real one declares. Name a file with the published schema of Proxmox VE
 * in EDGE_PVE_SCHEMA to compare with all of it: an array of
 * `{path, method, parameters: {name: {type, optional?, enum?}}, returns: {type, properties?, items?}}`.
 */
interface Method {
  path: string;
  method: string;
  parameters: Record<string, { type?: string; optional?: unknown; enum?: string[] }>;
  returns: { type?: string; properties?: Properties; items?: { properties?: Properties } };
}
type Properties = Record<string, { type?: string; optional?: unknown }>;

/** The calls that the service rests on, as a short table for where the published schema is not at hand. */
const ESSENTIAL: Method[] = [
  entry('GET', '/version', {}, ['version', 'release', 'repoid']),
  entry('GET', '/cluster/status', {}, ['type', 'id', 'name'], 'array'),
  entry('GET', '/cluster/resources', { type: '?' }, ['id', 'type'], 'array'),
  entry('GET', '/nodes', {}, ['node', 'status'], 'array'),
  entry('GET', '/nodes/{node}/status', { node: '!' }, [
    'uptime',
    'memory',
    'rootfs',
    'loadavg',
    'current-kernel',
    'pveversion',
  ]),
  entry('POST', '/nodes/{node}/status', { node: '!', command: '!' }, [], 'null'),
  entry(
    'GET',
    '/nodes/{node}/tasks',
    { node: '!', source: '?', typefilter: '?', vmid: '?', since: '?', limit: '?', start: '?' },
    ['upid', 'node', 'pid', 'pstart', 'starttime', 'type', 'id', 'user'],
    'array',
  ),
  entry('GET', '/nodes/{node}/tasks/{upid}/status', { node: '!', upid: '!' }, [
    'upid',
    'status',
    'type',
    'id',
    'user',
    'node',
    'pid',
  ]),
  entry('GET', '/nodes/{node}/tasks/{upid}/log', { node: '!', upid: '!', start: '?', limit: '?' }, ['n', 't'], 'array'),
  entry('GET', '/nodes/{node}/qemu/{vmid}/status/current', { node: '!', vmid: '!' }, ['status', 'vmid', 'ha']),
  entry('POST', '/nodes/{node}/qemu/{vmid}/migrate', { node: '!', vmid: '!', target: '!', online: '?' }, [], 'string'),
  entry('POST', '/nodes/{node}/lxc/{vmid}/migrate', { node: '!', vmid: '!', target: '!', restart: '?' }, [], 'string'),
  entry('POST', '/nodes/{node}/qemu/{vmid}/status/start', { node: '!', vmid: '!' }, [], 'string'),
  entry('POST', '/nodes/{node}/lxc/{vmid}/status/shutdown', { node: '!', vmid: '!', timeout: '?' }, [], 'string'),
  entry('GET', '/cluster/ha/status/current', {}, ['id', 'type', 'status', 'node'], 'array'),
  entry('GET', '/storage', { type: '?' }, ['storage'], 'array'),
  entry('GET', '/nodes/{node}/storage/{storage}/status', { node: '!', storage: '!' }, ['type', 'active', 'avail']),
  entry(
    'GET',
    '/nodes/{node}/storage/{storage}/content',
    { node: '!', storage: '!', content: '?', vmid: '?' },
    ['volid', 'format', 'size'],
    'array',
  ),
  entry(
    'POST',
    '/nodes/{node}/vzdump',
    { node: '?', vmid: '?', all: '?', storage: '?', mode: '?', lockwait: '?', 'prune-backups': '?' },
    [],
    'string',
  ),
  entry('POST', '/storage', { storage: '!', type: '!', server: '?', 'encryption-key': '?', fingerprint: '?' }, []),
  entry('DELETE', '/storage/{storage}', { storage: '!' }, [], 'null'),
  entry(
    'POST',
    '/nodes/{node}/qemu',
    { node: '!', vmid: '!', archive: '?', storage: '?', pool: '?', unique: '?', start: '?', force: '?', 'net[n]': '?' },
    [],
    'string',
  ),
  entry(
    'POST',
    '/nodes/{node}/lxc',
    { node: '!', vmid: '!', ostemplate: '!', restore: '?', storage: '?', pool: '?', unique: '?', 'net[n]': '?' },
    [],
    'string',
  ),
  entry('PUT', '/nodes/{node}/qemu/{vmid}/config', { node: '!', vmid: '!', delete: '?', tags: '?' }, [], 'null'),
  entry('DELETE', '/nodes/{node}/qemu/{vmid}', { node: '!', vmid: '!', purge: '?' }, [], 'string'),
  entry('DELETE', '/nodes/{node}/lxc/{vmid}', { node: '!', vmid: '!', purge: '?', force: '?' }, [], 'string'),
  entry('POST', '/nodes/{node}/qemu/{vmid}/agent/ping', { node: '!', vmid: '!' }, []),
  entry('POST', '/nodes/{node}/qemu/{vmid}/agent/exec', { node: '!', vmid: '!', command: '!' }, ['pid']),
  entry('GET', '/nodes/{node}/qemu/{vmid}/agent/exec-status', { node: '!', vmid: '!', pid: '!' }, ['exited']),
  entry('GET', '/cluster/backup-info/not-backed-up', {}, ['vmid', 'type'], 'array'),
  entry('GET', '/cluster/ceph/flags', {}, ['name', 'value', 'description'], 'array'),
  entry('GET', '/nodes/{node}/ceph/cmd-safety', { node: '!', service: '!', id: '!', action: '!' }, ['safe']),
];

function entry(
  method: string,
  path: string,
  params: Record<string, '!' | '?'>,
  keys: string[],
  type = 'object',
): Method {
  const parameters = Object.fromEntries(
    Object.entries(params).map(([name, need]) => [name, need === '?' ? { optional: 1 } : {}]),
  );
  const properties: Properties = Object.fromEntries(keys.map((key) => [key, {}]));
  return {
    method,
    path,
    parameters,
    returns: type === 'array' ? { type, items: { properties } } : { type, properties },
  };
}

const file = process.env['EDGE_PVE_SCHEMA'];
const schema: Method[] = file ? (JSON.parse(readFileSync(file, 'utf8')) as Method[]) : ESSENTIAL;
const known = new Map(schema.map((method) => [`${method.method} ${method.path}`, method]));
const served = new Map(routes.map((route) => [`${route.method} ${route.path}`, route]));
/** The practice fleet is of release 9. What it has more than 8.4, so that it can be compared with that as well. */
const isOlder = file !== undefined && !known.has('GET /cluster/ha/rules');
const NEW_CALLS = ['GET /nodes/{node}/lxc/{vmid}/migrate'];
const NEW_PARAMETERS = ['with-conntrack-state'];
const both = [...served.keys()].filter((name) => known.has(name));

let lab: PracticeStore;
let upid: string;
let pid: number;
beforeAll(async () => {
  lab = await startPracticeStore();
  lab.store.token.privileges['/']?.push('VM.GuestAgent.Unrestricted', 'Datastore.Allocate');
  const exec = await lab.request('n1', 'POST', '/nodes/n1/qemu/100/agent/exec', { body: { command: 'true' } });
  ({ pid } = exec.body.data as { pid: number });
  // One of each kind of row should exist.
  upid = (await lab.request('n1', 'POST', '/nodes/n1/apt/update', { body: {} })).body.data as string;
  lab.store.node('n2').packages.lists = ['20261109T000000Z', '20261116T000000Z'];
  const job = { id: 'nightly', vmid: '100', storage: 'pbs', schedule: '22:00' };
  await lab.request('n1', 'POST', '/cluster/backup', { body: job });
  await lab.request('n1', 'POST', '/nodes/n1/vzdump', { body: { vmid: '100', storage: 'pbs' } });
  await until('a guest is backed up', () => lab.world.journal.entries.some(({ effect }) => effect === 'backup.done'));
});
afterAll(() => lab.close());

describe('the practice API', () => {
  it('has every call that the service rests on', () => {
    expect(ESSENTIAL.map(({ method, path }) => `${method} ${path}`).filter((name) => !served.has(name))).toEqual([]);
  });

  it.runIf(file)('has no call that the real one does not have', () => {
    expect([...served.keys()].filter((name) => !known.has(name))).toEqual(isOlder ? NEW_CALLS : []);
  });

  it.each(both.filter((name) => !served.get(name)?.rootOnly))('takes the parameters of %s', (name) => {
    const ours: Record<string, ParamSpec> = { ...served.get(name)?.params };
    const theirs = known.get(name)?.parameters ?? {};
    const needed = (spec: { optional?: unknown } | undefined): string => (spec?.optional ? 'optional' : 'required');
    const shown = (names: string[], of: Record<string, { optional?: unknown } | undefined>) =>
      Object.fromEntries(names.map((each) => [each, needed(of[each])]));
    if (file) {
      // The real one may take more that is optional, the practice one nothing that the real one would refuse.
      const more = Object.keys(ours).filter((each) => !(each in theirs));
      expect(more.filter((each) => !isOlder || !NEW_PARAMETERS.includes(each))).toEqual([]);
      for (const each of more) delete ours[each];
      expect(shown(Object.keys(ours), ours)).toEqual(shown(Object.keys(ours), theirs));
      const required = Object.keys(theirs).filter((each) => !theirs[each]?.optional);
      expect(Object.keys(ours)).toEqual(expect.arrayContaining(required));
      for (const [each, spec] of Object.entries(ours)) {
        expect([each, spec.type]).toEqual([each, theirs[each]?.type]);
        if (theirs[each]?.enum)
          expect([each, [...(spec.enum ?? [])].sort()]).toEqual([each, [...theirs[each].enum].sort()]);
      }
    } else {
      expect(shown(Object.keys(theirs), ours)).toEqual(shown(Object.keys(theirs), theirs));
    }
  });

  // Since release 9 there are no HA groups, and asking for them is an error.
  // A store has no pools; those of the staging site have a test of their own.
  const elsewhere = ['GET /cluster/ha/groups', 'GET /pools', 'GET /pools/{poolid}'];
  const reads = both.filter((name) => name.startsWith('GET ') && !elsewhere.includes(name));
  it.each(reads)('answers %s with the promised keys', async (name) => {
    const returns = known.get(name)?.returns ?? {};
    const reply = await lab.request('n1', 'GET', pathFor(name.slice(4)));
    expect(reply.status, reply.text).toBe(200);
    const { data } = reply.body;
    if (returns.type === 'array') {
      const rows = data as Record<string, unknown>[];
      expect(rows.length).toBeGreaterThan(0);
      // Some lists mix rows of several kinds, so a key has to stand in a row of the kind that has it.
      for (const key of requiredOf(returns.items?.properties)) {
        const missing = rows.filter((row) => !(key in row)).map((row) => String(row['id'] ?? row['type'] ?? ''));
        expect([key, missing]).toEqual([key, []]);
      }
    } else if (returns.type === 'object') {
      expect(Object.keys(data as object)).toEqual(expect.arrayContaining(requiredOf(returns.properties)));
    }
  });
});

const requiredOf = (properties: Properties | undefined): string[] =>
  Object.entries(properties ?? {})
    .filter(([, property]) => !property.optional)
    .map(([key]) => key);

function pathFor(path: string): string {
  const node = path.includes('/apt/update') ? 'n2' : 'n1';
  const query = path.endsWith('/cmd-safety')
    ? '?service=mon&id=n1&action=stop'
    : path.endsWith('/tasks')
      ? '?source=all'
      : path.endsWith('/exec-status')
        ? `?pid=${pid}`
        : '';
  const vmid = path.includes('/lxc/') ? '102' : '100';
  const filled = path
    .replace('{node}', path.includes('/lxc') ? 'n2' : node)
    .replace('{vmid}', vmid)
    .replace('{upid}', encodeURIComponent(upid))
    .replace('{sid}', 'vm:100')
    .replace('{storage}', 'pbs')
    .replace('{iface}', 'vmbr0')
    .replace('{id}', 'nightly')
    .replace('{flag}', 'noout');
  return query && !path.startsWith('/cluster') ? `${filled}${query}` : filled;
}
