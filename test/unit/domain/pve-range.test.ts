import { describe, expect, it } from 'vitest';
import { isPveRange, pveInRange } from '#domain/pve-range.js';

describe('pveInRange', () => {
  it.each([
    ['9.1.4', '>=8.2 <10', true],
    ['8.2', '>=8.2 <10', true],
    ['8.2.0', '>=8.2 <10', true],
    ['8.1.99', '>=8.2 <10', false],
    ['9.99.99', '>=8.2 <10', true],
    ['10.0.0', '>=8.2 <10', false],
    ['8.10.1', '>=8.9', true],
    ['8.4.14/a1b2c3', '>=8.4 <9', true],
    ['9.1-2', '=9.1', true],
    ['9.1.1', '=9.1', false],
    ['9.1.1', '>9.1 <=9.1.1', true],
  ])('%s in %s: %s', (version, range, expected) => {
    expect(pveInRange(version, range)).toBe(expected);
  });

  it.each([
    ['', '>=8.2'],
    ['unknown', '>=8.2'],
    ['9.1.4 or so', '>=8.2'],
    ['9', ''],
    ['9', '>=8 || <7'],
    ['9', '^8'],
    ['9', '8.2'],
    ['9', '>=8.2,<10'],
  ])('does not judge %j by %j', (version, range) => {
    expect(pveInRange(version, range)).toBeUndefined();
  });

  it('knows what is a range', () => {
    expect([isPveRange('>=8.2 <10'), isPveRange('latest'), isPveRange('')]).toEqual([true, false, false]);
  });
});
