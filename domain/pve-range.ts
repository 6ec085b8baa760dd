/**
 * Which Proxmox versions a release is for: comparators joined by blanks, all of which must hold, e.g. `>=8.2 <10`.
 * Versions are numbers joined by dots; missing ones count as 0, so `<10` admits 9.4 and not 10.0.
 */
const COMPARATOR = /^(>=|<=|>|<|=)(\d{1,4}(?:\.\d{1,6}){0,3})$/;
/** What `/version` answers, e.g. `9.1.4`, `9.1-2` or `8.4.14/abcdef`; only the numbers before the first other sign count. */
const VERSION = /^(\d{1,4}(?:\.\d{1,6}){0,3})(?:[-~+/][\w.+~/-]{0,60})?$/;

export const isPveRange = (range: string): boolean => {
  const words = range.trim().split(/\s+/);
  return words.length <= 6 && words.every((word) => COMPARATOR.test(word));
};

/** Undefined when range or version cannot be read: unknown is not compatible. */
export function pveInRange(version: string, range: string): boolean | undefined {
  const numbers = VERSION.exec(version)?.[1];
  if (numbers === undefined || !isPveRange(range)) return undefined;
  return range
    .trim()
    .split(/\s+/)
    .every((word) => {
      const [, operator, bound] = COMPARATOR.exec(word) as unknown as [string, string, string];
      return holds(compareNumbers(numbers, bound), operator);
    });
}

function holds(order: number, operator: string): boolean {
  switch (operator) {
    case '>=':
      return order >= 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '<':
      return order < 0;
    default:
      return order === 0;
  }
}

function compareNumbers(a: string, b: string): number {
  const left = a.split('.').map(Number);
  const right = b.split('.').map(Number);
  for (let index = 0; index < Math.max(left.length, right.length); index += 1) {
    const difference = (left[index] ?? 0) - (right[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
