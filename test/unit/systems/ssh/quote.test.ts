import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { shellQuote } from '#systems/ssh/quote.js';

/** What a real shell makes of the line: the arguments that the program gets. */
function asSeenByAShell(args: string[]): string[] {
  const line = shellQuote(['printf', String.raw`%s\0`, ...args]);
  const seen = execFileSync('/bin/sh', ['-c', line]);
  return seen.toString('utf8').split('\0').slice(0, -1);
}

const HOSTILE = [
  '',
  ' ',
  "'",
  "''",
  '"',
  '\\',
  "a'b'c",
  '$HOME',
  '$(id)',
  '`id`',
  '; rm -rf /',
  '&& id',
  '| id',
  '> /tmp/x',
  '*',
  '?',
  '[a-z]',
  '{a,b}',
  '~',
  '~root',
  '#comment',
  '!history',
  'A=b',
  '-n',
  '--',
  'line\nbreak',
  'tab\there',
  '\r\n',
  'ünïcödé ☃ 🚀',
  '\u0007',
  '\u001b[31m',
  "'\\''",
  "\\'",
];

describe('shellQuote', () => {
  it.each(HOSTILE.map((word) => [JSON.stringify(word), word]))('keeps %s one argument', (_shown, word) => {
    expect(asSeenByAShell([word])).toEqual([word]);
  });

  it('keeps all of them together', () => {
    expect(asSeenByAShell(HOSTILE)).toEqual(HOSTILE);
  });

  it('keeps any list of words', () => {
    const word = fc.string({ unit: 'grapheme', maxLength: 20 }).filter((text) => !text.includes('\0'));
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 8 }), (words) => {
        expect(asSeenByAShell(words)).toEqual(words);
      }),
      { numRuns: 60 },
    );
  });

  it('leaves plain words readable', () => {
    expect(shellQuote(['ceph', 'osd', 'ok-to-stop', '0', '-f', 'json'])).toBe('ceph osd ok-to-stop 0 -f json');
  });

  it.each(['if', 'while', 'A=b', '!', '{'])('runs a program that is called %s', (name) => {
    expect(() => execFileSync('/bin/sh', ['-c', shellQuote([name])], { stdio: 'pipe' })).toThrow(/not found/);
  });

  it('refuses what no argument can be', () => {
    expect(() => shellQuote([])).toThrow(TypeError);
    expect(() => shellQuote(['echo', 'a\0b'])).toThrow(TypeError);
  });
});
