import { randomUUID } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type StoreResult, emptyTally } from '#domain/outcomes.js';
import { openLedger, openLedgerReader } from '#systems/ledger/client.js';
import { migrate } from '#systems/ledger/migrate.js';
import { inTransaction } from '#systems/ledger/transaction.js';
import type {
  ApprovalRow,
  GuestBackupRow,
  Ledger,
  NightGuestRow,
  NightRow,
  RestoreRunRow,
  RestoreTestRow,
  StageRow,
  TrainRow,
} from '#systems/ledger/types.js';
import { type TestDatabase, databaseKinds, execute } from '../../../support/databases.js';

const aTrain = (change: Partial<TrainRow> = {}): TrainRow => ({
  id: '2026-w48',
  fleet: 'edge',
  release: '2026.48.0',
  sequence: 48,
  manifest: `sha256:${'a'.repeat(64)}`,
  bundle: `sha256:${'b'.repeat(64)}`,
  commit: 'c'.repeat(40),
  planHash: '4f1c9a02',
  state: 'running',
  startedAt: '2026-11-23T01:00:00.000Z',
  ...change,
});

const aStage = (change: Partial<StageRow> = {}): StageRow => ({
  train: '2026-w48',
  stage: 'canary',
  position: 0,
  stores: 5,
  state: 'running',
  tally: { ...emptyTally(), succeeded: 3, failed: 2 },
  startedAt: '2026-11-24T09:00:00.000Z',
  ...change,
});

const aResult = (change: Partial<StoreResult> = {}): StoreResult => ({
  store: 'store-001',
  outcome: 'succeeded',
  operationId: '2026-w48/canary/store-001/r0',
  startedAt: '2026-11-24T09:00:00.000Z',
  endedAt: '2026-11-24T09:30:00.000Z',
  nodesPatched: 3,
  nodesRebooted: 3,
  release: `sha256:${'a'.repeat(64)}`,
  ...change,
});

const anApproval = (change: Partial<ApprovalRow> = {}): ApprovalRow => ({
  train: '2026-w48',
  stage: 'wave-1',
  id: 'chat:17',
  planHash: '4f1c9a02',
  decision: 'approve',
  by: 'kim',
  via: 'chat',
  accepted: true,
  at: '2026-11-25T08:59:00.000Z',
  ...change,
});

const aNight = (change: Partial<NightRow> = {}): NightRow => ({
  id: 'night-2026-11-26',
  fleet: 'edge',
  state: 'done',
  commit: 'c'.repeat(40),
  stores: 5,
  tally: { ...emptyTally(), succeeded: 4, offline: 1 },
  opens: '2026-11-26T21:00:00.000Z',
  closes: '2026-11-27T04:00:00.000Z',
  startedAt: '2026-11-26T21:00:00.000Z',
  ...change,
});

const aNightGuest = (change: Partial<NightGuestRow> = {}): NightGuestRow => ({
  night: 'night-2026-11-26',
  store: 'store-001',
  vmid: 101,
  name: 'pos',
  result: 'proven',
  snapshotAt: '2026-11-26T21:05:00.000Z',
  offsite: false,
  ...change,
});

const LOCAL = {
  readAt: '2026-11-26T22:00:00.000Z',
  provenAt: '2026-11-26T21:05:00.000Z',
  verifiedAt: '2026-11-26T21:50:00.000Z',
  // More than fits into 32 bits.
  size: 40_000_000_000,
  encrypted: true,
  keyFingerprint: 'ab:cd',
};
const OFFSITE = {
  readAt: '2026-11-26T22:10:00.000Z',
  provenAt: '2026-11-25T21:05:00.000Z',
  verifiedAt: '2026-11-26T01:00:00.000Z',
  unprovenAt: '2026-11-26T21:05:00.000Z',
  unprovenWhy: 'not verified' as const,
};
const aGuestBackup = (change: Partial<GuestBackupRow> = {}): GuestBackupRow => ({
  fleet: 'edge',
  store: 'store-001',
  vmid: 101,
  name: 'pos',
  kind: 'qemu',
  tier: 'till',
  rpoLocalMs: 26 * 3_600_000,
  // More than fits into 32 bits.
  rpoOffsiteMs: 50 * 86_400_000,
  local: LOCAL,
  offsite: OFFSITE,
  firstSeen: '2026-11-01T10:00:00.000Z',
  seenAt: '2026-11-26T22:00:00.000Z',
  ...change,
});

const aRestoreRun = (change: Partial<RestoreRunRow> = {}): RestoreRunRow => ({
  id: 'restores-2026-w48',
  fleet: 'edge',
  state: 'running',
  commit: 'c'.repeat(40),
  stores: 3,
  guests: 5,
  tally: { ...emptyTally(), succeeded: 2, failed: 1 },
  startedAt: '2026-11-29T08:00:00.000Z',
  ...change,
});

const aRestoreTest = (change: Partial<RestoreTestRow> = {}): RestoreTestRow => ({
  run: 'restores-2026-w48',
  store: 'store-001',
  vmid: 101,
  fleet: 'edge',
  name: 'till',
  kind: 'qemu',
  class: 'pos',
  tier: 'till',
  why: 'never tested',
  result: 'pass',
  snapshotAt: '2026-11-28T21:05:00.000Z',
  rtoMs: 100_000,
  restoreMs: 60_000,
  bootMs: 30_000,
  probeMs: 5_000,
  // More than fits into 32 bits: a guest that wrote its record weeks ago, and a large disk.
  rpoMs: 50 * 86_400_000,
  bytes: 40_000_000_000,
  testedAt: '2026-11-29T08:30:00.123Z',
  ...change,
});

/** What became of a trial that the site spoilt before it restored anything. */
const SPOILT: Partial<RestoreTestRow> = {
  result: 'infra-error',
  text: 'The bridge has a port.',
  snapshotAt: undefined,
  rtoMs: undefined,
  restoreMs: undefined,
  bootMs: undefined,
  probeMs: undefined,
  rpoMs: undefined,
  bytes: undefined,
};

