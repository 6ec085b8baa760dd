import { setTimeout as delay } from 'node:timers/promises';
import { Connection, defaultGrpcRetryOptions, makeGrpcRetryInterceptor } from '@temporalio/client';

/** A timer may ring this much after its time, in milliseconds. */
const LATE = 20;

/**
 * A connection that can be closed at any moment. The SDK tries a failed call again from a timer, and when that meets a
 * closed channel it throws where nobody can catch it, which ends the process. So once closing no call is tried again,
 * and the channel stays open until those that wait for their next try (at most 6 s) have had it.
 *
 * @throws what `Connection.connect` throws when nobody answers within `connectTimeout`.
 */
export async function openConnection(address: string, connectTimeout: '3s' | '10s'): Promise<Connection> {
  const retries = defaultGrpcRetryOptions();
  let isClosing = false;
  let lastTry = 0;
  const connection = await Connection.connect({
    address,
    connectTimeout,
    interceptors: [
      makeGrpcRetryInterceptor({
        retryableDecider: (attempt, status) => !isClosing && retries.retryableDecider(attempt, status),
        delayFunction(attempt, status) {
          const wait = retries.delayFunction(attempt, status);
          lastTry = Math.max(lastTry, Date.now() + wait);
          return wait;
        },
      }),
    ],
  });
  const closeChannel = connection.close.bind(connection);
  connection.close = async () => {
    isClosing = true;
    const wait = lastTry + LATE - Date.now();
    if (wait > 0) await delay(wait);
    await closeChannel();
  };
  return connection;
}
