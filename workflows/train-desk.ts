import { condition, patched, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import { concurrencyOf } from '#domain/limits.js';
import { ANSWERS, isTrainOver, wasOvertaken } from '#domain/messages/train.js';
import type {
  Answer,
  Command,
  Decision,
  Hold,
  InWork,
  StagePlan,
  Stalled,
  StageState,
  StageView,
  Steering,
  PastStage,
  TrainInput,
  TrainPlan,
  TrainReport,
  TrainView,
  WaveProgress,
  WaveSteering,
} from '#domain/messages/train.js';
import { ROLLBACK_STAGE } from '#domain/naming.js';
import { addTallies, emptyTally, tallyOf, type Outcome, type StoreResult, type Tally } from '#domain/outcomes.js';
import { renderTrainDetails } from '#domain/progress.js';
import type { Reason } from '#domain/reasons.js';
import { shouldMove } from '#domain/stall.js';
import { toldToEndFor } from '#domain/told-to-end.js';
import { notify } from './proxies.js';
import { openLabels } from './search-keys.js';
import type { Over } from './train-waves.js';

/**
 * The desk of a train: what people see of it and what they have said to it. It keeps the view, remembers what was said
 * (see `train-messages.ts` for how it comes in), and is where the runbook in `patch-train.ts` waits.
 */
export type TrainDesk = ReturnType<typeof openDesk>;

/** A decision of people under the name and at the instant that the ledger has it. */
export type TakenDecision = Decision & { id: string; at: string };

/** That the train goes back: who said so, and when. */
type AskedBack = Command & { policy?: true; at: string };

/** What people have said and what still holds of it. */
interface Said {
  /** The answer to the hold that stands now. */
  answer: Answer | undefined;
  approval: TakenDecision | undefined;
  /** On its way into the ledger, with the hold that it is for: it is no answer before it stands there. */
  recording: { decision: TakenDecision; hold: Hold | undefined } | undefined;
  aborted: Command | undefined;
  rollback: AskedBack | undefined;
  abortedStages: Map<string, Command>;
  abortedStores: Set<string>;
  /** Stages and stores aborted since the train was asked to go back: it is meant of the way back. */
  abortedSinceAsked: Steering[];
  /** Stores whose outcome people accepted: it is no longer held against those that are still to come. */
  accepted: Set<string>;
  /** Nobody who comes back is waited for any more. */
  finished: boolean;
  /** The same, of the round in work: it starts nobody else. What people say to a hold after that is newer. */
  ending: boolean;
}

/**
 * How a hold ended: by an answer, an abort of the train or of its stage, because its time or the train's was over, or, a
 * question, because a fault holds the train meanwhile: it is to be asked anew.
 */
export type HoldEnd = Answer | 'stage aborted' | 'set aside' | 'deadline' | 'expired';

type Asked = Omit<Hold, 'since' | 'answers'> & { answers: Answer[] | (() => Answer[]) };

export function openDesk(input: Pick<TrainInput, 'fleet' | 'train'>) {
  const now = () => new Date().toISOString();
  const view: TrainView = {
    train: input.train ?? '',
    fleet: input.fleet,
    state: 'building',
    startedAt: workflowInfo().startTime.toISOString(),
    doing: 'Opening the train.',
    pausedStores: [],
    answers: ['pause', 'abort'],
    stages: [],
    stuck: [],
    awaited: [],
    notSucceeded: [],
    refusedDecisions: [],
  };
  const said: Said = {
    answer: undefined,
    approval: undefined,
    recording: undefined,
    aborted: undefined,
    rollback: undefined,
    abortedStages: new Map(),
    abortedStores: new Set(),
    abortedSinceAsked: [],
    accepted: new Set(),
    finished: false,
    ending: false,
  };
  const results = new Map<string, StoreResult>();
  const stageStores = new Map<string, string[]>();
  const rounds = new Map<string, number>();
  const proven = new Set<string>();
  /** As what each stage ended. Late stores of it may soak and be measured after that. */
  const endedAs = new Map<string, StageState>();
  /** Stages of which a breach stands and people asked for a retry. */
  const retried = new Set<string>();
  let answersToHold: (() => Answer[]) | undefined;
  /** Faults that hold the train: the one that is shown, and those that wait for it to be answered. */
  let faults = 0;
  /** What the train is about when nobody pauses it and nothing holds it. */
  let phase: TrainView['state'] = 'building';
  let rollingBack = false;
  let deadline: number | undefined;
  /** Stores of which the way back has told how it ended: how the way there ended says nothing of it. */
  const hadTurnBack = new Set<string>();
  /** The wave in work. Its stores are counted by its reports, not by the outcomes that they had before. */
  let followed: { stage: string; wave: string; stores: Set<string>; tally: Tally; newest?: WaveProgress } | undefined;
  let turn: Promise<unknown> = Promise.resolve();
  const labels = openLabels();
  /** The stage whose turn it is; and why the train ended as it did. */
  let at: string | undefined;
  let endedFor: Reason | undefined;
  let movedAt = Date.now();

  const resultsOf = (stage: string) => (stageStores.get(stage) ?? []).flatMap((store) => results.get(store) ?? []);
  const tallyNow = (stage: string): Tally => {
    if (followed?.stage !== stage) return tallyOf(resultsOf(stage));
    const { stores, tally } = followed;
    return addTallies(tallyOf(resultsOf(stage).filter(({ store }) => !stores.has(store))), tally);
  };
  const stageView = (name: string) => view.stages.find((stage) => stage.name === name);
  /** What a stage is when nothing is under way in it: as it ended, else `open`. */
  const settled = (stage: StageView, open = stage.state): StageState => endedAs.get(stage.name) ?? open;
  const isOver = () => isTrainOver(phase);
  const wayBack = (): Answer[] =>
    !rollingBack && !said.rollback && view.stages.some(({ startedAt }) => startedAt) ? ['rollback'] : [];

  const answersNow = (): Answer[] => {
    if (said.aborted || isOver()) return [];
    const pausing: Answer = view.paused ? 'resume' : 'pause';
    const waiting: Answer[] = phase === 'catching up' && !view.hold && !said.finished ? ['finish'] : [];
    const taken = new Set<Answer>([...(view.hold?.answers ?? waiting), pausing, ...wayBack(), 'abort']);
    return ANSWERS.filter((answer) => taken.has(answer));
  };
  const isMoving = (): boolean => shouldMove(view);
  const refresh = () => {
    if (view.hold && answersToHold) view.hold.answers = answersToHold();
    view.state = view.hold ? 'held' : view.paused && !isOver() ? 'paused' : phase;
    view.answers = answersNow();
    view.awaited = view.awaited.filter((store) => !said.abortedStores.has(store));
    view.pausedInWork = view.pausedStores.filter((store) => followed?.stores.has(store));
    if (!isMoving()) view.stalled = undefined;
    setCurrentDetails(renderTrainDetails(view));
    labels.follow({
      release: view.release?.version,
      stage: view.hold?.stage ?? at,
      reason: view.hold?.reason ?? endedFor,
      outcome: isOver() ? phase : undefined,
    });
  };

  const moved = () => {
    movedAt = Date.now();
    view.stalled = undefined;
  };

  const isInWave = (store: string) => followed?.stores.has(store) === true;
  const isStageAborted = (stage: string | undefined) => stage !== undefined && said.abortedStages.has(stage);
  const isHeldByFault = () => faults > 0;
  /** Trains of earlier builds went on with a round of stores that came back, whatever held the others. */
  const standsStill = () => isHeldByFault() && patched('held-stands-still');
  /** Trains of earlier builds took who came back until the last of those that were caught up was proven. */
  const isFinished = () => said.finished && patched('finish-ends-catch-up');
  const isEnding = () => said.ending && isFinished();
  const deadlineReached = () => deadline !== undefined && Date.now() >= deadline;
  /** Nothing new may begin. The way back does not end with the time of the train. */
  const mustStop = () =>
    said.aborted !== undefined || (!rollingBack && (said.rollback !== undefined || deadlineReached()));
  /** `condition` that also ends when the train must stop. */
  const until = (ready: () => boolean, milliseconds = Infinity) => {
    const end = deadline === undefined || rollingBack ? Infinity : Math.max(1, deadline - Date.now());
    const left = Math.min(milliseconds, end);
    const done = () => ready() || mustStop();
    return left === Infinity ? condition(done) : condition(done, left);
  };

  const desk = {
    view,
    said,
    /** Newest outcome per store. */
    results,
    resultsOf,
    /** What stands in the ledger already. */
    written: new Set<StoreResult>(),
    answersNow,
    mustStop,
    deadlineReached,
    /** Makes it found by these in the Temporal UI. Stage, reason and outcome follow what happens by themselves. */
    label: labels.show,

    doing(what: string, change: Partial<TrainView> = {}): void {
      const { state, ...rest } = change;
      moved();
      if (state) phase = state;
      Object.assign(view, rest);
      // What people said stands until the end, which says it in its own words.
      if (isOver() || (!view.paused && !said.aborted)) view.doing = what;
      refresh();
    },
    /** It is over, so. */
    close({ state, reason, summary }: Pick<TrainReport, 'state' | 'reason' | 'summary'>): void {
      endedFor = reason;
      for (const stage of view.stages) stage.state = settled(stage);
      desk.doing(summary, { state });
    },
    /** Of what people said, in their words. */
    say(what: string): string {
      view.doing = what;
      refresh();
      return what;
    },
    refuse(by: string, why: string): void {
      view.refusedDecisions = [...view.refusedDecisions, { at: now(), by, why: why.slice(0, 300) }].slice(-20);
      refresh();
    },

    showPlan(plan: TrainPlan, planHash: string): void {
      const { train, commit, release } = plan;
      Object.assign(view, { train, commit, release, planHash, deadline: plan.deadline });
      deadline = Date.parse(plan.deadline);
      view.stages = plan.stages.map((stage) => ({
        name: stage.name,
        state: 'waiting',
        stores: stage.stores.length + stage.excluded.length,
        tally: emptyTally(),
        inFlight: 0,
        deferred: 0,
        started: 0,
        concurrency: concurrencyOf(stage.settings.limits.maxConcurrency, Math.max(1, stage.stores.length)),
        soak: stage.settings.soak,
      }));
      for (const stage of plan.stages) {
        stageStores.set(stage.name, [...stage.stores, ...stage.excluded.map(({ store }) => store)]);
        desk.take(stage.name, stage.excluded.map(excludedResult));
      }
      refresh();
    },
    /** A train that has ended, as the ledger knows it, is at the desk again. */
    reopen(startedAt: string, stages: PastStage[], nextRound: number): void {
      view.startedAt = startedAt;
      view.deadline = undefined;
      rounds.set(ROLLBACK_STAGE, nextRound);
      for (const { name, results: past, ...then } of stages) {
        desk.take(name, past);
        for (const result of past) desk.written.add(result);
        desk.stage(name, then);
        if (then.endedAt !== undefined) endedAs.set(name, then.state);
      }
    },
    /** It is the turn of this stage. */
    enter(stage: string): void {
      at = stage;
    },
    stage(name: string, change: Partial<StageView>): void {
      const stage = stageView(name);
      moved();
      if (stage) Object.assign(stage, change);
      refresh();
    },
    /** It is through, with all stores that it had then. */
    endStage(name: string, state: StageState): void {
      endedAs.set(name, state);
      desk.stage(name, { state, endedAt: now() });
    },
    settled,
    /** A hold, or a round of late stores, is shown of a stage. What it returns shows again what the stage is about itself. */
    setAside(name: string): () => void {
      const stage = stageView(name);
      const { state, endedAt } = { ...stage };
      return () => {
        if (!stage || view.hold?.stage === name || !SHOWN_INSTEAD.includes(stage.state)) return;
        // Its soak and its gate went on, and may be over.
        desk.stage(name, { state: stage.endedAt === endedAt && state ? state : settled(stage) });
      };
    },
    /** The number of the next round of a stage; rounds name operations, so none is used twice. */
    nextRound(stage: string): number {
      const round = rounds.get(stage) ?? 0;
      rounds.set(stage, round + 1);
      return round;
    },
    /** A wave begins: from now on these stores are counted by its reports, until it has ended. */
    follow(stage: string, wave: string, stores: string[]): void {
      followed = { stage, wave, stores: new Set(stores), tally: emptyTally() };
      view.wave = wave;
      desk.stage(stage, { wave, tally: tallyNow(stage), ...(desk.isDone(stage) ? {} : { state: 'running' }) });
    },
    /** A wave of the way back told of these. Whom it did not start has not had its turn. */
    toldOfWayBack(stores: string[]): void {
      for (const store of stores) hadTurnBack.add(store);
    },
    /** The wave that was followed has ended, so. */
    ended(stage: string, taken: StoreResult[]): void {
      followed = undefined;
      view.wave = undefined;
      desk.take(stage, taken);
      desk.stage(stage, { inFlight: 0, deferred: 0 });
    },
    /** Outcomes of stores, whoever found them. A wave that is in work meanwhile stays in work. */
    take(stage: string, taken: StoreResult[]): void {
      for (const result of taken) {
        // What people accepted is how the store stood then, not how it ends when something is done to it later.
        const isAnother = result.operationId !== results.get(result.store)?.operationId;
        if (isAnother && result.outcome !== 'offline') said.accepted.delete(result.store);
        results.set(result.store, result);
      }
      const fresh = new Set(taken.map(({ store }) => store));
      view.stuck = view.stuck.filter(({ store }) => !fresh.has(store));
      desk.showNotSucceeded(
        taken.filter(({ outcome }) => outcome !== 'succeeded' && outcome !== 'excluded'),
        fresh,
      );
      desk.stage(stage, { tally: tallyNow(stage) });
    },
    showNotSucceeded(newest: StoreResult[], instead: Set<string>): void {
      const all = [...newest, ...view.notSucceeded.filter(({ store }) => !instead.has(store))];
      // Whoever was worked on is looked at first; hundreds that were never started must not push them out.
      const wasStarted = ({ operationId }: StoreResult) => operationId !== undefined;
      view.notSucceeded = [...all.filter(wasStarted), ...all.filter((result) => !wasStarted(result))]
        .slice(0, MAX_LISTED)
        .map((result, at) => (at < MAX_WITH_DETAIL || !result.stop ? result : withoutDetail(result)));
    },
    progress(progress: WaveProgress): void {
      const stage = followed && stageView(followed.stage);
      // What a wave has said of itself may arrive when its results are taken already.
      if (!followed || !stage || followed.wave !== progress.wave) return;
      moved();
      if (!wasOvertaken(progress, followed.newest)) {
        followed.newest = progress;
        followed.tally = progress.tally;
        stage.inFlight = progress.inFlight;
        stage.deferred = progress.deferred;
      }
      const newest = progress.notSucceeded.map((result) => desk.withWhy(stage.name, result));
      desk.showNotSucceeded(newest, new Set(newest.map(({ store }) => store)));
      stage.tally = tallyNow(stage.name);
      refresh();
    },
    /** When a stage moved or a store ended last, as the train knows it. */
    movedAt: (): number => movedAt,
    /** Something is under way that ends by itself. */
    isMoving,
    stuck(stuck: InWork[]): void {
      if (stuck.length + view.stuck.length === 0) return;
      view.stuck = stuck;
      refresh();
    },
    stalled(stalled: Stalled): void {
      view.stalled = stalled;
      refresh();
    },
    awaiting(stores: string[]): void {
      view.awaited = stores;
      refresh();
    },

    /**
     * Stands still until one of `answers` comes, the train must stop, or `until` passes. A question whether a stage may
     * begin ends with its abort as well; in any other hold the stage stands still already. What it takes may change with
     * what people say meanwhile.
     */
    async hold(asked: Asked): Promise<HoldEnd> {
      if (asked.reason === 'ApprovalPending') return standFor(asked);
      faults += 1;
      try {
        // Stores that came back may breach while the train is held already. One is answered after the other.
        while (view.hold && !mustStop()) await until(() => view.hold === undefined);
        return await standFor(asked);
      } finally {
        faults -= 1;
      }
    },
    /** Waits until no fault holds the train. */
    released: () => until(() => !isHeldByFault()),
    /** Waits until nobody pauses the train or this stage, and no fault holds the train. */
    async unpaused(stage: string): Promise<void> {
      const isPaused = () => desk.isPaused(stage) || standsStill();
      if (!isPaused()) return;
      view.standsAt = stage;
      const why = desk.whyItStands();
      if (why && !view.paused && !mustStop()) desk.say(why);
      await until(() => !isPaused() || isStageAborted(stage));
      if (view.standsAt === stage) view.standsAt = undefined;
    },
    /** What is asked of people: an answer, or to let the stage go on that has the turn. */
    whyItStands(): string | undefined {
      const paused = view.standsAt === undefined ? undefined : stageView(view.standsAt)?.paused;
      if (view.hold || !paused) return view.hold?.summary;
      return `Stage ${view.standsAt} is paused by ${paused.by}${paused.reason ? `: ${paused.reason}` : ''}. Nothing goes on until it is resumed.`;
    },
    /** Waits so long, less if the train must stop, people end the stage, or nothing is `wanted` any more. */
    async wait(milliseconds: number, stage: string, isWanted = () => true): Promise<void> {
      if (milliseconds > 0 && !mustStop()) await until(() => isStageAborted(stage) || !isWanted(), milliseconds);
      await desk.unpaused(stage);
    },
    until,
    /** One round at a time, whoever runs it: the stage in its turn, or stores that came back. */
    inTurn<T>(work: () => Promise<T>): Promise<T> {
      const mine = turn.then(work, work);
      turn = mine.catch(() => undefined);
      return mine;
    },

    /** These passed the gate of their stage, or people went on without it: nobody measures them again. */
    prove(stores: string[]): void {
      for (const store of stores) proven.add(store);
    },
    isProven: (store: string): boolean => proven.has(store),
    accept(stores: string[]): void {
      for (const store of stores) said.accepted.add(store);
    },
    isAccepted: (store: string): boolean => said.accepted.has(store),
    /** While a stage is tried again that is not well, nobody else of it is taken. */
    retry: (stage: string, isRetried: boolean): void => void (isRetried ? retried.add(stage) : retried.delete(stage)),
    isRetried: (stage: string): boolean => retried.has(stage),
    hasStore: (store: string): boolean => [...stageStores.values()].some((stores) => stores.includes(store)),
    isDone: (stage: string): boolean => endedAs.has(stage),
    /** How a store has ended that no wave has in work; on the way back, how that ended. */
    outcomeOf(store: string | undefined): Outcome | undefined {
      const outcome = store === undefined || isInWave(store) ? undefined : results.get(store)?.outcome;
      const isOfWayThere = outcome !== 'rolledBack' && outcome !== 'excluded' && desk.isBeforeTurnBack(store);
      return isOfWayThere ? undefined : outcome;
    },
    /** The train is taken back, and this store has had no turn yet. */
    isBeforeTurnBack: (store: string | undefined): boolean =>
      rollingBack && store !== undefined && !isInWave(store) && !hadTurnBack.has(store),
    isRollingBack: (): boolean => rollingBack,
    /** It is asked to go back, and still ends what it has in work. */
    isAskedBack: (): boolean => said.rollback !== undefined && !rollingBack,
    isStageAborted,
    isHeldByFault,
    isPaused: (stage: string): boolean => view.paused !== undefined || stageView(stage)?.paused !== undefined,
    steering: (stage: string): WaveSteering => ({
      paused: desk.isPaused(stage) || standsStill(),
      pausedStores: [...view.pausedStores],
      abortedStores: [...said.abortedStores],
      ...(isEnding() && { handBack: true as const }),
    }),
    pause({ by, reason, stage, store }: Steering): void {
      if (store) view.pausedStores = [...new Set([...view.pausedStores, store])];
      else if (stage) desk.stage(stage, { paused: { by, at: now(), reason } });
      else view.paused ??= { by, at: now(), reason };
      refresh();
    },
    resume({ stage, store }: Steering): void {
      if (store) view.pausedStores = view.pausedStores.filter((other) => other !== store);
      else if (stage) desk.stage(stage, { paused: undefined });
      else view.paused = undefined;
      refresh();
    },
    abort(command: Steering): void {
      if (desk.isAskedBack()) said.abortedSinceAsked.push(command);
      if (command.store) said.abortedStores.add(command.store);
      else if (command.stage) said.abortedStages.set(command.stage, command);
      else {
        said.aborted ??= command;
        view.paused = undefined;
      }
      refresh();
    },
    goBack(asked: Omit<AskedBack, 'at'>): void {
      said.rollback = { ...asked, at: now() };
    },
    /** How a store of this stage ended on the way there, with what it was told to end for. */
    withWhy(stage: string, result: StoreResult): StoreResult {
      const { rollback, aborted, abortedStores } = said;
      const isOtherwise = aborted !== undefined || isStageAborted(stage) || abortedStores.has(result.store);
      if (rollingBack || isOtherwise) return result;
      if (rollback) return toldToEndFor('rollback', rollback.at, result);
      return deadlineReached() && view.deadline ? toldToEndFor('deadline', view.deadline, result) : result;
    },
    /** People do not wait for those that are still away. */
    finish(): void {
      said.finished = true;
      said.ending = true;
      view.awaited = [];
      refresh();
    },
    isFinished,
    isEnding,
    /** The workflow was cancelled from outside: an abort by another door. */
    cancel: () => desk.abort({ by: 'a cancellation of the workflow' }),
    /** A rollback has begun: what was asked for is being done. */
    rollingBack(): void {
      rollingBack = true;
      desk.enter(ROLLBACK_STAGE);
      // It was said of the way there, but for what was said since.
      said.abortedStages.clear();
      said.abortedStores.clear();
      const since = said.abortedSinceAsked.filter(({ stage, store }) => stage ?? store);
      if (since.length > 0 && patched('aborts-since-asked-back')) for (const command of since) desk.abort(command);
      said.finished = false;
      said.ending = false;
      proven.clear();
      view.rollingBack = true;
      view.deadline = undefined;
      for (const stage of view.stages)
        stage.state = settled(stage, stage.startedAt === undefined ? 'skipped' : 'waiting');
      desk.doing('Planning the rollback.', { state: 'rolling back' });
    },

    /** All stores of a stage that go back now have had their turn. One that was through before stays what it was. */
    isBack(name: string): void {
      const stage = stageView(name);
      if (stage?.startedAt !== undefined) stage.state = settled(stage, 'rolled back');
      refresh();
    },

    /** A decision for the hold that stands now is on its way into the ledger. */
    isRecording: (): boolean => said.recording !== undefined && said.recording.hold === view.hold,
    /** Who approved the last stage that asked. */
    approval: () => said.approval,
    /** Why the train goes on with no further stage. */
    over(): Over {
      const { aborted, rollback } = said;
      if (aborted)
        return {
          state: 'aborted',
          reason: 'Aborted',
          summary: `Aborted by ${aborted.by}${aborted.reason ? `: ${aborted.reason}` : ''}.`,
        };
      if (rollback && !rollingBack)
        return { state: 'rolled back', reason: 'RolledBack', summary: `${rollback.by} asked to roll back.` };
      return {
        state: 'aborted',
        reason: 'DeadlineReached',
        summary: 'The train reached its deadline; open stores are missed.',
      };
    },
  };
  const standFor = async ({ answers: taken, ...hold }: Asked): Promise<HoldEnd> => {
    // Nobody is asked any more what cannot be answered any more.
    if (mustStop()) return endOf();
    const asks = hold.reason === 'ApprovalPending';
    if (asks && isStageAborted(hold.stage)) return 'stage aborted';
    if (hold.stage) said.abortedStages.delete(hold.stage);
    const showAgain = hold.stage !== undefined && desk.isDone(hold.stage) ? desk.setAside(hold.stage) : undefined;
    said.answer = undefined;
    said.approval = undefined;
    answersToHold = () => [...(typeof taken === 'function' ? taken() : taken), ...wayBack(), 'abort'];
    const answers = answersToHold();
    view.hold = { ...hold, answers, since: now() };
    view.doing = hold.summary;
    if (hold.stage) desk.stage(hold.stage, { state: asks ? 'awaiting approval' : 'held' });
    refresh();
    await notify({
      event: asks ? 'approval-needed' : 'held',
      fleet: view.fleet,
      train: view.train,
      stage: hold.stage,
      reason: hold.reason,
      planHash: hold.planHash ?? view.planHash,
      summary: hold.summary,
      answers,
    }).catch(() => undefined);
    const wait = hold.until ? Math.max(1, Date.parse(hold.until) - Date.now()) : undefined;
    const ends = () => asks && (isStageAborted(hold.stage) || isHeldByFault());
    const isAnswered = () => said.answer !== undefined || ends();
    await until(isAnswered, wait);
    // A decision that came in time counts, however long the ledger takes.
    if (desk.isRecording()) await until(() => isAnswered() || !desk.isRecording());
    const unanswered = isHeldByFault() ? 'set aside' : 'expired';
    const given = said.answer ?? (asks && isStageAborted(hold.stage) ? 'stage aborted' : unanswered);
    said.answer = undefined;
    said.ending = false;
    view.hold = undefined;
    showAgain?.();
    refresh();
    return mustStop() ? endOf() : given;
  };
  const endOf = (): HoldEnd => (said.aborted ? 'abort' : said.rollback && !rollingBack ? 'rollback' : 'deadline');
  return desk;
}

const SHOWN_INSTEAD: readonly StageState[] = ['running', 'held', 'awaiting window'];

/** What a query may answer is limited: so many stores are listed, and so many of them with all that was seen there. */
const MAX_LISTED = 1_000;
const MAX_WITH_DETAIL = 100;
const withoutDetail = (result: StoreResult): StoreResult => ({
  ...result,
  stop: result.stop && { ...result.stop, detail: undefined },
});

const excludedResult = ({ store, reason, detail }: StagePlan['excluded'][number]): StoreResult => ({
  store,
  outcome: 'excluded',
  reason,
  stop: { reason, summary: detail },
});
