import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { DumpNodeTask, DumpPlan, DumpTask } from '#domain/messages/backup.js';
import type { StepAnswer } from '#domain/messages/store.js';
import type { GuestRun } from '#domain/backup-failures.js';
import { createPbsClient } from '#systems/pbs/client.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import { startPracticeNight, type PracticeNight } from './practice-night.js';

let night: PracticeNight;
beforeEach(async () => {
  night = await startPracticeNight();
});
afterEach(() => night.close());

const NEVER = new Promise<never>(() => undefined);

const taskOf = (node: string, vmids: number[], change: Partial<DumpTask> = {}): DumpNodeTask => ({
  ...night.task,
  ...change,
  node,
  vmids,
});
function doneOf<T extends object>(answer: StepAnswer<T>): T {
  if (answer.kind !== 'done') throw new Error(JSON.stringify(answer.stop));
  return answer;
}
const open = async (worker = night.worker(), task = night.task): Promise<DumpPlan> =>
  doneOf(await worker.openDump(task));
const dump = async (task: DumpNodeTask, worker = night.worker()): Promise<GuestRun[]> =>
  doneOf(await worker.dumpNode(task)).runs;
/** How often vzdump was started on each node. */
const starts = (): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { node = '' } of night.effects('backup.start')) counts[node] = (counts[node] ?? 0) + 1;
  return counts;
};
const done = (...vmids: number[]): GuestRun[] => vmids.map((vmid) => ({ vmid, kind: 'done' }));

describe('a worker that is killed', () => {
  it('before it learns the name of the task it started finds it, and starts no other', async () => {
    await open();
    const dying = night.worker({
      deps: { proxmox: { ...night.proxmox, backUp: (...given) => night.proxmox.backUp(...given).then(() => NEVER) } },
    });
    void dying.dumpNode(taskOf('n1', [100, 101]));
    await expect.poll(starts).toEqual({ n1: 1 });
    expect(await open()).toMatchObject({ nodes: [{ node: 'n1' }, { node: 'n2' }], unreachable: [] });
    expect(await dump(taskOf('n1', [100, 101]))).toEqual(done(100, 101));
    expect(starts()).toEqual({ n1: 1 });
  });

  it('while it waits goes on waiting for the same task', async () => {
    await open();
    const dying = night.worker({ deps: { proxmox: { ...night.proxmox, taskStatus: () => NEVER } } });
    void dying.dumpNode(taskOf('n1', [100, 101]));
    await expect.poll(starts).toEqual({ n1: 1 });
    expect(await dump(taskOf('n1', [100, 101]))).toEqual(done(100, 101));
    expect(starts()).toEqual({ n1: 1 });
  });

  it('before it asks for anything asks then', async () => {
    await open();
    const dying = night.worker({ deps: { proxmox: { ...night.proxmox, backUp: () => NEVER } } });
    void dying.dumpNode(taskOf('n1', [101]));
    await expect.poll(() => night.deps.state.step(stepOf('n1'))?.intent).toBeDefined();
    expect(starts()).toEqual({});
    expect(await dump(taskOf('n1', [101]))).toEqual(done(101));
    expect(starts()).toEqual({ n1: 1 });
  });

  it('has the same plan as before, although its guests are locked by its own vzdump now', async () => {
    const plan = await open();
    night.lab.store.guests.get(101)!.lock = 'backup';
    expect(await open()).toEqual(plan);
  });
});

const stepOf = (node: string): string => `${night.task.operationId}|1|dump ${node}, attempt 1`;

describe('a vzdump whose answer is lost', () => {
  it('is found, and no other is started', async () => {
    await open();
    night.fault({ kind: 'lost-answer', step: 'backup.start', moment: 'after', times: 1 });
    expect(await dump(taskOf('n1', [100, 101]))).toEqual(done(100, 101));
    expect(starts()).toEqual({ n1: 1 });
  });

  it('and that did not come about is asked for by the next attempt', async () => {
    await open();
    night.fault({ kind: 'lost-answer', step: 'backup.start', moment: 'before', times: 1 });
    await expect(dump(taskOf('n1', [101]))).rejects.toMatchObject({ type: 'OutcomeUnknown', nonRetryable: false });
    expect(starts()).toEqual({});
    expect(await dump(taskOf('n1', [101]))).toEqual(done(101));
    expect(starts()).toEqual({ n1: 1 });
  });

  it('and that did not come about is not mistaken for the one before it', async () => {
    await open();
    night.lab.store.guests.get(101)!.lock = 'snapshot';
    expect(await dump(taskOf('n1', [101]))).toMatchObject([{ vmid: 101, kind: 'failed', failure: 'lock' }]);
    night.lab.store.guests.get(101)!.lock = undefined;
    night.fault({ kind: 'lost-answer', step: 'backup.start', moment: 'before', times: 1 });
    const again = taskOf('n1', [101], { attempt: 2 });
    await expect(dump(again)).rejects.toMatchObject({ type: 'OutcomeUnknown' });
    expect(await dump(again)).toEqual(done(101));
    expect(starts()).toEqual({ n1: 2 });
  });
});

