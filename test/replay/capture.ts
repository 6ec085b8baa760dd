import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { WorkflowHandle } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { optionalTsToMs } from '@temporalio/common/lib/time.js';
import { execa } from 'execa';
import type { GuestRun } from '#domain/backup-failures.js';
import type { RestorePlan } from '#domain/messages/restore.js';
import type { StepAnswer } from '#domain/messages/store.js';
import type { Decision, StageWindows, WaveSteering } from '#domain/messages/train.js';
import {
  backupWorkflowId,
  CONTROL_QUEUE,
  launchWorkflowId,
  restoreWorkflowId,
  SEARCH_ATTRIBUTES,
} from '#domain/naming.js';
import type { launchTrain, patchTrain } from '#workflows/index.js';
import {
  abortUpdate,
  answerUpdates,
  approveWaveSignal,
  decideUpdate,
  pauseUpdate,
  resumeUpdate,
  steerWaveSignal,
  storeQuery,
  wayTakenSignal,
} from '#workflows/messages.js';
import { findTemporalCli } from '#workers/embedded/temporal-cli.js';
import { startTemporal } from '#workers/embedded/temporal.js';
import { aReleaseRef } from '../support/builders.js';
import { aRollbackPlan } from '../support/rollback-builders.js';
import {
  aBackupInput,
  aHealthyProbe,
  aNightPlan,
  aPlan,
  aReopenedTrain,
  aRestorePlan,
  aStoreInput,
  aSurvey,
  aWave,
  COMMIT,
  currentPreflight,
  OTHER_HASH,
  PLAN_HASH,
  someOrders,
  storeNames,
} from '../support/workflow-builders.js';
import {
  aCopy,
  eventsOf,
  eventually,
  firedOf,
  heldFor,
  openWorld,
  trainThatAsks,
  trainUntil,
  waveUntil,
  type HistoryEvent,
  type Place,
  type World,
} from '../support/workflow-harness.js';
import { patchesOf } from './history.js';

/** One store after another; what is sent is verified at the central server. */
async function centralNight(world: World): Promise<void> {
  const orders = someOrders({ offsite: { keep: { daily: 14 } } });
  const plan = aNightPlan(['s001', 's002'], { orders, maxConcurrency: 1 });
  world.central.on('planNight', async () => ({ kind: 'planned', plan }));
  await world.stores(['s001', 's002']);
  await world.centralServer();
  await ended(await world.startNight());
}

/** Runs each recorded shape once and writes its history as JSON. See `capture.mjs` for when and how. */

const aLocked = (vmid: number): GuestRun => ({
  vmid,
  kind: 'failed',
  text: 'VM is locked (backup)',
  failure: 'lock',
});

