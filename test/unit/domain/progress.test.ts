import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ANSWERS, type StageView, type TrainView } from '#domain/messages/train.js';
import type { StoreView } from '#domain/messages/store.js';
import { emptyTally, type StoreResult } from '#domain/outcomes.js';
import { estimate, renderStoreDetails, renderTrainDetails } from '#domain/progress.js';

const MINUTE = 60_000;
const digest = `sha256:${'a'.repeat(64)}`;

function stageOf(name: string, change: Partial<StageView> = {}): StageView {
  return {
    name,
    state: 'waiting',
    stores: 50,
    tally: emptyTally(),
    inFlight: 0,
    deferred: 0,
    started: 0,
    concurrency: 5,
    soak: 0,
    ...change,
  };
}

function trainOf(change: Partial<TrainView> = {}): TrainView {
  return {
    train: '2026-w48',
    fleet: 'acme',
    state: 'running',
    release: { version: '2026.48.0', sequence: 12, manifest: digest, bundle: digest },
    planHash: digest,
    startedAt: '2026-11-24T06:00:00Z',
    deadline: '2026-11-30T06:00:00.000Z',
    doing: 'Stage wave-1: 50 stores.',
    pausedStores: [],
    stuck: [],
    awaited: [],
    answers: ['pause', 'abort'],
    stages: [],
    notSucceeded: [],
    refusedDecisions: [],
    ...change,
  };
}

function storeOf(change: Partial<StoreView> = {}): StoreView {
  return {
    store: 'store-007',
    train: '2026-w48',
    stage: 'wave-1',
    operationId: '2026-w48/wave-1/store-007/r0',
    release: '2026.48.0',
    step: 'drain n2',
    since: '2026-11-24T10:31:12.000Z',
    cutOff: false,
    paused: false,
    nodes: [],
    notes: [],
    ...change,
  };
}

const failed = (store: string, summary = 'Guests did not leave n2.'): StoreResult => ({
  store,
  outcome: 'failed',
  reason: 'DrainTimeout',
  stop: { reason: 'DrainTimeout', step: 'drain n2', summary },
});

describe('estimate', () => {
  it.each([
    ['nothing to say before one has ended', [], 10, 5, undefined],
    ['nothing remains', [MINUTE], 0, 5, { p50Ms: 0, p90Ms: 0 }],
    ['one turn when all fit in the slots', [2 * MINUTE], 5, 5, { p50Ms: 2 * MINUTE, p90Ms: 2 * MINUTE }],
    ['three turns for 7 in 3 slots', [10 * MINUTE], 7, 3, { p50Ms: 30 * MINUTE, p90Ms: 30 * MINUTE }],
    [
      'p50 and p90 of ten durations by nearest rank',
      [10, 1, 9, 2, 8, 3, 7, 4, 6, 5].map((minutes) => minutes * MINUTE),
      10,
      5,
      { p50Ms: 10 * MINUTE, p90Ms: 18 * MINUTE },
    ],
    ['at least one slot', [MINUTE], 3, 0, { p50Ms: 3 * MINUTE, p90Ms: 3 * MINUTE }],
    ['measurements that are none are left out', [Number.NaN, -1, MINUTE], 1, 1, { p50Ms: MINUTE, p90Ms: MINUTE }],
  ] as const)('%s', (_sentence, durationsMs, remaining, concurrency, expected) => {
    expect(estimate({ durationsMs, remaining, concurrency })).toEqual(expected);
  });

  it('never promises more slots or more remaining work a shorter time', () => {
    const durations = fc.array(fc.integer({ min: 0, max: 10_000 }), { minLength: 1, maxLength: 50 });
    const count = fc.integer({ min: 1, max: 500 });
    fc.assert(
      fc.property(durations, count, count, (durationsMs, remaining, concurrency) => {
        const now = estimate({ durationsMs, remaining, concurrency });
        const more = estimate({ durationsMs, remaining: remaining + 1, concurrency });
        const wider = estimate({ durationsMs, remaining, concurrency: concurrency + 1 });
        expect(now?.p90Ms).toBeGreaterThanOrEqual(now?.p50Ms ?? Infinity);
        expect(more?.p50Ms).toBeGreaterThanOrEqual(now?.p50Ms ?? Infinity);
        expect(wider?.p50Ms).toBeLessThanOrEqual(now?.p50Ms ?? -1);
      }),
    );
  });
});

