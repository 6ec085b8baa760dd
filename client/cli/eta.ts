import { formatDuration } from '#domain/durations.js';
import type { StageView, TrainView } from '#domain/messages/train.js';
import { totalOf } from '#domain/outcomes.js';
import { estimate, sumOfEstimates, withSoak, type Estimate } from '#domain/progress.js';
import { isPausedInPart } from '#domain/stall.js';
import { timeLeft } from './render-progress.js';
import { isOver } from './render-train.js';

/** How long a train that runs still takes, by its own pace and by what operations took that the ledger knows. Pure. */
export interface Eta {
  /** The stage in work, or the next one. Without its soak. */
  stage: { name: string; left: Estimate };
  /** With the soaks that are to come, without waiting for windows and approvals. Absent when nothing tells. */
  train?: Estimate | undefined;
}

/** Newest operations of the ledger that an estimate rests on. */
export const DURATIONS = 500;

export function etaOf(view: TrainView, durationsMs: readonly number[], now: Date): Eta | undefined {
  // A way back is not timed, and nobody knows how long people let something stand still.
  if (isOver(view) || view.rollingBack || isPausedInPart(view)) return undefined;
  // Late stores of a stage that is through are held, soak and are measured beside those that are still to come.
  const open = view.stages.filter(({ endedAt }) => endedAt === undefined);
  const lefts = open.map((stage) => leftOf(stage, durationsMs, now));
  const at = open.findIndex(({ state }) => state !== 'soaking' && state !== 'gate');
  const [stage, left] = [open[at], lefts[at]];
  if (!stage || !left) return undefined;
  return {
    stage: { name: stage.name, left },
    train: sumOfEstimates(open.map(({ soak }, index) => lefts[index] && withSoak(lefts[index], soak))),
  };
}

/**
 * By the ledger alone as long as no store of the stage has ended; from then on by the stage's own pace, and how much
 * slower than that it may get by the ledger.
 */
function leftOf(stage: StageView, durationsMs: readonly number[], now: Date): Estimate | undefined {
  const { concurrency, stores, tally } = stage;
  const remaining = stores - totalOf(tally);
  const known = estimate({ durationsMs, remaining, concurrency });
  const pace = stage.state === 'running' ? timeLeft(stage, now) : undefined;
  if (pace === undefined) return known;
  const slower = known && known.p50Ms > 0 ? known.p90Ms / known.p50Ms : 1;
  return { p50Ms: pace, p90Ms: Math.round(pace * slower) };
}

/** `about 25 min (p50), 40 min (p90)` */
export const estimateWords = ({ p50Ms, p90Ms }: Estimate): string =>
  `about ${formatDuration(roundUp(p50Ms))} (p50), ${formatDuration(roundUp(p90Ms))} (p90)`;

/** Nobody needs the seconds of an hour. */
const roundUp = (ms: number): number =>
  ms < 600_000 ? Math.ceil(ms / 1_000) * 1_000 : Math.ceil(ms / 60_000) * 60_000;

export const etaLines = (eta: Eta | undefined): string[] =>
  eta === undefined
    ? []
    : [
        `Time left in ${eta.stage.name}: ${estimateWords(eta.stage.left)}.`,
        ...(eta.train
          ? [
              `Time left for the train: ${estimateWords(eta.train)}, soaks included. Waiting for windows and approvals comes on top.`,
            ]
          : []),
      ];