const shapes: Record<string, (world: World) => Promise<Pick<WorkflowHandle, 'workflowId'>>> = {
  'backup-store-retried': async (world) => {
    let tries = 0;
    const store = await world.store('s001');
    store.on('dumpNode', async ({ vmids, node }) => ({
      kind: 'done',
      runs: vmids.map((vmid) => (node === 'n2' && ++tries === 1 ? aLocked(vmid) : { vmid, kind: 'done' })),
    }));
    return ended(await world.startBackup(aBackupInput('s001')));
  },
  'backup-store-refused-later': async (world) => {
    const store = await world.store('s001', { readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }) });
    store.on('dumpNode', async ({ vmids, node }) => {
      store.on('openDump', async () => ({ kind: 'refused', stop: { reason: 'DatastoreFull', summary: 'full' } }));
      return { kind: 'done', runs: vmids.map((vmid) => (node === 'n2' ? aLocked(vmid) : { vmid, kind: 'done' })) };
    });
    return ended(await world.startBackup(aBackupInput('s001')));
  },
  'backup-store-refused': async (world) => {
    await world.store('s001', {
      openDump: async () => ({ kind: 'refused', stop: { reason: 'BackupRefused', summary: 'no token' } }),
    });
    return ended(await world.startBackup(aBackupInput('s001')));
  },
  'backup-store-one-name': async (world) => {
    await world.store('s001');
    await world.centralServer({
      verifyCopy: async () => ({ ok: true, detail: 'nothing to verify', node: 'pbs-store' }),
      readCopy: async () => ({ copy: aCopy('pbs-store') }),
    });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    return ended(await world.startBackup(aBackupInput('s001', { orders })));
  },
  'backup-store-proven-before-sent': async (world) => {
    await world.store('s001', { verifyCopy: async () => ({ ok: true, detail: 'done' }) });
    await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    return ended(await world.startBackup(aBackupInput('s001', { orders })));
  },
  'backup-store-pruned-by-list': async (world) => {
    await world.store('s001');
    await world.centralServer({ readCopy: async () => ({ copy: aCopy('pbs-central', [101, 103]) }) });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    return ended(await world.startBackup(aBackupInput('s001', { orders })));
  },
  'backup-store-another-key': async (world) => {
    const { node, snapshots } = aCopy('pbs-store');
    const of = (byte: string, ago: number) =>
      snapshots.map((one) => ({ ...one, time: one.time - ago, keyFingerprint: Array(32).fill(byte).join(':') }));
    const copy = { node, snapshots: [...of('aa', 86_400), ...of('bb', 0)] };
    await world.store('s001', { readCopy: async () => ({ copy }) });
    return ended(await world.startBackup(aBackupInput('s001')));
  },
  'backup-store-night-over': async (world) => {
    const sending = (await world.store('s001')).hold('sendCopy');
    await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const endsBy = new Date(Date.now() + 5_000).toISOString();
    const backup = await ended(await world.startBackup(aBackupInput('s001', { orders, endsBy })));
    sending.release();
    return backup;
  },
  'backup-store-ledger-away': async (world) => {
    let answer!: () => void;
    const away = new Promise<void>((resolve) => (answer = resolve));
    let isFirst = true;
    world.central.on('record', async ({ kind }) => {
      if (kind === 'backups' && isFirst) {
        isFirst = false;
        await away;
      }
    });
    await world.store('s001');
    await world.centralServer();
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    const endsBy = new Date(Date.now() + 5_000).toISOString();
    const backup = await ended(await world.startBackup(aBackupInput('s001', { orders, endsBy })));
    answer();
    return backup;
  },
  'backup-store-template': async (world) => {
    await world.store('s001', {
      openDump: async () => ({
        kind: 'done',
        adopted: [],
        nodes: [{ node: 'n1', vmids: [101] }],
        guests: [
          { vmid: 101, kind: 'qemu', name: 'pos', template: false },
          { vmid: 102, kind: 'qemu', name: 'inventory', template: true },
        ],
        unreachable: [],
      }),
    });
    return ended(await world.startBackup(aBackupInput('s001', { guests: { 101: 'normal', 102: 'normal' } })));
  },
  'backup-store-late': async (world) => {
    const store = await world.store('s001', { readCopy: async () => ({ copy: aCopy('pbs-store', [101, 103]) }) });
    store.on('dumpNode', async ({ vmids, node }) => ({
      kind: 'done',
      runs: vmids.map((vmid) => (node === 'n2' ? aLocked(vmid) : { vmid, kind: 'done' })),
    }));
    return ended(await world.startBackup(aBackupInput('s001', { storeTimeout: 4_000, deferFor: 3_000 })));
  },
  'backup-store-half-sent': async (world) => {
    await world.store('s001', {
      sendCopy: async () => ({ ok: false, detail: 'vm/102: bad checksum', reason: 'BackupIncomplete' }),
    });
    await world.centralServer({ readCopy: async () => ({ copy: aCopy('pbs-central', [101, 103]) }) });
    const orders = someOrders({ offsite: { keep: { daily: 14 } } });
    return ended(await world.startBackup(aBackupInput('s001', { orders })));
  },
  'backup-store-collects-when-due': async (world) => {
    await world.store('s001', { readCopy: async () => ({ copy: aCopy('pbs-store'), isCollectionDue: true }) });
    return ended(await world.startBackup(aBackupInput('s001')));
  },
  'backup-store-lists-nobody': async (world) => {
    await world.store('s001', {
      openDump: async () => ({ kind: 'done', adopted: [], nodes: [], guests: [], unreachable: [] }),
    });
    return ended(await world.startBackup(aBackupInput('s001')));
  },
  'dump-guests': async (world) => {
    await world.store('s001');
    await ended(await world.startBackup(aBackupInput('s001')));
    return world.storeHandle('s001');
  },
  'nightly-backup': async (world) => {
    world.central.on('planNight', async () => ({ kind: 'planned', plan: aNightPlan(['s001', 's002']) }));
    await world.stores(['s001', 's002']);
    return ended(await world.startNight());
  },
  'nightly-backup-night-over': async (world) => {
    const orders = someOrders({ collect: true, offsite: { keep: { last: 3 } } });
    const endsBy = new Date(Date.now() + 5_000).toISOString();
    world.central.on('planNight', async () => ({ kind: 'planned', plan: aNightPlan(['s001'], { orders, endsBy }) }));
    const verifying = (await world.store('s001')).hold('verifyCopy');
    await world.centralServer();
    const night = await ended(await world.startNight());
    verifying.release();
    return night;
  },
  'nightly-backup-unplanned': async (world) => {
    world.central.on('planNight', async () => ({
      kind: 'refused',
      problems: ['backup: fleet.yaml has no such section'],
    }));
    const night = await world.startNight();
    await night.result().catch(() => undefined);
    return night;
  },
  'nightly-backup-refused': async (world) => {
    world.central.on('planNight', async () => ({ kind: 'planned', plan: aNightPlan(['s001', 's002']) }));
    await world.store('s001', {
      openDump: async () => ({ kind: 'refused', stop: { reason: 'BackupRefused', summary: 'no token' } }),
    });
    const dumping = (await world.store('s002')).hold('dumpNode n1');
    const night = await world.startNight();
    await eventually('people are called', () => world.central.notifications.length > 0);
    dumping.release();
    return ended(night);
  },
  'wave-of-backups': async (world) => {
    world.central.on('planNight', async () => ({ kind: 'planned', plan: aNightPlan(['s001', 's002']) }));
    await world.stores(['s001', 's002']);
    await ended(await world.startNight());
    return world.client.workflow.getHandle('night-2026-11-26/backup/r0');
  },
  'backup-store-slot-free': async (world) => {
    await centralNight(world);
    return world.client.workflow.getHandle(backupWorkflowId('s001'));
  },
  'wave-slot-free': async (world) => {
    await centralNight(world);
    return world.client.workflow.getHandle('night-2026-11-26/backup/r0');
  },
  'restore-test': async (world) => {
    await givenRestores(world);
    return ended(await world.startRestores());
  },
  'restore-test-asks-who-is-tried': async (world) => {
    await givenRestores(world, { fleetStores: ['s001', 's002', 's003'] });
    return ended(await world.startRestores());
  },
  'restore-test-aborted': abortedRestores,
  'restore-store': async (world) => {
    await givenRestores(world);
    await ended(await world.startRestores());
    return world.client.workflow.getHandle(restoreWorkflowId('s001'));
  },
  'wave-of-restores': async (world) => {
    await givenRestores(world);
    await ended(await world.startRestores());
    return world.client.workflow.getHandle('restores-2026-w48/restore/r0');
  },
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
  'patch-store-aborted': async (world) => {
    const held = (await world.store('s001')).hold('drainNode n1');
    const store = await world.startStore(aStoreInput('s001'));
    await held.reached;
    await store.executeUpdate(abortUpdate, { args: [anna] });
    held.release();
    return ended(store);
  },
  'patch-store-paused': async (world) => {
    const held = (await world.store('s001')).hold('rejoinNode n1');
    const store = await world.startStore(aStoreInput('s001'));
    await held.reached;
    await store.executeUpdate(pauseUpdate, { args: [anna] });
    held.release();
    await eventually('the store stands still', async () => (await store.query(storeQuery)).paused);
    await store.executeUpdate(resumeUpdate, { args: [anna] });
    return ended(store);
  },
  'patch-store-paused-long': async (world) => {
    const sound = await world.store('s001', {
      openOperation: async () => ({ kind: 'done', adopted: [], maxMaintenance: 400 }),
    });
    const held = sound.hold('rejoinNode n1');
    const store = await world.startStore(aStoreInput('s001'));
    await held.reached;
    await store.executeUpdate(pauseUpdate, { args: [anna] });
    held.release();
    await eventually('a sign of life', () => sound.calls.includes('verifyStore'));
    await store.executeUpdate(resumeUpdate, { args: [anna] });
    return ended(store);
  },
  'patch-store-paused-in-time': async (world) => {
    const sound = await world.store('s001', {
      openOperation: async () => ({ kind: 'done', adopted: [], maxMaintenance: 8_000 }),
    });
    const held = sound.hold('rejoinNode n1');
    const store = await world.startStore(aStoreInput('s001', { storeTimeout: 6_000 }));
    await held.reached;
    await store.executeUpdate(pauseUpdate, { args: [anna] });
    const next = sound.hold('drainNode n3');
    held.release();
    await eventually('two signs of life', () => sound.calls.filter((call) => call === 'verifyStore').length >= 2);
    await store.executeUpdate(resumeUpdate, { args: [anna] });
    await next.reached;
    await eventually('its time would be over', async () => firedOf(await eventsOf(store), 'time for one store') > 0);
    next.release();
    return ended(store);
  },
  'patch-store-heartbeat-lost': async (world) => {
    const sound = await world.store('s001', { readFacts: async () => currentPreflight() });
    let end: () => void = () => undefined;
    const gone = new Promise<void>((resolve) => (end = resolve));
    sound.on('applyConfig', async () => {
      sound.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
      await gone;
      return failed;
    });
    const store = await ended(await world.startStore(aStoreInput('s001')));
    end();
    return store;
  },
  'patch-store-timed-out': async (world) => {
    const held = (await world.store('s001')).hold('openOperation');
    const store = await world.startStore(aStoreInput('s001', { storeTimeout: 50 }));
    await held.reached;
    await eventually('its time is over', () => happened(store, (event) => event.timerFiredEventAttributes));
    held.release();
    return ended(store);
  },
  'patch-store-cut-off': async (world) => {
    await cutOffWave(world);
    return world.storeHandle('s001');
  },
  'wave-calm': async (world) => {
    await calmTrain(world);
    return world.client.workflow.getHandle('2026-w48/wave-1/r0');
  },
  'wave-probe': async (world) => {
    await calmTrain(world);
    return world.client.workflow.getHandle('2026-w48/canary/r0/gate');
  },
  'wave-cut-off': cutOffWave,
  'wave-cancelled': cancelledWave,
  'wave-steered': steeredWave,
  'wave-breached': breachedWave,
  'wave-deferred': deferredWave,
  'wave-called': calledWave,
  'wave-asks-again': waveThatAsksAgain,
  'wave-way-given-back': wayGivenBack,
  'wave-busy': busyWave,
  'wave-rollback': async (world) => {
    await rolledBackTrain(world);
    return world.client.workflow.getHandle('2026-w48/rollback/r0');
  },
  'patch-train-calm': calmTrain,
  'patch-train-held': heldTrain,
  'patch-train-failure-stays': twiceRetriedTrain,
  'patch-train-rolled-back': rolledBackTrain,
  'patch-train-spared-in-rollback': sparingTrain,
  'rollback-train-awaits': awaitingRollback,
  'rollback-train-paused': pausedRollback,
  'rollback-train-steered': steeredRollback,
  'rollback-train-skipped': skippedRollback,
  'patch-train-caught-up': caughtUpTrain,
  'patch-train-caught-up-late': caughtUpLateTrain,
  'patch-train-held-in-catch-up': heldInCatchUp,
  'patch-train-catch-up-windows': catchUpInWindows,
  'patch-train-own-window': ownWindowTrain,
  'wave-handed-back': handedBackWave,
  'patch-train-soaks-in-full': soakingInFull,
  'patch-train-late-pilot': latePilot,
  'patch-train-retried-awaited': retriedAndAway,
  'patch-train-finished': finishedTrain,
  'wave-finished': async (world) => {
    await finishedTrain(world);
    return world.client.workflow.getHandle('2026-w48/canary/r1');
  },
  'patch-train-paused-aborted': pausedAndAbortedTrain,
  'patch-train-stage-aborted': stageAbortedTrain,
  'patch-train-refusals': refusingTrain,
  'patch-train-kept-out': keptOutTrain,
  'patch-train-gate-wants-facts': wantingTrain,
  'patch-train-deadline': lateTrain,
  'patch-train-steered-early': earlySteeredTrain,
  'rollback-train': async (world) => {
    const { central } = world;
    await world.store('s001', { readFacts: async () => currentPreflight() });
    const plan = aPlan()
      .stage('canary', { stores: ['s001'] })
      .stage('wave-1', { stores: ['s002'] })
      .build();
    central.plans(plan);
    central.on('reopenTrain', async () => aReopenedTrain(plan, { s002: 'missed' }));
    central.on('planRollback', backFor('s001'));
    const train = await world.startRollback();
    await heldFor(train, 'ApprovalPending');
    await train.executeUpdate(decideUpdate, { args: [approval] });
    return ended(train);
  },
  janitor: async (world) => {
    const leftBy = { operationId: '2026-w47/canary/s001/r0', fence: 7, locked: true, marks: ['noout of n1'] };
    await world.store('s001', { inspectStore: async () => ({ leftBy, foreign: [] }) });
    await world.store('s002', { inspectStore: async () => ({ foreign: ['noout of n3'] }) });
    world.central.on('planSweep', async () => ({
      kind: 'planned',
      commit: COMMIT,
      stores: ['s001', 's002', 's003'],
      offlineAfter: 100,
    }));
    return ended(await world.startJanitor());
  },
  'janitor-concerns': async (world) => {
    world.central.on('planSweep', async () => ({ kind: 'planned', commit: COMMIT, stores: [], offlineAfter: 100 }));
    world.central.on('backupConcerns', async () => ['Backups of 1 of 2 stores are not as they should be.']);
    return ended(await world.startJanitor());
  },
  'janitor-staging': async (world) => {
    await world.store('s001');
    await world.stagingSite({
      sweepSite: async () => ({ kind: 'done', removed: ['storage test-s001'], left: [], busy: [] }),
    });
    world.central.on('planSweep', async () => ({
      kind: 'planned',
      commit: COMMIT,
      stores: ['s001'],
      offlineAfter: 5_000,
      staging: { storeTimeout: 60_000 },
    }));
    return ended(await world.startJanitor());
  },
  survey: async (world) => {
    await world.store('s001');
    return ended(await world.startSurvey(aSurvey(['s001', 's002'])));
  },
  'patch-train-broken-wave': brokenWaveTrain,
  'patch-train-unplanned': async (world) => {
    world.central.plans(
      aPlan()
        .stage('canary', { stores: ['s001'] })
        .build(),
    );
    world.central.on('planTrain', unreadable);
    return ended(await world.startTrain());
  },
  'patch-train-unplanned-back': unplannedBack,
  'patch-train-undo-pending': undoPendingTrain,
  'launch-train': async (world) => {
    world.central.plans(aPlan().build());
    const launch = await world.client.workflow.start<typeof launchTrain>('launchTrain', {
      workflowId: launchWorkflowId('acme'),
      taskQueue: CONTROL_QUEUE,
      args: [{ fleet: 'acme' }],
    });
    await ended(launch);
    await ended(world.client.workflow.getHandle('train/acme'));
    return launch;
  },
};

