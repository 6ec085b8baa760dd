import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { FaultSpec } from '#lab/world/faults.js';
import type { PbsSim } from '#lab/world/pbs/pbs-sim.js';
import { judgeCopy, noteOf, planVerification, type CopyFacts } from '#domain/backup.js';
import { readVzdumpLog } from '#domain/backup-failures.js';
import { createPbsClient } from '#systems/pbs/client.js';
import { PbsError } from '#systems/pbs/errors.js';
import type { PbsClient, PbsTaskStatus, PbsWork } from '#systems/pbs/types.js';
import { createProxmoxClient } from '#systems/proxmox/client.js';
import type { ProxmoxClient } from '#systems/proxmox/types.js';
import { startPracticeStore } from '../../lab/pve/practice-store.js';
import type { PracticeStore } from '../../lab/pve/practice-store.js';
import { SOON } from '../../../support/soon.js';

const DATASTORE = 'backup';
const CENTRAL = 'offsite';
const PLACE = { datastore: DATASTORE, namespace: '' };
const GC: PbsWork = { kind: 'collect', datastore: DATASTORE };
/** The identities of the service: at the central server one, at a store's two. */
const WORKER = 'edge-governor@pbs!prune';
const VERIFIER = 'edge-governor@pbs!verify';
const PRUNER = 'edge-governor@pbs!prune';
const HOUR = 3_600_000;

let lab: PracticeStore;
let pbs: PbsSim;
let client: PbsClient;
let sender: PbsClient;
let central: PbsClient;
let proxmox: ProxmoxClient;
beforeEach(async () => {
  lab = await startPracticeStore({ backup: true });
  pbs = lab.world.pbs.get('store-001') as PbsSim;
  client = await clientOf(pbs, PRUNER);
  sender = await clientOf(pbs, VERIFIER);
  central = await clientOf(lab.world.pbs.get('central') as PbsSim, WORKER);
  proxmox = createProxmoxClient({ nodes: lab.endpoints, token: lab.token, ca: lab.ca });
});
afterEach(async () => {
  await Promise.all([client, sender, central, proxmox].map((each) => each.close()));
  await lab.close();
});

async function clientOf(
  server: PbsSim,
  tokenId: string,
  change: { secret?: string; fingerprint?: string } = {},
): Promise<PbsClient> {
  const { fingerprint } = await lab.authorities.selfSigned(server.id, server.hostname, server.address);
  const secret = server.tokens.find(({ id }) => id === tokenId)?.secret ?? '';
  return createPbsClient({
    name: server.hostname,
    address: server.address,
    port: server.port,
    token: `${tokenId}:${change.secret ?? secret}`,
    fingerprint: change.fingerprint ?? fingerprint,
  });
}

async function failureOf(promise: Promise<unknown>): Promise<PbsError> {
  try {
    await promise;
  } catch (error) {
    expect(error).toBeInstanceOf(PbsError);
    return error as PbsError;
  }
  throw new Error('expected a failure');
}

const fault = (spec: Omit<FaultSpec, 'store'>) => lab.world.faults.add({ store: 'store-001', ...spec });
const effects = (name: string) => lab.world.journal.entries.filter((entry) => entry.effect === name);
const ended = async (upid: string, at = client): Promise<PbsTaskStatus> =>
  vi.waitUntil(async () => {
    const status = await at.taskStatus(upid);
    return status.state === 'stopped' ? status : undefined;
  }, SOON);
const done = async (work: PbsWork, at = client): Promise<PbsTaskStatus> => ended(await at.start(work), at);
const copyOf = async (at = client, datastore = DATASTORE, namespace = ''): Promise<CopyFacts> => ({
  node: at === client ? pbs.hostname : (lab.world.pbs.get('central') as PbsSim).hostname,
  snapshots: await at.snapshots(datastore, namespace),
});
const verify = (ignoreVerified = true): PbsWork => ({ kind: 'verify', ...PLACE, ignoreVerified });
const guest = { vmid: 101, kind: 'qemu' } as const;
const stateOf = (copy: CopyFacts) => judgeCopy({ guest, copy, objective: 26 * HOUR, now: new Date() });

