import { condition } from '@temporalio/workflow';
import { stalledSummary } from '#domain/stall.js';
import { control, notify } from './proxies.js';
import type { TrainDesk } from './train-desk.js';

/**
 * Calls people when a train that should move does not: no stage moved and no store ended for `limit` milliseconds. Once
 * for each silence, and with what is in work at that moment. A train that is held, paused, soaks or waits for a window
 * is not silent; it waits, and says for what.
 *
 * One timer at a time for the whole train, and none while it waits.
 */
export function watchForStall(desk: TrainDesk, limit: number): void {
  const run = async () => {
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
      await tell(desk, silentSince, isBroken);
      await condition(isBroken);
    }
  };
  void run();
}

async function tell(desk: TrainDesk, silentSince: number, isBroken: () => boolean): Promise<void> {
  const { view } = desk;
  const wave = desk.waveInWork();
  // Whom to look at is worth a call; that it could not be found out is not worth another hour of silence.
  const inWork = wave ? await control.inWork({ wave }).catch(() => []) : [];
  if (isBroken()) return;
  const since = new Date(silentSince).toISOString();
  desk.stalled({ since, inWork });
  await notify({
    event: 'stalled',
    fleet: view.fleet,
    train: view.train,
    summary: stalledSummary(view.doing, { since, inWork }, new Date()),
    answers: desk.answersNow(),
  }).catch(() => undefined);
}
