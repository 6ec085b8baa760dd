import { readdirSync, readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { program, run } from '#client/cli/main.js';
import { REASONS, SITUATIONS } from '#domain/reasons.js';
import { fakeIo } from './fake-io.js';

const FOLDER = new URL('../../../../docs/runbooks/', import.meta.url);
const runbooks = readdirSync(FOLDER).sort();
const textOf = (file: string) => readFileSync(new URL(file, FOLDER), 'utf8');

const names = [...Object.keys(REASONS), ...Object.keys(SITUATIONS)];

const edge = program(fakeIo(), { exitCode: 0 });

/** What a person would copy: inline code, which may be broken over two lines, and indented lines up to their remark. */
function commandsIn(text: string): string[] {
  const inline = [...text.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code.replaceAll(/\s+/g, ' '));
  const indented = [...text.matchAll(/^ {4}(\S.*)$/gm)].map(([, line = '']) => line.replace(/\s+#.*$/, ''));
  return [...inline, ...indented].filter((line) => line.startsWith('edge '));
}

/** Undefined when `edge` would take the line as it stands, placeholders for values; else why not. */
function problemOf(line: string): string | undefined {
  const words = (line.match(/"[^"]*"|\S+/g) ?? []).slice(1);
  let command: Command = edge;
  for (;;) {
    const next = command.commands.find((candidate) => candidate.name() === words[0]);
    if (!next) break;
    command = next;
    words.shift();
  }
  if (command.commands.length > 0) return `there is no command ${words[0] ?? '(none named)'}`;
  const { operands, unknown } = command.parseOptions(words);
  if (unknown.length > 0) return `there is no option ${unknown.join(' ')}`;
  const required = command.registeredArguments.filter((argument) => argument.required).length;
  if (operands.length < required || operands.length > command.registeredArguments.length)
    return `it takes other arguments than ${operands.join(' ') || 'none'}`;
  const missing = command.options.find(({ mandatory, long }) => mandatory && !words.includes(long ?? ''));
  return missing ? `it needs ${missing.long}` : undefined;
}

describe('runbooks', () => {
  it('there is one for every reason and situation, and none of another name', () => {
    expect(runbooks).toEqual(names.map((name) => `${name}.md`).sort());
  });

  it.each(runbooks)('%s can be read at night: its own name on top, what to do, short lines, not long', (file) => {
    const lines = textOf(file).trimEnd().split('\n');
    expect(lines[0]).toBe(`# ${file.replace('.md', '')}`);
    for (const part of ['State now:', 'Look:', 'Do:', 'Clears by itself:'])
      expect(lines.filter((line) => line.startsWith(part))).toHaveLength(1);
    expect(lines.filter((line) => line.length > 120)).toEqual([]);
    expect(lines.length).toBeLessThanOrEqual(28);
  });

  it.each(runbooks)('%s names commands that `edge` takes', (file) => {
    const commands = commandsIn(textOf(file));
    expect(commands).not.toEqual([]);
    expect(commands.flatMap((line) => problemOf(line) ?? []).join()).toBe('');
  });

  it.each(runbooks)('%s sends nobody to a runbook that does not exist', (file) => {
    const named = commandsIn(textOf(file)).flatMap((line) => /^edge runbook ([A-Z]\w*)$/.exec(line)?.[1] ?? []);
    expect(named.filter((name) => !names.includes(name))).toEqual([]);
  });

  it.each([
    ['edge train roll-back', 'there is no command roll-back'],
    ['edge store', 'there is no command (none named)'],
    ['edge train skip --store store-014', 'there is no option --store store-014'],
    ['edge store show', 'it takes other arguments than none'],
    ['edge train skip canary', 'it takes other arguments than canary'],
    ['edge train approve canary', 'it needs --plan'],
    ['edge train pause --reason "two words"', undefined],
  ])('a command that was changed is noticed: %s', (line, problem) => {
    expect(problemOf(line)).toBe(problem);
  });

  it('a reason is found in any case, and its runbook is printed', async () => {
    const io = fakeIo();
    expect(await run(['runbook', 'reboottimeout'], io)).toBe(0);
    expect(io.stdout()).toBe(textOf('RebootTimeout.md'));
  });
});
