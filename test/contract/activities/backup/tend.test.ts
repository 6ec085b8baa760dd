import { ActivityCancellationDetails, CancelledFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TendDeps } from '#activities/backup/deps.js';
import { createStoreBackupActivities } from '#activities/backup/index.js';
import { createTendActivities } from '#activities/backup/tend.js';
import { keyChanges } from '#domain/backup-encryption.js';
import { createOperation } from '#activities/store/operation.js';
import { judgeNight } from '#domain/backup-result.js';
import type { BackupTask, PruneTask, VerifyTask } from '#domain/messages/backup.js';
import { createPbsClient } from '#systems/pbs/client.js';
import { copyForEach, endByHand, endOne, storeOf } from '../../lab/pbs/central-copies.js';
import { startPracticeNight, type PracticeNight } from './practice-night.js';

let night: PracticeNight;
beforeEach(async () => {
  night = await startPracticeNight();
});
afterEach(() => night.close());

const NEVER = new Promise<never>(() => undefined);
const DAY = 86_400_000;
const CENTRAL_OWNER = 'edge-stores@pbs!store-001';

function theTask(): BackupTask {
  const { fence: _fence, attempt: _attempt, ...task } = night.task;
  return task;
}
const verifyTask = (change: Partial<VerifyTask> = {}): VerifyTask => ({
  ...theTask(),
  reverifyAfter: 30 * DAY,
  ...change,
});
const pruneTask = (): PruneTask => ({ ...theTask(), keep: { last: 1 } });

const nightOf = (nth: number): string => `night-2026-11-${25 + nth}`;

/** All guests, on all nodes, in the nth night. */
async function dumpAll(nth = 1): Promise<void> {
  const worker = night.worker();
  const task = {
    ...night.task,
    night: nightOf(nth),
    operationId: `${nightOf(nth)}/${night.task.store}/r0`,
    fence: nth,
  };
  const plan = await worker.openDump(task);
  if (plan.kind !== 'done') throw new Error(JSON.stringify(plan.stop));
  for (const each of plan.nodes) {
    const answer = await worker.dumpNode({ ...task, ...each });
    expect(answer).toMatchObject({ kind: 'done', runs: each.vmids.map((vmid) => ({ vmid, kind: 'done' })) });
  }
  await worker.closeDump(task);
}
/** Of a night for which all that has begun by now is of an earlier one. */
const later = (): BackupTask => ({ ...theTask(), startedAt: new Date(Date.now() + 10 * 60_000).toISOString() });
/** Snapshots of a group are told apart by the second. */
async function nextSecond(): Promise<void> {
  const second = Math.floor(Date.now() / 1_000);
  await expect.poll(() => Math.floor(Date.now() / 1_000), { timeout: 5_000 }).toBeGreaterThan(second);
}
const snapshots = () => night.verifier.snapshots('backup', '');
const newestIn = <T extends { time: number }>({ snapshots: all }: { snapshots: T[] }): T =>
  all.reduce((newest, one) => (one.time > newest.time ? one : newest));
const verified = () => night.effects('snapshot.verify').map(({ guest }) => guest);

describe('a night', () => {
  it('is proven by what the server holds after all of its steps', async () => {
    const worker = night.worker();
    const plan = await worker.openDump(night.task);
    if (plan.kind !== 'done') throw new Error(JSON.stringify(plan.stop));
    await worker.closeDump(night.task);
    await dumpAll(2);
    for (const answer of [
      await worker.verifyCopy(verifyTask()),
      await worker.pruneCopy(pruneTask()),
      await worker.collectSpace(theTask()),
      await worker.sendCopy(theTask()),
    ]) {
      expect(answer).toMatchObject({ ok: true });
    }
    const { copy: local, space, stillBad } = await worker.readCopy(theTask());
    expect(space?.total).toBeGreaterThan(space?.used ?? Infinity);
    expect(stillBad).toBe(0);
    const startedAt = new Date(night.task.startedAt);
    const facts = { guests: plan.guests, night: nightOf(2), startedAt, local, runs: [], steps: [] };
    expect(judgeNight(facts, new Date())).toMatchObject({ kind: 'succeeded' });
    expect(local.snapshots.every(({ encrypted }) => encrypted)).toBe(true);
  });
});

