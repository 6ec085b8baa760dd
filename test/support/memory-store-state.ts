import type { OperationRecord, StepEntry, StoreState, TrustRecord } from '#systems/store-state/types.js';

/** A store worker's memory without a disk. What is given out is a copy, as it would be when read from a file. */
export function memoryStoreState(): StoreState {
  let operation: OperationRecord | undefined;
  let trust: TrustRecord = { highestSequence: 0, baseline: [] };
  const steps = new Map<string, StepEntry>();
  const append = (key: string, entry: StepEntry): Promise<void> => {
    steps.set(key, { ...steps.get(key), ...structuredClone(entry) });
    return Promise.resolve();
  };
  return {
    operation: () => structuredClone(operation),
    save: (next) => {
      const names = [next, ...(next.leftBy ? [next.leftBy] : [])].map(({ operationId }) => `${operationId}|`);
      for (const key of steps.keys()) if (!names.some((name) => key.startsWith(name))) steps.delete(key);
      operation = structuredClone(next);
      return Promise.resolve();
    },
    trust: () => structuredClone(trust),
    saveTrust: (change) => {
      trust = structuredClone({ ...trust, ...change });
      return Promise.resolve();
    },
    step: (key) => structuredClone(steps.get(key)),
    intent: (key, detail) => append(key, { intent: detail }),
    result: (key, result) => append(key, { result }),
    close: () => Promise.resolve(),
  };
}
