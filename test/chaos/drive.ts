import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import type { LabEntry } from '#client/cli/lab-client.js';
import type { PatchStoreInput } from '#domain/messages/store.js';
import { CONTROL_QUEUE } from '#domain/naming.js';
import type { Practice } from '../support/practice.js';
import type { Ground } from './ground.js';
import { follow } from './journal.js';
import { FLEET, SPEED, wayOf, worksOf, type ChaosPlan, type Way } from './plan.js';
import { collect, faultsOf, secondId, untilAtWork, untilNothingRuns, untilQuiet, type Seen } from './seen.js';
import { isProcessKind, setAt, type Work } from './table.js';
import { ride, sleepThrough, tryOut, type Course, type Endings } from './works.js';

/** A moment that a fault waits for is soon over; an operator has time, and each look at a train costs the service. */
const WATCH_EVERY_MS = 80;
const CENTRAL_DOWN_SECONDS = 5;

export interface RunOptions {
  /** Goes on beside the run, and stops when the signal says that it has ended. */
  beside?: (practice: Practice, ended: AbortSignal) => Promise<void>;
  limitMs?: number;
}

export async function run(plan: ChaosPlan, ground: Ground, { beside, limitMs }: RunOptions = {}): Promise<Seen> {
  const startedAt = performance.now();
  const { practice, stores } = ground;
  const { lab } = practice;
  const order = Object.values(await practice.stages()).flat();
  const journal = await follow(practice, [...stores, 'central', 'staging']);
  const said: string[] = [];

  const repair = async (): Promise<void> => {
    for (const { id } of await lab.faults()) await lab.removeFault(id);
    for (const store of order) await lab.setWan(store, true);
  };
  const course: Course = {
    ...{ practice, plan, stores: order, said, limitMs },
    once: (effect, then, at) => waits.push({ effect, then, at }),
    repairer() {
      let repaired = false;
      return async () => {
        if (repaired) return;
        repaired = true;
        said.push('repair');
        await repair();
      };
    },
    trainBegan: (handle) => void trouble.strikeBuild(handle).catch(() => undefined),
    wayBackBegins: () => trouble.arm('back', 'train'),
  };
  const waits: { effect: string; then: (store: string) => void; at: string | undefined }[] = [];
  const trouble = createTrouble(course, order);

  const over = new AbortController();
  const aside = beside?.(practice, over.signal);
  const watch = async (): Promise<void> => {
    while (!over.signal.aborted) {
      for (const entry of await journal.more()) {
        await trouble.meet(entry);
        if (entry.by === 'lab') continue;
        for (const wait of waits.filter((each) => isAwaited(each, entry))) {
          waits.splice(waits.indexOf(wait), 1);
          wait.then(entry.store);
        }
      }
      await trouble.endWhatIsDue();
      await delay(WATCH_EVERY_MS);
    }
  };
  const watching = watch();

  const ended: Endings = {};
  const works = {
    train: async () => void (ended.train = await ride(course)),
    night: async () => void (ended.night = await sleepThrough(course)),
    restores: async () => void (ended.restores = await tryOut(course)),
  };
  try {
    if (plan.kind === 'meeting') {
      await trouble.arm('there', 'train', 'night');
      await meet(course, works.train, works.night);
    } else {
      for (const work of worksOf(plan.kind)) {
        await trouble.arm('there', work);
        await works[work]();
      }
    }
  } finally {
    over.abort();
    await Promise.all([aside, watching]);
  }

  await repair();
  const running = await untilNothingRuns(practice);
  await untilQuiet(practice, [...stores, 'staging'], journal);
  await journal.close();
  return {
    ...{ plan, stores, said, running, struck: trouble.struck, journal: journal.entries },
    ...(await collect(ground, ended)),
    seconds: Math.round((performance.now() - startedAt) / 1_000),
  };
}

/** One of the two finds the other at work. When what it waits for does not come, it begins after the other. */
async function meet({ plan, once }: Course, train: () => Promise<void>, night: () => Promise<void>): Promise<void> {
  if (plan.first === 'neither') return void (await Promise.all([train(), night()]));
  const [first, second, sign] =
    plan.first === 'train' ? [train, night, 'ha.maintenance.enable'] : [night, train, 'backup.start'];
  const seen = new Promise<void>((resolve) => once(sign, () => resolve()));
  const ended = first();
  await Promise.race([seen, ended]);
  await Promise.all([ended, second()]);
}

const isAwaited = ({ effect, at }: { effect: string; at: string | undefined }, entry: LabEntry): boolean =>
  effect === entry.effect && (at === undefined || at === entry.store);

