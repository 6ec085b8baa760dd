import { describe, expect, it } from 'vitest';
import { costOf, renderBench } from '#client/cli/bench/figures.js';

describe('costOf', () => {
  const child = { workflowExecutionStartedEventAttributes: { parentWorkflowExecution: { workflowId: 'w' } } };
  const activity = { activityTaskScheduledEventAttributes: {} };
  const timer = { timerStartedEventAttributes: {} };

  it('counts the start of a child as two actions', () => expect(costOf([child])).toEqual({ events: 1, actions: 2 }));
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
    }));
});

describe('renderBench', () => {
  it('is a table of figures, with what could not be measured named so', () => {
    const lines = renderBench([
      {
        stores: 60,
        speed: 240,
        succeeded: 60,
        seconds: 90,
        store: { events: 124, actions: 24 },
        waves: [{ wave: 'a', events: 300, actions: 9 }],
        effects: 3_422,
        violations: 0,
        processes: [{ name: 'lab', cpuSeconds: 14.5, peakMegabytes: 169 }, { name: 'gone' }],
      },
    ]);
    expect(lines).toContain('| 60 | 60 | 90 s | 40 | 24 | 124 | 300 | 3422 | 0 |');
    expect(lines).toContain('| 60 | gone | unknown | unknown |');
  });
});
