import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Decision, TrainReport, WaveProgress } from '#domain/messages/train.js';
import { waveWorkflowId } from '#domain/naming.js';
import type { ReleaseRef } from '#domain/release.js';
import { openLedger } from '#systems/ledger/client.js';
import type { LabEntry } from '#client/cli/lab-client.js';
import { countByNode, givenPractice, resultOf, type Practice } from '../support/practice.js';

/**
 * One release on its way through a fleet on which nearly everything is interrupted: an approval that comes too late, a
 * window that ends, a store that is busy, a node that does not come back. One fleet, one thing after the other.
 */
const CANARY = 'canary';
const UNASKED = 'unasked';
const LAST = 'last';
const ONCE = { n1: 1, n2: 1, n3: 1 };

let practice: Practice;
let canary: string;
let busy: string;
let broken: string;
let later: string;
let release: ReleaseRef;
let train: WorkflowHandle;
/** Another operation on the busy store. */
let holder: WorkflowHandle;

beforeAll(async () => {
  practice = await givenPractice({
    stores: 4,
    edit: (fleet) => {
      const [first, rest] = fleet.stages as [(typeof fleet.stages)[number], (typeof fleet.stages)[number]];
      fleet.stages = [
        { ...first, approval: { expires: '3s' } },
        {
          ...first,
          name: UNASKED,
          approval: { required: false },
          limits: { ...first.limits, deferFor: '2s', deferLimit: 20 },
        },
        { ...rest, name: LAST, limits: { ...rest.limits, maxConcurrency: 1 } },
      ];
    },
  });
  const stages = await practice.stages();
  [canary] = stages[CANARY] as [string];
  [busy] = stages[UNASKED] as [string];
  [broken, later] = stages[LAST] as [string, string];
});
afterAll(() => practice?.stop());

const refusal = (decision: Decision): Promise<string> =>
  practice.decide(decision).then(
    (sentence) => `accepted: ${sentence}`,
    (error: { cause?: { message?: string } }) => error.cause?.message ?? 'refused without a sentence',
  );
const effectsSince = async (store: string, seq: number): Promise<LabEntry[]> =>
  (await practice.effects(store)).filter((entry) => entry.seq > seq);
const newest = async (): Promise<number> => (await practice.lab.journal(0)).at(-1)?.seq ?? 0;

describe('an approval that does not come in time', () => {
  it('holds the train, which takes no late one and asks again when people say so', async () => {
    const handle = await practice.startTrain();
    const asking = await practice.until('the canary to ask', ({ hold }) => hold?.reason === 'ApprovalPending');
    release = asking.release as ReleaseRef;
    const inTime = await practice.decision();

    const expired = await practice.until('the time to be over', ({ hold }) => hold?.reason === 'ApprovalExpired');
    expect(expired).toMatchObject({ state: 'held', answers: ['ask-again', 'pause', 'abort'] });
    expect(expired.hold).toMatchObject({
      stage: CANARY,
      summary: 'Nobody approved stage canary within 3 s. Nothing of it has started.',
    });
    expect(Date.parse(expired.hold?.since ?? '')).toBeGreaterThanOrEqual(Date.parse(asking.hold?.until ?? ''));
    expect(await refusal(inTime)).toMatch(/^The train does not ask for an approval now\. Nobody approved stage canary/);

    await practice.answer('askAgain');
    await practice.until('the canary to ask again', ({ hold }) => (hold?.since ?? '') > (expired.hold?.since ?? ''));
    await practice.answer('abort');
    expect((await handle.result()) as TrainReport).toMatchObject({ state: 'aborted', tally: { aborted: 4 } });
    for (const store of [canary, busy, broken, later]) expect(await practice.effects(store)).toEqual([]);
  });
});

describe('a window that ends while a node is drained', () => {
  it('stops the store before any package changes, and all is as it was before', async () => {
    const before = await practice.snapshot(canary);
    await practice.promoteByHand(canary, release);
    // Guests cannot leave: the drain lasts until the window has ended.
    await practice.lab.addFault({ id: 'stuck', store: canary, kind: 'migration-fails' });
    const notAfter = new Date(Date.now() + 12_000).toISOString();
    const handle = await practice.patch(canary, release, { notAfter });
    const drained = await practice.seen(
      'a node to be drained',
      ({ store, effect }) => store === canary && effect === 'ha.maintenance.enable',
    );
    const node = drained.node as string;
    await practice.past(notAfter);
    await practice.lab.removeFault('stuck');

    const result = await resultOf(handle);
    expect(result).toMatchObject({ outcome: 'skipped', reason: 'OutsideWindow', nodesPatched: 0 });
    expect(result.stop).toMatchObject({ step: `upgrade ${node}`, summary: expect.stringContaining(notAfter) });

    const entries = await practice.effects(canary);
    for (const effect of ['ha.maintenance.enable', 'ha.maintenance.disable', 'ceph.noout.set', 'ceph.noout.unset'])
      expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: { [node]: 1 } });
    for (const effect of ['unit.start', 'packages.begin', 'packages.install', 'node.reboot.request', 'node.down'])
      expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: {} });
    const placed = ({ guests }: typeof before) => guests.map(({ vmid, node: at, status }) => ({ vmid, at, status }));
    const after = await practice.storeIs(
      'guests to be back',
      canary,
      (now) => JSON.stringify(placed(now)) === JSON.stringify(placed(before)),
    );
    expect(
      after.nodes.map(({ name, maintenance, noout, packages }) => ({ name, maintenance, noout, packages })),
    ).toEqual(before.nodes.map(({ name, packages }) => ({ name, maintenance: false, noout: false, packages })));
    expect(await practice.violations()).toEqual([]);
  });
});

