import pg from 'pg';
import type { z } from 'zod';
import {
  BACKUP_STAGE,
  RESTORE_STAGE,
  ROLLBACK_STAGE,
  STORE_OPERATIONS,
  type StoreOperationKind,
} from '#domain/naming.js';
import type { Offer } from '#domain/drift.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { LastGood } from '#domain/rollback.js';
import { LedgerError } from './errors.js';
import { migrate } from './migrate.js';
import {
  approvalRow,
  durationRow,
  datastoreRow,
  guestBackupRow,
  lastGoodRow,
  nightGuestRow,
  nightRow,
  offerRow,
  restoreRunRow,
  restoreTestRow,
  resultRow,
  stageRow,
  trainRow,
} from './rows.js';
import { inTransaction } from './transaction.js';
import type {
  ApprovalRow,
  DatastoreRow,
  GuestBackupRow,
  Ledger,
  LedgerReader,
  NightGuestRow,
  NightRow,
  RestoreRunRow,
  RestoreTestRow,
  ResultRow,
  StageRow,
  TrainRow,
} from './types.js';

/** Below every activity timeout, so that an attempt that was given up can no longer overwrite what came after it. */
const STATEMENT_TIMEOUT_MS = 8_000;

export interface LedgerOptions {
  /** Connections of this process. */
  connections?: number;
  /** Told when an idle connection breaks; the next call opens a new one. */
  onConnectionLost?: (error: Error) => void;
}

/** Of results: as `operationOfStage` says, and in which order the history of a store stands. */
const KIND = `CASE WHEN stage IN (${STORE_OPERATIONS.map((operation) => `'${operation}'`).join()}) THEN stage ELSE 'patch' END`;
/** Of a fleet's trains: a store that none of them brought up to date is behind whatever came before. */
const TRAINS_THAT_COUNT = 12;
const NEWEST_FIRST = 'coalesce(ended_at, started_at, recorded_at) DESC, round DESC';

/**
 * Opens the ledger in a PostgreSQL database (`postgresql://…`) and brings its schema up to date.
 * A row that is recorded replaces the one with the same key, whole, unless its method says otherwise. Throws `LedgerError`.
 */
export async function openLedger(databaseUrl: string, options: LedgerOptions = {}): Promise<Ledger> {
  const pool = openPool(databaseUrl, options);
  try {
    await migrate(pool);
  } catch (error) {
    await pool.end();
    throw error;
  }
  return new PgLedger(pool);
}

/**
 * For a process that only asks: an account that may read is enough. Connects at the first question, and leaves the
 * schema to those who write. Throws `LedgerError` for a URL that is none.
 */
export const openLedgerReader = (databaseUrl: string, options: LedgerOptions = {}): LedgerReader =>
  new PgLedger(openPool(databaseUrl, options));

function openPool(databaseUrl: string, options: LedgerOptions): pg.Pool {
  const pool = new pg.Pool({
    connectionString: checkedUrl(databaseUrl),
    max: options.connections ?? 4,
    connectionTimeoutMillis: 10_000,
    statement_timeout: STATEMENT_TIMEOUT_MS,
    query_timeout: STATEMENT_TIMEOUT_MS + 1_000,
    idleTimeoutMillis: 30_000,
    application_name: 'edge-governor',
  });
  // Without a listener, a broken idle connection would end the process.
  pool.on('error', (error) => options.onConnectionLost?.(error));
  return pool;
}

function checkedUrl(databaseUrl: string): string {
  if (URL.canParse(databaseUrl) && /^postgres(ql)?:$/.test(new URL(databaseUrl).protocol)) return databaseUrl;
  throw new LedgerError('The database URL is not of the form postgresql://user:password@host:port/database.', {
    retryable: false,
  });
}

