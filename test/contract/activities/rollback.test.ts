import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createControlActivities, hashOf } from '#activities/control.js';
import { createReleaseActivities } from '#activities/release.js';
import { initRepo } from '#client/repo/template.js';
import type { ControlActivities, PermitRequest, ReleaseActivities } from '#domain/messages/train.js';
import { emptyTally } from '#domain/outcomes.js';
import { desiredPointer, desiredRecordSchema, type PermitRef, type ReleaseRef } from '#domain/release.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openLedger, openLedgerReader } from '#systems/ledger/client.js';
import type { Ledger, LedgerReader } from '#systems/ledger/types.js';
import { createReleaseBuilder } from '#systems/release/build.js';
import { createPermitSigner } from '#systems/release/permit.js';
import { loadSigningKey } from '#systems/release/sign.js';
import { createReleaseVerifier } from '#systems/release/verify.js';
import { databaseKinds, execute, type TestDatabase } from '../../support/databases.js';
import { memoryObjects, type MemoryObjects } from '../../support/memory-objects.js';

/** Two trains over four stores, with a real repo, ledger and key: the first was good, the second is to be taken back. */

const NOW = new Date('2026-12-01T12:00:00Z');
const DEADLINE = '2026-12-06T01:00:00.000Z';
const GOOD = ['store-001', 'store-002', 'store-003'];
const BAD = ['store-001', 'store-002', 'store-004'];

let root: string;
let dir: string;
let first: string;
let database: TestDatabase;
let ledger: Ledger;
let reader: LedgerReader;
let objects: MemoryObjects;
let control: ControlActivities;
let release: ReleaseActivities;
let good: ReleaseRef;
let bad: ReleaseRef;

const pem = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();
const { hint, publicKeyPem } = loadSigningKey(pem);
const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });

const git = (...args: string[]): string =>
  execFileSync('git', ['-C', dir, '-c', 'user.name=Ann', '-c', 'user.email=ann@example.org', ...args])
    .toString()
    .trim();

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'edge-rollback-'));
  dir = join(root, 'repo');
  first = await initRepo(dir, { stores: 4 });
  database = await databaseKinds[0]!.create();
  ledger = await openLedger(database.url);
  reader = openLedgerReader(database.url);
});
afterAll(async () => {
  await ledger.close();
  await reader.close();
  await database.drop();
  await rm(root, { recursive: true, force: true });
});

beforeEach(async () => {
  git('reset', '--quiet', '--hard', first);
  for (const tag of git('tag').split('\n').filter(Boolean)) git('tag', '--delete', tag);
  await execute(database.url, 'TRUNCATE trains, stages, results, approvals');
  objects = memoryObjects();
  const repo = openGitRepo({ dir });
  const now = () => NOW;
  control = createControlActivities({
    repo,
    branch: 'main',
    objects,
    ledger,
    isRunning: () => Promise.resolve(false),
    nightCares: () => Promise.resolve([]),
    inWork: () => Promise.resolve([]),
    tell: () => Promise.resolve(),
    now,
  });
  release = createReleaseActivities({
    builder: createReleaseBuilder({ repo, branch: 'main', objects, key: pem }),
    signer: createPermitSigner({ objects, key: pem }),
    repo,
    branch: 'main',
    objects,
    ledger: reader,
    now,
  });
  good = await build();
  await ran('2026-w48', good, GOOD, 'done', '2026-11-23T01:00:00.000Z');
  await change('fleet.yaml', 'version: 2026.48.0\n  sequence: 48', 'version: 2026.49.0\n  sequence: 49');
  bad = await build();
  await ran('2026-w49', bad, BAD, 'held', '2026-11-30T01:00:00.000Z');
});

/** Each activity as the worker runs it. */
const run = <I, O>(activity: (input: I) => Promise<O>, input: I): Promise<O> => environment.run(activity, input);

async function build(): Promise<ReleaseRef> {
  const outcome = await run(release.buildRelease, { commit: git('rev-parse', 'HEAD') });
  if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
  return outcome.release;
}

