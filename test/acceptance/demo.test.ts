import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { buildOnce } from '../support/build.js';
import { edge } from '../support/edge-process.js';
import { onNode } from '../support/on-node.js';
import { SOON } from '../support/soon.js';

/**
 * Demos as whoever types them sees them: processes of their own, not on a terminal, judged by what they say at the end.
 * Both run at once, since each of them mostly waits.
 */
const demo = (dir: string, ...args: string[]) => edge(dir, 'demo', ...args);
type Demo = ReturnType<typeof demo>;

let dirs: { drill: string; breach: string };
let drill: Demo;
let breach: Demo;
beforeAll(async () => {
  await buildOnce();
  const dirOf = (name: string) => mkdtemp(join(tmpdir(), `edge-${name}-`));
  dirs = { drill: await dirOf('drill'), breach: await dirOf('breach') };
  drill = demo(dirs.drill, '--rollback');
  breach = demo(dirs.breach, '--stores', '3', '--json');
});
afterAll(async () => {
  for (const process of [drill, breach]) process?.kill('SIGTERM');
  await Promise.all([drill, breach]);
  for (const dir of Object.values(dirs ?? {})) await rm(dir, { recursive: true, force: true });
});

/** The folder of the practice fleet, as soon as the demo that runs in `dir` is up. */
const labOf = (dir: string): Promise<string> =>
  vi.waitFor(async () => {
    const [made] = (await readdir(dir)).filter((name) => name.startsWith('edge-demo-'));
    const state = join(dir, made ?? 'not yet', 'state');
    await readFile(join(state, 'service.json'));
    return join(state, 'lab');
  }, SOON);

interface Told {
  good: boolean;
  struck: object;
  train: { state: string; stages: { stores: number; tally: { succeeded: number } }[] };
  journal: { rules: { id: string; violations: object[] }[] };
}

describe('edge demo', () => {
  it('fails when the journal does not hold, though its train came through a cut link and a killed worker', async () => {
    // Somebody tries what nobody may. The train does not know of it, the journal does.
    const { code } = await onNode(await labOf(dirs.breach), 'store-001', 'n1', ['sudo', '-n', 'halt']);
    expect(code).not.toBe(0);
    const { stdout, exitCode } = await breach;
    const told = JSON.parse(stdout.join('\n')) as Told;
    expect(told.train.state).toBe('done');
    expect(told.struck).toEqual({ cut: true, killed: true });
    const { stages } = told.train;
    expect(stages.map(({ tally }) => tally.succeeded)).toEqual(stages.map(({ stores }) => stores));
    expect(told.journal.rules.filter(({ violations }) => violations.length > 0)).toMatchObject([
      { id: 'no-refused-command', violations: [{ store: 'store-001' }] },
    ]);
    expect(told.good).toBe(false);
    expect(exitCode).toBe(1);
  });
});

describe('edge demo --rollback', () => {
  it('takes the bad release back from all pilots, says so in plain lines, and leaves nothing behind', async () => {
    const { stdout, stderr, exitCode } = await drill;
    const [good, bad] = [String.raw`2026\.48\.0`, String.raw`2026\.49\.0`];
    const matching = (pattern: string) => expect.stringMatching(new RegExp(`^${pattern}$`)) as string;
    expect(stdout[0]).toMatch(/^Edge Governor demo: 7 practice stores \(21 nodes\), release 2026\.48\.0, /);
    expect(stdout.slice(stdout.findIndex((line) => line.startsWith('Taken back in ')))).toEqual([
      matching(`Taken back in .+\\. Rolled back from ${bad}.*`),
      matching(' +store +before +canary +now'),
      ...Array.from({ length: 5 }, () => matching(` +store-00\\d +${good} +${bad} +${good}`)),
      expect.stringContaining('what the nodes have installed and run'),
      '2 of 2 stores behind the canary untouched.',
      matching('Git: tag edge/\\S+/rollback is the tip of main; all promotions of the train are reverted\\.'),
      matching("Practice fleet's own journal: [\\d,]+ effects, [1-9]\\d* rules, 0 violations\\."),
      expect.stringContaining('edge demo --keep'),
    ]);
    expect([...stdout, ...stderr].join('')).not.toContain('\u001b');
    expect(exitCode).toBe(0);
    expect(await readdir(dirs.drill)).toEqual([]);
  });
});