/** Lets the planned faults strike: sets those of the practice fleet, and does itself what is done to the service. */
function createTrouble(course: Course, order: readonly string[]) {
  const { practice, plan } = course;
  const { lab, service } = practice;
  const storeOf = (index: number): string => order[index] ?? (order[0] as string);
  const struck: Seen['struck'] = [];
  const armed: ReturnType<typeof faultsOf> = [];
  const ends: { id: string; at: number }[] = [];
  let waiting: ReturnType<typeof faultsOf> = [];
  let unset: ReturnType<typeof faultsOf> = [];

  const inLab = ({ id, cell, lab: fault, store }: (typeof waiting)[number]) => {
    if (!fault) return [];
    const rots = cell.at === 'central' && cell.kind === 'chunk-corrupt';
    const params = { ...fault.params, ...(rots ? { ns: storeOf(store) } : {}) };
    return [{ id, store: cell.at ?? storeOf(store), ...fault, params }];
  };
  const strike = async (planned: (typeof waiting)[number], store: string | undefined): Promise<void> => {
    const { kind } = planned.cell;
    const done =
      kind === 'second-operation'
        ? second(store ?? storeOf(planned.store))
        : kind === 'central-down'
          ? await centralDown(planned.id)
          : service.kill(processOf(practice, kind), 'SIGKILL');
    if (done) struck.push({ fault: planned.fault, store, at: new Date().toISOString() });
  };
  /** Another operator, or another centre, takes the same store while it is in work. */
  const second = (store: string): boolean => {
    const release = course.trainView?.release;
    if (!release) return false;
    const input: PatchStoreInput = {
      fleet: FLEET,
      train: 'by-hand',
      stage: 'by-hand',
      store,
      round: 0,
      release,
      offlineAfter: 20_000,
      cutOffAfter: 60_000,
      storeTimeout: 120_000,
    };
    practice.client.workflow
      .start('patchStore', { taskQueue: CONTROL_QUEUE, workflowId: secondId(store), args: [input] })
      .catch(() => undefined);
    return true;
  };
  const centralDown = async (id: string): Promise<boolean> => {
    await lab.addFault({ id, kind: 'pbs-down', store: 'central', durationMs: CENTRAL_DOWN_SECONDS * 1_000 * SPEED });
    return true;
  };

  return {
    struck,
    /** What belongs to these works; and their dumps and restores take so long that something can come in between. */
    async arm(way: Way, ...works: Work[]): Promise<void> {
      const faults = faultsOf(plan, works).filter((fault) => wayOf(plan, fault) === way);
      armed.push(...faults);
      waiting = [...waiting, ...faults.filter(({ cell }) => isProcessKind(cell.kind))];
      const slow = works.flatMap((work) => {
        if (work === 'train') return [];
        const [kind, sites] = work === 'night' ? ['backup-slow', order] : ['restore-slow', ['staging']];
        return sites.map((store) => ({ id: `slow-${store}`, store, kind, params: { factor: plan[work].slow } }));
      });
      await lab.addFaults([...slow, ...faults.filter(({ cell }) => !setAt(cell)).flatMap(inLab)]);
      unset = [...unset, ...faults.filter(({ cell }) => setAt(cell))];
    },
    /** While the release is being built, which no store has a part in. */
    async strikeBuild(handle: WorkflowHandle): Promise<void> {
      const build = waiting.find(({ cell }) => cell.step === 'release.build');
      if (!build) return;
      waiting = waiting.filter((planned) => planned !== build);
      await untilAtWork(handle, 'buildRelease');
      await strike(build, undefined);
    },
    async meet(entry: LabEntry): Promise<void> {
      const set = unset.filter(({ cell }) => cell.at === entry.store && setAt(cell) === entry.effect);
      unset = unset.filter((planned) => !set.includes(planned));
      if (set.length > 0) await lab.addFaults(set.flatMap(inLab));
      const due = waiting.find(
        ({ cell, store }) =>
          (cell.at ?? storeOf(store)) === entry.store &&
          (cell.moment === 'during' ? isSlowed(entry, cell.step) : entry.effect === cell.step),
      );
      if (due && (due.cell.work !== 'train' || course.trainView?.release)) {
        waiting = waiting.filter((planned) => planned !== due);
        await strike(due, entry.store);
      }
      const id = entry.effect === 'fault.active' ? entry.detail?.['id'] : undefined;
      const endsAfter = armed.find((planned) => planned.id === id)?.endsAfter;
      if (typeof id === 'string' && endsAfter !== undefined && ends.every((end) => end.id !== id))
        ends.push({ id, at: performance.now() + endsAfter * 1_000 });
    },
    /** What the practice fleet would keep up for ever. */
    async endWhatIsDue(): Promise<void> {
      for (const { id, at } of ends.splice(0)) {
        if (performance.now() < at) ends.push({ id, at });
        // The operator may have repaired it meanwhile.
        else await lab.removeFault(id).catch(() => undefined);
      }
    },
  };
}

/** A dump or a restore has begun: the journal shows only its end, and what makes it slow. */
const isSlowed = ({ effect, detail }: LabEntry, step: string): boolean =>
  effect === 'fault.active' && String(detail?.['id']).startsWith('slow-') && detail?.['step'] === step;

function processOf({ service }: Practice, kind: string): string {
  const name = kind.replace('kill-', '');
  return name === 'store' ? (service.processes().find((each) => each.startsWith('stores-')) ?? 'stores-1') : name;
}
