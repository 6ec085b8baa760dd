import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ScheduleNotFoundError } from '@temporalio/client';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addBackup, type Outside } from '#client/cli/backup.js';
import { CliFailure } from '#client/cli/failure.js';
import { renderFleetStatus } from '#client/cli/render-backup.js';
import { run, type CommandResult } from '#client/cli/main.js';
import type { Operations } from '#client/operations.js';
import type { BackupStatus, StoreStatus } from '#domain/backup-status.js';
import type { NightView } from '#domain/messages/backup.js';
import type { DatastoreRow, GuestBackupRow, NightGuestRow, NightRow } from '#domain/messages/ledger.js';
import type { Ledger } from '#systems/ledger/types.js';
import { failedResult, tally } from '../builders.js';
import { fakeIo, type FakeIo } from './fake-io.js';

const HOUR = 3_600_000;
const NOW = Date.parse('2026-11-24T11:08:00Z');
const ago = (hours: number): string => new Date(NOW - hours * HOUR).toISOString();
const HOSTILE = 'po\u001b[2Js\u202e\nx';

let dir: string;
let repo: string;
/** Guests of each store as `edge init` writes them. */
let vmids: Record<string, number[]>;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'edge-backup-'));
  const made = fakeIo({ cwd: dir });
  expect(await run(['init', 'edge-infra', '--stores', '8'], made)).toBe(0);
  repo = join(dir, 'edge-infra');
  const first = await edge(['status', '--json'], {});
  const { stores } = JSON.parse(first.out) as BackupStatus;
  vmids = Object.fromEntries(stores.map(({ store, guests }) => [store, guests.map(({ vmid }) => vmid)]));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

interface World {
  rows?: GuestBackupRow[];
  datastores?: DatastoreRow[];
  history?: NightGuestRow[];
  nights?: NightRow[];
  operations?: Partial<Operations>;
  /** Schedules that Temporal has, and how they are; or it does not answer. */
  schedules?: { missing?: string; paused?: string } | 'silent';
  io?: Partial<FakeIo>;
}

/** One command, with a ledger and a service of one's own. */
async function edge(
  argv: string[],
  { rows = [], datastores = [], history = [], nights = [], operations = {}, schedules = {}, io: change }: World,
) {
  const io = fakeIo({
    cwd: repo,
    env: { EDGE_DATABASE_URL: 'postgresql://nowhere/edge', EDGE_FLEET: 'edge', EDGE_TIME_ZONE: 'Europe/Berlin' },
    ...change,
  });
  const ledger = {
    guestBackups: ({ store }: { store?: string } = {}) =>
      Promise.resolve(rows.filter((row) => store === undefined || row.store === store)),
    datastores: ({ store }: { store?: string } = {}) =>
      Promise.resolve(datastores.filter((row) => store === undefined || row.store === store)),
    backupHistory: (store: string, vmid: number, limit: number) =>
      Promise.resolve(history.filter((night) => night.store === store && night.vmid === vmid).slice(0, limit)),
    nights: (fleet: string, limit: number) =>
      Promise.resolve(nights.filter((night) => night.fleet === fleet).slice(0, limit)),
  } as unknown as Ledger;
  const outside: Outside = {
    open: (_, __, work) =>
      work({
        client: { schedule: { getHandle: (id: string) => ({ describe: () => described(id, schedules) }) } } as never,
        operations: operations as Operations,
        target: { address: 'here:7233', namespace: 'default', service: undefined, suffix: '' },
      }),
    ask: (_, __, read) => read(ledger),
  };
  const result: CommandResult = { exitCode: 0 };
  const program = new Command('edge').exitOverride();
  addBackup(program, io, result, outside);
  let error: CliFailure | undefined;
  try {
    await program.parseAsync(['backup', ...argv], { from: 'user' });
  } catch (thrown) {
    if (!(thrown instanceof CliFailure)) throw thrown;
    error = thrown;
  }
  return { code: error?.exitCode ?? result.exitCode, out: io.stdout(), error: error?.message ?? '' };
}

