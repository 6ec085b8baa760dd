import { plural } from '#domain/counted.js';
import { formatDuration } from '#domain/durations.js';
import { groupedBy } from '#domain/grouped.js';
import { estimateWords } from './eta.js';
import type { PlanPreview, StagePreview, StorePreview } from './plan-preview.js';
import { columns, listed, printable, timeOf, type Clock } from './text.js';

/** What `edge train plan` says. Pure. */

export interface RenderPlanOptions {
  now: Date;
  /** One row for each store instead of one for stores that are alike. */
  everyStore: boolean;
}

const SHOWN_IDS = 6;

export function renderPlan(plan: PlanPreview, options: RenderPlanOptions): string[] {
  const clock: Clock = { zone: plan.timeZone, now: options.now };
  const { version, sequence, kernel, packages } = plan.release;
  const stores = plan.stages.reduce((sum, stage) => sum + stage.stores.length, 0);
  const excluded = plan.stages.reduce((sum, stage) => sum + stage.excluded.length, 0);
  return [
    `A train of fleet ${printable(plan.fleet)} would take release ${printable(version)} (sequence ${sequence}, ` +
      `${plural(packages, 'pinned package')}, kernel ${printable(kernel)}) to ${plural(stores, 'store')}. Nothing was started.`,
    `Times in ${plan.timeZone}. Each store's own preflight decides again when its turn comes.`,
    ...policyLines(plan),
    ...plan.stages.flatMap((stage) => stageLines(stage, clock, options)),
    ...(plan.storeTakes === undefined
      ? []
      : [`One store: ${estimateWords(plan.storeTakes)}, as earlier operations that succeeded took.`]),
    ...(plan.takes === undefined
      ? []
      : [`Work and soak of all stages: ${estimateWords(plan.takes)}. Waiting for windows and approvals comes on top.`]),
    ...(excluded > 0 ? [`${plural(excluded, 'store')} excluded in all.`] : []),
    ...plan.problems.map((problem) => `PROBLEM: ${printable(problem)}`),
  ];
}

function policyLines({ stages: [first], onCanaryFailure }: PlanPreview): string[] {
  if (first === undefined || onCanaryFailure === 'hold') return [];
  return [
    `Should ${printable(first.name)} fail before a later stage begins, its stores go back to their last good release without asking anybody.`,
  ];
}

function stageLines(stage: StagePreview, clock: Clock, { everyStore }: RenderPlanOptions): string[] {
  const facts = [
    plural(stage.stores.length, 'store'),
    `${stage.concurrency} at a time`,
    windowWords(stage, clock),
    stage.takes === undefined ? 'duration unknown: no earlier operation is known' : estimateWords(stage.takes),
    stage.approval ? 'asks for an approval' : 'needs no approval',
    `soak ${formatDuration(stage.soak)}`,
  ];
  const groups = everyStore ? stage.stores.map((store) => [store]) : alike(stage.stores, clock);
  return [
    `${printable(stage.name)}: ${facts.join(', ')}`,
    ...columns(groups.map((group) => storeRow(group, clock))),
    ...stage.excluded.map(
      ({ store, reason, detail }) => `  ${printable(store)}  excluded, ${printable(reason)}: ${printable(detail)}`,
    ),
  ];
}

function windowWords(stage: StagePreview, clock: Clock): string {
  if (stage.opens === undefined || stage.closes === undefined) return 'no window';
  const isOpen = Date.parse(stage.opens) <= clock.now.getTime();
  return `window ${isOpen ? 'open now' : `from ${timeOf(stage.opens, clock)}`} to ${timeOf(stage.closes, clock)}`;
}

function storeRow(group: readonly StorePreview[], clock: Clock): string[] {
  const ids = group.map(({ store }) => printable(store));
  const count = group.length > 1 ? ` (${group.length})` : '';
  return [`${listed(ids, SHOWN_IDS)}${count}`, factsOf(group[0] as StorePreview, clock)];
}

function factsOf(store: StorePreview, clock: Clock): string {
  return [
    ...(store.silent === undefined ? [] : [silence(store.silent)]),
    releaseOf(store),
    counted(store.packages, 'package'),
    counted(store.reboots, 'reboot'),
    counted(store.guestsMoved, 'guest moved', 'guests moved'),
    ...ownWindow(store, clock),
    ...(store.busy === undefined ? [] : [`held now by ${printable(store.busy)}`]),
    ...(store.stop === undefined
      ? []
      : [`WOULD STOP NOW: ${printable(store.stop.reason)}, ${printable(store.stop.summary)}`]),
  ].join(', ');
}

const silence = (why: string): string => (why === 'offline' ? 'OFFLINE' : `DID NOT SAY: ${printable(why)}`);

/** A store that says what it lacks, and of no release, never took one here. */
function releaseOf({ from, packages }: StorePreview): string {
  if (from !== undefined) return `from ${printable(from)}`;
  return packages === undefined ? 'release unknown' : 'its first release';
}

const counted = (count: number | undefined, one: string, many = `${one}s`): string =>
  count === undefined ? `${many} unknown` : plural(count, one, many);

function ownWindow({ window }: StorePreview, clock: Clock): string[] {
  if (window === undefined || window.kind === 'always') return [];
  if (window.kind === 'never') return ['its own window never meets that of the stage: excluded'];
  return [`own window ${timeOf(window.opens, clock)} to ${timeOf(window.closes, clock)}`];
}

/** Stores with the same facts, in the order of the first of each. */
const alike = (stores: readonly StorePreview[], clock: Clock): StorePreview[][] => [
  ...groupedBy(stores, (store) => factsOf(store, clock)).values(),
];
