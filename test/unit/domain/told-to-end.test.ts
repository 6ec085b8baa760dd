import { describe, expect, it } from 'vitest';
import type { StoreResult } from '#domain/outcomes.js';
import { toldToEndFor } from '#domain/told-to-end.js';

describe('a store that is told to end when its train goes back, or is over', () => {
  const at = '2026-11-24T02:00:00.000Z';
  const ended = (change: Partial<StoreResult> = {}): StoreResult => ({
    store: 's001',
    outcome: 'aborted',
    reason: 'Aborted',
    stop: { reason: 'Aborted', step: 'draining n2', summary: 'Aborted by an operator.', detail: ['left in place: n2'] },
    startedAt: '2026-11-24T01:50:00.000Z',
    endedAt: '2026-11-24T02:01:00.000Z',
    ...change,
  });

  it('says that the rollback goes on with it, and keeps what was seen', () => {
    expect(toldToEndFor('rollback', at, ended())).toEqual({
      ...ended(),
      reason: 'RolledBack',
      stop: {
        reason: 'RolledBack',
        step: 'draining n2',
        summary: expect.stringMatching(/^The train was taken back\. .* the rollback takes it over/) as string,
        detail: ['left in place: n2'],
      },
    });
  });

  it('says that it was the deadline', () => {
    expect(toldToEndFor('deadline', at, ended())).toMatchObject({
      outcome: 'aborted',
      reason: 'DeadlineReached',
      stop: {
        reason: 'DeadlineReached',
        summary: expect.stringMatching(/^The train reached its deadline\. It stopped at/) as string,
        detail: ['left in place: n2'],
      },
    });
  });

  it.each([
    ['had not begun', { startedAt: undefined, stop: undefined }],
    ['had only been greeted', { stop: { reason: 'Aborted' as const, step: 'hello', summary: 'Aborted.' } }],
  ])('says that nothing was touched when it %s', (_, change) => {
    expect(toldToEndFor('rollback', at, ended(change)).stop?.summary).toMatch(/Nothing was touched\.$/);
  });

  it.each<[string, Partial<StoreResult>]>([
    ['had ended before', { endedAt: '2026-11-24T01:59:59.999Z' }],
    ['is silent, and still has to take back what it set', { outcome: 'cutOff', reason: 'UndoPending' }],
    ['failed to give itself back', { reason: 'UndoIncomplete' }],
    ['succeeded all the same', { outcome: 'succeeded', reason: undefined, stop: undefined }],
  ])('is told as it was when it %s', (_, change) => {
    expect(toldToEndFor('rollback', at, ended(change))).toEqual(ended(change));
  });
});
