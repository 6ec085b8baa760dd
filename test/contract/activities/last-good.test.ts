import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createOperation } from '#activities/store/operation.js';
import { ROLLBACK_STAGE } from '#domain/naming.js';
import { emptyTally, type Outcome } from '#domain/outcomes.js';
import type { PermitRef } from '#domain/release.js';
import { openLedger } from '#systems/ledger/client.js';
import type { Ledger } from '#systems/ledger/types.js';
import { aManifest, anArtifact, aReleaseRef, aTask } from '../../support/builders.js';
import { databaseKinds, execute, type TestDatabase } from '../../support/databases.js';
import { aFakeStore, type FakeStore } from '../../support/fake-store.js';

/**
 * Where a rollback leads is known twice: to the ledger, by which a permit is signed, and to the store, which takes no
 * permit to anything that it has not seen to be good. Where the two differ, the way back is closed.
 */

const STORE = 'store-001';
const PERMIT = { permit: `sha256:${'e'.repeat(64)}`, bundle: `sha256:${'f'.repeat(64)}` };

let database: TestDatabase;
let ledger: Ledger;
let store: FakeStore;
/** The trains so far, by the sequence of the release that each brought. */
let trains: number[];
let operations: number;

beforeAll(async () => {
  database = await databaseKinds[0]!.create();
  ledger = await openLedger(database.url);
});
afterAll(async () => {
  await ledger.close();
  await database.drop();
});
beforeEach(async () => {
  await execute(database.url, 'TRUNCATE trains, stages, results, approvals');
  store = aFakeStore();
  for (let sequence = 46; sequence < 56; sequence += 1)
    store.releases.set(aReleaseRef(sequence).manifest, {
      manifest: aManifest({ version: `2026.${sequence}.0`, sequence }),
      artifact: anArtifact(),
    });
  [trains, operations] = [[], 0];
});

const idOf = (train: number): string => `train-${train}`;

/** Where the store stands with its last good release when it was taken, or why it was not. */
async function operate(train: number, stage: string, release: number, outcome: string, permit?: PermitRef) {
  operations += 1;
  const operationId = `${idOf(train)}/${stage}/${STORE}/r${operations}`;
  const names = { train: idOf(train), stage, operationId, fence: operations };
  const task = aTask({ ...names, release: aReleaseRef(release), ...(permit ? { permit } : {}) });
  // A worker that was started anew goes by what is on its disk.
  const operation = createOperation(store.deps);
  const opened = await operation.open(task);
  if (opened.kind !== 'done') return `refused: ${opened.stop.summary}`;
  await operation.close(task, outcome);
  return `last good: ${opened.lastGood}`;
}

async function record(train: number, stage: string, outcome: Outcome, state: string): Promise<void> {
  const position = stage === ROLLBACK_STAGE ? 1 : 0;
  await ledger.recordStage({ train: idOf(train), stage, position, stores: 1, state, tally: emptyTally() });
  await ledger.recordResults(idOf(train), stage, operations, [{ store: STORE, outcome }]);
}

/** The stage soaked and passed its gate: both are told. */
async function confirm(train: number, sequence: number): Promise<void> {
  const at = '2026-11-25T11:00:00Z';
  desire(sequence, { release: aReleaseRef(sequence), at });
  await ledger.confirmResults(idOf(train), 'canary', [STORE], at);
}

/** The store's desired record, as the control worker writes it: what soaked once stays in it. */
function desire(sequence: number, soaked = store.desired?.soaked): void {
  store.desired = {
    ...{ schema: 'edge.desired/v1', store: STORE, release: aReleaseRef(sequence), train: 'train', stage: 'canary' },
    ...{ commit: 'a'.repeat(40), expires: '2026-12-01T00:00:00Z', ...(soaked ? { soaked } : {}) },
  };
}

