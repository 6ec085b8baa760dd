import { faultProblems, type FaultKind, type Moment, type Step } from '#lab/world/fault-table.js';
import { randomFrom } from './random.js';

/** What a run does to its stores. */
export const WORKS = ['train', 'night', 'restores'] as const;
export type Work = (typeof WORKS)[number];

/**
 * What the chaos suite has to hit: each cell is a kind of fault at a step and a moment of an operation. The kinds are
 * those of the practice fleet, and those below, which the suite does to the service itself.
 */
export const PROCESS_KINDS = [
  'kill-control',
  'kill-release',
  'kill-store',
  'kill-offsite',
  'kill-staging',
  'kill-temporal',
  'second-operation',
  'central-down',
] as const;
export type ProcessKind = (typeof PROCESS_KINDS)[number];

/** Where a fault strikes, when not at a store: at the central backup server, or at the staging site. */
type Elsewhere = 'central' | 'staging';

export interface Cell {
  /** Of which work an operation has to be under way. */
  work: Work;
  kind: FaultKind | ProcessKind;
  /** `release.build` is the one step that no store takes part in. */
  step: Step | 'release.build';
  moment: Moment;
  at?: Elsewhere;
}

export const cellName = ({ work, kind, step, moment, at }: Cell): string =>
  `${work}: ${kind} ${step} ${moment}${at === undefined ? '' : ` at ${at}`}`;
export const isProcessKind = (kind: string): kind is ProcessKind => (PROCESS_KINDS as readonly string[]).includes(kind);

/**
 * The effect that a fault is set at, where it has to wait: a run of restore tests begins with a look at the site, which
 * is no operation of it and would use up a trap for whoever asks. An operation begins with its storage.
 */
export const setAt = ({ at, step }: Cell): Step | undefined =>
  at === 'staging' && step === 'api.read' ? 'storage.add' : undefined;

type Places = Partial<Record<Cell['step'], Moment | Moment[]>>;

const cellsAt = (work: Work, kind: Cell['kind'], places: Places, at?: Elsewhere): Cell[] =>
  Object.entries(places).flatMap(([step, moments]) =>
    [moments].flat().map((moment) => ({
      ...{ work, kind, step: step as Cell['step'], moment },
      ...(at === undefined ? {} : { at }),
    })),
  );
const cells = (kind: Cell['kind'], places: Places): Cell[] => cellsAt('train', kind, places);
const atNight = (kind: Cell['kind'], places: Places): Cell[] => cellsAt('night', kind, places);
const atCentral = (kind: Cell['kind'], places: Places): Cell[] => cellsAt('night', kind, places, 'central');
const atStaging = (kind: Cell['kind'], places: Places): Cell[] => cellsAt('restores', kind, places, 'staging');

const AROUND: Moment[] = ['before', 'after'];
const ALL: Moment[] = ['before', 'during', 'after'];

const KILLS: Partial<Record<Cell['step'], Moment>> = {
  'apt.update': 'after',
  'ha.maintenance.enable': 'after',
  'guest.migrate': 'after',
  'ceph.noout.set': 'after',
  'unit.start': 'after',
  'packages.install': 'after',
  'node.reboot.request': 'after',
  'node.up': 'after',
  'ceph.noout.unset': 'after',
  'ha.maintenance.disable': 'after',
  'guest.config.switch': 'after',
};

/** These show what careless code does, so every run of many begins with them; neighbours do not keep each other
 * from happening. */
const TRAIN_CLASSICS: Cell[] = [
  ...cells('lost-answer', { 'node.reboot.request': 'after' }),
  ...cells('kill-control', { 'packages.install': 'after' }),
  ...cells('kill-store', { 'node.reboot.request': 'after' }),
  ...cells('kill-release', { 'release.build': 'during' }),
  ...cells('osd-down', { 'packages.install': 'after' }),
  ...cells('kill-temporal', { 'guest.migrate': 'after' }),
  ...cells('second-operation', { 'packages.install': 'after' }),
  ...cells('wan-cut', { 'packages.install': 'during' }),
  ...cells('mon-down', { 'ceph.noout.set': 'after' }),
  ...cells('second-operation', { 'ha.maintenance.enable': 'after' }),
  ...cells('wan-cut', { 'ha.maintenance.enable': 'after' }),
  ...cells('second-operation', { 'ceph.noout.set': 'after' }),
  ...cells('apt-fail', { 'packages.install': 'during' }),
  ...cells('osd-down', { 'ceph.noout.set': 'after' }),
  ...cells('second-operation', { 'node.reboot.request': 'after' }),
  ...cells('kill-control', { 'guest.migrate': 'after' }),
  ...cells('second-operation', { 'guest.migrate': 'after' }),
  ...cells('wan-cut', { 'node.reboot.request': 'after' }),
  ...cells('lost-answer', { 'guest.migrate': 'after' }),
  ...cells('node-stays-down', { 'node.up': 'before' }),
];

