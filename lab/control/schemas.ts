import { z } from 'zod';
import { FAULT_KINDS, faultProblems, MOMENTS, STEPS, type Step } from '../world/fault-table.js';

const word = z.string().min(1).max(120);

/** A fault as an operator or a plan states it. */
export const faultSchema = z
  .object({
    id: word.optional(),
    store: word.describe('A store id, or * for every store.'),
    node: word.optional(),
    kind: z.enum(FAULT_KINDS, { error: 'there is no such fault. All of them: edge lab faults' }),
    step: z
      .enum(Object.keys(STEPS) as [Step, ...Step[]], {
        error: 'there is no such step. All of them: edge lab faults',
      })
      .optional()
      .describe('The effect it belongs to, by its name in the journal.'),
    moment: z.enum(MOMENTS).optional(),
    times: z.number().int().min(1).max(1_000_000).optional(),
    durationMs: z
      .number()
      .min(1)
      .max(31 * 86_400_000)
      .optional()
      .describe('Milliseconds of a real store.'),
    params: z.record(word, z.union([z.string().max(200), z.number(), z.boolean()])).optional(),
  })
  .strict()
  .superRefine((fault, context) => {
    for (const { field, message } of faultProblems(fault)) {
      context.addIssue({ code: 'custom', path: field.split('.'), message });
    }
  });

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
    parsed.error.issues.map(({ path, message }) => `${placeOf(path)}: ${message}`),
  );
}

/** `[3].step` for what stands in a list. */
const placeOf = (path: readonly PropertyKey[]): string =>
  path.map((key, i) => (typeof key === 'number' ? `[${key}]` : `${i === 0 ? '' : '.'}${String(key)}`)).join('') ||
  'value';

/** Stores with their nodes, and backup servers without any, of the fleet that a plan is for. */
export type Places = ReadonlyMap<string, { nodes: ReadonlyMap<string, unknown> }>;

/** A list of faults from a plan. Throws with every problem, each with its place in the list. */
export function parseFaults(value: unknown, places?: Places): z.output<typeof faultSchema>[] {
  const what = 'The list of faults is not valid';
  const faults = checked(z.array(faultSchema).max(10_000), value, what);
  const problems = faults.flatMap((fault, i) => placeProblems(fault, places).map((text) => `[${i}].${text}`));
  if (problems.length > 0) throw new BadInput(what, problems);
  return faults;
}

export function parseFault(value: unknown, places: Places): z.output<typeof faultSchema> {
  const what = 'The fault is not valid';
  const fault = checked(faultSchema, value, what);
  const problems = placeProblems(fault, places);
  if (problems.length > 0) throw new BadInput(what, problems);
  return fault;
}

function placeProblems({ store, node }: { store: string; node?: string | undefined }, places?: Places): string[] {
  if (!places) return [];
  const known = store === '*' ? [...places.values()] : [places.get(store)].filter((each) => each !== undefined);
  if (known.length === 0) return [`store: there is no store ${store}`];
  if (node === undefined || known.some(({ nodes }) => nodes.has(node))) return [];
  return [store === '*' ? `node: no store has a node ${node}` : `node: store ${store} has no node ${node}`];
}
