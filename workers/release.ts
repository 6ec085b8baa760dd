import { Worker } from '@temporalio/worker';
import { allBeating } from '#activities/beating.js';
import { createReleaseActivities } from '#activities/release.js';
import { RELEASE_QUEUE } from '#domain/naming.js';
import { openGitRepo } from '#systems/git/repo.js';
import { openLedgerReader } from '#systems/ledger/client.js';
import { openObjects } from '#systems/objects/open.js';
import { createReleaseBuilder } from '#systems/release/build.js';
import { createPermitSigner } from '#systems/release/permit.js';
import { readSecret, releaseConfig } from './config.js';
import { connectTemporal, ENDING, openLog, runUntilStopped, start } from './runtime.js';

/** The release worker: builds, scans and signs. The only process that is given the signing key. */
start(async () => {
  const config = releaseConfig();
  const log = openLog('release-worker');
  const ledger = openLedgerReader(config.EDGE_DATABASE_URL, { connections: 1 });
  const connection = await connectTemporal(config.EDGE_TEMPORAL_ADDRESS);
  const key = await readSecret(config.EDGE_RELEASE_KEY_FILE);
  const repo = openGitRepo({ dir: config.EDGE_REPO });
  const branch = config.EDGE_BRANCH;
  const objects = openObjects(config.EDGE_OBJECTS);
  const builder = createReleaseBuilder({ repo, branch, scanPrograms: config.EDGE_SCAN_PROGRAMS, objects, key });
  const signer = createPermitSigner({ objects, key });
  const worker = await Worker.create({
    connection,
    namespace: config.EDGE_TEMPORAL_NAMESPACE,
    taskQueue: RELEASE_QUEUE,
    identity: `release-worker/${process.pid}`,
    activities: allBeating(
      createReleaseActivities({ builder, signer, repo, branch, objects, ledger, now: () => new Date() }),
    ),
    maxConcurrentActivityTaskExecutions: 1,
    ...ENDING,
  });
  log.info({ queue: RELEASE_QUEUE }, 'polling');
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  await runUntilStopped(log, [worker], async () => {
    await connection.close();
    await ledger.close();
  });
});
