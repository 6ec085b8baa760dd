import { TemporalFailure } from '@temporalio/workflow';
import type { StoreResult } from '#domain/outcomes.js';
import { messageOf } from './proxies.js';

/**
 * A wave that broke off, say because somebody terminated it, tells nothing of its stores. Nobody is to take that for
 * well: each has failed, for all that is known, and people say what becomes of it.
 *
 * Throws on an error that is none of Temporal's.
 */
export function resultsOfBroken(error: unknown, stores: readonly string[]): StoreResult[] {
  if (!(error instanceof TemporalFailure)) throw error;
  const summary = `The wave of this store broke off, so how far it came is not known: ${messageOf(error)}`;
  return stores.map((store) => ({
    store,
    outcome: 'failed',
    reason: 'StepFailed',
    stop: { reason: 'StepFailed', summary },
  }));
}
