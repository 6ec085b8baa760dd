import {
  allHandlersFinished,
  CancellationScope,
  condition,
  executeChild,
  ParentClosePolicy,
  getExternalWorkflowHandle,
  isCancellation,
  workflowInfo,
} from '@temporalio/workflow';
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
import { addTallies, emptyTally, tallyOf, totalOf, type StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import type { ReleaseRef } from '#domain/release.js';
import { pauseWaveSignal } from './messages.js';
import { parseInput } from './parse-input.js';
import { buildRelease, control, notify } from './proxies.js';
import { searchKeys } from './search-keys.js';
import { openDesk, type TrainDesk } from './train-desk.js';
import type { wave } from './wave.js';

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
  const report = await CancellationScope.nonCancellable(() => run(input, desk));
  await condition(allHandlersFinished);
  return report;
}

/** Why the train is over before its last stage. */
interface Over {
  state: 'aborted' | 'failed';
  reason: Reason;
  summary: string;
}
interface Run {
  desk: TrainDesk;
  plan: TrainPlan;
  planHash: string;
}

async function run(input: TrainInput, desk: TrainDesk): Promise<TrainReport> {
  const opened = await control.openTrain({
    fleet: input.fleet,
    train: input.train,
    commit: input.commit,
    startedAt: desk.view.startedAt,
  });
  desk.doing(`Building the release of ${opened.commit.slice(0, 12)}.`, { train: opened.train, commit: opened.commit });
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
    return { problems: [error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error)] };
  }
}

