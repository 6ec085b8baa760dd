import { describe, expect, it } from 'vitest';
import { renderBeside, renderKilled } from '#client/cli/bench/beside.js';
import { childrenSeconds } from '#client/cli/bench/playbook-run.js';
import type { Side } from '#client/cli/bench/side.js';

const side = (name: string, seconds: number, change: Partial<Side> = {}): Side => ({
  name,
  stores: 2,
  nodes: 6,
  seconds,
  outcome: { finished: 2, twice: 0, leftSet: [], broken: {}, rules: 16 },
  journal: {
    effects: { 'node.reboot.request': 6, 'packages.install': 9 },
    steps: [{ step: 'reboot', seconds: 1.25 }],
    storeSeconds: 9,
    mostAtOnce: 2,
    seconds: 20,
  },
  ...change,
});

describe('renderBeside', () => {
  it('tells how many times as fast the first side is', () =>
    expect(renderBeside([side('a', 20), side('b', 50)])).toContain('| times as fast | 2.50 | 1 |'));
  it('counts effects per node, so that one done twice shows', () =>
    expect(renderBeside([side('a', 20), side('b', 50)])).toContain('| packages.install | 1.50 | 1.50 |'));
  it('names the rules that were broken', () => {
    const broken = { finished: 2, twice: 0, leftSet: [], broken: { 'nothing-left-set': 3 }, rules: 16 };
    expect(renderBeside([side('a', 20), side('b', 50, { outcome: broken })])).toContain(
      '| rules broken | 0 of 16 | nothing-left-set ×3 |',
    );
  });
  it('says so when CPU time was not counted', () =>
    expect(renderBeside([side('a', 20, { cpuSeconds: 7.6 }), side('b', 50)])).toContain(
      '| own CPU, without the practice fleet | 8 s | not counted |',
    ));
});

describe('a side that was ended before its end', () => {
  const lines = renderBeside([
    side('a', 20),
    side('b', 50.04, {
      outcome: { finished: 1, twice: 0, leftSet: ['store-002/n2 noout'], broken: {}, rules: 14 },
      ended: { patience: 2.5 },
    }),
  ]);
  it('is not said to have finished, and how much faster the other is stands as a lower bound', () => {
    expect(lines).toContain('| wall time | 20.0 s | ended after 50.0 s |');
    expect(lines).toContain('| times as fast | more than 2.5 | 1 |');
    expect(lines).toContain('| stores finished | 2 | 1 of 2 |');
    expect(lines).toContain('| rules broken | 0 of 16 | 0 of 14, so far |');
    expect(lines).toContain('| left set | nothing | 1 (store-002/n2 noout) |');
    expect(lines).toContain(
      'b was ended after 50.0 s, at 1 of 2 stores: it had taken more than 2.5 times as long as a for all of them.',
    );
  });
  it('is the only one of which that is said', () =>
    expect(renderBeside([side('a', 20), side('b', 50)]).join()).not.toMatch(/ended|left set|so far/));
});

describe('renderKilled', () => {
  const stuck = { finished: 1, twice: 0, leftSet: ['store-002/n2 noout'], broken: {}, rules: 16 };
  const lines = renderKilled([
    side('a', 20, { kill: { atReboots: 3, storesInWork: 1 } }),
    side('b', 50, { kill: { atReboots: 3, storesInWork: 1, afterRestart: stuck, hand: 'cleared noout' } }),
  ]);
  it('tells apart who finished without hands', () =>
    expect(lines).toContain('| started again, it finished without hands | yes | no |'));
  it('shows what was left before a person came, not after', () =>
    expect(lines).toContain('| left set so | nothing | 1 (store-002/n2 noout) |'));
  it('does not call one that was never struck a survivor', () =>
    expect(renderKilled([side('a', 20), side('b', 50)])).toContain(
      '| started again, it finished without hands | not killed | not killed |',
    ));
});

describe('childrenSeconds', () => {
  it('adds user and system time of the second line', () =>
    expect(childrenSeconds('0m0.01s 0m0.02s\n1m2.50s 0m3.25s\n')).toBe(65.75));
  it('knows nothing when the shell said nothing', () => expect(childrenSeconds('')).toBeUndefined());
});
