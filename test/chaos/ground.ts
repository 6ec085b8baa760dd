import { appendFile, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { DateTime } from 'luxon';
import type { ReleaseRef } from '#domain/release.js';
import { givenPractice, NEXT_WEEK, type EditableFleet, type Practice } from '../support/practice.js';
import { takeGoodRelease } from './before.js';
import { SPEED, type ChaosPlan } from './plan.js';

/** What a run stands on: the service as it runs, and stores that no earlier run has touched. */
export interface Ground {
  practice: Practice;
  stores: string[];
  /** What the stores took before, when the train of the plan is to be taken back. */
  before?: ReleaseRef;
  /** State and logs of the service, and of earlier runs on it. */
  dir: string;
}

export interface Grounds {
  /** Ground for this plan. One service carries run after run for as long as it has fresh stores for them. */
  prepare(plan: ChaosPlan): Promise<Ground>;
  /** Ends the service, and with it all state but what is to be looked into. Nothing to do when none runs. */
  clear(what: 'remove' | 'keep'): Promise<void>;
}

/** To start a service costs as much as a run. More stores than these would slow down the runs themselves. */
const STORES_OF_A_SERVICE = 30;
const LOOK_EVERY_MS = 50;
const BEFORE_LIMIT_MS = 120_000;

export function createGrounds(options: {
  dir: string;
  start: NonNullable<Parameters<typeof givenPractice>[0]['start']>;
  /** What will be asked for in all, when that is less than a service has room for. */
  atMost: number;
}): Grounds {
  let services = 0;
  let open: { practice: Practice; dir: string; commit: string; fresh: string[]; fleets: number } | undefined;

  const start = async () => {
    services += 1;
    const dir = join(options.dir, String(services));
    await rm(dir, { recursive: true, force: true });
    await mkdir(dir, { recursive: true });
    const practice = await givenPractice({
      stores: Math.min(STORES_OF_A_SERVICE, options.atMost),
      dir,
      start: options.start,
      speed: SPEED,
    });
    const commit = await git(practice, 'rev-parse', 'main');
    const fresh = Object.values(await practice.stages()).flat();
    return { practice, dir, commit, fresh, fleets: 0 };
  };

  const grounds: Grounds = {
    async prepare(plan) {
      if (open && open.fresh.length < plan.stores) await grounds.clear('remove');
      open ??= await start();
      const { practice, commit, dir } = open;
      await untilAllRun(practice);
      const stores = open.fresh.splice(0, plan.stores);
      open.fleets += 1;
      await layOut(practice, { plan: isTakenBack(plan) ? calm(plan) : plan, commit, stores, number: open.fleets });
      if (!isTakenBack(plan)) return { practice, stores, dir };
      const before = await takeGoodRelease(practice, BEFORE_LIMIT_MS);
      open.fleets += 1;
      await layOutNext(practice, { plan, stores, number: open.fleets });
      return { practice, stores, before, dir };
    },
    async clear(what) {
      const ending = open;
      open = undefined;
      await ending?.practice.stop();
      if (ending && what === 'remove') await rm(ending.dir, { recursive: true, force: true });
    },
  };
  return grounds;
}

/** A process that the last run killed may still be on its way back. */
async function untilAllRun(practice: Practice): Promise<void> {
  const runs = (name: string): boolean => {
    try {
      return practice.pid(name) > 0;
    } catch {
      return false;
    }
  };
  while (!practice.service.processes().every(runs)) await delay(LOOK_EVERY_MS);
}

const isTakenBack = ({ operator }: ChaosPlan): boolean => operator.goesBack !== undefined;

/** All stores at once, with nobody who asks and nothing that breaks. */
const calm = (plan: ChaosPlan): ChaosPlan => ({
  ...plan,
  stages: [
    { name: 'all', stores: 'rest', soak: '0s', approval: false, maxConcurrency: plan.stores, failures: plan.stores },
  ],
  faults: [],
});

/** The repo of the run: its stores alone, its stages, and a release of its own. */
async function layOut(
  practice: Practice,
  { plan, commit, stores, number }: { plan: ChaosPlan; commit: string; stores: string[]; number: number },
): Promise<void> {
  // The service commits its promotions without touching the working tree.
  await git(practice, 'reset', '--quiet', '--hard', 'main');
  await git(practice, 'rm', '-r', '--quiet', 'clusters');
  await git(practice, 'checkout', '--quiet', commit, '--', 'fleet.yaml', ...stores.map((id) => `clusters/${id}`));
  await practice.editFleet((fleet) => {
    setUp(fleet, plan);
    fleet.release = { ...fleet.release, version: `2026.48.${number}`, sequence: 48 + number };
  });
}

/** The release of the week after, with config files that differ too. */
async function layOutNext(
  practice: Practice,
  { plan, stores, number }: { plan: ChaosPlan; stores: string[]; number: number },
): Promise<void> {
  await git(practice, 'reset', '--quiet', '--hard', 'main');
  for (const store of stores)
    for (const file of ['inventory-api.yaml', 'varnish-vcl.vcl'])
      await appendFile(join(practice.repo, 'clusters', store, file), `\n# Of release ${number}.\n`);
  await practice.editFleet((fleet) => {
    setUp(fleet, plan);
    fleet.release = { ...fleet.release, ...NEXT_WEEK, version: `2026.49.${number}`, sequence: 48 + number };
  });
}

function setUp(fleet: EditableFleet, plan: ChaosPlan): void {
  fleet.stages = stagesOf(plan, fleet);
  fleet['backup'] = { ...(fleet['backup'] as object), ...backupOf(plan), ...windowOf(plan, fleet) };
}

function stagesOf(plan: ChaosPlan, { stages: [first] }: EditableFleet): EditableFleet['stages'] {
  return plan.stages.map(({ name, stores, soak, approval, maxConcurrency, failures }) => ({
    ...first,
    name,
    stores,
    soak,
    approval: { required: approval, expires: '10m' },
    limits: {
      ...first?.limits,
      maxConcurrency,
      errorThreshold: { count: failures },
      offlineThreshold: { percent: 60, minSample: 2 },
      offlineAfter: '6s',
      cutOffAfter: '10s',
      storeTimeout: '2m',
      stageTimeout: '4m',
      deferFor: '2s',
      ...plan.limits,
    },
  }));
}

/** Short patience: what is locked or away for longer than a run lasts shall be told, not waited for. */
const backupOf = ({ night, restores }: ChaosPlan): object => ({
  maxConcurrency: night.maxConcurrency,
  storeTimeout: '3m',
  offlineAfter: '6s',
  cutOffAfter: '6s',
  deferFor: '1s',
  restoreTest: { maxConcurrency: restores.maxConcurrency },
});

/** Whole minutes is all that a window knows. It has been open for a while, so that most stores may begin at once. */
function windowOf({ night: { opensFor } }: ChaosPlan, { timeZone }: EditableFleet): object {
  if (opensFor === undefined) return {};
  const now = DateTime.now().setZone(String(timeZone));
  const end = now.plus({ seconds: opensFor, minutes: 1 });
  return { window: { start: now.minus({ minutes: 10 }).toFormat('HH:mm'), end: end.toFormat('HH:mm') } };
}

const git = async ({ repo }: Practice, ...args: string[]): Promise<string> =>
  (await execa('git', ['-C', repo, ...args], { stdin: 'ignore' })).stdout.trim();
