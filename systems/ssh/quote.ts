/** Words that mean themselves to every POSIX shell. `=` is left out: at the front of a line it would assign. */
const PLAIN = /^[A-Za-z0-9_@%+:,./-]+$/;
/** Words that a shell takes as syntax in the place of a program. */
const RESERVED = /^(if|then|else|elif|fi|do|done|case|esac|while|until|for|in|function|select|time|coproc)$/;

/**
 * The line for a POSIX shell that runs exactly this program with exactly these arguments.
 * Throws on an empty list and on NUL, which no argument can hold.
 */
export function shellQuote(argv: string[]): string {
  if (argv.length === 0) throw new TypeError('A command needs at least the name of a program.');
  return argv.map((word, index) => (index === 0 && RESERVED.test(word) ? `'${word}'` : quoteWord(word))).join(' ');
}

function quoteWord(word: string): string {
  if (word.includes('\0')) throw new TypeError('A command argument holds a NUL character.');
  if (PLAIN.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
