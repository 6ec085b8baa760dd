import { describe, expect, it } from 'vitest';
import { emptyTally } from '#domain/outcomes.js';
import type { DesiredRecord } from '#domain/release.js';
import { aReleaseRef } from '../support/builders.js';
import { aPermit, aRollbackApproval, aRollbackPlan, ROLLBACK_HASH } from '../support/rollback-builders.js';
import { nextSeed } from './chaos.js';
import { judge } from './judge.js';
import { planOf, turningStore, wayOf, worksOf, type SteeringPlan } from './plan.js';
import type { Result } from './results.js';
import {
  faultId,
  type Memory,
  type NightSeen,
  type Operation,
  type RestoresSeen,
  type Seen,
  type TrainSeen,
} from './seen.js';
import { partOf, type Steered } from './steering.js';
import { CELLS, cellName, impossibleCells, SEEDS_OF_A_ROUND, turnOf, type RunKind } from './table.js';
import type { WayBackSeen } from './way-back-seen.js';

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

/** What was done to the configuration of a guest, in this order. */
const config = (...effects: string[]) =>
  effects.map((effect) => ({
    ...entry(36, effect, 'n1', { path: '/etc/app.conf', targets: ['/etc/app.conf'] }),
    guest: 101,
  }));

const times = { startedAt: at(0), endedAt: at(40) };
const rule = (id: string, ...summaries: string[]): Seen['check']['rules'][number] => ({
  id,
  title: '',
  violations: summaries.map((summary) => ({ store: 's1', summary })),
});

/** What all runs have in common: one store, with whatever is said of it, and nothing that is wrong. */
const aRun = (change: Partial<Seen>): Seen => ({
  plan: { ...planOf(1), stores: 1, faults: [], restores: { maxConcurrency: 1, slow: 1 } },
  stores: ['s1'],
  broken: [],
  running: [],
  journal: [],
  check: { effects: 18, rules: [rule('nothing-left-set')] },
  now: [{ id: 's1', nodes: NODES.map((name) => ({ name })), guests: [{ vmid: 101 }] }] as never,
  site: { id: 'staging', guests: [{ vmid: 100, name: 'pbs' }] } as never,
  servers: [],
  memories: [],
  struck: [],
  said: [],
  seconds: 40,
  ...change,
});
/** The journal is in the order in which it is written here. */
const rulesOf = (seen: Seen): string[] =>
  judge({ ...seen, journal: seen.journal.map((each, i) => ({ ...each, seq: i })) }).wrong.map(
    (finding) => finding.rule,
  );

const memory: Memory = {
  store: 's1',
  operationId: 'x',
  startedAt: at(5),
  open: false,
  steps: [
    { key: 'y|1|reboot n1', at: at(4) },
    { key: 'x|2|reboot n1', at: at(6) },
    { key: 'y|1|self-undo', at: at(7) },
  ],
};

/** Patched without any trouble. */
const aTrain = (change: Partial<TrainSeen> = {}): TrainSeen => ({
  report: { train: '2026-w48', state: 'done', tally: { ...emptyTally(), succeeded: 1 }, planned: 1, summary: '' },
  rows: [{ train: '2026-w48', stage: 'rest', store: 's1', round: 0, outcome: 'succeeded', ...times }],
  operations: [
    {
      workflowId: 'store/s1',
      store: 's1',
      outcome: 'succeeded',
      operationId: '2026-w48/rest/s1/r0',
      nodesPatched: 3,
      release: '2026.48.1',
      begunAt: at(0),
      ...times,
    },
  ],
  release: '2026.48.1',
  builds: [{ from: at(0), to: at(1) }],
  steered: [],
  ...change,
});
const PATCHED = NODES.flatMap((node, i) => patched(node, 1 + 10 * i));
const train = aTrain();
const [patch] = train.operations as [Operation];
const [row] = train.rows as [TrainSeen['rows'][number]];
const without = (effect: string, node: string) =>
  PATCHED.filter((each) => each.effect !== effect || each.node !== node);