/** The same night asks again, as it does of a store whose answer it has not heard. */
const nextRound = (change: Partial<DumpTask> = {}): DumpTask => ({
  ...night.task,
  operationId: `${night.task.night}/${night.task.store}/r1`,
  fence: 2,
  startedAt: new Date(Date.now() + 3_600_000).toISOString(),
  ...change,
});
const dumped = () => night.effects('snapshot.create').map(({ guest }) => guest);

describe('a night that asks again', () => {
  it('takes over what the server has of it already, and dumps nobody twice', async () => {
    await open();
    await dump(taskOf('n1', [100, 101]));
    const worker = night.worker();
    const plan = await open(worker, nextRound());
    for (const { node, vmids } of plan.nodes)
      expect(await dump(taskOf(node, vmids, nextRound()), worker)).toEqual(done(...vmids));
    expect(dumped()).toEqual([100, 101, 102]);
    expect(starts()).toEqual({ n1: 1, n2: 1 });
  });

  it('dumps those alone of whom the server has nothing of this night', async () => {
    await open();
    night.lab.store.guests.get(101)!.lock = 'snapshot';
    await dump(taskOf('n1', [100, 101]));
    night.lab.store.guests.get(101)!.lock = undefined;
    expect(await dump(taskOf('n1', [100, 101], { attempt: 2 }))).toEqual(done(100, 101));
    expect(dumped()).toEqual([100, 101]);
    expect(starts()).toEqual({ n1: 2 });
  });

  it('waits for a vzdump of its own that runs on, whatever became of the operation that began it', async () => {
    await open();
    night.fault({ kind: 'backup-slow', params: { factor: 20 } });
    const dying = night.worker({ deps: { proxmox: { ...night.proxmox, taskStatus: () => NEVER } } });
    void dying.dumpNode(taskOf('n1', [100, 101]));
    await expect.poll(starts).toEqual({ n1: 1 });
    const worker = night.worker();
    await open(worker, nextRound());
    expect(await dump(taskOf('n1', [100, 101], nextRound()), worker)).toEqual(done(100, 101));
    expect(dumped()).toEqual([100, 101]);
    expect(starts()).toEqual({ n1: 1 });
  });

  it('and whose worker is killed meanwhile still tells of those that it took over', async () => {
    await open();
    await dump(taskOf('n1', [100]));
    const dying = night.worker({ deps: { proxmox: { ...night.proxmox, taskStatus: () => NEVER } } });
    void dying.dumpNode(taskOf('n1', [100, 101], { attempt: 2 }));
    await expect.poll(starts).toEqual({ n1: 2 });
    expect(await dump(taskOf('n1', [100, 101], { attempt: 2 }))).toEqual(done(100, 101));
    expect(dumped()).toEqual([100, 101]);
  });

  it('tells of what it took over after the window too', async () => {
    await open();
    await dump(taskOf('n1', [100, 101]));
    const over = { attempt: 2, notAfter: new Date().toISOString() };
    expect(await dump(taskOf('n1', [100, 101], over))).toEqual(done(100, 101));
  });

  it('does not take the backup of another night for its own', async () => {
    await open();
    await dump(taskOf('n1', [101]));
    const tomorrow = nextRound({ night: 'night-2026-11-27', startedAt: night.task.startedAt });
    const worker = night.worker();
    await open(worker, tomorrow);
    expect(await dump(taskOf('n1', [101], tomorrow), worker)).toEqual(done(101));
    expect(dumped()).toEqual([101, 101]);
  });

  it('dumps nobody when it may not see what the server has', async () => {
    await open();
    const blind = { ...night.verifier, permissions: async () => ({}) };
    const worker = night.worker({ backup: { pbs: { ...night.backup.pbs, verifier: blind } } });
    expect(await dump(taskOf('n1', [101]), worker)).toMatchObject([
      { vmid: 101, kind: 'failed', failure: 'credentials' },
    ]);
    expect(starts()).toEqual({});
  });
});