const anna = { by: 'anna' };
const unreadable = async (): Promise<never> => {
  throw ApplicationFailure.nonRetryable('policies/revoked.yaml cannot be read', 'RevocationsUnreadable');
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
  await heldFor(train, 'ApprovalPending');
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
  await heldFor(train, 'ErrorThresholdExceeded');
  store.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [{ by: 'anna' }] });
  await heldFor(train, 'HealthGateFailed');
  store.on('probeStore', async () => aHealthyProbe('s001'));
  await train.executeUpdate(answerUpdates['retry-gate'], { args: [{ by: 'anna' }] });
  return ended(train);
}

/** A failure that is tried again outside the store's window and stays, then resolved; who was not started follows. */
async function twiceRetriedTrain(world: World) {
  const { central } = world;
  const stores = await world.stores(['s001', 's002'], { readFacts: async () => currentPreflight() });
  stores.get('s001')?.on('applyConfig', async () => failed);
  central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
      .build(),
  );
  const train = await world.startTrain();
  const first = await heldFor(train, 'ErrorThresholdExceeded');
  const closed = { opens: '2026-11-24T09:00:00.000Z', closes: '2026-11-24T10:00:00.000Z' };
  central.on('stageWindows', async () => ({ stores: { s001: closed }, never: [], excluded: [] }));
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
  await trainUntil(train, 'it is held again', ({ hold }) => hold !== undefined && hold.since !== first.hold?.since);
  central.on('stageWindows', async () => ({ stores: {}, never: [], excluded: [] }));
  stores.get('s001')?.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
  return ended(train);
}

