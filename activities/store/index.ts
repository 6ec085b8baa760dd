import { decideVerified } from '#domain/decide-store.js';
import { pinnedPackages } from '#domain/release.js';
import { parse } from '#domain/messages/parse.js';
import {
  helloTaskSchema,
  nodeTaskSchema,
  probeTaskSchema,
  PROTOCOL_RANGE,
  storeTaskSchema,
  type ProbeTask,
  type StoreActivities,
  type StoreTask,
} from '#domain/messages/store.js';
import { ApplicationFailure, Context } from '@temporalio/activity';
import type { z } from 'zod';
import { translated } from '../to-failure.js';
import type { Opened, StoreDeps } from './deps.js';
import { gatherFacts } from './facts.js';
import { applyConfig } from './guest-config.js';
import { createNodeSteps } from './node-steps.js';
import { createOperation, ReleaseRefused } from './operation.js';
import { stagePackages } from './packages.js';
import { probeGuests, probeStore } from './probe.js';

/**
 * What a store does when it is asked. Each task is judged at the door; each effect runs through `operation.step`,
 * which is where "once" comes from. The procedures themselves are in the files beside this one.
 */
export function createStoreActivities(deps: StoreDeps): StoreActivities {
  const operation = createOperation(deps);
  const steps = createNodeSteps(deps, operation);
  const { state } = deps;

  const mine = <T extends { store: string }>(schema: z.ZodType<T>, raw: unknown): T => {
    const parsed = parse(schema, raw);
    if (!parsed.ok) throw misdirected(`The task is not valid. ${parsed.problems.join('; ')}`);
    if (parsed.value.store !== deps.store)
      throw misdirected(`The task is for ${parsed.value.store}; this is the worker of ${deps.store}.`);
    return parsed.value;
  };

  return translated<StoreActivities>({
    hello: async (raw) => {
      mine(helloTaskSchema, raw);
      const held = state.operation();
      const { current } = state.trust();
      return {
        store: deps.store,
        protocol: PROTOCOL_RANGE,
        ...(held?.open ? { operation: held.operationId } : {}),
        ...(current
          ? { release: { version: current.version, sequence: current.sequence, manifest: current.manifest } }
          : {}),
        clock: deps.now().toISOString(),
      };
    },

    /** Retry-safe: an operation that is open already is found open. */
    openOperation: (raw) => beating(() => operation.open(mine(storeTaskSchema, raw))),

    /** Only looks. */
    readFacts: (raw) =>
      beating(async () => {
        const task = mine(storeTaskSchema, raw);
        const { manifest, artifact } = await operation.release(task);
        const nodes = artifact.store.nodes.map(({ name }) => name);
        const packages = pinnedPackages(manifest);
        const facts = await gatherFacts(deps, {
          nodes,
          stoppable: nodes,
          packages: Object.keys(packages),
          privileges: true,
          memory: true,
        });
        await state.saveTrust({ ...state.trust(), baseline: await probeGuests(deps, artifact.store.guests) });
        return { facts, nodes, kernel: manifest.packages.kernel, packages, ours: operation.ours() };
      }),

    stagePackages: (raw) =>
      beating(async () => {
        const { nodes, ...rest } = raw;
        const task = mine(storeTaskSchema, rest);
        return operation.step(task, 'stage packages', async () =>
          stagePackages(deps, { ...task, nodes }, await operation.release(task)),
        );
      }),

    drainNode: (raw) => nodeStep(raw, 'drain', steps.drain),
    upgradeNode: (raw) => nodeStep(raw, 'upgrade', steps.upgrade),
    rebootNode: (raw) => nodeStep(raw, 'reboot', steps.reboot),
    rejoinNode: (raw) => nodeStep(raw, 'rejoin', steps.rejoin),

    applyConfig: (raw) =>
      beating(async () => {
        const task = mine(storeTaskSchema, raw);
        return operation.step(task, 'apply config', async (key) =>
          applyConfig(deps, key, await operation.release(task)),
        );
      }),

    /** Only looks. */
    verifyStore: (raw) =>
      beating(async () => {
        const task = mine(storeTaskSchema, raw);
        const { manifest, artifact } = await operation.release(task);
        const nodes = artifact.store.nodes.map(({ name }) => name);
        const packages = pinnedPackages(manifest);
        const facts = await gatherFacts(deps, { nodes, stoppable: [], packages: Object.keys(packages) });
        const decision = decideVerified(facts, {
          expectedNodes: nodes,
          packages,
          kernel: manifest.packages.kernel,
          ours: operation.ours(),
          work: [],
        });
        return decision.kind === 'proceed' ? { kind: 'done' } : { kind: 'failed', stop: decision.stop };
      }),

    /** Retry-safe: what is taken back already is not marked any more, and closing twice changes nothing. */
    closeOperation: (raw) =>
      beating(async () => {
        const { outcome, ...rest } = raw;
        return operation.close(mine(storeTaskSchema, rest), outcome);
      }),

    probeStore: (raw) =>
      beating(async () => {
        const task = mine(probeTaskSchema, raw);
        return probeStore(deps, await releaseToProbe(task));
      }),
  });

  /** The release that the store runs, or why it cannot be compared with one; the rest of a probe is told all the same. */
  async function releaseToProbe(task: ProbeTask): Promise<Opened | string> {
    const { current } = state.trust();
    if (!current) return 'the release of this store is not known to its worker';
    if (task.manifest !== undefined && task.manifest !== current.manifest)
      return `the store was given release ${current.version}, not the one that is asked about`;
    try {
      return await operation.release(probeAsTask(task, current));
    } catch (error) {
      if (!(error instanceof ReleaseRefused)) throw error;
      return `release ${current.version} is refused by now (${error.kind}): ${error.message}`;
    }
  }

  async function nodeStep<T extends Parameters<StoreActivities['drainNode']>[0], Answer>(
    raw: T,
    name: string,
    run: (task: T, key: string) => Promise<Answer>,
  ): Promise<Answer> {
    return beating(() => {
      const task = mine(nodeTaskSchema, raw) as T;
      return operation.step(task, `${name} ${task.node}`, (key) => run(task, key) as never) as Promise<Answer>;
    });
  }
}

/** A probe asks about a release outside of any operation; only these fields of a task are looked at to verify one. */
const probeAsTask = (
  { store, fleet, protocol }: { store: string; fleet: string; protocol: number },
  release: StoreTask['release'],
): StoreTask => ({
  protocol,
  store,
  fleet,
  release,
  train: 'probe',
  stage: 'probe',
  operationId: 'probe',
  fence: 0,
});

const BEAT_MS = 5_000;

/** Tells the server that the worker lives for as long as the work runs. Quick work ends before the first beat. */
async function beating<T>(work: () => Promise<T>): Promise<T> {
  const context = Context.current();
  const timer = setInterval(() => context.heartbeat(), BEAT_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
  }
}

const misdirected = (message: string) =>
  ApplicationFailure.create({ type: 'InvalidInput', nonRetryable: true, message });
