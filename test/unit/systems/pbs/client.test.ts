import { afterEach, describe, expect, it } from 'vitest';
import { createPbsClient } from '#systems/pbs/client.js';
import { PbsError } from '#systems/pbs/errors.js';
import type { PbsErrorKind } from '#systems/pbs/errors.js';
import type { PbsClient, PbsOptions, PbsWork } from '#systems/pbs/types.js';
import { hangUp, ok, silence, startFakeNodes } from '../proxmox/fake-nodes.js';
import type { FakeNodes, Handler } from '../proxmox/fake-nodes.js';

const SECRET = '6f1c7a52-0000-4000-8000-canary000000';
const TOKEN_ID = 'edge-governor@pbs!verify';
const TOKEN = `${TOKEN_ID}:${SECRET}`;
const VERSION = { version: '4.1', release: '2', repoid: 'abc' };
const PLACE = { datastore: 'store1', namespace: '' };
const GROUP = { type: 'vm', id: '101' } as const;

/** `work` = type and id of the task, the id as the server writes it into the task's own id. */
const upidOf = (work: string, { start = '6A127B00', by = TOKEN_ID, pid = '00004F37' } = {}): string =>
  `UPID:pbs-001:${pid}:0039E469:00000000:${start}:${work}:${by}:`;
const GC = upidOf('garbage_collection:store1');
const SYNC = upidOf('syncjob:central\\x3abackup\\x3astore1\\x3a\\x3anightly');

let pbs: FakeNodes | undefined;
let client: PbsClient | undefined;
afterEach(async () => {
  await client?.close();
  await pbs?.close();
  client = pbs = undefined;
});

async function connect(handler: Handler = ok(VERSION), options: Partial<PbsOptions> = {}) {
  pbs = await startFakeNodes(['pbs']);
  pbs.answer('pbs', handler);
  client = createPbsClient({ ...optionsFor(pbs), ...options });
  return { pbs, client };
}

function optionsFor({ endpoints, fingerprints }: FakeNodes): PbsOptions {
  const { address, port } = endpoints[0] ?? { address: '', port: 0 };
  return { name: 'the backup server', address, port, token: TOKEN, fingerprint: fingerprints.pbs as string };
}

/** An error as the server writes it: the text alone, under the name of JSON. */
const refuse =
  (status: number, text: string): Handler =>
  (_request, response) => {
    response.writeHead(status, { 'content-type': 'application/json;charset=UTF-8', connection: 'close' });
    response.end(text);
  };

const raw =
  (text: string): Handler =>
  (_request, response) =>
    response.end(text);

/** One after another; the last one stays. */
const inTurn = (...handlers: Handler[]): Handler => {
  const left = [...handlers];
  return (request, response) => (left.length > 1 ? left.shift() : left[0])?.(request, response);
};

async function failureOf(promise: Promise<unknown>): Promise<PbsError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(PbsError);
    expect(`${(error as Error).message}${(error as Error).stack ?? ''}`).not.toContain(SECRET);
    return error as PbsError;
  }
  throw new Error('expected a failure');
}

const formOf = (server: FakeNodes, at = 0): Record<string, string> =>
  Object.fromEntries(new URLSearchParams(server.seen[at]?.body));
const queryOf = (server: FakeNodes, at = 0): Record<string, string> =>
  Object.fromEntries(new URL(server.seen[at]?.url ?? '', 'https://x').searchParams);

