import { describe, expect, it } from 'vitest';
import { previewPlan, type KnownRelease, type PreviewInput } from '#client/cli/plan-preview.js';
import { renderPlan } from '#client/cli/render-plan.js';
import type { Surveyed } from '#domain/messages/survey.js';
import { fleet, store } from '../builders.js';

const now = new Date('2026-11-23T09:00:00Z');
const earlier: KnownRelease = {
  version: '2026.47.0',
  packages: [
    { name: 'pve-manager', version: '9.1.1' },
    { name: 'openssl', version: '3.5.4-1' },
  ],
  kernel: '6.14.11-3-pve',
};
const input = (change: Partial<PreviewInput> = {}): PreviewInput => ({
  fleet: fleet(),
  stores: [store('store-001', { tags: ['pilot'] }), store('store-002'), store('store-003')],
  now,
  surveyed: new Map(),
  known: new Map([['store-001', earlier]]),
  durations: [],
  ...change,
});

describe('previewPlan', () => {
  it('counts packages, reboots and guests against the release that a store took last', () => {
    expect(previewPlan(input()).stages[0]?.stores).toEqual([
      { store: 'store-001', from: '2026.47.0', packages: 1, reboots: 3, guestsMoved: 2 },
    ]);
  });

  it('expects a reboot of each node for any package, with or without a new kernel', () => {
    const known = new Map([['store-001', { ...earlier, kernel: '6.14.11-4-pve' }]]);
    expect(previewPlan(input({ known })).stages[0]?.stores[0]).toMatchObject({ packages: 1, reboots: 3 });
  });

  it('expects nothing of a store that has the release', () => {
    const { packages, kernel, version } = fleet().release;
    const known = new Map([['store-001', { packages, kernel, version }]]);
    expect(previewPlan(input({ known })).stages[0]?.stores[0]).toMatchObject({
      packages: 0,
      reboots: 0,
      guestsMoved: 0,
    });
  });

  it('sums work and soak of all stages by p50 and p90 of earlier operations, and says nothing without any', () => {
    const plan = previewPlan(input({ durations: [600_000] }));
    const soaks = plan.stages.reduce((sum, { soak }) => sum + soak, 0);
    expect(plan.takes).toEqual({ p50Ms: soaks + 2 * 600_000, p90Ms: soaks + 2 * 600_000 });
    expect(renderPlan(plan, { now, everyStore: false })).toContain(
      'Work and soak of all stages: about 2 d (p50), 2 d (p90). Waiting for windows and approvals comes on top.',
    );
    expect(previewPlan(input()).takes).toBeUndefined();
  });

  it('says how long one store takes by earlier operations, and nothing without any', () => {
    const plan = previewPlan(input({ durations: [600_000, 600_000, 2_400_000] }));
    expect(plan.storeTakes).toEqual({ p50Ms: 600_000, p90Ms: 2_400_000 });
    expect(renderPlan(plan, { now, everyStore: false })).toContain(
      'One store: about 10 min (p50), 40 min (p90), as earlier operations that succeeded took.',
    );
    const unknown = previewPlan(input());
    expect(unknown.storeTakes).toBeUndefined();
    expect(renderPlan(unknown, { now, everyStore: false }).join('\n')).not.toMatch(/One store:/);
  });

  it('believes a store that was asked more than the ledger, and says when its preflight would refuse it', () => {
    const stop = { reason: 'CephBlocked', step: 'preflight', summary: 'OSD_DOWN: 1 osds down' } as const;
    const said: Surveyed = { kind: 'answered', store: 'store-001', packages: 7, reboots: 2, guestsMoved: 1, stop };
    const plan = previewPlan(input({ surveyed: new Map([['store-001', said]]) }));
    expect(plan.stages[0]?.stores).toEqual([{ store: 'store-001', packages: 7, reboots: 2, guestsMoved: 1, stop }]);
    expect(renderPlan(plan, { now, everyStore: true })).toContain(
      '  store-001  its first release, 7 packages, 2 reboots, 1 guest moved, ' +
        'WOULD STOP NOW: CephBlocked, OSD_DOWN: 1 osds down',
    );
  });

  it('falls back to the ledger for a store that does not answer, and says that it does not', () => {
    const surveyed = new Map<string, Surveyed>([
      ['store-001', { kind: 'offline', store: 'store-001' }],
      ['store-002', { kind: 'failed', store: 'store-002', why: 'The task is not valid.' }],
    ]);
    const lines = renderPlan(previewPlan(input({ surveyed })), { now, everyStore: true });
    expect(lines).toContain('  store-001  OFFLINE, from 2026.47.0, 1 package, 3 reboots, 2 guests moved');
    expect(lines.find((line) => line.startsWith('  store-002'))).toContain(
      'DID NOT SAY: The task is not valid., release unknown, packages unknown',
    );
  });

  it('says which operation holds a store now', () => {
    const said: Surveyed = {
      kind: 'answered',
      store: 'store-001',
      release: '2026.47.0',
      busy: '2026-w48/canary/store-001/r0',
      packages: 0,
      reboots: 0,
      guestsMoved: 0,
    };
    const lines = renderPlan(previewPlan(input({ surveyed: new Map([['store-001', said]]) })), {
      now,
      everyStore: true,
    });
    expect(lines).toContain(
      '  store-001  from 2026.47.0, 0 packages, 0 reboots, 0 guests moved, held now by 2026-w48/canary/store-001/r0',
    );
  });

  it('does not guess what it does not know', () => {
    expect(previewPlan(input({ known: new Map() })).stages[0]?.stores).toEqual([{ store: 'store-001' }]);
  });

  it('marks windows, each stage after the one before it', () => {
    const [canary, rest] = previewPlan(input()).stages;
    expect([canary?.opens, canary?.closes]).toEqual(['2026-11-24T09:00:00.000Z', '2026-11-24T15:00:00.000Z']);
    expect(rest?.opens).toBe('2026-11-25T09:00:00.000Z');
  });

  it('tells a store whose own window never meets that of its stage', () => {
    const night = store('store-001', { tags: ['pilot'], window: { start: '22:00', end: '23:00' } });
    expect(previewPlan(input({ stores: [night, store('store-002')] })).stages[0]?.stores[0]?.window).toEqual({
      kind: 'never',
    });
  });

  it('estimates from what operations took', () => {
    const [, rest] = previewPlan(input({ durations: [60_000, 60_000, 120_000] })).stages;
    expect(rest?.takes).toEqual({ p50Ms: 60_000, p90Ms: 120_000 });
  });
});

