import { activityInfo } from '@temporalio/activity';
import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import type { BackupStoreInput, CopyAnswer, DumpActivities, TendActivities } from '#domain/messages/backup.js';
import type { WaveInput } from '#domain/messages/train.js';
import { backupWorkflowId, storeWorkflowId, waveWorkflowId } from '#domain/naming.js';
import { abortUpdate, backupQuery, steerWaveSignal, storeFreeSignal, waveQuery } from '#workflows/messages.js';
import type { Reason } from '#domain/reasons.js';
import { aBackupInput, aStoreInput, aWave, someOrders } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { aCopy, eventsOf, eventually, waveUntil } from '../support/workflow-harness.js';

const ID = 's001';
const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
const nameOf = ({ type, id }: { type: string; id: string }): string => `${type}/${id}`;
/** Of each pruning the groups that it was asked for; `all` when it was asked for all of them. */
function groupsPruned(store: { on: (name: 'pruneCopy', activity: TendActivities['pruneCopy']) => void }) {
  const asked: (string[] | 'all')[] = [];
  store.on('pruneCopy', async ({ groups }) => {
    asked.push(groups?.map(nameOf) ?? 'all');
    return { ok: true, detail: 'pruned' };
  });
  return asked;
}
const PLAN: Awaited<ReturnType<DumpActivities['openDump']>> = {
  kind: 'done',
  adopted: [],
  nodes: [101, 102, 103].map((vmid, index) => ({ node: `n${index + 1}`, vmids: [vmid] })),
  guests: [
    { vmid: 101, kind: 'qemu', name: 'pos', template: false },
    { vmid: 102, kind: 'qemu', name: 'inventory', template: false },
    { vmid: 103, kind: 'lxc', name: 'cache', template: false },
  ],
  unreachable: [],
};
const locked = { kind: 'failed' as const, text: 'VM is locked (backup)', failure: 'lock' as const };

