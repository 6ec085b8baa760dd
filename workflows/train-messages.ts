import { allHandlersFinished, CancellationScope, condition, patched, setHandler } from '@temporalio/workflow';
import { parse } from '#domain/messages/parse.js';
import {
  commandSchema,
  decisionSchema,
  isTrainOver,
  problemsOfDecision,
  steeringSchema,
  waveProgressSchema,
  type Answer,
  type Command,
  type Decision,
  type Steering,
} from '#domain/messages/train.js';
import { OUTCOME_WORDS } from '#domain/outcomes.js';
import {
  abortUpdate,
  answerUpdates,
  approveWaveSignal,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  trainQuery,
  waveProgressSignal,
  type PlainAnswer,
} from './messages.js';
import { heard, messageOrRefusal, refused } from './parse-input.js';
import { control, messageOf, recordDecision } from './proxies.js';
import { openRefusals, type Refusals } from './refusals.js';
import type { TakenDecision, TrainDesk } from './train-desk.js';

/**
 * Does the work of a train while people can talk to it. A cancellation from outside is an abort by another door, so the
 * work itself is never torn; who has spoken gets an answer before the end.
 */
export async function attended<T>(desk: TrainDesk, work: () => Promise<T>): Promise<T> {
  const refusals = openRefusals(desk);
  listenToPeople(desk, refusals);
  CancellationScope.current().cancelRequested.catch(() => desk.cancel());
  return CancellationScope.nonCancellable(async () => {
    const result = await work();
    await condition(() => allHandlersFinished() && refusals.areWritten());
    return result;
  });
}

/**
 * How messages reach a train: each is judged against the moment (does the train ask this now? for this stage? for this
 * plan?) and taken, or refused with a sentence that changes nothing.
 */
function listenToPeople(desk: TrainDesk, refusals: Refusals): void {
  setHandler(trainQuery, () => desk.view);
  setHandler(
    waveProgressSignal,
    heard('waveProgress', waveProgressSchema, (progress) => desk.progress(progress)),
  );
  listenToDecisions(desk, refusals);
  listenToSteering(desk);
  for (const answer of Object.keys(answerUpdates) as PlainAnswer[]) listenToAnswer(desk, answer);
}

const MOVES_WITHIN = '10 seconds';

/** A refusal in the words for the sender, and in those that are kept. */
type Judged = { decision: Decision; refusal?: undefined } | { decision?: Decision; refusal: string; kept: string };

