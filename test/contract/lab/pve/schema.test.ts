import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { routes } from '#lab/pve/dispatch.js';
import type { ParamSpec } from '#lab/pve/params.js';
import { until } from '../../../unit/lab/lab-support.js';
import { DECLARED as RELEASE_8 } from './declared-8.4.js';
import { DECLARED as RELEASE_9 } from './declared-9.2.js';
import { startPracticeStore } from './practice-store.js';
import type { PracticeStore } from './practice-store.js';

/**
 * What the practice API serves, against what the real one declares: the tables beside this, which
 * test/contract/lab/published.test.ts compares with what is published.
 */
interface Method {
  path: string;
  method: string;
  /** By name, whether it is optional. */
  parameters: Record<string, boolean>;
  keys: readonly string[];
}

/** The calls that the service rests on, as a short table for where the published schema is not at hand. */
const ESSENTIAL: Method[] = [
  entry('GET', '/version', {}, ['version', 'release', 'repoid']),
  entry('GET', '/cluster/status', {}, ['type', 'id', 'name']),
  entry('GET', '/cluster/resources', { type: '?' }, ['id', 'type']),
  entry('GET', '/nodes', {}, ['node', 'status']),
  entry('GET', '/nodes/{node}/status', { node: '!' }, [
    'uptime',
    'memory',
    'rootfs',
    'loadavg',
    'current-kernel',
    'pveversion',
  ]),
  entry('POST', '/nodes/{node}/status', { node: '!', command: '!' }, []),
  entry(
    'GET',
    '/nodes/{node}/tasks',
    { node: '!', source: '?', typefilter: '?', vmid: '?', since: '?', limit: '?', start: '?' },
    ['upid', 'node', 'pid', 'pstart', 'starttime', 'type', 'id', 'user'],
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
  entry('GET', '/nodes/{node}/tasks/{upid}/log', { node: '!', upid: '!', start: '?', limit: '?' }, ['n', 't']),
  entry('GET', '/nodes/{node}/qemu/{vmid}/status/current', { node: '!', vmid: '!' }, ['status', 'vmid', 'ha']),
  entry('POST', '/nodes/{node}/qemu/{vmid}/migrate', { node: '!', vmid: '!', target: '!', online: '?' }, []),
  entry('POST', '/nodes/{node}/lxc/{vmid}/migrate', { node: '!', vmid: '!', target: '!', restart: '?' }, []),
  entry('POST', '/nodes/{node}/qemu/{vmid}/status/start', { node: '!', vmid: '!' }, []),
  entry('POST', '/nodes/{node}/lxc/{vmid}/status/shutdown', { node: '!', vmid: '!', timeout: '?' }, []),
  entry('GET', '/cluster/ha/status/current', {}, ['id', 'type', 'status', 'node']),
  entry('GET', '/storage', { type: '?' }, ['storage']),
  entry('GET', '/nodes/{node}/storage/{storage}/status', { node: '!', storage: '!' }, ['type', 'active', 'avail']),
  entry('GET', '/nodes/{node}/storage/{storage}/content', { node: '!', storage: '!', content: '?', vmid: '?' }, [
    'volid',
    'format',
    'size',
  ]),
  entry(
    'POST',
    '/nodes/{node}/vzdump',
    { node: '?', vmid: '?', all: '?', storage: '?', mode: '?', lockwait: '?', 'prune-backups': '?' },
    [],
  ),
  entry('POST', '/storage', { storage: '!', type: '!', server: '?', 'encryption-key': '?', fingerprint: '?' }, []),
  entry('DELETE', '/storage/{storage}', { storage: '!' }, []),
  entry(
    'POST',
    '/nodes/{node}/qemu',
    { node: '!', vmid: '!', archive: '?', storage: '?', pool: '?', unique: '?', start: '?', force: '?', 'net[n]': '?' },
    [],
  ),
  entry(
    'POST',
    '/nodes/{node}/lxc',
    { node: '!', vmid: '!', ostemplate: '!', restore: '?', storage: '?', pool: '?', unique: '?', 'net[n]': '?' },
    [],
  ),
  entry('PUT', '/nodes/{node}/qemu/{vmid}/config', { node: '!', vmid: '!', delete: '?', tags: '?' }, []),
  entry('DELETE', '/nodes/{node}/qemu/{vmid}', { node: '!', vmid: '!', purge: '?' }, []),
  entry('DELETE', '/nodes/{node}/lxc/{vmid}', { node: '!', vmid: '!', purge: '?', force: '?' }, []),
  entry('POST', '/nodes/{node}/qemu/{vmid}/agent/ping', { node: '!', vmid: '!' }, []),
  entry('POST', '/nodes/{node}/qemu/{vmid}/agent/exec', { node: '!', vmid: '!', command: '!' }, ['pid']),
  entry('GET', '/nodes/{node}/qemu/{vmid}/agent/exec-status', { node: '!', vmid: '!', pid: '!' }, ['exited']),
  entry('GET', '/cluster/backup-info/not-backed-up', {}, ['vmid', 'type']),
  entry('GET', '/cluster/ceph/flags', {}, ['name', 'value', 'description']),
  entry('GET', '/nodes/{node}/ceph/cmd-safety', { node: '!', service: '!', id: '!', action: '!' }, ['safe']),
];

function entry(method: string, path: string, params: Record<string, '!' | '?'>, keys: string[]): Method {
  const parameters = Object.fromEntries(Object.entries(params).map(([name, need]) => [name, need === '?']));
  return { method, path, parameters, keys };
}

const served = new Map(routes.map((route) => [`${route.method} ${route.path}`, route]));
/** The practice fleet is of release 9. What it has more than 8.4, so that it can be compared with that as well. */
const NEW_CALLS = ['GET /nodes/{node}/lxc/{vmid}/migrate'];
const NEW_PARAMETERS = ['with-conntrack-state'];
/** Words that came or went between the two. */
const OTHER_WORDS = ['glusterfs', 'fabric', 'include_sdn'];

let lab: PracticeStore;
let upid: string;
let pid: number;
let volid: string;
beforeAll(async () => {
  lab = await startPracticeStore();
  lab.store.token.privileges['/']?.push('VM.GuestAgent.Unrestricted', 'Datastore.Allocate');
  // One of each kind of row should exist.
  upid = (await lab.request('n1', 'POST', '/nodes/n1/apt/update', { body: {} })).body.data as string;
  lab.store.node('n2').packages.lists = ['20261109T000000Z', '20261116T000000Z'];
  const job = { id: 'nightly', vmid: '100', storage: 'pbs', schedule: '22:00' };
  await lab.request('n1', 'POST', '/cluster/backup', { body: job });
  await lab.request('n1', 'POST', '/nodes/n1/vzdump', { body: { vmid: '100', storage: 'pbs' } });
  await until('a guest is backed up', () => lab.world.journal.entries.some(({ effect }) => effect === 'backup.done'));
  const { body } = await lab.request('n1', 'GET', '/nodes/n1/storage/pbs/content');
  [{ volid }] = body.data as [{ volid: string }];
});
afterAll(() => lab.close());

async function execute(): Promise<number> {
  const { body } = await lab.request('n1', 'POST', '/nodes/n1/qemu/100/agent/exec', { body: { command: 'true' } });
  return (body.data as { pid: number }).pid;
}

async function answerTo(name: string): Promise<unknown> {
  // What a command said is told once.
  if (name.endsWith('/exec-status')) pid = await execute();
  const reply = await lab.request('n1', 'GET', pathFor(name.slice(4)));
  expect(reply.status, reply.text).toBe(200);
  return reply.body.data;
}

/** Some lists mix rows of several kinds, so a key has to stand in a row of the kind that has it. */
async function expectKeys(name: string, keys: readonly string[]): Promise<void> {
  const data = await answerTo(name);
  const rows = (Array.isArray(data) ? data : [data]) as Record<string, unknown>[];
  expect(rows.length).toBeGreaterThan(0);
  for (const key of keys) {
    const missing = rows.filter((row) => !(key in row)).map((row) => String(row['id'] ?? row['type'] ?? ''));
    expect([key, missing]).toEqual([key, []]);
  }
}

describe('the practice API', () => {
  const essential = ESSENTIAL.map((call) => [`${call.method} ${call.path}`, call] as const);

  it.each(essential)('takes what the service sends to %s', (name, { parameters }) => {
    const ours: Record<string, ParamSpec> = served.get(name)?.params ?? {};
    const taken = Object.keys(parameters).map((each) => [each, ours[each] && Boolean(ours[each].optional)]);
    expect(Object.fromEntries(taken)).toEqual(parameters);
  });

  it.each(essential.filter(([name]) => name.startsWith('GET ')))(
    'answers %s with what the service reads',
    (name, { keys }) => expectKeys(name, keys),
  );
});

describe.each([
  ['8.4', RELEASE_8],
  ['9.2', RELEASE_9],
])('the practice API, held to release %s,', (release, declared) => {
  const isOlder = release === '8.4';
  const both = [...served.keys()].filter((name) => name in declared);

  it('has no call that the real one does not have', () => {
    expect([...served.keys()].filter((name) => !(name in declared))).toEqual(isOlder ? NEW_CALLS : []);
  });

  it.each(both.filter((name) => !served.get(name)?.rootOnly))('takes the parameters of %s', (name) => {
    const ours: Record<string, ParamSpec> = { ...served.get(name)?.params };
    const theirs = declared[name]?.params ?? {};
    const needed = (spec: { optional?: unknown } | undefined): string => (spec?.optional ? 'optional' : 'required');
    const shown = (names: string[], of: Record<string, { optional?: unknown } | undefined>) =>
      Object.fromEntries(names.map((each) => [each, needed(of[each])]));
    // The real one may take more that is optional, the practice one nothing that the real one would refuse.
    const more = Object.keys(ours).filter((each) => !(each in theirs));
    expect(more.filter((each) => !isOlder || !NEW_PARAMETERS.includes(each))).toEqual([]);
    for (const each of more) delete ours[each];
    expect(shown(Object.keys(ours), ours)).toEqual(shown(Object.keys(ours), theirs));
    const required = Object.keys(theirs).filter((each) => !theirs[each]?.optional);
    expect(Object.keys(ours)).toEqual(expect.arrayContaining(required));
    for (const [each, spec] of Object.entries(ours)) {
      expect([each, spec.type]).toEqual([each, theirs[each]?.type]);
      const inBoth = (list: readonly string[] = []): string[] =>
        list.filter((word) => !isOlder || !OTHER_WORDS.includes(word)).toSorted();
      if (theirs[each]?.enum) expect([each, inBoth(spec.enum)]).toEqual([each, inBoth(theirs[each].enum)]);
    }
  });

  // Since release 9 there are no HA groups, and asking for them is an error.
  // A store has no pools; those of the staging site have a test of their own.
  const elsewhere = ['GET /cluster/ha/groups', 'GET /pools', 'GET /pools/{poolid}'];
  const reads = both.filter((name) => name.startsWith('GET ') && !elsewhere.includes(name));
  it.each(reads)('answers %s with the promised keys', (name) => {
    const { answer } = declared[name] ?? {};
    return answer ? expectKeys(name, answer.needs) : answerTo(name).then(() => undefined);
  });
});

function pathFor(path: string): string {
  const node = path.includes('/apt/update') ? 'n2' : 'n1';
  const query = path.endsWith('/cmd-safety')
    ? '?service=mon&id=n1&action=stop'
    : path.endsWith('/tasks')
      ? '?source=all'
      : path.endsWith('/exec-status')
        ? `?pid=${pid}`
        : path.endsWith('/extractconfig')
          ? `?volume=${encodeURIComponent(volid)}`
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
