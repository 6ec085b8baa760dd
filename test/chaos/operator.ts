import type { Answer, TrainView } from '#domain/messages/train.js';
import { trainWorkflowId } from '#domain/naming.js';
import type { Practice } from '../support/practice.js';
import { within } from './patience.js';
import { FLEET, type OperatorPlan, type Way } from './plan.js';
import { createSteering, isOnTheWayBack, type Part } from './steering.js';

/** A stage that waits for silent stores is given up after this time. */
const CATCH_UP_MS = 10_000;
export const REPAIR_AFTER_MS = 40_000;
/** A way back that cannot be prepared takes nothing but another try. */
const TRIES_BACK = 8;

/** Answers every hold, so that each run ends. What was said and refused, because the moment had passed, is said again. */
export function createOperator(
  { retries, repairs, atLast }: OperatorPlan,
  practice: Practice,
  said: string[],
  /** Of each way: mends what is broken; asked again it does nothing more. */
  repairer: () => () => Promise<void>,
  wayBackBegins: () => Promise<void>,
) {
  let way: Way = 'there';
  let repair = repairer();
  let startedAt = performance.now();
  let tried = 0;
  let backWanted = false;
  let catchingUpSince: number | undefined;
  let pauseWanted = false;
  let resumeAt: number | undefined;

  const say = async (what: string, work: () => Promise<unknown>): Promise<'taken' | 'refused' | undefined> => {
    const answer = await within(
      5_000,
      work().then(
        () => 'taken' as const,
        () => 'refused' as const,
      ),
    );
    said.push(`${what}: ${answer ?? 'no answer'}`);
    return answer;
  };
  const answer = (update: string) => say(update, () => practice.answer(update));
  const steering = createSteering((how, { what, name }: Part) =>
    say(`${how} ${what} ${name}`, () =>
      practice.client.workflow
        .getHandle(trainWorkflowId(FLEET))
        .executeUpdate<string, [object]>(how, { args: [{ by: 'chaos', [what]: name }] }),
    ),
  );
  const turnBack = async (): Promise<void> => {
    way = 'back';
    backWanted = false;
    repair = repairer();
    startedAt = performance.now();
    tried = 0;
    catchingUpSince = undefined;
    await wayBackBegins();
  };
  const updates: Partial<Record<Answer, string>> = {
    'ask-again': 'askAgain',
    'retry-gate': 'retryGate',
    'retry-failed': 'retryFailed',
    'retry-offline': 'retryOffline',
    skip: 'skip',
    rollback: 'rollback',
  };
  const lastAnswer = ({ answers }: NonNullable<TrainView['hold']>): Answer => {
    if (way === 'there' && atLast === 'rollback' && answers.includes('rollback')) return 'rollback';
    return (atLast === 'skip' || way === 'back') && answers.includes('skip') && tried < 10 ? 'skip' : 'abort';
  };
  return {
    steered: steering.steered,
    steer: steering.wish,
    pause(): void {
      pauseWanted = true;
    },
    goBack(): void {
      backWanted = true;
    },
    /** Before the first look at it, when a train that has ended is taken back. */
    turnBack,
    async look(view: TrainView): Promise<void> {
      const { state, hold, answers } = view;
      if (way === 'there' && isOnTheWayBack(view)) await turnBack();
      if (backWanted && answers.includes('rollback')) return void (await answer('rollback'));
      await steering.look(view, way);
      if (pauseWanted) {
        pauseWanted = false;
        await answer('pause');
        resumeAt = performance.now() + 1_500;
      }
      if (performance.now() - startedAt > REPAIR_AFTER_MS) await repair();
      if (resumeAt !== undefined && performance.now() > resumeAt) {
        resumeAt = undefined;
        if (answers.includes('resume')) await answer('resume');
        return;
      }
      if (!hold) {
        if (resumeAt === undefined && answers.includes('resume')) await answer('resume');
        catchingUpSince = state === 'catching up' ? (catchingUpSince ?? performance.now()) : undefined;
        if (catchingUpSince === undefined || performance.now() - catchingUpSince < CATCH_UP_MS) return;
        await repair();
        if (performance.now() - catchingUpSince > 2 * CATCH_UP_MS && answers.includes('finish')) await answer('finish');
        return;
      }
      if (hold.answers.includes('approve')) {
        await say('approve', () => practice.approve());
        return;
      }
      const again = (['retry-failed', 'retry-offline', 'retry-gate', 'ask-again'] as const).filter((each) =>
        hold.answers.includes(each),
      );
      if (repairs) await repair();
      const tries = way === 'back' && !hold.answers.includes('skip') ? TRIES_BACK : retries;
      const retry = tried < tries ? again[tried % again.length] : undefined;
      tried += 1;
      steering.answers();
      await answer(updates[retry ?? lastAnswer(hold)] ?? 'abort');
    },
  };
}
