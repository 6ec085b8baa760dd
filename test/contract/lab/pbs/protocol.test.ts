import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PRACTICE_AUDITOR } from '#lab/pbs/access.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { until } from '../../../unit/lab/lab-support.js';
import { startPracticeStore, type PracticeStore } from '../pve/practice-store.js';
import { PbsCaller, type CallOptions } from './caller.js';

const NODES = 'edge-nodes@pbs!pve';

let lab: PracticeStore;
let pbs: PbsCaller;
let central: PbsCaller;
beforeAll(async () => {
  lab = await startPracticeStore({ speed: 10_000, backup: true });
  pbs = await PbsCaller.open(lab.store.pbs as PbsSim, lab.authorities);
  central = await PbsCaller.open(lab.world.pbs.get('central') as PbsSim, lab.authorities);
});
afterAll(async () => {
  await Promise.all([pbs.close(), central.close()]);
  await lab.close();
});
afterEach(() => {
  for (const { id } of lab.world.faults.list()) lab.world.faults.remove(id);
});

interface SnapshotRow {
  'backup-type': string;
  'backup-id': string;
  'backup-time': number;
  size?: number;
  owner: string;
  protected: boolean;
  fingerprint?: string;
  files: { filename: string; size?: number; 'crypt-mode'?: string }[];
  verification?: { state: string; upid: string };
}

const snapshots = (query = '', options?: CallOptions): Promise<SnapshotRow[]> =>
  pbs.data('GET', `/admin/datastore/backup/snapshots${query}`, options);

/** Starts vzdump over the API of Proxmox VE, and waits for its end. */
async function vzdump(body: Record<string, string>, node = 'n1'): Promise<{ exit: string; log: string }> {
  const reply = await lab.request('n1', 'POST', `/nodes/${node}/vzdump`, { body: { storage: 'pbs', ...body } });
  const upid = reply.body.data as string;
  if (!upid.startsWith('UPID:')) return { exit: upid, log: reply.text };
  const task = lab.store.node(node).tasks.find(upid);
  await until('vzdump ended', () => task?.exitstatus !== undefined);
  return { exit: task?.exitstatus ?? '', log: task?.log.join('\n') ?? '' };
}

describe('an answer', () => {
  it('has the envelope, and real numbers and booleans', async () => {
    expect(await pbs.call('GET', '/ping', { token: '' })).toMatchObject({ status: 200, data: { pong: true } });
    const reply = await pbs.call('GET', '/admin/datastore');
    expect(reply).toMatchObject({
      status: 200,
      type: 'application/json;charset=UTF-8',
      data: [{ store: 'backup', 'backend-type': 'filesystem' }],
    });
    expect(await pbs.data('GET', '/access/permissions')).toMatchObject({
      '/datastore/backup': { 'Datastore.Modify': true },
    });
  });

  it('of the other formatter is always 200', async () => {
    expect(await pbs.call('GET', '/api2/extjs/version')).toMatchObject({ status: 200, success: true });
    expect(await pbs.call('GET', '/api2/extjs/admin/datastore/backup/snapshots?ns=nope')).toMatchObject({
      status: 200,
      success: false,
      message: 'ENOENT: No such file or directory',
    });
  });
});

