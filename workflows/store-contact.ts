import {
  CancellationScope,
  getExternalWorkflowHandle,
  isCancellation,
  patched,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import { signEvery } from '#domain/abandoned.js';
import { pauseAfterGreeting } from '#domain/contact.js';
import { PROTOCOL, type LastSeen, type StoreTask } from '#domain/messages/store.js';
import { cutOffSignal } from './messages.js';
import { helloProxy, isUnanswered, returnProxy, signOfLifeProxy } from './proxies.js';
import { ended, stopOf, type Ended } from './ended.js';

/**
 * Whether a store's worker is there: when an operation begins, while it is under way, and when it is awaited. And the
 * other way round: that the operation is there, while people let it stand still.
 */

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
  seen(): LastSeen;
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
      .signal(cutOffSignal, { store, cutOff, ...(cutOff ? { seen: view.seen() } : {}) })
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

/**
 * Stays until the store answers a greeting. One that fails, but may yet succeed, is repeated by the server; after one
 * that fails for good a pause is made, longer each time. `sick`: the stores of which the caller knows that they fail so.
 */
export async function untilBack(store: string, sick = new Set<string>()): Promise<void> {
  for (let failed = 1; !(await answers(store, returnProxy(store))); failed += 1) {
    sick.add(store);
    if (patched('greeting-pauses'))
      await sleep(pauseAfterGreeting(failed, sick.size), { summary: `${store} refused the greeting` });
  }
  sick.delete(store);
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

/** At most some 33,000 events. A store with the usual `maxMaintenance` stands paused for seven weeks before that. */
const MOST_SIGNS = 3_000;

/**
 * Tells the store of an operation that stands paused that somebody still goes on with it, or it would give itself free.
 * The final look is what says so: it names the operation and changes nothing, whatever it finds.
 */
export function giveSignsOfLife(task: StoreTask, maxMaintenance: number | undefined): CancellationScope {
  const scope = new CancellationScope();
  const every = signEvery(maxMaintenance);
  const { verifyStore } = signOfLifeProxy(task.store, every);
  scope
    .run(async () => {
      for (let given = 0; given < MOST_SIGNS; given += 1) {
        await sleep(every, { summary: 'paused; a sign of life is due' });
        await verifyStore.executeWithOptions({ summary: 'sign of life' }, [task]).catch((error: unknown) => {
          if (isCancellation(error)) throw error;
        });
      }
    })
    .catch(() => undefined);
  return scope;
}