const TRAIN_OTHERS: Cell[] = [
  ...cells('kill-control', KILLS),
  ...cells('kill-store', KILLS),
  ...cells('kill-temporal', KILLS),
  ...cells('kill-release', { 'release.build': 'during' }),
  ...cells('second-operation', { 'node.reboot.request': 'after', 'guest.config.switch': 'after' }),
  ...cells('wan-cut', {
    'apt.update': 'after',
    'ha.maintenance.enable': AROUND,
    'guest.migrate': 'during',
    'packages.install': ALL,
    'node.reboot.request': AROUND,
    'node.up': AROUND,
    'ceph.recovery': 'during',
    'ha.maintenance.disable': AROUND,
    'guest.config.switch': AROUND,
  }),
  ...cells('wan-flap', { 'ha.maintenance.enable': 'after', 'packages.install': 'during', 'node.up': 'before' }),
  ...cells('disk-full', { 'apt.download': 'after', 'packages.install': 'before' }),
  ...cells('clock-skew', { 'ha.maintenance.enable': 'after', 'node.reboot.request': 'before' }),
  ...cells('clock-jump', { 'ha.maintenance.enable': 'after', 'packages.install': 'during', 'node.up': 'after' }),
  ...cells('guest-unhealthy', { 'guest.config.switch': 'after' }),
  ...cells('guest-locked', { 'ha.maintenance.enable': 'after', 'packages.install': 'after' }),
  ...cells('bad-cache', { 'guest.config.switch': 'after' }),
  ...cells('osd-down', { 'ceph.noout.set': 'after', 'packages.install': 'during', 'node.up': 'after' }),
  ...cells('mon-down', { 'packages.install': 'during', 'node.up': 'after' }),
  ...cells('mgr-down', { 'packages.install': 'during', 'ceph.noout.set': 'before' }),
  ...cells('foreign-noout', { 'packages.install': 'after', 'apt.update': 'after' }),
  ...cells('node-crash', {
    'ha.maintenance.enable': 'after',
    'packages.install': 'during',
    'node.up': 'after',
    'ceph.recovery': 'during',
    'guest.config.switch': 'after',
  }),
  ...cells('wrong-kernel', { 'node.up': 'before' }),
  ...cells('slow-recovery', { 'ceph.recovery': 'before' }),
  ...cells('stuck-recovery', { 'ceph.recovery': 'before' }),
  ...cells('apt-fail', { 'apt.update': AROUND.slice(0, 1), 'apt.download': 'during', 'packages.install': 'before' }),
  ...cells('lock-contention', { 'apt.update': 'before', 'packages.install': 'before', 'guest.migrate': 'before' }),
  ...cells('migration-fails', { 'guest.migrate': ['before', 'during'] }),
  ...cells('lost-answer', {
    'apt.sources': AROUND,
    'apt.update': ALL,
    'apt.download': ALL,
    'unit.start': AROUND,
    'unit.stop': AROUND,
    'ha.maintenance.enable': AROUND,
    'ha.maintenance.disable': AROUND,
    'guest.migrate': 'before',
    'ceph.noout.set': AROUND,
    'ceph.noout.unset': AROUND,
    'node.reboot.request': 'before',
    'guest.config.write': AROUND,
    'guest.config.switch': AROUND,
    'guest.config.reload': AROUND,
    'ceph.read': AROUND,
    'node.read': AROUND,
    'api.read': AROUND,
  }),
  ...cells('proxy-595', { 'guest.migrate': 'before', 'node.reboot.request': 'before', 'api.read': 'before' }),
  ...cells('proxy-596', { 'guest.migrate': AROUND, 'node.reboot.request': AROUND, 'api.read': AROUND }),
  ...cells('token-expired', { 'guest.migrate': 'before', 'node.reboot.request': 'before', 'api.read': 'before' }),
  ...cells('command-hangs', {
    'apt.update': 'after',
    'unit.start': AROUND,
    'ha.maintenance.enable': AROUND,
    'ceph.noout.set': AROUND,
    'ceph.noout.unset': 'after',
    'ha.maintenance.disable': 'after',
    'ceph.read': 'before',
    'node.read': 'before',
  }),
];

const KILLS_AT_NIGHT: Places = {
  'backup.start': 'after',
  'snapshot.create': ['during', 'after'],
  'snapshot.verify': 'after',
};

