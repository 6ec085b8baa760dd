import { expect, it } from 'vitest';
import { afterSoak, mayGoBackTo } from '#domain/last-good.js';
import { aReleaseRef } from '../../support/builders.js';

it('the way back from a release that was built twice leads past both builds', () => {
  const built = aReleaseRef(50);
  const anew = { ...built, manifest: `sha256:${'9'.repeat(64)}` };
  const before = { current: anew, lastGood: built, goodBefore: aReleaseRef(48) };
  const known = { ...before, ...afterSoak(before) };
  expect(known).toEqual({ current: anew, lastGood: anew, goodBefore: aReleaseRef(48) });
  expect(mayGoBackTo(aReleaseRef(48), known)).toBe(true);
});
