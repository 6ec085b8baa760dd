import { ApplicationFailure, log } from '@temporalio/workflow';
import type { z } from 'zod';
import { parse } from '#domain/messages/parse.js';
import type { Reason } from '#domain/reasons.js';

/** Fails the workflow at once, without retry and with every problem by its path, when the input is not what it must be. */
export function parseInput<T>(schema: z.ZodType<T>, raw: unknown): T {
  const parsed = parse(schema, raw);
  if (parsed.ok) return parsed.value;
  throw invalid(parsed.problems);
}

export function invalid(problems: string[]): ApplicationFailure {
  const reason: Reason = 'InvalidInput';
  return ApplicationFailure.create({
    type: reason,
    nonRetryable: true,
    message: `The input is not valid. ${problems.join('; ')}`,
    details: [{ problems }],
  });
}

/**
 * Takes what a signal brings. A signal cannot be refused, and anybody may send one: what is not what it must be changes
 * nothing and is said in the log, since an error here would stop the workflow until somebody finds out why.
 */
export function heard<T>(name: string, schema: z.ZodType<T>, take: (message: T) => void): (raw: unknown) => void {
  return (raw) => {
    const parsed = parse(schema, raw);
    if (parsed.ok) take(parsed.value);
    else log.warn(`A signal ${name} was passed over: it is not valid`, { problems: parsed.problems });
  };
}

/** Refuses an Update before it is accepted; the sentence is the answer. */
export function refused(why: string): ApplicationFailure {
  const type: Reason = 'InvalidInput';
  return ApplicationFailure.create({ type, nonRetryable: true, message: why });
}

/** What an Update brings, or its refusal with every problem. */
export function messageOrRefusal<T>(schema: z.ZodType<T>, raw: unknown): T {
  const parsed = parse(schema, raw);
  if (parsed.ok) return parsed.value;
  throw refused(parsed.problems.join('; '));
}
