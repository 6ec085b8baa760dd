import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { PRACTICE_ADMIN } from '#lab/pve/access.js';
import { startPracticeStore } from './practice-store.js';
import type { PracticeStore, Reply } from './practice-store.js';
import { SOON } from '../../../support/soon.js';

let lab: PracticeStore;
beforeAll(async () => {
  lab = await startPracticeStore();
});
afterAll(() => lab.close());

const get = (path: string, options?: Parameters<PracticeStore['request']>[3]) =>
  lab.request('n1', 'GET', path, options);
const post = (path: string, body: Record<string, string> | string = {}, headers: Record<string, string> = {}) =>
  lab.request('n1', 'POST', path, { body, headers });

describe('an answer', () => {
  it('has the envelope and the headers of the real server', async () => {
    const reply = await get('/version');
    expect(reply).toMatchObject({ status: 200, reason: 'OK' });
    expect(reply.headers['content-type']).toBe('application/json;charset=UTF-8');
    expect(reply.headers.server).toBe('pve-api-daemon/3.0');
    expect(reply.body).toEqual({ data: expect.objectContaining({ release: '9.1' }) as unknown });
  });

  it('is packed when it is long and the client can unpack it', async () => {
    const reply = await get('/cluster/resources', { headers: { 'accept-encoding': 'gzip' } });
    expect(reply.headers['content-encoding']).toBe('gzip');
    expect(
      (await get('/version', { headers: { 'accept-encoding': 'gzip' } })).headers['content-encoding'],
    ).toBeUndefined();
  });

  it('of the other formatter is always 200', async () => {
    const good = await get('/api2/extjs/version');
    expect([good.status, good.body]).toMatchObject([200, { success: 1, data: { release: '9.1' } }]);
    const bad = await get('/api2/extjs/nodes/n1/qemu/999/config');
    expect([bad.status, bad.body]).toMatchObject([200, { success: 0, status: 500, data: null }]);
  });
});

