import type { WorkflowHandle } from '@temporalio/client';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JanitorInput, JanitorReport } from '#domain/messages/janitor.js';
import { CONTROL_QUEUE, janitorWorkflowId, storeWorkflowId } from '#domain/naming.js';
import { onNode } from '../support/on-node.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/**
 * What is left when a run is ended by force: one store whose operation was terminated with a node out of service, one
 * that is in work, one on which somebody else has set something, one without a link.
 */
const [DEAD, BUSY, FOREIGN, OFFLINE] = ['store-001', 'store-002', 'store-003', 'store-004'] as const;
const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
let train: WorkflowHandle;
beforeAll(async () => {
  practice = await givenPractice({
    stores: 4,
    edit: (fleet) => {
      const [first] = fleet.stages as [(typeof fleet.stages)[number]];
      const limits = {
        ...first.limits,
        maxConcurrency: 4,
        errorThreshold: { count: 0 },
        offlineThreshold: { count: 4 },
      };
      fleet.stages = [{ ...first, name: 'all', stores: 'rest', limits }];
    },
  });
});
afterAll(() => practice?.stop());

const isOut = ({ nodes }: { nodes: { maintenance: boolean }[] }): boolean =>
  nodes.some(({ maintenance }) => maintenance);

const runJanitor = (input: Partial<JanitorInput> = {}): Promise<JanitorReport> =>
  practice.client.workflow.execute('janitor', {
    taskQueue: CONTROL_QUEUE,
    workflowId: janitorWorkflowId('practice', 'by-hand'),
    args: [{ fleet: 'practice', ...input }],
  });

/** Somebody else changes the maintenance of a node. */
async function setMaintenance(store: string, node: string, change: 'enable' | 'disable'): Promise<void> {
  const argv = ['sudo', '-n', 'ha-manager', 'crm-command', 'node-maintenance', change, node];
  expect((await onNode(join(practice.dir, 'edge', 'lab'), store, node, argv)).code).toBe(0);
}

describe('the janitor', () => {
  it('takes back what a terminated operation left, and touches nothing that has a live owner or another one', async () => {
    await setMaintenance(FOREIGN, 'n2', 'enable');
    await practice.storeIs('in maintenance', FOREIGN, isOut);
    // Guests cannot leave: the drain of the busy store lasts until the fault is gone.
    await practice.lab.addFault({ id: 'stuck', store: BUSY, kind: 'migration-fails' });
    await practice.lab.setWan(OFFLINE, false);
    train = await practice.startTrain();
    await practice.until('to be asked', ({ hold }) => hold?.reason === 'ApprovalPending');
    await practice.approve();
    const left = await practice.storeIs('a node out of service', DEAD, ({ nodes }) =>
      nodes.some(({ maintenance, noout }) => maintenance && noout),
    );
    await practice.client.workflow.getHandle(storeWorkflowId(DEAD)).terminate('somebody was sure');
    await practice.storeIs('in work', BUSY, isOut);
    const node = left.nodes.find(({ noout }) => noout)?.name as string;
    const foreignBefore = await practice.effects(FOREIGN);

    const report = await runJanitor();

    expect(report).toMatchObject({ fleet: 'practice', stores: 4, clean: 0 });
    expect(report.found).toEqual([
      {
        kind: 'looked',
        store: DEAD,
        leftBy: expect.stringContaining(`${DEAD}/r0`) as string,
        undone: [`maintenance of ${node}`, `noout of ${node}`, 'the lock'],
        left: [],
        foreign: [],
      },
      { kind: 'busy', store: BUSY },
      { kind: 'looked', store: FOREIGN, undone: [], left: [], foreign: ['maintenance of n2'] },
      { kind: 'offline', store: OFFLINE },
    ]);
    const entries = await practice.effects(DEAD);
    for (const effect of ['ceph.noout.set', 'ceph.noout.unset', 'ha.maintenance.enable', 'ha.maintenance.disable'])
      expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: { [node]: 1 } });
    expect((await practice.snapshot(DEAD)).nodes.some(({ maintenance, noout }) => maintenance || noout)).toBe(false);
    expect(await practice.effects(FOREIGN)).toEqual(foreignBefore);
    expect(isOut(await practice.snapshot(FOREIGN))).toBe(true);
    expect(countByNode(await practice.effects(BUSY), 'ha.maintenance.disable')).toEqual({});
    expect(isOut(await practice.snapshot(BUSY))).toBe(true);
  });

  it('leaves stores that the train then takes to their end, with nothing done twice', async () => {
    await practice.lab.removeFault('stuck');
    await practice.lab.setWan(OFFLINE, true);
    await setMaintenance(FOREIGN, 'n2', 'disable');
    await practice.storeIs('back in service', FOREIGN, (store) => !isOut(store));
    const held = await practice.until('the stage to hold', ({ hold }) => hold?.reason === 'ErrorThresholdExceeded');
    expect(held.notSucceeded.find(({ store }) => store === DEAD)).toMatchObject({ reason: 'Terminated' });
    await practice.answer('retryFailed');
    expect(await practice.ride(train)).toMatchObject({ state: 'done', tally: { succeeded: 4 } });
    for (const store of [DEAD, BUSY, FOREIGN, OFFLINE]) {
      const entries = await practice.effects(store);
      for (const effect of ['unit.start', 'packages.install', 'node.reboot.request'])
        expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: ONCE });
    }
    expect(await practice.violations()).toEqual([]);
  });

  it('finds all of them clean when there is nothing to do, and refuses a store that is not of the fleet', async () => {
    expect(await runJanitor()).toMatchObject({ stores: 4, clean: 4, found: [] });
    await expect(runJanitor({ stores: [DEAD, 'store-999'] })).rejects.toMatchObject({
      cause: {
        type: 'InvalidInput',
        message: expect.stringContaining('store-999 is not a store of practice') as string,
      },
    });
  });
});