const backFor =
  (...stores: string[]) =>
  async () => ({
    kind: 'planned' as const,
    plan: aRollbackPlan({ fleet: 'acme', groups: [{ to: aReleaseRef(47), stores }] }),
    planHash: OTHER_HASH,
  });
const approval = { stage: 'rollback', planHash: OTHER_HASH, decision: 'approve' as const, by: 'bert', via: 'cli' };

/** Its first stage fails, and it is taken back against an approval. */
async function rolledBackTrain(world: World) {
  const { central } = world;
  const store = await world.store('s001', {
    readFacts: async () => currentPreflight(),
    applyConfig: async () => failed,
  });
  central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
      .build(),
  );
  central.on('planRollback', backFor('s001'));
  const train = await world.startTrain();
  await heldFor(train, 'ErrorThresholdExceeded');
  store.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
  await train.executeUpdate(answerUpdates.rollback, { args: [anna] });
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(decideUpdate, { args: [approval] });
  return ended(train);
}

/** People ask for the way back while its store is in work, and abort that store before it has ended. */
async function sparingTrain(world: World) {
  const { central } = world;
  const store = await world.store('s001', quick);
  const held = store.hold('openOperation');
  central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'] })
      .build(),
  );
  central.on('planRollback', backFor('s001'));
  const train = await world.startTrain();
  await held.reached;
  await train.executeUpdate(answerUpdates.rollback, { args: [anna] });
  await train.executeUpdate(abortUpdate, { args: [{ ...anna, store: 's001' }] });
  held.release();
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(decideUpdate, { args: [approval] });
  return ended(train);
}

/** Its wave is terminated while a store is in work, and the store is tried again. */
async function brokenWaveTrain(world: World) {
  const held = (await world.store('s001', quick)).hold('applyConfig');
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'] })
      .build(),
  );
  const train = await world.startTrain();
  await held.reached;
  await world.client.workflow.getHandle('2026-w48/canary/r0').terminate('by a person in the UI');
  await heldFor(train, 'StepFailed');
  held.release();
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
  return ended(train);
}

/** It is to go back, and what is revoked cannot be read until that is mended. */
async function unplannedBack(world: World) {
  const { central } = world;
  const store = await world.store('s001', quick);
  store.on('applyConfig', async () => failed);
  central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
      .build(),
  );
  central.on('planRollback', unreadable);
  const train = await world.startTrain();
  await heldFor(train, 'ErrorThresholdExceeded');
  await train.executeUpdate(answerUpdates.rollback, { args: [anna] });
  await heldFor(train, 'RollbackRefused');
  central.on('planRollback', backFor('s001'));
  store.on('applyConfig', async () => ({ kind: 'done', changed: [] }));
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(decideUpdate, { args: [approval] });
  return ended(train);
}

/** It ends while one of its stores is silent in the middle of its operation. */
async function undoPendingTrain(world: World) {
  const held = (await world.store('s001', {}, { slots: 1 })).hold('drainNode n1');
  await world.store('s002', quick);
  const limits = { offlineAfter: 3_000, cutOffAfter: 100, offlineThreshold: { percent: 100, minSample: 1 } };
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002'], limits })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'it waits for s001', ({ state }) => state === 'catching up');
  await train.executeUpdate(answerUpdates.finish, { args: [anna] });
  await ended(train);
  held.release();
  await ended(world.storeHandle('s001'));
  return train;
}

/** One of its stores is away when it is taken back, and is taken back when it is there again. */
async function awaitingRollback(world: World) {
  const { central } = world;
  const quick = { readFacts: async () => currentPreflight() };
  await world.store('s001', quick);
  const plan = aPlan()
    .stage('canary', {
      stores: ['s001', 's002'],
      limits: { offlineAfter: 500, offlineThreshold: { percent: 100, minSample: 1 } },
    })
    .build();
  central.plans(plan);
  central.on('reopenTrain', async () => aReopenedTrain(plan, {}));
  central.on('planRollback', backFor('s001', 's002'));
  const train = await world.startRollback();
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(decideUpdate, { args: [approval] });
  await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
  await world.store('s002', quick);
  return ended(train);
}

/** One store is aborted before its turn; people end the waiting while one of the others, which came back, is in work. */
async function steeredRollback(world: World) {
  const { central } = world;
  await world.stores(['s001', 's002'], quick);
  const plan = aPlan()
    .stage('canary', {
      stores: ['s001', 's002', 's003', 's004'],
      limits: { offlineAfter: 500, offlineThreshold: { percent: 100, minSample: 1 } },
    })
    .build();
  central.plans(plan);
  central.on('reopenTrain', async () => aReopenedTrain(plan, {}));
  central.on('planRollback', backFor('s001', 's002', 's003', 's004'));
  const train = await world.startRollback();
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(abortUpdate, { args: [{ ...anna, store: 's002' }] });
  await train.executeUpdate(decideUpdate, { args: [approval] });
  await trainUntil(train, 'it waits', ({ state }) => state === 'catching up');
  const late = await world.store('s003', quick);
  const step = late.hold('applyConfig');
  await step.reached;
  await train.executeUpdate(answerUpdates.finish, { args: [anna] });
  step.release();
  return ended(train);
}

