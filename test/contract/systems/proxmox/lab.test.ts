import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { ProxmoxError } from '#systems/proxmox/errors.js';
import type { ProxmoxClient } from '#systems/proxmox/types.js';
import { startPracticeStore } from '../../lab/pve/practice-store.js';
import type { PracticeStore } from '../../lab/pve/practice-store.js';
import { SOON } from '../../../support/soon.js';

let lab: PracticeStore;
let client: ProxmoxClient;
beforeEach(async () => {
  lab = await startPracticeStore();
  client = createProxmoxClient({ nodes: lab.endpoints, token: lab.token, ca: lab.ca });
});
afterEach(async () => {
  await client.close();
  await lab.close();
});

async function failureOf(promise: Promise<unknown>): Promise<ProxmoxError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(ProxmoxError);
    return error as ProxmoxError;
  }
  throw new Error('expected a failure');
}

const effects = (name: string) => lab.world.journal.entries.filter((entry) => entry.effect === name);
const ended = async (upid: string) =>
  vi.waitUntil(async () => {
    const status = await client.taskStatus(upid);
    return status.state === 'stopped' ? status : undefined;
  });

describe('the client at a practice store', () => {
  it('sees versions, privileges, nodes and guests', async () => {
    expect((await client.version()).release).toMatch(/^9\.\d+$/);
    expect((await client.permissions())['/']).toEqual(expect.arrayContaining(['Sys.PowerMgmt', 'VM.Migrate']));
    const { quorate, nodes } = await client.clusterStatus();
    expect(quorate).toBe(true);
    expect(nodes).toEqual([
      { name: 'n1', online: true, local: true },
      { name: 'n2', online: true, local: false },
      { name: 'n3', online: true, local: false },
    ]);
    expect((await client.guests()).map((guest) => [guest.vmid, guest.kind, guest.node, guest.haState])).toEqual([
      [100, 'qemu', 'n1', 'started'],
      [101, 'qemu', 'n1', undefined],
      [102, 'lxc', 'n2', undefined],
    ]);
    expect(await client.nodeStatus('n3')).toMatchObject({ kernel: '6.14.11-3-pve' });
    expect(await client.runningTasks()).toEqual([]);
  });

  it('moves a guest, and finds the task of it', async () => {
    const upid = await client.migrate('n1', 'qemu', 101, 'n3');
    expect(await ended(upid)).toMatchObject({ ok: true });
    expect(await client.taskLog(upid, 10)).toContain('TASK OK');
    expect((await client.tasks('n1', { type: 'qmigrate', vmid: 101, since: 0 })).map((task) => task.upid)).toEqual([
      upid,
    ]);
    expect(effects('guest.migrate')).toMatchObject([{ guest: 101, before: 'n1', after: 'n3', by: lab.store.token.id }]);
    expect((await failureOf(client.guestStatus('n1', 'qemu', 101))).kind).toBe('NotFound');
  });

  it('restarts a container elsewhere', async () => {
    expect(await ended(await client.migrate('n2', 'lxc', 102, 'n1'))).toMatchObject({ ok: true });
    expect(effects('guest.migrate')).toMatchObject([{ guest: 102, detail: { mode: 'restart' } }]);
  });

  it('has HA move a managed guest after its own task has ended', async () => {
    const upid = await client.migrate('n1', 'qemu', 100, 'n2');
    expect(upid).toContain(':hamigrate:100:');
    expect(await ended(upid)).toMatchObject({ ok: true });
    await vi.waitUntil(async () => (await client.guests()).find((guest) => guest.vmid === 100)?.node === 'n2', SOON);
    expect(effects('guest.migrate')).toMatchObject([{ guest: 100, by: 'ha-manager' }]);
  });

  it('stops and starts a guest', async () => {
    await ended(await client.shutdown('n1', 'qemu', 101, 60));
    expect((await client.guestStatus('n1', 'qemu', 101)).status).toBe('stopped');
    await ended(await client.start('n1', 'qemu', 101));
    expect((await client.guestStatus('n1', 'qemu', 101)).status).toBe('running');
  });

  it('is told that a guest is locked, and by what', async () => {
    const guest = lab.store.guests.get(101);
    if (guest) guest.lock = 'backup';
    expect(await client.guestStatus('n1', 'qemu', 101)).toEqual({ status: 'running', lock: 'backup', ha: false });
    expect((await client.guests()).find(({ vmid }) => vmid === 101)?.lock).toBe('backup');
    const failure = await failureOf(client.migrate('n1', 'qemu', 101, 'n2'));
    expect(failure.kind).toBe('GuestLocked');
    expect(failure.message).toContain('backup');
  });

  it('sees what runs on every node', async () => {
    const backup = { type: 'vzdump', id: '', user: 'root@pam', durationMs: 3_600_000, run: () => undefined };
    const upids = ['n2', 'n3'].map((node) => lab.store.node(node).tasks.start(backup).upid);
    expect((await client.runningTasks()).map((task) => task.upid)).toEqual(upids);
    expect(await client.taskStatus(upids[0] ?? '')).toEqual({ state: 'running' });
  });

  it('goes through a reboot of the node it enters by', async () => {
    const before = lab.store.node('n1').bootId;
    const held = lab.world.faults.add({ store: 'store-001', node: 'n1', kind: 'node-stays-down' });
    await client.reboot('n1');
    await vi.waitUntil(() => !lab.store.node('n1').up, SOON);
    const during = await client.clusterStatus();
    expect(during.nodes.find((node) => node.name === 'n1')?.online).toBe(false);
    expect(during.quorate).toBe(true);
    expect((await failureOf(client.nodeStatus('n1'))).kind).toBe('NodeUnreachable');
    lab.world.faults.remove(held.id);
    await vi.waitUntil(async () => (await client.clusterStatus()).nodes.every((node) => node.online), SOON);
    expect((await client.nodeStatus('n1')).uptime).toBeLessThan(60);
    expect(lab.store.node('n1').bootId).not.toBe(before);
  });

  it('sees the maintenance of a node', async () => {
    lab.store.ha.enableMaintenance('n2', 'test');
    await vi.waitUntil(async () => (await client.haManagerStatus()).nodeStatus['n2'] === 'maintenance', SOON);
    expect((await client.haManagerStatus()).serviceStatus['vm:100']).toEqual({ node: 'n1', state: 'started' });
    const rows = await client.haStatus();
    expect(rows.find((row) => row.id === 'lrm:n2')?.status).toContain('maintenance mode');
    expect(rows.find((row) => row.id === 'quorum')?.quorate).toBe(true);
  });

  it('is told about a lost quorum', async () => {
    lab.store.node('n2').powerOff('test');
    lab.store.node('n3').powerOff('test');
    expect((await client.clusterStatus()).quorate).toBe(false);
    expect((await client.haManagerStatus()).quorate).toBe(false);
    expect((await failureOf(client.shutdown('n1', 'qemu', 101, 60))).kind).toBe('NoQuorum');
  });

  it('learns of a lost answer, and finds what it did', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'lost-answer', step: 'guest.migrate', times: 1 });
    const failure = await failureOf(client.migrate('n1', 'qemu', 101, 'n2'));
    expect(failure.kind).toBe('OutcomeUnknown');
    const [task, ...more] = await client.tasks('n1', { type: 'qmigrate', vmid: 101 });
    expect(more).toEqual([]);
    await ended(task?.upid ?? '');
    expect(effects('guest.migrate')).toHaveLength(1);
  });

  it('does not know whether a call ran that the proxy gave up on', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'proxy-596', step: 'guest.migrate', times: 1 });
    expect((await failureOf(client.migrate('n2', 'lxc', 102, 'n3'))).kind).toBe('OutcomeUnknown');
  });

  it('knows that a call did not run which the proxy could not deliver', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'proxy-595', step: 'guest.migrate', times: 1 });
    expect((await failureOf(client.migrate('n2', 'lxc', 102, 'n3'))).kind).toBe('NodeUnreachable');
    expect(await client.tasks('n2', {})).toEqual([]);
  });

  it('is told about a busy lock', async () => {
    lab.world.faults.add({ store: 'store-001', kind: 'lock-contention', step: 'guest.migrate', times: 1 });
    expect((await failureOf(client.migrate('n1', 'qemu', 101, 'n2'))).kind).toBe('LockTimeout');
  });

  it('is told that its token has expired, after the delay of the real server', async () => {
    lab.store.token.expired = true;
    expect(await failureOf(client.version())).toMatchObject({ kind: 'Auth', retryable: false });
  });

  it('is refused what its token may not do', async () => {
    lab.store.token.privileges = { '/': ['Sys.Audit', 'VM.Audit'] };
    const failure = await failureOf(client.reboot('n2'));
    expect(failure).toMatchObject({ kind: 'Permission', status: 403 });
    expect(failure.message).toContain('/nodes/n2, Sys.PowerMgmt');
    expect(effects('node.reboot.request')).toEqual([]);
  });

  it('sees an empty list, not a refusal, when it may see no guest', async () => {
    lab.store.token.privileges = {};
    expect(await client.guests()).toEqual([]);
    expect(await client.permissions()).toEqual({});
  });

  it('trusts the leaf that it pinned, and no other one', async () => {
    const fingerprints: Record<string, string> = {};
    for (const { name, address } of lab.endpoints) {
      fingerprints[name] = (await lab.authorities.nodeContext('store-001', name, address)).fingerprint;
    }
    const pinned = createProxmoxClient({ nodes: lab.endpoints, token: lab.token, fingerprints });
    expect((await pinned.version()).release).toMatch(/^9/);
    await pinned.close();
    await lab.authorities.renew('store-001', 'n1', lab.endpoints[0]?.address ?? '');
    const stale = createProxmoxClient({ nodes: lab.endpoints, token: lab.token, fingerprints });
    expect((await failureOf(stale.version())).kind).toBe('Untrusted');
    await stale.close();
    expect((await client.version()).release).toMatch(/^9/);
  });
});
