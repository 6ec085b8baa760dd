import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { useFleet } from '../support/acceptance/use-fleet.js';

const fleet = useFleet();
const STORES = ['store-001', 'store-002', 'store-003', 'store-004'];
const NODES = ['n1', 'n2', 'n3'];
const ORDER = ['ha.maintenance.enable', 'packages.install', 'node.reboot.request', 'node.up', 'ha.maintenance.disable'];

describe('a calm train', () => {
  test('patches every store node by node, once, and only what was promoted', async () => {
    const given = await fleet({
      stores: 4,
      stages: [
        { name: 'canary', stores: { tag: 'pilot' } },
        { name: 'rest', stores: 'rest', approval: true },
      ],
    });
    await given.startTrain();
    await given.approve('rest');

    const report = await given.trainEnds();

    expect(report).toMatchObject({ state: 'done', planned: 4, tally: { succeeded: 4, failed: 0 } });
    for (const store of STORES) {
      const entries = await given.effects({ store });
      const steps = entries
        .filter(({ effect }) => ORDER.includes(effect))
        .map(({ node, effect }) => `${node} ${effect}`);
      // Whichever node comes first, it is through before the next one begins.
      const order = [...new Set(entries.filter(({ effect }) => effect === ORDER[0]).map(({ node }) => node))];
      expect(order.toSorted()).toEqual(NODES);
      expect(steps).toEqual(order.flatMap((node) => ORDER.map((effect) => `${node} ${effect}`)));
    }
    const { stdout: tags } = await execa('git', ['-C', given.repo, 'tag', '--list', `edge/${report.train}/*`]);
    expect(tags.split('\n').toSorted()).toEqual([`edge/${report.train}/canary`, `edge/${report.train}/rest`]);
    expect(await given.violations()).toEqual([]);
  });
});
