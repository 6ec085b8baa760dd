import type { Fleet, ReleaseSource, Stage, Store } from '#domain/fleet.js';
import { concurrencyOf } from '#domain/limits.js';
import type { Surveyed } from '#domain/messages/survey.js';
import { planStages } from '#domain/plan.js';
import { estimate, sumOfEstimates, withSoak, type Estimate } from '#domain/progress.js';
import type { Stop } from '#domain/reasons.js';
import { localDate, nextWindow, storeWindow, type StoreWindow } from '#domain/windows.js';

/**
 * What a train started now would do: from the repo, from what the stores say of themselves when they were asked, and of
 * those that did not answer from what the ledger says of earlier trains. What nobody knows is `undefined` and shown so.
 */

/** The release that a store took last. */
export interface KnownRelease {
  version: string;
  packages: ReleaseSource['packages'];
  kernel: string;
}

export interface PreviewInput {
  fleet: Fleet;
  stores: readonly Store[];
  now: Date;
  /** Only these stages. */
  selected?: readonly string[] | undefined;
  /** By store, of those that were asked. */
  surveyed: ReadonlyMap<string, Surveyed>;
  /** By store; absent when no successful operation is known. */
  known: ReadonlyMap<string, KnownRelease>;
  /** Milliseconds that successful operations took. */
  durations: readonly number[];
}

export interface StorePreview {
  store: string;
  from?: string | undefined;
  /** Packages whose pinned version is another one. */
  packages?: number | undefined;
  reboots?: number | undefined;
  /** Each guest leaves its node once. */
  guestsMoved?: number | undefined;
  /** It was asked and did not say: `offline`, or why not. The figures are the ledger's then. */
  silent?: string | undefined;
  /** The operation that holds it now. */
  busy?: string | undefined;
  /** Why its preflight would refuse it at this moment. */
  stop?: Stop | undefined;
  /** Set when the store's own window is narrower than the stage's. */
  window?: StoreWindow | undefined;
}

export interface StagePreview {
  name: string;
  /** Always open when absent. */
  opens?: string | undefined;
  closes?: string | undefined;
  approval: boolean;
  /** Milliseconds. */
  soak: number;
  concurrency: number;
  stores: StorePreview[];
  excluded: { store: string; reason: string; detail: string }[];
  takes?: Estimate | undefined;
}

export interface PlanPreview {
  fleet: string;
  timeZone: string;
  release: { version: string; sequence: number; kernel: string; packages: number };
  onCanaryFailure: Fleet['train']['onCanaryFailure'];
  stages: StagePreview[];
  /** The operation on one store; absent when none is known. */
  storeTakes?: Estimate | undefined;
  /** Work and soak of all stages, without the waiting for windows and approvals; absent when a stage's is unknown. */
  takes?: Estimate | undefined;
  problems: string[];
}

export function previewPlan(input: PreviewInput): PlanPreview {
  const { fleet, stores, now } = input;
  const { stages, problems } = planStages({
    fleet,
    stores,
    today: localDate(now, fleet.timeZone),
    selected: input.selected,
  });
  const byId = new Map(stores.map((store) => [store.id, store]));
  let after = now;
  const previews = stages.map((planned): StagePreview => {
    const stage = fleet.stages.find(({ name }) => name === planned.name) as Stage;
    const opening = nextWindow({ window: stage.window, timeZone: fleet.timeZone, after });
    const concurrency = concurrencyOf(stage.limits.maxConcurrency, Math.max(1, planned.stores.length));
    const takes = estimate({ durationsMs: input.durations, remaining: planned.stores.length, concurrency });
    const starts = opening !== undefined && opening.opens > after ? opening.opens : after;
    const preview = {
      name: planned.name,
      opens: opening?.opens.toISOString(),
      closes: opening?.closes.toISOString(),
      approval: stage.approval.required,
      soak: stage.soak,
      concurrency,
      stores: planned.stores.map((id) => previewStore(byId.get(id) as Store, stage, after, input)),
      excluded: planned.excluded,
      takes,
    };
    after = new Date(starts.getTime() + (takes?.p50Ms ?? 0) + stage.soak);
    return preview;
  });
  const { version, sequence, kernel, packages } = fleet.release;
  return {
    fleet: fleet.fleet,
    timeZone: fleet.timeZone,
    release: { version, sequence, kernel, packages: packages.length },
    onCanaryFailure: fleet.train.onCanaryFailure,
    stages: previews,
    storeTakes: estimate({ durationsMs: input.durations, remaining: 1, concurrency: 1 }),
    takes: sumOfEstimates(previews.map(({ takes, soak }) => takes && withSoak(takes, soak))),
    problems,
  };
}

function previewStore(store: Store, stage: Stage, after: Date, input: PreviewInput): StorePreview {
  const { fleet, known, surveyed } = input;
  return {
    store: store.id,
    ...(saidBy(surveyed.get(store.id)) ?? changesOf(store, fleet.release, known.get(store.id))),
    ...silenceOf(surveyed.get(store.id)),
    ...(store.window === undefined
      ? {}
      : {
          window: storeWindow({
            stage: stage.window,
            fleetZone: fleet.timeZone,
            store: store.window,
            storeZone: store.timeZone ?? fleet.timeZone,
            after,
          }),
        }),
  };
}

function saidBy(surveyed: Surveyed | undefined): Partial<StorePreview> | undefined {
  if (surveyed?.kind !== 'answered') return undefined;
  const { kind: _, store: __, release, ...said } = surveyed;
  return { ...(release === undefined ? {} : { from: release }), ...said };
}

function silenceOf(surveyed: Surveyed | undefined): { silent?: string } {
  if (surveyed === undefined || surveyed.kind === 'answered') return {};
  return { silent: surveyed.kind === 'offline' ? 'offline' : surveyed.why };
}

function changesOf(store: Store, to: ReleaseSource, from: KnownRelease | undefined) {
  if (from === undefined) return {};
  const earlier = new Map(from.packages.map(({ name, version }) => [name, version]));
  const packages = to.packages.filter(({ name, version }) => earlier.get(name) !== version).length;
  const hasWork = packages > 0 || from.kernel !== to.kernel;
  return {
    from: from.version,
    packages,
    // A node with other packages is rebooted, whatever they are.
    reboots: hasWork ? store.nodes.length : 0,
    guestsMoved: hasWork ? store.guests.length : 0,
  };
}
