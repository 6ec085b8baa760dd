import { allHandlersFinished, CancellationScope, condition, upsertSearchAttributes } from '@temporalio/workflow';
import { decideGate } from '#domain/gate.js';
import { formatDuration } from '#domain/durations.js';
import {
  trainInputSchema,
  type OpenedTrain,
  type StagePlan,
  type StageWindows,
  type TrainInput,
  type TrainPlan,
  type TrainReport,
  type WaveReport,
} from '#domain/messages/train.js';
import { waveWorkflowId } from '#domain/naming.js';
import { tallyOf, totalOf, type StoreResult } from '#domain/outcomes.js';
import type { ReleaseRef } from '#domain/release.js';
import { parseInput } from './parse-input.js';
import { buildRelease, control, notify, promoteStage } from './proxies.js';
import { openDesk, type TrainDesk } from './train-desk.js';
import { searchKeys } from './search-keys.js';
import { recordStage, recordTrain } from './train-records.js';
import {
  PART_SIZE,
  partsOf,
  probeStores,
  runWave,
  startable,
  type Over,
  type Run,
  type StartableStore,
} from './train-waves.js';

/**
 * One train: build and sign a release, freeze the plan, then take it through the stages, each after its approval, in
 * its window, and each proven healthy after its soak before the next may ask.
 *
 * Started by `launchTrain` from the schedule, or by an operator; always under the id `train/<fleet>`, so one at a time.
 * - The plan and its hash are frozen before the first stage; an approval is for that hash.
 * - A train that cannot go on stands still, names the reason, and lists the answers it takes.
 * - Every store of the plan has exactly one outcome at the end; those never reached are `missed` or `aborted`.
 *
 *   building → planning → [ approval → window → promotion → waves → soak → gate ]* → done
 *                              ╰──────────── held ⇄ answer ────────────╯ → aborted | deadline
 */
export async function patchTrain(raw: TrainInput): Promise<TrainReport> {
  const input = parseInput(trainInputSchema, raw);
  const desk = openDesk(input);
  CancellationScope.current().cancelRequested.catch(() => desk.cancel());
  return CancellationScope.nonCancellable(async () => {
    const report = await run(input, desk);
    await condition(allHandlersFinished);
    return report;
  });
}

async function run(input: TrainInput, desk: TrainDesk): Promise<TrainReport> {
  const opened = await control.openTrain({
    fleet: input.fleet,
    train: input.train,
    commit: input.commit,
    startedAt: desk.view.startedAt,
  });
  desk.doing(`Building the release of ${opened.commit.slice(0, 12)}.`, { train: opened.train, commit: opened.commit });
  upsertSearchAttributes([{ key: searchKeys.train, value: opened.train }]);
  await recordTrain(desk);

  const release = input.release ?? (await build(opened, desk));
  if ('reason' in release) return end(desk, undefined, release);

  desk.doing('Planning the stages.', { state: 'planning', release });
  const planned = await control.planTrain({
    opened,
    fleet: input.fleet,
    release,
    stages: input.stages,
    startedAt: desk.view.startedAt,
  });
  if (planned.kind === 'refused')
    return end(desk, undefined, { state: 'failed', reason: 'InvalidInput', summary: planned.problems.join('; ') });
  const train: Run = { desk, plan: planned.plan, planHash: planned.planHash };
  desk.showPlan(planned.plan, planned.planHash);
  desk.doing('The plan is frozen.', { state: 'running' });
  await recordTrain(desk);

  for (const stage of planned.plan.stages) {
    const over = await runStage(train, stage);
    if (over) return end(desk, planned.plan, over);
  }
  return end(desk, planned.plan);
}

