import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openLedger } from '#systems/ledger/client.js';
import { countByNode, givenPractice, NEXT_WEEK, type Practice } from '../support/practice.js';

/**
 * One week after the other on the same fleet: a calm train, then one whose workers are killed and whose link is cut in
 * the middle. Judged by the practice fleet's journal.
 */
const STORES = ['store-001', 'store-002', 'store-003'];
const OWN = 'store-002';
const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
beforeAll(async () => {
  practice = await givenPractice({ stores: 3, ownProcess: [OWN] });
});
afterAll(() => practice?.stop());

describe('a calm train', () => {
  it('upgrades and reboots every node of every store once, one after the other, and leaves nothing set', async () => {
    const report = await practice.ride(await practice.startTrain());
    expect(report).toMatchObject({ state: 'done', planned: 3, tally: { succeeded: 3 } });
    for (const store of STORES) {
      const entries = await practice.effects(store);
      expect(countByNode(entries, 'packages.install')).toEqual(ONCE);
      expect(countByNode(entries, 'node.up')).toEqual(ONCE);
    }
    expect(await practice.violations()).toEqual([]);
  });

  it('stands in Git as one tag a stage, and in the ledger as one row a store', async () => {
    const tags = (await execa('git', ['tag', '--list', 'edge/*'], { cwd: practice.repo })).stdout.split('\n');
    expect(tags.map((tag) => tag.split('/').at(-1))).toEqual(['canary', 'rest']);
    const ledger = await openLedger(practice.service.databaseUrl);
    try {
      const [train] = await ledger.trains(1);
      expect(train).toMatchObject({ state: 'done', release: '2026.48.0' });
      const results = await ledger.results(train?.id ?? '');
      expect(results.map(({ store, outcome }) => [store, outcome]).sort()).toEqual(
        STORES.map((store) => [store, 'succeeded']),
      );
    } finally {
      await ledger.close();
    }
  });

  it('costs a three-node store no more than 24 Temporal actions', async () => {
    const { costOf } = await import('#client/cli/bench/figures.js');
    const { events } = await practice.client.workflow.getHandle('store/store-001').fetchHistory();
    expect(costOf(events ?? []).actions).toBeLessThanOrEqual(24);
  });
});

describe('a train on a bad night', () => {
  it('does nothing twice when both workers are killed and a link is cut for longer than the SDK waits', async () => {
    const before = (await practice.lab.journal(0)).length;
    await practice.editFleet((fleet) => {
      Object.assign(fleet.release, NEXT_WEEK);
    });
    const handle = await practice.startTrain();
    const riding = practice.ride(handle);
    const sinceStart = (store: string, effect: string) =>
      practice.seen(
        `${effect} at ${store}`,
        (entry) => entry.seq > before && entry.store === store && entry.effect === effect,
      );

    await sinceStart(OWN, 'packages.begin');
    expect(practice.service.kill(`store:${OWN}`, 'SIGKILL')).toBe(true);
    practice.service.kill('control', 'SIGKILL');

    const other = STORES.find((store) => store !== OWN) as string;
    await sinceStart(other, 'node.up');
    await practice.lab.setWan(other, false);
    // The store goes on without its link; the answer it could not give is asked for again when the link is back.
    await practice.seen(
      'the drama to last longer than the SDK reports for',
      (entry) => entry.effect === 'wan.cut' && Date.now() - Date.parse(entry.at) > 16_000,
    );
    await practice.lab.setWan(other, true);

    expect(await riding).toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    for (const store of STORES) {
      const entries = (await practice.effects(store)).filter(({ seq }) => seq > before);
      expect(countByNode(entries, 'unit.start')).toEqual(ONCE);
      expect(countByNode(entries, 'packages.install')).toEqual(ONCE);
      expect(countByNode(entries, 'node.down')).toEqual(ONCE);
    }
    expect(await practice.violations()).toEqual([]);
  });
});
