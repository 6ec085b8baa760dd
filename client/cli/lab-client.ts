import { z } from 'zod';
import { parse } from '#domain/messages/parse.js';
import { CliFailure } from './failure.js';
import { printable } from './text.js';

/** Speaks to the practice fleet's own control API. What it answers is checked like anything from outside. */

const MAX_ANSWER = 256 * 1024 * 1024;
const TIMEOUT = 60_000;

const word = z.string().max(300);

const labEntrySchema = z.looseObject({
  seq: z.number().int(),
  at: word,
  store: word,
  node: word.optional(),
  guest: z.number().int().optional(),
  effect: word,
  by: word,
  detail: z.record(z.string(), z.unknown()).optional(),
});
export type LabEntry = z.infer<typeof labEntrySchema>;

const labFaultSchema = z.looseObject({
  id: word,
  store: word,
  node: word.optional(),
  kind: word,
  step: word.optional(),
  moment: word.optional(),
  state: word.optional(),
  bites: z.number().optional(),
});
export type LabFault = z.infer<typeof labFaultSchema>;

const labReportSchema = z.looseObject({
  /** Effects that the journal holds, faults apart. */
  effects: z.number().int().min(0),
  rules: z
    .array(
      z.looseObject({
        id: word,
        title: z.string().max(1_000),
        violations: z.array(z.looseObject({ store: word, summary: z.string().max(10_000) })),
      }),
    )
    .min(1),
});
export type LabReport = z.infer<typeof labReportSchema>;

const labTimingSchema = z.looseObject({
  speed: z.number(),
  /** Milliseconds of a real store, and of this practice fleet. */
  durations: z.array(z.looseObject({ name: word, baseMs: z.number(), ms: z.number() })),
});
export type LabTiming = z.infer<typeof labTimingSchema>;

const entriesSchema = z.array(labEntrySchema);
const faultsSchema = z.array(labFaultSchema);

const labFaultTableSchema = z.array(
  z.looseObject({
    kind: word,
    title: word,
    sort: word,
    steps: z.array(z.looseObject({ step: word, title: word, moments: z.array(word) })),
    params: z.array(z.looseObject({ name: word, type: word, title: word })),
  }),
);
/** Every kind of fault, with each step and moment at which it can be armed. */
export type LabFaultTable = z.infer<typeof labFaultTableSchema>;

export interface LabClient {
  state(store?: string): Promise<unknown>;
  /** The backup server of a store, or the `central` one, with what only the practice fleet can know of it. */
  pbs(id: string): Promise<unknown>;
  timing(): Promise<LabTiming>;
  /** Entries with a higher number than `after`, oldest first. */
  journal(after: number): Promise<LabEntry[]>;
  faults(): Promise<LabFault[]>;
  faultTable(): Promise<LabFaultTable>;
  addFault(fault: Record<string, unknown>): Promise<unknown>;
  /** All of them, or none when one is not valid. */
  addFaults(plan: unknown): Promise<LabFault[]>;
  removeFault(id: string): Promise<void>;
  /** Cuts or restores the store's link to the centre. */
  setWan(store: string, up: boolean): Promise<void>;
  /** The lab's own judgement of everything that happened. */
  check(): Promise<LabReport>;
}

export function createLabClient(base: string): LabClient {
  async function request(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await send(base, method, path, body);
    const text = await response.text();
    if (text.length > MAX_ANSWER) throw new CliFailure(`The practice fleet's answer to ${path} is too large.`);
    const answer = text === '' ? undefined : jsonOf(text, path);
    if (response.ok) return answer;
    throw new CliFailure(`The practice fleet refused ${method} ${path}: ${refusalOf(answer, response.status)}`);
  }
  async function checked<T>(schema: z.ZodType<T>, path: string, method = 'GET', body?: unknown): Promise<T> {
    const parsed = parse(schema, await request(method, path, body));
    if (parsed.ok) return parsed.value;
    throw new CliFailure(
      `The practice fleet answered ${path} in an unknown form: ${parsed.problems.slice(0, 3).join('; ')}.`,
    );
  }

  return {
    state: (store) => request('GET', store === undefined ? '/state' : `/state?store=${encodeURIComponent(store)}`),
    pbs: (id) => request('GET', `/pbs/${encodeURIComponent(id)}`),
    timing: () => checked(labTimingSchema, '/timing'),
    journal: (after) => checked(entriesSchema, `/journal?after=${after}`),
    faults: () => checked(faultsSchema, '/faults'),
    faultTable: () => checked(labFaultTableSchema, '/faults/table'),
    addFault: (fault) => request('POST', '/faults', fault),
    addFaults: (plan) => checked(faultsSchema, '/faults', 'POST', plan),
    removeFault: async (id) => void (await request('DELETE', `/faults/${encodeURIComponent(id)}`)),
    setWan: async (store, up) => void (await request('POST', `/stores/${encodeURIComponent(store)}/wan`, { up })),
    check: () => checked(labReportSchema, '/check', 'POST'),
  };
}

async function send(base: string, method: string, path: string, body: unknown): Promise<Response> {
  try {
    return await fetch(new URL(path, base), {
      method,
      redirect: 'error',
      signal: AbortSignal.timeout(TIMEOUT),
      ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
    });
  } catch (error) {
    throw new CliFailure(`Cannot reach the practice fleet at ${base}. Is \`edge up --lab\` running?`, { cause: error });
  }
}

function jsonOf(text: string, path: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CliFailure(`The practice fleet answered ${path} with something else than JSON.`, { cause: error });
  }
}

const refusalSchema = z.looseObject({ error: z.string().optional(), problems: z.array(z.string()).optional() });

function refusalOf(answer: unknown, status: number): string {
  const parsed = refusalSchema.safeParse(answer);
  const { error = '', problems = [] } = parsed.success ? parsed.data : {};
  const words = [error, ...problems.filter((problem) => !error.includes(problem))].filter((word) => word !== '');
  return words.length === 0 ? `status ${status}` : printable(words.join('; '));
}
