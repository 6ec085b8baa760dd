type ObjectsErrorKind =
  | 'ObjectMissing'
  | 'ObjectTooLarge'
  | 'DigestMismatch'
  | 'ReadOnly'
  | 'BadName'
  /** The place could not be asked; retryable unless it answered with a plain refusal. */
  | 'Unavailable';

/** Every failure of an object store. Only `Unavailable` is ever worth another try. */
export class ObjectsError extends Error {
  override readonly name = 'ObjectsError';
  readonly kind: ObjectsErrorKind;
  readonly retryable: boolean;
  /** What is not there is answered like this too. S3 says 403 of it, not 404, to whoever may not list the bucket. */
  readonly mayBeAbsent: boolean;

  constructor(
    kind: ObjectsErrorKind,
    message: string,
    options: { retryable?: boolean; mayBeAbsent?: boolean; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.retryable = options.retryable ?? false;
    this.mayBeAbsent = options.mayBeAbsent ?? false;
  }
}

export const missing = (what: string, where: string): ObjectsError =>
  new ObjectsError('ObjectMissing', `${what} is not in ${where}.`);

export const tooLarge = (what: string, maxBytes: number): ObjectsError =>
  new ObjectsError('ObjectTooLarge', `${what} is larger than the ${maxBytes} bytes that its reader allows.`);

export const readOnly = (where: string): ObjectsError =>
  new ObjectsError('ReadOnly', `${where} is read over HTTP and takes no writes. Write to its file: or s3: address.`);