describe('the backup of a store', () => {
  it('dumps all nodes, then verifies and prunes, and records what is proven of each guest', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result).toMatchObject({ store: ID, outcome: 'succeeded', operationId: 'night-2026-11-26/backup/s001/r0' });
    const [hello, open, ...rest] = store.calls;
    expect([hello, open]).toEqual(['hello', 'openDump']);
    expect(rest.slice(0, 3).toSorted()).toEqual(['dumpNode n1', 'dumpNode n2', 'dumpNode n3']);
    expect(rest.slice(3)).toEqual(['closeDump', 'verifyCopy', 'readCopy', 'pruneCopy', 'readCopy']);
    const [entry] = world.central.ledgerOf('backups');
    expect(entry?.guests.map(({ vmid, tier }) => [vmid, tier])).toEqual([
      [101, 'normal'],
      [102, 'normal'],
      [103, 'normal'],
    ]);
    expect(entry?.guests.every(({ local, offsite }) => local?.provenAt !== undefined && !offsite)).toBe(true);
    expect(entry?.night.map(({ result: of }) => of)).toEqual(['proven', 'proven', 'proven']);
  });

  it('records how full the datastores are, also when nobody has read who there is', async () => {
    const world = await useWorld();
    const space = { total: 100, used: 97 };
    const store = await world.store(ID, { readCopy: async () => ({ copy: aCopy('pbs-store'), space, stillBad: 3 }) });
    await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const told = [
      { place: 'local', store: ID, total: 100, used: 97, stillBad: 3 },
      { place: 'offsite', store: ID },
    ];
    await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(world.central.ledgerOf('backups').at(-1)).toMatchObject({ datastores: told });
    store.on('openDump', async () => ({ kind: 'refused', stop: { reason: 'BackupRefused', summary: 'no token' } }));
    await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(world.central.ledgerOf('copies').at(-1)).toMatchObject({ datastores: told });
  });

  it('verifies and prunes before it sends to the central server, and has it verified there', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const there = await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } }, collect: true });
    const result = await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(result.outcome).toBe('succeeded');
    const own = ['verifyCopy', 'readCopy', 'pruneCopy', 'readCopy', 'sendCopy', 'collectSpace', 'readCopy'];
    expect(store.calls.slice(6)).toEqual(own);
    expect(there).toEqual(['verifyCopy s001', 'readCopy s001', 'pruneCopy s001', 'readCopy s001']);
    const entry = world.central.ledgerOf('backups').at(-1);
    expect(entry?.guests.every(({ offsite }) => offsite?.provenAt !== undefined)).toBe(true);
  });

  it('has time to wait its turn at the central server, where the copies of all stores are', async () => {
    const world = await useWorld();
    await world.store(ID);
    let hours = 0;
    await world.centralServer({
      verifyCopy: async () => {
        hours = activityInfo().startToCloseTimeoutMs / 3_600_000;
        return { ok: true, detail: 'done', node: 'pbs-central' };
      },
    });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(hours).toBe(12);
  });

  it('whose sending outlasts the night says so; each night proves what is here, and the centre when it has arrived', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    let arrived = false;
    const there = await world.centralServer({
      readCopy: async () => ({ copy: aCopy('pbs-central', arrived ? undefined : []) }),
    });
    const pruned = groupsPruned(store);
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const sending = store.hold('sendCopy');
    const first = await world.startBackup(aBackupInput(ID, { orders, endsBy: inSeconds(4) }));
    await sending.reached;
    const known = world.central.ledgerOf('backups').at(-1);
    expect(known?.guests.map(({ local, offsite }) => [local?.provenAt !== undefined, offsite])).toEqual(
      [101, 102, 103].map(() => [true, undefined]),
    );
    expect(await first.result()).toMatchObject({
      outcome: 'failed',
      reason: 'BackupIncomplete',
      stop: { summary: expect.stringContaining('still sends to the central server; that goes on') as string },
    });
    expect(pruned).toHaveLength(1);
    expect(there.filter((call) => !call.startsWith('readCopy'))).toEqual([]);

    sending.release();
    arrived = true;
    const night = 'night-2026-11-27';
    const second = await world.startBackup(aBackupInput(ID, { orders, night, endsBy: inSeconds(60) }));
    expect(await second.result()).toMatchObject({ outcome: 'succeeded' });
    expect(pruned).toHaveLength(2);
    expect(there).toEqual(expect.arrayContaining(['verifyCopy s001', 'pruneCopy s001']));
  });

  it('ends though the ledger is away, and is recorded once it answers; what failed before is sent all the same', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    let answer!: () => void;
    const away = new Promise<void>((resolve) => (answer = resolve));
    let told = 0;
    let isLost = false;
    world.central.on('record', async (entry) => {
      if (entry.kind !== 'backups') return;
      told += 1;
      if (told > 1) return;
      if (isLost) throw ApplicationFailure.nonRetryable('connection refused', 'LedgerUnreachable');
      await away;
    });
    const backup = await world.startBackup(aBackupInput(ID, { orders, endsBy: inSeconds(4) }));
    expect(await backup.result()).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(told).toBe(2);
    expect(store.calls).not.toContain('sendCopy');
    answer();

    [told, isLost] = [0, true];
    const night = 'night-2026-11-27';
    const next = await world.startBackup(aBackupInput(ID, { orders, night, endsBy: inSeconds(60) }));
    expect(await next.result()).toMatchObject({ outcome: 'succeeded' });
    expect(told).toBe(2);
    expect(store.calls).toContain('sendCopy');
  });

  it('that people end is ended by them, whatever the hour', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const verifying = store.hold('verifyCopy');
    const backup = await world.startBackup(aBackupInput(ID, { endsBy: inSeconds(4) }));
    await verifying.reached;
    await backup.executeUpdate(abortUpdate, { args: [{ by: 'anna' }] });
    expect(await backup.result()).toMatchObject({ outcome: 'aborted', reason: 'Aborted' });
    verifying.release();
  });

  it('has its own copy proven and pruned while a slow link still sends it', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    await world.centralServer();
    const sending = store.hold('sendCopy');
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const backup = await world.startBackup(aBackupInput(ID, { orders }));
    await sending.reached;
    const { steps } = await backup.query(backupQuery);
    sending.release();
    expect(steps.map(({ what, ok }) => [what, ok])).toEqual([
      ['verify', true],
      ['prune', true],
    ]);
    expect((await backup.result()).outcome).toBe('succeeded');
  });

  it('of which one guest is damaged has the others pruned while a slow link still sends them', async () => {
    const world = await useWorld();
    const store = await world.store(ID, {
      verifyCopy: async () => ({ ok: false, detail: 'vm/102 is damaged', reason: 'BackupVerifyFailed' }),
      readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }),
    });
    await world.centralServer();
    const pruned = groupsPruned(store);
    const sending = store.hold('sendCopy');
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const backup = await world.startBackup(aBackupInput(ID, { orders }));
    await sending.reached;
    const before = [...pruned];
    sending.release();
    expect(before).toEqual([['vm/101', 'ct/103']]);
    expect(await backup.result()).toMatchObject({ outcome: 'failed', reason: 'BackupVerifyFailed' });
  });

  it.each([
    ['collects space also in another night when that is due', { isCollectionDue: true }, 1],
    ['does not when it is not', { isCollectionDue: false }, 0],
    ['does not when the server does not say', {}, 0],
  ])('%s', async (_, told, times) => {
    const world = await useWorld();
    const store = await world.store(ID, { readCopy: async () => ({ copy: aCopy('pbs-store'), ...told }) });
    expect((await (await world.startBackup(aBackupInput(ID))).result()).outcome).toBe('succeeded');
    expect(store.calls.filter((call) => call === 'collectSpace')).toHaveLength(times);
  });

  it('collects space once in the night that is named for it, and is failed when that fails', async () => {
    const world = await useWorld();
    const store = await world.store(ID, {
      collectSpace: async () => ({ ok: false, detail: 'ENOSPC', reason: 'DatastoreFull' }),
      readCopy: async () => ({ copy: aCopy('pbs-store'), isCollectionDue: true }),
    });
    const named = aBackupInput(ID, { orders: someOrders({ collect: true }) });
    expect(await (await world.startBackup(named)).result()).toMatchObject({ outcome: 'failed' });
    expect(store.calls.filter((call) => call === 'collectSpace')).toHaveLength(1);
    const due = await (await world.startBackup(aBackupInput(ID))).result();
    expect(due).toMatchObject({ outcome: 'failed', stop: { detail: ['collect: ENOSPC'] } });
  });

  it('holds the store only while guests are dumped: a patch goes through while the server verifies', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const verifying = store.hold('verifyCopy');
    const backup = await world.startBackup(aBackupInput(ID));
    await verifying.reached;
    await expect((await world.startStore(aStoreInput(ID))).result()).resolves.toMatchObject({ outcome: 'succeeded' });
    verifying.release();
    expect((await backup.result()).outcome).toBe('succeeded');
  });

  it('is failed when the server does not prove what the jobs said, and prunes only what is proven', async () => {
    const world = await useWorld();
    const store = await world.store(ID, {
      readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }),
      verifyCopy: async () => ({ ok: false, detail: 'vm/102 is damaged', reason: 'BackupVerifyFailed' }),
    });
    const pruned = groupsPruned(store);
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupVerifyFailed' });
    expect(result.stop?.detail?.join('\n')).toMatch(/guest 102 .*nothing new[^]*verify: vm\/102 is damaged/);
    expect(pruned).toEqual([['vm/101', 'ct/103']]);
  });

  it('whose one guest is never dumped has the groups of the others pruned, here and there', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    store.on('dumpNode', async ({ vmids, node }) => ({
      kind: 'done',
      runs: vmids.map((vmid) => (node === 'n2' ? { vmid, ...locked } : { vmid, kind: 'done' })),
    }));
    store.on('readCopy', async () => ({ copy: aCopy('pbs-store', [101, 103]) }));
    const pruned = groupsPruned(store);
    const there = await world.centralServer({
      readCopy: async () => ({ copy: aCopy('pbs-central', [101]) }),
      pruneCopy: async ({ groups }) => ({ ok: true, detail: `pruned ${groups?.map(nameOf).join()}` }),
    });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const backup = await world.startBackup(aBackupInput(ID, { orders }));
    expect(await backup.result()).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(pruned).toEqual([['vm/101', 'ct/103']]);
    expect(there).toContain('pruneCopy s001');
    const { steps } = await backup.query(backupQuery);
    expect(steps.at(-1)).toMatchObject({ what: 'prune', detail: 'pruned vm/101 at the central server' });
  });

  it('of which one guest could not be sent has the others proven in the second place, and pruned there alone', async () => {
    const world = await useWorld();
    await world.store(ID, {
      sendCopy: async () => ({ ok: false, detail: 'vm/102: bad checksum', reason: 'BackupIncomplete' }),
    });
    const there = await world.centralServer({ readCopy: async () => ({ copy: aCopy('pbs-central', [101, 103]) }) });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const result = await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(result.stop?.summary).toContain('not in the second place: guest 102');
    expect(there.filter((call) => !call.startsWith('readCopy'))).toEqual(['verifyCopy s001', 'pruneCopy s001']);
    const entry = world.central.ledgerOf('backups').at(-1);
    expect(entry?.guests.map(({ vmid, offsite }) => [vmid, offsite?.provenAt !== undefined])).toEqual([
      [101, true],
      [102, false],
      [103, true],
    ]);
  });

  it('of which nothing arrived in the second place has nothing verified and pruned there', async () => {
    const world = await useWorld();
    await world.store(ID, {
      sendCopy: async () => ({ ok: false, detail: 'no route to host', reason: 'BackupIncomplete' }),
    });
    const there = await world.centralServer({ readCopy: async () => ({ copy: aCopy('pbs-central', []) }) });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(new Set(there)).toEqual(new Set(['readCopy s001']));
  });

  it('that proves nothing has nothing pruned', async () => {
    const world = await useWorld();
    const store = await world.store(ID, {
      verifyCopy: async () => ({ ok: false, detail: 'the server is away', reason: 'BackupIncomplete' }),
      readCopy: async () => ({ copy: aCopy('pbs-store', []) }),
    });
    expect(await (await world.startBackup(aBackupInput(ID))).result()).toMatchObject({ outcome: 'failed' });
    expect(store.calls).not.toContain('pruneCopy');
  });

  it.each([
    ['at the store', { here: [], there: [101, 102, 103] }, { outcome: 'failed', reason: 'BackupFailed' }],
    ['in the second place', { here: [101, 102, 103], there: [] }, { outcome: 'failed', reason: 'BackupIncomplete' }],
  ])(
    'of which every step says that it is well, and nothing of it is there, has nothing pruned %s',
    async (_, has, told) => {
      const world = await useWorld();
      const store = await world.store(ID, { readCopy: async () => ({ copy: aCopy('pbs-store', has.here) }) });
      const there = await world.centralServer({ readCopy: async () => ({ copy: aCopy('pbs-central', has.there) }) });
      const pruned = groupsPruned(store);
      const orders = someOrders({ offsite: { keep: { daily: 14 } } });
      const result = await (await world.startBackup(aBackupInput(ID, { orders }))).result();
      expect(result).toMatchObject(told);
      expect(pruned).toEqual(has.here.length > 0 ? ['all'] : []);
      expect(there.includes('pruneCopy s001')).toBe(has.there.length > 0);
    },
  );

  it('of which one guest is not there, though every step says that it is well, has the others pruned', async () => {
    const world = await useWorld();
    const store = await world.store(ID, { readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }) });
    const pruned = groupsPruned(store);
    expect(await (await world.startBackup(aBackupInput(ID))).result()).toMatchObject({ outcome: 'failed' });
    expect(pruned).toEqual([['vm/101', 'ct/103']]);
  });

  it('that is whole has all groups pruned, but not while a newer backup of a guest is damaged', async () => {
    const world = await useWorld();
    const { node, snapshots } = aCopy('pbs-store');
    const [first] = snapshots;
    const time = first!.time + 1;
    const damaged = { ...first!, time, verification: { state: 'failed' as const, node, at: time } };
    let copy = { node, snapshots };
    const store = await world.store(ID, { readCopy: async () => ({ copy }) });
    const pruned = groupsPruned(store);
    await (await world.startBackup(aBackupInput(ID))).result();
    copy = { node, snapshots: [...snapshots, damaged] };
    await (await world.startBackup(aBackupInput(ID))).result();
    expect(pruned).toEqual(['all', ['vm/102', 'ct/103']]);
  });

  it('that is in clear, as none before it, is failed; another key is told once', async () => {
    const world = await useWorld();
    const { node, snapshots } = aCopy('pbs-store');
    const nights = ['night-2026-11-24', 'night-2026-11-25', 'night-2026-11-26', 'night-2026-11-27'];
    const keys = ['aa', 'bb', 'bb', undefined].map((byte) => byte && Array(32).fill(byte).join(':'));
    const made = nights.map((night, index) =>
      snapshots.map((one) => ({
        ...one,
        night,
        time: one.time - 3_600 * (nights.length - index),
        encrypted: keys[index] !== undefined,
        keyFingerprint: keys[index],
      })),
    );
    let upTo = 1;
    await world.store(ID, { readCopy: async () => ({ copy: { node, snapshots: made.slice(0, upTo).flat() } }) });
    const nightly = async () => {
      const input = aBackupInput(ID, { night: nights[upTo - 1]! });
      return (await world.startBackup(input)).result();
    };
    for (; upTo < nights.length; upTo += 1) expect((await nightly()).outcome).toBe('succeeded');
    expect(world.central.notifications).toMatchObject([
      { event: 'attention', train: 'night-2026-11-25', summary: expect.stringContaining('from key aa:aa:') as string },
    ]);
    expect(await nightly()).toMatchObject({ outcome: 'failed', reason: 'BackupUnencrypted' });
    expect(world.central.notifications).toHaveLength(1);
  });

  it('has a key change told, though nothing of it could be verified', async () => {
    const world = await useWorld();
    const { node, snapshots } = aCopy('pbs-store');
    const keyed = (byte: string) => ({ encrypted: true, keyFingerprint: Array(32).fill(byte).join(':') });
    const before = snapshots.map((one) => ({
      ...one,
      ...keyed('aa'),
      night: 'night-2026-11-24',
      time: one.time - 3_600,
    }));
    const unverified = snapshots.map((one) => ({ ...one, ...keyed('bb'), verification: undefined }));
    await world.store(ID, {
      verifyCopy: async () => ({ ok: false, detail: 'no slot for it', reason: 'BackupIncomplete' }),
      readCopy: async () => ({ copy: { node, snapshots: [...before, ...unverified] } }),
    });
    expect(await (await world.startBackup(aBackupInput(ID))).result()).toMatchObject({ outcome: 'failed' });
    expect(world.central.notifications).toMatchObject([
      { event: 'attention', summary: expect.stringMatching(/from key aa:aa:.* to bb:bb:/) as string },
    ]);
  });

  it('whose list cannot be read just before it prunes is not whole, and has nothing pruned', async () => {
    const world = await useWorld();
    let reads = 0;
    const store = await world.store(ID, {
      readCopy: async () => {
        reads += 1;
        if (reads === 1) throw ApplicationFailure.nonRetryable('no route to host', 'BackupFailed');
        return { copy: aCopy('pbs-store') };
      },
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(reads).toBeGreaterThan(1);
    expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(result.stop?.detail).toEqual([
      expect.stringContaining("nothing pruned: the server's list could not be read"),
    ]);
    expect(store.calls).not.toContain('pruneCopy');
  });

  it('that cannot be read before it prunes has nothing pruned', async () => {
    const world = await useWorld();
    const store = await world.store(ID, {
      verifyCopy: async () => ({ ok: false, detail: 'the server is away', reason: 'BackupIncomplete' }),
      readCopy: async () => {
        throw ApplicationFailure.nonRetryable('no route to host', 'BackupFailed');
      },
    });
    expect(await (await world.startBackup(aBackupInput(ID))).result()).toMatchObject({ reason: 'FactsUnreadable' });
    expect(store.calls).not.toContain('pruneCopy');
  });

  it('is failed when the cluster does not list a guest that store.yaml names, and not all is pruned', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const pruned = groupsPruned(store);
    const guests = { 101: 'normal', 104: 'normal' };
    const result = await (await world.startBackup(aBackupInput(ID, { guests }))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(result.stop?.summary).toBe('3 of 4 guests backed up and verified; not guest 104.');
    expect(pruned).toEqual([['vm/101', 'vm/102', 'ct/103']]);
  });

  it('is failed when the cluster lists nobody of whom the server has backups, and no guest is called gone', async () => {
    const world = await useWorld();
    const store = await world.store(ID, {
      openDump: async () => ({ kind: 'done', adopted: [], nodes: [], guests: [], unreachable: [] }),
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'FactsUnreadable' });
    expect(store.calls).not.toContain('pruneCopy');
    expect(world.central.ledgerOf('backups')).toEqual([]);
    expect(world.central.ledgerOf('copies')).toMatchObject([{ local: { node: 'pbs-store' } }]);
  });

  it('is failed when a guest that store.yaml names is a template by now, and its group is not pruned', async () => {
    const world = await useWorld();
    const guests = PLAN.guests?.map((guest) => ({ ...guest, template: guest.vmid === 102 })) ?? [];
    const store = await world.store(ID, {
      openDump: async () => ({ ...(PLAN as Extract<typeof PLAN, { kind: 'done' }>), guests }),
    });
    const pruned = groupsPruned(store);
    const named = aBackupInput(ID, { guests: { 101: 'normal', 102: 'normal' } });
    const result = await (await world.startBackup(named)).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(result.stop?.summary).toBe('2 of 3 guests backed up and verified; not guest 102.');
    expect(pruned).toEqual([['vm/101', 'ct/103']]);
  });

  describe('of which a guest has disks that backups leave out', () => {
    const lacking = {
      ...PLAN,
      guests: PLAN.guests.map((guest) => (guest.vmid === 102 ? { ...guest, leftOut: ['scsi1'] } : guest)),
    };

    it('is failed, names them, records no proven backup of it and keeps all its older ones', async () => {
      const world = await useWorld();
      const store = await world.store(ID, { openDump: async () => lacking });
      const pruned = groupsPruned(store);
      const result = await (await world.startBackup(aBackupInput(ID))).result();
      expect(result).toMatchObject({
        outcome: 'failed',
        reason: 'BackupIncomplete',
        stop: { summary: '2 of 3 guests backed up and verified; disks left out of guest 102 (scsi1).' },
      });
      const [entry] = world.central.ledgerOf('backups');
      expect(entry?.night.map(({ vmid, result: of }) => [vmid, of])).toEqual([
        [101, 'proven'],
        [102, 'disks left out'],
        [103, 'proven'],
      ]);
      expect(entry?.guests.map(({ vmid, leftOut }) => [vmid, leftOut?.disks])).toEqual([
        [101, undefined],
        [102, ['scsi1']],
        [103, undefined],
      ]);
      expect(pruned).toEqual([['vm/101', 'ct/103']]);
    });

    it('is failed also when only the dump itself says so', async () => {
      const world = await useWorld();
      await world.store(ID, {
        dumpNode: async ({ vmids }) => ({
          kind: 'done',
          runs: vmids.map((vmid) => ({ vmid, kind: 'done', ...(vmid === 103 ? { leftOut: ['mp0'] } : {}) })),
        }),
      });
      const result = await (await world.startBackup(aBackupInput(ID))).result();
      expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
      expect(result.stop?.summary).toContain('disks left out of guest 103 (mp0)');
    });

    it('goes by what it read before its dump when a further try cannot read it', async () => {
      const unread = { ...PLAN, guests: PLAN.guests.map((guest) => ({ ...guest, leftOut: 'unread' as const })) };
      const outcomeAfter = async (first: typeof PLAN) => {
        const world = await useWorld();
        let tries = 0;
        await world.store(ID, {
          openDump: async () => ((tries += 1) === 1 ? first : { ...unread, nodes: [{ node: 'n1', vmids: [101] }] }),
          dumpNode: async ({ vmids }) => ({
            kind: 'done',
            runs: vmids.map((vmid) => ({
              vmid,
              ...(tries === 1 && vmid === 101 ? locked : { kind: 'done' as const }),
            })),
          }),
        });
        const { outcome } = await (await world.startBackup(aBackupInput(ID))).result();
        return [tries, outcome];
      };
      expect(await outcomeAfter(PLAN)).toEqual([2, 'succeeded']);
      expect(await outcomeAfter(lacking)).toEqual([2, 'failed']);
      expect(await outcomeAfter(unread)).toEqual([2, 'failed']);
    });

    it('has succeeded when store.yaml says that just these may be lost', async () => {
      const world = await useWorld();
      await world.store(ID, { openDump: async () => lacking });
      const outcomeWith = async (withoutDisks: BackupStoreInput['withoutDisks']) =>
        (await (await world.startBackup(aBackupInput(ID, { withoutDisks }))).result()).outcome;
      expect(await outcomeWith({ 102: ['scsi1'] })).toBe('succeeded');
      expect(await outcomeWith({ 102: ['scsi2'], 101: ['scsi1'] })).toBe('failed');
    });
  });

  it('is failed, and has nothing pruned in the second place, when both servers have one name', async () => {
    const world = await useWorld();
    await world.store(ID);
    const there = await world.centralServer({
      verifyCopy: async () => ({ ok: true, detail: 'nothing to verify', node: 'pbs-store' }),
      readCopy: async () => ({ copy: aCopy('pbs-store') }),
    });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const result = await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'BackupIncomplete' });
    expect(result.stop?.summary).toContain('both backup servers are called pbs-store');
    expect(there).toEqual(['verifyCopy s001', 'readCopy s001']);
  });

  it('whose worker does not tell which server has verified it here has that read, and is pruned in the second place', async () => {
    const world = await useWorld();
    await world.store(ID, { verifyCopy: async () => ({ ok: true, detail: 'done' }) });
    const there = await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const result = await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(result.outcome).toBe('succeeded');
    expect(there).toEqual(['verifyCopy s001', 'readCopy s001', 'pruneCopy s001', 'readCopy s001']);
  });

  it('whose own verification met a server of another name than it reads by has nothing pruned in the second place', async () => {
    const world = await useWorld();
    await world.store(ID, {
      verifyCopy: async () => ({ ok: false, detail: 'its tasks say pbs-central', reason: 'BackupIncomplete' }),
    });
    const there = await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(there).toEqual(['verifyCopy s001', 'readCopy s001']);
  });

  it.each([
    ['and whose server cannot be read', new Error('no route to host')],
    ['and whose server has the name of the central one', aCopy('pbs-central')],
  ])('of which nobody knows which server has verified it here, %s, has nothing pruned there', async (_, read) => {
    const world = await useWorld();
    await world.store(ID, {
      verifyCopy: async () => ({ ok: true, detail: 'done' }),
      readCopy: async () => {
        if (read instanceof Error) throw ApplicationFailure.nonRetryable(read.message, 'BackupFailed');
        return { copy: read };
      },
    });
    const there = await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    await (await world.startBackup(aBackupInput(ID, { orders }))).result();
    expect(there).toEqual(['verifyCopy s001', 'readCopy s001']);
  });

  /** The newest backup of guest 101 is of last night, and damaged. */
  const damagedCopy = (): CopyAnswer['copy'] => {
    const { node, snapshots } = aCopy('pbs-store');
    const at = Math.floor(Date.now() / 1_000) - 86_400;
    return {
      node,
      snapshots: snapshots.map((one) => ({
        ...one,
        time: at,
        night: 'night-2026-11-25',
        verification: { state: one.id === '101' ? 'failed' : 'ok', node, at },
      })),
    };
  };

  it('that is refused as a whole tells and records what the servers hold of the guests that were read', async () => {
    const world = await useWorld();
    await world.store(ID, {
      openDump: async () => ({
        kind: 'refused',
        stop: { reason: 'DatastoreFull', summary: 'No room.' },
        guests: PLAN.guests,
      }),
      verifyCopy: async () => ({ ok: false, detail: 'vm/101 is damaged', reason: 'BackupVerifyFailed' }),
      readCopy: async () => ({ copy: damagedCopy() }),
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'DatastoreFull' });
    expect(result.stop?.summary).toMatch(/^No room\. Damaged: vm\/101\//);
    expect(result.stop?.detail).toContain('verify: vm/101 is damaged');
    const [entry] = world.central.ledgerOf('backups');
    expect(entry?.guests.map(({ vmid, local }) => [vmid, local?.unprovenWhy])).toEqual([
      [101, 'verification failed'],
      [102, undefined],
      [103, undefined],
    ]);
    expect(entry?.night).toMatchObject(
      [101, 102, 103].map((vmid) => ({ vmid, result: 'nothing new', text: 'No room.' })),
    );
  });

  it.each([
    [
      'refused before the guests were read',
      { kind: 'refused', stop: { reason: 'BackupRefused', summary: 'No token.' } },
    ],
    ['broken off', undefined],
  ] as const)('whose dump is %s has what the servers hold recorded of the guests that are known', async (_, answer) => {
    const world = await useWorld();
    await world.store(ID, {
      openDump: async () => {
        if (answer) return answer;
        throw ApplicationFailure.nonRetryable('gone', 'StepFailed');
      },
      readCopy: async () => ({ copy: damagedCopy() }),
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result.stop?.summary).toMatch(/ Damaged: vm\/101\//);
    expect(world.central.ledgerOf('backups')).toEqual([]);
    expect(world.central.ledgerOf('copies')).toMatchObject([
      { task: { store: ID }, local: { node: 'pbs-store' }, refusal: expect.any(String) },
    ]);
  });

  it('is failed when nobody can read the server, and what the dumps said is not recorded as proof', async () => {
    const world = await useWorld();
    await world.store(ID, {
      readCopy: async () => {
        throw ApplicationFailure.nonRetryable('no route to host', 'BackupFailed');
      },
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'FactsUnreadable' });
    const [entry] = world.central.ledgerOf('backups');
    expect(entry?.guests.map(({ local }) => local)).toEqual([undefined, undefined, undefined]);
    expect(entry?.night.map((row) => row.result)).toEqual(['unreadable', 'unreadable', 'unreadable']);
  });

  it('dumps once more, and alone, the guest that somebody else had locked', async () => {
    const world = await useWorld();
    let tries = 0;
    const store = await world.store(ID);
    store.on('dumpNode', async ({ vmids, node }) => {
      if (node !== 'n2' || ++tries > 2) return { kind: 'done', runs: vmids.map((vmid) => ({ vmid, kind: 'done' })) };
      return { kind: 'done', runs: vmids.map((vmid) => ({ vmid, ...locked })) };
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result.outcome).toBe('succeeded');
    expect(store.calls.filter((call) => call.startsWith('dumpNode')).toSorted()).toEqual([
      'dumpNode n1',
      'dumpNode n2',
      'dumpNode n2',
      'dumpNode n2',
      'dumpNode n3',
    ]);
  });

  it.each([
    ['DatastoreFull', 1],
    ['BackupRefused', 1],
    ['NoQuorum', 12],
  ] as const)('that is refused for %s is asked for %i times in all', async (reason, times) => {
    const world = await useWorld();
    const store = await world.store(ID, {
      openDump: async () => ({ kind: 'refused', stop: { reason, summary: 'not now' } }),
      readCopy: async () => ({ copy: aCopy('pbs-store', []) }),
    });
    const result = await (await world.startBackup(aBackupInput(ID))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason });
    expect(store.calls.filter((call) => call === 'openDump')).toHaveLength(times);
    expect(store.calls.some((call) => call.startsWith('dumpNode'))).toBe(false);
  });

  /** Guest 102 is locked; from the second try on the dump is refused as a whole. */
  const refusedLater = async (reason: Reason) => {
    const world = await useWorld();
    const store = await world.store(ID, { readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }) });
    store.on('openDump', async ({ attempt }) =>
      attempt === 1 ? PLAN : { kind: 'refused', stop: { reason, summary: 'not now' } },
    );
    store.on('dumpNode', async ({ vmids, node }) => ({
      kind: 'done',
      runs: vmids.map((vmid) => (node === 'n2' ? { vmid, ...locked } : { vmid, kind: 'done' })),
    }));
    const there = await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    // By far too little for the tries that are left, were they not counted.
    const result = await (await world.startBackup(aBackupInput(ID, { orders, storeTimeout: 20_000 }))).result();
    return { result, store, there, opened: store.calls.filter((call) => call === 'openDump').length };
  };

  it.each([
    ['DatastoreFull', 2],
    ['BackupRefused', 2],
    ['BackupFailed', 4],
    ['NoQuorum', 13],
  ] as const)(
    'whose further try is refused for %s is asked for %i times, and proves what it has',
    async (reason, times) => {
      const { result, store, there, opened } = await refusedLater(reason);
      expect(result).toMatchObject({ outcome: 'failed', reason });
      expect(result.stop?.detail?.join()).toContain('guest 102 (inventory): nothing new');
      expect(opened).toBe(times);
      expect(store.calls).toEqual(expect.arrayContaining(['sendCopy', 'verifyCopy', 'readCopy']));
      expect(there).toEqual(expect.arrayContaining(['verifyCopy s001', 'readCopy s001']));
    },
  );

  /** Guest 102 is locked for longer than there is time for the store. */
  const late = async (change: Partial<BackupStoreInput> = {}) => {
    const world = await useWorld();
    const store = await world.store(ID, { readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }) });
    store.on('dumpNode', async ({ vmids, node }) => ({
      kind: 'done',
      runs: vmids.map((vmid) => (node === 'n2' ? { vmid, ...locked } : { vmid, kind: 'done' })),
    }));
    const input = aBackupInput(ID, { storeTimeout: 4_000, deferFor: 3_000, ...change });
    return { store, start: () => world.startBackup(input) };
  };

  it('whose time is over proves what it has dumped in time', async () => {
    const { store, start } = await late();
    const pruned = groupsPruned(store);
    expect(await (await start()).result()).toMatchObject({ outcome: 'timedOut', reason: 'OperationTimeout' });
    expect(store.calls).toEqual(expect.arrayContaining(['verifyCopy', 'readCopy']));
    expect(pruned).toEqual([['vm/101', 'ct/103']]);
  });

  it('whose time is over, and that people end then, begins no further step', async () => {
    const { store, start } = await late();
    const verifying = store.hold('verifyCopy');
    const backup = await start();
    await verifying.reached;
    await backup.executeUpdate(abortUpdate, { args: [{ by: 'anna' }] });
    verifying.release();
    await backup.result();
    expect(store.calls).not.toContain('pruneCopy');
  });

  it('begins nothing after the night: a store that another operation holds till then is busy', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const patching = store.hold('readFacts');
    await world.startStore(aStoreInput(ID));
    await patching.reached;
    const result = await (await world.startBackup(aBackupInput(ID, { notAfter: inSeconds(2) }))).result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'StoreBusy' });
    expect(result.stop?.summary).toContain('Another operation held the store');
    expect(store.calls).not.toContain('openDump');
    patching.release();
  });

  it('waits for a patch that holds the store, and dumps then', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const patching = store.hold('readFacts');
    const patch = await world.startStore(aStoreInput(ID));
    await patching.reached;
    const backup = await world.startBackup(aBackupInput(ID));
    await eventually('it to wait', async () =>
      (await backup.query(backupQuery)).step.startsWith('waits for the store'),
    );
    patching.release();
    expect((await patch.result()).outcome).toBe('succeeded');
    expect((await backup.result()).outcome).toBe('succeeded');
    expect(store.calls.indexOf('closeOperation succeeded')).toBeLessThan(store.calls.indexOf('openDump'));
  });

  it('ends what runs when it is aborted, and begins nothing more', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    store.on('dumpNode', async ({ vmids }) => ({ kind: 'done', runs: vmids.map((vmid) => ({ vmid, ...locked })) }));
    store.on('readCopy', async () => ({ copy: aCopy('pbs-store', []) }));
    const dumping = store.hold('dumpNode n2');
    const backup = await world.startBackup(aBackupInput(ID));
    await dumping.reached;
    await backup.executeUpdate(abortUpdate, { args: [{ by: 'anna' }] });
    dumping.release();
    expect(await backup.result()).toMatchObject({ outcome: 'aborted', reason: 'Aborted' });
    expect(store.calls.filter((call) => call.startsWith('dumpNode'))).toHaveLength(3);
    expect(store.calls).toContain('closeDump');
    expect(store.calls).not.toContain('verifyCopy');
  });

  it('of a store that does not answer touches nothing', async () => {
    const world = await useWorld();
    const result = await (await world.startBackup(aBackupInput(ID, { offlineAfter: 200 }))).result();
    expect(result).toMatchObject({ outcome: 'offline', reason: 'StoreOffline' });
  });
});

