import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { patched, upsertSearchAttributes } from '@temporalio/workflow';
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

type Labels = { [Name in keyof typeof searchKeys]?: string | undefined };

/**
 * The search attributes of a workflow that changes them as it goes. Each time one action, and only for what is not shown
 * already; what is given as undefined is taken away, what is not given stays.
 */
export function openLabels() {
  const shown: Labels = {};
  const show = (labels: Labels, isAllowed = () => true): void => {
    const names = Object.keys(labels) as (keyof Labels)[];
    const changed = names.filter((name) => labels[name] !== shown[name]);
    if (changed.length === 0 || !isAllowed()) return;
    Object.assign(shown, labels);
    upsertSearchAttributes(changed.map((name) => ({ key: searchKeys[name], value: labels[name] ?? null })));
  };
  return {
    show,
    /** As `show`, for what trains of earlier builds did not show; they do from their next step on. */
    follow: (labels: Labels): void => show(labels, () => patched('train-labels')),
  };
}

/** How an operation ended, for the lists of the Temporal UI. */
export function showOutcome({ outcome, reason }: Pick<StoreResult, 'outcome' | 'reason'>): void {
  upsertSearchAttributes([
    { key: searchKeys.outcome, value: outcome },
    ...(reason ? [{ key: searchKeys.reason, value: reason }] : []),
  ]);
}