function described(id: string, schedules: NonNullable<World['schedules']>): Promise<unknown> {
  if (schedules === 'silent') return Promise.reject(new Error('14 UNAVAILABLE'));
  if (schedules.missing === id) return Promise.reject(new ScheduleNotFoundError('none', id));
  return Promise.resolve({
    scheduleId: id,
    spec: {},
    action: { args: [] },
    policies: { catchupWindow: 60_000 },
    state: { paused: schedules.paused === id, note: 'mara: inventory' },
  });
}

const aRow = (store: string, vmid: number, change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'edge',
  store,
  vmid,
  name: 'pos',
  kind: 'qemu',
  tier: 'normal',
  rpoLocalMs: 26 * HOUR,
  rpoOffsiteMs: 50 * HOUR,
  local: { readAt: ago(1), provenAt: ago(3), size: 12 * 1024 ** 3, encrypted: true },
  offsite: { readAt: ago(1), provenAt: ago(5) },
  firstSeen: ago(1_000),
  seenAt: ago(1),
  ...change,
});
const allWell = (): GuestBackupRow[] =>
  Object.entries(vmids).flatMap(([store, guests]) => guests.map((vmid) => aRow(store, vmid)));
/** All is well, but for the first guest of this store. */
const but = (store: string, change: Partial<GuestBackupRow>): GuestBackupRow[] => {
  const [first] = vmids[store] ?? [];
  return allWell().map((row) => (row.store === store && row.vmid === first ? { ...row, ...change } : row));
};
const old = (hours: number) => ({ local: { readAt: ago(1), provenAt: ago(hours) } });
const firstOf = (store: string): number => vmids[store]?.[0] ?? Number.NaN;
const widest = (text: string): number => Math.max(...text.split('\n').map((line) => [...line].length));