describe('a storage whose key is', () => {
  const withKey = async (key: string | undefined) => {
    await dumpAll();
    Object.assign(night.lab.store.storages.pbs('pbs').config, { encryptionKey: key });
    await dumpAll(2);
    await night.worker().verifyCopy(verifyTask());
    const { copy: local } = await night.worker().readCopy(theTask());
    const guests = [101, 102].map((vmid) => ({
      vmid,
      kind: vmid === 102 ? ('lxc' as const) : ('qemu' as const),
      name: 'any',
      template: false,
    }));
    const facts = { guests, night: nightOf(2), startedAt: new Date(night.task.startedAt), local };
    return {
      judged: judgeNight({ ...facts, runs: [], steps: [] }, new Date()),
      changed: keyChanges(facts, new Date()),
    };
  };

  it('lost goes on in clear, and the night says so', async () => {
    const { judged, changed } = await withKey(undefined);
    expect(judged).toMatchObject({ kind: 'partial', stop: { reason: 'BackupUnencrypted' } });
    expect(JSON.stringify(judged)).toContain('not encrypted: guest 101, 102');
    expect(changed).toEqual([]);
  });

  it('another one by now has the night green, and tells the change', async () => {
    const { judged, changed } = await withKey(Array(32).fill('bb').join(':'));
    expect(judged.kind).toBe('succeeded');
    expect(changed.map(({ vmid, to }) => [vmid, to])).toEqual([
      [101, 'bb:bb:bb:bb:bb:bb:bb:bb'],
      [102, 'bb:bb:bb:bb:bb:bb:bb:bb'],
    ]);
  });
});

describe('a verification', () => {
  it('is of what is new, and of nothing twice', async () => {
    await dumpAll();
    expect(await night.worker().verifyCopy(verifyTask())).toEqual({
      ok: true,
      detail: '3 snapshots verified',
      node: night.pbs.hostname,
    });
    expect(verified().sort()).toEqual([100, 101, 102]);
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({ ok: true, detail: '0 snapshots verified' });
    expect(verified()).toHaveLength(3);
  });

  it('is of what was verified too long ago, in one task for a whole group', async () => {
    await dumpAll();
    await night.worker().verifyCopy(verifyTask());
    await dumpAll(2);
    expect(await night.worker().verifyCopy(verifyTask({ reverifyAfter: 1 }))).toMatchObject({ ok: true });
    expect(verified()).toHaveLength(9);
    expect(night.pbs.tasks.all.filter(({ type }) => type === 'verify_group')).toHaveLength(3);
  });

  it('waits for one of an earlier night that runs, whatever it is of, and does nothing of it twice', async () => {
    await dumpAll();
    await nextSecond();
    await dumpAll(2);
    const { time } = (await snapshots()).find(({ id }) => id === '101')!;
    const group = { type: 'vm', id: '101' } as const;
    const work = { kind: 'verify', datastore: 'backup', namespace: '', group, time, ignoreVerified: false } as const;
    const old = await night.verifier.start(work);
    expect((await night.verifier.taskStatus(old)).state).toBe('running');
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({ ok: true });
    expect(verified().filter((vmid) => vmid === 101)).toHaveLength(2);
    expect((await snapshots()).every(({ verification }) => verification?.state === 'ok')).toBe(true);
  });

  it('finds what is damaged, names it, and says so again when its answer was lost', async () => {
    await dumpAll();
    night.fault({ kind: 'chunk-corrupt', params: { vmid: 101 } });
    const damaged = {
      ok: false,
      reason: 'BackupVerifyFailed',
      detail: expect.stringMatching(/^vm\/101\/[^;]+: verification failed/) as string,
    };
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject(damaged);
    expect(verified()).toHaveLength(3);
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject(damaged);
    expect(verified()).toHaveLength(3);
  });

  it('is taken over when it runs: a worker that was killed has it done once', async () => {
    await night.close();
    // Slow enough that it still runs when the next worker comes.
    night = await startPracticeNight({ speed: 200 });
    await dumpAll();
    const { pbs } = night.backup;
    const verifier = { ...pbs.verifier, taskStatus: () => NEVER };
    void night.worker({ backup: { pbs: { ...pbs, verifier } } }).verifyCopy(verifyTask());
    const tasks = () => night.pbs.tasks.all.filter(({ type }) => type === 'verify_snapshot');
    await expect.poll(tasks).toHaveLength(1);
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({ ok: true });
    expect(verified()).toHaveLength(3);
    expect(tasks()).toHaveLength(3);
  });

  it('is found when its answer is lost', async () => {
    await dumpAll();
    night.fault({ kind: 'lost-answer', step: 'snapshot.verify', moment: 'after', times: 1 });
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({ ok: true });
    expect(verified()).toHaveLength(3);
  });

  it('goes on after the server lost its power, and is thrown until then', async () => {
    await dumpAll();
    night.pbs.powerOff('test');
    await expect(night.worker().verifyCopy(verifyTask())).rejects.toMatchObject({
      type: 'NodeUnreachable',
      nonRetryable: false,
    });
    night.pbs.powerOn('test');
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({ ok: true });
  });

  it('counts for nothing when the file of the worker gives the server another name', async () => {
    await dumpAll();
    const pbs = { ...night.backup.pbs, node: 'pbs-other' };
    const answer = await night.worker({ backup: { pbs } }).verifyCopy(verifyTask());
    expect(answer).toMatchObject({ ok: false, detail: expect.stringMatching(/pbs-other.*pbs-store-001/) as string });
  });

  it('is not well of a datastore that the token sees nothing of', async () => {
    await dumpAll();
    const { acl } = night.pbs;
    for (const entry of acl.filter(({ authId }) => authId.endsWith('!verify'))) entry.role = 'DatastoreBackup';
    expect(await night.verifier.snapshots('backup', '')).toEqual([]);
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({ ok: false, reason: 'BackupRefused' });
    await expect(night.worker().readCopy(theTask())).rejects.toMatchObject({
      type: 'BackupRefused',
      nonRetryable: true,
    });
  });
});

