import { describe, expect, it } from 'vitest';
import { emptyTally } from '#domain/outcomes.js';
import { nextSeed } from './chaos.js';
import type { Seen } from './drive.js';
import { judge } from './judge.js';
import { planOf } from './plan.js';
import type { Result } from './results.js';
import { CELLS, cellName, cellsOf, impossibleCells, SEEDS_OF_A_ROUND } from './table.js';

const at = (second: number) => new Date(Date.UTC(2026, 10, 26, 3, 0, second)).toISOString();
const NODES = ['n1', 'n2', 'n3'];
let seq = 0;
const entry = (second: number, effect: string, node: string, detail?: Record<string, unknown>) => ({
  seq: (seq += 1),
  at: at(second),
  store: 's1',
  node,
  effect,
  by: 'edge-governor',
  ...(detail ? { detail } : {}),
});

const patched = (node: string, second: number) => [
  entry(second, 'ha.maintenance.enable', node),
  entry(second + 1, 'packages.begin', node),
  entry(second + 2, 'packages.install', node),
  entry(second + 3, 'node.reboot.request', node),
  entry(second + 4, 'node.up', node),
  entry(second + 5, 'ha.maintenance.disable', node),
];

/** One store, patched without any trouble. */
function goodRun(change: Partial<Seen> = {}): Seen {
  const times = { startedAt: at(0), endedAt: at(40) };
  return {
    plan: { ...planOf(1), stores: 1 },
    report: {
      train: '2026-w48',
      state: 'done',
      tally: { ...emptyTally(), succeeded: 1 },
      planned: 1,
      summary: '',
    },
    rows: [{ train: '2026-w48', stage: 'rest', store: 's1', round: 0, outcome: 'succeeded', ...times }],
    operations: [
      {
        workflowId: 'store/s1',
        store: 's1',
        outcome: 'succeeded',
        operationId: '2026-w48/rest/s1/r0',
        nodesPatched: 3,
        ...times,
      },
    ],
    broken: [],
    running: [],
    journal: NODES.flatMap((node, i) => patched(node, 1 + 10 * i)),
    check: { effects: 18, rules: [{ id: 'nothing-left-set', title: '', violations: [] }] },
    now: [{ id: 's1', nodes: NODES.map((name) => ({ name })) }] as never,
    struck: [],
    said: [],
    seconds: 40,
    ...change,
  };
}
const run = goodRun();
const [operation] = run.operations as [Seen['operations'][number]];
const [row] = run.rows as [Seen['rows'][number]];
const leftSet = (summary: string): Seen['check'] => ({
  effects: 1,
  rules: [{ id: 'nothing-left-set', title: '', violations: [{ store: 's1', summary }] }],
});

