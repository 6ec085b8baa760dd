import { describe, expect, it } from 'vitest';
import type { ResultRow } from '#domain/messages/ledger.js';
import { parse } from '#domain/messages/parse.js';
import { rollbackPermitSchema } from '#domain/release.js';
import type { Outcome } from '#domain/outcomes.js';
import {
  awaitedUntil,
  decidePermit,
  decideRollback,
  describePlan,
  rollbackPlanSchema,
  rollbackSummary,
  type PermitFacts,
} from '#domain/rollback.js';
import { aReleaseRef } from '../../support/builders.js';
import {
  aPermit,
  aPermitRequest,
  aResultRow,
  aRollbackApproval,
  aRollbackPlan,
  aTrainRow,
  goodRelease,
  permitFacts,
} from '../../support/rollback-builders.js';

type Facts = Parameters<typeof decideRollback>[0];
const decide = (change: Partial<Facts> = {}) =>
  decideRollback({
    fleet: 'edge',
    trainId: '2026-w48',
    train: aTrainRow(),
    results: [aResultRow('store-001'), aResultRow('store-002')],
    lastGood: [goodRelease('store-001'), goodRelease('store-002')],
    revoked: [],
    ...change,
  });
const planOf = (change: Partial<Facts>) => {
  const decided = decide(change);
  if (decided.kind === 'refused') throw new Error(decided.problems.join('; '));
  return decided.plan;
};

describe('a rollback', () => {
  it('takes each store of the train back to its last good release', () => {
    expect(decide()).toEqual({ kind: 'planned', plan: aRollbackPlan() });
    expect(parse(rollbackPlanSchema, planOf({})).ok).toBe(true);
  });

  it('puts stores with the same target together, the newest target first, and is the same in any order', () => {
    const stores = ['store-003', 'store-001', 'store-002'];
    const facts = {
      results: stores.map((store) => aResultRow(store)),
      lastGood: [goodRelease('store-002', 46), goodRelease('store-003', 47), goodRelease('store-001', 47)],
    };
    expect(planOf(facts).groups).toEqual([
      { to: aReleaseRef(47), stores: ['store-001', 'store-003'] },
      { to: aReleaseRef(46), stores: ['store-002'] },
    ]);
    expect(planOf({ results: facts.results.toReversed(), lastGood: facts.lastGood.toReversed() })).toEqual(
      planOf(facts),
    );
  });

  it('is told to those who approve it: who goes where, who cannot and why, and what stays as it is', () => {
    const facts = {
      results: ['store-001', 'store-002', 'store-003'].map((store) => aResultRow(store)),
      lastGood: [goodRelease('store-001', 47), goodRelease('store-002', 47)],
    };
    const { version } = aReleaseRef(47);
    expect(describePlan(planOf(facts))).toEqual([
      `store-001, store-002: from 2026.48.0 back to ${version}`,
      'store-003 stays as it is: NoLastGood. No earlier release passed its gate on this store.',
      expect.stringMatching(/^Not taken back: Ceph packages, /),
    ]);
  });

  const rows: Record<string, [rows: Partial<ResultRow>[], goesBack: boolean]> = {
    succeeded: [[{ outcome: 'succeeded' }], true],
    failed: [[{ outcome: 'failed' }], true],
    'timed out': [[{ outcome: 'timedOut' }], true],
    'cut off': [[{ outcome: 'cutOff' }], true],
    'aborted in its work': [[{ outcome: 'aborted' }], true],
    'aborted before its start': [[{ outcome: 'aborted', startedAt: undefined }], false],
    offline: [[{ outcome: 'offline' }], false],
    skipped: [[{ outcome: 'skipped' }], false],
    excluded: [[{ outcome: 'excluded' }], false],
    missed: [[{ outcome: 'missed' }], false],
    'failed first and offline when tried again': [[{ outcome: 'failed' }, { outcome: 'offline', round: 1 }], true],
    'already back': [[{ outcome: 'succeeded' }, { stage: 'rollback', outcome: 'rolledBack' }], false],
    'not yet back, because its rollback failed': [
      [{ outcome: 'succeeded' }, { stage: 'rollback', outcome: 'failed' }],
      true,
    ],
    'only offline, and then failed in a rollback': [
      [{ outcome: 'offline' }, { stage: 'rollback', outcome: 'failed' }],
      false,
    ],
  };
  it.each(Object.entries(rows))('of a store that was %s', (_, [changes, goesBack]) => {
    const decided = decide({ results: changes.map((change) => aResultRow('store-001', change)) });
    expect(decided.kind === 'planned' && decided.plan.groups[0]?.stores).toEqual(goesBack ? ['store-001'] : false);
  });

  it('is of the named stores alone when some are named', () => {
    expect(planOf({ wanted: ['store-002'] }).groups).toEqual([{ to: aReleaseRef(47), stores: ['store-002'] }]);
  });

  it('names the stores that cannot go back, and why', () => {
    const { groups, unable } = planOf({
      results: ['store-001', 'store-002', 'store-003', 'store-004'].map((store) => aResultRow(store)),
      lastGood: [
        goodRelease('store-001'),
        goodRelease('store-002', 46),
        { store: 'store-003', train: '2026-w40', release: undefined },
      ],
      revoked: [{ version: '2026.46.0', reason: 'breaks the card readers', at: '2026-11-10' }],
    });
    expect(groups).toEqual([{ to: aReleaseRef(47), stores: ['store-001'] }]);
    expect(unable).toEqual([
      {
        store: 'store-002',
        reason: 'ReleaseRevoked',
        detail: 'Release 2026.46.0 is revoked since 2026-11-10: breaks the card readers (policies/revoked.yaml).',
      },
      { store: 'store-003', reason: 'NoLastGood', detail: expect.stringContaining('2026-w40') },
      { store: 'store-004', reason: 'NoLastGood', detail: 'No earlier release passed its gate on this store.' },
    ]);
  });

  const refused: Record<string, [Partial<Facts>, RegExp]> = {
    'of a train that is not known': [{ train: undefined }, /^The ledger has no train 2026-w48 of fleet edge\.$/],
    'of a train of another fleet': [{ fleet: 'north' }, /no train 2026-w48 of fleet north/],
    'of a train that never built a release': [{ train: aTrainRow({ manifest: undefined }) }, /never had a release/],
    'of a train that no store took': [{ results: [] }, /^No store holds anything of train 2026-w48/],
    'of a store that took nothing': [
      { wanted: ['store-001', 'store-009'] },
      /^Nothing of train 2026-w48 is left to take back on store-009\.$/,
    ],
    'of which no store has a target': [{ lastGood: [] }, /^store-001: No earlier release/],
  };
  it.each(Object.entries(refused))('%s is refused', (_, [change, problem]) => {
    const decided = decide(change);
    expect(decided.kind === 'refused' && decided.problems[0]).toMatch(problem);
  });
});