const NIGHT_CLASSICS: Cell[] = [
  ...atNight('kill-store', { 'backup.start': 'after' }),
  ...atNight('lost-answer', { 'backup.start': 'after' }),
  ...atNight('kill-control', { 'backup.start': 'after' }),
  ...atNight('wan-cut', { 'snapshot.create': 'during' }),
  ...atNight('kill-temporal', { 'snapshot.create': 'after' }),
  ...atCentral('kill-offsite', { 'snapshot.verify': 'after' }),
  ...atNight('vzdump-dies', { 'snapshot.create': 'during' }),
  ...atNight('chunk-corrupt', { 'snapshot.verify': 'before' }),
  ...atNight('pbs-down', { 'snapshot.create': 'during' }),
  ...atNight('datastore-full', { 'snapshot.create': 'during' }),
];

const NIGHT_OTHERS: Cell[] = [
  ...atNight('kill-control', KILLS_AT_NIGHT),
  ...atNight('kill-store', KILLS_AT_NIGHT),
  ...atNight('kill-temporal', KILLS_AT_NIGHT),
  ...atNight('kill-control', { 'datastore.sync': 'after' }),
  ...atNight('kill-store', { 'datastore.sync': 'after' }),
  ...atNight('kill-offsite', { 'datastore.sync': 'after' }),
  ...atNight('wan-cut', {
    'backup.start': AROUND,
    'snapshot.create': ALL,
    'datastore.sync': ALL,
    'snapshot.verify': ALL,
  }),
  ...atNight('wan-flap', { 'snapshot.create': 'before', 'datastore.sync': 'before' }),
  ...atNight('wan-slow', { 'datastore.sync': ['before', 'during'] }),
  ...atNight('guest-locked', { 'backup.start': AROUND, 'snapshot.create': 'after' }),
  ...atNight('lock-contention', { 'snapshot.create': 'before' }),
  ...atNight('backup-warns', { 'snapshot.create': 'after' }),
  ...atNight('node-crash', { 'backup.start': 'after', 'snapshot.create': ['during', 'after'] }),
  ...atNight('datastore-full', { 'backup.start': AROUND, 'snapshot.verify': 'before' }),
  ...atNight('chunk-corrupt', { 'snapshot.create': 'after', 'datastore.sync': 'before', 'snapshot.verify': 'after' }),
  ...atNight('pbs-down', {
    'backup.start': 'after',
    'datastore.sync': 'during',
    'snapshot.verify': ['during', 'after'],
  }),
  ...atNight('lost-answer', {
    'backup.start': 'before',
    'snapshot.verify': AROUND,
    'datastore.sync': AROUND,
    'datastore.prune': AROUND,
    'pbs.read': AROUND,
    'api.read': AROUND,
  }),
  ...atNight('proxy-595', { 'backup.start': 'before' }),
  ...atNight('proxy-596', { 'backup.start': AROUND }),
  ...atNight('token-expired', {
    'backup.start': 'before',
    'snapshot.verify': 'before',
    'datastore.sync': 'before',
    'pbs.read': 'before',
  }),
  ...atCentral('lost-answer', { 'snapshot.verify': AROUND, 'datastore.prune': AROUND, 'pbs.read': AROUND }),
  ...atCentral('token-expired', { 'snapshot.verify': 'before', 'pbs.read': 'before' }),
  ...atCentral('datastore-full', { 'snapshot.verify': 'before' }),
  ...atCentral('chunk-corrupt', { 'snapshot.verify': 'before' }),
  ...atCentral('pbs-down', { 'snapshot.verify': ['during', 'after'] }),
];

const RESTORE_CLASSICS: Cell[] = [
  ...atStaging('kill-staging', { 'guest.restore': 'during' }),
  ...atStaging('lost-answer', { 'guest.restore': 'after' }),
  ...atStaging('kill-control', { 'guest.restore': 'during' }),
  ...atStaging('lost-answer', { 'guest.destroy': 'after' }),
  ...atStaging('kill-staging', { 'storage.add': 'after' }),
  ...atStaging('restore-fails', { 'guest.restore': 'during' }),
];

