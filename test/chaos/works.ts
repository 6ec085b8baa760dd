import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { WorkflowExecutionAlreadyStartedError } from '@temporalio/common';
import type { NightInput, NightReport, NightView } from '#domain/messages/backup.js';
import type { RestoreInput, RestoreReport, RestoreView } from '#domain/messages/restore.js';
import type { TrainReport, TrainView } from '#domain/messages/train.js';
import { CONTROL_QUEUE, nightWorkflowId, restoreRunWorkflowId, trainWorkflowId } from '#domain/naming.js';
import type { Practice } from '../support/practice.js';
import { TAKEN_BACK_WHEN_DONE } from './judge-way-back.js';
import { createOperator, REPAIR_AFTER_MS } from './operator.js';
import { within } from './patience.js';
import { FLEET, turningStore, type ChaosPlan, type Way } from './plan.js';
import { partOf, type Steered } from './steering.js';

/** What a run does to its stores, each from its first message to its end, and what whoever looks at it says meanwhile. */

const LOOK_EVERY_MS = 500;
/** From the first message to a train, a night or a run of restore tests to its end. */
const LIMIT_MS = 240_000;
/** For the first message, which may meet a server that was just killed. */
const START_LIMIT_MS = 60_000;

/** How the works of a run see what goes on. */
export interface Course {
  practice: Practice;
  plan: ChaosPlan;
  stores: readonly string[];
  said: string[];
  /** Calls back when that effect is next in the journal, with the store where it is seen; or next at one store. */
  once(effect: string, then: (store: string) => void, at?: string): void;
  /** Ends all that is broken, once for each work. */
  repairer(): () => Promise<void>;
  trainBegan(handle: WorkflowHandle): void;
  /** The train is about to be taken back; no store has gone back yet. */
  wayBackBegins(): Promise<void>;
  /** As it was seen last. */
  trainView?: TrainView | undefined;
  limitMs?: number | undefined;
}

interface Ended<Report, View> {
  handle: WorkflowHandle;
  report: Report | undefined;
  view: View | undefined;
}

type EndedTrain = Ended<TrainReport, TrainView> & { steered: Steered[] };

/** Of the works that a run has done. */
export interface Endings {
  train?: EndedTrain;
  night?: Ended<NightReport, NightView>;
  restores?: Ended<RestoreReport, RestoreView>;
}

export async function ride(course: Course): Promise<EndedTrain> {
  const { practice, plan, said } = course;
  const { pausesAt, goesBack, steers } = plan.operator;
  const stages = await practice.stages();
  const steer = (way: Way): void => {
    if (steers?.way === way) course.once(steers.at, (store) => operator.steer(partOf(steers, store, stages)));
  };
  const operator = createOperator(plan.operator, practice, said, course.repairer, async () => {
    await course.wayBackBegins();
    steer('back');
  });
  if (pausesAt !== undefined) course.once(pausesAt, () => operator.pause());
  if (goesBack?.at !== undefined) course.once(goesBack.at, () => operator.goBack(), course.stores[turningStore(plan)]);
  steer('there');

  const watched = async (handle: WorkflowHandle): Promise<Ended<TrainReport, TrainView>> => {
    const look = async () => {
      course.trainView = (await within(2_000, handle.query<TrainView>('train'))) ?? course.trainView;
      if (course.trainView) await operator.look(course.trainView);
    };
    const report = await endOf<TrainReport>({ ...course, limitMs: limitOf(course) }, handle, look);
    return { handle, report, view: (await within(5_000, handle.query<TrainView>('train'))) ?? course.trainView };
  };
  const handle = await begun(practice, trainWorkflowId(FLEET), () => practice.startTrain());
  course.trainBegan(handle);
  const ended = await watched(handle);
  const { steered } = operator;
  if (goesBack === undefined || ended.report?.state !== 'done') return { ...ended, steered };

  said.push(TAKEN_BACK_WHEN_DONE);
  await operator.turnBack();
  const args = [{ fleet: FLEET, by: 'chaos' }];
  const back = await begun(practice, trainWorkflowId(FLEET), () =>
    practice.client.workflow.start('rollbackTrain', {
      taskQueue: CONTROL_QUEUE,
      workflowId: trainWorkflowId(FLEET),
      args,
    }),
  );
  return { ...(await watched(back)), steered };
}

