import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { REASONS } from '#domain/reasons.js';
import { fakeIo } from './fake-io.js';

const FOLDER = join(import.meta.dirname, '../../../../docs/runbooks');
const reasons = Object.keys(REASONS);

/** What stands in backticks or on a line of its own, as words and options: `edge store show <store>` → store show. */
const commandsIn = (text: string): { words: string[]; options: string[] }[] =>
  [...text.matchAll(/`edge ([^`]+)`|^edge (.+)$/gm)].map((match) => {
    const tokens = (match[1] ?? match[2] ?? '').replace(/"[^"]*"/g, '').split(/\s+/);
    const end = tokens.findIndex((token) => !/^[a-z-]+$/.test(token) || token.startsWith('-'));
    return {
      words: end < 0 ? tokens : tokens.slice(0, end),
      options: tokens.filter((token) => token.startsWith('--')),
    };
  });

describe('the runbooks', () => {
  it('are one for each reason, and none without', () => {
    expect(readdirSync(FOLDER).toSorted()).toEqual(reasons.map((reason) => `${reason}.md`).toSorted());
  });

  it.each(reasons)('%s starts with its meaning and names only commands that there are', async (reason) => {
    const text = readFileSync(join(FOLDER, `${reason}.md`), 'utf8');
    const meaning = REASONS[reason as keyof typeof REASONS];
    expect(text.replace(/\s+/g, ' ')).toContain(`# ${reason} ${meaning} ## What is so now`);
    expect(text.split('\n').filter((line) => line.length > 120)).toEqual([]);
    const commands = commandsIn(text);
    expect(commands).not.toEqual([]);
    for (const { words, options } of commands) {
      const io = fakeIo();
      await run([...words, '--help'], io);
      const help = io.stdout();
      expect(help).toContain(`Usage: edge ${words.join(' ')} `);
      for (const option of options) expect(help, `${words.join(' ')} ${option}`).toContain(option);
    }
  });

  it('are printed by the command that people are told', async () => {
    const io = fakeIo();
    expect(await run(['runbook', 'reboottimeout'], io)).toBe(0);
    expect(io.stdout()).toContain('Do not touch the second node');
  });
});
