import { patched } from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import { decideGate, guardsNothing, type GateVerdict } from '#domain/gate.js';
import { formatDuration } from '#domain/durations.js';
import {
  trainInputSchema,
  type Answer,
  type OpenedTrain,
  type StagePlan,
  type TrainInput,
  type TrainReport,
} from '#domain/messages/train.js';
import type { ReleaseRef } from '#domain/release.js';
import { tellPeople } from './attention.js';
import { openCatchUp, type CatchUp } from './catch-up.js';
import { isPassed } from './gate-passed.js';
import { parseInput } from './parse-input.js';
import { buildRelease, control, messageOf, refusedBy } from './proxies.js';
import { takeBackTrain } from './rollback.js';
import { isTakenBackByPolicy, runRounds, standStillIfAborted } from './stage-rounds.js';
import { openDesk, type TrainDesk } from './train-desk.js';
import { attended } from './train-messages.js';
import { watchForStall } from './stall-watch.js';
import { end } from './train-end.js';
import { recordStage, recordTrain } from './train-records.js';
import { probeStores, type Over, type Run } from './train-waves.js';

/**
 * One train: build and sign a release, freeze the plan, then take it through the stages, each after its approval, in
 * its window, and each proven healthy after its soak before the next may ask.
 *
 * Started by `launchTrain` from the schedule, or by an operator; always under the id `train/<fleet>`, so one at a time.
 * - The plan and its hash are frozen before the first stage; an approval is for that hash.
 * - A train that cannot go on stands still, names the reason, and lists the answers it takes.
 * - Every store of the plan has exactly one outcome at the end; those never reached are `missed`, or `aborted` with the
 *   train, or `skipped` when it was taken back.
 *
 *   building → planning → [ approval → window → promotion → waves → soak → gate ]* → catching up → done
 *                              ╰──────────── held ⇄ answer ────────────╯ → rolled back | aborted | deadline
 */
export async function patchTrain(raw: TrainInput): Promise<TrainReport> {
  const input = parseInput(trainInputSchema, raw);
  const desk = openDesk(input);
  return attended(desk, () => run(input, desk));
}

async function run(input: TrainInput, desk: TrainDesk): Promise<TrainReport> {
  const { fleet, train: wanted, commit } = input;
  const opened = await control
    .openTrain({ fleet, train: wanted, commit, startedAt: desk.view.startedAt })
    .catch((error: unknown) => unopened(error, input, desk));
  desk.doing(`Building the release of ${opened.commit.slice(0, 12)}.`, { train: opened.train, commit: opened.commit });
  desk.label({ train: opened.train });
  watchForStall(desk, opened.noProgressAfter);
  await recordTrain(desk);

  const release = input.release ?? (await build(opened, desk));
  if ('reason' in release) return end(desk, undefined, release);

  desk.doing('Planning the stages.', { state: 'planning', release });
  const planned = await control
    .planTrain({ opened, fleet, release, stages: input.stages, startedAt: desk.view.startedAt })
    .catch(unplanned);
  if (planned.kind === 'refused')
    return end(desk, undefined, { state: 'failed', reason: 'InvalidInput', summary: planned.problems.join('; ') });
  const train: Run = { desk, plan: planned.plan, planHash: planned.planHash };
  desk.showPlan(planned.plan, planned.planHash);
  desk.doing('The plan is frozen.', { state: 'running' });
  await recordTrain(desk);

  const catchUp = openCatchUp(train);
  const over = await runStages(train, catchUp);
  await catchUp.close();
  return end(desk, planned.plan, over?.state === 'rolled back' ? await takeBackTrain(train) : over);
}

/** It has neither name nor release yet, so there is nothing to record; a schedule that started it hears nothing of it. */
async function unopened(error: unknown, { fleet }: TrainInput, desk: TrainDesk): Promise<never> {
  if (isTold()) {
    const summary = `No train of ${fleet} was begun: ${messageOf(error)}`;
    desk.close({ state: 'failed', reason: 'InvalidInput', summary });
    await tellPeople(fleet, '', summary);
  }
  throw error;
}

/** What could not be read to plan it ends it like what is wrong with its plan. */
function unplanned(error: unknown): ReturnType<typeof refusedBy> {
  if (!isTold()) throw error;
  return refusedBy(error);
}

/** Trains of earlier builds ended without a word. */
const isTold = (): boolean => patched('unopened-told');

async function runStages(train: Run, catchUp: CatchUp): Promise<Over | undefined> {
  for (const stage of train.plan.stages) {
    train.desk.enter(stage.name);
    const over = await runStage(train, stage, catchUp);
    if (over) return over;
  }
  return awaitAndProve(train, catchUp);
}