describe('renderPlan', () => {
  it('says it in sentences, with stores that are alike in one row', () => {
    const stores = [
      store('store-001', { tags: ['pilot'] }),
      store('store-002'),
      store('store-003'),
      store('store-004', { hold: { until: '2026-12-01', reason: 'stock-taking' } }),
    ];
    const lines = renderPlan(previewPlan(input({ stores })), { now, everyStore: false });
    expect(lines).toEqual([
      'A train of fleet edge would take release 2026.48.0 (sequence 48, 2 pinned packages, kernel 6.14.11-4-pve) ' +
        'to 3 stores. Nothing was started.',
      "Times in Europe/Berlin. Each store's own preflight decides again when its turn comes.",
      'canary: 1 store, 5 at a time, window from Tue 10:00 to Tue 16:00, duration unknown: no earlier operation is ' +
        'known, asks for an approval, soak 24 h',
      '  store-001  from 2026.47.0, 1 package, 3 reboots, 2 guests moved',
      'rest: 2 stores, 5 at a time, window from Wed 10:00 to Wed 16:00, duration unknown: no earlier operation is ' +
        'known, asks for an approval, soak 24 h',
      '  store-002 and store-003 (2)  release unknown, packages unknown, reboots unknown, guests moved unknown',
      '  store-004  excluded, StoreOnHold: until 2026-12-01: stock-taking',
      '1 store excluded in all.',
    ]);
  });

  it('says it when a canary that fails is taken back without asking', () => {
    const preview = previewPlan(input());
    const lines = (onCanaryFailure: 'hold' | 'rollback') =>
      renderPlan({ ...preview, onCanaryFailure }, { now, everyStore: false });
    const [said] = lines('rollback').filter((line) => !lines('hold').includes(line));
    expect(said).toBe(
      'Should canary fail before a later stage begins, its stores go back to their last good release without asking anybody.',
    );
  });

  it('shows each store when asked to', () => {
    const lines = renderPlan(previewPlan(input()), { now, everyStore: true });
    expect(lines.filter((line) => line.startsWith('  store-00'))).toHaveLength(3);
  });
});
