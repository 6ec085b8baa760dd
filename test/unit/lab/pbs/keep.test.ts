import { describe, expect, it } from 'vitest';
import { pruneMarks, type KeepOptions, type Mark } from '#lab/world/pbs/keep.js';

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 25, 22);

interface Backup {
  at: number;
  finished: boolean;
  protected: boolean;
}

const backup = (at: number, change: Partial<Backup> = {}): Backup => ({
  at,
  finished: true,
  protected: false,
  ...change,
});
/** One each night, the newest first. */
const nightly = (nights: number): Backup[] => Array.from({ length: nights }, (_, n) => backup(NOW - n * DAY));

function kept(list: Backup[], keep: KeepOptions): string[] {
  const marks = pruneMarks(list, keep);
  return list.filter((each) => marks.get(each) !== 'remove').map(({ at }) => new Date(at).toISOString().slice(0, 10));
}

const markOf = (list: Backup[], keep: KeepOptions): (Mark | undefined)[] => {
  const marks = pruneMarks(list, keep);
  return list.map((each) => marks.get(each));
};

describe('pruneMarks', () => {
  it('keeps everything when nothing is said', () => {
    expect(kept(nightly(40), {})).toHaveLength(40);
  });

  it('keeps the newest of each day, so that two of one day count once', () => {
    const twice = nightly(5).flatMap((each) => [each, backup(each.at - 3_600_000)]);
    expect(markOf(twice, { 'keep-daily': 2 }).slice(0, 6)).toEqual([
      'keep',
      'remove',
      'keep',
      'remove',
      'remove',
      'remove',
    ]);
  });

  it('counts a week by ISO, so that the last days of a year may belong to the next', () => {
    const list = ['2025-01-05', '2025-01-01', '2024-12-30', '2024-12-29'].map((day) =>
      backup(Date.parse(`${day}T01:00Z`)),
    );
    expect(kept(list, { 'keep-weekly': 2 })).toEqual(['2025-01-05', '2024-12-29']);
  });

  it('lets no option count again what an option before it kept', () => {
    expect(kept(nightly(30), { 'keep-last': 3, 'keep-daily': 2 })).toEqual([
      '2026-11-25',
      '2026-11-24',
      '2026-11-23',
      '2026-11-22',
      '2026-11-21',
    ]);
  });

  /** What the manual promises of this example, for one backup a day. */
  const EXAMPLE: KeepOptions = {
    'keep-last': 3,
    'keep-daily': 13,
    'keep-weekly': 8,
    'keep-monthly': 11,
    'keep-yearly': 9,
  };
  const reach: [string, KeepOptions, number][] = [
    ['two weeks', { 'keep-last': 3, 'keep-daily': 13 }, 15],
    ['two months', { 'keep-last': 3, 'keep-daily': 13, 'keep-weekly': 8 }, 61],
    ['a year', { 'keep-last': 3, 'keep-daily': 13, 'keep-weekly': 8, 'keep-monthly': 11 }, 365],
    ['nine years', EXAMPLE, 9 * 365],
  ];
  for (const [words, keep, days] of reach) {
    it(`reaches back over ${words} with ${Object.keys(keep).at(-1)} of the manual's example`, () => {
      const list = nightly(4_000);
      const days_ = kept(list, keep).map((day) => Date.parse(`${day}T22:00Z`));
      expect((NOW - Math.min(...days_)) / DAY).toBeGreaterThanOrEqual(days);
    });
  }

  it('keeps as many as the options add up to, when there is enough of everything', () => {
    expect(kept(nightly(4_000), EXAMPLE)).toHaveLength(3 + 13 + 8 + 11 + 9);
  });

  it('never removes a protected one, and does not let it take the place of another', () => {
    const list = nightly(4);
    list[1] = backup(NOW - DAY, { protected: true });
    expect(markOf(list, { 'keep-last': 2 })).toEqual(['keep', 'protected', 'keep', 'remove']);
  });

  it('keeps an unfinished one only while it is the newest', () => {
    const list = nightly(3).map((each) => ({ ...each, finished: false }));
    list[2] = backup(NOW - 2 * DAY);
    expect(markOf(list, { 'keep-last': 5 })).toEqual(['keep-partial', 'remove', 'keep']);
  });
});
