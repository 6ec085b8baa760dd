import {
  CancellationScope,
  getExternalWorkflowHandle,
  isCancellation,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { PROTOCOL } from '#domain/messages/store.js';
import { cutOffSignal } from './messages.js';
import { helloProxy, isUnanswered, returnProxy } from './proxies.js';
import { ended, stopOf, type Ended } from './ended.js';

/** Whether a store's worker is there: when an operation begins, and while it is under way. */

interface Contact {
  store: string;
  /** Milliseconds. */
  offlineAfter: number;
  cutOffAfter: number;
}

interface Shown {
  readonly current: { readonly since: string };
  step(step: string): void;
  cutOff(cutOff: boolean): void;
}

/** Undefined when the store answers and speaks our protocol; else how the operation ends, with nothing touched. */
export async function greet({ store, offlineAfter }: Contact, view: Shown): Promise<Ended | undefined> {
  view.step('hello');
  try {
    const { protocol } = await helloProxy(store, offlineAfter).hello({ protocol: PROTOCOL, store });
    if (PROTOCOL >= protocol.min && PROTOCOL <= protocol.max) return undefined;
    return ended('skipped', {
      reason: 'WorkerTooOld',
      step: 'hello',
      summary: `The store worker speaks protocol ${protocol.min} to ${protocol.max}, this operation needs ${PROTOCOL}.`,
    });
  } catch (error) {
    if (isCancellation(error))
      return ended('aborted', { reason: 'Aborted', step: 'hello', summary: 'Aborted before anything was done.' });
    if (isUnanswered(error))
      return ended('offline', {
        reason: 'StoreOffline',
        step: 'hello',
        summary: 'The store worker did not answer. Nothing was touched.',
      });
    return ended('failed', stopOf(error, 'hello'));
  }
}

/** Tells the wave when the store falls silent, and when it is back; the operation itself just waits. */
export function watchForSilence({ store, offlineAfter, cutOffAfter }: Contact, view: Shown): CancellationScope {
  const scope = new CancellationScope();
  const report = async (cutOff: boolean) => {
    view.cutOff(cutOff);
    const parent = workflowInfo().parent;
    if (!parent) return;
    await getExternalWorkflowHandle(parent.workflowId)
      .signal(cutOffSignal, { store, cutOff })
      .catch(() => undefined);
  };
  scope
    .run(async () => {
      for (;;) {
        const before = view.current.since;
        await sleep(cutOffAfter, { summary: 'watch for silence' });
        if (view.current.since !== before) continue;
        if (await answers(store, helloProxy(store, offlineAfter))) continue;
        await report(true);
        await untilBack(store);
        await report(false);
      }
    })
    .catch(() => undefined);
  return scope;
}

/** Stays until the store answers a greeting. A worker that answers with an error is there, but not yet well. */
export async function untilBack(store: string): Promise<void> {
  while (!(await answers(store, returnProxy(store))));
}

async function answers(store: string, proxy: ReturnType<typeof returnProxy>): Promise<boolean> {
  try {
    await proxy.hello({ protocol: PROTOCOL, store });
    return true;
  } catch (error) {
    if (isCancellation(error)) throw error;
    return false;
  }
}
