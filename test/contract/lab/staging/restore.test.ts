import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { CANARY_FILE, canaryPlace } from '#lab/world/pbs/content.js';
import { keyFileOf } from '#lab/world/storage-sim.js';
import { LAB_CARD, POOL, PracticeStaging, STORAGE, VCL } from './practice-staging.js';

/** The staging site, as a worker that tries backups meets it: over HTTPS and SSH, with what is refused to it. */
let staging: PracticeStaging;

beforeEach(async () => {
  staging = await PracticeStaging.start();
});
afterEach(() => staging.close());

const WRONG_KEY = JSON.stringify({ kdf: null, data: Buffer.alloc(32, 7).toString('base64') });

describe('a storage for the store under test', () => {
  it('shows the backups of that store alone, and is gone when it is taken away', async () => {
    const volid = staging.backUp(101);
    staging.backUp(102);
    const key = keyFileOf(staging.lab.store);
    expect(await staging.addStorage()).toMatchObject({
      status: 200,
      data: { storage: STORAGE, type: 'pbs', config: { 'encryption-key': key } },
    });
    const rows = await staging.data<object[]>('GET', `/nodes/stg2/storage/${STORAGE}/content`, { content: 'backup' });
    expect(rows).toHaveLength(2);
    expect(rows).toContainEqual(
      expect.objectContaining({
        volid,
        vmid: 101,
        format: 'pbs-vm',
        content: 'backup',
        ctime: expect.any(Number) as number,
        size: expect.any(Number) as number,
        encrypted: (JSON.parse(key) as { fingerprint: string }).fingerprint,
      }),
    );
    expect(await staging.data('GET', `/storage/${STORAGE}`)).toMatchObject({ type: 'pbs', namespace: 'store-001' });
    expect((await staging.call('DELETE', `/storage/${STORAGE}`)).status).toBe(200);
    expect((await staging.call('GET', `/nodes/stg2/storage/${STORAGE}/content`)).message).toContain('does not exist');
    expect(staging.journal('storage.add')).toMatchObject([
      {
        by: 'edge-staging@pve!worker',
        after: { namespace: 'store-001', encrypted: true },
        detail: { storage: STORAGE },
      },
    ]);
    expect(staging.journal('storage.remove')).toMatchObject([{ before: { datastore: 'offsite' } }]);
    expect(JSON.stringify(staging.lab.world.journal.entries)).not.toContain((JSON.parse(key) as { data: string }).data);
  });

  const REFUSED: [string, Record<string, string | undefined>, number, RegExp][] = [
    [
      'an id that is taken',
      { storage: 'local-lvm' },
      500,
      /^create storage failed: storage ID 'local-lvm' already defined$/,
    ],
    ['a wrong secret', { password: 'guess' }, 500, /401 Unauthorized$/],
    ['a wrong fingerprint', { fingerprint: 'AA'.concat(':AA'.repeat(31)) }, 500, /certificate verify failed/],
    ['no fingerprint of a server that signs for itself', { fingerprint: undefined }, 500, /certificate verify failed/],
    ['a server that is not there', { server: '127.0.0.99' }, 500, /Can't connect to 127\.0\.0\.99:8007/],
    ['a datastore that is not there', { datastore: 'none' }, 500, /Cannot find datastore 'none'/],
    ['a key that is none', { 'encryption-key': 'secret' }, 500, /valid, JSON formatted encryption key!$/],
    ['another kind of content', { content: 'images' }, 400, /^Parameter verification failed/],
    ['no server', { server: undefined }, 400, /^Parameter verification failed/],
  ];
  it.each(REFUSED)('is not added with %s', async (_what, changes, status, message) => {
    const reply = await staging.addStorage(changes);
    expect([reply.status, reply.message]).toEqual([status, expect.stringMatching(message) as string]);
    expect(staging.journal('storage.add')).toEqual([]);
    expect(staging.site.storages.added).toEqual([]);
  });

  it('cannot be added by whoever has no right to', async () => {
    staging.site.token.privileges['/storage'] = ['Datastore.Audit'];
    expect(await staging.addStorage()).toMatchObject({
      status: 403,
      message: 'Permission check failed (/storage, Datastore.Allocate)',
    });
    const body = { storage: 'x', type: 'pbs' };
    expect((await staging.lab.request('n1', 'POST', '/storage', { body })).status).toBe(403);
  });
});

describe('a restored VM', () => {
  it('comes from the copy with its data and stands apart', async () => {
    const volid = staging.backUp(101);
    await staging.addStorage();
    const { exit, log } = await staging.restore(volid, 90_001, { tags: 'restore-test;store-001' });
    expect(exit).toBe('OK');
    expect(log[0]).toBe("new volume ID is 'restore:vm-90001-disk-0'");
    expect(log.join('\n')).toMatch(/restore image complete \(bytes=34359738368, duration=300\.00s/);
    expect(log.at(-1)).toBe('TASK OK');
    const config = await staging.data<Record<string, unknown>>('GET', '/nodes/stg1/qemu/90001/config');
    expect(config).toMatchObject({ name: 'pos', onboot: 0, net0: LAB_CARD, scsi0: 'restore:vm-90001-disk-0,size=32G' });
    expect(await staging.data('GET', `/pools/${POOL}`)).toMatchObject({
      members: [{ id: 'qemu/90001', status: 'stopped', tags: 'restore-test;store-001', pool: POOL }],
    });
    expect(staging.journal('guest.restore')).toMatchObject([
      {
        node: 'stg1',
        guest: 90_001,
        by: 'edge-staging@pve!worker',
        after: { name: 'pos', origin: 'store-001/101' },
        detail: { archive: volid, storage: 'restore', pool: POOL, nets: ['vmbr-lab'] },
      },
    ]);
    const disks = await staging.data<{ volid: string }[]>('GET', '/nodes/stg1/storage/restore/content');
    expect(disks.map((row) => row.volid)).toEqual(['restore:vm-90001-disk-0']);
  });

  it('has the disks that its backup has, and none that vzdump left out', async () => {
    staging.lab.store.guests.get(101)!.options = {
      scsi1: 'vm:vm-101-disk-1,backup=0,size=8G',
      scsi2: 'vm:vm-101-disk-2,size=16G',
    };
    const volid = staging.backUp(101);
    staging.lab.store.guests.get(101)!.options = {};
    await staging.addStorage();
    expect((await staging.restore(volid, 90_001)).exit).toBe('OK');
    const config = await staging.data<Record<string, unknown>>('GET', '/nodes/stg1/qemu/90001/config');
    expect(config).toMatchObject({
      scsi0: 'restore:vm-90001-disk-0,size=32G',
      scsi2: 'restore:vm-90001-disk-1,size=16G',
    });
    expect(config).not.toHaveProperty('scsi1');
  });

  it('answers through its agent some time after its start, never before', async () => {
    const volid = staging.backUp(101);
    await staging.addStorage();
    await staging.restore(volid, 90_001);
    const ping = async () => (await staging.call('POST', '/nodes/stg1/qemu/90001/agent/ping')).message;
    expect(await ping()).toBe('VM 90001 is not running');
    staging.lab.world.faults.add({ store: 'staging', kind: 'agent-silent', times: 1 });
    await staging.work('POST', '/nodes/stg1/qemu/90001/status/start');
    expect(await ping()).toBe('QEMU guest agent is not running');
    await staging.work('POST', '/nodes/stg1/qemu/90001/status/stop');
    await staging.call('DELETE', '/nodes/stg1/qemu/90001').then(({ data }) => staging.ended(String(data)));
    await staging.boot(volid, 90_001);
    expect(await staging.data('POST', '/nodes/stg1/qemu/90001/agent/ping')).toEqual({ result: {} });
  });

  it('runs programs, and tells what they printed once', async () => {
    const volid = staging.backUp(101);
    await staging.addStorage();
    await staging.boot(volid, 90_001);
    expect(await staging.exec(90_001, '/usr/local/bin/pos-selftest')).toEqual({
      exitcode: 0,
      out: 'pos-selftest: ledger sound, service healthy\n',
      err: '',
    });
    expect((await staging.exec(90_001, 'test', '-f', CANARY_FILE)).exitcode).toBe(0);
    expect((await staging.exec(90_001, 'test', '-f', '/nonsense')).exitcode).toBe(1);
    const agent = '/nodes/stg1/qemu/90001/agent';
    const { pid } = await staging.data<{ pid: number }>('POST', `${agent}/exec`, { command: ['true'] });
    const status = () => staging.call('GET', `${agent}/exec-status`, { pid: String(pid) });
    expect((await status()).data).toEqual({ exited: 1, exitcode: 0 });
    expect((await status()).message).toBe(`can't get exec status for '${pid}': PID ${pid} does not exist`);
    const absent = await staging.call('POST', `${agent}/exec`, { command: ['/usr/local/bin/cache-selftest', '-v'] });
    expect(absent.message).toMatch(/^can't execute command '\/usr\/local\/bin\/cache-selftest -v': Failed to execute/);
    expect((await staging.call('POST', `${agent}/exec`)).errors).toHaveProperty('command');
  });

  it('holds the record of the moment of its backup, whatever the guest wrote since', async () => {
    const { store } = staging.lab;
    store.guests.get(101)!.writes = { count: 7, at: Date.now() };
    const volid = staging.backUp(101);
    store.guests.get(101)!.writes = { count: 9, at: Date.now() };
    await staging.addStorage();
    await staging.boot(volid, 90_001);
    const { out } = await staging.exec(90_001, 'cat', CANARY_FILE);
    const { at, sequence, sha256 } = JSON.parse(out) as { at: string; sequence: number; sha256: string };
    expect(sequence).toBe(7);
    expect(sha256).toBe(createHash('sha256').update(`${at}${sequence}`).digest('hex'));
    expect(Math.abs(Date.parse(at) - Date.now())).toBeLessThan(60_000);
    const live = await staging.lab.request('n2', 'GET', '/nodes');
    expect(live.status).toBe(200);
  });

  it('shows a rotten chunk in its self-test, in the record only when it lies there', async () => {
    staging.lab.store.guests.get(101)!.writes = { count: 7, at: Date.now() };
    const volid = staging.backUp(101);
    staging.chunksOf(volid).damage('20');
    await staging.addStorage();
    await staging.boot(volid, 90_001);
    const failed = await staging.exec(90_001, '/usr/local/bin/pos-selftest');
    expect(failed).toEqual({ exitcode: 1, out: '', err: 'pos-selftest: ledger: block 20 is damaged\n' });
    expect(JSON.parse((await staging.exec(90_001, 'cat', CANARY_FILE)).out)).toMatchObject({ sequence: 7 });
    staging.chunksOf(volid).damage(canaryPlace(7));
    await staging.boot(volid, 90_002);
    const { out, exitcode } = await staging.exec(90_002, 'cat', CANARY_FILE);
    expect(exitcode).toBe(0);
    expect(() => JSON.parse(out) as unknown).toThrow();
  });

  it('fails its self-test when its service never starts, and its agent is silent then', async () => {
    const volid = staging.backUp(101);
    await staging.addStorage();
    await staging.restore(volid, 90_001);
    staging.lab.world.faults.add({ store: 'staging', kind: 'boot-fails' });
    await staging.work('POST', '/nodes/stg1/qemu/90001/status/start');
    await new Promise((resolve) => setTimeout(resolve, 2 * staging.lab.world.timing.of('bootGuest')));
    expect((await staging.call('POST', '/nodes/stg1/qemu/90001/agent/ping')).message).toContain('not running');
  });
});

describe('a restored container', () => {
  it('is entered over SSH, and by ids of the range alone', async () => {
    const volid = staging.backUp(102);
    await staging.addStorage();
    await staging.boot(volid, 90_002);
    const inside = (id: number, words: string) => staging.ssh('stg2', `sudo -n pct exec ${id} -- ${words}`);
    expect(await inside(90_002, '/usr/local/bin/inventory-selftest')).toMatchObject({
      code: 0,
      stdout: 'inventory-selftest: stock sound, service healthy\n',
    });
    expect(JSON.parse((await inside(90_002, `cat ${CANARY_FILE}`)).stdout)).toHaveProperty('sequence', 1);
    expect((await inside(102, 'true')).stderr).toBe('sudo: a password is required\n');
    expect((await staging.ssh('stg2', 'sudo -n systemctl reboot')).stderr).toBe('sudo: a password is required\n');
    expect((await inside(90_002, '/usr/local/bin/pos-selftest')).code).toBe(127);
  });

  it('brings its config back, and fails with one that kills its health', async () => {
    const guest = staging.lab.store.guests.get(103)!;
    guest.files.set(VCL, { kind: 'file', content: 'vcl 4.1;\n# practice: unhealthy\nbackend b { .host = "::1"; }\n' });
    const volid = staging.backUp(103);
    await staging.addStorage();
    await staging.boot(volid, 90_003);
    expect((await staging.ssh('stg2', `sudo -n pct exec 90003 -- cat ${VCL}`)).stdout).toContain('practice: unhealthy');
    expect(await staging.ssh('stg2', 'sudo -n pct exec 90003 -- cache-selftest')).toMatchObject({
      code: 1,
      stderr: 'cache-selftest: the service is not healthy\n',
    });
  });

  it('leaves nothing when its restore fails', async () => {
    const volid = staging.backUp(102);
    staging.chunksOf(volid).lose('30');
    await staging.addStorage();
    const { exit, log } = await staging.restore(volid, 90_002);
    expect(exit).toMatch(/^unable to restore CT 90002 - command '.*' failed: exit code 255$/);
    expect(log.join('\n')).toMatch(
      /Error: reading file ".*\.chunks.*" failed: No such file or directory \(os error 2\)/,
    );
    expect(staging.site.guests.has(90_002)).toBe(false);
  });
});

describe('a restore is refused', () => {
  let volid: string;
  beforeEach(async () => {
    volid = staging.backUp(101);
    await staging.addStorage();
  });
  const refusal = async (vmid: number, changes: Record<string, string | undefined> = {}, of = volid) => {
    const [path, params] = staging.restoreParams(of, vmid, changes);
    const { status, message, errors } = await staging.call('POST', path, params);
    return [status, errors ? JSON.stringify(errors) : message];
  };

  it('when its id is taken, by a guest of any kind', async () => {
    expect(await refusal(100)).toEqual([500, "unable to restore VM 100 - VM 100 already exists on node 'stg1'"]);
    expect(await refusal(103)).toEqual([500, "unable to restore VM 103 - CT 103 already exists on node 'stg2'"]);
    await staging.restore(volid, 90_001);
    expect(await refusal(90_001)).toEqual([500, "unable to restore VM 90001 - VM 90001 already exists on node 'stg1'"]);
  });

  it('for want of rights: to the pool, to the storage, to the bridge', async () => {
    expect(await refusal(90_001, { pool: undefined })).toEqual([403, 'Permission check failed']);
    expect(await refusal(90_001, { pool: 'other' })).toEqual([500, "pool 'other' does not exist"]);
    const forbidden = 'Permission check failed (/storage/local-lvm, Datastore.AllocateSpace)';
    expect(await refusal(90_001, { storage: 'local-lvm' })).toEqual([403, forbidden]);
    const bridge = 'Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)';
    expect(await refusal(90_001, { net0: 'virtio,bridge=vmbr0' })).toEqual([403, bridge]);
    expect(await refusal(90_001, { cores: '1' })).toEqual([403, 'Permission check failed (/vms/90001, VM.Config.CPU)']);
    expect(staging.site.guests.has(90_001)).toBe(false);
    expect(staging.journal('api.refused')).toEqual([]);
  });

  it('in its task, when the backup itself would plug it in where others are', async () => {
    const { exit } = await staging.restore(volid, 90_001, { net0: undefined });
    expect(exit).toBe('403 Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)');
    expect(staging.journal('guest.restore')).toEqual([]);
  });

  it('in its task, when a further card of the backup is left where others are', async () => {
    Object.assign(
      staging.lab.store.spec.guests.find(({ vmid }) => vmid === 101)!,
      { bridges: ['vmbr0', 'vmbr1'] },
    );
    const settings = await staging.data<string>('GET', '/nodes/stg1/vzdump/extractconfig', { volume: volid });
    expect(settings).toContain(
      'net0: virtio=BC:24:11:00:00:65,bridge=vmbr0\nnet1: virtio=BC:24:11:00:01:65,bridge=vmbr1\n',
    );
    const { exit } = await staging.restore(volid, 90_001);
    expect(exit).toBe('403 Permission check failed (/sdn/zones/localnetwork/vmbr1, SDN.Use)');
    expect(staging.journal('guest.restore')).toEqual([]);
    const all = await staging.restore(volid, 90_002, { net1: LAB_CARD });
    expect(all.exit).toBe('OK');
    const config = await staging.data<Record<string, string>>('GET', '/nodes/stg1/qemu/90002/config');
    expect([config['net0'], config['net1']]).toEqual([LAB_CARD, LAB_CARD]);
  });

  it('on a storage that is not for disks', async () => {
    staging.grant('/storage/local', 'Datastore.AllocateSpace');
    const { exit } = await staging.restore(volid, 90_001, { storage: 'local' });
    expect(exit).toBe("Content type 'images' is not available on storage 'local'");
    const container = await refusal(90_002, { storage: 'local' }, staging.backUp(102));
    expect(container).toEqual([400, '{"storage":"storage \'local\' does not support container directories"}']);
  });

  it('of what is not there, or of another kind', async () => {
    expect(await refusal(90_001, { archive: 'none:backup/vm/101/2026-01-01T00:00:00Z' })).toEqual([
      500,
      "storage 'none' does not exist",
    ]);
    const gone = await staging.restore(volid.replace(/\d{4}-/, '2001-'), 90_001);
    expect(gone.log.join('\n')).toContain("Error: no such snapshot 'vm/101/2001-");
    expect(await refusal(90_002, { archive: volid.replace('/vm/', '/ct/') })).toEqual([
      500,
      "unexpected backup format 'pbs-ct'",
    ]);
    expect((await staging.call('POST', '/nodes/stg1/qemu', { vmid: '90003' })).status).toBe(501);
  });
});

describe('a backup that cannot be read', () => {
  const failed = async (volid: string, changes: Record<string, string | undefined> = {}) => {
    expect((await staging.addStorage(changes)).status).toBe(200);
    const { exit, log } = await staging.restore(volid, 90_001);
    expect(exit).toMatch(/failed: exit code 255$/);
    expect(log.at(-1)).toBe(`TASK ERROR: ${exit}`);
    return log.join('\n');
  };

  it('is told without the key', async () => {
    expect(await failed(staging.backUp(101), { 'encryption-key': undefined })).toMatch(
      /^Error: missing key - manifest was created with key ([0-9a-f]{2}:){7}[0-9a-f]{2}$/m,
    );
  });

  it('is told with the wrong key, whatever the file calls it', async () => {
    const { fingerprint } = JSON.parse(keyFileOf(staging.lab.store)) as { fingerprint: string };
    const forged = JSON.stringify({ ...(JSON.parse(WRONG_KEY) as object), fingerprint });
    expect(await failed(staging.backUp(101), { 'encryption-key': forged })).toMatch(
      /^Error: wrong key - manifest's key .* does not match provided key /m,
    );
  });

  it('is told when a chunk is missing, and what is left is in no pool and goes over SSH', async () => {
    const volid = staging.backUp(101);
    staging.chunksOf(volid).lose('30');
    const log = await failed(volid);
    expect(log).toMatch(/^restore failed: reading file "\/mnt\/datastore\/offsite\/\.chunks\/.*os error 2\)$/m);
    expect(log).toContain('VM 90001 state is NOT cleaned up.');
    expect(staging.journal('guest.restore.fail')).toMatchObject([{ guest: 90_001 }]);
    expect(await staging.data('GET', '/nodes/stg1/qemu/90001/config')).not.toHaveProperty('scsi0');
    expect(await staging.data('GET', `/pools/${POOL}`)).toEqual({ members: [] });
    expect((await staging.call('DELETE', '/nodes/stg1/qemu/90001')).status).toBe(403);
    expect((await staging.ssh('stg1', 'sudo -n qm destroy 101 --purge 1')).code).toBe(1);
    expect(await staging.ssh('stg1', 'sudo -n qm destroy 90001 --purge 1')).toMatchObject({ code: 0 });
    expect(staging.site.guests.has(90_001)).toBe(false);
  });

  it('is told when a chunk of what nobody encrypted is rotten', async () => {
    const { config } = staging.lab.store.storages.pbs('pbs');
    Object.assign(config, { encryptionKey: undefined });
    const volid = staging.backUp(101);
    staging.chunksOf(volid).damage('30');
    expect(await failed(volid, { 'encryption-key': undefined })).toContain('detected chunk with wrong digest.');
  });

  it('is told to whoever may only look', async () => {
    const volid = staging.backUp(101);
    const entries = staging.central.acl.filter(({ authId }) => authId === 'edge-staging@pbs!restore');
    for (const entry of entries) entry.role = 'DatastoreAudit';
    expect(await failed(volid)).toContain('Error: permission check failed');
  });

  it('is told when the server is gone', async () => {
    const volid = staging.backUp(101);
    await staging.addStorage();
    staging.lab.world.faults.add({ id: 'down', store: 'central', kind: 'pbs-down' });
    const { log } = await staging.restore(volid, 90_001);
    expect(log.join('\n')).toContain('(Connection refused)');
  });
});

describe('the settings of a restored guest', () => {
  beforeEach(async () => {
    const volid = staging.backUp(101);
    await staging.addStorage();
    await staging.restore(volid, 90_001);
  });
  const path = '/nodes/stg1/qemu/90001/config';
  const get = () => staging.data<Record<string, unknown>>('GET', path);

  it('are changed and taken away', async () => {
    const { digest } = await get();
    const change = { tags: 'a;b', description: 'under test', protection: '1', delete: 'net0', digest: String(digest) };
    expect((await staging.call('PUT', path, change)).data).toBeNull();
    expect(await get()).toMatchObject({ tags: 'a;b', description: 'under test', protection: 1 });
    expect(await get()).not.toHaveProperty('net0');
    expect((await staging.call('PUT', path, { tags: 'c', digest: String(digest) })).message).toMatch(
      /^detected modified configuration/,
    );
    expect((await staging.work('POST', path, { onboot: '0' })).exit).toBe('OK');
    expect(staging.journal('guest.configure')[0]).toMatchObject({
      guest: 90_001,
      before: { net0: LAB_CARD },
      after: { tags: 'a;b', protection: 1 },
    });
  });

  it('are kept from whoever may not change them, and from the network where others are', async () => {
    expect((await staging.call('PUT', path, { net0: 'virtio,bridge=vmbr0' })).message).toBe(
      'Permission check failed (/sdn/zones/localnetwork/vmbr0, SDN.Use)',
    );
    expect((await staging.call('PUT', path, { cores: '4' })).status).toBe(403);
    expect((await staging.call('PUT', '/nodes/stg1/qemu/100/config', { tags: 'x' })).status).toBe(403);
    expect((await staging.call('PUT', path, { bogus: '1' })).status).toBe(400);
    expect((await staging.call('PUT', path)).message).toBe('no options specified');
    staging.site.guests.get(90_001)!.lock = 'backup';
    expect((await staging.call('PUT', path, { tags: 'x' })).message).toBe('VM is locked (backup)');
  });

  it('give and take devices of a node for root alone, apart from mapped ones', async () => {
    const put = async (params: Record<string, string>) => (await staging.call('PUT', path, params)).message;
    const onlyRoot = (name: string, what = 'real') => `only root can set '${name}' config for ${what} devices`;
    expect(await put({ usb0: 'host=0922:8003' })).toBe(onlyRoot('usb0'));
    expect(await put({ hostpci0: '0000:01:00' })).toBe(onlyRoot('hostpci0', 'non-mapped'));
    expect(await put({ hostpci0: 'mapping=gpu' })).toBe('Permission check failed (/mapping/pci/gpu, Mapping.Use)');
    await put({ usb1: 'spice', hostpci1: 'mapping=edge-none' });
    const guest = staging.site.guests.get(90_001)!;
    guest.options = { ...guest.options, usb0: 'host=0922:8003', serial0: '/dev/ttyS0' };
    expect(await put({ delete: 'usb0' })).toBe(onlyRoot('usb0'));
    expect(await put({ delete: 'serial0' })).toBe(onlyRoot('serial0'));
    expect(await put({ delete: 'usb1,hostpci1' })).toBe('OK');
    expect((await staging.work('POST', '/nodes/stg1/qemu/90001/status/start')).exit).toBe(
      'usb0: no such device at this site',
    );
    expect((await staging.ssh('stg1', 'sudo -n qm set 90001 --delete net0')).stderr).toBe(
      'sudo: a password is required\n',
    );
    expect((await staging.ssh('stg1', 'sudo -n qm set 101 --delete usb0')).stderr).toBe(
      'sudo: a password is required\n',
    );
    expect(await staging.ssh('stg1', 'sudo -n qm set 90001 --delete usb0,serial0')).toMatchObject({ code: 0 });
    expect(Object.keys(await get()).filter((name) => /^(usb|serial|hostpci)/.test(name))).toEqual([]);
    expect((await staging.work('POST', '/nodes/stg1/qemu/90001/status/start')).exit).toBe('OK');
  });

  it('say when it starts by itself', async () => {
    const node = staging.site.node('stg1');
    const again = async () => {
      node.powerOff('lab');
      node.powerOn('lab');
      const { quiet } = staging.site;
      expect(quiet).toBe(false);
      await new Promise<void>((resolve) => {
        const look = (): unknown => (node.up && staging.site.quiet ? resolve() : setTimeout(look, 5));
        look();
      });
      return staging.site.guests.get(90_001)?.status;
    };
    expect(await again()).toBe('stopped');
    await staging.call('PUT', path, { onboot: '1' });
    expect(await again()).toBe('running');
  });

  it('name a bridge that has to be there', async () => {
    staging.grant('/sdn/zones/localnetwork/vmbr9', 'SDN.Use');
    await staging.call('PUT', path, { net0: 'virtio,bridge=vmbr9' });
    const { exit } = await staging.work('POST', '/nodes/stg1/qemu/90001/status/start');
    expect(exit).toBe("bridge 'vmbr9' does not exist");
  });
});

describe('a guest is destroyed', () => {
  const vm = '/nodes/stg1/qemu/90001';
  const ct = '/nodes/stg2/lxc/90002';

  it('unless it runs or somebody protects it', async () => {
    const [one, two] = [staging.backUp(101), staging.backUp(102)];
    await staging.addStorage();
    await staging.boot(one, 90_001);
    await staging.boot(two, 90_002);
    expect((await staging.call('DELETE', vm)).message).toBe('VM 90001 is running - destroy failed');
    expect((await staging.call('DELETE', ct)).message).toBe('unable to destroy CT 90002 - container is running');
    await staging.work('POST', `${vm}/status/stop`);
    await staging.call('PUT', `${vm}/config`, { protection: '1' });
    expect((await staging.call('DELETE', vm)).message).toBe("can't remove VM 90001 - protection mode enabled");
    await staging.call('PUT', `${vm}/config`, { delete: 'protection' });
    const gone = await staging.work('DELETE', vm, { purge: '1', 'destroy-unreferenced-disks': '1' });
    expect(gone).toMatchObject({ exit: 'OK' });
    expect(gone.log.join('\n')).toContain('"vm-90001-disk-0" successfully removed');
    expect((await staging.work('DELETE', ct, { force: '1' })).exit).toBe('OK');
    expect(staging.journal('guest.destroy')).toMatchObject([
      {
        guest: 90_001,
        before: { origin: 'store-001/101', pool: POOL, storage: 'restore' },
        detail: { restored: true },
      },
      { guest: 90_002 },
    ]);
    expect((await staging.call('GET', `${vm}/config`)).message).toContain('does not exist');
  });

  it('by nobody who has no right to: not one of production', async () => {
    expect(await staging.call('DELETE', '/nodes/stg1/qemu/101')).toMatchObject({
      status: 403,
      message: 'Permission check failed (/vms/101, VM.Allocate)',
    });
    expect((await staging.lab.request('n1', 'DELETE', '/nodes/n1/qemu/101')).status).toBe(403);
    expect((await staging.call('POST', '/nodes/stg1/qemu/100/status/stop')).status).toBe(403);
    expect((await staging.call('POST', '/nodes/stg1/qemu/100/agent/ping')).status).toBe(403);
  });
});

describe('the networks of the site', () => {
  it('are listed with their ports', async () => {
    expect(await staging.data('GET', '/nodes/stg3/network', { type: 'any_bridge' })).toMatchObject([
      { iface: 'vmbr0', bridge_ports: 'eno1', type: 'bridge' },
      { iface: 'vmbr-lab', bridge_ports: '' },
    ]);
    expect(await staging.data('GET', '/nodes/stg3/network/vmbr-lab')).toMatchObject({
      type: 'bridge',
      bridge_ports: '',
    });
  });

  it('tell of a copy that comes up beside its original', async () => {
    staging.grant('/sdn/zones/localnetwork/vmbr0', 'SDN.Use');
    const volid = staging.backUp(101);
    await staging.addStorage();
    await staging.restore(volid, 90_001, { net0: undefined });
    await staging.work('POST', '/nodes/stg1/qemu/90001/status/start');
    expect(staging.journal('network.conflict')).toMatchObject([
      { guest: 90_001, detail: { bridge: 'vmbr0', origin: 'store-001/101' } },
    ]);
    await staging.call('PUT', '/nodes/stg1/qemu/90001/config', { net0: 'virtio,bridge=vmbr0,link_down=1' });
    expect(staging.journal('network.conflict')).toHaveLength(1);
    await staging.call('PUT', '/nodes/stg1/qemu/90001/config', { net0: 'virtio,bridge=vmbr0' });
    expect(staging.journal('network.conflict')).toHaveLength(2);
  });
});
