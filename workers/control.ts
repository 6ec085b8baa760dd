import { NativeConnection, Worker } from '@temporalio/worker';
import { allBeating } from '#activities/beating.js';
import { createControlActivities } from '#activities/control.js';
import { CONTROL_QUEUE } from '#domain/naming.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openLedger } from '#systems/ledger/client.js';
import { openObjects } from '#systems/objects/open.js';
import { readWorkflowBundle } from './bundle.js';
import { controlConfig } from './config.js';
import { createTeller } from './teller.js';
import { openLog, runUntilStopped, start } from './runtime.js';

/** The control worker: runs the workflows and the central activities. It can read no signing key and reach no store. */
start(async () => {
  const config = controlConfig();
  const log = openLog('control-worker');
  const [workflowBundle, ledger, connection] = await Promise.all([
    readWorkflowBundle(),
    openLedger(config.EDGE_DATABASE_URL),
    NativeConnection.connect({ address: config.EDGE_TEMPORAL_ADDRESS }),
  ]);
  const repo = openGitRepo({ dir: config.EDGE_REPO });
  const objects = openObjects(config.EDGE_OBJECTS);
  const worker = await Worker.create({
    connection,
    namespace: config.EDGE_TEMPORAL_NAMESPACE,
    taskQueue: CONTROL_QUEUE,
    identity: `control-worker/${process.pid}`,
    workflowBundle,
    activities: allBeating(
      createControlActivities({
        repo,
        branch: config.EDGE_BRANCH,
        objects,
        ledger,
        tell: createTeller({ repo, branch: config.EDGE_BRANCH, log }),
        now: () => new Date(),
      }),
    ),
    maxConcurrentActivityTaskExecutions: 20,
    // Tasks for workflows that a killed worker had in its cache wait so long before another worker may have them.
    stickyQueueScheduleToStartTimeout: '3 seconds',
    shutdownGraceTime: '5 seconds',
  });
  log.info({ queue: CONTROL_QUEUE }, 'polling');
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  await runUntilStopped(log, [worker], async () => {
    await connection.close();
    await ledger.close();
  });
});