describe('a refusal', () => {
  // These wait three seconds each, as at the real server, so they wait together.
  it.concurrent('for want of credentials has no body', async () => {
    const reply = await get('/version', { anonymous: true });
    expect(reply).toMatchObject({ status: 401, reason: 'No ticket', text: '' });
    expect(reply.headers['content-type']).toBeUndefined();
  });

  const wrongTokens = ['edge-governor@pve!worker=00000000-0000-4000-8000-000000000000', 'root@pam!x=1', 'garbage'];
  it.concurrent.each(wrongTokens)('meets the token %s', async (token) => {
    const reply = await get('/version', { headers: { authorization: `PVEAPIToken=${token}` }, anonymous: true });
    expect(reply).toMatchObject({ status: 401, reason: 'Authentication failed!', text: '' });
  });

  const cases: [string, () => Promise<Reply>, number, string][] = [
    ['an unknown path', () => get('/nope'), 501, "Method 'GET /nope' not implemented"],
    [
      'an unknown verb for a path',
      () => lab.request('n1', 'PUT', '/version'),
      501,
      "Method 'PUT /version' not implemented",
    ],
    ['a path outside the API', () => get('/api2/xml/version'), 501, 'no such uri'],
    ['HEAD', () => lab.request('n1', 'HEAD', '/version'), 501, "method 'HEAD' not available"],
    [
      'a DELETE with content',
      () => lab.request('n1', 'DELETE', '/version', { body: 'x=1' }),
      501,
      "Unexpected content for method 'DELETE'",
    ],
    [
      'chunked content',
      () => post('/nodes/n1/status', 'command=reboot', { 'transfer-encoding': 'chunked' }),
      501,
      'chunked transfer encoding not supported',
    ],
    [
      'content of another type',
      () => post('/nodes/n1/status', '<x/>', { 'content-type': 'text/xml' }),
      506,
      "upload content type 'text/xml' not implemented",
    ],
    ['content above 512 KiB', () => post('/nodes/n1/status', 'x'.repeat(600_000)), 501, 'for data too large'],
    [
      'an unknown node',
      () => get('/nodes/n9/status'),
      500,
      "hostname lookup 'n9' failed - failed to get address info for: n9: Name or service not known",
    ],
    [
      'a guest that is elsewhere',
      () => get('/nodes/n2/qemu/100/config'),
      500,
      "Configuration file 'nodes/n2/qemu-server/100.conf' does not exist",
    ],
    [
      'a VM taken for a container',
      () => get('/nodes/n1/lxc/100/config'),
      500,
      "Configuration file 'nodes/n1/lxc/100.conf' does not exist",
    ],
    ['what HA does not manage', () => get('/cluster/ha/resources/vm:101'), 500, "no such resource 'vm:101'"],
    [
      'HA groups, which this version has no more',
      () => get('/cluster/ha/groups'),
      500,
      'cannot index groups: ha groups have been migrated to rules',
    ],
    [
      'a running VM moved as if it were off',
      () => post('/nodes/n1/qemu/101/migrate', { target: 'n2' }),
      500,
      "can't migrate running VM without --online",
    ],
    [
      'what only root@pam may',
      () => post('/nodes/n1/ceph/osd', { dev: '/dev/sdb' }),
      403,
      'Permission check failed (user != root@pam)',
    ],
    [
      'skiplock',
      () => post('/nodes/n1/qemu/101/status/start', { skiplock: '1' }),
      403,
      'Permission check failed (user != root@pam)',
    ],
  ];
  it.each(cases)('meets %s', async (_words, make, status, message) => {
    const reply = await make();
    expect(reply).toMatchObject({ status, reason: message });
    expect(reply.headers.connection).toBe('close');
    if (reply.text !== '') expect(reply.body).toMatchObject({ data: null, message: `${message}\n` });
  });

  it('names every parameter that is wrong', async () => {
    const reply = await post('/nodes/n1/qemu/101/migrate', { online: 'maybe', colour: 'red', bwlimit: '-1' });
    expect(reply).toMatchObject({ status: 400, reason: 'Parameter verification failed.' });
    expect(reply.body.errors).toEqual({
      online: "type check ('boolean') failed - got 'maybe'",
      colour: 'property is not defined in schema and the schema does not allow additional properties',
      bwlimit: 'value must have a minimum value of 0',
      target: 'property is missing and it is not optional',
    });
  });

  it('meets a word that is not in the list', async () => {
    const reply = await post('/nodes/n1/status', { command: 'explode' });
    expect(reply.body.errors).toEqual({
      command: "value 'explode' does not have a value in the enumeration 'reboot, shutdown'",
    });
  });

  it('meets a move to where the guest is', async () => {
    const reply = await post('/nodes/n1/qemu/101/migrate', { target: 'n1', online: '1' });
    expect([reply.status, reply.body.errors]).toEqual([400, { target: 'target is local node.' }]);
  });

  it('meets an unknown task', async () => {
    const upid = 'UPID:n1:000620F4:09CFA056:6AA109B6:qmstart:100:root@pam:';
    const reply = await get(`/nodes/n1/tasks/${encodeURIComponent(upid)}/status`);
    expect([reply.status, reply.body.errors]).toEqual([400, { upid: 'no such task' }]);
    const nonsense = await get('/nodes/n1/tasks/nonsense/status');
    expect([nonsense.status, nonsense.body.errors]).toEqual([400, { upid: 'unable to parse worker upid' }]);
  });

  it('meets a parameter that says otherwise than the path', async () => {
    expect((await get('/nodes/n1/status?node=n2')).status).toBe(400);
  });
});

describe('parameters', () => {
  const migrateAs = (body: string, type: string) => post('/nodes/n1/qemu/999/migrate', body, { 'content-type': type });
  // The guest does not exist, so that being told so means that the parameters passed.
  it.each([
    ['a form', 'target=n2&online=on', 'application/x-www-form-urlencoded'],
    ['JSON', '{"target":"n2","online":true}', 'application/json'],
    ['JSON with numbers', '{"target":"n2","online":1}', 'application/json; charset=utf-8'],
  ])('may come as %s', async (_words, body, type) => {
    expect((await migrateAs(body, type)).reason).toContain('does not exist');
  });
});