describe('edge backup status of a fleet', () => {
  it.each([
    ['says nothing of schedules that fire', {}, ''],
    ['names nights that begin no more', { missing: 'edge-governor/backup/edge' }, 'backup/edge is missing, so nothing'],
    ['names a janitor that is silent', { paused: 'edge-governor/janitor/edge' }, 'janitor/edge is paused, so nothing'],
    ['says that nobody could be asked', 'silent' as const, 'Temporal could not be asked whether schedules'],
  ])('%s', async (_, schedules, told) => {
    const { code, out } = await edge(['status'], { rows: allWell(), schedules });
    expect(code).toBe(0);
    expect(out).toContain(told);
    expect(/schedule/i.test(out)).toBe(told !== '');
    const { silence } = JSON.parse((await edge(['status', '--json'], { rows: allWell(), schedules })).out) as {
      silence: string[];
    };
    expect(silence.join()).toContain(told);
  });

  it('ends with 0 when every guest is ok', async () => {
    const { code, out } = await edge(['status'], { rows: allWell() });
    expect(code).toBe(0);
    expect(out).toContain('Every guest has a proven backup that is young enough.');
    expect(out).toMatch(/Stores, by their worst guest: ok 8\n {2}Guests, at the store: ok \d+\n/);
  });

  it('names the worst first, with its guest and its age against the objective', async () => {
    const rows = [
      ...but('store-003', old(60)).filter(({ store }) => store !== 'store-002'),
      ...but('store-002', old(30)).filter(({ store }) => store === 'store-002'),
    ];
    const { code, out } = await edge(['status'], { rows });
    expect(code).toBe(1);
    expect(out).toContain('Stores, by their worst guest: ok 6, late 1, breach 1');
    expect(out).toMatch(
      /first:\n {2}store-003 {2}BREACH {2}2 d 12 h old at the store, may be 26 h: guest \d+ \(pos\)\n {2}store-002 {2}LATE {4}30 h old at the store, may be 26 h: guest/,
    );
    expect(widest(out)).toBeLessThanOrEqual(80);
  });

  it('names twenty at most, and says how to see the others', () => {
    const stores = Array.from({ length: 25 }, (_, index): StoreStatus => {
      const counts = { ok: 0, late: 0, breach: 0, never: 0, unknown: 0 };
      return { store: `store-${100 + index}`, state: 'unknown', counts, guests: [], datastores: [] };
    });
    const counts = { ok: 0, late: 0, breach: 0, never: 0, unknown: 25 };
    const lines = renderFleetStatus({ counts, storeCounts: counts, stores, notBackedUp: [] });
    expect(lines.filter((line) => line.endsWith('UNKNOWN  no guest is known'))).toHaveLength(20);
    expect(lines).toContain('  and 5 more; fewer at a time: --state STATE, all of them: --json');
  });

  it('counts the second place apart', async () => {
    const { out } = await edge(['status'], { rows: but('store-003', { offsite: { readAt: ago(1) } }) });
    expect(out).toMatch(/Guests, at the store: ok \d+\n/);
    expect(out).toMatch(/Guests, in the second place: ok \d+, never 1\n/);
    expect(out).toContain('no proven backup in the second place: guest');
  });

  it('takes it for no good news that nothing is known', async () => {
    const { code, out } = await edge(['status'], {});
    expect(code).toBe(1);
    expect(out).toContain('Stores, by their worst guest: unknown 8');
    expect(out).toContain('nothing is known at the store');
  });

  it('shows only stores in the states that are asked for; the exit code is still that of all', async () => {
    const rows = but('store-003', old(60));
    const breach = await edge(['status', '--state', 'breach,never'], { rows });
    expect(breach).toMatchObject({ code: 1, out: expect.stringContaining('store-003') as string });
    const never = await edge(['status', '--state', 'never'], { rows });
    expect(never.code).toBe(1);
    expect(never.out).toContain('No store is never.');
    expect(never.out).not.toContain('No store of this fleet is backed up');
    const json = JSON.parse((await edge(['status', '--state', 'breach', '--json'], { rows })).out) as BackupStatus;
    expect(json.stores.map(({ store }) => store)).toEqual(['store-003']);
    expect(json.storeCounts).toMatchObject({ ok: 7, breach: 1 });
  });
});

describe('edge backup status of a store', () => {
  it('is a table of its guests, and says why a newer backup does not count', async () => {
    const unproven = { ...old(30).local, unprovenAt: ago(2), unprovenWhy: 'not verified' as const };
    const { code, out } = await edge(['status', 'store-003'], { rows: but('store-003', { local: unproven }) });
    expect(code).toBe(1);
    expect(out).toMatch(/^store-003: LATE\. \d+ guests, the worst first/);
    expect(out).toContain('late, 30 h');
    expect(out).toMatch(/12\.0 GiB {2}yes/);
    expect(out.replaceAll(/\s+/g, ' ')).toContain(
      'a newer backup at the store, of Tue 10:08 (Europe/Berlin), is not proven: not verified',
    );
    expect(out).toContain('Back it up now: edge backup run --store store-003');
    expect(widest(out)).toBeLessThanOrEqual(80);
  });

  it('is judged by itself, whatever becomes of others', async () => {
    expect(await edge(['status', 'store-001'], { rows: but('store-003', old(60)) })).toMatchObject({ code: 0 });
  });

  it('gives a program the same facts', async () => {
    const { out } = await edge(['status', 'store-003', '--json'], { rows: but('store-003', old(60)) });
    const facts = JSON.parse(out) as StoreStatus;
    expect(facts).toMatchObject({ store: 'store-003', state: 'breach', counts: { breach: 1 } });
    expect(facts.guests[0]).toMatchObject({
      vmid: firstOf('store-003'),
      local: { age: 60 * HOUR, objective: 26 * HOUR },
    });
  });

  it('shows only guests in the states that are asked for', async () => {
    const rows = but('store-003', old(60));
    const { code, out } = await edge(['status', 'store-003', '--state', 'ok', '--json'], { rows });
    expect((JSON.parse(out) as StoreStatus).guests.map(({ vmid }) => vmid)).not.toContain(firstOf('store-003'));
    expect(code).toBe(1);
    const none = await edge(['status', 'store-003', '--state', 'never'], { rows });
    expect(none.out).toContain('No guest is never.');
  });

  it('does not let the name of a guest steer the terminal', async () => {
    const rows = but('store-003', { ...old(60), name: HOSTILE });
    for (const argv of [['status'], ['status', 'store-003'], ['status', 'store-003', '--json']]) {
      const { out } = await edge(argv, { rows });
      expect(out).not.toMatch(/[\u001b\u202e]/);
    }
    expect((await edge(['status', 'store-003'], { rows })).out).toContain('pos x');
  });
});

