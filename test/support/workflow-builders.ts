import type { NodeFacts, ProbeFacts, StagedNode, StoreFacts } from '#domain/facts.js';
import { stageSchema, type Limits, type Stage } from '#domain/fleet.js';
import type { BackupOrders, BackupStoreInput, NightPlan } from '#domain/messages/backup.js';
import type { RestorePlan, TrialPlan } from '#domain/messages/restore.js';
import type { PatchStoreInput, Preflight } from '#domain/messages/store.js';
import type { SurveyInput } from '#domain/messages/survey.js';
import type { StagePlan, TrainPlan, WaveInput } from '#domain/messages/train.js';
import type { Outcome } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import { aReleaseRef, aStore, KERNEL, NODES, PACKAGES } from './builders.js';

/** Inputs of the workflows. Everything is sound unless a test says otherwise; durations in milliseconds. */

export const COMMIT = 'c0ffee'.padEnd(40, '0');
export const PLAN_HASH = `sha256:${'9'.repeat(64)}`;
export const OTHER_HASH = `sha256:${'8'.repeat(64)}`;

export const aStoreInput = (store: string, change: Partial<PatchStoreInput> = {}): PatchStoreInput => ({
  fleet: 'acme',
  train: '2026-w48',
  stage: 'canary',
  store,
  round: 0,
  release: aReleaseRef(),
  offlineAfter: 30_000,
  cutOffAfter: 120_000,
  storeTimeout: 120_000,
  ...change,
});

export const someOrders = (change: Partial<BackupOrders> = {}): BackupOrders => ({
  keep: { last: 3 },
  reverifyAfter: 86_400_000,
  collect: false,
  tiers: { normal: { local: 86_400_000 } },
  defaultTier: 'normal',
  slots: {},
  ...change,
});

export const aBackupInput = (store: string, change: Partial<BackupStoreInput> = {}): BackupStoreInput => ({
  fleet: 'acme',
  night: 'night-2026-11-26',
  store,
  round: 0,
  orders: someOrders(),
  guests: {},
  withoutDisks: {},
  notAfter: new Date(Date.now() + 60_000).toISOString(),
  offlineAfter: 30_000,
  cutOffAfter: 60_000,
  storeTimeout: 120_000,
  deferFor: 50,
  ...change,
});

/** Begins at once and ends in a minute. */
export const aNightPlan = (stores: readonly string[], change: Partial<NightPlan> = {}): NightPlan => {
  const closes = change.closes ?? new Date(Date.now() + 60_000).toISOString();
  return {
    night: 'night-2026-11-26',
    fleet: 'acme',
    commit: COMMIT,
    closes,
    stores: stores.map((id) => ({ id, closes })),
    excluded: [],
    orders: someOrders(),
    maxConcurrency: 10,
    timing: { storeTimeout: 120_000, offlineAfter: 30_000, cutOffAfter: 60_000, deferFor: 50 },
    ...change,
  };
};

/** Guests 101 and 102 of each store are due. */
export const aRestorePlan = (stores: readonly string[], change: Partial<RestorePlan> = {}): RestorePlan => ({
  run: 'restores-2026-w48',
  fleet: 'acme',
  commit: COMMIT,
  stores: stores.map((id, index) => ({
    id,
    trials: [101, 102].map((vmid, at) => aTrial(vmid, { as: 90_000 + 10 * index + at })),
  })),
  maxConcurrency: 2,
  timing: { patience: 30_000, storeTimeout: 60_000 },
  ...change,
});

export const aTrial = (vmid: number, change: Partial<TrialPlan> = {}): TrialPlan => ({
  vmid,
  as: 90_000,
  name: vmid === 101 ? 'pos' : 'inventory',
  class: vmid === 101 ? 'pos' : 'inventory',
  tier: 'normal',
  snapshot: 'newest',
  why: 'due',
  probes: [{ name: 'selftest', command: ['/usr/local/bin/selftest'], within: 60_000 }],
  canary: true,
  ...change,
});

export const aSurvey = (stores: readonly string[], change: Partial<SurveyInput> = {}): SurveyInput => ({
  fleet: 'acme',
  wanted: { packages: PACKAGES, kernel: KERNEL },
  stores: stores.map((store) => ({ store, nodes: ['n1', 'n2', 'n3'] })),
  offlineAfter: 1_000,
  ...change,
});

/** All three nodes need packages and a reboot; `n2` leads the HA managers. */
export const factsToPatch = (): StoreFacts =>
  aStore()
    .with(({ ha }) => (ha.master = 'n2'))
    .facts();

export const aPreflight = (facts: StoreFacts = factsToPatch()): Preflight => ({
  facts,
  nodes: NODES,
  kernel: KERNEL,
  packages: { ...PACKAGES },
  ours: { maintenance: [], noout: [] },
});

