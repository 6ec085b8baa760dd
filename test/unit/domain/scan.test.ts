import { describe, expect, it } from 'vitest';
import {
  decideScan,
  matchAdvisories,
  parseAdvisories,
  readPurl,
  type Finding,
  type ScanException,
} from '#domain/scan.js';
import { problemText } from '#domain/yaml-file.js';

const NOW = new Date('2026-11-23T02:00:00Z');
const purl = 'pkg:deb/debian/openssl@3.5.4-1';
const finding = (changes: Partial<Finding> = {}): Finding => ({
  id: 'CVE-2026-1',
  purl,
  severity: 'critical',
  ...changes,
});
const exception = (changes: Partial<ScanException> = {}): ScanException => ({
  id: 'CVE-2026-1',
  package: 'openssl',
  owner: 'ann',
  approvedBy: 'bob',
  reason: 'not reachable',
  expires: '2026-12-01',
  ...changes,
});
const decide = (findings: Finding[], exceptions: ScanException[] = [], dbBuiltAt = '2026-11-22T00:00:00Z') =>
  decideScan({ report: { scanner: { name: 'test', version: '1', dbBuiltAt }, findings }, exceptions, now: NOW });

describe('the verdict of a scan', () => {
  it.each<[string, 'pass' | 'deny', ReturnType<typeof decide>]>([
    ['passes without findings', 'pass', decide([])],
    ['passes with high ones', 'pass', decide([finding({ severity: 'high' })])],
    ['denies one critical', 'deny', decide([finding({ severity: 'high' }), finding()])],
    [
      'denies what is known to be exploited, however it is rated',
      'deny',
      decide([finding({ severity: 'low', kev: true })]),
    ],
    ['passes with an exception', 'pass', decide([finding()], [exception()])],
    ['passes on the last day of the exception', 'pass', decide([finding()], [exception({ expires: '2026-11-23' })])],
    ['denies after it', 'deny', decide([finding()], [exception({ expires: '2026-11-22' })])],
    ['passes with 30 days ahead', 'pass', decide([finding()], [exception({ expires: '2026-12-23' })])],
    ['denies with an exception without end', 'deny', decide([finding()], [exception({ expires: '2026-12-25' })])],
    ['denies with an exception for another package', 'deny', decide([finding()], [exception({ package: 'openss' })])],
    ['denies with an exception for another finding', 'deny', decide([finding()], [exception({ id: 'CVE-2026-11' })])],
    ['passes with a database of five days', 'pass', decide([], [], '2026-11-18T02:00:00Z')],
    ['denies with an older one', 'deny', decide([], [], '2026-11-18T01:59:59Z')],
  ])('%s', (_, verdict, decision) => {
    expect(decision.verdict).toBe(verdict);
    expect(decision.denies.length > 0).toBe(verdict === 'deny');
  });

  it('says what is wrong, why no exception helps, and where it is fixed', () => {
    const { denies } = decide([finding({ fixedIn: '3.5.4-2' })], [exception({ expires: '2026-11-01' })]);
    expect(denies).toEqual([
      'CVE-2026-1 in pkg:deb/debian/openssl@3.5.4-1 is critical, and its exception expired on 2026-11-01. Fixed in 3.5.4-2.',
    ]);
  });

  it('counts by severity, the exploited as critical', () => {
    const found = (['critical', 'high', 'medium', 'low', 'unknown'] as const).map((severity) => finding({ severity }));
    expect(decide([...found, finding({ severity: 'medium', kev: true })]).counts).toEqual({
      critical: 2,
      high: 1,
      other: 3,
    });
  });
});

const advisories = (text: string) =>
  parseAdvisories(`schema: edge.advisories/v1\nupdated: 2026-11-16\n${text}`, 'a.yaml');

describe('matching parts with advisories', () => {
  const { value } = advisories(`advisories:
  - {id: A-1, package: openssl, fixedIn: 3.5.4-1~deb13u2, severity: critical}
  - {id: A-2, package: systemd, affected: ['257.9-1', '257.8-1'], severity: high}
  - {id: A-3, package: openssh-server, fixedIn: '1:10.0p1-8', severity: high, kev: true}
`);
  const match = (...purls: string[]): string[] => matchAdvisories(purls, value ?? never()).map(({ id }) => id);

  it.each([
    ['pkg:deb/debian/openssl@3.5.4-1~deb13u1', ['A-1']],
    ['pkg:deb/debian/openssl@3.5.4-1~deb13u2', []],
    ['pkg:deb/debian/openssl@3.5.10-1', []],
    ['pkg:deb/debian/openssl-provider@1', []],
    ['pkg:deb/debian/systemd@257.9-1?arch=amd64', ['A-2']],
    ['pkg:deb/debian/systemd@257.9-2', []],
    ['pkg:deb/debian/openssh-server@1%3A10.0p1-7', ['A-3']],
    ['pkg:deb/debian/openssh-server@10.0p1-9', ['A-3']],
    ['pkg:oci/openssl@sha256%3Aabc', []],
  ])('%s: %j', (part, expected) => {
    expect(match(part)).toEqual(expected);
  });

  it('does not pass over a part that it cannot read', () => {
    expect(() => match('openssl 3.5.4')).toThrow(/not a package URL/);
  });

  it('reads package URLs with and without namespace', () => {
    expect(readPurl('pkg:deb/debian/libstdc%2B%2B6@12.2%2B1')).toEqual({
      type: 'deb',
      name: 'libstdc++6',
      version: '12.2+1',
    });
    expect(readPurl('pkg:oci/varnish@sha256%3Aab')).toEqual({ type: 'oci', name: 'varnish', version: 'sha256:ab' });
    expect(readPurl('pkg:deb/debian/x@%zz')).toBeUndefined();
  });
});

describe('the advisory file', () => {
  it.each([
    [
      'advisories: []\nexceptions: [{id: X, package: y, owner: ann, approvedBy: ann, reason: r, expires: 2026-12-01}]',
      /other than its owner/,
    ],
    ['advisories: [{id: X, package: y, severity: critical}]', /needs either fixedIn or affected/],
    ['advisories: [{id: X, package: y, severity: huge, fixedIn: 1}]', /severity: "huge" must be one of: critical/],
    ['advisories: [{id: X, package: y, severity: high, fixedIn: 1.0}]', /fixedIn/],
    ['', /advisories: is missing/],
  ])('refuses %s', (text, problem) => {
    expect(advisories(text).problems.map(problemText).join('\n')).toMatch(problem);
  });
});

function never(): never {
  throw new Error('the advisories of this test are not valid');
}
