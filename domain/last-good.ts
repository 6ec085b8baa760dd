import type { ReleaseRef } from './release.js';

/**
 * What a store remembers of the releases that were good there, and what changes it. It names the same releases as the
 * ledger (`lastGoodBefore`), else the store refuses a permit that was rightly signed and there is no way back.
 */
export interface GoodReleases {
  /** What the store was brought to and proven to have. */
  current?: ReleaseRef | undefined;
  /** The newest release that soaked here and was not gone back from: where a rollback leads. */
  lastGood?: ReleaseRef | undefined;
  /** The one before it, for when it is the last good one itself that has to go: wrong ones show late. */
  goodBefore?: ReleaseRef | undefined;
  /** What the store was last to go back from: it soaked perhaps, and is good no more until it is brought again. */
  withdrawn?: ReleaseRef | undefined;
}

export const sameRelease = (a: ReleaseRef | undefined, b: ReleaseRef): boolean =>
  a?.manifest === b.manifest && a.bundle === b.bundle;

/** Whether the current release becomes the last good one once its stage has soaked. */
export const mayBecomeGood = ({ current, lastGood, withdrawn }: GoodReleases): boolean =>
  current !== undefined && !sameRelease(lastGood, current) && !sameRelease(withdrawn, current);

/** A release that was built anew keeps its number: the way back leads past both builds. */
export const afterSoak = ({ current, lastGood }: GoodReleases): GoodReleases => ({
  lastGood: current,
  ...(lastGood && lastGood.sequence !== current?.sequence ? { goodBefore: lastGood } : {}),
});

/** A permit says which releases may be gone back to; the store says which of them it has seen to be good. */
export function mayGoBackTo(to: ReleaseRef, { current, lastGood, goodBefore }: GoodReleases): boolean {
  if (!lastGood || sameRelease(lastGood, to) || sameRelease(goodBefore, to)) return true;
  return !goodBefore && sameRelease(current, lastGood);
}

/** From the moment at which a permit is taken: also a way back that fails half-way leads to nothing else. */
export const afterGoingBack = (to: ReleaseRef, { current, goodBefore, withdrawn }: GoodReleases): GoodReleases => ({
  lastGood: to,
  goodBefore: goodBefore && goodBefore.sequence < to.sequence ? goodBefore : undefined,
  withdrawn: current && !sameRelease(current, to) ? current : withdrawn,
});

/**
 * Releases of these numbers were taken back, perhaps while the store was away or people kept it out. That leads to the one
 * before, when it was seen to be good here, and never to anything else.
 */
export function afterWithdrawal(sequences: readonly number[], known: GoodReleases): GoodReleases {
  const isOut = (release: ReleaseRef | undefined) => release !== undefined && sequences.includes(release.sequence);
  const { current, lastGood, goodBefore, withdrawn } = known;
  const leadsBack = isOut(lastGood) && goodBefore && !isOut(goodBefore);
  const isNews = current && isOut(current) && !sameRelease(withdrawn, current);
  return {
    ...(leadsBack ? { lastGood: goodBefore, goodBefore: undefined } : {}),
    ...(isNews ? { withdrawn: current } : {}),
  };
}

export const afterGoingForward = (to: ReleaseRef, { withdrawn }: GoodReleases): GoodReleases =>
  sameRelease(withdrawn, to) ? { withdrawn: undefined } : {};

/** Workers of an earlier build went back and kept the release that they left as the last good one. */
export function mended<Known extends GoodReleases & { wentBack?: boolean }>(known: Known): Known {
  const { current, lastGood, wentBack } = known;
  if (!wentBack || !current || !lastGood || lastGood.sequence <= current.sequence) return known;
  return { ...known, ...afterGoingBack(current, { ...known, current: lastGood }) };
}
