import { Client } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { allBeating } from '#activities/beating.js';
import { createControlActivities } from '#activities/control.js';
import { CONTROL_DEPLOYMENT, CONTROL_QUEUE } from '#domain/naming.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openLedger } from '#systems/ledger/client.js';
import { openObjects } from '#systems/objects/open.js';
import { readWorkflowBundle } from './bundle.js';
import { controlConfig } from './config.js';
import { inWorkIn, isRunningIn, nightCaresIn } from './running.js';
import { connectTemporal, ENDING, openLog, runUntilStopped, start } from './runtime.js';
import { createTeller } from './teller.js';
import { readVersions, takeOver } from './versions.js';

/** The control worker: runs the workflows and the central activities. It is told of no signing key and of no store. */
start(async () => {
  const config = controlConfig();
  const log = openLog('control-worker');
  const [{ build, ...workflowBundle }, ledger, connection] = await Promise.all([
    readWorkflowBundle(),
    openLedger(config.EDGE_DATABASE_URL),
    connectTemporal(config.EDGE_TEMPORAL_ADDRESS),
  ]);
  const repo = openGitRepo({ dir: config.EDGE_REPO });
  const objects = openObjects(config.EDGE_OBJECTS);
  const namespace = config.EDGE_TEMPORAL_NAMESPACE;
  const client = new Client({ connection, namespace });
  const identity = `control-worker/${process.pid}`;
  const server = { workflowService: connection.workflowService, namespace, identity };
  const isVersioned = (await readVersions(server)).kind === 'supported';
  if (!isVersioned) log.warn('This server has no versions of workers: whichever build polls gets the workflows.');
  const worker = await Worker.create({
    connection,
    namespace,
    taskQueue: CONTROL_QUEUE,
    identity,
    workflowBundle,
    ...(isVersioned
      ? {
          workerDeploymentOptions: {
            version: { deploymentName: CONTROL_DEPLOYMENT, buildId: build },
            useWorkerVersioning: true,
            // A train lasts a week; what it runs on is corrected under it. `patched()` and replay keep that safe.
            defaultVersioningBehavior: 'AUTO_UPGRADE',
          },
        }
      : {}),
    activities: allBeating(
      createControlActivities({
        repo,
        branch: config.EDGE_BRANCH,
        objects,
        ledger,
        isRunning: isRunningIn(client),
        nightCares: nightCaresIn(client),
        inWork: inWorkIn(client),
        tell: createTeller({ repo, branch: config.EDGE_BRANCH, log }),
        now: () => new Date(),
      }),
    ),
    maxConcurrentActivityTaskExecutions: 20,
    // Tasks for workflows that a killed worker had in its cache wait so long before another worker may have them.
    stickyQueueScheduleToStartTimeout: '3 seconds',
    ...ENDING,
  });
  const running = runUntilStopped(log, [worker], async () => {
    await connection.close();
    await ledger.close();
  });
  log.info({ queue: CONTROL_QUEUE, build }, 'polling');
  if (isVersioned) {
    const taken = takeOver(server, build, config.EDGE_TAKE_OVER, (line) => log.warn(line));
    await Promise.race([running, taken]);
  }
  log.info({ build }, 'ready');
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  await running;
});
