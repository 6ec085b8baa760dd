import { appendFile, mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { planOf } from './plan.js';
import { CELLS, cellName, type RunKind } from './table.js';

/** One line of the file of results. */
export interface Result {
  seed: number;
  build: string;
  kind: RunKind;
  ok: boolean;
  state: string;
  seconds: number;
  stores: number;
  faults: string[];
  hits: string[];
  wrong: string[];
}

export async function readResults(file: string): Promise<Result[]> {
  const text = await readFile(file, 'utf8').catch(() => '');
  // A line that a killed run could not finish is no result.
  return text.split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as Result];
    } catch {
      return [];
    }
  });
}

export async function appendResult(file: string, result: Result): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await appendFile(file, `${JSON.stringify(result)}\n`);
}

/** Of the sound build, and of what their seeds mean now. What was run again counts as it went the last time. */
export const newest = (results: readonly Result[]): Result[] => [
  ...new Map(
    results
      .filter(({ build }) => build === 'sound')
      .flatMap((result) => (isOfItsSeed(result) ? [[result.seed, result]] : [])),
  ).values(),
];

/** The table grows, and then a seed stands for other faults. */
const isOfItsSeed = ({ seed, faults }: Result): boolean =>
  faults.join() ===
  planOf(seed)
    .faults.map(({ cell }) => cellName(cell))
    .join();

export function missingCells(results: readonly Result[]): string[] {
  const hit = new Set(newest(results).flatMap(({ hits }) => hits));
  return CELLS.map(cellName).filter((name) => !hit.has(name));
}

/** Which cells of the table were hit, over all results of the sound build. */
export function renderCoverage(results: readonly Result[]): string[] {
  const sound = newest(results);
  const counts = new Map<string, number>();
  for (const { hits } of sound) for (const hit of hits) counts.set(hit, (counts.get(hit) ?? 0) + 1);
  const names = CELLS.map(cellName);
  const missing = missingCells(results);
  const double = sound.filter(({ hits }) => hits.length >= 2).length;
  const seconds = sound.map((result) => result.seconds).toSorted((a, b) => a - b);
  return [
    `${sound.length} runs, ${sound.filter(({ ok }) => ok).length} good; median ${seconds[Math.floor(seconds.length / 2)] ?? 0} s; ` +
      `${double} with two faults or more at work.`,
    `Cells of the table hit: ${names.length - missing.length} of ${names.length}.`,
    ...names.filter((name) => counts.has(name)).map((name) => `  ${String(counts.get(name)).padStart(4)}  ${name}`),
    ...(missing.length > 0 ? ['Missing:', ...missing.map((name) => `        ${name}`)] : []),
  ];
}
