import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { TrainReport } from '#domain/messages/train.js';
import { CONTROL_QUEUE, trainWorkflowId } from '#domain/naming.js';
import { desiredPointer, type DesiredRecord, type PermitRef, type ReleaseRef } from '#domain/release.js';
import { openLedger } from '#systems/ledger/client.js';
import { countByNode, givenPractice, NEXT_WEEK, resultOf, type Practice } from '../support/practice.js';

/**
 * A release that a canary measures as bad, on a fleet whose policy takes such a release back. One fleet, one thing after
 * the other; what was done to stores is read from the practice fleet's journal.
 */
const CANARY = 'canary';
const ONCE = { n1: 1, n2: 1, n3: 1 };
const TWICE = { n1: 2, n2: 2, n3: 2 };

let practice: Practice;
let pilots: string[];
let others: string[];
let good: ReleaseRef;
let bad: ReleaseRef;
let report: TrainReport;
let permit: PermitRef;
/** The last entry of the journal before the bad release came. */
let before: number;

beforeAll(async () => {
  practice = await givenPractice({
    stores: 3,
    canary: 2,
    edit: (fleet) => Object.assign(fleet['train'] as object, { onCanaryFailure: 'rollback' }),
  });
  const stages = await practice.stages();
  [pilots, others] = [stages[CANARY] as string[], stages['rest'] as string[]];
});
afterAll(() => practice?.stop());

const git = async (...args: string[]): Promise<string> => (await execa('git', args, { cwd: practice.repo })).stdout;
const trustOf = async (store: string): Promise<{ current?: ReleaseRef; lastGood?: ReleaseRef }> =>
  JSON.parse(await readFile(join(practice.dir, 'edge', 'lab', 'workers', store, 'trust.json'), 'utf8'));
const desiredOf = async (store: string): Promise<DesiredRecord> =>
  JSON.parse(await readFile(practice.objects('pointers', desiredPointer(store)), 'utf8'));
const since = async (seq: number, store: string): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.seq > seq);
const newest = async (): Promise<number> => (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
const kernelsOf = async (store: string): Promise<string[]> =>
  (await practice.snapshot(store)).nodes.map(({ kernel }) => kernel);

/** The bad release goes to the pilots; from its first package on, one of them serves its customers worse. */
async function whenTheBadReleaseIsOnThePilots(spoiled: string): Promise<void> {
  const seq = await newest();
  await practice.startTrain({ stages: [CANARY] });
  await practice.until('the canary to ask', ({ hold }) => hold?.reason === 'ApprovalPending');
  await practice.approve();
  await practice.seen(
    'its packages',
    ({ seq: at, store, effect }) => at > seq && store === spoiled && effect === 'packages.begin',
  );
  await practice.lab.addFault({ id: 'spoiled', store: spoiled, kind: 'bad-cache' });
}

async function whenAPastTrainIsTakenBack() {
  const workflowId = trainWorkflowId('practice');
  // A train shows its end before Temporal has closed it.
  await practice.client.workflow.getHandle(workflowId).result();
  const args = [{ fleet: 'practice', by: 'test', reason: 'orders are lost at night' }];
  return practice.client.workflow.start('rollbackTrain', { taskQueue: CONTROL_QUEUE, workflowId, args });
}

describe('a canary that is worse with the new release', () => {
  it('is taken back by the policy, without asking anybody', async () => {
    const first = (await practice.ride(await practice.startTrain({ stages: [CANARY] }))) as TrainReport;
    expect(first).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    good = first.release as ReleaseRef;
    for (const store of pilots) {
      await practice.eventually(`${store} to learn that it soaked`, async () =>
        (await trustOf(store)).lastGood?.version === good.version ? true : undefined,
      );
    }
    await practice.editFleet((fleet) => void Object.assign(fleet.release, NEXT_WEEK));
    before = await newest();

    await whenTheBadReleaseIsOnThePilots(pilots[0] as string);
    const turned = await practice.until('the way back', ({ state }) => state === 'rolling back');
    bad = turned.release as ReleaseRef;
    expect(turned.stages[0]?.gate).toMatch(/cache/i);
    // Both run the new one by now; it did not soak, so what they would go back to is still the earlier one.
    for (const store of pilots) {
      const { current, lastGood } = await trustOf(store);
      expect([current?.version, lastGood?.version]).toEqual([bad.version, good.version]);
    }
    await practice.lab.removeFault('spoiled');
    report = (await practice.client.workflow.getHandle('train/practice').result()) as TrainReport;
    expect(report).toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 }, planned: 2 });
    expect(report.summary).toBe('Rolled back from 2026.49.0: 2 of 2 stores are back on 2026.48.0.');
  });

  it('rebooted each node of its stores once on the way there and once on the way back', async () => {
    for (const store of pilots) {
      const entries = await since(before, store);
      expect(countByNode(entries, 'node.reboot.request')).toEqual(TWICE);
      expect(countByNode(entries, 'node.down')).toEqual(TWICE);
      expect(countByNode(entries, 'packages.begin')).toEqual(TWICE);
      expect(await kernelsOf(store)).toEqual(['6.14.11-4-pve', '6.14.11-4-pve', '6.14.11-4-pve']);
    }
  });

  it('left every other store alone', async () => {
    for (const store of others) expect(await practice.effects(store)).toEqual([]);
  });

  it('broke no rule of the practice fleet’s own journal, there or back', async () => {
    expect(await practice.violations()).toEqual([]);
  });

  it('is what Git says too: its promotion is reverted under a tag, that of the train before it stands', async () => {
    const tag = `edge/${report.train}/rollback`;
    expect(await git('rev-parse', `${tag}^{commit}`)).toBe(await git('rev-parse', 'main'));
    const promotions = (await git('ls-tree', '-r', '--name-only', 'main', 'promotions/')).split('\n');
    expect(promotions).toHaveLength(1);
    expect(promotions[0]).not.toContain(`promotions/${report.train}/`);
  });

  it('left the release that soaked as the last good one of its stores', async () => {
    for (const store of pilots) {
      const { current, lastGood } = await trustOf(store);
      expect([current?.version, lastGood?.version]).toEqual([good.version, good.version]);
    }
  });

  it('went back by a permit that names exactly its stores, both releases, and the policy as the approval', async () => {
    permit = (await desiredOf(pilots[0] as string)).permit as PermitRef;
    const bytes = await readFile(practice.objects('sha256', permit.permit.replace('sha256:', '')), 'utf8');
    expect(JSON.parse(bytes)).toMatchObject({
      stores: pilots.toSorted(),
      from: { version: bad.version, manifest: bad.manifest },
      to: { version: good.version, manifest: good.manifest },
      approval: { id: `${report.train}/rollback/policy`, by: 'policy onCanaryFailure' },
    });
  });
});