describe('a train that finds the store held by its backup', () => {
  /** How often it found the store held. */
  const triesOf = async (wave: Parameters<typeof eventsOf>[0]) =>
    (await eventsOf(wave)).filter((event) => event.startChildWorkflowExecutionFailedEventAttributes).length;

  /** `others` are in work in the wave, and stay so until they are let go. */
  const meet = async (others: string[] = [], limits: Partial<WaveInput['limits']> = {}) => {
    const opened = await useWorld();
    const held = [...(await opened.stores(others)).values()].map((other) => other.hold('readFacts'));
    const world = Object.assign(opened, { letGo: () => held.forEach((other) => other.release()) });
    const store = await world.store(ID);
    let tries = 0;
    store.on('dumpNode', async ({ vmids, node }) => {
      if (node === 'n2' && ++tries === 1) return { kind: 'done', runs: vmids.map((vmid) => ({ vmid, ...locked })) };
      return { kind: 'done', runs: vmids.map((vmid) => ({ vmid, kind: 'done' })) };
    });
    const dumping = store.hold('dumpNode n1');
    const backup = await world.startBackup(aBackupInput(ID));
    await dumping.reached;
    const input: WaveInput = aWave([ID, ...others], {
      limits: { deferFor: 600_000, maxConcurrency: 2, ...limits },
    });
    const wave = await world.startWave(input);
    await waveUntil(wave, 'the store is deferred', ({ deferred }) => deferred === 1);
    return { world, store, dumping, backup, wave };
  };

  it('has its turn after the dump that runs, before the tries that are left, and waits for no timer', async () => {
    const { store, dumping, backup, wave } = await meet();
    dumping.release();
    const report = await wave.result();
    expect(report.results).toMatchObject([{ store: ID, outcome: 'succeeded' }]);
    expect((await backup.result()).outcome).toBe('succeeded');
    const at = (call: string) => store.calls.indexOf(call);
    expect(at('closeDump')).toBeLessThan(at('openOperation'));
    expect(store.calls.lastIndexOf('openDump')).toBeGreaterThan(at('closeOperation succeeded'));
    expect(store.calls.filter((call) => call === 'openDump')).toHaveLength(2);
  });

  it('waits until it is called, and uses up no deferral by its tries until then', async () => {
    const { dumping, backup, wave } = await meet([], { deferFor: 100, deferLimit: 1 });
    await eventually('more tries than it has', async () => (await triesOf(wave)) > 3);
    dumping.release();
    expect((await wave.result()).results).toMatchObject([{ store: ID, outcome: 'succeeded' }]);
    expect((await backup.result()).outcome).toBe('succeeded');
  });

  it('waits for its call no longer than its window is open', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const dumping = store.hold('dumpNode n1');
    const backup = await world.startBackup(aBackupInput(ID));
    await dumping.reached;
    const limits = { deferFor: 100, deferLimit: 1 };
    const wave = await world.startWave(aWave([{ id: ID, closes: inSeconds(3) }], { limits }));
    expect((await wave.result()).results).toMatchObject([{ outcome: 'skipped', reason: 'OutsideWindow' }]);
    dumping.release();
    expect((await backup.result()).outcome).toBe('succeeded');
  });

  it('gives up after its tries when the backup waits as well, for another operation', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const patching = store.hold('readFacts');
    await world.startStore(aStoreInput(ID, { train: 'by-hand' }));
    await patching.reached;
    const backup = await world.startBackup(aBackupInput(ID));
    await eventually('it to wait', async () =>
      (await backup.query(backupQuery)).step.startsWith('waits for the store'),
    );
    const wave = await world.startWave(aWave([ID], { limits: { deferFor: 100, deferLimit: 2 } }));
    expect((await wave.result()).results).toMatchObject([{ outcome: 'skipped', reason: 'StoreBusy' }]);
    patching.release();
    expect((await backup.result()).outcome).toBe('succeeded');
  });

  const free = { paused: false, pausedStores: [], abortedStores: [] };

  it.each([
    ['the wave', { ...free, paused: true }],
    ['that store', { ...free, pausedStores: [ID] }],
  ])('lets the backup go on while people have %s stand still', async (_, stands) => {
    const { store, dumping, backup, wave } = await meet([], { deferFor: 500 });
    await wave.signal(steerWaveSignal, stands);
    dumping.release();
    expect((await backup.result()).outcome).toBe('succeeded');
    expect(store.calls).not.toContain('openOperation');
    await wave.signal(steerWaveSignal, free);
    expect((await wave.result()).results).toMatchObject([{ store: ID, outcome: 'succeeded' }]);
  });

  it('asks again when people let it go on and the store is still held', async () => {
    const { store, dumping, backup, wave } = await meet([], { deferFor: 500 });
    const heard = (signals: string[]) =>
      eventually(`the backup to hear ${signals.at(-1)}`, async () => {
        const names = (await eventsOf(backup)).flatMap(
          (event) => event.workflowExecutionSignaledEventAttributes?.signalName ?? [],
        );
        return signals.every((signal, index) => names[index] === signal);
      });
    await heard(['makeWay']);
    await wave.signal(steerWaveSignal, { ...free, paused: true });
    await heard(['makeWay', 'wayTaken']);
    await wave.signal(steerWaveSignal, free);
    await heard(['makeWay', 'wayTaken', 'makeWay']);
    dumping.release();
    expect((await wave.result()).results).toMatchObject([{ store: ID, outcome: 'succeeded' }]);
    expect((await backup.result()).outcome).toBe('succeeded');
    expect(store.calls.lastIndexOf('openDump')).toBeGreaterThan(store.calls.indexOf('closeOperation succeeded'));
  });

  it('asks by each further try, also a backup that was not there when it asked first', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    const patching = store.hold('readFacts');
    const patch = await world.startStore(aStoreInput(ID, { train: 'by-hand' }));
    await patching.reached;
    const wave = await world.startWave(aWave([ID], { limits: { deferFor: 500, deferLimit: 100 } }));
    const unheard = async () =>
      (await eventsOf(wave)).some((event) => event.signalExternalWorkflowExecutionFailedEventAttributes);
    await eventually('its word to find nobody', unheard);
    const backup = await world.startBackup(aBackupInput(ID));
    await eventually('the backup to stand back', async () =>
      (await backup.query(backupQuery)).step.startsWith('stands back'),
    );
    patching.release();
    await patch.result();
    expect((await wave.result()).results).toMatchObject([{ store: ID, outcome: 'succeeded' }]);
    expect((await backup.result()).outcome).toBe('succeeded');
    expect(store.calls.lastIndexOf('closeOperation succeeded')).toBeLessThan(store.calls.indexOf('openDump'));
  });

  it('and is called off lets the backup go on', async () => {
    const { store, dumping, backup, wave } = await meet();
    await wave.signal(steerWaveSignal, { paused: true, pausedStores: [], abortedStores: [ID] });
    await wave.result();
    dumping.release();
    expect((await backup.result()).outcome).toBe('succeeded');
    expect(store.calls).not.toContain('openOperation');
  });

  it('and gives the store up lets the backup go on while its other stores are in work', async () => {
    const { world, dumping, backup, wave } = await meet(['s002']);
    await wave.signal(steerWaveSignal, { paused: false, pausedStores: [], abortedStores: [ID] });
    dumping.release();
    expect((await backup.result()).outcome).toBe('succeeded');
    expect((await wave.describe()).status.name).toBe('RUNNING');
    world.letGo();
    await wave.result();
  });

  it('and is terminated keeps the backup from further tries no longer than the night', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    store.on('dumpNode', async ({ vmids }) => ({ kind: 'done', runs: vmids.map((vmid) => ({ vmid, ...locked })) }));
    store.on('readCopy', async () => ({ copy: aCopy('pbs-store', []) }));
    const dumping = store.hold('dumpNode n1');
    const backup = await world.startBackup(aBackupInput(ID, { notAfter: inSeconds(4) }));
    await dumping.reached;
    const wave = await world.startWave(aWave([ID], { limits: { deferFor: 600_000 } }));
    await waveUntil(wave, 'the store is deferred', ({ deferred }) => deferred === 1);
    await wave.terminate('gone');
    dumping.release();
    const { outcome, reason } = await backup.result();
    expect(outcome).toBe('failed');
    expect(reason).not.toBe('StoreBusy');
  });

  it('and has no slot for it before the night is over: the backup says that it stood back', async () => {
    const world = await useWorld();
    const store = await world.store(ID);
    store.on('dumpNode', async ({ vmids }) => ({ kind: 'done', runs: vmids.map((vmid) => ({ vmid, ...locked })) }));
    store.on('readCopy', async () => ({ copy: aCopy('pbs-store', []) }));
    const dumping = store.hold('dumpNode n1');
    const other = (await world.store('s002')).hold('readFacts');
    const backup = await world.startBackup(aBackupInput(ID, { notAfter: inSeconds(8) }));
    await dumping.reached;
    const wave = await world.startWave(aWave([ID, 's002'], { limits: { deferFor: 600_000, maxConcurrency: 1 } }));
    await other.reached;
    dumping.release();
    const result = await backup.result();
    expect(result).toMatchObject({ outcome: 'failed', reason: 'StoreBusy' });
    expect(result.stop?.summary).toContain('It stood back for a train');
    other.release();
    await wave.result();
  });

  it('is not misled by a word about another store', async () => {
    const { dumping, wave, backup } = await meet();
    await wave.signal(storeFreeSignal, { store: 's999' });
    await wave.signal('storeFree', { nonsense: true });
    expect((await wave.query(waveQuery)).deferred).toBe(1);
    dumping.release();
    await wave.result();
    await backup.result();
  });
});