async function runStage(train: Run, stage: StagePlan): Promise<Over | undefined> {
  return (
    (await approve(train, stage)) ??
    (await inWindow(train, stage, async (windows) => {
      await promote(train, stage, windows);
      return patch(train, stage, windows);
    })) ??
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
async function inWindow(
  { desk, plan }: Run,
  stage: StagePlan,
  then: (windows: StageWindows) => Promise<Over | undefined>,
): Promise<Over | undefined> {
  await desk.unpaused();
  for (;;) {
    const windows = await control.stageWindows({
      plan: { fleet: plan.fleet, timeZone: plan.timeZone, commit: plan.commit },
      stage,
      after: new Date().toISOString(),
    });
    if (desk.aborted || desk.deadlineReached()) return overBy(desk);
    const opens = windows.opens ? Date.parse(windows.opens) : 0;
    if (opens <= Date.now()) return then(windows);
    desk.stage(stage.name, { state: 'awaiting window' });
    desk.doing(`Stage ${stage.name} waits for its window, which opens at ${windows.opens}.`);
    await desk.wait(opens - Date.now());
  }
}

async function promote({ desk, plan, planHash }: Run, stage: StagePlan, windows: StageWindows): Promise<void> {
  desk.stage(stage.name, { state: 'promoting', startedAt: new Date().toISOString() });
  desk.doing(`Promoting ${plan.release.version} for stage ${stage.name}.`);
  const { stages: _, ...head } = plan;
  await control.promoteStage({
    plan: head,
    stage: stage.name,
    stores: startable(stage, windows).map(({ id }) => id),
    planHash,
    approvedBy: desk.approval()?.by ?? 'no approval required',
    expires: plan.deadline,
  });
}

/** Rounds of waves until the stage is through, or people decide otherwise. */
async function patch(train: Run, stage: StagePlan, windows: StageWindows): Promise<Over | undefined> {
  const { desk } = train;
  const excluded = windows.excluded.filter(({ store }) => stage.stores.includes(store));
  desk.take(
    stage.name,
    [
      ...excluded,
      ...windows.never.map((store) => ({
        store,
        reason: 'OutsideWindow' as const,
        detail: 'Its window never meets that of the stage.',
      })),
    ].map(({ store, reason, detail }) => ({
      store,
      outcome: 'excluded' as const,
      reason,
      stop: { reason, summary: detail },
    })),
  );
  let stores = startable(stage, windows);
  for (let round = 0; ; round += 1) {
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
    stores = stores.filter(({ id }) => desk.results.get(id)?.outcome !== 'succeeded');
  }
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

async function runWave(
  { desk, plan }: Run,
  stage: StagePlan,
  workflowId: string,
  members: {
    round: number;
    stores: StartableStore[];
    before: { tally: Record<string, number>; started: number };
    notAfter?: string | undefined;
  },
): Promise<WaveReport> {
  const scope = new CancellationScope();
  const settled = { done: false };
  const running = scope.run(() =>
    executeChild<typeof wave>('wave', {
      workflowId,
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      staticSummary: `${stage.name}: patch ${members.stores.length} stores`,
      typedSearchAttributes: [
        { key: searchKeys.train, value: plan.train },
        { key: searchKeys.stage, value: stage.name },
        { key: searchKeys.operation, value: 'patch' },
        { key: searchKeys.release, value: plan.release.version },
      ],
      args: [
        {
          fleet: plan.fleet,
          train: plan.train,
          stage: stage.name,
          operation: 'patch',
          release: plan.release,
          limits: stage.settings.limits,
          stageSize: stage.stores.length,
          paused: desk.paused,
          ...members,
          ...(members.notAfter ? {} : { notAfter: undefined }),
        },
      ],
    }),
  );
  const follow = followPauses(desk, workflowId, settled, scope);
  try {
    return await running;
  } catch (error) {
    if (!isCancellation(error) && !desk.aborted) throw error;
    return { results: [], probes: [], notStarted: members.stores.map(({ id }) => id) };
  } finally {
    settled.done = true;
    await follow;
  }
}

/** Passes on pause, resume, abort and the deadline to the wave that runs. */
async function followPauses(
  desk: TrainDesk,
  workflowId: string,
  settled: { done: boolean },
  scope: CancellationScope,
): Promise<void> {
  let told = desk.paused;
  const left = desk.view.deadline ? Math.max(1, Date.parse(desk.view.deadline) - Date.now()) : 1;
  for (;;) {
    const inTime = await condition(() => settled.done || desk.aborted !== undefined || desk.paused !== told, left);
    if (settled.done) return;
    if (desk.aborted || !inTime) {
      scope.cancel();
      return;
    }
    told = desk.paused;
    await getExternalWorkflowHandle(workflowId)
      .signal(pauseWaveSignal, told)
      .catch(() => undefined);
  }
}

async function soak({ desk }: Run, stage: StagePlan): Promise<Over | undefined> {
  desk.stage(stage.name, { state: 'soaking' });
  desk.doing(`Stage ${stage.name} soaks for ${formatDuration(stage.settings.soak)}.`);
  await desk.wait(stage.settings.soak);
  return desk.aborted || desk.deadlineReached() ? overBy(desk) : undefined;
}

async function passGate(train: Run, stage: StagePlan): Promise<Over | undefined> {
  const { desk, plan } = train;
  const expected = stage.stores.filter((store) => desk.results.get(store)?.outcome === 'succeeded');
  for (let attempt = 0; ; attempt += 1) {
    desk.stage(stage.name, { state: 'gate' });
    desk.doing(`Measuring ${expected.length} stores of stage ${stage.name}.`);
    const probes: WaveReport['probes'] = [];
    for (const [part, members] of partsOf(expected.map((id) => ({ id }))).entries()) {
      const report = await executeChild<typeof wave>('wave', {
        workflowId: `${waveWorkflowId(plan.train, stage.name, attempt, part)}/gate`,
        parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
        staticSummary: `${stage.name}: measure ${members.length} stores`,
        typedSearchAttributes: [
          { key: searchKeys.train, value: plan.train },
          { key: searchKeys.stage, value: stage.name },
          { key: searchKeys.operation, value: 'probe' },
        ],
        args: [
          {
            fleet: plan.fleet,
            train: plan.train,
            stage: stage.name,
            round: attempt,
            operation: 'probe',
            stores: members,
            release: plan.release,
            limits: stage.settings.limits,
            stageSize: stage.stores.length,
            before: { tally: {}, started: 0 },
            paused: false,
          },
        ],
      });
      probes.push(...report.probes);
    }
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

async function finishStage({ desk, plan }: Run, stage: StagePlan): Promise<undefined> {
  desk.stage(stage.name, { state: 'done', endedAt: new Date().toISOString() });
  await recordStage(desk, plan.train, stage.name);
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
    if (over) await recordStage(desk, plan?.train ?? '', stage.name);
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

async function recordTrain({ view }: TrainDesk, over?: Over): Promise<void> {
  const isOver = view.state === 'done' || view.state === 'aborted' || view.state === 'failed';
  await control.record({
    kind: 'train',
    row: {
      id: view.train,
      fleet: view.fleet,
      release: view.release?.version,
      sequence: view.release?.sequence,
      manifest: view.release?.manifest,
      commit: view.commit,
      planHash: view.planHash,
      state: view.state,
      reason: over?.reason,
      summary: isOver ? view.doing : undefined,
      startedAt: workflowInfo().startTime.toISOString(),
      endedAt: isOver ? new Date().toISOString() : undefined,
    },
  });
}

async function recordStage({ view }: TrainDesk, train: string, name: string): Promise<void> {
  const position = view.stages.findIndex((stage) => stage.name === name);
  const stage = view.stages[position];
  if (!stage) return;
  await control.record({
    kind: 'stage',
    row: {
      train,
      stage: name,
      position,
      stores: stage.stores,
      state: stage.state,
      tally: addTallies(stage.tally, emptyTally()),
      startedAt: stage.startedAt,
      endedAt: stage.endedAt,
    },
  });
}

const PART_SIZE = 250;
interface StartableStore {
  id: string;
  opens?: string;
  closes?: string;
}

const partsOf = (stores: StartableStore[]): StartableStore[][] =>
  Array.from({ length: Math.ceil(stores.length / PART_SIZE) }, (_, part) =>
    stores.slice(part * PART_SIZE, (part + 1) * PART_SIZE),
  );

/** Stores of a stage that may start in these windows. */
function startable(stage: StagePlan, windows: StageWindows): StartableStore[] {
  const out = new Set([...windows.excluded.map(({ store }) => store), ...windows.never]);
  return stage.stores.filter((store) => !out.has(store)).map((id) => ({ id, ...windows.stores[id] }));
}
