import { faultProblems, type FaultKind, type Moment, type Step } from '#lab/world/fault-table.js';
import { randomFrom } from './random.js';

/**
 * What the chaos suite has to hit: each cell is a kind of fault at a step and a moment of a store's operation. The kinds
 * are those of the practice fleet, and those below, which the suite does to the service itself.
 */
export const PROCESS_KINDS = [
  'kill-control',
  'kill-release',
  'kill-store',
  'kill-temporal',
  'second-operation',
] as const;
export type ProcessKind = (typeof PROCESS_KINDS)[number];

export interface Cell {
  kind: FaultKind | ProcessKind;
  /** `release.build` is the one step that no store takes part in. */
  step: Step | 'release.build';
  moment: Moment;
}

export const cellName = ({ kind, step, moment }: Cell): string => `${kind} ${step} ${moment}`;
export const isProcessKind = (kind: string): kind is ProcessKind => (PROCESS_KINDS as readonly string[]).includes(kind);

const cells = (kind: Cell['kind'], at: Partial<Record<Cell['step'], Moment | Moment[]>>): Cell[] =>
  Object.entries(at).flatMap(([step, moments]) =>
    [moments].flat().map((moment) => ({ kind, step: step as Cell['step'], moment })),
  );

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
const CLASSICS: Cell[] = [
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
  ...cells('apt-fail', { 'packages.install': 'during' }),
  ...cells('osd-down', { 'ceph.noout.set': 'after' }),
  ...cells('second-operation', { 'node.reboot.request': 'after' }),
  ...cells('wan-cut', { 'node.reboot.request': 'after' }),
  ...cells('lost-answer', { 'guest.migrate': 'after' }),
  ...cells('node-stays-down', { 'node.up': 'before' }),
];

const OTHERS: Cell[] = [
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

const isClassic = new Set(CLASSICS.map(cellName));

export const CELLS: readonly Cell[] = [
  ...CLASSICS,
  ...randomFrom(20_261_126).shuffle(OTHERS.filter((cell) => !isClassic.has(cellName(cell)))),
];

/** So many seeds have every cell once. */
export const SEEDS_OF_A_ROUND = Math.ceil(CELLS.length / 2);

/** Two for each seed; each round has all of them, in other pairs than the one before. */
export function cellsOf(seed: number): Cell[] {
  const round = Math.floor((seed - 1) / SEEDS_OF_A_ROUND);
  const order = round === 0 ? CELLS : randomFrom(round).shuffle(CELLS);
  const at = 2 * ((seed - 1) % SEEDS_OF_A_ROUND);
  return [at, at + 1].map((i) => order[i % order.length] as Cell);
}

/** Cells that the practice fleet would refuse. Empty, unless its fault table has changed. */
export const impossibleCells = (): string[] =>
  CELLS.flatMap((cell) => {
    if (isProcessKind(cell.kind)) return [];
    const problems = faultProblems({ kind: cell.kind, step: cell.step, moment: cell.moment });
    return problems.map(({ message }) => `${cellName(cell)}: ${message}`);
  });
