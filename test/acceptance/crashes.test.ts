import { describe, expect, test } from 'vitest';
import { useFleet } from '../support/acceptance/use-fleet.js';

const fleet = useFleet();
/** apt takes 2.5 s, so that a test can strike in the middle of it. */
const SLOW = 120;
const ONE_STAGE = [{ name: 'canary', stores: 'rest' as const }];

describe('a worker that is killed', () => {
  test('control worker and store worker in mid-apt: the train is done, and nothing was done twice', async () => {
    const given = await fleet({ stores: 2, speed: SLOW, stages: ONE_STAGE, ownProcess: ['store-001'] });
    await given.startTrain();

    const { node } = await given.journalShows({ store: 'store-001', effect: 'packages.begin' });
    expect(given.service.kill('store:store-001', 'SIGKILL')).toBe(true);
    expect(given.service.kill('control', 'SIGKILL')).toBe(true);

    expect(await given.trainEnds()).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    expect(await given.effects({ store: 'store-001', node: node ?? '', effect: 'unit.start' })).toHaveLength(1);
    for (const store of ['store-001', 'store-002']) {
      expect(await given.effects({ store, effect: 'unit.start' })).toHaveLength(3);
      expect(await given.effects({ store, effect: 'node.reboot.request' })).toHaveLength(3);
    }
    expect(await given.violations()).toEqual([]);
  });
});

describe('an operation that is terminated in mid-apt', () => {
  test('is adopted by the next one: the upgrade that runs is not started again', async () => {
    const given = await fleet({ stores: 1, speed: SLOW, stages: ONE_STAGE });
    await given.startTrain();
    const { node } = await given.journalShows({ effect: 'packages.begin' });
    const { release } = await given.train();
    if (!release) throw new Error('The train names no release.');

    await given.client.workflow.getHandle('store/store-001').terminate('by hand');
    const held = await given.trainIsHeld('ErrorThresholdExceeded', 'canary');
    expect(held.notSucceeded).toMatchObject([{ store: 'store-001', reason: 'Terminated' }]);
    await given.startStore({ store: 'store-001', release, round: 1 });

    expect(await given.storeEnds('store-001')).toMatchObject({ outcome: 'succeeded' });
    expect(await given.effects({ node: node ?? '', effect: 'unit.start' })).toHaveLength(1);
    expect(await given.effects({ effect: 'unit.start' })).toHaveLength(3);
    expect(await given.effects({ effect: 'node.reboot.request' })).toHaveLength(3);
    expect(await given.violations()).toEqual([]);
  });
});
