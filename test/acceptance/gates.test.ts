import { describe, expect, test } from 'vitest';
import { useFleet } from '../support/acceptance/use-fleet.js';

const fleet = useFleet();

describe('the health gate of the canary', () => {
  test('holds the train while a guest is worse than before, starts nothing further, and goes on when it is well', async () => {
    const given = await fleet({
      stores: 3,
      stages: [
        { name: 'canary', stores: { tag: 'pilot' } },
        { name: 'rest', stores: 'rest' },
      ],
    });
    const pilot = 'store-002';
    await given.lab.addFault({
      id: 'sick-cache',
      kind: 'bad-cache',
      store: pilot,
      node: 'n3',
      step: 'ha.maintenance.disable',
      moment: 'after',
    });
    await given.startTrain();

    const held = await given.trainIsHeld('HealthGateFailed', 'canary');

    expect(held.answers).toContain('retry-gate');
    const touched = new Set((await given.effects()).map(({ store }) => store));
    expect([...touched]).toEqual([pilot]);

    await given.lab.removeFault('sick-cache');
    await given.retryGate();

    expect(await given.trainEnds()).toMatchObject({ state: 'done', tally: { succeeded: 3 } });
    expect(await given.violations()).toEqual([]);
  });
});