async function build(opened: OpenedTrain, desk: TrainDesk): Promise<ReleaseRef | Over> {
  for (;;) {
    const why = await tryToBuild(opened);
    if (!('problems' in why)) return why.release;
    const answer = await desk.hold({
      reason: 'BuildFailed',
      summary: `The release could not be built: ${why.problems[0]}`,
      detail: why.problems,
      answers: ['retry-failed'],
    });
    if (answer !== 'retry-failed') return desk.over();
  }
}

async function tryToBuild(opened: OpenedTrain): Promise<{ release: ReleaseRef } | { problems: string[] }> {
  try {
    const outcome = await buildRelease({ commit: opened.commit });
    return outcome.kind === 'built' ? { release: outcome.release } : { problems: outcome.problems };
  } catch (error) {
    return { problems: [messageOf(error)] };
  }
}

async function runStage(train: Run, stage: StagePlan, catchUp: CatchUp): Promise<Over | undefined> {
  return (
    (await approve(train, stage)) ??
    (await runRounds(train, stage)) ??
    catchUp.watch(stage) ??
    (await soakAndMeasure(train, stage, catchUp)) ??
    (await standStillIfAborted(train, stage)) ??
    (await finishStage(train, stage))
  );
}

async function approve(train: Run, stage: StagePlan): Promise<Over | undefined> {
  const { desk, planHash } = train;
  const { required, expires } = stage.settings.approval;
  if (!required) return undefined;
  for (;;) {
    const over = await standStillIfAborted(train, stage);
    if (over) return over;
    if (desk.isHeldByFault()) await desk.released();
    const answer = await desk.hold({
      reason: 'ApprovalPending',
      stage: stage.name,
      until: new Date(Date.now() + expires).toISOString(),
      summary: `Stage ${stage.name} (${plural(stage.stores.length, 'store')}) waits for an approval of plan ${planHash.slice(7, 15)}.`,
      detail: [],
      answers: ['approve', 'reject'],
    });
    if (answer === 'approve') {
      desk.stage(stage.name, { approvedBy: desk.approval()?.by });
      return undefined;
    }
    if (answer === 'stage aborted' || answer === 'set aside') continue;
    if (answer !== 'reject' && answer !== 'expired') return desk.over();
    const rejected = answer === 'reject';
    const again = await desk.hold({
      reason: rejected ? 'ApprovalRejected' : 'ApprovalExpired',
      stage: stage.name,
      summary: rejected
        ? `Stage ${stage.name} was rejected by ${desk.approval()?.by ?? 'an operator'}. Nothing of it has started.`
        : `Nobody approved stage ${stage.name} within ${formatDuration(expires)}. Nothing of it has started.`,
      detail: [],
      answers: ['ask-again'],
    });
    if (again !== 'ask-again') return desk.over();
  }
}

async function soakAndMeasure(
  train: Run,
  stage: StagePlan,
  catchUp: CatchUp,
  soakedFor = 0,
): Promise<Over | undefined> {
  const soaked = await soak(train, stage, soakedFor);
  return Array.isArray(soaked) ? passGate(train, stage, catchUp, soaked) : soaked;
}

/**
 * Who has soaked in full: those that were done when it began. Who comes back meanwhile soaks later, or from then on when
 * nobody else is there to be measured. `soakedFor`: milliseconds that have passed of it.
 */
async function soak(train: Run, stage: StagePlan, soakedFor: number): Promise<string[] | Over> {
  const { desk } = train;
  for (let left = stage.settings.soak - soakedFor; ; left = stage.settings.soak) {
    const members = unproven(desk, stage);
    desk.stage(stage.name, { state: 'soaking' });
    desk.doing(`Stage ${stage.name} soaks for ${formatDuration(Math.max(0, left))}.`);
    await desk.wait(left, stage.name);
    if (desk.mustStop()) return desk.over();
    if (desk.isStageAborted(stage.name)) {
      const over = await standStillIfAborted(train, stage);
      if (over) return over;
      continue;
    }
    const done = unproven(desk, stage);
    if (done.length === members.length || !patched('soaks-in-full')) return done;
    if (members.length > 0) return members;
  }
}

/**
 * Measures those that have soaked. What passes is from then on the last good release of its store. When facts are wanting,
 * people may go on without them: then no store has a new good release.
 */
