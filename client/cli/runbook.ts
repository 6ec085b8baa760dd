import { readFile } from 'node:fs/promises';
import { isReason, REASONS, type Reason } from '#domain/reasons.js';
import { answer, type CommonOptions } from './context.js';
import { wrongUsage } from './failure.js';
import type { AddCommands } from './main.js';
import { columns, printable } from './text.js';

export const addRunbookCommand: AddCommands = (program, io) => {
  program
    .command('runbook')
    .description('Explain a reason: what it means and what to do.')
    .argument('[reason]', 'the word as it is shown, e.g. RebootTimeout; without it, all reasons are listed')
    .option('--json', 'print the same facts as JSON')
    .addHelpText('after', '\nExample:\n  edge runbook RebootTimeout')
    .action(async (word: string | undefined, options: CommonOptions) => {
      if (word === undefined) {
        answer(io, options, REASONS, columns(Object.entries(REASONS), 0));
        return;
      }
      const reason = reasonOf(word);
      const text = await readRunbook(reason);
      const facts = { reason, meaning: REASONS[reason], runbook: text };
      answer(io, options, facts, text === undefined ? [`${reason}: ${REASONS[reason]}`] : text.trimEnd().split('\n'));
    });
};

/** Reasons are found in any case, since people type them from a screen or a phone. */
function reasonOf(word: string): Reason {
  if (isReason(word)) return word;
  const found = Object.keys(REASONS).find((reason) => reason.toLowerCase() === word.toLowerCase());
  if (found !== undefined && isReason(found)) return found;
  throw wrongUsage(`There is no reason ${printable(word)}. All of them: edge runbook`);
}

/** Both the sources and the build know where the docs are: two folders above this file, or three. */
const RUNBOOK_FOLDERS = ['../../docs/runbooks/', '../../../docs/runbooks/'];

async function readRunbook(reason: Reason): Promise<string | undefined> {
  for (const folder of RUNBOOK_FOLDERS) {
    try {
      return await readFile(new URL(`${folder}${reason}.md`, import.meta.url), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return undefined;
}
