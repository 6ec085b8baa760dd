import { readFileSync } from 'node:fs';
import prettier from 'prettier';

/**
 * Makes the tables of what a real server takes and answers at the calls that are practised, of the data of its published
 * API viewer: an array of `{path, method, parameters: {name: {type, optional?, enum?, …}}, returns}`. Names, types and
 * borders, nothing of its text.
 */
/** What is kept of one call of Proxmox VE. */
export interface DeclaredCall {
  params: Readonly<Record<string, { type?: string; optional?: true; enum?: readonly string[] }>>;
  /** The fields that every answer has, or each row of one that is a list. */
  answer?: { isList: boolean; needs: readonly string[] };
}

interface Published {
  type?: string;
  optional?: unknown;
  enum?: string[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  items?: Published;
  properties?: Record<string, Published>;
}

interface PublishedCall {
  path: string;
  method: string;
  parameters?: Record<string, Published>;
  returns?: Published;
}

const BORDERS = ['minimum', 'maximum', 'minLength', 'maxLength'] as const;

export const readPublished = (file: string): Map<string, PublishedCall> =>
  new Map(
    (JSON.parse(readFileSync(file, 'utf8')) as PublishedCall[]).map((call) => [`${call.method} ${call.path}`, call]),
  );

/**
 * The text of the module. `head` stands above the table: what it says, and what it imports. `whole` is with the borders of
 * values, and the fields that an answer need not have.
 */
export async function tableOf(
  published: ReadonlyMap<string, PublishedCall>,
  routes: readonly { method: string; path: string }[],
  { head, whole }: { head: string; whole: boolean },
): Promise<string> {
  const patterns = whole ? new Map<string, string>() : undefined;
  const calls = routes.map(({ method, path }) => `${method} ${path}`).toSorted();
  const rows = calls.flatMap((name) => {
    const call = published.get(name);
    if (!call) return [];
    const params = Object.entries(call.parameters ?? {}).map(
      ([key, spec]) => `${JSON.stringify(key)}: ${specOf(key, spec, patterns)}`,
    );
    return [`${JSON.stringify(name)}: { params: { ${params.join(', ')} }${answerOf(call.returns, whole)} }`];
  });
  const named = [...(patterns ?? [])].map(([source, name]) => `${JSON.stringify(name)}: ${String(regexOf(source))}`);
  const shared = named.length === 0 ? '' : `const PATTERNS = { ${named.join(',\n')} };\n\n`;
  const text = `${head}\n\n${shared}export const DECLARED: Readonly<Record<string, DeclaredCall>> = { ${rows.join(',\n')} };\n`;
  const options = await prettier.resolveConfig(import.meta.filename);
  return prettier.format(text, { ...options, parser: 'typescript' });
}

function specOf(key: string, spec: Published, patterns: Map<string, string> | undefined): string {
  const parts = [`type: ${JSON.stringify(spec.type)}`];
  if (spec.optional) parts.push('optional: true');
  if (spec.enum) parts.push(`enum: ${JSON.stringify(spec.enum)}`);
  if (!patterns) return `{ ${parts.join(', ')} }`;
  for (const border of BORDERS) if (spec[border] !== undefined) parts.push(`${border}: ${spec[border]}`);
  if (spec.pattern !== undefined)
    parts.push(`pattern: PATTERNS[${JSON.stringify(nameOf(spec.pattern, key, patterns))}]`);
  if (spec.type === 'array' && spec.items) parts.push(`items: ${specOf(key, spec.items, patterns)}`);
  return `{ ${parts.join(', ')} }`;
}

/** A pattern has the name of the parameter that it was first met at. */
function nameOf(source: string, key: string, patterns: Map<string, string>): string {
  const known = patterns.get(source);
  if (known !== undefined) return known;
  const taken = new Set(patterns.values());
  const name = taken.has(key) ? `${key} ${patterns.size}` : key;
  patterns.set(source, name);
  return name;
}

function answerOf(returns: Published = {}, whole: boolean): string {
  const { type, properties = returns.items?.properties } = returns;
  if (!properties || (type !== 'array' && type !== 'object')) return '';
  const names = (optional: boolean): string =>
    JSON.stringify(Object.keys(properties).filter((key) => Boolean(properties[key]?.optional) === optional));
  return `, answer: { isList: ${type === 'array'}, needs: ${names(false)}${whole ? `, may: ${names(true)}` : ''} }`;
}

/** From the dialect of the server to that of JavaScript. */
function regexOf(source: string): RegExp {
  const inner = source
    .replace(/^\/(.*)\/$/s, '$1')
    .replaceAll('[[:^cntrl:]]', String.raw`[^\p{Cc}]`)
    .replaceAll('[:cntrl:]', String.raw`\p{Cc}`)
    .replaceAll('(?P<', '(?<')
    .replaceAll(String.raw`\-]`, '-]');
  return new RegExp(inner, 'u');
}
