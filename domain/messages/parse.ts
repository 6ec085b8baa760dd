import type { z } from 'zod';

/**
 * Input from outside the process, judged in one place. Every problem is named by its path, in words; nothing is
 * coerced. The input itself is not echoed: it may hold anything.
 */
export type Parsed<T> = { ok: true; value: T } | { ok: false; problems: string[] };

const MAX_PROBLEMS = 50;

export function parse<T>(schema: z.ZodType<T>, raw: unknown): Parsed<T> {
  const result = schema.safeParse(raw);
  if (result.success) return { ok: true, value: result.data };
  const problems = result.error.issues.slice(0, MAX_PROBLEMS).map((issue) => {
    const path = pathOf(issue.path);
    return path === '' ? issue.message : `${path}: ${issue.message}`;
  });
  const hidden = result.error.issues.length - problems.length;
  if (hidden > 0) problems.push(`and ${hidden} more`);
  return { ok: false, problems };
}

/** `['stages', 1, 'window']` → `stages[1].window`. */
export function pathOf(path: readonly PropertyKey[]): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === 'number') return `${text}[${part}]`;
    const name = String(part).slice(0, 80);
    return text === '' ? name : `${text}.${name}`;
  }, '');
}
