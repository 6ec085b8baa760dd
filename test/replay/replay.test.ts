import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import * as workflows from '#workflows/index.js';
import { HISTORIES, patchesOf, readHistory } from './history.js';

/**
 * Trains run for days and workers are updated under them: what was recorded must still lead the same way. A failure here
 * means that running workflows would get stuck; give the change a `patched()` branch, do not record the history anew.
 */

const shapes = readdirSync(HISTORIES)
  .filter((file) => file.endsWith('.json'))
  .map((file) => file.replace(/\.json$/, ''));

beforeAll(() => {
  // A replay that is meant to fail says so at length otherwise.
  Runtime.install({
    logger: new DefaultLogger('ERROR', () => undefined),
    telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } },
  });
});

describe('the workflows of this build', () => {
  it.each(shapes)('still go the way of %s', async (shape) => {
    const workflowBundle = { codePath: inject('workflowBundlePath') };
    await expect(Worker.runReplayHistory({ workflowBundle }, readHistory(shape))).resolves.toBeUndefined();
  });

  it('are held against every workflow there is', () => {
    const types = new Set(
      shapes.map(
        (shape) => readHistory(shape).events?.[0]?.workflowExecutionStartedEventAttributes?.workflowType?.name,
      ),
    );
    expect([...types].toSorted()).toEqual(Object.keys(workflows).toSorted());
  });
});

