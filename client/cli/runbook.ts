import { readFile } from 'node:fs/promises';
import { REASONS, SITUATIONS } from '#domain/reasons.js';
import { answer, type CommonOptions } from './context.js';
import { wrongUsage } from './failure.js';
import type { AddCommands } from './main.js';
import { columns, printable } from './text.js';

const ALL: Readonly<Record<string, string>> = { ...REASONS, ...SITUATIONS };

export const addRunbookCommand: AddCommands = (program, io) => {
  program
    .command('runbook')
    .description('Explain a reason, or a situation: what it means and what to do.')
    .argument('[reason]', 'the word as it is shown, e.g. RebootTimeout; without it, all are listed')
    .option('--json', 'print the same facts as JSON')
    .addHelpText('after', '\nExample:\n  edge runbook RebootTimeout')
    .action(async (word: string | undefined, options: CommonOptions) => {
      if (word === undefined) {
        answer(io, options, ALL, columns(Object.entries(ALL), 0));
        return;
      }
      const reason = nameOf(word);
      const text = await readRunbook(reason);
      const facts = { reason, meaning: ALL[reason], runbook: text };
      answer(io, options, facts, text === undefined ? [`${reason}: ${ALL[reason]}`] : text.trimEnd().split('\n'));
    });
};

/** They are found in any case, since people type them from a screen or a phone. */
function nameOf(word: string): string {
  const found = Object.keys(ALL).find((name) => name.toLowerCase() === word.toLowerCase());
  if (found === undefined) throw wrongUsage(`There is no reason ${printable(word)}. All of them: edge runbook`);
  return found;
}

/** Both the sources and the build know where the docs are: two folders above this file, or three. */
const RUNBOOK_FOLDERS = ['../../docs/runbooks/', '../../../docs/runbooks/'];

async function readRunbook(reason: string): Promise<string | undefined> {
  for (const folder of RUNBOOK_FOLDERS) {
    try {
      return await readFile(new URL(`${folder}${reason}.md`, import.meta.url), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return undefined;
}