describe('approvals', () => {
  it('for stages that do not ask are refused, recorded, and not kept for later', async () => {
    await practice.editFleet((fleet) => {
      const [first] = fleet.stages as [(typeof fleet.stages)[number]];
      first.approval = { expires: '10m' };
    });
    train = await practice.startTrain();
    await practice.until('the canary to ask', ({ hold }) => hold?.reason === 'ApprovalPending');
    for (const stage of [UNASKED, LAST]) {
      await train.signal(
        'approveWave',
        await practice.decision({ stage, by: 'early', via: 'chat', id: `early/${stage}` }),
      );
      expect(await refusal(await practice.decision({ stage, by: 'early' }))).toBe(
        `The train asks for stage canary, not for ${stage}.`,
      );
    }
    const view = await practice.until('all to be refused', ({ refusedDecisions }) => refusedDecisions.length >= 4);
    expect(view.refusedDecisions.map(({ by, why }) => [by, why])).toEqual(
      [UNASKED, UNASKED, LAST, LAST].map((stage) => ['early', `The train asks for stage canary, not for ${stage}.`]),
    );
    expect(view.hold).toMatchObject({ reason: 'ApprovalPending', stage: CANARY });
  });

  it('that come twice start the stage once, and a second person is told who was first', async () => {
    // The busy store is held from here on by an operation that waits for it behind a cut link.
    const { release: next } = (await practice.view()) as { release: ReleaseRef };
    await practice.lab.setWan(busy, false);
    holder = await practice.patch(busy, next, { train: 'other', offlineAfter: 240_000 });

    const decision = await practice.decision({ by: 'bot', via: 'chat', id: 'message-1' });
    await train.signal('approveWave', decision);
    await train.signal('approveWave', decision);
    await practice.until('the canary to start', ({ stages }) => stages[0]?.approvedBy === 'bot');
    expect(await refusal(decision)).toBe('This decision was already recorded.');
    expect(await refusal({ ...decision, by: 'second', id: 'message-2' })).toBe(
      'Stage canary was already approved by bot.',
    );
    expect(await refusal({ ...decision, by: 'third', id: 'message-3', decision: 'reject' })).toBe(
      'Stage canary was already approved by bot.',
    );
  });
});

describe('a store that another operation holds', () => {
  it('is deferred, and later found to be done: nothing is done twice', async () => {
    const view = await practice.until('the canary to be done', ({ stages }) => stages[0]?.state === 'done');
    expect(countByNode(await practice.effects(canary), 'packages.install')).toEqual(ONCE);
    await practice.until('the busy stage to run', ({ stages }) => stages[1]?.state === 'running');
    const wave = practice.client.workflow.getHandle(waveWorkflowId(view.train, UNASKED, 0, 0));
    await practice.eventually('the store to be deferred', async () => {
      const progress = await wave.query<WaveProgress>('wave').catch(() => undefined);
      return progress?.deferred === 1 ? progress : undefined;
    });
    expect(await practice.effects(busy)).toEqual([]);

    await practice.lab.setWan(busy, true);
    expect(await resultOf(holder)).toMatchObject({ outcome: 'succeeded', nodesPatched: 3 });
    const done = await practice.until('the busy stage to be done', ({ stages }) => stages[1]?.state === 'done');
    expect(done.stages[1]).toMatchObject({ tally: { succeeded: 1, skipped: 0 } });
    const entries = await practice.effects(busy);
    for (const effect of ['unit.start', 'packages.install', 'node.reboot.request', 'node.up', 'ha.maintenance.enable'])
      expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: ONCE });
  });
});

