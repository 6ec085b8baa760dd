import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';
import { type TestTemporal, connectTemporal } from '../support/temporal.js';

describe('the Temporal server of a test run', () => {
  let temporal: TestTemporal;
  beforeAll(async () => {
    temporal = await connectTemporal();
  });
  afterAll(() => temporal.close());

  it('knows every search attribute of the service', async () => {
    const { customAttributes } = await temporal.client.connection.operatorService.listSearchAttributes({
      namespace: 'default',
    });
    expect(Object.keys(customAttributes ?? {})).toEqual(expect.arrayContaining(Object.values(SEARCH_ATTRIBUTES)));
  });

  it('runs the workflows of the build, which refuse an input that is not valid', async () => {
    const taskQueue = temporal.newTaskQueue();
    const worker = await temporal.createWorker({ taskQueue });
    const result = worker.runUntil(
      temporal.client.workflow.execute('patchStore', { workflowId: taskQueue, taskQueue, args: [{ store: '../etc' }] }),
    );
    await expect(result).rejects.toMatchObject({ cause: { type: 'InvalidInput', nonRetryable: true } });
  });
});
