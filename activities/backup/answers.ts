import { classOfError, classOfText, type FailureClass } from '#domain/backup-failures.js';
import type { TendAnswer } from '#domain/messages/backup.js';
import type { Reason } from '#domain/reasons.js';

/** The error's own words are asked when its kind says nothing: a server tells most of its troubles in a text alone. */
export function failureOf(error: unknown): { why: string; failure: FailureClass; kind?: string; retryable: boolean } {
  const why = error instanceof Error ? error.message : String(error);
  const { kind, retryable } = error as { kind?: unknown; retryable?: unknown };
  const byKind = typeof kind === 'string' ? classOfError(kind) : 'network';
  const isVague = byKind === 'guest' || kind === 'Server';
  const byText = isVague ? classOfText(why) : 'guest';
  return {
    why,
    failure: byText === 'guest' ? byKind : byText,
    ...(typeof kind === 'string' ? { kind } : {}),
    retryable: retryable !== false,
  };
}

export const isKind = (error: unknown, kind: string): boolean => (error as { kind?: unknown } | null)?.kind === kind;

const reasonOf = (failure: FailureClass): Reason =>
  failure === 'credentials' ? 'BackupRefused' : failure === 'space' ? 'DatastoreFull' : 'BackupIncomplete';

/** What is final is an answer, in the words of `answer`, and what a retry can mend is thrown. */
export async function answeredBy<T>(
  answer: (failed: { why: string; failure: FailureClass }) => T,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { why, failure, kind, retryable } = failureOf(error);
    const isFinal = failure === 'credentials' || failure === 'space' || (kind !== undefined && !retryable);
    if (!isFinal) throw error;
    return answer({ why, failure });
  }
}

export const answered = (work: () => Promise<TendAnswer>): Promise<TendAnswer> => answeredBy(notDone, work);

export const done = (detail: string): TendAnswer => ({ ok: true, detail });
export const notDone = ({ why, failure }: { why: string; failure: FailureClass }): TendAnswer => ({
  ok: false,
  detail: why,
  reason: reasonOf(failure),
});
