import { MAX_SKEW, type SnapshotName } from './backup.js';
import { formatDuration } from './durations.js';
import type { Canary, RestoreActivities, TrialAnswer, TrialPlan } from './messages/restore.js';
import type { Stop } from './reasons.js';

/**
 * What a trial proves. A guest has passed when its copy was restored, started, and answered everything that it was to be
 * asked; whatever was left out makes it less than that, and what the site spoilt says nothing of the guest.
 */

export const RESTORE_RESULTS = ['pass', 'fail', 'partial', 'infra-error'] as const;
export type RestoreResult = (typeof RESTORE_RESULTS)[number];

type AnswerOf<Step extends keyof RestoreActivities> = Awaited<ReturnType<RestoreActivities[Step]>>;

/** What was seen, as far as it got: a step that is absent did not come to its turn. */
export interface TrialSteps {
  /** Of the whole store. */
  opened?: AnswerOf<'openCopy'> | undefined;
  /** Absent = the copy holds none that is proven. */
  snapshot?: SnapshotName | undefined;
  restored?: AnswerOf<'restoreGuest'> | undefined;
  booted?: AnswerOf<'bootGuest'> | undefined;
  probed?: AnswerOf<'probeGuest'> | undefined;
}

export interface TrialVerdict {
  result: RestoreResult;
  /** One sentence; absent when it passed and there is nothing to say. */
  why?: string | undefined;
  /** What was seen, for people. */
  detail?: string[] | undefined;
  /** Milliseconds from the order to restore until the last probe was well, and of each phase. */
  rtoMs?: number | undefined;
  restoreMs?: number | undefined;
  bootMs?: number | undefined;
  probeMs?: number | undefined;
  /** Milliseconds before the backup at which the guest last wrote its record: what would be lost besides its age. */
  rpoMs?: number | undefined;
  bytes?: number | undefined;
}

export function judgeTrial(plan: Judged, steps: TrialSteps): TrialVerdict {
  const verdict = judgeSteps(plan, steps);
  const leftOut = steps.restored?.kind === 'done' ? (steps.restored.leftOut ?? []) : [];
  if (leftOut.length === 0) return verdict;
  const without = `It was tried without ${leftOut.join(', ')}: devices that its node has, and the site has not.`;
  if (verdict.result === 'pass') return { ...verdict, why: without };
  // It may be what the guest lacks.
  return { ...verdict, detail: [...(verdict.detail ?? []), without] };
}

type Judged = Pick<TrialPlan, 'probes' | 'canary' | 'recordWithin'>;

function judgeSteps({ probes, canary, recordWithin }: Judged, steps: TrialSteps): TrialVerdict {
  const { opened, snapshot, restored, booted, probed } = steps;
  if (opened?.kind === 'failed') return stoppedBy(opened);
  if (!snapshot) return { result: 'fail', why: 'The central server holds no proven backup of it.' };
  const times = timesOf(probes, steps);
  const stopped = [restored, booted, probed].find((answer) => answer?.kind !== 'done');
  if (stopped) return { ...stoppedBy(stopped), ...times };
  if (restored?.kind !== 'done' || booted?.kind !== 'done' || probed?.kind !== 'done')
    return { result: 'infra-error', why: 'The trial ended before its last step.', ...times };

  const failed = probed.probes.filter(({ ok }) => !ok);
  const said = failed.map((probe) => `${probe.name}: ${probe.said}`);
  if (failed.length > 0) {
    const names = failed.map(({ name }) => name).join(', ');
    return { result: 'fail', why: `It was restored and started, and is not well: ${names}.`, detail: said, ...times };
  }
  const found = readable(probed.canary);
  if (found && 'broken' in found)
    return { result: 'fail', why: `Its record of the moment is damaged: ${found.broken}`, ...times };
  if (found && Date.parse(found.at) > snapshot.time * 1_000 + MAX_SKEW)
    return { result: 'fail', why: `Its record of the moment (${found.at}) is younger than the backup.`, ...times };
  const rpoMs = found && Math.max(0, snapshot.time * 1_000 - Date.parse(found.at));
  const isStale = canary && rpoMs !== undefined && recordWithin !== undefined && rpoMs > recordWithin;
  if (found && isStale)
    return { result: 'fail', why: stale(found, snapshot.time, rpoMs, recordWithin), ...times, rpoMs };
  const leftOut = [
    ...(probes.length === 0 ? ['no probe is declared for it'] : []),
    ...(probes.length > probed.probes.length ? ['not all probes were run'] : []),
    ...(canary && !found ? ['it keeps no record of the moment'] : []),
  ];
  return {
    result: leftOut.length > 0 ? 'partial' : 'pass',
    ...(leftOut.length > 0 ? { why: `It was restored and started; left out: ${leftOut.join(', ')}.` } : {}),
    ...times,
    ...(rpoMs === undefined ? {} : { rpoMs }),
  };
}

