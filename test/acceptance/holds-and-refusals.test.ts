import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Decision } from '#domain/messages/train.js';
import type { ReleaseRef } from '#domain/release.js';
import { countByNode, givenPractice, NEXT_WEEK, resultOf, type Practice } from '../support/practice.js';

/** What a fleet refuses, and where a train stands still. One fleet, one thing after the other. */
const [CANARY_STAGE, REST] = ['canary', 'rest'];

let practice: Practice;
let decoy: string;
let release: ReleaseRef;
let canary: string;
let others: string[];
beforeAll(async () => {
  decoy = await mkdtemp(join(tmpdir(), 'edge-other-key-'));
  await writeFile(join(decoy, 'other.pem'), 'not the key of this service');
  practice = await givenPractice({ stores: 3, env: { EDGE_RELEASE_KEY_FILE: join(decoy, 'other.pem') } });
});
afterAll(async () => {
  await practice?.stop();
  await rm(decoy, { recursive: true, force: true });
});

const rebootsOf = async (store: string) => countByNode(await practice.effects(store), 'node.reboot.request');

describe('approvals', () => {
  it('are refused with a sentence for another plan and for a stage that is not asked for', async () => {
    await practice.startTrain();
    const view = await practice.until('the canary to ask', ({ hold }) => hold?.reason === 'ApprovalPending');
    expect(view.answers).toEqual(['approve', 'reject', 'pause', 'abort']);
    const decide = async (change: Partial<Decision>) => practice.decide(await practice.decision(change));
    await expect(decide({ planHash: `sha256:${'0'.repeat(64)}` })).rejects.toMatchObject({
      cause: { message: expect.stringContaining('not that of this train') },
    });
    await expect(decide({ stage: REST })).rejects.toMatchObject({
      cause: { message: expect.stringContaining('asks for stage canary') },
    });
    expect(await practice.effects('store-001')).toEqual([]);
  });

  it('come by signal too, and a refused signal is recorded', async () => {
    const view = await practice.view();
    const handle = practice.client.workflow.getHandle('train/practice');
    const decision = { stage: CANARY_STAGE, planHash: view.planHash, decision: 'approve', by: 'bot', via: 'chat' };
    await handle.signal('approveWave', { ...decision, stage: REST });
    await practice.until('the refusal', ({ refusedDecisions }) => refusedDecisions.some(({ by }) => by === 'bot'));
    await handle.signal('approveWave', decision);
    await practice.until('the canary to start', ({ stages }) => stages[0]?.approvedBy === 'bot');
  });
});

describe('a canary that is worse after the patch', () => {
  it('holds the train, and no other store is touched', async () => {
    const begun = await practice.seen('the canary to be drained', ({ effect }) => effect === 'ha.maintenance.enable');
    canary = begun.store;
    others = ['store-001', 'store-002', 'store-003'].filter((store) => store !== canary);
    await practice.lab.addFault({ id: 'worse', store: canary, kind: 'bad-cache' });
    const held = await practice.until('the gate to hold', ({ hold }) => hold?.reason === 'HealthGateFailed');
    expect(held.hold?.answers).toEqual(['retry-gate', 'rollback', 'abort']);
    expect(held.stages[0]?.tally.succeeded).toBe(1);
    for (const store of others) expect(await practice.effects(store)).toEqual([]);
    release = held.release as ReleaseRef;
  });

  it('goes on when it is well again and measured again', async () => {
    await practice.lab.removeFault('worse');
    await practice.answer('retryGate');
    await practice.until('the rest to ask', ({ hold }) => hold?.stage === REST && hold.reason === 'ApprovalPending');
  });
});