describe('a refusal', () => {
  // These wait three seconds each, as at the real server, so they wait together.
  const wrong: [string, CallOptions][] = [
    ['no token', { token: '' }],
    ['an unknown token', { token: 'root@pam!x' }],
    ['a wrong secret', { token: '', headers: { authorization: 'PBSAPIToken=edge-governor@pbs!prune:wrong' } }],
    [
      "the separator of Proxmox VE's tokens",
      {
        token: '',
        headers: { authorization: 'PBSAPIToken=edge-governor@pbs!prune=00000000-0000-4000-8000-00000000' },
      },
    ],
  ];
  it.concurrent.each(wrong)('meets %s', async (_words, options) => {
    expect(await pbs.call('GET', '/version', options)).toMatchObject({ status: 401, text: 'authentication failed' });
  });

  const cases: [string, string, string, CallOptions, number, string][] = [
    ['an unknown path', 'GET', '/nope', {}, 404, "Path '/api2/json/nope' not found."],
    ['an unknown verb', 'PUT', '/version', {}, 404, "Path '/api2/json/version' not found."],
    [
      'a datastore that the caller may not see, there or not',
      'GET',
      '/admin/datastore/other/snapshots',
      {},
      403,
      'permission check failed',
    ],
    [
      'a namespace that is not there',
      'GET',
      '/admin/datastore/backup/snapshots?ns=shop',
      {},
      400,
      'ENOENT: No such file or directory',
    ],
    [
      'an id without a type',
      'POST',
      '/admin/datastore/backup/verify',
      { json: { 'backup-id': '100' } },
      400,
      'parameters do not specify a backup group or snapshot',
    ],
    [
      'a type that is none',
      'POST',
      '/admin/datastore/backup/verify',
      { json: { 'backup-type': 'qemu', 'backup-id': '100' } },
      400,
      "parameter verification failed - 'backup-type': value 'qemu' is not defined in the enumeration.",
    ],
    [
      'a number as text in JSON',
      'POST',
      '/admin/datastore/backup/verify',
      { json: { 'outdated-after': '30' } },
      400,
      "parameter verification failed - 'outdated-after': Expected integer value.",
    ],
    [
      'several mistakes at once',
      'POST',
      '/admin/datastore/backup/verify',
      { form: { 'ignore-verified': 'maybe', colour: 'red' } },
      400,
      "parameter verification failed:\n- 'ignore-verified': Unable to parse boolean option.\n- 'colour': schema does not allow additional properties.\n",
    ],
    [
      'what is not JSON',
      'POST',
      '/admin/datastore/backup/gc',
      { raw: '{', headers: { 'content-type': 'application/json' } },
      400,
      'unable to parse JSON body',
    ],
    [
      'another content type',
      'POST',
      '/admin/datastore/backup/gc',
      { raw: '<x/>', headers: { 'content-type': 'text/xml' } },
      400,
      'unsupported content type text/xml',
    ],
    [
      'a task that is not there',
      'GET',
      `/nodes/localhost/tasks/${encodeURIComponent('UPID:pbs-store-001:00000001:00000001:00000000:00000001:verify:backup:root@pam:')}/status`,
      {},
      400,
      'no such task',
    ],
    [
      'a namespace of a longer name than there can be',
      'POST',
      '/admin/datastore/backup/namespace',
      { json: { name: `store-${'x'.repeat(27)}` } },
      400,
      "parameter verification failed - 'name': value may only be 32 characters long",
    ],
    [
      "a task id of Proxmox VE's",
      'GET',
      `/nodes/localhost/tasks/${encodeURIComponent('UPID:n1:000620F4:09CFA056:6AA109B6:vzdump:100:root@pam:')}/status`,
      {},
      400,
      "parameter verification failed - 'upid': value does not match the regex pattern",
    ],
  ];
  it.each(cases)('meets %s', async (_words, method, path, options, status, text) => {
    const reply = await pbs.call(method, path, options);
    expect([reply.status, reply.text.slice(0, text.length)]).toEqual([status, text]);
    // Bare text, whatever its label says.
    expect([reply.type, reply.data]).toEqual(['application/json;charset=UTF-8', undefined]);
  });
});

describe('a ticket', () => {
  it('lets a person look around, and change nothing', async () => {
    const { ticket, CSRFPreventionToken } = await pbs.data<{ ticket: string; CSRFPreventionToken: string }>(
      'POST',
      '/access/ticket',
      { token: '', form: { username: PRACTICE_AUDITOR.user, password: PRACTICE_AUDITOR.password } },
    );
    const headers = { cookie: `PBSAuthCookie=${encodeURIComponent(ticket)}`, CSRFPreventionToken };
    expect((await pbs.call('GET', '/admin/datastore', { token: '', headers })).data).toMatchObject([
      { store: 'backup' },
    ]);
    expect((await pbs.call('POST', '/admin/datastore/backup/gc', { token: '', headers })).status).toBe(403);
  });
});

