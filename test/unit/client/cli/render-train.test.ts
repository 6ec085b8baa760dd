import { describe, expect, it } from 'vitest';
import { answerCommands, renderQuestion, renderTrain, tallyWords } from '#client/cli/render-train.js';
import { clock, failedResult, hold, planHash, stage, tally, trainView } from '../builders.js';

const options = { clock, suffix: '', columns: 100 };

describe('a train without a name', () => {
  it('names the fleet as long as the train has no name, and one that found nothing to take back never has', () => {
    const doing = 'No store of fleet edge holds a release that a train of the ledger could take back.';
    const lines = renderTrain(
      trainView({ train: '', state: 'failed', release: undefined, doing, stages: [] }),
      options,
    );
    expect(lines.slice(0, 2)).toEqual(['Train of fleet edge: FAILED, started Mon 02:00 (Europe/Berlin)', `  ${doing}`]);
  });
});

describe('a train that is held', () => {
  const view = trainView({
    state: 'held',
    hold: hold(),
    answers: ['retry-gate', 'abort'],
    stages: [
      stage('canary', 5, { state: 'held', tally: tally({ succeeded: 5 }), started: 5 }),
      stage('wave-1', 50),
      stage('wave-2', 200),
      stage('wave-3', 205),
    ],
  });

  it('says since when, where and why, what is untouched, and every answer as a full command', () => {
    expect(renderTrain(view, options)).toEqual([
      'Train 2026-w48, release 2026.48.0: HELD since Tue 11:42 (Europe/Berlin) at canary, reason HealthGateFailed',
      '  Cache hit rate fell on 3 of 5 pilots by more than 2 points against their own baseline.',
      '    cache hit: store-001 -6.1',
      '    cache hit: store-002 -4.4',
      '  Nothing further starts. 455 of 460 stores have not been started.',
      'Stages:',
      '  canary  HELD     5/5    succeeded 5',
      '  wave-1  waiting  0/50',
      '  wave-2  waiting  0/200',
      '  wave-3  waiting  0/205',
      'You can:',
      '  edge train retry-gate  measure the health again',
      '  edge train abort       end the train; stores in work reach a safe end',
    ]);
  });

  it('names no stages while there is no plan', () => {
    const unplanned = trainView({ state: 'held', stages: [], hold: hold({ reason: 'BuildFailed' }) });
    expect(renderTrain(unplanned, options)).not.toContain('Stages:');
  });

  it('repeats the options it was called with in what it suggests', () => {
    const commands = answerCommands(view, ' --fleet edge').map(({ command }) => command);
    expect(commands).toEqual(['edge train retry-gate --fleet edge', 'edge train abort --fleet edge']);
  });
});

describe('a train that asks for an approval', () => {
  it('offers the approval of the stage and plan it asks for, and says until when', () => {
    const view = trainView({
      state: 'held',
      hold: hold({
        reason: 'ApprovalPending',
        summary: 'Stage canary (5 stores) waits for an approval.',
        detail: [],
        until: '2026-11-25T10:42:00Z',
        answers: ['approve', 'reject', 'abort'],
      }),
      stages: [stage('canary', 5, { state: 'awaiting approval' })],
      answers: ['approve', 'reject', 'abort'],
    });
    const lines = renderTrain(view, options);
    expect(lines[0]).toBe(
      'Train 2026-w48, release 2026.48.0: WAITS FOR APPROVAL since Tue 11:42 (Europe/Berlin) at canary',
    );
    expect(lines).toContain('  5 of 5 stores have not been started.');
    expect(lines).toContain('  Waits until Wed 11:42 (Europe/Berlin) (in 23 h 34 min).');
    expect(lines).toContain('  edge train approve canary --plan 4f1c9a02aa31  let canary start: 5 stores');
    expect(lines).toContain('  edge train reject canary --plan 4f1c9a02aa31   do not let it start');
  });
});

