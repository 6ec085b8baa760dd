import { Worker } from '@temporalio/worker';
import { createTendActivities } from '#activities/backup/tend.js';
import { translated } from '#activities/to-failure.js';
import { OFFSITE_QUEUE } from '#domain/naming.js';
import { ConfigError, offsiteWorkerSchema, readConfigFile } from './config.js';
import { openPbs } from './pbs.js';
import { ALWAYS_A_SLOT, connectTemporal, ENDING, openLog, runUntilStopped, start } from './runtime.js';

/**
 * The offsite worker: tends the central backup server, to which every store sends its backups, into a namespace of its
 * own id. The only process with tokens of that server.
 *
 *   node offsite.js --config FILE
 */
start(async () => {
  const log = openLog('offsite-worker');
  const at = process.argv.indexOf('--config');
  const file = at < 0 ? undefined : process.argv[at + 1];
  if (file === undefined) throw new ConfigError('Say how the central backup server is reached: --config FILE.');
  const config = await readConfigFile(file, offsiteWorkerSchema);
  const pbs = await openPbs(config.pbs);
  const connection = await connectTemporal(config.temporal.address);
  const worker = await Worker.create({
    connection,
    namespace: config.temporal.namespace,
    taskQueue: OFFSITE_QUEUE,
    identity: `offsite-worker/${process.pid}`,
    activities: translated(
      createTendActivities({
        ...pbs,
        namespaceOf: (store) => store,
        verifyAtOnce: config.verifyAtOnce,
        timing: config.timing,
        now: () => new Date(),
      }),
    ),
    ...ALWAYS_A_SLOT,
    ...ENDING,
    maxHeartbeatThrottleInterval: '10 seconds',
  });
  log.info({ queue: OFFSITE_QUEUE }, 'polling');
  process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
  await runUntilStopped(log, [worker], async () => {
    await connection.close();
    await Promise.all([pbs.verifier.close(), pbs.pruner.close()]);
  });
});