describe('a backup', () => {
  it('is started at the node where the guest is, and answers OK everywhere else', async () => {
    expect(await vzdump({ vmid: '100' }, 'n2')).toMatchObject({ exit: 'OK', log: '{"data":"OK"}' });
    expect(lab.store.node('n2').tasks.all.filter(({ type }) => type === 'vzdump')).toEqual([]);
    expect((await vzdump({ vmid: '100,102', 'notes-template': '{{guestname}} of {{node}}' })).exit).toBe('OK');
    expect(await snapshots()).toMatchObject([
      {
        'backup-type': 'vm',
        'backup-id': '100',
        owner: NODES,
        protected: false,
        size: expect.any(Number) as number,
        comment: 'pos of n1',
        fingerprint: expect.stringMatching(/^[0-9a-f:]{95}$/) as string,
        files: expect.arrayContaining([
          { filename: 'drive-scsi0.img.fidx', size: 32 * 1024 ** 3, 'crypt-mode': 'encrypt' },
        ]) as [],
      },
    ]);
    const [row] = await snapshots();
    expect(row?.verification).toBeUndefined();
    expect(await pbs.data('GET', '/admin/datastore/backup/groups')).toMatchObject([
      { 'backup-id': '100', 'backup-count': 1, 'last-backup': row?.['backup-time'], owner: NODES },
    ]);
  });

  it('shows without a size while it is under way', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'backup-slow', params: { factor: 50 } });
    const done = vzdump({ vmid: '102' }, 'n2');
    await until('it began', async () => (await snapshots('?backup-type=ct')).length === 1);
    expect((await snapshots('?backup-type=ct'))[0]).not.toHaveProperty('size');
    expect((await done).exit).toBe('OK');
    expect((await snapshots('?backup-type=ct'))[0]).toHaveProperty('size');
  });

  it('stands in the storage of the cluster, with what the server says of it', async () => {
    const content = (await lab.request('n3', 'GET', '/nodes/n1/storage/pbs/content?content=backup&vmid=100')).body.data;
    const [row] = await snapshots('?backup-type=vm&backup-id=100');
    const time = new Date((row?.['backup-time'] ?? 0) * 1_000).toISOString().slice(0, 19);
    expect(content).toMatchObject([
      {
        volid: `pbs:backup/vm/100/${time}Z`,
        format: 'pbs-vm',
        subtype: 'qemu',
        content: 'backup',
        vmid: 100,
        ctime: row?.['backup-time'],
        size: row?.size,
        encrypted: row?.fingerprint,
      },
    ]);
    const status = (await lab.request('n3', 'GET', '/nodes/n1/storage/pbs/status')).body.data;
    expect(status).toMatchObject({ type: 'pbs', content: 'backup', active: 1, enabled: 1, shared: 1 });
    expect((await lab.request('n3', 'GET', '/storage?type=pbs')).body.data).toMatchObject([
      { storage: 'pbs', datastore: 'backup', username: NODES },
    ]);
  });

  it('is refused what only root may ask for', async () => {
    const reply = await lab.request('n1', 'POST', '/nodes/n1/vzdump', { body: { vmid: '100', script: '/bin/x' } });
    expect([reply.status, reply.body.errors]).toEqual([400, { script: 'Only root may set this option.' }]);
  });

  it('is told apart from what a job would do: guests without a job are listed', async () => {
    const uncovered = async () =>
      ((await lab.request('n1', 'GET', '/cluster/backup-info/not-backed-up')).body.data as { vmid: number }[]).map(
        ({ vmid }) => vmid,
      );
    expect(await uncovered()).toEqual([100, 101, 102]);
    const job = { id: 'nightly', vmid: '100,101', storage: 'pbs', schedule: '22:00' };
    await lab.request('n1', 'POST', '/cluster/backup', { body: job });
    expect(await uncovered()).toEqual([102]);
    expect((await lab.request('n1', 'GET', '/cluster/backup')).body.data).toMatchObject([{ ...job, enabled: 1 }]);
    await lab.request('n1', 'DELETE', '/cluster/backup/nightly');
    expect(await uncovered()).toHaveLength(3);
  });
});

