import { setTimeout as delay } from 'node:timers/promises';
import type { Practice } from '../support/practice.js';
import { run, within, type RunOptions, type Seen } from './drive.js';
import { planOf, type ChaosPlan } from './plan.js';

/**
 * Kills each worker at the boundaries of each activity, one kill after the other, under one train:
 * - `early`: as soon as the server says that the worker has the task;
 * - `late`: the server stands still from then on, so the work goes on and its end cannot be told; then the worker is
 *   killed and the server goes on.
 */
const OF_STORE = [
  'hello',
  'openOperation',
  'readFacts',
  'stagePackages',
  'drainNode',
  'upgradeNode',
  'rebootNode',
  'rejoinNode',
  'applyConfig',
  'verifyStore',
  'closeOperation',
  'probeStore',
];
const OF_CONTROL = ['openTrain', 'planTrain', 'stageWindows', 'promoteStage', 'confirmStage', 'record', 'notify'];
const OF_RELEASE = ['buildRelease'];
const MOMENTS = ['late', 'early'] as const;

const BOUNDARIES = [...OF_STORE, ...OF_CONTROL, ...OF_RELEASE].flatMap((activity) =>
  MOMENTS.map((moment) => ({ activity, moment, name: `${activity} ${moment}` })),
);

const LOOK_EVERY_MS = 15;
/** So long the work goes on without a server: enough for what the practice fleet does at its speed, less than a heartbeat. */
const STANDSTILL_MS = 2_500;
/** Between two kills: a process that is killed again at once is started later and later. */
const BREATH_MS = 3_000;
const TRAIN_LIMIT_MS = 1_800_000;

const PLAN: ChaosPlan = {
  ...planOf(1),
  seed: 0,
  stores: 3,
  stages: [
    { name: 'canary', stores: 1, soak: '0s', approval: false, maxConcurrency: 1, failures: 0 },
    { name: 'rest', stores: 'rest', soak: '0s', approval: false, maxConcurrency: 1, failures: 0 },
  ],
  faults: [],
  operator: { retries: 2, repairs: false, atLast: 'skip' },
};

export async function sweep(
  options: Pick<RunOptions, 'dir' | 'start'> & { say: (line: string) => void },
): Promise<{ seen: Seen; kills: string[]; missing: string[] }> {
  const open = new Map(BOUNDARIES.map((boundary) => [boundary.name, boundary]));
  const kills: string[] = [];
  const beside = async (practice: Practice, ended: AbortSignal): Promise<void> => {
    while (!ended.aborted && open.size > 0) {
      const activity = await within(
        2_000,
        startedActivity(practice, new Set([...open.values()].map((b) => b.activity))),
      );
      const boundary = [...open.values()].find((each) => each.activity === activity);
      if (!boundary) {
        await delay(LOOK_EVERY_MS);
        continue;
      }
      const { service } = practice;
      const worker = workerOf(practice, boundary.activity);
      if (boundary.moment === 'late') {
        service.kill('temporal', 'SIGSTOP');
        await delay(STANDSTILL_MS);
      }
      const done = service.kill(worker, 'SIGKILL');
      if (boundary.moment === 'late') service.kill('temporal', 'SIGCONT');
      if (!done) continue;
      open.delete(boundary.name);
      kills.push(boundary.name);
      options.say(`  ${worker} killed: ${boundary.name}`);
      await delay(BREATH_MS);
    }
  };
  const seen = await run({ ...options, plan: PLAN, beside, trainLimitMs: TRAIN_LIMIT_MS });
  return { seen, kills, missing: [...open.keys()] };
}

function workerOf({ service }: Practice, activity: string): string {
  if (OF_CONTROL.includes(activity)) return 'control';
  if (OF_RELEASE.includes(activity)) return 'release';
  return service.processes().find((name) => name.startsWith('stores-')) ?? 'stores-1';
}

/** The first activity of those named that a worker has in hand at this moment. */
async function startedActivity({ client }: Practice, wanted: ReadonlySet<string>): Promise<string | undefined> {
  for await (const { workflowId } of client.workflow.list({ query: "ExecutionStatus='Running'" })) {
    const { raw } = await client.workflow.getHandle(workflowId).describe();
    for (const { activityType, state } of raw.pendingActivities ?? []) {
      // PENDING_ACTIVITY_STATE_STARTED of the API.
      if (state === 2 && wanted.has(activityType?.name ?? '')) return activityType?.name ?? undefined;
    }
  }
  return undefined;
}
