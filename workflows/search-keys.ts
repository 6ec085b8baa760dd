import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { upsertSearchAttributes } from '@temporalio/workflow';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';

/** By these a store's operations, a stage or a reason is one list in the Temporal UI. */
const key = (name: string) => defineSearchAttributeKey(name, SearchAttributeType.KEYWORD);

export const searchKeys = {
  store: key(SEARCH_ATTRIBUTES.store),
  train: key(SEARCH_ATTRIBUTES.train),
  stage: key(SEARCH_ATTRIBUTES.stage),
  operation: key(SEARCH_ATTRIBUTES.operation),
  outcome: key(SEARCH_ATTRIBUTES.outcome),
  reason: key(SEARCH_ATTRIBUTES.reason),
  release: key(SEARCH_ATTRIBUTES.release),
};

/** How an operation ended, for the lists of the Temporal UI. */
export function showOutcome({ outcome, reason }: Pick<StoreResult, 'outcome' | 'reason'>): void {
  upsertSearchAttributes([
    { key: searchKeys.outcome, value: outcome },
    ...(reason ? [{ key: searchKeys.reason, value: reason }] : []),
  ]);
}