describe('work on a datastore', () => {
  it('is a task with an id of ten parts, listed and logged in the words of this product', async () => {
    const [row] = await snapshots('?backup-type=vm');
    const one = { 'backup-type': 'vm', 'backup-id': '100', 'backup-time': row?.['backup-time'] };
    const upid = await pbs.data<string>('POST', '/admin/datastore/backup/verify', { json: one });
    const hex = row?.['backup-time'].toString(16).toUpperCase();
    expect(upid.split(':')).toHaveLength(10);
    expect(upid.split(':').slice(6, 9)).toEqual([
      'verify_snapshot',
      `backup\\x3avm-100-${hex}`,
      'edge-governor@pbs!prune',
    ]);
    expect(await pbs.ended(upid)).toBe('OK');
    const list = await pbs.call('GET', '/nodes/localhost/tasks?typefilter=verify&store=backup');
    expect(list).toMatchObject({
      total: 1,
      data: [
        { upid, node: 'localhost', worker_type: 'verify_snapshot', worker_id: `backup:vm/100/${hex}`, status: 'OK' },
      ],
    });
    const status = await pbs.data('GET', `/nodes/localhost/tasks/${encodeURIComponent(upid)}/status`);
    expect(status).toMatchObject({
      type: 'verify_snapshot',
      user: 'edge-governor@pbs',
      tokenid: 'prune',
      status: 'stopped',
    });
    const log = `/nodes/localhost/tasks/${encodeURIComponent(upid)}/log`;
    const whole = await pbs.call('GET', `${log}?limit=0`);
    const lines = whole.data as { n: number; t: string }[];
    expect(whole).toMatchObject({ total: lines.length, success: 1 });
    expect(lines.at(-1)?.t).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00: TASK OK$/);
    // The first line that is asked for, not the number of those that are skipped.
    for (const [start, first] of [
      ['0', 1],
      ['1', 1],
      ['2', 2],
    ] as const) {
      expect((await pbs.data<{ n: number }[]>('GET', `${log}?start=${start}&limit=1`))[0]?.n).toBe(first);
    }
    expect((await snapshots('?backup-type=vm'))[0]?.verification).toEqual({ state: 'ok', upid });
  });

  it('is seen by nobody else without the privilege', async () => {
    expect(await pbs.data('GET', '/nodes/localhost/tasks', { token: NODES })).toSatisfy((tasks: { user: string }[]) =>
      tasks.every(({ user }) => user === NODES),
    );
  });

  it('fails by its own text when a chunk is rotten', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'chunk-corrupt', params: { vmid: 100 } });
    const verify = '/admin/datastore/backup/verify';
    // What was verified before is skipped, and all is well.
    expect(await pbs.work(verify)).toBe('OK');
    expect(await pbs.work(verify, { 'ignore-verified': false })).toBe(
      'verification failed - please check the log for details',
    );
    expect((await snapshots('?backup-type=vm'))[0]?.verification?.state).toBe('failed');
    await pbs.work('/admin/datastore/backup/gc');
    expect(await pbs.data('GET', '/admin/datastore/backup/gc')).toMatchObject({
      'still-bad': 1,
      'index-file-count': 3,
      'index-data-bytes': 32 * 1024 ** 3 + 49 * 4 * 1024 ** 2,
      'last-run-state': 'WARNINGS: 1',
    });
  });

  it('collects garbage once at a time', async () => {
    const upid = await pbs.data<string>('POST', '/admin/datastore/backup/gc');
    const again = await pbs.call('POST', '/admin/datastore/backup/gc');
    expect([again.status, again.text]).toEqual([400, 'garbage collection already running']);
    await pbs.ended(upid);
  });

  it('prunes at once and says what it did, for those who may', async () => {
    await vzdump({ vmid: '100' });
    await vzdump({ vmid: '100' });
    const path = '/admin/datastore/backup/prune';
    const group = { 'backup-type': 'vm', 'backup-id': '100', 'keep-last': 2 };
    const refused = await pbs.call('POST', path, { token: NODES, json: group });
    expect([refused.status, refused.text]).toEqual([403, 'permission check failed']);
    const plan = await pbs.data<{ keep: boolean }[]>('POST', path, { json: { ...group, 'dry-run': true } });
    expect(plan.map(({ keep }) => keep)).toEqual([false, true, true]);
    expect(await snapshots('?backup-type=vm')).toHaveLength(3);
    expect(await pbs.data('POST', path, { json: group })).toEqual(plan);
    expect(await snapshots('?backup-type=vm')).toHaveLength(2);
    expect(await pbs.data('POST', path, { json: { ...group, 'keep-last': undefined } })).toMatchObject([
      { keep: true },
      { keep: true },
    ]);
  });

  it('does not prune nor delete what is protected', async () => {
    const [row] = await snapshots('?backup-type=vm');
    const one = { 'backup-type': 'vm', 'backup-id': '100', 'backup-time': row?.['backup-time'] };
    await pbs.data('PUT', '/admin/datastore/backup/protected', { json: { ...one, protected: true } });
    const query = new URLSearchParams(
      Object.entries(one).map(([name, value]): [string, string] => [name, String(value)]),
    ).toString();
    const refused = await pbs.call('DELETE', `/admin/datastore/backup/snapshots?${query}`);
    expect([refused.status, refused.text]).toEqual([400, 'cannot remove protected snapshot']);
    await pbs.work('/admin/datastore/backup/prune-datastore', { 'keep-last': 1 });
    expect((await snapshots('?backup-type=vm')).map((each) => each.protected)).toEqual([true, false]);
  });

  it('stands still in maintenance, with the words that people left', async () => {
    const config = (json: object) => pbs.data('PUT', '/config/datastore/backup', { json });
    await config({ 'maintenance-mode': 'read-only,message="moving disks"' });
    const gc = await pbs.call('POST', '/admin/datastore/backup/gc');
    expect([gc.status, gc.text]).toEqual([400, 'read-only maintenance mode: moving disks']);
    expect(await snapshots('?backup-type=vm')).toHaveLength(2);
    const backup = await vzdump({ vmid: '100' });
    expect(backup.exit).toBe('job errors');
    expect(backup.log).toContain('read-only maintenance mode: moving disks');
    await config({ 'maintenance-mode': 'offline' });
    expect(await pbs.call('GET', '/admin/datastore/backup/snapshots')).toMatchObject({
      status: 400,
      text: 'offline maintenance mode: ',
    });
    expect(await pbs.data('GET', '/status/datastore-usage')).toMatchObject([{ error: 'offline maintenance mode: ' }]);
    await config({ delete: ['maintenance-mode'] });
    expect(await pbs.data('GET', '/admin/datastore/backup/status?verbose=true')).toMatchObject({
      counts: { vm: { groups: 1, snapshots: 2 }, ct: { groups: 1, snapshots: 1 } },
    });
  });

  it('fails on a full disk, in its own words', async () => {
    lab.world.faults.add({ id: 'full', store: 'store-001', kind: 'datastore-full' });
    expect(await pbs.data('GET', '/admin/datastore/backup/status')).toMatchObject({ avail: 0 });
    expect(await pbs.work('/admin/datastore/backup/gc')).toMatch(/ENOSPC: No space left on device/);
  });

  it('is refused while the server is off, and works when it is back', async () => {
    lab.world.faults.add({ id: 'off', store: 'store-001', kind: 'pbs-down' });
    await expect(pbs.call('GET', '/ping')).rejects.toThrow(/ECONN/);
    expect((await lab.request('n1', 'GET', '/nodes/n1/storage/pbs/status')).body.data).toMatchObject({ active: 0 });
    expect((await lab.request('n1', 'GET', '/nodes/n1/storage/pbs/content')).status).toBe(500);
    lab.world.faults.remove('off');
    await until('it answers', async () => (await pbs.call('GET', '/ping').catch(() => undefined))?.status === 200);
  });

  it('is begun though its answer is lost', async () => {
    const since = Math.floor(Date.now() / 1_000);
    lab.world.faults.add({ store: 'store-001', kind: 'lost-answer', step: 'datastore.gc', moment: 'after', times: 1 });
    await expect(pbs.call('POST', '/admin/datastore/backup/gc')).rejects.toThrow();
    const found = await pbs.data<{ upid: string }[]>(
      'GET',
      `/nodes/localhost/tasks?typefilter=garbage_collection&since=${since}`,
    );
    expect(found.length).toBeGreaterThan(0);
    await pbs.ended(found[0]?.upid ?? '');
  });

  it('of vzdump is begun though its answer is lost', async () => {
    const before = lab.store.node('n1').tasks.all.filter(({ type }) => type === 'vzdump').length;
    lab.world.faults.add({ store: 'store-001', kind: 'lost-answer', step: 'backup.start', moment: 'after', times: 1 });
    await expect(vzdump({ vmid: '100' })).rejects.toThrow();
    const tasks = lab.store.node('n1').tasks.all.filter(({ type }) => type === 'vzdump');
    expect(tasks).toHaveLength(before + 1);
    await until('it ended', () => tasks.at(-1)?.exitstatus === 'OK');
  });
});

