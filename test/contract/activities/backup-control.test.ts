import { execFileSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createControlActivities } from '#activities/control.js';
import { initRepo } from '#client/repo/template.js';
import type { NightCare } from '#domain/messages/backup.js';
import type { GuestBackupRow, RestoreTestRow } from '#domain/messages/ledger.js';
import type { ControlActivities } from '#domain/messages/train.js';
import { emptyTally } from '#domain/outcomes.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openLedger } from '#systems/ledger/client.js';
import type { Ledger } from '#systems/ledger/types.js';
import { databaseKinds, execute, type TestDatabase } from '../../support/databases.js';
import { memoryObjects } from '../../support/memory-objects.js';

/** What the centre knows and decides of backups, with a real repo and ledger. */

const HOUR = 3_600_000;
const NOW = new Date('2026-11-26T12:00:00Z');
const ago = (hours: number): string => new Date(NOW.getTime() - hours * HOUR).toISOString();
const STORES = ['store-001', 'store-002'];
const GUESTS: [vmid: number, name: string][] = [
  [101, 'pos'],
  [102, 'inventory'],
  [103, 'cache'],
];

let root: string;
let dir: string;
let first: string;
let database: TestDatabase;
let ledger: Ledger;
let control: ControlActivities;
let cares: NightCare[] = [];
const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
const run = <I, O>(activity: (input: I) => Promise<O>, input: I): Promise<O> => environment.run(activity, input);
const git = (...args: string[]): string =>
  execFileSync('git', ['-C', dir, '-c', 'user.name=Ann', '-c', 'user.email=ann@example.org', ...args])
    .toString()
    .trim();

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'edge-backup-control-'));
  dir = join(root, 'repo');
  first = await initRepo(dir, { stores: STORES.length });
  database = await databaseKinds[0]!.create();
  ledger = await openLedger(database.url);
  control = createControlActivities({
    repo: openGitRepo({ dir }),
    branch: 'main',
    objects: memoryObjects(),
    ledger,
    isRunning: () => Promise.resolve(false),
    nightCares: () => Promise.resolve(cares),
    inWork: () => Promise.resolve([]),
    tell: () => Promise.resolve(),
    now: () => NOW,
  });
});
afterAll(async () => {
  await ledger.close();
  await database.drop();
  await rm(root, { recursive: true, force: true });
});
beforeEach(async () => {
  git('reset', '--quiet', '--hard', first);
  await execute(database.url, 'TRUNCATE nights, guest_backups, datastores, restore_tests');
});

/** Every guest of every store, proven so many hours ago, here and in the second place. */
const backedUp = (hours: number, change: (row: GuestBackupRow) => Partial<GuestBackupRow> = () => ({})) =>
  ledger.recordGuestBackups(
    STORES.flatMap((store) =>
      GUESTS.map(([vmid, name]) => {
        const row: GuestBackupRow = {
          fleet: 'edge',
          store,
          vmid,
          name,
          kind: vmid === 103 ? 'lxc' : 'qemu',
          tier: 'normal',
          rpoLocalMs: 26 * HOUR,
          rpoOffsiteMs: 50 * HOUR,
          local: { readAt: ago(hours), provenAt: ago(hours) },
          offsite: { readAt: ago(hours), provenAt: ago(hours) },
          firstSeen: ago(10_000),
          seenAt: ago(hours),
        };
        return { ...row, ...change(row) };
      }),
    ),
  );

