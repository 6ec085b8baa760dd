import { continueAsNew, isCancellation, patched, setCurrentDetails, setHandler } from '@temporalio/workflow';
import { addFound, concernOf, emptyReport, foundOf, renderJanitorDetails, unswept } from '#domain/janitor.js';
import { janitorInputSchema, type Found, type JanitorInput, type JanitorReport } from '#domain/messages/janitor.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { attention } from './attention.js';
import { everyStore } from './every-store.js';
import { janitorQuery } from './messages.js';
import { invalid, parseInput } from './parse-input.js';
import { control, helloProxy, isUnanswered, messageOf, refusedBy, sweepProxy } from './proxies.js';
import { sweepStaging } from './sweep-staging.js';
import { PART_SIZE } from './train-waves.js';

/**
 * Looks at every store for what a dead run left there, takes back what carries our mark, and reports.
 *
 * Started by its schedule every night, or by an operator, for all stores or some. It may run beside a train, and beside
 * another janitor:
 * - What an operation left is touched only when that operation is over: the store says which one it was, then Temporal
 *   is asked whether one runs there, then the store takes it back if still no other one has opened. A store with a live
 *   owner is `busy` and left alone.
 * - What somebody else has set is reported and never touched.
 * - Nobody is waited for: a store that does not answer is `offline`, looks after itself, and is looked at the next night.
 * - With a look at the whole fleet goes one at the staging site, for what runs of restore tests that died have left there.
 * - At the end of a look at the whole fleet it tells of backups and restore tests that are late, or of which nothing is
 *   heard any more.
 * - A run looks at 250 stores and goes on as a new one, so that no fleet outgrows its history.
 */
export async function janitor(raw: JanitorInput): Promise<JanitorReport> {
  const input = parseInput(janitorInputSchema, raw);
  let report = input.goesOn?.report ?? emptyReport(input.fleet);
  const show = (next: JanitorReport) => {
    report = next;
    setCurrentDetails(renderJanitorDetails(report));
  };
  setHandler(janitorQuery, () => report);
  show(report);

  const planned = input.goesOn ?? (await plan(input, show));
  const { left, offlineAfter } = planned;
  const sweepSite = async (): Promise<void> => {
    if (!('staging' in planned) || !planned.staging || !patched('staging-sweep')) return;
    const { storeTimeout } = planned.staging;
    const staging = await sweepStaging(input.fleet, { stores: left, storeTimeout, patience: offlineAfter });
    show({ ...report, staging });
  };
  const cleanStores = everyStore(left.slice(0, PART_SIZE), async (store) => {
    const found = await clean(input.fleet, store, offlineAfter);
    show(addFound(report, found));
  });
  await Promise.all([cleanStores, sweepSite()]);

  const rest = left.slice(PART_SIZE);
  if (rest.length > 0) return continueAsNew<typeof janitor>({ ...input, goesOn: { report, left: rest, offlineAfter } });
  await tell(report);
  if (!input.stores && patched('backup-concerns')) await tellOfBackups(input.fleet);
  return report;
}

/** Nights and restore tests call people themselves when they fail; when none runs at all, nobody else would. */
async function tellOfBackups(fleet: string): Promise<void> {
  const concerns = await control.backupConcerns({ fleet }).catch((error: unknown) => {
    if (isCancellation(error)) throw error;
    return [`Nobody can tell how the backups of ${fleet} are: ${messageOf(error).slice(0, 300)}`];
  });
  for (const summary of concerns) await attention(fleet, '', { summary });
}

async function plan(
  { fleet, stores }: JanitorInput,
  show: (report: JanitorReport) => void,
): Promise<{ left: string[]; offlineAfter: number; staging: { storeTimeout: number } | undefined }> {
  const planned = await control.planSweep({ fleet, stores }).catch((error: unknown) => {
    if (isCancellation(error)) throw error;
    return refusedBy(error);
  });
  if (planned.kind === 'refused') {
    const summary = `The janitor of ${fleet} looked at no store: ${planned.problems.join('; ')}`;
    await attention(fleet, '', { reason: 'InvalidInput', summary });
    throw invalid(planned.problems);
  }
  show({ ...emptyReport(fleet), commit: planned.commit, stores: planned.stores.length });
  return { left: planned.stores, offlineAfter: planned.offlineAfter, staging: planned.staging };
}

async function clean(fleet: string, store: string, offlineAfter: number): Promise<Found> {
  const task = { protocol: PROTOCOL, store, fleet };
  try {
    const inspected = await helloProxy(store, offlineAfter).inspectStore(task);
    const { leftBy } = inspected;
    if (!leftBy) return foundOf(store, inspected);
    if (await control.isBusy({ store })) return { kind: 'busy', store };
    const { operationId, fence } = leftBy;
    const swept = await sweepProxy(store, offlineAfter)
      .sweepStore.executeWithOptions({ summary: `take back what ${operationId} left`.slice(0, 200) }, [
        { ...task, over: { operationId, fence } },
      ])
      .catch((error: unknown) => {
        if (isUnanswered(error)) return unswept(leftBy, 'the store fell silent');
        throw error;
      });
    return foundOf(store, inspected, swept);
  } catch (error) {
    if (isCancellation(error)) throw error;
    if (isUnanswered(error)) return { kind: 'offline', store };
    return { kind: 'failed', store, why: messageOf(error).slice(0, 300) };
  }
}

async function tell(report: JanitorReport): Promise<void> {
  const concern = concernOf(report);
  if (concern) await attention(report.fleet, '', concern);
}
