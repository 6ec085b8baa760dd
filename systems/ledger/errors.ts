/** The database refused, is gone, or answered something else than the ledger wrote. Never carries the URL's password. */
export class LedgerError extends Error {
  override readonly name = 'LedgerError';
  /** False: the same call will fail again. */
  readonly retryable: boolean;

  constructor(message: string, options: { retryable: boolean; cause?: unknown }) {
    super(message, { cause: options.cause });
    this.retryable = options.retryable;
  }
}

/** SQLSTATE classes that a later attempt may not meet again: connection, resources, operator's intervention, conflict, lock. */
const PASSING_CLASSES = ['08', '40', '53', '55', '57'];

export function toLedgerError(doing: string, error: unknown): LedgerError {
  if (error instanceof LedgerError) return error;
  const { code, message } = error as { code?: unknown; message: string };
  const sqlState = typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined;
  const retryable = sqlState === undefined || PASSING_CLASSES.includes(sqlState.slice(0, 2));
  return new LedgerError(`ledger: ${doing}: ${message}`, { retryable, cause: error });
}
