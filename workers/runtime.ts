import { DefaultLogger, NativeConnection, Runtime, type Worker } from '@temporalio/worker';
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

/** What a worker holds when it is stopped is asked to end after this time. */
export const ENDING = { shutdownGraceTime: '5 seconds' } as const;

/**
 * And is given up after this, within the ten seconds that a container gets: it is asked for again when its heartbeat is
 * missed. The SDK's own `shutdownForceTime` ends in an error about references that are still held.
 */
const GIVE_UP_MS = 8_000;

/**
 * For a worker whose work is limited elsewhere: a task that waits for a slot cannot be told from one that nobody takes.
 * More than any fleet has stores in work.
 */
export const ALWAYS_A_SLOT = { maxConcurrentActivityTaskExecutions: 10_000 } as const;

/** Throws one sentence when nobody answers there. */
export async function connectTemporal(address: string): Promise<NativeConnection> {
  try {
    return await NativeConnection.connect({ address });
  } catch (error) {
    throw new Error(`Temporal does not answer at ${address}: ${causeOf(error)}`, { cause: error });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** The SDK tells it in the words of its libraries, the operating system's innermost. */
const causeOf = (error: unknown): string => /message: "([^"]+)"/.exec(messageOf(error))?.[1] ?? messageOf(error);

/** Runs the workers until SIGTERM, SIGINT or the end of the parent; lets them finish what they hold for a moment. */
export async function runUntilStopped(log: Logger, workers: Worker[], close: () => Promise<void>): Promise<void> {
  let stopping = false;
  const stop = (why: string) => {
    if (stopping) return;
    stopping = true;
    log.info({ why }, 'stopping');
    for (const worker of workers) if (worker.getState() === 'RUNNING') worker.shutdown();
    const giveUp = () => {
      log.warn('what did not end in time is given up');
      process.exit(0);
    };
    setTimeout(giveUp, GIVE_UP_MS).unref();
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
      // What the SDK adds of a gRPC status is for those who write it.
      process.stderr.write(`${messageOf(error).replace(/: Status \{.*$/s, '.')}\n`);
      process.exit(1);
    },
  );
}
