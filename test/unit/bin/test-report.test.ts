import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../support/build.js';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}
const { addCounts, countReport, summary } = (await import(join(ROOT, 'bin/lib/test-report.mjs'))) as {
  countReport: (report: unknown, exitCode: number) => Counts;
  addCounts: (all: Counts[]) => Counts;
  summary: (counts: Counts) => string;
};

const aFile = (...statuses: string[]) => ({
  status: statuses.includes('failed') ? 'failed' : 'passed',
  assertionResults: statuses.map((status) => ({ status })),
});
const aReport = (change: object = {}) => ({
  numPassedTests: 2,
  numFailedTests: 0,
  numPendingTests: 0,
  numTodoTests: 0,
  testResults: [aFile('passed', 'passed')],
  ...change,
});

describe('the last line of a test run', () => {
  it('counts what passed and failed', () => {
    const report = aReport({ numFailedTests: 1, testResults: [aFile('passed', 'passed'), aFile('failed')] });
    expect(summary(countReport(report, 1))).toBe('2 passed, 1 failed');
  });

  it('mentions skipped and planned tests on a line of their own, only when there are any', () => {
    expect(summary(countReport(aReport(), 0))).toBe('2 passed, 0 failed');
    expect(summary(countReport(aReport({ numPendingTests: 1, numTodoTests: 2 }), 0))).toBe(
      '3 skipped\n2 passed, 0 failed',
    );
  });

  it('counts a file that cannot be loaded as a failure', () => {
    const broken = { status: 'failed', assertionResults: [] };
    expect(countReport(aReport({ testResults: [broken] }), 1)).toMatchObject({ failed: 1 });
  });

  it.each([
    ['without a report', undefined, 1],
    ['by an error outside of any test', aReport(), 1],
  ])('never says 0 failed of a run that failed %s', (_how, report, exitCode) => {
    expect(countReport(report, exitCode).failed).toBe(1);
  });

  it('adds up', () => {
    expect(
      addCounts([
        { passed: 1, failed: 0, skipped: 2 },
        { passed: 3, failed: 1, skipped: 0 },
      ]),
    ).toEqual({ passed: 4, failed: 1, skipped: 2 });
  });
});