describe('the judge of a train', () => {
  const judged = (change: Partial<TrainSeen>, of: Partial<Seen> = {}) =>
    rulesOf(aRun({ journal: PATCHED, ...of, train: aTrain(change) }));

  it('finds nothing wrong with a good one', () => expect(judged({}, { memories: [memory] })).toEqual([]));

  it('finds nothing wrong with a guest that loaded what it was linked to', () => {
    const journal = [...PATCHED, ...config('guest.config.switch', 'guest.config.reload')];
    expect(judged({}, { journal })).toEqual([]);
  });

  it.each<[string, Partial<TrainSeen>, Partial<Seen>, string]>([
    ['a train that does not end', { report: undefined }, {}, 'train-ends'],
    ['a workflow that still runs', {}, { running: ['store/s1 []'] }, 'still-running'],
    ['an operation that ended by an exception', {}, { broken: ['store/s1: x'] }, 'exception'],
    ['outcomes that do not add up', {}, { plan: { ...planOf(1), stores: 2, faults: [] } }, 'sum'],
    ['a ledger that says otherwise', { rows: [{ ...row, outcome: 'failed' }] }, {}, 'ledger'],
    ['an operation that is not in the ledger', { rows: [] }, {}, 'ledger'],
    ['a success that no operation had', { operations: [{ ...patch, outcome: 'failed' }] }, {}, 'ledger'],
    ['an operation that succeeded and is said to be aborted', { rows: [{ ...row, outcome: 'aborted' }] }, {}, 'ledger'],
    ['a store that is missed though it was done', { rows: [{ ...row, round: 1, outcome: 'missed' }] }, {}, 'ledger'],
    [
      'a store that fell silent in no operation',
      { rows: [row, { ...row, round: 1, outcome: 'cutOff' }] },
      {},
      'ledger',
    ],
    ['a success without a boot', {}, { journal: without('node.up', 'n2') }, 'success'],
    [
      'a success with a guest that did not load what it was linked to',
      {},
      { journal: [...PATCHED, ...config('guest.config.reload', 'guest.config.switch')] },
      'success',
    ],
    ['more nodes claimed than came back', {}, { journal: without('ha.maintenance.disable', 'n3') }, 'success'],
    [
      'a reboot that nobody is on record for',
      {},
      { journal: [...PATCHED, entry(50, 'node.reboot.request', 'n1')] },
      'on-record',
    ],
    [
      'maintenance that nobody told of',
      {},
      { check: { effects: 1, rules: [rule('nothing-left-set', 'n2 is still in maintenance')] } },
      'nothing-left-set',
    ],
    ['a store that is not given back', {}, { memories: [{ ...memory, open: true }] }, 'given-back'],
    [
      'a step of an operation that has lost the store',
      {},
      { memories: [{ ...memory, steps: [{ key: 'y|1|reboot n1', at: at(6) }] }] },
      'one-holder',
    ],
    ['a release that was built twice', { builds: [...train.builds, ...train.builds] }, {}, 'build-once'],
    ['a store that runs another release', { release: '2026.48.2' }, {}, 'build-once'],
  ])('sees %s', (_, change, of, expected) => expect(judged(change, of)).toContain(expected));

  it('accepts what was left set when the operation named it', () => {
    const stop = {
      reason: 'RebootTimeout' as const,
      summary: '',
      detail: ['left in place: maintenance of n2 (it is down)'],
    };
    const told = { ...patch, outcome: 'failed' as const, stop };
    const report = { ...(train.report as NonNullable<TrainSeen['report']>), tally: { ...emptyTally(), failed: 1 } };
    const check = { effects: 1, rules: [rule('nothing-left-set', 'n2 is still in maintenance')] };
    const rows = [{ ...row, outcome: 'failed' as const }];
    expect(judged({ operations: [told], rows, report }, { check })).toEqual([]);
  });

  it('accepts a store that fell silent and ended later', () => {
    const report = { ...(train.report as NonNullable<TrainSeen['report']>), tally: { ...emptyTally(), cutOff: 1 } };
    expect(judged({ rows: [{ ...row, outcome: 'cutOff' }], report })).toEqual([]);
  });

  it('counts a fault only when it was at work during an operation, and one of the build only during that', () => {
    const cut = { work: 'train', kind: 'wan-cut', step: 'node.up', moment: 'after' } as const;
    const kill = { ...cut, kind: 'kill-store' } as const;
    const build = { work: 'train', kind: 'kill-release', step: 'release.build', moment: 'during' } as const;
    const faults = [
      cut,
      { ...cut, moment: 'before' as const },
      kill,
      { ...kill, kind: 'kill-control' as const },
      build,
    ];
    const plan = { ...planOf(1), stores: 1, faults: faults.map((cell) => ({ cell, store: 0 })) };
    const active = (second: number, id: string) => entry(second, 'fault.active', 'n1', { id, step: 'node.up' });
    const hitsAt = (built: number) =>
      judge(
        aRun({
          plan,
          train: aTrain(),
          journal: [...PATCHED, active(20, faultId(plan, 0)), active(60, faultId(plan, 1))],
          struck: [
            { fault: 2, store: 's1', at: at(10) },
            { fault: 3, store: 's1', at: at(70) },
            { fault: 4, store: undefined, at: at(built) },
          ],
        }),
      ).hits;
    expect(hitsAt(1)).toEqual([cut, kill, build].map(cellName));
    expect(hitsAt(3)).toEqual([cut, kill].map(cellName));
  });
});

