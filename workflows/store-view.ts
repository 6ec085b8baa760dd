import { setCurrentDetails } from '@temporalio/workflow';
import type { LastSeen, NodeView, NodeWork, StoreView } from '#domain/messages/store.js';
import type { StoreResult } from '#domain/outcomes.js';
import { renderStoreDetails } from '#domain/progress.js';
import type { Ended } from './ended.js';

export type View = ReturnType<typeof openView>;

/**
 * What people see of whatever holds a store, in the query `store` and in the Temporal UI; and its result at the end.
 * `back`: it takes the store back to an older release.
 */
export function openView(
  about: Pick<StoreView, 'store' | 'train' | 'stage' | 'operationId' | 'release'>,
  back = false,
) {
  const now = () => new Date().toISOString();
  const startedAt = now();
  const current: StoreView = {
    ...about,
    step: 'start',
    since: startedAt,
    cutOff: false,
    paused: false,
    nodes: [],
    notes: [],
  };
  let touched = false;
  const show = () => setCurrentDetails(renderStoreDetails(current));
  const set = (change: Partial<StoreView>) => {
    Object.assign(current, change);
    show();
  };
  const node = (name: string, state: NodeView['state']) => {
    set({
      step: `${state} ${name}`,
      since: now(),
      nodes: current.nodes.map((entry) => (entry.node === name ? { ...entry, state, since: now() } : entry)),
    });
  };
  const reached = () => ({
    ...(about.release === undefined
      ? {}
      : { nodesPatched: current.nodes.filter(({ state }) => state === 'done').length }),
    ...(current.lastGood === undefined ? {} : { lastGood: current.lastGood }),
  });
  return {
    current,
    step: (step: string) => set({ step, since: now() }),
    /** From now on a node is not what it was before: packages changed, or it was rebooted. */
    touch: () => {
      touched = true;
    },
    touched: () => touched,
    cutOff: (cutOff: boolean) => set({ cutOff }),
    paused: (paused: boolean) => set({ paused }),
    told: (told: StoreView['told']) => set({ told }),
    lastGood: (lastGood: string | undefined) => set({ lastGood }),
    note: (...notes: string[]) => set({ notes: [...current.notes, ...notes].slice(-20) }),
    plan: (nodes: string[], work: readonly Pick<NodeWork, 'node'>[]) =>
      set({
        nodes: nodes.map((name) => ({
          node: name,
          state: work.some((entry) => entry.node === name) ? 'waiting' : 'nothing to do',
          since: now(),
        })),
      }),
    node,
    stopped: (name: string, end: Ended): Ended => {
      node(name, 'stopped');
      return end;
    },
    seen: (): LastSeen => ({ step: current.step, ...reached() }),
    finish: (end: Ended): StoreResult => {
      const result: StoreResult = {
        store: about.store,
        outcome: end.outcome === 'succeeded' && back ? 'rolledBack' : end.outcome,
        reason: end.reason,
        stop: end.stop,
        operationId: about.operationId,
        startedAt,
        endedAt: now(),
        release: about.release,
        ...reached(),
      };
      set({ step: 'ended', since: now(), result });
      return result;
    },
  };
}