class PgLedger implements Ledger {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  recordTrain(row: TrainRow): Promise<void> {
    return this.#upsert(
      'trains',
      ['id'],
      [
        {
          id: row.id,
          fleet: row.fleet,
          release: row.release,
          sequence: row.sequence,
          manifest: row.manifest,
          bundle: row.bundle,
          commit: row.commit,
          plan_hash: row.planHash,
          state: row.state,
          reason: row.reason,
          summary: row.summary,
          started_at: row.startedAt,
          ended_at: row.endedAt,
        },
      ],
    );
  }

  recordStage(row: StageRow): Promise<void> {
    return this.#upsert(
      'stages',
      ['train', 'stage'],
      [
        {
          train: row.train,
          stage: row.stage,
          position: row.position,
          stores: row.stores,
          state: row.state,
          reason: row.reason,
          commit: row.commit,
          tally: row.tally,
          started_at: row.startedAt,
          ended_at: row.endedAt,
        },
      ],
    );
  }

  async recordResults(train: string, stage: string, round: number, results: StoreResult[]): Promise<void> {
    const rows = lastOfEach(results, ({ store }) => store).map((result) => ({
      train,
      stage,
      store: result.store,
      round,
      outcome: result.outcome,
      reason: result.reason,
      summary: result.stop?.summary,
      stop: result.stop,
      operation_id: result.operationId,
      release: result.release,
      nodes_patched: result.nodesPatched,
      nodes_rebooted: result.nodesRebooted,
      started_at: result.startedAt,
      ended_at: result.endedAt,
    }));
    if (rows.length > 0) await this.#upsert('results', ['train', 'stage', 'store', 'round'], rows);
  }

  async confirmResults(train: string, stage: string, stores: readonly string[], at: string): Promise<void> {
    await inTransaction(this.#pool, 'confirm results', (client) =>
      client.query(
        `UPDATE results SET confirmed_at = $4
          WHERE train = $1 AND stage = $2 AND store = ANY ($3::text[]) AND outcome = 'succeeded'
            AND confirmed_at IS NULL`,
        [train, stage, stores, at],
      ),
    );
  }

  recordApproval(row: ApprovalRow): Promise<void> {
    return this.#upsert(
      'approvals',
      ['train', 'stage', 'id'],
      [
        {
          train: row.train,
          stage: row.stage,
          id: row.id,
          plan_hash: row.planHash,
          decision: row.decision,
          by_whom: row.by,
          via: row.via,
          comment: row.comment,
          accepted: row.accepted,
          refusal: row.refusal,
          at: row.at,
        },
      ],
    );
  }

  recordNight(row: NightRow): Promise<void> {
    return this.#upsert(
      'nights',
      ['id'],
      [
        {
          id: row.id,
          fleet: row.fleet,
          state: row.state,
          reason: row.reason,
          summary: row.summary,
          commit: row.commit,
          stores: row.stores,
          tally: row.tally,
          opens: row.opens,
          closes: row.closes,
          started_at: row.startedAt,
          ended_at: row.endedAt,
        },
      ],
    );
  }

  async recordNightGuests(guests: readonly NightGuestRow[]): Promise<void> {
    const rows = lastOfEach(guests, ({ night, store, vmid }) => `${night}/${store}/${vmid}`).map((row) => ({
      night: row.night,
      store: row.store,
      vmid: row.vmid,
      name: row.name,
      result: row.result,
      text: row.text,
      snapshot_at: row.snapshotAt,
      offsite: row.offsite,
    }));
    if (rows.length > 0) await this.#upsert('night_guests', ['night', 'store', 'vmid'], rows);
  }

  recordRestoreRun(row: RestoreRunRow): Promise<void> {
    const { startedAt, endedAt, id, fleet, state, summary, commit, stores, guests, tally } = row;
    const columns = { id, fleet, state, summary, commit, stores, guests, tally };
    return this.#upsert('restore_runs', ['id'], [{ ...columns, started_at: startedAt, ended_at: endedAt }]);
  }

  async recordRestoreTests(tests: readonly RestoreTestRow[]): Promise<void> {
    const rows = lastOfEach(tests, ({ run, store, vmid }) => `${run}/${store}/${vmid}`).map((row) => ({
      run: row.run,
      store: row.store,
      vmid: row.vmid,
      fleet: row.fleet,
      name: row.name,
      kind: row.kind,
      class: row.class,
      tier: row.tier,
      why: row.why,
      result: row.result,
      text: row.text,
      detail: row.detail,
      snapshot_at: row.snapshotAt,
      rto_ms: row.rtoMs,
      restore_ms: row.restoreMs,
      boot_ms: row.bootMs,
      probe_ms: row.probeMs,
      rpo_ms: row.rpoMs,
      bytes: row.bytes,
      tested_at: row.testedAt,
    }));
    if (rows.length > 0) await this.#upsert('restore_tests', ['run', 'store', 'vmid'], rows);
  }

  async recordGuestBackups(guests: readonly GuestBackupRow[]): Promise<void> {
    const rows = lastOfEach(guests, ({ store, vmid }) => `${store}/${vmid}`).map(guestBackupColumns);
    if (rows.length > 0) await this.#upsert('guest_backups', ['store', 'vmid'], rows, GUEST_BACKUP_CHANGES);
  }

  async recordDatastores(datastores: readonly DatastoreRow[]): Promise<void> {
    const rows = lastOfEach(datastores, ({ store, place }) => `${store}/${place}`).map((row) => ({
      store: row.store,
      place: row.place,
      fleet: row.fleet,
      total: row.total,
      used: row.used,
      still_bad: row.stillBad,
      read_at: row.readAt,
    }));
    if (rows.length > 0) await this.#upsert('datastores', ['store', 'place'], rows, DATASTORE_CHANGES);
  }

  async markGuestsGone(store: string, keptVmids: readonly number[], at: string): Promise<void> {
    await inTransaction(this.#pool, 'mark guests gone', (client) =>
      client.query(
        `UPDATE guest_backups SET gone_at = $3
          WHERE store = $1 AND vmid <> ALL ($2::integer[]) AND gone_at IS NULL AND seen_at < $3`,
        [store, keptVmids, at],
      ),
    );
  }

  async train(id: string): Promise<TrainRow | undefined> {
    const [row] = await this.#select('trains', trainRow, 'SELECT * FROM trains WHERE id = $1', [id]);
    return row;
  }

  trains(limit: number): Promise<TrainRow[]> {
    return this.#select('trains', trainRow, 'SELECT * FROM trains ORDER BY started_at DESC, id LIMIT $1', [limit]);
  }

  stages(train: string): Promise<StageRow[]> {
    return this.#select('stages', stageRow, 'SELECT * FROM stages WHERE train = $1 ORDER BY position, stage', [train]);
  }

  results(train: string): Promise<ResultRow[]> {
    return this.#select('results', resultRow, 'SELECT * FROM results WHERE train = $1 ORDER BY stage, store, round', [
      train,
    ]);
  }

  storeHistory(store: string, limit: number, operation?: StoreOperationKind): Promise<ResultRow[]> {
    return this.#select(
      'results',
      resultRow,
      `SELECT * FROM results
        WHERE store = $1 AND ($3::text IS NULL OR ${KIND} = $3)
        ORDER BY ${NEWEST_FIRST} LIMIT $2`,
      [store, limit, operation ?? null],
    );
  }

  newestOfEach(store: string): Promise<ResultRow[]> {
    return this.#select(
      'results',
      resultRow,
      `SELECT DISTINCT ON (${KIND}) * FROM results WHERE store = $1 ORDER BY ${KIND}, ${NEWEST_FIRST}`,
      [store],
    );
  }

  approvals(train: string): Promise<ApprovalRow[]> {
    return this.#select('approvals', approvalRow, 'SELECT * FROM approvals WHERE train = $1 ORDER BY at, id', [train]);
  }

  durations(limit: number): Promise<number[]> {
    return this.#select(
      'results',
      durationRow,
      `SELECT (extract(epoch FROM ended_at - started_at) * 1000)::float8 AS milliseconds FROM results
        WHERE outcome = 'succeeded' AND stage <> ALL ($2::text[]) AND started_at IS NOT NULL AND ended_at IS NOT NULL
        ORDER BY ended_at DESC LIMIT $1`,
      [limit, [BACKUP_STAGE, RESTORE_STAGE]],
    );
  }

  lastGoodBefore(train: string): Promise<LastGood[]> {
    return this.#select(
      'last good releases',
      lastGoodRow,
      `SELECT DISTINCT ON (results.store) results.store, earlier.id AS train,
              earlier.release AS version, earlier.sequence, earlier.manifest, earlier.bundle
         FROM trains this
         JOIN trains earlier ON earlier.fleet = this.fleet AND earlier.started_at < this.started_at
                            AND earlier.sequence < this.sequence
         JOIN results ON results.train = earlier.id AND results.confirmed_at IS NOT NULL
        WHERE this.id = $1
          AND earlier.release IS NOT NULL AND earlier.manifest IS NOT NULL
          AND NOT EXISTS (SELECT FROM results back JOIN trains taken ON taken.id = back.train
                           WHERE back.store = results.store AND back.stage = $2 AND taken.fleet = earlier.fleet
                             AND taken.sequence = earlier.sequence AND taken.started_at >= earlier.started_at)
        ORDER BY results.store, earlier.started_at DESC`,
      [train, ROLLBACK_STAGE],
    );
  }

  offers(of: { fleet: string } | { store: string }): Promise<Offer[]> {
    const { fleet, store } = { fleet: undefined, store: undefined, ...of };
    return this.#select(
      'offers of releases',
      offerRow,
      `SELECT DISTINCT ON (results.store, train.id) results.store, train.id AS train, results.stage,
              train.release, train.sequence, train.over, results.outcome, results.reason, results.started_at
         FROM (SELECT id, release, sequence,
                      (ended_at IS NOT NULL OR started_at < max(started_at) OVER (PARTITION BY fleet)) AS over
                 FROM trains
                WHERE ($1::text IS NULL OR fleet = $1) AND state <> 'rolled back'
                  AND release IS NOT NULL AND sequence IS NOT NULL
                ORDER BY started_at DESC LIMIT $3) train
         JOIN results ON results.train = train.id
        WHERE ($2::text IS NULL OR results.store = $2) AND results.stage <> ALL ($4::text[])
          AND NOT EXISTS (SELECT FROM results back
                           WHERE back.train = results.train AND back.store = results.store
                             AND back.stage = $5 AND back.outcome = 'rolledBack')
        ORDER BY results.store, train.id, results.round DESC`,
      [
        fleet ?? null,
        store ?? null,
        fleet === undefined ? null : TRAINS_THAT_COUNT,
        [ROLLBACK_STAGE, BACKUP_STAGE, RESTORE_STAGE],
        ROLLBACK_STAGE,
      ],
    );
  }

  async night(id: string): Promise<NightRow | undefined> {
    const [row] = await this.#select('nights', nightRow, 'SELECT * FROM nights WHERE id = $1', [id]);
    return row;
  }

  nights(fleet: string, limit: number): Promise<NightRow[]> {
    return this.#select(
      'nights',
      nightRow,
      'SELECT * FROM nights WHERE fleet = $1 ORDER BY started_at DESC, id LIMIT $2',
      [fleet, limit],
    );
  }

  nightGuests(night: string): Promise<NightGuestRow[]> {
    return this.#select(
      'night_guests',
      nightGuestRow,
      'SELECT * FROM night_guests WHERE night = $1 ORDER BY store, vmid',
      [night],
    );
  }

  guestBackups({ store }: { store?: string } = {}): Promise<GuestBackupRow[]> {
    return this.#select(
      'guest_backups',
      guestBackupRow,
      'SELECT * FROM guest_backups WHERE $1::text IS NULL OR store = $1 ORDER BY store, vmid',
      [store ?? null],
    );
  }

  datastores({ store }: { store?: string } = {}): Promise<DatastoreRow[]> {
    return this.#select(
      'datastores',
      datastoreRow,
      'SELECT * FROM datastores WHERE $1::text IS NULL OR store = $1 ORDER BY store, place',
      [store ?? null],
    );
  }

  backupHistory(store: string, vmid: number, limit: number): Promise<NightGuestRow[]> {
    return this.#select(
      'night_guests',
      nightGuestRow,
      `SELECT guest.* FROM night_guests guest LEFT JOIN nights ON nights.id = guest.night
        WHERE guest.store = $1 AND guest.vmid = $2
        ORDER BY coalesce(nights.started_at, guest.snapshot_at) DESC NULLS LAST, guest.night DESC LIMIT $3`,
      [store, vmid, limit],
    );
  }

  async restoreRun(id: string): Promise<RestoreRunRow | undefined> {
    const [row] = await this.#select('restore_runs', restoreRunRow, 'SELECT * FROM restore_runs WHERE id = $1', [id]);
    return row;
  }

  restoreRuns(fleet: string, limit: number): Promise<RestoreRunRow[]> {
    return this.#select(
      'restore_runs',
      restoreRunRow,
      'SELECT * FROM restore_runs WHERE fleet = $1 ORDER BY started_at DESC, id LIMIT $2',
      [fleet, limit],
    );
  }

  restoreTests(run: string): Promise<RestoreTestRow[]> {
    return this.#select(
      'restore_tests',
      restoreTestRow,
      'SELECT * FROM restore_tests WHERE run = $1 ORDER BY store, vmid',
      [run],
    );
  }

  restoreHistory(store: string, vmid: number, limit: number): Promise<RestoreTestRow[]> {
    return this.#select(
      'restore_tests',
      restoreTestRow,
      'SELECT * FROM restore_tests WHERE store = $1 AND vmid = $2 ORDER BY tested_at DESC, run LIMIT $3',
      [store, vmid, limit],
    );
  }

  newestRestores(fleet: string): Promise<RestoreTestRow[]> {
    return this.#select(
      'restore_tests',
      restoreTestRow,
      `SELECT DISTINCT ON (store, vmid, result) * FROM restore_tests WHERE fleet = $1
        ORDER BY store, vmid, result, tested_at DESC`,
      [fleet],
    );
  }

  close(): Promise<void> {
    return this.#pool.end();
  }

  /**
   * All rows have the same columns. Table and column names come from this file only, values go as one parameter.
   * `changes`: what a row that is `known` becomes; default: the new one.
   */
  async #upsert(
    table: string,
    key: string[],
    rows: Record<string, unknown>[],
    changes?: readonly string[],
  ): Promise<void> {
    const columns = Object.keys(rows[0] ?? {});
    const replaced = columns
      .filter((column) => !key.includes(column))
      .map((column) => `${column} = excluded.${column}`);
    const sql = `
      INSERT INTO ${table} AS known (${columns.join(', ')})
      SELECT ${columns.join(', ')} FROM jsonb_populate_recordset(NULL::${table}, $1::jsonb)
      ON CONFLICT (${key.join(', ')}) DO UPDATE SET ${(changes ?? replaced).join(', ')}`;
    await inTransaction(this.#pool, `record ${table}`, (client) => client.query(sql, [JSON.stringify(rows, storable)]));
  }

  async #select<T>(table: string, row: z.ZodType<T>, sql: string, values: unknown[]): Promise<T[]> {
    const { rows } = await inTransaction(
      this.#pool,
      `read ${table}`,
      (client) => client.query<Record<string, unknown>>(sql, values),
      'read only',
    );
    const parsed = row.array().safeParse(rows);
    if (parsed.success) return parsed.data;
    throw new LedgerError(`ledger: read ${table}: a row is not of the known form`, {
      retryable: false,
      cause: parsed.error,
    });
  }
}

