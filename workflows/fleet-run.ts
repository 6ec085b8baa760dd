import { CancellationScope, isCancellation, setCurrentDetails, setHandler } from '@temporalio/workflow';
import type { FleetRunView } from '#domain/messages/fleet-run.js';
import {
  commandSchema,
  wasOvertaken,
  waveProgressSchema,
  type WaveProgress,
  type WaveReport,
} from '#domain/messages/train.js';
import { addTallies, emptyTally, tallyOf, type StoreResult, type Tally } from '#domain/outcomes.js';
import { resultsOfBroken } from './broken-wave.js';
import { abortUpdate, waveProgressSignal } from './messages.js';
import { heard, messageOrRefusal } from './parse-input.js';

/**
 * The desk of a run over the fleet that no number of failures ends, such as a night of backups: what people see of it,
 * how far its waves are, and the abort, which begins no further store and lets what is in work end by itself.
 */
export type FleetRun<V extends FleetRunView> = ReturnType<typeof openFleetRun<V>>;

/** Of the waves of such a run: neither count nor percentage, so nothing is ever too much. */
export const NO_THRESHOLD = { minSample: 1 };

/** How the stores of a wave ended; those that it never came to were ended with the run. `report` is absent when none began. */
function resultsOf(report: WaveReport | undefined, stores: readonly string[], untried: string): StoreResult[] {
  const aborted = (store: string): StoreResult => ({
    store,
    outcome: 'aborted',
    reason: 'Aborted',
    stop: { reason: 'Aborted', summary: untried },
  });
  return [...(report?.results ?? []), ...(report?.notStarted ?? stores).map(aborted)];
}

export interface FleetRunWords {
  /** e.g. `night`, as in "The night is being ended". */
  what: string;
  /** What an abort means here. */
  ending: string;
}

export function openFleetRun<V extends FleetRunView>(
  view: V,
  render: (view: V) => string,
  { what, ending }: FleetRunWords,
) {
  const results = new Map<string, StoreResult>();
  const waves = new Map<string, WaveProgress>();
  /** Waves whose results are known: what they still told on their way is old. */
  const over = new Set<string>();
  /** By the id of their wave. */
  const going = new Map<string, CancellationScope>();
  let abortedBy: string | undefined;

  const set = (change: Partial<V> | Partial<FleetRunView>) => {
    Object.assign(view, change);
    setCurrentDetails(render(view));
  };
  /** What has ended for good, and what the waves in work have told of those that ended there. */
  const notSucceeded = (): StoreResult[] => [
    ...[...results.values()].filter(({ outcome }) => outcome !== 'succeeded'),
    ...[...waves.values()].flatMap((told) => told.notSucceeded),
  ];
  const count = () => {
    const news = [...waves.values()];
    const change: Partial<FleetRunView> = {
      inFlight: news.reduce((sum, { inFlight }) => sum + inFlight, 0),
      tally: news.reduce((sum, { tally }) => addTallies(sum, { ...emptyTally(), ...tally }), tallyOf(results.values())),
      notSucceeded: notSucceeded().slice(0, 100),
    };
    set(change);
  };
  const abort = (by: string): string => {
    if (abortedBy !== undefined) return `The ${what} is being ended already, by ${abortedBy}.`;
    abortedBy = by;
    set({ doing: `Ended by ${by}: ${ending}.` });
    for (const scope of going.values()) scope.cancel();
    return view.doing;
  };
  const progress = (told: WaveProgress) => {
    if (over.has(told.wave)) return;
    const known = waves.get(told.wave);
    const newest = known && wasOvertaken(told, known) ? known : told;
    waves.set(told.wave, { ...newest, notSucceeded: [...(known?.notSucceeded ?? []), ...told.notSucceeded] });
    count();
  };

  return {
    view,
    set,
    doing: (doing: string) => set({ doing }),
    abortedBy: () => abortedBy,
    /** To be called before the first await. A cancellation from outside is an abort by another door. */
    listen(): void {
      setHandler(waveProgressSignal, heard('waveProgress', waveProgressSchema, progress));
      setHandler(abortUpdate, ({ by }) => abort(by), {
        validator: (command) => void messageOrRefusal(commandSchema, command),
        description: `Ends the run: ${ending}: {by, reason?}`,
      });
      CancellationScope.current().cancelRequested.catch(() => abort('an operator'));
    },
    fail: (doing: string) => set({ state: 'failed', endedAt: new Date().toISOString(), doing }),
    /** Runs a wave, which an abort ends: how its stores ended. `untried` is said of those that it never came to. */
    async runWave(
      { workflowId, stores, untried }: { workflowId: string; stores: readonly string[]; untried: string },
      work: () => Promise<WaveReport>,
    ): Promise<StoreResult[]> {
      if (abortedBy !== undefined) return resultsOf(undefined, stores, untried);
      const scope = new CancellationScope();
      going.set(workflowId, scope);
      set({ waves: [...going.keys()] });
      try {
        return resultsOf(await scope.run(work), stores, untried);
      } catch (error) {
        if (isCancellation(error)) return resultsOf(undefined, stores, untried);
        return resultsOfBroken(error, stores);
      } finally {
        going.delete(workflowId);
        waves.delete(workflowId);
        over.add(workflowId);
        set({ waves: going.size > 0 ? [...going.keys()] : undefined });
      }
    },
    take(all: readonly StoreResult[]): void {
      for (const result of all) results.set(result.store, result);
      count();
    },
    resultOf: (store: string) => results.get(store),
    notSucceeded,
    /** How it has ended, in the words of `summaryOf`. */
    close(summaryOf: (tally: Tally) => string): { state: 'done' | 'aborted'; tally: Tally; summary: string } {
      const tally = tallyOf(results.values());
      const state = abortedBy === undefined ? 'done' : 'aborted';
      const summary = summaryOf(tally);
      set({ state, endedAt: new Date().toISOString(), doing: summary, tally, inFlight: 0 });
      return { state, tally, summary };
    },
  };
}
