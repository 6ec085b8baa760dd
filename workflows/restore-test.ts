import {
  allHandlersFinished,
  CancellationScope,
  condition,
  executeChild,
  ParentClosePolicy,
  patched,
  setHandler,
} from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import type { SiteFound } from '#domain/messages/janitor.js';
import {
  restoreInputSchema,
  type RestoreInput,
  type RestorePlan,
  type RestoreReport,
  type RestoreView,
} from '#domain/messages/restore.js';
import { PROTOCOL } from '#domain/messages/store.js';
import { RESTORE_STAGE, waveWorkflowId } from '#domain/naming.js';
import { emptyTally } from '#domain/outcomes.js';
import { renderRestoreDetails, restoreSummary } from '#domain/restore-progress.js';
import { tellPeople } from './attention.js';
import { NO_THRESHOLD, openFleetRun, type FleetRun } from './fleet-run.js';
import { restoresQuery } from './messages.js';
import { invalid, parseInput } from './parse-input.js';
import { control, messageOf, refusedBy, stagingProxies } from './proxies.js';
import { searchKeys } from './search-keys.js';
import { sweepStaging } from './sweep-staging.js';
import { PART_SIZE } from './train-waves.js';
import type { wave } from './wave.js';

/**
 * A run of restore tests: plan which guests are due → sweep the staging site of what dead runs left → waves of
 * `restoreStore`, so many stores at a time → what passed is recorded → people are told of the rest.
 *
 * Started weekly by its schedule, or by an operator for stores of their choice.
 * - No number of failures ends a run: what is wrong with one guest's copy says nothing about the next one's.
 * - Abort begins no further guest; those that are being tried are taken away.
 */
export async function restoreTest(raw: RestoreInput): Promise<RestoreReport> {
  const input = parseInput(restoreInputSchema, raw);
  const desk = openDesk(input);
  setHandler(restoresQuery, () => desk.view);
  desk.listen();

  return CancellationScope.nonCancellable(async () => {
    const plan = await planRun(input, desk);
    begin(plan, desk);
    await recordRun(plan, desk);
    await sweep(plan, desk);
    await tryStores(plan, desk);
    const results = plan.stores.flatMap(({ id }) => desk.resultOf(id) ?? []);
    const report = {
      run: plan.run,
      planned: plan.stores.length,
      ...desk.close(() => restoreSummary(results, plan)),
    };
    await recordRun(plan, desk);
    await tell(plan, desk);
    await condition(allHandlersFinished);
    return report;
  });
}

type Desk = FleetRun<RestoreView>;

const openDesk = ({ fleet }: RestoreInput): Desk =>
  openFleetRun<RestoreView>(
    {
      run: '',
      fleet,
      state: 'planning',
      startedAt: new Date().toISOString(),
      doing: 'Reads which guests are due.',
      guests: 0,
      stores: 0,
      inFlight: 0,
      tally: emptyTally(),
      notSucceeded: [],
    },
    renderRestoreDetails,
    { what: 'run', ending: 'no further guest is tried, and those that are being tried are taken away' },
  );

async function planRun({ fleet, stores, vmids }: RestoreInput, desk: Desk): Promise<RestorePlan> {
  const planned = await control.planRestores({ fleet, stores, vmids, startedAt: desk.view.startedAt }).catch(refusedBy);
  if (planned.kind === 'planned') return planned.plan;
  const summary = `No guest of ${fleet} is restored for a test: ${planned.problems.join('; ')}`;
  desk.fail(summary);
  await tellPeople(fleet, '', summary);
  throw invalid(planned.problems);
}

function begin({ run, stores }: RestorePlan, desk: Desk): void {
  const guests = stores.reduce((sum, { trials }) => sum + trials.length, 0);
  desk.set({
    run,
    state: 'running',
    guests,
    stores: stores.length,
    doing: `Restores ${plural(guests, 'guest')} of ${plural(stores.length, 'store')} at the staging site.`,
  });
}

