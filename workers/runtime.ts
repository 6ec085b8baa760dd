import { DefaultLogger, Runtime, type Worker } from '@temporalio/worker';
import pino, { type Logger } from 'pino';
import { exitWithParent } from './exit-with-parent.js';
import { logLevel } from './config.js';

/** Logs as JSON lines, secrets cut out by name; the SDK's own lines go the same way. */
export function openLog(name: string): Logger {
  const level = logLevel();
  const log = pino({
    name,
    level,
    redact: {
      paths: ['*.token', '*.password', '*.secret', '*.privateKey', '*.key', '*.authorization'],
      censor: '[redacted]',
    },
  });
  Runtime.install({
    logger: new DefaultLogger('WARN', ({ level: severity, message, meta }) => {
      log[severity === 'ERROR' ? 'error' : severity === 'WARN' ? 'warn' : 'info'](meta ?? {}, message);
    }),
    // Workers are stopped by `runUntilStopped`, in order; the SDK's own handlers would stop them all at once.
    shutdownSignals: [],
    telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } },
  });
  return log;
}

/** Runs the workers until SIGTERM, SIGINT or the end of the parent; lets them finish what they hold for a moment. */
export async function runUntilStopped(log: Logger, workers: Worker[], close: () => Promise<void>): Promise<void> {
  let stopping = false;
  const stop = (why: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ why }, 'stopping');
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  process.once('SIGTERM', () => stop('SIGTERM'));
  process.once('SIGINT', () => stop('SIGINT'));
  exitWithParent(() => stop('the parent ended'));
  await Promise.all(workers.map((worker) => worker.run()));
  await close();
}

/** Starts a process and ends it with one sentence when that is not possible. */
export function start(main: () => Promise<void>): void {
  main().then(
    () => process.exit(0),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      process.exit(1);
    },
  );
}
