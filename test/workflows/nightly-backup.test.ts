import { describe, expect, inject, it } from 'vitest';
import { createOperations } from '#client/operations.js';
import { renderNightDetails } from '#domain/backup-progress.js';
import type { NightPlan, NightView, StoreBackupActivities } from '#domain/messages/backup.js';
import { backupWorkflowId, storeWorkflowId, waveWorkflowId } from '#domain/naming.js';
import { totalOf } from '#domain/outcomes.js';
import { nightCaresIn } from '#workers/running.js';
import { abortUpdate, backupQuery, nightQuery, pauseUpdate } from '#workflows/messages.js';
import { aNightPlan, someOrders } from '../support/workflow-builders.js';
import { useWorld } from '../support/use-world.js';
import { aCopy, eventually, type World } from '../support/workflow-harness.js';

const given = async (plan: NightPlan) => {
  const world = await useWorld();
  world.central.on('planNight', async () => ({ kind: 'planned', plan }));
  return world;
};

describe('a night', () => {
  it('backs up every store, writes down how each fared, and says nothing when all is well', async () => {
    const world = await given(aNightPlan(['s001', 's002', 's003']));
    await world.stores(['s001', 's002', 's003']);
    const night = await world.startNight();
    const report = await night.result();
    expect(report).toMatchObject({
      night: 'night-2026-11-26',
      state: 'done',
      planned: 3,
      summary: '3 of 3 stores backed up and verified.',
    });
    const [results] = world.central.ledgerOf('results');
    expect(results).toMatchObject({ train: 'night-2026-11-26', stage: 'backup', round: 0 });
    expect(results?.results.map(({ outcome }) => outcome)).toEqual(['succeeded', 'succeeded', 'succeeded']);
    expect(world.central.ledgerOf('night').map(({ row }) => row.state)).toEqual(['running', 'done']);
    expect(world.central.notifications).toEqual([]);
    const view = await night.query<NightView>(nightQuery);
    expect(totalOf(view.tally)).toBe(3);
    expect(renderNightDetails(view)).toContain('3 of 3 stores ended: 3 succeeded; in work 0.');
  });

  it('tells people of what did not succeed, and of stores that were left out', async () => {
    const excluded: NightPlan['excluded'] = [{ store: 's009', reason: 'OutsideWindow', detail: 'not tonight' }];
    const world = await given(aNightPlan(['s001', 's002'], { excluded }));
    await world.stores(['s001']);
    await world.store('s002', { readCopy: async () => ({ copy: aCopy('pbs-store', [101]) }) });
    const report = await (await world.startNight()).result();
    expect(report.tally).toMatchObject({ succeeded: 1, failed: 1, excluded: 1 });
    expect(report.planned).toBe(3);
    expect(world.central.notifications).toMatchObject([{ event: 'attention', train: 'night-2026-11-26' }]);
    expect(world.central.notifications[0]?.summary).toMatch(
      /1 of 3 stores backed up and verified; 1 failed, 1 excluded/,
    );
  });

  it('asks those that were away once more while the window is open, and only them', async () => {
    const timing = { storeTimeout: 60_000, offlineAfter: 500, cutOffAfter: 60_000, deferFor: 200 };
    const world = await given(aNightPlan(['s001', 's002'], { timing, opens: new Date().toISOString() }));
    const first = await world.store('s001');
    const night = await world.startNight();
    await eventually('the first round to be written down', () => world.central.ledgerOf('results').length > 0);
    const back = await world.store('s002');
    const report = await night.result();
    expect(report.tally).toMatchObject({ succeeded: 2, offline: 0 });
    expect(first.calls.filter((call) => call === 'openDump')).toHaveLength(1);
    expect(back.calls.filter((call) => call === 'openDump')).toHaveLength(1);
    const rounds = world.central.ledgerOf('results');
    expect(rounds[0]?.results.map(({ outcome }) => outcome).toSorted()).toEqual(['offline', 'succeeded']);
    expect(rounds.at(-1)).toMatchObject({ results: [{ store: 's002', outcome: 'succeeded' }] });
  });

  it('whose wave breaks off says that of its stores, and calls people', async () => {
    const timing = { storeTimeout: 60_000, offlineAfter: 20_000, cutOffAfter: 60_000, deferFor: 200 };
    const world = await given(aNightPlan(['s001'], { timing }));
    const other = await world.startNight();
    const wave = world.client.workflow.getHandle(waveWorkflowId('night-2026-11-26', 'backup', 0, 0));
    await eventually('its wave to run', () =>
      wave.describe().then(
        () => true,
        () => false,
      ),
    );
    const night = await world.startNight({}, 'nightly');
    const report = await night.result();
    expect(report).toMatchObject({ state: 'done', tally: { failed: 1 } });
    expect((await night.query<NightView>(nightQuery)).notSucceeded).toMatchObject([
      {
        store: 's001',
        reason: 'StepFailed',
        stop: { summary: expect.stringMatching(/broke off.*already/i) as string },
      },
    ]);
    expect(world.central.notifications).toMatchObject([{ event: 'attention', train: 'night-2026-11-26' }]);
    await other.terminate();
  });

  it('is shown with its stores in work, of whom its wave has told nothing yet', async () => {
    const world = await given(aNightPlan(['s001']));
    const store = await world.store('s001');
    const dumping = store.hold('openDump');
    const night = await world.startNight();
    await dumping.reached;
    const operations = createOperations({
      client: world.client,
      address: inject('temporalAddress'),
      timeout: 10_000,
    });
    expect(await night.query<NightView>(nightQuery)).toMatchObject({ inFlight: 0 });
    expect((await operations.nights.newest('acme'))?.view).toMatchObject({ state: 'running', inFlight: 1 });
    dumping.release();
    await night.result();
    expect((await operations.nights.newest('acme'))?.view).not.toHaveProperty('waves');
  });

  it('that runs beside another is shown and ended before one that is over, and each by its name', async () => {
    const opens = new Date().toISOString();
    const [first, second] = ['night-2026-11-26', 'night-2026-11-26-2'];
    const world = await given(aNightPlan(['s001', 's002'], { night: first, opens, maxConcurrency: 1 }));
    const held = [await world.store('s001'), await world.store('s002')].map((store) => store.hold('openDump'));
    await world.store('s003');
    const byHand = await world.startNight();
    await Promise.race(held.map(({ reached }) => reached));
    world.central.on('planNight', async () => ({
      kind: 'planned',
      plan: aNightPlan(['s003'], { night: second, opens, leftTo: [{ night: first, stores: 2 }] }),
    }));
    const report = await (await world.startNight({}, 'nightly')).result();
    expect(report.summary).toBe(
      '1 of 1 store backed up and verified. Night night-2026-11-26 of the same window has 2 stores.',
    );
    const caresOf = () => nightCaresIn(world.client)('acme');
    expect(await caresOf()).toEqual([{ night: first, opens, stores: ['s001', 's002'] }]);

    const { nights } = createOperations({ client: world.client, address: inject('temporalAddress'), timeout: 10_000 });
    const shown = await eventually('both to be listed', async () => {
      const named = await nights.newest('acme', second);
      return named?.besides.length === 1 ? named : undefined;
    });
    expect([shown.view.state, shown.besides]).toEqual(['done', [first]]);
    expect(await nights.newest('acme', 'night-2026-11-01')).toBeUndefined();
    const running = await nights.newest('acme');
    expect([running?.view.night, running?.besides]).toEqual([first, []]);
    expect(await nights.abort(running!, { by: 'anna' })).toMatchObject({ kind: 'accepted' });
    expect(await caresOf()).toMatchObject([{ stores: [] }]);
    for (const { release } of held) release();
    expect(await byHand.result()).toMatchObject({ state: 'aborted' });
  });

  it('no longer has a store in its care that failed in it, while others are in work', async () => {
    const opens = new Date().toISOString();
    const world = await given(aNightPlan(['s001', 's002'], { opens }));
    await world.store('s001', { readCopy: async () => ({ copy: aCopy('pbs-store', [101]) }) });
    const dumping = (await world.store('s002')).hold('openDump');
    const night = await world.startNight();
    await dumping.reached;
    const caresOf = async () => (await nightCaresIn(world.client)('acme')).flatMap(({ stores }) => stores);
    await eventually('the first to have failed', async () => !(await caresOf()).includes('s001'));
    expect(await caresOf()).toEqual(['s002']);
    dumping.release();
    expect(await night.result()).toMatchObject({ tally: { succeeded: 1, failed: 1 } });
  });

  it('that was terminated has no store in its care', async () => {
    const world = await given(aNightPlan(['s001']));
    const dumping = (await world.store('s001')).hold('openDump');
    const night = await world.startNight();
    await dumping.reached;
    expect(await nightCaresIn(world.client)('acme')).toMatchObject([{ stores: ['s001'] }]);
    await night.terminate();
    expect(await nightCaresIn(world.client)('acme')).toEqual([]);
    dumping.release();
  });

  it('by hand is over when each store was asked once', async () => {
    const timing = { storeTimeout: 60_000, offlineAfter: 300, cutOffAfter: 60_000, deferFor: 200 };
    const world = await given(aNightPlan(['s001'], { timing }));
    const report = await (await world.startNight()).result();
    expect(report.tally.offline).toBe(1);
    expect(world.central.ledgerOf('results')).toHaveLength(1);
  });

  it('gives up those that stay away when the window closes', async () => {
    const closes = new Date(Date.now() + 4_000).toISOString();
    const timing = { storeTimeout: 60_000, offlineAfter: 300, cutOffAfter: 60_000, deferFor: 200 };
    const world = await given(aNightPlan(['s001'], { closes, timing, opens: new Date().toISOString() }));
    const report = await (await world.startNight()).result();
    expect(report.tally.succeeded).toBe(0);
    expect(report.tally.offline + report.tally.missed).toBe(1);
  });

  it('begins no further store when it is aborted; the dump that runs goes on to its end', async () => {
    const world = await given(aNightPlan(['s001', 's002'], { maxConcurrency: 1 }));
    const [first, second] = [await world.store('s001'), await world.store('s002')];
    const held = [first.hold('dumpNode n1'), second.hold('dumpNode n1')];
    const night = await world.startNight();
    const reached = await Promise.race(held.map(({ reached: at }, index) => at.then(() => index)));
    await expect(night.executeUpdate(abortUpdate, { args: [{ by: 'anna' }] })).resolves.toMatch(/Ended by anna/);
    held[reached]?.release();
    const report = await night.result();
    expect(report).toMatchObject({ state: 'aborted', tally: { aborted: 1 } });
    expect(totalOf(report.tally)).toBe(2);
    const [running, waiting] = reached === 0 ? [first, second] : [second, first];
    expect(running.calls).toContain('closeDump');
    expect(waiting.calls).toEqual([]);
  });

  it('that cannot be planned calls people, and fails with every problem', async () => {
    const world = await useWorld();
    world.central.on('planNight', async () => ({ kind: 'refused', problems: ['stores: s009 is not a store of acme'] }));
    const night = await world.startNight();
    await expect(night.result()).rejects.toMatchObject({
      cause: { type: 'InvalidInput', message: expect.stringContaining('s009 is not a store') },
    });
    expect(world.central.notifications[0]?.summary).toContain('No store of acme is backed up tonight');
    // Whoever follows it sees that it is over.
    expect(await night.query<NightView>(nightQuery)).toMatchObject({
      state: 'failed',
      doing: expect.stringContaining('s009 is not a store'),
    });
    expect(world.central.ledgerOf('night')).toMatchObject([
      {
        row: {
          id: expect.stringMatching(/^unplanned-\d{8}-\d{6}$/) as string,
          fleet: 'acme',
          state: 'failed',
          reason: 'InvalidInput',
          summary: expect.stringContaining('s009 is not a store') as string,
          endedAt: expect.any(String) as string,
        },
      },
    ]);
  });

  const refused: Partial<StoreBackupActivities> = {
    openDump: async () => ({ kind: 'refused', stop: { reason: 'BackupRefused', summary: 'No token.' } }),
    readCopy: async () => ({ copy: aCopy('pbs-store', []) }),
  };

  it('in which a token is refused calls people while others are still backed up, and once for all stores', async () => {
    const world = await given(aNightPlan(['s001', 's002', 's003']));
    await world.stores(['s001', 's002'], refused);
    const dumping = (await world.store('s003')).hold('dumpNode n1');
    const night = await world.startNight();
    await dumping.reached;
    await eventually('both to have ended', async () => totalOf((await night.query<NightView>(nightQuery)).tally) === 2);
    await eventually('people to be called', () => world.central.notifications.length > 0);
    dumping.release();
    await night.result();
    const told = world.central.notifications.map(({ reason, summary }) => [reason, /The night goes on/.test(summary)]);
    expect(told).toEqual([
      ['BackupRefused', true],
      [undefined, false],
    ]);
  });

  it('whose last store is refused says so at its end alone', async () => {
    const world = await given(aNightPlan(['s001']));
    await world.store('s001', refused);
    await (await world.startNight()).result();
    expect(world.central.notifications).toMatchObject([{ summary: expect.stringContaining('0 of 1 store') as string }]);
  });

  describe('that is over', () => {
    const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();
    const timing = { storeTimeout: 60_000, offlineAfter: 500, cutOffAfter: 1_000, deferFor: 200 };
    /** Long enough for a store that nothing holds, on a machine with other work too. */
    const aShortNight = (change: Partial<NightPlan> = {}): NightPlan =>
      aNightPlan(['s001', 's002'], {
        opens: new Date().toISOString(),
        closes: inSeconds(9),
        endsBy: inSeconds(10),
        timing: { ...timing, cutOffAfter: 60_000 },
        ...change,
      });
    const nextNight = async (world: World) => {
      const plan = aNightPlan(['s001', 's002'], { night: 'night-2026-11-27', endsBy: inSeconds(60) });
      world.central.on('planNight', async () => ({ kind: 'planned', plan }));
      return world.startNight({}, 'nightly');
    };
    const toldOf = (world: World) => world.central.notifications.map(({ summary }) => summary).join('\n');

    it('is so although one store still verifies, names it, and the next one takes the store', async () => {
      const world = await given(aShortNight());
      const verifying = (await world.store('s001')).hold('verifyCopy');
      await world.store('s002');
      const night = await world.startNight({}, 'nightly');
      await verifying.reached;
      const report = await night.result();
      expect(report).toMatchObject({ state: 'done', tally: { succeeded: 1, failed: 1 } });
      expect(toldOf(world)).toMatch(
        /s001: 3 of 3 guests.*the night ended while the store still verifies; that goes on/,
      );
      expect((await (await nextNight(world)).result()).tally).toMatchObject({ succeeded: 2 });
      verifying.release();
    });

    it.each([
      ['before its dump', 'hello', backupWorkflowId('s001')],
      ['in its dump, before a guest is dumped', 'openDump', storeWorkflowId('s001')],
    ])('is so although people paused one store %s, and says that it stood paused', async (_, step, operation) => {
      const world = await given(aShortNight());
      const store = await world.store('s001', { readCopy: async () => ({ copy: aCopy('pbs-store', []) }) });
      const held = store.hold(step);
      await world.store('s002');
      const night = await world.startNight({}, 'nightly');
      await held.reached;
      await world.client.workflow.getHandle(operation).executeUpdate(pauseUpdate, { args: [{ by: 'anna' }] });
      held.release();
      expect((await night.result()).tally).toMatchObject({ succeeded: 1, failed: 1 });
      expect(toldOf(world)).toContain('s001: Its backup stood paused until the night was over.');
      expect(store.calls.filter((call) => call.startsWith('dumpNode'))).toEqual([]);
      store.on('readCopy', async () => ({ copy: aCopy('pbs-store') }));
      expect((await (await nextNight(world)).result()).tally).toMatchObject({ succeeded: 2 });
    });

    it('is so although one store fell silent, of which the next one is not held back', async () => {
      const world = await given(aShortNight({ timing }));
      const verifying = (await world.store('s001', {}, { slots: 1 })).hold('verifyCopy');
      await world.store('s002');
      const night = await world.startNight({}, 'nightly');
      await verifying.reached;
      const { tally } = await night.result();
      expect([tally.succeeded, totalOf(tally)]).toEqual([1, 2]);
      const own = world.client.workflow.getHandle(backupWorkflowId('s001'));
      expect(await own.result()).not.toMatchObject({ outcome: 'succeeded' });
      verifying.release();
      expect((await (await nextNight(world)).result()).tally).toMatchObject({ succeeded: 2 });
    });

    it('is so although guests are still dumped; the next one dumps them when that is through', async () => {
      const world = await given(aShortNight());
      const store = await world.store('s001');
      const dumping = store.hold('dumpNode n1');
      await world.store('s002');
      const night = await world.startNight({}, 'nightly');
      await dumping.reached;
      expect((await night.result()).tally).toMatchObject({ succeeded: 1, failed: 1 });
      expect(toldOf(world)).toMatch(/s001: The night ended while guests of the store were still dumped/);
      const second = await nextNight(world);
      await eventually('s001 to wait for its turn', async () => {
        const view = await world.client.workflow.getHandle(backupWorkflowId('s001')).query(backupQuery);
        return view.night === 'night-2026-11-27' && view.step.startsWith('waits for the store');
      });
      expect(store.calls.filter((call) => call === 'openDump')).toHaveLength(1);
      dumping.release();
      expect((await second.result()).tally).toMatchObject({ succeeded: 2 });
    });

    it('is so although the central server still collects, which is said', async () => {
      const orders = someOrders({ collect: true, offsite: { keep: { last: 3 } } });
      const world = await given(aShortNight({ orders, timing }));
      await world.stores(['s001', 's002']);
      let release = (): void => undefined;
      const released = new Promise<void>((resolve) => (release = resolve));
      await world.centralServer({
        collectSpace: async () => {
          await released;
          return { ok: true, detail: 'collected' };
        },
      });
      const report = await (await world.startNight({}, 'nightly')).result();
      release();
      expect(report).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
      expect(toldOf(world)).toContain('Space at the central server is still being collected at the end of the night');
    });
  });

  it('collects the space of the central server once, for all stores', async () => {
    const orders = someOrders({ collect: true, offsite: { keep: { last: 3 } } });
    const world = await given(aNightPlan(['s001', 's002'], { orders }));
    await world.stores(['s001', 's002']);
    const there = await world.centralServer();
    await (await world.startNight()).result();
    expect(there.filter((call) => call.startsWith('collectSpace'))).toEqual(['collectSpace central']);
  });
});
