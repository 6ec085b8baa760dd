import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import type { Inspected, StoreActivities, SweepTask } from '#domain/messages/store.js';
import type { SweepTask as RestoreSweepTask } from '#domain/messages/restore.js';
import { operationId, restoreWorkflowId } from '#domain/naming.js';
import { janitorQuery } from '#workflows/messages.js';
import { aRestorePlan, aStoreInput, COMMIT, currentPreflight, storeNames } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { eventually } from '../support/workflow-harness.js';

const DEAD = operationId('2026-w47', 'canary', 's001', 0);
const FENCE = 7;
const marks = ['maintenance of n1', 'noout of n1'];
const left = (change: Partial<NonNullable<Inspected['leftBy']>> = {}): Pick<StoreActivities, 'inspectStore'> => ({
  inspectStore: async () => ({
    leftBy: { operationId: DEAD, fence: FENCE, locked: true, marks, ...change },
    foreign: [],
  }),
});
const clean = (asked: SweepTask[] = []): Pick<StoreActivities, 'sweepStore'> => ({
  sweepStore: async (task) => {
    asked.push(task);
    return { kind: 'swept', undone: marks, left: [] };
  },
});

describe('the janitor', () => {
  it('has a store take back what exactly the operation left that is over, and calls nobody', async () => {
    const world = await useWorld();
    const asked: SweepTask[] = [];
    await world.store('s001', { ...left(), ...clean(asked) });
    const calm = await world.store('s002');
    const janitor = await world.startJanitor({ stores: ['s001', 's002'] });
    expect(await janitor.result()).toEqual({
      fleet: 'acme',
      commit: COMMIT,
      stores: 2,
      clean: 1,
      found: [{ kind: 'looked', store: 's001', leftBy: DEAD, undone: [...marks, 'the lock'], left: [], foreign: [] }],
    });
    expect(asked.map(({ store, over }) => [store, over])).toEqual([['s001', { operationId: DEAD, fence: FENCE }]]);
    expect(calm.calls).toEqual(['inspectStore']);
    expect(world.central.notifications).toEqual([]);
  });

  it('leaves a store alone on which an operation runs, and cleans it when that one was terminated', async () => {
    const world = await useWorld();
    const store = await world.store('s001', { readFacts: async () => currentPreflight(), ...left(), ...clean() });
    const held = store.hold('applyConfig');
    const operation = await world.startStore(aStoreInput('s001'));
    await held.reached;
    const before = store.work();
    const first = await world.startJanitor({ stores: ['s001'] });
    expect((await first.result()).found).toEqual([{ kind: 'busy', store: 's001' }]);
    expect(store.work()).toEqual(before);

    await operation.terminate('by hand, in the night');
    const second = await world.startJanitor({ stores: ['s001'] });
    expect((await second.result()).found).toMatchObject([{ store: 's001', undone: [...marks, 'the lock'] }]);
  });

  it('counts a store as busy that another operation took between the look and the sweep', async () => {
    const world = await useWorld();
    await world.store('s001', { ...left(), sweepStore: async () => ({ kind: 'taken', by: 'next' }) });
    const janitor = await world.startJanitor({ stores: ['s001'] });
    expect((await janitor.result()).found).toEqual([{ kind: 'busy', store: 's001' }]);
    expect(world.central.notifications).toEqual([]);
  });

  it('waits for no silent store, shows what it has found meanwhile, and is through with the others', async () => {
    const world = await useWorld();
    const slow = await world.store('s002');
    await world.store('s003', { ...left(), ...clean() });
    world.central.on('planSweep', async () => ({
      kind: 'planned',
      commit: COMMIT,
      stores: ['s001', 's002', 's003'],
      offlineAfter: 1_000,
    }));
    const held = slow.hold('inspectStore');
    const janitor = await world.startJanitor();
    await held.reached;
    const shown = await eventually('two of three to be through', async () => {
      const report = await janitor.query(janitorQuery);
      return report.found.length === 2 ? report : undefined;
    });
    expect(shown).toMatchObject({ stores: 3, clean: 0 });
    held.release();
    expect((await janitor.result()).found.map(({ store, kind }) => [store, kind])).toEqual([
      ['s001', 'offline'],
      ['s003', 'looked'],
    ]);
  });

  it('calls people for what is still set, what others have set, and a store that cannot tell', async () => {
    const world = await useWorld();
    await world.store('s001', {
      ...left(),
      sweepStore: async () => ({ kind: 'swept', undone: ['noout of n1'], left: ['maintenance of n1 (not reachable)'] }),
    });
    await world.store('s002', { inspectStore: async () => ({ foreign: ['noout of n3'] }) });
    await world.store('s003', {
      inspectStore: async () => {
        throw ApplicationFailure.nonRetryable('the manager status cannot be read');
      },
    });
    const janitor = await world.startJanitor({ stores: ['s001', 's002', 's003'] });
    expect((await janitor.result()).found).toMatchObject([
      { store: 's001', undone: ['noout of n1'], left: ['maintenance of n1 (not reachable)'] },
      { store: 's002', foreign: ['noout of n3'] },
      { kind: 'failed', store: 's003', why: 'the manager status cannot be read' },
    ]);
    expect(world.central.notifications).toEqual([
      {
        event: 'attention',
        fleet: 'acme',
        train: '',
        reason: 'UndoIncomplete',
        summary:
          'The janitor could not take back what a dead operation left on s001; failed on s003; ' +
          'left alone what others have set on s002. See: edge janitor show',
        answers: [],
      },
    ]);
  });

  const withSite = async (stores: string[], storeTimeout = 3_600_000) => {
    const world = await useWorld();
    world.central.on('planSweep', async () => ({
      kind: 'planned',
      commit: COMMIT,
      stores,
      offlineAfter: 1_000,
      staging: { storeTimeout },
    }));
    return world;
  };

  it('has the staging site swept of what dead runs left there, and says what came of it', async () => {
    const world = await withSite(['s001']);
    await world.store('s001');
    const asked: RestoreSweepTask[] = [];
    await world.stagingSite({
      sweepSite: async (task) => {
        asked.push(task);
        return { kind: 'done', removed: ['guest 90101 on stg1', 'storage test-s001'], left: [], busy: [] };
      },
    });
    const startedAt = Date.now();
    const report = await (await world.startJanitor()).result();
    const endedAt = Date.now();
    expect(report).toMatchObject({
      clean: 1,
      staging: { kind: 'looked', removed: ['guest 90101 on stg1', 'storage test-s001'], left: [], busy: [] },
    });
    expect(asked).toEqual([{ protocol: 1, fleet: 'acme', before: expect.any(String) as string }]);
    // What a run of restore tests may still use is younger than twice the time for a store.
    const reference = Date.parse(asked[0]?.before ?? '') + 2 * 3_600_000;
    expect(reference).toBeGreaterThanOrEqual(startedAt);
    expect(reference).toBeLessThanOrEqual(endedAt);
    expect(world.central.notifications).toEqual([]);
  });

  it('tells the staging site whose guests are tried, so that theirs stay, and takes them when that one was terminated', async () => {
    const world = await withSite(['s001', 's002'], 1);
    await world.stores(['s001', 's002']);
    world.central.on('planRestores', async () => ({ kind: 'planned', plan: aRestorePlan(['s001']) }));
    const tried: (string[] | undefined)[] = [];
    const site = await world.stagingSite({
      sweepSite: async (task) => {
        tried.push(task.tried);
        return { kind: 'done', removed: [], left: [] };
      },
    });
    let go: () => void = () => undefined;
    const reached = new Promise<void>((resolve) => {
      site.on('bootGuest', async () => {
        resolve();
        await new Promise<void>((released) => (go = released));
        return { kind: 'done', startedAt: '2026-11-29T09:00:00Z', endedAt: '2026-11-29T09:00:01Z' };
      });
    });
    await world.startRestores();
    await reached;
    tried.length = 0;
    await (await world.startJanitor()).result();
    expect(tried).toEqual([['s001']]);
    const trial = world.client.workflow.getHandle(restoreWorkflowId('s001'));
    await trial.terminate('by hand, in the night');
    await (await world.startJanitor()).result();
    expect(tried).toEqual([['s001'], undefined]);
    go();
  });

  it('calls people for what is left at the staging site, and when it cannot tell', async () => {
    const world = await withSite(['s001']);
    await world.store('s001');
    const site = await world.stagingSite({
      sweepSite: async () => ({ kind: 'done', removed: [], left: ['guest 90101 on stg1: protected'], busy: [] }),
    });
    await (await world.startJanitor()).result();
    site.on('sweepSite', async () => ({ kind: 'failed', fault: 'site', why: 'the token was refused' }));
    const report = await (await world.startJanitor()).result();
    expect(report.staging).toEqual({ kind: 'failed', why: 'the token was refused' });
    site.on('sweepSite', async () => {
      throw ApplicationFailure.nonRetryable('nobody is at home');
    });
    expect((await (await world.startJanitor()).result()).staging).toEqual({ kind: 'failed', why: 'nobody is at home' });
    expect(world.central.notifications).toMatchObject([
      { reason: 'UndoIncomplete', summary: expect.stringContaining('guest 90101 on stg1: protected') as string },
      { reason: 'StepFailed', summary: expect.stringContaining('failed at the staging site') as string },
      { reason: 'StepFailed' },
    ]);
  });

  it('waits for no silent staging site, and is through with the stores', async () => {
    const world = await withSite(['s001']);
    await world.store('s001');
    const report = await (await world.startJanitor()).result();
    expect(report).toMatchObject({ clean: 1, staging: { kind: 'offline' } });
    expect(world.central.notifications).toEqual([]);
  });

  it('goes on as a new run after 250 stores, reports on all of them, and has the staging site swept once', async () => {
    const world = await useWorld();
    const stores = storeNames(252);
    world.central.on('planSweep', async () => ({
      kind: 'planned',
      commit: COMMIT,
      stores,
      offlineAfter: 500,
      staging: { storeTimeout: 1 },
    }));
    const site = await world.stagingSite({
      sweepSite: async () => ({ kind: 'done', removed: ['storage test-s001'], left: [] }),
    });
    await world.store('s252', { ...left(), ...clean() });
    await world.store('s001');
    const janitor = await world.startJanitor();
    const report = await janitor.result();
    expect(report).toMatchObject({ stores: 252, clean: 1, staging: { removed: ['storage test-s001'] } });
    expect(site.calls).toEqual(['sweepSite']);
    expect(report.found).toHaveLength(251);
    expect(report.found.filter(({ kind }) => kind === 'offline')).toHaveLength(250);
    expect(report.found.at(-1)).toMatchObject({ store: 's252', undone: [...marks, 'the lock'] });
    expect(world.central.calls.filter((call) => call === 'planSweep')).toHaveLength(1);
  });

  it('calls people when backups are late or silent, after a look at the whole fleet and not of some stores', async () => {
    const world = await useWorld();
    const concern = 'Backups of 1 of 2 stores are not as they should be; the worst: s001.';
    world.central.on('planSweep', async ({ stores }) => ({
      kind: 'planned',
      commit: COMMIT,
      stores: stores ?? ['s001'],
      offlineAfter: 300,
    }));
    world.central.on('backupConcerns', async () => [concern]);
    await (await world.startJanitor({ stores: ['s001'] })).result();
    expect(world.central.notifications.map(({ summary }) => summary)).not.toContain(concern);
    await (await world.startJanitor()).result();
    expect(world.central.notifications.at(-1)).toMatchObject({ event: 'attention', summary: concern });
  });

  it('says so when nobody can tell how backups are', async () => {
    const world = await useWorld();
    world.central.on('planSweep', async () => ({ kind: 'planned', commit: COMMIT, stores: [], offlineAfter: 300 }));
    world.central.on('backupConcerns', async () => {
      throw ApplicationFailure.nonRetryable('the ledger is gone');
    });
    await (await world.startJanitor()).result();
    expect(world.central.notifications.at(-1)?.summary).toBe(
      'Nobody can tell how the backups of acme are: the ledger is gone',
    );
  });

  it('looks at no store, and says so, when it cannot tell which there are', async () => {
    const world = await useWorld();
    const store = await world.store('s001');
    world.central.on('planSweep', async () => ({ kind: 'refused', problems: ['stores: s009 is not a store of acme'] }));
    const janitor = await world.startJanitor({ stores: ['s001', 's009'] });
    await expect(janitor.result()).rejects.toMatchObject({
      cause: { type: 'InvalidInput', message: expect.stringContaining('s009 is not a store of acme') as string },
    });
    expect(store.calls).toEqual([]);
    expect(world.central.notifications).toMatchObject([{ event: 'attention', reason: 'InvalidInput' }]);
  });
});
