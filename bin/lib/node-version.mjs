/**
 * Whether a Node version is in a range such as `>=20.20 <21 || >=22.12`: comparators joined by spaces, ranges by `||`.
 * @param {string} version e.g. `20.20.2`
 * @param {string} range
 */
export function satisfies(version, range) {
  const actual = numbers(version);
  return range.split('||').some((all) =>
    all
      .trim()
      .split(/\s+/)
      .every((comparator) => holds(actual, comparator)),
  );
}

function holds(actual, comparator) {
  const match = /^(>=|<=|>|<|=)?v?(\d+(?:\.\d+){0,2})$/.exec(comparator);
  if (!match) throw new Error(`package.json engines.node: cannot read "${comparator}"`);
  const order = compare(actual, numbers(match[2]));
  switch (match[1]) {
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

/** A pre-release (`23.0.0-nightly`) counts as its release. */
function numbers(version) {
  const parts = version.replace(/^v/, '').split('-')[0].split('.').map(Number);
  return [parts[0] ?? 0, parts[1] ?? 0, parts[2] ?? 0];
}

function compare(a, b) {
  const at = a.findIndex((part, index) => part !== b[index]);
  return at < 0 ? 0 : a[at] - b[at];
}