describe('a ticket', () => {
  const login = (username: string, password: string) =>
    lab.request('n2', 'POST', '/access/ticket', { body: { username, password }, anonymous: true });

  it('lets a person look around on every node', async () => {
    const reply = await login(PRACTICE_ADMIN.user, PRACTICE_ADMIN.password);
    const { ticket } = reply.body.data as { ticket: string };
    const cookie = `PVEAuthCookie=${encodeURIComponent(ticket)}`;
    const seen = await lab.request('n3', 'GET', '/cluster/status', { anonymous: true, headers: { cookie } });
    expect(seen.status).toBe(200);
  });

  it.concurrent('changes things only together with its CSRF token', async () => {
    const { ticket, CSRFPreventionToken } = (await login(PRACTICE_ADMIN.user, PRACTICE_ADMIN.password)).body
      .data as Record<string, string>;
    const cookie = `PVEAuthCookie=${encodeURIComponent(ticket ?? '')}`;
    const start = (headers: Record<string, string>) =>
      lab.request('n2', 'POST', '/nodes/n2/lxc/102/status/shutdown', { anonymous: true, headers, body: {} });
    expect(await start({ cookie })).toMatchObject({ status: 401, reason: 'Permission denied - invalid csrf token' });
    const done = await start({ cookie, CSRFPreventionToken: CSRFPreventionToken ?? '' });
    expect(done.body.data).toContain(':vzshutdown:102:auditor@pve:');
  });

  it('can be renewed with itself', async () => {
    const { ticket } = (await login(PRACTICE_ADMIN.user, PRACTICE_ADMIN.password)).body.data as { ticket: string };
    expect((await login(PRACTICE_ADMIN.user, ticket)).status).toBe(200);
  });

  it.concurrent.each([
    ['root@pam', 'practice'],
    [PRACTICE_ADMIN.user, 'guess'],
  ])('is refused to %s with %s', async (username, password) => {
    expect(await login(username, password)).toMatchObject({ status: 401, text: '' });
  });

  it.concurrent('that was changed is not accepted', async () => {
    const { ticket } = (await login(PRACTICE_ADMIN.user, PRACTICE_ADMIN.password)).body.data as { ticket: string };
    const forged = `PVEAuthCookie=${encodeURIComponent(ticket.replace('auditor@pve', 'root@pam'))}`;
    const reply = await get('/version', { anonymous: true, headers: { cookie: forged } });
    expect(reply).toMatchObject({ status: 401, reason: 'permission denied - invalid PVE ticket' });
  });

  it('cannot be had with a token', async () => {
    expect((await post('/access/ticket', { username: 'x', password: 'y' })).status).toBe(403);
  });
});

describe('values', () => {
  it('are of the types that Perl makes of them', async () => {
    const cluster = (await get('/cluster/status')).body.data as Record<string, unknown>[];
    expect(cluster.find((row) => row['type'] === 'cluster')).toMatchObject({ quorate: 1 });
    expect((await get('/nodes/n1/status')).body.data).toMatchObject({
      loadavg: [expect.any(String), expect.any(String), expect.any(String)] as unknown,
      cpuinfo: { mhz: expect.any(String) as unknown, hvm: '1' },
    });
    expect((await get('/cluster/nextid')).body.data).toBe('103');
    expect((await get('/nodes/n1/qemu/101/config')).body.data).toMatchObject({ memory: '4096' });
  });

  it('of a log start with the line after those to skip', async () => {
    const upid = (await post('/nodes/n1/apt/update')).body.data as string;
    const path = `/nodes/n1/tasks/${encodeURIComponent(upid)}`;
    await vi.waitUntil(
      async () => ((await get(`${path}/status`)).body.data as { status: string }).status === 'stopped',
    );
    const whole = (await get(`${path}/log?limit=0`)).body;
    const lines = whole.data as { n: number; t: string }[];
    expect(lines.at(-1)).toEqual({ n: lines.length, t: 'TASK OK' });
    expect(whole.total).toBe(lines.length);
    expect((await get(`${path}/log?start=1&limit=1`)).body.data).toEqual([lines[1]]);
  });
});