/** A store that has nothing to do on any node. */
export const currentPreflight = (): Preflight => aPreflight(aStore().patched('n1').patched('n2').patched('n3').facts());

/** A node after the simulation of exactly the pinned upgrade. */
export const simulated = ({ name, installed }: NodeFacts): StagedNode => ({
  name,
  installed,
  simulation: {
    install: Object.entries(PACKAGES)
      .filter(([pin, version]) => installed[pin] !== version)
      .map(([pin, version]) => ({ name: pin, version })),
    remove: [],
  },
});

export const aHealthyProbe = (store: string, change: Partial<ProbeFacts> = {}): ProbeFacts => ({
  store,
  at: '2026-11-24T12:00:00.000Z',
  reachable: true,
  unreadable: [],
  quorate: true,
  nodesOnline: 3,
  nodesTotal: 3,
  cephBlocking: [],
  leftSet: [],
  inventoryMatches: true,
  guests: [{ vmid: 101, name: 'pos', running: true, healthy: true, latencyMs: 12 }],
  baseline: [{ vmid: 101, name: 'pos', running: true, healthy: true, latencyMs: 12 }],
  ...change,
});

export interface StageChange extends Partial<Omit<Stage, 'name' | 'stores' | 'limits' | 'gate' | 'approval'>> {
  stores: string[];
  excluded?: { store: string; reason: Reason; detail: string }[];
  limits?: Partial<Limits>;
  gate?: Partial<Stage['gate']>;
  approval?: Partial<Stage['approval']>;
}

/** The limits of `fleet.yaml` as they are when nobody writes any, but one store at a time and quick to try again. */
export const someLimits = (change: Partial<Limits> = {}): Limits => ({
  ...stageSchema.parse({ name: 'any', stores: 'rest' }).limits,
  maxConcurrency: 1,
  offlineAfter: 30_000,
  cutOffAfter: 120_000,
  deferFor: 50,
  ...change,
});

/** Needs no approval, has no window, soaks for 10 ms. */
export function aStage(name: string, change: StageChange): StagePlan {
  const { stores, excluded = [], limits, gate, approval, ...rest } = change;
  const defaults = stageSchema.parse({ name, stores: 'rest' });
  return {
    name,
    stores,
    excluded,
    settings: {
      ...defaults,
      soak: 10,
      ...rest,
      limits: someLimits(limits),
      gate: { ...defaults.gate, ...gate },
      approval: { required: false, expires: 60_000, ...approval },
    },
  };
}

/** `aPlan().stage('canary', { stores: ['s001'] }).build()` */
export function aPlan(change: Partial<TrainPlan> = {}) {
  const stages: StagePlan[] = [];
  const builder = {
    stage(name: string, stage: StageChange) {
      stages.push(aStage(name, stage));
      return builder;
    },
    build: (): TrainPlan => ({
      train: '2026-w48',
      fleet: 'acme',
      timeZone: 'Europe/Berlin',
      commit: COMMIT,
      release: aReleaseRef(),
      deadline: new Date(Date.now() + 3_600_000).toISOString(),
      onCanaryFailure: 'hold',
      ...change,
      stages,
    }),
  };
  return builder;
}

export interface WaveChange extends Partial<Omit<WaveInput, 'stores' | 'limits'>> {
  limits?: Partial<Limits>;
}

export function aWave(stores: (string | WaveInput['stores'][number])[], change: WaveChange = {}): WaveInput {
  const { limits, ...rest } = change;
  return {
    fleet: 'acme',
    train: '2026-w48',
    stage: 'canary',
    round: 0,
    operation: 'patch',
    stores: stores.map((store) => (typeof store === 'string' ? { id: store } : store)),
    release: aReleaseRef(),
    limits: someLimits(limits),
    stageSize: Math.max(1, stores.length),
    before: { tally: {}, started: 0 },
    ...rest,
  };
}

export const storeNames = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `s${String(index + 1).padStart(3, '0')}`);

/** The plan as the ledger still knows it after its train has ended, each store with an outcome of its own. */
export const aReopenedTrain = (plan: TrainPlan, outcomes: Record<string, Outcome>) => ({
  kind: 'reopened' as const,
  plan,
  planHash: PLAN_HASH,
  startedAt: '2026-11-23T01:00:00.000Z',
  stages: plan.stages.map(({ name, stores }) => ({
    name,
    state: 'done' as const,
    startedAt: '2026-11-23T02:00:00.000Z',
    endedAt: '2026-11-23T03:00:00.000Z',
    results: stores.map((store) => ({ store, outcome: outcomes[store] ?? ('succeeded' as const) })),
  })),
  nextRound: 0,
  noProgressAfter: 3_600_000,
  caveats: [],
});
