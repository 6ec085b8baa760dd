const SHOWN = 5;

/** Store ids in a sentence: the first five, then how many more, e.g. `a, b, c, d, e and 12 more`. */
export const abridge = (ids: readonly string[]): string =>
  ids.length <= SHOWN ? ids.join(', ') : `${ids.slice(0, SHOWN).join(', ')} and ${ids.length - SHOWN} more`;
