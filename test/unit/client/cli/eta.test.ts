import { describe, expect, it } from 'vitest';
import { etaLines, etaOf } from '#client/cli/eta.js';
import { renderTrain } from '#client/cli/render-train.js';
import { clock, stage, tally, trainView } from '../builders.js';

const MINUTE = 60_000;
const { now } = clock;
/** Median 20 min, slow tenth 40 min. */
const durations = [10, 10, 20, 20, 20, 20, 20, 30, 40, 60].map((minutes) => minutes * MINUTE);
const ago = (minutes: number): string => new Date(now.getTime() - minutes * MINUTE).toISOString();

describe('the time left', () => {
  it('comes from what earlier operations took before any store of the stage has ended', () => {
    const view = trainView({
      stages: [
        stage('canary', 5, { state: 'running', inFlight: 5, startedAt: ago(1), soak: 60 * MINUTE }),
        stage('wave-1', 10, { soak: 60 * MINUTE }),
      ],
    });
    expect(etaOf(view, durations, now)).toEqual({
      stage: { name: 'canary', left: { p50Ms: 20 * MINUTE, p90Ms: 40 * MINUTE } },
      // One turn and two turns, and two soaks.
      train: { p50Ms: 180 * MINUTE, p90Ms: 240 * MINUTE },
    });
  });

  it('follows the pace of the stage as soon as it has one, and is as much slower at worst as operations were', () => {
    const running = stage('canary', 20, { state: 'running', tally: tally({ succeeded: 10 }), startedAt: ago(30) });
    const view = trainView({ stages: [running] });
    expect(etaOf(view, durations, now)?.stage.left).toEqual({ p50Ms: 30 * MINUTE, p90Ms: 60 * MINUTE });
    expect(etaOf(view, [], now)?.stage.left).toEqual({ p50Ms: 30 * MINUTE, p90Ms: 30 * MINUTE });
  });

  it.each([
    ['that is done', 'done'],
    ['that is through, while a late store of it holds the train', 'held'],
    ['that is through, while a late store of it soaks', 'soaking'],
  ] as const)('is of the next stage while one soaks, and counts no stage %s', (_, state) => {
    const view = trainView({
      stages: [
        stage('canary', 5, { state, tally: tally({ succeeded: 5 }), soak: 60 * MINUTE, endedAt: ago(10) }),
        stage('wave-1', 5, { state: 'soaking', tally: tally({ succeeded: 5 }), soak: 60 * MINUTE }),
        stage('wave-2', 5),
      ],
    });
    expect(etaOf(view, durations, now)).toEqual({
      stage: { name: 'wave-2', left: { p50Ms: 20 * MINUTE, p90Ms: 40 * MINUTE } },
      train: { p50Ms: 80 * MINUTE, p90Ms: 100 * MINUTE },
    });
  });

  it('is not guessed when nothing is known, and not told of a train that is over', () => {
    expect(etaOf(trainView(), [], now)).toBeUndefined();
    expect(etaOf(trainView({ state: 'done' }), durations, now)).toBeUndefined();
  });

  it('is not told of a way back, held or not, nor while people let something stand still', () => {
    const paused = { by: 'mara', at: '2026-11-24T11:00:00Z' };
    const running = stage('canary', 20, { state: 'running', tally: tally({ succeeded: 10 }), startedAt: ago(30) });
    const of = (change: Parameters<typeof trainView>[0]) =>
      etaOf(trainView({ stages: [running], ...change }), durations, now);
    expect(of({})).toBeDefined();
    expect(of({ state: 'held', rollingBack: true })).toBeUndefined();
    expect(of({ state: 'paused', paused })).toBeUndefined();
    expect(of({ stages: [{ ...running, paused }] })).toBeUndefined();
    expect(of({ pausedStores: ['s001'], pausedInWork: ['s001'] })).toBeUndefined();
    expect(of({ pausedStores: ['s001'] })).toBeDefined();
  });

  it('names p50 and p90 for the stage and for the whole train', () => {
    const view = trainView({ stages: [stage('canary', 5, { state: 'running' }), stage('wave-1', 50)] });
    const eta = etaLines(etaOf(view, durations, now));
    expect(eta).toEqual([
      'Time left in canary: about 20 min (p50), 40 min (p90).',
      'Time left for the train: about 3 h 40 min (p50), 7 h 20 min (p90), soaks included. ' +
        'Waiting for windows and approvals comes on top.',
    ]);
    expect(renderTrain(view, { clock, suffix: '', columns: 100, eta }).join('\n')).toContain(
      '  Time left in canary: about 20 min (p50), 40 min (p90).\n  Time left for the train:',
    );
  });
});
