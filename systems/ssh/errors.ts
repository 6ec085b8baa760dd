/**
 * Why a command gave no result.
 *
 * | kind | meaning |
 * | --- | --- |
 * | Unreachable | no connection: nothing ran |
 * | HostKeyMismatch | the host shows another key than the pinned one: nothing was sent |
 * | AuthRefused | the host does not accept the user's key |
 * | OutcomeUnknown | the connection was cut: the command may have run, or still runs |
 * | CommandTimeout | no end in time: it may still run |
 * | OutputTooLarge | more output than is kept; the channel was closed, the command may have run |
 * | Aborted | the caller's signal: it may still run |
 */
export type CommandErrorKind =
  | 'Unreachable'
  | 'HostKeyMismatch'
  | 'AuthRefused'
  | 'OutcomeUnknown'
  | 'CommandTimeout'
  | 'OutputTooLarge'
  | 'Aborted';

const RETRYABLE: ReadonlySet<CommandErrorKind> = new Set(['Unreachable', 'OutcomeUnknown', 'CommandTimeout']);

export class CommandError extends Error {
  readonly kind: CommandErrorKind;
  /** Whether the whole step may be tried again later; a step looks before it acts. */
  readonly retryable: boolean;

  constructor(kind: CommandErrorKind, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'CommandError';
    this.kind = kind;
    this.retryable = RETRYABLE.has(kind);
  }
}