async function change(file: string, from: string, to: string): Promise<void> {
  const before = await readFile(join(dir, file), 'utf8');
  if (!before.includes(from)) throw new Error(`${from} is not in ${file}`);
  await writeFile(join(dir, file), before.replace(from, to));
  git('commit', '--quiet', '--all', '--message', `change ${file}`);
}

const revoke = (version: string): Promise<void> =>
  change(
    'policies/revoked.yaml',
    'revoked: []',
    `revoked: [{ version: ${version}, reason: loses orders, at: 2026-12-01 }]`,
  );

const promotion = (train: string, ref: ReleaseRef, stores: string[]) => ({
  plan: {
    train,
    fleet: 'edge',
    timeZone: 'Europe/Berlin',
    commit: first,
    release: ref,
    deadline: DEADLINE,
    onCanaryFailure: 'hold' as const,
  },
  stage: 'canary',
  stores,
  planHash: `sha256:${'0'.repeat(64)}`,
  approvedBy: 'ann',
  expires: DEADLINE,
});

/** What a train leaves behind: promotion, desired records, and its rows in the ledger. */
async function ran(train: string, ref: ReleaseRef, stores: string[], state: string, startedAt: string) {
  const { version, sequence, manifest, bundle } = ref;
  await ledger.recordTrain({
    id: train,
    fleet: 'edge',
    release: version,
    sequence,
    manifest,
    bundle,
    state,
    startedAt,
  });
  await run(control.promoteStage, promotion(train, ref, stores));
  const outcome = 'succeeded' as const;
  await ledger.recordResults(
    train,
    'canary',
    0,
    stores.map((store) => ({ store, outcome, startedAt, endedAt: startedAt })),
  );
  if (state === 'done') await ledger.confirmResults(train, 'canary', stores, startedAt);
  const tally = { ...emptyTally(), succeeded: stores.length };
  await ledger.recordStage({ train, stage: 'canary', position: 0, stores: stores.length, state, tally });
}

const plan = async () => {
  const outcome = await run(control.planRollback, { fleet: 'edge', train: '2026-w49' });
  if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
  return outcome;
};

async function approve(planHash: string): Promise<string> {
  const row = {
    train: '2026-w49',
    stage: 'rollback',
    id: 'cli:1',
    planHash,
    by: 'ann',
    via: 'cli',
    at: NOW.toISOString(),
  };
  await ledger.recordApproval({ ...row, decision: 'approve', accepted: true });
  return row.id;
}

/** Plans, has it approved, and asks for the permit of the first group, with the changes of one case. */
async function signed(asked: (request: PermitRequest) => PermitRequest = (same) => same) {
  const { plan: rollback, planHash } = await plan();
  const [group] = rollback.groups;
  const approvalId = await approve(planHash);
  const { fleet, train, from } = rollback;
  const request = { fleet, train, from, to: group!.to, stores: group!.stores, planHash, approvalId };
  return { request, outcome: await run(release.signRollbackPermit, asked(request)) };
}

async function permitOf(outcome: Awaited<ReturnType<typeof signed>>['outcome']): Promise<PermitRef> {
  if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
  return outcome.permit;
}

const judge = (store: string, ref: ReleaseRef, highestSequence: number, permit?: PermitRef) =>
  createReleaseVerifier({ registry: objects, keys: [{ hint, publicKeyPem }] }).verify({
    ref,
    store,
    fleet: 'edge',
    now: NOW,
    highestSequence,
    pveVersion: '9.1.4',
    permit,
  });

const desired = (store: string) =>
  desiredRecordSchema.parse(JSON.parse(objects.pointers.get(desiredPointer(store))?.toString() ?? 'null'));