/** What the store ran before, and the newer release of the train that is taken back. */
const [BEFORE, NEWER] = [aReleaseRef(47), aReleaseRef(48)];
const OLD = { openssl: '3.0', 'ceph-osd': '19.1' };
const nodeOf = (name: string, change: object = {}) => ({ name, kernel: '6.14-4', packages: OLD, ...change });
const runs = (change: object = {}) =>
  [{ id: 's1', nodes: [nodeOf('n1'), nodeOf('n2', change), nodeOf('n3')], guests: [{ vmid: 101 }] }] as never;
const there: Operation = { ...patch, release: NEWER.version };
const back: Operation = {
  ...patch,
  outcome: 'rolledBack',
  operationId: '2026-w48/rollback/s1/r0',
  release: BEFORE.version,
  begunAt: at(50),
  startedAt: at(50),
  endedAt: at(90),
};
const backRow = { ...row, stage: 'rollback', outcome: 'rolledBack' as const };
const switched = (second: number, after: string) => ({
  ...entry(second, 'guest.config.switch', 'n1', { path: '/etc/x' }),
  guest: 101,
  after,
});
const reloaded = (second: number) => ({
  ...entry(second, 'guest.config.reload', 'n1', { targets: ['/etc/x'] }),
  guest: 101,
});
const WAY_BACK = NODES.flatMap((node, i) => patched(node, 51 + 10 * i));
const BOTH_WAYS = [...PATCHED, switched(32, 'new'), reloaded(33), ...WAY_BACK, switched(85, 'old'), reloaded(86)];
const decided = aRollbackApproval();
const desiredOf = (change: Partial<DesiredRecord> = {}): DesiredRecord => ({
  schema: 'edge.desired/v1',
  store: 's1',
  release: BEFORE,
  train: '2026-w48',
  stage: 'rollback',
  commit: 'a'.repeat(40),
  expires: at(99),
  permit: { permit: ROLLBACK_HASH, bundle: ROLLBACK_HASH },
  ...change,
});
const aWayBack = (change: Partial<WayBackSeen> = {}): WayBackSeen => ({
  before: {
    version: BEFORE.version,
    manifest: BEFORE.manifest,
    kernel: '6.14-4',
    packages: OLD,
    configs: { s1: ['old'] },
  },
  approvals: [decided],
  permits: [aPermit({ stores: ['s1'] })],
  plans: { [ROLLBACK_HASH]: aRollbackPlan({ groups: [{ to: BEFORE, stores: ['s1'] }] }) },
  desired: [desiredOf()],
  ...change,
});
const rolledBack = {
  ...(train.report as NonNullable<TrainSeen['report']>),
  state: 'rolled back' as const,
  tally: { ...emptyTally(), rolledBack: 1 },
};