describe('every change that stands behind `patched()`', () => {
  const dir = join(import.meta.dirname, '..', '..', 'workflows');
  const source = readdirSync(dir)
    .map((file) => readFileSync(join(dir, file), 'utf8'))
    .join('\n');
  const calls = source.match(/\bpatched\(/g) ?? [];
  const names = [...source.matchAll(/\bpatched\((['"])([^'"]+)\1\)/g)].map(([, , name]) => name as string);
  const recorded = new Set(shapes.flatMap((shape) => patchesOf(readHistory(shape).events ?? [])));

  it('is named where it stands', () => {
    expect(names).toHaveLength(calls.length);
    expect(names).not.toEqual([]);
  });

  // Without one, nothing holds the new way to what trains under it have written down.
  it.each([...new Set(names)].toSorted())('has a history that went the new way: %s', (name) => {
    expect(recorded).toContain(name);
  });
});

describe('a changed workflow', () => {
  it.each([
    [
      'patch-store-calm',
      'a step that is left out',
      'longTask.rejoinNode.executeWithOptions',
      'Promise.resolve.bind(Promise)',
    ],
    [
      'patch-store-calm',
      'another step in its place',
      'mutate.applyConfig.executeWithOptions',
      'read.verifyStore.executeWithOptions',
    ],
    ['patch-train-calm', 'a wait that is left out', 'await desk.wait(left, stage.name)', 'await Promise.resolve()'],
    [
      'patch-train-stage-aborted',
      'a wait that an abort of its stage no longer ends',
      'until(() => isStageAborted(stage) || !isWanted(), milliseconds)',
      'until(() => !isWanted(), milliseconds)',
    ],
    [
      'patch-train-held-labelled',
      'a reason of a hold that is no longer shown',
      'reason: view.hold?.reason ?? endedFor',
      'reason: endedFor',
    ],
    ['patch-store-heartbeat-lost', 'a heartbeat that ends its step', '(lost, hasTime())', '(9, false)'],
    [
      'patch-store-paused-long',
      'a pause in which the store hears nothing',
      'sayThatItLives() : undefined',
      'undefined : undefined',
    ],
    [
      'patch-store-paused-in-time-not-counted',
      'a pause that counts against the time for the store',
      ".patched)('paused-time-not-counted')",
      ".patched)('paused-time-not-counted') && false",
    ],
    [
      'backup-store-slot-free',
      'a slot that is kept at the central server',
      ".patched)('slot-free-at-centre')",
      ".patched)('slot-free-at-centre') && false",
    ],
    ['wave-slot-free', 'a slot that is free and given to nobody', 'withoutSlot.add(store)', 'undefined'],
    [
      'patch-train-caught-up-late',
      'a greeting that is repeated at once',
      ".patched)('greeting-pauses')",
      ".patched)('greeting-pauses') && false",
    ],
    [
      'patch-train-caught-up-late',
      'a paused store that is taken all the same',
      ".patched)('paused-stay-out')",
      ".patched)('paused-stay-out') && false",
    ],
    [
      'patch-train-held-in-catch-up',
      'a round that goes on while the train is held',
      ".patched)('held-stands-still')",
      ".patched)('held-stands-still') && false",
    ],
    [
      'patch-train-held-in-catch-up',
      'a breach of stores that came back and holds nobody',
      "breach && breach.reason !== 'StageAborted'",
      'false',
    ],
    [
      'patch-train-catch-up-windows',
      'windows that are not read again when the turn comes',
      'const isOld = ',
      'const isOld = false && ',
    ],
    [
      'patch-train-catch-up-windows',
      'a store that is aborted and awaited all the same',
      ".patched)('aborted-not-awaited')",
      ".patched)('aborted-not-awaited') && false",
    ],
    [
      'patch-train-own-window',
      'a round that is not put off to the window of its store',
      'ahead.length < members.length || ',
      'true || ',
    ],
    ['wave-handed-back', 'a pause that counts against the time for the stage', '!pauses.hasRun() || ', 'true || '],
    [
      'patch-train-calm-recorded-first',
      'a decision that nobody writes down',
      '.recordDecision)(rowOf(taken))',
      '.messageOf)(rowOf(taken))',
    ],
    [
      'rollback-train-awaits',
      'stores that are away on the way back and are not awaited',
      'await desk.until(() => isFinished() || ready().length > 0, left)',
      'await Promise.resolve()',
    ],
    [
      'rollback-train-steered',
      'a store that people aborted and are asked about',
      ".patched)('aborted-stay-out-of-rollback')",
      ".patched)('aborted-stay-out-of-rollback') && false",
    ],
    [
      'rollback-train-steered',
      'a round on the way back that is not told that nobody is waited for',
      ".patched)('finish-ends-rollback')",
      ".patched)('finish-ends-rollback') && false",
    ],
    [
      'patch-train-spared-in-rollback',
      'an abort forgotten that was said since the way back was asked for',
      ".patched)('aborts-since-asked-back')",
      ".patched)('aborts-since-asked-back') && false",
    ],
    [
      'rollback-train-skipped',
      'a skip on the way back that leaves those out who had not begun',
      ".patched)('skip-takes-back-the-others')",
      ".patched)('skip-takes-back-the-others') || true",
    ],
    [
      'patch-train-broken-wave',
      'a wave that breaks off and of whose stores nothing is written down',
      '.resultsOfBroken)(error, members)',
      '.resultsOfBroken)(error, [])',
    ],
    [
      'wave-cancelled',
      'a wave that is ended from outside and writes nothing down',
      ".patched)('cancelled-wave-records')",
      ".patched)('cancelled-wave-records') || true",
    ],
    [
      'patch-train-unplanned',
      'a train that cannot be planned and is not written down',
      ".patched)('unopened-told')",
      ".patched)('unopened-told') && false",
    ],
    [
      'patch-train-unplanned-back',
      'a way back that cannot be planned and ends its train',
      ".patched)('unplanned-way-back-holds')",
      ".patched)('unplanned-way-back-holds') || true",
    ],
    [
      'patch-train-undo-pending',
      'a store that is silent at the end and of which that is not written down',
      ".patched)('undo-pending-at-end')",
      ".patched)('undo-pending-at-end') && false",
    ],
    [
      'rollback-train-paused',
      'a stage that people paused and others are called for',
      ".patched)('paused-is-not-silent')",
      ".patched)('paused-is-not-silent') && false",
    ],
    [
      'patch-train-failure-stays',
      'a failure that a retry may hide',
      'after === result || failuresStay() ? after : result',
      'result',
    ],
    [
      'patch-train-kept-out',
      'a store that is kept out and greeted at once',
      ".patched)('kept-out-pauses')",
      ".patched)('kept-out-pauses') && false",
    ],
    [
      'patch-train-gate-wants-facts',
      'a gate that passes for want of facts',
      "verdict.lacks !== 'answers' && ",
      "verdict.lacks !== 'answers' || ",
    ],
    [
      'patch-train-soaks-in-full',
      'a store that came back in the soak and is measured at its end',
      'done.length === members.length || ',
      'true || ',
    ],
    [
      'patch-train-late-pilot',
      'a policy that takes proven stages back',
      ".patched)('policy-ends-with-first-stage')",
      ".patched)('policy-ends-with-first-stage') && false",
    ],
    [
      'patch-train-retried-awaited',
      'a store that fell away at the gate and is not awaited',
      ".patched)('retried-are-awaited')",
      ".patched)('retried-are-awaited') && false",
    ],
    [
      'patch-train-finished',
      'a wave that is not told that nobody is waited for',
      'isEnding() && { handBack: true }',
      'false && { handBack: true }',
    ],
    ['wave-finished', 'a store that is begun although nobody is waited for', '!steering.handBack || ', 'true || '],
    ['patch-train-deadline', 'a deadline that does not end the stage in work', '|| deadlineReached()', '|| false'],
    [
      'patch-train-steered-early',
      'steering that is lost when the wave is not there yet',
      ".patched)('steering-arrives')",
      ".patched)('steering-arrives') && false",
    ],
    [
      'wave-steered',
      'a message to a store that may overtake the one before',
      'before && waits() ? before.then(send) : Promise.all',
      'Promise.all',
    ],
    ['wave-breached', 'a breach after which further stores are begun', '!aborted && !breach', '!aborted'],
    ['wave-deferred', 'a backup that is not asked to make way', 'way.askFor(store.id)', 'undefined'],
    [
      'wave-called',
      'a store that is given up though its backup is to call',
      ".patched)('waits-to-be-called')",
      ".patched)('waits-to-be-called') && false",
    ],
    [
      'wave-way-given-back',
      'a backup that stands back for a wave that people let stand still',
      ".patched)('way-given-back')",
      ".patched)('way-given-back') && false",
    ],
    ['wave-asks-again', 'a backup that is asked once, before it was there', "if (before === 'called')", 'if (before)'],
    ['wave-busy', 'a backup that is not told that it need not stand back', 'if (asked.delete(store))', 'if (false)'],
    [
      'janitor-concerns',
      'a look that leaves the backups out',
      ".patched)('backup-concerns')",
      ".patched)('backup-concerns') && false",
    ],
    [
      'backup-store-refused-later',
      'a refused try that is asked for again',
      ".patched)('refusals-counted')",
      ".patched)('refusals-counted') && false",
    ],
    [
      'backup-store-refused-later',
      'groups that are proven and not pruned',
      ".patched)('prune-proven')",
      ".patched)('prune-proven') && false",
    ],
    [
      'backup-store-half-sent',
      'what was sent and is proven by nobody',
      ".patched)('what-arrived-is-proven')",
      ".patched)('what-arrived-is-proven') || true",
    ],
    [
      'backup-store-refused',
      'a refused night of which nothing is recorded',
      ".patched)('recorded-without-a-list')",
      ".patched)('recorded-without-a-list') || true",
    ],
    [
      'backup-store-one-name',
      'a second place that is pruned though nobody knows what it has verified',
      ".patched)('servers-told-apart')",
      ".patched)('servers-told-apart') && false",
    ],
    [
      'backup-store-proven-before-sent',
      'a copy that is sent before it is proven',
      ".patched)('proven-before-sent')",
      ".patched)('proven-before-sent') && false",
    ],
    [
      'backup-store-proven-before-sent',
      'a server whose name is not read although its verification does not tell it',
      '|| !answer?.ok || ',
      '|| true || ',
    ],
    [
      'backup-store-pruned-by-list',
      'groups that are pruned by the words of the steps',
      ".patched)('pruned-by-list')",
      ".patched)('pruned-by-list') && false",
    ],
    [
      'backup-store-another-key',
      'a new key of which nobody is told',
      ".patched)('key-change-told')",
      ".patched)('key-change-told') && false",
    ],
    [
      'backup-store-night-over',
      'a night that waits for whoever is in work',
      'return isOver ? undefined : workUntil(reached, work)',
      'return work()',
    ],
    [
      'backup-store-night-over',
      'what is proven at the store and is recorded only when it is sent',
      ".patched)('recorded-before-sent')",
      ".patched)('recorded-before-sent') || true",
    ],
    [
      'backup-store-ledger-away',
      'a night that waits for the ledger before it sends',
      ".patched)('early-record-limited')",
      ".patched)('early-record-limited') || true",
    ],
    [
      'nightly-backup-night-over',
      'a collection that is not begun in a night that is over',
      'await end.lastly(() => ',
      'await Promise.resolve(() => ',
    ],
    [
      'backup-store-template',
      'a template that is taken for a guest that is dumped',
      ".patched)('templates-are-missed')",
      ".patched)('templates-are-missed') && false",
    ],
    ['backup-store-late', 'dumps that are proven by nobody', 'stopping.isAborted || ', 'true || '],
    ['backup-store-collects-when-due', 'space that is not collected', '!local?.isCollectionDue || ', 'true || '],
    [
      'backup-store-lists-nobody',
      'a list of nobody that is recorded',
      ".patched)('empty-list-not-recorded')",
      ".patched)('empty-list-not-recorded') && false",
    ],
    [
      'nightly-backup-unplanned',
      'a night without a plan that no history has',
      ".patched)('unplanned-recorded')",
      ".patched)('unplanned-recorded') && false",
    ],
    [
      'nightly-backup-refused',
      'a refused token of which people hear when the night is over',
      ".patched)('refusal-told-at-once')",
      ".patched)('refusal-told-at-once') || true",
    ],
    [
      'janitor-staging',
      'a staging site that is left as it is',
      ".patched)('staging-sweep')",
      ".patched)('staging-sweep') || true",
    ],
    [
      'restore-test-asks-who-is-tried',
      'a staging site that is swept without asking who is tried',
      ".patched)('sweep-asks-who-is-tried')",
      ".patched)('sweep-asks-who-is-tried') && false",
    ],
    [
      'restore-store',
      'a guest that is left at the site',
      'mutate.removeGuest(task)',
      'Promise.resolve({ kind: "done" })',
    ],
  ])('fails the replay of %s: %s', async (shape, _, before, after) => {
    const code = readFileSync(inject('workflowBundlePath'), 'utf8');
    expect(code.split(before).length, `${before} stands in the bundle once`).toBe(2);
    const workflowBundle = { code: code.replace(before, after) };
    await expect(Worker.runReplayHistory({ workflowBundle }, readHistory(shape))).rejects.toMatchObject({
      name: 'DeterminismViolationError',
    });
  });
});
