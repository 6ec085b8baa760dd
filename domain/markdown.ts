/**
 * Markdown for the Temporal UI, which passes raw HTML through and fills in `{namespace}`: every word from outside is
 * escaped, and links use that placeholder.
 */

/** Temporal refuses details above 20,000 bytes of encoded payload. */
const MAX_BYTES = 18_000;
const MAX_WORDS = 240;

export const sections = (...parts: (string | undefined)[]): string =>
  parts.filter((part) => part !== undefined && part !== '').join('\n\n');

export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

export function bullets(title: string, lines: readonly string[], total = lines.length): string | undefined {
  if (lines.length === 0) return undefined;
  const more = total > lines.length ? [`- and ${total - lines.length} more`] : [];
  return [`**${title}**`, '', ...lines.map((line) => `- ${plain(line)}`), ...more].join('\n');
}

/** A page of the Temporal UI about the newest run of a workflow. */
export const link = (words: string, workflowId: string): string =>
  `[${plain(words)}](/namespaces/{namespace}/workflows/${encodeURIComponent(workflowId)})`;

/** Code cannot be escaped inside its ticks, so what would end it, or a table cell, is taken out. */
export const code = (words: string): string => `\`${oneLine(words, 500).replace(/[`|]/g, '')}\``;

/** Words from outside as plain text: no markup, HTML, link or placeholder, one line, cut to a length. */
export const plain = (words: string): string =>
  oneLine(words, MAX_WORDS).replace(/[\\`*_{}[\]<>|~&#$]|:(?=\/\/)/g, '\\$&');

/** Whole lines from the top, which is the order of importance, as many as Temporal takes. */
export function fitted(details: string): string {
  let left = MAX_BYTES;
  const lines = details.split('\n');
  const end = lines.findIndex((line) => (left -= encodedBytes(line)) < 0);
  return end < 0 ? details : `${lines.slice(0, end).join('\n')}\n\nThere is more than fits here.`;
}

/** Bytes of a line in a JSON payload. Counted by hand: the workflow sandbox has no Buffer. */
function encodedBytes(line: string): number {
  let bytes = 0;
  for (const letter of JSON.stringify(line)) {
    const point = letter.codePointAt(0) ?? 0;
    bytes += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return bytes;
}

function oneLine(words: string, max: number): string {
  // Line breaks of every kind and control characters; \s has U+2028 and U+2029.
  const line = words.replace(/[\s\p{Cc}]+/gu, ' ').trim();
  const letters = Array.from(line);
  return letters.length <= max ? line : `${letters.slice(0, max - 1).join('')}…`;
}

/** `2026-11-24 10:00 UTC`; what is no instant is shown as it came. */
export function time(iso: string): string {
  const ms = Date.parse(iso);
  if (!Number.isFinite(ms)) return plain(iso);
  return `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}