function listenToDecisions(desk: TrainDesk, refusals: Refusals): void {
  const { view, said } = desk;
  const seen = new Set<string>();

  const refusalOf = (decision: Decision): string | undefined => {
    const { hold } = view;
    const { recording } = said;
    const isThisOne = recording !== undefined && recording.decision.id === decision.id;
    if (isThisOne || (desk.isRecording() && hold?.stage === decision.stage))
      return `A decision of ${recording?.decision.by} for stage ${decision.stage} is being recorded. Look again in a moment: edge train show`;
    if (decision.id && seen.has(decision.id)) return 'This decision was already recorded.';
    if (hold?.reason !== 'ApprovalPending') {
      const stage = view.stages.find(({ name }) => name === decision.stage);
      if (stage?.approvedBy) return `Stage ${decision.stage} was already approved by ${stage.approvedBy}.`;
      return endOfTrain(desk) ?? `The train does not ask for an approval now. ${view.doing}`;
    }
    const planHash = hold.planHash ?? view.planHash;
    if (hold.stage !== decision.stage) return `The train asks for stage ${hold.stage}, not for ${decision.stage}.`;
    if (planHash !== decision.planHash)
      return `The plan hash is not that of this train: it runs ${planHash}. Look at the plan again before you approve it.`;
    if (hold.until && Date.now() >= Date.parse(hold.until))
      return `The time to approve stage ${decision.stage} is over since ${hold.until}.`;
    if (said.approval) return `Stage ${decision.stage} was already decided by ${said.approval.by}.`;
    return undefined;
  };
  const count = (decision: TakenDecision): void => {
    said.approval = decision;
    said.answer = decision.decision;
  };
  /**
   * Writes a decision down, and only then lets it answer the hold that it is for, since whoever acts on it looks it up in
   * the ledger. Throws a refusal when it answers nothing after all.
   */
  const take = async (decision: Decision): Promise<TakenDecision> => {
    const at = new Date().toISOString();
    const taken = { ...decision, id: decision.id ?? `${decision.by}/${decision.decision}/${at}`, at };
    seen.add(taken.id);
    if (!patched('approval-recorded-first')) {
      count(taken);
      await control.record(rowOf(taken));
      return taken;
    }
    const { hold } = view;
    const recording = { decision: taken, hold };
    said.recording = recording;
    try {
      await CancellationScope.nonCancellable(() => recordDecision(rowOf(taken)));
    } catch (error) {
      seen.delete(taken.id);
      throw refused(`The decision could not be recorded, so it does not count: ${messageOf(error)}. ${view.doing}`);
    } finally {
      if (said.recording === recording) said.recording = undefined;
    }
    if (view.hold !== hold)
      throw refused(`The decision is recorded but changes nothing: the train asks for it no longer. ${view.doing}`);
    count(taken);
    return taken;
  };
  /** It may stand in the ledger as one that counted. */
  const keepWithdrawn = (raw: unknown, error: unknown, how?: { tells: boolean }): void => {
    const why = error instanceof Error ? error.message : String(error);
    if (refusals.hasRoom()) void CancellationScope.nonCancellable(async () => refusals.keep(raw, why, how));
  };
  const rowOf = ({ stage, id, planHash, decision, by, via, comment, at }: TakenDecision) => ({
    kind: 'approval' as const,
    row: { train: view.train, stage, id, planHash, decision, by, via, comment, accepted: true, at },
  });

  /** The decision, when it is well formed, and why it is not taken. */
  const judge = (raw: unknown): Judged => {
    const parsed = parse(decisionSchema, raw);
    if (!parsed.ok) return { refusal: parsed.problems.join('; '), kept: problemsOfDecision(parsed.problems) };
    const { value: decision } = parsed;
    const refusal = refusalOf(decision);
    return refusal === undefined ? { decision } : { decision, refusal, kept: refusal };
  };

  setHandler(
    decideUpdate,
    async (raw) => {
      const asked = view.hold;
      const judged = judge(raw);
      if (judged.refusal !== undefined) {
        // Not awaited: the sender hears it at once, and a ledger that is away keeps no other Update waiting.
        refusals.keep(raw, judged.kept);
        throw refused(judged.refusal);
      }
      const decision = await take(judged.decision).catch((error: unknown) => {
        keepWithdrawn(raw, error);
        throw error;
      });
      if (decision.decision === 'approve') return `Stage ${decision.stage} is approved.`;
      // What the train makes of it is the answer; it may be a moment behind the ledger.
      const hasMoved = () => view.hold !== asked && (view.hold !== undefined || isTrainOver(view.state));
      if (!(await condition(hasMoved, MOVES_WITHIN)))
        return 'The rejection is recorded; the train takes it up in a moment. See: edge train show';
      const taken = desk.answersNow().join(', ') || 'nothing any more';
      return `${view.doing} The train is ${view.state}; it takes: ${taken}.`;
    },
    {
      validator: (raw) => {
        const judged = judge(raw);
        // Refused here, an Update leaves no trace; those that are kept are let in, and refused in the same words.
        if (judged.refusal !== undefined && !(refusals.hasRoom() && refusals.isShort(raw)))
          throw refused(judged.refusal);
      },
      description: 'Approves or rejects the stage that the train asks for: {stage, planHash, decision, by, comment?}',
    },
  );
  setHandler(
    approveWaveSignal,
    async (raw) => {
      const judged = judge(raw);
      const id = judged.decision?.id;
      // Signals are delivered at least once; the second time is not a refusal.
      if (id && seen.has(id)) return;
      if (judged.refusal === undefined) {
        await take(judged.decision).catch((error: unknown) => keepWithdrawn(raw, error, { tells: true }));
        return;
      }
      // Trains of earlier builds recorded what was well formed, without end, and showed the rest.
      if (!judged.decision && !patched('refusals-kept')) desk.refuse('unknown', judged.kept);
      else if (refusals.hasRoom() || !patched('refusals-kept')) {
        if (id) seen.add(id);
        refusals.keep(raw, judged.kept, { tells: true });
      }
    },
    { description: 'The same as the update `decide`, for senders that cannot wait; a refused one is recorded.' },
  );
}

