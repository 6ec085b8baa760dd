import { CancellationScope, condition, patched, sleep } from '@temporalio/workflow';
import { pauseWhileKeptOut } from '#domain/contact.js';
import type { StagePlan, StageWindows } from '#domain/messages/train.js';
import { isAway } from '#domain/outcomes.js';
import { notify } from './proxies.js';
import { answerLateBreach, inOpenTurn, runRound, windowsOf } from './stage-rounds.js';
import { failuresStay } from './stage-verdict.js';
import { untilBack } from './store-contact.js';
import { startable, type Run, type StartableStore } from './train-waves.js';

/**
 * Stores that were offline or fell silent come back into the train by themselves. For each of them a greeting waits in
 * its queue; the store's worker picks it up when the link is there again, and the store is taken in a further round of
 * its stage: same promotion, same window, same checks, same thresholds.
 *
 * Runs beside the stages, one round at a time with theirs, and not while the train is paused or held by a fault. A store
 * that is paused by itself waits until it is resumed: in a round it would keep all the others from theirs.
 * A breach holds the train like one of a stage's own rounds. The turn is kept until it is answered and the stage is well,
 * so nobody else starts meanwhile. Why so: docs/adr/0016-catch-up.md.
 */
export type CatchUp = ReturnType<typeof openCatchUp>;