/** One of its stores does not come back and is left as it is; the one that had not begun follows. */
async function skippedRollback(world: World) {
  const { central } = world;
  const stores = await world.stores(['s001', 's002'], quick);
  stores.get('s001')?.on('applyConfig', async () => failed);
  const plan = aPlan()
    .stage('canary', { stores: ['s001', 's002'], limits: { errorThreshold: { count: 0, minSample: 1 } } })
    .build();
  central.plans(plan);
  central.on('reopenTrain', async () => aReopenedTrain(plan, {}));
  central.on('planRollback', backFor('s001', 's002'));
  const train = await world.startRollback();
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(decideUpdate, { args: [approval] });
  await heldFor(train, 'ErrorThresholdExceeded');
  await train.executeUpdate(answerUpdates.skip, { args: [anna] });
  return ended(train);
}

/** Its stage is paused for longer than a train may be silent that should move. */
async function pausedRollback(world: World) {
  const { central } = world;
  await world.store('s001', quick);
  const plan = aPlan()
    .stage('canary', { stores: ['s001'] })
    .build();
  central.plans(plan);
  central.on('reopenTrain', async () => ({ ...aReopenedTrain(plan, {}), noProgressAfter: 2_000 }));
  central.on('planRollback', backFor('s001'));
  const train = await world.startRollback();
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(pauseUpdate, { args: [{ ...anna, stage: 'canary' }] });
  await train.executeUpdate(decideUpdate, { args: [approval] });
  await eventually('it stood for long', async () => patchesOf(await eventsOf(train)).includes('paused-is-not-silent'));
  await train.executeUpdate(resumeUpdate, { args: [{ ...anna, stage: 'canary' }] });
  return ended(train);
}

const quick = { readFacts: async () => currentPreflight() };

/** Its first store is done, and it awaits the other one. */
async function catchingUp(world: World) {
  await world.store('s001', quick);
  world.central.plans(
    aPlan()
      .stage('canary', {
        stores: ['s001', 's002'],
        limits: { offlineAfter: 500, offlineThreshold: { percent: 100, minSample: 1 } },
      })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
  return train;
}

/** One of its stores is offline at its turn and comes back after the last stage. */
async function caughtUpTrain(world: World) {
  const train = await catchingUp(world);
  await world.store('s002', quick);
  return ended(train);
}

/** The same, but its worker refuses a greeting first, and the store is paused when it answers one. */
async function caughtUpLateTrain(world: World) {
  const train = await catchingUp(world);
  await train.executeUpdate(pauseUpdate, { args: [{ ...anna, store: 's002' }] });
  const late = await world.store('s002', quick);
  late.on('hello', async () => {
    late.on('hello', async () => ({ store: 's002', protocol: { min: 1, max: 1 }, clock: '' }));
    throw ApplicationFailure.nonRetryable('not yet');
  });
  await eventually('it answers', async () => {
    const events = await eventsOf(train);
    const hellos = events.filter((event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'hello');
    const answered = events.map((event) => event.activityTaskCompletedEventAttributes?.scheduledEventId);
    return hellos.length === 2 && answered.some((id) => id && String(id) === String(hellos[1]?.eventId));
  });
  await train.executeUpdate(resumeUpdate, { args: [{ ...anna, store: 's002' }] });
  return ended(train);
}

/** One of its stores comes back while the others soak, and is proven while a third is awaited. */
async function soakingInFull(world: World) {
  await world.store('s001', quick);
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002', 's003'], limits: away, soak: 3_000 })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'it soaks', ({ stages }) => stages[0]?.state === 'soaking');
  await world.store('s002', quick);
  await eventually('s002 is proven', () => world.central.confirmed.length === 2);
  await trainUntil(train, 'it waits again', ({ answers }) => answers.includes('finish'));
  await train.executeUpdate(answerUpdates.finish, { args: [anna] });
  return ended(train);
}

/** A store of its first stage comes back and fails when the second one is through; the policy does not answer then. */
async function latePilot(world: World) {
  await world.stores(['s001', 's003'], quick);
  world.central.plans(
    aPlan({ onCanaryFailure: 'rollback' })
      .stage('canary', {
        stores: ['s001', 's002'],
        limits: { ...away, errorThreshold: { count: 0, minSample: 1 } },
      })
      .stage('wave-1', { stores: ['s003'] })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
  await world.store('s002', { ...quick, applyConfig: async () => failed });
  await heldFor(train, 'ErrorThresholdExceeded', 'canary');
  await train.executeUpdate(abortUpdate, { args: [anna] });
  return ended(train);
}

/** Nobody took it, so its stage is tried again at the gate; a store that is away by then comes back later. */
async function retriedAndAway(world: World) {
  const hello = (protocol: { min: number; max: number }) => async () => ({ store: 's001', protocol, clock: '' });
  const store = await world.store('s001', { ...quick, hello: hello({ min: 99, max: 99 }) });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002'], limits: { ...away, deferFor: 100, deferLimit: 1 } })
      .build(),
  );
  const other = await world.client.workflow.start('other', { taskQueue: 'nowhere', workflowId: 'store/s002' });
  const train = await world.startTrain();
  await heldFor(train, 'NotEnoughFacts');
  store.on('hello', hello({ min: 1, max: 1 }));
  await other.terminate('gone');
  await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
  await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
  await world.store('s002', quick);
  return ended(train);
}

/** People wait for nobody any more while one of those that came back is in work and another is behind it. */
async function finishedTrain(world: World) {
  await world.store('s001', quick);
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002', 's003'], limits: away })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
  await train.executeUpdate(pauseUpdate, { args: [anna] });
  const inWork = (await world.store('s002', quick)).hold('openOperation');
  await world.store('s003', quick);
  await eventually('both are back', async () => (await greeted(train)) === 2);
  await train.executeUpdate(resumeUpdate, { args: [anna] });
  await inWork.reached;
  await train.executeUpdate(answerUpdates.finish, { args: [anna] });
  await eventually('the wave was told', () =>
    happened(
      world.client.workflow.getHandle('2026-w48/canary/r1'),
      (event) => event.workflowExecutionSignaledEventAttributes?.signalName === 'steerWave',
    ),
  );
  inWork.release();
  return ended(train);
}

/** A store is back when a freeze has begun, and is greeted again after a pause, until people do not wait for it. */
async function keptOutTrain(world: World) {
  const train = await catchingUp(world);
  const frozen = { store: 's002', reason: 'Frozen' as const, detail: 'A freeze has begun.' };
  world.central.on('stageWindows', async () => ({ excluded: [frozen], never: [], stores: {} }));
  await world.store('s002', quick);
  await eventually('a pause', () =>
    happened(train, (event) => optionalTsToMs(event.timerStartedEventAttributes?.startToFireTimeout) === 1_800_000),
  );
  await train.executeUpdate(answerUpdates.finish, { args: [anna] });
  return ended(train);
}

/** Its gate has nothing to compare with, and people go on without. */
async function wantingTrain(world: World) {
  await world.store('s001', {
    readFacts: async () => currentPreflight(),
    probeStore: async () => aHealthyProbe('s001', { baseline: [] }),
  });
  await world.store('s002', { readFacts: async () => currentPreflight() });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'] })
      .stage('wave-1', { stores: ['s002'] })
      .build(),
  );
  const train = await world.startTrain();
  await heldFor(train, 'NotEnoughFacts');
  await train.executeUpdate(answerUpdates.skip, { args: [anna] });
  return ended(train);
}

/** Its deadline comes while a store is in work and another waits. */
async function lateTrain(world: World) {
  const held = (await world.store('s001')).hold('drainNode n1');
  world.central.plans(
    aPlan({ deadline: new Date(Date.now() + 4_000).toISOString() })
      .stage('canary', { stores: ['s001', 's002'] })
      .build(),
  );
  const train = await world.startTrain();
  await held.reached;
  await eventually('s001 was told', () =>
    happened(world.storeHandle('s001'), (event) => event.workflowExecutionCancelRequestedEventAttributes),
  );
  held.release();
  return ended(train);
}

/**
 * People speak about its stores in the moment in which its wave begins, which cannot hear it yet. A server that is busy
 * lets them meet that moment, so there are trains until they do.
 */
async function earlySteeredTrain(world: World) {
  const { client } = world;
  await world.store('s001', { readFacts: async () => currentPreflight() });
  const excluded = storeNames(6)
    .slice(1)
    .map((store) => ({ store, reason: 'StoreOnHold' as const, detail: 'rebuilt' }));
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], excluded })
      .build(),
  );
  const train = client.workflow.getHandle<typeof patchTrain>('train/acme');
  for (let tries = 1; tries <= 100; tries += 1) {
    const said: Promise<unknown>[] = [];
    world.central.on('promoteStage', async () => {
      for (let other = 0; other < 60; other += 1)
        said.push(client.workflow.start('nobody', { taskQueue: 'nobody', workflowId: `other/${tries}/${other}` }));
      await delay(tries % 20);
      for (const { store } of excluded) said.push(train.executeUpdate(pauseUpdate, { args: [{ ...anna, store }] }));
      return { commit: COMMIT, tag: 'edge/2026-w48/canary' };
    });
    await ended(await world.startTrain());
    await Promise.allSettled(said);
    if (patchesOf(await eventsOf(train)).includes('steering-arrives')) return train;
  }
  throw new Error('The wave has heard all of it. Try again.');
}

