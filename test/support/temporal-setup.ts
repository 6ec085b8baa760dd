/**
 * Once for all workflow tests: a build with its workflow bundle, and one Temporal server on free ports.
 * Tests take what they need by `inject('temporalAddress')` and use a task queue each.
 */
import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';
import { findTemporalCli } from '#workers/embedded/temporal-cli.js';
import { startTemporal } from '#workers/embedded/temporal.js';
import { ROOT, buildOnce } from './build.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** `host:port` of the Temporal server of this run; namespace `default`. */
    temporalAddress: string;
    /** The bundle that the control worker loads. */
    workflowBundlePath: string;
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), 'edge-workflows-'));
  const said: string[] = [];
  try {
    const [cli] = await Promise.all([
      findTemporalCli({ env: process.env, say: (line) => said.push(line) }),
      buildOnce(),
    ]);
    const workflowBundlePath = join(ROOT, 'dist', 'workflow-bundle.js');
    if (!existsSync(workflowBundlePath)) throw new Error(`${workflowBundlePath} is missing. Run npm run build.`);
    const server = await startTemporal({
      cli,
      env: process.env,
      dir,
      namespace: 'default',
      searchAttributes: Object.values(SEARCH_ATTRIBUTES),
      headless: true,
    });
    project.provide('temporalAddress', server.address);
    project.provide('workflowBundlePath', workflowBundlePath);
    return async () => {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    };
  } catch (error) {
    for (const line of said) process.stderr.write(`${line}\n`);
    await rm(dir, { recursive: true, force: true });
    throw error;
  }
}