export function openCatchUp(train: Run) {
  const { desk, plan } = train;
  const waiting = new Map<string, CancellationScope>();
  const back = new Map<string, StagePlan>();
  /** Those that answer a greeting with an error that will not pass by itself. */
  const sick = new Set<string>();
  /** Those that were back when a freeze, a hold or their window kept them from starting. */
  const keptOut = new Set<string>();
  /** From when on those that are back may start, as far as it was looked up. */
  const opens = { stages: new Map<string, number>(), stores: new Map<string, number>() };
  let over = false;
  let inWork = false;
  let stoppedBy: string | undefined;
  /** People have said that they wait for nobody, in a train of an earlier build. */
  let isLeft = false;

  /** People do not want it to be taken in this train any more. */
  const isGivenUp = (store: string) => desk.said.abortedStores.has(store) && patched('aborted-not-awaited');
  const isOpen = () => inWork || [...waiting.keys(), ...back.keys()].some((store) => !isGivenUp(store));
  const show = () => desk.awaiting(stoppedBy || desk.isFinished() ? [] : [...waiting.keys(), ...back.keys()].sort());

  const greet = async (stage: StagePlan, store: string): Promise<void> => {
    if (keptOut.has(store) && patched('kept-out-pauses'))
      await sleep(pauseWhileKeptOut(keptOut.size), { summary: `${store} may not start now` });
    await untilBack(store, sick);
    waiting.delete(store);
    back.set(store, stage);
    show();
  };

  /** Looks which stores of the stage are to be waited for; called after each of its rounds. */
  const watch = (stage: StagePlan): undefined => {
    if (desk.isFinished()) return;
    for (const store of stage.stores) {
      const outcome = desk.results.get(store)?.outcome;
      if ((outcome !== 'offline' && outcome !== 'cutOff') || waiting.has(store) || back.has(store)) continue;
      if (isGivenUp(store)) continue;
      const scope = new CancellationScope();
      waiting.set(store, scope);
      scope.run(() => greet(stage, store)).catch(() => undefined);
    }
    show();
  };

  const isStopped = () => stoppedBy !== undefined || desk.mustStop() || desk.isFinished();
  const mayRun = () => !desk.isHeldByFault() && desk.view.paused === undefined && !isStopped();
  const isPaused = (store: string) => desk.view.pausedStores.includes(store) && patched('paused-stay-out');
  const isAtRest = (store: string, { name }: StagePlan) =>
    desk.isPaused(name) ||
    isPaused(store) ||
    desk.isRetried(name) ||
    isGivenUp(store) ||
    (desk.isStageAborted(name) && patched('late-breach-holds'));
  const opensAt = (store: string, { name }: StagePlan) =>
    Math.max(opens.stages.get(name) ?? 0, opens.stores.get(store) ?? 0);
  const able = () => [...back].filter(([store, stage]) => !isAtRest(store, stage));
  /** The stage of the first store that may start, as far as is known. */
  const openStage = (): StagePlan | undefined =>
    able().find(([store, stage]) => opensAt(store, stage) <= Date.now())?.[1];
  /** When the first window opens, if that is what all wait for. */
  const nextOpening = (): number | undefined => {
    const ahead = able().map(([store, stage]) => opensAt(store, stage));
    return desk.mustStop() || ahead.length === 0 || openStage() ? undefined : Math.min(...ahead);
  };

  const tryAgain = async (stage: StagePlan): Promise<void> => {
    const windows = await windowsOf(plan, stage);
    const opening = windows.opens ? Date.parse(windows.opens) : 0;
    if (opening > Date.now()) {
      opens.stages.set(stage.name, opening);
      // Trains of earlier builds let this stage keep the others from their windows.
      if (!patched('open-stage-first')) await condition(() => over || desk.mustStop(), opening - Date.now());
      return;
    }
    await inOpenTurn(train, stage, windows, async (open) => {
      if (over || !mayRun() || desk.isRetried(stage.name)) return;
      const isTaken = (store: string) =>
        back.get(store) === stage && !isPaused(store) && !isGivenUp(store) && !waitsForItsOwn(store, open);
      const members = startable(stage, open).filter(({ id }) => isTaken(id));
      for (const store of [...back.keys()].filter(isTaken)) {
        back.delete(store);
        if (members.some(({ id }) => id === store)) keptOut.delete(store);
        else keptOut.add(store);
      }
      // Who has ended meanwhile, in a round that people asked for, is not tried again unasked.
      const stores = members.filter(({ id }) => {
        const result = desk.results.get(id);
        return result && (isAway(result) || (result.outcome !== 'succeeded' && !failuresStay()));
      });
      inWork = true;
      if (stores.length > 0) await runLateRound(stage, open, stores);
      inWork = false;
      watch(stage);
    });
  };

  /** A store whose own window is not open would keep all the others from their turn, in a round that had it. */
  const waitsForItsOwn = (store: string, { stores }: StageWindows): boolean => {
    const opening = Date.parse(stores[store]?.opens ?? '') || 0;
    if (opening <= Date.now() || !patched('own-window-waits')) return false;
    opens.stores.set(store, opening);
    return true;
  };

  const runLateRound = async (stage: StagePlan, windows: StageWindows, stores: StartableStore[]): Promise<void> => {
    const goOn = desk.setAside(stage.name);
    const { breach } = await runRound(train, stage, windows, stores);
    if (!patched('late-breach-holds')) {
      if (breach) await stop(stage, breach.summary);
      return;
    }
    // An abort of the stage holds the train where the stage is, which is not here.
    if (breach && breach.reason !== 'StageAborted') await answerLateBreach(train, stage, windows, breach);
    goOn();
  };

  /** Trains of earlier builds took nobody any more who came back after a breach, and went on with their stages. */
  const stop = async (stage: StagePlan, why: string): Promise<void> => {
    stoppedBy = `Stores of ${stage.name} that came back are not taken any more: ${why}`;
    desk.refuse('catch-up', stoppedBy);
    await notify({
      event: 'attention',
      fleet: plan.fleet,
      train: plan.train,
      stage: stage.name,
      summary: stoppedBy,
      answers: desk.answersNow(),
    }).catch(() => undefined);
  };

  const run = async (): Promise<void> => {
    for (;;) {
      const opening = nextOpening();
      const isDue = () => over || (mayRun() && openStage() !== undefined);
      if (opening === undefined) await condition(isDue);
      else await condition(() => isDue() || nextOpening() !== opening, opening - Date.now());
      const stage = mayRun() ? openStage() : undefined;
      if (over) return;
      if (stage) await tryAgain(stage);
    }
  };
  const running = run();

  /** Nobody else is taken from now on; stays until the round in work has ended. */
  const close = async (): Promise<void> => {
    over = true;
    for (const scope of waiting.values()) scope.cancel();
    waiting.clear();
    back.clear();
    show();
    await running;
  };

  return {
    watch,
    /**
     * Stays until every store is back and done, or nobody is to be waited for any more: true. Or until the instant that
     * `due` names, in milliseconds since the epoch, which may change meanwhile: false.
     */
    async wait(due: () => number): Promise<boolean> {
      if (isOpen() && !isStopped() && !isLeft) {
        const { hold } = desk.view;
        // Late stores may hold the train already: their question stands, and the answer that is on its way to it.
        if (!hold) desk.said.answer = undefined;
        desk.doing(
          hold?.summary ?? 'All stages are through. Stores that were offline are awaited until the deadline.',
          {
            state: 'catching up',
          },
        );
        const isDone = () => isStopped() || desk.said.answer === 'finish' || !isOpen();
        while (!isDone()) {
          const at = due();
          if (at <= Date.now()) return false;
          await desk.until(() => isDone() || due() !== at, at - Date.now());
        }
        isLeft = desk.said.answer === 'finish';
      }
      if (desk.isFinished()) await close();
      return true;
    },
    close,
  };
}