describe('renderTrainDetails', () => {
  it('says what it is and does, with times in a named zone', () => {
    expect(renderTrainDetails(trainOf())).toContain(
      '**2026-w48** of acme · running · release 2026.48.0 (sequence 12)\n\n' +
        'Stage wave-1: 50 stores. Ends at the latest 2026-11-30 06:00 UTC.',
    );
  });

  it('shows each stage with its counts, which add up to its stores', () => {
    const tally = { ...emptyTally(), succeeded: 30, failed: 1, timedOut: 2, excluded: 3 };
    const wave1 = stageOf('wave-1', { state: 'running', tally, inFlight: 5, deferred: 2, wave: '2026-w48/wave-1/r0' });
    const details = renderTrainDetails(trainOf({ stages: [wave1, stageOf('wave-2', { stores: 200 })] }));
    expect(details).toContain(
      '| Stage | State | Stores | Succeeded | Not succeeded | In work | Deferred | Left |\n' +
        '| --- | --- | --- | --- | --- | --- | --- | --- |\n' +
        '| [wave-1](/namespaces/{namespace}/workflows/2026-w48%2Fwave-1%2Fr0) | running | 50 | 30 | 1 failed, 2 timed out, 3 excluded | 5 | 2 | 7 |\n' +
        '| wave-2 | waiting | 200 | 0 | – | 0 | 0 | 200 |',
    );
  });

  it('says what it waits for, until when, and gives the answers ready to paste but for the name', () => {
    const details = renderTrainDetails(
      trainOf({
        state: 'held',
        answers: ['approve', 'reject', 'abort'],
        hold: {
          reason: 'ApprovalPending',
          stage: 'wave-1',
          since: '2026-11-24T10:00:00Z',
          until: '2026-11-25T10:00:00Z',
          summary: 'Stage wave-1 (50 stores) waits for an approval.',
          detail: [],
          answers: ['approve', 'reject', 'abort'],
        },
      }),
    );
    expect(details).toContain(
      '**Held: ApprovalPending** in wave-1, since 2026-11-24 10:00 UTC, until 2026-11-25 10:00 UTC. A person has to approve the stage.',
    );
    expect(details).toContain(
      `- **approve**: start the stage. Update \`decide\` with \`{"stage":"wave-1","planHash":"${digest}","decision":"approve","by":""}\``,
    );
    expect(details).toContain(
      '- **abort**: end the train; stores in work reach a safe end first. Update `abort` with `{"by":""}`',
    );
    expect(details).not.toContain('retryGate');
  });

  it.each(ANSWERS)('has a line for the answer %s', (answer) => {
    expect(renderTrainDetails(trainOf({ answers: [answer] }))).toContain(`- **${answer}**: `);
  });

  it('links every store that did not succeed to its operation', () => {
    expect(renderTrainDetails(trainOf({ notSucceeded: [failed('store-007')] }))).toContain(
      '| [store-007](/namespaces/{namespace}/workflows/store%2Fstore-007) | failed | DrainTimeout | drain n2: Guests did not leave n2. |',
    );
  });

  it('says of a store that was cut off when it was begun, at which step it was, and its last good release', () => {
    const cutOff: StoreResult = {
      store: 'store-007',
      outcome: 'cutOff',
      reason: 'StoreCutOff',
      stop: { reason: 'StoreCutOff', step: 'draining n2', summary: 'The store fell silent.' },
      operationId: '2026-w48/wave-1/store-007/r0',
      startedAt: '2026-11-24T10:00:00Z',
      nodesPatched: 0,
      lastGood: '2026.47.0',
    };
    expect(renderTrainDetails(trainOf({ notSucceeded: [cutOff] }))).toContain(
      '| cut off | StoreCutOff | draining n2: The store fell silent. | begun 2026-11-24 10:00 UTC; when last heard of, no node finished; what is left set is not known; last good release: 2026.47.0 |',
    );
  });

  it('names the runbook of each reason once, and how to try again what the train does not', () => {
    const tally = { ...emptyTally(), failed: 2 };
    const view = trainOf({ stages: [stageOf('wave-1', { tally })], notSucceeded: [failed('a'), failed('b')] });
    expect(renderTrainDetails(view)).toContain(
      'What to do: `edge runbook DrainTimeout`\n\n' +
        'This train does not try them again. When it has ended: edge train start --release 2026.48.0 --stages wave-1',
    );
  });

  it('names every store that did not succeed, those that have no row of their own in few words', () => {
    const ids = Array.from({ length: 400 }, (_, index) => `store-${String(index).padStart(3, '0')}`);
    const results = ids.map((store, index) =>
      index % 2 === 0
        ? { ...failed(store), lastGood: '2026.47.0' }
        : { ...failed(store), outcome: 'offline' as const, reason: 'StoreOffline' as const },
    );
    const tally = { ...emptyTally(), failed: 200, offline: 201 };
    const details = renderTrainDetails(trainOf({ stages: [stageOf('wave-1', { tally })], notSucceeded: results }));
    for (const id of ids) expect(details).toContain(id);
    expect(details).toContain('**And 375 more** (what was seen of each: `edge train show --all`)');
    expect(details).toMatch(
      /- failed at drain n2, DrainTimeout, last good release: 2026\.47\.0: store-026, store-028, /,
    );
    expect(details).toContain('- and 1 more, which the train does not list');
  });

  it('says of a way back that a retry takes those that were offline too', () => {
    const shown = (rollingBack?: true) => renderTrainDetails(trainOf({ answers: ['retry-failed'], rollingBack }));
    expect(shown(true)).toContain(
      '- **retry-failed**: try again whoever is not back yet, also stores that were offline',
    );
    expect(shown()).toContain('- **retry-failed**: try again what failed; stores that were offline stay out');
  });

  it('names the stage that is paused, who paused it, and what lets it go on', () => {
    const paused = { by: 'ann', at: '2026-11-24T10:00:00Z' };
    expect(renderTrainDetails(trainOf({ stages: [stageOf('wave-1', { paused })] }))).toContain(
      '- stage wave-1 is paused by ann since 2026-11-24 10:00 UTC; it goes on by: edge train resume --stage wave-1',
    );
  });

  it('says when the wave in work waits for a store that is paused', () => {
    const details = (pausedInWork: string[]) =>
      renderTrainDetails(trainOf({ pausedStores: ['store-007'], pausedInWork }));
    expect(details(['store-007'])).toContain('- the wave in work waits for what is paused in it: store-007');
    expect(details([])).not.toContain('the wave in work');
  });

  it('shows gates and refused decisions', () => {
    const details = renderTrainDetails(
      trainOf({
        stages: [stageOf('canary', { gate: '5 of 5 stores measured; none failing.' })],
        refusedDecisions: [{ at: '2026-11-24T10:00:00Z', by: 'ann', why: 'The train asks for stage wave-1.' }],
      }),
    );
    expect(details).toContain('- canary: 5 of 5 stores measured; none failing.');
    expect(details).toContain('- 2026-11-24 10:00 UTC, ann: The train asks for stage wave-1.');
  });

  it('stays below the 20,000 bytes that Temporal takes, however much went wrong', () => {
    const long = '🧯'.repeat(5_000);
    const details = renderTrainDetails(
      trainOf({
        doing: long,
        answers: [...ANSWERS],
        hold: {
          reason: 'ErrorThresholdExceeded',
          stage: 'wave-1',
          since: '2026-11-24T10:00:00Z',
          summary: long,
          detail: Array.from({ length: 100 }, () => long),
          answers: [...ANSWERS],
        },
        stages: Array.from({ length: 20 }, (_, index) =>
          stageOf(`stage-${index}`, { gate: long, wave: 'w'.repeat(100) }),
        ),
        notSucceeded: Array.from({ length: 100 }, (_, index) => failed(`store-${index}`, long)),
        refusedDecisions: Array.from({ length: 20 }, () => ({ at: long, by: long, why: long })),
      }),
    );
    expect(new TextEncoder().encode(JSON.stringify(details)).length).toBeLessThan(20_000);
    expect(details).toContain('**Held: ErrorThresholdExceeded**');
    expect(details.endsWith('There is more than fits here.')).toBe(true);
  });

  it('lets no word from outside become markup, a link, HTML, a table cell or a placeholder of the UI', () => {
    const hostile =
      '<img src=x> [click](https://evil.example) **bold** `code` | cell\n# head {namespace} &amp; \u2028- item';
    const details = renderTrainDetails(
      trainOf({
        notSucceeded: [failed('store-007', hostile)],
        doing: hostile,
        stages: [stageOf('a', { gate: hostile })],
      }),
    );
    expect(details).toContain(
      'drain n2: \\<img src=x\\> \\[click\\](https\\://evil.example) \\*\\*bold\\*\\* \\`code\\` \\| cell \\# head \\{namespace\\} \\&amp; - item |',
    );
    expect(details).not.toMatch(/[^\\][<{](?!namespace\}\/workflows)(?!"by)/);
    expect(details.split('\n').filter((line) => line.startsWith('# ') || line.startsWith('- item'))).toEqual([]);
  });
});

describe('renderStoreDetails', () => {
  it('shows step, nodes and notes while it runs', () => {
    expect(
      renderStoreDetails(
        storeOf({
          nodes: [
            { node: 'n1', state: 'done', since: '2026-11-24T10:20:00Z' },
            { node: 'n2', state: 'draining', since: '2026-11-24T10:31:12Z' },
          ],
          notes: ['adopted the upgrade of n1'],
        }),
      ),
    ).toBe(
      [
        '**store-007** · 2026-w48/wave-1 · release 2026.48.0',
        'Now: drain n2, since 2026-11-24 10:31 UTC.',
        'To steer it: `edge store pause store-007`, `edge store abort store-007`',
        '| Node | State | Since |\n| --- | --- | --- |\n| n1 | done | 2026-11-24 10:20 UTC |\n| n2 | draining | 2026-11-24 10:31 UTC |',
        '**Notes**\n\n- adopted the upgrade of n1',
        'Operation `2026-w48/wave-1/store-007/r0`',
      ].join('\n\n'),
    );
  });

  it('says that a store is silent, and that nobody has to do anything', () => {
    expect(renderStoreDetails(storeOf({ cutOff: true }))).toContain(
      'The store is silent; it goes on by itself and reports when the link is back.',
    );
    expect(renderStoreDetails(storeOf())).not.toContain('silent');
  });

  it('shows how it ended instead of a step', () => {
    const details = renderStoreDetails(
      storeOf({
        result: {
          ...failed('store-007'),
          stop: { reason: 'DrainTimeout', step: 'drain n2', summary: 'Guests stayed.', detail: ['vm:101 is locked'] },
          startedAt: '2026-11-24T10:00:00Z',
          endedAt: '2026-11-24T11:30:00Z',
        },
      }),
    );
    expect(details).toContain(
      '**failed**: DrainTimeout after 1 h 30 min\n\ndrain n2: Guests stayed.\n\n**Seen**\n\n- vm:101 is locked',
    );
    expect(details).not.toContain('Now:');
  });
});