describe('a train that has ended', () => {
  const reopen = async (train?: string) => run(control.reopenTrain, { fleet: 'edge', train });
  const ends = async () => {
    const row = await ledger.train('2026-w49');
    const planHash = `sha256:${'0'.repeat(64)}`;
    await ledger.recordTrain({ ...row!, state: 'done', commit: first, planHash, endedAt: NOW.toISOString() });
  };

  it('is found again as the newest whose release is on a store, with what it did', async () => {
    await ends();
    expect(await reopen()).toMatchObject({
      kind: 'reopened',
      startedAt: '2026-11-30T01:00:00.000Z',
      plan: { train: '2026-w49', release: bad, commit: first, stages: [{ name: 'canary', stores: BAD }] },
      stages: [{ name: 'canary', state: 'held', results: BAD.map((store) => ({ store, outcome: 'succeeded' })) }],
      nextRound: 0,
      caveats: [],
    });
  });

  it('is not taken back while a later one is on its stores, and is when that one is back', async () => {
    await ends();
    expect(await reopen('2026-w48')).toEqual({
      kind: 'refused',
      problems: [
        'Train 2026-w49 came after 2026-w48 and is still on store-001, store-002. ' +
          'Take that one back first: edge train rollback --train 2026-w49',
      ],
    });
    const back = BAD.map((store) => ({ store, outcome: 'rolledBack' as const }));
    await ledger.recordResults('2026-w49', 'rollback', 2, back);
    const row = await ledger.train('2026-w48');
    await ledger.recordTrain({ ...row!, commit: first, planHash: `sha256:${'0'.repeat(64)}` });
    expect(await reopen()).toMatchObject({ kind: 'reopened', plan: { train: '2026-w48', release: good } });
    expect(await reopen('2026-w49')).toEqual({
      kind: 'refused',
      problems: ['No store holds anything of train 2026-w49 that could be taken back.'],
    });
  });
});

