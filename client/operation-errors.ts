import {
  isGrpcServiceError,
  QueryNotRegisteredError,
  ServiceError,
  WorkflowNotFoundError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';

/** Why an operation could not be asked for or answered. The message is a sentence that names the remedy. */
export type OperationErrorKind =
  | 'invalid-input'
  | 'unreachable'
  | 'denied'
  | 'no-train'
  | 'train-over'
  | 'train-running'
  | 'janitor-running'
  | 'night-running'
  | 'restores-running'
  | 'no-operation'
  | 'no-worker'
  | 'other-version'
  | 'unexpected';

export class OperationError extends Error {
  readonly kind: OperationErrorKind;
  /** Every problem of the input, by its path. */
  readonly problems: readonly string[];

  constructor(kind: OperationErrorKind, message: string, options: { problems?: string[]; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.name = 'OperationError';
    this.kind = kind;
    this.problems = options.problems ?? [];
  }
}

/** gRPC status codes that mean something of their own here. */
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const PERMISSION_DENIED = 7;
const RESOURCE_EXHAUSTED = 8;
const FAILED_PRECONDITION = 9;
const UNAVAILABLE = 14;
const UNAUTHENTICATED = 16;

/** The words of a server that gave up waiting for a worker, whatever code they come with. */
const GAVE_UP = /context (canceled|deadline exceeded)/i;

/** Where a call went: what the sentence of its error speaks of. */
export interface CallPlace {
  address: string;
  /** What was asked for, e.g. `the train of fleet edge`. */
  subject: string;
  /** Said when the workflow is not there. */
  missing: () => OperationError;
  /** Said when it is there, but has ended. */
  over?: () => OperationError;
}

/** Temporal's errors as sentences. An error that is none of Temporal's is returned as it is. */
export function toOperationError(error: unknown, place: CallPlace): unknown {
  if (error instanceof OperationError) return error;
  if (error instanceof WorkflowNotFoundError) {
    const hasEnded = /already completed/i.test(error.message);
    return hasEnded && place.over !== undefined ? place.over() : place.missing();
  }
  if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError) {
    return new OperationError(
      'no-worker',
      `No answer from ${place.subject}: it seems that no control worker is running. ` +
        'The message may still be taken when one starts; look before you send it again. `edge doctor` shows the workers.',
      { cause: error },
    );
  }
  if (error instanceof QueryNotRegisteredError) {
    return new OperationError(
      'other-version',
      `${capital(place.subject)} does not know this question: another version of the control worker runs it.`,
      { cause: error },
    );
  }
  const code = grpcCode(error);
  if (code === undefined) return error;
  return fromGrpc(code, error, place);
}

function fromGrpc(code: number, error: unknown, place: CallPlace): OperationError {
  const cause = { cause: error };
  switch (GAVE_UP.test(grpcDetails(error)) ? DEADLINE_EXCEEDED : code) {
    case UNAVAILABLE:
      return unreachable(place.address, error);
    // Near the deadline the server may give up first, with a code of its own.
    case CANCELLED:
    case DEADLINE_EXCEEDED:
    case FAILED_PRECONDITION:
      return new OperationError(
        'no-worker',
        `No answer from ${place.subject}: it seems that no control worker is running. \`edge doctor\` shows the workers.`,
        cause,
      );
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
      return new OperationError('denied', `Temporal at ${place.address} does not allow this to you.`, cause);
    case RESOURCE_EXHAUSTED:
      return new OperationError('unexpected', `Temporal at ${place.address} is overloaded. Try again later.`, cause);
    default:
      return new OperationError(
        'unexpected',
        `Temporal at ${place.address} answered with an error about ${place.subject}: ${grpcDetails(error)}`,
        cause,
      );
  }
}

export function unreachable(address: string, cause: unknown): OperationError {
  return new OperationError('unreachable', `Cannot reach Temporal at ${address}. Is \`edge up\` running?`, { cause });
}

function grpcError(error: unknown): { code: number; details: string } | undefined {
  const inner = error instanceof ServiceError ? error.cause : error;
  return isGrpcServiceError(inner) ? inner : undefined;
}
const grpcCode = (error: unknown): number | undefined => grpcError(error)?.code;
const grpcDetails = (error: unknown): string => grpcError(error)?.details ?? 'no details';
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);