describe('the judge of a train that is taken back', () => {
  const judged = (change: Partial<TrainSeen>, wayBack: Partial<WayBackSeen> = {}, of: Partial<Seen> = {}) =>
    rulesOf(
      aRun({
        journal: BOTH_WAYS,
        now: runs(),
        said: ['rollback: taken'],
        ...of,
        train: aTrain({
          report: rolledBack,
          rows: [row, backRow],
          operations: [there, back],
          release: NEWER.version,
          ...change,
          wayBack: aWayBack(wayBack),
        }),
      }),
    );
  const skipped = (change: Partial<WayBackSeen>, of: Partial<Seen> = {}) =>
    judged(
      {
        rows: [{ ...row, outcome: 'skipped', reason: 'RolledBack' }],
        operations: [],
        report: { ...rolledBack, tally: { ...emptyTally(), skipped: 1 } },
      },
      { permits: [], ...change },
      { journal: [], ...of },
    );

  it('finds nothing wrong with a good one', () => {
    expect(judged({})).toEqual([]);
    expect(skipped({ desired: [desiredOf({ permit: undefined } as never)] })).toEqual([]);
  });

  it('takes what an upgrade that broke off has unpacked for brought back when it is configured', () => {
    const brokenOff = [...BOTH_WAYS, entry(86, 'packages.fail', 'n3'), entry(87, 'node.up', 'n3')];
    const journal = [...brokenOff, entry(88, 'packages.configure', 'n3')];
    expect(judged({}, {}, { journal: brokenOff })).toContain('went-back');
    expect(judged({}, {}, { journal })).not.toContain('went-back');
  });

  it('asks for no boot of a node that never booted with the newer packages', () => {
    const isBoot = ({ node, effect }: Seen['journal'][number]) => node === 'n2' && effect === 'node.up';
    expect(judged({}, {}, { journal: BOTH_WAYS.filter((entry) => !isBoot(entry)) })).not.toContain('went-back');
  });

  it.each<[string, Partial<TrainSeen>, Partial<WayBackSeen>, Partial<Seen>, string]>([
    ['a train that goes on all the same', { report: { ...rolledBack, state: 'done' } }, {}, {}, 'goes-back'],
    [
      'a train that was done and cannot be taken back',
      { report: { ...rolledBack, state: 'failed' }, operations: [there], rows: [row] },
      { approvals: [], permits: [] },
      { said: ['take back the train that is done'] },
      'goes-back',
    ],
    ['a train that nobody aborted', { report: { ...rolledBack, state: 'aborted' } }, {}, {}, 'goes-back'],
    [
      'a store that went to another release',
      { operations: [there, { ...back, release: '2026.46.0' }] },
      {},
      {},
      'went-back',
    ],
    [
      'a node with a package of the newer release',
      {},
      {},
      { now: runs({ packages: { ...OLD, openssl: '3.1' } }) },
      'went-back',
    ],
    ['a node with an older Ceph', {}, {}, { now: runs({ packages: { ...OLD, 'ceph-osd': '19.0' } }) }, 'went-back'],
    ['a node with the newer kernel', {}, {}, { now: runs({ kernel: '6.14-5' }) }, 'went-back'],
    [
      'a node that was not booted after its older packages',
      {},
      {},
      {
        journal: BOTH_WAYS.filter(
          (each) => each !== WAY_BACK.find(({ node, effect }) => node === 'n2' && effect === 'node.up'),
        ),
      },
      'went-back',
    ],
    [
      'a node whose older packages are half installed',
      {},
      {},
      { journal: [...BOTH_WAYS, entry(86, 'packages.fail', 'n3'), entry(87, 'node.up', 'n3')] },
      'went-back',
    ],
    ['a guest with config of the newer release', {}, {}, { journal: BOTH_WAYS.slice(0, -2) }, 'went-back'],
    [
      'a store that is back and is to run the newer release',
      {},
      { desired: [desiredOf({ release: NEWER })] },
      {},
      'desired',
    ],
    [
      'a store that is back without a permit',
      {},
      { desired: [desiredOf({ permit: undefined } as never)] },
      {},
      'desired',
    ],
    [
      'a package that is newer than is to be run',
      {},
      {},
      { now: runs({ packages: { ...OLD, openssl: '3.1' } }) },
      'desired',
    ],
    ['a permit without a decision', {}, { approvals: [] }, {}, 'permit'],
    ['a permit for what was rejected', {}, { approvals: [{ ...decided, decision: 'reject' }] }, {}, 'permit'],
    ['a permit for a decision that did not count', {}, { approvals: [{ ...decided, accepted: false }] }, {}, 'permit'],
    [
      'a permit for an approval of another plan',
      {},
      { approvals: [{ ...decided, planHash: `sha256:${'0'.repeat(64)}` }] },
      {},
      'permit',
    ],
    [
      'a permit for a store that the plan leaves out',
      {},
      { permits: [aPermit({ stores: ['s1', 's2'] })] },
      {},
      'permit',
    ],
    ['a permit to another release', {}, { permits: [aPermit({ stores: ['s1'], to: aReleaseRef(46) })] }, {}, 'permit'],
    [
      'a permit to another release, as the plan says',
      {},
      {
        permits: [aPermit({ stores: ['s1'], to: aReleaseRef(46) })],
        plans: { [ROLLBACK_HASH]: aRollbackPlan({ groups: [{ to: aReleaseRef(46), stores: ['s1'] }] }) },
      },
      {},
      'permit',
    ],
    [
      'a permit from another release',
      {},
      { permits: [aPermit({ stores: ['s1'], from: aReleaseRef(49) })] },
      {},
      'permit',
    ],
    ['a store that goes back and is in no permit', {}, { permits: [] }, {}, 'permit'],
    [
      'a store that goes back before anybody approved it',
      {},
      { permits: [aPermit({ stores: ['s1'], approval: { ...aPermit().approval, at: at(51) } })] },
      {},
      'permit',
    ],
    ['a way back that is not in the ledger', { rows: [row] }, {}, {}, 'ledger'],
    [
      'a way back that the ledger adds to what was done there',
      { rows: [{ ...row, round: 1 }, backRow] },
      {},
      {},
      'ledger',
    ],
    [
      'a store that is aborted on the way back though it is back',
      { rows: [row, backRow, { ...backRow, round: 1, outcome: 'aborted' }] },
      {},
      {},
      'ledger',
    ],
    [
      'outcomes of the way there in the report',
      { report: { ...rolledBack, tally: { ...emptyTally(), succeeded: 1 } } },
      {},
      {},
      'sum',
    ],
  ])('sees %s', (_, change, wayBack, of, expected) => expect(judged(change, wayBack, of)).toContain(expected));

  it('sees a store that was never started and is to run the newer release, or has something of it', () => {
    expect(skipped({ desired: [desiredOf({ release: NEWER })] })).toContain('desired');
    expect(skipped({}, { now: runs({ packages: { ...OLD, openssl: '3.1' } }) })).toContain('desired');
  });

  it('accepts a newer Ceph, nodes that never got anything newer, and a store that did not come back', () => {
    expect(judged({}, {}, { now: runs({ packages: { ...OLD, 'ceph-osd': '19.2' } }) })).toEqual([]);
    const started: Operation = { ...there, outcome: 'aborted', nodesPatched: 0 };
    const rows = [{ ...row, outcome: 'aborted' as const }, backRow];
    const untouched = { operations: [started, { ...back, nodesPatched: 0 }], rows };
    expect(judged(untouched, {}, { journal: [] })).toEqual([]);
    const failed = {
      operations: [there, { ...back, outcome: 'failed' as const, nodesPatched: 0 }],
      rows: [row, { ...backRow, outcome: 'failed' as const }],
      report: { ...rolledBack, tally: { ...emptyTally(), failed: 1 } },
    };
    expect(judged(failed, {}, { journal: PATCHED, now: runs({ packages: { ...OLD, openssl: '3.1' } }) })).toEqual([]);
  });

  it('accepts rounds of the way there, however many', () => {
    const second = { ...there, operationId: '2026-w48/rest/s1/r1' };
    const failed = { ...there, outcome: 'failed' as const };
    const rows = [{ ...row, outcome: 'failed' as const }, { ...row, round: 1 }, backRow];
    expect(judged({ rows, operations: [failed, second, back] })).toEqual([]);
  });

  it('accepts a way back that somebody ended, also before the turn of a store', () => {
    const report = { ...rolledBack, state: 'aborted' as const, tally: { ...emptyTally(), succeeded: 1 } };
    const change = { report, operations: [there], rows: [row] };
    const ofIt = { journal: PATCHED, said: ['rollback: taken', 'abort: taken'] };
    expect(judged(change, { permits: [] }, ofIt)).toEqual([]);
    const early = { ...report, tally: { ...emptyTally(), aborted: 1 } };
    const rows = [row, { ...backRow, outcome: 'aborted' as const }];
    expect(judged({ ...change, report: early, rows }, {}, ofIt)).toEqual([]);
  });
});

