import { ApplicationFailure, condition, setCurrentDetails, setHandler, workflowInfo } from '@temporalio/workflow';
import { parse } from '#domain/messages/parse.js';
import {
  commandSchema,
  decisionSchema,
  type Answer,
  type Command,
  type Decision,
  type Hold,
  type StagePlan,
  type StageView,
  type TrainInput,
  type TrainPlan,
  type TrainView,
  type WaveProgress,
} from '#domain/messages/train.js';
import { addTallies, emptyTally, tallyOf, type StoreResult } from '#domain/outcomes.js';
import { renderTrainDetails } from '#domain/progress.js';
import type { Reason } from '#domain/reasons.js';
import {
  abortUpdate,
  approveWaveSignal,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  retryFailedUpdate,
  retryGateUpdate,
  trainQuery,
  waveProgressSignal,
} from './messages.js';
import { control, notify } from './proxies.js';

/**
 * The desk of a train: what people see of it and what they may say to it. It keeps the view, judges every message
 * against the moment (does the train ask this now? for this stage? for this plan?), and hands accepted answers to the
 * runbook in `patch-train.ts`, which waits for them here.
 */
export interface TrainDesk {
  readonly view: TrainView;
  readonly aborted: { by: string; reason?: string | undefined } | undefined;
  readonly paused: boolean;
  /** True from the train's deadline on. */
  deadlineReached(): boolean;
  /** Results so far, newest outcome per store. */
  readonly results: Map<string, StoreResult>;
  doing(what: string, change?: Partial<TrainView>): void;
  showPlan(plan: TrainPlan, planHash: string): void;
  stage(name: string, change: Partial<StageView>): void;
  take(stage: string, results: StoreResult[]): void;
  /** A wave begins: from now on these stores are counted by its reports until their results are taken. */
  follow(stage: string, wave: string, stores: string[]): void;
  /** Stands still until one of `answers` comes, an operator aborts, or the deadline or `until` passes. */
  hold(hold: Omit<Hold, 'since'>): Promise<Answer | 'deadline' | 'expired'>;
  /** Waits until nobody pauses the train. */
  unpaused(): Promise<void>;
  /** Waits so long, less if the train is aborted or reaches its deadline. */
  wait(milliseconds: number): Promise<void>;
  /** The approval that ended the last hold. */
  approval(): Decision | undefined;
  /** The workflow was cancelled from outside: an abort by another door. */
  cancel(): void;
}