const BACKUP = { storage: 'pbs', mode: 'snapshot', lockWaitMinutes: 180 } as const;
async function backUp(node = 'n1', vmids = [101]): Promise<string> {
  const upid = await proxmox.backUp(node, { ...BACKUP, vmids });
  if (upid === undefined) throw new Error(`no guest of ${vmids.join()} is on ${node}`);
  await vi.waitUntil(async () => (await proxmox.taskStatus(upid)).state === 'stopped', SOON);
  return upid;
}

describe('the client at a practice backup server', () => {
  it('sees version, rights, datastores and space', async () => {
    expect((await client.version()).version).toMatch(/^4\.\d+$/);
    expect((await client.permissions())[`/datastore/${DATASTORE}`]).toContain('Datastore.Verify');
    expect(await client.datastores()).toEqual([{ name: DATASTORE, backend: 'filesystem', mount: 'nonremovable' }]);
    const space = await client.space(DATASTORE);
    expect(space.total).toBeGreaterThan(space.used);
    expect(await client.usage()).toEqual([{ datastore: DATASTORE, ...space }]);
    expect(await client.namespaces(DATASTORE)).toContain('');
    expect(await client.groups(DATASTORE, '')).toEqual([]);
  });

  it('finds a backup proven only when that server has verified it', async () => {
    await backUp();
    const unverified = await copyOf();
    expect(stateOf(unverified)).toMatchObject({ state: 'never', unproven: { why: 'not verified' } });
    const [snapshot] = planVerification(unverified, new Date(), 30 * 24 * HOUR).fresh;
    if (!snapshot) throw new Error('nothing is to be verified');
    const { type, id, time } = snapshot;
    expect(await done({ kind: 'verify', ...PLACE, group: { type, id }, time, ignoreVerified: false })).toMatchObject({
      ok: true,
    });
    expect(stateOf(await copyOf())).toMatchObject({ state: 'ok', proven: { time, encrypted: true } });
    expect(planVerification(await copyOf(), new Date(), 30 * 24 * HOUR)).toEqual({ fresh: [], again: [] });
    expect(await client.groups(DATASTORE, '')).toMatchObject([{ type: 'vm', id: '101', count: 1, lastBackup: time }]);
  });

  it('reads of which night a backup is from what was written beside it', async () => {
    for (const notes of [noteOf('night-2026-11-26'), 'before the new year, weekly', undefined]) {
      const upid = await proxmox.backUp('n1', { ...BACKUP, vmids: [101], notes });
      await vi.waitUntil(async () => (await proxmox.taskStatus(upid as string)).state === 'stopped', SOON);
      const since = Math.floor(Date.now() / 1_000);
      await vi.waitUntil(() => Date.now() / 1_000 >= since + 1, SOON);
    }
    const byAge = (await client.snapshots(DATASTORE, '')).toSorted((a, b) => a.time - b.time);
    expect(byAge.map(({ night }) => night)).toEqual(['night-2026-11-26', undefined, undefined]);
  });

  it('verifies anew only when it is told to', async () => {
    await backUp();
    await done(verify());
    await done(verify());
    expect(effects('snapshot.verify')).toHaveLength(1);
    await done(verify(false));
    expect(effects('snapshot.verify')).toHaveLength(2);
  });

  it('is told of a damaged chunk by the state of the snapshot', async () => {
    await backUp();
    fault({ kind: 'chunk-corrupt' });
    expect(await done(verify())).toMatchObject({ ok: false, exit: expect.stringContaining('verification failed') });
    expect(stateOf(await copyOf())).toMatchObject({ state: 'never', unproven: { why: 'verification failed' } });
  });

  it('does not take the word of the store for the copy in the second place', async () => {
    await backUp();
    await done(verify());
    const job = { id: 'to-central', datastore: DATASTORE, namespace: '', remoteDatastore: CENTRAL, direction: 'push' };
    expect(await sender.syncJobs()).toMatchObject([job]);
    expect(await done({ kind: 'sync', job: 'to-central' }, sender)).toMatchObject({ ok: true });
    const copied = await copyOf(central, CENTRAL, 'store-001');
    expect(stateOf(copied)).toMatchObject({ state: 'never', unproven: { why: 'verified by another server' } });
    await done({ kind: 'verify', datastore: CENTRAL, namespace: 'store-001', ignoreVerified: false }, central);
    expect(stateOf(await copyOf(central, CENTRAL, 'store-001')).state).toBe('ok');
  });

  it('says what pruning would do, and does it', async () => {
    await backUp();
    const [first] = await client.snapshots(DATASTORE, '');
    await vi.waitUntil(() => Date.now() / 1_000 >= (first?.time ?? 0) + 1, SOON);
    await backUp();
    const group = { ...PLACE, type: 'vm', id: '101' } as const;
    const marks = await client.prune(group, { last: 1 }, true);
    expect(marks.filter(({ keep }) => !keep)).toHaveLength(1);
    expect(await client.snapshots(DATASTORE, '')).toHaveLength(2);
    expect(await done({ kind: 'prune', ...PLACE, keep: { last: 1 }, dryRun: false })).toMatchObject({ ok: true });
    const left = await client.snapshots(DATASTORE, '', { type: 'vm', id: '101' });
    expect(left.map(({ time }) => time)).toEqual(marks.filter(({ keep }) => keep).map(({ time }) => time));
  });

  it.each<[string, PbsWork, FaultSpec['step'], string]>([
    ['a collection', GC, 'datastore.gc', 'datastore.gc'],
    ['a verification', verify(), 'snapshot.verify', 'snapshot.verify'],
    ['a pruning', { kind: 'prune', ...PLACE, keep: { last: 1 }, dryRun: false }, 'datastore.prune', 'none'],
    [
      'a verification of a group',
      { kind: 'verify', ...PLACE, group: { type: 'vm', id: '101' }, ignoreVerified: false },
      'snapshot.verify',
      'snapshot.verify',
    ],
  ])('finds the task of %s whose answer was lost', async (_words, work, step, effect) => {
    await backUp();
    const since = Math.floor(Date.now() / 1_000) - 5;
    fault({ kind: 'lost-answer', step, moment: 'after' });
    expect((await failureOf(client.start(work))).kind).toBe('OutcomeUnknown');
    const found = await client.find(work, since);
    expect(found).toHaveLength(1);
    expect(await ended(found[0]?.upid ?? '')).toMatchObject({ ok: true });
    if (effect !== 'none') expect(effects(effect)).toHaveLength(1);
  });

  it('finds the task of a sync whose answer was lost', async () => {
    const since = Math.floor(Date.now() / 1_000) - 5;
    lab.world.faults.add({ store: 'central', kind: 'lost-answer', step: 'datastore.sync', moment: 'after' });
    const work: PbsWork = { kind: 'sync', job: 'to-central' };
    expect((await failureOf(sender.start(work))).kind).toBe('OutcomeUnknown');
    expect(await sender.find(work, since)).toHaveLength(1);
  });

  it('collects, and is told of a collection that runs', async () => {
    await backUp();
    const upid = await client.start(GC);
    expect((await failureOf(client.start(GC))).kind).toBe('Locked');
    expect(await ended(upid)).toMatchObject({ ok: true });
    expect(await client.collection(DATASTORE)).toMatchObject({ lastRun: { upid, state: 'OK' }, stillBad: 0 });
    expect((await client.taskLog(upid, 2)).at(-1)).toMatch(/TASK OK$/);
  });

  it('is told what is not there, what is locked away, and that a token is wrong', async () => {
    expect((await failureOf(client.snapshots('nothing', ''))).kind).toMatch(/NotFound|Permission/);
    expect((await failureOf(client.snapshots(DATASTORE, 'nothing'))).kind).toBe('NotFound');
    expect((await failureOf(client.start({ kind: 'sync', job: 'nothing' }))).kind).toBe('NotFound');
    const stranger = await clientOf(pbs, PRUNER, { secret: '00000000-0000-4000-8000-000000000000' });
    expect((await failureOf(stranger.version())).kind).toBe('Auth');
    await stranger.close();
    const untrusted = await clientOf(pbs, PRUNER, { fingerprint: 'ab'.repeat(32) });
    expect((await failureOf(untrusted.version())).kind).toBe('Untrusted');
    await untrusted.close();
    pbs.datastore(DATASTORE).config['maintenance-mode'] = 'offline,message="disk"';
    expect((await failureOf(client.snapshots(DATASTORE, ''))).kind).toBe('Maintenance');
    expect(await client.datastores()).toMatchObject([{ maintenance: 'offline' }]);
    expect(await client.usage()).toEqual([{ datastore: DATASTORE, error: expect.stringContaining('maintenance') }]);
  });

  it('cannot reach a server without power', async () => {
    fault({ kind: 'pbs-down' });
    await vi.waitUntil(async () => (await failureOf(client.version())).kind === 'NodeUnreachable', SOON);
  });
});

