type GitErrorKind =
  | 'FileMissing'
  | 'FileTooLarge'
  /** The branch or commit is not in the repo. */
  | 'RefMissing'
  /** A path, branch, tag or commit is not of a form that is passed to git. */
  | 'BadName'
  /** The branch moved again and again while a promotion was written. */
  | 'Contended'
  /** A promoted file was changed by somebody else, so its promotion cannot be reverted. Permanent until a person mends it. */
  | 'Conflict'
  /** git itself failed; the message has its last words. */
  | 'GitFailed';

/** Every failure of the GitOps repo. `retryable` = the same call may succeed later without anyone doing anything. */
export class GitError extends Error {
  override readonly name = 'GitError';
  readonly kind: GitErrorKind;
  readonly retryable: boolean;

  constructor(kind: GitErrorKind, message: string, options: { retryable?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryable = options.retryable ?? false;
  }
}
