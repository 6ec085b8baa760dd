import type { StoreResult } from './outcomes.js';

/** What a train has its stores end for that are in work, other than an abort. */
type Cause = 'rollback' | 'deadline';

const WORDS = {
  rollback: {
    reason: 'RolledBack',
    untouched: 'The train was taken back before anything was done here. Nothing was touched.',
    stopped:
      'The train was taken back. It stopped at the nearest safe point; the rollback takes it over, once that is approved.',
  },
  deadline: {
    reason: 'DeadlineReached',
    untouched: 'The train reached its deadline before anything was done here. Nothing was touched.',
    stopped: 'The train reached its deadline. It stopped at the nearest safe point; the next train takes it over.',
  },
} as const satisfies Record<Cause, object>;

/** A store that is told to end hears no more than that. `at`: when the rollback was asked for, or the deadline was. */
export function toldToEndFor(cause: Cause, at: string, result: StoreResult): StoreResult {
  const { outcome, reason: told, startedAt, endedAt, stop } = result;
  const isEarlier = endedAt !== undefined && Date.parse(endedAt) < Date.parse(at);
  if (outcome !== 'aborted' || told !== 'Aborted' || isEarlier) return result;
  const { reason, untouched, stopped } = WORDS[cause];
  const summary = startedAt === undefined || stop?.step === 'hello' ? untouched : stopped;
  return { ...result, reason, stop: { ...stop, reason, summary } };
}