describe('a pruning', () => {
  it('removes what the policy does not keep, and nothing more when it is asked again', async () => {
    await dumpAll();
    await dumpAll(2);
    expect(await snapshots()).toHaveLength(6);
    expect(await night.worker().pruneCopy(pruneTask())).toEqual({
      ok: true,
      detail: '3 snapshots of 3 groups removed',
    });
    const left = await snapshots();
    expect(left).toHaveLength(3);
    expect(await night.worker().pruneCopy(pruneTask())).toMatchObject({ detail: '0 snapshots of 3 groups removed' });
    expect(night.effects('datastore.prune').every(({ by }) => by === 'edge-governor@pbs!prune')).toBe(true);
  });

  it('of some groups leaves those of the others as they are', async () => {
    await dumpAll();
    await dumpAll(2);
    const groups = [
      { type: 'vm', id: '101' },
      { type: 'ct', id: '102' },
      { type: 'vm', id: '999' },
    ] as const;
    expect(await night.worker().pruneCopy({ ...pruneTask(), groups: [...groups] })).toEqual({
      ok: true,
      detail: '2 snapshots of 2 groups removed',
    });
    expect((await snapshots()).map(({ id }) => id).sort()).toEqual(['100', '100', '101', '102']);
  });

  it.each<[string, () => Promise<unknown>, string, string[]]>([
    [
      'damaged',
      async () => {
        night.fault({ kind: 'chunk-corrupt', params: { vmid: 101 } });
        await night.worker().verifyCopy(verifyTask());
      },
      '2 snapshots of 3 groups removed; left as it is, since its newest proven backup would go: vm/101',
      ['100', '101', '101', '102'],
    ],
    [
      'not verified yet',
      () => Promise.resolve(),
      '0 snapshots of 3 groups removed; left as they are, since their newest proven backup would go: vm/100, vm/101, ct/102',
      ['100', '100', '101', '101', '102', '102'],
    ],
  ])(
    'leaves a group whose newest proven backup would go, since a newer one is %s',
    async (_, happens, detail, left) => {
      await dumpAll();
      await night.worker().verifyCopy(verifyTask());
      await dumpAll(2);
      await happens();
      expect(await night.worker().pruneCopy(pruneTask())).toEqual({ ok: true, detail });
      expect((await snapshots()).map(({ id }) => id).sort()).toEqual(left);
    },
  );

  it('goes by what stays: a newest proven backup that is protected keeps no older one', async () => {
    await dumpAll();
    await dumpAll(2);
    await night.worker().verifyCopy(verifyTask());
    for (const group of night.pbs.datastore('backup').groups('')) newestIn(group).protected = true;
    await dumpAll(3);
    expect(await night.worker().pruneCopy(pruneTask())).toEqual({
      ok: true,
      detail: '3 snapshots of 3 groups removed',
    });
    expect(await snapshots()).toHaveLength(6);
  });

  it('is not begun when nobody may see what is proven', async () => {
    await dumpAll();
    await dumpAll(2);
    const { acl } = night.pbs;
    for (const entry of acl.filter(({ authId }) => authId.endsWith('!verify'))) entry.role = 'DatastoreBackup';
    expect(await night.worker().pruneCopy(pruneTask())).toMatchObject({ ok: false, reason: 'BackupRefused' });
    expect(night.effects('datastore.prune')).toEqual([]);
  });

  it('is refused to the identity that verifies, and removes nothing', async () => {
    await dumpAll();
    await dumpAll(2);
    const pbs = { ...night.backup.pbs, pruner: night.verifier };
    const worker = night.worker({ backup: { pbs } });
    expect(await worker.pruneCopy(pruneTask())).toMatchObject({ ok: false, reason: 'BackupRefused' });
    expect(await worker.collectSpace(theTask())).toMatchObject({ ok: false, reason: 'BackupRefused' });
    expect(await snapshots()).toHaveLength(6);
    await expect(night.verifier.prune({ ...PLACE, type: 'vm', id: '101' }, { last: 1 }, false)).rejects.toMatchObject({
      kind: 'Permission',
    });
  });

  it.each([
    ['the try has taken too long', 'TIMED_OUT', { timedOut: true }],
    ['the night has ended', 'NOT_FOUND', { notFound: true }],
  ] as const)('goes on to no further group when nobody waits for it, since %s', async (_, reason, details) => {
    await dumpAll();
    await dumpAll(2);
    const { pbs } = night.backup;
    const environment = new MockActivityEnvironment();
    const pruner: typeof pbs.pruner = {
      ...pbs.pruner,
      prune: (group, keep, dryRun) => {
        if (!dryRun) environment.cancel(reason, new ActivityCancellationDetails(details));
        return pbs.pruner.prune(group, keep, dryRun);
      },
    };
    const backup = { ...night.backup, pbs: { ...pbs, pruner } };
    const { pruneCopy } = createStoreBackupActivities(night.deps, createOperation(night.deps), backup);
    await expect(environment.run(pruneCopy, pruneTask())).rejects.toBeInstanceOf(CancelledFailure);
    expect(night.effects('datastore.prune')).toHaveLength(1);
  });

  it.each([{}, { last: 0 }])('is not begun with a policy that keeps nothing: %j', async (keep) => {
    const task = { ...theTask(), keep };
    await expect(night.worker().pruneCopy(task)).rejects.toMatchObject({ type: 'InvalidInput', nonRetryable: true });
  });
});