describe('a read', () => {
  it('carries the token with a colon before its secret', async () => {
    const { pbs, client } = await connect();
    expect(await client.version()).toEqual({ version: '4.1', release: '2' });
    expect(pbs.seen[0]).toMatchObject({ method: 'GET', url: '/api2/json/version' });
    expect(pbs.seen[0]?.headers.authorization).toBe(`PBSAPIToken=${TOKEN}`);
  });

  it('is asked once more when the connection is closed under it', async () => {
    const { pbs, client } = await connect(inTurn(hangUp, ok(VERSION)));
    expect((await client.version()).version).toBe('4.1');
    expect(pbs.seen).toHaveLength(2);
  });

  it('is not asked a third time', async () => {
    const { pbs, client } = await connect(hangUp);
    expect(await failureOf(client.version())).toMatchObject({ kind: 'NodeUnreachable', retryable: true });
    expect(pbs.seen).toHaveLength(2);
  });

  it('is asked once when it is not answered in time', async () => {
    const { pbs, client } = await connect(silence, { timeoutMs: 300 });
    expect((await failureOf(client.version())).kind).toBe('NodeUnreachable');
    expect(pbs.seen).toHaveLength(1);
  });

  it('is not waited for without end when its answer comes drop by drop', async () => {
    let drops: NodeJS.Timeout | undefined;
    const drip: Handler = (_request, response) => {
      drops = setInterval(() => response.write(' '), 20);
    };
    const { client } = await connect(drip, { timeoutMs: 300 });
    const failure = await failureOf(client.version());
    clearInterval(drops);
    expect(failure.kind).toBe('NodeUnreachable');
    expect(failure.message).toContain('did not end within 300 ms');
  });

  it('is NodeUnreachable when nobody listens', async () => {
    const { pbs, client } = await connect();
    await pbs.stop('pbs');
    expect(await failureOf(client.version())).toMatchObject({ kind: 'NodeUnreachable', retryable: true });
  });

  const hostile: [string, Handler][] = [
    ['a web page', raw('<html>Welcome to the hotel</html>')],
    ['a web page with a refusal', refuse(403, '<!DOCTYPE html><h1>Forbidden</h1>')],
    ['JSON that breaks off', raw('{"data":{"version":"4.')],
    ['an array for an object', ok([])],
    ['nothing', raw('')],
    ['null', raw('null')],
    ['a number for a text', ok({ version: 4.1, release: '2' })],
    ['a missing field', ok({ version: '4.1' })],
    [
      'more than any real answer',
      (_request, response) => {
        const megabyte = Buffer.alloc(1024 * 1024, ' ');
        for (let i = 0; i < 10; i++) response.write(megabyte);
        response.end();
      },
    ],
    [
      'a redirection',
      (_request, response) => response.writeHead(302, { location: 'https://elsewhere.example/' }).end(),
    ],
  ];
  it.each(hostile)('is Malformed, and not retried, when the answer is %s', async (_words, handler) => {
    const { pbs, client } = await connect(handler);
    expect(await failureOf(client.version())).toMatchObject({ kind: 'Malformed', retryable: false });
    expect(pbs.seen).toHaveLength(1);
  });
});

describe('a refusal', () => {
  const cases: [status: number, text: string, kind: PbsErrorKind, retryable: boolean][] = [
    [401, 'authentication failed', 'Auth', false],
    [403, 'permission check failed', 'Permission', false],
    [404, "Path '/api2/json/admin/nothing' not found.", 'NotImplemented', false],
    [404, 'no such snapshot', 'NotFound', false],
    [400, "parameter verification failed - 'keep-last': value must have a minimum value of 1", 'Validation', false],
    [400, "parameter verification failed:\n- 'ns': no such thing", 'Validation', false],
    [400, 'parameters do not specify a backup group or snapshot', 'Validation', false],
    [400, 'garbage collection already running', 'Locked', true],
    [400, 'another backup is already running', 'Locked', true],
    [400, 'unable to acquire manifest lock "/run/x" - Resource busy', 'Locked', true],
    [400, "datastore 'store1' is in offline maintenance mode: disk change", 'Maintenance', true],
    [400, 'read-only maintenance mode: moving, no such luck', 'Maintenance', true],
    [400, 'write failed: No space left on device (os error 28)', 'NoSpace', false],
    [400, "no such datastore 'store9'", 'NotFound', false],
    [400, 'unable to open snapshot directory "/x" for locking', 'NotFound', false],
    [400, 'something else', 'Server', true],
    [400, '', 'Server', true],
    [500, 'inner fault', 'Server', true],
  ];
  it.each(cases)('%i "%s" is %s', async (status, text, kind, retryable) => {
    const { pbs, client } = await connect(refuse(status, text));
    expect(await failureOf(client.version())).toMatchObject({ kind, retryable, status });
    expect(pbs.seen).toHaveLength(1);
  });

  it('is told in one line, shortened, without what a terminal would obey', async () => {
    const { client } = await connect(refuse(400, `no such datastore\n'x\u001b[2J\u202e'${'!'.repeat(10_000)}`));
    const { message } = await failureOf(client.version());
    expect(message).toMatch(/^GET \/version at the backup server: no such datastore 'x \[2J '!!!/);
    expect(message.length).toBeLessThan(600);
  });

  it('does not repeat the token, even when the server does', async () => {
    const { client } = await connect(refuse(400, `bad header PBSAPIToken=${TOKEN}`));
    expect((await failureOf(client.version())).message).toContain('[secret]');
  });
});

