import { CancellationScope } from '@temporalio/workflow';
import { abridge } from '#domain/abridge.js';
import { are, plural } from '#domain/counted.js';
import { untilBack } from './store-contact.js';
import type { TrainDesk } from './train-desk.js';
import type { Over } from './train-waves.js';

/**
 * Stores that are away when their train is taken back. A greeting waits in the queue of each; who answers is taken back
 * in a further round. Ends when nobody is away any more, when people do not want to wait, or when the time for it is over.
 */
export async function awaitAbsent(
  desk: TrainDesk,
  wanted: {
    absent: () => { store: string; stage: string }[];
    until: Date;
    takeBack: (stores: string[]) => Promise<Over | undefined>;
  },
): Promise<Over | undefined> {
  const { absent, until, takeBack } = wanted;
  const greetings = new CancellationScope();
  const greeted = new Set<string>();
  const back = new Set<string>();
  const sick = new Set<string>();
  const greet = (store: string): void => {
    greeted.add(store);
    greetings
      .run(() => untilBack(store, sick))
      .then(
        () => void back.add(store),
        () => undefined,
      );
  };
  const isPaused = ({ store, stage }: { store: string; stage: string }) =>
    desk.isPaused(stage) || desk.view.pausedStores.includes(store);
  const ready = () =>
    absent()
      .filter((one) => back.has(one.store) && !isPaused(one))
      .map(({ store }) => store);
  const isFinished = () => desk.isFinished() || desk.said.answer === 'finish' || absent().length === 0;

  desk.said.answer = undefined;
  try {
    for (;;) {
      const away = absent().map(({ store }) => store);
      for (const store of away) if (!greeted.has(store)) greet(store);
      desk.awaiting(away.toSorted());
      const left = until.getTime() - Date.now();
      if (isFinished() || left <= 0) return undefined;
      desk.doing(
        `${plural(away.length, 'store')} ${are(away.length)} away and awaited until ${until.toISOString()}: ${abridge(away)}.`,
        { state: 'catching up' },
      );
      await desk.until(() => isFinished() || ready().length > 0, left);
      if (desk.mustStop()) return desk.over();
      const stores = isFinished() ? [] : ready();
      if (stores.length === 0) return undefined;
      for (const store of stores) {
        back.delete(store);
        greeted.delete(store);
      }
      const over = await takeBack(stores);
      if (over) return over;
    }
  } finally {
    greetings.cancel();
    desk.awaiting([]);
  }
}