const PLACE = { datastore: 'backup', namespace: '' } as const;

describe('a collection of space', () => {
  it('runs once, and one that has ended well since the night began is enough', async () => {
    await dumpAll();
    expect(await night.worker().collectSpace(theTask())).toMatchObject({ ok: true });
    expect(await night.worker().collectSpace(theTask())).toMatchObject({ ok: true });
    expect(night.effects('datastore.gc')).toHaveLength(1);
  });

  it('is found when its answer is lost', async () => {
    night.fault({ kind: 'lost-answer', step: 'datastore.gc', moment: 'after', times: 1 });
    expect(await night.worker().collectSpace(theTask())).toMatchObject({ ok: true });
    expect(night.effects('datastore.gc')).toHaveLength(1);
  });

  it('of an earlier night that still runs is waited for, and no second one is begun', async () => {
    await night.pruner.start({ kind: 'collect', datastore: 'backup' });
    expect(await night.worker().collectSpace(later())).toMatchObject({ ok: true });
    expect(night.effects('datastore.gc')).toHaveLength(1);
  });

  it('that another identity has begun is waited for by trying again', async () => {
    night.pbs.start({ kind: 'gc', store: 'backup' }, 'root@pam');
    await expect(night.worker().collectSpace(theTask())).rejects.toMatchObject({ type: 'Locked', nonRetryable: false });
    await expect.poll(() => night.effects('datastore.gc')).toHaveLength(1);
    expect(await night.worker().collectSpace(theTask())).toMatchObject({ ok: true });
  });

  it('is begun anew when the one before it died', async () => {
    await night.pruner.start({ kind: 'collect', datastore: 'backup' });
    night.pbs.powerOff('test');
    night.pbs.powerOn('test');
    expect(await night.worker().collectSpace(theTask())).toMatchObject({ ok: true });
    expect(night.effects('datastore.gc')).toHaveLength(1);
  });

  it('that died on a full disk says so', async () => {
    night.fault({ kind: 'datastore-full' });
    expect(await night.worker().collectSpace(theTask())).toMatchObject({ ok: false, reason: 'DatastoreFull' });
  });

  const isDue = async (days = 0): Promise<boolean | undefined> => {
    const now = () => new Date(Date.now() + days * DAY);
    return (await night.worker({ deps: { now } }).readCopy(theTask())).isCollectionDue;
  };

  it('is due when there was none, and a week after the last one', async () => {
    expect(await isDue()).toBe(true);
    await night.worker().collectSpace(theTask());
    expect(await isDue()).toBe(false);
    expect(await isDue(6.9)).toBe(false);
    expect(await isDue(7.1)).toBe(true);
  });

  it('is due when the last one ended badly', async () => {
    await night.worker().collectSpace(theTask());
    night.fault({ kind: 'datastore-full' });
    expect(await night.worker().collectSpace(later())).toMatchObject({ ok: false });
    expect(await isDue()).toBe(true);
  });
});