const RESTORE_OTHERS: Cell[] = [
  ...atStaging('kill-staging', {
    'guest.restore': 'after',
    'guest.start': 'after',
    'guest.destroy': 'after',
    'storage.remove': 'after',
  }),
  ...atStaging('kill-control', { 'guest.restore': 'after', 'guest.destroy': 'after' }),
  ...atStaging('kill-temporal', { 'guest.restore': ['during', 'after'], 'guest.destroy': 'after' }),
  ...atStaging('central-down', { 'storage.add': 'after', 'guest.restore': 'during' }),
  ...atStaging('lost-answer', {
    'storage.add': AROUND,
    'storage.remove': AROUND,
    'guest.restore': 'before',
    'guest.start': AROUND,
    'guest.stop': AROUND,
    'guest.destroy': 'before',
    'agent.read': AROUND,
    'api.read': AROUND,
  }),
  ...atStaging('proxy-595', { 'guest.restore': 'before', 'guest.destroy': 'before' }),
  ...atStaging('proxy-596', { 'guest.restore': AROUND, 'guest.start': AROUND, 'guest.destroy': AROUND }),
  ...atStaging('token-expired', { 'guest.restore': 'before', 'guest.destroy': 'before', 'storage.remove': 'before' }),
  ...atStaging('restore-fails', { 'guest.restore': 'before' }),
  ...atStaging('agent-silent', { 'guest.start': 'after' }),
  ...atStaging('boot-fails', { 'guest.start': 'after' }),
  ...atStaging('lock-contention', { 'guest.start': 'before', 'guest.stop': 'before' }),
  ...atStaging('restore-storage-full', { 'guest.restore': ['before', 'during'] }),
  ...atStaging('node-crash', {
    'guest.restore': ['during', 'after'],
    'guest.start': 'after',
    'guest.destroy': 'during',
  }),
];

/** Classics first, the others in an order that does not keep neighbours together. */
function ordered(classics: readonly Cell[], others: readonly Cell[], salt: number): readonly Cell[] {
  const known = new Set(classics.map(cellName));
  const rest = new Map(others.map((cell) => [cellName(cell), cell]));
  for (const name of known) rest.delete(name);
  return [...classics, ...randomFrom(salt).shuffle([...rest.values()])];
}

const CELLS_OF: Record<Work, readonly Cell[]> = {
  train: ordered(TRAIN_CLASSICS, TRAIN_OTHERS, 20_261_126),
  night: ordered(NIGHT_CLASSICS, NIGHT_OTHERS, 20_261_127),
  restores: ordered(RESTORE_CLASSICS, RESTORE_OTHERS, 20_261_128),
};
export const CELLS: readonly Cell[] = WORKS.flatMap((work) => CELLS_OF[work]);

/**
 * What a run is: a train, a night, or a night and then the restore tests of what it backed up; or a train and a night
 * that meet on the same stores.
 */
export const RUN_KINDS = [...WORKS, 'meeting'] as const;
export type RunKind = (typeof RUN_KINDS)[number];

/** What a seed has to hit, and by what kind of run. */
export interface Turn {
  kind: RunKind;
  cells: readonly Cell[];
}

/** Beside the turns in which each cell has its own. */
const MEETINGS = 12;

const rounds = new Map<number, Turn[]>();

/** Two cells for each run, so that each round has all of them; in other pairs than the round before. */
function turnsOf(round: number): Turn[] {
  const known = rounds.get(round) ?? makeTurns(round);
  rounds.set(round, known);
  return known;
}

function makeTurns(round: number): Turn[] {
  const random = randomFrom(round);
  const cellsOf = (work: Work): readonly Cell[] => (round === 0 ? CELLS_OF[work] : random.shuffle(CELLS_OF[work]));
  const ofWork = (work: Work): Turn[] => {
    const own = cellsOf(work);
    return own.flatMap((cell, i) => (i % 2 === 0 ? [{ kind: work, cells: [cell, own[i + 1] ?? own[0] ?? cell] }] : []));
  };
  const [trains, nights] = [random.shuffle(CELLS_OF.train), random.shuffle(CELLS_OF.night)];
  const meetings = Array.from({ length: MEETINGS }, (_, i): Turn => ({
    kind: 'meeting',
    cells: [trains[i], nights[i]] as Cell[],
  }));
  // Mixed evenly, so that a few seeds in a row have some of each.
  return [ofWork('restores'), ofWork('train'), ofWork('night'), meetings]
    .flatMap((turns) => turns.map((turn, i) => ({ turn, at: i / turns.length })))
    .toSorted((a, b) => a.at - b.at)
    .map(({ turn }) => turn);
}

/** So many seeds have every cell once. */
export const SEEDS_OF_A_ROUND = turnsOf(0).length;

export function turnOf(seed: number): Turn {
  const turns = turnsOf(Math.floor((seed - 1) / SEEDS_OF_A_ROUND));
  return turns[(seed - 1) % SEEDS_OF_A_ROUND] as Turn;
}

/** Cells that the practice fleet would refuse. Empty, unless its fault table has changed. */
export const impossibleCells = (): string[] =>
  CELLS.flatMap((cell) => {
    if (isProcessKind(cell.kind)) return [];
    const problems = faultProblems({ kind: cell.kind, step: cell.step, moment: cell.moment });
    return problems.map(({ message }) => `${cellName(cell)}: ${message}`);
  });
