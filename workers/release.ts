import { readFile } from 'node:fs/promises';
import { NativeConnection, Worker } from '@temporalio/worker';
import { createReleaseActivities } from '#activities/release.js';
import { RELEASE_QUEUE } from '#domain/naming.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openObjects } from '#systems/objects/open.js';
import { createReleaseBuilder } from '#systems/release/build.js';
import { releaseConfig } from './config.js';
import { openLog, runUntilStopped, start } from './runtime.js';

/** The release worker: builds, scans and signs. The only process that is given the signing key. */
start(async () => {
  const config = releaseConfig();
  const log = openLog('release-worker');
  const connection = await NativeConnection.connect({ address: config.EDGE_TEMPORAL_ADDRESS });
  const builder = createReleaseBuilder({
    repo: openGitRepo({ dir: config.EDGE_REPO }),
    branch: config.EDGE_BRANCH,
    scanPrograms: config.EDGE_SCAN_PROGRAMS,
    objects: openObjects(config.EDGE_OBJECTS),
    key: await readFile(config.EDGE_RELEASE_KEY_FILE, 'utf8'),
  });
  const worker = await Worker.create({
    connection,
    namespace: config.EDGE_TEMPORAL_NAMESPACE,
    taskQueue: RELEASE_QUEUE,
    identity: `release-worker/${process.pid}`,
    activities: createReleaseActivities({ builder }),
    maxConcurrentActivityTaskExecutions: 1,
    shutdownGraceTime: '5 seconds',
  });
  log.info({ queue: RELEASE_QUEUE }, 'polling');
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  await runUntilStopped(log, [worker], () => connection.close());
});