describe('what is sent to the central server', () => {
  const offsite = () => night.central.datastore('offsite').groups('store-001');

  it('arrives in the namespace of the store, and belongs to its token', async () => {
    await dumpAll();
    expect(await night.worker().sendCopy(theTask())).toMatchObject({ ok: true });
    expect(offsite().map(({ type, id, owner }) => [type, id, owner])).toEqual([
      ['vm', '100', CENTRAL_OWNER],
      ['vm', '101', CENTRAL_OWNER],
      ['ct', '102', CENTRAL_OWNER],
    ]);
    expect(night.central.datastore('offsite').groups('')).toEqual([]);
    expect(night.effects('datastore.sync')).toMatchObject([{ store: 'store-001', by: 'edge-governor@pbs!verify' }]);
  });

  it('is sent once, whether its answer is lost or its worker killed', async () => {
    await dumpAll();
    night.fault({ kind: 'lost-answer', step: 'datastore.sync', moment: 'after', times: 1 });
    const { pbs } = night.backup;
    const verifier = { ...pbs.verifier, taskStatus: () => NEVER };
    void night.worker({ backup: { pbs: { ...pbs, verifier } } }).sendCopy(theTask());
    const jobs = () => night.pbs.tasks.all.filter(({ type }) => type === 'syncjob');
    await expect.poll(jobs).toHaveLength(1);
    expect(await night.worker().sendCopy(theTask())).toMatchObject({ ok: true });
    expect(jobs()).toHaveLength(1);
  });

  it('is sent once over a slow line, though its worker is killed in the middle', async () => {
    await dumpAll();
    night.fault({ kind: 'wan-slow', params: { factor: 20 } });
    const jobs = () => night.pbs.tasks.all.filter(({ type }) => type === 'syncjob');
    const { pbs } = night.backup;
    void night
      .worker({ backup: { pbs: { ...pbs, verifier: { ...pbs.verifier, taskStatus: () => NEVER } } } })
      .sendCopy(theTask());
    await expect.poll(jobs).toHaveLength(1);
    expect(jobs()[0]?.exitstatus).toBeUndefined();
    expect(await night.worker().sendCopy(theTask())).toMatchObject({ ok: true });
    expect(jobs()).toHaveLength(1);
    expect(offsite().map(({ snapshots }) => snapshots.length)).toEqual([1, 1, 1]);
  });

  it('that a slow line does not carry to its end is not there, and what is here is proven all the same', async () => {
    await dumpAll();
    night.fault({ kind: 'wan-slow', params: { factor: 20 } });
    const sent = night.worker().sendCopy(theTask());
    await expect.poll(() => night.pbs.tasks.all.some(({ type }) => type === 'syncjob')).toBe(true);
    night.fault({ kind: 'wan-cut' });
    expect(await sent).toMatchObject({ ok: false, reason: 'BackupIncomplete' });
    expect(offsite()).toEqual([]);
    expect(await night.worker().verifyCopy(verifyTask())).toMatchObject({
      ok: true,
    });
  });

  it('goes on when nobody waits for it any more; the next night waits for it, then sends what is new', async () => {
    await dumpAll();
    night.fault({ kind: 'wan-slow', params: { factor: 20 } });
    const jobs = () => night.pbs.tasks.all.filter(({ type }) => type === 'syncjob');
    const first = new MockActivityEnvironment();
    const { sendCopy } = createStoreBackupActivities(night.deps, createOperation(night.deps), night.backup);
    const sending = first.run(sendCopy, theTask());
    await expect.poll(jobs).toHaveLength(1);
    first.cancel();
    await expect(sending).rejects.toBeInstanceOf(CancelledFailure);
    expect(jobs()[0]?.exitstatus).toBeUndefined();
    await nextSecond();
    await dumpAll(2);
    expect(await night.worker().sendCopy(later())).toMatchObject({ ok: true });
    const [old, own, ...more] = jobs().toSorted((a, b) => a.starttime - b.starttime);
    expect(more).toEqual([]);
    expect([old?.exitstatus, own?.exitstatus]).toEqual(['OK', 'OK']);
    expect(own?.starttime).toBeGreaterThanOrEqual(old?.endtime ?? Infinity);
    expect(offsite().map(({ snapshots }) => snapshots.length)).toEqual([2, 2, 2]);
  });

  it.each([
    ['the try has taken too long', 'TIMED_OUT', { timedOut: true }],
    ['the night has ended', 'NOT_FOUND', { notFound: true }],
  ] as const)('is not waited for by a worker of which nobody waits, since %s', async (_, reason, details) => {
    await dumpAll();
    night.fault({ kind: 'wan-slow', params: { factor: 20 } });
    const jobs = () => night.pbs.tasks.all.filter(({ type }) => type === 'syncjob');
    const first = new MockActivityEnvironment();
    const { sendCopy } = createStoreBackupActivities(night.deps, createOperation(night.deps), night.backup);
    const sending = first.run(sendCopy, theTask());
    await expect.poll(jobs).toHaveLength(1);
    first.cancel(reason, new ActivityCancellationDetails(details));
    await expect(sending).rejects.toBeInstanceOf(CancelledFailure);
    expect(jobs()[0]?.exitstatus).toBeUndefined();
  });

  it('is sent again when there is something new, however short ago that was', async () => {
    await dumpAll();
    await night.worker().sendCopy(theTask());
    await nextSecond();
    await dumpAll(2);
    await night.worker().sendCopy(theTask());
    expect(offsite().map(({ snapshots }) => snapshots.length)).toEqual([2, 2, 2]);
  });

  it('is less than all when a group was left out there, and is tried again', async () => {
    await dumpAll();
    await night.worker().sendCopy(theTask());
    const [group] = offsite();
    group!.owner = 'root@pam';
    await dumpAll(2);
    const answer = await night.worker().sendCopy(later());
    expect(answer).toMatchObject({ ok: false, reason: 'BackupIncomplete' });
    expect(answer.detail).toMatch(/WARNINGS: 1; .*owner check failed/);
    group!.owner = CENTRAL_OWNER;
    expect(await night.worker().sendCopy(later())).toMatchObject({ ok: true });
  });

  it.each<[string, () => void, string]>([
    [
      'the central disk is full',
      () => void night.lab.world.faults.add({ store: 'central', kind: 'datastore-full' }),
      'DatastoreFull',
    ],
    [
      'the central server does not know the token',
      () => void (night.central.tokens.find(({ id }) => id === CENTRAL_OWNER)!.expired = true),
      'BackupRefused',
    ],
    ['the line is cut', () => night.fault({ kind: 'wan-cut' }), 'BackupIncomplete'],
  ])('fails when %s', async (_, happens, reason) => {
    await dumpAll();
    happens();
    expect(await night.worker().sendCopy(theTask())).toMatchObject({ ok: false, reason });
  });

  it('needs a job, and one that the server has', async () => {
    const none = await night.worker({ backup: { sendJob: undefined } }).sendCopy(theTask());
    expect(none).toMatchObject({ ok: false, detail: expect.stringContaining('backup.sendJob') as string });
    const unknown = await night.worker({ backup: { sendJob: 'nothing' } }).sendCopy(theTask());
    expect(unknown).toMatchObject({
      ok: false,
      reason: 'BackupIncomplete',
      detail: expect.stringContaining('no such') as string,
    });
  });
});