describe('the certificate', () => {
  it('is refused when it is not the pinned one, before anything is sent', async () => {
    const { pbs } = await connect();
    const other = await startFakeNodes(['pbs']);
    client = createPbsClient({ ...optionsFor(pbs), fingerprint: other.fingerprints.pbs as string });
    expect(await failureOf(client.start({ kind: 'collect', datastore: 'store1' }))).toMatchObject({
      kind: 'Untrusted',
      retryable: false,
    });
    expect(pbs.seen).toEqual([]);
    await other.close();
  });

  it.each(['', 'aa:bb', 'x'.repeat(64)])('must be pinned by a whole fingerprint, not by "%s"', (fingerprint) => {
    const make = () => createPbsClient({ name: 'pbs', address: '127.0.0.1', port: 1, token: TOKEN, fingerprint });
    expect(make).toThrow(/is not a SHA-256/);
  });
});

it.each([`${TOKEN_ID}=${SECRET}`, SECRET, `edge-governor@pbs:${SECRET}`])(
  'a token of another form is refused without repeating it',
  (token) => {
    const make = () =>
      createPbsClient({ name: 'pbs', address: '127.0.0.1', port: 1, token, fingerprint: 'ab'.repeat(32) });
    expect(make).toThrow(/user@realm!tokenid:secret/);
    expect(make).not.toThrow(SECRET);
  },
);

describe('work is started', () => {
  const cases: [string, PbsWork, string, Record<string, string>][] = [
    [
      'a verification of one snapshot, forced',
      { kind: 'verify', ...PLACE, group: GROUP, time: 1_779_000_000, ignoreVerified: false },
      'store1/verify',
      { 'backup-type': 'vm', 'backup-id': '101', 'backup-time': '1779000000', 'ignore-verified': '0' },
    ],
    [
      'a verification of one namespace, of what is new or old',
      { kind: 'verify', datastore: 'store1', namespace: 'a/b', ignoreVerified: true, outdatedAfterDays: 30 },
      'store1/verify',
      { ns: 'a/b', 'max-depth': '0', 'ignore-verified': '1', 'outdated-after': '30' },
    ],
    [
      'a trial of pruning',
      { kind: 'prune', ...PLACE, keep: { last: 3, weekly: 4, yearly: undefined }, dryRun: true },
      'store1/prune-datastore',
      { 'max-depth': '0', 'dry-run': '1', 'keep-last': '3', 'keep-weekly': '4' },
    ],
    [
      'pruning',
      { kind: 'prune', datastore: 'store1', namespace: 'a', keep: { daily: 7 }, dryRun: false },
      'store1/prune-datastore',
      { ns: 'a', 'max-depth': '0', 'dry-run': '0', 'keep-daily': '7' },
    ],
    ['a collection', { kind: 'collect', datastore: 'store1' }, 'store1/gc', {}],
  ];
  it.each(cases)('%s', async (_words, work, path, form) => {
    const { pbs, client } = await connect(ok(GC));
    expect(await client.start(work)).toBe(GC);
    expect(pbs.seen[0]).toMatchObject({ method: 'POST', url: `/api2/json/admin/datastore/${path}` });
    expect(formOf(pbs)).toEqual(form);
  });

  it('a sync job, by its name, which may hold anything', async () => {
    const { pbs, client } = await connect(ok(SYNC));
    expect(await client.start({ kind: 'sync', job: '../a?b' })).toBe(SYNC);
    expect(pbs.seen[0]?.url).toBe('/api2/json/admin/sync/..%2Fa%3Fb/run');
  });

  const lost: [string, Handler][] = [
    ['the connection is cut after the request', hangUp],
    ['no answer comes in time', silence],
    ['the answer is cut short', raw('{"data":"UPID:pbs')],
    ['a web page answers', raw('<html></html>')],
    ['the server breaks off', refuse(500, 'inner fault')],
    ['the answer names no task', ok('OK')],
    ['the answer is empty', ok(null)],
    ['the task is one of Proxmox VE', ok('UPID:n1:000620F4:09CFA056:6AA109B6:vzdump:301:root@pam:')],
  ];
  it.each(lost)('and never twice: OutcomeUnknown when %s', async (_words, handler) => {
    const { pbs, client } = await connect(handler, { timeoutMs: 300 });
    expect(await failureOf(client.start({ kind: 'collect', datastore: 'store1' }))).toMatchObject({
      kind: 'OutcomeUnknown',
      retryable: true,
    });
    expect(pbs.seen).toHaveLength(1);
  });

  it('not when it runs already: that is Locked, and nothing was done', async () => {
    const { client } = await connect(refuse(400, 'garbage collection already running'));
    expect((await failureOf(client.start({ kind: 'collect', datastore: 'store1' }))).kind).toBe('Locked');
  });
});

