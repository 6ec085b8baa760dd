import { fleetSchema, storeSchema, type Fleet, type Store } from '#domain/fleet.js';
import type { Hold, StageView, TrainView } from '#domain/messages/train.js';
import { emptyTally, type StoreResult, type Tally } from '#domain/outcomes.js';
import type { Clock } from '#client/cli/text.js';

/** Tuesday of the week in which the sketches play, 12:08 in Berlin. */
export const clock: Clock = { zone: 'Europe/Berlin', now: new Date('2026-11-24T11:08:00Z') };
export const planHash = `sha256:4f1c9a02aa31${'0'.repeat(52)}`;

export const tally = (counts: Partial<Tally>): Tally => ({ ...emptyTally(), ...counts });

export const stage = (name: string, stores: number, change: Partial<StageView> = {}): StageView => ({
  name,
  state: 'waiting',
  stores,
  tally: emptyTally(),
  inFlight: 0,
  deferred: 0,
  started: 0,
  concurrency: 5,
  soak: 0,
  ...change,
});

export const hold = (change: Partial<Hold> = {}): Hold => ({
  reason: 'HealthGateFailed',
  stage: 'canary',
  since: '2026-11-24T10:42:00Z',
  summary: 'Cache hit rate fell on 3 of 5 pilots by more than 2 points against their own baseline.',
  detail: ['cache hit: store-001 -6.1', 'cache hit: store-002 -4.4'],
  answers: ['retry-gate', 'abort'],
  ...change,
});

export const trainView = (change: Partial<TrainView> = {}): TrainView => ({
  train: '2026-w48',
  fleet: 'edge',
  state: 'running',
  release: {
    version: '2026.48.0',
    sequence: 48,
    manifest: `sha256:${'a'.repeat(64)}`,
    bundle: `sha256:${'b'.repeat(64)}`,
  },
  planHash,
  startedAt: '2026-11-23T01:00:00Z',
  deadline: '2026-11-29T01:00:00Z',
  doing: 'Stage canary: 5 stores.',
  pausedStores: [],
  stuck: [],
  awaited: [],
  answers: ['pause', 'abort'],
  stages: [stage('canary', 5), stage('wave-1', 50)],
  notSucceeded: [],
  refusedDecisions: [],
  ...change,
});

export const failedResult = (change: Partial<StoreResult> = {}): StoreResult => ({
  store: 'store-033',
  outcome: 'failed',
  reason: 'RebootTimeout',
  stop: { reason: 'RebootTimeout', step: 'reboot n2', summary: 'n2 did not come back in 5 min.' },
  ...change,
});

export const fleet = (change: Record<string, unknown> = {}): Fleet =>
  fleetSchema.parse({
    fleet: 'edge',
    timeZone: 'Europe/Berlin',
    train: { build: { day: 'mon', at: '02:00' }, note: 'weekly' },
    stages: [
      { name: 'canary', stores: { tag: 'pilot' }, window: { days: ['tue'], start: '10:00', end: '16:00' } },
      { name: 'rest', stores: 'rest', window: { days: ['wed'], start: '10:00', end: '16:00' } },
    ],
    release: {
      version: '2026.48.0',
      sequence: 48,
      snapshot: '20261116T000000Z',
      sources: ['deb http://mirror.example/debian trixie main'],
      packages: [
        { name: 'pve-manager', version: '9.1.2' },
        { name: 'openssl', version: '3.5.4-1' },
      ],
      kernel: '6.14.11-4-pve',
    },
    ...change,
  });

export const store = (id: string, change: Record<string, unknown> = {}): Store =>
  storeSchema.parse({
    id,
    nodes: ['n1', 'n2', 'n3'].map((name, index) => ({ name, address: `10.0.0.${index + 1}` })),
    guests: [
      { vmid: 101, name: 'pos', kind: 'qemu' },
      { vmid: 103, name: 'cache', kind: 'lxc' },
    ],
    ...change,
  });
