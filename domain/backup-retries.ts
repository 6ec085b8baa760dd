import { decideNextTry, type FailureClass, type GuestRun, type NextTry } from './backup-failures.js';
import type { Reason } from './reasons.js';

/**
 * Which guests of a store are dumped once more, and when. Each fails for its own reasons, but all that are tried again
 * go together, since a node runs one vzdump at a time.
 */

/** For each guest how its tries ended, oldest first. */
export type Tries = ReadonlyMap<number, readonly GuestRun[]>;

interface Retries {
  /** Sorted; empty when nobody is tried again. */
  vmids: number[];
  /** When; absent when nobody is. */
  at?: Date;
}

/** `wait` in milliseconds, as `decideNextTry` has it. */
function planRetries(tries: Tries, now: Date, deadline: Date, wait: number): Retries {
  const again = [...tries].flatMap(([vmid, runs]) => {
    const last = runs.at(-1);
    if (!last || last.kind === 'done') return [];
    const failure = classOf(last);
    const failures = runs.filter((run) => run.kind !== 'done' && classOf(run) === failure).length;
    const next = decideNextTry({ failure, failures, now, deadline, wait });
    return next.kind === 'again' ? [{ vmid, at: next.at }] : [];
  });
  if (again.length === 0) return { vmids: [] };
  return {
    vmids: again.map(({ vmid }) => vmid).toSorted((a, b) => a - b),
    at: new Date(Math.max(...again.map(({ at }) => at.getTime()))),
  };
}

export interface Tried {
  tries: Tries;
  /** For which a try was refused as a whole, oldest first; the last of them by the last try when `isRefused`. */
  refusals: readonly Reason[];
  isRefused: boolean;
  /** Whom the last try was for; absent: everybody. */
  vmids?: readonly number[] | undefined;
}

/** Undefined when there is no further try. Refused as a whole, the same are asked for again; else those for whom it may help. */
export function planNextTry(
  { tries, refusals, isRefused, vmids }: Tried,
  now: Date,
  deadline: Date,
  wait: number,
): { at: Date; vmids?: number[] } | undefined {
  const reason = refusals.at(-1);
  if (!isRefused || reason === undefined) {
    const { vmids: again, at } = planRetries(tries, now, deadline, wait);
    return at && { at, vmids: again };
  }
  const same = refusals.filter((one) => one === reason).length;
  const next = afterRefusal(reason, same, now, deadline, wait);
  return next.kind === 'again' ? { at: next.at, ...(vmids ? { vmids: [...vmids] } : {}) } : undefined;
}

/** Of a try that nobody saw the end of the node was lost, or the link to it. */
const classOf = (run: Exclude<GuestRun, { kind: 'done' }>): FailureClass =>
  run.kind === 'failed' ? run.failure : 'network';

/** When a dump that was refused as a whole is asked for again; `refusals` counts those of this reason, this one included. */
const afterRefusal = (reason: Reason, refusals: number, now: Date, deadline: Date, wait: number): NextTry =>
  decideNextTry({ failure: classOfReason(reason), failures: refusals, now, deadline, wait });

function classOfReason(reason: Reason): FailureClass {
  switch (reason) {
    case 'BackupRefused':
    case 'PermissionsMissing':
      return 'credentials';
    case 'DatastoreFull':
      return 'space';
    case 'NoQuorum':
    case 'TasksRunning':
      return 'lock';
    case 'FactsUnreadable':
    case 'BackupFailed':
      return 'network';
    default:
      // Whatever it is, the same question again gets the same answer.
      return 'guest';
  }
}
