import { kindOf, type Step } from '#lab/world/fault-table.js';
import { CELLS, isProcessKind, turnOf, type Cell, type RunKind, type Work } from './table.js';
import { randomFrom, type Random } from './random.js';

/** Everything that one run does, drawn from its seed and nothing else. */
export interface ChaosPlan {
  seed: number;
  kind: RunKind;
  stores: number;
  stages: StagePlan[];
  faults: PlannedFault[];
  operator: OperatorPlan;
  night: NightPart;
  restores: RestoresPart;
  /** Of a train and a night on the same stores: which of them the other one finds at work. */
  first: 'train' | 'night' | 'neither';
  /** Limits of all stages, where they are to be others than those of all runs. */
  limits?: Record<string, string>;
}

interface Part {
  /** Stores at the same time. */
  maxConcurrency: number;
  /** Times as long as the practice fleet's dumps or restores take. */
  slow: number;
  /** Somebody ends it at this effect. */
  abortsAt?: Step;
}

interface NightPart extends Part {
  /** Seconds that its window stays open, or up to a minute longer. Absent: it is begun by hand, at once. */
  opensFor?: number;
}

interface RestoresPart extends Part {
  /** Absent: all guests of the stores. */
  vmids?: number[];
}

export interface PlannedFault {
  cell: Cell;
  /** The store that it is aimed at, or is about: the nth of the plan, in the order of the stages. */
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
  atLast: 'skip' | 'abort' | 'rollback';
  /** Pauses and resumes the train at this effect. */
  pausesAt?: string;
  goesBack?: WayBackPlan;
  steers?: SteeringPlan;
}

/** The train is taken back. Its stores took another release before, and it was good there. */
interface WayBackPlan {
  /**
   * Asked for at this effect, at the last store that a fault is aimed at, so that the others have been started. Absent:
   * when trying again has come to its end, or else when the train is done.
   */
  at?: Step;
  /** Whether the faults strike on the way there or on the way back; the build has none but on the way there. */
  struck: Way;
}
export type Way = 'there' | 'back';

/** A part of the train is told to stand still for a while, or to end, when this effect is seen at a store. */
export interface SteeringPlan {
  what: 'stage' | 'store';
  how: 'pause' | 'abort';
  at: Step;
  /** Not that store, or its stage, but the one after it in the plan. */
  next: boolean;
  way: Way;
}

export const FLEET = 'practice';
/** The practice fleet's stores live so many times faster than real ones. */
export const SPEED = 960;
/** A fleet has so many stores at most. */
export const MOST_STORES = 8;
/** Chosen so that the first seeds, which are those of the short run, have small fleets. */
const SALT = 1556;
const NODES = ['n1', 'n2', 'n3'] as const;
const SIZES: Record<RunKind, readonly number[]> = {
  train: [2, 2, 2, 2, 2, 3, 3, 3, 4, 5, MOST_STORES],
  night: [2, 2, 2, 3, 3, 4, 6, MOST_STORES],
  restores: [1, 2, 2, 2, 3, 4],
  meeting: [2, 2, 3, 4],
};
const real = (seconds: number): number => Math.round(seconds * 1_000 * SPEED);
const isLink = (kind: string): boolean => kind === 'wan-cut' || kind === 'wan-flap';
/** A trap is set from the start, so its time would be over before anybody came by. */
const isKeptUp = (kind: string): boolean => ['node-stays-down', 'stuck-recovery', 'slow-recovery'].includes(kind);
/** What a night or a restore test may have to be ended without; a patch never. In seconds; a link is away so long that nobody waits for the store. */
const OUTLASTING: Partial<Record<string, number>> = {
  'pbs-down': 50,
  'datastore-full': 50,
  'guest-locked': 50,
  'wan-cut': 25,
};

