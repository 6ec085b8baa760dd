import { patched } from '@temporalio/workflow';
import { countsOf, judgeWave, type WaveVerdict } from '#domain/limits.js';
import type { StagePlan, WaveReport } from '#domain/messages/train.js';
import { afterRound, type StoreResult } from '#domain/outcomes.js';
import type { TrainDesk } from './train-desk.js';

/** Trains of earlier builds let a retry that came to nothing hide the failure before it, and go on as if all were well. */
export const failuresStay = (): boolean => patched('failures-stay');

/** What is known of these stores after a round. */
export const afterThisRound = (desk: TrainDesk, told: StoreResult[], round: number): StoreResult[] =>
  told.map((result) => {
    const known = desk.results.get(result.store);
    const after = afterRound(known, result, round);
    return after === known || after === result || failuresStay() ? after : result;
  });

/** A stage by all of its stores that ended and whose outcome people did not accept. */
export function judgeStage(desk: TrainDesk, stage: StagePlan): WaveVerdict {
  const judged = stage.stores.filter((id) => !desk.isAccepted(id));
  const results = judged.flatMap((id) => desk.results.get(id) ?? []);
  return judgeWave({ size: judged.length, ...countsOf(results), cutOff: 0 }, stage.settings.limits);
}

/** Why the stage may not go on after a round, also when that round started nobody. */
export function standingBreach(desk: TrainDesk, stage: StagePlan): WaveReport['breach'] {
  const verdict = judgeStage(desk, stage);
  if (verdict.kind === 'go' || !failuresStay()) return undefined;
  return { reason: verdict.reason, summary: verdict.summary };
}
