import type { Reply } from '../operations.js';
import { answer, type TargetOptions } from './context.js';
import type { Io } from './io.js';
import type { CommandResult } from './main.js';
import { printable } from './text.js';

/** What a command says to a running workflow, and how the answer is told. */

export interface Said {
  by: string;
  reason?: string;
}
export const reasoned = (by: string, reason: string | undefined): Said =>
  reason === undefined ? { by } : { by, reason };

/** A refusal is an answer, not an error, but the command has not done what was asked. */
export function tell(
  io: Io,
  options: TargetOptions,
  result: CommandResult,
  reply: Reply,
  facts: object,
  lines: readonly string[],
): void {
  const accepted = reply.kind === 'accepted';
  const sentence = printable(reply.sentence);
  answer(io, options, { ...facts, ...reply }, accepted ? [...lines, sentence] : [`Refused: ${sentence}`]);
  if (!accepted) result.exitCode = 1;
}