const away = { offlineAfter: 500, offlineThreshold: { percent: 100, minSample: 1 } };
const approveWave = { stage: 'wave-1', planHash: PLAN_HASH, decision: 'approve' as const, by: 'anna', via: 'cli' };

/** How many greetings were answered so far. */
async function greeted(train: Pick<WorkflowHandle, 'fetchHistory'>): Promise<number> {
  const events = await eventsOf(train);
  const answered = new Set(events.map((event) => String(event.activityTaskCompletedEventAttributes?.scheduledEventId)));
  return events.filter(
    ({ eventId, activityTaskScheduledEventAttributes: asked }) =>
      asked?.activityType?.name === 'hello' && answered.has(String(eventId)),
  ).length;
}

/** Held while it catches up, and held again by a breach of those that came back before it asks anew. */
async function heldInCatchUp(world: World) {
  const quick = { readFacts: async () => currentPreflight() };
  await world.stores(['s001', 's004'], quick);
  world.central.plans(
    aPlan()
      .stage('canary', {
        stores: ['s001', 's002', 's003'],
        limits: { ...away, errorThreshold: { count: 0, minSample: 1 } },
      })
      .stage('wave-1', { stores: ['s004'], approval: { required: true } })
      .build(),
  );
  const train = await world.startTrain();
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(pauseUpdate, { args: [anna] });
  const inWork = (await world.store('s002', { ...quick, applyConfig: async () => failed })).hold('openOperation');
  await world.store('s003', quick);
  await eventually('both are back', async () => (await greeted(train)) === 2);
  await train.executeUpdate(resumeUpdate, { args: [anna] });
  await inWork.reached;
  await train.executeUpdate(decideUpdate, { args: [{ ...approveWave, decision: 'reject' }] });
  await heldFor(train, 'ApprovalRejected');
  inWork.release();
  await trainUntil(train, 's002 has failed', ({ stages }) => stages[0]?.tally.failed === 1);
  await train.executeUpdate(answerUpdates['ask-again'], { args: [anna] });
  await heldFor(train, 'ErrorThresholdExceeded');
  await train.executeUpdate(answerUpdates.skip, { args: [anna] });
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(decideUpdate, { args: [approveWave] });
  return ended(train);
}

/** Of those that are back one waits for its own window, and one for its turn until the window of its stage has closed. */
async function catchUpInWindows(world: World) {
  const quick = { readFacts: async () => currentPreflight() };
  const later = { opens: inSeconds(3_600), closes: inSeconds(7_200) };
  let canary: StageWindows = { stores: { s002: later }, never: [], excluded: [] };
  let asked = 0;
  world.central.on('stageWindows', async ({ stage }) => {
    if (stage.name !== 'canary') return { stores: {}, never: [], excluded: [] };
    asked += 1;
    return asked === 1 ? { ...canary, stores: {} } : canary;
  });
  const stores = await world.stores(['s001', 's004'], quick);
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002', 's003'], limits: away })
      .stage('wave-1', { stores: ['s004'], approval: { required: true } })
      .build(),
  );
  const train = await world.startTrain();
  await heldFor(train, 'ApprovalPending');
  await world.store('s002', quick);
  await eventually('s002 waits for its window', () => asked === 2);
  const inWork = stores.get('s004')?.hold('openOperation');
  await train.executeUpdate(decideUpdate, { args: [approveWave] });
  await inWork?.reached;
  await world.store('s003', quick);
  await eventually('s003 waits for its turn', () => asked === 3);
  canary = { ...canary, ...later };
  inWork?.release();
  await eventually('it waits for its window', () => asked === 5);
  await trainUntil(train, 'it catches up', ({ state }) => state === 'catching up');
  for (const store of ['s002', 's003']) await train.executeUpdate(abortUpdate, { args: [{ ...anna, store }] });
  return ended(train);
}