describe('edge backup status of a guest', () => {
  const night = (change: Partial<NightGuestRow> = {}): NightGuestRow => ({
    night: 'night-2026-11-23',
    store: 'store-003',
    vmid: firstOf('store-003'),
    name: 'pos',
    result: 'proven',
    offsite: true,
    ...change,
  });
  it('adds its last nights', async () => {
    const history = [
      night(),
      night({ night: 'night-2026-11-22', result: 'nothing new', text: HOSTILE, offsite: false }),
    ];
    const argv = ['status', 'store-003', '--guest', String(firstOf('store-003'))];
    const { code, out } = await edge(argv, { rows: allWell(), history });
    expect(code).toBe(0);
    expect(out).toMatch(/^store-003, guest \d+ \(pos\): OK, tier \w+, 12\.0 GiB, encrypted\n/);
    expect(out).toContain('  At the store: ok, 3 h; it may be 26 h\n');
    expect(out).toContain('  night-2026-11-23  proven, proven in the second place\n');
    expect(out).toContain('  night-2026-11-22  nothing new, not proven in the second place\n    pos x\n');
    const json = JSON.parse((await edge([...argv, '--json'], { rows: allWell(), history })).out) as object;
    expect(json).toMatchObject({ vmid: firstOf('store-003'), state: 'ok', history });
  });

  it('is judged by itself, whatever becomes of others of its store', async () => {
    const rows = but('store-003', old(60));
    const codeOf = async (vmid: number) =>
      (await edge(['status', 'store-003', '--guest', String(vmid)], { rows })).code;
    expect(await codeOf(firstOf('store-003'))).toBe(1);
    expect(await codeOf(vmids['store-003']?.[1] ?? Number.NaN)).toBe(0);
  });
});