/** A train that is taken back goes both ways. */
const limitOf = ({ plan, limitMs }: Course): number | undefined =>
  limitMs ?? (plan.operator.goesBack === undefined ? undefined : 2 * LIMIT_MS);

export async function sleepThrough(course: Course): Promise<Ended<NightReport, NightView>> {
  const now = course.plan.night.opensFor === undefined;
  const input: NightInput = { fleet: FLEET, stores: [...course.stores], now, requestedBy: 'chaos' };
  const id = nightWorkflowId(FLEET, 'by-hand');
  return runOver<NightReport, NightView>(course, 'nightlyBackup', id, input, 'night', course.plan.night.abortsAt);
}

/** Guests that are named and have no proven copy yet make the run refuse all of them: then people ask for those that have. */
export async function tryOut(course: Course): Promise<Ended<RestoreReport, RestoreView>> {
  const { vmids, abortsAt } = course.plan.restores;
  const stores = [...course.stores];
  const input: RestoreInput = { fleet: FLEET, stores, requestedBy: 'chaos' };
  const id = restoreRunWorkflowId(FLEET, 'by-hand');
  const ask = (asked: RestoreInput) =>
    runOver<RestoreReport, RestoreView>(course, 'restoreTest', id, asked, 'restores', abortsAt);
  if (!vmids) return ask(input);
  const named = await ask({ ...input, vmids });
  return named.report === undefined && named.view?.doing.includes(NOT_PROVEN) ? ask(input) : named;
}

/** As `planRestores` refuses them. */
const NOT_PROVEN = 'the central server has no proven backup of it yet';

/** A run over the fleet asks nobody anything; people can only end it. */
async function runOver<Report, View>(
  course: Course,
  type: string,
  workflowId: string,
  input: object,
  query: string,
  abortsAt: string | undefined,
): Promise<Ended<Report, View>> {
  const { practice, said } = course;
  const handle = await begun(practice, workflowId, () =>
    practice.client.workflow.start(type, { taskQueue: CONTROL_QUEUE, workflowId, args: [input] }),
  );
  const repair = course.repairer();
  const startedAt = performance.now();
  let aborts = false;
  if (abortsAt !== undefined) course.once(abortsAt, () => (aborts = true));
  const look = async () => {
    if (performance.now() - startedAt > REPAIR_AFTER_MS) await repair();
    if (!aborts) return;
    // Said again when nobody heard it: a worker may be on its way back.
    const heard = await within(5_000, handle.executeUpdate<string, [object]>('abort', { args: [{ by: 'chaos' }] }));
    said.push(`abort the ${query}: ${heard === undefined ? 'no answer' : 'taken'}`);
    if (heard !== undefined) aborts = false;
  };
  const report = await endOf<Report>(course, handle, look);
  return { handle, report, view: await within(5_000, handle.query<View>(query)) };
}

/** Said again until somebody takes it; what was taken though nobody answered is found under its id. */
async function begun(
  { client }: Practice,
  workflowId: string,
  start: () => Promise<WorkflowHandle>,
): Promise<WorkflowHandle> {
  const limit = performance.now() + START_LIMIT_MS;
  for (;;) {
    try {
      return await start();
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return client.workflow.getHandle(workflowId);
      if (performance.now() > limit) throw error;
      await delay(LOOK_EVERY_MS);
    }
  }
}

/** Looks until it has ended: a restart of the server cuts the connection of whoever waits for a result. */
async function endOf<Report>(
  { said, limitMs = LIMIT_MS }: Course,
  handle: WorkflowHandle,
  look: () => Promise<void>,
): Promise<Report | undefined> {
  const limit = performance.now() + limitMs;
  while (performance.now() < limit) {
    const found = await within(2_000, handle.describe());
    const status = found?.status.name ?? 'RUNNING';
    if (status === 'COMPLETED') {
      const report = await within(5_000, handle.result() as Promise<Report>);
      if (report !== undefined) return report;
    } else if (status !== 'RUNNING') {
      said.push(`${handle.workflowId}: ${status}`);
      return undefined;
    }
    await look();
    await delay(LOOK_EVERY_MS);
  }
  said.push(`${handle.workflowId}: still running`);
  return undefined;
}