describe('every step', () => {
  const steps = ['verifyCopy', 'pruneCopy', 'collectSpace', 'sendCopy'] as const;
  const call = (worker: ReturnType<PracticeNight['worker']>, name: (typeof steps)[number], store = 'store-001') =>
    name === 'verifyCopy'
      ? worker.verifyCopy({ ...verifyTask(), store })
      : name === 'pruneCopy'
        ? worker.pruneCopy({ ...pruneTask(), store })
        : worker[name]({ ...theTask(), store });

  it.each(steps)('refuses a task for another store: %s', async (name) => {
    const refused = { type: 'InvalidInput', nonRetryable: true };
    await expect(call(night.worker(), name, 'store-002')).rejects.toMatchObject(refused);
    await expect(call(night.worker({ backup: null }), name, 'store-002')).rejects.toMatchObject(refused);
  });

  it.each(steps)('says what to do when the file of the worker names no server: %s', async (name) => {
    expect(await call(night.worker({ backup: null }), name)).toMatchObject({ ok: false, reason: 'BackupFailed' });
  });

  it.each(steps)('says that a token was refused: %s', async (name) => {
    const { node, address, port, fingerprint } = night.config.backup.pbs;
    const token = 'edge-governor@pbs!verify:00000000-0000-4000-8000-000000000000';
    const wrong = createPbsClient({ name: node, address, port, fingerprint, token });
    const worker = night.worker({ backup: { pbs: { ...night.backup.pbs, verifier: wrong, pruner: wrong } } });
    const answer = await call(worker, name);
    expect(answer).toMatchObject({ ok: false, reason: 'BackupRefused' });
    expect(answer.detail).not.toContain('00000000');
    await wrong.close();
  });
});