/** One statement may not touch a row twice; the last word counts. */
const lastOfEach = <T>(rows: readonly T[], keyOf: (row: T) => string): T[] => [
  ...new Map(rows.map((row) => [keyOf(row), row])).values(),
];

const guestBackupColumns = ({ local, offsite, ...row }: GuestBackupRow) => ({
  fleet: row.fleet,
  store: row.store,
  vmid: row.vmid,
  name: row.name,
  kind: row.kind,
  tier: row.tier,
  rpo_local_ms: row.rpoLocalMs,
  rpo_offsite_ms: row.rpoOffsiteMs,
  local_proven_at: local?.provenAt,
  local_verified_at: local?.verifiedAt,
  local_size: local?.size,
  encrypted: local?.encrypted,
  key_fingerprint: local?.keyFingerprint,
  local_unproven_at: local?.unprovenAt,
  local_unproven_why: local?.unprovenWhy,
  offsite_proven_at: offsite?.provenAt,
  offsite_verified_at: offsite?.verifiedAt,
  offsite_unproven_at: offsite?.unprovenAt,
  offsite_unproven_why: offsite?.unprovenWhy,
  first_seen: row.firstSeen,
  seen_at: row.seenAt,
  read_local_at: local?.readAt,
  read_offsite_at: offsite?.readAt,
  left_out: row.leftOut?.disks,
  left_out_since: row.leftOut?.since,
  left_out_at: row.leftOut?.at,
});

