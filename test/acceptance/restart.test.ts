import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import { countByNode, givenPractice, NEXT_WEEK, type Practice } from '../support/practice.js';

const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
beforeAll(async () => {
  practice = await givenPractice({ stores: 2 });
});
afterAll(() => practice?.stop());

/** What is done to each node of each store, once. */
const WORK = ['unit.start', 'packages.install', 'node.reboot.request', 'node.up'];
/** What is set at a node before that, and taken back after it, once as well. */
const MARKS = ['ha.maintenance.enable', 'ha.maintenance.disable', 'ceph.noout.set', 'ceph.noout.unset'];

async function expectDoneOnce(stores: readonly string[], since = 0): Promise<void> {
  for (const store of stores) {
    const entries = (await practice.effects(store)).filter(({ seq }) => seq > since);
    for (const effect of [...WORK, ...MARKS])
      expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: ONCE });
    expect({ store, set: await practice.leftSet(store) }).toEqual({ store, set: [] });
  }
}

describe('a service that is stopped while a node is being upgraded, and started again', () => {
  it('goes on where it was: the train ends, and every node was upgraded and rebooted once', async () => {
    const train = await practice.startTrain();
    const riding = practice.until('the end', ({ state }) => state === 'done', { approving: true });
    await practice.seen('an upgrade', ({ effect }) => effect === 'packages.begin');
    await practice.restart();
    await riding;
    expect(await train.result()).toMatchObject({ state: 'done', planned: 2, tally: { succeeded: 2 } });
    await expectDoneOnce(Object.values(await practice.stages()).flat());
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

describe('a server that is killed while a node is out of service', () => {
  it('goes on with what it had written down: what was set is taken back, and the train ends', async () => {
    await practice.editFleet((fleet) => void Object.assign(fleet.release, NEXT_WEEK));
    const before = (await practice.lab.journal(0)).at(-1)?.seq ?? 0;
    const train = await practice.startTrain({ stages: ['canary'] });
    const run = (await train.describe()).runId;
    const riding = practice.until('the end', ({ state }) => state === 'done', { approving: true });
    const upgrade = ({ seq, effect }: LabEntry) => seq > before && effect === 'packages.begin';
    const { store, node } = await practice.seen('an upgrade', upgrade);
    const server = practice.pid('temporal');
    expect(practice.service.kill('temporal', 'SIGKILL')).toBe(true);
    expect(await practice.leftSet(store)).toEqual([`maintenance of ${node}`, `noout of ${node}`]);
    await riding;
    expect(practice.pid('temporal')).not.toBe(server);
    expect((await train.describe()).runId).toBe(run);
    expect(await train.result()).toMatchObject({ state: 'done', planned: 1, tally: { succeeded: 1 } });
    await expectDoneOnce([store], before);
    expect(await practice.violations()).toEqual([]);
  });
});
