import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Canary } from '#domain/messages/restore.js';
import type { RestoreDeps } from './deps.js';
import { runInside } from './inside.js';
import type { Found } from './site.js';

/** Where a guest writes, now and then, the moment and a number that rises, so that a backup shows how old it is. */
const FILE = '/var/lib/edge-canary.json';

const canarySchema = z.object({
  at: z.iso.datetime(),
  sequence: z.number().int().min(0),
  /** Of `at` and `sequence`, one after the other, in hex. */
  sha256: z.string(),
});

/** Undefined when the guest keeps none. */
export async function readCanary(deps: RestoreDeps, guest: Found): Promise<Canary | { broken: string } | undefined> {
  const there = await runInside(deps, guest, ['test', '-e', FILE]);
  // Without the program it is no guest that would keep one.
  if (there.code === 1 || there.code === 127) return undefined;
  const { code, stdout, stderr } = there.code === 0 ? await runInside(deps, guest, ['cat', FILE]) : there;
  if (code !== 0) return { broken: `${FILE} cannot be read: ${stderr.trim().slice(0, 200) || `exit code ${code}`}` };
  return parseCanary(stdout);
}

function parseCanary(text: string): Canary | { broken: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { broken: `${FILE} is not JSON` };
  }
  const parsed = canarySchema.safeParse(value);
  if (!parsed.success) return { broken: `${FILE} is not of the expected form` };
  const { at, sequence, sha256 } = parsed.data;
  const expected = createHash('sha256').update(`${at}${sequence}`).digest('hex');
  return sha256 === expected ? { at, sequence } : { broken: `${FILE} does not fit its own checksum` };
}
