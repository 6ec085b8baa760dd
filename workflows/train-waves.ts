import {
  CancellationScope,
  condition,
  executeChild,
  getExternalWorkflowHandle,
  isCancellation,
  ParentClosePolicy,
} from '@temporalio/workflow';
import type { StagePlan, StageWindows, TrainPlan, WaveReport } from '#domain/messages/train.js';
import { waveWorkflowId } from '#domain/naming.js';
import type { Reason } from '#domain/reasons.js';
import { pauseWaveSignal } from './messages.js';
import { searchKeys } from './search-keys.js';
import type { TrainDesk } from './train-desk.js';
import type { wave } from './wave.js';

/** How a train sends its waves out: in parts, with pause, abort and deadline passed on. */

/** Why the train is over before its last stage. */
export interface Over {
  state: 'aborted' | 'failed';
  reason: Reason;
  summary: string;
}
export interface Run {
  desk: TrainDesk;
  plan: TrainPlan;
  planHash: string;
}

export async function runWave(
  { desk, plan }: Run,
  stage: StagePlan,
  workflowId: string,
  members: {
    round: number;
    stores: StartableStore[];
    before: { tally: Record<string, number>; started: number };
    notAfter?: string | undefined;
  },
): Promise<WaveReport> {
  const scope = new CancellationScope();
  const settled = { done: false };
  const running = scope.run(() =>
    executeChild<typeof wave>('wave', {
      workflowId,
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      staticSummary: `${stage.name}: patch ${members.stores.length} stores`,
      typedSearchAttributes: searchAttributes(plan, stage, 'patch'),
      args: [
        {
          fleet: plan.fleet,
          train: plan.train,
          stage: stage.name,
          operation: 'patch',
          release: plan.release,
          limits: stage.settings.limits,
          stageSize: stage.stores.length,
          paused: desk.paused,
          ...members,
          ...(members.notAfter ? {} : { notAfter: undefined }),
        },
      ],
    }),
  );
  const follow = followPauses(desk, workflowId, settled, scope);
  try {
    return await running;
  } catch (error) {
    if (!isCancellation(error) && !desk.aborted) throw error;
    return { results: [], probes: [], notStarted: members.stores.map(({ id }) => id) };
  } finally {
    settled.done = true;
    await follow;
  }
}

/** Passes on pause, resume, abort and the deadline to the wave that runs. */
async function followPauses(
  desk: TrainDesk,
  workflowId: string,
  settled: { done: boolean },
  scope: CancellationScope,
): Promise<void> {
  let told = desk.paused;
  for (;;) {
    const left = desk.view.deadline ? Math.max(1, Date.parse(desk.view.deadline) - Date.now()) : 1;
    const inTime = await condition(() => settled.done || desk.aborted !== undefined || desk.paused !== told, left);
    if (settled.done) return;
    if (desk.aborted || !inTime) {
      scope.cancel();
      return;
    }
    told = desk.paused;
    await getExternalWorkflowHandle(workflowId)
      .signal(pauseWaveSignal, told)
      .catch(() => undefined);
  }
}

/** Measures stores: a wave that only looks. */
export async function probeStores(
  { plan }: Run,
  stage: StagePlan,
  stores: string[],
  attempt: number,
): Promise<WaveReport['probes']> {
  const probes: WaveReport['probes'] = [];
  for (const [part, members] of partsOf(stores.map((id) => ({ id }))).entries()) {
    const report = await executeChild<typeof wave>('wave', {
      workflowId: `${waveWorkflowId(plan.train, stage.name, attempt, part)}/gate`,
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      staticSummary: `${stage.name}: measure ${members.length} stores`,
      typedSearchAttributes: searchAttributes(plan, stage, 'probe'),
      args: [
        {
          fleet: plan.fleet,
          train: plan.train,
          stage: stage.name,
          round: attempt,
          operation: 'probe',
          stores: members,
          release: plan.release,
          limits: stage.settings.limits,
          stageSize: stage.stores.length,
          before: { tally: {}, started: 0 },
          paused: false,
        },
      ],
    });
    probes.push(...report.probes);
  }
  return probes;
}

const searchAttributes = (plan: TrainPlan, stage: StagePlan, operation: string) => [
  { key: searchKeys.train, value: plan.train },
  { key: searchKeys.stage, value: stage.name },
  { key: searchKeys.operation, value: operation },
  { key: searchKeys.release, value: plan.release.version },
];
export const PART_SIZE = 250;
export interface StartableStore {
  id: string;
  opens?: string;
  closes?: string;
}

export const partsOf = (stores: StartableStore[]): StartableStore[][] =>
  Array.from({ length: Math.ceil(stores.length / PART_SIZE) }, (_, part) =>
    stores.slice(part * PART_SIZE, (part + 1) * PART_SIZE),
  );

/** Stores of a stage that may start in these windows. */
export function startable(stage: StagePlan, windows: StageWindows): StartableStore[] {
  const out = new Set([...windows.excluded.map(({ store }) => store), ...windows.never]);
  return stage.stores.filter((store) => !out.has(store)).map((id) => ({ id, ...windows.stores[id] }));
}