function listenToSteering(desk: TrainDesk): void {
  const { view, said } = desk;
  const known = ({ stage, store }: Steering): string | undefined => {
    if (stage && !view.stages.some(({ name }) => name === stage))
      return `${stage} is not a stage of this train. Its stages: ${view.stages.map(({ name }) => name).join(', ') || 'not planned yet'}.`;
    if (store && !desk.hasStore(store)) return `${store} is not in the plan of this train.`;
    return undefined;
  };
  const isPaused = ({ stage, store }: Steering): boolean => {
    if (store) return view.pausedStores.includes(store);
    return stage ? view.stages.some(({ name, paused }) => name === stage && paused) : view.paused !== undefined;
  };
  /** Why an abort would change nothing. */
  const nothingToAbort = ({ stage, store }: Steering): string | undefined => {
    const { hold } = view;
    if (stage && desk.isDone(stage) && !desk.isRollingBack())
      return `Stage ${stage} is over; there is nothing of it to abort.`;
    if (stage && hold?.stage === stage && hold.reason !== 'ApprovalPending' && hold.reason !== 'StageAborted')
      return `Stage ${stage} stands still already (${hold.reason}). It takes: ${desk.answersNow().join(', ')}.`;
    if (store && said.aborted) return `The train was aborted by ${said.aborted.by} and ends.`;
    const outcome = desk.outcomeOf(store);
    return outcome === 'succeeded' || outcome === 'rolledBack' || outcome === 'excluded'
      ? `${store} has ended already (${OUTCOME_WORDS[outcome]}); there is nothing of it to abort.`
      : undefined;
  };
  const judge = (raw: Steering, refusalOf: (steering: Steering) => string | undefined): void => {
    const steering = messageOrRefusal(steeringSchema, raw);
    const refusal = endOfTrain(desk) ?? known(steering) ?? refusalOf(steering);
    if (refusal) throw refused(refusal);
  };

  setHandler(
    pauseUpdate,
    (steering) => {
      const ofStage = view.stages.find(({ name }) => name === steering.stage)?.paused;
      if (ofStage) return `Stage ${steering.stage} was already paused by ${ofStage.by}.`;
      const { paused } = view;
      if (paused && !steering.store && !steering.stage) return `The train was already paused by ${paused.by}.`;
      desk.pause(steering);
      const why = steering.reason ? `: ${steering.reason}` : '';
      if (steering.store)
        return `${steering.store} is paused by ${steering.by}${why}. It is not started; if it is in work, it stops after the node it is at.`;
      if (steering.stage)
        return `Stage ${steering.stage} is paused by ${steering.by}${why}. It starts no further store.`;
      return desk.say(`Paused by ${steering.by}${why}. Nothing new starts; stores in work end by themselves.`);
    },
    {
      validator: (raw) =>
        judge(raw, () => (said.aborted ? `The train was aborted by ${said.aborted.by} and ends.` : undefined)),
      description: 'Starts nothing new until `resume`: {by, reason?, stage? or store?}',
    },
  );
  setHandler(
    resumeUpdate,
    (steering) => {
      const what = steering.store ?? (steering.stage ? `Stage ${steering.stage}` : 'The train');
      if (!isPaused(steering)) return `${what} is not paused.`;
      desk.resume(steering);
      const said = `${what} is resumed by ${steering.by}.`;
      if (steering.stage && steering.stage === view.standsAt && !view.paused && !view.hold) return desk.say(said);
      if (steering.store ?? steering.stage) return said;
      return desk.say([`Resumed by ${steering.by}.`, desk.whyItStands() ?? []].flat().join(' '));
    },
    {
      validator: (raw) => judge(raw, () => undefined),
      description: 'Goes on after a pause: {by, reason?, stage? or store?}',
    },
  );
  setHandler(
    abortUpdate,
    (steering) => {
      if (!steering.store && !steering.stage && said.aborted)
        return `The train was already aborted by ${said.aborted.by}.`;
      if (steering.stage && view.hold?.stage === steering.stage && view.hold.reason === 'StageAborted')
        return view.hold.summary;
      const outcome = desk.outcomeOf(steering.store);
      desk.abort(steering);
      if (outcome)
        return `${steering.store} has ended already (${OUTCOME_WORDS[outcome]}). ${steering.by} says that this train does not take it again.`;
      if (desk.isBeforeTurnBack(steering.store))
        return `${steering.store} is aborted by ${steering.by}. The rollback does not take it; it stays as it is.`;
      if (steering.store)
        return `${steering.store} is aborted by ${steering.by}. If it is in work, it stops at the nearest safe point${desk.isAskedBack() ? ', and the rollback does not take it' : ''}.`;
      if (steering.stage)
        return `Stage ${steering.stage} is aborted by ${steering.by}. Stores in work stop at the nearest safe point; then the train holds.`;
      return desk.say(`Aborted by ${steering.by}. Stores in work stop at the nearest safe point.`);
    },
    {
      validator: (raw) => {
        const { stage, store } = messageOrRefusal(steeringSchema, raw);
        if (said.aborted && !stage && !store) return;
        judge(raw, nothingToAbort);
      },
      description: 'Ends the train, a stage or a store: {by, reason?, stage? or store?}',
    },
  );
}