export function planOf(seed: number): ChaosPlan {
  const random = randomFrom(seed * 7_919 + SALT);
  const { kind, cells } = turnOf(seed);
  const stores = random.pick(SIZES[kind]);
  const stages = stagesOf(random, stores);
  const firstStage = stages.length === 1 ? stores : (stages[0]?.stores as number);
  const aim = (): number => (random.chance(0.6) ? random.int(0, firstStage - 1) : random.int(0, stores - 1));
  const first = aim();
  const count = random.chance(0.15) ? 3 : 2;
  const works = worksOf(kind);
  const others = CELLS.filter(({ work }) => works.includes(work));
  const faults = Array.from({ length: count }, (_, i) =>
    faultOf(random, cells[i] ?? random.pick(others), i > 0 && random.chance(0.5) ? aim() : first),
  );
  return {
    seed,
    kind,
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
      ...(works.includes('train') ? steeringOf(seed) : {}),
    },
    night: {
      maxConcurrency: random.int(1, 4),
      slow: random.pick([2, 8, 20]),
      // What no night has backed up no restore test can try.
      ...(kind === 'night' && random.chance(0.12)
        ? { abortsAt: random.pick(['backup.start', 'snapshot.verify']) }
        : {}),
      ...(kind === 'night' ? windowOf(seed) : {}),
    },
    restores: {
      maxConcurrency: random.int(1, 4),
      slow: random.pick([2, 6]),
      ...(random.chance(0.4) ? { vmids: random.pick([[101], [101, 103], [102, 103]]) } : {}),
      ...(random.chance(0.12) ? { abortsAt: random.pick(['storage.add', 'guest.restore']) } : {}),
    },
    first: random.pick(['train', 'night', 'neither']),
  };
}

/** Drawn apart from all else, so that what a seed stands for stays as it was. The night of the short run has none. */
const WINDOW_SALT = 127;
function windowOf(seed: number): Pick<NightPart, 'opensFor'> {
  const random = randomFrom(seed * 104_729 + WINDOW_SALT);
  return random.chance(0.5) ? { opensFor: random.pick([15, 30, 60]) } : {};
}

/** Drawn apart, too. The train of the short run goes on to its end, and nobody steers it. */
const STEERING_SALT = 311;
const IN_WORK = ['ha.maintenance.enable', 'packages.install', 'node.up', 'guest.config.switch'] as const;
function steeringOf(seed: number): Pick<OperatorPlan, 'goesBack' | 'steers'> & Partial<Pick<OperatorPlan, 'atLast'>> {
  const random = randomFrom(seed * 15_485_863 + STEERING_SALT);
  const goesBack = random.chance(0.2);
  const back: WayBackPlan = {
    ...(random.chance(0.6) ? { at: random.pick(IN_WORK) } : {}),
    struck: random.pick(['there', 'back']),
  };
  const steers: SteeringPlan = {
    what: random.pick(['stage', 'store']),
    how: random.pick(['pause', 'abort']),
    at: random.pick(IN_WORK),
    next: random.chance(0.4),
    way: goesBack ? random.pick(['there', 'back', 'back']) : 'there',
  };
  return {
    ...(goesBack ? { atLast: 'rollback', goesBack: back } : {}),
    ...(random.chance(0.2) ? { steers } : {}),
  };
}

/** Where the effect is seen at which the train is to be taken back: the nth store of the plan. */
export const turningStore = ({ faults }: ChaosPlan): number => Math.max(0, ...faults.map(({ store }) => store));

/** The way of its train on which a fault strikes. */
export const wayOf = ({ operator }: ChaosPlan, { cell }: PlannedFault): Way =>
  cell.work === 'train' && cell.step !== 'release.build' ? (operator.goesBack?.struck ?? 'there') : 'there';

