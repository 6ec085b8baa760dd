import { describe, expect, it } from 'vitest';
import { followTrain, type DemoRun } from '#client/cli/demo-run.js';
import type { LabClient, LabEntry, LabReport } from '#client/cli/lab-client.js';
import { isGood, linkNews, renderSummary, storesAtWork } from '#client/cli/render-demo.js';
import { OperationError } from '#client/operation-errors.js';
import type { Operations } from '#client/operations.js';
import type { TrainView } from '#domain/messages/train.js';
import { failedResult, hold, planHash, stage, tally, trainView } from '../builders.js';
import { fakeIo, type FakeIo } from './fake-io.js';

const report = (violations: { store: string; summary: string }[] = []): LabReport => ({
  effects: 1426,
  rules: [
    { id: 'one-down', title: 'Never two nodes down', violations },
    { id: 'once', title: 'No effect twice', violations: [] },
  ],
});
const entry = (change: Partial<LabEntry>): LabEntry => ({
  seq: 1,
  at: '2026-11-24T11:08:10Z',
  store: 'store-014',
  effect: 'guest.migrate',
  by: 'edge-governor',
  ...change,
});
const done = trainView({
  state: 'done',
  stages: [
    stage('canary', 5, { tally: tally({ succeeded: 5 }) }),
    stage('wave-1', 5, { tally: tally({ succeeded: 4, failed: 1 }) }),
  ],
  notSucceeded: [failedResult()],
});

describe('the verdict of the demo', () => {
  it('is good when the train is done, every store has an outcome, and the journal holds', () => {
    expect(isGood({ view: done, report: report() })).toBe(true);
  });
  it('is not good when a rule is broken', () => {
    expect(isGood({ view: done, report: report([{ store: 's', summary: 'x' }]) })).toBe(false);
  });
  it('is not good when the train was aborted', () => {
    expect(isGood({ view: { ...done, state: 'aborted' }, report: report() })).toBe(false);
  });
  it.each([
    [{ cut: true, killed: true }, true],
    [{ cut: false, killed: true }, false],
    [{ cut: true, killed: false }, false],
  ])('is good only when what was to go wrong did: %j', (struck, good) => {
    const result = { view: done, report: report(), struck };
    expect(isGood(result)).toBe(good);
    const lines = renderSummary({ ...result, rebooted: 30, took: 78_400 });
    expect(lines.some((line) => line.startsWith('NOT SHOWN'))).toBe(!good);
  });
  it('is not good when a store has no outcome', () => {
    const open = { ...done, stages: [stage('canary', 5, { tally: tally({ succeeded: 4 }) })] };
    expect(isGood({ view: open, report: report() })).toBe(false);
  });
});

describe('renderSummary', () => {
  it('counts every store once, names who failed and where to read on, and quotes the journal', () => {
    expect(renderSummary({ view: done, report: report(), rebooted: 30, took: 78_400 })).toEqual([
      'Done in 1 min 18 s: 10 stores, 30 node reboots.',
      '  succeeded 9   failed 1   offline 0   sum 10 of 10',
      '  store-033 failed at reboot n2, RebootTimeout: n2 did not come back in 5 min.',
      '          See: edge runbook RebootTimeout',
      "Practice fleet's own journal: 1,426 effects, 2 rules, 0 violations.",
    ]);
  });
  it('does not call a broken run done', () => {
    const lines = renderSummary({
      view: { ...done, state: 'aborted', doing: 'Aborted by mara.' },
      report: report([{ store: 's', summary: 'x' }]),
      rebooted: 0,
      took: 1_000,
    });
    expect(lines[0]).toMatch(/^ABORTED/);
    expect(lines.at(-1)).toBe('  BROKEN: Never two nodes down (1 time)');
  });
});

describe('news from the journal', () => {
  it('tell which store lost its link, at which node, and its return', () => {
    expect(
      linkNews([
        entry({ effect: 'fault.active', node: 'n2', detail: { kind: 'wan-cut' } }),
        entry({ effect: 'wan.cut' }),
        entry({ effect: 'wan.restore' }),
      ]),
    ).toEqual(['store-014 lost its WAN during the drain of n2', 'store-014 has its WAN back']);
  });
  it('count stores that worked between two instants', () => {
    const entries = [
      entry({}),
      entry({ store: 'store-015' }),
      entry({}),
      entry({ store: 'x', at: '2026-11-24T12:00:00Z' }),
    ];
    expect(storesAtWork(entries, new Date('2026-11-24T11:08:00Z'), new Date('2026-11-24T11:08:20Z'))).toBe(2);
  });
});

