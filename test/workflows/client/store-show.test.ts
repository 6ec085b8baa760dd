import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { defineSearchAttributeKey } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { run } from '#client/cli/main.js';
import { initRepo } from '#client/repo/template.js';
import { SEARCH_ATTRIBUTES, storeWorkflowId } from '#domain/naming.js';
import { fakeIo } from '../../unit/client/cli/fake-io.js';
import { useTempDir } from '../../support/temp-dir.js';
import { connectTemporal, type TestTemporal } from '../../support/temporal.js';
import { eventually } from '../../support/workflow-harness.js';

/** `edge store show` beside a service whose repo is on this machine: fleet `edge` of two stores. */
const tempDir = useTempDir();
let temporal: TestTemporal;
beforeAll(async () => {
  temporal = await connectTemporal();
});
afterAll(() => temporal.close());

async function serviceDir(): Promise<string> {
  const dir = await tempDir();
  const repo = join(dir, 'edge-infra');
  await initRepo(repo, { stores: 2, fleet: 'edge', lab: true });
  const service = { temporal: { address: inject('temporalAddress') }, repo, fleet: 'edge' };
  await writeFile(join(dir, 'service.json'), JSON.stringify(service));
  return dir;
}

async function show(dir: string, store: string, ...more: string[]) {
  const io = fakeIo({ cwd: dir });
  const exitCode = await run(['store', 'show', store, '--dir', dir, ...more], io);
  return { exitCode, out: io.stdout(), err: io.stderr() };
}

describe('edge store show', () => {
  it('says that a store is not in the fleet', async () => {
    const { exitCode, err } = await show(await serviceDir(), 'store-017');
    expect(exitCode).toBe(1);
    expect(err).toMatch(
      /^store-017 is not a store of fleet edge, and no operation on it is known\. The stores: edge train plan --stores --dir /,
    );
  });

  it('has nothing to tell of a store of the fleet on which nothing ran', async () => {
    const { exitCode, out } = await show(await serviceDir(), 'store-001');
    expect(exitCode).toBe(0);
    expect(out).toBe('store-001: no operation is running.\nNothing is known of earlier operations.\n');
  });

  it('shows the newest of each kind, and of one kind what is asked for', async () => {
    const store = `busy-${randomUUID()}`;
    const workflowId = storeWorkflowId(store);
    for (const operation of ['patch', 'dump', 'dump', 'dump']) {
      const handle = await temporal.client.workflow.start('patchStore', {
        workflowId,
        taskQueue: 'nobody',
        typedSearchAttributes: [
          { key: defineSearchAttributeKey(SEARCH_ATTRIBUTES.operation, 'KEYWORD'), value: operation },
        ],
      });
      await handle.terminate();
    }
    const dir = await serviceDir();
    const kinds = async (...more: string[]) =>
      (await show(dir, store, ...more, '--json')).out
        .match(/"operation": ?"\w+"/g)
        ?.map((field) => field.split('"')[3]);
    await eventually('all four', async () => (await kinds('--limit', '20'))?.length === 4);
    expect(await kinds()).toEqual(['backup', 'patch']);
    expect(await kinds('--limit', '2')).toEqual(['backup', 'backup']);
    expect(await kinds('--operation', 'patch')).toEqual(['patch']);
    expect(await kinds('--operation', 'backup', '--limit', '2')).toEqual(['backup', 'backup']);
    expect(await kinds('--operation', 'rollback')).toBeUndefined();
  });

  it.each([
    [['--operation', 'drill'], /^drill is not an operation\. There are: patch, rollback, backup, restore/],
    [['--limit', '0'], /^--limit is a number from 1 to 1000\./],
  ])('refuses %j as wrong usage', async (more, sentence) => {
    const { exitCode, err } = await show(await serviceDir(), 'store-001', ...more);
    expect(exitCode).toBe(2);
    expect(err).toMatch(sentence);
  });

  it('still shows what ran on a store that has left the fleet', async () => {
    const store = `gone-${randomUUID()}`;
    const workflowId = storeWorkflowId(store);
    const handle = await temporal.client.workflow.start('patchStore', { workflowId, taskQueue: 'nobody' });
    await handle.terminate();
    const dir = await serviceDir();
    const { exitCode, out } = await eventually('what ran to be listed', async () => {
      const shown = await show(dir, store);
      return shown.out.includes('terminated') ? shown : undefined;
    });
    expect(exitCode).toBe(0);
    expect(out).toContain(`${store} is not a store of fleet edge any more.\n`);
    expect(out).toContain('terminated');
  });
});