async function bring(
  sequence: number,
  outcome: 'succeeded' | 'failed',
  state: string,
  isConfirmed = state === 'done',
): Promise<void> {
  const train = trains.push(sequence) - 1;
  const { version, ...rest } = aReleaseRef(sequence);
  const startedAt = new Date(Date.UTC(2026, 0, 1 + 7 * train)).toISOString();
  await ledger.recordTrain({ id: idOf(train), fleet: 'edge', release: version, ...rest, state: 'done', startedAt });
  desire(sequence);
  expect(await operate(train, 'canary', sequence, outcome)).toMatch(/^last good/);
  await record(train, 'canary', outcome, state);
  if (isConfirmed) await confirm(train, sequence);
  await createOperation(store.deps).learnLastGood();
}

/** Goes where the ledger says, and tells where that is when the store agrees. */
async function goBack(sequence: number, outcome: 'rolledBack' | 'failed'): Promise<string> {
  const train = trains.lastIndexOf(sequence);
  const [good] = await ledger.lastGoodBefore(idOf(train));
  const target = good!.release!;
  desire(target.sequence);
  const end = outcome === 'failed' ? 'failed' : 'succeeded';
  const answer = await operate(train, ROLLBACK_STAGE, target.sequence, end, PERMIT);
  await record(train, ROLLBACK_STAGE, outcome, 'done');
  return answer === `last good: ${target.version}` ? `to ${target.sequence}` : `to ${target.sequence}: ${answer}`;
}

type Step = (sequence: number) => Promise<string | void>;

const soaks: Step = (sequence) => bring(sequence, 'succeeded', 'done');
const runs: Step = (sequence) => bring(sequence, 'succeeded', 'held');
const goesOnUnproven: Step = (sequence) => bring(sequence, 'succeeded', 'done', false);
const fails: Step = (sequence) => bring(sequence, 'failed', 'held');
const isTakenBack: Step = (sequence) => goBack(sequence, 'rolledBack');
const failsToGoBack: Step = (sequence) => goBack(sequence, 'failed');
const isTakenBackUnheard: Step = (sequence) => record(trains.lastIndexOf(sequence), ROLLBACK_STAGE, 'offline', 'done');

describe('ledger and store name the same release to go back to', () => {
  it.each<[string, [number, Step][], string[]]>([
    [
      'past a release whose stage people let go on without proof',
      [
        [48, soaks],
        [50, goesOnUnproven],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48'],
    ],
    [
      'from a release that two trains brought, and then from the next one',
      [
        [48, soaks],
        [50, soaks],
        [50, soaks],
        [50, isTakenBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'from a release that had soaked, and then from the next one',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'from a release that had soaked, and then from one that ran and had not',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBack],
        [51, runs],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'from a release that had soaked, and then from one that failed',
      [
        [47, soaks],
        [48, soaks],
        [48, isTakenBack],
        [49, fails],
        [49, isTakenBack],
      ],
      ['to 47', 'to 47'],
    ],
    [
      'from a release that had not soaked, and then from the next one',
      [
        [48, soaks],
        [50, runs],
        [50, isTakenBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'twice in a row, over two releases that had soaked',
      [
        [47, soaks],
        [48, soaks],
        [50, soaks],
        [50, isTakenBack],
        [48, isTakenBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 47', 'to 47'],
    ],
    [
      'from a release that was taken back, came again and soaked',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBack],
        [50, soaks],
        [51, runs],
        [51, isTakenBack],
        [50, isTakenBack],
      ],
      ['to 48', 'to 50', 'to 48'],
    ],
    [
      'when the way back fails half-way and is gone again',
      [
        [48, soaks],
        [50, soaks],
        [50, failsToGoBack],
        [50, isTakenBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48', 'to 48'],
    ],
    [
      'when the way back fails half-way and the next release comes instead',
      [
        [48, soaks],
        [50, soaks],
        [50, failsToGoBack],
        [51, runs],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'when the way back fails half-way and the next release soaks instead',
      [
        [48, soaks],
        [50, soaks],
        [50, failsToGoBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'when the store was away while a release was taken back',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBackUnheard],
        [51, runs],
        [51, isTakenBack],
      ],
      ['to 48'],
    ],
  ])('%s', async (_, steps, answers) => {
    const given: string[] = [];
    for (const [sequence, step] of steps) {
      const answer = await step(sequence);
      if (answer) given.push(answer);
    }
    expect(given).toEqual(answers);
  });
});