describe('a rollback permit', () => {
  it('says what was approved, and holds for 72 hours from the approval', () => {
    const decided = decidePermit(permitFacts({ asked: aPermitRequest({ stores: ['store-002', 'store-001'] }) }));
    expect(decided).toEqual({ kind: 'permit', permit: aPermit() });
    expect(parse(rollbackPermitSchema, decided.kind === 'permit' && decided.permit).ok).toBe(true);
  });

  it('is the same whenever it is asked for', () => {
    expect(decidePermit(permitFacts({ now: new Date('2026-11-27T00:00:00Z') }))).toEqual(decidePermit(permitFacts()));
  });

  it('may be for some of the stores of a group', () => {
    expect(decidePermit(permitFacts({ asked: aPermitRequest({ stores: ['store-002'] }) }))).toMatchObject({
      permit: { stores: ['store-002'] },
    });
  });

  const to46 = aReleaseRef(46);
  const otherBundle = { ...aReleaseRef(47), bundle: to46.bundle };
  const refused: Record<string, [Partial<PermitFacts>, RegExp]> = {
    'without an approval': [{ approvals: [] }, /^The ledger has no approval cli:1 for a rollback of train 2026-w48\.$/],
    'with another approval': [{ approvals: [aRollbackApproval({ id: 'cli:2' })] }, /no approval cli:1/],
    'with the approval of a stage': [{ approvals: [aRollbackApproval({ stage: 'canary' })] }, /no approval cli:1/],
    'with a rejection': [
      { approvals: [aRollbackApproval({ decision: 'reject' })] },
      /^ann did not approve the rollback but decided: reject\.$/,
    ],
    'with an approval that was refused': [
      { approvals: [aRollbackApproval({ accepted: false, refusal: 'too late' })] },
      /^The approval by ann was not accepted: too late\.$/,
    ],
    'with the approval of another plan': [
      { approvals: [aRollbackApproval({ planHash: `sha256:${'0'.repeat(64)}` })] },
      /is for another plan \(sha256:000000000000…\)/,
    ],
    'when 72 hours have passed since the approval': [
      { now: new Date('2026-11-28T10:00:00.000Z') },
      /^The approval is of 2026-11-25T10:00:00\.000Z; a permit holds for 72 hours/,
    ],
    'without a plan': [{ plan: undefined }, /^The registry has no rollback plan sha256:ffffffffffff…\.$/],
    'for the plan of another train': [
      { plan: aRollbackPlan({ train: '2026-w47' }) },
      /of train 2026-w47 of fleet edge/,
    ],
    'for the plan of another fleet': [{ plan: aRollbackPlan({ fleet: 'north' }) }, /of fleet north/],
    'away from another release than planned': [
      { plan: aRollbackPlan({ from: { ...aReleaseRef(49) } }) },
      /is for another rollback: .* from 2026\.49\.0\.$/,
    ],
    'away from a release that the train did not bring': [
      { train: aTrainRow({ sequence: 49 }) },
      /^Train 2026-w48 did not bring release 2026\.48\.0 \(sequence 48\)/,
    ],
    'for a train that is not known': [{ train: undefined }, /^The ledger has no train 2026-w48 of fleet edge\.$/],
    'for a train of another fleet': [{ train: aTrainRow({ fleet: 'north' }) }, /^The ledger has no train 2026-w48/],
    'for a store outside the plan': [
      {
        asked: aPermitRequest({ stores: ['store-001', 'store-009'] }),
        lastGood: [goodRelease('store-001'), goodRelease('store-009')],
      },
      /^The plan does not take store-009 back to release 2026\.47\.0\.$/,
    ],
    'for a target outside the plan': [
      { asked: aPermitRequest({ to: to46 }), lastGood: ['store-001', 'store-002'].map((s) => goodRelease(s, 46)) },
      /^The plan takes no store back to release 2026\.46\.0 \(sequence 46\)\.$/,
    ],
    'for the planned target under another bundle': [
      {
        asked: aPermitRequest({ to: otherBundle }),
        lastGood: ['store-001', 'store-002'].map((store) => ({ ...goodRelease(store), release: otherBundle })),
      },
      /^The plan takes no store back/,
    ],
    'for a target that the ledger does not call good on a store': [
      { lastGood: [goodRelease('store-001'), goodRelease('store-002', 46)] },
      /^Release 2026\.47\.0 is not the last good one of store-002, says the ledger\.$/,
    ],
    'for a target that was revoked since': [
      { revoked: [{ version: '2026.47.0', reason: 'loses orders.', at: '2026-11-25' }] },
      /^Release 2026\.47\.0 is revoked since 2026-11-25: loses orders \(policies\/revoked\.yaml\)\.$/,
    ],
    'for a target that is no older': [
      {
        asked: aPermitRequest({ to: aReleaseRef(48) }),
        plan: aRollbackPlan({ groups: [{ to: aReleaseRef(48), stores: ['store-001', 'store-002'] }] }),
        lastGood: ['store-001', 'store-002'].map((store) => goodRelease(store, 48)),
      },
      /^Release 2026\.48\.0 \(sequence 48\) is not older than 2026\.48\.0 \(sequence 48\)\.$/,
    ],
    'for no store': [{ asked: aPermitRequest({ stores: [] }) }, /^A permit names at least one store\.$/],
    'for a store twice': [
      { asked: aPermitRequest({ stores: ['store-001', 'store-001'] }) },
      /^A permit names each store once\.$/,
    ],
  };
  it.each(Object.entries(refused))('is not signed %s', (_, [change, problem]) => {
    expect(decidePermit(permitFacts(change))).toEqual({ kind: 'refused', problems: [expect.stringMatching(problem)] });
  });

  it('names everything that stands against it at once', () => {
    const decided = decidePermit(permitFacts({ plan: undefined, approvals: [], lastGood: [] }));
    expect(decided).toMatchObject({ kind: 'refused', problems: { length: 3 } });
  });
});

