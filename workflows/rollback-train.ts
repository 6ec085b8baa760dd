import { rollbackInputSchema, type RollbackInput, type TrainReport } from '#domain/messages/train.js';
import { parseInput } from './parse-input.js';
import { control } from './proxies.js';
import { refusedFor, takeBackTrain } from './rollback.js';
import { watchForStall } from './stall-watch.js';
import { openDesk, type TrainDesk } from './train-desk.js';
import { end, reportOf } from './train-end.js';
import { attended } from './train-messages.js';
import { recordTrain } from './train-records.js';
import type { Over } from './train-waves.js';

/**
 * Takes back a train that has ended: what it left on its stores is read from the ledger, and from then on it is the
 * rollback of a train like any other, at the same desk.
 *
 * Started by an operator, under the id of the fleet's train, so that no train runs meanwhile. Until its plan is approved
 * and signed it writes nothing: rejected, refused or aborted before that, the train stays in the ledger as it ended.
 */
export async function rollbackTrain(raw: RollbackInput): Promise<TrainReport> {
  const input = parseInput(rollbackInputSchema, raw);
  const desk = openDesk(input);
  return attended(desk, () => run(input, desk));
}

async function run({ fleet, train, by, reason }: RollbackInput, desk: TrainDesk): Promise<TrainReport> {
  desk.doing('Looking up what the train left on its stores.', { state: 'planning' });
  const past = await control.reopenTrain({ fleet, train }).catch(refusedFor);
  if (past.kind === 'refused')
    return leave(desk, { state: 'failed', reason: 'RollbackRefused', summary: past.problems.join('; ') });

  const { plan, planHash, startedAt, stages, nextRound, caveats } = past;
  desk.label({ train: plan.train, release: plan.release.version });
  desk.showPlan(plan, planHash);
  desk.reopen(startedAt, stages, nextRound);
  watchForStall(desk, past.noProgressAfter);

  desk.goBack({ by, reason });
  let hasBegun = false;
  const over = await takeBackTrain({ desk, plan, planHash, caveats }, async () => {
    hasBegun = true;
    await recordTrain(desk);
  });
  return hasBegun ? end(desk, plan, over) : leave(desk, over);
}

/** Ends without a word to the ledger. */
function leave(desk: TrainDesk, over: Over): TrainReport {
  desk.close(over);
  return reportOf(desk, over);
}