describe('a train that ended well', () => {
  it('is taken back days later: each store goes to what ran there before, and the ledger says so', async () => {
    const done = (await practice.ride(await practice.startTrain({ stages: [CANARY] }))) as TrainReport;
    expect(done).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    for (const store of pilots)
      await practice.eventually(`${store} to learn that it soaked`, async () =>
        (await trustOf(store)).lastGood?.version === bad.version ? true : undefined,
      );
    const seq = await newest();
    const handle = await whenAPastTrainIsTakenBack();
    const asked = await practice.until('the approval', ({ hold }) => hold?.stage === 'rollback');
    for (const store of pilots) expect(await since(seq, store)).toEqual([]);
    expect(asked.train).toBe(done.train);
    await practice.approve();
    expect(await handle.result()).toMatchObject({ state: 'rolled back', train: done.train, tally: { rolledBack: 2 } });
    for (const store of pilots) {
      expect(countByNode(await since(seq, store), 'node.reboot.request')).toEqual(ONCE);
      expect(await kernelsOf(store)).toEqual(['6.14.11-4-pve', '6.14.11-4-pve', '6.14.11-4-pve']);
      const { current, lastGood } = await trustOf(store);
      expect([current?.version, lastGood?.version]).toEqual([good.version, good.version]);
    }
    const ledger = await openLedger(practice.service.databaseUrl);
    try {
      expect(await ledger.train(done.train)).toMatchObject({ state: 'rolled back' });
    } finally {
      await ledger.close();
    }
    expect(await practice.violations()).toEqual([]);
  });
});

describe('a release that was revoked', () => {
  const NOBODY = 'revoked: []';
  const revoke = async (from: string, to: string) => {
    const file = join(practice.repo, 'policies', 'revoked.yaml');
    await writeFile(file, (await readFile(file, 'utf8')).replace(from, to));
    await git('-c', 'user.name=test', '-c', 'user.email=test@example.com', 'commit', '-qam', 'revoke');
  };
  let revoked: string;

  it('is no target: the stores keep what they have, and people are asked', async () => {
    revoked = `revoked: [{ version: ${good.version}, reason: loses orders, at: 2026-01-01 }]`;
    await revoke(NOBODY, revoked);
    await practice.editFleet((fleet) => void Object.assign(fleet.release, { version: '2026.50.0', sequence: 50 }));

    await whenTheBadReleaseIsOnThePilots(pilots[0] as string);
    const held = await practice.until('the refusal', ({ hold }) => hold?.reason === 'RollbackRefused');
    const seq = await newest();
    expect(held.hold?.detail.join('\n')).toMatch(/2026\.48\.0 is revoked since 2026-01-01: loses orders/);
    await practice.answer('abort');
    await practice.until('the end', ({ state }) => state === 'aborted');
    for (const store of pilots) {
      expect(await since(seq, store)).toEqual([]);
      expect(await kernelsOf(store)).toEqual(['6.14.11-5-pve', '6.14.11-5-pve', '6.14.11-5-pve']);
    }
    await practice.lab.removeFault('spoiled');
  });

  it('is one again when that was a mistake: stores that went back to it once go back to it again', async () => {
    await revoke(revoked, NOBODY);
    const handle = await whenAPastTrainIsTakenBack();
    await practice.until('the approval', ({ hold }) => hold?.stage === 'rollback');
    await practice.approve();
    expect(await handle.result()).toMatchObject({ state: 'rolled back', tally: { rolledBack: 2 } });
    for (const store of pilots) {
      const { current, lastGood } = await trustOf(store);
      expect([current?.version, lastGood?.version]).toEqual([good.version, good.version]);
    }
  });
});

describe('a permit', () => {
  it('takes no store back that it does not name, and that store stays untouched', async () => {
    const [store] = others as [string];
    for (const [round, release] of [good, bad].entries()) {
      await practice.promoteByHand(store, release);
      const { outcome, reason } = await resultOf(await practice.patch(store, release, { round }));
      expect([outcome, reason]).toEqual(['succeeded', undefined]);
    }
    const seq = await newest();
    await practice.promoteByHand(store, good, permit);
    const result = await resultOf(await practice.patch(store, good, { round: 2, permit }));
    expect(result).toMatchObject({ outcome: 'failed', reason: 'RollbackNotPermitted' });
    expect(await since(seq, store)).toEqual([]);
  });
});