describe('a node that does not come back after its reboot', () => {
  it('fails its store, stays cordoned, and holds the train: no other node and no later store is touched', async () => {
    const asking = await practice.until('the last stage to ask', ({ hold }) => hold?.stage === LAST);
    expect(asking.hold?.reason).toBe('ApprovalPending');
    expect(asking.stages[2]?.approvedBy).toBeUndefined();
    await practice.lab.addFault({ id: 'dead', store: broken, kind: 'node-stays-down' });
    await practice.approve();

    const held = await practice.until('the train to hold', ({ hold }) => hold?.reason === 'ErrorThresholdExceeded');
    const down = (await practice.effects(broken)).filter(({ effect }) => effect === 'node.down');
    expect(down).toHaveLength(1);
    const node = down[0]?.node as string;
    expect(held).toMatchObject({
      state: 'held',
      answers: ['retry-failed', 'skip', 'rollback', 'pause', 'abort'],
    });
    expect(held.hold).toMatchObject({ stage: LAST, detail: [expect.stringContaining(`${broken}: RebootTimeout`)] });
    expect(held.notSucceeded[0]).toMatchObject({
      store: broken,
      outcome: 'failed',
      reason: 'RebootTimeout',
      stop: {
        reason: 'RebootTimeout',
        step: `reboot ${node}`,
        summary: `${node} did not come back in time.`,
        detail: expect.arrayContaining([expect.stringContaining(`left in place: maintenance of ${node}`)]),
      },
    });

    const entries = await practice.effects(broken);
    for (const effect of ['ha.maintenance.enable', 'unit.start', 'node.reboot.request', 'ceph.noout.unset'])
      expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: { [node]: 1 } });
    expect(countByNode(entries, 'ha.maintenance.disable')).toEqual({});
    const now = await practice.snapshot(broken);
    expect(now.nodes.find(({ name }) => name === node)).toMatchObject({
      state: 'down',
      maintenance: true,
      noout: false,
    });
    expect(now.guests.every((guest) => guest.status === 'running' && guest.node !== node)).toBe(true);
    expect(await practice.effects(later)).toEqual([]);
    expect(await practice.violations()).toEqual([]);
  });

  it('is taken over by `retry-failed` once it is back, and the train goes on to its end', async () => {
    const seq = await newest();
    await practice.lab.removeFault('dead');
    await practice.storeIs(
      'the node to be back and Ceph well',
      broken,
      ({ nodes, ceph }) =>
        nodes.every(({ state }) => state === 'up') && ceph.pgs.every(({ state }) => state === 'active+clean'),
    );
    await practice.answer('retryFailed');
    expect(await practice.ride(train)).toMatchObject({ state: 'done', tally: { succeeded: 4 } });

    for (const store of [broken, later]) {
      const entries = await practice.effects(store);
      for (const effect of ['packages.install', 'node.reboot.request', 'node.up', 'ha.maintenance.disable'])
        expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: ONCE });
    }
    const [first] = (await effectsSince(broken, seq)).filter(({ effect }) => effect === 'ha.maintenance.enable');
    const home = (await effectsSince(broken, seq)).find(({ effect }) => effect === 'ha.maintenance.disable');
    expect(home?.seq).toBeLessThan(first?.seq ?? 0);
    expect(await practice.violations()).toEqual([]);
  });

  it('and all that was decided stands in the ledger, refusals with their sentence', async () => {
    const ledger = await openLedger(practice.service.databaseUrl);
    try {
      const [row] = await ledger.trains(1);
      expect(row).toMatchObject({ state: 'done' });
      const rows = await ledger.approvals(row?.id ?? '');
      const taken = rows.filter(({ accepted }) => accepted);
      expect(taken.map(({ stage, id, by }) => [stage, id, by])).toEqual([
        [CANARY, 'message-1', 'bot'],
        [LAST, expect.stringContaining('test/approve'), 'test'],
      ]);
      // By signal and by update alike, each under a name of its own.
      const refused = rows.filter(({ accepted }) => !accepted);
      expect(refused.map(({ stage, by, via, refusal: why }) => [stage, by, via, why])).toEqual([
        [UNASKED, 'early', 'chat', 'The train asks for stage canary, not for unasked.'],
        [UNASKED, 'early', expect.any(String), 'The train asks for stage canary, not for unasked.'],
        [LAST, 'early', 'chat', 'The train asks for stage canary, not for last.'],
        [LAST, 'early', expect.any(String), 'The train asks for stage canary, not for last.'],
        [CANARY, 'bot', 'chat', 'This decision was already recorded.'],
        [CANARY, 'second', 'chat', 'Stage canary was already approved by bot.'],
        [CANARY, 'third', 'chat', 'Stage canary was already approved by bot.'],
      ]);
      expect(refused[0]?.id).toMatch(/^refused\/.*\/early\/unasked$/);
      const results = (await ledger.results(row?.id ?? '')).filter(({ store }) => store === broken);
      expect(results.map(({ round, outcome, reason }) => [round, outcome, reason])).toEqual([
        [0, 'failed', 'RebootTimeout'],
        [1, 'succeeded', undefined],
      ]);
    } finally {
      await ledger.close();
    }
  });
});
