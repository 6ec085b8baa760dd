import { describe, expect, it } from 'vitest';
import { driftOf, driftWords, type Offer } from '#domain/drift.js';
import { OUTCOMES, type Outcome } from '#domain/outcomes.js';

const anOffer = (week: number, outcome: Outcome, change: Partial<Offer> = {}): Offer => ({
  store: 'store-001',
  train: `2026-w${week}`,
  stage: 'rest',
  release: `2026.${week}.0`,
  sequence: week,
  over: true,
  outcome,
  startedAt: '2026-11-26T10:00:00.000Z',
  ...change,
});
const behind = (...offers: Offer[]): [store: string, train: string][] =>
  driftOf(offers).map(({ store, train }) => [store, train]);

describe('driftOf', () => {
  it('names who did not get the newest release that was meant for it, and what it came to there', () => {
    expect(driftOf([anOffer(47, 'succeeded'), anOffer(48, 'missed', { reason: 'DeadlineReached' })])).toEqual([
      {
        store: 'store-001',
        train: '2026-w48',
        stage: 'rest',
        release: '2026.48.0',
        sequence: 48,
        outcome: 'missed',
        reason: 'DeadlineReached',
      },
    ]);
  });

  it.each<[Outcome, boolean]>([
    ['succeeded', false],
    ['failed', true],
    ['timedOut', true],
    ['offline', true],
    ['cutOff', true],
    ['skipped', true],
    ['excluded', false],
    ['aborted', true],
    ['rolledBack', false],
    ['missed', true],
  ])('of a store that %s: %s', (outcome, isBehind) => {
    expect(behind(anOffer(48, outcome))).toEqual(isBehind ? [['store-001', '2026-w48']] : []);
  });

  it('has a row above for each outcome', () => {
    expect(OUTCOMES).toHaveLength(10);
  });

  it('counts an abort only where the store was in work', () => {
    expect(behind(anOffer(48, 'aborted', { startedAt: undefined }))).toEqual([]);
  });

  it('says nothing of a train that goes on, but takes its word for what it has brought', () => {
    expect(behind(anOffer(48, 'failed', { over: false }))).toEqual([]);
    expect(behind(anOffer(47, 'missed'), anOffer(48, 'succeeded', { over: false }))).toEqual([]);
    expect(behind(anOffer(47, 'missed'), anOffer(48, 'offline', { over: false }))).toEqual([['store-001', '2026-w47']]);
  });

  it('is over when any train has brought that release or a later one, in whatever order they are told', () => {
    const missed = anOffer(48, 'missed');
    expect(behind(missed, anOffer(49, 'succeeded'))).toEqual([]);
    expect(behind(anOffer(48, 'succeeded', { train: 'again' }), missed)).toEqual([]);
    expect(behind(missed, anOffer(48, 'succeeded', { train: 'again' }))).toEqual([]);
  });

  it('names the newest of several releases that a store did not get', () => {
    expect(behind(anOffer(49, 'offline'), anOffer(48, 'missed'))).toEqual([['store-001', '2026-w49']]);
    expect(behind(anOffer(48, 'missed'), anOffer(49, 'excluded'))).toEqual([['store-001', '2026-w48']]);
  });

  it('judges each store by itself, and sorts them', () => {
    const rows = ['store-003', 'store-001', 'store-002'].map((store) => anOffer(48, 'offline', { store }));
    expect(behind(...rows, anOffer(49, 'succeeded', { store: 'store-002' })).map(([store]) => store)).toEqual([
      'store-001',
      'store-003',
    ]);
  });
});

describe('driftWords', () => {
  it('names the release, where it was to come, and what it came to', () => {
    expect(driftWords({ ...anOffer(48, 'cutOff') })).toBe('release 2026.48.0 of 2026-w48/rest: cut off');
    expect(driftWords({ ...anOffer(48, 'skipped', { reason: 'WorkerTooOld' }) })).toBe(
      'release 2026.48.0 of 2026-w48/rest: skipped, WorkerTooOld',
    );
  });
});