describe('a train that runs', () => {
  it('shows stages with counts and every store that did not succeed with step, reason and summary', () => {
    const view = trainView({
      stages: [
        stage('canary', 5, {
          state: 'done',
          tally: tally({ succeeded: 5 }),
          startedAt: '2026-11-24T09:00:00Z',
          endedAt: '2026-11-24T09:30:00Z',
          gate: 'pass (12 checks).',
          approvedBy: 'mara',
        }),
        stage('wave-1', 50, {
          state: 'running',
          tally: tally({ succeeded: 6, failed: 1 }),
          inFlight: 3,
          deferred: 1,
          startedAt: '2026-11-24T10:00:00Z',
        }),
      ],
      notSucceeded: [failedResult()],
    });
    const lines = renderTrain(view, options);
    expect(lines[0]).toBe('Train 2026-w48, release 2026.48.0: running, since Mon 02:00 (Europe/Berlin)');
    expect(lines).toContain(
      '  canary  done     5/5   succeeded 5; gate: pass (12 checks); approved by mara; Tue 10:00, took 30 min',
    );
    expect(lines).toContain('  wave-1  running  7/50  succeeded 6, failed 1; in flight 3, deferred 1; since Tue 11:00');
    expect(lines).toContain('Not succeeded (1):');
    expect(lines).toContain('  store-033 failed at reboot n2, RebootTimeout: n2 did not come back in 5 min.');
    expect(lines).toContain('  What to do: edge runbook RebootTimeout');
  });

  it('says of each how far it came and what is left set', () => {
    const lines = renderTrain(
      trainView({ notSucceeded: [failedResult({ operationId: 'op', nodesPatched: 1, release: '2026.48.0' })] }),
      options,
    );
    const at = lines.findIndex((line) => line.startsWith('  store-033 failed'));
    expect(lines[at + 1]).toBe('    nodes finished: 1, on 2026.48.0; nothing left set');
  });

  it('says of a store that was cut off when it was begun, at which step it was, and its last good release', () => {
    const stop = { reason: 'StoreCutOff', step: 'draining n2', summary: 'The store fell silent.' } as const;
    const known = { operationId: '2026-w48/wave-1/store-033/r0', startedAt: '2026-11-24T10:00:00Z', nodesPatched: 0 };
    const cutOff = failedResult({ outcome: 'cutOff', reason: 'StoreCutOff', stop, lastGood: '2026.47.0', ...known });
    const lines = renderTrain(trainView({ notSucceeded: [cutOff] }), options);
    expect(lines).toContain('  store-033 cut off at draining n2, StoreCutOff: The store fell silent.');
    expect(lines).toContain(
      '    begun Tue 11:00 (Europe/Berlin); when last heard of, no node finished; what is left set is not known; last good release: 2026.47.0',
    );
  });

  it('says how a store is brought on that the train does not try again, and leaves that to the answers when it does', () => {
    const wave1 = stage('wave-1', 50, { tally: tally({ succeeded: 49, failed: 1 }) });
    const view = trainView({ stages: [stage('canary', 5), wave1], notSucceeded: [failedResult()] });
    const again = 'edge train start --release 2026.48.0 --stages wave-1 --fleet edge';
    const shown = (change: Partial<typeof view>) =>
      renderTrain({ ...view, ...change }, { ...options, suffix: ' --fleet edge' });
    expect(shown({})).toContain(`  This train does not try them again. When it has ended: ${again}`);
    expect(shown({ state: 'done', answers: [] })).toContain(`  To try them again: ${again}`);
    for (const answer of ['retry-failed', 'retry-offline'] as const)
      expect(shown({ state: 'held', answers: [answer, 'abort'] }).join()).not.toContain('edge train start');
    expect(shown({ awaited: ['store-033'] }).join()).not.toContain('edge train start');
  });

  it('names the stage that is paused, who paused it, and what lets it go on', () => {
    const paused = { by: 'mara', at: '2026-11-24T10:42:00Z', reason: 'stocktaking' };
    const lines = renderTrain(trainView({ stages: [stage('canary', 5, { paused }), stage('wave-1', 50)] }), options);
    expect(lines).toContain(
      'Stage canary is paused by mara since Tue 11:42 (Europe/Berlin): stocktaking. It goes on by: edge train resume --stage canary',
    );
    expect(lines.join()).not.toContain('--stage wave-1');
  });

  it('says that it waits for a store that is paused in work, and how each goes on', () => {
    const shown = (pausedInWork: string[]) =>
      renderTrain(trainView({ pausedStores: ['store-007', 'store-008'], pausedInWork }), {
        ...options,
        suffix: ' --fleet edge',
      });
    expect(shown(['store-008'])).toEqual(
      expect.arrayContaining([
        'Paused one by one: store-007 and store-008. Each goes on by: edge train resume --store store-008 --fleet edge',
        'The wave in work waits for what is paused in it, and the train for the wave: store-008',
      ]),
    );
    expect(shown([])).toContain(
      'Paused one by one: store-007 and store-008. Each goes on by: edge train resume --store store-007 --fleet edge',
    );
    expect(shown([]).join()).not.toContain('The wave in work');
  });

  it('does not list more than it can be read, but counts all', () => {
    const results = Array.from({ length: 30 }, (_, index) => failedResult({ store: `store-${index}` }));
    const lines = renderTrain(trainView({ notSucceeded: results }), options);
    expect(lines).toContain('Not succeeded (30):');
    expect(lines).toContain('  and 10 more: edge train show --all');
    const all = renderTrain(trainView({ notSucceeded: results }), { ...options, all: true }).join('\n');
    expect(results.every(({ store }) => all.includes(`${store} `))).toBe(true);
    expect(all).not.toContain('more');
  });

  it('lets nothing from outside steer the terminal', () => {
    const view = trainView({
      doing: 'ok\u001b[2Jcleared',
      refusedDecisions: [{ at: '2026-11-24T10:42:00Z', by: 'm\u001b]0;x\u0007ara', why: 'no\u202e' }],
    });
    expect(renderTrain(view, options).join('\n')).not.toMatch(/[\u001b\u202e\u0007]/);
  });
});

