import type { GuestProbe } from './facts.js';
import type { ReleaseRef } from './release.js';

/**
 * What a store keeps for the gate to compare with. A release is judged by the health from before it was begun there: the
 * second operation with it would measure the release itself. The sequence tells releases apart, since one that was built
 * anew keeps its number and its content.
 */
export interface KeptBaseline {
  baseline: GuestProbe[];
  /** Sequence of the release that `baseline` is from before of. Absent: none, or the worker was of a build that did not say. */
  baselineOf?: number;
  /**
   * Sequence of the release that the store may have something of: of the newest one whose steps were begun here, or that
   * it was wholly brought back to. Absent: as `begunOf` says.
   */
  begun?: number;
}

type Known = Pick<KeptBaseline, 'baselineOf' | 'begun'> & {
  highestSequence: number;
  lastGood?: ReleaseRef | undefined;
};

/** Workers of earlier builds did not say what they had begun: what was accepted may be here. */
export const begunOf = ({ begun, highestSequence }: Pick<Known, 'begun' | 'highestSequence'>): number =>
  begun ?? highestSequence;

/**
 * What becomes of the baseline when an operation brings `release`: it is taken now, it stays the one that was taken
 * before the release was begun, or there is `none` from before. The last good release needs none: it has passed.
 */
export function decideBaseline({ sequence }: Pick<ReleaseRef, 'sequence'>, known: Known): 'take' | 'keep' | 'none' {
  if (begunOf(known) !== sequence) return 'take';
  if (known.baselineOf === sequence) return 'keep';
  return known.lastGood?.sequence === sequence ? 'take' : 'none';
}

export const lacksBaseline = ({ version }: Pick<ReleaseRef, 'version'>): string =>
  `How the guests were before ${version} is not known, and some of it may be here already: the gate cannot compare them.`;
