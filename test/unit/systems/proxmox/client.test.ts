import { afterEach, describe, expect, it } from 'vitest';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { ProxmoxError } from '#systems/proxmox/errors.js';
import type { ProxmoxErrorKind } from '#systems/proxmox/errors.js';
import type { ProxmoxRestoreClient, ProxmoxOptions } from '#systems/proxmox/types.js';
import { hangUp, ok, refuse, silence, startFakeNodes } from './fake-nodes.js';
import type { FakeNodes, Handler } from './fake-nodes.js';

const SECRET = '6f1c7a52-0000-4000-8000-canary000000';
const TOKEN = `edge-governor@pve!store=${SECRET}`;
const UPID = 'UPID:n1:000620F4:09CFA056:6AA109B6:hamigrate:301:edge-governor@pve!store:';
const VERSION = { version: '9.2.3', release: '9.2', repoid: 'abc' };

let nodes: FakeNodes | undefined;
let client: ProxmoxRestoreClient | undefined;
afterEach(async () => {
  await client?.close();
  await nodes?.close();
  client = nodes = undefined;
});

async function connect(names: string[], options: Partial<ProxmoxOptions> = {}) {
  nodes = await startFakeNodes(names);
  for (const name of names) nodes.answer(name, ok(VERSION));
  client = createProxmoxClient({ nodes: nodes.endpoints, token: TOKEN, ca: nodes.ca, ...options });
  return { nodes, client };
}

async function failureOf(promise: Promise<unknown>): Promise<ProxmoxError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(ProxmoxError);
    expect(`${(error as Error).message}${(error as Error).stack ?? ''}`).not.toContain(SECRET);
    return error as ProxmoxError;
  }
  throw new Error('expected a failure');
}

describe('a read', () => {
  it('goes to the first node, with the token', async () => {
    const { nodes, client } = await connect(['n1', 'n2']);
    expect(await client.version()).toEqual({ version: '9.2.3', release: '9.2' });
    expect(nodes.seen).toHaveLength(1);
    expect(nodes.seen[0]).toMatchObject({ node: 'n1', method: 'GET', url: '/api2/json/version' });
    expect(nodes.seen[0]?.headers.authorization).toBe(`PVEAPIToken=${TOKEN}`);
  });

  it('enters by the next node when one refuses connections, and stays with it', async () => {
    const { nodes, client } = await connect(['n1', 'n2', 'n3']);
    await nodes.stop('n1');
    await client.version();
    await client.version();
    expect(nodes.seen.map((seen) => seen.node)).toEqual(['n2', 'n2']);
  });

  const elsewhere: [string, Handler][] = [
    ['cannot connect to the node that it should ask', refuse(595, 'No route to host', '')],
    ['times out as a proxy', refuse(596, 'Connection timed out', '')],
    ['hangs up', hangUp],
  ];
  it.each(elsewhere)('is asked again elsewhere when the entry node %s', async (_words, handler) => {
    const { nodes, client } = await connect(['n1', 'n2']);
    nodes.answer('n1', handler);
    expect((await client.version()).version).toBe('9.2.3');
    expect(nodes.seen.map((seen) => seen.node)).toEqual(['n1', 'n2']);
  });

  it('is asked again elsewhere when a node takes the request and stays silent', async () => {
    const { nodes, client } = await connect(['n1', 'n2'], { timeoutMs: 300 });
    nodes.answer('n1', silence);
    expect((await client.version()).version).toBe('9.2.3');
  });

  it('is NodeUnreachable when no node answers', async () => {
    const { nodes, client } = await connect(['n1', 'n2']);
    await nodes.stop('n1');
    await nodes.stop('n2');
    expect(await failureOf(client.version())).toMatchObject({ kind: 'NodeUnreachable', retryable: true });
  });

  it('is not repeated when the answer is a refusal', async () => {
    const { nodes, client } = await connect(['n1', 'n2']);
    nodes.answer('n1', refuse(403, 'Permission check failed (/, Sys.Audit)'));
    const failure = await failureOf(client.version());
    expect(failure).toMatchObject({ kind: 'Permission', retryable: false, status: 403 });
    expect(failure.message).toContain('Permission check failed (/, Sys.Audit)');
    expect(nodes.seen).toHaveLength(1);
  });

  it('is Malformed when something else answers', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', (_request, response) => response.end('<html>Welcome to the hotel</html>'));
    expect((await failureOf(client.version())).kind).toBe('Malformed');
  });

  it('is Malformed when what it rests on is missing', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', ok({ release: '9.2' }));
    expect((await failureOf(client.version())).message).toContain('version');
  });

  it('is Malformed when the answer is larger than any real one', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', (_request, response) => {
      const megabyte = Buffer.alloc(1024 * 1024, ' ');
      for (let i = 0; i < 9; i++) response.write(megabyte);
      response.end();
    });
    const failure = await failureOf(client.version());
    expect(failure.kind).toBe('Malformed');
    expect(failure.message).toContain('larger than');
  });
});

