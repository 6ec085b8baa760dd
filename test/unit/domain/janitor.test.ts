import { describe, expect, it } from 'vitest';
import {
  addFound,
  concernOf,
  emptyReport,
  foundOf,
  foundWords,
  groupsOf,
  renderJanitorDetails,
  siteWords,
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

describe('the staging site', () => {
  const at = (staging: JanitorReport['staging']): JanitorReport => ({ ...reportOf(1, looked('s001')), staging });
  const seen = (change: Partial<Extract<JanitorReport['staging'], { kind: 'looked' }>> = {}) =>
    at({ kind: 'looked', removed: [], left: [], busy: [], ...change });
  const GUEST = 'guest 90101 on stg1: its notes are not those of a test';

  it.each<[string, JanitorReport, string | undefined]>([
    ['that was not looked at is not spoken of', at(undefined), undefined],
    ['where nothing was is clean', seen(), 'The staging site: clean.'],
    ['that does not answer is offline', at({ kind: 'offline' }), 'The staging site: offline, it did not answer.'],
    ['that fails says why', at({ kind: 'failed', why: 'no token' }), 'The staging site: failed: no token'],
    [
      'names all that it found',
      seen({ removed: ['storage test-s001'], left: [GUEST], busy: ['guest 90102 on stg2: young'] }),
      `The staging site: 1 taken away: storage test-s001. 1 LEFT: ${GUEST}. 1 in use: guest 90102 on stg2: young.`,
    ],
    [
      'names ten, and how many more',
      seen({ removed: Array.from({ length: 12 }, (_, n) => `g${n}`) }),
      'The staging site: 12 taken away: g0; g1; g2; g3; g4; g5; g6; g7; g8; g9 and 2 more.',
    ],
  ])('%s', (_, report, words) => {
    expect(siteWords(report)).toBe(words);
    if (words !== undefined) expect(renderJanitorDetails(report)).toContain('The staging site');
  });

  it('calls people for what is left there or unknown, and not for what was taken away, is in use, or is offline', () => {
    expect(concernOf(seen({ left: [GUEST] }))).toMatchObject({
      reason: 'UndoIncomplete',
      summary: expect.stringContaining(GUEST) as string,
    });
    expect(concernOf(at({ kind: 'failed', why: 'no token' }))).toMatchObject({ reason: 'StepFailed' });
    for (const calm of [seen({ removed: ['g'], busy: ['h'] }), at({ kind: 'offline' }), at(undefined)])
      expect(concernOf(calm)).toBeUndefined();
  });
});

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
