import type { WorkflowService } from '@temporalio/client';
import { describe, expect, it } from 'vitest';
import { readVersions } from '#workers/versions.js';

/** A server that answers with these errors; the sentences are those of Temporal 1.29. */
const server = (describing: object, listing?: object) => ({
  namespace: 'default',
  identity: 'test',
  workflowService: {
    describeWorkerDeployment: async () => Promise.reject(Object.assign(new Error('refused'), describing)),
    listWorkerDeployments: async () => (listing ? Promise.reject(Object.assign(new Error('refused'), listing)) : {}),
  } as unknown as WorkflowService,
});

const NOT_FOUND = { code: 5, details: 'Worker Deployment not found' };
const DISABLED = { code: 7, details: 'Worker Deployment Versions are disabled on this namespace.' };

describe('readVersions', () => {
  it('takes a server that found none and can list them for one that has versions', async () => {
    expect(await readVersions(server(NOT_FOUND))).toMatchObject({ kind: 'supported', current: undefined, builds: [] });
  });

  it.each([
    ['on which they are disabled', server(NOT_FOUND, DISABLED)],
    ['that is too old to know them', server({ code: 12, details: 'unknown method DescribeWorkerDeployment' })],
  ])('finds none on a server %s', async (_sentence, from) => {
    expect(await readVersions(from)).toEqual({ kind: 'unsupported' });
  });

  it.each([
    ['is not allowed to look', { code: 7, details: 'Request unauthorized.' }],
    ['cannot be reached', { code: 14, details: 'connection refused' }],
  ])('throws when it %s, rather than to go on without versions', async (_sentence, error) => {
    await expect(readVersions(server(error))).rejects.toMatchObject(error);
  });
});
