import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compareDebVersions } from '#domain/deb-version.js';

describe('compareDebVersions', () => {
  // Each row was judged by `dpkg --compare-versions`.
  it.each([
    ['1.0', '1.0', 'eq'],
    ['1.0~rc1', '1.0', 'lt'],
    ['1.0', '1.0-0', 'eq'],
    ['1.0-1', '1.0', 'gt'],
    ['1:0.1', '2.0', 'gt'],
    ['0:1.0', '1.0', 'eq'],
    ['1.2.3', '1.2.10', 'lt'],
    ['1.0a', '1.0', 'gt'],
    ['1.0a', '1.0+', 'lt'],
    ['1.0~', '1.0~~', 'gt'],
    ['1.0.0', '1.0', 'gt'],
    ['3.5.4-1~deb13u1', '3.5.4-1~deb13u2', 'lt'],
    ['3.5.4-1~deb13u2', '3.5.4-1', 'lt'],
    ['257.9-1~deb13u1', '257.10-1', 'lt'],
    ['1.001', '1.1', 'eq'],
    ['1.0-1.1', '1.0-1', 'gt'],
    ['20240101120000123456789', '20240101120000123456790', 'lt'],
    ['1.0+dfsg-1', '1.0-1', 'gt'],
    ['1.0-a', '1.0-1', 'gt'],
    ['19.2.3-pve2', '19.2.3-pve10', 'lt'],
    ['1:10.0p1-7', '1:10.0p1-7+deb13u1', 'lt'],
    ['6.14.11-3', '6.14.11-4', 'lt'],
    ['1-2-3', '1-2-2', 'gt'],
    ['1.0.a', '1.0.~a', 'gt'],
    ['01', '1', 'eq'],
  ])('%s and %s: %s', (a, b, order) => {
    const sign = { lt: -1, eq: 0, gt: 1 }[order];
    expect(Math.sign(compareDebVersions(a, b))).toBe(sign);
    expect(Math.sign(compareDebVersions(b, a))).toBe(sign === 0 ? 0 : -(sign as number));
  });

  it('is an order: whatever is below both neighbours stays below', () => {
    const version = fc.stringMatching(/^\d[0-9a-z.+~-]{0,8}$/);
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        const [low, middle, high] = [a, b, c].toSorted(compareDebVersions) as [string, string, string];
        expect(compareDebVersions(low, high)).toBeLessThanOrEqual(0);
        expect(compareDebVersions(low, middle)).toBeLessThanOrEqual(0);
        expect(compareDebVersions(middle, high)).toBeLessThanOrEqual(0);
      }),
    );
  });
});
