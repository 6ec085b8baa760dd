import { Worker } from '@temporalio/worker';
import { createRestoreActivities } from '#activities/restore/index.js';
import { STAGING_QUEUE } from '#domain/naming.js';
import { ConfigError, readConfigFile, stagingWorkerSchema } from './config.js';
import { ALWAYS_A_SLOT, connectTemporal, ENDING, openLog, runUntilStopped, start } from './runtime.js';
import { openSite } from './site.js';

/**
 * The worker of the staging site: restores backups of the stores there for a test, and takes them away again. The only
 * process that has the keys of all stores' backups.
 *
 *   node staging.js --config FILE
 */
start(async () => {
  const log = openLog('staging-worker');
  const at = process.argv.indexOf('--config');
  const file = at < 0 ? undefined : process.argv[at + 1];
  if (file === undefined) throw new ConfigError('Say how the staging site is reached: --config FILE.');
  const config = await readConfigFile(file, stagingWorkerSchema);
  const { deps, close } = await openSite(config);
  const connection = await connectTemporal(config.temporal.address);
  const worker = await Worker.create({
    connection,
    namespace: config.temporal.namespace,
    taskQueue: STAGING_QUEUE,
    identity: `staging-worker/${process.pid}`,
    activities: createRestoreActivities(deps),
    // How many stores are tried at once is for `restoreTest.maxConcurrency` of fleet.yaml to say.
    ...ALWAYS_A_SLOT,
    ...ENDING,
    maxHeartbeatThrottleInterval: '10 seconds',
  });
  log.info({ queue: STAGING_QUEUE }, 'polling');
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  await runUntilStopped(log, [worker], async () => {
    await connection.close();
    await close();
  });
});