describe('jobs', () => {
  it('are made, changed, run, and remember how they ran', async () => {
    const job = { id: 'nightly', store: 'backup', schedule: 'daily', 'ignore-verified': true, 'outdated-after': 30 };
    await pbs.data('POST', '/config/verify', { json: job });
    expect(await pbs.data('GET', '/admin/verify?store=backup')).toEqual([job]);
    await pbs.data('PUT', '/config/verify/nightly', { json: { 'ignore-verified': false, delete: ['outdated-after'] } });
    const upid = await pbs.data<string>('POST', '/admin/verify/nightly/run');
    expect(upid).toContain(':verificationjob:backup\\x3anightly:');
    expect(await pbs.ended(upid)).toBe('OK');
    expect(await pbs.data('GET', '/admin/verify')).toMatchObject([
      {
        id: 'nightly',
        'last-run-upid': upid,
        'last-run-state': 'OK',
        'last-run-endtime': expect.any(Number) as number,
      },
    ]);
    await pbs.data('DELETE', '/config/verify/nightly');
    expect(await pbs.data('GET', '/config/verify')).toEqual([]);
    expect((await pbs.call('POST', '/admin/verify/nightly/run')).status).toBe(400);
  });

  it('prune by policy', async () => {
    await pbs.data('POST', '/config/prune', {
      json: { id: 'keep', store: 'backup', schedule: 'daily', 'keep-last': 1 },
    });
    const upid = await pbs.data<string>('POST', '/admin/prune/keep/run');
    expect(await pbs.ended(upid)).toBe('OK');
    expect((await snapshots('?backup-type=vm')).filter((each) => !each.protected)).toHaveLength(1);
  });

  it('are refused a change of what somebody else has changed', async () => {
    const stale = { json: { 'keep-last': 2, digest: 'a'.repeat(64) } };
    expect((await pbs.call('PUT', '/config/prune/keep', stale)).text).toMatch(/^detected modified configuration/);
  });

  it('that sync are listed when they pull, others when they are asked for', async () => {
    const ids = async (path: string) => (await pbs.data<{ id: string }[]>('GET', path)).map(({ id }) => id);
    for (const path of ['/config/sync', '/admin/sync']) {
      expect(await ids(path)).toEqual([]);
      expect(await ids(`${path}?sync-direction=push`)).toEqual(['to-central']);
    }
  });

  it('keep the settings of an object store, and no secret of it', async () => {
    const admin = lab.store.pbs as PbsSim;
    for (const authId of ['edge-governor@pbs', 'edge-governor@pbs!prune']) {
      admin.acl.push({ path: '/system/s3-endpoint', authId, role: 'Admin', propagate: true });
      admin.acl.push({ path: '/datastore', authId, role: 'Admin', propagate: true });
    }
    const client = {
      id: 'far',
      endpoint: 's3.example.com',
      region: 'eu',
      'access-key': 'AKIA',
      'secret-key': 'hidden',
    };
    await pbs.data('POST', '/config/s3', { json: client });
    expect((await pbs.call('GET', '/config/s3')).text).not.toContain('hidden');
    const backend = 'type=s3,client=far,bucket=b';
    const upid = await pbs.data<string>('POST', '/config/datastore', {
      json: { name: 'cloud', path: '/cache', backend },
    });
    expect(await pbs.ended(upid)).toBe('OK');
    expect(await pbs.data('GET', '/admin/datastore')).toMatchObject([
      { 'backend-type': 'filesystem' },
      { store: 'cloud', 'backend-type': 's3' },
    ]);
  });

  it('keep what nothing here acts on, and give it back', async () => {
    const { acl } = lab.store.pbs as PbsSim;
    for (const authId of ['edge-governor@pbs', 'edge-governor@pbs!prune']) {
      for (const path of ['/remote', '/system/s3-endpoint', '/datastore'])
        acl.push({ path, authId, role: 'Admin', propagate: true });
    }
    const keys = { 'access-key': 'AKIA', 'secret-key': 'hidden' };
    const rates = { 'rate-in': '10MB', 'rate-out': '1 MiB', 'burst-in': '20MB', 'burst-out': '2 MiB' };
    const job = { store: 'backup', 'remote-store': 'offsite', 'sync-direction': 'pull' };
    const threads = { 'worker-threads': 4, 'unmount-on-done': true, 'run-on-mount': true, 'associated-key': ['key-1'] };
    const far = { host: '192.0.2.7', 'auth-id': 'edge@pbs', password: 'hidden' };
    const notices = { notify: 'gc=never', 'notify-user': 'root@pam', 'gc-on-unmount': true };
    const sections: [string, string, Record<string, unknown>, Record<string, unknown>][] = [
      ['/config/sync', 'id', job, { ...threads, 'active-encryption-key': 'key-1' }],
      ['/config/remote', 'name', far, { 'use-node-proxy': true }],
      ['/config/s3', 'id', { endpoint: 's3.example.com', ...keys }, rates],
      ['/config/datastore', 'name', { path: '/mnt/more' }, { ...notices, 'notification-thresholds': 's3-get=10' }],
    ];
    for (const [path, key, needed, more] of sections) {
      const made = await pbs.data<string | null>('POST', path, { json: { [key]: 'whole', ...needed, ...more } });
      if (made !== null) expect(await pbs.ended(made)).toBe('OK');
      expect(await pbs.data('GET', `${path}/whole`)).toMatchObject(more);
      await pbs.data('PUT', `${path}/whole`, { json: { comment: 'changed', ...more } }).catch((error: Error) => {
        // The one that has no comment.
        expect([path, error.message]).toEqual(['/config/s3', expect.stringContaining("'comment': schema does not")]);
      });
      expect(await pbs.data('GET', `${path}/whole`)).toMatchObject(more);
      if (path !== '/config/datastore') await pbs.data('DELETE', `${path}/whole`);
    }
  });
});