describe('a task whose id was lost', () => {
  const row = (upid: string, more: object = {}) => ({
    upid,
    node: 'localhost',
    pid: 1,
    pstart: 2,
    starttime: parseInt(upid.split(':')[5] ?? '', 16),
    worker_type: upid.split(':')[6],
    user: TOKEN_ID,
    ...more,
  });
  const found = async (work: PbsWork, ...upids: string[]) => {
    const { client } = await connect(ok(upids.map((upid) => row(upid))));
    return (await client.find(work, 1_779_000_000)).map(({ upid }) => upid);
  };
  const verify = (rest: object): PbsWork => ({ kind: 'verify', ...PLACE, ignoreVerified: false, ...rest });
  const time = 0x6a0c_8f40;

  const cases: [string, PbsWork, string][] = [
    ['a collection', { kind: 'collect', datastore: 'store1' }, 'garbage_collection:store1'],
    ['a verification of the root', verify({}), 'verify:store1'],
    ['of a namespace', verify({ namespace: 'a/b' }), 'verify:store1\\x3ans-a-ns-b'],
    ['of a group', verify({ group: GROUP }), 'verify_group:store1\\x3avm-101'],
    ['of a group, as newer servers write it', verify({ group: GROUP }), 'verify_group:store1\\x3a-vm-101'],
    ['of a snapshot', verify({ group: GROUP, time }), 'verify_snapshot:store1\\x3a-vm-101-6A0C8F40'],
    [
      'of a snapshot in a namespace',
      verify({ namespace: 'a-1', group: GROUP, time }),
      'verify_snapshot:store1\\x3ans-a\\x2d1-vm-101-6A0C8F40',
    ],
    ['a pruning', { kind: 'prune', ...PLACE, keep: { last: 1 }, dryRun: false }, 'prune:store1'],
    [
      'a pruning, as newer servers write it',
      { kind: 'prune', ...PLACE, keep: { last: 1 }, dryRun: false },
      'prune:store1\\x3a',
    ],
    [
      'a pruning of a namespace',
      { kind: 'prune', datastore: 'store1', namespace: 'a/b', keep: { last: 1 }, dryRun: false },
      'prune:store1\\x3aa-b',
    ],
    ['a sync job', { kind: 'sync', job: 'nightly' }, 'syncjob:central\\x3abackup\\x3astore1\\x3a\\x3anightly'],
    ['a sync job named alone', { kind: 'sync', job: 'nightly' }, 'syncjob:nightly'],
  ];
  it.each(cases)('is found: %s', async (_words, work, task) => {
    expect(await found(work, upidOf(task))).toEqual([upidOf(task)]);
  });

  it.each([
    ['of another datastore', verify({ group: GROUP }), 'verify_group:store2\\x3avm-101'],
    ['of a guest whose number begins alike', verify({ group: GROUP }), 'verify_group:store1\\x3avm-1011'],
    ['of another snapshot', verify({ group: GROUP, time }), 'verify_snapshot:store1\\x3avm-101-6A0C8F41'],
    ['of a job', verify({}), 'verificationjob:store1'],
    ['of the namespace below', verify({ namespace: 'a' }), 'verify:store1\\x3ans-a-ns-b'],
    ['of a whole group for one snapshot', verify({ group: GROUP, time }), 'verify_group:store1\\x3avm-101'],
    ['of a job that ends alike', { kind: 'sync', job: 'nightly' } as const, 'syncjob:central\\x3aother-nightly'],
  ])('is not mistaken for one %s', async (_words, work, task) => {
    expect(await found(work, upidOf(task))).toEqual([]);
  });

  it('is not that of somebody else', async () => {
    const theirs = upidOf('garbage_collection:store1', { by: 'root@pam' });
    expect(await found({ kind: 'collect', datastore: 'store1' }, theirs)).toEqual([]);
  });

  it('is looked for since the time given, through all pages, the newest first', async () => {
    const old = upidOf('garbage_collection:store1', { start: '6A127A00' });
    const others = Array.from({ length: 500 }, (_, n) =>
      row(upidOf('reader:store1', { pid: n.toString(16).padStart(8, '0') })),
    );
    const { pbs, client } = await connect((request, response) => {
      const start = Number(new URL(request.url, 'https://x').searchParams.get('start'));
      ok(start === 0 ? others : [row(old, { status: 'OK', endtime: 1 }), row(GC)])(request, response);
    });
    expect(await client.find({ kind: 'collect', datastore: 'store1' }, 1_779_000_000)).toEqual([
      { upid: GC, type: 'garbage_collection', startTime: 0x6a127b00 },
      { upid: old, type: 'garbage_collection', startTime: 0x6a127a00, status: 'OK' },
    ]);
    expect(pbs.seen.map((_, at) => queryOf(pbs, at))).toEqual([
      { since: '1779000000', start: '0', limit: '500' },
      { since: '1779000000', start: '500', limit: '500' },
    ]);
  });

  it('is found while it runs, however long ago it began; one that has just ended is not', async () => {
    const old = upidOf('garbage_collection:store1', { start: '00000001' });
    const theirs = upidOf('garbage_collection:store1', { by: 'root@pam' });
    const { pbs, client } = await connect(ok([row(old), row(theirs), row(GC, { status: 'OK', endtime: 1 })]));
    expect(await client.running({ kind: 'collect', datastore: 'store1' })).toEqual([
      { upid: old, type: 'garbage_collection', startTime: 1 },
    ]);
    expect(queryOf(pbs, 0)).toEqual({ running: '1', start: '0', limit: '500' });
  });

  it('is not declared missing by a list without end', async () => {
    const page = Array.from({ length: 500 }, () => row(upidOf('reader:store1')));
    const { pbs, client } = await connect(ok(page));
    expect((await failureOf(client.find({ kind: 'collect', datastore: 'store1' }, 1))).kind).toBe('Malformed');
    expect(pbs.seen).toHaveLength(20);
  });
});

