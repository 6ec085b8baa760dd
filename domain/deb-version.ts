/**
 * The order of Debian versions `[epoch:]upstream[-revision]`, exactly as dpkg compares them (deb-version(7)):
 * below 0 when `a` is older, 0 when neither is, above 0 when `a` is newer.
 */
export function compareDebVersions(a: string, b: string): number {
  const left = split(a);
  const right = split(b);
  return (
    compareDigits(left.epoch, right.epoch) ||
    compareText(left.upstream, right.upstream) ||
    compareText(left.revision, right.revision)
  );
}

function split(version: string): { epoch: string; upstream: string; revision: string } {
  const colon = version.indexOf(':');
  const rest = version.slice(colon + 1);
  const dash = rest.lastIndexOf('-');
  return {
    epoch: colon < 0 ? '0' : version.slice(0, colon),
    upstream: dash < 0 ? rest : rest.slice(0, dash),
    revision: dash < 0 ? '' : rest.slice(dash + 1),
  };
}

/** Takes turns: a run of non-digits by dpkg's own alphabet, then a run of digits as a number. */
function compareText(a: string, b: string): number {
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    while ((i < a.length && !isDigit(a[i])) || (j < b.length && !isDigit(b[j]))) {
      const difference = orderOf(a[i]) - orderOf(b[j]);
      if (difference !== 0) return difference;
      i += 1;
      j += 1;
    }
    const [digitsOfA, digitsOfB] = [digitsAt(a, i), digitsAt(b, j)];
    const difference = compareDigits(digitsOfA, digitsOfB);
    if (difference !== 0) return difference;
    i += digitsOfA.length;
    j += digitsOfB.length;
  }
  return 0;
}

const isDigit = (sign: string | undefined): boolean => sign !== undefined && sign >= '0' && sign <= '9';

/** `~` sorts before the end, the end (and a digit) before letters, letters before all else. */
function orderOf(sign: string | undefined): number {
  if (sign === undefined || isDigit(sign)) return 0;
  if (sign === '~') return -1;
  const code = sign.charCodeAt(0);
  return /[A-Za-z]/.test(sign) ? code : code + 256;
}

const digitsAt = (text: string, start: number): string => /^\d*/.exec(text.slice(start))?.[0] ?? '';

/** Numbers of any length: dates and hashes in versions go beyond what a double holds. */
function compareDigits(a: string, b: string): number {
  const left = a.replace(/^0+/, '');
  const right = b.replace(/^0+/, '');
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}
