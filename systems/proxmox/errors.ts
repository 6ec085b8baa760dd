import { ApiError } from '../http/errors.js';
import type { CallErrorKind, ErrorOptions } from '../http/errors.js';

/**
 * What went wrong at a Proxmox API, told apart by what the caller may do about it.
 *
 * | kind | meaning |
 * | --- | --- |
 * | Auth | the token is unknown, wrong or expired |
 * | Permission | the token lacks a privilege, or the call is for root@pam alone |
 * | Untrusted | the certificate is not the pinned one; nothing was sent |
 * | Validation | a parameter was refused |
 * | NotFound | guest, task or other object does not exist (there) |
 * | GuestLocked | another operation holds the guest |
 * | LockTimeout | a lock was busy for too long; nothing was done |
 * | NoQuorum | the cluster refuses writes |
 * | Conflict | the config changed since it was read |
 * | NodeUnreachable | nothing was sent, or the node behind the entry could not be connected |
 * | OutcomeUnknown | a write was sent and its answer lost: look for the task before sending again |
 * | NotImplemented | the API does not know path or method |
 * | Server | any other refusal |
 * | Malformed | the answer is not of the expected form |
 */
export type ProxmoxErrorKind =
  | CallErrorKind
  | 'Permission'
  | 'NotFound'
  | 'GuestLocked'
  | 'LockTimeout'
  | 'NoQuorum'
  | 'Conflict'
  | 'NotImplemented'
  | 'Server';

const RETRYABLE: ReadonlySet<ProxmoxErrorKind> = new Set([
  'GuestLocked',
  'LockTimeout',
  'NoQuorum',
  'Conflict',
  'NodeUnreachable',
  'OutcomeUnknown',
  'Server',
]);

export class ProxmoxError extends ApiError<ProxmoxErrorKind> {
  constructor(kind: ProxmoxErrorKind, message: string, options: ErrorOptions = {}) {
    super(kind, RETRYABLE, message, options);
    this.name = 'ProxmoxError';
  }
}

/** Texts of plain failures, which all come as 500. Order matters: the first match names the kind. */
const TEXTS: readonly [RegExp, ProxmoxErrorKind][] = [
  [/no quorum/i, 'NoQuorum'],
  [/\bis locked\b/i, 'GuestLocked'],
  [/got timeout|got lock request timeout|already running|unable to acquire|can't lock file/i, 'LockTimeout'],
  [/detected modified configuration/i, 'Conflict'],
  [/does not exist|no such (resource|user|task|vm|ct)/i, 'NotFound'],
];

/** The kind that an answer with status ≥ 400 stands for. `wrote` = the request was not a read. */
export function kindOfAnswer(status: number, text: string, wrote: boolean): ProxmoxErrorKind {
  if (status === 401) return 'Auth';
  if (status === 403) return 'Permission';
  if (status === 400) return /no such task/i.test(text) ? 'NotFound' : 'Validation';
  if (status === 404) return 'NotFound';
  if (status === 501) return 'NotImplemented';
  // The node behind the entry node could not be connected, so the request never reached it.
  if (status === 595) return 'NodeUnreachable';
  if (status >= 596 && status <= 599) return wrote ? 'OutcomeUnknown' : 'NodeUnreachable';
  for (const [pattern, kind] of TEXTS) if (pattern.test(text)) return kind;
  return 'Server';
}
