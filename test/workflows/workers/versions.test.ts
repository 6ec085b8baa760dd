import { randomUUID } from 'node:crypto';
import { NativeConnection, Worker } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { controlVersions, makeControlCurrent, whyNothingMoves } from '#client/control-versions.js';
import { CONTROL_DEPLOYMENT, CONTROL_QUEUE } from '#domain/naming.js';
import { readVersions, takeOver } from '#workers/versions.js';
import { connectTemporal, type TestTemporal } from '../../support/temporal.js';
import { eventually } from '../../support/workflow-harness.js';

/** Two builds of the control worker on a real server, one after the other. No other test has versions in this namespace. */
const [OLD, NEW] = ['old-build', 'new-build'];

let temporal: TestTemporal;
const connections: NativeConnection[] = [];
const running: { worker: Worker; end: Promise<void> }[] = [];
beforeAll(async () => {
  temporal = await connectTemporal();
});
afterAll(async () => {
  for (const { worker } of running) worker.shutdown();
  await Promise.all(running.map(({ end }) => end));
  await Promise.all(connections.map((connection) => connection.close()));
  await temporal.close();
});

/** Starts a control worker of this build and lets it do what `EDGE_TAKE_OVER` says. Returns what it said meanwhile. */
async function begin(build: string, when: 'first' | 'always'): Promise<string[]> {
  const connection = await NativeConnection.connect({ address: inject('temporalAddress') });
  connections.push(connection);
  const worker = await Worker.create({
    connection,
    taskQueue: CONTROL_QUEUE,
    workflowBundle: { codePath: inject('workflowBundlePath') },
    activities: { notify: async () => undefined },
    workerDeploymentOptions: {
      version: { deploymentName: CONTROL_DEPLOYMENT, buildId: build },
      useWorkerVersioning: true,
      defaultVersioningBehavior: 'AUTO_UPGRADE',
    },
  });
  running.push({ worker, end: worker.run() });
  const said: string[] = [];
  const server = { workflowService: connection.workflowService, namespace: 'default', identity: 'versions-test' };
  await takeOver(server, build, when, (line) => said.push(line));
  return said;
}

const current = async () => (await controlVersions(temporal.client)) as { current?: string; polling: string[] };

describe('the versions of the control worker', () => {
  it('are supported, and none is current, before one has polled', async () => {
    const { workflowService } = temporal.client;
    expect(await readVersions({ workflowService, namespace: 'default', identity: 'versions-test' })).toMatchObject({
      kind: 'supported',
      current: undefined,
      builds: [],
    });
  });

  it('have the first build that polls as the current one', async () => {
    await begin(OLD, 'first');
    expect(await current()).toMatchObject({ current: OLD, polling: [OLD] });
  });

  it('leave the workflows with the current build when another one is started beside it, which says how it takes over', async () => {
    const said = await begin(NEW, 'first');
    expect(said).toEqual([`Build ${OLD} runs the workflows. To go on with this one: edge workers make-current ${NEW}`]);
    await eventually('the new build to be listed', async () => (await current()).polling.includes(NEW));
    expect(await current()).toMatchObject({ current: OLD, polling: [NEW, OLD] });
    expect(whyNothingMoves(await controlVersions(temporal.client))).toBeUndefined();
  });

  it('move when people say so, with the workflows: the next one is run by the new build', async () => {
    await eventually('the server to take it', () =>
      makeControlCurrent(temporal.client, NEW).then(
        () => true,
        () => false,
      ),
    );
    expect(await current()).toMatchObject({ current: NEW });
    const handle = await temporal.client.workflow.start('launchTrain', {
      taskQueue: CONTROL_QUEUE,
      workflowId: `launch/${randomUUID()}`,
      args: [{ fleet: 'versions' }],
    });
    await handle.result();
    const { raw } = await handle.describe();
    expect(raw.workflowExecutionInfo?.versioningInfo?.deploymentVersion?.buildId).toBe(NEW);
    await temporal.client.workflow.getHandle('train/versions').terminate('end of the test');
  });

  it('move back to a build that always takes over, when it is started again', async () => {
    await begin(OLD, 'always');
    expect(await current()).toMatchObject({ current: OLD });
  });
});
