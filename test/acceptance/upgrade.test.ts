import type { WorkflowHandle } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { controlVersions, whyNothingMoves } from '#client/control-versions.js';
import { waveWorkflowId } from '#domain/naming.js';
import { copyOfBuild, replacedOnce, type NextBuild } from '../support/next-build.js';
import { countByNode, givenPractice, type Practice } from '../support/practice.js';

/** The control worker is replaced by another build while a train is under way. Judged by the practice fleet's journal. */
const ONCE = { n1: 1, n2: 1, n3: 1 };
const STORES = ['store-001', 'store-002'];
const PATCH = 'a-moment-before-the-soak';

type History = Awaited<ReturnType<WorkflowHandle['fetchHistory']>>;

let build: NextBuild;
let practice: Practice;
beforeAll(async () => {
  build = await copyOfBuild();
  practice = await givenPractice({ stores: 2, build: build.dist });
});
afterAll(async () => {
  await practice?.stop();
  await build?.remove();
});

/** The next version of the workflows: a train waits a moment more, and only where that is news to its history. */
async function buildTheNext(): Promise<void> {
  const code = await build.bundle();
  const before = 'await desk.wait(left, stage.name);';
  const [, sdk] =
    /_temporalio_workflow__WEBPACK_IMPORTED_MODULE_\d+__ = (__webpack_require__\([^)]*\))/.exec(code) ?? [];
  expect(sdk, 'the SDK stands in the bundle').toBeDefined();
  const next = `if (${sdk}.patched('${PATCH}')) await desk.wait(20, stage.name);\n    ${before}`;
  await build.replaceBundle(replacedOnce(code, before, next));
}

const runBy = async (workflowId: string): Promise<string | undefined> => {
  const { raw } = await practice.client.workflow.getHandle(workflowId).describe();
  return raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId ?? undefined;
};

/** The names of the patches whose new code a workflow took. */
const patchesIn = (events: History['events']): string[] =>
  (events ?? [])
    .flatMap(({ markerRecordedEventAttributes: marker }) => marker?.details?.['patch-data']?.payloads ?? [])
    .map(({ data }) => (JSON.parse(Buffer.from(data ?? []).toString()) as { id: string }).id);

describe('a control worker that is replaced by another build in the middle of a train', () => {
  it('goes on with the train, its wave and its store, which move to the new build, and nothing is done twice', async () => {
    const old = await build.buildId();
    const handle = await practice.startTrain();
    const riding = practice.ride(handle);
    const { store } = await practice.seen('packages to be installed', ({ effect }) => effect === 'packages.begin');
    const { train = '' } = await practice.view();
    const underWay = ['train/practice', waveWorkflowId(train, 'canary', 0, 0), `store/${store}`];
    for (const id of underWay) expect([id, await runBy(id)]).toEqual([id, old]);

    await buildTheNext();
    const next = await build.buildId();
    expect(next).not.toBe(old);
    practice.service.kill('control', 'SIGKILL');

    expect(await riding).toMatchObject({ state: 'done', tally: { succeeded: 2 } });
    for (const id of underWay) expect([id, await runBy(id)]).toEqual([id, next]);
    const { events } = await handle.fetchHistory();
    expect(whyNothingMoves(await controlVersions(practice.client))).toBeUndefined();
    expect(patchesIn(events), 'the new code was taken').toContain(PATCH);
    for (const each of STORES) {
      const entries = await practice.effects(each);
      for (const effect of ['unit.start', 'packages.install', 'node.down', 'node.up'])
        expect({ [effect]: countByNode(entries, effect) }).toEqual({ [effect]: ONCE });
    }
    expect(await practice.violations()).toEqual([]);
  });
});