describe('what is sent to the central server', () => {
  const VERIFIER = 'edge-governor@pbs!verify';
  const SENDER = 'edge-stores@pbs!store-001';
  const offsite = (): Promise<SnapshotRow[]> => central.data('GET', '/admin/datastore/offsite/snapshots?ns=store-001');
  const run = async (job = 'to-central'): Promise<string> =>
    pbs.ended(await pbs.data('POST', `/admin/sync/${job}/run`, { token: VERIFIER }), { token: VERIFIER });
  const lastRun = () => lab.world.journal.entries.findLast(({ effect }) => effect === 'datastore.sync');

  it('is what is new, with who verified it, and belongs to the token of the store', async () => {
    expect(await run()).toBe('OK');
    const copies = await offsite();
    const times = (rows: SnapshotRow[]) => rows.map((row) => row['backup-time']).sort();
    expect(times(copies)).toEqual(times(await snapshots()));
    const verified = copies.filter(({ verification }) => verification?.state === 'ok');
    expect(verified.length).toBeGreaterThan(0);
    for (const { verification } of verified) expect(verification?.upid).toMatch(/^UPID:pbs-store-001:/);
    expect(copies.every(({ owner }) => owner === SENDER)).toBe(true);
    expect(await central.data('GET', '/admin/datastore/offsite/snapshots')).toEqual([]);
    expect(lastRun()).toMatchObject({ store: 'store-001', by: VERIFIER, detail: { pbs: 'pbs-store-001' } });
    expect(await central.work('/admin/datastore/offsite/verify', { ns: 'store-001', 'ignore-verified': false })).toBe(
      'OK',
    );
    expect((await offsite())[0]?.verification?.upid).toMatch(/^UPID:pbs-central:/);
  });

  it('is sent by the one identity alone that may use the remote', async () => {
    for (const token of [NODES, 'edge-governor@pbs!prune']) {
      expect((await pbs.call('POST', '/admin/sync/to-central/run', { token })).status).toBe(403);
    }
  });

  it('fails when the store is cut off, and says so', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'wan-cut' });
    expect(await run()).toMatch(/error connecting to https:/);
    const list = '/admin/sync?sync-direction=push';
    const [job] = await pbs.data<{ 'last-run-state': string }[]>('GET', list, { token: VERIFIER });
    expect(job?.['last-run-state']).toMatch(/error connecting/);
    expect(await pbs.data('GET', '/admin/sync', { token: VERIFIER })).toEqual([]);
  });

  it('fails when the central server knows the token no more, or gives it another place', async () => {
    const { acl, tokens } = lab.world.pbs.get('central') as PbsSim;
    const token = tokens.find(({ id }) => id === SENDER)!;
    token.expired = true;
    expect(await run()).toBe('authentication failed');
    token.expired = false;
    const entry = acl.find(({ authId }) => authId === SENDER)!;
    const { path } = entry;
    entry.path = '/datastore/offsite/store-002';
    expect(await run()).toBe('permission check failed');
    entry.path = path;
  });

  it('makes no namespace there, which the token may not', async () => {
    const jobs = (lab.store.pbs as PbsSim).syncJobs;
    const job = jobs.get('to-central')!;
    jobs.set('to-central', { ...job, 'remote-ns': 'store-001/new' });
    expect(await run()).toBe('permission check failed');
    jobs.set('to-central', job);
  });

  it('is less than all when the disk there is full', async () => {
    lab.store.guests.get(100)!.writes.count += 1;
    await vzdump({ vmid: '100' });
    lab.world.faults.add({ store: 'central', kind: 'datastore-full' });
    expect(await run()).toBe('sync failed with some errors.');
  });

  it('fails for a group that cannot be read, and goes on with the others', async () => {
    await vzdump({ vmid: '100' });
    await vzdump({ vmid: '102' }, 'n2');
    lab.store.guests.get(100)!.writes.count += 1;
    await vzdump({ vmid: '100' });
    lab.world.faults.add({ store: 'store-001', kind: 'chunk-corrupt', params: { vmid: 100 } });
    const before = (await offsite()).filter((row) => row['backup-type'] === 'ct').length;
    expect(await run()).toBe('sync failed with some errors.');
    expect((await offsite()).filter((row) => row['backup-type'] === 'ct').length).toBeGreaterThan(before);
  });

  it('leaves out with a warning a group that belongs to somebody else there', async () => {
    await vzdump({ vmid: '102' }, 'n2');
    await central.data('POST', '/admin/datastore/offsite/change-owner', {
      json: { ns: 'store-001', 'backup-type': 'vm', 'backup-id': '100', 'new-owner': 'root@pam' },
    });
    expect(await run()).toBe('WARNINGS: 1');
  });
});

