import { readSchedules, silenceOf } from '../schedules.js';
import type { OpenSession, TargetOptions } from './context.js';
import type { Io } from './io.js';
import { printable } from './text.js';

/**
 * Why nothing may begin by itself, for people who ask how old the newest proof is. That Temporal cannot be asked is said
 * as well, and is no answer to what they asked.
 */
export async function silenceWords(
  open: OpenSession,
  io: Io,
  options: TargetOptions,
  ids: readonly string[],
): Promise<string[]> {
  if (ids.length === 0) return [];
  try {
    return await open(io, options, async ({ client }) => silenceOf(await readSchedules(client, ids), ids));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return [`Temporal could not be asked whether schedules begin this by themselves: ${printable(why)}`];
  }
}
