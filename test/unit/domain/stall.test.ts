import { describe, expect, it } from 'vitest';
import type { InWork, StageState, TrainView } from '#domain/messages/train.js';
import { lookAgainIn, shouldMove, stalledSummary, standsStillAsTold, stuckIn, stuckSummary } from '#domain/stall.js';
import { stage } from '../client/builders.js';

const paused = { by: 'anna', at: '2026-11-24T11:00:00Z' };
const at = (state: StageState, isPaused?: boolean) => stage('canary', 5, { state, ...(isPaused ? { paused } : {}) });

describe('shouldMove', () => {
  const cases: [sentence: string, state: TrainView['state'], stage: StageState, wave: boolean, moves: boolean][] = [
    ['while the release is built', 'building', 'waiting', false, true],
    ['while it plans', 'planning', 'waiting', false, true],
    ['while a stage is promoted', 'running', 'promoting', false, true],
    ['while stores are in work', 'running', 'running', true, true],
    ['while a gate measures', 'running', 'gate', false, true],
    ['while it rolls back', 'rolling back', 'done', true, true],
    ['while stores that came back are in work', 'catching up', 'done', true, true],
    ['while such stores are in work beside a soak', 'running', 'soaking', true, true],
    ['not while it soaks', 'running', 'soaking', false, false],
    ['not while it waits for a window', 'running', 'awaiting window', false, false],
    ['not while it waits for stores that are offline', 'catching up', 'done', false, false],
    ['not while it is held', 'held', 'running', true, false],
    ['not while it is paused', 'paused', 'running', true, false],
    ['not at its end', 'done', 'done', false, false],
    ['not when it was rolled back', 'rolled back', 'done', false, false],
    ['not when it was aborted', 'aborted', 'aborted', false, false],
    ['not when it failed', 'failed', 'waiting', false, false],
  ];
  it.each(cases)('%s', (_, state, stageState, wave, moves) => {
    const inWork = wave ? { wave: '2026-w48/canary/r0' } : {};
    expect(shouldMove({ state, stages: [at(stageState)], ...inWork })).toBe(moves);
  });

  it('not while its stage is paused and nothing is in work', () => {
    expect(shouldMove({ state: 'running', stages: [at('running', true)] })).toBe(false);
  });
});

const now = new Date('2026-11-24T12:00:00Z');
const since = '2026-11-24T10:00:00Z';
const inWork = (store: string, minute: number, change: Partial<InWork> = {}): InWork => ({
  store,
  step: 'draining n2',
  since: `2026-11-24T11:${String(minute).padStart(2, '0')}:00Z`,
  cutOff: false,
  paused: false,
  ...change,
});

describe('a store that stays at the same step', () => {
  const HOUR = 3_600_000;

  it.each<[string, InWork, boolean]>([
    ['is stuck when it has been there for the limit', inWork('s001', 0), true],
    ['is not stuck a minute earlier', inWork('s001', 1), false],
    ['is stuck when it is silent too', inWork('s001', 0, { cutOff: true }), true],
    ['is not stuck when people told it to stand still', inWork('s001', 0, { paused: true }), false],
  ])('%s', (_, one, isStuck) => expect(stuckIn([one], HOUR, now)).toEqual(isStuck ? [one] : []));

  it('is looked at again when the first of them would be stuck', () => {
    expect(lookAgainIn([inWork('s001', 40), inWork('s002', 10)], HOUR, now)).toBe(HOUR / 6);
    expect(lookAgainIn([], HOUR, now)).toBe(HOUR);
  });

  it('is looked at sooner when one is stuck, to see that it moves again', () => {
    expect(lookAgainIn([inWork('s001', 0), inWork('s002', 40)], HOUR, now)).toBe(HOUR / 4);
    expect(lookAgainIn([inWork('s001', 0), inWork('s002', 5)], HOUR, now)).toBe(HOUR / 12);
  });

  it('is named with its step', () => {
    expect(stuckSummary([inWork('s002', 30), inWork('s001', 10, { cutOff: true })], now)).toBe(
      'No progress while others move: s001 at draining n2 for 50 min, silent; s002 at draining n2 for 30 min.',
    );
  });
});

describe('standsStillAsTold', () => {
  const here = { standsAt: 'canary' };
  it.each<[string, Parameters<typeof standsStillAsTold>, boolean]>([
    ['the stage that has the turn is paused', [{ stages: [at('done', true)], ...here }, []], true],
    [
      'another stage is paused than the one that has the turn',
      [{ stages: [at('done', true)], standsAt: 'wave-1' }, []],
      false,
    ],
    ['it waits at a stage for something else', [{ stages: [at('done')], ...here }, []], false],
    ['all that are in work are paused', [{ stages: [at('running')] }, [inWork('s001', 0, { paused: true })]], true],
    [
      'one of those in work is not',
      [{ stages: [at('running', true)], ...here }, [inWork('s001', 0, { paused: true }), inWork('s002', 0)]],
      false,
    ],
    ['nobody is in work, and nothing is paused', [{ stages: [at('gate')] }, []], false],
  ])('%s', (_, args, stands) => expect(standsStillAsTold(...args)).toBe(stands));
});

describe('stalledSummary', () => {
  it('names who is in work at which step, and since when, the longest first', () => {
    const summary = stalledSummary(
      'Stage canary: 2 stores.',
      { since, inWork: [inWork('s001', 30), inWork('s002', 10, { cutOff: true })] },
      now,
    );
    expect(summary).toBe(
      'No store ended and no stage moved for 2 h. Stage canary: 2 stores. ' +
        'In work: s002 at draining n2 for 50 min, silent; s001 at draining n2 for 30 min.',
    );
  });

  it('names five of many, and says so when nobody is in work', () => {
    const many = Array.from({ length: 9 }, (_, n) => inWork(`s00${n}`, n));
    expect(stalledSummary('Doing.', { since, inWork: many }, now)).toMatch(/s004 at [^;]+; 4 more\.$/);
    expect(stalledSummary('Building the release.', { since, inWork: [] }, now)).toBe(
      'No store ended and no stage moved for 2 h. Building the release.',
    );
  });
});