describe('the nodes of a practice store', () => {
  it('back up what is there, and say OK when nothing is', async () => {
    expect(await proxmox.backUp('n2', { ...BACKUP, vmids: [101] })).toBeUndefined();
    const upid = await backUp('n1', [100, 101]);
    expect(readVzdumpLog(await proxmox.taskLog(upid, 500), [100, 101, 102])).toEqual([
      { vmid: 100, kind: 'done' },
      { vmid: 101, kind: 'done' },
      { vmid: 102, kind: 'unknown' },
    ]);
    expect(await proxmox.notBackedUp()).toHaveLength(3);
    expect(await proxmox.storageStatus('n1', 'pbs')).toMatchObject({ type: 'pbs', active: true, content: ['backup'] });
  });

  it.each([
    ['one guest', [101]],
    ['two guests', [100, 101]],
    ['two guests of which one is elsewhere', [101, 102]],
  ])('know a vzdump of %s whose answer was lost', async (_words, vmids) => {
    const since = Math.floor(Date.now() / 1_000) - 5;
    fault({ kind: 'lost-answer', step: 'backup.start', moment: 'after' });
    await expect(proxmox.backUp('n1', { ...BACKUP, vmids })).rejects.toMatchObject({ kind: 'OutcomeUnknown' });
    expect(await proxmox.backups('n1', vmids, since)).toHaveLength(1);
    expect(effects('backup.start')).toHaveLength(1);
  });

  it('name the guest that is locked', async () => {
    fault({ kind: 'guest-locked', params: { vmid: 101 } });
    const upid = await backUp('n1', [100, 101]);
    expect(await proxmox.taskStatus(upid)).toMatchObject({ ok: false, exit: 'job errors' });
    expect(readVzdumpLog(await proxmox.taskLog(upid, 500), [100, 101])).toMatchObject([
      { kind: 'done' },
      { kind: 'failed', failure: 'lock' },
    ]);
  });

  it('name the datastore that is full', async () => {
    fault({ kind: 'datastore-full' });
    const upid = await backUp();
    expect(readVzdumpLog(await proxmox.taskLog(upid, 500), [101])).toMatchObject([
      { kind: 'failed', failure: 'space' },
    ]);
    expect(stateOf(await copyOf()).state).toBe('never');
  });

  it('leave no proof of a backup whose process died', async () => {
    fault({ kind: 'vzdump-dies', times: 1 });
    const upid = await backUp();
    expect(await proxmox.taskStatus(upid)).toMatchObject({ ok: false, exit: 'unexpected status' });
    expect(readVzdumpLog(await proxmox.taskLog(upid, 500), [101])).toEqual([{ vmid: 101, kind: 'unknown' }]);
    expect((await proxmox.guests()).find(({ vmid }) => vmid === 101)?.lock).toBe('backup');
    expect(stateOf(await copyOf()).state).toBe('never');
  });
});
