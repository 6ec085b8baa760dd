import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildOnce } from '../support/build.js';
import { edge } from '../support/edge-process.js';

/** The demo of a night as whoever types it sees it: one store for each trouble, and one that is well. */
let dir: string;
let demo: ReturnType<typeof edge> | undefined;
beforeAll(async () => {
  await buildOnce();
  dir = await mkdtemp(join(tmpdir(), 'edge-night-'));
});
afterAll(async () => {
  demo?.kill('SIGTERM');
  await demo;
  await rm(dir, { recursive: true, force: true });
});

const WELL = 'ok/ok';
const NEVER = 'never/never';
const UNKNOWN = 'unknown/unknown';

describe('edge demo backup', () => {
  it('makes four kinds of trouble, tells each store as it is, has guests back, and leaves nothing behind', async () => {
    demo = edge(dir, 'demo', 'backup', '--stores', '5');
    const { stdout, stderr, exitCode } = await demo;
    expect(stdout[0]).toMatch(/^Edge Governor demo: 5 practice stores /);
    const verdict = stdout.findIndex((line) => /^(NOT TOLD|Told) AS IT WAS/i.test(line));
    expect(stdout.slice(verdict, verdict + 7)).toEqual([
      matching(/^Told as it was, in .+\. 1 of 5 stores backed up and verified; 3 failed, 1 offline\.$/),
      row('store', 'what was wrong', 'the night says', 'its guests, here/second place', 'restored'),
      row('store-001', 'guest 101 is locked by somebody else', 'BackupIncomplete', guests(NEVER, WELL, WELL)),
      row('store-002', 'the disk of its backup server is full', 'DatastoreFull', guests(NEVER, NEVER, NEVER)),
      row(
        'store-004',
        'a new backup of guest 101 rots before it is verified',
        'BackupVerifyFailed',
        guests(NEVER, WELL, WELL),
      ),
      row('store-005', 'its link is cut', 'StoreOffline', guests(UNKNOWN, UNKNOWN, UNKNOWN)),
      '  all other stores: 1 of 1 store ok, here and in the second place',
    ]);
    expect(stdout).toContainEqual(
      matching(/^Restore tests: \d+ of [1-9]\d* guests? had back from the second place\. /),
    );
    expect(stdout).toContainEqual(
      matching(/^Practice fleet's own journal: [\d,]+ effects, [1-9]\d* rules, 0 violations\.$/),
    );
    expect([...stdout, ...stderr].join('')).not.toContain('\u001b');
    expect(exitCode).toBe(0);
    expect(await readdir(dir)).toEqual([]);
  });
});

const guests = (...states: string[]): string => states.map((state, i) => `${101 + i} ${state}`).join(', ');
const matching = (pattern: RegExp): string => expect.stringMatching(pattern) as string;

/** The first cells of a row. Which guests were restored, in the last one, is another matter each week. */
const row = (...cells: string[]): string => matching(new RegExp(`^ +${cells.join(' +')}( {2}|$)`));
