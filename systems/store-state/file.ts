import { mkdir, open, readFile, truncate, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { mended } from '#domain/last-good.js';
import { stepKey } from '#domain/naming.js';
import { replaceFile } from '../files/replace.js';
import type { OperationName, OperationRecord, StepEntry, StoreState, TrustRecord } from './types.js';

/**
 * Three files in the store worker's own folder: `operation.json` and `trust.json`, replaced atomically, and
 * `steps.jsonl`, appended, and replaced when another operation takes the store. A torn last line of the journal is what
 * a crash leaves and is cut off; anything else that cannot be read stops the worker, because acting without its memory
 * is not safe.
 */
export async function openStoreState(dir: string): Promise<StoreState> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const journalPath = join(dir, 'steps.jsonl');
  let operation = await readJson(join(dir, 'operation.json'), operationSchema);
  const known = await readJson(join(dir, 'trust.json'), trustSchema);
  let trust: TrustRecord = known ? mended(known) : { highestSequence: 0, baseline: [] };
  const steps = await readJournal(journalPath, operation ? stepsOf(operation) : []);
  let journal: FileHandle | undefined = await open(journalPath, 'a', 0o600);

  let queue: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(write: () => Promise<T>): Promise<T> => {
    const turn = queue.then(write);
    queue = turn.catch(() => undefined);
    return turn;
  };
  const append = (key: string, entry: StepEntry) =>
    inTurn(async () => {
      if (!journal) throw new Error('The state of the store worker is closed.');
      await journal.appendFile(`${JSON.stringify({ key, at: new Date().toISOString(), ...entry })}\n`);
      await journal.datasync();
      steps.set(key, { ...steps.get(key), ...entry });
    });

  /** Until the new file has the name, the old one holds all that it has; a crash in between loses nothing. */
  const compact = async (operations: OperationRecord[]) => {
    const prefixes = operations.flatMap(namesIn).map(keyPrefix);
    const lines = (await readFile(journalPath, 'utf8')).split('\n');
    const kept = lines.filter((line) => prefixes.some((prefix) => parseLine(line)?.key.startsWith(prefix)));
    await replaceFile(dir, 'steps.jsonl', kept.map((line) => `${line}\n`).join(''));
    if (!journal) return;
    await journal.close();
    journal = await open(journalPath, 'a', 0o600);
  };

  return {
    operation: () => operation,
    save: (next) =>
      inTurn(async () => {
        const before = operation;
        await replaceFile(dir, 'operation.json', JSON.stringify(next));
        operation = next;
        if (before === undefined || keyPrefix(before) === keyPrefix(next)) return;
        const prefixes = stepsOf(next);
        for (const key of steps.keys()) if (!prefixes.some((prefix) => key.startsWith(prefix))) steps.delete(key);
        await compact([before, next]);
      }),
    trust: () => trust,
    saveTrust: (change) =>
      inTurn(async () => {
        const next = { ...trust, ...change };
        await replaceFile(dir, 'trust.json', JSON.stringify(next));
        trust = next;
      }),
    step: (key) => steps.get(key),
    intent: (key, detail) => append(key, { intent: detail }),
    result: (key, result) => append(key, { result }),
    close: () =>
      inTurn(async () => {
        const handle = journal;
        journal = undefined;
        await handle?.close();
      }),
  };
}

/** Keys of its steps begin with it. */
const keyPrefix = (operation: OperationName): string => stepKey(operation, '');
const namesIn = (operation: OperationRecord): OperationName[] => [
  operation,
  ...(operation.leftBy ? [operation.leftBy] : []),
];
/** What the keys begin with that are looked up while it holds the store: its own, under any fence, and of whoever left its marks. */
const stepsOf = (operation: OperationRecord): string[] =>
  namesIn(operation).map(({ operationId }) => `${operationId}|`);

const releaseRef = z.object({ version: z.string(), sequence: z.number(), manifest: z.string(), bundle: z.string() });
const operationName = { operationId: z.string(), fence: z.number() };
const operationSchema: z.ZodType<OperationRecord> = z.object({
  ...operationName,
  // Written by workers that knew nothing but patches.
  kind: z.enum(['patch', 'dump']).default('patch'),
  open: z.boolean(),
  release: releaseRef.exactOptional(),
  leftBy: z.object({ ...operationName, silent: z.boolean() }).exactOptional(),
  startedAt: z.string(),
  endedAt: z.string().exactOptional(),
  outcome: z.string().exactOptional(),
  marks: z.array(z.object({ kind: z.enum(['maintenance', 'noout']), node: z.string(), setAt: z.string() })),
  homes: z.record(z.string(), z.string()),
});
const trustSchema: z.ZodType<TrustRecord> = z.object({
  highestSequence: z.number(),
  current: releaseRef.optional(),
  wentBack: z.boolean().exactOptional(),
  lastGood: releaseRef.optional(),
  goodBefore: releaseRef.optional(),
  withdrawn: releaseRef.optional(),
  pins: z.record(z.string(), z.string()).exactOptional(),
  loaded: z.record(z.string(), z.object({ file: z.string(), proven: z.boolean() })).exactOptional(),
  baselineOf: z.number().exactOptional(),
  begun: z.number().exactOptional(),
  baseline: z.array(
    z.object({
      vmid: z.number(),
      name: z.string(),
      running: z.boolean(),
      healthy: z.boolean(),
      latencyMs: z.number().optional(),
      cacheHitPercent: z.number().optional(),
    }),
  ),
});
const entrySchema = z.object({
  key: z.string(),
  intent: z.record(z.string(), z.unknown()).optional(),
  result: z.unknown().optional(),
});

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const unusable = (why: string | undefined) =>
    new Error(`${path} cannot be read: ${why}. Restore it from backup before this worker acts again.`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw unusable('it is not JSON');
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw unusable(parsed.error.issues[0]?.message);
  return parsed.data;
}

/** The steps whose keys begin so; those of earlier operations are history. */
async function readJournal(path: string, prefixes: readonly string[]): Promise<Map<string, StepEntry>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) await truncate(path, Buffer.byteLength(whole));
  const steps = new Map<string, StepEntry>();
  for (const [index, line] of whole.split('\n').entries()) {
    if (line === '') continue;
    const entry = parseLine(line);
    if (!entry) {
      throw new Error(`${path}:${index + 1} cannot be read. Restore it from backup before this worker acts again.`);
    }
    const { key, ...rest } = entry;
    if (!prefixes.some((prefix) => key.startsWith(prefix))) continue;
    steps.set(key, { ...steps.get(key), ...(rest as StepEntry) });
  }
  return steps;
}

function parseLine(line: string): z.output<typeof entrySchema> | undefined {
  try {
    return entrySchema.safeParse(JSON.parse(line)).data;
  } catch {
    return undefined;
  }
}
