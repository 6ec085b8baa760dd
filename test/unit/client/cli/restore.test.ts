import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliFailure } from '#client/cli/failure.js';
import { run, type CommandResult } from '#client/cli/main.js';
import { addRestore, type Outside } from '#client/cli/restore.js';
import type { ServiceFile } from '#client/cli/service-file.js';
import type { Operations } from '#client/operations.js';
import type { GuestBackupRow, RestoreTestRow } from '#domain/messages/ledger.js';
import type { RestoreStatus } from '#domain/restore-status.js';
import type { Ledger } from '#systems/ledger/types.js';
import { fakeIo } from './fake-io.js';

let dir: string;
let repo: string;
/** A store of the repo as `edge init` writes it, and its guests. */
let store: string;
let vmids: number[];
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'edge-restore-'));
  expect(await run(['init', 'edge-infra', '--stores', '8'], fakeIo({ cwd: dir }))).toBe(0);
  repo = join(dir, 'edge-infra');
  const { guests } = JSON.parse((await edge(['status', '--json'])).out) as RestoreStatus;
  store = guests[0]?.store ?? '';
  vmids = guests.filter((guest) => guest.store === store).map(({ vmid }) => vmid);
  expect(vmids.length).toBeGreaterThan(0);
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** One command, with a ledger that knows no more than it is given, and a service whose repo may be on this machine. */
async function edge(
  argv: string[],
  repoOfService?: string,
  newest: RestoreTestRow[] = [],
  known: Partial<GuestBackupRow>[] = [],
) {
  const io = fakeIo({ cwd: repo, env: { EDGE_DATABASE_URL: 'postgresql://nowhere/edge', EDGE_FLEET: 'edge' } });
  const ledger = {
    guestBackups: () => Promise.resolve(known),
    newestRestores: () => Promise.resolve(newest),
    restoreHistory: () => Promise.resolve([]),
  } as unknown as Ledger;
  const started: unknown[] = [];
  const restores = {
    start: (asked: unknown) => {
      started.push(asked);
      return Promise.resolve({ workflowId: 'restore/edge/by-hand', runId: 'r' });
    },
  };
  const service = { repo: repoOfService, fleet: 'edge' } as unknown as ServiceFile;
  const outside: Outside = {
    open: (_, __, work) =>
      work({
        client: {} as never,
        operations: { restores } as unknown as Operations,
        target: { address: 'here:7233', namespace: 'default', service, suffix: '' },
      }),
    ask: (_, __, read) => read(ledger),
  };
  const result: CommandResult = { exitCode: 0 };
  const program = new Command('edge').exitOverride();
  addRestore(program, io, result, outside);
  let error: CliFailure | undefined;
  try {
    await program.parseAsync(['restore', ...argv], { from: 'user' });
  } catch (thrown) {
    if (!(thrown instanceof CliFailure)) throw thrown;
    error = thrown;
  }
  return { code: error?.exitCode ?? result.exitCode, out: io.stdout(), error: error?.message ?? '', started };
}

describe('edge restore run', () => {
  it('refuses a store that the fleet does not have before anything is started, and names some that it has', async () => {
    const { code, error, started } = await edge(['run', '--store', `${store},nowhere`, '--detach'], repo);
    expect([code, started]).toEqual([2, []]);
    expect(error).toMatch(new RegExp(`^nowhere is not a store of edge; it has ${store}, .* and 3 more$`));
  });

  it('refuses a guest that the store does not have, and names those that it has', async () => {
    const { code, error, started } = await edge(['run', '--store', store, '--guest', '999', '--detach'], repo);
    expect([code, started]).toEqual([2, []]);
    expect(error).toBe(`${store} has no guest 999; it has ${vmids.join(', ')}`);
  });

  it('lets nothing of a name reach the terminal but its letters', async () => {
    const { code, error } = await edge(['run', '--store', 'x\u001b[2Jy', '--detach'], repo);
    expect(code).toBe(2);
    expect(error).not.toContain('\u001b');
  });

  it.each([
    ['the fleet has them', () => [store, String(vmids[0]), repo]],
    ['the repo of the service is elsewhere, and the run itself will tell', () => ['nowhere', '999', undefined]],
    ['the repo cannot be read, and the run itself will tell', () => ['nowhere', '999', join(dir, 'gone')]],
  ] as const)('starts the run when %s', async (_, given) => {
    const [name = '', vmid = '', from] = given();
    const { code, error, started } = await edge(['run', '--store', name, '--guest', vmid, '--detach'], from);
    expect([code, error]).toEqual([0, '']);
    expect(started).toMatchObject([{ fleet: 'edge', stores: [name], vmids: [Number(vmid)] }]);
  });
});

describe('edge restore status', () => {
  it('ends with 1, in the table and in --json, when a guest failed though all passed in the weeks of their tiers', async () => {
    const { guests } = JSON.parse((await edge(['status', '--json'])).out) as RestoreStatus;
    const testedAt = (minutes: number): string => new Date(fakeIo().now().getTime() - minutes * 60_000).toISOString();
    const trials = guests.map(({ store: id, vmid, name, class: kind, tier }): RestoreTestRow => ({
      ...{ run: 'r', store: id, vmid, fleet: 'edge', name, class: kind, tier, why: 'due' },
      result: 'pass',
      testedAt: testedAt(2),
    }));
    const all = await edge(['status'], undefined, trials);
    expect([all.code, all.out]).toEqual([0, expect.stringContaining('Every guest was had back')]);
    const failed: RestoreTestRow = {
      ...trials[0]!,
      result: 'fail',
      text: 'Chunk 12ab is damaged.',
      testedAt: testedAt(1),
    };
    const one = await edge(['status', '--json'], undefined, [...trials, failed]);
    expect(one.code).toBe(1);
    expect((JSON.parse(one.out) as RestoreStatus).guests[0]).toMatchObject({ state: 'failed', failed });
    expect((await edge(['status'], undefined, [...trials, failed])).code).toBe(1);
  });

  it('ends with 0 as long as guests that were never tested have time, and with 1 when nobody knows since when they wait', async () => {
    const unseen = await edge(['status', '--json']);
    expect(unseen.code).toBe(1);
    const { guests } = JSON.parse(unseen.out) as RestoreStatus;
    const knownSince = (days: number) =>
      guests.map(({ store: id, vmid, name, tier }) => ({
        ...{ store: id, vmid, name, tier, kind: 'qemu' as const, rpoLocalMs: 0, seenAt: fakeIo().now().toISOString() },
        firstSeen: new Date(fakeIo().now().getTime() - days * 86_400_000).toISOString(),
      }));
    const codes = async (known: Partial<GuestBackupRow>[]) => [
      (await edge(['status'], undefined, [], known)).code,
      (await edge(['status', store, '--guest', String(vmids[0])], undefined, [], known)).code,
    ];
    expect(await codes(knownSince(1))).toEqual([0, 0]);
    expect(await codes(knownSince(365))).toEqual([1, 1]);
    expect(await codes(knownSince(1).slice(1))).toEqual([1, 1]);
  });

  it('of a guest that there is not says which there are', async () => {
    const { code, error } = await edge(['status', store, '--guest', '7']);
    expect(code).toBe(2);
    expect(error).toBe(`No guest 7 is known there. There are: ${vmids.join(', ')}`);
  });
});