describe('a pull', () => {
  it('copies what another server has, for the owner that the job names', async () => {
    const far = lab.store.pbs as PbsSim;
    const server = lab.world.pbs.get('central') as PbsSim;
    const token = 'edge-governor@pbs!verify';
    const password = far.tokens.find(({ id }) => id === token)!.secret;
    server.datastore('offsite').addNamespace('', 'pulled');
    server.remotes.set('store-001', {
      name: 'store-001',
      host: far.address,
      port: far.port,
      'auth-id': token,
      password,
    });
    const owner = 'edge-governor@pbs!prune';
    const job = {
      id: 'from-store',
      store: 'offsite',
      ns: 'pulled',
      remote: 'store-001',
      'remote-store': 'backup',
      owner,
      // The other group cannot be read by now.
      'group-filter': ['group:ct/102'],
    };
    server.syncJobs.set(job.id, { ...job, 'max-depth': 0 });
    await vzdump({ vmid: '102' }, 'n2');
    expect(await central.ended(await central.data('POST', '/admin/sync/from-store/run'))).toBe('OK');
    const copies = await central.data<SnapshotRow[]>('GET', '/admin/datastore/offsite/snapshots?ns=pulled');
    expect(copies.some((row) => row['backup-id'] === '102' && row.owner === owner)).toBe(true);
    expect(lab.world.journal.entries.findLast(({ effect }) => effect === 'datastore.sync')).toMatchObject({
      store: 'store-001',
      detail: { pbs: 'pbs-central' },
    });
  });
});