describe('edge backup status when it cannot answer', () => {
  const cases: Record<string, [argv: string[], code: 1 | 2, words: RegExp]> = {
    'an unknown store': [['status', 'store-999'], 2, /store-999 is not a store of fleet/],
    'an unknown guest': [['status', 'store-001', '--guest', '99'], 2, /No guest 99 is known there\. There are: \d+/],
    'an unknown state': [['status', '--state', 'fine'], 2, /fine is not a state\. There are: ok, late/],
    'a guest of no store': [['status', '--guest', '101'], 2, /Of which store\?/],
    'a guest and a state': [['status', 'store-001', '--guest', '101', '--state', 'ok'], 2, /not both/],
    'a limit that is none': [['history', '--limit', 'many'], 2, /--limit is a number/],
    'a zone that is none': [['status', '--zone', 'Mars/Olympus'], 2, /is not a time zone/],
    'a folder that is not there': [['status', '--repo', '/nowhere/at/all'], 1, /cannot be read/],
  };
  it.each(Object.entries(cases))('%s', async (_, [argv, code, words]) => {
    const told = await edge(argv, { rows: allWell() });
    expect(told).toMatchObject({ code, out: '' });
    expect(told.error).toMatch(words);
  });

  it('names the remedy when there is no ledger', async () => {
    const { code, error } = await edge(['status'], { io: { env: {} } });
    expect(code).toBe(1);
    expect(error).toMatch(/is in the ledger\. Start `edge up` here, or name the ledger with EDGE_DATABASE_URL/);
  });

  it.each([
    ['nearly full', { used: 95 }, 1],
    ['with damaged parts', { stillBad: 2 }, 1],
    ['with room', {}, 0],
  ])('of which every guest is well, and a datastore is %s, ends with its own exit code', async (_, change, code) => {
    const datastore = { fleet: 'edge', place: 'local' as const, total: 100, used: 50, stillBad: 0, readAt: ago(1) };
    const datastores = [{ ...datastore, store: 'store-003', ...change }];
    for (const argv of [['status'], ['status', 'store-003', '--json']])
      expect((await edge(argv, { rows: allWell(), datastores })).code).toBe(code);
  });

  it('tells programs how full the datastore of a store is', async () => {
    const datastore = { fleet: 'edge', place: 'local' as const, total: 100, used: 95, stillBad: 0, readAt: ago(1) };
    const datastores = ['store-003', 'store-004'].map((store) => ({ ...datastore, store }));
    const { out } = await edge(['status', 'store-003', '--json'], { rows: allWell(), datastores });
    expect((JSON.parse(out) as StoreStatus).datastores).toEqual([{ ...datastore, store: 'store-003', share: 0.95 }]);
  });

  it('ends with 1 when a backup is in clear and fleet.yaml asks for encrypted ones, however young it is', async () => {
    const sealed = join(dir, 'sealed');
    await run(['init', 'sealed', '--stores', '8'], fakeIo({ cwd: dir }));
    const path = join(sealed, 'fleet.yaml');
    await writeFile(path, (await readFile(path, 'utf8')).replace(/^backup:\n/m, 'backup:\n  encrypted: true\n'));
    const codesOf = async (rows: GuestBackupRow[]) => {
      const ask = async (...argv: string[]) => (await edge(['status', ...argv], { rows, io: { cwd: sealed } })).code;
      return [await ask(), await ask('store-003'), await ask('store-003', '--guest', String(firstOf('store-003')))];
    };
    expect(await codesOf(allWell())).toEqual([0, 0, 0]);
    const local = { readAt: ago(1), provenAt: ago(3), encrypted: false };
    expect(await codesOf(but('store-003', { local }))).toEqual([1, 1, 1]);
  });

  it('names stores that nobody backs up, and is no good answer to one that is asked for', async () => {
    const bare = join(dir, 'bare');
    await run(['init', 'bare', '--stores', '8'], fakeIo({ cwd: dir }));
    const path = join(bare, 'clusters', 'store-002', 'store.yaml');
    await writeFile(path, (await readFile(path, 'utf8')).replace('backup: {}\n', ''));
    const world = { rows: allWell(), io: { cwd: bare } };
    const fleet = await edge(['status'], world);
    expect(fleet.code).toBe(0);
    expect(fleet.out.replaceAll('\n', ' ')).toMatch(/Nobody backs these up \(no section backup .*\): store-002/);
    for (const argv of [['store-002'], ['store-002', '--guest', '101']]) {
      const { code, out } = await edge(['status', ...argv], world);
      expect(code).toBe(1);
      expect(out.replaceAll('\n', ' ')).toMatch(/^Nobody backs these up .*: store-002/);
    }
  });
});

