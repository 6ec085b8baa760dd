import { describe, expect, it } from 'vitest';
import { bar, newsLines, progressBlock, timeLeft } from '#client/cli/render-progress.js';
import { failedResult, hold, stage, tally, trainView } from '../builders.js';

const now = new Date('2026-11-24T11:08:00Z');

describe('timeLeft', () => {
  const running = stage('wave-2', 20, {
    state: 'running',
    tally: tally({ succeeded: 10 }),
    startedAt: new Date(now.getTime() - 20_000).toISOString(),
  });
  it('follows the pace so far', () => expect(timeLeft(running, now)).toBe(20_000));
  it('counts stores in work as half done', () => {
    expect(timeLeft({ ...running, inFlight: 10 }, now)).toBe(7_000);
  });
  it('is not known before something ended', () => {
    expect(timeLeft({ ...running, tally: tally({}) }, now)).toBeUndefined();
  });
  it('is not known when nothing is open', () => {
    expect(timeLeft({ ...running, tally: tally({ succeeded: 20 }) }, now)).toBeUndefined();
  });
});

describe('the block on a terminal', () => {
  it('shows a bar, counts and the time left of the stage that runs, and leaves out what has not begun', () => {
    const view = trainView({
      stages: [
        stage('canary', 5, { state: 'done', tally: tally({ succeeded: 5 }), gate: 'pass (12 checks)' }),
        stage('wave-2', 20, {
          state: 'running',
          tally: tally({ succeeded: 13 }),
          inFlight: 6,
          deferred: 1,
          startedAt: new Date(now.getTime() - 32_000).toISOString(),
        }),
        stage('wave-3', 25),
      ],
      doing: 'Stage wave-2: 20 stores.',
    });
    expect(progressBlock(view, now)).toEqual([
      '  canary  done              5/5    succeeded 5   gate: pass (12 checks)',
      '  wave-2  ██████████░░░░░░  13/20  in flight 6   deferred 1   succeeded 13   about 8 s left',
      '  Stage wave-2: 20 stores.',
    ]);
  });
  it('gives no time left of what people let stand still', () => {
    const running = stage('wave-2', 20, {
      state: 'running',
      tally: tally({ succeeded: 13 }),
      startedAt: new Date(now.getTime() - 32_000).toISOString(),
    });
    const block = (pausedInWork: string[]) => progressBlock(trainView({ stages: [running], pausedInWork }), now).join();
    expect(block([])).toContain(' left');
    expect(block(['store-007'])).not.toContain(' left');
  });
  it('fills its bar only when all is done', () => {
    expect(bar(0, 20)).toBe('░'.repeat(16));
    expect(bar(20, 20)).toBe('█'.repeat(16));
    expect(bar(0, 0)).toBe('░'.repeat(16));
  });
});

describe('the news between two views', () => {
  const before = trainView({ stages: [stage('canary', 8, { state: 'running', tally: tally({ succeeded: 1 }) })] });

  it('are none when nothing happened', () => expect(newsLines(before, before)).toEqual([]));

  it('tell the release once it is there', () => {
    const unbuilt = trainView({ release: undefined, stages: [] });
    expect(newsLines(unbuilt, trainView({ stages: [] }))).toEqual([
      'release 2026.48.0 (sequence 48) is built and signed',
    ]);
    expect(newsLines(trainView({ stages: [] }), trainView({ stages: [] }))).toEqual([]);
  });

  it('tell every quarter of a stage, once', () => {
    const after = trainView({
      stages: [stage('canary', 8, { state: 'running', tally: tally({ succeeded: 2 }), inFlight: 3 })],
    });
    expect(newsLines(before, after)).toEqual(['canary: 2/8 ended, in flight 3: succeeded 2']);
    expect(newsLines(after, after)).toEqual([]);
  });

  it('tell a store that did not succeed, once', () => {
    const after = { ...before, notSucceeded: [failedResult()] };
    expect(newsLines(before, after)).toEqual([
      'store-033 failed at reboot n2, RebootTimeout: n2 did not come back in 5 min.',
    ]);
    expect(newsLines(after, after)).toEqual([]);
  });

  it('tell a hold, and the next one as well', () => {
    const held = { ...before, state: 'held' as const, hold: hold({ detail: [] }) };
    expect(newsLines(before, held)[0]).toMatch(/^waits: Cache hit rate fell/);
    const again = { ...held, hold: hold({ since: '2026-11-24T10:50:00Z', detail: [] }) };
    expect(newsLines(held, again)).toHaveLength(1);
    expect(newsLines(again, again)).toEqual([]);
  });

  it('tell the end', () => {
    const after = { ...before, state: 'done' as const, doing: '8 of 8 stores run 2026.48.0.' };
    expect(newsLines(before, after)).toEqual(['train 2026-w48: done. 8 of 8 stores run 2026.48.0.']);
  });
});