describe('a task', () => {
  const ends: [string, string, object, object][] = [
    ['runs', GC, { status: 'running' }, { state: 'running' }],
    ['ended OK', GC, { status: 'stopped', exitstatus: 'OK' }, { exit: 'OK', ok: true, warnings: false }],
    [
      'ended with warnings',
      GC,
      { status: 'stopped', exitstatus: 'WARNINGS: 2' },
      { exit: 'WARNINGS: 2', ok: true, warnings: true },
    ],
    [
      'was a sync and ended with warnings: a group was not copied',
      SYNC,
      { status: 'stopped', exitstatus: 'WARNINGS: 1' },
      { exit: 'WARNINGS: 1', ok: false, warnings: true },
    ],
    [
      'failed',
      GC,
      { status: 'stopped', exitstatus: 'verification failed - please check the log for details' },
      { ok: false, warnings: false },
    ],
    ['ended without a word', GC, { status: 'stopped' }, { exit: 'unknown', ok: false }],
  ];
  it.each(ends)('that %s', async (_words, upid, answer, expected) => {
    const { pbs, client } = await connect(ok({ upid, node: 'pbs-001', ...answer }));
    expect(await client.taskStatus(upid)).toMatchObject(expected);
    expect(pbs.seen[0]?.url).toBe(`/api2/json/nodes/localhost/tasks/${encodeURIComponent(upid)}/status`);
  });

  it('is read once more when it seems to have died, for it may just be ending', async () => {
    const { client } = await connect(
      inTurn(ok({ status: 'stopped', exitstatus: 'unknown' }), ok({ status: 'stopped', exitstatus: 'OK' })),
    );
    expect(await client.taskStatus(GC)).toMatchObject({ ok: true });
  });

  it('is not asked about when it is one of Proxmox VE, or none', async () => {
    const { pbs, client } = await connect();
    for (const upid of ['UPID:n1:000620F4:09CFA056:6AA109B6:vzdump:301:root@pam:', 'UPID:a/../b', 'x'.repeat(2_000)]) {
      expect((await failureOf(client.taskStatus(upid))).kind).toBe('Validation');
    }
    expect(pbs.seen).toEqual([]);
  });

  it('gives the last lines of its log, whose first one has the number 1', async () => {
    const log = Array.from({ length: 7 }, (_, at) => ({ n: at + 1, t: `2026-11-26T01:00:00+01:00: line ${at + 1}` }));
    const { client } = await connect((request, response) => {
      const query = new URL(request.url, 'https://x').searchParams;
      const start = Math.max(1, Number(query.get('start')));
      const data = log.slice(start - 1, start - 1 + Number(query.get('limit')));
      response.end(JSON.stringify({ data, total: log.length, success: 1 }));
    });
    const last = (lines: string[]) => lines.map((line) => line.slice(-6));
    expect(last(await client.taskLog(GC, 3))).toEqual(['line 5', 'line 6', 'line 7']);
    expect(await client.taskLog(GC, 50)).toHaveLength(7);
  });
});

