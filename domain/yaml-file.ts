import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument, type Document, type Node } from 'yaml';
import { z } from 'zod';
import { UNKNOWN_KEY, wordsOf } from './issue-words.js';
import { pathOf } from './messages/parse.js';

/**
 * YAML written by people, read with suspicion: a file may come from anyone who can push a branch. What is read is
 * plain data; every problem names file, line and path at once.
 */

export interface Problem {
  file: string;
  /** From 1. */
  line: number;
  /** Inside the file, e.g. `stages[1].soak`; empty for the file as a whole. */
  path: string;
  /** What is wrong and what to write instead. */
  message: string;
}

export interface YamlFile<T> {
  /** Present only when there are no problems. */
  value?: T;
  /** The parts at the top of the file that are what they must be, also when others are not. */
  parts: Partial<T>;
  problems: Problem[];
  /** Line of the deepest part of the path that is in the file. */
  lineOf(path: readonly PropertyKey[]): number;
}

const MAX_DEPTH = 20;
const MAX_ALIASES = 20;
const MAX_PROBLEMS = 50;

/** `fleet.yaml:12: stages[1].soak: is not a duration. …` */
export const problemText = ({ file, line, path, message }: Problem): string =>
  `${file}:${line}: ${path === '' ? '' : `${path}: `}${message}`;

/** What others wrote, made fit for one line of output: no control or direction signs, no endless words. */
export function printable(text: string, max = 80): string {
  const clean = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, '?');
  return clean.length <= max ? clean : `${clean.slice(0, max)}…`;
}

/** Reads one file. `maxBytes` bounds the work as well: parsing takes about 10 µs a byte for the worst of inputs. */
export function readYaml<T>(options: {
  schema: z.ZodType<T>;
  text: string;
  file: string;
  maxBytes: number;
}): YamlFile<T> {
  const { schema, text, file, maxBytes } = options;
  const whole = (message: string, line = 1): YamlFile<T> => ({
    parts: {},
    problems: [{ file, line, path: '', message }],
    lineOf: () => 1,
  });
  if (text.length > maxBytes) return whole(`is too large: at most ${maxBytes} bytes are read.`);

  const lines = new LineCounter();
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      schema: 'core',
      // Compares every key with every other; `misuseOf` does it in one pass.
      uniqueKeys: false,
      lineCounter: lines,
      prettyErrors: false,
      logLevel: 'error',
    });
  } catch {
    return whole('is nested too deeply to be read.');
  }

  // Errors after the first are mostly its echoes; warnings (unknown tags) are refusals here and stand for themselves.
  const syntax = document.errors.length > 0 ? document.errors.slice(0, 1) : document.warnings;
  if (syntax.length > 0) {
    const problems = syntax.slice(0, MAX_PROBLEMS).map((error) => ({
      file,
      line: lines.linePos(error.pos[0]).line,
      path: '',
      message: `is not valid YAML: ${printable(error.message, 200)}`,
    }));
    return { parts: {}, problems, lineOf: () => 1 };
  }
  const lineOf = (path: readonly PropertyKey[]): number => lineAt(document.contents, path, lines);
  const misuse = misuseOf(document.contents, lines);
  if (misuse) return whole(misuse.message, misuse.line);

  let data: unknown;
  try {
    data = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch {
    return whole(`uses more than ${MAX_ALIASES} aliases, or one that leads to itself.`);
  }
  const result = schema.safeParse(data);
  if (result.success) return { value: result.data, parts: result.data, problems: [], lineOf };
  const problems = result.error.issues
    .slice(0, MAX_PROBLEMS)
    .flatMap((issue) => problemsOf(issue, { file, data, lineOf }));
  return { parts: partsOf(schema, data), problems, lineOf };
}

function partsOf<T>(schema: z.ZodType<T>, data: unknown): Partial<T> {
  const parts: Record<string, unknown> = {};
  if (!(schema instanceof z.ZodObject)) return {};
  for (const [key, part] of Object.entries<z.ZodType>(schema.shape)) {
    const result = part.safeParse(valueAt(data, [key]));
    if (result.success) parts[key] = result.data;
  }
  return parts as Partial<T>;
}

/** What YAML allows and this service does not: deep nesting, keys that are not plain words, keys that stand twice. */
function misuseOf(root: Node | null, lines: LineCounter): { line: number; message: string } | undefined {
  const open: { node: unknown; depth: number }[] = [{ node: root, depth: 0 }];
  const at = (node: unknown): number => lines.linePos((node as Node | null)?.range?.[0] ?? 0).line;
  for (let entry = open.pop(); entry; entry = open.pop()) {
    const { node, depth } = entry;
    if (depth > MAX_DEPTH) return { line: at(node), message: `is nested deeper than ${MAX_DEPTH} levels.` };
    if (isSeq(node)) open.push(...node.items.map((item) => ({ node: item, depth: depth + 1 })));
    if (!isMap(node)) continue;
    const seen = new Set<unknown>();
    for (const { key, value } of node.items) {
      if (!isScalar(key) || typeof key.value !== 'string') {
        return { line: at(key), message: 'has a key that is not a plain word.' };
      }
      if (seen.has(key.value)) {
        return { line: at(key), message: `has the key ${printable(key.value)} twice in one place.` };
      }
      seen.add(key.value);
      open.push({ node: value, depth: depth + 1 });
    }
  }
  return undefined;
}

function lineAt(root: Node | null, path: readonly PropertyKey[], lines: LineCounter): number {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  for (const part of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === part);
      if (!pair) break;
      offset = (pair.key as Node).range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof part === 'number') {
      node = node.items[part];
      if (node === undefined) break;
      offset = (node as Node).range?.[0] ?? offset;
    } else break;
    if (isAlias(node)) break;
  }
  return lines.linePos(offset).line;
}

function problemsOf(
  issue: z.core.$ZodIssue,
  { file, data, lineOf }: { file: string; data: unknown; lineOf: YamlFile<unknown>['lineOf'] },
): Problem[] {
  const at = (path: readonly PropertyKey[], message: string): Problem => ({
    file,
    line: lineOf(path),
    path: printable(pathOf(path), 200),
    message,
  });
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, 10).map((key) => at([...issue.path, key], `${UNKNOWN_KEY}.`));
  }
  const found = valueAt(data, issue.path);
  const quoted = typeof found === 'string' || typeof found === 'number' ? `"${printable(String(found), 40)}" ` : '';
  return [at(issue.path, `${quoted}${printable(wordsOf(issue), 400)}.`)];
}

function valueAt(data: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) => (typeof value === 'object' && value !== null ? Reflect.get(value, part) : undefined),
    data,
  );
}