export function openDesk(input: TrainInput): TrainDesk {
  const now = () => new Date().toISOString();
  const view: TrainView = {
    train: input.train ?? '',
    fleet: input.fleet,
    state: 'building',
    startedAt: workflowInfo().startTime.toISOString(),
    doing: 'Opening the train.',
    answers: ['pause', 'abort'],
    stages: [],
    notSucceeded: [],
    refusedDecisions: [],
  };
  const results = new Map<string, StoreResult>();
  const seen = new Set<string>();
  let answer: Answer | undefined;
  let approval: Decision | undefined;
  let aborted: TrainDesk['aborted'];
  let paused = false;
  let deadline: number | undefined;

  const show = () => setCurrentDetails(renderTrainDetails(view));
  const answersNow = (): Answer[] => {
    if (aborted) return [];
    if (view.hold) return view.hold.answers;
    return paused ? ['resume', 'abort'] : ['pause', 'abort'];
  };
  const refresh = () => {
    view.answers = answersNow();
    show();
  };
  const deadlineReached = () => deadline !== undefined && Date.now() >= deadline;
  const mustStop = () => aborted !== undefined || deadlineReached();
  /** `condition` that also ends at the deadline. */
  const until = (ready: () => boolean, milliseconds?: number) => {
    const left =
      deadline === undefined ? milliseconds : Math.min(milliseconds ?? Infinity, Math.max(1, deadline - Date.now()));
    return left === undefined || left === Infinity
      ? condition(() => ready() || aborted !== undefined)
      : condition(() => ready() || aborted !== undefined, left);
  };

  const refusalOf = (decision: Decision): string | undefined => {
    const { hold } = view;
    if (decision.id && seen.has(decision.id)) return 'This decision was already recorded.';
    if (hold?.reason !== 'ApprovalPending') {
      const stage = view.stages.find(({ name }) => name === decision.stage);
      if (stage?.approvedBy) return `Stage ${decision.stage} was already approved by ${stage.approvedBy}.`;
      return `The train does not ask for an approval now. ${view.doing}`;
    }
    if (hold.stage !== decision.stage) return `The train asks for stage ${hold.stage}, not for ${decision.stage}.`;
    if (view.planHash !== decision.planHash)
      return `The plan hash is not that of this train: it runs ${view.planHash}. Look at the plan again before you approve it.`;
    if (hold.until && Date.now() >= Date.parse(hold.until))
      return `The time to approve stage ${decision.stage} is over since ${hold.until}.`;
    if (approval) return `Stage ${decision.stage} was already decided by ${approval.by}.`;
    return undefined;
  };

  const record = async (decision: Decision, refusal: string | undefined) => {
    const id = decision.id ?? `${decision.by}/${decision.decision}/${now()}`;
    await control.record({
      kind: 'approval',
      row: {
        train: view.train,
        stage: decision.stage,
        id,
        planHash: decision.planHash,
        decision: decision.decision,
        by: decision.by,
        via: decision.via,
        comment: decision.comment,
        accepted: refusal === undefined,
        refusal,
        at: now(),
      },
    });
  };

  const accept = (decision: Decision) => {
    if (decision.id) seen.add(decision.id);
    approval = decision;
    answer = decision.decision;
  };

  const refuseUnless = (wanted: Answer) => (raw: Command) => {
    const parsed = parse(commandSchema, raw);
    if (!parsed.ok) throw refused(parsed.problems.join('; '));
    if (wanted === 'abort' && !aborted) return;
    if (!answersNow().includes(wanted))
      throw refused(
        `The train does not take "${wanted}" now. ${view.doing} It takes: ${answersNow().join(', ') || 'nothing any more'}.`,
      );
  };

  setHandler(trainQuery, () => view);
  setHandler(
    decideUpdate,
    async (raw) => {
      const decision = decisionSchema.parse(raw);
      accept(decision);
      await record(decision, undefined);
      return decision.decision === 'approve'
        ? `Stage ${decision.stage} is approved.`
        : `Stage ${decision.stage} is rejected; the train stays where it is.`;
    },
    {
      validator: (raw) => {
        const parsed = parse(decisionSchema, raw);
        if (!parsed.ok) throw refused(parsed.problems.join('; '));
        const refusal = refusalOf(parsed.value);
        if (refusal) throw refused(refusal);
      },
      description: 'Approves or rejects the stage that the train asks for: {stage, planHash, decision, by, comment?}',
    },
  );
  setHandler(
    approveWaveSignal,
    async (raw) => {
      const parsed = parse(decisionSchema, raw);
      if (!parsed.ok) {
        view.refusedDecisions = [
          ...view.refusedDecisions,
          { at: now(), by: 'unknown', why: parsed.problems.join('; ').slice(0, 300) },
        ].slice(-20);
        refresh();
        return;
      }
      const decision = parsed.value;
      // Signals are delivered at least once; the second time is not a refusal and must not overwrite the first.
      if (decision.id && seen.has(decision.id)) return;
      const refusal = refusalOf(decision);
      if (decision.id) seen.add(decision.id);
      if (refusal) {
        view.refusedDecisions = [...view.refusedDecisions, { at: now(), by: decision.by, why: refusal }].slice(-20);
        refresh();
      } else {
        accept(decision);
      }
      await record(decision, refusal);
      if (refusal) {
        await notify({
          event: 'refused',
          fleet: view.fleet,
          train: view.train,
          stage: decision.stage,
          summary: refusal,
          answers: answersNow(),
        }).catch(() => undefined);
      }
    },
    { description: 'The same as the update `decide`, for senders that cannot wait; a refused one is recorded.' },
  );
  setHandler(
    pauseUpdate,
    ({ by, reason }) => {
      paused = true;
      view.doing = `Paused by ${by}${reason ? `: ${reason}` : ''}. Nothing new starts; stores in work end by themselves.`;
      view.state = 'paused';
      refresh();
      return view.doing;
    },
    { validator: refuseUnless('pause'), description: 'Starts nothing new until `resume`: {by, reason?}' },
  );
  setHandler(
    resumeUpdate,
    ({ by }) => {
      if (view.hold) answer = 'resume';
      paused = false;
      view.state = 'running';
      view.doing = `Resumed by ${by}.`;
      refresh();
      return view.doing;
    },
    {
      validator: refuseUnless('resume'),
      description: 'Goes on after a pause, or past a hold that takes it: {by, reason?}',
    },
  );
  setHandler(
    abortUpdate,
    ({ by, reason }) => {
      if (aborted) return `The train was already aborted by ${aborted.by}.`;
      aborted = { by, reason };
      paused = false;
      view.doing = `Aborted by ${by}. Stores in work stop at the nearest safe point.`;
      refresh();
      return view.doing;
    },
    { validator: refuseUnless('abort'), description: 'Ends the train: {by, reason?}' },
  );
  for (const [update, wanted] of [
    [retryGateUpdate, 'retry-gate'],
    [retryFailedUpdate, 'retry-failed'],
  ] as const) {
    setHandler(
      update,
      ({ by }) => {
        answer = wanted;
        view.doing =
          wanted === 'retry-gate'
            ? `${by} asked to measure again.`
            : `${by} asked to try the stores again that did not succeed.`;
        refresh();
        return view.doing;
      },
      { validator: refuseUnless(wanted), description: `Answers a held train with ${wanted}: {by, reason?}` },
    );
  }
  setHandler(waveProgressSignal, (progress: WaveProgress) => {
    const stage = view.stages.find(({ wave }) => wave === progress.wave);
    if (!stage) return;
    stage.inFlight = progress.inFlight;
    stage.deferred = progress.deferred;
    const planned = new Set(progress.notSucceeded.map(({ store }) => store));
    view.notSucceeded = [
      ...progress.notSucceeded,
      ...view.notSucceeded.filter(({ store }) => !planned.has(store)),
    ].slice(0, 100);
    stage.tally = addTallies(
      tallyOf(resultsOf(stage.name).filter(({ store }) => !followed.has(store))),
      progress.tally,
    );
    refresh();
  });

  const stageStores = new Map<string, string[]>();
  let followed = new Set<string>();
  const resultsOf = (stage: string) => (stageStores.get(stage) ?? []).flatMap((store) => results.get(store) ?? []);

  const desk: TrainDesk = {
    view,
    results,
    get aborted() {
      return aborted;
    },
    get paused() {
      return paused;
    },
    deadlineReached,
    doing(what, change = {}) {
      Object.assign(view, change);
      if (!paused && !aborted) view.doing = what;
      refresh();
    },
    showPlan(plan, planHash) {
      Object.assign(view, {
        train: plan.train,
        commit: plan.commit,
        release: plan.release,
        planHash,
        deadline: plan.deadline,
      });
      deadline = Date.parse(plan.deadline);
      view.stages = plan.stages.map((stage: StagePlan) => ({
        name: stage.name,
        state: 'waiting',
        stores: stage.stores.length + stage.excluded.length,
        tally: emptyTally(),
        inFlight: 0,
        deferred: 0,
        started: 0,
      }));
      for (const stage of plan.stages) {
        stageStores.set(stage.name, [...stage.stores, ...stage.excluded.map(({ store }) => store)]);
        desk.take(
          stage.name,
          stage.excluded.map(({ store, reason, detail }) => ({
            store,
            outcome: 'excluded',
            reason,
            stop: { reason, summary: detail },
          })),
        );
      }
      refresh();
    },
    stage(name, change) {
      const stage = view.stages.find((entry) => entry.name === name);
      if (stage) Object.assign(stage, change);
      refresh();
    },
    follow(stage, wave, stores) {
      followed = new Set(stores);
      desk.stage(stage, { state: 'running', wave });
    },
    take(stage, taken) {
      for (const result of taken) results.set(result.store, result);
      const fresh = new Set(taken.map(({ store }) => store));
      const notSucceeded = taken.filter(({ outcome }) => outcome !== 'succeeded' && outcome !== 'excluded');
      view.notSucceeded = [...notSucceeded, ...view.notSucceeded.filter(({ store }) => !fresh.has(store))].slice(
        0,
        100,
      );
      desk.stage(stage, { tally: tallyOf(resultsOf(stage)), inFlight: 0, deferred: 0 });
    },
    async hold(hold) {
      // Nobody is asked any more what cannot be answered any more.
      if (mustStop()) return aborted ? 'abort' : 'deadline';
      answer = undefined;
      approval = undefined;
      view.hold = { ...hold, since: now() };
      view.state = 'held';
      view.doing = hold.summary;
      if (hold.stage)
        desk.stage(hold.stage, { state: hold.reason === 'ApprovalPending' ? 'awaiting approval' : 'held' });
      refresh();
      await notify({
        event: hold.reason === 'ApprovalPending' ? 'approval-needed' : 'held',
        fleet: view.fleet,
        train: view.train,
        stage: hold.stage,
        reason: hold.reason,
        planHash: view.planHash,
        summary: hold.summary,
        answers: hold.answers,
      }).catch(() => undefined);
      await until(
        () => answer !== undefined,
        hold.until ? Math.max(1, Date.parse(hold.until) - Date.now()) : undefined,
      );
      const given = answer;
      answer = undefined;
      view.hold = undefined;
      view.state = 'running';
      refresh();
      if (aborted) return 'abort';
      if (given) return given;
      return deadlineReached() ? 'deadline' : 'expired';
    },
    async unpaused() {
      if (!paused) return;
      await until(() => !paused);
    },
    async wait(milliseconds) {
      if (milliseconds > 0 && !mustStop()) await until(() => false, milliseconds);
      await desk.unpaused();
    },
    approval: () => approval,
    cancel() {
      aborted ??= { by: 'a cancellation of the workflow' };
      refresh();
    },
  };
  return desk;
}

/** Refuses an Update before it is accepted; the sentence is the answer. */
const refused = (why: string) => {
  const type: Reason = 'InvalidInput';
  return ApplicationFailure.create({ type, nonRetryable: true, message: why });
};
