import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { defineSearchAttributeKey } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type TemporalCli, findTemporalCli } from '#workers/embedded/temporal-cli.js';
import { type TemporalServer, startTemporal } from '#workers/embedded/temporal.js';

describe('startTemporal', () => {
  let dir: string;
  let cli: TemporalCli;
  let server: TemporalServer | undefined;

  const start = async (searchAttributes: string[]) => {
    server = await startTemporal({
      cli,
      env: process.env,
      dir,
      namespace: 'default',
      searchAttributes,
      headless: true,
    });
    return server;
  };
  const withClient = async <T>(address: string, use: (client: Client, connection: Connection) => Promise<T>) => {
    const connection = await Connection.connect({ address });
    try {
      return await use(new Client({ connection }), connection);
    } finally {
      await connection.close();
    }
  };
  const startWorkflow = (address: string, workflowId: string, attribute: string) =>
    withClient(address, (client) =>
      client.workflow.start('nobodyRunsIt', {
        workflowId,
        taskQueue: 'nobody-polls',
        typedSearchAttributes: [{ key: defineSearchAttributeKey(attribute, 'KEYWORD'), value: 'store-001' }],
      }),
    );

  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'edge-temporal-'));
    cli = await findTemporalCli({ env: process.env, say: () => undefined });
  });
  afterAll(async () => {
    await server?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it('keeps workflows and addresses through SIGKILL', async () => {
    const { address, process: child, restart } = await start(['EdgeStore']);
    await startWorkflow(address, 'before', 'EdgeStore');

    child.kill('SIGKILL');
    await child.ended();
    await restart();

    await withClient(address, async (client) => {
      const { status } = await client.workflow.getHandle('before').describe();
      expect(status.name).toBe('RUNNING');
    });
  });

  it('keeps closed workflows for 30 days', async () => {
    await withClient(server!.address, async (_client, connection) => {
      const { config } = await connection.workflowService.describeNamespace({ namespace: 'default' });
      expect(Number(config?.workflowExecutionRetentionTtl?.seconds)).toBe(30 * 86_400);
    });
  });

  it('adds a search attribute to a file that was made without it, usable at once', async () => {
    const { address } = server!;
    await server!.stop();
    const again = await start(['EdgeStore', 'EdgeTrain']);
    expect(again.address).toBe(address);
    await startWorkflow(again.address, 'after', 'EdgeTrain');
    await withClient(again.address, async (client) => {
      const { typedSearchAttributes } = await client.workflow.getHandle('after').describe();
      expect(typedSearchAttributes.get(defineSearchAttributeKey('EdgeTrain', 'KEYWORD'))).toBe('store-001');
    });
  });

  it('names the port that another program uses', async () => {
    const other = await mkdtemp(join(tmpdir(), 'edge-temporal-'));
    const taken = Number(server!.address.split(':')[1]);
    try {
      await expect(
        startTemporal({
          cli,
          env: process.env,
          dir: other,
          ports: { temporal: taken },
          namespace: 'default',
          searchAttributes: [],
        }),
      ).rejects.toThrow(`Port ${taken} on 127.0.0.1 (temporal) is in use`);
    } finally {
      await rm(other, { recursive: true, force: true });
    }
  });
});