/** Columns that are read together, and the instant at which they were. The instants are their own last column. */
const READ_TOGETHER: readonly [readAt: string, columns: readonly string[]][] = [
  ['seen_at', ['fleet', 'name', 'kind', 'tier', 'rpo_local_ms', 'rpo_offsite_ms', 'seen_at']],
  [
    'read_local_at',
    [
      'local_proven_at',
      'local_verified_at',
      'local_size',
      'encrypted',
      'key_fingerprint',
      'local_unproven_at',
      'local_unproven_why',
      'read_local_at',
    ],
  ],
  [
    'read_offsite_at',
    ['offsite_proven_at', 'offsite_verified_at', 'offsite_unproven_at', 'offsite_unproven_why', 'read_offsite_at'],
  ],
  ['left_out_at', ['left_out', 'left_out_since', 'left_out_at']],
];

/** What was not read, or earlier than what is known, changes nothing. `anew`: an SQL condition under which nothing is known. */
const unlessEarlier = (readAt: string, columns: readonly string[], anew = 'FALSE'): string[] =>
  columns.map(
    (column) =>
      `${column} = CASE WHEN ${anew} OR excluded.${readAt} >= coalesce(known.${readAt}, '-infinity') THEN ${told(column)} ELSE known.${column} END`,
  );