describe('a write', () => {
  const migrate = (client: ProxmoxRestoreClient) => client.migrate('n1', 'qemu', 301, 'n2');

  it('sends a form and returns the task', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', ok(UPID));
    expect(await migrate(client)).toBe(UPID);
    expect(nodes.seen[0]).toMatchObject({ method: 'POST', url: '/api2/json/nodes/n1/qemu/301/migrate' });
    expect(Object.fromEntries(new URLSearchParams(nodes.seen[0]?.body))).toEqual({ target: 'n2', online: '1' });
  });

  it('restarts a container to move it', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', ok(UPID.replace('hamigrate', 'vzmigrate')));
    await client.migrate('n1', 'lxc', 302, 'n2');
    expect(Object.fromEntries(new URLSearchParams(nodes.seen[0]?.body))).toEqual({ target: 'n2', restart: '1' });
  });

  it('enters by another node when nothing was sent yet', async () => {
    const { nodes, client } = await connect(['n1', 'n2']);
    nodes.answer('n2', ok(UPID));
    await nodes.stop('n1');
    expect(await migrate(client)).toBe(UPID);
  });

  it('is NodeUnreachable when no node could be connected: nothing was sent', async () => {
    const { nodes, client } = await connect(['n1']);
    await nodes.stop('n1');
    expect((await failureOf(migrate(client))).kind).toBe('NodeUnreachable');
  });

  it('is NodeUnreachable when the proxy could not connect the node', async () => {
    const { nodes, client } = await connect(['n1', 'n2']);
    nodes.answer('n1', refuse(595, 'Connection refused', ''));
    expect((await failureOf(migrate(client))).kind).toBe('NodeUnreachable');
    expect(nodes.seen).toHaveLength(1);
  });

  const lost: [string, Handler][] = [
    ['the connection is cut after the request', hangUp],
    ['no answer comes in time', silence],
    ['the proxy times out', refuse(596, 'Connection timed out', '')],
    ['the proxy loses the answer', refuse(599, 'Too many redirections', '')],
    ['the answer is cut short', (_request, response) => response.end('{"data":"UPID:n1')],
    ['the answer names no task', ok('OK')],
  ];
  it.each(lost)('is never sent twice: OutcomeUnknown when %s', async (_words, handler) => {
    const { nodes, client } = await connect(['n1', 'n2'], { timeoutMs: 300 });
    nodes.answer('n1', handler);
    expect(await failureOf(migrate(client))).toMatchObject({ kind: 'OutcomeUnknown', retryable: true });
    expect(nodes.seen.filter((seen) => seen.method === 'POST')).toHaveLength(1);
  });

  describe('of a backup', () => {
    const VZDUMP = 'UPID:n1:000620F4:09CFA056:6AA109B6:vzdump:301:edge-governor@pve!store:';
    const backup = { vmids: [301], storage: 'pbs', mode: 'snapshot', lockWaitMinutes: 10 } as const;

    it('starts one vzdump and returns its task', async () => {
      const { nodes, client } = await connect(['n1']);
      nodes.answer('n1', ok(VZDUMP));
      expect(await client.backUp('n1', backup)).toBe(VZDUMP);
      await client.backUp('n1', { ...backup, vmids: [301, 302], fleecingStorage: 'fast', bandwidthKiB: 0, notes: 'x' });
      expect(nodes.seen[0]).toMatchObject({ method: 'POST', url: '/api2/json/nodes/n1/vzdump' });
      const forms = nodes.seen.map(({ body }) => Object.fromEntries(new URLSearchParams(body)));
      expect(forms).toEqual([
        { vmid: '301', storage: 'pbs', mode: 'snapshot', lockwait: '10' },
        {
          vmid: '301,302',
          storage: 'pbs',
          mode: 'snapshot',
          lockwait: '10',
          'notes-template': 'x',
          fleecing: 'enabled=1,storage=fast',
          bwlimit: '0',
        },
      ]);
    });

    it('starts nothing when the guest is on another node', async () => {
      const { nodes, client } = await connect(['n1']);
      nodes.answer('n1', ok('OK'));
      expect(await client.backUp('n1', backup)).toBeUndefined();
    });

    it.each([
      ['the answer is lost', hangUp],
      ['the answer is neither a task nor OK', ok('ok')],
      ['the answer is empty', ok(null)],
    ])('is never sent twice: OutcomeUnknown when %s', async (_words, handler) => {
      const { nodes, client } = await connect(['n1', 'n2']);
      nodes.answer('n1', handler);
      expect((await failureOf(client.backUp('n1', backup))).kind).toBe('OutcomeUnknown');
      expect(nodes.seen).toHaveLength(1);
    });

    it('is found again by its guest, its start and who started it', async () => {
      const { nodes, client } = await connect(['n1']);
      const row = (upid: string, id: string, more = {}) => ({
        upid,
        node: 'n1',
        type: 'vzdump',
        id,
        user: 'edge-governor@pve',
        starttime: 1795418722,
        ...more,
      });
      const ofBoth = VZDUMP.replace(':301:', '::');
      nodes.answer(
        'n1',
        ok([
          row(VZDUMP, '301', { status: 'OK' }),
          row(VZDUMP.replace('edge-governor@pve!store', 'root@pam'), '301'),
          row(VZDUMP.replace(':301:', ':302:'), '302'),
          row(VZDUMP.replace('vzdump', 'vzdumpx'), '301', { type: 'vzdumpx' }),
          row(ofBoth, ''),
        ]),
      );
      expect((await client.backups('n1', [301], 1795418700)).map(({ upid }) => upid)).toEqual([VZDUMP]);
      expect((await client.backups('n1', [301, 303], 1795418700)).map(({ upid }) => upid)).toEqual([VZDUMP, ofBoth]);
      expect(Object.fromEntries(new URL(nodes.seen[0]?.url ?? '', 'https://x').searchParams)).toEqual({
        limit: '500',
        source: 'all',
        typefilter: 'vzdump',
        since: '1795418700',
      });
    });
  });

  it('reboots without a task', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', ok(null));
    await client.reboot('n2');
    expect(nodes.seen[0]).toMatchObject({ method: 'POST', url: '/api2/json/nodes/n2/status', body: 'command=reboot' });
  });
});