describe('a dump', () => {
  it('backs up the guests of each node with one vzdump, and gives the store back', async () => {
    const worker = night.worker();
    const plan = await open(worker);
    expect(plan).toMatchObject({
      adopted: [],
      nodes: [
        { node: 'n1', vmids: [100, 101] },
        { node: 'n2', vmids: [102] },
      ],
      unreachable: [],
    });
    for (const { node, vmids } of plan.nodes) expect(await dump(taskOf(node, vmids), worker)).toEqual(done(...vmids));
    await worker.closeDump(night.task);
    expect(starts()).toEqual({ n1: 1, n2: 1 });
    expect(night.effects('snapshot.create').map(({ guest }) => guest)).toEqual([100, 101, 102]);
    expect(night.deps.state.operation()).toMatchObject({ kind: 'dump', open: false });
    expect(await worker.dumpNode(taskOf('n2', [102]))).toMatchObject({ stop: { reason: 'StaleOperation' } });
  });

  it('gives the answer of a node again without another vzdump', async () => {
    await open();
    const first = await dump(taskOf('n1', [101]));
    expect(await dump(taskOf('n1', [101]))).toEqual(first);
    expect(starts()).toEqual({ n1: 1 });
  });

  it('tells of a guest that is locked before it begins, and dumps the others', async () => {
    night.fault({ kind: 'guest-locked', params: { vmid: 101, lock: 'snapshot' } });
    const plan = await open();
    expect(plan.nodes).toEqual([
      { node: 'n1', vmids: [100] },
      { node: 'n2', vmids: [102] },
    ]);
    expect(plan.unreachable).toMatchObject([{ vmid: 101, kind: 'failed', failure: 'lock' }]);
  });

  it('tells of a guest that is locked when its turn comes, and dumps the others', async () => {
    await open();
    night.lab.store.guests.get(100)!.lock = 'snapshot';
    expect(await dump(taskOf('n1', [100, 101]))).toMatchObject([
      { vmid: 100, kind: 'failed', failure: 'lock' },
      { vmid: 101, kind: 'done' },
    ]);
  });

  it('tells of guests that are on another node by now', async () => {
    await open();
    const away = { kind: 'failed', text: 'no longer on n1', failure: 'lock' };
    expect(await dump(taskOf('n1', [101, 102]))).toEqual([
      { vmid: 101, kind: 'done' },
      { vmid: 102, ...away },
    ]);
    expect(await dump(taskOf('n1', [102], { attempt: 2 }))).toEqual([{ vmid: 102, ...away }]);
  });

  it('knows nothing of guests whose node went down with the task', async () => {
    await open();
    night.fault({ kind: 'node-crash', node: 'n2', step: 'snapshot.create', moment: 'during' });
    expect(await dump(taskOf('n2', [102]))).toEqual([{ vmid: 102, kind: 'unknown' }]);
  });

  it('knows nothing of a guest whose vzdump died', async () => {
    await open();
    night.fault({ kind: 'vzdump-dies', times: 1 });
    expect(await dump(taskOf('n1', [101]))).toEqual([{ vmid: 101, kind: 'unknown' }]);
  });

  it.each([
    ['a VM', 'n1', 101],
    ['a container, of which only the log says it', 'n2', 102],
  ])('says that the disk is full in the middle of %s', async (_, node, vmid) => {
    await open();
    night.fault({ kind: 'datastore-full', step: 'snapshot.create', moment: 'during' });
    expect(await dump(taskOf(node, [vmid]))).toMatchObject([{ vmid, kind: 'failed', failure: 'space' }]);
  });

  it('says that the backup server has gone away meanwhile', async () => {
    await open();
    night.fault({ kind: 'pbs-down' });
    expect(await dump(taskOf('n1', [100, 101]))).toMatchObject([
      { vmid: 100, kind: 'failed', failure: 'network' },
      { vmid: 101, kind: 'failed', failure: 'network' },
    ]);
  });

  it('starts nothing after the window, and ends what it has started', async () => {
    await open();
    const over = { notAfter: new Date().toISOString() };
    expect(await night.worker().dumpNode(taskOf('n1', [101], over))).toMatchObject({
      kind: 'refused',
      stop: { reason: 'OutsideWindow', step: 'dump n1' },
    });
    const dying = night.worker({ deps: { proxmox: { ...night.proxmox, taskStatus: () => NEVER } } });
    void dying.dumpNode(taskOf('n2', [102]));
    await expect.poll(starts).toEqual({ n2: 1 });
    expect(await dump(taskOf('n2', [102], over))).toEqual(done(102));
  });

  it.each([
    ['an hour when nobody says when the window ends', undefined, 60],
    ['an hour when the window is open for longer', 3 * 3_600, 60],
    ['to the end of the window', 20 * 60 + 30, 20],
    ['a minute at least', 20, 1],
  ])('waits for another vzdump of its node %s', async (_, seconds, minutes) => {
    await open();
    const now = new Date();
    const waits: number[] = [];
    const proxmox: typeof night.proxmox = {
      ...night.proxmox,
      backUp: (node, order) => {
        waits.push(order.lockWaitMinutes);
        return night.proxmox.backUp(node, order);
      },
    };
    const notAfter = seconds === undefined ? {} : { notAfter: new Date(now.getTime() + seconds * 1_000).toISOString() };
    const worker = night.worker({ deps: { proxmox, now: () => now } });
    expect(await dump(taskOf('n1', [101], notAfter), worker)).toEqual(done(101));
    expect(waits).toEqual([minutes]);
  });

  it('refuses a task that is for another store, or none at all', async () => {
    const refused = { type: 'InvalidInput', nonRetryable: true };
    const worker = night.worker();
    await expect(worker.openDump({ ...night.task, store: 'store-002' })).rejects.toMatchObject(refused);
    await expect(worker.dumpNode(taskOf('n1', []))).rejects.toMatchObject(refused);
    await expect(worker.closeDump({ ...night.task, fence: -1 })).rejects.toMatchObject(refused);
  });
});

