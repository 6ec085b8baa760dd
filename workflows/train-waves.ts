import {
  CancellationScope,
  executeChild,
  getExternalWorkflowHandle,
  isCancellation,
  ParentClosePolicy,
  patched,
  startChild,
  TemporalFailure,
} from '@temporalio/workflow';
import { plural } from '#domain/counted.js';
import type { StagePlan, StageWindows, TrainPlan, WaveReport } from '#domain/messages/train.js';
import { waveWorkflowId } from '#domain/naming.js';
import type { Reason } from '#domain/reasons.js';
import type { PermitRef, ReleaseRef } from '#domain/release.js';
import { resultsOfBroken } from './broken-wave.js';
import { steerWaveSignal } from './messages.js';
import { messageOf } from './proxies.js';
import { searchKeys } from './search-keys.js';
import type { TrainDesk } from './train-desk.js';
import type { wave } from './wave.js';

/** How a train sends its waves out: in parts, with pause, abort and deadline passed on. */

/** Why the train is over before its last stage. */
export interface Over {
  state: 'aborted' | 'failed' | 'rolled back';
  reason: Reason;
  summary: string;
}
export interface Run {
  desk: TrainDesk;
  plan: TrainPlan;
  planHash: string;
  /** What people should know before they approve a way back. */
  caveats?: string[];
}

/** What one wave does. Limits are those of the stage, whatever it does to its stores. */
export interface Mission {
  operation: 'patch' | 'rollback';
  release: ReleaseRef;
  permit?: PermitRef | undefined;
  /** Under which name its operations run and are promoted; a rollback has one of its own. */
  name: string;
  round: number;
  stores: StartableStore[];
  before: { tally: Record<string, number>; started: number };
  judged?: number;
  notAfter?: string | undefined;
}

export async function runWave(
  { desk, plan }: Run,
  stage: StagePlan,
  workflowId: string,
  mission: Mission,
): Promise<WaveReport> {
  const { operation, release, permit, name, round, stores, before, judged, notAfter } = mission;
  const scope = new CancellationScope();
  const state = { begun: false, ended: false };
  const running = scope.run(async () => {
    const child = await startChild<typeof wave>('wave', {
      workflowId,
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      staticSummary: `${name}: ${operation} ${plural(stores.length, 'store')}`,
      typedSearchAttributes: searchAttributes(plan, name, operation, release),
      args: [
        {
          fleet: plan.fleet,
          train: plan.train,
          stage: name,
          round,
          operation,
          stores,
          release,
          permit,
          notAfter,
          limits: stage.settings.limits,
          stageSize: stage.stores.length,
          before,
          judged,
          steering: desk.steering(stage.name),
        },
      ],
    });
    state.begun = true;
    return child.result();
  });
  const steering = steer(desk, stage.name, workflowId, state, scope);
  try {
    return await running;
  } catch (error) {
    const members = stores.map(({ id }) => id);
    if (isCancellation(error)) return { results: [], probes: [], notStarted: members };
    if (!patched('broken-wave-holds')) throw error;
    const results = resultsOfBroken(error, members);
    const summary = `A wave of stage ${stage.name} broke off: ${messageOf(error)}`;
    return { results, probes: [], notStarted: [], breach: { reason: 'StepFailed', summary } };
  } finally {
    state.ended = true;
    await steering;
  }
}

/** Passes on what people say about stage and stores; abort and the deadline end the wave. */
async function steer(
  desk: TrainDesk,
  stage: string,
  workflowId: string,
  state: { readonly begun: boolean; readonly ended: boolean },
  scope: CancellationScope,
): Promise<void> {
  let told = JSON.stringify(desk.steering(stage));
  // Kept, since an abort of the stage is taken from the desk by whoever holds the train for it.
  let isEnding = false;
  const mustEnd = () => (isEnding ||= desk.mustStop() || desk.isStageAborted(stage));
  let isLost = false;
  const isNew = () => (isLost ? state.begun : JSON.stringify(desk.steering(stage)) !== told);
  for (;;) {
    await desk.until(() => state.ended || mustEnd() || isNew());
    if (state.ended) return;
    if (mustEnd()) {
      scope.cancel();
      return;
    }
    const now = desk.steering(stage);
    told = JSON.stringify(now);
    const isEarly = !state.begun;
    isLost = false;
    await getExternalWorkflowHandle(workflowId)
      .signal(steerWaveSignal, now)
      // A wave that has not begun cannot be told anything yet.
      .catch(() => {
        isLost = isEarly && patched('steering-arrives');
      });
  }
}

/** Measures stores: a wave that only looks. `name` tells its measurements from others of the train. */
export async function probeStores(
  { plan }: Run,
  stage: StagePlan,
  stores: string[],
  { name, attempt, release }: { name: string; attempt: number; release: ReleaseRef },
): Promise<WaveReport['probes']> {
  const probes: WaveReport['probes'] = [];
  for (const [part, members] of partsOf(stores.map((id) => ({ id }))).entries()) {
    const measuring = executeChild<typeof wave>('wave', {
      workflowId: `${waveWorkflowId(plan.train, name, attempt, part)}/gate`,
      parentClosePolicy: ParentClosePolicy.REQUEST_CANCEL,
      staticSummary: `${name}: measure ${plural(members.length, 'store')}`,
      typedSearchAttributes: searchAttributes(plan, name, 'probe', release),
      args: [
        {
          fleet: plan.fleet,
          train: plan.train,
          stage: name,
          round: attempt,
          operation: 'probe',
          stores: members,
          release,
          limits: stage.settings.limits,
          stageSize: stage.stores.length,
          before: { tally: {}, started: 0 },
        },
      ],
    });
    // Those of a wave that broke off were not measured.
    const report = await measuring.catch((error: unknown) => {
      if (!(error instanceof TemporalFailure) || !patched('broken-wave-holds')) throw error;
      return undefined;
    });
    probes.push(...(report?.probes ?? []));
  }
  return probes;
}

const searchAttributes = (plan: TrainPlan, name: string, operation: string, release: ReleaseRef) => [
  { key: searchKeys.train, value: plan.train },
  { key: searchKeys.stage, value: name },
  { key: searchKeys.operation, value: operation },
  { key: searchKeys.release, value: release.version },
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