describe('a train is taken back', () => {
  it('from plan to permit to Git to desired records, and then each store accepts its last good release', async () => {
    const { plan: rollback, planHash } = await plan();
    expect(rollback).toMatchObject({
      from: { version: '2026.49.0', sequence: 49 },
      groups: [{ to: good, stores: ['store-001', 'store-002'] }],
      unable: [{ store: 'store-004', reason: 'NoLastGood' }],
    });
    const permit = await permitOf((await signed()).outcome);

    const reverted = await run(control.revertPromotions, { train: '2026-w49', planHash, approvedBy: 'ann' });
    expect(reverted.tag).toBe('edge/2026-w49/rollback');
    expect(git('log', '-1', '--format=%s', reverted.commit)).toBe(
      'Revert "Promote 2026.49.0 to canary of 2026-w49 (3 stores)"',
    );
    expect(git('ls-tree', '-r', '--name-only', reverted.commit, 'promotions/')).toBe('promotions/2026-w48/canary.json');

    await run(control.pointBack, {
      train: '2026-w49',
      commit: reverted.commit,
      groups: rollback.groups.map((group) => ({ ...group, permit })),
      expires: DEADLINE,
    });
    expect(desired('store-001')).toMatchObject({ release: good, stage: 'rollback', commit: reverted.commit, permit });
    expect(desired('store-004')).toMatchObject({ release: bad, stage: 'canary' });

    expect(await judge('store-001', good, 49, permit)).toMatchObject({ kind: 'accepted', manifest: { sequence: 48 } });
    expect(await judge('store-001', good, 49)).toMatchObject({ reason: 'SequenceRollback' });
    expect(await judge('store-001', bad, 49)).toMatchObject({ reason: 'NotPromoted' });
    expect(await judge('store-003', good, 49, permit)).toMatchObject({ reason: 'RollbackNotPermitted' });
    expect(await judge('store-001', good, 50, permit)).toMatchObject({ reason: 'RollbackNotPermitted' });
  });

  describe('and of its stores that never took the release', () => {
    const pointBack = async (others: string[]) => {
      const { outcome, request } = await signed();
      const groups = [{ to: good, stores: request.stores, permit: await permitOf(outcome) }];
      await run(control.pointBack, { train: '2026-w49', commit: first, groups, others, expires: DEADLINE });
    };
    beforeEach(async () => {
      await run(control.promoteStage, { ...promotion('2026-w49', bad, ['store-003']), stage: 'wave-1' });
    });

    it('each is meant to run what was good there before, without a permit, and takes the withdrawn one no more', async () => {
      expect(await judge('store-003', bad, 48)).toMatchObject({ kind: 'accepted' });
      await pointBack(['store-003', 'store-004']);
      expect(desired('store-003')).toMatchObject({ release: good, train: '2026-w49', stage: 'rollback' });
      expect(desired('store-003')).not.toHaveProperty('permit');
      expect(await judge('store-003', good, 48)).toMatchObject({ kind: 'accepted' });
      expect(await judge('store-003', bad, 48)).toMatchObject({ reason: 'NotPromoted' });
      const named = [...objects.pointers].filter(([name]) => name.startsWith('desired/'));
      expect(named).toHaveLength(4);
      for (const [, record] of named) expect(JSON.parse(record.toString()).release).not.toEqual(bad);
    });

    it('one is meant to run nothing when nothing was good there before, or that is revoked by now', async () => {
      await pointBack(['store-004']);
      expect(desired('store-004')).not.toHaveProperty('release');
      expect(await judge('store-004', bad, 48)).toMatchObject({
        reason: 'NotPromoted',
        summary: 'Nothing is promoted for store-004 since train 2026-w49 was taken back.',
      });
      await revoke('2026.48.0');
      await run(control.pointBack, {
        train: '2026-w49',
        commit: first,
        groups: [],
        others: ['store-003'],
        expires: DEADLINE,
      });
      expect(desired('store-003')).not.toHaveProperty('release');
    });

    it('one keeps what it knows of a release that soaked', async () => {
      const soakedAt = '2026-11-24T11:00:00.000Z';
      await run(control.promoteStage, promotion('2026-w48', good, ['store-003']));
      await run(control.confirmStage, {
        train: '2026-w48',
        stage: 'canary',
        release: good,
        stores: ['store-003'],
        soakedAt,
      });
      await run(control.promoteStage, { ...promotion('2026-w49', bad, ['store-003']), stage: 'wave-1' });
      await pointBack(['store-003']);
      expect(desired('store-003').soaked).toEqual({ release: good, at: soakedAt });
    });

    it('one that another train promoted something for keeps that', async () => {
      await run(control.promoteStage, promotion('2026-w50', bad, ['store-003']));
      const before = desired('store-003');
      await pointBack(['store-003']);
      expect(desired('store-003')).toEqual(before);
    });
  });

  it('again and again with the same result, as after lost answers', async () => {
    const once = await signed();
    const twice = await run(release.signRollbackPermit, once.request);
    expect((await permitOf(twice)).permit).toBe((await permitOf(once.outcome)).permit);
    expect((await plan()).planHash).toBe(once.request.planHash);

    const revert = () => run(control.revertPromotions, { train: '2026-w49', planHash: 'x', approvedBy: 'ann' });
    const reverted = await revert();
    expect(await revert()).toEqual(reverted);
    const groups = [{ to: good, stores: ['store-001'], permit: await permitOf(once.outcome) }];
    const others = ['store-002', 'store-004'];
    const pointBack = () =>
      run(control.pointBack, { train: '2026-w49', commit: reverted.commit, groups, others, expires: DEADLINE });
    await pointBack();
    const before = new Map(objects.pointers);
    await pointBack();
    expect(objects.pointers).toEqual(before);
  });

  it('by a plan that the registry keeps under its hash', async () => {
    const { plan: rollback, planHash } = await plan();
    expect(JSON.parse((await objects.get(planHash, 100_000)).toString())).toEqual(rollback);
  });

  it('without those that are back already', async () => {
    await ledger.recordResults('2026-w49', 'rollback', 0, [{ store: 'store-001', outcome: 'rolledBack' }]);
    expect((await plan()).plan.groups).toEqual([{ to: good, stores: ['store-002'] }]);
  });
});