/** One of its stores has a window of its own that opens after that of the stage has closed. */
async function ownWindowTrain(world: World) {
  const own = { s002: { opens: inSeconds(6), closes: inSeconds(600) } };
  let windows: StageWindows = { opens: inSeconds(-9), closes: inSeconds(5), stores: own, never: [], excluded: [] };
  world.central.on('stageWindows', async () => windows);
  const stores = await world.stores(['s001', 's002'], { readFacts: async () => currentPreflight() });
  stores.get('s001')?.on('closeOperation', async () => {
    windows = { stores: own, never: [], excluded: [] };
    return { undone: [], leftSet: [] };
  });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001', 's002'] })
      .build(),
  );
  return ended(await world.startTrain());
}

/** It stands still past its time and past the window, and goes on with the store that may yet start. */
async function handedBackWave(world: World) {
  await world.store('s002', { readFacts: async () => currentPreflight() });
  const still = { paused: true, pausedStores: [], abortedStores: [] };
  const wave = await world.startWave(
    aWave([{ id: 's001', closes: inSeconds(-1) }, 's002'], { limits: { stageTimeout: 2_000 }, steering: still }),
  );
  await eventually('its time is over', () => happened(wave, (event) => event.timerFiredEventAttributes));
  await wave.signal(steerWaveSignal, { ...still, paused: false });
  return ended(wave);
}

const inSeconds = (seconds: number): string => new Date(Date.now() + seconds * 1_000).toISOString();

/** Paused and resumed in its soak, then aborted while it asks for an approval. */
async function pausedAndAbortedTrain(world: World) {
  await world.store('s001', { readFacts: async () => currentPreflight() });
  world.central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], soak: 1_500 })
      .stage('wave-1', { stores: ['s002'], approval: { required: true } })
      .build(),
  );
  const train = await world.startTrain();
  await trainUntil(train, 'it soaks', ({ stages }) => stages[0]?.state === 'soaking');
  await train.executeUpdate(pauseUpdate, { args: [anna] });
  await eventually('the soak is over', () => happened(train, (event) => event.timerFiredEventAttributes));
  await train.executeUpdate(resumeUpdate, { args: [anna] });
  await heldFor(train, 'ApprovalPending');
  await train.executeUpdate(abortUpdate, { args: [anna] });
  return ended(train);
}

/** Its one stage is aborted in each of its waits, for its approval, for its window and in its soak, and goes on each time. */
async function stageAbortedTrain(world: World) {
  const { central } = world;
  await world.store('s001', { readFacts: async () => currentPreflight() });
  central.plans(
    aPlan()
      .stage('canary', { stores: ['s001'], soak: 3_000, approval: { required: true } })
      .build(),
  );
  let opens: string | undefined = new Date(Date.now() + 3_600_000).toISOString();
  central.on('stageWindows', async () => ({ opens, excluded: [], never: [], stores: {} }));
  const train = await world.startTrain();
  const isIn = (wait: string) =>
    trainUntil(train, `it is ${wait}`, ({ stages, hold }) => !hold && stages[0]?.state === wait);
  const asks = () => heldFor(train, 'ApprovalPending');
  const abortAndGoOn = async () => {
    await train.executeUpdate(abortUpdate, { args: [{ ...anna, stage: 'canary' }] });
    await heldFor(train, 'StageAborted');
    await train.executeUpdate(answerUpdates['retry-failed'], { args: [anna] });
  };
  await asks();
  await abortAndGoOn();
  await asks();
  const approve = { stage: 'canary', planHash: PLAN_HASH, decision: 'approve' as const, by: 'anna', via: 'cli' };
  await train.executeUpdate(decideUpdate, { args: [approve] });
  await isIn('awaiting window');
  opens = undefined;
  await abortAndGoOn();
  await isIn('soaking');
  await abortAndGoOn();
  return ended(train);
}

/** One store at a time; ended while the first guest of the first is tried. */
async function abortedRestores(world: World) {
  const plan = aRestorePlan(['s001', 's002'], { maxConcurrency: 1 });
  world.central.on('planRestores', async () => ({ kind: 'planned', plan }));
  const site = await world.stagingSite();
  let release: () => void = () => undefined;
  const reached = new Promise<void>((resolve) => {
    site.on('bootGuest', async () => {
      resolve();
      await new Promise<void>((released) => (release = released));
      return { kind: 'done', startedAt: '2026-11-29T09:00:06Z', endedAt: '2026-11-29T09:00:09Z' };
    });
  });
  const run = await world.startRestores();
  await reached;
  await run.executeUpdate(abortUpdate, { args: [anna] });
  const first = world.client.workflow.getHandle(restoreWorkflowId('s001'));
  await eventually('s001 was told', () =>
    happened(first, (event) => event.workflowExecutionCancelRequestedEventAttributes),
  );
  release();
  return ended(run);
}

/** One of its stores falls silent and is not waited for; its operation ends when it is back. */
async function cutOffWave(world: World) {
  const held = (await world.store('s001', {}, { slots: 1 })).hold('drainNode n1');
  await world.store('s002', { readFacts: async () => currentPreflight() });
  const wave = await world.startWave(
    aWave(['s001', 's002'], {
      limits: { offlineAfter: 3_000, cutOffAfter: 100, offlineThreshold: { count: 1, minSample: 1 } },
    }),
  );
  await ended(wave);
  held.release();
  await ended(world.storeHandle('s001'));
  return wave;
}

/** Whoever sent it out is gone. */
async function cancelledWave(world: World) {
  const held = (await world.store('s001', quick)).hold('applyConfig');
  const wave = await world.startWave(aWave(['s001', 's002'], { limits: { maxConcurrency: 1 } }));
  await held.reached;
  await wave.cancel();
  await eventually('s001 was told', () =>
    happened(world.storeHandle('s001'), (event) => event.workflowExecutionCancelRequestedEventAttributes),
  );
  held.release();
  return ended(wave);
}

/** People change their mind about its first store more quickly than the store hears of it. */
async function steeredWave(world: World) {
  const held = (await world.store('s001')).hold('rejoinNode n1');
  await world.store('s002', { readFacts: async () => currentPreflight() });
  const wave = await world.startWave(aWave(['s001', 's002', 's003']));
  const say = (change: Partial<WaveSteering>) =>
    wave.signal(steerWaveSignal, { paused: false, pausedStores: [], abortedStores: [], ...change });
  await held.reached;
  await Promise.all([say({ pausedStores: ['s001'] }), say({}), say({ pausedStores: ['s001'] }), say({})]);
  await say({ paused: true, pausedStores: ['s001'], abortedStores: ['s003'] });
  held.release();
  await eventually('s001 stands still', async () => (await world.storeHandle('s001').query(storeQuery)).paused);
  await say({ paused: true, abortedStores: ['s003'] });
  await waveUntil(wave, 's001 has ended', ({ tally }) => tally.succeeded === 1);
  await say({ abortedStores: ['s003'] });
  return ended(wave);
}

