import { describe, expect, it } from 'vitest';
import type { TrainView } from '#domain/messages/train.js';
import type { StoreResult } from '#domain/outcomes.js';
import { wayOn } from '#domain/way-on.js';

const view = (state: TrainView['state'], notSucceeded: StoreResult[], awaited: string[] = []): TrainView => ({
  train: '2026-w48',
  fleet: 'edge',
  state,
  startedAt: '2026-11-23T01:00:00.000Z',
  doing: '',
  pausedStores: [],
  answers: [],
  stages: [],
  stuck: [],
  awaited,
  notSucceeded,
  refusedDecisions: [],
});
const onTheWayBack = (outcome: StoreResult['outcome']): StoreResult => ({
  store: 's002',
  outcome,
  operationId: '2026-w48/rollback/s002/r0',
});
const back: StoreResult = { ...onTheWayBack('rolledBack'), store: 's001' };
const neverStarted: StoreResult = { store: 's003', outcome: 'skipped', reason: 'RolledBack' };

describe('the way on for stores that a rollback did not take back', () => {
  const again =
    'Who is not back is taken back by: edge train rollback --train 2026-w48 --fleet edge. Or a newer release brings it on.';
  const cases: Record<string, [TrainView, string | undefined]> = {
    'is the rollback once more, of one that was away': [view('rolled back', [back, onTheWayBack('offline')]), again],
    'is the rollback once more, of one that failed': [view('rolled back', [onTheWayBack('failed')]), again],
    'is none while they are awaited': [view('catching up', [back, onTheWayBack('offline')], ['s002']), undefined],
    'is never to start the release again, while others are awaited': [
      view('catching up', [back, onTheWayBack('offline'), neverStarted], ['s002']),
      undefined,
    ],
    'is the rollback once more, when it was given up': [view('aborted', [back, onTheWayBack('offline')]), again],
    'is none when all are back': [view('rolled back', [back, neverStarted]), undefined],
  };
  it.each(Object.entries(cases))('%s', (_, [seen, sentence]) => {
    expect(wayOn(seen, ' --fleet edge')).toBe(sentence);
  });
});

it('of a train that waits for the approval of its way back is not to start its release again, until that is given up', () => {
  const failed: StoreResult = { store: 's001', outcome: 'failed', operationId: '2026-w48/canary/s001/r0' };
  const of = (state: TrainView['state']) => wayOn({ ...view(state, [failed]), rollingBack: true });
  expect(of('held')).toBeUndefined();
  expect(of('aborted')).toBe('To try them again: edge train start');
});

it('of a train that has ended is to start its release again', () => {
  const failed: StoreResult = { store: 's001', outcome: 'failed', operationId: '2026-w48/canary/s001/r0' };
  expect(wayOn(view('done', [failed]))).toBe('To try them again: edge train start');
});
