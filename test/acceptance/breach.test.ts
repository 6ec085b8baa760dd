import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LabEntry } from '#client/cli/lab-client.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/**
 * A stage that breaches a threshold: two stores at a time, no failure and no offline store allowed. Times are those of
 * the practice fleet's journal.
 */
const ONCE = { n1: 1, n2: 1, n3: 1 };
/** From the breach to no further store touched, in milliseconds. */
const AT_ONCE = 1_000;

let practice: Practice;
let stores: string[];
beforeAll(async () => {
  practice = await givenPractice({
    stores: 5,
    edit: (fleet) => {
      for (const stage of fleet.stages) {
        stage.approval = { required: false };
        stage.limits = {
          ...stage.limits,
          maxConcurrency: 2,
          errorThreshold: { count: 0 },
          offlineThreshold: { count: 0 },
        };
      }
    },
  });
  const stages = await practice.stages();
  stores = stages['rest'] as string[];
});
afterAll(() => practice?.stop());

const touchesLaterThan = async (untouched: string[], breach: LabEntry): Promise<string[]> => {
  const limit = Date.parse(breach.at) + AT_ONCE;
  const effects = await Promise.all(untouched.map((store) => practice.effects(store)));
  return effects
    .flat()
    .flatMap(({ store, effect, at }) => (Date.parse(at) > limit ? [`${store} ${effect} ${at}`] : []));
};
/** The last effect at a store that failed: what comes after it is news to the train, so this is before the breach. */
const lastAt = async (store: string): Promise<LabEntry> => (await practice.effects(store)).at(-1) as LabEntry;

describe('a stage that breaches its threshold', () => {
  it('touches no further store from that second on, and what is in flight reaches its end safely', async () => {
    const [failing, inFlight, ...untouched] = stores as [string, string, string, string];
    await practice.lab.addFault({ id: 'apt', store: failing, kind: 'apt-fail', times: 1 });
    await practice.startTrain();
    const held = await practice.until('the train to hold', ({ hold }) => hold?.reason === 'ErrorThresholdExceeded');
    const breach = await lastAt(failing);
    const after = (await practice.effects(inFlight)).filter(({ seq }) => seq > breach.seq);
    expect(countByNode(after, 'node.up'), 'work went on beside the breach').not.toEqual({});
    expect(countByNode(await practice.effects(inFlight), 'node.up')).toEqual(ONCE);
    expect(await touchesLaterThan(untouched, breach)).toEqual([]);
    for (const store of untouched) expect(await practice.effects(store)).toEqual([]);
    expect(held).toMatchObject({
      answers: ['retry-failed', 'retry-offline', 'skip', 'rollback', 'pause', 'abort'],
      notSucceeded: [{ store: failing, outcome: 'failed', reason: 'UpgradeFailed' }],
    });
    expect(held.stages[1]).toMatchObject({ tally: { succeeded: 1, failed: 1 } });
  });
});