/**
 * A guest that writes its record no more, or whose disk was not the one that was backed up, has a young backup of old
 * data: if the store burnt down, more would be lost than its tier promises, and no age of a backup shows it. So that is
 * a failure of what the test is for, as much as a disk that cannot be read, and no check that was left out. A guest that
 * keeps no record, or stands still for good, says `canary: false`.
 */
const stale = ({ at }: Canary, time: number, age: number, allowed: number): string =>
  `It last wrote its record of the moment at ${at}, ${formatDuration(age)} before its backup of ` +
  `${new Date(time * 1_000).toISOString()}; its tier allows ${formatDuration(allowed)}.`;

/** A moment that is none would compare as neither too old nor too young. */
function readable(canary: Canary | { broken: string } | undefined): typeof canary {
  if (!canary || 'broken' in canary || Number.isFinite(Date.parse(canary.at))) return canary;
  return { broken: `"${canary.at.slice(0, 40)}" is no instant.` };
}

function stoppedBy(answer: TrialAnswer<unknown>): Pick<TrialVerdict, 'result' | 'why' | 'detail'> {
  if (answer.kind === 'done') return { result: 'infra-error', why: 'The trial ended before its last step.' };
  const { fault, why, detail } = answer;
  return { result: fault === 'guest' ? 'fail' : 'infra-error', why, ...(detail ? { detail } : {}) };
}

function timesOf(asked: TrialPlan['probes'], { restored, booted, probed }: TrialSteps): Partial<TrialVerdict> {
  const took = (answer: { startedAt: string; endedAt: string }) => between(answer.startedAt, answer.endedAt);
  const isWell = probed?.kind === 'done' && probed.probes.length >= asked.length && probed.probes.every(({ ok }) => ok);
  return {
    ...(restored?.kind === 'done' ? { restoreMs: took(restored), bytes: restored.bytes } : {}),
    ...(booted?.kind === 'done' ? { bootMs: took(booted) } : {}),
    ...(probed?.kind === 'done' ? { probeMs: took(probed) } : {}),
    ...(restored?.kind === 'done' && isWell ? { rtoMs: between(restored.startedAt, probed.endedAt) } : {}),
  };
}

const between = (from: string, to: string): number => Math.max(0, Date.parse(to) - Date.parse(from));

/** What a store's trials come to, when not all is well. `left`: what could not be taken away at the site. */
export function storeStop(
  rows: readonly { vmid: number; name: string; result: RestoreResult; text?: string | undefined }[],
  left: readonly string[],
): Stop | undefined {
  const others = rows.filter(({ result }) => result !== 'pass');
  if (others.length === 0 && left.length === 0) return undefined;
  const failed = others.filter(({ result }) => result === 'fail');
  const line = ({ vmid, name, text, result }: (typeof others)[number]) => `guest ${vmid} (${name}): ${text ?? result}`;
  const worst = failed[0] ?? others[0];
  const more = others.length > 1 ? ` (and ${others.length - 1} more)` : '';
  return {
    reason: failed.length > 0 ? 'RestoreTestFailed' : others.length > 0 ? 'RestoreUnproven' : 'UndoIncomplete',
    step: 'restore test',
    summary: worst ? `${line(worst)}${more}` : `Left at the staging site: ${left[0]}`,
    // What is left stands nowhere else; how each guest fared is in the ledger too.
    detail: [...left.map((what) => `left at the staging site: ${what}`), ...others.map(line)].slice(0, 20),
  };
}