/** A train that shows one view after the other, and stays at the last. */
function scripted(views: (TrainView | OperationError)[], change: Partial<DemoRun> = {}) {
  const said: string[] = [];
  const decided: unknown[] = [];
  const faults: unknown[] = [];
  const journal: LabEntry[] = [];
  let aborted = 0;
  let kills = 0;
  let at = 0;
  const io: FakeIo = fakeIo();
  const operations = {
    trainView: async () => {
      const view = views[Math.min(at, views.length - 1)] as TrainView | OperationError;
      at += 1;
      if (view instanceof OperationError) throw view;
      return view;
    },
    decide: async (_fleet: string, decision: unknown) => {
      decided.push(decision);
      return { kind: 'accepted' as const, sentence: 'approved' };
    },
    abort: async () => {
      aborted += 1;
      return { kind: 'accepted' as const, sentence: 'Aborted.' };
    },
  } as unknown as Operations;
  const lab = {
    journal: async (since: number) => journal.filter(({ seq }) => seq > since),
    addFault: async (fault: unknown) => {
      faults.push(fault);
      const at = io.now().toISOString();
      journal.push(entry({ seq: 1, at, effect: 'fault.active', detail: { kind: 'wan-cut' } }));
    },
  } as unknown as LabClient;
  const run: DemoRun = {
    io,
    operations,
    lab,
    fleet: 'edge',
    speed: 240,
    calm: false,
    killControlWorker: () => {
      kills += 1;
      return true;
    },
    say: (line) => void said.push(line),
    ...change,
  };
  return { run, io, said, decided, faults, aborted: () => aborted, kills: () => kills };
}

describe('followTrain', () => {
  const asks = trainView({
    state: 'held',
    hold: hold({ reason: 'ApprovalPending', detail: [], answers: ['approve', 'reject', 'abort'] }),
  });
  const stages = (change: object) => [
    stage('canary', 5, { state: 'done', tally: tally({ succeeded: 5 }) }),
    stage('wave-1', 10, { state: 'running', ...change }),
  ];
  const late = trainView({
    stages: [
      ...stages({ state: 'done' }),
      stage('wave-2', 10, { state: 'running', inFlight: 4, tally: tally({ succeeded: 4 }) }),
    ],
  });
  const silence = new OperationError('no-worker', 'No answer.');

  it('approves as its own operator, for the plan that is asked about, and says so', async () => {
    const { run, said, decided } = scripted([asks, done]);
    await followTrain(run);
    expect(decided).toMatchObject([{ stage: 'canary', planHash, decision: 'approve', by: 'demo-operator' }]);
    expect(said.some((line) => line.endsWith('canary: approved by demo-operator for plan 4f1c9a02'))).toBe(true);
  });

  it('cuts one link and kills the control worker once, each for long enough to hurt', async () => {
    const script = scripted([
      trainView({ stages: stages({}) }),
      trainView({ stages: stages({}) }),
      ...Array.from({ length: 15 }, () => late),
      silence,
      silence,
      late,
      late,
      done,
    ]);
    const { struck } = await followTrain(script.run);
    expect(struck).toEqual({ cut: true, killed: true });
    expect(script.faults).toMatchObject([
      { kind: 'wan-cut', store: '*', node: 'n2', step: 'guest.migrate', moment: 'during' },
    ]);
    // A shorter cut loses no answer: the SDK goes on reporting a completion for some 14 s.
    const { durationMs } = script.faults[0] as { durationMs: number };
    expect(durationMs / script.run.speed).toBeGreaterThan(14_000);
    expect(script.kills()).toBe(1);
    expect(script.said.filter((line) => line.includes('SIGKILL'))).toHaveLength(1);
    expect(script.said.filter((line) => line.includes('was started again'))).toHaveLength(1);
  });

  it('does not say that a worker was killed which was not', async () => {
    const script = scripted(
      [
        trainView({ stages: stages({}) }),
        trainView({ stages: stages({}) }),
        ...Array.from({ length: 15 }, () => late),
        done,
      ],
      { killControlWorker: () => false },
    );
    const { struck } = await followTrain(script.run);
    expect(struck).toEqual({ cut: true, killed: false });
    expect(script.said.some((line) => line.includes('SIGKILL'))).toBe(false);
  });

  it('breaks nothing when calm', async () => {
    const script = scripted([trainView({ stages: stages({}) }), late, done], { calm: true });
    expect((await followTrain(script.run)).struck).toBeUndefined();
    expect([script.faults.length, script.kills()]).toEqual([0, 0]);
  });

  it('aborts a train that is held for another reason, instead of waiting for ever', async () => {
    const held = trainView({ state: 'held', hold: hold() });
    const script = scripted([held, { ...done, state: 'aborted' }]);
    const { view } = await followTrain(script.run);
    expect(script.aborted()).toBe(1);
    expect(view.state).toBe('aborted');
  });

  it('ends when a person interrupts', async () => {
    const script = scripted([trainView({})]);
    const pause = script.io.pause;
    script.run.io = { ...script.io, pause: async (ms) => (script.io.interrupt(), pause(ms)) };
    const { view } = await followTrain(script.run);
    expect(view.state).toBe('running');
  });

  it('does not hide an error that is none of a killed worker', async () => {
    const script = scripted([new OperationError('denied', 'Not allowed.')]);
    await expect(followTrain(script.run)).rejects.toThrow('Not allowed.');
  });
});