describe('a refusal', () => {
  const cases: [string, Handler, ProxmoxErrorKind][] = [
    ['401 without a body', refuse(401, 'Authentication failed!', ''), 'Auth'],
    ['403', refuse(403, 'Permission check failed (user != root@pam)'), 'Permission'],
    ['400 of a parameter', refuse(400, 'Parameter verification failed.'), 'Validation'],
    ['400 for an unknown task', refuse(400, 'no such task'), 'NotFound'],
    [
      '500 for a missing guest',
      refuse(500, "Configuration file 'nodes/n1/qemu-server/100.conf' does not exist"),
      'NotFound',
    ],
    ['500 for a missing resource', refuse(500, "no such resource 'vm:100'"), 'NotFound'],
    ['500 for a locked guest', refuse(500, 'VM is locked (backup)'), 'GuestLocked'],
    [
      '500 for a busy lock',
      refuse(500, "can't lock file '/var/lock/qemu-server/lock-100.conf' - got timeout"),
      'LockTimeout',
    ],
    [
      '500 for a busy cluster lock',
      refuse(500, "cfs-lock 'file-user_cfg' error: got lock request timeout"),
      'LockTimeout',
    ],
    ['500 without quorum', refuse(500, 'cluster not ready - no quorum?'), 'NoQuorum'],
    ['500 for a lock without quorum', refuse(500, "cfs-lock 'file-user_cfg' error: no quorum!"), 'NoQuorum'],
    [
      '500 for a changed file',
      refuse(500, 'detected modified configuration - file changed by other user? Try again.'),
      'Conflict',
    ],
    ['500 otherwise', refuse(500, 'something else'), 'Server'],
    ['501', refuse(501, "Method 'POST /x' not implemented"), 'NotImplemented'],
    [
      'text only in the reason phrase, as before 8.4',
      refuse(500, 'VM is locked (migrate)', '{"data":null}'),
      'GuestLocked',
    ],
  ];
  it.each(cases)('%s', async (_words, handler, kind) => {
    const { nodes, client } = await connect(['n1', 'n2']);
    nodes.answer('n1', handler);
    expect((await failureOf(client.start('n1', 'qemu', 100))).kind).toBe(kind);
    expect(nodes.seen).toHaveLength(1);
  });

  it('does not repeat the token, even when the server does', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', refuse(500, `bad header: PVEAPIToken=${TOKEN}`));
    expect((await failureOf(client.version())).message).toContain('[secret]');
  });

  it('names the parameters that were refused', async () => {
    const { nodes, client } = await connect(['n1']);
    const body = {
      data: null,
      message: 'Parameter verification failed.\n',
      errors: { target: 'target is local node.' },
    };
    nodes.answer('n1', refuse(400, 'Parameter verification failed.', JSON.stringify(body)));
    expect((await failureOf(client.start('n1', 'qemu', 100))).message).toContain('target: target is local node.');
  });
});

