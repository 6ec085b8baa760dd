import { mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { emptyTally, happened, OUTCOME_WORDS, type Tally } from '#domain/outcomes.js';
import { cacheFolder } from '#workers/embedded/cache-folder.js';
import { ROOT } from '../support/build.js';
import { BROKEN_BUILDS, BROKEN_NAMES, makeBuild, type Broken, type BrokenBuild } from './broken.js';
import { run } from './drive.js';
import { renderFinding, type Finding } from './findings.js';
import { createGrounds, type Grounds } from './ground.js';
import { judge } from './judge.js';
import { MOST_STORES, planOf, renderPlan, worksOf } from './plan.js';
import { appendResult, missingCells, newest, readResults, renderCoverage, type Result } from './results.js';
import type { Seen } from './seen.js';
import { createSweep, HALTING_BUILD, SWEEP_LIMIT_MS, SWEEP_NAMES, SWEEP_PLAN } from './sweep.js';
import { JANITOR_SWEEP, ROLLBACK_SWEEP } from './sweep-aside.js';
import { cellName, impossibleCells, RUN_KINDS, SEEDS_OF_A_ROUND, turnOf, type RunKind } from './table.js';

export interface ChaosOptions {
  /** The first seed. Undefined: those that have no result yet, and whose faults are missing most. */
  seed: number | undefined;
  runs: number;
  /** Only seeds of this kind of run. */
  kind: RunKind | undefined;
  /** Undefined: the file in the user's cache. */
  out: string | undefined;
  /** A name of `broken.ts`, or `all`. */
  broken: string | undefined;
  /** A name of `sweep.ts`, or `all`: kills each worker at each activity, instead of what seeds say. */
  sweep: string | undefined;
  /** Seconds after which no further run is begun. */
  within: number | undefined;
  load: (file: string) => Promise<{ startService: Parameters<typeof createGrounds>[0]['start'] }>;
  say: (line: string) => void;
}

/** Within so many seeds of the kinds of run that get to the place a broken build has to be caught. */
const SEEDS_TO_CATCH = 30;
/** A cell that so many rounds do not hit will not be hit by more of them either. */
const ROUNDS_AHEAD = 10;

/** The exit code. */
export async function chaos(options: ChaosOptions): Promise<number> {
  const { kind } = options;
  if (kind !== undefined && !RUN_KINDS.includes(kind))
    throw new Error(`There is no kind of run ${String(kind)}. There are: ${RUN_KINDS.join(', ')}.`);
  const impossible = impossibleCells();
  if (impossible.length > 0) throw new Error(`The table of the chaos suite does not fit: ${impossible.join('; ')}`);
  if (options.broken !== undefined) return catchBroken(options, options.broken);
  if (options.sweep !== undefined) return sweepOver(options, options.sweep);

  const out = options.out ?? join(cacheFolder(process.env), 'chaos', 'results.jsonl');
  const known = await readResults(out);
  const until = performance.now() + (options.within ?? Infinity) * 1_000;
  const grounds = await groundsOf(options, ROOT, 'sound', options.runs);
  let begun = 0;
  let failed = 0;
  let last = (options.seed ?? 1) - 1;
  try {
    for (; begun < options.runs && performance.now() < until; begun += 1) {
      const seed = options.seed === undefined ? nextSeed(known, kind) : seedAfter(last, kind);
      last = seed;
      const { result } = await oneRun({ seed, build: 'sound', grounds, say: options.say });
      await appendResult(out, result);
      known.push(result);
      if (!result.ok) failed += 1;
    }
  } finally {
    await grounds.clear('remove');
  }
  for (const line of renderCoverage(known)) options.say(line);
  options.say(`Results: ${out}`);
  options.say(`${begun - failed} of ${begun} runs are good.`);
  return failed === 0 ? 0 : 1;
}

/** The first without a result of those that could hit most of what no run has hit yet. */
export function nextSeed(known: readonly Result[], kind?: RunKind): number {
  const done = new Set(newest(known).map(({ seed }) => seed));
  const missing = new Set(missingCells(known));
  const open = Array.from({ length: ROUNDS_AHEAD * SEEDS_OF_A_ROUND }, (_, i) => i + 1)
    .filter((seed) => !done.has(seed) && isOf(kind, seed))
    .map((seed) => ({ seed, worth: turnOf(seed).cells.filter((cell) => missing.has(cellName(cell))).length }));
  const best = open.toSorted((a, b) => b.worth - a.worth || a.seed - b.seed)[0];
  return best?.seed ?? seedAfter(Math.max(...done), kind);
}

const isOf = (kind: RunKind | undefined, seed: number): boolean => kind === undefined || turnOf(seed).kind === kind;

function seedAfter(seed: number, kind: RunKind | undefined): number {
  for (let next = seed + 1; ; next += 1) if (isOf(kind, next)) return next;
}

async function groundsOf({ load }: ChaosOptions, root: string, name: string, runs: number): Promise<Grounds> {
  const { startService } = await load(join(root, 'dist', 'workers', 'embedded', 'supervisor.js'));
  return createGrounds({
    dir: join(tmpdir(), `edge-chaos-${process.pid}`, name),
    start: startService,
    atMost: runs * MOST_STORES,
  });
}

async function catchBroken(options: ChaosOptions, broken: string): Promise<number> {
  const names = BROKEN_NAMES.filter((name) => broken === 'all' || broken === name);
  if (names.length === 0)
    throw new Error(`There is no broken build ${broken}. There are: ${BROKEN_NAMES.join(', ')}, all.`);
  const verdicts: { isCaught: boolean; text: string }[] = [];
  for (const name of names) verdicts.push(await catchOne(options, name));
  for (const { text } of verdicts) options.say(text);
  return verdicts.every(({ isCaught }) => isCaught) ? 0 : 1;
}

/**
 * Only a finding that the missing safeguard explains is a catch: a run that is bad for another reason would be so
 * whatever the suite looks for. Seeds of runs that never get to the place are left out.
 */
async function catchOne(options: ChaosOptions, name: BrokenBuild): Promise<{ isCaught: boolean; text: string }> {
  const { edits, kinds, told, shows }: Broken = BROKEN_BUILDS[name];
  const getsThere = (seed: number): boolean =>
    kinds.includes(turnOf(seed).kind) && (told === undefined || planOf(seed).operator.steers?.how === told);
  const seeds: number[] = [];
  for (let seed = options.seed ?? 1; seeds.length < SEEDS_TO_CATCH; seed += 1) if (getsThere(seed)) seeds.push(seed);
  const beside = new Set<string>();
  return withBuild(name, edits, async (root) => {
    const grounds = await groundsOf(options, root, name, seeds.length);
    try {
      for (const seed of seeds) {
        const { result, wrong } = await oneRun({ seed, build: name, grounds, say: options.say });
        if (options.out) await appendResult(options.out, result);
        const shown = wrong.find(({ rule }) => shows.includes(rule));
        if (shown)
          return { isCaught: true, text: `The build ${name} is caught by seed ${seed}: ${renderFinding(shown)}` };
        for (const { rule } of wrong) beside.add(rule);
        // What it left is no ground for another run.
        if (wrong.length > 0) await grounds.clear('remove');
      }
      const others = beside.size > 0 ? ` Found, and no sign of what it lacks: ${[...beside].join(', ')}.` : '';
      return { isCaught: false, text: `The build ${name} gets through ${seeds.length} seeds.${others}` };
    } finally {
      await grounds.clear('remove');
    }
  });
}

async function withBuild<T>(
  name: string,
  edits: Parameters<typeof makeBuild>[1],
  work: (root: string) => Promise<T>,
): Promise<T> {
  const root = await makeBuild(join(tmpdir(), `edge-chaos-${process.pid}-${name}`), edits);
  try {
    return await work(root);
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}

async function sweepOver(options: ChaosOptions, which: string): Promise<number> {
  const names = SWEEP_NAMES.filter((name) => which === 'all' || which === name);
  if (names.length === 0) throw new Error(`There is no sweep ${which}. There are: ${SWEEP_NAMES.join(', ')}, all.`);
  return withBuild('halting', HALTING_BUILD, async (root) => {
    let wrong = 0;
    for (const name of names)
      wrong += await (name === 'train' ? sweepTrain(options, root) : sweepAside(options, root, name));
    return wrong > 0 ? 1 : 0;
  });
}

type Sweep = ReturnType<typeof createSweep>;
const missed = (sweep: Sweep): string[] => sweep.missing().map((name) => `Nobody got to this boundary: ${name}`);

function tellSweep(say: (line: string) => void, what: string, sweep: Sweep, wrong: readonly string[]): void {
  for (const each of wrong) say(`  WRONG ${each}`);
  say(`Sweep: ${sweep.kills.length} kills, ${what}, ${wrong.length} wrong.`);
}

async function sweepTrain(options: ChaosOptions, root: string): Promise<number> {
  const { say } = options;
  const grounds = await groundsOf(options, root, 'sweep', 1);
  const ground = await grounds.prepare(SWEEP_PLAN);
  const sweep = createSweep('train', ground.dir, say);
  await sweep.prepare();
  const seen = await run(SWEEP_PLAN, ground, { beside: sweep.beside, limitMs: SWEEP_LIMIT_MS });
  const wrong = [...judge(seen).wrong.map(renderFinding), ...missed(sweep)];
  tellSweep(say, `train ${seen.train?.report?.state ?? 'without end'} in ${seen.seconds} s`, sweep, wrong);
  await leave(grounds, wrong.length > 0 ? { seen, dir: ground.dir, say } : undefined);
  return wrong.length;
}

async function sweepAside(options: ChaosOptions, root: string, name: 'rollback' | 'janitor'): Promise<number> {
  const { load, say } = options;
  const { startService } = await load(join(root, 'dist', 'workers', 'embedded', 'supervisor.js'));
  const dir = join(tmpdir(), `edge-chaos-${process.pid}`, `sweep-${name}`);
  await mkdir(dir, { recursive: true });
  const { given, swept } = name === 'rollback' ? ROLLBACK_SWEEP : JANITOR_SWEEP;
  const practice = await given({ dir, start: startService });
  const wrong: string[] = [];
  try {
    const sweep = createSweep(name, dir, say);
    await sweep.prepare();
    const over = new AbortController();
    const begun = performance.now();
    const aside = sweep.beside(practice, over.signal);
    wrong.push(...(await swept(practice).finally(() => over.abort())));
    await aside;
    wrong.push(...missed(sweep));
    tellSweep(say, `${name} in ${Math.round((performance.now() - begun) / 1_000)} s`, sweep, wrong);
  } finally {
    await practice.stop();
  }
  if (wrong.length === 0) await rm(dir, { recursive: true, force: true });
  else say(`  All of it is kept in ${dir}.`);
  return wrong.length;
}

/** What a failed run leaves is what people look into, and no ground for another run. */
async function leave(
  grounds: Grounds,
  failed: { seen: Seen; dir: string; say: (line: string) => void } | undefined,
): Promise<void> {
  if (!failed) return grounds.clear('remove');
  await grounds.clear('keep');
  await writeFile(join(failed.dir, 'seen.json'), JSON.stringify(failed.seen, undefined, 1));
  failed.say(`  All of it is kept in ${failed.dir}.`);
}

async function oneRun(options: {
  seed: number;
  build: string;
  grounds: Grounds;
  say: (line: string) => void;
}): Promise<{ result: Result; wrong: Finding[] }> {
  const { seed, build, grounds, say } = options;
  const plan = planOf(seed);
  say(renderPlan(plan));
  const ground = await grounds.prepare(plan);
  const seen = await run(plan, ground);
  const { wrong, hits } = judge(seen);
  const works = worksOf(plan.kind);
  const state = works.map((work) => `${work} ${seen[work]?.report?.state ?? 'without end'}`).join(', ');
  const result: Result = {
    seed,
    build,
    kind: plan.kind,
    ok: wrong.length === 0,
    state,
    seconds: seen.seconds,
    stores: plan.stores,
    faults: plan.faults.map(({ cell }) => cellName(cell)),
    hits,
    wrong: wrong.map(renderFinding),
  };
  const outcomes = works.map((work) => outcomesOf(seen[work]?.report?.tally));
  say(
    `  → ${state} (${outcomes.join('; ')}) in ${seen.seconds} s; hit: ${hits.join(', ') || 'nothing'}; said: ${seen.said.join(', ') || 'nothing'}`,
  );
  for (const each of result.wrong.slice(0, 20)) say(`  WRONG ${each}`);
  // A broken build that was caught is what was wanted; there is nothing to look into.
  if (!result.ok && build === 'sound') {
    await leave(grounds, { seen, dir: ground.dir, say });
    say(`  Again: npm run test:chaos -- --seed ${seed} --runs 1`);
  }
  return { result, wrong };
}

const outcomesOf = (tally: Tally | undefined): string =>
  happened(tally ?? emptyTally())
    .map((outcome) => `${tally?.[outcome]} ${OUTCOME_WORDS[outcome]}`)
    .join(', ');