describe('the release worker signs nothing', () => {
  const refused: Record<string, [prepare: () => Promise<unknown>, (request: PermitRequest) => PermitRequest, RegExp]> =
    {
      'that no approval covers': [
        async () => undefined,
        (request) => ({ ...request, approvalId: 'cli:2' }),
        /has no approval cli:2/,
      ],
      'for a store that is not in the plan': [
        async () => undefined,
        (request) => ({ ...request, stores: ['store-003'] }),
        /does not take store-003 back/,
      ],
      'under a plan hash that names no plan': [
        async () => undefined,
        (request) => ({ ...request, planHash: good.manifest }),
        /has no rollback plan/,
      ],
      'that the ledger does not bear out, whatever plan it is shown': [
        async () => {
          const { plan: rollback } = await plan();
          const forged = { ...rollback, groups: [{ to: good, stores: ['store-004'] }] };
          const planHash = await objects.put(Buffer.from(JSON.stringify(forged)));
          return planHash;
        },
        (request) => request,
        /is not the last good one of store-004/,
      ],
    };
  it.each(Object.entries(refused))('%s', async (_, [prepare, asked, problem]) => {
    const forged = await prepare();
    const { outcome } = await signed(asked);
    if (typeof forged !== 'string') {
      expect(outcome).toMatchObject({
        kind: 'refused',
        problems: expect.arrayContaining([expect.stringMatching(problem)]),
      });
      return;
    }
    const { request } = await signed();
    await approve(forged);
    const shown = await run(release.signRollbackPermit, { ...request, planHash: forged, stores: ['store-004'] });
    expect(shown).toEqual({ kind: 'refused', problems: [expect.stringMatching(problem)] });
  });

  it('towards a release that has expired', async () => {
    const longAgo = new Date('2027-06-01T00:00:00Z');
    const { request } = await signed();
    const late = createReleaseActivities({
      builder: { build: () => Promise.reject(new Error('not asked')) },
      signer: createPermitSigner({ objects, key: pem }),
      repo: openGitRepo({ dir }),
      branch: 'main',
      objects,
      ledger: reader,
      now: () => longAgo,
    });
    await ledger.recordApproval({
      train: '2026-w49',
      stage: 'rollback',
      id: 'cli:9',
      planHash: request.planHash,
      decision: 'approve',
      by: 'ann',
      via: 'cli',
      accepted: true,
      at: longAgo.toISOString(),
    });
    expect(await run(late.signRollbackPermit, { ...request, approvalId: 'cli:9' })).toEqual({
      kind: 'refused',
      problems: [expect.stringMatching(/^Release 2026\.48\.0 expired on/)],
    });
  });
});

describe('what happens when the first stage fails', () => {
  const opened = () => ({
    train: '2026-w50',
    commit: git('rev-parse', 'HEAD'),
    deadlineAfter: 1_000,
    noProgressAfter: 7_200_000,
  });
  const planned = () => ({ opened: opened(), fleet: 'edge', release: bad, startedAt: NOW.toISOString() });

  it('is in the plan as fleet.yaml says it, and so in the hash that is approved', async () => {
    const held = await run(control.planTrain, planned());
    await change('fleet.yaml', 'onCanaryFailure: hold', 'onCanaryFailure: rollback');
    const back = await run(control.planTrain, planned());
    if (held.kind !== 'planned' || back.kind !== 'planned') throw new Error('no plan');
    expect([held.plan.onCanaryFailure, back.plan.onCanaryFailure]).toEqual(['hold', 'rollback']);
    expect(hashOf({ ...held.plan, onCanaryFailure: 'rollback' })).not.toBe(held.planHash);
  });
});