describe('the plan of a night', () => {
  const ask = (startedAt: string) => run(control.planNight, { fleet: 'edge', startedAt });
  const nightOf = async (startedAt: string): Promise<string> => {
    const outcome = await ask(startedAt);
    if (outcome.kind === 'refused') throw new Error(outcome.problems.join('; '));
    const { night, commit, opens, closes, stores } = outcome.plan;
    const row = { id: night, fleet: 'edge', state: 'running', commit, opens, closes, stores: stores.length };
    await ledger.recordNight({ ...row, tally: emptyTally(), startedAt });
    return night;
  };

  it('has an id of its own, also when the same window was asked for by hand before', async () => {
    const byHand = await nightOf('2026-11-26T11:00:00.000Z');
    const scheduled = await nightOf('2026-11-26T21:00:01.000Z');
    expect([byHand, scheduled]).toEqual(['night-2026-11-26', 'night-2026-11-26-2']);
  });

  it('leaves the stores that another night of the same window has to that one', async () => {
    const opens = '2026-11-26T21:00:00.000Z';
    cares = [
      { night: 'night-2026-11-26', opens, stores: ['store-001', 'store-999'] },
      { night: 'backup-20261126-120000', stores: STORES },
      { night: 'night-2026-11-25', opens: '2026-11-25T21:00:00.000Z', stores: STORES },
    ];
    const outcome = await ask('2026-11-26T21:00:01.000Z');
    cares = [];
    expect(outcome).toMatchObject({
      kind: 'planned',
      plan: { stores: [{ id: 'store-002' }], leftTo: [{ night: 'night-2026-11-26', stores: 1 }], excluded: [] },
    });
  });

  it('keeps its id when it is asked for again after a crash', async () => {
    const startedAt = '2026-11-26T21:00:01.000Z';
    expect([await nightOf(startedAt), await nightOf(startedAt)]).toEqual(['night-2026-11-26', 'night-2026-11-26']);
  });
});

/** A restore of the till of a store, so many hours ago. */
const tried = (store: string, hours: number, change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
  ...{ run: `run-${hours}`, store, vmid: 101, fleet: 'edge', name: 'pos', class: 'pos', tier: 'till', why: 'due' },
  result: 'pass',
  snapshotAt: ago(hours + 10),
  testedAt: ago(hours),
  ...change,
});

