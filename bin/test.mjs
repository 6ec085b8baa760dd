/**
 * `npm test`: the checks, then every test. The last line is `N passed, N failed`.
 * `--only PROJECT` runs one project (`unit`, `contract`, `workflows`, `acceptance`, `chaos`, `real`) or `checks`; `--real` adds
 * the tests against real Ceph and OpenSSH, which are skipped where those are not installed. All other arguments go to
 * vitest.
 */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT, enter, ready } from './lib/ready.mjs';
import { SetupError, say } from './lib/steps.mjs';
import { addCounts, countReport, summary } from './lib/test-report.mjs';

const PROJECTS = ['unit', 'contract', 'workflows', 'acceptance', 'chaos'];
const REAL = 'real';
const NEEDS_NO_SERVER = ['unit', 'checks', REAL];

await enter(async () => {
  const { only, projects, rest } = parse(process.argv.slice(2));
  await ready();
  if (only === undefined || !NEEDS_NO_SERVER.includes(only)) await prepareTemporal();
  const checks = only === undefined || only === 'checks' ? await runChecks() : undefined;
  const tests = only === 'checks' ? undefined : await runTests(projects, rest);
  const total = addCounts([checks, tests].filter((counts) => counts !== undefined));
  process.stdout.write(`${summary(total)}\n`);
  return total.failed === 0 ? 0 : 1;
});

function parse(argv) {
  const args = argv.filter((arg) => arg !== '--real');
  const at = args.indexOf('--only');
  if (at < 0)
    return { only: undefined, projects: args.length < argv.length ? [...PROJECTS, REAL] : PROJECTS, rest: args };
  const only = args[at + 1];
  const choices = [...PROJECTS, REAL, 'checks'];
  if (!choices.includes(only)) throw new SetupError(`--only takes one of: ${choices.join(', ')}.`, 2);
  return { only, projects: [only], rest: args.toSpliced(at, 2) };
}

/** On a new machine this takes minutes, which no test should spend in its time limit. Those that need it say what is missing. */
async function prepareTemporal() {
  const { findTemporalCli } = await import('../dist/workers/embedded/temporal-cli.js');
  await findTemporalCli({ env: process.env, say }).catch((error) => say(error.message));
}

/** A failed check counts as one failure, so that the last line never says 0 failed of a run that failed. */
async function runChecks() {
  const code = await show('npm', ['run', '--silent', 'check']);
  if (code === 0) return { passed: 0, failed: 0, skipped: 0 };
  process.stdout.write('npm run check failed: see above.\n');
  return { passed: 0, failed: 1, skipped: 0 };
}

async function runTests(projects, rest) {
  const folder = mkdtempSync(join(tmpdir(), 'edge-test-'));
  const report = join(folder, 'report.json');
  const vitest = join(ROOT, 'node_modules', 'vitest', 'vitest.mjs');
  try {
    const code = await show(process.execPath, [
      vitest,
      'run',
      ...projects.map((project) => `--project=${project}`),
      '--reporter=default',
      '--reporter=json',
      `--outputFile.json=${report}`,
      ...rest,
    ]);
    return countReport(existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : undefined, code);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function show(command, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}
