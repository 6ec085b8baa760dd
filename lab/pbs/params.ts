import { PbsError } from '../world/pbs/datastore.js';
import type { RawParams } from './request.js';

/** A parameter as the real server declares it. */
export interface ParamSpec {
  type: 'string' | 'integer' | 'boolean' | 'array';
  optional?: true;
  enum?: readonly string[];
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: RegExp;
  /** Of each in a list. */
  items?: ParamSpec;
}

export type ParamSpecs = Readonly<Record<string, ParamSpec>>;

/** What the real server declares of one call. */
export interface DeclaredCall {
  params: ParamSpecs;
  /** The fields of an answer, or of each row of one that is a list. */
  answer?: { isList: boolean; needs: readonly string[]; may: readonly string[] };
}

export type Value = string | number | boolean | string[];
export type Params = Record<string, Value | undefined>;

/** Reads what came by what is declared; throws all problems at once, by name. */
export function checkParams(specs: ParamSpecs, raw: RawParams, fromUri: Record<string, string>): Params {
  const problems: [string, string][] = [];
  const values: Params = {};
  const given: RawParams = new Map(raw);
  for (const [name, value] of Object.entries(fromUri)) given.set(name, { value, isText: true });
  for (const [name, { value, isText }] of given) {
    const spec = specs[name];
    if (!spec) {
      problems.push([name, 'schema does not allow additional properties.']);
      continue;
    }
    try {
      values[name] = convert(spec, value, isText);
    } catch (error) {
      problems.push([name, (error as Error).message]);
    }
  }
  for (const [name, spec] of Object.entries(specs)) {
    if (!spec.optional && !given.has(name)) problems.push([name, 'parameter is missing and it is not optional.']);
  }
  if (problems.length > 0) throw new PbsError(textOf(problems));
  return values;
}

function textOf(problems: [string, string][]): string {
  const [only] = problems;
  if (only && problems.length === 1) return `parameter verification failed - '${only[0]}': ${only[1]}`;
  return `parameter verification failed:\n${problems.map(([name, why]) => `- '${name}': ${why}\n`).join('')}`;
}

/** JSON values have to have their type; text is read as what is wanted. */
function convert(spec: ParamSpec, value: unknown, isText: boolean): Value {
  switch (spec.type) {
    case 'array': {
      const list = Array.isArray(value) ? value : isText ? [value] : undefined;
      if (!list) throw new Error('Expected array value.');
      const { items } = spec;
      return items ? list.map((each) => String(convert(items, each, isText))) : list.map(String);
    }
    case 'boolean':
      if (typeof value === 'boolean') return value;
      if (isText && /^(1|on|yes|true)$/i.test(String(value))) return true;
      if (isText && /^(0|off|no|false)$/i.test(String(value))) return false;
      throw new Error(isText ? 'Unable to parse boolean option.' : 'Expected boolean value.');
    case 'integer':
      return inRange(spec, readInteger(value, isText));
    case 'string': {
      if (typeof value !== 'string') throw new Error('Expected string value.');
      requireLength(spec, [...value].length);
      if (spec.enum && !spec.enum.includes(value))
        throw new Error(`value '${value}' is not defined in the enumeration.`);
      if (spec.pattern && !spec.pattern.test(value)) throw new Error('value does not match the regex pattern');
      return value;
    }
  }
}

function requireLength({ minLength = 0, maxLength = Infinity }: ParamSpec, length: number): void {
  if (length < minLength) throw new Error(`value must be at least ${minLength} characters long`);
  if (length > maxLength) throw new Error(`value may only be ${maxLength} characters long`);
}

function readInteger(value: unknown, isText: boolean): number {
  if (typeof value === 'number' && Number.isInteger(value)) return value;
  if (isText && /^[+-]?\d+$/.test(String(value))) return Number(value);
  throw new Error(isText ? 'invalid digit found in string' : 'Expected integer value.');
}

function inRange({ minimum, maximum }: ParamSpec, value: number): number {
  if (minimum !== undefined && value < minimum) {
    throw new Error(`value must have a minimum value of ${minimum} (got ${value})`);
  }
  if (maximum !== undefined && value > maximum) {
    throw new Error(`value must have a maximum value of ${maximum} (got ${value})`);
  }
  return value;
}
