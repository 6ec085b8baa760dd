import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
beforeAll(async () => {
  practice = await givenPractice({ stores: 2 });
});
afterAll(() => practice?.stop());

describe('a service that is stopped while a node is being upgraded, and started again', () => {
  it('goes on where it was: the train ends, and every node was upgraded and rebooted once', async () => {
    const train = await practice.startTrain();
    const riding = practice.until('the end', ({ state }) => state === 'done', { approving: true });
    await practice.seen('an upgrade', ({ effect }) => effect === 'packages.begin');
    await practice.restart();
    await riding;
    expect(await train.result()).toMatchObject({ state: 'done', planned: 2, tally: { succeeded: 2 } });
    const stages = await practice.stages();
    for (const store of Object.values(stages).flat()) {
      const entries = await practice.effects(store);
      for (const effect of [
        'unit.start',
        'packages.install',
        'node.reboot.request',
        'node.up',
        'ha.maintenance.enable',
      ])
        expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: ONCE });
    }
    expect(await practice.violations()).toEqual([]);
  });

  it('finds what it wrote down before, its ledger and its addresses', async () => {
    const { service } = practice;
    const before = [service.temporal.address, service.databaseUrl, service.registry, service.lab?.control];
    await practice.restart();
    const { service: after } = practice;
    expect([after.temporal.address, after.databaseUrl, after.registry, after.lab?.control]).toEqual(before);
    expect((await practice.view()).state).toBe('done');
  });
});