describe('the list of the whole cluster', () => {
  it('still has the old state of a guest when its node says otherwise already', async () => {
    const slow = await startPracticeStore({ speed: 1 });
    const guest = slow.store.guests.get(102);
    if (guest) slow.store.haltGuest(guest, 'test');
    const statusIn = async (path: string) =>
      ((await slow.request('n1', 'GET', path)).body.data as { vmid?: number; status: string }[]).find(
        ({ vmid }) => vmid === 102,
      )?.status;
    expect([await statusIn('/cluster/resources'), await statusIn('/nodes/n2/lxc')]).toEqual(['running', 'stopped']);
    await slow.close();
  });
});

describe('what needs no credentials', () => {
  it('is the list of realms', async () => {
    const realms = (await get('/access/domains', { anonymous: true })).body.data as { realm: string }[];
    expect(realms.map(({ realm }) => realm)).toEqual(['pam', 'pve']);
  });
});

describe('an index', () => {
  it.each([
    ['/', 'subdir', ['version', 'nodes', 'cluster', 'access']],
    ['/cluster', 'name', ['status', 'resources', 'ha', 'ceph', 'tasks', 'nextid']],
    ['/nodes/n1', 'name', ['status', 'qemu', 'lxc', 'tasks', 'apt', 'ceph', 'version']],
    ['/nodes/n1/qemu/100', 'subdir', ['config', 'status', 'migrate']],
  ])('of %s lists what is below', async (path, key, names) => {
    const rows = (await get(path)).body.data as Record<string, string>[];
    expect(rows.map((row) => row[key])).toEqual(expect.arrayContaining(names));
  });
});

describe('Ceph', () => {
  it('flags are set at once, one by one, and journaled once', async () => {
    const set = () => lab.request('n1', 'PUT', '/cluster/ceph/flags/noscrub', { body: { value: '1' } });
    expect((await set()).body).toEqual({ data: null });
    await set();
    const flags = (await get('/cluster/ceph/flags')).body.data as { name: string; value: number }[];
    expect(flags.find((flag) => flag.name === 'noscrub')?.value).toBe(1);
    expect(lab.world.journal.entries.filter((entry) => entry.effect === 'ceph.flag.set')).toHaveLength(1);
    await lab.request('n1', 'PUT', '/cluster/ceph/flags/noscrub', { body: { value: '0' } });
  });

  it('tells its health, and whether one OSD may stop', async () => {
    expect((await get('/cluster/ceph/status')).body.data).toMatchObject({
      health: { status: 'HEALTH_OK', checks: {} },
    });
    const safe = await get('/nodes/n1/ceph/cmd-safety?service=osd&id=0&action=stop');
    expect(safe.body.data).toMatchObject({ safe: 1 });
    const tree = (await get('/nodes/n1/ceph/osd')).body.data as { root: { children: { children: unknown[] }[] } };
    expect(tree.root.children[0]?.children).toHaveLength(3);
  });
});

describe('a node that is down', () => {
  let other: PracticeStore;
  beforeAll(async () => {
    other = await startPracticeStore();
    other.store.node('n2').powerOff('test');
  });
  afterAll(() => other.close());

  it('refuses connections', async () => {
    await expect(other.request('n2', 'GET', '/version')).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  it('cannot be reached through the others either', async () => {
    expect(await other.request('n1', 'GET', '/nodes/n2/status')).toMatchObject({
      status: 595,
      reason: 'No route to host',
      text: '',
    });
  });

  it('is offline in the list, and its guests are unknown', async () => {
    const rows = (await other.request('n1', 'GET', '/cluster/resources')).body.data as Record<string, unknown>[];
    expect(rows.find((row) => row['id'] === 'node/n2')?.['status']).toBe('offline');
    expect(rows.find((row) => row['id'] === 'lxc/102')?.['status']).toBe('unknown');
  });

  it('answers again when it is back', async () => {
    other.store.node('n2').powerOn('test');
    await vi.waitFor(async () => expect((await other.request('n2', 'GET', '/version')).status).toBe(200), SOON);
  });

  it('ends calls that hang on the monitors like a proxy that waited', async () => {
    other.store.node('n2').powerOff('test');
    other.store.node('n3').powerOff('test');
    await vi.waitUntil(() => !other.store.ceph.hasQuorum, SOON);
    expect(await other.request('n1', 'GET', '/cluster/ceph/status')).toMatchObject({ status: 596, text: '' });
  });
});
