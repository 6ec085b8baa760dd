import { describe, expect, it } from 'vitest';
import { isTakenBack, renderDrill, type DrillResult } from '#client/cli/demo-rollback.js';
import { fleet, trainView } from '../builders.js';

const [good, bad] = ['2026.48.0', '2026.49.0'];
const { release } = fleet();
const pilot = (number: number, change: Partial<DrillResult['pilots'][number]> = {}) => ({
  store: `store-00${number}`,
  before: good,
  canary: bad,
  now: good,
  ...change,
});
const drill = (change: Partial<DrillResult> = {}): DrillResult => ({
  good: { ...release, version: good },
  bad: { ...release, version: bad },
  pilots: [1, 2, 3, 4, 5].map((number) => pilot(number)),
  others: [{ store: 'store-006', touched: false }],
  git: { tag: 'edge/2026-w48-2/rollback', isTagged: true, promotionsLeft: 0 },
  view: trainView({ state: 'rolled back', doing: 'Rolled back from 2026.49.0.' }),
  report: { effects: 825, rules: [{ id: 'one-down', title: 'Never two nodes down', violations: [] }] },
  took: 75_000,
  ...change,
});
const four = [1, 2, 3, 4].map((number) => pilot(number));

describe('the drill of a rollback', () => {
  it('is passed when all pilots went there and back, Git says so too, and the journal holds', () => {
    expect(isTakenBack(drill())).toBe(true);
  });

  const failures: Record<string, Partial<DrillResult>> = {
    'a pilot that still runs the bad release': { pilots: [...four, pilot(5, { now: bad })] },
    'a pilot whose nodes differ': { pilots: [...four, pilot(5, { now: undefined })] },
    'a pilot that never had the bad release': { pilots: [...four, pilot(5, { canary: good })] },
    'a pilot too few': { pilots: four },
    'a store behind the canary that was touched': { others: [{ store: 'store-006', touched: true }] },
    'a train that ended otherwise': { view: trainView({ state: 'aborted' }) },
    'a missing tag': { git: { ...drill().git, isTagged: false } },
    'a promotion that still stands': { git: { ...drill().git, promotionsLeft: 1 } },
    'a broken rule': {
      report: { effects: 1, rules: [{ id: 'x', title: 'x', violations: [{ store: 's', summary: 'x' }] }] },
    },
  };
  it.each(Object.entries(failures))('is not passed with %s, and says so', (_, change) => {
    expect(isTakenBack(drill(change))).toBe(false);
    expect(renderDrill(drill(change))[0]).toMatch(/^NOT TAKEN BACK in 1 min 15 s/);
  });

  it('ends with a table of what each store ran', () => {
    const lines = renderDrill(drill());
    expect(lines.slice(0, 3)).toEqual([
      'Taken back in 1 min 15 s. Rolled back from 2026.49.0.',
      '  store      before     canary     now',
      '  store-001  2026.48.0  2026.49.0  2026.48.0',
    ]);
    expect(lines.at(-1)).toBe("Practice fleet's own journal: 825 effects, 1 rule, 0 violations.");
  });
});