describe('a store', () => {
  it('refuses a release that was not promoted for it, untouched', async () => {
    const [store] = others as [string];
    const result = await resultOf(await practice.patch(store, release));
    expect(result).toMatchObject({ outcome: 'failed', reason: 'NotPromoted' });
    expect(await practice.effects(store)).toEqual([]);
  });

  it('refuses a release whose bytes are not those that were signed, untouched', async () => {
    const [store] = others as [string];
    const whole = await readFile(practice.objects('sha256', release.manifest.replace('sha256:', '')));
    const changed = Buffer.concat([whole, Buffer.from(' ')]);
    const hex = createHash('sha256').update(changed).digest('hex');
    await writeFile(practice.objects('sha256', hex), changed);
    const forged = { ...release, manifest: `sha256:${hex}` };
    await practice.promoteByHand(store, forged);
    const result = await resultOf(await practice.patch(store, forged));
    expect(result).toMatchObject({ outcome: 'failed', reason: 'SignatureInvalid' });
    expect(await practice.effects(store)).toEqual([]);
  });

  it('refuses a release whose bytes were altered in the registry, untouched', async () => {
    const [store] = others as [string];
    await practice.promoteByHand(store, release);
    const file = practice.objects('sha256', release.manifest.replace('sha256:', ''));
    const whole = await readFile(file);
    await writeFile(file, Buffer.concat([whole, Buffer.from(' ')]));
    const result = await resultOf(await practice.patch(store, release));
    await writeFile(file, whole);
    expect(result).toMatchObject({ outcome: 'failed', reason: 'DigestMismatch' });
    expect(await practice.effects(store)).toEqual([]);
  });

  it('does not reboot when facts turned bad while the step waited behind a cut link', async () => {
    const [, store] = others as [string, string];
    await practice.promoteByHand(store, release);
    const handle = await practice.patch(store, release);
    await practice.seen(
      'packages to be installed',
      (entry) => entry.store === store && entry.effect === 'packages.begin',
    );
    await practice.lab.setWan(store, false);
    await practice.seen(
      'packages to be there',
      (entry) => entry.store === store && entry.effect === 'packages.install',
    );
    await practice.lab.addFault({ id: 'flag', store, kind: 'foreign-noout' });
    await practice.lab.setWan(store, true);
    const result = await resultOf(handle);
    expect(result).toMatchObject({ outcome: 'failed', reason: 'FactsChanged' });
    expect(await rebootsOf(store)).toEqual({});
    await practice.lab.removeFault('flag');
  });

  it('adopts what a terminated operation left in the middle of apt', async () => {
    const [, store] = others as [string, string];
    const before = (await practice.lab.journal(0)).length;
    const since = async (effect: string) =>
      countByNode(
        (await practice.effects(store)).filter(({ seq }) => seq > before),
        effect,
      );
    const first = await practice.patch(store, release, { round: 1 });
    await practice.seen(
      'apt to run',
      (entry) => entry.seq > before && entry.store === store && entry.effect === 'unit.start',
    );
    await first.terminate('test');
    const second = await resultOf(await practice.patch(store, release, { round: 2 }));
    expect(second).toMatchObject({ outcome: 'succeeded' });
    expect(Math.max(...Object.values(await since('unit.start')))).toBe(1);
    expect(Math.max(...Object.values(await since('node.down')))).toBe(1);
  });
});

describe('the rest of the train', () => {
  it('fails at a store whose apt fails half-way, cordons that node alone, and holds', async () => {
    const [store] = others as [string];
    await practice.lab.addFault({ id: 'apt', store, kind: 'apt-fail', times: 1 });
    await practice.approve();
    const held = await practice.until('the threshold', ({ hold }) => hold?.reason === 'ErrorThresholdExceeded');
    expect(held.notSucceeded[0]).toMatchObject({ store, outcome: 'failed', reason: 'UpgradeFailed' });
    const entries = await practice.effects(store);
    expect(Object.values(countByNode(entries, 'ha.maintenance.enable'))).toEqual([1]);
    expect(countByNode(entries, 'ha.maintenance.disable')).toEqual({});
    expect(await rebootsOf(store)).toEqual({});
    await practice.answer('abort');
    await practice.until('the end', ({ state }) => state === 'aborted');
  });
});