describe.each(databaseKinds)('ledger on $name', (kind) => {
  let database: TestDatabase;
  let ledger: Ledger;

  beforeAll(async () => {
    database = await kind.create();
  });
  afterAll(() => database.drop());
  beforeEach(async () => {
    ledger = await openLedger(database.url);
    await execute(
      database.url,
      'TRUNCATE trains, stages, results, approvals, nights, night_guests, guest_backups, datastores, restore_runs, restore_tests',
    );
  });
  afterEach(() => ledger.close());

  const count = async (table: string) => {
    const [row] = await execute(database.url, `SELECT count(*)::int AS n FROM ${table}`);
    return row?.n;
  };

  it('keeps a train as it was recorded', async () => {
    const row = aTrain({
      reason: 'HealthGateFailed',
      summary: 'Cache hit rate fell.',
      endedAt: '2026-11-27T15:00:00.123Z',
    });
    await ledger.recordTrain(row);
    expect(await ledger.train('2026-w48')).toEqual(row);
    expect(await ledger.train('2026-w49')).toBeUndefined();
  });

  it('changes nothing when a write is repeated', async () => {
    for (let attempt = 0; attempt < 2; attempt += 1) {
      await ledger.recordTrain(aTrain());
      await ledger.recordStage(aStage());
      await ledger.recordResults('2026-w48', 'canary', 0, [aResult(), aResult({ store: 'store-002' })]);
      await ledger.recordApproval(anApproval());
    }
    expect(await Promise.all(['trains', 'stages', 'results', 'approvals'].map(count))).toEqual([1, 1, 2, 1]);
  });

  it('replaces a row whole, so that a reason does not outlive its cause', async () => {
    await ledger.recordTrain(aTrain({ state: 'held', reason: 'ApprovalPending', summary: 'waits' }));
    await ledger.recordTrain(aTrain({ state: 'running' }));
    const row = await ledger.train('2026-w48');
    expect(row).toEqual(aTrain({ state: 'running' }));
    expect(row?.reason).toBeUndefined();
  });

  it('lists the newest trains first', async () => {
    await ledger.recordTrain(aTrain({ id: '2026-w47', startedAt: '2026-11-16T01:00:00Z' }));
    await ledger.recordTrain(aTrain({ id: '2026-w49', startedAt: '2026-11-30T01:00:00Z' }));
    await ledger.recordTrain(aTrain());
    expect((await ledger.trains(2)).map(({ id }) => id)).toEqual(['2026-w49', '2026-w48']);
  });

  it('lists the stages of a train in their order', async () => {
    const second = aStage({
      stage: 'wave-1',
      position: 1,
      stores: 50,
      state: 'waiting',
      tally: emptyTally(),
      startedAt: undefined,
    });
    await ledger.recordStage(second);
    await ledger.recordStage(aStage());
    await ledger.recordStage(aStage({ train: '2026-w47' }));
    expect(await ledger.stages('2026-w48')).toEqual([aStage(), second]);
  });

  it('keeps each round of a store, and the last word on a store within one', async () => {
    const failed = aResult({
      outcome: 'failed',
      reason: 'RebootTimeout',
      stop: {
        reason: 'RebootTimeout',
        step: 'reboot n2',
        summary: 'n2 did not come back in 5 min.',
        detail: ['no answer'],
      },
    });
    await ledger.recordResults('2026-w48', 'canary', 0, [aResult({ outcome: 'offline' }), failed]);
    await ledger.recordResults('2026-w48', 'canary', 1, [aResult()]);
    expect(await ledger.results('2026-w48')).toEqual([
      {
        train: '2026-w48',
        stage: 'canary',
        store: 'store-001',
        round: 0,
        outcome: 'failed',
        reason: 'RebootTimeout',
        summary: 'n2 did not come back in 5 min.',
        startedAt: '2026-11-24T09:00:00.000Z',
        endedAt: '2026-11-24T09:30:00.000Z',
      },
      {
        train: '2026-w48',
        stage: 'canary',
        store: 'store-001',
        round: 1,
        outcome: 'succeeded',
        startedAt: '2026-11-24T09:00:00.000Z',
        endedAt: '2026-11-24T09:30:00.000Z',
      },
    ]);
  });

  it('records a store that was never started', async () => {
    await ledger.recordResults('2026-w48', 'wave-3', 0, [
      { store: 'store-099', outcome: 'excluded', reason: 'Frozen' },
    ]);
    expect(await ledger.results('2026-w48')).toMatchObject([
      { store: 'store-099', outcome: 'excluded', reason: 'Frozen' },
    ]);
  });

  describe('what trains came to on stores', () => {
    const ran = async (week: number, results: StoreResult[], change: Partial<TrainRow> = {}, stage = 'canary') => {
      const id = change.id ?? `2026-w${week}`;
      const startedAt = new Date(Date.UTC(2026, 0, 7 * week)).toISOString();
      await ledger.recordTrain(
        aTrain({ id, release: `2026.${week}.0`, sequence: week, startedAt, state: 'done', ...change }),
      );
      await ledger.recordResults(id, stage, 0, results);
    };

    it('is the newest of each train and store, with its release', async () => {
      await ran(47, [aResult({ store: 'a' })]);
      await ran(48, [aResult({ store: 'a', outcome: 'offline', reason: 'StoreOffline', startedAt: undefined })]);
      await ledger.recordResults('2026-w48', 'canary', 1, [
        aResult({ store: 'a', outcome: 'missed', reason: 'DeadlineReached', startedAt: undefined, endedAt: undefined }),
      ]);
      const offers = await ledger.offers({ fleet: 'edge' });
      expect(offers).toMatchObject([
        { store: 'a', train: '2026-w47', stage: 'canary', release: '2026.47.0', sequence: 47, outcome: 'succeeded' },
        { store: 'a', train: '2026-w48', release: '2026.48.0', outcome: 'missed', reason: 'DeadlineReached' },
      ]);
      expect(offers[1]?.startedAt).toBeUndefined();
      expect(await ledger.offers({ store: 'a' })).toEqual(offers);
      expect(await ledger.offers({ store: 'b' })).toEqual([]);
      expect(await ledger.offers({ fleet: 'south' })).toEqual([]);
    });

    it('tells which trains may still bring something: the newest, as long as it has no end', async () => {
      const isOver = async () => (await ledger.offers({ store: 'a' })).map(({ train, over }) => [train, over]);
      await ran(47, [aResult({ store: 'a' })], { state: 'running', endedAt: undefined });
      expect(await isOver()).toEqual([['2026-w47', false]]);
      await ran(48, [aResult({ store: 'a' })], { state: 'running', endedAt: undefined });
      expect(await isOver()).toEqual([
        ['2026-w47', true],
        ['2026-w48', false],
      ]);
      await ran(48, [aResult({ store: 'a' })], { endedAt: '2026-12-01T09:00:00.000Z' });
      expect((await isOver()).at(-1)).toEqual(['2026-w48', true]);
    });

    it('leaves out what was taken back, and what is no patch', async () => {
      await ran(46, [aResult({ store: 'a', outcome: 'failed' })], { state: 'rolled back' });
      await ran(47, [aResult({ store: 'a' }), aResult({ store: 'b' })]);
      await ledger.recordResults('2026-w47', 'rollback', 0, [aResult({ store: 'a', outcome: 'rolledBack' })]);
      await ledger.recordResults('2026-w47', 'backup', 0, [aResult({ store: 'b', outcome: 'failed' })]);
      expect((await ledger.offers({ fleet: 'edge' })).map(({ store, outcome }) => [store, outcome])).toEqual([
        ['b', 'succeeded'],
      ]);
    });

    it('of a fleet counts the newest trains, of one store all', async () => {
      for (let week = 10; week < 30; week += 1) await ran(week, [aResult({ store: 'a' })]);
      expect((await ledger.offers({ fleet: 'edge' })).map(({ train }) => train)).toEqual(
        Array.from({ length: 12 }, (_, i) => `2026-w${18 + i}`),
      );
      expect(await ledger.offers({ store: 'a' })).toHaveLength(20);
    });
  });

  describe('the last good release of a store', () => {
    const digest = (sign: string, sequence: number) => `sha256:${sign.repeat(62)}${sequence}`;
    const release = (sequence: number) => ({
      version: `2026.${sequence}.0`,
      sequence,
      manifest: digest('a', sequence),
      bundle: digest('b', sequence),
    });
    /** Train `2026-w<week>` brought the release of that week to `stores`, and its stage ended in `state`. */
    const ran = async (week: number, stores: string[], state = 'done', change: Partial<TrainRow> = {}) => {
      const { version, ...rest } = release(week);
      const id = `2026-w${week}`;
      const startedAt = new Date(Date.UTC(2026, 0, 7 * week)).toISOString();
      await ledger.recordTrain(aTrain({ id, release: version, ...rest, startedAt, ...change }));
      await ledger.recordStage(aStage({ train: change.id ?? id, state }));
      await ledger.recordResults(
        change.id ?? id,
        'canary',
        0,
        stores.map((store) => aResult({ store })),
      );
      if (state === 'done') await ledger.confirmResults(change.id ?? id, 'canary', stores, startedAt);
    };
    const lastGood = () => ledger.lastGoodBefore('2026-w48');

    it('is the newest that succeeded there before the train, with its full reference', async () => {
      await ran(45, ['a', 'b', 'c']);
      await ran(47, ['b', 'a']);
      await ran(48, ['a', 'b', 'c']);
      await ran(49, ['a']);
      expect(await lastGood()).toEqual([
        { store: 'a', train: '2026-w47', release: release(47) },
        { store: 'b', train: '2026-w47', release: release(47) },
        { store: 'c', train: '2026-w45', release: release(45) },
      ]);
    });

    it('came in a stage that passed its gate', async () => {
      await ran(45, ['a']);
      await ran(46, ['a'], 'held');
      await ran(47, ['a'], 'aborted');
      await ran(48, ['a']);
      expect(await lastGood()).toMatchObject([{ store: 'a', train: '2026-w45' }]);
    });

    it('was confirmed there: a stage that people let go on without proof is done as well', async () => {
      await ran(45, ['a', 'b']);
      await ran(47, []);
      await ledger.recordResults('2026-w47', 'canary', 0, [aResult({ store: 'a' }), aResult({ store: 'b' })]);
      await ledger.confirmResults('2026-w47', 'canary', ['b'], '2026-11-24T11:00:00.000Z');
      await ran(48, ['a', 'b']);
      expect(await lastGood()).toMatchObject([
        { store: 'a', train: '2026-w45' },
        { store: 'b', train: '2026-w47' },
      ]);
    });

    it('is not what failed there, though the stage was confirmed', async () => {
      await ran(45, ['a']);
      await ran(47, []);
      await ledger.recordResults('2026-w47', 'canary', 0, [aResult({ store: 'a', outcome: 'failed' })]);
      await ledger.confirmResults('2026-w47', 'canary', ['a'], '2026-11-24T11:00:00.000Z');
      await ran(48, ['a']);
      expect(await lastGood()).toMatchObject([{ store: 'a', train: '2026-w45' }]);
    });

    it('came in the stage in which the store succeeded, whatever became of others', async () => {
      await ran(47, ['a']);
      await ledger.recordStage(aStage({ train: '2026-w47', stage: 'wave-1', state: 'held' }));
      await ledger.recordResults('2026-w47', 'wave-1', 0, [aResult({ store: 'b' })]);
      await ran(48, ['a', 'b']);
      expect(await lastGood()).toMatchObject([{ store: 'a' }]);
    });

    it('counts when a later round succeeded, and not when none did', async () => {
      await ran(47, []);
      await ledger.recordResults('2026-w47', 'canary', 0, [
        aResult({ store: 'a', outcome: 'failed' }),
        aResult({ store: 'b', outcome: 'failed' }),
        aResult({ store: 'c', outcome: 'skipped' }),
      ]);
      await ledger.recordResults('2026-w47', 'canary', 1, [
        aResult({ store: 'a' }),
        aResult({ store: 'b', outcome: 'failed' }),
      ]);
      await ledger.confirmResults('2026-w47', 'canary', ['a', 'b', 'c'], '2026-11-24T11:00:00.000Z');
      await ran(48, []);
      expect(await lastGood()).toMatchObject([{ store: 'a', train: '2026-w47' }]);
    });

    it('was not taken back, or tried to be, since', async () => {
      await ran(46, ['a', 'b', 'c']);
      await ran(47, ['a', 'b', 'c']);
      await ledger.recordResults('2026-w47', 'rollback', 0, [
        aResult({ store: 'a', outcome: 'rolledBack' }),
        aResult({ store: 'b', outcome: 'failed' }),
      ]);
      await ledger.recordStage(aStage({ train: '2026-w47', stage: 'rollback', state: 'done' }));
      await ran(48, []);
      expect(await lastGood()).toMatchObject([
        { store: 'a', train: '2026-w46' },
        { store: 'b', train: '2026-w46' },
        { store: 'c', train: '2026-w47' },
      ]);
    });

    it('is older than the release of the train, also when an earlier train brought that one', async () => {
      await ran(46, ['a']);
      await ran(48, ['a'], 'done', { id: '2026-w47', startedAt: '2026-11-16T01:00:00Z' });
      await ran(48, ['a']);
      expect(await lastGood()).toMatchObject([{ store: 'a', train: '2026-w46' }]);
    });

    it('is of the same fleet', async () => {
      await ran(47, ['a'], 'done', { fleet: 'north' });
      await ran(48, ['a']);
      expect(await lastGood()).toEqual([]);
    });

    it('has no reference when its bundle was not kept', async () => {
      await ran(46, ['a']);
      await ran(47, ['a'], 'done', { bundle: undefined });
      await ran(48, ['a']);
      expect(await lastGood()).toEqual([{ store: 'a', train: '2026-w47', release: undefined }]);
    });

    it('is of nobody for a train that is not known or has no release', async () => {
      await ran(47, ['a']);
      expect(await lastGood()).toEqual([]);
      await ran(48, ['a'], 'done', { sequence: undefined });
      expect(await lastGood()).toEqual([]);
    });
  });

  describe('a reader', () => {
    it('answers what others recorded', async () => {
      const reader = openLedgerReader(database.url);
      await ledger.recordTrain(aTrain());
      await ledger.recordApproval(anApproval());
      expect(await reader.train('2026-w48')).toEqual(aTrain());
      expect(await reader.approvals('2026-w48')).toEqual([anApproval()]);
      expect(await reader.lastGoodBefore('2026-w48')).toEqual([]);
      await reader.close();
    });

    it('asks in transactions that cannot write', async () => {
      const pool = new pg.Pool({ connectionString: database.url, max: 1 });
      const write = inTransaction(pool, 'spoil', (client) => client.query('DELETE FROM trains'), 'read only');
      await expect(write).rejects.toThrow(/read-only transaction/);
      await pool.end();
    });

    it.runIf(kind.name === 'PostgreSQL')('needs no more than an account that may read', async () => {
      const account = `reader_${randomUUID().slice(0, 8)}`;
      await execute(
        database.url,
        `CREATE ROLE ${account} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${account}`,
      );
      await ledger.recordTrain(aTrain());
      const reader = openLedgerReader(Object.assign(new URL(database.url), { username: account }).href);
      expect(await reader.train('2026-w48')).toEqual(aTrain());
      expect(await reader.lastGoodBefore('2026-w48')).toEqual([]);
      await reader.close();
      await execute(database.url, `DROP OWNED BY ${account}; DROP ROLE ${account}`);
    });

    it('leaves the schema to those who write', async () => {
      const empty = await kind.create();
      const reader = openLedgerReader(empty.url);
      await expect(reader.train('2026-w48')).rejects.toMatchObject({ name: 'LedgerError', retryable: false });
      expect(await execute(empty.url, `SELECT to_regclass('ledger_migrations') AS t`)).toEqual([{ t: null }]);
      await reader.close();
      await empty.drop();
    });
  });

  describe('backups', () => {
    const night = 'night-2026-11-26';
    const known = async () => (await ledger.guestBackups())[0];

    it('keeps a night as it was recorded, and replaces it whole', async () => {
      const row = aNight({ reason: 'BackupIncomplete', summary: '1 store.', endedAt: '2026-11-27T03:00:00.000Z' });
      await ledger.recordNight(row);
      expect(await ledger.night(night)).toEqual(row);
      await ledger.recordNight(aNight());
      expect(await ledger.night(night)).toEqual(aNight());
      expect(await ledger.night('night-2026-11-27')).toBeUndefined();
    });

    it('lists the newest nights of a fleet first', async () => {
      await ledger.recordNight(aNight());
      await ledger.recordNight(aNight({ id: 'night-2026-11-28', startedAt: '2026-11-28T21:00:00.000Z' }));
      await ledger.recordNight(aNight({ id: 'night-2026-11-27', startedAt: '2026-11-27T21:00:00.000Z' }));
      await ledger.recordNight(aNight({ id: 'north', fleet: 'north', startedAt: '2026-11-29T21:00:00.000Z' }));
      const ids = (await ledger.nights('edge', 2)).map(({ id }) => id);
      expect(ids).toEqual(['night-2026-11-28', 'night-2026-11-27']);
    });

    it('changes nothing when a write is repeated', async () => {
      const guests = [aNightGuest(), aNightGuest({ vmid: 102 })];
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await ledger.recordNight(aNight());
        await ledger.recordNightGuests(guests);
        await ledger.recordGuestBackups([aGuestBackup(), aGuestBackup({ vmid: 102 })]);
      }
      expect(await ledger.nights('edge', 10)).toEqual([aNight()]);
      expect(await ledger.nightGuests(night)).toEqual(guests);
      expect(await ledger.guestBackups()).toEqual([aGuestBackup(), aGuestBackup({ vmid: 102 })]);
    });

    it('takes the last word on a guest of one write, and nothing from an empty one', async () => {
      await ledger.recordNightGuests([aNightGuest({ result: 'nothing new' }), aNightGuest()]);
      await ledger.recordGuestBackups([aGuestBackup({ name: 'old' }), aGuestBackup()]);
      await ledger.recordNightGuests([]);
      await ledger.recordGuestBackups([]);
      expect(await ledger.nightGuests(night)).toEqual([aNightGuest()]);
      expect(await known()).toEqual(aGuestBackup());
    });

    it('tells the nights of one guest, newest first, also one whose night was never recorded', async () => {
      await ledger.recordNight(aNight({ id: 'by-hand', startedAt: '2026-11-28T09:00:00.000Z' }));
      await ledger.recordNight(aNight());
      const failed = aNightGuest({ night: 'by-hand', result: 'nothing new', text: 'no lock', snapshotAt: undefined });
      const unrecorded = aNightGuest({ night: 'lost', snapshotAt: '2026-11-27T21:05:00.000Z' });
      const others = [aNightGuest({ vmid: 102 }), aNightGuest({ store: 'store-002' })];
      await ledger.recordNightGuests([aNightGuest(), unrecorded, failed, ...others]);
      expect(await ledger.backupHistory('store-001', 101, 10)).toEqual([failed, unrecorded, aNightGuest()]);
      expect(await ledger.backupHistory('store-001', 101, 1)).toEqual([failed]);
    });

    it('knows the guests of one store, or of all', async () => {
      await ledger.recordGuestBackups([aGuestBackup({ store: 'store-002' }), aGuestBackup()]);
      expect((await ledger.guestBackups()).map(({ store }) => store)).toEqual(['store-001', 'store-002']);
      expect(await ledger.guestBackups({ store: 'store-002' })).toEqual([aGuestBackup({ store: 'store-002' })]);
    });

    const later = '2026-11-27T22:00:00.000Z';

    it('knows of the datastore of each copy what was read last, whole', async () => {
      // More than fits into 32 bits.
      const read = { fleet: 'edge', total: 4e12, used: 3e12, stillBad: 5e9, readAt: later };
      const [local, offsite] = (['local', 'offsite'] as const).map((place) => ({ ...read, store: 'store-001', place }));
      const other = { ...local!, store: 'store-002' };
      await ledger.recordDatastores([other, offsite!, local!]);
      await ledger.recordDatastores([{ ...local!, used: 1, readAt: '2026-11-27T21:00:00.000Z' }]);
      await ledger.recordDatastores([]);
      expect(await ledger.datastores()).toEqual([local, offsite, other]);
      const silent = { fleet: 'edge', store: 'store-002', place: 'local' as const, readAt: '2026-11-28T22:00:00.000Z' };
      await ledger.recordDatastores([silent]);
      expect(await ledger.datastores({ store: 'store-002' })).toEqual([silent]);
    });

    it.each([
      ['the store could not be asked', { local: undefined }],
      ['the second place could not be asked', { offsite: undefined }],
      ['neither could be asked', { local: undefined, offsite: undefined }],
    ])('keeps what was known before when %s', async (_what, change) => {
      await ledger.recordGuestBackups([aGuestBackup()]);
      await ledger.recordGuestBackups([aGuestBackup({ ...change, name: 'till', seenAt: later })]);
      expect(await known()).toEqual(aGuestBackup({ name: 'till', seenAt: later }));
    });

    it('keeps which disks backups leave out until a later night names others', async () => {
      const first = { disks: ['scsi1'], at: LOCAL.readAt };
      await ledger.recordGuestBackups([aGuestBackup({ leftOut: first })]);
      await ledger.recordGuestBackups([aGuestBackup()]);
      expect((await known())?.leftOut).toEqual(first);
      await ledger.recordGuestBackups([aGuestBackup({ leftOut: { disks: [], at: later } })]);
      expect((await known())?.leftOut).toEqual({ disks: [], at: later });
      await ledger.recordGuestBackups([aGuestBackup({ leftOut: first })]);
      expect((await known())?.leftOut).toEqual({ disks: [], at: later });
    });

    it('forgets what a server that was asked does not have any more', async () => {
      await ledger.recordGuestBackups([aGuestBackup()]);
      await ledger.recordGuestBackups([aGuestBackup({ local: { readAt: later }, offsite: { readAt: later } })]);
      expect(await known()).toEqual(aGuestBackup({ local: { readAt: later }, offsite: { readAt: later } }));
    });

    it('takes nothing back for a write that comes late', async () => {
      const newer = aGuestBackup({
        name: 'till',
        local: { ...LOCAL, readAt: later },
        offsite: { ...OFFSITE, readAt: later },
        seenAt: later,
      });
      await ledger.recordGuestBackups([newer]);
      await ledger.recordGuestBackups([aGuestBackup({ local: { readAt: LOCAL.readAt }, rpoOffsiteMs: undefined })]);
      expect(await known()).toEqual(newer);
    });

    it('keeps when a guest was first seen, whatever is told later', async () => {
      await ledger.recordGuestBackups([aGuestBackup()]);
      await ledger.recordGuestBackups([aGuestBackup({ firstSeen: later, seenAt: later })]);
      expect((await known())?.firstSeen).toBe('2026-11-01T10:00:00.000Z');
    });

    it('marks the guests that the cluster does not have any more, once, and only of that store', async () => {
      const guests = [101, 102, 103].map((vmid) => aGuestBackup({ vmid }));
      await ledger.recordGuestBackups([...guests, aGuestBackup({ store: 'store-002' })]);
      await ledger.recordGuestBackups([aGuestBackup({ vmid: 103, seenAt: '2026-11-28T00:00:00.000Z' })]);
      await ledger.markGuestsGone('store-001', [101], later);
      await ledger.markGuestsGone('store-001', [101], '2026-11-27T23:00:00.000Z');
      const gone = (await ledger.guestBackups()).map(({ store, vmid, goneAt }) => [store, vmid, goneAt]);
      expect(gone).toEqual([
        ['store-001', 101, undefined],
        ['store-001', 102, later],
        // Seen after the list was read.
        ['store-001', 103, undefined],
        ['store-002', 101, undefined],
      ]);
    });

    it('has a guest back that was seen after it went, and not by a write that comes late', async () => {
      await ledger.recordGuestBackups([aGuestBackup()]);
      await ledger.markGuestsGone('store-001', [], later);
      await ledger.recordGuestBackups([aGuestBackup()]);
      expect((await known())?.goneAt).toBe(later);
      await ledger.recordGuestBackups([aGuestBackup({ seenAt: '2026-11-28T22:00:00.000Z' })]);
      expect((await known())?.goneAt).toBeUndefined();
    });

    describe('of a number that guests had one after another', () => {
      const nextNight = '2026-11-28T22:00:00.000Z';
      /** What a night says of whatever has the number, and has found nothing newer on the servers. */
      const seenAgain = (change: Partial<GuestBackupRow> = {}) =>
        aGuestBackup({
          local: { ...LOCAL, readAt: nextNight },
          offsite: { ...OFFSITE, readAt: nextNight },
          firstSeen: nextNight,
          seenAt: nextNight,
          ...change,
        });
      const newest = '2026-11-28T21:05:00.000Z';
      const gone = () => ledger.markGuestsGone('store-001', [], later);

      it('knows nothing of one that is back under another name but what is younger than the one before', async () => {
        await ledger.recordGuestBackups([aGuestBackup()]);
        await gone();
        const other = seenAgain({ name: 'cache' });
        await ledger.recordGuestBackups([other]);
        const own = { ...other, local: { readAt: nextNight }, offsite: { readAt: nextNight }, ownSince: later };
        expect(await known()).toEqual(own);
        await ledger.recordGuestBackups([other]);
        expect(await known()).toEqual(own);

        const third = '2026-11-29T22:00:00.000Z';
        const backedUp = { readAt: third, provenAt: newest, verifiedAt: newest, size: 1, encrypted: false };
        const unproven = { readAt: third, unprovenAt: newest, unprovenWhy: 'not verified' as const };
        const { provenAt, verifiedAt } = OFFSITE;
        await ledger.recordGuestBackups([
          { ...other, local: backedUp, offsite: { ...unproven, provenAt, verifiedAt }, seenAt: third },
        ]);
        expect(await known()).toEqual({ ...own, local: backedUp, offsite: unproven, seenAt: third });
      });

      it('knows nothing of one of another kind, also when nobody saw the number free', async () => {
        await ledger.recordGuestBackups([aGuestBackup()]);
        await ledger.recordGuestBackups([seenAgain({ kind: 'lxc', local: undefined })]);
        expect(await known()).toEqual(
          seenAgain({
            kind: 'lxc',
            local: undefined,
            offsite: { readAt: nextNight },
            ownSince: '2026-11-26T22:00:00.000Z',
          }),
        );
      });

      it('keeps what it knows of one that was only renamed, while it was there', async () => {
        await ledger.recordGuestBackups([aGuestBackup()]);
        await ledger.recordGuestBackups([seenAgain({ name: 'till-1' })]);
        expect(await known()).toEqual(seenAgain({ name: 'till-1', firstSeen: '2026-11-01T10:00:00.000Z' }));
      });

      it('keeps what it knows of one that is back under its own name, say restored after a loss', async () => {
        await ledger.recordGuestBackups([aGuestBackup()]);
        await gone();
        await ledger.recordGuestBackups([seenAgain()]);
        expect(await known()).toEqual(seenAgain({ firstSeen: '2026-11-01T10:00:00.000Z' }));
      });

      it.each([
        ['its own is the same', 'till', { firstSeen: '2026-11-01T10:00:00.000Z' }],
        ['another is another', 'cache', { local: { readAt: '2026-11-29T22:00:00.000Z' }, ownSince: later }],
      ])('waits for the name of one that is back while its node is down: %s', async (_what, name, told) => {
        await ledger.recordGuestBackups([aGuestBackup({ name: 'till' })]);
        await gone();
        await ledger.recordGuestBackups([seenAgain({ name: '' })]);
        expect(await known()).toMatchObject({ name: 'till', goneAt: later });
        const third = '2026-11-29T22:00:00.000Z';
        await ledger.recordGuestBackups([seenAgain({ name, local: { ...LOCAL, readAt: third }, seenAt: third })]);
        const after = await known();
        expect(after).toMatchObject({ name, ...told });
        expect(after?.goneAt).toBeUndefined();
        expect(after?.local?.provenAt).toBe(name === 'till' ? LOCAL.provenAt : undefined);
      });

      it('takes no late write of the one before for another guest', async () => {
        const other = seenAgain({ kind: 'lxc', local: undefined, offsite: undefined });
        await ledger.recordGuestBackups([aGuestBackup()]);
        await ledger.recordGuestBackups([other]);
        const after = await known();
        await ledger.recordGuestBackups([aGuestBackup({ seenAt: later, local: undefined, offsite: undefined })]);
        expect(await known()).toEqual(after);
        await gone();
        await ledger.recordGuestBackups([
          aGuestBackup({ kind: 'lxc', name: 'x', local: undefined, offsite: undefined }),
        ]);
        expect(await known()).toEqual(after);
      });

      it('tells three of them apart', async () => {
        await ledger.recordGuestBackups([aGuestBackup()]);
        await ledger.recordGuestBackups([seenAgain({ kind: 'lxc' })]);
        const third = '2026-11-29T22:00:00.000Z';
        await ledger.recordGuestBackups([seenAgain({ kind: 'qemu', seenAt: third, firstSeen: third })]);
        expect(await known()).toMatchObject({ firstSeen: third, ownSince: nextNight });
      });
    });

    it('leaves trains alone: neither estimates nor last good releases know of a night, the store does', async () => {
      await ledger.recordTrain(aTrain({ id: '2026-w47', sequence: 47, startedAt: '2026-11-16T01:00:00.000Z' }));
      await ledger.recordStage(aStage({ train: '2026-w47', state: 'done' }));
      await ledger.recordResults('2026-w47', 'canary', 0, [aResult()]);
      await ledger.confirmResults('2026-w47', 'canary', ['store-001'], '2026-11-17T01:00:00.000Z');
      await ledger.recordTrain(aTrain());
      const before = [await ledger.durations(10), await ledger.lastGoodBefore('2026-w48'), await ledger.trains(10)];
      await ledger.recordNight(aNight());
      await ledger.recordResults(night, 'backup', 0, [
        aResult({ startedAt: '2026-11-26T21:00:00.000Z', endedAt: '2026-11-26T23:00:00.000Z' }),
        aResult({ store: 'store-002' }),
      ]);
      const after = [await ledger.durations(10), await ledger.lastGoodBefore('2026-w48'), await ledger.trains(10)];
      expect(after).toEqual(before);
      expect(before).toMatchObject([[1_800_000], [{ store: 'store-001', train: '2026-w47' }], [{}, {}]]);
      expect(await ledger.results('2026-w47')).toHaveLength(1);
      const history = await ledger.storeHistory('store-001', 10);
      expect(history.map(({ train, stage }) => [train, stage])).toEqual([
        [night, 'backup'],
        ['2026-w47', 'canary'],
      ]);
    });
  });

  describe('restore tests', () => {
    const run = 'restores-2026-w48';

    it('keeps a run as it was recorded, and replaces it whole', async () => {
      const ended = aRestoreRun({ state: 'done', summary: 'All passed.', endedAt: '2026-11-29T12:00:00.456Z' });
      await ledger.recordRestoreRun(ended);
      expect(await ledger.restoreRun(run)).toEqual(ended);
      await ledger.recordRestoreRun(aRestoreRun({ commit: undefined }));
      expect(await ledger.restoreRun(run)).toEqual(aRestoreRun({ commit: undefined }));
      expect(await ledger.restoreRun('restores-2026-w49')).toBeUndefined();
    });

    it('lists the newest runs of a fleet first', async () => {
      await ledger.recordRestoreRun(aRestoreRun({ id: 'by-hand', startedAt: '2026-12-01T08:00:00.000Z' }));
      await ledger.recordRestoreRun(aRestoreRun({ id: 'restores-2026-w47', startedAt: '2026-11-22T08:00:00.000Z' }));
      await ledger.recordRestoreRun(aRestoreRun());
      const ofAnother = { id: 'north', fleet: 'north', startedAt: '2026-12-02T08:00:00.000Z' };
      await ledger.recordRestoreRun(aRestoreRun(ofAnother));
      const ids = async (limit: number) => (await ledger.restoreRuns('edge', limit)).map(({ id }) => id);
      expect(await ids(10)).toEqual(['by-hand', run, 'restores-2026-w47']);
      expect(await ids(2)).toEqual(['by-hand', run]);
    });

    it('keeps the trials of a run as they were recorded, sorted by store and guest', async () => {
      const failed = aRestoreTest({
        vmid: 102,
        result: 'fail',
        text: 'It was restored and started, and is not well: http.',
        detail: ['http: connection refused', 'a "quoted" line'],
        rtoMs: undefined,
      });
      const spoilt = aRestoreTest({ store: 'store-002', vmid: 99, ...SPOILT });
      await ledger.recordRestoreTests([spoilt, failed, aRestoreTest()]);
      await ledger.recordRestoreTests([aRestoreTest({ run: 'by-hand' })]);
      expect(await ledger.restoreTests(run)).toEqual([aRestoreTest(), failed, spoilt]);
      expect(await ledger.restoreTests('restores-2026-w49')).toEqual([]);
    });

    it.each(['pass', 'fail', 'partial', 'infra-error'] as const)('knows the result %s', async (result) => {
      await ledger.recordRestoreTests([aRestoreTest({ result })]);
      expect(await ledger.restoreTests(run)).toEqual([aRestoreTest({ result })]);
    });

    it('changes nothing when a write is repeated', async () => {
      const tests = [aRestoreTest(), aRestoreTest({ vmid: 102, detail: ['http: refused'] })];
      for (let attempt = 0; attempt < 2; attempt += 1) {
        await ledger.recordRestoreRun(aRestoreRun());
        await ledger.recordRestoreTests(tests);
      }
      expect(await ledger.restoreRuns('edge', 10)).toEqual([aRestoreRun()]);
      expect(await ledger.restoreTests(run)).toEqual(tests);
    });

    it('replaces a trial whole, so that neither a reason nor a time outlives its cause', async () => {
      await ledger.recordRestoreTests([aRestoreTest({ result: 'partial', text: 'left out', detail: ['a line'] })]);
      await ledger.recordRestoreTests([aRestoreTest(SPOILT)]);
      expect(await ledger.restoreTests(run)).toEqual([aRestoreTest(SPOILT)]);
    });

    it('takes the last word on a guest of one write, and nothing from an empty one', async () => {
      await ledger.recordRestoreTests([aRestoreTest({ result: 'fail' }), aRestoreTest()]);
      await ledger.recordRestoreTests([]);
      expect(await ledger.restoreTests(run)).toEqual([aRestoreTest()]);
    });

    /** A trial of each run, an hour after the one before. */
    const inTurn = (...changes: Partial<RestoreTestRow>[]): RestoreTestRow[] =>
      changes.map((change, hour) =>
        aRestoreTest({ run: `run-${hour}`, testedAt: `2026-11-29T0${hour}:00:00.000Z`, ...change }),
      );

    it('tells the trials of one guest, newest first, up to a number', async () => {
      const own = inTurn({ result: 'fail' }, {}, { result: 'partial' });
      const others = [aRestoreTest({ vmid: 102 }), aRestoreTest({ store: 'store-002' })];
      await ledger.recordRestoreTests([...own, ...others]);
      expect(await ledger.restoreHistory('store-001', 101, 10)).toEqual(own.toReversed());
      expect(await ledger.restoreHistory('store-001', 101, 2)).toEqual(own.toReversed().slice(0, 2));
      expect(await ledger.restoreHistory('store-001', 109, 10)).toEqual([]);
    });

    it('knows of each guest the newest trial of each result, whichever came last', async () => {
      const passes = inTurn({}, {});
      const fails = inTurn({ result: 'fail', run: 'a' }, { result: 'fail', run: 'b' });
      const neighbour = aRestoreTest({ vmid: 102, ...SPOILT });
      const elsewhere = aRestoreTest({ store: 'store-002' });
      const ofAnother = aRestoreTest({ store: 'store-900', fleet: 'north' });
      await ledger.recordRestoreTests([...passes.toReversed(), ...fails, elsewhere, neighbour, ofAnother]);
      const newest = await ledger.newestRestores('edge');
      expect(newest).toHaveLength(4);
      expect(newest).toEqual(expect.arrayContaining([passes[1], fails[1], neighbour, elsewhere]));
      expect(newest.map(({ store, vmid }) => [store, vmid])).toEqual([
        ['store-001', 101],
        ['store-001', 101],
        ['store-001', 102],
        ['store-002', 101],
      ]);
      expect(await ledger.newestRestores('south')).toEqual([]);
    });

    it('leaves trains alone: neither estimates nor last good releases know of a run, the store does', async () => {
      await ledger.recordTrain(aTrain({ id: '2026-w47', sequence: 47, startedAt: '2026-11-16T01:00:00.000Z' }));
      await ledger.recordStage(aStage({ train: '2026-w47', state: 'done' }));
      await ledger.recordResults('2026-w47', 'canary', 0, [aResult()]);
      await ledger.confirmResults('2026-w47', 'canary', ['store-001'], '2026-11-17T01:00:00.000Z');
      await ledger.recordTrain(aTrain());
      const asked = () =>
        Promise.all([
          ledger.durations(10),
          ledger.lastGoodBefore('2026-w48'),
          ledger.trains(10),
          ledger.nights('edge', 10),
        ]);
      const before = await asked();
      await ledger.recordRestoreRun(aRestoreRun());
      await ledger.recordRestoreTests([aRestoreTest()]);
      const took = { startedAt: '2026-11-29T08:00:00.000Z', endedAt: '2026-11-29T08:10:00.000Z' };
      await ledger.recordResults(run, 'restore', 0, [aResult(took), aResult({ store: 'store-002', ...took })]);
      expect(await asked()).toEqual(before);
      expect(before).toMatchObject([[1_800_000], [{ store: 'store-001', train: '2026-w47' }], [{}, {}], []]);
      const history = await ledger.storeHistory('store-001', 10);
      expect(history.map(({ train, stage }) => [train, stage])).toEqual([
        [run, 'restore'],
        ['2026-w47', 'canary'],
      ]);
    });
  });

  it('records nothing for no results', async () => {
    await ledger.recordResults('2026-w48', 'canary', 0, []);
    expect(await count('results')).toBe(0);
  });

  it('tells the history of a store, newest first, over all trains', async () => {
    await ledger.recordResults('2026-w47', 'canary', 0, [aResult({ endedAt: '2026-11-17T09:30:00Z' })]);
    await ledger.recordResults('2026-w49', 'canary', 0, [aResult({ endedAt: '2026-12-01T09:30:00Z' })]);
    await ledger.recordResults('2026-w48', 'canary', 0, [aResult(), aResult({ store: 'store-002' })]);
    expect((await ledger.storeHistory('store-001', 2)).map(({ train }) => train)).toEqual(['2026-w49', '2026-w48']);
  });

  it('tells it of one kind of operation alone, and the newest of each kind however many others came after it', async () => {
    const at = (day: number) => aResult({ endedAt: `2026-12-${String(day).padStart(2, '0')}T09:30:00.000Z` });
    await ledger.recordResults('2026-w48', 'canary', 0, [at(1)]);
    await ledger.recordResults('2026-w48', 'rollback', 0, [at(2)]);
    await ledger.recordResults('2026-w48', 'wave-1', 0, [at(3)]);
    for (let day = 4; day < 9; day += 1) await ledger.recordResults(`night-${day}`, 'backup', 0, [at(day)]);
    await ledger.recordResults('night-9', 'backup', 0, [{ ...at(9), store: 'store-002' }]);
    const placesOf = (rows: { train: string; stage: string }[]) => rows.map(({ train, stage }) => `${train}/${stage}`);
    expect(placesOf(await ledger.storeHistory('store-001', 10, 'patch'))).toEqual([
      '2026-w48/wave-1',
      '2026-w48/canary',
    ]);
    expect(placesOf(await ledger.storeHistory('store-001', 1, 'patch'))).toEqual(['2026-w48/wave-1']);
    expect(placesOf(await ledger.storeHistory('store-001', 2, 'backup'))).toEqual(['night-8/backup', 'night-7/backup']);
    expect(await ledger.storeHistory('store-001', 10, 'restore')).toEqual([]);
    expect(placesOf(await ledger.newestOfEach('store-001')).toSorted()).toEqual([
      '2026-w48/rollback',
      '2026-w48/wave-1',
      'night-8/backup',
    ]);
  });

  it('gives the durations of successes only, newest first', async () => {
    await ledger.recordResults('2026-w48', 'canary', 0, [
      aResult({ store: 'store-001', endedAt: '2026-11-24T09:10:00.250Z' }),
      aResult({ store: 'store-002', endedAt: '2026-11-24T09:20:00.000Z' }),
      aResult({ store: 'store-003', outcome: 'failed' }),
      aResult({ store: 'store-004', startedAt: undefined, endedAt: undefined }),
    ]);
    expect(await ledger.durations(10)).toEqual([1_200_000, 600_250]);
    expect(await ledger.durations(1)).toEqual([1_200_000]);
  });

  it('keeps refused approvals with their refusal, in the order they came', async () => {
    const refused = anApproval({
      id: 'chat:18',
      decision: 'unknown',
      accepted: false,
      refusal: 'the requester may not approve',
      comment: 'please',
      at: '2026-11-25T08:58:00.000Z',
    });
    await ledger.recordApproval(anApproval());
    await ledger.recordApproval(refused);
    expect(await ledger.approvals('2026-w48')).toEqual([refused, anApproval()]);
  });

  it.each([
    ['quotes and statements', `'); DROP TABLE trains; -- "x"`, `'); DROP TABLE trains; -- "x"`],
    ['NUL characters', 'a\0b', 'ab'],
    ['half a surrogate pair', 'a\ud800b', 'a\ufffdb'],
    ['a backslash before u0000', 'a\\u0000b', 'a\\u0000b'],
    ['a long line', 'ü'.repeat(300_000), 'ü'.repeat(300_000)],
  ])('keeps text with %s', async (_what, summary, kept) => {
    await ledger.recordTrain(aTrain({ summary }));
    expect((await ledger.train('2026-w48'))?.summary).toBe(kept);
  });

  it('keeps apart what several processes write and read at the same time, large rows too', async () => {
    const others = await Promise.all(Array.from({ length: 6 }, () => openLedger(database.url)));
    try {
      await Promise.all(
        others.map(async (other, index) => {
          const train = `train-${index}`;
          // Several network packets for each statement: the moment in which another one could come in between.
          const summary = `${index}`.repeat(200_000);
          const results = (round: number) =>
            other.recordResults(train, 'canary', round, [
              aResult({ store: `store-${index}`, outcome: 'failed', stop: { reason: 'StepFailed', summary } }),
            ]);
          const row = () => other.recordTrain(aTrain({ id: train, sequence: index, summary }));
          for (let round = 0; round < 3; round += 1) {
            // Different statements at the same time: mixed up, the same one twice would not be noticed.
            const [first, second] = index % 2 === 0 ? [() => results(round), row] : [row, () => results(round)];
            await first();
            await second();
            expect(await other.train(train)).toMatchObject({ id: train, sequence: index, summary });
          }
          const rows = await other.results(train);
          expect(rows.map((row) => [row.store, row.round, row.summary === summary])).toEqual(
            [0, 1, 2].map((round) => [`store-${index}`, round, true]),
          );
        }),
      );
    } finally {
      await Promise.all(others.map((other) => other.close()));
    }
    expect(await count('results')).toBe(18);
  });

  describe('migrate', () => {
    let folder: string;
    let pool: pg.Pool;
    beforeEach(async () => {
      folder = await mkdtemp(join(tmpdir(), 'edge-migrations-'));
      pool = new pg.Pool({ connectionString: database.url });
      await execute(database.url, `DROP TABLE IF EXISTS t; DELETE FROM ledger_migrations WHERE name LIKE '9%'`);
    });
    afterEach(async () => {
      await pool.end();
      await rm(folder, { recursive: true, force: true });
    });

    it('applies each file once, however many start together', async () => {
      await writeFile(join(folder, '9001-t.sql'), 'CREATE TABLE t (n integer); INSERT INTO t VALUES (1);');
      await Promise.all([migrate(pool, folder), migrate(pool, folder), migrate(pool, folder)]);
      await migrate(pool, folder);
      expect(await count('t')).toBe(1);
    });

    it('leaves nothing of a migration that fails', async () => {
      await writeFile(join(folder, '9001-t.sql'), 'CREATE TABLE t (n integer);');
      await writeFile(join(folder, '9002-broken.sql'), 'INSERT INTO nowhere VALUES (1);');
      await expect(migrate(pool, folder)).rejects.toMatchObject({ name: 'LedgerError', retryable: false });
      expect(await execute(database.url, `SELECT to_regclass('t') AS t`)).toEqual([{ t: null }]);
    });

    it('refuses a file that was changed after it was applied', async () => {
      await writeFile(join(folder, '9001-t.sql'), 'CREATE TABLE t (n integer);');
      await migrate(pool, folder);
      await writeFile(join(folder, '9001-t.sql'), 'CREATE TABLE t (n bigint);');
      await expect(migrate(pool, folder)).rejects.toThrow('9001-t.sql was changed after this database applied it');
    });
  });
});

describe('openLedger', () => {
  const secret = 'canary-secret-7d1f';

  it.each([
    ['is of another kind', `mysql://edge:${secret}@127.0.0.1/edge`, false],
    ['is no URL', `postgresql://edge:${secret}@[nowhere`, false],
    ['names a server that is not there', `postgresql://edge:${secret}@127.0.0.1:1/edge`, true],
  ])('fails without telling the password when the URL %s', async (_what, url, retryable) => {
    const error = await openLedger(url).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'LedgerError', retryable });
    expect(JSON.stringify([String(error), (error as Error).stack, (error as Error).cause])).not.toContain(secret);
  });
});
