import { describe, expect, it } from 'vitest';
import { decideAbandoned, type HeldFacts } from '#domain/abandoned.js';

const LIMIT = 90;
const held = (change: Partial<HeldFacts> = {}): HeldFacts => ({ open: true, marks: [], quietMs: 0, ...change });
const old = { node: 'n1', ageMs: 90 };
const young = { node: 'n1', ageMs: 89 };

describe('an operation that fell silent', () => {
  it.each([
    ['has its old marks taken back', held({ marks: [old], quietMs: 9 }), { kind: 'takeBack', nodes: ['n1'] }],
    [
      'loses the young ones of the same node with them, and no other node',
      held({ marks: [old, young, { node: 'n2', ageMs: 1 }], quietMs: 9 }),
      { kind: 'takeBack', nodes: ['n1'] },
    ],
    ['keeps what is not old enough', held({ marks: [young], quietMs: 900 }), { kind: 'leave' }],
    ['that was heard of just now keeps everything', held({ marks: [old], quietMs: 8 }), { kind: 'leave' }],
    ['that has ended is not touched', held({ open: false, marks: [old], quietMs: 900 }), { kind: 'leave' }],
    ['and has set nothing loses the store', held({ quietMs: 90 }), { kind: 'free' }],
    ['and has set nothing keeps the store for a while', held({ quietMs: 89 }), { kind: 'leave' }],
  ])('%s', (_, facts, decision) => expect(decideAbandoned(facts, LIMIT)).toEqual(decision));
});
