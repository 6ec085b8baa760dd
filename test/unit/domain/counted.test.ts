import { describe, expect, it } from 'vitest';
import { are, plural } from '#domain/counted.js';

describe('a count in a sentence', () => {
  it.each([
    [0, '0 stores are'],
    [1, '1 store is'],
    [2, '2 stores are'],
    [1_426, '1,426 stores are'],
  ])('of %d', (count, words) => expect(`${plural(count, 'store')} ${are(count)}`).toBe(words));

  it('takes a noun of its own for many', () => expect(plural(3, 'try', 'tries')).toBe('3 tries'));
});