describe('the certificate', () => {
  it('is trusted by its pinned fingerprint', async () => {
    const { nodes } = await connect(['n1']);
    client = createProxmoxClient({ nodes: nodes.endpoints, token: TOKEN, fingerprints: nodes.fingerprints });
    expect((await client.version()).version).toBe('9.2.3');
  });

  it('is refused when the pin is of another one, before anything is sent', async () => {
    const { nodes } = await connect(['n1', 'n2']);
    const swapped = { n1: nodes.fingerprints.n2 as string, n2: nodes.fingerprints.n1 as string };
    client = createProxmoxClient({ nodes: nodes.endpoints, token: TOKEN, fingerprints: swapped });
    expect(await failureOf(client.version())).toMatchObject({ kind: 'Untrusted', retryable: false });
    expect(nodes.seen).toEqual([]);
  });

  it('is refused when another authority signed it, before anything is sent', async () => {
    const { nodes } = await connect(['n1']);
    const other = await startFakeNodes(['n1']);
    client = createProxmoxClient({ nodes: nodes.endpoints, token: TOKEN, ca: other.ca });
    expect((await failureOf(client.reboot('n1'))).kind).toBe('Untrusted');
    expect(nodes.seen).toEqual([]);
    await other.close();
  });

  it('must be known in one of the two ways', () => {
    const node = { name: 'n1', address: '127.0.0.1', port: 1 };
    expect(() => createProxmoxClient({ nodes: [node], token: TOKEN })).toThrow(/No CA and no certificate fingerprint/);
  });
});

it('refuses a token of another form without repeating it', () => {
  const node = { name: 'n1', address: '127.0.0.1', port: 1 };
  const make = () => createProxmoxClient({ nodes: [node], token: SECRET, ca: 'x' });
  expect(make).toThrow(ProxmoxError);
  expect(make).not.toThrow(SECRET);
});

it('uses one connection per node, however many calls are made at once', async () => {
  const { nodes, client } = await connect(['n1']);
  await Promise.all(Array.from({ length: 12 }, () => client.version()));
  expect(nodes.connections).toEqual({ n1: 1 });
});

