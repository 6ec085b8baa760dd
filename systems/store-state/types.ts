import type { KeptBaseline } from '#domain/gate-baseline.js';
import type { GoodReleases } from '#domain/last-good.js';
import type { ReleaseRef } from '#domain/release.js';

/**
 * What a store worker must not forget: which operation holds the store, what it has set, which effects were begun and
 * how they ended, and which releases the store has accepted.
 *
 * Everything here is on disk (fsync) before the call returns, since an effect follows it. Writes may overlap: they are
 * done one after another, in the order of the calls.
 */
export interface StoreState {
  /** The operation that holds or last held the store. */
  operation(): OperationRecord | undefined;
  /** Of the steps, those of this operation and of the one before it are kept, and of whoever left its marks. */
  save(operation: OperationRecord): Promise<void>;
  trust(): TrustRecord;
  /** Changes what is named, and leaves the rest as it is at that moment. */
  saveTrust(change: Partial<TrustRecord>): Promise<void>;
  /** The newest entry of a step, by `stepKey`. */
  step(key: string): StepEntry | undefined;
  /** Written before an effect. */
  intent(key: string, detail: Record<string, unknown>): Promise<void>;
  /** Written when the step is proven to be over; a repeated step returns it. */
  result(key: string, result: unknown): Promise<void>;
  close(): Promise<void>;
}

export interface OperationRecord extends OperationName {
  /** A dump sets nothing on nodes. It carries on what the patch before it left: marks, homes and the release. */
  kind: 'patch' | 'dump';
  open: boolean;
  /** Of the patch that `marks` and `homes` are of. */
  release?: ReleaseRef;
  /** Whose marks a dump carries on. `silent`: it never closed, so what it set is taken back when it is too old. */
  leftBy?: OperationName & { silent: boolean };
  startedAt: string;
  endedAt?: string;
  /**
   * `freed`: the store gave itself free when nobody had asked for anything for too long; `swept`: the janitor had it do
   * so, since the run was over.
   */
  outcome?: string;
  /** What a patch has set, or was about to set, and has not proven to be taken back. */
  marks: Mark[];
  /** Where each guest ran before its node was drained. */
  homes: Record<string, string>;
}

export interface OperationName {
  operationId: string;
  fence: number;
}

export interface Mark {
  kind: 'maintenance' | 'noout';
  node: string;
  setAt: string;
}

export interface StepEntry {
  intent?: Record<string, unknown>;
  /** Present once the step is over. */
  result?: unknown;
}

/** Kept outside of any release, so that no release can change it. */
export interface TrustRecord extends GoodReleases, KeptBaseline {
  highestSequence: number;
  /** The store went back to `current`, so some packages may be newer than it pins; see `domain/downgrade.ts`. */
  wentBack?: boolean;
  /** Kernels that we told boot loaders to start, by node; written before it is done. */
  pins?: Record<string, string>;
  /**
   * By guest and target of its configuration, `103 /etc/app/app.conf`: the file that the guest was last proven to be well
   * with. Not `proven`: since then another one was switched to, or this one again, and what is loaded is not known.
   */
  loaded?: Record<string, { file: string; proven: boolean }>;
}
