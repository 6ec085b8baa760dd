import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { READ_TOKEN } from '#lab/world/staging.js';
import { keyFileOf, keyFingerprint } from '#lab/world/storage-sim.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { ProxmoxError } from '#systems/proxmox/errors.js';
import type { GuestRestore, NewBackupStorage, ProxmoxRestoreClient, TaskStatus } from '#systems/proxmox/types.js';
import { PracticeStaging, STORAGE } from '../../lab/staging/practice-staging.js';

let staging: PracticeStaging;
let client: ProxmoxRestoreClient;
beforeEach(async () => {
  staging = await PracticeStaging.start();
  const { site, lab } = staging;
  const { caPem: ca } = await lab.authorities.storeAuthority('staging');
  const nodes = [...site.nodes.values()].map(({ name, address, apiPort }) => ({ name, address, port: apiPort }));
  client = createProxmoxClient({ nodes, token: `${site.token.id}=${site.token.secret}`, ca });
});
afterEach(async () => {
  await client.close();
  await staging.close();
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

const ended = async (upid: string): Promise<TaskStatus> =>
  vi.waitUntil(async () => {
    const status = await client.taskStatus(upid);
    return status.state === 'stopped' ? status : undefined;
  });

const aStorage = (change: Partial<NewBackupStorage> = {}): NewBackupStorage => ({
  storage: STORAGE,
  server: staging.central.address,
  port: staging.central.port,
  datastore: 'offsite',
  namespace: 'store-001',
  username: READ_TOKEN,
  password: staging.central.tokens.find(({ id }) => id === READ_TOKEN)?.secret ?? '',
  fingerprint: staging.central.fingerprint ?? '',
  encryptionKey: keyFileOf(staging.lab.store),
  ...change,
});
const aRestore = (vmid: number, as: number, change: Partial<GuestRestore> = {}): GuestRestore => {
  const archive = staging.backUp(vmid);
  const kind = archive.includes('/ct/') ? 'lxc' : 'qemu';
  return {
    kind,
    vmid: as,
    archive,
    storage: 'restore',
    pool: 'restore-test',
    settings: { net0: kind === 'lxc' ? 'name=eth0,bridge=vmbr-lab' : 'virtio,bridge=vmbr-lab', onboot: 0 },
    ...change,
  };
};
const restored = async (vmid: number, as: number, node = 'stg1'): Promise<void> => {
  if (!staging.site.storages.all.has(STORAGE)) await client.addBackupStorage(aStorage());
  expect(await ended(await client.restore(node, aRestore(vmid, as)))).toMatchObject({ ok: true });
};

describe('a storage for backups', () => {
  it('is added, listed with its key by fingerprint alone, and taken away', async () => {
    await client.addBackupStorage(aStorage());
    const storages = await client.storages();
    expect(storages.find(({ storage }) => storage === STORAGE)).toEqual({
      storage: STORAGE,
      type: 'pbs',
      content: ['backup'],
      enabled: true,
      nodes: [],
      server: staging.central.address,
      datastore: 'offsite',
      namespace: 'store-001',
      username: READ_TOKEN,
      fingerprint: staging.central.fingerprint,
      keyFingerprint: keyFingerprint(staging.lab.store),
    });
    expect(storages.find(({ storage }) => storage === 'restore')).toMatchObject({
      type: 'lvmthin',
      content: ['images', 'rootdir'],
    });
    expect(await client.storageStatus('stg3', STORAGE)).toMatchObject({ active: true });
    await client.removeStorage(STORAGE);
    expect((await failureOf(client.removeStorage(STORAGE))).kind).toBe('NotFound');
    expect((await failureOf(client.storageStatus('stg3', STORAGE))).kind).toBe('NotFound');
  });

  it('is not added twice, and not with a wrong secret, which nobody is told', async () => {
    await client.addBackupStorage(aStorage());
    expect((await failureOf(client.addBackupStorage(aStorage()))).message).toContain('already defined');
    await client.removeStorage(STORAGE);
    const failure = await failureOf(client.addBackupStorage(aStorage({ password: 'guessed-secret' })));
    expect(failure).toMatchObject({ kind: 'Server', message: expect.stringContaining('401 Unauthorized') as string });
    expect(failure.message).not.toContain('guessed-secret');
  });

  it('keeps its secrets to itself even when the server repeats them', async () => {
    const secret = 'no/such server';
    const failure = await failureOf(
      client.addBackupStorage(aStorage({ server: '127.0.0.99', password: '127.0.0.99' })),
    );
    expect(failure.message).toContain("Can't connect to [secret]:8007");
    const key = keyFileOf(staging.lab.store);
    const { data } = JSON.parse(key) as { data: string };
    const repeated = await failureOf(client.addBackupStorage(aStorage({ datastore: `${data} ${secret}` })));
    expect(repeated.message).toContain('[secret]');
    expect(repeated.message).not.toContain(data);
  });

  it('may be there after its answer was lost', async () => {
    staging.lab.world.faults.add({ store: 'staging', kind: 'lost-answer', step: 'storage.add', times: 1 });
    expect((await failureOf(client.addBackupStorage(aStorage()))).kind).toBe('OutcomeUnknown');
    expect((await client.storages()).some(({ storage }) => storage === STORAGE)).toBe(true);
    staging.lab.world.faults.add({ store: 'staging', kind: 'lost-answer', step: 'storage.remove', times: 1 });
    expect((await failureOf(client.removeStorage(STORAGE))).kind).toBe('OutcomeUnknown');
    expect((await client.storages()).some(({ storage }) => storage === STORAGE)).toBe(false);
  });
});

describe('a restore', () => {
  it.each([
    ['a VM', 101, 'qemu' as const],
    ['a container', 102, 'lxc' as const],
  ])('of %s makes a guest that stands still, until it is destroyed with its disk', async (_, vmid, kind) => {
    await restored(vmid, 90_001);
    expect(await client.guestStatus('stg1', kind, 90_001)).toEqual({ status: 'stopped', ha: false });
    expect(await client.poolMembers('restore-test')).toEqual([{ kind, vmid: 90_001 }]);
    expect(await client.volumes('stg1', 'restore', 90_001)).toEqual(['restore:vm-90001-disk-0']);
    const config = await client.guestConfig('stg1', kind, 90_001);
    expect(config).toMatchObject({ onboot: '0', net0: expect.stringContaining('bridge=vmbr-lab') as string });
    expect(await ended(await client.start('stg1', kind, 90_001))).toMatchObject({ ok: true });
    expect(await ended(await client.stop('stg1', kind, 90_001))).toMatchObject({ ok: true });
    expect(await ended(await client.destroy('stg1', kind, 90_001))).toMatchObject({ ok: true });
    expect((await failureOf(client.guestConfig('stg1', kind, 90_001))).kind).toBe('NotFound');
    expect(await client.volumes('stg1', 'restore', 90_001)).toEqual([]);
    expect(staging.journal('guest.destroy')).toMatchObject([{ guest: 90_001, detail: { purge: true } }]);
  });

  it('never goes over a guest, not even one of ours', async () => {
    await restored(101, 90_001);
    for (const vmid of [90_001, 101]) {
      const failure = await failureOf(client.restore('stg1', aRestore(101, vmid)));
      expect(failure).toMatchObject({ kind: 'Server', message: expect.stringContaining('already exists') as string });
    }
  });

  it('is found by its task when the answer is lost, among those of this token', async () => {
    await client.addBackupStorage(aStorage());
    staging.lab.world.faults.add({ store: 'staging', kind: 'lost-answer', step: 'guest.restore', times: 1 });
    expect((await failureOf(client.restore('stg1', aRestore(101, 90_001)))).kind).toBe('OutcomeUnknown');
    const [task, ...more] = await client.tasks('stg1', { vmid: 90_001, own: true });
    expect(more).toEqual([]);
    expect(await ended(task?.upid ?? '')).toMatchObject({ ok: true });
    await staging.ssh('stg1', 'sudo -n qm destroy 90001 --purge 1');
    const all = await client.tasks('stg1', { vmid: 90_001 });
    expect(all.map(({ type }) => type)).toEqual(['qmdestroy', 'qmrestore']);
    expect(await client.tasks('stg1', { vmid: 90_001, own: true })).toHaveLength(1);
  });

  it('is broken off', async () => {
    await client.addBackupStorage(aStorage());
    staging.lab.world.faults.add({ store: 'staging', kind: 'restore-slow', params: { factor: 1_000 }, times: 1 });
    const upid = await client.restore('stg1', aRestore(101, 90_001));
    await client.stopTask(upid);
    expect(await ended(upid)).toMatchObject({ ok: false });
    await client.stopTask(upid);
    expect((await failureOf(client.stopTask(upid.replace('90001', '90002')))).kind).toBe('NotFound');
  });
});

describe('the agent of a VM', () => {
  beforeEach(() => restored(101, 90_001));

  it('runs programs, with their arguments as they are', async () => {
    expect(await failureOf(client.agentPing('stg1', 90_001))).toMatchObject({ kind: 'Server', retryable: true });
    await ended(await client.start('stg1', 'qemu', 90_001));
    await vi.waitUntil(() =>
      client.agentPing('stg1', 90_001).then(
        () => true,
        () => false,
      ),
    );
    const said = async (...command: string[]) =>
      client.agentResult('stg1', 90_001, await client.agentExec('stg1', 90_001, command));
    expect(await said('pos-selftest')).toEqual({
      code: 0,
      stdout: 'pos-selftest: ledger sound, service healthy\n',
      stderr: '',
    });
    expect(await said('cat', '/no such; file')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('/no such; file') as string,
    });
    const absent = await failureOf(client.agentExec('stg1', 90_001, ['nonsense', '-x']));
    expect(absent).toMatchObject({
      kind: 'Server',
      message: expect.stringContaining("can't execute command") as string,
    });
    expect((await failureOf(client.agentResult('stg1', 90_001, 1))).kind).toBe('NotFound');
  });
});

describe('the site', () => {
  it('has bridges with and without ports, a pool, and memory', async () => {
    expect(await client.bridges('stg2')).toEqual([
      { name: 'vmbr0', ports: ['eno1'] },
      { name: 'vmbr-lab', ports: [] },
    ]);
    expect(await client.poolMembers('restore-test')).toEqual([]);
    expect((await client.nodeStatus('stg2')).memoryFree).toBeGreaterThan(0);
  });

  it('is told that there is no such pool, and that others are not shown', async () => {
    staging.grant('/pool/other', 'Pool.Audit');
    expect((await failureOf(client.poolMembers('other'))).kind).toBe('NotFound');
    expect((await failureOf(client.poolMembers('secret'))).kind).toBe('Permission');
  });
});
