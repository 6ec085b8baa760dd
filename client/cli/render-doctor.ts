import { plural } from '#domain/counted.js';
import { columns, printable } from './text.js';

/** One thing that was looked at. `remedy` says what to do when it is not well. */
export interface Finding {
  name: string;
  state: 'ok' | 'warning' | 'problem';
  text: string;
  remedy?: string | undefined;
}

const WORDS: Record<Finding['state'], string> = { ok: 'ok', warning: 'note', problem: 'PROBLEM' };

export function renderDoctor(findings: readonly Finding[]): string[] {
  const rows = findings.map(({ name, state, text, remedy }) => [
    WORDS[state],
    printable(name),
    printable(remedy === undefined || state === 'ok' ? text : `${text} ${remedy}`),
  ]);
  const problems = findings.filter(({ state }) => state === 'problem').length;
  return [...columns(rows, 0), problems === 0 ? 'No problems.' : `${plural(problems, 'problem')}.`];
}