describe('the judge of what people steer', () => {
  const part = (change: Partial<Steered>): Steered => ({
    ...{ what: 'store', how: 'pause', name: 's1', stores: ['s1'], way: 'there', from: at(10), to: at(30) },
    ...change,
  });
  const begun = (second: number): Operation => ({ ...patch, begunAt: at(second), startedAt: at(second) });
  const judged = (steered: Partial<Steered>, operations: Operation[], journal: Seen['journal'] = []) =>
    rulesOf(aRun({ journal, train: aTrain({ steered: [part(steered)], operations }) })).includes('steered');
  const drained = (second: number, node: string) => entry(second, 'ha.maintenance.enable', node);

  it('sees an operation that begins in a pause, and none before, after or right at it', () => {
    expect(judged({}, [begun(20)])).toBe(true);
    for (const second of [9, 12, 31]) expect(judged({}, [begun(second)])).toBe(false);
  });

  it('sees an operation that begins after an abort, whenever, and none at another store', () => {
    expect(judged({ how: 'abort', to: undefined } as never, [begun(35)])).toBe(true);
    expect(judged({ how: 'abort', to: undefined, stores: ['s2'] } as never, [begun(35)])).toBe(false);
  });

  it('sees it for all stores of a stage, until people let it go on', () => {
    const stage: Partial<Steered> = { what: 'stage', name: 'rest', stores: ['s1', 's2'] };
    expect(judged({ ...stage, how: 'abort' }, [begun(20)])).toBe(true);
    expect(judged({ ...stage, how: 'abort' }, [begun(35)])).toBe(false);
    expect(judged(stage, [begun(20)])).toBe(true);
  });

  it('takes an abort for the way on which it was said, and a pause for both', () => {
    const late = { ...back, begunAt: at(20), startedAt: at(20) };
    expect(judged({ how: 'abort' }, [late])).toBe(false);
    expect(judged({ how: 'abort', way: 'back' }, [late])).toBe(true);
    expect(judged({}, [late])).toBe(true);
  });

  it('leaves out what another centre begins', () => {
    const second = { ...begun(20), workflowId: 'second/s1' };
    const two = [drained(21, 'n1'), drained(28, 'n2')];
    expect(judged({}, [patch, second], two)).toBe(false);
  });

  it('sees a store in work that goes on to a second node, and lets it finish the one that it is at', () => {
    const two = [drained(14, 'n1'), drained(22, 'n2')];
    expect(judged({}, [patch], two)).toBe(true);
    expect(judged({ how: 'abort' }, [patch], two)).toBe(true);
    const home = entry(15, 'ha.maintenance.disable', 'n1');
    expect(judged({}, [patch], [drained(5, 'n1'), home, drained(20, 'n2')])).toBe(true);
    expect(judged({}, [patch], [drained(5, 'n1'), { ...home, at: at(12) }, drained(14, 'n2')])).toBe(false);
    const told = { ...patch, toldAt: [at(3), at(9), at(30)] };
    const quick = [entry(10, 'ha.maintenance.disable', 'n1'), drained(11, 'n2')];
    expect(judged({}, [told], quick)).toBe(true);
    expect(judged({}, [patch], quick)).toBe(false);
    expect(judged({}, [{ ...patch, toldAt: [at(11)] }], quick)).toBe(false);
    expect(judged({ what: 'stage', name: 'rest' }, [patch], two)).toBe(false);
    expect(judged({ what: 'stage', name: 'rest', how: 'abort' }, [patch], two)).toBe(true);
  });
});

