import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { BackupOrder } from '#lab/world/backup-sim.js';
import type { FaultSpec } from '#lab/world/faults.js';
import { chunksOfSnapshot, type Datastore, type Snapshot } from '#lab/world/pbs/datastore.js';
import { readSavedWorld } from '#lab/world/saved.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import type { Order } from '#lab/world/pbs/work.js';
import type { StoreSim } from '#lab/world/store-sim.js';
import type { Task } from '#lab/world/tasks.js';
import { createWorld, type World } from '#lab/world/world.js';
import { aStoreSpec, aWorld, TEST_SPEED, until, type TestWorld } from '../lab-support.js';

const ACTOR = { user: 'edge-governor@pve!worker', by: 'edge-governor@pve!worker' };

let made: TestWorld;
let world: World;
let store: StoreSim;
let pbs: PbsSim;
let datastore: Datastore;
beforeEach(() => {
  made = aWorld();
  ({ world } = made);
  store = world.store('store-001');
  pbs = store.pbs as PbsSim;
  datastore = pbs.datastore('backup');
});
afterEach(() => made.close());

function start(change: Partial<BackupOrder> = {}): Task {
  const node = change.node ?? 'n1';
  return store.backups.start(store.node(node), {
    node,
    vmids: [101],
    elsewhere: [],
    storage: 'pbs',
    mode: 'snapshot',
    lockwait: 180,
    protected: false,
    commandLine: 'vzdump 101 --storage pbs',
    actor: ACTOR,
    done: [],
    failed: [],
    warnings: 0,
    ...change,
  });
}

async function ended(task: Task): Promise<string | undefined> {
  await until(`task ${task.type} ended`, () => task.exitstatus !== undefined);
  return task.exitstatus;
}

async function backedUp(vmid = 101, node = 'n1'): Promise<Snapshot> {
  expect(await ended(start({ vmids: [vmid], node }))).toBe('OK');
  return newest(vmid);
}

const groupOf = (vmid: number) => datastore.allGroups().find(({ id }) => id === String(vmid));
const newest = (vmid: number): Snapshot => groupOf(vmid)?.snapshots.at(-1) as Snapshot;
const run = (order: Order): Task => pbs.start(order, 'edge-governor@pbs!prune');
const verify = (change: object = {}): Task =>
  run({ kind: 'verify', store: 'backup', ns: '', maxDepth: 7, ignoreVerified: true, ...change });
const fault = (spec: Omit<FaultSpec, 'store'>) => world.faults.add({ store: 'store-001', ...spec });
const effects = (effect: string) => world.journal.entries.filter((entry) => entry.effect === effect);

