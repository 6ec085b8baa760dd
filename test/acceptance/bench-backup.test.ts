import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildOnce } from '../support/build.js';
import { edge } from '../support/edge-process.js';

/** The measured night as whoever types it sees it. What its figures come to is no matter here. */
let dir: string;
let bench: ReturnType<typeof edge> | undefined;
beforeAll(async () => {
  await buildOnce();
  dir = await mkdtemp(join(tmpdir(), 'edge-bench-'));
});
afterAll(async () => {
  bench?.kill('SIGTERM');
  await bench;
  await rm(dir, { recursive: true, force: true });
});

const row = (...cells: string[]): string =>
  expect.stringMatching(new RegExp(String.raw`^\| ${cells.join(String.raw` \| `)} \|$`)) as unknown as string;
const SOME = String.raw`[1-9]\d*`;

describe('edge bench --backup', () => {
  it('has every guest proven here and there, and says what the night, its waves, its processes and a store cost', async () => {
    bench = edge(dir, 'bench', '--backup', '--stores', '2');
    const { stdout, exitCode } = await bench;
    expect(stdout).toEqual(
      expect.arrayContaining([
        // Stores, those that succeeded, guests, those that are proven; and at the end the violations.
        row('2', '2', '8', '8', String.raw`\d+ s`, String.raw`\d+`, SOME, SOME, SOME, '0'),
        row('2', 'backup/edge/by-hand', SOME, String.raw`\d+ kB`, SOME),
        row('2', String.raw`backup-\S+/backup/r0`, SOME, String.raw`\d+ kB`, SOME),
        ...['lab', 'ledger', 'temporal', 'stores-1', 'offsite', 'control'].map((name) =>
          row('2', name, String.raw`\d+ s`, `${SOME} MB`),
        ),
        row('dumpNode', '3'),
        row('sendCopy', '1'),
        row('verifyCopy', '2'),
      ]),
    );
    expect(exitCode).toBe(0);
    expect(await readdir(dir)).toEqual([]);
  });
});
