import { isTrainOver } from '#domain/messages/train.js';
import { operationNamed } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import { control } from './proxies.js';
import type { TrainDesk } from './train-desk.js';
import type { Over } from './train-waves.js';

/** What a train writes into the ledger as it goes. Natural keys, so a repeated write changes nothing. */

export async function recordTrain({ view }: TrainDesk, over?: Over): Promise<void> {
  const isOver = isTrainOver(view.state);
  await control.record({
    kind: 'train',
    row: {
      id: view.train,
      fleet: view.fleet,
      release: view.release?.version,
      sequence: view.release?.sequence,
      manifest: view.release?.manifest,
      bundle: view.release?.bundle,
      commit: view.commit,
      planHash: view.planHash,
      state: view.state,
      reason: over?.reason,
      summary: isOver ? view.doing : undefined,
      startedAt: view.startedAt,
      endedAt: isOver ? new Date().toISOString() : undefined,
    },
  });
}

export async function recordStage({ view, settled }: TrainDesk, name: string): Promise<void> {
  const position = view.stages.findIndex((stage) => stage.name === name);
  const stage = view.stages[position];
  if (!stage) return;
  await control.record({
    kind: 'stage',
    row: {
      train: view.train,
      stage: name,
      position,
      stores: stage.stores,
      state: settled(stage),
      tally: stage.tally,
      startedAt: stage.startedAt,
      endedAt: stage.endedAt,
    },
  });
}

/** `stage` is the name under which the operations ran. */
export async function recordResults(
  { view, written }: TrainDesk,
  stage: string,
  round: number,
  results: StoreResult[],
): Promise<void> {
  if (results.length === 0) return;
  await control.record({ kind: 'results', train: view.train, stage, round, results });
  for (const result of results) written.add(result);
}

/** The ledger keeps what a round told, as far as it is news; the train goes by what is known after it. */
export async function takeResults(
  desk: TrainDesk,
  { stage, ranAs, round }: { stage: string; ranAs: string; round: number },
  told: StoreResult[],
  known: StoreResult[],
): Promise<void> {
  const news = known.filter((result) => desk.results.get(result.store) !== result);
  const stores = new Set(news.map(({ store }) => store));
  desk.ended(stage, news);
  await recordResults(
    desk,
    ranAs,
    round,
    told.filter(({ store }) => stores.has(store)),
  );
  for (const result of news) desk.written.add(result);
}

/** What the end of the train says of an operation that has not ended, in the row of that operation. */
export async function recordUnended(desk: TrainDesk, results: StoreResult[]): Promise<void> {
  for (const result of results) {
    const operation = operationNamed(result.operationId ?? '');
    if (operation) await recordResults(desk, operation.stage, operation.round, [result]);
  }
}

/** The outcomes that no wave wrote down: of stores that were excluded, missed or never started. */
export async function recordRest(desk: TrainDesk, stage: string): Promise<void> {
  const rest = desk.resultsOf(stage).filter((result) => !desk.written.has(result));
  if (rest.length > 0) await recordResults(desk, stage, desk.nextRound(stage), rest);
}