describe('a train that was asked to roll back', () => {
  it('shows the plan, then the commands that approve or reject exactly that plan', () => {
    const view = trainView({
      state: 'held',
      planHash,
      hold: hold({
        reason: 'ApprovalPending',
        stage: 'rollback',
        planHash: `sha256:${'b7'.repeat(32)}`,
        summary: 'The rollback (from 2026.48.0: 2 stores to 2026.47.0) waits for an approval of plan b7b7b7b7.',
        detail: ['store-001, store-002: from 2026.48.0 back to 2026.47.0'],
        answers: ['approve', 'reject', 'abort'],
      }),
      stages: [stage('canary', 5, { state: 'aborted' })],
      answers: ['approve', 'reject', 'abort'],
    });
    expect(renderQuestion(view, { ...options, columns: 200 })).toEqual([
      '  The rollback (from 2026.48.0: 2 stores to 2026.47.0) waits for an approval of plan b7b7b7b7.',
      '    store-001, store-002: from 2026.48.0 back to 2026.47.0',
      'You can:',
      '  edge train approve rollback --plan b7b7b7b7b7b7  take these stores back',
      '  edge train reject rollback --plan b7b7b7b7b7b7   take nothing back; the train stands still',
      '  edge train abort                                 end the train; stores in work reach a safe end',
    ]);
  });
});

describe('a way back that is held', () => {
  const view = trainView({
    state: 'held',
    rollingBack: true,
    deadline: undefined,
    hold: hold({ reason: 'OfflineThresholdExceeded', answers: ['retry-failed', 'skip', 'abort'] }),
    answers: ['retry-failed', 'skip', 'abort'],
  });

  it('says that a retry takes all that are not back, since it does', () => {
    const meaning = answerCommands(view, '').find(({ answer }) => answer === 'retry-failed')?.meaning;
    expect(meaning).toBe('try again whoever is not back yet, also stores that were offline');
  });
});

describe('a train that is over', () => {
  it('offers no answers, and does not count again what has an outcome', () => {
    const lines = renderTrain(trainView({ state: 'aborted', doing: 'Aborted by mara.' }), options);
    expect(lines).not.toContain('You can:');
    expect(lines.join('\n')).not.toContain('not been started');
  });
});

describe('tallyWords', () => {
  it('names only what happened', () => {
    expect(tallyWords(tally({ succeeded: 1200, cutOff: 1 }))).toBe('succeeded 1,200, cut off 1');
  });
});
