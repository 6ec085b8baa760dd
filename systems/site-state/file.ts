import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../files/replace.js';
import type { SiteState, TrialRecord } from './types.js';

const FILE = 'trials.json';

/** One small file in the worker's own folder, replaced atomically with each change. */
export async function openSiteState(dir: string): Promise<SiteState> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const { trials: kept, opened: open } = await read(join(dir, FILE));
  const trials = new Map(Object.entries(kept).map(([id, record]): [number, TrialRecord] => [Number(id), record]));
  const opened = new Map(Object.entries(open));

  let queue: Promise<unknown> = Promise.resolve();
  const save = (): Promise<void> => {
    const content = JSON.stringify({ trials: Object.fromEntries(trials), opened: Object.fromEntries(opened) });
    const turn = queue.then(() => replaceFile(dir, FILE, content));
    queue = turn.catch(() => undefined);
    return turn;
  };

  return {
    trial: (id) => trials.get(id),
    trials: () => [...trials].map(([id, record]) => ({ id, ...record })),
    saveTrial(id, record) {
      trials.set(id, record);
      return save();
    },
    async forgetTrial(id) {
      if (trials.delete(id)) await save();
    },
    openedAt: (store) => opened.get(store),
    saveOpened(store, at) {
      opened.set(store, at);
      return save();
    },
    async forgetOpened(store) {
      if (opened.delete(store)) await save();
    },
  };
}

const recordSchema: z.ZodType<TrialRecord> = z.object({
  run: z.string(),
  store: z.string(),
  snapshot: z.string(),
  askedAt: z.string(),
  node: z.string(),
  bytes: z.number(),
  sentAt: z.string().exactOptional(),
  before: z.array(z.string()),
  upid: z.string().exactOptional(),
  leftOut: z.array(z.string()).exactOptional(),
  restoredAt: z.string().exactOptional(),
  bootAskedAt: z.string().exactOptional(),
  bootedAt: z.string().exactOptional(),
  probeAskedAt: z.string().exactOptional(),
});
const fileSchema = z.object({
  trials: z.record(z.string().regex(/^\d+$/), recordSchema),
  opened: z.record(z.string(), z.string()),
});

async function read(path: string): Promise<z.output<typeof fileSchema>> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return { trials: {}, opened: {} };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = undefined;
  }
  const parsed = fileSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Error(
    `${path} cannot be read. Move it away: guests under test are then known by their notes alone, and the rest is swept.`,
  );
}