describe('the end of a rollback', () => {
  const said = (outcomes: Record<string, Outcome>, unable: ReturnType<typeof aRollbackPlan>['unable'] = []) =>
    rollbackSummary(aRollbackPlan({ unable }), (store) => outcomes[store]);
  const again = 'To take them back later: edge train rollback --train 2026-w48';
  const cases: Record<string, [string, string]> = {
    'says who is back': [
      said({ 'store-001': 'rolledBack', 'store-002': 'rolledBack' }),
      'Rolled back from 2026.48.0: 2 of 2 stores are back on 2026.47.0.',
    ],
    'names who is away, and what takes them back': [
      said({ 'store-001': 'cutOff', 'store-002': 'offline' }),
      `Rolled back from 2026.48.0: 0 of 2 stores are back on 2026.47.0. Away, and still on 2026.48.0: store-001, store-002. ${again}`,
    ],
    'names who failed or was never started on the way back': [
      said({ 'store-001': 'rolledBack', 'store-002': 'succeeded' }),
      `Rolled back from 2026.48.0: 1 of 2 stores is back on 2026.47.0. Did not come back: store-002. ${again}`,
    ],
    'counts those that cannot go back': [
      said({ 'store-001': 'rolledBack', 'store-002': 'rolledBack' }, [
        { store: 'store-003', reason: 'NoLastGood', detail: 'none' },
      ]),
      'Rolled back from 2026.48.0: 2 of 2 stores are back on 2026.47.0. ' +
        'Still on 2026.48.0: 1 store, because nothing older ran well there.',
    ],
  };
  it.each(Object.entries(cases))('%s', (_, [sentence, wanted]) => expect(sentence).toBe(wanted));
});

describe('stores that are away on the way back are awaited', () => {
  const approvedAt = '2026-11-25T10:00:00.000Z';
  const cases: Record<string, [deadline: string, until: string]> = {
    'to the deadline of the train when it lies ahead': ['2026-11-26T01:00:00.000Z', '2026-11-26T01:00:00.000Z'],
    'as long as the permit holds when the deadline is past': ['2026-11-25T01:00:00.000Z', '2026-11-28T10:00:00.000Z'],
    'no longer than the permit holds': ['2026-12-05T01:00:00.000Z', '2026-11-28T10:00:00.000Z'],
  };
  it.each(Object.entries(cases))('%s', (_, [deadline, until]) => {
    expect(awaitedUntil({ deadline, approvedAt, now: new Date('2026-11-25T12:00:00Z') }).toISOString()).toBe(until);
  });
});