/** What is older than any trial may last, and of no store that is tried at this moment, has no owner any more. */
async function sweep(plan: RestorePlan, desk: Desk): Promise<void> {
  const { fleet, run } = plan;
  const found = await sweepSite(plan, desk);
  if (found.kind !== 'looked') {
    const why = found.kind === 'failed' ? found.why : 'its worker did not answer.';
    await tellPeople(fleet, run, `The staging site could not be swept: ${why}`);
    return;
  }
  const { removed, left } = found;
  if (removed.length + left.length === 0) return;
  const words = [...removed.map((what) => `taken away: ${what}`), ...left.map((what) => `still there: ${what}`)];
  await tellPeople(fleet, run, `An earlier run left something at the staging site. ${words.slice(0, 10).join('; ')}`);
}

async function sweepSite({ fleet, fleetStores, timing }: RestorePlan, desk: Desk): Promise<SiteFound> {
  const { patience, storeTimeout } = timing;
  // Another run may stand still for longer than any trial lasts, since people paused it.
  if (fleetStores && patched('sweep-asks-who-is-tried'))
    return sweepStaging(fleet, { stores: fleetStores, storeTimeout, patience });
  const before = new Date(Date.parse(desk.view.startedAt) - 2 * storeTimeout).toISOString();
  const answer = await stagingProxies(patience)
    .longTask.sweepSite({ protocol: PROTOCOL, fleet, before })
    .catch((error: unknown) => ({ kind: 'failed' as const, why: messageOf(error) }));
  return answer.kind === 'failed' ? answer : { ...answer, kind: 'looked', busy: answer.busy ?? [] };
}

/** One wave after another: the site is one, and so is the number of stores at a time. */
async function tryStores(plan: RestorePlan, desk: Desk): Promise<void> {
  const { run, stores } = plan;
  for (let part = 0; part * PART_SIZE < stores.length; part += 1) {
    const members = stores.slice(part * PART_SIZE, (part + 1) * PART_SIZE);
    const workflowId = waveWorkflowId(run, RESTORE_STAGE, 0, part);
    const untried = 'The run was ended before its turn. Its guests were not tried.';
    const results = await desk.runWave({ workflowId, stores: members.map(({ id }) => id), untried }, () =>
      runWave(plan, members, workflowId),
    );
    desk.take(results);
    await control.record({ kind: 'results', train: run, stage: RESTORE_STAGE, round: 0, results });
  }
}

function runWave(
  { fleet, run, maxConcurrency, timing }: RestorePlan,
  stores: RestorePlan['stores'],
  workflowId: string,
) {
  return executeChild<typeof wave>('wave', {
    workflowId,
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    staticSummary: `restore guests of ${plural(stores.length, 'store')}`,
    typedSearchAttributes: [
      { key: searchKeys.train, value: run },
      { key: searchKeys.stage, value: RESTORE_STAGE },
      { key: searchKeys.operation, value: 'restore' },
    ],
    args: [
      {
        fleet,
        train: run,
        stage: RESTORE_STAGE,
        round: 0,
        operation: 'restore',
        stores,
        limits: {
          maxConcurrency,
          errorThreshold: NO_THRESHOLD,
          offlineThreshold: NO_THRESHOLD,
          storeTimeout: timing.storeTimeout,
          stageTimeout: timing.storeTimeout * Math.ceil(stores.length / maxConcurrency),
          offlineAfter: timing.patience,
          cutOffAfter: timing.patience,
          deferFor: DEFER,
          deferLimit: 10,
        },
        stageSize: stores.length,
        before: { tally: {}, started: 0 },
      },
    ],
  });
}

/** Of a store whose guests another run is trying. */
const DEFER = 60_000;

async function recordRun({ run, fleet, commit }: RestorePlan, desk: Desk): Promise<void> {
  const { state, startedAt, endedAt, stores, guests, tally, doing } = desk.view;
  await control.record({
    kind: 'restore run',
    row: { id: run, fleet, state, summary: doing, commit, stores, guests, tally, startedAt, endedAt },
  });
}

/** A week in which all passed is not worth a word. */
async function tell({ fleet, run }: RestorePlan, { view }: Desk): Promise<void> {
  const worst = view.notSucceeded.slice(0, 5).map(({ store, stop }) => `${store}: ${stop?.summary ?? 'no reason'}`);
  if (worst.length > 0) await tellPeople(fleet, run, `${view.doing} ${worst.join('; ')}`);
}