/** One of its stores fails while another is in work, which ends; the third is not begun. */
async function breachedWave(world: World) {
  await world.store('s001', { readFacts: async () => currentPreflight(), applyConfig: async () => failed });
  const held = (await world.store('s002')).hold('drainNode n1');
  const wave = await world.startWave(
    aWave(['s001', 's002', 's003'], { limits: { maxConcurrency: 2, errorThreshold: { count: 0, minSample: 1 } } }),
  );
  await held.reached;
  await waveUntil(wave, 's001 has failed', ({ breach }) => breach !== undefined);
  held.release();
  return ended(wave);
}

/** Its store is held by a backup, which makes way for it. */
async function deferredWave(world: World) {
  const held = (await world.store('s001')).hold('dumpNode n1');
  const backup = await world.startBackup(aBackupInput('s001'));
  await held.reached;
  const wave = await world.startWave(aWave(['s001'], { limits: { deferFor: 60_000 } }));
  await eventually('the backup was asked', () =>
    happened(backup, (event) => event.workflowExecutionSignaledEventAttributes),
  );
  held.release();
  await ended(wave);
  await ended(backup);
  return wave;
}

/** Its store is held by a backup for more tries than it has. */
async function calledWave(world: World) {
  const held = (await world.store('s001')).hold('dumpNode n1');
  const backup = await world.startBackup(aBackupInput('s001'));
  await held.reached;
  const wave = await world.startWave(aWave(['s001'], { limits: { deferFor: 500, deferLimit: 1 } }));
  await eventually('the wave has tried', async () => (await triesOf(wave)) > 2);
  held.release();
  await ended(wave);
  await ended(backup);
  return wave;
}

/** Its store is held by another operation, through all the tries that it has. */
async function busyWave(world: World) {
  const held = (await world.store('s001')).hold('drainNode n1');
  await world.startStore(aStoreInput('s001', { train: 'by-hand' }));
  await held.reached;
  return ended(await world.startWave(aWave(['s001'], { limits: { deferLimit: 0 } })));
}

/** Refuses decisions of both kinds and a signal that is none, each of which it writes down. */
async function refusingTrain(world: World) {
  const train = await trainThatAsks(world);
  const right = { stage: 'canary', planHash: PLAN_HASH, decision: 'approve' as const, by: 'anna', via: 'cli' };
  const wrong = { ...right, planHash: OTHER_HASH };
  await train.executeUpdate(decideUpdate, { args: [wrong] }).catch(() => undefined);
  await train.signal(approveWaveSignal, wrong);
  await train.signal(approveWaveSignal, { by: 'eve' } as Decision);
  await trainUntil(train, 'all are refused', ({ refusedDecisions }) => refusedDecisions.length === 3);
  await train.executeUpdate(decideUpdate, { args: [right] });
  return ended(train);
}

const happened = async (handle: Pick<WorkflowHandle, 'fetchHistory'>, which: (event: HistoryEvent) => unknown) =>
  (await eventsOf(handle)).some(which);

/** Its store is held by another operation, then by a backup that was not there when it asked first. */
async function waveThatAsksAgain(world: World) {
  const held = (await world.store('s001')).hold('readFacts');
  await world.startStore(aStoreInput('s001', { train: 'by-hand' }));
  await held.reached;
  const wave = await world.startWave(aWave(['s001'], { limits: { deferFor: 1_000 } }));
  await eventually('its word to find nobody', () =>
    happened(wave, (event) => event.signalExternalWorkflowExecutionFailedEventAttributes),
  );
  const backup = await world.startBackup(aBackupInput('s001'));
  await eventually('the backup to be asked', () =>
    happened(backup, (event) => event.workflowExecutionSignaledEventAttributes),
  );
  held.release();
  await ended(wave);
  await ended(backup);
  return wave;
}

/** People let it stand still while a backup holds its store, and go on when that has ended. */
async function wayGivenBack(world: World) {
  const held = (await world.store('s001')).hold('dumpNode n1');
  const backup = await world.startBackup(aBackupInput('s001'));
  await held.reached;
  const wave = await world.startWave(aWave(['s001'], { limits: { deferFor: 1_000 } }));
  await waveUntil(wave, 's001 is deferred', ({ deferred }) => deferred === 1);
  const steering: WaveSteering = { paused: true, pausedStores: [], abortedStores: [] };
  await wave.signal(steerWaveSignal, steering);
  await eventually('the backup need not make way', () =>
    happened(
      backup,
      ({ workflowExecutionSignaledEventAttributes: signal }) => signal?.signalName === wayTakenSignal.name,
    ),
  );
  held.release();
  await ended(backup);
  await wave.signal(steerWaveSignal, { ...steering, paused: false });
  return ended(wave);
}

/** How often it found a store held. */
const triesOf = async (wave: Pick<WorkflowHandle, 'fetchHistory'>) =>
  (await eventsOf(wave)).filter((event) => event.startChildWorkflowExecutionFailedEventAttributes).length;

async function ended<T extends Pick<WorkflowHandle, 'result'>>(handle: T): Promise<T> {
  await handle.result();
  return handle;
}

interface Wanted {
  /** The bundle to record with. */
  codePath: string;
  dir: string;
  suffix: string;
  /** Names of shapes; none means all. */
  only: string[];
}

/** Writes `<shape><suffix>.json` for each shape into `dir`. */
export async function capture({ codePath, dir, suffix, only }: Wanted) {
  const unknown = only.filter((name) => !(name in shapes));
  if (unknown.length > 0)
    throw new Error(`No shape ${unknown.join(', ')}. There are: ${Object.keys(shapes).join(', ')}`);
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
      if (only.length > 0 && !only.includes(shape)) continue;
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
    // Where the code stood when it was recorded is no part of a history.
    return JSON.stringify(JSON.parse(stdout), (key, value: unknown) => (key === 'stackTrace' ? undefined : value));
  } finally {
    await world.close();
  }
}

/** One guest of the first store cannot be had back, and its store is done all the same. */
async function givenRestores(world: World, change: Partial<RestorePlan> = {}): Promise<void> {
  world.central.on('planRestores', async () => ({ kind: 'planned', plan: aRestorePlan(['s001', 's002'], change) }));
  const site = await world.stagingSite();
  site.on('bootGuest', async ({ store, vmid }) =>
    store === 's001' && vmid === 101
      ? { kind: 'failed', fault: 'guest', why: 'Its agent never answered.' }
      : { kind: 'done', startedAt: '2026-11-29T09:00:06Z', endedAt: '2026-11-29T09:00:09Z' },
  );
}
