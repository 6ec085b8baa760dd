export class UnsupportedShell extends Error {
  override readonly name = 'UnsupportedShell';
}

const OPERATORS = new Set([';', '|', '&', '$', '(', ')', '<', '>', '`', '\n', '*', '?', '[', '~', '#', '{', '!']);
/** Fine inside a word, special at its start only (`~`, `#`) or in pairs; refused there alone. */
const ONLY_AT_START = new Set(['~', '#', '{', '!']);

/**
 * Splits a command line as a POSIX shell does: blanks, single and double quotes, backslash. Everything else that a
 * shell would act on outside quotes is refused, since no runner of ours may depend on it.
 */
export function splitWords(line: string): string[] {
  const words: string[] = [];
  let word: string | undefined;
  for (let i = 0; i < line.length; i += 1) {
    const c = line[i] as string;
    if (c === ' ' || c === '\t') {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (c === "'") {
      const end = line.indexOf("'", i + 1);
      if (end < 0) throw new UnsupportedShell("unexpected EOF while looking for matching `''");
      word = (word ?? '') + line.slice(i + 1, end);
      i = end;
    } else if (c === '"') {
      const quoted = doubleQuoted(line, i + 1);
      word = (word ?? '') + quoted.text;
      i = quoted.end;
    } else if (c === '\\') {
      i += 1;
      if (i >= line.length) throw new UnsupportedShell('unsupported: a backslash at the end');
      if (line[i] !== '\n') word = (word ?? '') + line[i];
    } else if (OPERATORS.has(c) && !(ONLY_AT_START.has(c) && word !== undefined)) {
      throw new UnsupportedShell(`unsupported: ${c === '\n' ? 'a line break' : c} outside quotes`);
    } else {
      word = (word ?? '') + c;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

function doubleQuoted(line: string, start: number): { text: string; end: number } {
  let text = '';
  for (let i = start; i < line.length; i += 1) {
    const c = line[i] as string;
    if (c === '"') return { text, end: i };
    if (c === '$' || c === '`') throw new UnsupportedShell(`unsupported: ${c} inside double quotes`);
    if (c !== '\\') {
      text += c;
      continue;
    }
    const next = line[i + 1] ?? '';
    if (next === '\n') i += 1;
    else if ('$`"\\'.includes(next) && next !== '') {
      text += next;
      i += 1;
    } else text += c;
  }
  throw new UnsupportedShell('unexpected EOF while looking for matching `"\'');
}