async function passGate(train: Run, stage: StagePlan, catchUp: CatchUp, expected: string[]): Promise<Over | undefined> {
  const { desk, plan } = train;
  const { gate: limits, limits: thresholds } = stage.settings;
  for (;;) {
    desk.stage(stage.name, { state: 'gate' });
    desk.doing(`Measuring ${plural(expected.length, 'store')} of stage ${stage.name}.`);
    const attempt = desk.nextRound(`${stage.name}/gate`);
    const probes = await probeStores(train, stage, expected, { name: stage.name, attempt, release: plan.release });
    const verdict = decideGate({ probes, expected, limits, offlineThreshold: thresholds.offlineThreshold });
    desk.stage(stage.name, { gate: verdict.summary });
    if (desk.mustStop()) return desk.over();
    if (desk.isStageAborted(stage.name)) {
      const over = await standStillIfAborted(train, stage);
      if (over) return over;
      continue;
    }
    if (guardsNothing(plan.stages, stage) || isPassed(verdict)) break;
    const reason = verdict.reason ?? 'HealthGateFailed';
    if (isTakenBackByPolicy(train, stage, reason, verdict.summary)) return desk.over();
    const answer = await desk.hold({
      reason,
      stage: stage.name,
      summary: verdict.summary,
      detail: verdict.checks
        .filter((check) => check.verdict !== 'pass')
        .flatMap((check) => check.failing.map((store) => `${check.name}: ${store}`)),
      answers: answersTo(verdict, desk, stage),
    });
    if (answer === 'skip') {
      desk.prove(expected);
      desk.stage(stage.name, { gate: `${verdict.summary} Went on without proof.` });
      return undefined;
    }
    if (answer === 'retry-failed') return runAgain(train, stage, catchUp);
    if (answer !== 'retry-gate') return desk.over();
  }
  desk.prove(expected);
  await control.confirmStage({
    train: plan.train,
    stage: stage.name,
    release: plan.release,
    stores: expected,
    soakedAt: new Date().toISOString(),
  });
  return undefined;
}

function answersTo(verdict: GateVerdict, desk: TrainDesk, stage: StagePlan): Answer[] {
  if (verdict.kind !== 'hold') return ['retry-gate'];
  if (verdict.lacks !== 'stores') return ['retry-gate', 'skip'];
  const canRunAgain = stage.stores.some((store) => desk.results.get(store)?.outcome !== 'excluded');
  return canRunAgain ? ['retry-failed', 'skip'] : ['skip'];
}

const unproven = (desk: TrainDesk, stage: StagePlan): string[] =>
  stage.stores.filter((store) => desk.results.get(store)?.outcome === 'succeeded' && !desk.isProven(store));

async function finishStage({ desk }: Run, stage: StagePlan): Promise<undefined> {
  desk.endStage(stage.name, 'done');
  await recordStage(desk, stage.name);
}

/** Stores that fall away in it are awaited like all others. */
async function runAgain(train: Run, stage: StagePlan, catchUp: CatchUp): Promise<Over | undefined> {
  const over = await runRounds(train, stage);
  if (over) return over;
  if (patched('retried-are-awaited')) catchUp.watch(stage);
  return soakAndMeasure(train, stage, catchUp);
}

/**
 * All stages are through. Stores that are away are awaited; those that were caught up after the soak of their stage began
 * are measured like the others, a whole soak after the last of them.
 */
async function awaitAndProve(train: Run, catchUp: CatchUp): Promise<Over | undefined> {
  const { desk, plan } = train;
  const late = () => plan.stages.filter((stage) => unproven(desk, stage).length > 0);
  // Trains of earlier builds proved nobody before the last of all was back, and soaked from then on.
  const dueOf = (stage: StagePlan) =>
    patched('soaks-in-full') ? lastEndOf(desk, unproven(desk, stage)) + stage.settings.soak : undefined;
  const nextDue = () => late().reduce((next, stage) => Math.min(next, dueOf(stage) ?? Infinity), Infinity);

  for (;;) {
    const isOver = await catchUp.wait(nextDue);
    if (desk.mustStop()) return desk.over();
    const now = Date.now();
    const toProve = late().filter((stage) => isOver || (dueOf(stage) ?? Infinity) <= now);
    if (isOver && toProve.length === 0) return undefined;
    for (const stage of toProve) {
      const due = dueOf(stage);
      const soakedFor = due === undefined ? 0 : stage.settings.soak - (due - Date.now());
      const over = (await soakAndMeasure(train, stage, catchUp, soakedFor)) ?? (await finishStage(train, stage));
      if (over) return over;
    }
    if (isOver && !patched('soaks-in-full')) return undefined;
  }
}

/** When the last of these ended, in milliseconds since the epoch. */
const lastEndOf = (desk: TrainDesk, stores: string[]): number =>
  Math.max(...stores.map((store) => Date.parse(desk.results.get(store)?.endedAt ?? '') || Date.now()));