describe('a wave of backups', () => {
  const aBackupWave = (stores: WaveInput['stores'], change: Parameters<typeof aWave>[1] = {}): WaveInput => {
    const { release: _, ...wave } = aWave(
      stores.map(({ id }) => id),
      change,
    );
    return {
      ...wave,
      train: 'night-2026-11-26',
      stage: 'backup',
      operation: 'backup',
      orders: someOrders({ slots: { town: 1 } }),
      stores,
    };
  };

  it('never has more stores on one uplink than it has slots', async () => {
    const world = await useWorld();
    let now = 0;
    let most = 0;
    await world.stores(['s001', 's002', 's003'], {
      openDump: async () => {
        most = Math.max(most, ++now);
        return { kind: 'done', adopted: [], nodes: [], guests: [], unreachable: [] };
      },
      readCopy: async () => {
        now -= 1;
        return { copy: aCopy('pbs-store', []) };
      },
    });
    const closes = inSeconds(60);
    const stores = ['s001', 's002', 's003'].map((id) => ({ id, closes, uplink: 'town' }));
    const report = await (await world.startWave(aBackupWave(stores, { limits: { maxConcurrency: 3 } }))).result();
    expect(report.results.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(most).toBe(1);
  });

  it('begins the next store while one waits for the central server, and waits for both', async () => {
    const world = await useWorld();
    const [first, second] = [await world.store('s001'), await world.store('s002')];
    let verify = () => undefined as void;
    const isTurn = new Promise<void>((resolve) => (verify = resolve));
    await world.centralServer({
      verifyCopy: async () => {
        await isTurn;
        return { ok: true, detail: 'done', node: 'pbs-central' };
      },
    });
    const closes = inSeconds(60);
    const stores = ['s001', 's002'].map((id) => ({ id, closes, uplink: 'town' }));
    const { orders, ...input } = aBackupWave(stores, { limits: { maxConcurrency: 1 } });
    const wave = await world.startWave({ ...input, orders: { ...orders!, offsite: { keep: { daily: 14 } } } });
    await eventually('both are sent', async () => [first, second].every(({ calls }) => calls.includes('sendCopy')));
    await waveUntil(wave, 'both are in work', ({ inFlight }) => inFlight === 2);
    verify();
    expect((await wave.result()).results.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded']);
  });

  it('misses a store whose turn does not come before the night ends, and starts nothing then', async () => {
    const world = await useWorld();
    const [first, second] = [await world.store('s001'), await world.store('s002')];
    const dumping = first.hold('dumpNode n1');
    const wave = await world.startWave(
      aBackupWave([
        { id: 's001', closes: inSeconds(60), uplink: 'town' },
        { id: 's002', closes: inSeconds(2), uplink: 'town' },
      ]),
    );
    await dumping.reached;
    await waveUntil(wave, 's002 is missed', ({ tally }) => tally.missed === 1);
    dumping.release();
    const report = await wave.result();
    expect(report.results.find(({ store }) => store === 's002')).toMatchObject({ reason: 'OutsideWindow' });
    expect(second.calls).toEqual([]);
  });

  it('goes on whatever fails', async () => {
    const world = await useWorld();
    const ids = ['s001', 's002', 's003'];
    await world.stores(ids, { readCopy: async () => ({ copy: aCopy('pbs-store', []) }) });
    const closes = inSeconds(60);
    const input = aBackupWave(
      ids.map((id) => ({ id, closes })),
      {
        limits: { errorThreshold: { minSample: 1 }, offlineThreshold: { minSample: 1 } },
      },
    );
    const report = await (await world.startWave(input)).result();
    expect(report.results.map(({ reason }) => reason)).toEqual(['BackupFailed', 'BackupFailed', 'BackupFailed']);
    expect(report.breach).toBeUndefined();
  });

  it('is refused without orders, and a patch without a release', async () => {
    const world = await useWorld();
    const { orders: _, ...without } = aBackupWave([{ id: 's001' }]);
    await expect((await world.startWave(without)).result()).rejects.toThrow();
    const { release: __, ...patch } = aWave(['s002']);
    await expect(
      world.client.workflow.execute('wave', {
        workflowId: waveWorkflowId('x', 'y', 0, 1),
        taskQueue: 'edge-control',
        args: [patch],
      }),
    ).rejects.toThrow();
    expect([backupWorkflowId(ID), storeWorkflowId(ID)]).toEqual(['pbs/s001', 'store/s001']);
  });
});