/** The cluster does not know the names of guests on a node that is down. */
function told(column: string): string {
  return column === 'name' ? `coalesce(nullif(excluded.name, ''), known.name)` : `excluded.${column}`;
}

/** Whether another guest has the number now: `Ledger.recordGuestBackups` says when. */
const IS_ANOTHER = `(
  excluded.seen_at > known.seen_at AND (
    excluded.kind <> known.kind OR
    (excluded.seen_at > known.gone_at AND excluded.name <> known.name AND '' NOT IN (excluded.name, known.name))
  )
)`;

const GUEST_BACKUP_CHANGES = [
  ...READ_TOGETHER.flatMap(([readAt, columns]) => unlessEarlier(readAt, columns, IS_ANOTHER)),
  `first_seen = CASE WHEN ${IS_ANOTHER} THEN excluded.first_seen ELSE known.first_seen END`,
  `own_since = CASE WHEN ${IS_ANOTHER} THEN coalesce(known.gone_at, known.seen_at) ELSE known.own_since END`,
  // Without a name nobody can say which of the two it is: the number stays gone until one is read.
  `gone_at = CASE WHEN excluded.seen_at > known.gone_at AND (excluded.name <> '' OR known.name = '' OR ${IS_ANOTHER})
    THEN NULL ELSE known.gone_at END`,
];

const DATASTORE_CHANGES = unlessEarlier('read_at', ['fleet', 'total', 'used', 'still_bad', 'read_at']);

/** Text from a store may hold what PostgreSQL cannot: NUL characters and halves of surrogate pairs. */
const storable = (_key: string, value: unknown): unknown =>
  typeof value === 'string' ? Buffer.from(value.replaceAll('\0', '')).toString() : value;
