import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { execa } from 'execa';
import type { StepAnswer } from '#domain/messages/store.js';
import { SEARCH_ATTRIBUTES } from '#domain/naming.js';
import { answerUpdates, decideUpdate } from '#workflows/messages.js';
import { findTemporalCli } from '#workers/embedded/temporal-cli.js';
import { startTemporal } from '#workers/embedded/temporal.js';
import { aHealthyProbe, aPlan, aStoreInput, currentPreflight, PLAN_HASH } from '../support/workflow-builders.js';
import { openWorld, trainUntil, type Place, type World } from '../support/workflow-harness.js';

/** Runs each recorded shape once and writes its history as JSON. See `capture.mjs` for when and how. */

const shapes: Record<string, (world: World) => Promise<Pick<WorkflowHandle, 'workflowId'>>> = {
  'patch-store-calm': async (world) => {
    await world.store('s001');
    return ended(await world.startStore(aStoreInput('s001')));
  },
  'patch-store-failed': async (world) => {
    await world.store('s001', {
      upgradeNode: async () => failed,
      closeOperation: async () => ({ undone: ['noout'], leftSet: [] }),
    });
    return ended(await world.startStore(aStoreInput('s001')));
  },
  'patch-store-offline': async (world) => ended(await world.startStore(aStoreInput('s001', { offlineAfter: 50 }))),
  'wave-calm': async (world) => {
    await calmTrain(world);
    return world.client.workflow.getHandle('2026-w48/wave-1/r0');
  },
  'patch-train-calm': calmTrain,
  'patch-train-held': heldTrain,
};

const failed: StepAnswer<never> = { kind: 'failed', stop: { reason: 'UpgradeFailed', summary: 'apt ended with 100' } };

async function calmTrain(world: World) {
  await world.stores(['s001', 's002', 's003'], { readFacts: async () => currentPreflight() });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'] })
      .stage('wave-1', { stores: ['s002', 's003'], approval: { required: true } })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'the approval is asked for', ({ hold }) => hold?.reason === 'ApprovalPending');
  await train.executeUpdate(decideUpdate, {
    args: [{ stage: 'wave-1', planHash: PLAN_HASH, decision: 'approve', by: 'anna', via: 'cli' }],
  });
  return ended(train);
}

/** Held by a breach, answered with a further round; then held by its gate, answered with a further measurement. */
async function heldTrain(world: World) {
  const store = await world.store('s001', {
    readFacts: async () => currentPreflight(),
    applyConfig: async () => failed,
    probeStore: async () => aHealthyProbe('s001', { quorate: false }),
  });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'the breach', ({ hold }) => hold?.reason === 'ErrorThresholdExceeded');
  store.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [{ by: 'anna' }] });
  await trainUntil(train, 'the gate', ({ hold }) => hold?.reason === 'HealthGateFailed');
  store.on('probeStore', async () => aHealthyProbe('s001'));
  await train.executeUpdate(answerUpdates['retry-gate'], { args: [{ by: 'anna' }] });
  return ended(train);
}

async function ended<T extends WorkflowHandle>(handle: T): Promise<T> {
  await handle.result();
  return handle;
}

/** Writes `<shape><suffix>.json` for each shape into `dir`; `codePath` is the bundle to record with. */
export async function capture({ codePath, dir, suffix }: { codePath: string; dir: string; suffix: string }) {
  const scratch = mkdtempSync(join(tmpdir(), 'edge-capture-'));
  const cli = await findTemporalCli({ env: process.env, say: (line) => process.stderr.write(`${line}\n`) });
  const server = await startTemporal({
    cli,
    env: process.env,
    dir: scratch,
    namespace: 'default',
    searchAttributes: Object.values(SEARCH_ATTRIBUTES),
    headless: true,
  });
  try {
    mkdirSync(dir, { recursive: true });
    for (const [shape, run] of Object.entries(shapes)) {
      const json = await record(cli.path, { address: server.address, codePath }, run);
      writeFileSync(join(dir, `${shape}${suffix}.json`), `${json}\n`);
      process.stderr.write(`recorded ${shape}${suffix}\n`);
    }
  } finally {
    await server.stop();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function record(cli: string, place: Place, run: (typeof shapes)[string]): Promise<string> {
  const world = await openWorld(place);
  try {
    const { workflowId } = await run(world);
    const where = ['--address', place.address, '--namespace', world.client.options.namespace];
    const { stdout } = await execa(cli, [
      'workflow',
      'show',
      ...where,
      '--workflow-id',
      workflowId,
      '--output',
      'json',
    ]);
    return JSON.stringify(JSON.parse(stdout));
  } finally {
    await world.close();
  }
}
