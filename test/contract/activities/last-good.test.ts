import { generateKeyPairSync } from 'node:crypto';
import { tmpdir } from 'node:os';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createControlActivities } from '#activities/control.js';
import { createOperation } from '#activities/store/operation.js';
import type { ControlActivities } from '#domain/messages/train.js';
import { ROLLBACK_STAGE } from '#domain/naming.js';
import { emptyTally, type Outcome } from '#domain/outcomes.js';
import { desiredPointer, type DesiredRecord, type PermitRef } from '#domain/release.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openLedger } from '#systems/ledger/client.js';
import type { Ledger } from '#systems/ledger/types.js';
import { loadSigningKey } from '#systems/release/sign.js';
import { createReleaseVerifier } from '#systems/release/verify.js';
import { aManifest, anArtifact, aReleaseRef, aTask } from '../../support/builders.js';
import { databaseKinds, execute, type TestDatabase } from '../../support/databases.js';
import { aFakeStore, type FakeStore } from '../../support/fake-store.js';
import { memoryObjects, type MemoryObjects } from '../../support/memory-objects.js';

/**
 * Where a rollback leads is known twice: to the ledger, by which a permit is signed, and to the store, which takes no
 * permit to anything that it has not seen to be good. Where the two differ, the way back is closed.
 */

const STORE = 'store-001';
const PERMIT = { permit: `sha256:${'e'.repeat(64)}`, bundle: `sha256:${'f'.repeat(64)}` };

let database: TestDatabase;
let ledger: Ledger;
let store: FakeStore;
/** All that the store hears of the centre. */
let objects: MemoryObjects;
let control: ControlActivities;
/** The trains so far, by the sequence of the release that each brought. */
let trains: number[];
let operations: number;

const environment = new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') });
const pem = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  .privateKey.export({ type: 'pkcs8', format: 'pem' })
  .toString();

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
  objects = memoryObjects();
  control = createControlActivities({
    // Nothing here asks Git.
    repo: openGitRepo({ dir: tmpdir() }),
    branch: 'main',
    objects,
    ledger,
    isRunning: () => Promise.resolve(false),
    nightCares: () => Promise.resolve([]),
    inWork: () => Promise.resolve([]),
    tell: () => Promise.resolve(),
    now: () => new Date('2026-11-25T11:00:00Z'),
  });
  store = aFakeStore();
  const { desired, withdrawn } = createReleaseVerifier({ registry: objects, keys: [loadSigningKey(pem)] });
  Object.assign(store.deps.verifier, { desired, withdrawn });
  for (let sequence = 46; sequence < 56; sequence += 1)
    store.releases.set(aReleaseRef(sequence).manifest, {
      manifest: aManifest({ version: `2026.${sequence}.0`, sequence }),
      artifact: anArtifact(),
    });
  [trains, operations] = [[], 0];
});

/** Each activity as the worker runs it. */
const run = <I, O>(activity: (input: I) => Promise<O>, input: I): Promise<O> => environment.run(activity, input);

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
  const results = [{ store: STORE, outcome }];
  await run(control.record, { kind: 'results', train: idOf(train), stage, round: operations, results });
}

/** The stage soaked and passed its gate: both are told. */
async function confirm(train: number, sequence: number): Promise<void> {
  const names = { train: idOf(train), stage: 'canary', release: aReleaseRef(sequence) };
  const { left } = await run(control.confirmStage, {
    ...names,
    stores: [STORE],
    soakedAt: '2026-11-25T11:00:00Z',
  });
  expect(left).toEqual([]);
}

/** The store's desired record, as the control worker writes it: what soaked once stays in it. */
async function desire(train: number, stage: string, sequence: number): Promise<void> {
  const before = JSON.parse((await objects.getPointer(desiredPointer(STORE), 16_000))?.toString() ?? '{}') as {
    soaked?: DesiredRecord['soaked'];
  };
  const record: DesiredRecord = {
    ...{ schema: 'edge.desired/v1', store: STORE, release: aReleaseRef(sequence), train: idOf(train), stage },
    ...{ commit: 'a'.repeat(40), expires: '2026-12-01T00:00:00Z', soaked: before.soaked },
  };
  await objects.setPointer(desiredPointer(STORE), Buffer.from(JSON.stringify(record)));
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
  await desire(train, 'canary', sequence);
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
  await desire(train, ROLLBACK_STAGE, target.sequence);
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
/** The rollback lists the store, and nothing is done to it. */
const isListed =
  (outcome: Outcome): Step =>
  async (sequence) => {
    const train = trains.lastIndexOf(sequence);
    await record(train, ROLLBACK_STAGE, outcome, 'done');
    await desire(train, ROLLBACK_STAGE, sequence - 1);
  };
const isTakenBackUnheard = isListed('offline');
const isAbortedBeforeItsTurn = isListed('aborted');
const isBusy = isListed('skipped');

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
    [
      'when the store was away while a release was taken back, and the next one soaked',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBackUnheard],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48'],
    ],
    [
      'when people kept the store out of a rollback, and the next release soaked',
      [
        [48, soaks],
        [50, soaks],
        [50, isAbortedBeforeItsTurn],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48'],
    ],
    [
      'when the store was busy while a release was taken back, and the next two soaked',
      [
        [48, soaks],
        [50, soaks],
        [50, isBusy],
        [51, soaks],
        [52, soaks],
        [52, isTakenBack],
        [51, isTakenBack],
      ],
      ['to 51', 'to 48'],
    ],
    [
      'when the store was away while a release was taken back, and is taken back later',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBackUnheard],
        [50, isTakenBack],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
    ],
    [
      'when the store was away while a release was taken back that came again and soaked',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBackUnheard],
        [50, soaks],
        [51, soaks],
        [51, isTakenBack],
        [50, isTakenBack],
      ],
      ['to 50', 'to 48'],
    ],
    [
      'when the store was away while a release was taken back that came again and failed',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBackUnheard],
        [50, fails],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48'],
    ],
    [
      'when a release was taken back, came again and went on without proof',
      [
        [48, soaks],
        [50, soaks],
        [50, isTakenBack],
        [50, goesOnUnproven],
        [51, soaks],
        [51, isTakenBack],
      ],
      ['to 48', 'to 48'],
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
