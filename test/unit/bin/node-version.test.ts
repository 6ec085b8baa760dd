import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../../support/build.js';

const { satisfies } = (await import(join(ROOT, 'bin/lib/node-version.mjs'))) as {
  satisfies: (version: string, range: string) => boolean;
};

describe('satisfies', () => {
  const range = '>=20.20 <21 || >=22.12';

  it.each([
    ['20.19.9', false],
    ['20.20.0', true],
    ['20.99.0', true],
    ['21.0.0', false],
    ['22.11.9', false],
    ['22.12.0', true],
    ['24.1.0', true],
    ['v22.12.0', true],
    ['23.0.0-nightly20240101', true],
  ])('%s: %s', (version, expected) => {
    expect(satisfies(version, range)).toBe(expected);
  });

  it('refuses a range that it cannot read, rather than letting any version pass', () => {
    expect(() => satisfies('20.20.0', '^20')).toThrow('cannot read "^20"');
  });
});