describe('answers in their real forms', () => {
  const answering = async (data: unknown, extra: object = {}) => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', (_request, response) => response.end(JSON.stringify({ data, ...extra })));
    return client;
  };

  it.each([
    ['numbers', 1, 0],
    ['text', '1', '0'],
    ['booleans', true, false],
    ['text and nothing', '1', ''],
  ])('reads flags given as %s', async (_words, yes, no) => {
    const client = await answering([
      { type: 'cluster', id: 'cluster', name: 'store-001', nodes: 2, version: 4, quorate: yes },
      { type: 'node', id: 'node/n1', name: 'n1', online: yes, local: yes, ip: '127.0.0.1', nodeid: 1, level: '' },
      { type: 'node', id: 'node/n2', name: 'n2', online: no, local: no, ip: '127.0.0.2', nodeid: 2, level: '' },
    ]);
    expect(await client.clusterStatus()).toEqual({
      quorate: true,
      nodes: [
        { name: 'n1', online: true, local: true },
        { name: 'n2', online: false, local: false },
      ],
    });
  });

  it('does not call a host without a cluster quorate', async () => {
    const client = await answering([{ type: 'node', id: 'node/n1', name: 'n1', online: 1, local: 1 }]);
    expect((await client.clusterStatus()).quorate).toBe(false);
  });

  it('reads guests, templates and locks', async () => {
    const client = await answering([
      {
        id: 'qemu/100',
        type: 'qemu',
        vmid: 100,
        name: 'pos',
        node: 'n1',
        status: 'running',
        template: 0,
        maxmem: 4294967296,
        hastate: 'started',
        pid: null,
      },
      {
        id: 'lxc/101',
        type: 'lxc',
        vmid: '101',
        name: 'cache',
        node: 'n2',
        status: 'stopped',
        template: 1,
        maxmem: '1073741824',
        lock: 'backup',
      },
      { id: 'qemu/102', type: 'qemu', vmid: 102, node: 'n3' },
    ]);
    expect(await client.guests()).toEqual([
      {
        vmid: 100,
        kind: 'qemu',
        name: 'pos',
        node: 'n1',
        status: 'running',
        template: false,
        maxMemory: 4294967296,
        haState: 'started',
      },
      {
        vmid: 101,
        kind: 'lxc',
        name: 'cache',
        node: 'n2',
        status: 'stopped',
        template: true,
        maxMemory: 1073741824,
        lock: 'backup',
      },
      { vmid: 102, kind: 'qemu', name: '', node: 'n3', status: 'unknown', template: false, maxMemory: 0 },
    ]);
  });

  it('tells privileges that hold on a path alone from those that hold below it', async () => {
    const vms = { 'VM.Audit': 0, 'VM.Backup': 1 };
    const client = await answering({ '/': { 'Sys.Audit': 0 }, '/vms': vms, '/sdn': { 'SDN.Use': true } });
    expect(await client.permissions()).toEqual({
      '/': ['Sys.Audit'],
      '/*': [],
      '/vms': ['VM.Audit', 'VM.Backup'],
      '/vms/*': ['VM.Backup'],
      '/sdn': ['SDN.Use'],
    });
  });

  it('reads the HA manager, and calls it not quorate when it does not say', async () => {
    const client = await answering({
      manager_status: {
        master_node: 'n1',
        node_status: { n1: 'online', n2: 'maintenance' },
        service_status: { 'vm:100': { node: 'n1', state: 'started', uid: 'x' } },
        timestamp: 1795418722,
      },
      lrm_status: {},
      quorum: { node: 'n1' },
    });
    expect(await client.haManagerStatus()).toEqual({
      quorate: false,
      nodeStatus: { n1: 'online', n2: 'maintenance' },
      serviceStatus: { 'vm:100': { node: 'n1', state: 'started' } },
    });
  });

  it('reads the memory of nodes that are online, and claims none for another', async () => {
    const client = await answering([
      { type: 'node', node: 'n1', status: 'online', maxmem: '68719476736' },
      { type: 'node', node: 'n2', status: 'offline' },
      { type: 'node', node: 'n3', status: 'offline', maxmem: 68719476736 },
      { type: 'node', node: 'n4', status: 'online', maxmem: 0 },
    ]);
    expect(await client.nodeMemory()).toEqual({ n1: 68719476736 });
  });

  it('reads a node with numbers as text', async () => {
    const client = await answering({
      uptime: '4711',
      loadavg: ['0.12', '0.10', '0.09'],
      'current-kernel': { sysname: 'Linux', release: '6.14.11-4-pve' },
      memory: { total: 64e9, used: '16000000000', free: 48e9 },
      rootfs: { total: 1, avail: 9e9, used: 1, free: 1 },
    });
    expect(await client.nodeStatus('n1')).toEqual({
      uptime: 4711,
      kernel: '6.14.11-4-pve',
      rootFree: 9e9,
      memoryFree: 48e9,
    });
  });

  it('reads the settings of a guest as text, whatever they come as', async () => {
    const raw = [['lxc.mount.entry', '/srv data none bind']];
    const client = await answering({ onboot: 1, memory: '4096', cores: 2, template: false, lxc: raw, digest: 'ab' });
    expect(await client.guestConfig('n1', 'lxc', 101)).toEqual({
      onboot: '1',
      memory: '4096',
      cores: '2',
      template: '0',
      lxc: JSON.stringify(raw),
      digest: 'ab',
    });
  });

  it('reads the settings of a guest as they are now when it is asked to, without what only its next start brings', async () => {
    const { nodes, client } = await connect(['n1']);
    nodes.answer('n1', ok({ onboot: 1 }));
    await client.guestConfig('n1', 'qemu', 101, { now: true });
    await client.guestConfig('n1', 'qemu', 101);
    const path = '/api2/json/nodes/n1/qemu/101/config';
    expect(nodes.seen.map(({ url }) => url)).toEqual([`${path}?current=1`, path]);
  });

  it('reads the settings in a backup, and leaves out notes and snapshots', async () => {
    const client = await answering(
      '#net7: no card, a note\nagent: 1\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nnet1: virtio=x,bridge=vmbr1\n\n[before]\nnet2: virtio=y,bridge=vmbr2\n',
    );
    expect(await client.archivedConfig('n1', 'test-s:backup/vm/101/2026-11-26T01:00:00Z')).toEqual({
      agent: '1',
      net0: 'virtio=BC:24:11:00:00:01,bridge=vmbr0',
      net1: 'virtio=x,bridge=vmbr1',
    });
  });

  it('reads the ports of bridges of both kinds, and claims none of one that does not say', async () => {
    const client = await answering([
      { iface: 'vmbr0', type: 'bridge', bridge_ports: 'eno1 eno2', active: 1 },
      { iface: 'vmbr1', type: 'bridge', bridge_ports: '' },
      { iface: 'vmbr2', type: 'OVSBridge', ovs_ports: 'bond0' },
      { iface: 'vmbr3', type: 'OVSBridge', bridge_ports: '' },
      { iface: 'vnet0', type: 'vnet' },
    ]);
    expect(await client.bridges('n1')).toEqual([
      { name: 'vmbr0', ports: ['eno1', 'eno2'] },
      { name: 'vmbr1', ports: [] },
      { name: 'vmbr2', ports: ['bond0'] },
      { name: 'vmbr3' },
      { name: 'vnet0' },
    ]);
  });

  it('reads the guests of a pool, and leaves its storages out', async () => {
    const client = await answering({
      members: [
        { id: 'qemu/101', type: 'qemu', vmid: '101', node: 'n1' },
        { id: 'storage/n1/x', type: 'storage', storage: 'x', node: 'n1' },
      ],
    });
    expect(await client.poolMembers('p')).toEqual([{ kind: 'qemu', vmid: 101 }]);
  });

  it.each([
    [{ exited: 0 }, undefined],
    [{ exited: false }, undefined],
    [
      { exited: true, exitcode: 0, 'out-data': 'a\n' },
      { code: 0, stdout: 'a\n', stderr: '' },
    ],
    [
      { exited: 1, exitcode: '2', 'err-data': 'b' },
      { code: 2, stdout: '', stderr: 'b' },
    ],
    [
      { exited: 1, signal: 9 },
      { stdout: '', stderr: '' },
    ],
  ])('reads what a program in a VM came to: %j', async (data, result) => {
    expect(await (await answering(data)).agentResult('n1', 101, 700)).toEqual(result);
  });

  it('reads storages, with what only some have', async () => {
    const client = await answering([
      { storage: 'local', type: 'dir', content: 'iso,vztmpl', path: '/var/lib/vz' },
      { storage: 'pbs', type: 'pbs', server: 'b', port: '8007', datastore: 'd', nodes: 'n1,n2', disable: 1 },
    ]);
    expect(await client.storages()).toEqual([
      { storage: 'local', type: 'dir', content: ['iso', 'vztmpl'], enabled: true, nodes: [] },
      {
        storage: 'pbs',
        type: 'pbs',
        content: [],
        enabled: false,
        nodes: ['n1', 'n2'],
        server: 'b',
        port: 8007,
        datastore: 'd',
      },
    ]);
  });

  it('lists the guests that no backup job covers', async () => {
    const client = await answering([
      { vmid: '103', type: 'lxc', name: 'cache' },
      { vmid: 104, type: 'qemu' },
    ]);
    expect(await client.notBackedUp()).toEqual([
      { vmid: 103, kind: 'lxc', name: 'cache' },
      { vmid: 104, kind: 'qemu', name: '' },
    ]);
  });

  it('reads a storage, reachable or not', async () => {
    const seen = {
      type: 'pbs',
      content: 'backup,',
      enabled: 1,
      active: '1',
      shared: 1,
      total: 100,
      used: '60',
      avail: 40,
    };
    const reachable = await answering(seen);
    expect(await reachable.storageStatus('n1', 'pbs')).toEqual({
      type: 'pbs',
      content: ['backup'],
      enabled: true,
      active: true,
      space: { total: 100, used: 60, avail: 40 },
    });
    await reachable.close();
    await nodes?.close();
    const gone = await answering({ type: 'pbs', content: 'backup', enabled: 1, active: 0 });
    expect(await gone.storageStatus('n1', 'pbs')).toEqual({
      type: 'pbs',
      content: ['backup'],
      enabled: true,
      active: false,
    });
  });

  it('takes only tasks without an end for running ones', async () => {
    const row = {
      upid: UPID,
      node: 'n1',
      type: 'vzdump',
      id: '',
      user: 'root@pam',
      starttime: 1795418722,
      pid: 1,
      pstart: 2,
    };
    const client = await answering([row, { ...row, status: 'RUNNING' }, { ...row, status: 'OK', endtime: 1 }]);
    expect(await client.runningTasks()).toEqual([
      { upid: UPID, node: 'n1', type: 'vzdump', id: '', user: 'root@pam', startTime: 1795418722 },
      { upid: UPID, node: 'n1', type: 'vzdump', id: '', user: 'root@pam', startTime: 1795418722 },
    ]);
  });

  const ends: [string, object, object][] = [
    ['running', { status: 'running' }, { state: 'running' }],
    ['OK', { status: 'stopped', exitstatus: 'OK' }, { state: 'stopped', exit: 'OK', ok: true, warnings: false }],
    [
      'warnings',
      { status: 'stopped', exitstatus: 'WARNINGS: 2' },
      { state: 'stopped', exit: 'WARNINGS: 2', ok: true, warnings: true },
    ],
    [
      'an error',
      { status: 'stopped', exitstatus: 'job errors' },
      { state: 'stopped', exit: 'job errors', ok: false, warnings: false },
    ],
    [
      'text that only looks like warnings',
      { status: 'stopped', exitstatus: 'WARNINGS: many' },
      { state: 'stopped', exit: 'WARNINGS: many', ok: false, warnings: false },
    ],
    [
      'no word about it',
      { status: 'stopped' },
      { state: 'stopped', exit: 'unexpected status', ok: false, warnings: false },
    ],
  ];
  it.each(ends)('reads a task that ended with %s', async (_words, answer, expected) => {
    const client = await answering({ upid: UPID, node: 'n1', ...answer });
    expect(await client.taskStatus(UPID)).toEqual(expected);
  });

  it('asks the node in the task id, encoded', async () => {
    const { nodes, client } = await connect(['n9']);
    nodes.answer('n9', ok({ status: 'running' }));
    await client.taskStatus(UPID);
    expect(nodes.seen[0]?.url).toBe(`/api2/json/nodes/n1/tasks/${encodeURIComponent(UPID)}/status`);
  });

  it('reads once more a task that seems to have died, for it may just be ending', async () => {
    const { nodes, client } = await connect(['n1']);
    const ends = ['unexpected status', 'OK'];
    nodes.answer('n1', (request, response) => ok({ status: 'stopped', exitstatus: ends.shift() })(request, response));
    expect(await client.taskStatus(UPID)).toMatchObject({ ok: true });
  });

  it('returns the last lines of a log', async () => {
    const { nodes, client } = await connect(['n1']);
    const log = Array.from({ length: 7 }, (_, index) => ({ n: index + 1, t: `line ${index + 1}` }));
    nodes.answer('n1', (request, response) => {
      const query = new URL(request.url, 'https://x').searchParams;
      const start = Number(query.get('start'));
      const data = log.slice(start, start + Number(query.get('limit')));
      response.end(JSON.stringify({ data, total: log.length }));
    });
    expect(await client.taskLog(UPID, 3)).toEqual(['line 5', 'line 6', 'line 7']);
    expect(await client.taskLog(UPID, 50)).toHaveLength(7);
  });

  it('knows an empty log by its one line', async () => {
    const client = await answering([{ n: 1, t: 'no content' }], { total: 1 });
    expect(await client.taskLog(UPID, 10)).toEqual([]);
  });

  it('does not ask about what is no task id', async () => {
    const { nodes, client } = await connect(['n1']);
    expect((await failureOf(client.taskStatus('UPID:n1/../../x'))).kind).toBe('Validation');
    expect(nodes.seen).toEqual([]);
  });
});
