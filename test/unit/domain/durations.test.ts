import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatDuration, parseDuration } from '#domain/durations.js';

describe('parseDuration', () => {
  it.each([
    ['250ms', 250],
    ['90s', 90_000],
    ['15m', 900_000],
    ['1.5h', 5_400_000],
    ['24h', 86_400_000],
    ['6d', 518_400_000],
    ['0s', 0],
    ['0.001s', 1],
  ])('reads %s', (text, milliseconds) => expect(parseDuration(text)).toBe(milliseconds));

  it.each([
    '',
    '15',
    'm',
    '-1h',
    '+1h',
    ' 1h',
    '1h ',
    '1h\n',
    '1 h',
    '1H',
    '1h30m',
    '1w',
    '1e3s',
    '.5h',
    '1.h',
    '1.0001s',
    '1234567890s',
    'Infinityh',
    'NaNs',
    '１h',
    '1h; reboot',
  ])('refuses %j', (text) => expect(parseDuration(text)).toBeUndefined());

  it('refuses ten megabytes of digits', () => {
    expect(parseDuration(`${'9'.repeat(10_000_000)}s`)).toBeUndefined();
  });

  it('refuses what is longer than ten years, so that no instant computed from it overflows', () => {
    expect(parseDuration('3650d')).toBe(315_360_000_000);
    expect(parseDuration('3650.001d')).toBeUndefined();
    expect(parseDuration('999999999h')).toBeUndefined();
  });

  it('gives whole milliseconds of at most ten years for whatever it reads', () => {
    fc.assert(
      fc.property(fc.nat(999_999_999), fc.nat(999), fc.constantFrom('ms', 's', 'm', 'h', 'd'), (whole, part, unit) => {
        const read = parseDuration(`${whole}.${part}${unit}`) ?? 0;
        expect(Number.isSafeInteger(read)).toBe(true);
        expect(read).toBeGreaterThanOrEqual(0);
        expect(read).toBeLessThanOrEqual(315_360_000_000);
      }),
    );
  });
});

describe('formatDuration', () => {
  it.each([
    [-5, '0 ms'],
    [0, '0 ms'],
    [250, '250 ms'],
    [999, '999 ms'],
    [999.6, '1 s'],
    [1_000, '1 s'],
    [59_400, '59 s'],
    [59_600, '1 min'],
    [61_000, '1 min 1 s'],
    [3_599_600, '1 h'],
    [5_400_000, '1 h 30 min'],
    [172_800_000, '2 d'],
    [180_000_000, '2 d 2 h'],
  ])('writes %d as %s', (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));
});
