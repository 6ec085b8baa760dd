import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { runProgram } from '#systems/programs/run.js';
import { createLocalRunner } from '#systems/ssh/local.js';
import { isRunning, recordOf } from '#workers/processes.js';
import { buildOnce, ROOT } from '../../../support/build.js';
import { SOON } from '../../../support/soon.js';
import { useTempDir } from '../../../support/temp-dir.js';
import { kindOf } from '../ssh/runner-suite.js';

const tempDir = useTempDir();
const sh = (script: string): [string, string[]] => ['sh', ['-c', script]];
const GENEROUS = { timeoutMs: 60_000 };

/** A script that starts what sleeps for an hour and holds its output open, and writes down which process that is. */
const leaves = (file: string, then: string) => `sleep 3600 & echo $! > ${file}.new; mv ${file}.new ${file}; ${then}`;

async function processIn(file: string): Promise<{ isGone: () => boolean; end: () => void }> {
  await vi.waitUntil(() => existsSync(file), SOON);
  const record = recordOf(Number(await readFile(file, 'utf8')));
  return { isGone: () => !isRunning(record), end: () => process.kill(record.pid, 'SIGKILL') };
}

describe('a program of this machine', () => {
  it.each([
    ['while it waits for it', 'wait'],
    ['although it has ended itself', 'exit 0'],
    ['and does not hear the first request', 'wait', 'trap "" TERM; '],
  ])('that runs out of time is ended with what it has started, %s', async (_how, then, first = '') => {
    const file = join(await tempDir(), 'pid');
    const running = runProgram(...sh(first + leaves(file, then)), { timeoutMs: 500 });
    const sleeper = await processIn(file);
    expect(await running).toEqual({ kind: 'timedOut' });
    await vi.waitUntil(sleeper.isGone, SOON);
  });

  it('is ended with what it has started when the caller gives up', async () => {
    const file = join(await tempDir(), 'pid');
    const abort = new AbortController();
    const running = runProgram(...sh(leaves(file, 'wait')), { ...GENEROUS, signal: abort.signal });
    const sleeper = await processIn(file);
    expect(sleeper.isGone()).toBe(false);
    abort.abort();
    expect(await running).toEqual({ kind: 'aborted' });
    await vi.waitUntil(sleeper.isGone, SOON);
  });

  it('is not started when the caller has given up before', async () => {
    const file = join(await tempDir(), 'ran');
    const end = await runProgram('touch', [file], { ...GENEROUS, signal: AbortSignal.abort() });
    expect(end).toEqual({ kind: 'aborted' });
    expect(existsSync(file)).toBe(false);
  });

  it('is not waited for beyond its time when what it left holds its output from another session', async () => {
    const file = join(await tempDir(), 'pid');
    const running = runProgram(...sh(`exec setsid sh -c 'echo $$ > ${file}; exec sleep 3600' &`), { timeoutMs: 500 });
    const sleeper = await processIn(file);
    try {
      expect(await running).toEqual({ kind: 'timedOut' });
    } finally {
      sleeper.end();
    }
  });

  it('that ends in time leaves alone what it meant to leave', async () => {
    const file = join(await tempDir(), 'pid');
    const end = await runProgram(...sh(`sleep 3600 > /dev/null 2>&1 & echo $! > ${file}`), GENEROUS);
    expect(end).toMatchObject({ kind: 'ended', code: 0 });
    const left = await processIn(file);
    expect(left.isGone()).toBe(false);
    left.end();
  });

  it.each([
    ['sh', ['-c', 'echo out; echo err >&2; exit 3'], { kind: 'ended', code: 3 }],
    ['sh', ['-c', 'kill -9 $$'], { kind: 'killed', signal: 'SIGKILL' }],
    ['no-such-program-here', [], { kind: 'notStarted', code: 'ENOENT' }],
    ['head', ['-c', '20000', '/dev/zero'], { kind: 'tooMuchOutput' }],
  ])('answers how it ended: %s %j', async (program, args, end) => {
    expect(await runProgram(program, args, { ...GENEROUS, maxBuffer: 10_000 })).toMatchObject(end);
  });
});

describe('the local runner', () => {
  it('does not wait for what a command that ran out of time has left', async () => {
    const file = join(await tempDir(), 'pid');
    const runner = createLocalRunner();
    const running = kindOf(runner.run(['sh', '-c', leaves(file, 'wait')], { timeoutMs: 500 }));
    const sleeper = await processIn(file);
    expect(await running).toBe('CommandTimeout');
    await vi.waitUntil(sleeper.isGone, SOON);
  });

  it('ends what still runs when it is closed', async () => {
    const file = join(await tempDir(), 'pid');
    const runner = createLocalRunner();
    const running = kindOf(runner.run(['sh', '-c', leaves(file, 'wait')]));
    const sleeper = await processIn(file);
    await runner.close();
    expect(await running).toBe('Aborted');
    await vi.waitUntil(sleeper.isGone, SOON);
  });
});

describe('a process that ends while its programs run', () => {
  beforeAll(buildOnce, 240_000);
  const MODULE = JSON.stringify(join(ROOT, 'dist', 'systems', 'programs', 'run.js'));

  it.each([
    ['by itself', 'setInterval(() => existsSync(file) && process.exit(0), 20);', undefined],
    // It hears the signal when it has started its program, and not in the middle of that.
    [
      'by a signal that it does not know',
      "setInterval(() => existsSync(file) && writeFileSync(file + '.on', ''), 20);",
      'SIGINT',
    ],
  ] as const)('%s takes them with it', async (_how, then, signal) => {
    const file = join(await tempDir(), 'pid');
    const program = [
      `import { existsSync, writeFileSync } from 'node:fs'; import { runProgram } from ${MODULE};`,
      `const file = ${JSON.stringify(file)};`,
      `void runProgram('sh', ['-c', ${JSON.stringify(leaves(file, 'wait'))}], { timeoutMs: 3_600_000 });`,
      then,
    ].join('\n');
    const ours = spawn(process.execPath, ['--input-type=module', '-e', program], { stdio: 'inherit' });
    const ended = once(ours, 'exit');
    const sleeper = await processIn(file);
    if (signal) {
      await vi.waitUntil(() => existsSync(`${file}.on`), SOON);
      ours.kill(signal);
    }
    await ended;
    await vi.waitUntil(sleeper.isGone, SOON);
  });
});