describe('a dump is refused before anything is begun', () => {
  type Asked = [change?: Parameters<PracticeNight['worker']>[0], task?: DumpTask];
  const refused = async (...[change = {}, task = night.task]: Asked) => {
    const answer = await night.worker(change).openDump(task);
    if (answer.kind === 'done') throw new Error('the dump was let begin');
    expect(night.effects('backup.start')).toEqual([]);
    expect(night.deps.state.operation()).toBeUndefined();
    return answer;
  };
  const refusal = async (...asked: Asked) => (await refused(...asked)).stop;
  const WRONG = '00000000-0000-4000-8000-000000000000';

  it('on a full datastore, and the guests that were read are told all the same', async () => {
    night.fault({ kind: 'datastore-full' });
    const { stop, guests } = await refused();
    expect(stop).toMatchObject({ reason: 'DatastoreFull' });
    expect(guests?.map(({ vmid }) => vmid)).toEqual([100, 101, 102]);
    expect(stop.detail?.join()).toMatch(/the backup server says: 0 of .*n1, of pbs: 0 of/);
  });

  it('with a token that the backup server does not know', async () => {
    const { node: name, address, port, fingerprint } = night.config.backup.pbs;
    const wrong = createPbsClient({ name, address, port, fingerprint, token: `edge-governor@pbs!verify:${WRONG}` });
    const stop = await refusal({ backup: { pbs: { ...night.backup.pbs, verifier: wrong } } });
    expect(stop).toMatchObject({ reason: 'BackupRefused' });
    expect(JSON.stringify(stop)).not.toContain(WRONG);
    await wrong.close();
  });

  it('with a token that the cluster does not know', async () => {
    const wrong = createProxmoxClient({
      nodes: night.config.proxmox.nodes,
      token: `edge-governor@pve!worker=${WRONG}`,
      ca: night.lab.ca,
    });
    expect(await refusal({ deps: { proxmox: wrong } })).toMatchObject({ reason: 'BackupRefused' });
    await wrong.close();
  });

  it('with a token that may not back up a guest', async () => {
    const { privileges } = night.lab.store.token;
    privileges['/'] = (privileges['/'] ?? []).filter((one) => one !== 'VM.Backup');
    const stop = await refusal();
    expect(stop).toMatchObject({ reason: 'BackupRefused' });
    expect(stop.detail).toContain('lacks VM.Backup on /vms/100');
  });

  /** The list of guests leaves out what the token may not see, without a word. */
  it('with a token that sees no guest', async () => {
    const { privileges } = night.lab.store.token;
    privileges['/'] = (privileges['/'] ?? []).filter((one) => one !== 'VM.Audit');
    expect(await night.proxmox.guests()).toEqual([]);
    const stop = await refusal();
    expect(stop).toMatchObject({ reason: 'BackupRefused' });
    expect(stop.detail).toContain('lacks VM.Audit on /vms and all below it');
  });

  it('with a token that was given its rights guest by guest, so that a new one is never seen', async () => {
    const { privileges } = night.lab.store.token;
    const everywhere = privileges['/'] ?? [];
    privileges['/'] = everywhere.filter((one) => !one.startsWith('VM.'));
    for (const vmid of [100, 101]) privileges[`/vms/${vmid}`] = everywhere;
    expect((await night.proxmox.guests()).map(({ vmid }) => vmid)).toEqual([100, 101]);
    const stop = await refusal();
    expect(stop).toMatchObject({ reason: 'BackupRefused' });
    expect(stop.detail).toEqual(['lacks VM.Audit on /vms and all below it']);
  });

  it('with a token from which one guest is hidden', async () => {
    const { privileges } = night.lab.store.token;
    privileges['/vms/102'] = ['VM.Backup'];
    const stop = await refusal();
    expect(stop).toMatchObject({ reason: 'BackupRefused' });
    expect(stop.detail).toEqual(['lacks VM.Audit on /vms/102']);
  });

  it('when the backup server does not know the token of the nodes', async () => {
    night.pbs.tokens.find(({ id }) => id === 'edge-nodes@pbs!pve')!.expired = true;
    expect(await refusal()).toMatchObject({ reason: 'BackupFailed' });
  });

  it('when the cluster does not know the storage', async () => {
    expect(await refusal({ backup: { storage: 'elsewhere' } })).toMatchObject({ reason: 'BackupFailed' });
  });

  it('when the backup server is away', async () => {
    night.fault({ kind: 'pbs-down' });
    expect(await refusal()).toMatchObject({ reason: 'BackupFailed' });
  });

  it('when the file of the worker names no backup server, and says what to do', async () => {
    const stop = await refusal({ backup: null });
    expect(stop).toMatchObject({ reason: 'BackupFailed', summary: expect.stringContaining('`backup`') as string });
  });

  it('after the window', async () => {
    const late = { ...night.task, notAfter: new Date().toISOString() };
    expect(await refusal({}, late)).toMatchObject({ reason: 'OutsideWindow' });
  });

  it('without quorum', async () => {
    for (const name of ['n2', 'n3']) night.lab.store.node(name).powerOff('test');
    await expect.poll(async () => (await night.proxmox.clusterStatus()).quorate).toBe(false);
    expect(await refusal()).toMatchObject({ reason: 'NoQuorum' });
  });
});

