import type { z } from 'zod';
import { UNKNOWN_KEY, wordsOf } from '../issue-words.js';

/**
 * Input from outside the process, judged in one place. Every problem is named by its path, in words; nothing is
 * coerced. The input itself is not echoed: it may hold anything.
 */
export type Parsed<T> = { ok: true; value: T } | { ok: false; problems: string[] };

const MAX_PROBLEMS = 50;
/** A message may name a key of the input, and keys may be of any length. */
const MAX_MESSAGE = 300;

export function parse<T>(schema: z.ZodType<T>, raw: unknown): Parsed<T> {
  const result = schema.safeParse(raw);
  if (result.success) return { ok: true, value: result.data };
  const all = result.error.issues.flatMap(problemsOf);
  const problems = all.slice(0, MAX_PROBLEMS);
  const hidden = all.length - problems.length;
  if (hidden > 0) problems.push(`and ${hidden} more`);
  return { ok: false, problems };
}

function problemsOf(issue: z.core.$ZodIssue): string[] {
  if (issue.code === 'unrecognized_keys')
    return issue.keys.map((key) => `${pathOf([...issue.path, key])}: ${UNKNOWN_KEY}`);
  const path = pathOf(issue.path);
  const words = wordsOf(issue).slice(0, MAX_MESSAGE);
  return [path === '' ? `The input ${words}` : `${path}: ${words}`];
}

/** `['stages', 1, 'window']` → `stages[1].window`. */
export function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const name = String(part).slice(0, 80);
    return text === '' ? name : `${text}.${name}`;
  }, '');
}
