import type { StoreOperationKind } from '#domain/naming.js';
import type {
  ApprovalRow,
  DatastoreRow,
  GuestBackupRow,
  NightGuestRow,
  NightRow,
  RestoreRunRow,
  RestoreTestRow,
  ResultRow,
  StageRow,
  TrainRow,
} from '#domain/messages/ledger.js';
import type { Offer } from '#domain/drift.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { LastGood } from '#domain/rollback.js';

export type {
  ApprovalRow,
  DatastoreRow,
  GuestBackupRow,
  NightGuestRow,
  NightRow,
  RestoreRunRow,
  RestoreTestRow,
  ResultRow,
  StageRow,
  TrainRow,
};

/** What may be asked of the ledger. */
export interface LedgerReader {
  train(id: string): Promise<TrainRow | undefined>;
  trains(limit: number): Promise<TrainRow[]>;
  stages(train: string): Promise<StageRow[]>;
  results(train: string): Promise<ResultRow[]>;
  storeHistory(store: string, limit: number, operation?: StoreOperationKind): Promise<ResultRow[]>;
  /** The newest result of each kind of operation on the store. */
  newestOfEach(store: string): Promise<ResultRow[]>;
  approvals(train: string): Promise<ApprovalRow[]>;
  /** Milliseconds that successful operations of trains took, newest first: the basis of an estimate. */
  durations(limit: number): Promise<number[]>;
  /**
   * For each store of the train's fleet the newest release before this train that was confirmed there by its gate, and
   * was not taken back afterwards. Only releases older than the train's own; sorted by store.
   * Empty when the ledger does not know the train or its release.
   */
  lastGoodBefore(train: string): Promise<LastGood[]>;
  /** What the newest trains of the fleet, or all that had to do with the store, came to on each store. */
  offers(of: { fleet: string } | { store: string }): Promise<Offer[]>;
  night(id: string): Promise<NightRow | undefined>;
  /** Newest first. */
  nights(fleet: string, limit: number): Promise<NightRow[]>;
  /** Sorted by store and guest. */
  nightGuests(night: string): Promise<NightGuestRow[]>;
  /**
   * Sorted by store and guest; those that are gone are among them. Copies older than `ownSince` are of another guest, and
   * are not told.
   */
  guestBackups(of?: { store?: string }): Promise<GuestBackupRow[]>;
  /** Sorted by store and place. */
  datastores(of?: { store?: string }): Promise<DatastoreRow[]>;
  /** The nights of one guest, newest first. */
  backupHistory(store: string, vmid: number, limit: number): Promise<NightGuestRow[]>;
  restoreRun(id: string): Promise<RestoreRunRow | undefined>;
  /** Newest first. */
  restoreRuns(fleet: string, limit: number): Promise<RestoreRunRow[]>;
  /** Sorted by store and guest. */
  restoreTests(run: string): Promise<RestoreTestRow[]>;
  /** The trials of one guest, newest first. */
  restoreHistory(store: string, vmid: number, limit: number): Promise<RestoreTestRow[]>;
  /** Of each guest of the fleet the newest trial of each result; sorted by store and guest. */
  newestRestores(fleet: string): Promise<RestoreTestRow[]>;
  close(): Promise<void>;
}

/**
 * The SQL record of what happened. Every write is an upsert by natural key, so a repeated one changes nothing.
 * Instants are ISO strings in UTC.
 */
export interface Ledger extends LedgerReader {
  recordTrain(row: TrainRow): Promise<void>;
  recordStage(row: StageRow): Promise<void>;
  recordResults(train: string, stage: string, round: number, results: StoreResult[]): Promise<void>;
  /** Says of those that succeeded that their stage soaked and passed its gate. The first time said stays. */
  confirmResults(train: string, stage: string, stores: readonly string[], at: string): Promise<void>;
  recordApproval(row: ApprovalRow): Promise<void>;
  recordNight(row: NightRow): Promise<void>;
  recordNightGuests(rows: readonly NightGuestRow[]): Promise<void>;
  recordRestoreRun(row: RestoreRunRow): Promise<void>;
  recordRestoreTests(rows: readonly RestoreTestRow[]): Promise<void>;
  /**
   * Not whole rows: each server's part (`local`, `offsite`) is replaced by one that was read at the same time or later. An
   * absent part is one that could not be asked, and what was known before stays, with the time it was read. `firstSeen`
   * stays as it was first told, and a late write takes nothing back; nor does a name that nobody could read. A guest that
   * was gone is there again when it was seen after that; `goneAt` and `ownSince` are not taken from here.
   *
   * It is another guest that has the number now when its kind is another one, or when the number was gone (from a list
   * that was read, `markGuestsGone`) and is back under another name; as long as nobody can read that name, it stays gone.
   * Of another guest nothing is known but what this row says: it is first seen now, and `ownSince` becomes the time at
   * which the one before was gone, or was last there. One that was only renamed, or is back under its own name, say
   * restored after a loss, is the same guest, wherever it runs.
   */
  recordGuestBackups(rows: readonly GuestBackupRow[]): Promise<void>;
  /** Whole rows. One that was read earlier than what is known changes nothing. */
  recordDatastores(rows: readonly DatastoreRow[]): Promise<void>;
  /**
   * Guests of the store that the cluster no longer had at `at`: all but `keptVmids`, and those seen later. Only to be
   * called with a list that was read. Those that were gone before keep the time they went.
   */
  markGuestsGone(store: string, keptVmids: readonly number[], at: string): Promise<void>;
}