/** In the order in which they begin. */
export function worksOf(kind: RunKind): readonly Work[] {
  if (kind === 'meeting') return ['train', 'night'];
  return kind === 'restores' ? ['night', 'restores'] : [kind];
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
  const { kind, step, moment, work } = cell;
  const longer = work === 'train' ? undefined : OUTLASTING[kind];
  const usual = isLink(kind) ? [1, 4, 8, 14] : [2, 5, 9];
  const lasts = random.pick(longer === undefined ? usual : [...usual, longer]);
  // Without a node it meets the first one that gets there. A guest's step comes by one node only.
  const isOfNode = work === 'train' && !step.startsWith('guest.');
  const node = isOfNode && random.chance(0.15) ? { node: random.pick(NODES) } : {};
  const lab = { kind, step, moment, ...node };
  if (isKeptUp(kind)) return { cell, store, lab, endsAfter: lasts };
  // Each hanging command costs its whole time limit, and each dump that dies a guest.
  if (kindOf(kind).sort === 'trap')
    return {
      cell,
      store,
      lab: { ...lab, times: ['command-hangs', 'vzdump-dies'].includes(kind) ? 1 : random.pick([1, 1, 2, 3]) },
    };
  const params = kind === 'wan-flap' ? { params: { downSeconds: 0.8 * SPEED, upSeconds: 0.5 * SPEED } } : {};
  return { cell, store, lab: { ...lab, times: 1, durationMs: real(lasts), ...params } };
}

/** The plan as people read it. */
export function renderPlan(plan: ChaosPlan): string {
  const { seed, kind, stores, faults } = plan;
  return [
    `Seed ${seed}: ${KIND_WORDS[kind]} over ${stores} ${stores === 1 ? 'store' : 'stores'}.`,
    ...worksOf(kind).map((work) => `  ${RENDER[work](plan)}`),
    ...faults.map(({ cell, store, lab, endsAfter }) => {
      const { node, times, durationMs } = lab ?? {};
      const how = [
        node === undefined ? '' : `on ${node}`,
        times === undefined ? '' : `${times} times`,
        durationMs === undefined ? '' : `for ${durationMs / 1_000 / SPEED} s`,
        endsAfter === undefined ? '' : `until ${endsAfter} s after it struck`,
      ].filter((word) => word !== '');
      const where = cell.at === undefined ? `at store ${store + 1} of the plan` : `at ${cell.at}`;
      return `  ${cell.kind} ${cell.moment} ${cell.step} ${where}${how.length > 0 ? `, ${how.join(', ')}` : ''}`;
    }),
  ].join('\n');
}

const KIND_WORDS: Record<RunKind, string> = {
  train: 'a train',
  night: 'a night',
  restores: 'a night and restore tests',
  meeting: 'a train and a night at once',
};

const RENDER: Record<Work, (plan: ChaosPlan) => string> = {
  train: ({ stages, operator: { retries, repairs, atLast, pausesAt, goesBack, steers } }) =>
    `train: ${stages.map(renderStage).join(', ')}; operator: ${retries} retries, ${repairs ? 'repairs first' : 'repairs nothing'}, then ${atLast}` +
    (pausesAt === undefined ? '' : `; pauses at ${pausesAt}`) +
    (goesBack === undefined
      ? ''
      : `; goes back ${goesBack.at === undefined ? 'at last' : `at ${goesBack.at}`}, faults on the way ${goesBack.struck}`) +
    (steers === undefined ? '' : `; ${renderSteering(steers)}`),
  night: ({ kind, first, night }) =>
    `night: ${renderPart(night)}${night.opensFor === undefined ? '' : `, its window closes after ${night.opensFor} s`}${kind === 'meeting' ? `; ${first} is at work when the other begins` : ''}`,
  restores: ({ restores: { vmids, ...part } }) =>
    `restores: ${vmids === undefined ? 'all guests' : `guests ${vmids.join(', ')}`}, ${renderPart(part)}`,
};

const renderSteering = ({ what, how, at, next, way }: SteeringPlan): string =>
  `${how}s ${next ? 'the next' : 'the'} ${what} at ${at} on the way ${way}`;

const renderStage = ({ name, stores, soak, approval, maxConcurrency, failures }: StagePlan): string =>
  `${name} (${stores}, ${maxConcurrency} at once, up to ${failures} failures, soak ${soak}${approval ? ', approval' : ''})`;

const renderPart = ({ maxConcurrency, slow, abortsAt }: Part): string =>
  `${maxConcurrency} stores at once, ${slow} times as long${abortsAt === undefined ? '' : `, ended at ${abortsAt}`}`;