describe('the judge of a run', () => {
  it('finds nothing wrong with a good one', () => expect(judge(run).wrong).toEqual([]));

  it.each<[string, Partial<Seen>, RegExp]>([
    ['a train that does not end', { report: undefined }, /did not end/],
    ['a workflow that still runs', { running: ['store/s1 []'] }, /Still running/],
    ['an operation that ended by an exception', { broken: ['store/s1: x'] }, /exception/],
    [
      'outcomes that do not add up',
      { plan: { ...run.plan, stores: 2 } },
      /The outcomes add up to 1 of 2 stores|plans 1 stores/,
    ],
    ['a ledger that says otherwise', { rows: [{ ...row, outcome: 'failed' }] }, /the ledger says failed/],
    ['an operation that is not in the ledger', { rows: [] }, /is not in the ledger/],
    [
      'a success that no operation had',
      { operations: [{ ...operation, outcome: 'failed' }] },
      /says that s1 succeeded/,
    ],
    [
      'a success without a boot',
      { journal: run.journal.filter(({ effect, node }) => effect !== 'node.up' || node !== 'n2') },
      /does not show n2 upgraded and then booted/,
    ],
    [
      'more nodes claimed than came back',
      { journal: run.journal.filter(({ effect, node }) => effect !== 'ha.maintenance.disable' || node !== 'n3') },
      /claims 3 nodes, the journal shows 2/,
    ],
    [
      'a reboot that nobody is on record for',
      { journal: [...run.journal, entry(50, 'node.reboot.request', 'n1')] },
      /Nobody on record did node\.reboot\.request on n1/,
    ],
    ['maintenance that nobody told of', { check: leftSet('n2 is still in maintenance') }, /still in maintenance/],
  ])('sees %s', (_, change, sentence) => {
    const { wrong } = judge(goodRun(change));
    expect(wrong.filter((each) => sentence.test(each))).not.toEqual([]);
  });

  it('accepts what was left set when the operation named it', () => {
    const told = {
      ...operation,
      outcome: 'failed' as const,
      stop: {
        reason: 'RebootTimeout' as const,
        summary: '',
        detail: ['left in place: maintenance of n2 (it is down)'],
      },
    };
    const tally = { ...emptyTally(), failed: 1 };
    const seen = goodRun({
      operations: [told],
      rows: [{ ...row, outcome: 'failed' }],
      report: { ...(run.report as NonNullable<Seen['report']>), tally },
      check: leftSet('n2 is still in maintenance'),
    });
    expect(judge(seen).wrong).toEqual([]);
  });

  it('counts a fault only when it was at work during an operation', () => {
    const fault = { kind: 'wan-cut', step: 'node.up', moment: 'after' };
    const kill = { kind: 'kill-store', step: 'node.up', moment: 'after', store: 's1' } as const;
    const seen = goodRun({
      journal: [
        ...run.journal,
        entry(20, 'fault.active', 'n1', fault),
        entry(60, 'fault.active', 'n1', { ...fault, moment: 'before' }),
      ],
      struck: [
        { ...kill, at: at(10) },
        { ...kill, kind: 'kill-control', at: at(70) },
      ],
    });
    expect(judge(seen).hits).toEqual(['wan-cut node.up after', 'kill-store node.up after']);
  });
});

describe('the plan of a run', () => {
  it('is the same for the same seed', () => expect(planOf(77)).toEqual(planOf(77)));

  it.each([0, 1, 2])('has two faults or more, and each cell of the table has its turn in round %i', (round) => {
    const plans = Array.from({ length: SEEDS_OF_A_ROUND }, (_, i) => planOf(round * SEEDS_OF_A_ROUND + i + 1));
    expect(plans.every(({ faults }) => faults.length >= 2)).toBe(true);
    const met = new Set(plans.flatMap(({ faults }) => faults.map(({ cell }) => cellName(cell))));
    expect(CELLS.map(cellName).filter((name) => !met.has(name))).toEqual([]);
  });

  it('asks the practice fleet only for what it can do', () => expect(impossibleCells()).toEqual([]));
});

describe('the next seed', () => {
  const result = (seed: number, hits: string[]): Result => ({
    seed,
    build: 'sound',
    ok: true,
    state: 'done',
    seconds: 1,
    stores: 2,
    faults: [],
    hits,
    wrong: [],
  });
  const namesOf = (seed: number) => cellsOf(seed).map(cellName);

  it('is the first one when nothing was run', () => expect(nextSeed([])).toBe(1));

  it('is one whose faults no run has hit yet', () => {
    const missed = namesOf(2)[1] as string;
    const known = Array.from({ length: SEEDS_OF_A_ROUND }, (_, i) =>
      result(
        i + 1,
        namesOf(i + 1).filter((name) => name !== missed),
      ),
    );
    const next = nextSeed(known);
    expect(next).toBeGreaterThan(SEEDS_OF_A_ROUND);
    expect(namesOf(next)).toContain(missed);
  });

  it('goes on when all were hit', () => expect(nextSeed([result(1, CELLS.map(cellName))])).toBe(2));
});
