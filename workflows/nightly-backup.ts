import {
  allHandlersFinished,
  CancellationScope,
  condition,
  executeChild,
  ParentClosePolicy,
  patched,
  setHandler,
} from '@temporalio/workflow';
import { renderNightDetails } from '#domain/backup-progress.js';
import {
  nightInputSchema,
  type NightCare,
  type NightInput,
  type NightPlan,
  type NightReport,
  type NightStorePlan,
  type NightView,
} from '#domain/messages/backup.js';
import { isRunOver } from '#domain/messages/fleet-run.js';
import { PROTOCOL } from '#domain/messages/store.js';
import type { WaveReport } from '#domain/messages/train.js';
import { BACKUP_STAGE, operationId, waveWorkflowId } from '#domain/naming.js';
import { nightSummary, partsOfNight, refusalSummary, unplannedNight } from '#domain/night.js';
import { emptyTally, isAway, totalOf } from '#domain/outcomes.js';
import { tellPeople } from './attention.js';
import { NO_THRESHOLD, openFleetRun, type FleetRun } from './fleet-run.js';
import { nightCareQuery, nightQuery } from './messages.js';
import { openNightEnd } from './night-end.js';
import { invalid, parseInput } from './parse-input.js';
import { control, messageOf, offsiteProxies, refusedBy } from './proxies.js';
import { searchKeys } from './search-keys.js';
import { PART_SIZE } from './train-waves.js';
import type { wave } from './wave.js';

/**
 * A night of backups over the fleet: plan → waves of `backupStore`, each store at its own moment of the window → those
 * that were away once more, as long as the window is open → what is proven is recorded → people are told of the rest.
 *
 * Started by its schedule at the opening of the window, or by an operator.
 * - Nothing begins after the window: a store whose turn did not come is missed, and has no new backup.
 * - No number of failures ends a night: what is wrong with one store's backup says nothing about the next one's. Of a
 *   refused token, which people have to mend, they hear once while the night still runs.
 * - It ends before the next one opens, whoever is in work: who that is, is named, and the next night takes them again.
 * - Abort begins no further store; dumps that run go on to their end.
 */
export async function nightlyBackup(raw: NightInput): Promise<NightReport> {
  const input = parseInput(nightInputSchema, raw);
  const desk = openDesk(input);
  let known: NightPlan | undefined;
  setHandler(nightQuery, () => desk.view);
  setHandler(nightCareQuery, () => careOf(known, desk));
  desk.listen();

  return CancellationScope.nonCancellable(async () => {
    const plan = await planNight(input, desk);
    known = plan;
    begin(plan, desk);
    await recordNight(plan, desk);
    const calls = callForRefusal(plan, desk);
    await backUpAll(plan, desk);
    await calls.end();
    const isLeftToOthers = plan.leftTo !== undefined && plan.stores.length === 0;
    if (plan.orders.collect && plan.orders.offsite && !isLeftToOthers) await collectCentral(plan, desk);
    const report = end(plan, desk);
    await recordNight(plan, desk);
    await tell(plan, desk);
    await condition(allHandlersFinished);
    return report;
  });
}

type Desk = FleetRun<NightView>;

const openDesk = ({ fleet }: NightInput): Desk =>
  openFleetRun<NightView>(
    {
      night: '',
      fleet,
      state: 'planning',
      startedAt: new Date().toISOString(),
      doing: 'Reads which stores are to be backed up.',
      stores: 0,
      inFlight: 0,
      tally: emptyTally(),
      notSucceeded: [],
    },
    renderNightDetails,
    { what: 'night', ending: 'no further store is begun, and dumps that run go on to their end' },
  );

/** Whoever failed in it may be backed up by another, and so may all when it is over. */
function careOf(plan: NightPlan | undefined, desk: Desk): NightCare {
  const { night = '', opens, stores = [] } = plan ?? {};
  const isOver = desk.abortedBy() !== undefined || isRunOver(desk.view);
  // The waves tell of those that failed long before they end.
  const failed = new Map(desk.notSucceeded().map((result) => [result.store, result]));
  const isInCare = (store: string) => {
    const result = desk.resultOf(store) ?? failed.get(store);
    return result === undefined || result.outcome === 'succeeded' || isAway(result);
  };
  return { night, opens, stores: isOver ? [] : stores.map(({ id }) => id).filter(isInCare) };
}