const TAKEN: Record<PlainAnswer, (by: string, desk: TrainDesk) => string> = {
  'ask-again': (by) => `${by} asked for the approval again.`,
  'retry-gate': (by) => `${by} asked to measure again.`,
  'retry-failed': (by) => `${by} asked to try again what failed.`,
  'retry-offline': (by) => `${by} asked to try the stores again that were offline.`,
  skip: (by) => `${by} asked to leave those stores as they are and to go on with the others.`,
  rollback: (by) => `${by} asked to roll back. Stores in work stop at the nearest safe point first.`,
  finish: (by, desk) =>
    desk.isRollingBack()
      ? `${by} ends the rollback; no further store is taken, and those that are not back keep the release that was taken back.`
      : `${by} ends the train; no further store is taken, and those that are still away are missed.`,
};

function listenToAnswer(desk: TrainDesk, answer: PlainAnswer): void {
  setHandler(
    answerUpdates[answer],
    (command: Command) => {
      const asked = desk.said.rollback;
      if (answer !== 'rollback') desk.said.answer = answer;
      else if (asked) return `A rollback was already asked for by ${asked.by}. ${desk.view.doing}`;
      else desk.goBack(command);
      // Trains of earlier builds forgot it on the way back, with the next hold.
      if (answer === 'finish' && (!desk.isRollingBack() || patched('finish-ends-rollback'))) desk.finish();
      return desk.say(TAKEN[answer](command.by, desk));
    },
    {
      validator: (raw) => {
        messageOrRefusal(commandSchema, raw);
        const again = answer === 'rollback' && desk.said.rollback && desk.answersNow().length > 0;
        if (!again && !desk.answersNow().includes(answer)) throw refused(notTaken(desk, answer));
      },
      description: `Answers a train with ${answer}: {by, reason?}`,
    },
  );
}

const notTaken = (desk: TrainDesk, answer: Answer): string =>
  endOfTrain(desk) ??
  `The train does not take "${answer}" now. ${desk.view.doing} It takes: ${desk.answersNow().join(', ') || 'nothing any more'}.`;

/** For what comes when it is over and only writes down how it ended. */
const endOfTrain = ({ view }: TrainDesk): string | undefined =>
  isTrainOver(view.state) ? `The train has ended (${view.state}). ${view.doing}` : undefined;
