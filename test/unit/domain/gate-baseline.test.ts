import { describe, expect, it } from 'vitest';
import { decideBaseline } from '#domain/gate-baseline.js';
import { aReleaseRef } from '../../support/builders.js';

type Known = Parameters<typeof decideBaseline>[1];

describe('the baseline of a release', () => {
  it.each<[says: string, known: Known, is: ReturnType<typeof decideBaseline>]>([
    ['is taken on a store that nothing was ever brought to', { highestSequence: 48, begun: 0 }, 'take'],
    ['is taken when another one was begun before it', { highestSequence: 48, begun: 47, baselineOf: 47 }, 'take'],
    [
      'is taken again when an operation ended before it began anything',
      { highestSequence: 48, begun: 47, baselineOf: 48 },
      'take',
    ],
    ['is kept once it was begun', { highestSequence: 48, begun: 48, baselineOf: 48 }, 'keep'],
    [
      'is kept when the way back from it did not get to its end',
      { highestSequence: 47, begun: 48, baselineOf: 48 },
      'keep',
    ],
    [
      'is kept when it was good here before',
      { highestSequence: 48, begun: 48, baselineOf: 48, lastGood: aReleaseRef(48) },
      'keep',
    ],
    [
      'is taken when the store was wholly brought back from it',
      { highestSequence: 47, begun: 47, baselineOf: 48, lastGood: aReleaseRef(47) },
      'take',
    ],
    ['is not there when it was begun and what was kept is of another one', { highestSequence: 48, begun: 48 }, 'none'],
    ['is not there when a worker of an earlier build may have begun it', { highestSequence: 48 }, 'none'],
    [
      'is taken when a worker of an earlier build brought it and it soaked',
      { highestSequence: 48, lastGood: aReleaseRef(48) },
      'take',
    ],
    ['is taken when a worker of an earlier build accepted older ones only', { highestSequence: 47 }, 'take'],
  ])('%s', (_, known, is) => {
    expect(decideBaseline(aReleaseRef(48), known)).toBe(is);
  });
});