describe('edge backup history', () => {
  const night: NightRow = {
    id: 'night-2026-11-23',
    fleet: 'edge',
    state: 'done',
    stores: 8,
    tally: tally({ succeeded: 7, failed: 1 }),
    startedAt: ago(12),
    endedAt: ago(9),
  };
  it('tells state, tallies, duration and reason', async () => {
    const bad = { ...night, id: 'night-2026-11-22', state: 'failed', reason: 'RepoInvalid', summary: HOSTILE };
    const { code, out } = await edge(['history'], { nights: [night, bad] });
    expect(code).toBe(0);
    expect(out).toContain('  night-2026-11-23  done, took 3 h\n    8 stores: succeeded 7, failed 1\n');
    expect(out).toContain('    RepoInvalid: pos x\nWhat to do: edge runbook RepoInvalid\n');
    expect(JSON.parse((await edge(['history', '--json', '--limit', '1'], { nights: [night, bad] })).out)).toEqual([
      night,
    ]);
  });
  it('says how to have a first one', async () => {
    expect((await edge(['history'], {})).out).toContain('Start one: edge backup run');
  });
});

describe('a night that is run by hand', () => {
  const view = (change: Partial<NightView> = {}): NightView => ({
    night: 'night-2026-11-24-1',
    fleet: 'edge',
    state: 'running',
    startedAt: ago(0),
    doing: 'Backing up 2 stores.',
    stores: 2,
    inFlight: 2,
    tally: tally({}),
    notSucceeded: [],
    ...change,
  });
  const done = view({ state: 'done', endedAt: ago(0), inFlight: 0, tally: tally({ succeeded: 2 }), doing: 'Ended.' });
  const failed = view({
    ...done,
    tally: tally({ succeeded: 1, failed: 1 }),
    notSucceeded: [failedResult({ reason: 'BackupFailed', stop: { reason: 'BackupFailed', summary: HOSTILE } })],
  });
  const handle = { fleet: 'edge', workflowId: 'night/edge/by-hand', runId: 'r1' };

  /** A service whose night looks like this, look by look. */
  const service = (...views: NightView[]) => {
    const asked: unknown[] = [];
    let looks = 0;
    const nights: Operations['nights'] = {
      start: (input) => {
        asked.push(input);
        return Promise.resolve(handle);
      },
      view: () => Promise.resolve(views[Math.min(looks++, views.length - 1)] as NightView),
      newest: (_, name) => {
        const found = views.find(({ night }) => name === undefined || night === name);
        const besides = views.map(({ night }) => night).filter((night) => night !== found?.night);
        return Promise.resolve(found && { ...handle, status: 'running', view: found, besides: [...new Set(besides)] });
      },
      abort: () => Promise.reject(new Error('nobody asked for it')),
    };
    const operations: Partial<Operations> = { nights };
    return { operations, asked, looks: () => looks };
  };

  it('is followed to its end, a line for each change', async () => {
    const { operations, asked, looks } = service(
      view(),
      view(),
      view({ inFlight: 1, tally: tally({ succeeded: 1 }) }),
      done,
    );
    const { code, out } = await edge(['run'], { operations });
    expect({ code, looks: looks() }).toEqual({ code: 0, looks: 4 });
    expect(out.split('\n').slice(0, 3)).toEqual([
      'Backing up 2 stores. 0 of 2 stores ended; in work 2',
      'Backing up 2 stores. 1 of 2 stores ended: succeeded 1; in work 1',
      'Night night-2026-11-24-1: done, ended Tue 12:08 (Europe/Berlin).',
    ]);
    expect(asked).toEqual([{ fleet: 'edge', now: true, requestedBy: 'mara' }]);
  });

  it('ends with 1 and the runbook when a store did not succeed, with no word that steers the terminal', async () => {
    const { code, out } = await edge(['run'], service(view(), failed));
    expect(code).toBe(1);
    expect(out).toContain('  store-033: failed (BackupFailed: pos x)\nWhat to do: edge runbook BackupFailed\n');
    expect(out).not.toContain('\u001b');
  });

  it('ends with 1 when it was aborted', async () => {
    expect(await edge(['run'], service({ ...done, state: 'aborted' }))).toMatchObject({ code: 1 });
  });

  it('gives a program only its end', async () => {
    const { out } = await edge(['run', '--json'], service(view(), done));
    expect(JSON.parse(out)).toEqual(JSON.parse(JSON.stringify(done)));
  });

  it('is left alone with --detach; stores and window are as they were asked for', async () => {
    const { operations, asked, looks } = service(view());
    const argv = ['run', '--detach', '--in-window', '--store', 'store-001, store-002', '--by', 'ben'];
    const { code, out } = await edge(argv, { operations });
    expect({ code, out, looks: looks() }).toEqual({ code: 0, out: 'Started.\nSee it: edge backup show\n', looks: 0 });
    expect(asked).toEqual([{ fleet: 'edge', now: false, requestedBy: 'ben', stores: ['store-001', 'store-002'] }]);
  });

  it('is not begun when the answer could not be told', async () => {
    const { operations, asked } = service(done);
    expect(await edge(['run', '--zone', 'Mars/Olympus'], { operations })).toMatchObject({ code: 2 });
    expect(asked).toEqual([]);
  });

  it('goes on by itself when the person interrupts', async () => {
    const interrupted = AbortSignal.abort();
    const { code, out } = await edge(['run'], { ...service(view()), io: { interrupted: () => interrupted } });
    expect(code).toBe(1);
    expect(out).toMatch(/^Night night-2026-11-24-1: running, since/);
  });

  it('that waits for its window says when it begins, until that has come', async () => {
    const ahead = view({ opens: ago(-8), closes: ago(-12), inFlight: 0 });
    const { out } = await edge(['show'], service(ahead));
    expect(out).toMatch(/Nothing is begun before Tue 20:08 .*To end it: edge backup abort/);
    expect((await edge(['show'], service({ ...ahead, opens: ago(1) }))).out).not.toContain('begun before');
    expect((await edge(['show'], service({ ...ahead, state: 'aborted' }))).out).not.toContain('begun before');
  });

  it('is shown, without judging it; with --watch it is followed and judged', async () => {
    const shown = await edge(['show'], service(failed));
    expect(shown).toMatchObject({ code: 0, out: expect.stringContaining('store-033: failed') as string });
    expect(await edge(['show', '--watch'], service(view(), failed))).toMatchObject({ code: 1 });
  });

  it('is shown by its name where two of them run, and the other one is named', async () => {
    const two = service(view(), view({ night: 'night-2026-11-24-2', doing: 'The other.' }));
    expect((await edge(['show'], two)).out).toContain(
      'Another night runs as well: edge backup show --night night-2026-11-24-2',
    );
    const { out } = await edge(['show', '--night', 'night-2026-11-24-2'], two);
    expect(out).toMatch(/^Night night-2026-11-24-2: running/);
    expect(await edge(['show', '--night', 'night-x'], two)).toMatchObject({
      code: 1,
      error: expect.stringMatching(/knows no night night-x/) as string,
    });
  });

  it('says so when there is none', async () => {
    const told = await edge(['show'], service());
    expect(told).toMatchObject({
      code: 1,
      error: expect.stringMatching(/No night .* Start one: edge backup run/) as string,
    });
  });

  it.each([
    ['accepted', 0, 'No further store is begun.\n'],
    ['refused', 1, 'Refused: No further store is begun.\n'],
  ] as const)('takes an abort: %s', async (kind, code, out) => {
    const sent: unknown[] = [];
    const operations: Partial<Operations> = {
      nights: {
        ...(service(view()).operations.nights as Operations['nights']),
        abort: (run, said) => {
          sent.push(run.runId, said);
          return Promise.resolve({ kind, sentence: 'No further store is begun.' });
        },
      },
    };
    expect(await edge(['abort', '--reason', 'uplink'], { operations })).toMatchObject({ code, out });
    expect(sent).toEqual(['r1', { by: 'mara', reason: 'uplink' }]);
  });
});