describe('an older release', () => {
  it('is refused by a store that has seen a newer one', async () => {
    await practice.editFleet((fleet) => void Object.assign(fleet.release, NEXT_WEEK));
    await practice.startTrain({ stages: [CANARY_STAGE] });
    const done = await practice.until('the canary alone', ({ state }) => state === 'done', { approving: true });
    expect(done.release?.sequence).toBe(49);
    await practice.promoteByHand(canary, release);
    const before = (await practice.effects(canary)).length;
    const result = await resultOf(await practice.patch(canary, release, { train: 'by-hand-3' }));
    expect(result).toMatchObject({ outcome: 'failed', reason: 'SequenceRollback' });
    expect((await practice.effects(canary)).length).toBe(before);
  });
});

describe('secrets', () => {
  // One user on one machine may read whatever they know the path of. What keeps the control worker from the key here is
  // that it is told no path; in production it is another user. The release worker shows that the look finds what is there.
  it('the signing key is told to the release worker alone, and closed to other users', async () => {
    const folder = join(practice.dir, 'edge', 'release-key');
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await stat(join(folder, 'key.pem'))).mode & 0o777).toBe(0o600);
    const pem = await readFile(join(folder, 'key.pem'), 'utf8');
    const traces = [`${folder}/`, decoy, 'RELEASE_KEY', pem.split('\n')[1] as string];

    expect((await whatIsGivenTo(practice.pid('release'))).join('\n')).toContain(join(folder, 'key.pem'));
    for (const name of ['control', 'stores-1', 'lab', 'ledger', 'temporal']) {
      const given = await whatIsGivenTo(practice.pid(name));
      expect(given.length).toBeGreaterThan(5);
      for (const trace of traces) expect(given.filter((text) => text.includes(trace))).toEqual([]);
    }
  });

  it('never stand in a history, a log or the registry', async () => {
    const enrolment = (store: string, file: string) =>
      readFile(join(practice.dir, 'edge', 'lab', 'enrolment', store, file), 'utf8');
    const token = (await enrolment(canary, 'pve-token')).trim().split('=').at(-1) as string;
    const sshKey = (await enrolment(canary, 'ssh-key')).split('\n')[2] as string;
    const signingKey = (await readFile(join(practice.dir, 'edge', 'release-key', 'key.pem'), 'utf8')).split(
      '\n',
    )[1] as string;
    const secrets = [token, sshKey, signingKey];
    expect(secrets.every((secret) => secret.length > 20)).toBe(true);
    const histories: string[] = [];
    for await (const { workflowId, runId } of practice.client.workflow.list()) {
      histories.push(textOf(await practice.client.workflow.getHandle(workflowId, runId).fetchHistory()));
    }
    expect(histories.length).toBeGreaterThan(5);
    expect(histories.some((text) => text.includes('"operationId"'))).toBe(true);
    for (const secret of secrets) {
      expect(histories.filter((text) => text.includes(secret))).toEqual([]);
      const { stdout } = await execa(
        'grep',
        ['-rlF', '-e', secret, join(practice.dir, 'edge', 'logs'), practice.objects()],
        {
          reject: false,
        },
      );
      expect(stdout).toBe('');
    }
  });
});

/** All text of a history, payloads decoded. */
function textOf(value: unknown): string {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
  if (typeof value === 'string') return value;
  if (typeof value !== 'object' || value === null) return '';
  return Object.values(value).map(textOf).join('\n');
}

/** All that a process was started with and holds: environment, arguments, and where its open files lead. */
async function whatIsGivenTo(pid: number): Promise<string[]> {
  const of = (file: string) => readFile(`/proc/${pid}/${file}`, 'utf8');
  const open = await readdir(`/proc/${pid}/fd`);
  // A file may be closed again between the listing and the look.
  const leads = await Promise.all(open.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
  return [...(await of('environ')).split('\0'), ...(await of('cmdline')).split('\0'), ...leads].filter(
    (text) => text !== '',
  );
}
