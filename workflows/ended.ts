import { ActivityFailure, ApplicationFailure } from '@temporalio/workflow';
import type { Outcome } from '#domain/outcomes.js';
import { isReason, type Reason, type Stop } from '#domain/reasons.js';

/** How the operation ended, before it is written down. */
export interface Ended {
  outcome: Outcome;
  reason?: Reason;
  stop?: Stop;
}

export const ended = (outcome: Outcome, stop: Stop): Ended => ({ outcome, reason: stop.reason, stop });

/** Why a step failed for good, by the name that the activity gave it. */
export function stopOf(error: unknown, step: string): Stop {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const message = cause instanceof Error ? cause.message : String(cause);
  const named = cause instanceof ApplicationFailure && cause.type && isReason(cause.type) ? cause.type : undefined;
  return { reason: named ?? 'StepFailed', step, summary: `The step ${step} failed: ${message.slice(0, 300)}` };
}
