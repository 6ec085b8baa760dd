/**
 * What the worker of the staging site remembers between two attempts, on its own disk. A guest that was restored says
 * itself which trial it belongs to; this tells what it cannot say: when it was first asked for, and which task makes it.
 *
 * Obligations of every implementation: what was saved is on disk when the promise resolves, and seen by the same process
 * from the moment of the call.
 */
export interface SiteState {
  /** By the id at the site. */
  trial(id: number): TrialRecord | undefined;
  trials(): readonly (TrialRecord & { id: number })[];
  saveTrial(id: number, record: TrialRecord): Promise<void>;
  forgetTrial(id: number): Promise<void>;
  /** When the copy of a store was opened, as an ISO instant. */
  openedAt(store: string): string | undefined;
  saveOpened(store: string, at: string): Promise<void>;
  forgetOpened(store: string): Promise<void>;
}

/** Times are ISO instants on the clock of this worker. */
export interface TrialRecord {
  run: string;
  store: string;
  /** As a backup server names it. */
  snapshot: string;
  /** When the restore was first asked for. */
  askedAt: string;
  node: string;
  /** Of the whole guest. */
  bytes: number;
  /** When the request that is under way was sent; absent = none is. */
  sentAt?: string;
  /** Tasks that were there already: none of them is the one that was asked for. */
  before: string[];
  upid?: string;
  /** Devices of its node at the store that its copy has not. */
  leftOut?: string[];
  /** When it was proven. */
  restoredAt?: string;
  bootAskedAt?: string;
  bootedAt?: string;
  probeAskedAt?: string;
}