describe('a server that has the copies of many stores', () => {
  let clients: Pick<TendDeps, 'verifier' | 'pruner'>;
  beforeEach(async () => {
    await dumpAll();
    await night.worker().verifyCopy(verifyTask());
    await night.worker().sendCopy(theTask());
    const { central, lab } = night;
    const { fingerprint } = await lab.authorities.selfSigned(central.id, central.hostname, central.address);
    const { hostname: node, address, port } = central;
    const clientWith = (name: string) => {
      const { id, secret } = central.tokens.find((token) => token.id === `edge-governor@pbs!${name}`)!;
      return createPbsClient({ name: node, address, port, fingerprint, token: `${id}:${secret}` });
    };
    clients = { verifier: clientWith('verify'), pruner: clientWith('prune') };
  });
  afterEach(() => Promise.all([clients.verifier.close(), clients.pruner.close()]));

  const tending = (stores: string[], change: Partial<TendDeps> = {}) =>
    createTendActivities({
      ...clients,
      node: night.central.hostname,
      datastore: 'offsite',
      namespaceOf: (store) => (stores.includes(store) ? store : undefined),
      timing: night.deps.timing,
      now: night.deps.now,
      ...change,
    });

  it('is tended by the same steps, each store in its own namespace', async () => {
    night.central.datastore('offsite').addNamespace('', 'store-002');
    const tend = night.inActivity(tending(['store-001', 'store-002']));
    expect(await tend.verifyCopy(verifyTask())).toMatchObject({ detail: '3 snapshots verified', node: 'pbs-central' });
    expect(await tend.verifyCopy(verifyTask({ store: 'store-002' }))).toMatchObject({
      ok: true,
      detail: '0 snapshots verified',
    });
    expect((await tend.readCopy(theTask())).copy.snapshots.map(({ verification }) => verification?.node)).toEqual([
      'pbs-central',
      'pbs-central',
      'pbs-central',
    ]);
    expect((await tend.readCopy({ ...theTask(), store: 'store-002' })).copy.snapshots).toEqual([]);
    await expect(tend.readCopy({ ...theTask(), store: 'store-003' })).rejects.toMatchObject({ type: 'InvalidInput' });
  });

  describe('and verifies for two of them at once', () => {
    const STORES = ['store-002', 'store-003', 'store-004', 'store-005', 'store-006'];
    let tend: ReturnType<typeof tending>;
    beforeEach(() => {
      copyForEach(night.central, STORES);
      endByHand(night.central);
      tend = tending(STORES, { verifyAtOnce: 2 });
    });

    const running = () => night.central.tasks.running.map(storeOf);
    const begun = () => night.central.tasks.all.filter(({ type }) => type === 'verify_snapshot').map(storeOf);
    /** `at`: when Temporal was given the task, in whichever try this is. */
    function asked(store: string, at = 1) {
      const environment = new MockActivityEnvironment({ scheduledTimestampMs: at });
      const answer = environment.run(tend.verifyCopy, verifyTask({ store }));
      // Some outlive the test.
      answer.catch(() => undefined);
      return { environment, answer };
    }

    it('has the others wait, whoever was asked for first is next, and who only looks is answered meanwhile', async () => {
      const all = STORES.map((store, i) => asked(store, i < 2 ? 100 : 50 - i));
      await expect.poll(running).toEqual(['store-002', 'store-003']);
      expect((await night.inActivity(tend).readCopy({ ...theTask(), store: 'store-006' })).copy.snapshots).toHaveLength(
        1,
      );
      for (const next of ['store-006', 'store-005', 'store-004']) {
        endOne(night.central);
        await expect.poll(() => begun().at(-1)).toBe(next);
        expect(running()).toHaveLength(2);
      }
      endOne(night.central);
      endOne(night.central);
      for (const { answer } of all) expect(await answer).toMatchObject({ ok: true, detail: '1 snapshot verified' });
      expect(begun()).toHaveLength(STORES.length);
    });

    it('gives the turn on when nobody waits for it any more, whether it is still to come or under way', async () => {
      const [first, , waits, last] = STORES.slice(0, 4).map((store) => asked(store));
      await expect.poll(running).toHaveLength(2);
      const nobody = new ActivityCancellationDetails({ notFound: true });
      waits!.environment.cancel('NOT_FOUND', nobody);
      await expect(waits!.answer).rejects.toBeInstanceOf(CancelledFailure);
      first!.environment.cancel('NOT_FOUND', nobody);
      await expect(first!.answer).rejects.toBeInstanceOf(CancelledFailure);
      await expect.poll(begun).toEqual(['store-002', 'store-003', 'store-005']);
      for (const _ of begun()) endOne(night.central);
      expect(await last!.answer).toMatchObject({ ok: true });
    });

    it('says at once what no turn changes', async () => {
      for (const store of STORES.slice(0, 2)) asked(store);
      await expect.poll(running).toHaveLength(2);
      for (const entry of night.central.acl.filter(({ authId }) => authId.endsWith('!verify')))
        entry.role = 'DatastoreAudit';
      expect(await asked('store-004').answer).toMatchObject({ ok: false, reason: 'BackupRefused' });
    });
  });
});
