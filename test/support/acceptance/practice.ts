import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import { freeLabNetwork } from '#client/cli/lab-network.js';
import { createLabClient, type LabClient, type LabEntry } from '#client/cli/lab-client.js';
import { initRepo } from '#client/repo/template.js';
import type { PatchStoreInput } from '#domain/messages/store.js';
import type { TrainReport, TrainView } from '#domain/messages/train.js';
import { CONTROL_QUEUE, storeWorkflowId, trainWorkflowId } from '#domain/naming.js';
import type { StoreResult } from '#domain/outcomes.js';
import type { Reason } from '#domain/reasons.js';
import type { ReleaseRef } from '#domain/release.js';
import { startService, type Service } from '#workers/embedded/supervisor.js';
import { buildOnce } from '../build.js';
import { setStages, type StageGiven } from './fleet-file.js';
import { until } from './until.js';

const FLEET = 'practice';

export interface FleetGiven {
  stores: number;
  stages: readonly StageGiven[];
  /** How many times faster than real the stores live. Slow where a test has to strike in the middle of a step. */
  speed?: number;
  /** Stores whose worker can be killed alone. */
  ownProcess?: readonly string[];
}

/** A running service over a practice fleet, and the words in which the scenarios speak of it. */
export interface Practice {
  service: Service;
  client: Client;
  lab: LabClient;
  /** The GitOps repo and the registry's files. */
  repo: string;
  objects: string;
  startTrain(input?: { release?: ReleaseRef; train?: string }): Promise<WorkflowHandle>;
  startStore(input: Pick<PatchStoreInput, 'store' | 'release'> & Partial<PatchStoreInput>): Promise<WorkflowHandle>;
  train(): Promise<TrainView>;
  approve(stage: string): Promise<void>;
  retryGate(): Promise<void>;
  /** Waits until the train stands still; fails at once when it ended or is held for another reason. */
  trainIsHeld(reason: Reason, stage?: string): Promise<TrainView>;
  trainEnds(): Promise<TrainReport>;
  storeEnds(store: string): Promise<StoreResult>;
  /** What the practice fleet itself saw, faults and links apart. */
  effects(where?: { store?: string; node?: string; effect?: string }): Promise<LabEntry[]>;
  /** Waits for the first entry of the journal that fits. */
  journalShows(where: { store?: string; node?: string; effect: string }): Promise<LabEntry>;
  /** Every broken safety rule, as `rule store: what`. */
  violations(): Promise<string[]>;
  end(): Promise<void>;
}

/** Starts everything. Nothing is left of it after `end`. */
export async function givenFleet({ stores, stages, speed = 1_200, ownProcess }: FleetGiven): Promise<Practice> {
  await buildOnce();
  const dir = await mkdtemp(join(tmpdir(), 'edge-acceptance-'));
  const repo = join(dir, 'repo');
  const labNetwork = await freeLabNetwork(stores);
  await initRepo(repo, { fleet: FLEET, stores, lab: true, compressed: true, labNetwork });
  await setStages(repo, stages);
  const said: string[] = [];
  const service = await startService({
    dir: join(dir, 'edge'),
    repo,
    fleet: FLEET,
    lab: { speed, ...(ownProcess ? { ownProcess } : {}) },
    env: process.env,
    log: (line) => said.push(line),
  });
  const connection = await Connection.connect({ address: service.temporal.address });
  const client = new Client({ connection });
  const lab = createLabClient(service.lab?.control ?? '');
  const handle = () => client.workflow.getHandle(trainWorkflowId(FLEET));
  // A control worker that was just killed answers no query.
  const look = () =>
    handle()
      .query<TrainView>('train')
      .catch(() => undefined);

  const practice: Practice = {
    service,
    client,
    lab,
    repo,
    objects: join(dir, 'edge', 'objects'),
    startTrain: (input = {}) =>
      client.workflow.start('patchTrain', {
        taskQueue: CONTROL_QUEUE,
        workflowId: trainWorkflowId(FLEET),
        args: [{ fleet: FLEET, requestedBy: 'tester', ...input }],
      }),
    startStore: (input) =>
      client.workflow.start('patchStore', {
        taskQueue: CONTROL_QUEUE,
        workflowId: storeWorkflowId(input.store),
        args: [
          {
            fleet: FLEET,
            train: 'by-hand',
            stage: 'canary',
            round: 0,
            offlineAfter: 20_000,
            cutOffAfter: 60_000,
            storeTimeout: 300_000,
            ...input,
          },
        ],
      }),
    train: () => handle().query<TrainView>('train'),
    approve: async (stage) => {
      const { planHash } = await practice.trainIsHeld('ApprovalPending', stage);
      await handle().executeUpdate('decide', { args: [{ stage, planHash, decision: 'approve', by: 'tester' }] });
    },
    retryGate: async () => {
      await handle().executeUpdate('retryGate', { args: [{ by: 'tester' }] });
    },
    trainIsHeld: (reason, stage) =>
      until(`the train is held for ${reason}`, async () => {
        const view = await look();
        if (!view) return undefined;
        const isRight = view.hold?.reason === reason && (stage === undefined || view.hold.stage === stage);
        if (isRight) return view;
        const isOther = view.hold !== undefined && view.hold.reason !== 'ApprovalPending';
        if (isOther || ['done', 'aborted', 'failed'].includes(view.state)) {
          throw new Error(`The train is ${view.state}: ${JSON.stringify(view.hold ?? view.doing)}.`);
        }
        return undefined;
      }),
    trainEnds: async () => {
      const held = until('the train ends', async () => {
        const view = await look();
        if (view?.hold) throw new Error(`The train is held: ${JSON.stringify([view.hold, view.notSucceeded])}.`);
        return view && ['done', 'aborted', 'failed'].includes(view.state) ? view : undefined;
      });
      await held;
      return handle().result() as Promise<TrainReport>;
    },
    storeEnds: (store) => client.workflow.getHandle(storeWorkflowId(store)).result() as Promise<StoreResult>,
    effects: async (where = {}) =>
      (await lab.journal(0)).filter((entry) => !LAB_OWN.has(entry.effect) && fits(entry, where)),
    journalShows: (where) =>
      until(`the journal shows ${JSON.stringify(where)}`, async () =>
        (await lab.journal(0)).find((entry) => fits(entry, where)),
      ),
    violations: async () =>
      (await lab.check()).rules.flatMap(({ id, violations }) =>
        violations.map(({ store, summary }) => `${id} ${store}: ${summary}`),
      ),
    end: async () => {
      await connection.close();
      await service.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
  return practice;
}

const LAB_OWN = new Set(['fault.active', 'wan.cut', 'wan.restore']);

const fits = (entry: LabEntry, where: { store?: string; node?: string; effect?: string }): boolean =>
  (where.store === undefined || entry.store === where.store) &&
  (where.node === undefined || entry.node === where.node) &&
  (where.effect === undefined || entry.effect === where.effect);
