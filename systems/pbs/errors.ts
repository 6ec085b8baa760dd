import { ApiError } from '../http/errors.js';
import type { CallErrorKind, ErrorOptions } from '../http/errors.js';

/**
 * What went wrong at a Proxmox Backup Server, told apart by what the caller may do about it.
 *
 * | kind | meaning |
 * | --- | --- |
 * | Auth | the token is unknown, wrong or expired |
 * | Permission | the token lacks a privilege |
 * | Untrusted | the certificate is not the pinned one; nothing was sent |
 * | Validation | a parameter was refused |
 * | NotFound | datastore, namespace, snapshot, job or task does not exist |
 * | Locked | another task holds the group, the snapshot, the datastore or the job; nothing was done |
 * | Maintenance | the datastore is in a maintenance mode that forbids the call |
 * | NoSpace | the datastore is full |
 * | NodeUnreachable | nothing was sent, or a read was not answered |
 * | OutcomeUnknown | a write was sent and its answer lost: look for the task before sending again |
 * | NotImplemented | the API does not know the path |
 * | Server | any other refusal |
 * | Malformed | the answer is not of the expected form |
 */
export type PbsErrorKind =
  CallErrorKind | 'Permission' | 'NotFound' | 'Locked' | 'Maintenance' | 'NoSpace' | 'NotImplemented' | 'Server';

const RETRYABLE: ReadonlySet<PbsErrorKind> = new Set([
  'Locked',
  'Maintenance',
  'NodeUnreachable',
  'OutcomeUnknown',
  'Server',
]);

export class PbsError extends ApiError<PbsErrorKind> {
  constructor(kind: PbsErrorKind, message: string, options: ErrorOptions = {}) {
    super(kind, RETRYABLE, message, options);
    this.name = 'PbsError';
  }
}

/**
 * Whatever a handler refuses comes as 400 with its text alone, a missing datastore and an inner fault alike.
 * Order matters: the first match names the kind.
 */
const TEXTS: readonly [RegExp, PbsErrorKind][] = [
  [/parameter verification failed|parameters do not specify/i, 'Validation'],
  [/maintenance mode/i, 'Maintenance'],
  [/no space left|ENOSPC|quota exceeded/i, 'NoSpace'],
  [/already running|unable to acquire|unable to get .*lock|got timeout|EWOULDBLOCK/i, 'Locked'],
  [/no such|not found|does not exist|unable to (open|find)/i, 'NotFound'],
];

/** The kind that an answer with status ≥ 400 stands for. `wrote` = the request was not a read. */
export function kindOfAnswer(status: number, text: string, wrote: boolean): PbsErrorKind {
  if (status === 401) return 'Auth';
  if (status === 403) return 'Permission';
  if (status === 404) return /^path .* not found/i.test(text) ? 'NotImplemented' : 'NotFound';
  // The server says 400 for its own faults; what says 500 may have broken off in the middle.
  if (status >= 500) return wrote ? 'OutcomeUnknown' : 'Server';
  for (const [pattern, kind] of TEXTS) if (pattern.test(text)) return kind;
  return 'Server';
}
