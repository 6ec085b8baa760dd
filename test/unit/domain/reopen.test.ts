import { describe, expect, it } from 'vitest';
import type { StageRow } from '#domain/messages/ledger.js';
import { emptyTally } from '#domain/outcomes.js';
import { choosePastTrain, reopenTrain, type PastTrain } from '#domain/reopen.js';
import { fleet as aFleet } from '../client/builders.js';
import { aResultRow, aTrainRow, ROLLBACK_HASH } from '../../support/rollback-builders.js';

const COMMIT = 'a'.repeat(40);
const past = (id: string, stores: string[], change: Partial<PastTrain['row']> = {}): PastTrain => ({
  row: aTrainRow({
    id,
    state: 'done',
    commit: COMMIT,
    planHash: ROLLBACK_HASH,
    endedAt: '2026-11-24T12:00:00.000Z',
    ...change,
  }),
  results: stores.map((store) => aResultRow(store, { train: id })),
});
const aStage = (stage: string, change: Partial<StageRow> = {}): StageRow => ({
  train: '2026-w48',
  stage,
  position: 0,
  stores: 2,
  state: 'done',
  tally: emptyTally(),
  startedAt: '2026-11-24T09:00:00.000Z',
  endedAt: '2026-11-24T10:00:00.000Z',
  ...change,
});

describe('the train that is taken back after its end', () => {
  const choose = (trains: PastTrain[], wanted?: string) => {
    const chosen = choosePastTrain('edge', trains, wanted);
    return chosen.kind === 'chosen' ? chosen.train.row.id : chosen.problems.join('; ');
  };
  const back = (train: PastTrain): PastTrain => ({
    ...train,
    results: [
      ...train.results,
      ...train.results.map((result) => ({ ...result, stage: 'rollback', outcome: 'rolledBack' as const })),
    ],
  });

  it.each([
    ['is the newest', [past('w49', ['a']), past('w48', ['a', 'b'])], undefined, 'w49'],
    ['is the newest of which something is left', [back(past('w49', ['a'])), past('w48', ['a'])], undefined, 'w48'],
    ['is the newest that touched anything', [past('w49', []), past('w48', ['a'])], undefined, 'w48'],
    ['is the one that is named', [past('w49', ['c']), past('w48', ['a'])], 'w48', 'w48'],
    [
      'is not one that another came after, on the same stores',
      [past('w49', ['a']), past('w48', ['a', 'b'])],
      'w48',
      'Train w49 came after w48 and is still on a. Take that one back first: edge train rollback --train w49',
    ],
    [
      'is not one whose stores are back already',
      [back(past('w48', ['a']))],
      'w48',
      'No store holds anything of train w48 that could be taken back.',
    ],
    [
      'is not one that nobody knows',
      [past('w48', ['a'])],
      'w47',
      'The ledger has no train w47 of fleet edge among its last 1. See: edge train history',
    ],
    [
      'need not be there',
      [],
      undefined,
      'No store of fleet edge holds a release that a train of the ledger could take back.',
    ],
  ])('%s', (_, trains, wanted, expected) => expect(choose(trains, wanted)).toBe(expected));
});

describe('what is known of it', () => {
  const fleet = aFleet();
  const [first] = fleet.stages as [(typeof fleet.stages)[number]];
  const reopen = (train: PastTrain, stages = [aStage(first.name)]) => {
    const outcome = reopenTrain(train, stages, fleet);
    if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
    return outcome;
  };
  const stageResult = (store: string, change = {}) => aResultRow(store, { stage: first.name, ...change });

  it('are its stages with the limits of its commit, its stores, and the hash of the plan that ran', () => {
    const train = { ...past('2026-w48', []), results: [stageResult('b'), stageResult('a')] };
    expect(reopen(train)).toMatchObject({
      planHash: ROLLBACK_HASH,
      startedAt: train.row.startedAt,
      plan: { train: '2026-w48', commit: COMMIT, stages: [{ name: first.name, stores: ['a', 'b'], settings: first }] },
      stages: [{ name: first.name, state: 'done', endedAt: '2026-11-24T10:00:00.000Z' }],
      nextRound: 0,
      caveats: [],
    });
  });

  it('is the newest outcome of each store: the way back after the way there, the later round after the earlier', () => {
    const results = [
      stageResult('a', { outcome: 'rolledBack', stage: 'rollback', round: 1 }),
      stageResult('a', { outcome: 'failed', stage: 'rollback', round: 0, reason: 'RebootTimeout', summary: 'n2' }),
      stageResult('a', { outcome: 'succeeded', round: 2 }),
      stageResult('b', { outcome: 'succeeded', round: 1 }),
      stageResult('b', { outcome: 'failed', round: 0 }),
    ];
    const outcome = reopen({ ...past('2026-w48', []), results });
    expect(outcome.stages[0]?.results.map(({ store, outcome: how }) => [store, how])).toEqual([
      ['a', 'rolledBack'],
      ['b', 'succeeded'],
    ]);
    expect(outcome.nextRound, 'a round of rollback names operations, so none is used twice').toBe(2);
  });

  it('is a failure that a later round found nobody at, and not that nobody was there', () => {
    const results = [
      stageResult('a', { outcome: 'failed', round: 0, reason: 'RebootTimeout', summary: 'n2 did not come back.' }),
      stageResult('a', { outcome: 'offline', round: 1, reason: 'StoreOffline', summary: 'No answer.' }),
    ];
    const [result] = reopen({ ...past('2026-w48', []), results }).stages[0]?.results ?? [];
    expect(result).toMatchObject({
      outcome: 'failed',
      reason: 'RebootTimeout',
      stop: { detail: ['tried again in round 2: offline, No answer.'] },
    });
  });

  it('keeps who was excluded out of the count that limits are taken of', () => {
    const results = [
      stageResult('a'),
      stageResult('b', { outcome: 'excluded', reason: 'Frozen', summary: 'Inventory.' }),
    ];
    expect(reopen({ ...past('2026-w48', []), results }).plan.stages[0]).toMatchObject({
      stores: ['a'],
      excluded: [{ store: 'b', reason: 'Frozen', detail: 'Inventory.' }],
    });
  });

  it('says when the run never came to its end', () => {
    const { caveats } = reopen(past('2026-w48', ['a'], { endedAt: undefined, state: 'running' }));
    expect(caveats.join()).toMatch(/did not come to its end.*edge janitor run/);
  });

  it.each([
    [
      'its signature bundle is not known',
      { bundle: undefined },
      [aStage(first.name)],
      /does not know all of train 2026-w48/,
    ],
    ['its commit is not known', { commit: undefined }, [aStage(first.name)], /does not know all/],
    ['its commit has no such stage', {}, [aStage('pilots')], /^fleet.yaml at aaaaaaaaaaaa has no stage pilots\.$/],
  ])('is too little when %s', (_, change, stages, problem) => {
    const outcome = reopenTrain(past('2026-w48', ['a'], change), stages, fleet);
    expect(outcome.kind === 'refused' && outcome.problems[0]).toMatch(problem);
  });
});