function begin({ night, stores, opens, closes, endsBy, excluded }: NightPlan, desk: Desk): void {
  desk.set({
    night,
    state: 'running',
    stores: stores.length + excluded.length,
    ...(opens ? { opens } : {}),
    closes,
    ...(endsBy ? { endsBy } : {}),
    doing: opens ? 'Backs up each store at its own moment of the window.' : 'Backs up all stores, so many at a time.',
  });
  desk.take(
    excluded.map(({ store, reason, detail }) => ({
      store,
      outcome: 'excluded',
      reason,
      stop: { reason, summary: detail },
    })),
  );
}

function end({ night, stores, excluded, leftTo }: NightPlan, desk: Desk): NightReport {
  const planned = stores.length + excluded.length;
  return { night, planned, ...desk.close((tally) => nightSummary(tally, planned, leftTo)) };
}

async function planNight(input: NightInput, desk: Desk): Promise<NightPlan> {
  const { fleet, stores, now } = input;
  const planned = await control.planNight({ fleet, stores, now, startedAt: desk.view.startedAt }).catch(refusedBy);
  if (planned.kind === 'planned') return planned.plan;
  const summary = `No store of ${fleet} is backed up tonight: ${planned.problems.join('; ')}`;
  desk.fail(summary);
  await tellPeople(fleet, '', summary);
  if (patched('unplanned-recorded')) await recordUnplanned(fleet, desk);
  throw invalid(planned.problems);
}

/** It has no plan, and so no name of its own: its start is its name. */
async function recordUnplanned(fleet: string, { view }: Desk): Promise<void> {
  const { state, startedAt, endedAt, doing, stores, tally } = view;
  const id = unplannedNight(startedAt);
  await control.record({
    kind: 'night',
    row: { id, fleet, state, reason: 'InvalidInput', summary: doing, stores, tally, startedAt, endedAt },
  });
}

/** One call for all stores that are refused; of those that are known only when the night is over its end tells. */
function callForRefusal({ fleet, night }: NightPlan, desk: Desk): { end: () => Promise<void> } {
  const waiting = new CancellationScope();
  const refused = () => desk.notSucceeded().find(({ reason }) => reason === 'BackupRefused');
  const isKnown = () => refused() !== undefined && totalOf(desk.view.tally) < desk.view.stores;
  const called = waiting
    .run(() => condition(isKnown))
    .then(async () => {
      const { store, stop } = refused() ?? {};
      if (store === undefined || !patched('refusal-told-at-once')) return;
      await tellPeople(fleet, night, refusalSummary(store, stop?.summary), 'BackupRefused');
    })
    // Nobody was refused.
    .catch(() => undefined);
  return {
    async end() {
      waiting.cancel();
      await called;
    },
  };
}

/**
 * Rounds: all stores, then those that were away, until none is or the night is over. Whoever backs up by hand looks at
 * the answer, and asks again.
 */
async function backUpAll(plan: NightPlan, desk: Desk): Promise<void> {
  let stores = plan.stores;
  for (let round = 0; stores.length > 0; round += 1) {
    await oneRound(plan, stores, round, desk);
    stores = plan.stores.filter(({ id }) => {
      const result = desk.resultOf(id);
      return result !== undefined && isAway(result);
    });
    const left = Date.parse(plan.closes) - Date.now();
    if (stores.length === 0 || plan.opens === undefined || left <= 0 || desk.abortedBy() !== undefined) return;
    desk.doing(`Waits to ask again those that did not answer (${stores.length}).`);
    await condition(() => desk.abortedBy() !== undefined, Math.min(left, AGAIN_AFTER * plan.timing.deferFor));
    // What is over by now is not asked again: it would only be told that it was missed.
    const now = Date.now();
    stores = stores.filter(({ closes }) => Date.parse(closes) > now);
  }
}

/** Times of a busy store's wait: a link that is down is seldom back at once. */
const AGAIN_AFTER = 3;

