import { ApplicationFailure, log } from '@temporalio/activity';

/**
 * The one place where errors of clients become failures that Temporal understands. A client error carries `kind` and
 * `retryable`; anything else is taken for transient, because a bug that is retried is seen and a fault that is not
 * retried is a page at night.
 */
interface ClientError extends Error {
  kind: string;
  retryable: boolean;
}

const isClientError = (error: unknown): error is ClientError =>
  error instanceof Error &&
  typeof (error as Partial<ClientError>).kind === 'string' &&
  typeof (error as Partial<ClientError>).retryable === 'boolean';

export function toFailure(error: unknown): Error {
  if (error instanceof ApplicationFailure || (error instanceof Error && error.name === 'CancelledFailure'))
    return error;
  if (isClientError(error)) {
    return ApplicationFailure.create({
      type: error.kind,
      message: error.message,
      nonRetryable: !error.retryable,
      cause: error,
    });
  }
  return error instanceof Error ? error : new Error(String(error));
}

/** Wraps every activity of a group so that errors are translated once. */
export function translated<T extends object>(activities: T): T {
  const entries = Object.entries(activities as Record<string, (...args: unknown[]) => Promise<unknown>>).map(
    ([name, activity]) => [
      name,
      async (...args: unknown[]) => {
        try {
          return await activity(...args);
        } catch (error) {
          const failure = toFailure(error);
          log.warn(`${name} failed`, { error: failure.message });
          throw failure;
        }
      },
    ],
  );
  return Object.fromEntries(entries) as T;
}
