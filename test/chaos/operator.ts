import type { Answer, TrainView } from '#domain/messages/train.js';
import type { Practice } from '../support/practice.js';
import { within } from './patience.js';
import type { OperatorPlan } from './plan.js';

/** A stage that waits for silent stores is given up after this time. */
const CATCH_UP_MS = 10_000;
export const REPAIR_AFTER_MS = 40_000;

/** Answers every hold, so that each run ends. What was said and refused, because the moment had passed, is said again. */
export function createOperator(
  { retries, repairs, atLast }: OperatorPlan,
  practice: Practice,
  said: string[],
  /** Mends what is broken; asked again it does nothing more. */
  repair: () => Promise<void>,
) {
  const startedAt = performance.now();
  let tried = 0;
  let catchingUpSince: number | undefined;
  let pauseWanted = false;
  let resumeAt: number | undefined;

  const say = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const answer = await within(
      5_000,
      work().then(
        () => 'taken',
        () => 'refused',
      ),
    );
    said.push(`${what}: ${answer ?? 'no answer'}`);
  };
  const answer = (update: string) => say(update, () => practice.answer(update));
  const updates: Partial<Record<Answer, string>> = {
    'ask-again': 'askAgain',
    'retry-gate': 'retryGate',
    'retry-failed': 'retryFailed',
    'retry-offline': 'retryOffline',
    skip: 'skip',
  };
  return {
    pause(): void {
      pauseWanted = true;
    },
    async look({ state, hold, answers }: TrainView): Promise<void> {
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
      const retry = tried < retries ? again[tried % again.length] : undefined;
      tried += 1;
      const last: Answer = atLast === 'skip' && hold.answers.includes('skip') && tried < 10 ? 'skip' : 'abort';
      await answer(updates[retry ?? last] ?? 'abort');
    },
  };
}
