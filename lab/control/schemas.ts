import { z } from 'zod';
import { FAULT_KINDS } from '../world/faults.js';

const word = z.string().min(1).max(120);

/** A fault as an operator or a plan states it. */
export const faultSchema = z
  .object({
    id: word.optional(),
    store: word.describe('A store id, or * for every store.'),
    node: word.optional(),
    kind: z.enum(FAULT_KINDS),
    step: word.optional().describe('The effect it belongs to, by its name in the journal.'),
    moment: z.enum(['before', 'during', 'after']).optional(),
    times: z.number().int().min(1).max(1_000_000).optional(),
    durationMs: z
      .number()
      .min(1)
      .max(31 * 86_400_000)
      .optional()
      .describe('Milliseconds of a real store.'),
    params: z.record(word, z.union([z.string().max(200), z.number(), z.boolean()])).optional(),
  })
  .strict();

export const wanSchema = z.object({ up: z.boolean(), silent: z.boolean().default(false) }).strict();
export const powerSchema = z.object({ on: z.boolean() }).strict();

export class BadInput extends Error {
  override readonly name = 'BadInput';
  readonly problems: string[];

  constructor(what: string, problems: string[]) {
    super(`${what}: ${problems.join('; ')}`);
    this.problems = problems;
  }
}

export function checked<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new BadInput(
    what,
    parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'value'}: ${message}`),
  );
}

/** A list of faults from a plan. Throws with every problem. */
export const parseFaults = (value: unknown): z.output<typeof faultSchema>[] =>
  checked(z.array(faultSchema).max(10_000), value, 'The list of faults is not valid');
