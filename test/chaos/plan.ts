import { kindOf } from '#lab/world/fault-table.js';
import { CELLS, isProcessKind, type Cell, type ProcessKind } from './table.js';
import { randomFrom, type Random } from './random.js';

/** Everything that one run does, drawn from its seed and nothing else. */
export interface ChaosPlan {
  seed: number;
  stores: number;
  stages: StagePlan[];
  /** Which store a fault is aimed at: the nth of the plan, in the order of the stages. */
  faults: { cell: Cell; store: number; lab?: LabFault }[];
  operator: OperatorPlan;
}

interface StagePlan {
  name: string;
  stores: number | 'rest';
  soak: string;
  approval: boolean;
  maxConcurrency: number;
  failures: number;
}

/** What the practice fleet is told, without the store's id. */
interface LabFault {
  kind: string;
  step: string;
  moment: string;
  node?: string;
  times?: number;
  durationMs?: number;
}

export interface OperatorPlan {
  /** How often failed and silent stores are tried again before the operator gives up on them. */
  retries: number;
  /** Whether what is broken is repaired before that. */
  repairs: boolean;
  /** What is said when trying again has come to its end. */
  atLast: 'skip' | 'abort';
  /** Pauses and resumes the train at this effect. */
  pausesAt?: string;
}

/** The practice fleet's stores live so many times faster than real ones. */
export const SPEED = 480;
/** Chosen so that the first seeds, which are those of the short run, have small fleets. */
const SALT = 1556;
const NODES = ['n1', 'n2', 'n3'] as const;
const real = (seconds: number): number => Math.round(seconds * 1_000 * SPEED);

export function planOf(seed: number): ChaosPlan {
  const random = randomFrom(seed * 7_919 + SALT);
  const stores = random.pick([2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 8]);
  const stages = stagesOf(random, stores);
  const firstStage = stages.length === 1 ? stores : (stages[0]?.stores as number);
  const aim = (): number => (random.chance(0.6) ? random.int(0, firstStage - 1) : random.int(0, stores - 1));
  const first = aim();
  const count = random.chance(0.15) ? 3 : 2;
  const faults = Array.from({ length: count }, (_, i) => {
    const cell = i < 2 ? CELLS[(2 * (seed - 1) + i) % CELLS.length] : random.pick(CELLS);
    return faultOf(random, cell as Cell, i > 0 && random.chance(0.5) ? aim() : first);
  });
  return {
    seed,
    stores,
    stages,
    faults,
    operator: {
      retries: random.int(0, 2),
      repairs: random.chance(0.7),
      atLast: random.pick(['skip', 'skip', 'skip', 'abort']),
      ...(random.chance(0.15)
        ? { pausesAt: random.pick(['packages.install', 'ha.maintenance.enable', 'node.up']) }
        : {}),
    },
  };
}

function stagesOf(random: Random, stores: number): StagePlan[] {
  const count = random.int(1, Math.min(3, stores));
  let left = stores;
  return Array.from({ length: count }, (_, i) => {
    const isLast = i === count - 1;
    const size = random.int(1, Math.max(1, Math.min(3, left - (count - 1 - i))));
    left -= size;
    return {
      name: isLast ? 'rest' : `stage-${i + 1}`,
      stores: isLast ? 'rest' : size,
      soak: random.pick(['0s', '1s']),
      approval: random.chance(0.7),
      maxConcurrency: random.int(1, 4),
      failures: random.int(0, 2),
    };
  });
}

function faultOf(random: Random, cell: Cell, store: number): ChaosPlan['faults'][number] {
  if (isProcessKind(cell.kind)) return { cell, store };
  const { kind, step, moment } = cell;
  // Without a node it meets the first one that gets there, which is the surer hit.
  const node = random.chance(0.15) ? { node: random.pick(NODES) } : {};
  const isLink = kind === 'wan-cut' || kind === 'wan-flap';
  const lasts = isLink ? random.pick([1, 4, 12, 25]) : random.pick([2, 6, 12]);
  const isState = ['node-stays-down', 'stuck-recovery', 'slow-recovery'].includes(kind);
  const limits =
    kindOf(kind).sort === 'event' || isState
      ? { durationMs: real(lasts), ...(isState ? {} : { times: 1 }) }
      : { times: random.pick([1, 1, 2, 3]) };
  return { cell, store, lab: { kind, step, moment, ...node, ...limits } };
}

export const processFaults = (plan: ChaosPlan): { kind: ProcessKind; step: Cell['step']; store: number }[] =>
  plan.faults.flatMap(({ cell: { kind, step }, store }) => (isProcessKind(kind) ? [{ kind, step, store }] : []));

/** The plan as people read it. */
export function renderPlan(plan: ChaosPlan): string {
  const { seed, stores, stages, faults, operator } = plan;
  const stage = ({ name, stores: size, soak, approval, maxConcurrency, failures }: StagePlan) =>
    `${name} (${size}, ${maxConcurrency} at once, up to ${failures} failures, soak ${soak}${approval ? ', approval' : ''})`;
  return [
    `Seed ${seed}: ${stores} stores; ${stages.map(stage).join(', ')}.`,
    ...faults.map(({ cell, store, lab }) => {
      const { node, times, durationMs } = lab ?? {};
      const how = [
        node === undefined ? '' : `on ${node}`,
        times === undefined ? '' : `${times} times`,
        durationMs === undefined ? '' : `for ${durationMs / 1_000 / SPEED} s`,
      ].filter((word) => word !== '');
      return `  ${cell.kind} ${cell.moment} ${cell.step} at store ${store + 1} of the plan${how.length > 0 ? `, ${how.join(', ')}` : ''}`;
    }),
    `  operator: ${operator.retries} retries, ${operator.repairs ? 'repairs first' : 'repairs nothing'}, then ${operator.atLast}` +
      (operator.pausesAt === undefined ? '' : `; pauses at ${operator.pausesAt}`),
  ].join('\n');
}