async function oneRound(plan: NightPlan, stores: NightStorePlan[], round: number, desk: Desk): Promise<void> {
  const parts = partsOfNight({ stores, maxConcurrency: plan.maxConcurrency }, PART_SIZE);
  const many = parts.length > 1;
  await Promise.all(
    parts.map(async (part, index) => {
      const workflowId = waveWorkflowId(plan.night, BACKUP_STAGE, round, many ? index + 1 : 0);
      const untried = 'The night was ended before its turn. It has no new backup.';
      const results = await desk.runWave({ workflowId, stores: part.stores.map(({ id }) => id), untried }, () =>
        runPart(plan, part, round, workflowId),
      );
      desk.take(results);
      await control.record({ kind: 'results', train: plan.night, stage: BACKUP_STAGE, round, results });
    }),
  );
}

function runPart(
  { fleet, night, orders, timing, closes, endsBy }: NightPlan,
  { stores, maxConcurrency }: ReturnType<typeof partsOfNight>[number],
  round: number,
  workflowId: string,
): Promise<WaveReport> {
  const { storeTimeout, offlineAfter, cutOffAfter, deferFor } = timing;
  return executeChild<typeof wave>('wave', {
    workflowId,
    parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
    staticSummary: `back up ${stores.length} stores`,
    typedSearchAttributes: [
      { key: searchKeys.train, value: night },
      { key: searchKeys.stage, value: BACKUP_STAGE },
      { key: searchKeys.operation, value: 'backup' },
    ],
    args: [
      {
        fleet,
        train: night,
        stage: BACKUP_STAGE,
        round,
        operation: 'backup',
        stores,
        orders,
        ...(endsBy ? { endsBy } : {}),
        limits: {
          maxConcurrency,
          errorThreshold: NO_THRESHOLD,
          offlineThreshold: NO_THRESHOLD,
          storeTimeout,
          stageTimeout: Math.max(1, Date.parse(closes) - Date.now()) + 2 * storeTimeout,
          offlineAfter,
          cutOffAfter,
          deferFor,
          deferLimit: 100,
        },
        stageSize: stores.length,
        before: { tally: {}, started: 0 },
      },
    ],
  });
}

/** Of the whole datastore, so once for all stores. Begun also when the night is over by then, and left to itself. */
async function collectCentral({ night, fleet, timing, endsBy }: NightPlan, desk: Desk): Promise<void> {
  desk.doing('Collects the space of what was pruned at the central server.');
  const end = openNightEnd({ endsBy, patience: timing.cutOffAfter });
  const answer = await end.lastly(() =>
    offsiteProxies(timing.cutOffAfter)
      .longTask.collectSpace({
        protocol: PROTOCOL,
        store: 'central',
        fleet,
        night,
        operationId: operationId(night, BACKUP_STAGE, 'central', 0),
        startedAt: new Date().toISOString(),
      })
      .catch((error: unknown) => ({ ok: false, detail: messageOf(error) })),
  );
  end.cancel();
  if (answer === undefined)
    await tellPeople(
      fleet,
      night,
      'Space at the central server is still being collected at the end of the night, or its worker did not answer. What runs there goes on.',
    );
  else if (!answer.ok)
    await tellPeople(fleet, night, `Space at the central server was not collected: ${answer.detail}`);
}

async function recordNight({ night, fleet, commit, opens, closes }: NightPlan, desk: Desk): Promise<void> {
  const { state, startedAt, endedAt, stores, tally, doing } = desk.view;
  await control.record({
    kind: 'night',
    row: { id: night, fleet, state, summary: doing, commit, stores, tally, opens, closes, startedAt, endedAt },
  });
}

/** A night in which all went well is not worth a word at breakfast. */
async function tell({ fleet, night }: NightPlan, { view }: Desk): Promise<void> {
  const worst = view.notSucceeded.slice(0, 5).map(({ store, stop }) => `${store}: ${stop?.summary ?? 'no reason'}`);
  if (worst.length > 0) await tellPeople(fleet, night, `${view.doing} ${worst.join(' ')}`);
}
