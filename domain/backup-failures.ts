import { leftOutBy } from './left-out.js';

/**
 * Why a backup did not come about, and what is done about it. Trying again helps against a cut line and not against a
 * wrong token, and what is wrong with one guest is no reason to leave out the others.
 */

/**
 * | class | meaning | then |
 * | --- | --- | --- |
 * | credentials | token, privilege or certificate | no further try; the night's end tells people |
 * | space | the datastore is full | no further try |
 * | network | not reached, or the answer was lost | tried again, a few times |
 * | lock | somebody else holds the guest, the group or the node | waited for, until the deadline |
 * | guest | this guest refuses; the others go on | no further try |
 */
export type FailureClass = 'credentials' | 'space' | 'network' | 'lock' | 'guest';

/** Kinds of errors of the clients. One that is not named is the guest's own trouble. */
const CLASS_OF_KIND: Readonly<Record<string, FailureClass>> = {
  Auth: 'credentials',
  Permission: 'credentials',
  Untrusted: 'credentials',
  NoSpace: 'space',
  NodeUnreachable: 'network',
  OutcomeUnknown: 'network',
  Server: 'network',
  Locked: 'lock',
  LockTimeout: 'lock',
  GuestLocked: 'lock',
  NoQuorum: 'lock',
  Conflict: 'lock',
  Maintenance: 'lock',
};

/** What tasks say when they end badly. Order matters: the first match names the class. */
const TEXTS: readonly [RegExp, FailureClass][] = [
  [/no space left|ENOSPC|quota exceeded/i, 'space'],
  [
    /authentication failed|permission check failed|invalid credentials|unauthorized|forbidden|fingerprint .*(not verified|mismatch|changed)|certificate|wrong key|unable to (load|find) .*key/i,
    'credentials',
  ],
  [
    /\bis locked\b|got timeout|can't (acquire )?lock|unable to (acquire|get) .*lock|already running|maintenance mode|no quorum/i,
    'lock',
  ],
  [
    /connection (refused|reset|timed out|closed|error)|timed? ?out|no route to host|broken pipe|error trying to connect|unreachable|dns error|unexpected status/i,
    'network',
  ],
];

export const classOfError = (kind: string): FailureClass => CLASS_OF_KIND[kind] ?? 'guest';
export const classOfText = (text: string): FailureClass =>
  TEXTS.find(([pattern]) => pattern.test(text))?.[1] ?? 'guest';

export type NextTry = { kind: 'again'; at: Date } | { kind: 'stop'; why: string };

/** Waits before each further try, in times of `wait`. */
const NETWORK_WAITS = [1, 3];
/** A lock that is held for longer is one that nobody takes back, and each try is a task that people read. */
const LOCK_TRIES = 12;

/**
 * What to do after a try that failed. `failures` counts the tries of this class so far, this one included; `wait` is
 * how long a lock is waited for before it is asked for again, in milliseconds. Nothing is started after the deadline.
 */
export function decideNextTry({
  failure,
  failures,
  now,
  deadline,
  wait,
}: {
  failure: FailureClass;
  failures: number;
  now: Date;
  deadline: Date;
  wait: number;
}): NextTry {
  switch (failure) {
    case 'credentials':
      return { kind: 'stop', why: 'a wrong token, privilege or certificate does not mend itself' };
    case 'space':
      return { kind: 'stop', why: 'the datastore is full; another try would fill what is left' };
    case 'guest':
      return { kind: 'stop', why: 'it is this guest that refuses; the others go on' };
    case 'network': {
      const times = NETWORK_WAITS[failures - 1];
      return times === undefined ? enough(failures) : again(times * wait, now, deadline);
    }
    case 'lock':
      return failures >= LOCK_TRIES ? enough(failures) : again(wait, now, deadline);
    default:
      return failure satisfies never;
  }
}

const enough = (failures: number): NextTry => ({ kind: 'stop', why: `${failures} tries have failed` });

function again(wait: number, now: Date, deadline: Date): NextTry {
  const at = new Date(now.getTime() + wait);
  return at < deadline ? { kind: 'again', at } : { kind: 'stop', why: 'the window closes before' };
}

/** How one guest fared in a vzdump, in its own words. */
export type GuestRun = { vmid: number } &
  /** `leftOut`: disks that it says are not in the backup; absent when it names none. */
  (
    { kind: 'done'; leftOut?: string[] } | { kind: 'failed'; text: string; failure: FailureClass } | { kind: 'unknown' }
  );

const DONE = /^INFO: Finished Backup of VM (\d+)\b/;
const FAILED = /^ERROR: Backup of VM (\d+) failed - (.*)$/;
const BEGUN = /^INFO: Starting Backup of VM \d+\b/;
/** Of a container it is the client that fails: vzdump repeats its exit code, and this line what it was. */
const CLIENT = /^INFO: Error: (.*)$/;

/**
 * The lines of a vzdump task (`INFO: Finished Backup of VM 101 (00:01:10)`, `ERROR: Backup of VM 102 failed - VM is
 * locked (backup)`; containers are called VM as well). A guest of which no line says how it ended is `unknown`: the
 * task died, or the line was not among those read.
 */
export function readVzdumpLog(lines: readonly string[], vmids: readonly number[]): GuestRun[] {
  const runs = new Map<number, GuestRun>(vmids.map((vmid) => [vmid, { vmid, kind: 'unknown' }]));
  let client: string | undefined;
  const leftOut = new Set<string>();
  for (const line of lines) {
    if (BEGUN.test(line)) leftOut.clear();
    const disk = leftOutBy(line);
    if (disk !== undefined) leftOut.add(disk);
    client = CLIENT.exec(line)?.[1] ?? (BEGUN.test(line) ? undefined : client);
    const [, done] = DONE.exec(line) ?? [];
    if (done !== undefined && runs.has(Number(done))) {
      const vmid = Number(done);
      runs.set(vmid, { vmid, kind: 'done', ...(leftOut.size > 0 ? { leftOut: [...leftOut] } : {}) });
    }
    const [, failed, text = ''] = FAILED.exec(line) ?? [];
    if (failed !== undefined && runs.has(Number(failed))) {
      const words = client === undefined ? text : `${text}: ${client}`;
      runs.set(Number(failed), { vmid: Number(failed), kind: 'failed', text: words, failure: classOfText(words) });
    }
  }
  return [...runs.values()];
}
