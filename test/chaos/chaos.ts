import { mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cacheFolder } from '#workers/embedded/cache-folder.js';
import { ROOT } from '../support/build.js';
import { BROKEN_NAMES, makeBrokenBuild, type BrokenBuild } from './broken.js';
import { run, type RunOptions } from './drive.js';
import { sweep } from './sweep.js';
import { judge } from './judge.js';
import { planOf, renderPlan } from './plan.js';
import { appendResult, readResults, renderCoverage, type Result } from './results.js';
import { cellName, impossibleCells } from './table.js';

export interface ChaosOptions {
  seed: number;
  runs: number;
  /** Undefined: the file in the user's cache. */
  out: string | undefined;
  /** A name of `broken.ts`, or `all`. */
  broken: string | undefined;
  /** Kills each worker at each activity, instead of what seeds say. */
  sweep: boolean;
  /** Seconds after which no further run is begun. */
  within: number | undefined;
  /** Whether runs that stand in the file already are left out. */
  goOn: boolean;
  load: (file: string) => Promise<{ startService: RunOptions['start'] }>;
  say: (line: string) => void;
}

/** Within so many seeds a broken build has to be caught. */
const SEEDS_TO_CATCH = 30;

/** The exit code. */
export async function chaos(options: ChaosOptions): Promise<number> {
  const impossible = impossibleCells();
  if (impossible.length > 0) throw new Error(`The table of the chaos suite does not fit: ${impossible.join('; ')}`);
  if (options.broken !== undefined) return catchBroken(options, options.broken);
  if (options.sweep) return sweepOnce(options);

  const out = options.out ?? join(cacheFolder(process.env), 'chaos', 'results.jsonl');
  const known = await readResults(out);
  const done = new Set(known.filter(({ build }) => build === 'sound').map(({ seed }) => seed));
  const { startService } = await options.load(supervisorIn(ROOT));
  const until = performance.now() + (options.within ?? Infinity) * 1_000;
  let begun = 0;
  let failed = 0;
  for (let seed = options.seed; begun < options.runs && performance.now() < until; seed += 1, begun += 1) {
    while (options.goOn && done.has(seed)) seed += 1;
    const result = await oneRun({ ...options, seed, build: 'sound', start: startService });
    await appendResult(out, result);
    known.push(result);
    if (!result.ok) failed += 1;
  }
  for (const line of renderCoverage(known)) options.say(line);
  options.say(`Results: ${out}`);
  options.say(`${begun - failed} of ${begun} runs are good.`);
  return failed === 0 ? 0 : 1;
}

async function catchBroken(options: ChaosOptions, broken: string): Promise<number> {
  const names = BROKEN_NAMES.filter((name) => broken === 'all' || broken === name);
  if (names.length === 0)
    throw new Error(`There is no broken build ${broken}. There are: ${BROKEN_NAMES.join(', ')}, all.`);
  const verdicts: string[] = [];
  for (const name of names) verdicts.push(await catchOne(options, name));
  for (const verdict of verdicts) options.say(verdict);
  return verdicts.every((verdict) => verdict.includes(' is caught ')) ? 0 : 1;
}

async function catchOne(options: ChaosOptions, name: BrokenBuild): Promise<string> {
  const dir = await makeBrokenBuild(name, join(tmpdir(), `edge-chaos-${process.pid}-${name}`));
  try {
    const { startService } = await options.load(supervisorIn(dir));
    for (let seed = options.seed; seed < options.seed + SEEDS_TO_CATCH; seed += 1) {
      const result = await oneRun({ ...options, seed, build: name, start: startService });
      if (options.out) await appendResult(options.out, result);
      if (!result.ok) return `The build ${name} is caught by seed ${seed}: ${result.wrong[0]}`;
    }
    return `The build ${name} gets through ${SEEDS_TO_CATCH} seeds.`;
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function sweepOnce({ load, say }: ChaosOptions): Promise<number> {
  const { startService } = await load(supervisorIn(ROOT));
  const dir = join(tmpdir(), `edge-chaos-${process.pid}`, 'sweep');
  await mkdir(dir, { recursive: true });
  const { seen, kills, missing } = await sweep({ dir, start: startService, say });
  const { wrong } = judge(seen);
  for (const kill of kills) say(`  killed ${kill}`);
  if (missing.length > 0) say(`Never seen at work, so not killed: ${missing.join(', ')}.`);
  for (const each of wrong) say(`  WRONG ${each}`);
  say(
    `Sweep: ${kills.length} kills, train ${seen.report?.state ?? 'without end'} in ${seen.seconds} s, ${wrong.length} wrong.`,
  );
  if (wrong.length > 0 || !seen.report) {
    await writeFile(join(dir, 'seen.json'), JSON.stringify(seen, undefined, 1));
    say(`All of it is kept in ${dir}.`);
    return 1;
  }
  await rm(dir, { recursive: true, force: true });
  return 0;
}

const supervisorIn = (dir: string): string => join(dir, 'dist', 'workers', 'embedded', 'supervisor.js');

async function oneRun(
  options: Pick<ChaosOptions, 'say'> & { seed: number; build: string; start: RunOptions['start'] },
): Promise<Result> {
  const { seed, build, start, say } = options;
  const plan = planOf(seed);
  say(renderPlan(plan));
  const dir = join(tmpdir(), `edge-chaos-${process.pid}`, `${build}-${seed}`);
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  const seen = await run({ plan, dir, start });
  const { wrong, hits } = judge(seen);
  const state = seen.report?.state ?? 'no end';
  const result: Result = {
    seed,
    build,
    ok: wrong.length === 0,
    state,
    seconds: seen.seconds,
    stores: plan.stores,
    faults: plan.faults.map(({ cell }) => cellName(cell)),
    hits,
    wrong,
  };
  const outcomes = Object.entries(seen.report?.tally ?? {}).flatMap(([name, n]) => (n > 0 ? [`${n} ${name}`] : []));
  say(
    `  → ${state} (${outcomes.join(', ')}) in ${seen.seconds} s; hit: ${hits.join(', ') || 'nothing'}; said: ${seen.said.join(', ') || 'nothing'}`,
  );
  for (const each of wrong.slice(0, 20)) say(`  WRONG ${each}`);
  // A broken build that was caught is what was wanted; there is nothing to look into.
  if (result.ok || build !== 'sound') {
    await rm(dir, { recursive: true, force: true });
  } else {
    await writeFile(join(dir, 'seen.json'), JSON.stringify(seen, undefined, 1));
    say(`  All of it is kept in ${dir}. Again: npm run test:chaos -- --seed ${seed} --runs 1`);
  }
  return result;
}
