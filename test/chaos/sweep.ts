import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { StoreBackupActivities } from '#domain/messages/backup.js';
import type { StoreActivities } from '#domain/messages/store.js';
import type { ControlActivities, ReleaseActivities } from '#domain/messages/train.js';
import type { Practice } from '../support/practice.js';
import type { Edit } from './broken.js';
import { planOf, type ChaosPlan } from './plan.js';

/**
 * Kills each worker once at both ends of each activity, under one train, one rollback and one look of the janitor:
 * - `early`: it has the task, and has done nothing yet;
 * - `late`: it has done the work, and has not told anybody.
 */
export const SWEEP_NAMES = ['train', 'rollback', 'janitor'] as const;
export type SweepName = (typeof SWEEP_NAMES)[number];
/** The sweeps in which an activity loses its worker, or why it does in none. */
type Fate = readonly [SweepName, ...SweepName[]] | { notSwept: string };

const OF_A_NIGHT = { notSwept: 'No sweep has a night; runs of nights kill its workers, at the moments of the table.' };
const ONLY_LOOKS = { notSwept: 'Nothing is done by its answer; people asked what a release would do.' };

/** Every activity of these workers has a place here, so that a new one is not forgotten. */
const FATES = {
  stores: {
    hello: ['train'],
    // Under a permit the store takes an older release, and apt older packages.
    openOperation: ['train', 'rollback'],
    readFacts: ['train'],
    stagePackages: ['train'],
    drainNode: ['train'],
    upgradeNode: ['train', 'rollback'],
    rebootNode: ['train'],
    rejoinNode: ['train'],
    applyConfig: ['train'],
    verifyStore: ['train'],
    closeOperation: ['train'],
    probeStore: ['train'],
    inspectStore: ['janitor'],
    sweepStore: ['janitor'],
    surveyStore: ONLY_LOOKS,
    openDump: OF_A_NIGHT,
    dumpNode: OF_A_NIGHT,
    closeDump: OF_A_NIGHT,
    sendCopy: OF_A_NIGHT,
    verifyCopy: OF_A_NIGHT,
    pruneCopy: OF_A_NIGHT,
    collectSpace: OF_A_NIGHT,
    readCopy: OF_A_NIGHT,
  } satisfies Record<keyof (StoreActivities & StoreBackupActivities), Fate>,
  control: {
    openTrain: ['train'],
    planTrain: ['train'],
    stageWindows: ['train'],
    promoteStage: ['train'],
    confirmStage: ['train'],
    record: ['train'],
    notify: ['train'],
    // Its wave is at work for so long, with all those kills, that people are called.
    inWork: ['train'],
    reopenTrain: ['rollback'],
    planRollback: ['rollback'],
    revertPromotions: ['rollback'],
    pointBack: ['rollback'],
    planSweep: ['janitor'],
    isBusy: ['janitor'],
    triedNow: ['janitor'],
    backupConcerns: ['janitor'],
    judgeRecoverability: {
      notSwept: 'Asked by trains of fleets that want proven backups; the practice fleet has none yet.',
    },
    planNight: OF_A_NIGHT,
    planRestores: { notSwept: 'No sweep has restore tests; their runs kill its worker, at the moments of the table.' },
  } satisfies Record<keyof ControlActivities, Fate>,
  release: {
    buildRelease: ['train'],
    signRollbackPermit: ['rollback'],
  } satisfies Record<keyof ReleaseActivities, Fate>,
};

const MOMENTS = ['early', 'late'] as const;

/** The worker that carries each of them out, by the name of the boundary. */
const boundariesOf = (name: SweepName): Map<string, string> =>
  new Map(
    Object.entries<Record<string, Fate>>(FATES).flatMap(([worker, fates]) =>
      Object.entries(fates)
        .filter(([, fate]) => !('notSwept' in fate) && fate.includes(name))
        .flatMap(([activity]) => MOMENTS.map((moment) => [`${activity} ${moment}`, worker] as const)),
    ),
  );

/**
 * A build whose workers stop for ever at a boundary for which a file `hold …` lies in their working folder, and rename
 * that file to `held …`, with their process id in it. One of them does: the first that gets there.
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
    put: `import { renameSync, writeFileSync } from 'node:fs';
async function boundary(name) {
    try {
        renameSync('hold ' + name, 'held ' + name);
    }
    catch {
        return;
    }
    writeFileSync('held ' + name, String(process.pid));
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

/** Kills whoever stands at a boundary, until that which is swept has ended. Call `prepare` before it starts. */
export function createSweep(name: SweepName, dir: string, say: (line: string) => void) {
  // The working folder of all processes of the service.
  const folder = join(dir, 'edge');
  const boundaries = boundariesOf(name);
  const kills: string[] = [];
  /** The process of the service that stands there; undefined while it is not known which one does. */
  const whoIsAt = async (practice: Practice, boundary: string): Promise<string | undefined> => {
    const pid = Number(await readFile(join(folder, `held ${boundary}`), 'utf8'));
    const worker = boundaries.get(boundary) ?? '';
    return practice.service
      .processes()
      .find((each) => (each === worker || each.startsWith(`${worker}-`)) && isPidOf(practice, each, pid));
  };
  return {
    kills,
    missing: () => [...boundaries.keys()].filter((boundary) => !kills.includes(boundary)),
    async prepare(): Promise<void> {
      for (const boundary of boundaries.keys()) await writeFile(join(folder, `hold ${boundary}`), '');
    },
    async beside(practice: Practice, ended: AbortSignal): Promise<void> {
      while (!ended.aborted) {
        const held = (await readdir(folder)).filter((file) => file.startsWith('held '));
        for (const file of held) {
          const boundary = file.slice('held '.length);
          const process = await whoIsAt(practice, boundary);
          if (process === undefined || !practice.service.kill(process, 'SIGKILL')) continue;
          await rm(join(folder, file));
          kills.push(boundary);
          say(`  ${process} killed: ${boundary}`);
        }
        await delay(LOOK_EVERY_MS);
      }
    },
  };
}

function isPidOf(practice: Practice, process: string, pid: number): boolean {
  try {
    return practice.pid(process) === pid;
  } catch {
    return false;
  }
}
