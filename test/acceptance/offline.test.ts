import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import { driftOf, type Drift } from '#domain/drift.js';
import { openLedger } from '#systems/ledger/client.js';
import { countByNode, givenPractice, NEXT_WEEK, type Practice } from '../support/practice.js';

/**
 * Links that are cut for longer than a stage waits, to more stores than it works on at a time. Offline is not failed:
 * everybody who comes back is taken, and who does not is left for the next train. Judged by the practice fleet's journal.
 */
const ONCE = { n1: 1, n2: 1, n3: 1 };
const WIDTH = 2;

let practice: Practice;
let canary: string;
/** In the order in which the stage takes them: two are cut off in their work, one is offline at its turn, one is well. */
let cut: string[];
let absent: string;
let well: string;
let train: WorkflowHandle;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      for (const stage of fleet.stages) {
        stage.approval = { required: false };
        stage.limits = {
          ...stage.limits,
          maxConcurrency: WIDTH,
          offlineThreshold: { percent: 100, minSample: 1 },
          cutOffAfter: '10s',
        };
      }
    },
  });
  const stages = await practice.stages();
  [canary] = stages['canary'] as [string];
  const [first, second, third, fourth] = stages['rest'] as [string, string, string, string];
  [cut, absent, well] = [[first, second], third, fourth];
});
afterAll(() => practice?.stop());

const awaySince = async (store: string): Promise<LabEntry[]> => {
  const entries = (await practice.lab.journal(0)).filter((entry) => entry.store === store);
  const from = entries.findIndex(({ effect }) => effect === 'wan.cut');
  const to = entries.findIndex(({ effect }) => effect === 'wan.restore');
  return entries.slice(from, to < 0 ? undefined : to);
};

describe('a link outage of more stores than the stage works on at a time', () => {
  it('does not freeze the stage: whoever has a link is patched meanwhile, and the stage counts the others', async () => {
    train = await practice.startTrain();
    for (const store of cut)
      await practice.seen(
        `${store} to be upgraded`,
        (entry) => entry.store === store && entry.effect === 'packages.begin',
      );
    for (const store of [...cut, absent]) await practice.lab.setWan(store, false);

    const view = await practice.until('all to be awaited', ({ awaited }) => awaited.length === 3);
    expect(view.awaited).toEqual([...cut, absent].sort());
    expect(view.hold).toBeUndefined();
    expect(view.stages[1]).toMatchObject({ tally: { succeeded: 1, cutOff: 2, offline: 1, failed: 0 } });
    expect(countByNode(await practice.effects(well), 'node.up')).toEqual(ONCE);
    expect(await practice.effects(absent)).toEqual([]);
  });

  it('leaves a store that was in the middle of a node to end that step alone, and to take back its old marks', async () => {
    for (const store of cut) {
      const node = (await practice.effects(store)).find(({ effect }) => effect === 'packages.begin')?.node as string;
      await practice.eventually(`${store} to leave maintenance`, async () => {
        const home = (await awaySince(store)).some(({ effect }) => effect === 'ha.maintenance.disable');
        return home ? true : undefined;
      });
      const alone = await practice.storeIs('nothing to be set', store, ({ nodes }) =>
        nodes.every(({ maintenance, noout }) => !maintenance && !noout),
      );
      expect(alone.nodes.map(({ state }) => state)).toEqual(['up', 'up', 'up']);
      const entries = await awaySince(store);
      expect(countByNode(entries, 'packages.install')).toEqual({ [node]: 1 });
      expect(countByNode(entries, 'node.reboot.request'), 'no further step is begun alone').toEqual({});
    }
  });

  it('ends when they are back: what was done is adopted, the rest is done once, and all have succeeded', async () => {
    for (const store of [...cut, absent]) await practice.lab.setWan(store, true);
    const report = await practice.ride(train);
    expect(report).toMatchObject({
      state: 'done',
      planned: 5,
      tally: { succeeded: 5, cutOff: 0, offline: 0, missed: 0 },
    });
    for (const store of [...cut, absent, well]) {
      const entries = await practice.effects(store);
      for (const effect of ['unit.start', 'packages.install', 'node.down', 'node.up'])
        expect({ [store]: { [effect]: countByNode(entries, effect) } }).toEqual({ [store]: { [effect]: ONCE } });
    }
    expect(await practice.violations()).toEqual([]);
  });
});

async function driftNow(): Promise<Drift[]> {
  const ledger = await openLedger(practice.service.databaseUrl);
  try {
    return driftOf(await ledger.offers({ fleet: 'practice' }));
  } finally {
    await ledger.close();
  }
}

describe('a store that does not come back before the deadline', () => {
  it('is missed, untouched, and the next train takes it', async () => {
    const before = (await practice.effects(canary)).length;
    await practice.lab.setWan(canary, false);
    await practice.editFleet((fleet) => {
      Object.assign(fleet.release, NEXT_WEEK);
      Object.assign(fleet['train'] as object, { deadline: '40s' });
    });
    const missed = await practice.ride(await practice.startTrain({ stages: ['canary'] }));
    expect(missed).toMatchObject({ reason: 'DeadlineReached', planned: 1, tally: { missed: 1 } });
    expect((await practice.effects(canary)).length).toBe(before);
    const ledger = await openLedger(practice.service.databaseUrl);
    try {
      const results = await ledger.results(missed.train);
      expect(results.map(({ store, outcome }) => [store, outcome])).toContainEqual([canary, 'missed']);
    } finally {
      await ledger.close();
    }
    expect(await driftNow()).toMatchObject([
      { store: canary, train: missed.train, release: NEXT_WEEK.version, outcome: 'missed', reason: 'DeadlineReached' },
    ]);

    await practice.comesBack(canary);
    await practice.editFleet((fleet) => void Object.assign(fleet['train'] as object, { deadline: '2h' }));
    const next = await practice.ride(await practice.startTrain({ stages: ['canary'] }));
    expect(next).toMatchObject({ state: 'done', planned: 1, tally: { succeeded: 1 } });
    const entries = (await practice.effects(canary)).slice(before);
    expect(countByNode(entries, 'packages.install')).toEqual(ONCE);
    expect(await driftNow()).toEqual([]);
    expect(await practice.violations()).toEqual([]);
  });
});
