import { describe, expect, it } from 'vitest';
import type { StepAnswer } from '#domain/messages/store.js';
import type { RecoverabilityJudgement } from '#domain/messages/train.js';
import { answerUpdates } from '#workflows/messages.js';
import { aPlan, currentPreflight } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { heldFor } from '../support/workflow-harness.js';

/** A train of a fleet that asks whether its stores could be had back. */
const limits = { backupYoungerThan: 172_800_000, restoreYoungerThan: 7_862_400_000 };
const quick = { readFacts: async () => currentPreflight() };
const asking = (stores: string[]) => ({
  ...aPlan()
    .stage('canary', { stores, limits: { errorThreshold: { count: 0, minSample: 1 } } })
    .build(),
  recoverability: limits,
});
const lacking = (store: string): RecoverabilityJudgement['skipped'][number] => ({
  store,
  stop: { reason: 'NoRecentBackup', step: 'recoverability', summary: 'guest 101 (pos): no backup is proven' },
});

describe('a stage of a fleet that asks for recoverability', () => {
  it('leaves out who could not be had back, and goes on with the others', async () => {
    const world = await useWorld();
    const stores = await world.stores(['s001', 's002'], quick);
    world.central.plans(asking(['s001', 's002']));
    const asked: unknown[] = [];
    world.central.on('judgeRecoverability', async (question) => {
      asked.push(question);
      return { skipped: [lacking('s002')], overrides: [] };
    });
    const report = await (await world.startTrain()).result();
    expect(report).toMatchObject({ state: 'done', tally: { succeeded: 1, skipped: 1 } });
    expect(asked).toMatchObject([{ limits, stores: ['s001', 's002'] }]);
    expect(stores.get('s002')?.calls).toEqual([]);
    const rows = world.central.ledgerOf('results').flatMap(({ results }) => results);
    expect(rows.find(({ store }) => store === 's002')).toMatchObject({ outcome: 'skipped', reason: 'NoRecentBackup' });
  });

  it('stands still when nobody could be had back, and asks again when people try it again', async () => {
    const world = await useWorld();
    const store = await world.store('s001', quick);
    world.central.plans(asking(['s001']));
    let judgement: RecoverabilityJudgement = { skipped: [lacking('s001')], overrides: [] };
    world.central.on('judgeRecoverability', async () => judgement);
    const train = await world.startTrain();
    const view = await heldFor(train, 'NotEnoughFacts');
    expect(view.notSucceeded).toMatchObject([{ store: 's001', reason: 'NoRecentBackup' }]);
    expect(store.calls).toEqual([]);
    judgement = { skipped: [], overrides: [] };
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [{ by: 'anna' }] });
    await expect(train.result()).resolves.toMatchObject({ state: 'done', tally: { succeeded: 1 } });
  });

  it('records which override of which two people a store was taken by', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    world.central.plans(asking(['s001']));
    const override = {
      reason: 'NoRestoreProof' as const,
      by: 'anna',
      approvedBy: 'bert',
      why: 'the staging site is being moved',
      at: '2026-11-26T10:00:00Z',
      expires: '2099-11-27T10:00:00Z',
    };
    world.central.on('judgeRecoverability', async () => ({ skipped: [], overrides: [{ override, stores: ['s001'] }] }));
    await expect((await world.startTrain()).result()).resolves.toMatchObject({ tally: { succeeded: 1 } });
    expect(world.central.ledgerOf('approval')).toMatchObject([
      {
        row: {
          stage: 'canary',
          by: 'bert',
          via: 'policies/overrides.yaml',
          accepted: true,
          comment: 'NoRestoreProof: the staging site is being moved (anna, until 2099-11-27T10:00:00Z). Stores: s001',
        },
      },
    ]);
  });

  it('records every store that an override took, each round in a row of its own', async () => {
    const world = await useWorld();
    const refuses = async (): Promise<StepAnswer<never>> => ({
      kind: 'failed',
      stop: { reason: 'ConfigRejected', summary: 'nginx -t said no' },
    });
    const failing = await world.store('s001', { ...quick, applyConfig: refuses });
    world.central.plans(asking(['s001']));
    const override = {
      reason: 'NoRecentBackup' as const,
      by: 'anna',
      approvedBy: 'bert',
      why: 'the central server was moved',
      at: '2026-11-26T10:00:00Z',
      expires: '2099-11-27T10:00:00Z',
    };
    let stores = Array.from({ length: 30 }, (_, n) => `s${String(n + 1).padStart(3, '0')}`);
    world.central.on('judgeRecoverability', async () => ({ skipped: [], overrides: [{ override, stores }] }));
    const train = await world.startTrain();
    await heldFor(train, 'ErrorThresholdExceeded');
    const first = stores;
    stores = ['s001'];
    failing.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [{ by: 'anna' }] });
    await train.result();
    const rows = world.central.ledgerOf('approval').map(({ row }) => row);
    expect(new Set(rows.map(({ id }) => id)).size).toBe(2);
    expect(rows[0]?.comment).toContain(`Stores: ${first.join(', ')}`);
    expect(rows[1]?.comment).toMatch(/Stores: s001$/);
  });

  it('is not asked of a train whose fleet does not', async () => {
    const world = await useWorld();
    await world.store('s001', quick);
    const { recoverability: _, ...plan } = asking(['s001']);
    world.central.plans(plan);
    await (await world.startTrain()).result();
    expect(world.central.calls).not.toContain('judgeRecoverability');
  });
});
