import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { PROTOCOL } from '#domain/messages/store.js';
import { copyOfBuild, replacedOnce, type NextBuild } from '../support/next-build.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/** Given a centre that was updated, and a store whose worker was not. Judged by the practice fleet's journal. */
const ONCE = { n1: 1, n2: 1, n3: 1 };
const STORES = ['store-001', 'store-002', 'store-003'];
const NEXT = PROTOCOL + 1;

let build: NextBuild;
let practice: Practice;
let old: string;
let updated: string[];
beforeAll(async () => {
  build = await copyOfBuild();
  practice = await givenPractice({ stores: 3, ownProcess: STORES, build: build.dist });
  const stages = await practice.stages();
  old = stages['rest']?.[0] ?? '';
  updated = STORES.filter((store) => store !== old);
  await buildTheNext();
  await Promise.all(['control', ...updated.map(workerOf)].map(startAgain));
});
afterAll(async () => {
  await practice?.stop();
  await build?.remove();
});

const workerOf = (store: string) => `store:${store}`;

/** The next version: what is said to stores has changed its meaning, and workers of that version understand both. */
async function buildTheNext(): Promise<void> {
  const needs = [`const PROTOCOL = ${PROTOCOL};`, `const PROTOCOL = ${NEXT};`] as const;
  const speaks = [`{ min: ${PROTOCOL}, max: ${PROTOCOL} }`, `{ min: ${PROTOCOL}, max: ${NEXT} }`] as const;
  const next = (code: string) => replacedOnce(replacedOnce(code, ...needs), ...speaks);
  await build.replaceBundle(next(await build.bundle()));
  await build.replace('domain/messages/store.js', next);
}

/** Ends the process; what comes back is of the build as it is now. */
async function startAgain(name: string): Promise<void> {
  const before = practice.pid(name);
  expect(practice.service.kill(name, 'SIGKILL')).toBe(true);
  await practice.eventually(`another ${name}`, () => {
    try {
      return Promise.resolve(practice.pid(name) === before ? undefined : true);
    } catch {
      return Promise.resolve(undefined);
    }
  });
}

const memoryOf = (store: string, file: string) =>
  readFile(join(practice.dir, 'edge', 'lab', 'workers', store, file), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });

async function expectPatchedOnce(store: string): Promise<void> {
  const entries = await practice.effects(store);
  for (const effect of ['unit.start', 'packages.install', 'node.down', 'node.up'])
    expect({ store, [effect]: countByNode(entries, effect) }).toEqual({ store, [effect]: ONCE });
}

describe('a store whose worker is too old for the centre', () => {
  it('is skipped for that and untouched, while the others go on', async () => {
    const report = await practice.ride(await practice.startTrain());
    expect(report).toMatchObject({ state: 'done', planned: 3, tally: { succeeded: 2, skipped: 1 } });
    const { notSucceeded } = await practice.view();
    expect(notSucceeded).toMatchObject([{ store: old, outcome: 'skipped', reason: 'WorkerTooOld' }]);
    expect(notSucceeded[0]?.stop?.summary).toBe(
      `The store worker speaks protocol ${PROTOCOL} to ${PROTOCOL}, this operation needs ${NEXT}.`,
    );

    expect(await practice.effects(old)).toEqual([]);
    expect(await memoryOf(old, 'operation.json')).toBe('');
    expect(await memoryOf(old, 'steps.jsonl')).toBe('');
    for (const store of updated) {
      await expectPatchedOnce(store);
      expect(JSON.parse(await memoryOf(store, 'operation.json'))).toMatchObject({ open: false });
    }
    expect(await practice.violations()).toEqual([]);
  });

  it('is taken by the next train once it is updated, and the others are left as they are', async () => {
    await startAgain(workerOf(old));
    const { release } = await practice.view();
    const again = await practice.startTrain({ release });
    expect(await practice.ride(again)).toMatchObject({ state: 'done', tally: { succeeded: 3, skipped: 0 } });
    for (const store of STORES) await expectPatchedOnce(store);
    expect(await practice.violations()).toEqual([]);
  });
});