describe('what is meant by a part that is steered', () => {
  const stages = { canary: ['a'], rest: ['b', 'c'] };
  const plan: SteeringPlan = { what: 'store', how: 'pause', at: 'node.up', next: false, way: 'there' };

  it('is the store where the effect is seen, or its stage, or the one after it', () => {
    const nameOf = (change: Partial<SteeringPlan>, store: string) =>
      partOf({ ...plan, ...change }, store, stages)?.name;
    expect(nameOf({}, 'b')).toBe('b');
    expect(nameOf({ next: true }, 'b')).toBe('c');
    expect(nameOf({ next: true }, 'c')).toBe('a');
    expect(nameOf({ what: 'stage' }, 'c')).toBe('rest');
    expect(nameOf({ what: 'stage', next: true }, 'a')).toBe('rest');
    expect(nameOf({}, 'central')).toBeUndefined();
  });
});

const AT = at(4);
const NAME = `vm/101/${AT.slice(0, 19)}Z`;
const vzdump = (second: number, upid: string, done: number[], until = second + 4) => [
  entry(second, 'backup.start', 'n1', { upid, vmids: [101] }),
  ...done.map((vmid) => ({ ...entry(until - 1, 'snapshot.create', 'n1', { snapshot: NAME }), guest: vmid })),
  entry(until, 'backup.done', 'n1', { upid, done }),
];
const DUMPED = [...vzdump(2, 'a', [101]), entry(8, 'snapshot.verify', '', { snapshot: NAME, state: 'ok' })];
const held = (id: string, ns: string) =>
  ({
    id,
    datastores: [{ snapshots: [{ ns, name: NAME, finished: true, verified: 'ok', verifiedBy: `pbs-${id}` }] }],
  }) as never;
const backedUp = {
  workflowId: 'pbs/s1',
  store: 's1',
  outcome: 'succeeded' as const,
  operationId: 'night/backup/s1/r0',
  begunAt: at(0),
  ...times,
};
const aNight = (change: Partial<NightSeen> = {}): NightSeen => ({
  report: { night: 'night', state: 'done', tally: { ...emptyTally(), succeeded: 1 }, planned: 1, summary: '' },
  rows: [{ train: 'night', stage: 'backup', store: 's1', round: 0, outcome: 'succeeded', ...times }],
  operations: [backedUp],
  guests: [{ night: 'night', store: 's1', vmid: 101, name: 'pos', result: 'proven', snapshotAt: AT, offsite: true }],
  known: [
    { store: 's1', vmid: 101, local: { readAt: at(30), provenAt: AT }, offsite: { readAt: at(30), provenAt: AT } },
  ] as never,
  ...change,
});
const night = aNight();
const [told] = night.guests as [NightSeen['guests'][number]];
const partial: Partial<NightSeen> = {
  report: { ...(night.report as NonNullable<NightSeen['report']>), tally: { ...emptyTally(), failed: 1 } },
  rows: [{ ...(night.rows[0] as NightSeen['rows'][number]), outcome: 'failed' }],
  operations: [{ ...backedUp, outcome: 'failed' }],
};

