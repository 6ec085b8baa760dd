import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { parse } from '#domain/messages/parse.js';
import { STORE_ID } from '#domain/naming.js';
import { CliFailure } from './failure.js';

/** What a running `edge up` says of itself in `<dir>/service.json`. Unknown fields are those of a newer version. */
const serviceFileSchema = z.object({
  pid: z.number().int().positive().optional().describe('The process that supervises the service.'),
  temporal: z.object({
    address: z.string().min(1).max(300),
    ui: z.string().max(300).optional(),
    namespace: z.string().min(1).max(200).default('default'),
  }),
  repo: z.string().max(1_000).optional(),
  branch: z.string().max(200).optional(),
  fleet: z.string().regex(STORE_ID).optional(),
  lab: z.object({ control: z.url({ protocol: /^http$/ }).max(300) }).optional(),
  databaseUrl: z.string().max(500).optional(),
  registry: z.string().max(500).optional(),
});
export type ServiceFile = z.infer<typeof serviceFileSchema>;

/** Undefined when there is none. Throws a sentence when it cannot be understood. */
export function readServiceFile(dir: string): ServiceFile | undefined {
  const path = join(dir, 'service.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new CliFailure(`Cannot read ${path}: ${(error as Error).message}`, { cause: error });
  }
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch (error) {
    throw new CliFailure(`${path} is not JSON. Stop \`edge up\` and start it again.`, { cause: error });
  }
  const parsed = parse(serviceFileSchema, raw);
  if (parsed.ok) return parsed.value;
  throw new CliFailure(
    `${path} is not as expected: ${parsed.problems.join('; ')}. Stop \`edge up\` and start it again.`,
  );
}