describe('vzdump', () => {
  it('makes a snapshot of what the guest holds at that moment, and tells the journal', async () => {
    const guest = store.guests.get(101);
    const task = start();
    expect(guest?.lock).toBe('backup');
    expect(await ended(task)).toBe('OK');
    expect(guest?.lock).toBeUndefined();
    expect(task.log).toEqual(
      expect.arrayContaining([
        'INFO: Starting Backup of VM 101 (qemu)',
        expect.stringMatching(/^INFO: creating Proxmox Backup Server archive 'vm\/101\/\d{4}-.*Z'$/),
        'INFO: Backup job finished successfully',
        'TASK OK',
      ]),
    );
    const snapshot = newest(101);
    expect(snapshot).toMatchObject({ finished: true, content: { origin: 'store-001/101' } });
    expect(snapshot.content.files).toBe(JSON.stringify([...(guest?.files ?? [])]));
    expect(snapshot.fingerprint).toMatch(/^([0-9a-f]{2}:){31}[0-9a-f]{2}$/);
    const [begun, made_, done] = ['backup.start', 'snapshot.create', 'backup.done'].map((effect) => effects(effect)[0]);
    expect([begun?.node, made_?.guest, done?.detail?.['exit']]).toEqual(['n1', 101, 'OK']);
    expect(made_?.detail?.['revision']).toBe(snapshot.content.revision);
  });

  it('holds more of the guest later, and sends only that', async () => {
    const first = await backedUp();
    store.guests.get(101)!.writes = { count: first.content.revision + 3, at: Date.now() };
    const second = await backedUp();
    const known = new Set(chunksOfSnapshot(first));
    const fresh = chunksOfSnapshot(second).filter((id) => !known.has(id));
    expect(fresh.length).toBeGreaterThanOrEqual(3);
    expect(effects('snapshot.create').at(-1)?.detail?.['sent']).toBeLessThan(
      Number(effects('snapshot.create')[0]?.detail?.['sent']) / 3,
    );
  });

  it('is one at a time on a node: the next waits for the lock', async () => {
    const [first, second] = [start(), start()];
    expect(second.log).toContain('INFO: trying to get global lock - waiting...');
    expect([await ended(first), await ended(second)]).toEqual(['OK', 'OK']);
    expect(second.log).toContain('INFO: got global lock');
    expect(groupOf(101)?.snapshots).toHaveLength(2);
  });

  it('dies without a last word when it may not wait, or not so long', async () => {
    const first = start();
    const impatient = start({ lockwait: 0 });
    expect(impatient.exitstatus).toBe('unexpected status');
    expect(impatient.log.at(-1)).toBe("ERROR: can't acquire lock '/var/run/vzdump.lock' (wait = 0)");
    fault({ kind: 'backup-slow', params: { factor: 1_000 } });
    await ended(first);
    const slow = start();
    const late = start({ lockwait: 1 });
    expect(await ended(late)).toBe('unexpected status');
    expect(late.log.at(-1)).toBe("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout");
    expect(slow.exitstatus).toBeUndefined();
  });

  it('goes on with the others when a guest is locked, and ends in an error', async () => {
    store.guests.get(102)!.node = 'n1';
    fault({ kind: 'guest-locked', params: { vmid: 101 } });
    const task = start({ vmids: [101, 102] });
    expect(await ended(task)).toBe('job errors');
    expect(task.log).toContain('ERROR: Backup of VM 101 failed - VM is locked (backup)');
    expect(groupOf(101)).toBeUndefined();
    expect(groupOf(102)?.snapshots).toHaveLength(1);
    expect(effects('backup.done')[0]?.detail).toMatchObject({ done: [102], failed: [101] });
    expect(store.guests.get(101)?.lock).toBe('backup');
  });

  it('fails for a guest that is nowhere', async () => {
    const task = start({ vmids: [999] });
    expect(await ended(task)).toBe('job errors');
    expect(task.log).toContain("ERROR: Backup of VM 999 failed - unable to find VM '999'");
  });

  it('succeeds with a warning', async () => {
    fault({ kind: 'backup-warns' });
    expect(await ended(start())).toBe('WARNINGS: 1');
  });

  it('that dies leaves the guest locked, no snapshot, and chunks that nobody refers to', async () => {
    fault({ kind: 'vzdump-dies', times: 1 });
    expect(await ended(start())).toBe('unexpected status');
    expect(store.guests.get(101)?.lock).toBe('backup');
    expect(groupOf(101)).toBeUndefined();
    expect(datastore.chunks.count).toBeGreaterThan(20);
    expect(pbs.tasks.all.at(-1)).toMatchObject({ type: 'backup', id: 'backup:vm/101' });
    expect(pbs.tasks.all.at(-1)?.exitstatus).toMatch(/finished flag is not set/);
  });

  it('that is stopped unlocks the guest', async () => {
    const task = start();
    store.node('n1').tasks.abort(task.upid);
    expect(await ended(task)).toBe('interrupted by signal');
    expect(store.guests.get(101)?.lock).toBeUndefined();
    expect(groupOf(101)).toBeUndefined();
  });

  it('dies with its node, and HA takes the lock away when it starts the guest elsewhere', async () => {
    fault({ kind: 'node-crash', node: 'n1', step: 'snapshot.create', moment: 'during' });
    const task = start();
    expect(await ended(task)).toBe('unexpected status');
    expect(store.guests.get(101)?.lock).toBe('backup');
    await until('the guest runs elsewhere', () => {
      const guest = store.guests.get(101);
      return guest?.node !== 'n1' && guest?.status === 'running';
    });
    expect(store.guests.get(101)?.lock).toBeUndefined();
  });

  it('says before it begins that the backup server is away', async () => {
    fault({ kind: 'pbs-down' });
    const task = start();
    expect(task.exitstatus).toBe(
      `could not get storage information for 'pbs': pbs: error fetching datastores - 500 Can't connect to ${pbs.address}:8007 (Connection refused)`,
    );
    expect(store.guests.get(101)?.lock).toBeUndefined();
  });

  it('fails the guest when the backup server goes away in the middle, which leaves half a snapshot there', async () => {
    const down = fault({ kind: 'pbs-down', step: 'snapshot.create', moment: 'during' });
    const task = start();
    expect(await ended(task)).toBe('job errors');
    expect(task.log.join('\n')).toMatch(/ERROR: Backup of VM 101 failed - backup write data failed: command error/);
    world.faults.remove(down.id);
    expect(newest(101).finished).toBe(false);
    expect(await ended(verify())).toBe('verification failed - please check the log for details');
    // It is in nobody's way.
    await backedUp();
  });

  it('says of a container only in its log that the disk is full', async () => {
    fault({ kind: 'datastore-full' });
    const vm = start();
    expect(await ended(vm)).toBe('job errors');
    expect(vm.log.join('\n')).toContain('command error: No space left on device (os error 28)');
    const ct = start({ vmids: [102], node: 'n2' });
    expect(await ended(ct)).toBe('job errors');
    expect(ct.log).toContain('INFO: Error: No space left on device (os error 28)');
    expect(ct.log.join('\n')).toMatch(/ERROR: Backup of VM 102 failed - command '.*' failed: exit code 255/);
  });

  it('cannot prune with the token of the nodes, and says so after the backup is made', async () => {
    const task = start({ prune: 'keep-last=1' });
    expect(await ended(task)).toBe('job errors');
    expect(task.log.join('\n')).toContain('permission check failed');
    expect(newest(101).finished).toBe(true);
  });
});

