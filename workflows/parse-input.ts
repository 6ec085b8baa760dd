import { ApplicationFailure } from '@temporalio/workflow';
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
