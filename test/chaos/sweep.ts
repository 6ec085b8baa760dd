import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { StoreActivities } from '#domain/messages/store.js';
import type { ControlActivities, ReleaseActivities } from '#domain/messages/train.js';
import type { Practice } from '../support/practice.js';
import type { Edit } from './broken.js';
import { planOf, type ChaosPlan } from './plan.js';

/**
 * Kills each worker once at both ends of each activity, under one train:
 * - `early`: it has the task, and has done nothing yet;
 * - `late`: it has done the work, and has not told anybody.
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
] as const satisfies (keyof StoreActivities)[];
const OF_CONTROL = [
  'openTrain',
  'planTrain',
  'stageWindows',
  'promoteStage',
  'confirmStage',
  'record',
  'notify',
] as const satisfies (keyof ControlActivities)[];
const OF_RELEASE = ['buildRelease'] as const satisfies (keyof ReleaseActivities)[];
const MOMENTS = ['early', 'late'] as const;

const boundariesOf = (worker: string, activities: readonly string[]): [name: string, worker: string][] =>
  activities.flatMap((activity) => MOMENTS.map((moment): [string, string] => [`${activity} ${moment}`, worker]));
const BOUNDARIES = new Map([
  ...boundariesOf('stores', OF_STORE),
  ...boundariesOf('control', OF_CONTROL),
  ...boundariesOf('release', OF_RELEASE),
]);

/**
 * A build whose workers stop for ever at a boundary for which a file `hold …` lies in their working folder, and rename
 * that file to `held …`. One of them does: the first that gets there.
 */
export const HALTING_BUILD: readonly Edit[] = [
  {
    file: 'activities/to-failure.js',
    find: 'return await activity(...args);',
    put: `await boundary(name + ' early');
                const answer = await activity(...args);
                await boundary(name + ' late');
                return answer;`,
  },
  {
    file: 'activities/to-failure.js',
    find: 'export function toFailure(',
    put: `import { renameSync } from 'node:fs';
async function boundary(name) {
    try {
        renameSync('hold ' + name, 'held ' + name);
    }
    catch {
        return;
    }
    await new Promise(() => undefined);
}
export function toFailure(`,
  },
];

const LOOK_EVERY_MS = 50;
export const SWEEP_LIMIT_MS = 2_400_000;

/** One store after the other, so that each kill meets one operation at work. */
export const SWEEP_PLAN: ChaosPlan = {
  ...planOf(1),
  seed: 0,
  kind: 'train',
  stores: 3,
  stages: [
    { name: 'canary', stores: 1, soak: '0s', approval: true, maxConcurrency: 1, failures: 0 },
    { name: 'rest', stores: 'rest', soak: '0s', approval: false, maxConcurrency: 1, failures: 0 },
  ],
  faults: [],
  operator: { retries: 2, repairs: false, atLast: 'skip' },
  // The first store meets nearly all of the kills, and each costs the time in which its heartbeat is missed.
  limits: { storeTimeout: '30m', stageTimeout: '40m' },
};

/** Kills whoever stands at a boundary, until the train has ended. Call `prepare` before it starts. */
export function createSweep(dir: string, say: (line: string) => void) {
  // The working folder of all processes of the service.
  const folder = join(dir, 'edge');
  const kills: string[] = [];
  return {
    kills,
    missing: () => [...BOUNDARIES.keys()].filter((name) => !kills.includes(name)),
    async prepare(): Promise<void> {
      for (const name of BOUNDARIES.keys()) await writeFile(join(folder, `hold ${name}`), '');
    },
    async beside(practice: Practice, ended: AbortSignal): Promise<void> {
      while (!ended.aborted) {
        const held = (await readdir(folder)).filter((file) => file.startsWith('held '));
        for (const file of held) {
          const name = file.slice('held '.length);
          const worker = BOUNDARIES.get(name) ?? '';
          const process = practice.service.processes().find((each) => each === worker || each.startsWith(`${worker}-`));
          if (!process || !practice.service.kill(process, 'SIGKILL')) continue;
          await rm(join(folder, file));
          kills.push(name);
          say(`  ${process} killed: ${name}`);
        }
        await delay(LOOK_EVERY_MS);
      }
    },
  };
}