describe('the judge of a night', () => {
  const judged = (change: Partial<NightSeen>, of: Partial<Seen> = {}) =>
    rulesOf(aRun({ journal: DUMPED, servers: [held('s1', ''), held('central', 's1')], ...of, night: aNight(change) }));

  it('finds nothing wrong with a good one', () => expect(judged({})).toEqual([]));

  it.each<[string, Partial<NightSeen>, Partial<Seen>, string]>([
    ['a night that does not end', { report: undefined }, {}, 'night-ends'],
    [
      'a second vzdump of a guest that has its snapshot',
      {},
      { journal: [...DUMPED, ...vzdump(12, 'b', [])] },
      'dumped-twice',
    ],
    [
      'a second vzdump while the first runs',
      {},
      { journal: [...DUMPED, ...vzdump(12, 'b', [], 30), ...vzdump(14, 'c', [], 28)] },
      'dumped-twice',
    ],
    ['a vzdump that nobody is on record for', {}, { journal: [...DUMPED, ...vzdump(50, 'b', [])] }, 'on-record'],
    [
      'a node that is drained while guests are dumped',
      {},
      { journal: [DUMPED[0], entry(3, 'ha.maintenance.enable', 'n2'), ...DUMPED.slice(1)] as never },
      'dumped-in-peace',
    ],
    ['a success without a word on its guest', { guests: [] }, {}, 'one-outcome'],
    ['a success with a guest that is not proven', { guests: [{ ...told, result: 'not verified' }] }, {}, 'one-outcome'],
    [
      'a guest that is called backed up and names no snapshot',
      { guests: [{ ...told, snapshotAt: undefined }] },
      {},
      'claimed',
    ],
    ['a snapshot that the server has not', {}, { servers: [held('central', 's1')] }, 'claimed'],
    ['a snapshot that the second place has not', {}, { servers: [held('s1', '')] }, 'claimed'],
    ['a snapshot that nobody made', { known: [] }, { journal: [] }, 'claimed'],
    ['a backup that nobody tells of', { ...partial, guests: [] }, {}, 'unclaimed'],
    ['a backup that is said to be none', { ...partial, guests: [{ ...told, result: 'nothing new' }] }, {}, 'unclaimed'],
  ])('sees %s', (_, change, of, expected) => expect(judged(change, of)).toContain(expected));

  it('accepts a second vzdump of a guest when the first ended without a snapshot, or its node was lost', () => {
    const failed = vzdump(1, 'z', [], 2);
    expect(judged({}, { journal: [...failed, ...DUMPED] })).toEqual([]);
    const [begun] = vzdump(1, 'z', []);
    const lost = [begun as never, entry(2, 'node.down', 'n1'), ...DUMPED];
    expect(judged({}, { journal: lost })).toEqual([]);
  });

  it('sees a second vzdump of a later round, and of a guest whose snapshot was made before its node was lost', () => {
    const rounds = [backedUp, { ...backedUp, operationId: 'night/backup/s1/r1' }];
    const again = { journal: [...DUMPED, ...vzdump(12, 'b', [])] };
    expect(judged({ operations: rounds }, again)).toContain('dumped-twice');
    const lost = [...vzdump(1, 'z', [101], 2), entry(2, 'node.down', 'n1'), ...DUMPED];
    expect(judged({}, { journal: lost })).toContain('dumped-twice');
  });

  it('sees what is begun after the window, and who is wrongly missed or not', () => {
    expect(judged({ closes: at(1) }, {})).toEqual([]);
    const late = { journal: [...DUMPED, ...vzdump(12, 'b', [])] };
    expect(judged({ closes: at(5) }, late)).toContain('in-window');
    const [row] = aNight().rows as [NightSeen['rows'][number]];
    const missed = { rows: [{ ...row, outcome: 'missed' as const }] };
    expect(judged({ ...missed, closes: at(20) })).toContain('missed');
    expect(judged(missed, { journal: [] })).toContain('missed');
    expect(judged({ closes: at(20), operations: [], rows: [] }, { journal: [] })).toContain('missed');
  });

  it('accepts the lock that a vzdump has left when the night tells of it', () => {
    const check = { effects: 1, rules: [rule('nothing-left-set', 'guest 101 is still locked (backup)')] };
    const text = 'it is locked (backup)';
    const locked = { ...partial, known: [], guests: [{ ...told, result: 'nothing new' as const, text }] };
    expect(judged(locked, { check, journal: [] })).toEqual([]);
    expect(judged({}, { check })).toContain('nothing-left-set');
  });
});

const ARCHIVE = `edge-copy-s1:backup/${NAME}`;
const atSite = (second: number, effect: string, detail?: Record<string, unknown>) => ({
  ...entry(second, effect, 'p1', detail),
  store: 'staging',
  guest: 90_001,
});
const TRIED = [
  atSite(5, 'guest.restore', { archive: ARCHIVE }),
  atSite(6, 'guest.start'),
  atSite(9, 'guest.destroy', { restored: true }),
];
const aTrial = (change: Partial<RestoresSeen> = {}): RestoresSeen => ({
  report: { run: 'restore', state: 'done', tally: { ...emptyTally(), succeeded: 1 }, planned: 1, summary: '' },
  rows: [{ train: 'restore', stage: 'restore', store: 's1', round: 0, outcome: 'succeeded', ...times }],
  operations: [{ ...backedUp, workflowId: 'restore/s1', operationId: 'restore/restore/s1/r0' }],
  tests: [{ run: 'restore', store: 's1', vmid: 101, result: 'pass', snapshotAt: AT }] as never,
  ...change,
});
const [test] = aTrial().tests as [RestoresSeen['tests'][number]];

