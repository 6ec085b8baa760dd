import { PveError, parameterError } from './errors.js';
import type { RawParams } from './request.js';

/** A parameter as the API schema states it, with the checks that a client can run into. */
export interface ParamSpec {
  type: 'string' | 'integer' | 'number' | 'boolean' | 'array';
  optional?: true;
  enum?: readonly string[];
  minimum?: number;
  maximum?: number;
  pattern?: RegExp;
  /** Said when the pattern does not match. */
  format?: string;
}

/** A name that ends in `[n]` stands for a family: `net[n]` for `net0`, `net1` and so on. */
export type ParamSpecs = Record<string, ParamSpec>;
export type Params = Record<string, string | number | boolean | undefined>;

/** Between the values of a parameter that is a list: no argument of a program can hold it. */
export const LIST = '\u0000';

const NODE = /^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$/;

export const param = {
  node: { type: 'string', pattern: NODE, format: 'invalid format - value does not look like a valid node name' },
  vmid: { type: 'integer', minimum: 100, maximum: 999_999_999 },
  upid: { type: 'string' },
  flag: (optional: boolean): ParamSpec => (optional ? { type: 'boolean', optional: true } : { type: 'boolean' }),
  text: { type: 'string', optional: true },
  integer: { type: 'integer', optional: true },
  number: { type: 'number', optional: true },
} as const satisfies Record<string, ParamSpec | ((optional: boolean) => ParamSpec)>;

/** Reads what came by what is declared; throws all problems at once, by name. */
export function checkParams(specs: ParamSpecs, raw: RawParams, fromUri: Record<string, string>): Params {
  const errors: Record<string, string> = {};
  const values: Params = {};
  const given = new Map(raw);
  for (const [name, value] of Object.entries(fromUri)) {
    if (given.has(name) && String(given.get(name)?.[0]) !== value) {
      throw new PveError(400, `duplicate parameter (already defined in URI) with conflicting values!`);
    }
    given.set(name, [value]);
  }
  for (const [name, list] of given) {
    const spec = specs[name] ?? specs[name.replace(/\d+$/, '[n]')];
    if (!spec) {
      errors[name] = 'property is not defined in schema and the schema does not allow additional properties';
      continue;
    }
    const [value] = list;
    if (spec.type === 'array') {
      values[name] = list.map(String).join(LIST);
      continue;
    }
    const problem = list.length > 1 ? `type check ('${spec.type}') failed - got ARRAY` : problemOf(spec, value);
    if (problem !== undefined) errors[name] = problem;
    else values[name] = convert(spec, value);
  }
  for (const [name, spec] of Object.entries(specs)) {
    if (!spec.optional && !given.has(name)) errors[name] = 'property is missing and it is not optional';
  }
  if (Object.keys(errors).length > 0) throw parameterError(errors);
  return values;
}

function problemOf(spec: ParamSpec, value: unknown): string | undefined {
  const text = String(value);
  if (!TYPES[spec.type].test(text)) return `type check ('${spec.type}') failed - got '${text}'`;
  if (spec.enum && !spec.enum.includes(text)) {
    return `value '${text}' does not have a value in the enumeration '${spec.enum.join(', ')}'`;
  }
  if (spec.pattern && !spec.pattern.test(text)) return spec.format ?? 'value does not match the regex pattern';
  if (spec.minimum !== undefined && Number(text) < spec.minimum) {
    return `value must have a minimum value of ${spec.minimum}`;
  }
  if (spec.maximum !== undefined && Number(text) > spec.maximum) {
    return `value must have a maximum value of ${spec.maximum}`;
  }
  return undefined;
}

const TYPES: Record<ParamSpec['type'], RegExp> = {
  array: /[\s\S]*/,
  string: /[\s\S]*/,
  integer: /^[+-]?\d+$/,
  number: /^[+-]?(\d+(\.\d*)?|\.\d+)$/,
  boolean: /^(1|on|yes|true|0|off|no|false)$/i,
};

function convert(spec: ParamSpec, value: unknown): string | number | boolean {
  const text = String(value);
  if (spec.type === 'boolean') return /^(1|on|yes|true)$/i.test(text);
  return spec.type === 'string' || spec.type === 'array' ? text : Number(text);
}
