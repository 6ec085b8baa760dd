import { describe, expect, it } from 'vitest';
import {
  childrenOf,
  costOf,
  isProven,
  renderBench,
  renderNightBench,
  wentWell,
  withChild,
  type NightRow,
} from '#client/cli/bench/figures.js';

describe('costOf', () => {
  const child = { workflowExecutionStartedEventAttributes: { parentWorkflowExecution: { workflowId: 'w' } } };
  const activity = { activityTaskScheduledEventAttributes: { activityType: { name: 'hello' } } };
  const timer = { timerStartedEventAttributes: {} };

  it('counts the start of a child as two actions', () =>
    expect(costOf([child])).toMatchObject({ events: 1, actions: 2 }));
  it('counts the start of a workflow by hand as one', () =>
    expect(costOf([{ workflowExecutionStartedEventAttributes: {} }]).actions).toBe(1));
  it('counts what costs and leaves out what does not', () =>
    expect(
      costOf([
        child,
        activity,
        timer,
        { activityTaskCompletedEventAttributes: {} },
        { timerStartedEventAttributes: null },
      ]),
    ).toEqual({
      events: 5,
      actions: 4,
      of: { 'start as a child': 2, hello: 1, timer: 1 },
    }));
});

describe('a workflow with a child of its own', () => {
  const started = { startChildWorkflowExecutionInitiatedEventAttributes: { workflowId: 'store/store-001' } };
  const dump = { activityTaskScheduledEventAttributes: { activityType: { name: 'dumpNode' } } };
  const child = { workflowExecutionStartedEventAttributes: { parentWorkflowExecution: { workflowId: 'w' } } };

  it('costs the start of the child once, though both histories tell of it', () =>
    expect(withChild(costOf([child, started, dump]), costOf([child, dump, dump]))).toEqual({
      events: 6,
      actions: 7,
      of: { 'start as a child': 2, child: 2, dumpNode: 3 },
    }));
  it('names it', () => expect(childrenOf([child, started, dump])).toEqual(['store/store-001']));
});

const night = (change: Partial<NightRow> = {}): NightRow => ({
  stores: 12,
  speed: 480,
  succeeded: 12,
  guests: 48,
  proven: 48,
  seconds: 30,
  store: { events: 90, actions: 19, of: { hello: 1, dumpNode: 3 } },
  night: { workflowId: 'backup/edge/by-hand', events: 40, actions: 7, of: {}, kilobytes: 21.4 },
  waves: [{ workflowId: 'n/backup/r0', events: 110, actions: 30, of: {}, kilobytes: 60 }],
  effects: 600,
  violations: 0,
  processes: [{ name: 'lab', cpuSeconds: 14.5, peakMegabytes: 169 }],
  ...change,
});

describe('renderNightBench', () => {
  const lines = renderNightBench([night()]);
  it('tells of stores and of guests', () =>
    expect(lines).toContain('| 12 | 12 | 48 | 48 | 30 s | 24 | 19 | 90 | 600 | 0 |'));
  it('shows how large the histories of the night and of its waves are', () => {
    expect(lines).toContain('| 12 | backup/edge/by-hand | 40 | 21 kB | 7 |');
    expect(lines).toContain('| 12 | n/backup/r0 | 110 | 60 kB | 30 |');
  });
  it('breaks the actions of a store down', () => expect(lines).toContain('| dumpNode | 3 |'));
  it('tells what the processes took', () => expect(lines).toContain('| 12 | lab | 15 s | 169 MB |'));
});

describe('a night went well', () => {
  it('when every store succeeded and every guest is proven', () => expect(isProven(night())).toBe(true));
  it.each([
    ['a store did not succeed', { succeeded: 11 }],
    ['a guest is not proven', { proven: 47 }],
    ['there was nothing to prove', { guests: 0, proven: 0 }],
    ['a rule of the journal is broken', { violations: 1 }],
  ])('not when %s', (_, change) => expect(isProven(night(change))).toBe(false));
});

describe('a train went well', () => {
  it('whatever became of guests, when all stores succeeded and no rule is broken', () => {
    expect(wentWell(night({ proven: 0 }))).toBe(true);
    expect(wentWell(night({ succeeded: 11 }))).toBe(false);
    expect(wentWell(night({ violations: 1 }))).toBe(false);
  });
});

describe('renderBench', () => {
  it('is a table of figures, with what could not be measured named so', () => {
    const lines = renderBench([
      {
        stores: 60,
        speed: 240,
        succeeded: 60,
        seconds: 90,
        store: { events: 124, actions: 24, of: {} },
        waves: [{ workflowId: 'a', events: 300, actions: 9, of: {}, kilobytes: 80 }],
        effects: 3_422,
        violations: 0,
        processes: [{ name: 'lab', cpuSeconds: 14.5, peakMegabytes: 169 }, { name: 'gone' }],
      },
    ]);
    expect(lines).toContain('| 60 | 60 | 90 s | 40 | 24 | 124 | 300 | 3422 | 0 |');
    expect(lines).toContain('| 60 | gone | unknown | unknown |');
  });
});