async function build(opened: OpenedTrain, desk: TrainDesk): Promise<ReleaseRef | Over> {
  for (;;) {
    const why = await tryToBuild(opened);
    if (!('problems' in why)) return why.release;
    const answer = await desk.hold({
      reason: 'BuildFailed',
      summary: `The release could not be built: ${why.problems[0]}`,
      detail: why.problems,
      answers: ['retry-failed', 'abort'],
    });
    if (answer !== 'retry-failed') return overBy(desk);
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

async function runStage(train: Run, stage: StagePlan): Promise<Over | undefined> {
  return (
    (await approve(train, stage)) ??
    (await patch(train, stage)) ??
    (await soak(train, stage)) ??
    (await passGate(train, stage)) ??
    (await finishStage(train, stage))
  );
}

async function approve({ desk, planHash }: Run, stage: StagePlan): Promise<Over | undefined> {
  const { required, expires } = stage.settings.approval;
  if (!required) return undefined;
  for (;;) {
    const answer = await desk.hold({
      reason: 'ApprovalPending',
      stage: stage.name,
      until: new Date(Date.now() + expires).toISOString(),
      summary: `Stage ${stage.name} (${stage.stores.length} stores) waits for an approval of plan ${planHash.slice(7, 15)}.`,
      detail: [],
      answers: ['approve', 'reject', 'abort'],
    });
    if (answer === 'approve') {
      desk.stage(stage.name, { approvedBy: desk.approval()?.by });
      return undefined;
    }
    if (answer !== 'reject' && answer !== 'expired') return overBy(desk);
    const rejected = answer === 'reject';
    const again = await desk.hold({
      reason: rejected ? 'ApprovalRejected' : 'ApprovalExpired',
      stage: stage.name,
      summary: rejected
        ? `Stage ${stage.name} was rejected by ${desk.approval()?.by ?? 'an operator'}. Nothing of it has started.`
        : `Nobody approved stage ${stage.name} within ${formatDuration(expires)}. Nothing of it has started.`,
      detail: [],
      answers: ['resume', 'abort'],
    });
    if (again !== 'resume') return overBy(desk);
  }
}

/** Waits for the stage's window, again whenever it turns out that it has closed meanwhile. */
async function inWindow({ desk, plan }: Run, stage: StagePlan): Promise<StageWindows | Over> {
  await desk.unpaused();
  for (;;) {
    const windows = await control.stageWindows({
      plan: { fleet: plan.fleet, timeZone: plan.timeZone, commit: plan.commit },
      stage,
      after: new Date().toISOString(),
    });
    if (desk.aborted || desk.deadlineReached()) return overBy(desk);
    const opens = windows.opens ? Date.parse(windows.opens) : 0;
    if (opens <= Date.now()) return windows;
    desk.stage(stage.name, { state: 'awaiting window' });
    desk.doing(`Stage ${stage.name} waits for its window, which opens at ${windows.opens}.`);
    await desk.wait(opens - Date.now());
  }
}

async function promote(train: Run, stage: StagePlan, windows: StageWindows): Promise<Over | undefined> {
  const { desk, plan } = train;
  for (;;) {
    desk.stage(stage.name, { state: 'promoting', startedAt: new Date().toISOString() });
    desk.doing(`Promoting ${plan.release.version} for stage ${stage.name}.`);
    const why = await tryToPromote(train, stage, windows);
    if (why === undefined) return undefined;
    const answer = await desk.hold({
      reason: 'PromotionFailed',
      stage: stage.name,
      summary: `Stage ${stage.name} could not be promoted: ${why}`,
      detail: [],
      answers: ['resume', 'abort'],
    });
    if (answer !== 'resume') return overBy(desk);
  }
}

async function tryToPromote(
  { desk, plan, planHash }: Run,
  stage: StagePlan,
  windows: StageWindows,
): Promise<string | undefined> {
  const { stages: _, ...head } = plan;
  try {
    await promoteStage({
      plan: head,
      stage: stage.name,
      stores: startable(stage, windows).map(({ id }) => id),
      planHash,
      approvedBy: desk.view.stages.find(({ name }) => name === stage.name)?.approvedBy ?? 'no approval required',
      expires: plan.deadline,
    });
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Rounds of waves until the stage is through, or people decide otherwise. Each round starts in an open window. */
async function patch(train: Run, stage: StagePlan): Promise<Over | undefined> {
  const { desk } = train;
  for (let round = 0; ; round += 1) {
    const windows = await inWindow(train, stage);
    if ('reason' in windows) return windows;
    excludeBy(windows, desk, stage);
    if (round === 0) {
      const over = await promote(train, stage, windows);
      if (over) return over;
    }
    const stores = startable(stage, windows).filter(({ id }) => isOpen(desk.results.get(id)));
    const breach = await runRound(train, stage, windows, stores, round);
    if (desk.aborted || desk.deadlineReached()) return overBy(desk);
    if (!breach) return undefined;
    const answer = await desk.hold({
      reason: breach.reason,
      stage: stage.name,
      summary: breach.summary,
      detail: desk.view.notSucceeded
        .slice(0, 10)
        .map(({ store, reason, stop }) => `${store}: ${reason ?? 'no reason'} ${stop?.summary ?? ''}`),
      answers: ['retry-failed', 'resume', 'abort'],
    });
    if (answer === 'resume') return undefined;
    if (answer !== 'retry-failed') return overBy(desk);
  }
}

/** Not started yet, or ended in a way that a further round may mend. Who was excluded was not promoted either. */
const isOpen = (result: StoreResult | undefined): boolean =>
  result?.outcome !== 'succeeded' && result?.outcome !== 'excluded';

/** Stores that a freeze, a hold or their own window keeps out; what already ended keeps its outcome. */
function excludeBy(windows: StageWindows, desk: TrainDesk, stage: StagePlan): void {
  const never = windows.never.map((store) => ({
    store,
    reason: 'OutsideWindow' as const,
    detail: 'Its window never meets that of the stage.',
  }));
  desk.take(
    stage.name,
    [...windows.excluded, ...never]
      .filter(({ store }) => stage.stores.includes(store) && !desk.results.has(store))
      .map(({ store, reason, detail }) => ({
        store,
        outcome: 'excluded',
        reason,
        stop: { reason, summary: detail },
      })),
  );
}

/** One round, in parts of at most 250 stores so that no wave outgrows its history. */
async function runRound(
  train: Run,
  stage: StagePlan,
  windows: StageWindows,
  stores: StartableStore[],
  round: number,
): Promise<WaveReport['breach']> {
  const { desk, plan } = train;
  const of = (list: StartableStore[]): StoreResult[] => list.flatMap(({ id }) => desk.results.get(id) ?? []);
  for (const [part, members] of partsOf(stores).entries()) {
    await desk.unpaused();
    if (desk.aborted || desk.deadlineReached()) return undefined;
    const others = startable(stage, windows).filter(
      ({ id }) => !stores.slice(part * PART_SIZE).some((store) => store.id === id),
    );
    const workflowId = waveWorkflowId(plan.train, stage.name, round, part);
    desk.follow(
      stage.name,
      workflowId,
      members.map(({ id }) => id),
    );
    desk.doing(
      `Stage ${stage.name}: ${members.length} stores${part > 0 ? `, part ${part + 1}` : ''}${round > 0 ? `, round ${round + 1}` : ''}.`,
      { state: 'running' },
    );
    const report = await runWave(train, stage, workflowId, {
      round,
      stores: members,
      before: { tally: tallyOf(of(others)), started: of(others).filter(({ outcome }) => outcome !== 'skipped').length },
      notAfter: windows.closes,
    });
    desk.take(stage.name, report.results);
    await control.record({ kind: 'results', train: plan.train, stage: stage.name, round, results: report.results });
    if (report.breach) return report.breach;
  }
  return undefined;
}

async function soak({ desk }: Run, stage: StagePlan): Promise<Over | undefined> {
  desk.stage(stage.name, { state: 'soaking' });
  desk.doing(`Stage ${stage.name} soaks for ${formatDuration(stage.settings.soak)}.`);
  await desk.wait(stage.settings.soak);
  return desk.aborted || desk.deadlineReached() ? overBy(desk) : undefined;
}

async function passGate(train: Run, stage: StagePlan): Promise<Over | undefined> {
  const { desk } = train;
  const expected = stage.stores.filter((store) => desk.results.get(store)?.outcome === 'succeeded');
  for (let attempt = 0; ; attempt += 1) {
    desk.stage(stage.name, { state: 'gate' });
    desk.doing(`Measuring ${expected.length} stores of stage ${stage.name}.`);
    const probes = await probeStores(train, stage, expected, attempt);
    const verdict = decideGate({ probes, expected, limits: stage.settings.gate });
    desk.stage(stage.name, { gate: verdict.summary });
    if (desk.aborted || desk.deadlineReached()) return overBy(desk);
    if (verdict.kind === 'pass') return undefined;
    const answer = await desk.hold({
      reason: verdict.reason ?? 'HealthGateFailed',
      stage: stage.name,
      summary: verdict.summary,
      detail: verdict.checks
        .filter((check) => check.verdict !== 'pass')
        .flatMap((check) => check.failing.map((store) => `${check.name}: ${store}`)),
      answers: ['retry-gate', 'abort'],
    });
    if (answer !== 'retry-gate') return overBy(desk);
  }
}

async function finishStage({ desk }: Run, stage: StagePlan): Promise<undefined> {
  desk.stage(stage.name, { state: 'done', endedAt: new Date().toISOString() });
  await recordStage(desk, stage.name);
}

async function end(desk: TrainDesk, plan?: TrainPlan, over?: Over): Promise<TrainReport> {
  const state = over?.state ?? 'done';
  for (const stage of plan?.stages ?? []) {
    const open = stage.stores.filter((store) => !desk.results.has(store));
    const missed = over?.reason === 'DeadlineReached';
    desk.take(
      stage.name,
      open.map((store) => ({
        store,
        outcome: missed || !over ? 'missed' : 'aborted',
        reason: missed || !over ? 'DeadlineReached' : 'Aborted',
        stop: {
          reason: missed || !over ? 'DeadlineReached' : 'Aborted',
          summary: 'The train ended before this store was started.',
        },
      })),
    );
    const view = desk.view.stages.find(({ name }) => name === stage.name);
    if (view && view.state !== 'done')
      desk.stage(stage.name, { state: missed ? 'missed' : 'aborted', endedAt: new Date().toISOString() });
    if (over) await recordStage(desk, stage.name);
  }
  const tally = tallyOf(desk.results.values());
  const planned = totalOf(tally);
  const summary = over?.summary ?? `${tally.succeeded} of ${planned} stores run ${desk.view.release?.version}.`;
  desk.doing(summary, { state });
  await recordTrain(desk, over);
  await notify({
    event: state,
    fleet: desk.view.fleet,
    train: desk.view.train,
    reason: over?.reason,
    summary,
    answers: [],
  }).catch(() => undefined);
  return {
    train: desk.view.train,
    state,
    release: desk.view.release,
    planHash: desk.view.planHash,
    tally,
    planned,
    reason: over?.reason,
    summary,
  };
}

function overBy(desk: TrainDesk): Over {
  const { aborted } = desk;
  if (aborted)
    return {
      state: 'aborted',
      reason: 'Aborted',
      summary: `Aborted by ${aborted.by}${aborted.reason ? `: ${aborted.reason}` : ''}.`,
    };
  return {
    state: 'aborted',
    reason: 'DeadlineReached',
    summary: 'The train reached its deadline; open stores are missed.',
  };
}

/** What an activity said when it failed for good. */
const messageOf = (error: unknown): string =>
  error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