describe('a revoked release', () => {
  const revocation = /^Release 2026\.4[89]\.0 is revoked since 2026-12-01: loses orders \(policies\/revoked\.yaml\)\.$/;

  it('is refused as the release of a train and of a promotion', async () => {
    await revoke('2026.49.0');
    const opened = { train: '2026-w50', commit: first, deadlineAfter: 1_000, noProgressAfter: 1_000 };
    const planned = { opened, fleet: 'edge', release: bad, startedAt: NOW.toISOString() };
    expect(await run(control.planTrain, planned)).toEqual({
      kind: 'refused',
      problems: [expect.stringMatching(revocation)],
    });
    expect(await run(control.planTrain, { ...planned, release: good })).toMatchObject({ kind: 'planned' });
    const before = new Map(objects.pointers);
    await expect(run(control.promoteStage, promotion('2026-w50', bad, GOOD))).rejects.toMatchObject({
      type: 'ReleaseRevoked',
      nonRetryable: true,
      message: expect.stringMatching(revocation),
    });
    expect(objects.pointers).toEqual(before);
    expect(git('tag', '--list', 'edge/2026-w50/*')).toBe('');
  });

  it('is no target of a rollback: not in its plan, not of a permit, not of a desired record', async () => {
    const { request, outcome } = await signed();
    const permit = await permitOf(outcome);
    await revoke('2026.48.0');
    expect(await run(control.planRollback, { fleet: 'edge', train: '2026-w49' })).toMatchObject({
      kind: 'refused',
      problems: expect.arrayContaining([expect.stringMatching(/^store-001: Release 2026\.48\.0 is revoked/)]),
    });
    expect(await run(release.signRollbackPermit, request)).toEqual({
      kind: 'refused',
      problems: [expect.stringMatching(revocation)],
    });
    const groups = [{ to: good, stores: ['store-001'], permit }];
    await expect(
      run(control.pointBack, { train: '2026-w49', commit: first, groups, expires: DEADLINE }),
    ).rejects.toMatchObject({ type: 'ReleaseRevoked', nonRetryable: true });
    expect(desired('store-001').release).toEqual(bad);
  });

  it('is not guessed at: nothing goes on while the list cannot be read', async () => {
    const { request } = await signed();
    await change('policies/revoked.yaml', 'revoked: []', 'revoked: [everything]');
    const unreadable = {
      type: 'InvalidInput',
      message: expect.stringContaining('policies/revoked.yaml:5: revoked[0]'),
    };
    await expect(run(control.planRollback, { fleet: 'edge', train: '2026-w49' })).rejects.toMatchObject(unreadable);
    await expect(run(release.signRollbackPermit, request)).rejects.toMatchObject(unreadable);
    await expect(run(control.promoteStage, promotion('2026-w50', good, GOOD))).rejects.toMatchObject(unreadable);
  });
});

describe('a stage that soaked and passed its gate', () => {
  const confirm = (change: Partial<Parameters<ControlActivities['confirmStage']>[0]> = {}) =>
    run(control.confirmStage, {
      train: '2026-w49',
      stage: 'canary',
      release: bad,
      stores: BAD,
      soakedAt: '2026-12-01T11:00:00.000Z',
      ...change,
    });

  it('is marked in the desired records of its stores, and the release stays promoted there', async () => {
    const before = desired('store-001');
    expect(await confirm()).toEqual({ left: [] });
    expect(desired('store-001')).toEqual({ ...before, soaked: { release: bad, at: '2026-12-01T11:00:00.000Z' } });
    expect(desired('store-003')).not.toHaveProperty('soaked');
    expect(await judge('store-001', bad, 49)).toMatchObject({ kind: 'accepted' });
  });

  it('keeps the instant at which it was marked first', async () => {
    await confirm();
    await confirm({ soakedAt: '2026-12-02T11:00:00.000Z' });
    expect(desired('store-001').soaked?.at).toBe('2026-12-01T11:00:00.000Z');
  });

  it('is still known when the next release is promoted, for a store that was away', async () => {
    await confirm();
    await run(control.promoteStage, promotion('2026-w50', good, ['store-001', 'store-003']));
    expect(desired('store-001')).toMatchObject({ release: good, soaked: { release: bad } });
    expect(desired('store-003')).not.toHaveProperty('soaked');
  });

  it('marks nothing on stores that are meant to run something else by now', async () => {
    objects.pointers.delete(desiredPointer('store-004'));
    expect(await confirm({ stores: ['store-001', 'store-003', 'store-004'] })).toEqual({
      left: ['store-003', 'store-004'],
    });
    expect(await confirm({ stage: 'wave-1', stores: ['store-002'] })).toEqual({ left: ['store-002'] });
    expect(await confirm({ release: good, stores: ['store-002'] })).toEqual({ left: ['store-002'] });
    expect(desired('store-002')).not.toHaveProperty('soaked');
  });
});
