import { condition, patched } from '@temporalio/workflow';
import type { InWork } from '#domain/messages/train.js';
import { lookAgainIn, stalledSummary, standsStillAsTold, stuckIn, stuckSummary } from '#domain/stall.js';
import { control, notify } from './proxies.js';
import type { TrainDesk } from './train-desk.js';

/**
 * Calls people when a train or a store that should move does not for `limit` milliseconds: no stage moved and no store
 * ended; or, while others move, one store stays at the same step. Once for each silence, and with what is in work at
 * that moment. A train that is held, paused, soaks or waits for a window is not silent; it waits, and says for what. Nor is
 * one whose stage, or whose stores in work, people paused.
 *
 * One timer for the train while it should move, and one for its stores while a wave is in work.
 */
export function watchForStall(desk: TrainDesk, limit: number): void {
  const told: Told = new Set();
  void watchTrain(desk, limit, told);
  void watchStores(desk, limit, told);
}

/** Steps of stores that people were called for, so that a train and a store that are silent together are one call. */
type Told = Set<string>;
const stepOf = ({ store, since }: InWork): string => `${store} ${since}`;
/** Those that nobody was called for yet; from now on somebody was. */
function newsOf(inWork: readonly InWork[], told: Told): InWork[] {
  const news = inWork.filter((one) => !told.has(stepOf(one)));
  for (const one of news) told.add(stepOf(one));
  return news;
}

async function watchTrain(desk: TrainDesk, limit: number, told: Told): Promise<void> {
  let movingSince = Date.now();
  for (;;) {
    if (!desk.isMoving()) {
      await condition(() => desk.isMoving());
      movingSince = Date.now();
    }
    const lastMove = desk.movedAt();
    const isBroken = () => desk.movedAt() !== lastMove || !desk.isMoving();
    const silentSince = Math.max(lastMove, movingSince);
    // A move does not end the timer: it runs on, and then anew for what is left of the limit since that move.
    await condition(() => !desk.isMoving(), Math.max(1, silentSince + limit - Date.now()));
    if (isBroken()) continue;
    if (await tellOfTrain(desk, silentSince, isBroken, told)) await condition(isBroken);
    else movingSince = Date.now();
  }
}

/** False: it stands still as people said, and is looked at again. */
async function tellOfTrain(
  desk: TrainDesk,
  silentSince: number,
  isBroken: () => boolean,
  told: Told,
): Promise<boolean> {
  const { view } = desk;
  // Whom to look at is worth a call; that it could not be found out is not worth another hour of silence.
  const inWork = await inWorkNow(desk);
  if (isBroken()) return true;
  if (standsStillAsTold(view, inWork) && patched('paused-is-not-silent')) return false;
  const since = new Date(silentSince).toISOString();
  desk.stalled({ since, inWork });
  const isTold = newsOf(inWork, told).length === 0 && inWork.length > 0;
  if (!isTold) await call(desk, stalledSummary(view.doing, { since, inWork }, new Date()));
  return true;
}

async function watchStores(desk: TrainDesk, limit: number, told: Told): Promise<void> {
  for (;;) {
    await condition(() => desk.view.wave !== undefined);
    const { wave } = desk.view;
    let next = limit;
    while (!(await condition(() => desk.view.wave !== wave, next))) {
      const inWork = await inWorkNow(desk);
      const stuck = stuckIn(inWork, limit, new Date());
      if (desk.view.wave !== wave) break;
      desk.stuck(stuck);
      // When nothing else moves either, it is the train that is silent, and that call names its stores.
      const isTrainSilent = desk.isMoving() && Date.now() - desk.movedAt() >= limit;
      const news = isTrainSilent ? [] : newsOf(stuck, told);
      if (news.length > 0) await call(desk, stuckSummary(news, new Date()));
      next = lookAgainIn(inWork, limit, new Date());
    }
    desk.stuck([]);
  }
}

const inWorkNow = async ({ view: { wave } }: TrainDesk): Promise<InWork[]> =>
  wave ? control.inWork({ wave }).catch(() => []) : [];

async function call(desk: TrainDesk, summary: string): Promise<void> {
  const { fleet, train } = desk.view;
  await notify({ event: 'stalled', fleet, train, summary, answers: desk.answersNow() }).catch(() => undefined);
}
