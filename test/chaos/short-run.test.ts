import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { ROOT } from '../support/build.js';
import { readResults } from './results.js';

/** The first seeds of the suite; a busy machine gets through fewer of them in the time that a test may take. */
const RUNS = 3;
const BEGIN_WITHIN = 75;

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'edge-chaos-short-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it('comes through the first seeds of chaos with nothing lost, nothing twice and nothing left set', async () => {
  const out = join(dir, 'results.jsonl');
  const args = ['--seed', '1', '--runs', String(RUNS), '--within', String(BEGIN_WITHIN), '--out', out];
  const { all } = await execa(process.execPath, [join(ROOT, 'test', 'chaos', 'run.mjs'), ...args], {
    cwd: ROOT,
    all: true,
    reject: false,
    stdin: 'ignore',
  });
  const results = await readResults(out);
  expect(results.length, all).toBeGreaterThan(0);
  expect(results.flatMap(({ seed, wrong }) => wrong.map((each) => `seed ${seed}: ${each}`), all)).toEqual([]);
  expect(results.flatMap(({ hits }) => hits)).not.toEqual([]);
});
