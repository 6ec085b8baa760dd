import { setTimeout as delay } from 'node:timers/promises';
import { CancelledFailure, cancellationDetails } from '@temporalio/activity';
import { MAX_SKEW } from '#domain/backup.js';
import { classOfText, type FailureClass } from '#domain/backup-failures.js';
import type { BackupTask } from '#domain/messages/backup.js';
import type { PbsClient, PbsTask, PbsTaskStatus, PbsWork, Place } from '#systems/pbs/types.js';
import type { TendDeps } from './deps.js';
import { isKind } from './answers.js';

/** How a task of a backup server ended, and if badly, what for. */
export type WorkEnd = { upid: string } & (
  { ok: true; exit: string } | { ok: false; why: string; failure: FailureClass }
);

const LOG_LINES = 200;
const TROUBLE = /\b(error|fail(ed|ure)?|warn(ing)?|unable|denied|no space)\b/i;
const SHOWN = 3;

/** Of the task, as the server's clock may have it. Epoch seconds. */
const sinceOf = ({ startedAt }: BackupTask): number => Math.floor((Date.parse(startedAt) - MAX_SKEW) / 1_000);

/**
 * Has the work done once: a task of ours that runs is waited for, be it of an earlier night, and with `adoptEnded` one
 * that has ended well since the operation began is taken for it. One that ended badly is no reason not to try again. What
 * began before `notBefore` (epoch seconds) was about less, and another is begun after it.
 *
 * Who is not waited for any more goes, and the server's task goes on: the next night finds it.
 */
export async function carryOut(
  client: PbsClient,
  work: PbsWork,
  task: BackupTask,
  { timing, adoptEnded, notBefore = 0 }: Pick<TendDeps, 'timing'> & { adoptEnded: boolean; notBefore?: number },
): Promise<WorkEnd> {
  requireAsked();
  const since = sinceOf(task);
  const [runs, recent] = [await client.running(work), await client.find(work, since)];
  const found = [...recent, ...runs.filter((one) => !recent.some(({ upid }) => upid === one.upid))];
  const isRunning = ({ status }: PbsTask): boolean => status === undefined;
  const [early, fitting] = [
    found.filter((one) => one.startTime < notBefore),
    found.filter((one) => one.startTime >= notBefore),
  ];
  for (const { upid } of early.filter(isRunning)) await endOf(client, upid, timing.poll);
  const upid =
    fitting.find(isRunning)?.upid ??
    (adoptEnded ? await endedWell(client, fitting) : undefined) ??
    (await begin(client, work, since, found));
  return endOf(client, upid, timing.poll);
}

/** Those of an earlier night as well: what they prove is not asked for again, and what they began too early to see is. */
export async function afterOtherVerifications(
  client: PbsClient,
  place: Place,
  { poll }: Pick<TendDeps['timing'], 'poll'>,
): Promise<void> {
  requireAsked();
  for (const { upid } of await client.verifying(place)) await endOf(client, upid, poll);
}

async function endedWell(client: PbsClient, found: readonly PbsTask[]): Promise<string | undefined> {
  for (const { upid } of found) {
    const status = await client.taskStatus(upid);
    if (status.state === 'stopped' && status.ok) return upid;
  }
  return undefined;
}

async function begin(client: PbsClient, work: PbsWork, since: number, before: readonly PbsTask[]): Promise<string> {
  requireAsked();
  try {
    return await client.start(work);
  } catch (error) {
    if (!isKind(error, 'OutcomeUnknown') && !isKind(error, 'Locked')) throw error;
    const found = await client.find(work, since);
    const upid = found.find((one) => !before.some((known) => known.upid === one.upid))?.upid;
    if (upid === undefined) throw error;
    return upid;
  }
}

async function endOf(client: PbsClient, upid: string, poll: number): Promise<WorkEnd> {
  for (;;) {
    const status = await client.taskStatus(upid);
    if (status.state === 'stopped') return judged(client, upid, status);
    await delay(poll);
    requireAsked();
  }
}

/**
 * Whoever stayed would hold one of the worker's few slots for as long as the server's task runs. Only the first reason of
 * a cancellation is ever told, so each that means this counts: the night went on, or has ended, or this try took too
 * long. A worker that stops is none: its task is tried again, and adopts what runs.
 */
export function requireAsked(): void {
  const { cancelRequested, notFound, timedOut } = cancellationDetails() ?? {};
  if (cancelRequested || notFound || timedOut) throw new CancelledFailure('Nobody waits for it any more.');
}

async function judged(
  client: PbsClient,
  upid: string,
  { ok, exit }: Extract<PbsTaskStatus, { state: 'stopped' }>,
): Promise<WorkEnd> {
  if (ok) return { upid, ok, exit };
  const lines = await client.taskLog(upid, LOG_LINES).catch(() => []);
  const trouble = lines.map(withoutTime).filter((line) => TROUBLE.test(line) && !line.startsWith('TASK '));
  const why = [exit, ...trouble.slice(-SHOWN)].join('; ');
  return { upid, ok, why, failure: classOfText([exit, ...trouble].join('\n')) };
}

const withoutTime = (line: string): string => line.replace(/^\d{4}-\d\d-\d\dT\S+: /, '');
