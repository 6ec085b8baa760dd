/** What can go wrong in any call, whatever the API behind it says in its own words. */
export type CallErrorKind =
  | 'Auth'
  /** The certificate is not the pinned one; nothing was sent. */
  | 'Untrusted'
  | 'Validation'
  /** Nothing was sent, or a read was not answered. */
  | 'NodeUnreachable'
  /** A write was sent and its answer lost: look for the task before sending again. */
  | 'OutcomeUnknown'
  | 'Malformed';

export interface ErrorOptions {
  /** HTTP status, when there was an answer. */
  status?: number;
  cause?: unknown;
}

/** An error of an API's client, told apart by what the caller may do about it. */
export abstract class ApiError<Kind extends string> extends Error {
  readonly kind: Kind;
  /** Whether the whole step may be tried again later; a step looks before it acts, so that holds for OutcomeUnknown too. */
  readonly retryable: boolean;
  readonly status: number | undefined;

  constructor(kind: Kind, retryable: ReadonlySet<Kind>, message: string, options: ErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryable = retryable.has(kind);
    this.status = options.status;
  }
}
