import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { columns, fit, listed, printable, printableJson, timeInZone, timeOf, width, wrap } from '#client/cli/text.js';
import { clock } from '../builders.js';

describe('printable', () => {
  const cases: Record<string, [input: string, output: string]> = {
    'leaves plain words alone': ['store-001 −6,1 Größe', 'store-001 −6,1 Größe'],
    'takes out colours': ['\u001b[31mred\u001b[0m', 'red'],
    'takes out a terminal title': ['\u001b]0;owned\u0007after', 'after'],
    'takes out an unfinished escape sequence': ['before\u001b]0;owned', 'before'],
    'takes out the one-byte form of an escape sequence': ['\u009b2Jclean', 'clean'],
    'makes one line of several': ['one\r\ntwo\tthree', 'one two three'],
    'takes out characters that turn the reading direction': ['a\u202eb\u2066c', 'abc'],
    'takes out bells and backspaces': ['a\u0007\u0008b', 'ab'],
    'replaces half a character': ['a\ud800b', 'a\ufffdb'],
  };
  for (const [sentence, [input, output]] of Object.entries(cases)) {
    it(sentence, () => expect(printable(input)).toBe(output));
  }

  it('never lets a control character through, whatever comes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(printable(text)).not.toMatch(/[\p{Cc}\u202a-\u202e\u2066-\u2069]/u);
      }),
    );
  });

  it('keeps JSON readable by programs while no character steers a terminal', () => {
    const hostile = { name: 'a\u009b2J\u202e\u001bb' };
    const json = printableJson(hostile);
    expect(json).not.toMatch(/[\u001b\u009b\u202e]/u);
    expect(JSON.parse(json)).toEqual(hostile);
  });
});

describe('times', () => {
  it('name the weekday and the zone when near', () => {
    expect(timeInZone('2026-11-24T10:42:00Z', clock)).toBe('Tue 11:42 (Europe/Berlin)');
  });
  it('name the date when far', () => {
    expect(timeOf('2026-12-24T10:42:00Z', clock)).toBe('Thu 24 Dec 2026 11:42');
  });
  it('are said to be unreadable when they are', () => {
    expect(timeOf('nonsense', clock)).toBe('an unreadable time');
  });
  it('show midnight as 00:00', () => {
    expect(timeOf('2026-11-23T23:00:00Z', clock)).toBe('Tue 00:00');
  });
});

describe('lines', () => {
  it('are padded to columns, the last one not', () => {
    expect(
      columns([
        ['a', 'bb', 'c'],
        ['aaa', 'b', 'cc'],
      ]),
    ).toEqual(['  a    bb  c', '  aaa  b   cc']);
  });
  it('are cut to the terminal', () => {
    expect(fit('abcdef', 4)).toBe('abc…');
    expect(fit('abcd', 4)).toBe('abcd');
  });
  it('are wrapped at words and indented', () => {
    expect(wrap('one two three', 9, '  ')).toEqual(['  one two', '  three']);
  });
  it('never exceed the width when the words fit', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ minLength: 1, maxLength: 8 }).filter((word) => !/\s/.test(word))), (words) => {
        for (const line of wrap(words.join(' '), 20, '  ')) expect(width(line)).toBeLessThanOrEqual(20);
      }),
    );
  });
  it('list few words and count many', () => {
    expect(listed(['a', 'b', 'c'], 3)).toBe('a, b and c');
    expect(listed(['a', 'b', 'c', 'd'], 2)).toBe('a, b and 2 more');
    expect(listed([], 2)).toBe('');
  });
});
