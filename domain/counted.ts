/** Counts in sentences for people. */

/** `plural(1, 'store')` → `1 store`, `plural(3, 'store')` → `3 stores`. */
export function plural(count: number, noun: string, many = `${noun}s`): string {
  return `${number(count)} ${count === 1 ? noun : many}`;
}

/** 1426 → `1,426`. */
export const number = (value: number): string => value.toLocaleString('en-US');

/** The verb that goes with a count: `1 of 5 stores is`, `2 of 5 stores are`. */
export const are = (count: number): string => (count === 1 ? 'is' : 'are');