describe('disks that a vzdump leaves out', () => {
  const leftOutOf = async (task = night.task) =>
    Object.fromEntries((await open(night.worker(), task)).guests.map(({ vmid, leftOut }) => [vmid, leftOut]));

  it('are none of guests that have none', async () => {
    expect(await leftOutOf()).toEqual({ 100: undefined, 101: undefined, 102: undefined });
  });

  it('are told before the dump, by the settings of the guests', async () => {
    const { guests } = night.lab.store;
    guests.get(101)!.options = {
      ide2: 'none,media=cdrom',
      scsi1: 'vm:vm-101-disk-1,backup=0,size=8G',
      scsi2: 'vm:vm-101-disk-2,size=8G',
    };
    guests.get(102)!.options = {
      mp0: 'vm:vm-102-disk-1,mp=/data,size=8G',
      mp1: '/srv/media,mp=/media',
      mp2: 'vm:vm-102-disk-2,mp=/kept,backup=1',
    };
    expect(await leftOutOf()).toEqual({ 100: undefined, 101: ['scsi1'], 102: ['mp0', 'mp1'] });
  });

  it('are told by the dump itself too', async () => {
    await open();
    night.fault({ kind: 'disk-left-out' });
    expect(await dump(taskOf('n1', [100, 101]))).toEqual([
      { vmid: 100, kind: 'done', leftOut: ['scsi1'] },
      { vmid: 101, kind: 'done', leftOut: ['scsi1'] },
    ]);
    expect(await dump(taskOf('n2', [102]))).toEqual([{ vmid: 102, kind: 'done', leftOut: ['mp0'] }]);
  });

  it('nobody knows of a guest whose settings cannot be read, and it is dumped all the same', async () => {
    const proxmox = {
      ...night.proxmox,
      guestConfig: (...given: Parameters<typeof night.proxmox.guestConfig>) =>
        given[2] === 101 ? Promise.reject(new Error('no answer')) : night.proxmox.guestConfig(...given),
    };
    const plan = await open(night.worker({ deps: { proxmox } }));
    expect(plan.guests.map(({ vmid, leftOut }) => [vmid, leftOut])).toEqual([
      [100, undefined],
      [101, 'unread'],
      [102, undefined],
    ]);
    expect(plan.nodes).toEqual([
      { node: 'n1', vmids: [100, 101] },
      { node: 'n2', vmids: [102] },
    ]);
  });

  it('nobody knows of guests whose node is away', async () => {
    night.lab.store.nodes.get('n2')!.powerOff('test');
    expect(await leftOutOf()).toMatchObject({ 100: undefined, 102: 'unread' });
  });
});
