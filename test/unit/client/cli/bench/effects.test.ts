import { describe, expect, it } from 'vitest';
import { finishedStores, journalFigures, leftSet, storesInWork } from '#client/cli/bench/effects.js';
import type { LabEntry } from '#client/cli/lab-client.js';

const START = Date.parse('2026-11-24T10:00:00Z');
let seq = 0;
const entry = (second: number, effect: string, place = 'store-001/n1'): LabEntry => {
  const [store = '', node = ''] = place.split('/');
  return { seq: (seq += 1), at: new Date(START + second * 1_000).toISOString(), store, node, effect, by: 'x' };
};
const node = (from: number, place?: string): LabEntry[] =>
  [
    'ha.maintenance.enable',
    'ceph.noout.set',
    'packages.begin',
    'packages.install',
    'node.reboot.request',
    'node.up',
    'ceph.noout.unset',
    'ha.maintenance.disable',
  ].map((effect, index) => entry(from + index, effect, place));

describe('journalFigures', () => {
  it('counts each effect, those done twice as well', () => {
    const { effects } = journalFigures([...node(0), entry(9, 'node.reboot.request')]);
    expect(effects).toMatchObject({ 'node.reboot.request': 2, 'packages.install': 1, 'apt.update': 0 });
  });
  it('tells the mean time of a step over the nodes that took it', () => {
    const late = [entry(100, 'node.reboot.request', 'store-002/n1'), entry(104, 'node.up', 'store-002/n1')];
    const reboot = journalFigures([...node(0), ...late]).steps.find(({ step }) => step === 'reboot');
    expect(reboot?.seconds).toBe(2.5);
  });
  it('sees how many stores were in work at once', () =>
    expect(journalFigures([...node(0, 'a/n1'), ...node(3, 'b/n1'), ...node(30, 'c/n1')]).mostAtOnce).toBe(2));
  it('does not count a store beside one that ends in the same moment', () =>
    expect(journalFigures([...node(0, 'a/n1'), ...node(7, 'b/n1')]).mostAtOnce).toBe(1));
  it('is all zeros for a journal in which nothing happened', () =>
    expect(journalFigures([])).toMatchObject({ seconds: 0, mostAtOnce: 0, storeSeconds: 0 }));
});

describe('finishedStores', () => {
  it('takes a store whose every node was upgraded, came back and is in service', () =>
    expect(finishedStores([...node(0, 'a/n1'), ...node(9, 'a/n2')], 2)).toBe(1));
  it('leaves out a store with a node that was not touched', () => expect(finishedStores(node(0, 'a/n1'), 2)).toBe(0));
  it('leaves out a node that was given back before it came up with its packages', () =>
    expect(
      finishedStores([entry(0, 'packages.install'), entry(1, 'ha.maintenance.disable'), entry(2, 'node.up')], 1),
    ).toBe(0));
});

describe('leftSet', () => {
  it('names what was set last, by node', () =>
    expect(leftSet([...node(0, 'a/n1'), ...node(9, 'a/n2').slice(0, 3)])).toEqual(['a/n2 maintenance', 'a/n2 noout']));
  it('is empty when all was taken back', () => expect(leftSet(node(0))).toEqual([]));
  it('makes a store count as in work, once', () =>
    expect(storesInWork([...node(0, 'a/n2').slice(0, 2), ...node(9, 'b/n1')])).toBe(1));
});