describe('what a datastore holds', () => {
  const snapshot = {
    'backup-type': 'vm',
    'backup-id': '101',
    'backup-time': 1_779_000_000,
    files: [
      { filename: 'drive-scsi0.img.fidx', size: 34_359_738_368, 'crypt-mode': 'encrypt' },
      { filename: 'index.json.blob', size: 500, 'crypt-mode': 'sign-only' },
      { filename: 'client.log.blob' },
    ],
    size: 34_359_738_868,
    protected: false,
    owner: 'backup@pbs!pve',
    fingerprint: 'aa:bb:cc:dd',
    verification: { state: 'ok', upid: upidOf('verify_snapshot:store1\\x3avm-101-6A0C8F40') },
    'key-of-tomorrow': { any: 'thing' },
  };
  const snapshotsOf = async (...rows: object[]) => {
    const { pbs, client } = await connect(ok(rows));
    return { pbs, snapshots: await client.snapshots('store1', '') };
  };

  it('is listed with who verified it and by which key it is encrypted', async () => {
    const { snapshots } = await snapshotsOf(snapshot);
    expect(snapshots).toEqual([
      {
        type: 'vm',
        id: '101',
        time: 1_779_000_000,
        size: 34_359_738_868,
        protected: false,
        encrypted: true,
        keyFingerprint: 'aa:bb:cc:dd',
        verification: { state: 'ok', node: 'pbs-001', at: 0x6a127b00 },
      },
    ]);
  });

  it.each([
    ['one part is in the clear', [{ filename: 'a.fidx', 'crypt-mode': 'encrypt' }, { filename: 'b.fidx' }]],
    ['its parts are signed only', [{ filename: 'a.fidx', 'crypt-mode': 'sign-only' }]],
    ['there are no parts', [{ filename: 'index.json.blob', 'crypt-mode': 'encrypt' }]],
    ['only names are given', ['a.fidx', 'index.json.blob']],
  ])('is not called encrypted when %s', async (_words, files) => {
    const { snapshots } = await snapshotsOf({ ...snapshot, files });
    expect(snapshots[0]?.encrypted).toBe(false);
  });

  it.each([
    ['no verification', undefined],
    ['null', null],
    ['a result that nobody knows', { state: 'maybe', upid: GC }],
    ['a task that is none', { state: 'ok', upid: 'UPID:pbs-001:verify' }],
    ['a task of Proxmox VE', { state: 'ok', upid: 'UPID:pbs-001:000620F4:09CFA056:6AA109B6:verify:x:root@pam:' }],
  ])('is not verified with %s', async (_words, verification) => {
    const { snapshots } = await snapshotsOf({ ...snapshot, verification });
    expect(snapshots).toHaveLength(1);
    expect(snapshots[0]).not.toHaveProperty('verification');
  });

  it('has no size while it is unfinished', async () => {
    const { size: _, ...unfinished } = snapshot;
    const { snapshots } = await snapshotsOf(unfinished);
    expect(snapshots[0]).not.toHaveProperty('size');
  });

  it.each([
    ['a time as text', { 'backup-time': '1779000000' }],
    ['a size as text', { size: '1' }],
    ['a flag as number', { protected: 0 }],
    ['a guest of no known kind', { 'backup-type': 'tape' }],
  ])('is not believed with %s', async (_words, wrong) => {
    const { client } = await connect(ok([snapshot, { ...snapshot, ...wrong }]));
    const failure = await failureOf(client.snapshots('store1', ''));
    expect(failure.kind).toBe('Malformed');
    expect(failure.message).toMatch(/^GET \/admin\/datastore\/store1\/snapshots: 1\./);
  });

  it('is asked for by namespace and group; the root goes without a name', async () => {
    const { pbs, client } = await connect(ok([]));
    await client.snapshots('store1', '');
    await client.snapshots('store1', 'a/b', GROUP);
    await client.groups('store1', 'a');
    expect([0, 1, 2].map((at) => queryOf(pbs, at))).toEqual([
      {},
      { ns: 'a/b', 'backup-type': 'vm', 'backup-id': '101' },
      { ns: 'a' },
    ]);
  });

  it('is listed by groups', async () => {
    const { client } = await connect(
      ok([{ 'backup-type': 'ct', 'backup-id': '103', 'last-backup': 1_779_000_000, 'backup-count': 4, files: [] }]),
    );
    expect(await client.groups('store1', '')).toEqual([{ type: 'ct', id: '103', lastBackup: 1_779_000_000, count: 4 }]);
  });

  it('is pruned group by group, or said to be', async () => {
    const marks = [
      { ...GROUP, 'backup-time': 1, keep: false },
      { 'backup-time': 2, keep: true, protected: true },
    ];
    const { pbs, client } = await connect(ok(marks));
    expect(await client.prune({ ...PLACE, ...GROUP }, { last: 2 }, true)).toEqual([
      { time: 1, keep: false, protected: false },
      { time: 2, keep: true, protected: true },
    ]);
    await client.prune({ ...PLACE, ...GROUP }, { last: 2 }, false);
    expect(pbs.seen[0]).toMatchObject({ method: 'POST', url: '/api2/json/admin/datastore/store1/prune' });
    expect(formOf(pbs, 0)).toEqual({ 'backup-type': 'vm', 'backup-id': '101', 'dry-run': '1', 'keep-last': '2' });
    expect(formOf(pbs, 1)).toMatchObject({ 'dry-run': '0' });
  });

  it('has namespaces, the root among them', async () => {
    const { client } = await connect(ok([{ ns: '' }, { ns: 'a/b', comment: 'x' }]));
    expect(await client.namespaces('store1')).toEqual(['', 'a/b']);
  });

  it('has been collected', async () => {
    const { client } = await connect(
      ok({
        store: 'store1',
        upid: GC,
        'last-run-state': 'OK',
        'last-run-endtime': 1_779_000_100,
        'disk-bytes': 10,
        'disk-chunks': 2,
        'index-data-bytes': 40,
        'index-file-count': 3,
        'pending-bytes': 4,
        'pending-chunks': 1,
        'removed-bytes': 0,
        'removed-chunks': 0,
        'removed-bad': 0,
        'still-bad': 1,
      }),
    );
    expect(await client.collection('store1')).toEqual({
      lastRun: { upid: GC, state: 'OK', endTime: 1_779_000_100 },
      diskBytes: 10,
      indexBytes: 40,
      pendingBytes: 4,
      removedBytes: 0,
      stillBad: 1,
    });
  });
});