describe('whether stores could be had back', () => {
  const limits = { backupYoungerThan: 48 * HOUR, restoreYoungerThan: 90 * 24 * HOUR };
  const judged = async () => {
    const { skipped, overrides } = await run(control.judgeRecoverability, { commit: first, limits, stores: STORES });
    return {
      skipped: skipped.map(({ store, stop }) => `${store} ${stop.reason}`),
      detail: skipped.flatMap(({ stop }) => stop.detail ?? []),
      overrides: overrides.map(({ override, stores }) => `${override.reason} ${override.by} ${stores.join(' ')}`),
    };
  };
  const overriding = async (override: object) => {
    await writeFile(
      join(dir, 'policies', 'overrides.yaml'),
      JSON.stringify({ schema: 'edge.overrides/v1', overrides: [override] }),
    );
    git('add', '--all');
    git('commit', '--quiet', '--message', 'override');
  };
  const both = { by: 'anna', approvedBy: 'bert', why: 'the central server was moved', at: ago(1), expires: ago(-24) };

  it('is refused for want of a backup by what the ledger knows of each guest', async () => {
    await backedUp(10, ({ store, vmid }) =>
      store === 'store-002' && vmid === 102 ? { local: { readAt: ago(1), provenAt: ago(49) }, offsite: undefined } : {},
    );
    const { skipped, detail } = await judged();
    expect(skipped).toEqual(['store-001 NoRestoreProof', 'store-002 NoRecentBackup']);
    expect(detail).toContain('guest 102 (inventory): the newest proven backup is 2 d 1 h old, the limit is 2 d');
  });

  it('is refused for a backup that a night found damaged in which nobody read who there is', async () => {
    await backedUp(10, () => ({ offsite: undefined }));
    const night = 'night-2026-11-26';
    const snapshotOf = (vmid: number, state: 'ok' | 'failed') => ({
      type: vmid === 103 ? ('ct' as const) : ('vm' as const),
      id: String(vmid),
      time: Date.parse(ago(10)) / 1_000,
      size: 1_000,
      encrypted: false,
      protected: false,
      night: 'night-2026-11-25',
      verification: { state, node: 'pbs-001', at: Date.parse(ago(2)) / 1_000 },
    });
    await run(control.record, {
      kind: 'copies',
      task: { fleet: 'edge', store: 'store-001', night, startedAt: ago(3) },
      local: { node: 'pbs-001', snapshots: [snapshotOf(101, 'failed'), snapshotOf(102, 'ok'), snapshotOf(103, 'ok')] },
      orders: { tiers: { normal: { local: 26 * HOUR } }, defaultTier: 'normal' },
      tiers: {},
      runs: [],
      refusal: 'Another operation held the store.',
      readAt: ago(1),
    });
    const { skipped, detail } = await judged();
    expect(skipped).toEqual(['store-001 NoRecentBackup', 'store-002 NoRestoreProof']);
    expect(detail).toContain('guest 101 (pos): no backup is proven, the limit is 2 d');
    const rows = await ledger.nightGuests(night);
    expect(rows.map(({ vmid, result, text }) => [vmid, result, text])).toEqual(
      GUESTS.map(([vmid]) => [vmid, 'nothing new', 'Another operation held the store.']),
    );
    expect((await ledger.guestBackups({ store: 'store-001' })).map(({ goneAt }) => goneAt)).toEqual(
      GUESTS.map(() => undefined),
    );
  });

  it('is refused to the one store whose own guest failed, though all classes were proven elsewhere', async () => {
    await backedUp(10);
    const passes = GUESTS.map(([vmid, name]) => tried('store-001', 20, { vmid, name, class: name }));
    await ledger.recordRestoreTests([...passes, tried('store-002', 30), tried('store-002', 25, { result: 'fail' })]);
    const { skipped, detail } = await judged();
    expect(skipped).toEqual(['store-002 NoRestoreProof']);
    expect(detail).toEqual(['guest 101 (pos): its own newest restore test failed']);
    await ledger.recordRestoreTests([tried('store-002', 2)]);
    expect((await judged()).skipped).toEqual([]);
  });

  it('is refused to a guest under a number that another one had, by whose backup and restore nothing is proven', async () => {
    await backedUp(10);
    const known = await ledger.guestBackups({ store: 'store-001' });
    const passes = GUESTS.map(([vmid, name]) => tried('store-001', 12, { vmid, name, class: name }));
    await ledger.recordRestoreTests(passes);
    expect((await judged()).skipped).toEqual([]);
    const seen = (hours: number, guests: GuestBackupRow[]) =>
      run(control.record, {
        kind: 'backups',
        store: 'store-001',
        at: ago(hours),
        guests: guests.map((row) => ({ ...row, firstSeen: ago(hours), seenAt: ago(hours) })),
        night: [],
      });
    await seen(8, known.slice(1));
    await seen(6, [{ ...known[0]!, name: 'kiosk' }, ...known.slice(1)]);
    expect(await ledger.guestBackups({ store: 'store-001' })).toMatchObject([
      { vmid: 101, name: 'kiosk', firstSeen: ago(6), ownSince: ago(8) },
      { vmid: 102, firstSeen: ago(10_000) },
      { vmid: 103 },
    ]);
    const { skipped, detail } = await judged();
    expect(skipped).toEqual(['store-001 NoRecentBackup']);
    expect(detail).toEqual(['guest 101 (pos): no backup is proven, the limit is 2 d']);
  });

  it('is refused for backups that lack disks, and still after a night that does better and brings nothing new', async () => {
    await backedUp(10, () => ({ offsite: undefined }));
    const recorded = async (at: string, leftOut?: GuestBackupRow['leftOut']) => {
      const known = await ledger.guestBackups({ store: 'store-001' });
      const guests = known.map(({ leftOut: _, ...row }) => ({
        ...row,
        local: { readAt: at, provenAt: ago(10) },
        seenAt: at,
        ...(leftOut && row.vmid === 101 ? { leftOut } : {}),
      }));
      await run(control.record, { kind: 'backups', store: 'store-001', at, guests, night: [] });
    };
    await recorded(ago(9), { disks: ['scsi1'], at: ago(9) });
    const first = await judged();
    expect(first.skipped).toEqual(['store-001 NoRecentBackup', 'store-002 NoRestoreProof']);
    expect(first.detail).toContain('guest 101 (pos): no backup is proven, the limit is 2 d');
    const [concern] = await run(control.backupConcerns, { fleet: 'edge' });
    expect(concern).toContain('the worst: store-001, guest 101 (pos): never');
    await recorded(ago(1));
    expect((await judged()).skipped).toEqual(first.skipped);
  });

  it('is refused when nobody has ever looked', async () => {
    expect((await judged()).skipped).toEqual(['store-001 NoRecentBackup', 'store-002 NoRecentBackup']);
  });

  it('is taken on by two people at the tip of the branch, for that reason, those stores and that time alone', async () => {
    await backedUp(10);
    await overriding({ ...both, reason: 'NoRestoreProof', stores: ['store-001'] });
    expect(await judged()).toMatchObject({
      skipped: ['store-002 NoRestoreProof'],
      overrides: ['NoRestoreProof anna store-001'],
    });
  });

  it.each([
    ['it has run out', { ...both, expires: ago(0.5) }],
    ['it is of another reason', { ...both, reason: 'NoRecentBackup' }],
    ['one person is both', { ...both, approvedBy: 'anna' }],
  ])('is not taken on when %s', async (_, override) => {
    await backedUp(10);
    await overriding({ reason: 'NoRestoreProof', ...override });
    expect(await judged()).toMatchObject({
      skipped: ['store-001 NoRestoreProof', 'store-002 NoRestoreProof'],
      overrides: [],
    });
  });
});