describe('the judge of restore tests', () => {
  const judged = (change: Partial<RestoresSeen>, of: Partial<Seen> = {}) =>
    rulesOf(aRun({ journal: TRIED, servers: [held('central', 's1')], ...of, restores: aTrial(change) }));

  it('finds nothing wrong with good ones', () => expect(judged({})).toEqual([]));

  it.each<[string, Partial<RestoresSeen>, Partial<Seen>, string]>([
    ['a run that does not end', { report: undefined }, {}, 'restores-end'],
    [
      'a guest that is left at the staging site, whoever made it',
      {},
      { site: { id: 'staging', guests: [{ vmid: 90_001, name: 'pos', status: 'running' }] } as never },
      'nothing-restored-left',
    ],
    ['a guest that was restored twice', {}, { journal: [...TRIED, ...TRIED] }, 'restored-once'],
    [
      'a restore that nobody is on record for',
      {},
      { journal: [...TRIED, atSite(50, 'guest.restore', { archive: ARCHIVE })] },
      'restored-once',
    ],
    ['a guest without a word', { tests: [] }, {}, 'one-outcome'],
    ['a success with a guest that did not pass', { tests: [{ ...test, result: 'partial' }] }, {}, 'one-outcome'],
    ['a guest that passed and was not restored', {}, { journal: [] }, 'claimed'],
    ['a guest that passed and was not started', {}, { journal: [TRIED[0], TRIED[2]] as never }, 'claimed'],
    ['a guest that passed and was not taken away', {}, { journal: TRIED.slice(0, 2) }, 'claimed'],
    ['a guest that is called bad and is not', { tests: [{ ...test, result: 'fail' }] }, {}, 'blamed'],
  ])('sees %s', (_, change, of, expected) => expect(judged(change, of)).toContain(expected));
});

describe('the plan of a run', () => {
  it('is the same for the same seed', () => expect(planOf(77)).toEqual(planOf(77)));

  it.each([0, 1, 2])('has two faults or more, and each cell of the table has its turn in round %i', (round) => {
    const plans = Array.from({ length: SEEDS_OF_A_ROUND }, (_, i) => planOf(round * SEEDS_OF_A_ROUND + i + 1));
    expect(plans.every(({ faults }) => faults.length >= 2)).toBe(true);
    const met = new Set(plans.flatMap(({ faults }) => faults.map(({ cell }) => cellName(cell))));
    expect(CELLS.map(cellName).filter((name) => !met.has(name))).toEqual([]);
  });

  it('meets only faults of what it does, and a few seeds in a row do all of it', () => {
    const plans = Array.from({ length: 8 }, (_, i) => planOf(i + 1));
    for (const { kind, faults } of plans)
      expect(faults.every(({ cell }) => worksOf(kind).includes(cell.work))).toBe(true);
    expect(new Set(plans.map(({ kind }) => kind))).toEqual(new Set<RunKind>(['train', 'night', 'restores', 'meeting']));
  });

  it('takes about one train in five back, steers about one in five, and lets faults strike on either way', () => {
    const trains = Array.from({ length: 500 }, (_, i) => planOf(i + 1)).filter(({ kind }) =>
      worksOf(kind).includes('train'),
    );
    const back = trains.filter(({ operator }) => operator.goesBack);
    const steered = trains.flatMap(({ operator }) => operator.steers ?? []);
    for (const some of [back, steered]) {
      expect(some.length).toBeGreaterThan(trains.length / 8);
      expect(some.length).toBeLessThan(trains.length / 3);
    }
    const ways = new Set(back.flatMap((plan) => plan.faults.map((fault) => wayOf(plan, fault))));
    expect(ways).toEqual(new Set(['there', 'back']));
    expect(new Set(steered.map(({ what, how }) => `${how} ${what}`)).size).toBe(4);
    for (const plan of back) {
      expect(plan.operator.atLast).toBe('rollback');
      expect(turningStore(plan)).toBeLessThan(plan.stores);
    }
    // It has one release only, so nothing of it could be taken back.
    const ahead = trains.filter(({ operator }) => !operator.goesBack);
    expect(ahead.every(({ operator }) => operator.atLast !== 'rollback' && operator.steers?.way !== 'back')).toBe(true);
  });

  it('asks the practice fleet only for what it can do', () => expect(impossibleCells()).toEqual([]));
});

describe('the next seed', () => {
  const result = (seed: number, hits: string[]): Result => ({
    seed,
    build: 'sound',
    kind: turnOf(seed).kind,
    ok: true,
    state: 'done',
    seconds: 1,
    stores: 2,
    faults: planOf(seed).faults.map(({ cell }) => cellName(cell)),
    hits,
    wrong: [],
  });
  const namesOf = (seed: number) => turnOf(seed).cells.map(cellName);

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

  it('does not take a result for one of a seed that stands for other faults now', () =>
    expect(nextSeed([{ ...result(1, []), faults: ['another'] }])).toBe(1));

  it('goes on when all were hit', () => expect(nextSeed([result(1, CELLS.map(cellName))])).toBe(2));
});
