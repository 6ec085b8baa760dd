import { describe, expect, it } from 'vitest';
import { isSound, outcomeOf, type Outcome, type Side } from '#client/cli/bench/side.js';
import type { LabReport } from '#client/cli/lab-client.js';

const rule = (id: string, ...summaries: string[]): LabReport['rules'][number] => ({
  id,
  title: id,
  violations: summaries.map((summary) => ({ store: 'store-001', summary })),
});
const report: LabReport = {
  effects: 9,
  rules: [
    rule('one-node-at-a-time', 'n1 and n2'),
    rule('nothing-left-set', 'n2 is still in maintenance', 'noout is still set on n2'),
    rule('down-and-up-again', 'n2 is not back'),
    rule('nothing-twice'),
  ],
};

describe('outcomeOf', () => {
  it('judges a run by how it leaves the stores, too', () =>
    expect(outcomeOf([], report, { nodesPerStore: 3 })).toMatchObject({
      broken: { 'one-node-at-a-time': 1, 'nothing-left-set': 2, 'down-and-up-again': 1 },
      rules: 4,
    }));
  it('judges a run that did not reach its end by what it did alone', () =>
    expect(outcomeOf([], report, { nodesPerStore: 3, soFar: true })).toMatchObject({
      broken: { 'one-node-at-a-time': 1 },
      rules: 2,
    }));
});

describe('isSound', () => {
  const side = (outcome: Partial<Outcome>, change: Partial<Side> = {}): Side => ({
    name: 'a',
    stores: 3,
    nodes: 9,
    seconds: 1,
    outcome: { finished: 3, twice: 0, leftSet: [], broken: {}, rules: 4, ...outcome },
    journal: { effects: {}, steps: [], storeSeconds: 0, mostAtOnce: 0, seconds: 0 },
    ...change,
  });
  const ended = { ended: { patience: 2.5 } };
  const cases: Record<string, [Side, boolean]> = {
    'with every store finished and no rule broken': [side({}), true],
    'not with a store too few': [side({ finished: 2 }), false],
    'not with a broken rule': [side({ broken: { 'nothing-twice': 1 } }), false],
    'when it was ended with some of its stores finished': [side({ finished: 1 }, ended), true],
    'not when it was ended before it had finished any': [side({ finished: 0 }, ended), false],
    'not when it was ended after it had broken a rule': [
      side({ finished: 1, broken: { 'nothing-twice': 1 } }, ended),
      false,
    ],
  };
  it.each(Object.entries(cases))('%s', (_, [measured, sound]) => expect(isSound(measured)).toBe(sound));
});
