import { ApplicationFailure } from '@temporalio/common';
import { describe, expect, it } from 'vitest';
import type { RestorePlan, RestoreView } from '#domain/messages/restore.js';
import { restoreWorkflowId } from '#domain/naming.js';
import { renderRestoreDetails } from '#domain/restore-progress.js';
import { abortUpdate, restoresQuery } from '#workflows/messages.js';
import { aRestorePlan, aTrial } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { aCopy, eventsOf, eventually } from '../support/workflow-harness.js';

const given = async (plan: RestorePlan) => {
  const world = await useWorld();
  world.central.on('planRestores', async () => ({ kind: 'planned', plan }));
  const rows = () => world.central.ledgerOf('restore tests').flatMap((entry) => entry.rows);
  return { world, rows };
};

describe('a run of restore tests', () => {
  it('sweeps the site, tries each guest and takes it away, and writes down what was measured', async () => {
    const { world, rows } = await given(aRestorePlan(['s001', 's002']));
    const site = await world.stagingSite();
    const run = await world.startRestores();
    const report = await run.result();
    expect(report).toMatchObject({
      run: 'restores-2026-w48',
      state: 'done',
      planned: 2,
      summary: 'Of 2 of 2 stores all guests that were tried could be had back.',
    });
    expect(site.calls[0]).toBe('sweepSite');
    expect(site.calls.filter((call) => call.includes('s001'))).toEqual([
      'openCopy s001',
      ...['s001/101', 's001/102'].flatMap((guest) => [
        `restoreGuest ${guest}`,
        `bootGuest ${guest}`,
        `probeGuest ${guest}`,
        `removeGuest ${guest}`,
      ]),
      'closeCopy s001',
    ]);
    expect(rows()).toHaveLength(4);
    expect(rows().find(({ store, vmid }) => store === 's001' && vmid === 101)).toMatchObject({
      run: 'restores-2026-w48',
      fleet: 'acme',
      class: 'pos',
      why: 'due',
      result: 'pass',
      rtoMs: 10_000,
      restoreMs: 6_000,
      bootMs: 3_000,
      probeMs: 1_000,
      rpoMs: 60_000,
      bytes: 1_000,
    });
    expect(world.central.ledgerOf('restore run').map(({ row }) => row.state)).toEqual(['running', 'done']);
    expect(world.central.notifications).toEqual([]);
    const view = await run.query<RestoreView>(restoresQuery);
    expect(renderRestoreDetails(view)).toContain('2 of 2 stores ended (4 guests): 2 succeeded; in work 0.');
  });

  it('takes away what could not be restored, goes on with the next guest, and calls people', async () => {
    const { world, rows } = await given(aRestorePlan(['s001']));
    const site = await world.stagingSite();
    site.on('restoreGuest', async ({ vmid }) =>
      vmid === 101
        ? { kind: 'failed', fault: 'guest', why: 'Chunk 12ab is damaged.' }
        : { kind: 'done', startedAt: '2026-11-29T09:00:00Z', endedAt: '2026-11-29T09:00:01Z', bytes: 1 },
    );
    const report = await (await world.startRestores()).result();
    expect(report.tally).toMatchObject({ failed: 1 });
    expect(rows().map(({ vmid, result, text }) => [vmid, result, text])).toEqual([
      [101, 'fail', 'Chunk 12ab is damaged.'],
      [102, 'pass', undefined],
    ]);
    expect(site.calls).toContain('removeGuest s001/101');
    expect(site.calls).not.toContain('bootGuest s001/101');
    const [results] = world.central.ledgerOf('results');
    expect(results?.results).toMatchObject([{ store: 's001', outcome: 'failed', reason: 'RestoreTestFailed' }]);
    expect(world.central.notifications).toMatchObject([{ event: 'attention', train: 'restores-2026-w48' }]);
    expect(world.central.notifications[0]?.summary).toMatch(/s001: guest 101 \(pos\): Chunk 12ab is damaged\./);
  });

  it('counts nobody as tested when the site could not even open the copy', async () => {
    const { world, rows } = await given(aRestorePlan(['s001']));
    const site = await world.stagingSite({
      openCopy: async () => ({ kind: 'failed', fault: 'site', why: 'The bridge vmbr-lab has a port.' }),
    });
    await (await world.startRestores()).result();
    expect(rows().map(({ result, text }) => [result, text])).toEqual([
      ['infra-error', 'The bridge vmbr-lab has a port.'],
      ['infra-error', 'The bridge vmbr-lab has a port.'],
    ]);
    expect(site.calls).toEqual(['sweepSite', 'openCopy s001', 'closeCopy s001']);
    const [results] = world.central.ledgerOf('results');
    expect(results?.results).toMatchObject([{ outcome: 'failed', reason: 'RestoreUnproven' }]);
  });

  it('tells the site whose guests another run is trying, so that theirs stay, however long that one has stood still', async () => {
    const { world } = await given(aRestorePlan(['s001'], { fleetStores: ['s001', 's002'] }));
    const tried: (string[] | undefined)[] = [];
    const site = await world.stagingSite({
      sweepSite: async (task) => {
        tried.push(task.tried);
        return { kind: 'done', removed: [], left: [] };
      },
    });
    let go: () => void = () => undefined;
    const reached = new Promise<void>((resolve) => {
      site.on('bootGuest', async ({ store, vmid }) => {
        if (store === 's001' && vmid === 101) {
          resolve();
          await new Promise<void>((released) => (go = released));
        }
        return { kind: 'done', startedAt: '2026-11-29T09:00:00Z', endedAt: '2026-11-29T09:00:01Z' };
      });
    });
    const first = await world.startRestores();
    await reached;
    world.central.on('planRestores', async () => ({
      kind: 'planned',
      plan: aRestorePlan(['s002'], { run: 'restores-2026-w49', fleetStores: ['s001', 's002'] }),
    }));
    await (await world.startRestores({}, 'weekly')).result();
    go();
    await first.result();
    expect(tried).toEqual([undefined, ['s001']]);
  });

  it('is told of a site that cannot be swept, and tries its guests all the same', async () => {
    const { world, rows } = await given(aRestorePlan(['s001'], { fleetStores: ['s001'] }));
    await world.stagingSite({
      sweepSite: async () => ({ kind: 'failed', fault: 'site', why: 'the token was refused' }),
    });
    await (await world.startRestores()).result();
    expect(world.central.notifications).toMatchObject([
      { summary: expect.stringMatching(/^The staging site could not be swept: the token was refused/) },
    ]);
    expect(rows()).toHaveLength(2);
  });

  it('does not wait for ever for a site that nobody works at', async () => {
    const { world, rows } = await given(aRestorePlan(['s001'], { timing: { patience: 300, storeTimeout: 60_000 } }));
    const report = await (await world.startRestores()).result();
    expect(report.tally).toMatchObject({ failed: 1 });
    expect(rows()[0]).toMatchObject({ result: 'infra-error', text: "The staging site's worker did not answer." });
  });

  it('names what it could not take away, though the guest itself passed', async () => {
    const { world, rows } = await given(aRestorePlan([], { stores: [{ id: 's001', trials: [aTrial(101)] }] }));
    await world.stagingSite({
      removeGuest: async () => {
        throw ApplicationFailure.nonRetryable('the disk is busy');
      },
    });
    const { summary } = await (await world.startRestores()).result();
    expect(summary).toMatch(
      /^Of 1 of 1 store all guests .* had back; something of 1 of them is left at the staging site/,
    );
    expect(world.central.notifications[0]?.summary).toContain(summary);
    expect(rows()).toMatchObject([{ result: 'pass' }]);
    const [results] = world.central.ledgerOf('results');
    expect(results?.results).toMatchObject([
      { outcome: 'failed', reason: 'UndoIncomplete', stop: { summary: expect.stringContaining('the disk is busy') } },
    ]);
  });

  it('finds no proven copy of a guest, and that is a guest that cannot be had back', async () => {
    const { world, rows } = await given(aRestorePlan([], { stores: [{ id: 's001', trials: [aTrial(101)] }] }));
    const site = await world.stagingSite({
      openCopy: async () => ({ kind: 'done', copy: aCopy('pbs-central', [102]) }),
    });
    await (await world.startRestores()).result();
    expect(rows()).toMatchObject([{ result: 'fail', text: 'The central server holds no proven backup of it.' }]);
    expect(site.calls).toEqual(['sweepSite', 'openCopy s001', 'closeCopy s001']);
  });

  it('restores no backup of another guest that had the number before', async () => {
    const { node, snapshots } = aCopy('pbs-central', [101, 102]);
    const [newest = 0] = snapshots.map(({ time }) => time);
    const since = (time: number): string => new Date(time * 1_000).toISOString();
    const trials = [
      aTrial(101, { kind: 'lxc' }),
      aTrial(102, { as: 90_001, kind: 'qemu', ownSince: since(newest + 1) }),
      aTrial(102, { as: 90_002, kind: 'qemu', ownSince: since(newest) }),
    ];
    const { world, rows } = await given(aRestorePlan([], { stores: [{ id: 's001', trials }] }));
    const site = await world.stagingSite({ openCopy: async () => ({ kind: 'done', copy: { node, snapshots } }) });
    await (await world.startRestores()).result();
    expect(rows()).toMatchObject([
      { result: 'fail', kind: 'lxc', text: 'The central server holds no proven backup of it.' },
      { result: 'fail', kind: 'qemu', text: 'The central server holds no proven backup of it.' },
      { result: 'pass', kind: 'qemu' },
    ]);
    expect(site.calls.filter((call) => call.startsWith('restoreGuest'))).toEqual(['restoreGuest s001/102']);
  });

  it('tries an older snapshot of a guest where the plan says so, and the newest of the others', async () => {
    const trials = [aTrial(101, { snapshot: 'older' }), aTrial(102, { as: 90_001 })];
    const { world, rows } = await given(aRestorePlan([], { stores: [{ id: 's001', trials }] }));
    const { node, snapshots } = aCopy('pbs-central', [101, 102]);
    const aWeekBefore = snapshots.map((one) => ({ ...one, time: one.time - 7 * 86_400 }));
    const unproven = snapshots.map(({ verification: _, ...one }) => ({ ...one, time: one.time - 14 * 86_400 }));
    const tried: number[] = [];
    const site = await world.stagingSite({
      openCopy: async () => ({ kind: 'done', copy: { node, snapshots: [...unproven, ...snapshots, ...aWeekBefore] } }),
    });
    site.on('restoreGuest', async ({ snapshot }) => {
      tried.push(snapshot.time);
      return { kind: 'done', startedAt: '2026-11-29T09:00:00Z', endedAt: '2026-11-29T09:00:01Z', bytes: 1 };
    });
    await (await world.startRestores()).result();
    const [newest = 0] = snapshots.map(({ time }) => time);
    expect(tried).toEqual([newest - 7 * 86_400, newest]);
    expect(rows().map(({ vmid, result, snapshotAt }) => [vmid, result, snapshotAt])).toEqual([
      [101, 'pass', new Date((newest - 7 * 86_400) * 1_000).toISOString()],
      [102, 'pass', new Date(newest * 1_000).toISOString()],
    ]);
  });

  it('that is aborted tries no further guest, and takes away the one that it tries', async () => {
    const { world, rows } = await given(aRestorePlan(['s001', 's002'], { maxConcurrency: 1 }));
    const site = await world.stagingSite();
    let go: () => void = () => undefined;
    const reached = new Promise<void>((resolve) => {
      site.on('bootGuest', async () => {
        resolve();
        await new Promise<void>((released) => (go = released));
        return { kind: 'done', startedAt: '2026-11-29T09:00:00Z', endedAt: '2026-11-29T09:00:01Z' };
      });
    });
    const run = await world.startRestores();
    await reached;
    await expect(run.executeUpdate(abortUpdate, { args: [{ by: 'anna' }] })).resolves.toMatch(
      /^Ended by anna: no further guest/,
    );
    await eventually('s001 was told', async () =>
      (await eventsOf(world.client.workflow.getHandle(restoreWorkflowId('s001')))).some(
        (event) => event.workflowExecutionCancelRequestedEventAttributes,
      ),
    );
    go();
    const report = await run.result();
    expect(report).toMatchObject({ state: 'aborted', tally: { aborted: 2 } });
    expect(rows()).toHaveLength(1);
    expect(site.calls.filter((call) => call.startsWith('removeGuest'))).toHaveLength(1);
    expect(site.calls.filter((call) => call.startsWith('closeCopy'))).toHaveLength(1);
  });

  it('that cannot be planned calls people, and fails with every problem', async () => {
    const world = await useWorld();
    world.central.on('planRestores', async () => ({ kind: 'refused', problems: ['backup.offsite: no second place'] }));
    const run = await world.startRestores();
    await expect(run.result()).rejects.toMatchObject({ cause: { type: 'InvalidInput' } });
    expect(world.central.notifications[0]?.summary).toContain('No guest of acme is restored');
    expect(await run.query<RestoreView>(restoresQuery)).toMatchObject({ state: 'failed' });
  });
});
