import { OUTCOME_WORDS, type Outcome } from './outcomes.js';

/** What one train came to on one store, by the ledger. Trains that were taken back offered nothing. */
export interface Offer {
  store: string;
  train: string;
  stage: string;
  /** Version of the release. */
  release: string;
  sequence: number;
  /** The train has ended, or a newer one has begun: nothing more comes of it. */
  over: boolean;
  outcome: Outcome;
  reason?: string | undefined;
  /** Absent when the store was never begun. */
  startedAt?: string | undefined;
}

/** A store that was to run a release and does not: it drifts from what Git says, until a train brings it up. */
export type Drift = Omit<Offer, 'startedAt' | 'over'>;

/**
 * The stores that are behind the newest release that was meant for them, each with what it came to there; sorted by
 * store. What people keep a store from is no drift: those that are excluded, and those that an abort spared. A train that goes on may
 * still bring its release.
 */
export function driftOf(offers: readonly Offer[]): Drift[] {
  const has = new Map<string, number>();
  for (const { store, sequence, outcome } of offers)
    if (outcome === 'succeeded') has.set(store, Math.max(sequence, has.get(store) ?? 0));

  const behind = new Map<string, Offer>();
  for (const offer of offers) {
    if (!offer.over || !isOwed(offer) || offer.sequence <= (has.get(offer.store) ?? 0)) continue;
    const other = behind.get(offer.store);
    if (!other || isNewer(offer, other)) behind.set(offer.store, offer);
  }
  return [...behind.values()]
    .map(({ startedAt: _, over: __, ...drift }) => drift)
    .toSorted((a, b) => a.store.localeCompare(b.store));
}

function isOwed({ outcome, startedAt }: Offer): boolean {
  switch (outcome) {
    case 'failed':
    case 'timedOut':
    case 'offline':
    case 'cutOff':
    case 'skipped':
    case 'missed':
      return true;
    case 'aborted':
      return startedAt !== undefined;
    case 'succeeded':
    case 'excluded':
    case 'rolledBack':
      return false;
    default:
      return outcome satisfies never;
  }
}

const isNewer = (a: Offer, b: Offer): boolean =>
  a.sequence === b.sequence ? a.train.localeCompare(b.train) > 0 : a.sequence > b.sequence;

/** `release 2026.48.0 of 2026-w48/canary: missed, DeadlineReached` */
export const driftWords = ({ release, train, stage, outcome, reason }: Drift): string =>
  `release ${release} of ${train}/${stage}: ${[OUTCOME_WORDS[outcome], reason].filter((word) => word !== undefined).join(', ')}`;