describe('a verification', () => {
  it('skips what was verified before, unless it is told not to', async () => {
    const snapshot = await backedUp();
    const first = verify();
    expect(await ended(first)).toBe('OK');
    expect(snapshot.verification).toEqual({ state: 'ok', upid: first.upid });
    const second = verify();
    expect(await ended(second)).toBe('OK');
    expect(second.log.join('\n')).toContain('(recently verified)');
    expect(snapshot.verification?.upid).toBe(first.upid);
    const forced = verify({ ignoreVerified: false });
    await ended(forced);
    expect(snapshot.verification?.upid).toBe(forced.upid);
  });

  it('takes again what is older than so many days of the fleet', async () => {
    const snapshot = await backedUp();
    await ended(verify());
    const { upid } = snapshot.verification!;
    await ended(verify({ outdatedAfter: 30 }));
    expect(snapshot.verification?.upid).toBe(upid);
    // A day of the fleet is 8.6 seconds; one task that began a minute ago is a week old.
    const old = upid.split(':');
    old[5] = (parseInt(old[5] ?? '', 16) - 60).toString(16).toUpperCase();
    snapshot.verification!.upid = old.join(':');
    await ended(verify({ outdatedAfter: 6 }));
    expect(snapshot.verification?.upid).not.toBe(old.join(':'));
  });

  it('fails for a rotten chunk and names the snapshot; the state flips without a new backup', async () => {
    const snapshot = await backedUp();
    await ended(verify());
    expect(snapshot.verification?.state).toBe('ok');
    fault({ kind: 'chunk-corrupt', params: { vmid: 101 } });
    expect(await ended(verify())).toBe('OK');
    const forced = verify({ ignoreVerified: false });
    expect(await ended(forced)).toBe('verification failed - please check the log for details');
    expect(snapshot.verification?.state).toBe('failed');
    expect(forced.log.join('\n')).toMatch(/corrupted chunk renamed to ".*\.0\.bad"[^]*\n[^\n]*: \tvm\/101\//);
    expect(datastore.chunks.bad).toHaveLength(1);
    const gc = run({ kind: 'gc', store: 'backup' });
    expect(await ended(gc)).toBe('WARNINGS: 1');
    expect(datastore.gc['still-bad']).toBe(1);
    expect(effects('snapshot.verify').map(({ detail }) => detail?.['state'])).toEqual(['ok', 'failed']);
  });

  it('of one guest leaves the others alone', async () => {
    await backedUp(101, 'n1');
    await backedUp(102, 'n2');
    await ended(verify({ type: 'ct', id: '102' }));
    expect([newest(101).verification, newest(102).verification?.state]).toEqual([undefined, 'ok']);
  });
});

describe('garbage collection', () => {
  it('does not run twice at once', async () => {
    const task = run({ kind: 'gc', store: 'backup' });
    expect(() => run({ kind: 'gc', store: 'backup' })).toThrow('garbage collection already running');
    expect(await ended(task)).toBe('OK');
  });

  it('cannot mark on a full disk', async () => {
    await backedUp();
    fault({ kind: 'datastore-full' });
    expect(await ended(run({ kind: 'gc', store: 'backup' }))).toMatch(/ENOSPC/);
  });

  it('dies with its server, and is forgotten by it', async () => {
    const task = run({ kind: 'gc', store: 'backup' });
    const down = fault({ kind: 'pbs-down' });
    expect(task.exitstatus).toBe('unknown');
    world.faults.remove(down.id);
    expect(await ended(run({ kind: 'gc', store: 'backup' }))).toBe('OK');
  });
});

describe('a prune', () => {
  it('counts days as the fleet does, and takes only what refers to chunks', async () => {
    for (let night = 0; night < 3; night += 1) await backedUp();
    const chunks = datastore.chunks.count;
    const task = run({ kind: 'prune', store: 'backup', ns: '', maxDepth: 7, keep: { 'keep-last': 1 }, dryRun: false });
    expect(await ended(task)).toBe('OK');
    expect(groupOf(101)?.snapshots).toHaveLength(1);
    expect(datastore.chunks.count).toBe(chunks);
    expect(effects('datastore.prune')[0]?.detail?.['removed']).toHaveLength(2);
    expect(world.timing.calendar(Date.now() + 8_640) - world.timing.calendar(Date.now())).toBeCloseTo(86_400_000, -6);
  });

  it('that is a rehearsal removes nothing', async () => {
    await backedUp();
    await backedUp();
    const what = {
      kind: 'prune',
      store: 'backup',
      ns: '',
      maxDepth: 7,
      keep: { 'keep-last': 1 },
      dryRun: true,
    } as const;
    expect(await ended(run(what))).toBe('OK');
    expect(groupOf(101)?.snapshots).toHaveLength(2);
  });
});

describe('a lab that is started again', () => {
  /** The same fleet from what stands on the disk, as after a kill. */
  function startAgain(): void {
    world.keeper.flush();
    const { stateDir } = world;
    world.close();
    const saved = readSavedWorld(stateDir);
    world = createWorld({ stores: [aStoreSpec()], speed: TEST_SPEED, stateDir, saved });
    world.resume();
    store = world.store('store-001');
    pbs = store.pbs as PbsSim;
    datastore = pbs.datastore('backup');
  }
  afterEach(() => world.close());

  it('has the snapshots, chunks, jobs and faults of before', async () => {
    const { time } = await backedUp();
    fault({ kind: 'chunk-corrupt', params: { vmid: 101 } });
    world.keeper.saveAtStart([]);
    pbs.verifyJobs.set('nightly', { id: 'nightly', store: 'backup' });
    pbs.touch('verify-job nightly');
    pbs.forget('sync-job to-central');
    const { count, bytes } = datastore.chunks;
    startAgain();
    expect(newest(101)).toMatchObject({ time, finished: true });
    expect([datastore.chunks.count, datastore.chunks.bytes]).toEqual([count, bytes]);
    expect([...pbs.verifyJobs.keys()]).toEqual(['nightly']);
    expect([...pbs.syncJobs.keys()]).toEqual([]);
    expect(await ended(verify())).toMatch(/^verification failed/);
  });

  it('goes on with vzdump and with a verification under their tasks, and does nothing twice', async () => {
    world.keeper.saveAtStart([]);
    await backedUp(102, 'n2');
    fault({ kind: 'backup-slow', params: { factor: 20 } });
    const dump = start();
    const check = verify();
    startAgain();
    const again = store.node('n1').tasks.find(dump.upid) as Task;
    expect(store.guests.get(101)?.lock).toBe('backup');
    expect(await ended(again)).toBe('OK');
    expect(await ended(pbs.tasks.find(check.upid) as Task)).toBe('OK');
    expect(store.guests.get(101)?.lock).toBeUndefined();
    expect(groupOf(101)?.snapshots.map(({ finished }) => finished)).toEqual([true]);
    expect(newest(102).verification).toEqual({ state: 'ok', upid: check.upid });
    expect(effects('backup.start').filter(({ detail }) => detail?.['upid'] === dump.upid)).toHaveLength(1);
  });
});

describe('vzdump', () => {
  it('tells of each disk and mount point whether the backup has it', async () => {
    store.guests.get(101)!.options = {
      ide2: 'none,media=cdrom',
      scsi1: 'vm:vm-101-disk-1,backup=0,size=8G',
      scsi2: 'vm:vm-101-disk-2,backup=1,size=8G',
    };
    const task = start();
    expect(await ended(task)).toBe('OK');
    expect(task.log.filter((line) => line.includes('disk '))).toEqual([
      "INFO: include disk 'scsi0' 'vm:vm-101-disk-0' 32G",
      "INFO: exclude disk 'scsi1' 'vm:vm-101-disk-1' (backup=no)",
      "INFO: include disk 'scsi2' 'vm:vm-101-disk-2' 8G",
    ]);
  });
});
