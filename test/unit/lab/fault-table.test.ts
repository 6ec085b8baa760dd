import { describe, expect, it } from 'vitest';
import { FAULT_TABLE, faultProblems, momentsAt, STEPS, type Step } from '#lab/world/fault-table.js';

type Written = Parameters<typeof faultProblems>[0];

describe('the table of faults', () => {
  it('has a moment for every step of every kind, and none that it refuses itself', () => {
    for (const { kind, steps } of FAULT_TABLE) {
      expect(steps.length).toBeGreaterThan(0);
      for (const { step, moments } of steps) {
        expect([kind, step, moments.length > 0]).toEqual([kind, step, true]);
        for (const moment of moments) expect(faultProblems({ kind, step, moment })).toEqual([]);
      }
    }
  });

  it('reaches every step by some kind', () => {
    const reached = new Set(FAULT_TABLE.flatMap(({ steps }) => steps.map(({ step }) => step)));
    expect([...reached].sort()).toEqual((Object.keys(STEPS) as Step[]).sort());
  });

  it('means the moment that hurts most when none is given', () => {
    expect(momentsAt('lost-answer', 'guest.migrate')[0]).toBe('after');
    expect(momentsAt('apt-fail', 'packages.install')[0]).toBe('during');
    expect(momentsAt('wan-cut', 'guest.migrate')[0]).toBe('before');
  });
});

describe('faultProblems', () => {
  const refused: [string, Written, RegExp][] = [
    ['a step of another kind', { kind: 'apt-fail', step: 'node.up' }, /^step: apt-fail cannot strike at node\.up/],
    ['an event at a read', { kind: 'wan-cut', step: 'ceph.read' }, /^step: wan-cut cannot strike at ceph\.read/],
    [
      'a middle that the step does not have',
      { kind: 'node-crash', step: 'ceph.noout.set', moment: 'during' },
      /^moment: node-crash at ceph\.noout\.set strikes before or after, not during$/,
    ],
    [
      'a moment that the kind does not have',
      { kind: 'proxy-595', moment: 'after' },
      /^moment: proxy-595 strikes before/,
    ],
    ['a moment of an event without a step', { kind: 'wan-cut', moment: 'after' }, /^moment: a moment needs a step/],
    ['a number of times without a step', { kind: 'wan-cut', times: 2 }, /^times: what begins at once begins once/],
    ['an unknown setting', { kind: 'wan-cut', params: { loud: true } }, /^params\.loud: wan-cut takes only silent$/],
    ['a setting of another type', { kind: 'osd-down', params: { osd: 'two' } }, /^params\.osd: must be a number$/],
  ];
  for (const [what, fault, why] of refused) {
    it(`refuses ${what}`, () => {
      expect(faultProblems(fault).map(({ field, message }) => `${field}: ${message}`)).toEqual([
        expect.stringMatching(why) as string,
      ]);
    });
  }
});
