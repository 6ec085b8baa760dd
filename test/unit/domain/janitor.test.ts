import { describe, expect, it } from 'vitest';
import {
  addFound,
  concernOf,
  emptyReport,
  foundOf,
  foundWords,
  groupsOf,
  renderJanitorDetails,
  summaryOf,
  unswept,
} from '#domain/janitor.js';
import type { Found, JanitorReport } from '#domain/messages/janitor.js';
import type { Inspected, Swept } from '#domain/messages/store.js';

const DEAD = '2026-w48/canary/s001/r0';
const leftBy = (change: Partial<NonNullable<Inspected['leftBy']>> = {}) => ({
  operationId: DEAD,
  fence: 7,
  locked: true,
  marks: ['maintenance of n1', 'noout of n1'],
  ...change,
});
const looked = (store: string, change: Partial<Extract<Found, { kind: 'looked' }>> = {}): Found => ({
  kind: 'looked',
  store,
  undone: [],
  left: [],
  foreign: [],
  ...change,
});
const reportOf = (stores: number, ...found: Found[]): JanitorReport =>
  found.reduce(addFound, { ...emptyReport('acme'), stores });

describe('foundOf', () => {
  const swept = (undone: string[], left: string[] = []): Swept => ({ kind: 'swept', undone, left });
  const cases: [sentence: string, inspected: Inspected, swept: Swept | undefined, found: Partial<Found>][] = [
    ['finds nothing where nothing is set', { foreign: [] }, undefined, { undone: [], left: [], foreign: [] }],
    ['names what others have set', { foreign: ['noout of n3'] }, undefined, { foreign: ['noout of n3'] }],
    [
      'counts marks and lock as taken back',
      { leftBy: leftBy(), foreign: [] },
      swept(['noout of n1', 'maintenance of n1']),
      { leftBy: DEAD, undone: ['maintenance of n1', 'noout of n1', 'the lock'], left: [] },
    ],
    [
      'counts only what was there a moment ago: a store tells of earlier times too',
      { leftBy: leftBy({ locked: false, marks: ['maintenance of n2'] }), foreign: [] },
      swept(['noout of n1', 'maintenance of n1', 'maintenance of n2']),
      { undone: ['maintenance of n2'] },
    ],
    [
      'keeps the lock where something is left',
      { leftBy: leftBy(), foreign: [] },
      swept(['noout of n1'], ['maintenance of n1 (not reachable)']),
      { undone: ['noout of n1'], left: ['maintenance of n1 (not reachable)'] },
    ],
    [
      'is busy when another operation has taken the store meanwhile',
      { leftBy: leftBy(), foreign: ['noout of n3'] },
      { kind: 'taken', by: 'next' },
      { kind: 'busy' },
    ],
    [
      'has left everything when the sweep was not answered',
      { leftBy: leftBy(), foreign: [] },
      unswept(leftBy(), 'silent'),
      { undone: [], left: ['maintenance of n1 (silent)', 'noout of n1 (silent)', 'the lock (silent)'] },
    ],
  ];
  it.each(cases)('%s', (_, inspected, answer, found) => {
    expect(foundOf('s001', inspected, answer)).toMatchObject({ store: 's001', ...found });
  });
});

describe('a report', () => {
  const full = reportOf(
    8,
    looked('s007'),
    { kind: 'offline', store: 's006' },
    { kind: 'busy', store: 's005' },
    { kind: 'failed', store: 's004', why: 'HA status: 596' },
    looked('s003', { foreign: ['noout of n3'] }),
    looked('s002', { leftBy: DEAD, left: ['maintenance of n1 (not reachable)'] }),
    looked('s001', { leftBy: DEAD, undone: ['noout of n1', 'the lock'] }),
  );

  it('counts clean stores and lists all others once, by their ids', () => {
    expect(full.clean).toBe(1);
    expect(full.found.map(({ store }) => store)).toEqual(['s001', 's002', 's003', 's004', 's005', 's006']);
    expect(groupsOf(full)).toEqual({
      undone: ['s001'],
      left: ['s002'],
      foreign: ['s003'],
      failed: ['s004'],
      busy: ['s005'],
      offline: ['s006'],
    });
    expect(summaryOf(full)).toBe(
      'Looked at 7 of 8 stores: 1 clean, 1 taken back from, 1 with something of ours left, 1 with marks of others, ' +
        '1 busy, 1 offline, 1 failed.',
    );
  });

  it.each<[string, Found, string | undefined, RegExp | undefined]>([
    ['nothing', looked('s001'), undefined, undefined],
    ['something was taken back', looked('s001', { leftBy: DEAD, undone: ['the lock'] }), undefined, undefined],
    ['a store is offline', { kind: 'offline', store: 's001' }, undefined, undefined],
    ['a store is busy', { kind: 'busy', store: 's001' }, undefined, undefined],
    [
      'something is left',
      looked('s001', { leftBy: DEAD, left: ['x'] }),
      'UndoIncomplete',
      /could not take back .* s001/,
    ],
    ['a store could not be read', { kind: 'failed', store: 's001', why: 'x' }, 'StepFailed', /failed on s001/],
    ['something is foreign', looked('s001', { foreign: ['x'] }), undefined, /left alone .* s001/],
  ])('calls people when it is for them: %s', (_, found, reason, summary) => {
    const concern = concernOf(reportOf(1, found));
    expect(concern?.reason).toBe(reason);
    if (summary) expect(concern?.summary).toMatch(summary);
    else expect(concern).toBeUndefined();
  });

  it('says of each store what was done and what not', () => {
    expect(full.found.map(foundWords)).toEqual([
      `taken back, left by ${DEAD}: noout of n1, the lock`,
      `LEFT by ${DEAD}: maintenance of n1 (not reachable)`,
      'set by others, not touched: noout of n3',
      'failed: HA status: 596',
      'busy: an operation runs there, and what is set is in use',
      'offline: it did not answer, and takes back by itself what is too old',
    ]);
  });

  it('is shown with a link to each store, and no word from a store becomes markup', () => {
    const details = renderJanitorDetails(
      reportOf(2, { kind: 'failed', store: 's004', why: '<img src=x> | cell' }, { kind: 'offline', store: 's006' }),
    );
    expect(details).toContain(
      '| [s004](/namespaces/{namespace}/workflows/store%2Fs004) | failed: \\<img src=x\\> \\| cell |',
    );
    expect(details).toContain('**Offline**\n\n- s006');
  });

  it('stays below the 20,000 bytes that Temporal takes, however much was found', () => {
    const many = Array.from({ length: 2_000 }, (_, n): Found => ({
      kind: 'failed',
      store: `s${String(n).padStart(5, '0')}`,
      why: '🧹'.repeat(300),
    }));
    const details = renderJanitorDetails(reportOf(2_000, ...many));
    expect(new TextEncoder().encode(JSON.stringify(details)).length).toBeLessThan(20_000);
    expect(details).toContain('2000 failed');
  });
});