describe('what people are called for every night', () => {
  const concerns = () => run(control.backupConcerns, { fleet: 'edge' });

  it('is that nothing was ever heard of the backups', async () => {
    expect((await concerns())[0]).toMatch(/^Backups of 2 of 2 stores are not as they should be/);
  });

  it('is that the newest proof is older than its objective, whatever nobody said since', async () => {
    await backedUp(100);
    expect((await concerns())[0]).toMatch(/Backups of 2 of 2 stores .*6 breach.*the worst: store-001/);
  });

  it('is one guest in one store', async () => {
    await backedUp(2, ({ store, vmid }) =>
      store === 'store-002' && vmid === 103 ? { local: { readAt: ago(2) } } : {},
    );
    expect((await concerns())[0]).toMatch(/Backups of 1 of 2 stores .*the worst: store-002, guest 103 \(cache\)/);
  });

  it.each(['backups', 'copies'] as const)('is a datastore that a night has found nearly full: %s', async (kind) => {
    await backedUp(2);
    const [of, at] = [{ fleet: 'edge', store: 'store-002' }, ago(2)];
    const datastores = [{ ...of, place: 'local' as const, total: 100, used: 95, readAt: at }];
    const orders = { tiers: {}, defaultTier: 'normal' };
    const task = { ...of, night: 'night-2026-11-26', startedAt: at };
    if (kind === 'copies')
      await run(control.record, { kind, task, orders, tiers: {}, runs: [], readAt: at, datastores });
    else await run(control.record, { kind, store: of.store, at, guests: [], night: [], datastores });
    expect((await concerns()).join()).toContain('nearly full: store-002 (95 %)');
  });

  it('is a guest whose restore failed, though it had passed a week before', async () => {
    await backedUp(2, () => ({ firstSeen: ago(48) }));
    expect(await concerns()).toEqual([]);
    const failed = tried('store-002', 5, { result: 'fail', text: 'Chunk 12ab is damaged.' });
    await ledger.recordRestoreTests([tried('store-002', 170), failed]);
    expect(await concerns()).toEqual([
      '1 guest of 6 could not be had back when last tested; the first: store-002, guest 101 (pos): Chunk 12ab is damaged.',
    ]);
  });

  it('is nothing of backups when all is well; that no restore was ever tested stays', async () => {
    await backedUp(2);
    const told = await concerns();
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/restore/i);
  });
});
