import { kindOf } from '#lab/world/fault-table.js';
import { CELLS, cellsOf, isProcessKind, type Cell, type ProcessKind } from './table.js';
import { randomFrom, type Random } from './random.js';

/** Everything that one run does, drawn from its seed and nothing else. */
export interface ChaosPlan {
  seed: number;
  stores: number;
  stages: StagePlan[];
  faults: PlannedFault[];
  operator: OperatorPlan;
  /** Limits of all stages, where they are to be others than those of all runs. */
  limits?: Record<string, string>;
}

interface PlannedFault {
  cell: Cell;
  /** The store that it is aimed at: the nth of the plan, in the order of the stages. */
  store: number;
  lab?: LabFault;
  /** Seconds after which the suite ends what the practice fleet would keep up for ever once it has struck. */
  endsAfter?: number;
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
  params?: Record<string, number>;
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
export const SPEED = 960;
/** A fleet has so many stores at most. */
export const MOST_STORES = 8;
/** Chosen so that the first seeds, which are those of the short run, have small fleets. */
const SALT = 1556;
const NODES = ['n1', 'n2', 'n3'] as const;
const real = (seconds: number): number => Math.round(seconds * 1_000 * SPEED);
const isLink = (kind: string): boolean => kind === 'wan-cut' || kind === 'wan-flap';
/** A trap is set from the start, so its time would be over before anybody came by. */
const isKeptUp = (kind: string): boolean => ['node-stays-down', 'stuck-recovery', 'slow-recovery'].includes(kind);

export function planOf(seed: number): ChaosPlan {
  const random = randomFrom(seed * 7_919 + SALT);
  const stores = random.pick([2, 2, 2, 2, 2, 3, 3, 3, 4, 5, MOST_STORES]);
  const stages = stagesOf(random, stores);
  const firstStage = stages.length === 1 ? stores : (stages[0]?.stores as number);
  const aim = (): number => (random.chance(0.6) ? random.int(0, firstStage - 1) : random.int(0, stores - 1));
  const first = aim();
  const count = random.chance(0.15) ? 3 : 2;
  const cells = cellsOf(seed);
  const faults = Array.from({ length: count }, (_, i) =>
    faultOf(random, cells[i] ?? random.pick(CELLS), i > 0 && random.chance(0.5) ? aim() : first),
  );
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

function faultOf(random: Random, cell: Cell, store: number): PlannedFault {
  if (isProcessKind(cell.kind)) return { cell, store };
  const { kind, step, moment } = cell;
  const lasts = isLink(kind) ? random.pick([1, 4, 8, 14]) : random.pick([2, 5, 9]);
  // Without a node it meets the first one that gets there. A guest's step comes by one node only.
  const node = !step.startsWith('guest.') && random.chance(0.15) ? { node: random.pick(NODES) } : {};
  const lab = { kind, step, moment, ...node };
  if (isKeptUp(kind)) return { cell, store, lab, endsAfter: lasts };
  // Each hanging command costs its whole time limit.
  if (kindOf(kind).sort === 'trap')
    return { cell, store, lab: { ...lab, times: kind === 'command-hangs' ? 1 : random.pick([1, 1, 2, 3]) } };
  const params = kind === 'wan-flap' ? { params: { downSeconds: 0.8 * SPEED, upSeconds: 0.5 * SPEED } } : {};
  return { cell, store, lab: { ...lab, times: 1, durationMs: real(lasts), ...params } };
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
    ...faults.map(({ cell, store, lab, endsAfter }) => {
      const { node, times, durationMs } = lab ?? {};
      const how = [
        node === undefined ? '' : `on ${node}`,
        times === undefined ? '' : `${times} times`,
        durationMs === undefined ? '' : `for ${durationMs / 1_000 / SPEED} s`,
        endsAfter === undefined ? '' : `until ${endsAfter} s after it struck`,
      ].filter((word) => word !== '');
      return `  ${cell.kind} ${cell.moment} ${cell.step} at store ${store + 1} of the plan${how.length > 0 ? `, ${how.join(', ')}` : ''}`;
    }),
    `  operator: ${operator.retries} retries, ${operator.repairs ? 'repairs first' : 'repairs nothing'}, then ${operator.atLast}` +
      (operator.pausesAt === undefined ? '' : `; pauses at ${operator.pausesAt}`),
  ].join('\n');
}
