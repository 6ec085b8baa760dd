import { randomUUID } from 'node:crypto';
import { Client } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { inject } from 'vitest';
import { openConnection } from '#client/temporal-connection.js';

let quiet = false;

/** Only errors of the SDK reach the output of a test run. */
function beQuiet(): void {
  if (quiet) return;
  quiet = true;
  Runtime.install({
    logger: new DefaultLogger('ERROR'),
    telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } },
  });
}

export interface TestTemporal {
  client: Client;
  native: NativeConnection;
  /** A task queue that no other test uses. */
  newTaskQueue: () => string;
  /** A worker with the workflows of the build; give it activities to have it run those too. */
  createWorker: (options: Pick<WorkerOptions, 'activities'> & { taskQueue: string }) => Promise<Worker>;
  close: () => Promise<void>;
}

/** Connects to the server of this test run; only in tests of the project `workflows`. */
export async function connectTemporal(): Promise<TestTemporal> {
  beQuiet();
  const address = inject('temporalAddress');
  const codePath = inject('workflowBundlePath');
  const connection = await openConnection(address, '10s');
  const native = await NativeConnection.connect({ address });
  return {
    client: new Client({ connection }),
    native,
    newTaskQueue: () => `test-${randomUUID()}`,
    createWorker: (options) => Worker.create({ connection: native, workflowBundle: { codePath }, ...options }),
    close: async () => {
      await native.close();
      await connection.close();
    },
  };
}