describe('the server', () => {
  it('lists its datastores, with their maintenance', async () => {
    const { client } = await connect(
      ok([
        { store: 'store1', 'mount-status': 'nonremovable', 'backend-type': 's3' },
        { store: 'store2', maintenance: 'read-only,message="disk, change"' },
        { store: 'store3', maintenance: 'type=offline' },
      ]),
    );
    expect(await client.datastores()).toEqual([
      { name: 'store1', backend: 's3', mount: 'nonremovable' },
      { name: 'store2', backend: 'filesystem', maintenance: 'read-only' },
      { name: 'store3', backend: 'filesystem', maintenance: 'offline' },
    ]);
  });

  it('tells the space of one, and of all with what keeps one from being read', async () => {
    const { client } = await connect(
      inTurn(
        ok({ total: 100, used: 60, avail: 40, 'backend-type': 'filesystem' }),
        ok([
          { store: 'store1', total: 100, used: 60, avail: 40, 'estimated-full-date': 1_790_000_000 },
          { store: 'store2', total: -1, used: -1, avail: -1, error: 'not mounted' },
          { store: 'store3', total: -1, used: -1, avail: -1 },
        ]),
      ),
    );
    expect(await client.space('store1')).toEqual({ total: 100, used: 60, available: 40 });
    expect(await client.usage()).toEqual([
      { datastore: 'store1', total: 100, used: 60, available: 40, fullAt: 1_790_000_000 },
      { datastore: 'store2', error: 'not mounted' },
      { datastore: 'store3', error: 'the server gives no numbers' },
    ]);
  });

  it('lists sync jobs of both directions', async () => {
    const { pbs, client } = await connect(
      ok([
        {
          id: 'a',
          store: 'store1',
          remote: 'central',
          'remote-store': 'backup',
          'last-run-upid': SYNC,
          'last-run-state': 'OK',
        },
        { id: 'b', store: 'store1', ns: 'x', 'sync-direction': 'push' },
      ]),
    );
    expect(await client.syncJobs()).toEqual([
      {
        id: 'a',
        datastore: 'store1',
        namespace: '',
        direction: 'pull',
        remote: 'central',
        remoteDatastore: 'backup',
        lastRun: { upid: SYNC, state: 'OK' },
      },
      { id: 'b', datastore: 'store1', namespace: 'x', direction: 'push' },
    ]);
    expect(queryOf(pbs)).toEqual({ 'sync-direction': 'all' });
  });

  it('tells a token without rights by its empty privileges', async () => {
    const { client } = await connect(inTurn(ok({}), ok({ '/datastore/store1': { 'Datastore.Audit': 1 } })));
    expect(await client.permissions()).toEqual({});
    expect(await client.permissions()).toEqual({ '/datastore/store1': ['Datastore.Audit'] });
  });

  it('tells privileges that hold on a path alone from those that hold below it', async () => {
    const privileges = { 'Datastore.Audit': true, 'Datastore.Verify': false };
    const { client } = await connect(inTurn(ok({ '/datastore/store1': privileges })));
    expect(await client.permissions()).toEqual({
      '/datastore/store1': ['Datastore.Audit', 'Datastore.Verify'],
      '/datastore/store1/*': ['Datastore.Audit'],
    });
  });
});
